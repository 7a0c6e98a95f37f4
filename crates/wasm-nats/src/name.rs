//! What things are called on NATS, and how ids and keys become parts of those names.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use thiserror::Error;

use wasm_core::ComponentId;
use wasm_core::text::Quoted;

/// How the name of a node or of an application may look, which is a part of subjects.
pub const NAME_RULE: &str = "1 to 32 of the characters [A-Za-z0-9_-]";

/// A name that cannot be a part of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {} cannot be a part of a subject of NATS; it has {NAME_RULE}", Quoted::new(.found))]
pub struct InvalidName {
    /// What it should name.
    pub what: &'static str,
    /// What it is.
    pub found: String,
}

/// How long a text is at least that nobody can guess.
const RANDOM: usize = 20;

/// Whether a process may be called so: a token of a subject and nothing else.
pub(crate) fn is_incarnation(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Checks the name of a node or of an application.
///
/// # Errors
/// [`InvalidName`].
pub fn check_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=32).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(InvalidName {
        what,
        found: name.to_owned(),
    })
}

/// Streams, buckets and subjects of one application.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    app: String,
}

impl Names {
    pub(crate) fn new(app: &str) -> Result<Self, InvalidName> {
        check_name("the application", app)?;
        Ok(Self {
            app: app.to_owned(),
        })
    }

    pub(crate) fn mail_stream(&self) -> String {
        format!("{}-mail", self.app)
    }

    pub(crate) fn mail_subjects(&self) -> String {
        format!("{}.mail.>", self.app)
    }

    /// Where messages for this component are stored.
    pub(crate) fn mail(&self, partition: u16, to: &ComponentId) -> String {
        format!("{}.mail.{partition}.{}", self.app, tokens(to))
    }

    /// For whom a message is that is stored under this subject.
    pub(crate) fn recipient(&self, subject: &str) -> Option<ComponentId> {
        let rest = subject.strip_prefix(self.app.as_str())?;
        let (_, tokens) = rest.strip_prefix(".mail.")?.split_once('.')?;
        id_of_tokens(tokens)
    }

    pub(crate) fn mail_of_partition(&self, partition: u16) -> String {
        format!("{}.mail.{partition}.>", self.app)
    }

    /// Without the `KV_` that makes a bucket of a stream.
    pub(crate) fn data_bucket(&self) -> String {
        format!("{}-data", self.app)
    }

    pub(crate) fn data_stream(&self) -> String {
        format!("KV_{}", self.data_bucket())
    }

    pub(crate) fn data_subjects(&self) -> String {
        format!("$KV.{}.>", self.data_bucket())
    }

    /// Who owns a partition; the sequence of its last message is the fencing token.
    pub(crate) fn owner(&self, partition: u16) -> String {
        format!("$KV.{}.owner.{partition}", self.data_bucket())
    }

    pub(crate) fn owners(&self) -> String {
        format!("$KV.{}.owner.*", self.data_bucket())
    }

    /// What is being handled in a partition.
    pub(crate) fn desk(&self, partition: u16) -> String {
        format!("$KV.{}.desk.{partition}", self.data_bucket())
    }

    /// Which release of the application counts.
    pub(crate) fn release(&self) -> String {
        format!("$KV.{}.release", self.data_bucket())
    }

    /// What came of a release on a node.
    pub(crate) fn applied(&self, node: &str) -> String {
        format!("$KV.{}.applied.{node}", self.data_bucket())
    }

    /// Of the components that are deployed.
    pub(crate) fn code_bucket(&self) -> String {
        format!("{}-code", self.app)
    }

    /// Written to know what was written before.
    pub(crate) fn mark(&self, partition: u16) -> String {
        format!("$KV.{}.mark.{partition}", self.data_bucket())
    }

    /// Under which all that a component stores begins, with a dot at the end.
    pub(crate) fn data(&self, partition: u16, owner: &ComponentId) -> String {
        let bucket = self.data_bucket();
        format!("$KV.{bucket}.data.{partition}.{}.", tokens(owner))
    }

    /// The same of all components of a partition.
    pub(crate) fn data_of_partition(&self, partition: u16) -> String {
        format!("$KV.{}.data.{partition}.", self.data_bucket())
    }

    pub(crate) fn nodes_bucket(&self) -> String {
        format!("{}-nodes", self.app)
    }

    pub(crate) fn nodes_stream(&self) -> String {
        format!("KV_{}", self.nodes_bucket())
    }

    pub(crate) fn node_subjects(&self) -> String {
        format!("$KV.{}.>", self.nodes_bucket())
    }

    pub(crate) fn node(&self, node: &str) -> String {
        format!("$KV.{}.{node}", self.nodes_bucket())
    }

    pub(crate) fn dead_stream(&self) -> String {
        format!("{}-dead", self.app)
    }

    pub(crate) fn dead_subjects(&self) -> String {
        format!("{}.dead.>", self.app)
    }

    pub(crate) fn dead(&self, to: &ComponentId) -> String {
        format!("{}.dead.{}", self.app, tokens(to))
    }

    /// With which the subjects begin that the server's answers come to.
    pub(crate) fn inboxes(&self) -> String {
        format!("{}.inbox", self.app)
    }

    /// Whether this is where somebody waits for the answer to a question, and nothing else: a
    /// text that nobody can guess under the subjects for that.
    pub(crate) fn is_inbox(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix(self.app.as_str());
        let rest = rest.and_then(|rest| rest.strip_prefix(".inbox."));
        rest.is_some_and(|rest| {
            let mut tokens = rest.split('.');
            let is_random = |it: &str| it.len() >= RANDOM && is_incarnation(it);
            tokens.next().is_some_and(is_random) && tokens.all(is_incarnation)
        })
    }

    /// Where every node is asked how it is.
    pub(crate) fn ask(&self) -> String {
        format!("{}.ask", self.app)
    }

    /// Where a node tells what happens.
    pub(crate) fn event(&self, node: &str) -> String {
        format!("{}.event.{node}", self.app)
    }

    /// Where all nodes do.
    pub(crate) fn events(&self) -> String {
        format!("{}.event.*", self.app)
    }

    /// The node that tells what happens under this subject, if it is one.
    pub(crate) fn teller<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(self.app.as_str())?;
        let node = rest.strip_prefix(".event.")?;
        check_name("the node", node).ok().map(|()| node)
    }

    /// Where a node is told what became of its requests.
    pub(crate) fn answers(&self, incarnation: &str) -> String {
        format!("{}.answer.{incarnation}", self.app)
    }
}

/// The id as three tokens of a subject. Of the characters of an id only the dot means
/// something to NATS.
fn tokens(id: &ComponentId) -> String {
    let escaped = id.segments().each_ref().map(|it| it.replace('.', "="));
    escaped.join(".")
}

/// The id of which these are the tokens, unless they are none.
pub(crate) fn id_of_tokens(tokens: &str) -> Option<ComponentId> {
    let segments: Vec<_> = tokens.split('.').map(|it| it.replace('=', ".")).collect();
    let [namespace, name, instance] = segments.as_slice() else {
        return None;
    };
    ComponentId::new(namespace, name, instance).ok()
}

/// A key of a component as a token of a subject.
pub(crate) fn key_token(key: &str) -> String {
    // One that is empty would be no token.
    format!("k{}", BASE64_URL_SAFE_NO_PAD.encode(key))
}

/// The key, unless this is no such token.
pub(crate) fn key_of_token(token: &str) -> Option<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token.strip_prefix('k')?);
    String::from_utf8(bytes.ok()?).ok()
}

/// The partition of a component among so many: the same on every node and in every release.
pub fn partition_of(id: &ComponentId, partitions: u16) -> u16 {
    // FNV-1a, and a finish that has its low bits depend on all others.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 32) % u64::from(partitions.max(1))) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ComponentId {
        text.parse().unwrap()
    }

    #[test]
    fn names_that_are_no_tokens_are_refused() {
        for name in ["a", "node-1", "A_9", &"x".repeat(32)] {
            assert_eq!(check_name("the node", name), Ok(()));
        }
        for name in ["", "a.b", "*", ">", "a b", "é", "a\n", &"x".repeat(33)] {
            let error = check_name("the node", name).unwrap_err();
            assert!(error.to_string().contains(NAME_RULE), "{error}");
        }
        assert!(Names::new("a.b").is_err());
    }

    #[test]
    fn ids_are_three_tokens_and_no_two_the_same() {
        let names = Names::new("demo").unwrap();
        assert_eq!(names.mail(7, &id("a.b/c/d")), "demo.mail.7.a=b.c.d");
        assert_ne!(names.mail(7, &id("a.b/c/d")), names.mail(7, &id("a/b.c/d")));
        assert!(names.data(7, &id("a/b/c")).ends_with(".data.7.a.b.c."));
        assert_eq!(id_of_tokens("a=b.c.d"), Some(id("a.b/c/d")));
        assert_eq!((id_of_tokens("a.b"), id_of_tokens("a.b.c.d")), (None, None));
    }

    #[test]
    fn answers_go_to_those_who_ask_and_nowhere_else() {
        let names = Names::new("demo").unwrap();
        let random = "x1".repeat(11);
        assert!(names.is_inbox(&format!("demo.inbox.{random}")));
        assert!(names.is_inbox(&format!("demo.inbox.{random}.7")));
        for wrong in [
            "$KV.demo-data.owner.5".to_owned(),
            "demo.dead.a.b.c".to_owned(),
            "demo.inbox".to_owned(),
            "demo.inbox.short".to_owned(),
            format!("demo.inbox.{random}.*"),
            format!("demo.inbox.{random}.>"),
            format!("demo.inbox.{random}."),
            format!("other.inbox.{random}"),
            format!("_INBOX.{random}"),
        ] {
            assert!(!names.is_inbox(&wrong), "{wrong}");
        }
        let subject = names.mail(7, &id("a.b/c/d"));
        assert_eq!(names.recipient(&subject), Some(id("a.b/c/d")));
        assert_eq!(names.recipient("other.mail.7.a.b.c"), None);
    }

    #[test]
    fn a_node_tells_under_its_name() {
        let names = Names::new("demo").unwrap();
        assert_eq!(names.teller(&names.event("a")), Some("a"));
        let long = format!("demo.event.{}", "a".repeat(33));
        for wrong in ["demo.event.", "demo.event.a b", "other.event.a", &long] {
            assert_eq!(names.teller(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_key_is_a_token_and_comes_back() {
        for key in ["a", "", "a b", "*.>", "é/\n\0", "..", &"k".repeat(1024)] {
            let token = key_token(key);
            assert!(!token.contains(['.', '*', '>', ' ', '/']), "{token}");
            assert_eq!(key_of_token(&token).as_deref(), Some(key));
        }
        assert_eq!(key_of_token("xyz"), None);
        assert_eq!(key_of_token("k*"), None);
    }

    #[test]
    fn partitions_are_the_same_for_ever_and_evenly_filled() {
        assert_eq!(partition_of(&id("demo/echo/main"), 64), 10);
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            counts[usize::from(partition_of(&id(&format!("demo/c/{n}")), 64))] += 1;
        }
        let range = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*range.0 > 850 && *range.1 < 1_150, "{range:?}");
    }
}

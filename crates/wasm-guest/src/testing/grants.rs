//! What a component may do, as `[permissions]` has it.

use crate::id::ComponentId;
use crate::log::LogLevel;

/// The longest segment of an id, in bytes.
const MAX_SEGMENT_BYTES: usize = 64;

/// What is granted. The default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Grants {
    pub(crate) send: Vec<Pattern>,
    pub(crate) request: Vec<Pattern>,
    pub(crate) broadcast: Vec<Pattern>,
    /// The quota in bytes.
    pub(crate) storage: Option<u64>,
    /// The most verbose level that is kept.
    pub(crate) log: Option<LogLevel>,
}

impl Grants {
    /// Whether messages of any kind may go there, so that the component may know of it.
    pub(crate) fn reaches(&self, id: &ComponentId) -> bool {
        let mut all = self.send.iter().chain(&self.request).chain(&self.broadcast);
        all.any(|pattern| pattern.matches(id))
    }
}

/// A glob for each segment of an id, in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern([String; 3]);

impl Pattern {
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let fits = |segment: &String| {
            let allowed =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
            (1..=MAX_SEGMENT_BYTES).contains(&segment.len()) && segment.bytes().all(allowed)
        };
        let segments: Vec<_> = text.split('/').map(str::to_owned).collect();
        <[String; 3]>::try_from(segments)
            .ok()
            .filter(|segments| segments.iter().all(fits))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{text:?} is not a pattern of components: write `namespace/name/instance`, \
                     each 1 to 64 of the characters [A-Za-z0-9._-] or `*`, as in \"demo/*/*\""
                )
            })
    }

    pub(crate) fn matches(&self, id: &ComponentId) -> bool {
        let segments = [&id.namespace, &id.name, &id.instance];
        let mut pairs = self.0.iter().zip(segments);
        pairs.all(|(glob, segment)| glob_matches(glob, segment))
    }
}

fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((before, rest)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut text) = text.strip_prefix(before) else {
        return false;
    };
    // What stands between two `*` is looked for as early as possible, which leaves the most
    // for what follows; the last part must be the end.
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

/// Why an id is none, in the words of the host.
pub(crate) fn check_id(id: &ComponentId) -> Result<(), String> {
    for (segment, text) in [
        ("namespace", &id.namespace),
        ("name", &id.name),
        ("instance", &id.instance),
    ] {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=MAX_SEGMENT_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        if !fits || text == "." || text == ".." {
            return Err(format!(
                "the {segment} {text:?} of a component id is not allowed; a segment is 1 to \
                 {MAX_SEGMENT_BYTES} of the characters [A-Za-z0-9._-], and not \".\" or \"..\""
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run_of_characters() {
        for (glob, text, matches) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*c", "ac", true),
            ("a*c", "abcbc", true),
            ("a*b*c", "aXbXc", true),
            ("a*b*c", "aXc", false),
            ("ab*ba", "aba", false),
            ("**", "", true),
        ] {
            assert_eq!(glob_matches(glob, text), matches, "{glob} {text}");
        }
    }
}

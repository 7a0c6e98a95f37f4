use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::text::{Escaped, Quoted};
use crate::units::format_bytes;
use crate::{ComponentId, HttpOrigin, HttpPattern, LogLevel};

/// One thing a component asks to do.
///
/// Printed as the manifest key that grants it and what it is about:
/// `send to demo/counter/main`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// Send a message to this component.
    Send(ComponentId),
    /// Send a request to this component.
    Request(ComponentId),
    /// Include this component in a broadcast.
    Broadcast(ComponentId),
    /// Use the key-value store.
    Storage,
    /// Write to the log at this level.
    Log(LogLevel),
    /// Send HTTP requests there.
    Http(HttpOrigin),
    /// Connect to this address of it, which is where its name has led, or what it is.
    HttpAddress(HttpOrigin, IpAddr),
    /// Use this interface of the embedder, `namespace:package/name`, with or without a
    /// version.
    Import(String),
    /// Open a TCP socket through WASI, to connect to an address.
    TcpSocket,
    /// Connect to this address through WASI.
    Connect(SocketAddr),
    /// Take this address of the host through WASI, as to listen there. Nothing grants it.
    Bind(SocketAddr),
    /// Open a UDP socket through WASI. Nothing grants it.
    UdpSocket,
    /// Look up the addresses of this name through WASI. Nothing grants it.
    LookUp(String),
}

impl Capability {
    /// The key of `[permissions]` that grants it.
    pub fn manifest_key(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Request(_) => "request",
            Self::Broadcast(_) => "broadcast",
            Self::Storage => "storage",
            Self::Log(_) => "log",
            Self::Http(_) | Self::HttpAddress(..) => "http",
            Self::Import(_) => "imports",
            Self::TcpSocket
            | Self::Connect(_)
            | Self::Bind(_)
            | Self::UdpSocket
            | Self::LookUp(_) => "wasi",
        }
    }
}

impl Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.manifest_key();
        match self {
            Self::Send(target) | Self::Request(target) | Self::Broadcast(target) => {
                write!(f, "{key} to {target}")
            }
            Self::Storage => f.write_str(key),
            Self::Log(level) => write!(f, "{key} at {level}"),
            Self::Http(origin) => write!(f, "{key} to {origin}"),
            Self::HttpAddress(origin, address) => write!(f, "{key} to {origin} at {address}"),
            Self::Import(name) => write!(f, "{key} of {}", Escaped::new(name)),
            Self::TcpSocket => write!(f, "{key} TCP socket"),
            Self::Connect(address) => write!(f, "{key} connect to {address}"),
            Self::Bind(address) => write!(f, "{key} bind to {address}"),
            Self::UdpSocket => write!(f, "{key} UDP socket"),
            Self::LookUp(name) => write!(f, "{key} look up {}", Escaped::new(name)),
        }
    }
}

/// Which components a permission is about: a glob for each segment of an id,
/// in which `*` stands for any run of characters.
///
/// `demo/*/*` matches `demo/counter/main` but not `demo2/counter/main`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComponentPattern {
    segments: [String; 3],
}

impl ComponentPattern {
    /// Whether every segment of `id` matches.
    pub fn matches(&self, id: &ComponentId) -> bool {
        self.segments
            .iter()
            .zip([id.namespace(), id.name(), id.instance()])
            .all(|(glob, segment)| glob_matches(glob, segment))
    }

    /// Whether every id that `other` matches is matched by this pattern, too. Where that
    /// cannot be seen from the patterns segment by segment, it is `false`.
    pub fn covers(&self, other: &Self) -> bool {
        // No id has a `*`, so that only a `*` stands for one.
        let mut segments = self.segments.iter().zip(&other.segments);
        segments.all(|(glob, other)| glob_matches(glob, other))
    }
}

/// Backtracks to the latest `*` only, which suffices for a glob and keeps the
/// time within glob length times segment length.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((at, eaten)) = star {
            star = Some((at, eaten + 1));
            g = at + 1;
            t = eaten + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

impl From<&ComponentId> for ComponentPattern {
    fn from(id: &ComponentId) -> Self {
        Self {
            segments: [id.namespace(), id.name(), id.instance()].map(str::to_owned),
        }
    }
}

impl FromStr for ComponentPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
        let valid = |s: &&str| {
            (1..=ComponentId::MAX_SEGMENT_BYTES).contains(&s.len()) && s.bytes().all(allowed)
        };
        let segments: Vec<String> = text.split('/').filter(valid).map(str::to_owned).collect();
        if text.split('/').count() != 3 {
            return Err(InvalidPattern(text.to_owned()));
        }
        let segments = segments
            .try_into()
            .map_err(|_| InvalidPattern(text.to_owned()))?;
        Ok(Self { segments })
    }
}

impl Display for ComponentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("/"))
    }
}

/// A text that is not a [`ComponentPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is not a pattern of components: write `namespace/name/instance`, each 1 to 64 of the \
     characters [A-Za-z0-9._-] or `*`, as in \"demo/*/*\"",
    Quoted::new(.0)
)]
pub struct InvalidPattern(String);

/// Which interfaces of the embedder a permission is about: `acme:shop/catalog`, or with `*`
/// for all interfaces of a package, `acme:shop/*`. Versions are left out: what a component
/// may use does not depend on which release of it the host has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImportPattern {
    package: String,
    interface: String,
}

impl ImportPattern {
    /// Whether it is about the interface of this name, with or without a version.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.split('@').next().unwrap_or_default();
        name.split_once('/').is_some_and(|(package, interface)| {
            self.package == package && (self.interface == "*" || self.interface == interface)
        })
    }

    /// Whether every interface that `other` is about is one that this pattern is about.
    pub fn covers(&self, other: &Self) -> bool {
        self.package == other.package
            && (self.interface == "*" || self.interface == other.interface)
    }
}

impl FromStr for ImportPattern {
    type Err = InvalidImportPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidImportPattern(text.to_owned());
        let word = |word: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.bytes().all(allowed)
        };
        let (package, interface) = text.split_once('/').ok_or_else(invalid)?;
        let (namespace, name) = package.split_once(':').ok_or_else(invalid)?;
        if !word(namespace) || !word(name) || (interface != "*" && !word(interface)) {
            return Err(invalid());
        }
        Ok(Self {
            package: package.to_owned(),
            interface: interface.to_owned(),
        })
    }
}

impl Display for ImportPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.package, self.interface)
    }
}

/// A text that is not an [`ImportPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is no interface: write `namespace:package/name` without a version, or `*` for the name, \
     as in \"acme:shop/*\"",
    Quoted::new(.0)
)]
pub struct InvalidImportPattern(String);

/// What a component may do. The default grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Permissions {
    /// Whom it may send messages to.
    pub send: Vec<ComponentPattern>,
    /// Whom it may send requests to.
    pub request: Vec<ComponentPattern>,
    /// Whom its broadcasts may reach.
    pub broadcast: Vec<ComponentPattern>,
    /// Bytes it may keep in the store, keys included; `None`: no store.
    pub storage: Option<u64>,
    /// The most verbose level that is kept; `None`: its log lines are dropped.
    pub log: Option<LogLevel>,
    /// Where it may send HTTP requests.
    pub http: Vec<HttpPattern>,
    /// What it may do through WASI.
    pub wasi: Vec<WasiGrant>,
    /// Which interfaces of the embedder it may use.
    pub imports: Vec<ImportPattern>,
}

impl Permissions {
    /// Whether these permissions cover `capability`.
    pub fn allows(&self, capability: &Capability) -> bool {
        let any = |patterns: &[ComponentPattern], id| patterns.iter().any(|p| p.matches(id));
        match capability {
            Capability::Send(target) => any(&self.send, target),
            Capability::Request(target) => any(&self.request, target),
            Capability::Broadcast(target) => any(&self.broadcast, target),
            Capability::Storage => self.storage.is_some(),
            Capability::Log(level) => self.log.is_some_and(|most_verbose| *level >= most_verbose),
            Capability::Http(origin) => self.http.iter().any(|p| p.matches(origin)),
            Capability::HttpAddress(origin, address) => {
                HttpPattern::any_reaches(&self.http, origin, *address)
            }
            Capability::Import(name) => self.imports.iter().any(|p| p.matches(name)),
            Capability::TcpSocket => self
                .wasi
                .iter()
                .any(|grant| matches!(grant, WasiGrant::Connect(_))),
            Capability::Connect(address) => self.wasi.contains(&WasiGrant::Connect(*address)),
            Capability::Bind(_) | Capability::UdpSocket | Capability::LookUp(_) => false,
        }
    }

    /// Whether a component may know that `id` exists: it is someone it may message.
    pub fn reaches(&self, id: &ComponentId) -> bool {
        [&self.send, &self.request, &self.broadcast]
            .into_iter()
            .flatten()
            .any(|pattern| pattern.matches(id))
    }

    /// The first thing that these permissions grant and `granted` does not, as it would be
    /// written in a manifest; `None` if they are no wider.
    pub fn excess(&self, granted: &Self) -> Option<String> {
        for (key, patterns, among) in [
            ("send", &self.send, &granted.send),
            ("request", &self.request, &granted.request),
            ("broadcast", &self.broadcast, &granted.broadcast),
        ] {
            let is_new = |it: &&ComponentPattern| !among.iter().any(|there| there.covers(it));
            if let Some(pattern) = patterns.iter().find(is_new) {
                return Some(format!("{key} = [\"{pattern}\"]"));
            }
        }
        if let Some(bytes) = self.storage.filter(|_| self.storage > granted.storage) {
            return Some(format!("storage = \"{}\"", format_bytes(bytes)));
        }
        let is_kept = |level: &LogLevel| granted.log.is_some_and(|most| *level >= most);
        if let Some(level) = self.log.filter(|level| !is_kept(level)) {
            return Some(format!("log = \"{level}\""));
        }
        let is_new = |it: &&HttpPattern| !granted.http.iter().any(|there| there.covers(it));
        if let Some(pattern) = self.http.iter().find(is_new) {
            return Some(format!("http = [\"{pattern}\"]"));
        }
        if self.wasi.iter().any(|grant| !granted.wasi.contains(grant)) {
            return Some("more of `wasi`".to_owned());
        }
        let is_new = |it: &&ImportPattern| !granted.imports.iter().any(|there| there.covers(it));
        let import = self.imports.iter().find(is_new)?;
        Some(format!("imports = [\"{import}\"]"))
    }

    /// What both these permissions and `granted` grant. What is granted through WASI, and
    /// the quota of storage, is that of `granted`: it cannot be changed while a component is
    /// loaded.
    #[must_use]
    pub fn narrowed_to(self, granted: &Self) -> Self {
        Self {
            send: narrowed(&self.send, &granted.send, ComponentPattern::covers),
            request: narrowed(&self.request, &granted.request, ComponentPattern::covers),
            broadcast: narrowed(
                &self.broadcast,
                &granted.broadcast,
                ComponentPattern::covers,
            ),
            storage: self.storage.and(granted.storage),
            log: self.log.zip(granted.log).map(|(one, other)| one.max(other)),
            http: narrowed(&self.http, &granted.http, HttpPattern::covers),
            wasi: granted.wasi.clone(),
            imports: narrowed(&self.imports, &granted.imports, ImportPattern::covers),
        }
    }
}

/// The patterns of each that are covered by one of the other's.
fn narrowed<T: Clone + PartialEq>(one: &[T], other: &[T], covers: fn(&T, &T) -> bool) -> Vec<T> {
    let within = |these: &[T], those: &[T]| {
        let is_covered = |it: &&T| those.iter().any(|there| covers(there, it));
        these.iter().filter(is_covered).cloned().collect::<Vec<T>>()
    };
    let mut narrowed = within(one, other);
    for pattern in within(other, one) {
        if !narrowed.contains(&pattern) {
            narrowed.push(pattern);
        }
    }
    narrowed
}

/// One thing a component may do through WASI.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WasiGrant {
    /// Its standard output is kept instead of discarded.
    Stdout,
    /// Its standard error is kept instead of discarded.
    Stderr,
    /// It sees the variables of its configuration as environment.
    Env,
    /// It sees a directory of the host.
    Dir {
        /// The path under which the component sees it.
        guest: String,
        /// The directory on the host.
        host: PathBuf,
        /// Whether it may change it.
        access: DirAccess,
        /// How much may be in a directory that it may change, in bytes: the sizes of
        /// its files, and 4 KiB for each file, directory and link. `None`: as much as
        /// there is room for.
        quota: Option<u64>,
    },
    /// It may open TCP connections to this address.
    Connect(SocketAddr),
}

impl WasiGrant {
    /// 64 MiB: the quota of a directory granted for writing where none is said.
    pub const DEFAULT_QUOTA_BYTES: u64 = 64 << 20;
    /// 4 KiB: what one file counts besides its size.
    pub const MIN_QUOTA_BYTES: u64 = 4 << 10;
}

/// What a component may do in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirAccess {
    /// List and read.
    Read,
    /// List, read, create, change and delete.
    Write,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::snapshot;

    fn id(text: &str) -> ComponentId {
        text.parse().unwrap()
    }

    fn pattern(text: &str) -> ComponentPattern {
        text.parse().unwrap()
    }

    fn a_org() -> HttpOrigin {
        HttpOrigin::new(true, "a.org", None).unwrap()
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        for (glob, name, matches) in [
            ("demo/*/*", "demo/a/b", true),
            ("demo/*/*", "demo2/a/b", false),
            ("*/*/*", "x/y/z", true),
            ("demo/a/b", "demo/a/b", true),
            ("demo/a/b", "demo/a/c", false),
            ("demo/co*er/*", "demo/counter/1", true),
            ("demo/co*er/*", "demo/counters/1", false),
            ("demo/*a*b*/*", "demo/xxaxxbxx/1", true),
            ("demo/*a*b*/*", "demo/xxbxxaxx/1", false),
            ("demo/**/m", "demo/a/m", true),
            ("demo/a*/m", "demo/a/m", true),
        ] {
            assert_eq!(pattern(glob).matches(&id(name)), matches, "{glob} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_all_of() {
        for (wide, narrow, covers) in [
            ("*/*/*", "demo/a*/main", true),
            ("demo/*/*", "demo/*/*", true),
            ("demo/a*/*", "demo/ab*/x", true),
            ("demo/ab*/*", "demo/a*/x", false),
            ("demo/a/main", "demo/*/main", false),
            ("demo/a*c/main", "demo/a*b*c/main", true),
            ("demo/a*c/main", "demo/a*/main", false),
        ] {
            assert_eq!(
                pattern(wide).covers(&pattern(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
        for (wide, narrow, covers) in [
            ("a:b/*", "a:b/c", true),
            ("a:b/c", "a:b/c", true),
            ("a:b/c", "a:b/*", false),
            ("a:b/*", "a:x/c", false),
        ] {
            let [wide, narrow]: [ImportPattern; 2] = [wide, narrow].map(|it| it.parse().unwrap());
            assert_eq!(wide.covers(&narrow), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn what_is_wider_says_in_what() {
        let all = vec![pattern("demo/*/*")];
        let granted = Permissions {
            send: all.clone(),
            request: all.clone(),
            broadcast: all,
            storage: Some(1 << 20),
            log: Some(LogLevel::Info),
            http: vec!["https://*.a.org".parse().unwrap()],
            wasi: vec![WasiGrant::Stdout],
            imports: vec!["a:b/*".parse().unwrap()],
        };
        assert_eq!(granted.excess(&granted), None);
        assert_eq!(Permissions::default().excess(&granted), None);
        type Widen = fn(&mut Permissions);
        let cases: [(Widen, &str); 8] = [
            (|it| it.send.push(pattern("x/*/*")), "send = [\"x/*/*\"]"),
            (
                |it| it.request = vec![pattern("*/*/*")],
                "request = [\"*/*/*\"]",
            ),
            (
                |it| it.broadcast = vec![pattern("a/b/c")],
                "broadcast = [\"a/b/c\"]",
            ),
            (|it| it.storage = Some(2 << 20), "storage = \"2MiB\""),
            (|it| it.log = Some(LogLevel::Debug), "log = \"debug\""),
            (
                |it| it.http = vec!["https://a.org".parse().unwrap()],
                "http = [\"https://a.org\"]",
            ),
            (|it| it.wasi.push(WasiGrant::Env), "more of `wasi`"),
            (
                |it| it.imports = vec!["c:d/e".parse().unwrap()],
                "imports = [\"c:d/e\"]",
            ),
        ];
        for (widen, expected) in cases {
            let mut wider = granted.clone();
            widen(&mut wider);
            assert_eq!(wider.excess(&granted).as_deref(), Some(expected));
            assert_eq!(wider.excess(&wider), None);
            assert_eq!(wider.clone().narrowed_to(&granted).excess(&granted), None);
        }
    }

    #[test]
    fn what_is_narrowed_is_granted_by_both() {
        let one = Permissions {
            send: vec![pattern("demo/*/*"), pattern("x/y/z")],
            storage: Some(1),
            log: Some(LogLevel::Trace),
            ..Permissions::default()
        };
        let other = Permissions {
            send: vec![pattern("*/a/*"), pattern("demo/b/main"), pattern("x/*/*")],
            storage: Some(2),
            log: Some(LogLevel::Warn),
            wasi: vec![WasiGrant::Env],
            ..Permissions::default()
        };
        let both = one.narrowed_to(&other);
        assert_eq!(both.send, [pattern("x/y/z"), pattern("demo/b/main")]);
        assert_eq!((both.storage, both.log), (Some(2), Some(LogLevel::Warn)));
        assert_eq!(both.wasi, other.wasi);
    }

    #[test]
    fn a_glob_made_to_backtrack_ends() {
        let glob = format!("a/{}b/c", "*a".repeat(31));
        let name = format!("a/{}/c", "a".repeat(64));
        assert!(!pattern(&glob).matches(&id(&name)));
    }

    #[test]
    fn a_pattern_has_three_segments_of_known_characters() {
        for bad in [
            "",
            "*",
            "demo/*",
            "demo/*/*/*",
            "demo//x",
            "a b/*/*",
            "demo/*/*/",
            "a/?/c",
            "a/b/c/\u{7}",
        ] {
            assert_eq!(
                bad.parse::<ComponentPattern>(),
                Err(InvalidPattern(bad.to_owned()))
            );
        }
        let error = InvalidPattern("demo\n".to_owned());
        snapshot("invalid-pattern", [("InvalidPattern", error)]);
        assert_eq!(pattern("demo/*/x").to_string(), "demo/*/x");
        assert_eq!(ComponentPattern::from(&id("a/b/c")), pattern("a/b/c"));
    }

    #[test]
    fn an_import_is_named_without_its_version() {
        let pattern = |text: &str| text.parse::<ImportPattern>().unwrap();
        for (granted, name, matches) in [
            ("acme:shop/catalog", "acme:shop/catalog@1.2.3", true),
            ("acme:shop/catalog", "acme:shop/catalog", true),
            ("acme:shop/catalog", "acme:shop/catalogue@1.2.3", false),
            ("acme:shop/catalog", "acme:shop2/catalog", false),
            ("acme:shop/*", "acme:shop/cart@0.1.0", true),
            ("acme:shop/*", "acme:shop", false),
            ("acme:shop/*", "acme:shop2/cart", false),
        ] {
            assert_eq!(pattern(granted).matches(name), matches, "{granted} {name}");
            assert_eq!(pattern(granted).to_string(), granted);
        }
        for bad in [
            "",
            "acme",
            "acme:shop",
            "acme/shop",
            "acme:shop/",
            ":shop/a",
            "acme:/a",
            "*:shop/a",
            "acme:shop/catalog@1.0.0",
            "acme:shop/a*",
            "acme:shop/a/b",
            "a b:c/d",
            "acme:shop/-a",
        ] {
            let error = bad.parse::<ImportPattern>().unwrap_err();
            assert!(
                error.to_string().contains("namespace:package/name"),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let none = Permissions::default();
        for capability in [
            Capability::Send(id("a/b/c")),
            Capability::Request(id("a/b/c")),
            Capability::Broadcast(id("a/b/c")),
            Capability::Storage,
            Capability::Log(LogLevel::Error),
            Capability::Http(a_org()),
            Capability::HttpAddress(a_org(), [1, 1, 1, 1].into()),
            Capability::Import("acme:shop/catalog".to_owned()),
            Capability::TcpSocket,
            Capability::Connect(([127, 0, 0, 1], 80).into()),
            Capability::Bind(([0, 0, 0, 0], 80).into()),
            Capability::UdpSocket,
            Capability::LookUp("a.org".to_owned()),
        ] {
            assert!(!none.allows(&capability), "{capability}");
        }
        assert!(!none.reaches(&id("a/b/c")));
    }

    #[test]
    fn each_grant_covers_its_own_capability_only() {
        let target = id("demo/counter/main");
        let to_counter = vec![pattern("demo/counter/*")];
        let capabilities = [
            Capability::Send(target.clone()),
            Capability::Request(target.clone()),
            Capability::Broadcast(target.clone()),
            Capability::Storage,
            Capability::Log(LogLevel::Info),
            Capability::Http(a_org()),
            Capability::Import("acme:shop/catalog@1.0.0".to_owned()),
        ];
        let grants = [
            Permissions {
                send: to_counter.clone(),
                ..Default::default()
            },
            Permissions {
                request: to_counter.clone(),
                ..Default::default()
            },
            Permissions {
                broadcast: to_counter,
                ..Default::default()
            },
            Permissions {
                storage: Some(1),
                ..Default::default()
            },
            Permissions {
                log: Some(LogLevel::Info),
                ..Default::default()
            },
            Permissions {
                http: vec!["https://a.org".parse().unwrap()],
                ..Default::default()
            },
            Permissions {
                imports: vec!["acme:shop/*".parse().unwrap()],
                ..Default::default()
            },
        ];
        for (g, grant) in grants.iter().enumerate() {
            for (c, capability) in capabilities.iter().enumerate() {
                assert_eq!(grant.allows(capability), g == c, "{grant:?} {capability}");
            }
            assert_eq!(grant.reaches(&target), g < 3);
        }
        assert!(!grants[0].allows(&Capability::Send(id("demo/other/main"))));
    }

    #[test]
    fn a_log_grant_covers_what_is_less_verbose() {
        let info = Permissions {
            log: Some(LogLevel::Info),
            ..Default::default()
        };
        let kept: Vec<_> = LogLevel::ALL
            .into_iter()
            .filter(|level| info.allows(&Capability::Log(*level)))
            .collect();
        assert_eq!(kept, [LogLevel::Info, LogLevel::Warn, LogLevel::Error]);
    }
}

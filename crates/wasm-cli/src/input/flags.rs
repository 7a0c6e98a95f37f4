use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueHint};

use wasm_core::text::{PathText as _, Quoted};
use wasm_core::units::{format_bytes, parse_bytes, parse_duration};
use wasm_core::{
    ComponentId, ComponentPattern, DirAccess, HttpPattern, ImportPattern, LogLevel, Permissions,
    ResourceLimits, WasiGrant,
};
use wasm_runtime::EngineConfig;

use crate::input::compiler::CompilerFlags;
use crate::output::report::Report;

const PERMISSIONS: &str = "\
Permission to grant (repeatable)

  send[=PATTERN]            messages to these components, all without PATTERN
  request[=PATTERN]         requests to them
  broadcast[=PATTERN]       broadcasts to them
  storage[=SIZE]            a key-value store of this size, 1MiB without SIZE
  log[=LEVEL]               log lines from this level on, info without LEVEL
  http=ORIGIN               HTTP requests to this origin, such as
                            https://api.example.com or http://localhost:*
  wasi=stdout, wasi=stderr  standard streams, shown on standard error
  wasi=env                  the variables of --env and the manifest
  wasi=dir:PATH             a folder to read, under the name PATH
  wasi=dir:PATH:write[:SIZE]
                            one to write, that holds 64MiB without SIZE, which
                            may be unbounded
  wasi=connect:IP:PORT      TCP connections to this address

With a manifest, storage and log replace what it says; the others are added.";

/// What the operator decides on the command line; it takes precedence over a manifest.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits and permissions")]
pub(crate) struct Flags {
    /// Memory limit: total of all memories and tables, such as 2MiB
    ///
    /// Required for a bare .wasm, as are --fuel and --timeout. With a manifest, it
    /// replaces what the manifest says; so do the other two.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,

    /// Fuel per call, about one per instruction, or "unmetered"
    #[arg(long, value_name = "COUNT")]
    pub(crate) fuel: Option<Fuel>,

    /// Wall-clock time per call, such as 250ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,

    /// Permission to grant (repeatable), such as log=info or storage=1MiB
    #[arg(long, value_name = "KEY[=VALUE]", long_help = PERMISSIONS)]
    pub(crate) allow: Vec<Allow>,

    /// Variable that the component is given (repeatable); replaces the manifest's of that name
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,

    /// File with the component's configuration data; replaces what the manifest names
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Folder or file outside of the manifest's folder that the manifest may name (repeatable)
    ///
    /// What a manifest names, links and `..` followed, must lie in its own folder, or, if
    /// it is the component's file, in a folder beside that. Paths given by other flags
    /// may lie anywhere.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) allow_outside: Vec<PathBuf>,

    /// Who the component is [default: the manifest's, or local/NAME-OF-THE-FILE/main]
    #[arg(long, value_name = "NAMESPACE/NAME/INSTANCE")]
    pub(crate) id: Option<ComponentId>,

    /// Largest memory limit that a manifest or --memory may set
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "4MiB",
        value_parser = parse_ceiling
    )]
    pub(crate) memory_ceiling: u64,

    /// Most that the host holds for a component outside of its memory, such as the
    /// buffers of its streams
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "2MiB",
        value_parser = parse_bytes
    )]
    pub(crate) max_held: u64,

    #[command(flatten)]
    pub(crate) compiler: CompilerFlags,

    /// Whether the command has the flags that replace a limit of the manifest.
    #[arg(skip = true)]
    pub(crate) replace_limits: bool,
}

impl Flags {
    /// Of a command that runs many components, each with the limits of its manifest.
    pub(crate) fn of_many(memory_ceiling: u64, compiler: CompilerFlags) -> Self {
        Self {
            memory: None,
            fuel: None,
            timeout: None,
            allow: Vec::new(),
            env: Vec::new(),
            config: None,
            allow_outside: Vec::new(),
            id: None,
            memory_ceiling,
            compiler,
            max_held: EngineConfig::default().max_held_bytes(),
            replace_limits: false,
        }
    }

    /// Where the limit of memory is that something does not fit in.
    pub(crate) fn with_memory_limit(&self, report: Report) -> Report {
        match (self.memory, self.replace_limits) {
            (Some(_), _) => report.with_note("the limit was given by --memory"),
            (None, true) => report.with_help(
                "`memory` in [resources] is that limit, which --memory replaces for one run",
            ),
            (None, false) => report.with_help("`memory` in [resources] is that limit"),
        }
    }

    /// A file of the command line that the component could not hold.
    pub(crate) fn too_large(&self, file: &Path, memory_bytes: u64) -> Report {
        self.with_memory_limit(Report::error(format!(
            "{} is larger than the {} of memory that the component may have",
            file.escaped(),
            format_bytes(memory_bytes)
        )))
    }

    /// The flags of a bare component's limits that are missing.
    pub(crate) fn missing_limits(&self) -> Vec<&'static str> {
        [
            ("--memory", self.memory.is_none()),
            ("--fuel", self.fuel.is_none()),
            ("--timeout", self.timeout.is_none()),
        ]
        .into_iter()
        .filter_map(|(flag, missing)| missing.then_some(flag))
        .collect()
    }
}

/// Fuel per call; `None` is "unmetered".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fuel(pub(crate) Option<u64>);

impl FromStr for Fuel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unmetered" {
            return Ok(Self(None));
        }
        text.replace('_', "")
            .parse()
            .ok()
            .filter(|fuel| *fuel > 0)
            .map(|fuel| Self(Some(fuel)))
            .ok_or_else(|| {
                format!(
                    "{} is not a whole number from 1 to 2^64-1, nor \"unmetered\"",
                    Quoted::new(text)
                )
            })
    }
}

pub(crate) fn parse_ceiling(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    let allowed = ResourceLimits::MIN_MEMORY_BYTES..=ResourceLimits::MAX_MEMORY_BYTES;
    if allowed.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!(
        "a ceiling is {} to {}",
        format_bytes(*allowed.start()),
        format_bytes(*allowed.end())
    ))
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a variable is NAME=VALUE".to_owned()),
    }
}

/// One value of `--allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allow {
    Send(ComponentPattern),
    Request(ComponentPattern),
    Broadcast(ComponentPattern),
    Storage(u64),
    Log(LogLevel),
    Http(HttpPattern),
    Wasi(WasiGrant),
    Import(ImportPattern),
}

impl Allow {
    pub(crate) fn add_to(self, permissions: &mut Permissions) {
        match self {
            Self::Send(pattern) => permissions.send.push(pattern),
            Self::Request(pattern) => permissions.request.push(pattern),
            Self::Broadcast(pattern) => permissions.broadcast.push(pattern),
            Self::Storage(quota) => permissions.storage = Some(quota),
            Self::Log(level) => permissions.log = Some(level),
            Self::Http(pattern) => permissions.http.push(pattern),
            Self::Wasi(grant) => permissions.wasi.push(grant),
            Self::Import(pattern) => permissions.imports.push(pattern),
        }
    }
}

impl FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let pattern = || {
            value
                .unwrap_or("*/*/*")
                .parse::<ComponentPattern>()
                .map_err(|error| error.to_string())
        };
        match key {
            "send" => pattern().map(Self::Send),
            "request" => pattern().map(Self::Request),
            "broadcast" => pattern().map(Self::Broadcast),
            "storage" => parse_bytes(value.unwrap_or("1MiB"))
                .map(Self::Storage)
                .map_err(|error| error.to_string()),
            "log" => value
                .unwrap_or(LogLevel::Info.as_str())
                .parse()
                .map(Self::Log)
                .map_err(|error: wasm_core::InvalidLogLevel| error.to_string()),
            "http" => value
                .unwrap_or_default()
                .parse()
                .map(Self::Http)
                .map_err(|error: wasm_core::InvalidHttpPattern| error.to_string()),
            "wasi" => parse_wasi(value.unwrap_or_default()).map(Self::Wasi),
            "imports" => value
                .unwrap_or_default()
                .parse()
                .map(Self::Import)
                .map_err(|error: wasm_core::InvalidImportPattern| error.to_string()),
            _ => Err(format!(
                "{} is not a key of [permissions]: write send, request, broadcast, storage, log, http, wasi or imports",
                Quoted::new(key)
            )),
        }
    }
}

fn parse_wasi(text: &str) -> Result<WasiGrant, String> {
    let (kind, value) = text.split_once(':').unwrap_or((text, ""));
    match (kind, value) {
        ("stdout", "") => Ok(WasiGrant::Stdout),
        ("stderr", "") => Ok(WasiGrant::Stderr),
        ("env", "") => Ok(WasiGrant::Env),
        ("dir", path) if !path.is_empty() => {
            // Only the ending counts: a path may have colons of its own.
            let default = Some(WasiGrant::DEFAULT_QUOTA_BYTES);
            let (path, access, quota) = match path.rsplit_once(':') {
                Some((path, "read")) => (path, DirAccess::Read, None),
                Some((path, "write")) => (path, DirAccess::Write, default),
                Some((before, size)) => match before.strip_suffix(":write") {
                    Some(path) => (path, DirAccess::Write, parse_quota(size)?),
                    None => (path, DirAccess::Read, None),
                },
                None => (path, DirAccess::Read, None),
            };
            Ok(WasiGrant::Dir {
                guest: path.to_owned(),
                host: path.into(),
                access,
                quota,
            })
        }
        ("connect", address) => address
            .parse::<SocketAddr>()
            .map(WasiGrant::Connect)
            .map_err(|_| {
                format!(
                    "{} is not an address and port such as 127.0.0.1:6379",
                    Quoted::new(address)
                )
            }),
        _ => Err(format!(
            "{} is not a grant of wasi: write stdout, stderr, env, dir:PATH, dir:PATH:write[:SIZE] or \
             connect:IP:PORT",
            Quoted::new(text)
        )),
    }
}

/// How much may be in a folder; `None` is "unbounded".
fn parse_quota(text: &str) -> Result<Option<u64>, String> {
    if text == "unbounded" {
        return Ok(None);
    }
    let bytes = parse_bytes(text).ok();
    bytes
        .filter(|bytes| *bytes >= WasiGrant::MIN_QUOTA_BYTES)
        .map(Some)
        .ok_or_else(|| {
            format!(
                "{} is not a quota: write a size such as 16MiB, from {} on, or unbounded",
                Quoted::new(text),
                format_bytes(WasiGrant::MIN_QUOTA_BYTES)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &str) -> Allow {
        text.parse().unwrap()
    }

    fn dir(path: &str, access: DirAccess) -> Allow {
        Allow::Wasi(WasiGrant::Dir {
            guest: path.into(),
            host: path.into(),
            access,
            quota: (access == DirAccess::Write).then_some(WasiGrant::DEFAULT_QUOTA_BYTES),
        })
    }

    fn written(path: &str, quota: Option<u64>) -> Allow {
        Allow::Wasi(WasiGrant::Dir {
            guest: path.into(),
            host: path.into(),
            access: DirAccess::Write,
            quota,
        })
    }

    #[test]
    fn every_permission_can_be_granted() {
        let any: ComponentPattern = "*/*/*".parse().unwrap();
        let demo: ComponentPattern = "demo/*/*".parse().unwrap();
        for (text, expected) in [
            ("send", Allow::Send(any)),
            ("send=demo/*/*", Allow::Send(demo.clone())),
            ("request=demo/*/*", Allow::Request(demo.clone())),
            ("broadcast=demo/*/*", Allow::Broadcast(demo)),
            ("storage", Allow::Storage(1 << 20)),
            ("storage=64KiB", Allow::Storage(64 << 10)),
            ("log", Allow::Log(LogLevel::Info)),
            ("log=trace", Allow::Log(LogLevel::Trace)),
            ("wasi=stdout", Allow::Wasi(WasiGrant::Stdout)),
            ("wasi=stderr", Allow::Wasi(WasiGrant::Stderr)),
            ("wasi=env", Allow::Wasi(WasiGrant::Env)),
            ("wasi=dir:data", dir("data", DirAccess::Read)),
            ("wasi=dir:data:read", dir("data", DirAccess::Read)),
            ("wasi=dir:a:b:write", dir("a:b", DirAccess::Write)),
            ("wasi=dir:a:write:16MiB", written("a", Some(16 << 20))),
            ("wasi=dir:a:write:unbounded", written("a", None)),
            (
                "wasi=connect:[::1]:80",
                Allow::Wasi(WasiGrant::Connect(([0, 0, 0, 0, 0, 0, 0, 1], 80).into())),
            ),
        ] {
            assert_eq!(allow(text), expected, "{text}");
        }
    }

    #[test]
    fn a_grant_that_makes_no_sense_says_what_would() {
        for (text, part) in [
            ("", "\"\" is not a key"),
            ("loggg=info", "\"loggg\" is not a key of [permissions]"),
            ("log=loud", "\"loud\" is not a log level"),
            ("storage=1", "\"1\" is not a size"),
            ("send=demo", "\"demo\" is not a pattern"),
            ("wasi", "\"\" is not a grant of wasi"),
            ("wasi=stdin", "\"stdin\" is not a grant"),
            ("wasi=dir:a:write:1KiB", "\"1KiB\" is not a quota"),
            ("wasi=stdout:x", "\"stdout:x\" is not a grant"),
            ("wasi=dir:", "\"dir:\" is not a grant"),
            (
                "wasi=connect:localhost:80",
                "\"localhost:80\" is not an address",
            ),
        ] {
            let error = text.parse::<Allow>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn lists_grow_and_single_values_are_replaced() {
        let mut permissions = Permissions::default();
        permissions.log = Some(LogLevel::Error);
        for text in ["log=debug", "send=a/b/c", "send=d/e/f", "wasi=env"] {
            allow(text).add_to(&mut permissions);
        }
        assert_eq!(permissions.log, Some(LogLevel::Debug));
        assert_eq!(permissions.send.len(), 2);
        assert_eq!(permissions.wasi, [WasiGrant::Env]);
    }

    #[test]
    fn fuel_is_a_count_or_unmetered() {
        assert_eq!("10_000".parse(), Ok(Fuel(Some(10_000))));
        assert_eq!("unmetered".parse(), Ok(Fuel(None)));
        for bad in ["", "0", "-1", "1.5", "lots", "18446744073709551616"] {
            assert!(
                bad.parse::<Fuel>().unwrap_err().contains("unmetered"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_ceiling_is_within_what_wasm_can_address() {
        assert_eq!(parse_ceiling("64MiB"), Ok(64 << 20));
        for bad in ["0B", "511KiB", "5GiB"] {
            assert_eq!(
                parse_ceiling(bad),
                Err("a ceiling is 512KiB to 4GiB".into()),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(parse_variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_variable("A="), Ok(("A".into(), String::new())));
        for bad in ["A", "=b", ""] {
            assert!(parse_variable(bad).is_err(), "{bad}");
        }
    }
}

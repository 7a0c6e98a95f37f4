//! `Component.toml`: who a component is, what it may use and what it may do.
//!
//! [`ComponentManifest::parse`] reads a text and reports every problem in it, each
//! with its place, what is there and what is allowed. Printing a manifest gives a
//! text that reads back as the same. Nothing here touches the file system: the
//! caller reads the files.
//!
//! Paths in a manifest are relative to the folder it lies in, so that the folder
//! works wherever it is put. They may be written with `..`; how far they may lead is
//! decided by who reads the files, `wasm_host::ApplicationFolder` among them.

mod component;
mod problem;
mod read;
mod reader;
mod spans;
mod value;
mod write;

use std::path::Path;

pub use component::{ComponentManifest, ConfigSource, SecretSource};
pub use problem::{Found, ManifestErrors, ManifestProblem};
pub use spans::{ManifestSpans, Place};

impl ComponentManifest {
    /// Reads the text of the manifest that lies at `file`.
    ///
    /// `file` stands in errors, and its folder is where granted directories are
    /// looked for; the file itself is not opened. `memory_ceiling_bytes` is the
    /// largest memory limit that the operator allows, by default
    /// [`ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES`](crate::ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES); one above
    /// [`ResourceLimits::MAX_MEMORY_BYTES`](crate::ResourceLimits::MAX_MEMORY_BYTES) counts as that.
    ///
    /// # Errors
    /// Every problem in the text. Where the text is not TOML, these are the only
    /// ones reported: what it would say is not known then.
    pub fn parse(
        text: &str,
        file: &Path,
        memory_ceiling_bytes: u64,
    ) -> Result<Self, ManifestErrors> {
        Self::parse_spanned(text, file, memory_ceiling_bytes).map(|(manifest, _)| manifest)
    }

    /// As [`parse`](Self::parse), with where in the text each key stands, so that what
    /// turns out later, such as a limit that was met, can be told with its line.
    ///
    /// # Errors
    /// As those of [`parse`](Self::parse).
    pub fn parse_spanned(
        text: &str,
        file: &Path,
        memory_ceiling_bytes: u64,
    ) -> Result<(Self, ManifestSpans), ManifestErrors> {
        read::manifest(text, file, memory_ceiling_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        AfterCrash, ComponentConfig, DirAccess, HttpRoute, InstancePolicy, LogLevel,
        MessagePayload, Permissions, ResourceLimits, RestartPolicy, StartPolicy, Supervision,
        SwapPolicy, WasiGrant,
    };

    const EXAMPLE: &str = r#"
[component]
id = "demo/greeter/main"       # namespace/name/instance; segments of [A-Za-z0-9._-], 1..=64 bytes, not "." or ".."
wasm = "greeter.wasm"          # relative to this file
version = "1.0.0"              # optional: description, authors, license
description = "Greets."
authors = ["A", "B"]
license = "MIT"

[resources]                    # all three required: there are no defaults
memory = "2MiB"                # total of all memories and tables; 512KiB..=4MiB unless the operator raises the ceiling
fuel = 10_000_000              # per call, or "unmetered"
timeout = "250ms"              # wall clock per call

[env]                          # optional, handed to initialize
GREETING = "hello"
API_KEY = { file = "secrets/api-key" }
DATABASE = { environment = "SHOP_DATABASE" }

[config]                       # optional, one of the two, handed to initialize as config-data
file = "greeter.json"
# text = "..."

[permissions]                  # what is absent is denied
send = ["demo/*/*"]            # glob per segment
request = ["demo/counter/*"]
broadcast = ["demo/*/*"]
storage = "1MiB"               # quota; absent: no storage
log = "info"                   # most verbose level that is kept; absent: logs are dropped
http = ["https://api.example.com", "http://localhost:*"]
wasi = ["stdout", "stderr", "env", { dir = "data", access = "read" }, { connect = "127.0.0.1:6379" }]

[supervision]                  # optional
restart = "on-failure"         # "never" (default), "on-failure"
max-restarts = 4
within = "6s"
backoff = "60ms"               # doubles up to 5 s
mailbox = 512                  # messages waiting at most
start = "on-message"           # "at-once" (default), "on-message"
idle = "30s"                   # without a message for so long, it has no instance
health = "10s"                 # how often it is asked how it is
swap = "pause"                 # "beside" (default), "pause": without room for two versions

[delivery]                     # optional, where the application runs on several nodes
after-crash = "redeliver"      # "dead-letter" (default), "redeliver": what a dead node was handling

[http]                         # optional
path = "/shop/*"               # requests to /shop and below are for it
reply-type = "text/plain"      # of a component that takes messages

[build]                        # optional, for `airssys-wasm build`
command = "make greeter.wasm"
sources = ["src", "../common"] # folders with the sources, [default: that of the manifest]
"#;

    #[test]
    fn every_key_has_its_place() {
        let file = Path::new("demo/Component.toml");
        let (_, spans) = ComponentManifest::parse_spanned(EXAMPLE, file, 4 << 20).unwrap();
        for (key, line, written) in [
            ("component.id", 3, "id = \"demo/greeter/main\""),
            ("resources.fuel", 12, "fuel = 10_000_000"),
            ("env.GREETING", 16, "GREETING = \"hello\""),
            ("config.file", 21, "file = \"greeter.json\""),
            ("permissions.send", 25, "send = [\"demo/*/*\"]"),
            ("permissions.send[0]", 25, "\"demo/*/*\""),
            ("permissions.wasi[0]", 31, "\"stdout\""),
            (
                "permissions.wasi[3]",
                31,
                "{ dir = \"data\", access = \"read\" }",
            ),
        ] {
            let span = spans.span(key).unwrap();
            assert_eq!(&EXAMPLE[span.clone()], written, "{key}");
            assert_eq!(Place::of(EXAMPLE, span.start).line, line, "{key}");
        }
        for absent in ["resources", "config.text", "permissions.wasi[5]", "x.y"] {
            assert_eq!(spans.span(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let component = "[component]\nid = \"a/b/c\"\nwasm = \"x\"\n";
        let text = "description = \'\'\'\n[resources]\ntimeout = \"9h\"\n\'\'\'\n";
        let rest = "memory = \"1MiB\"\nfuel = 1\n";
        let inline = "{ memory = \"1MiB\", fuel = 1, timeout = \"1s\" }\n";
        let dotted =
            "resources.memory = \"1MiB\"\nresources.fuel = 1\nresources.timeout = \"1s\"\n";
        for (text, place) in [
            (
                format!("{component}{text}[resources]\ntimeout = \"1s\"\n{rest}"),
                (9, 1),
            ),
            (
                format!("{component}[ resources ]\n  timeout=\"1s\"\n{rest}"),
                (5, 3),
            ),
            (
                format!("{component}[resources]\n\"timeout\" = \"1s\"\n{rest}"),
                (5, 1),
            ),
            (format!("{dotted}{component}"), (3, 11)),
            (format!("resources = {inline}{component}"), (1, 42)),
            (format!("\u{feff}resources = {inline}{component}"), (1, 42)),
            (
                format!("\u{feff}[resources]\r\n{rest}timeout = \"1s\"\n{component}"),
                (4, 1),
            ),
        ] {
            let file = Path::new("Component.toml");
            let (_, spans) = ComponentManifest::parse_spanned(&text, file, 4 << 20).unwrap();
            let span = spans.span("resources.timeout").unwrap();
            let found = Place::of(&text, span.start);
            assert_eq!((found.line, found.column), place, "{text}");
        }
    }

    fn example() -> ComponentManifest {
        ComponentManifest::parse(EXAMPLE, Path::new("demo/Component.toml"), 4 << 20).unwrap()
    }

    #[test]
    fn every_key_is_read() {
        let limits = ResourceLimits::new(2 << 20, Duration::from_millis(250), Some(10_000_000));
        let pattern = |text: &str| vec![text.parse().unwrap()];
        let expected = ComponentManifest {
            id: "demo/greeter/main".parse().unwrap(),
            wasm: "greeter.wasm".into(),
            version: Some("1.0.0".to_owned()),
            description: Some("Greets.".to_owned()),
            authors: vec!["A".to_owned(), "B".to_owned()],
            license: Some("MIT".to_owned()),
            limits: limits.unwrap(),
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            secrets: vec![
                (
                    "API_KEY".to_owned(),
                    SecretSource::File("secrets/api-key".into()),
                ),
                (
                    "DATABASE".to_owned(),
                    SecretSource::Environment("SHOP_DATABASE".to_owned()),
                ),
            ],
            config: ConfigSource::File("greeter.json".into()),
            permissions: Permissions {
                send: pattern("demo/*/*"),
                request: pattern("demo/counter/*"),
                broadcast: pattern("demo/*/*"),
                storage: Some(1 << 20),
                log: Some(LogLevel::Info),
                http: vec![
                    "https://api.example.com".parse().unwrap(),
                    "http://localhost:*".parse().unwrap(),
                ],
                wasi: vec![
                    WasiGrant::Stdout,
                    WasiGrant::Stderr,
                    WasiGrant::Env,
                    WasiGrant::Dir {
                        guest: "data".to_owned(),
                        host: "demo/data".into(),
                        access: DirAccess::Read,
                        quota: None,
                    },
                    WasiGrant::Connect(([127, 0, 0, 1], 6379).into()),
                ],
                imports: Vec::new(),
            },
            instances: InstancePolicy::Resident,
            concurrency: 1,
            supervision: Supervision {
                restart: RestartPolicy::OnFailure,
                max_restarts: 4,
                within: Duration::from_secs(6),
                backoff: Duration::from_millis(60),
                mailbox: 512,
                start: StartPolicy::OnMessage,
                idle: Some(Duration::from_secs(30)),
                health: Some(Duration::from_secs(10)),
                swap: SwapPolicy::Pause,
                after_crash: AfterCrash::Redeliver,
            },
            http: Some(HttpRoute::new("/shop/*".parse().unwrap()).with_reply_type("text/plain")),
            build_command: Some("make greeter.wasm".to_owned()),
            build_sources: vec!["src".into(), "../common".into()],
        };
        assert_eq!(example(), expected);
    }

    #[test]
    fn a_component_is_loaded_with_what_its_manifest_says() {
        let manifest = example();
        let content = Bytes::from_static(b"{}");
        let config = manifest.config(Some(content.clone()));
        assert_eq!(
            config,
            ComponentConfig::new(manifest.limits)
                .with_env("GREETING", "hello")
                .with_config_data(content.clone())
                .with_permissions(manifest.permissions.clone())
        );
        for (source, file_content, data) in [
            (ConfigSource::None, Some(content.clone()), None),
            (ConfigSource::File("a".into()), None, None),
            (ConfigSource::Text("t".to_owned()), Some(content), Some("t")),
        ] {
            let manifest = ComponentManifest {
                config: source,
                ..manifest.clone()
            };
            let config = manifest.config(file_content);
            assert_eq!(config.config_data, data.map(MessagePayload::from));
        }
    }
}

use std::fmt::{self, Display, Write};
use std::path::Path;

use super::component::{ComponentManifest, ConfigSource, SecretSource};
use crate::units::{format_bytes, format_count, format_duration};
use crate::{
    AfterCrash, ComponentPattern, DirAccess, HttpPattern, ImportPattern, InstancePolicy,
    Permissions, StartPolicy, Supervision, SwapPolicy, WasiGrant,
};

/// A text that [`ComponentManifest::parse`] reads as the same manifest, without
/// what is absent or as by default.
///
/// The host's side of a directory is not written: it follows from where the
/// manifest lies. Paths that are not UTF-8 cannot be written exactly.
impl Display for ComponentManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[component]")?;
        writeln!(f, "id = {}", Text(self.id.as_str()))?;
        writeln!(f, "wasm = {}", path(&self.wasm))?;
        for (key, text) in [
            ("version", &self.version),
            ("description", &self.description),
        ] {
            optional(f, key, text.as_deref().map(Text))?;
        }
        if !self.authors.is_empty() {
            list(f, "authors", self.authors.iter().map(|author| Text(author)))?;
        }
        optional(f, "license", self.license.as_deref().map(Text))?;

        writeln!(f, "\n[resources]")?;
        let memory = format_bytes(self.limits.memory_bytes());
        writeln!(f, "memory = {}", Text(&memory))?;
        match self.limits.fuel() {
            Some(fuel) => writeln!(f, "fuel = {}", format_count(fuel))?,
            None => writeln!(f, "fuel = \"unmetered\"")?,
        }
        let timeout = format_duration(self.limits.timeout());
        writeln!(f, "timeout = {}", Text(&timeout))?;
        if self.instances != InstancePolicy::default() {
            writeln!(f, "instance = {}", Text(self.instances.as_str()))?;
        }
        if self.concurrency != 1 {
            writeln!(f, "concurrency = {}", format_count(self.concurrency.into()))?;
        }

        if !self.env.is_empty() || !self.secrets.is_empty() {
            writeln!(f, "\n[env]")?;
        }
        for (name, value) in &self.env {
            writeln!(f, "{} = {}", Text(name), Text(value))?;
        }
        for (name, source) in &self.secrets {
            let (key, value) = match source {
                SecretSource::File(file) => ("file", path(file)),
                SecretSource::Environment(name) => ("environment", Text(name).to_string()),
            };
            writeln!(f, "{} = {{ {key} = {value} }}", Text(name))?;
        }
        match &self.config {
            ConfigSource::None => {}
            ConfigSource::File(file) => writeln!(f, "\n[config]\nfile = {}", path(file))?,
            ConfigSource::Text(text) => writeln!(f, "\n[config]\ntext = {}", Text(text))?,
        }
        if self.permissions != Permissions::default() {
            permissions(f, &self.permissions)?;
        }
        let after_crash = self.supervision.after_crash;
        let default = Supervision {
            after_crash,
            ..Supervision::default()
        };
        if self.supervision != default {
            supervision(f, &self.supervision)?;
        }
        if after_crash != AfterCrash::default() {
            let policy = Text(after_crash.as_str());
            writeln!(f, "\n[delivery]\nafter-crash = {policy}")?;
        }
        if let Some(http) = &self.http {
            writeln!(f, "\n[http]\npath = \"{}\"", http.path)?;
            optional(f, "reply-type", http.reply_type.as_deref().map(Text))?;
        }
        if self.build_command.is_some() || !self.build_sources.is_empty() {
            writeln!(f, "\n[build]")?;
        }
        if let Some(command) = &self.build_command {
            writeln!(f, "command = {}", Text(command))?;
        }
        if !self.build_sources.is_empty() {
            let folders: Vec<String> = self
                .build_sources
                .iter()
                .map(|folder| path(folder))
                .collect();
            writeln!(f, "sources = [{}]", folders.join(", "))?;
        }
        Ok(())
    }
}

fn permissions(f: &mut fmt::Formatter<'_>, permissions: &Permissions) -> fmt::Result {
    writeln!(f, "\n[permissions]")?;
    for (key, patterns) in [
        ("send", &permissions.send),
        ("request", &permissions.request),
        ("broadcast", &permissions.broadcast),
    ] {
        if !patterns.is_empty() {
            let texts: Vec<String> = patterns.iter().map(ComponentPattern::to_string).collect();
            list(f, key, texts.iter().map(|text| Text(text)))?;
        }
    }
    let storage = permissions.storage.map(format_bytes);
    optional(f, "storage", storage.as_deref().map(Text))?;
    optional(f, "log", permissions.log.map(|level| Text(level.as_str())))?;
    if !permissions.http.is_empty() {
        let texts: Vec<String> = permissions
            .http
            .iter()
            .map(HttpPattern::to_string)
            .collect();
        list(f, "http", texts.iter().map(|text| Text(text)))?;
    }
    if !permissions.wasi.is_empty() {
        list(f, "wasi", permissions.wasi.iter().map(grant))?;
    }
    if !permissions.imports.is_empty() {
        let texts: Vec<String> = permissions
            .imports
            .iter()
            .map(ImportPattern::to_string)
            .collect();
        list(f, "imports", texts.iter().map(|text| Text(text)))?;
    }
    Ok(())
}

fn grant(grant: &WasiGrant) -> String {
    match grant {
        WasiGrant::Stdout => Text("stdout").to_string(),
        WasiGrant::Stderr => Text("stderr").to_string(),
        WasiGrant::Env => Text("env").to_string(),
        WasiGrant::Dir {
            guest,
            access: DirAccess::Read,
            ..
        } => format!("{{ dir = {}, access = \"read\" }}", Text(guest)),
        WasiGrant::Dir {
            guest,
            access: DirAccess::Write,
            quota,
            ..
        } => {
            let quota = quota.map_or_else(|| "unbounded".to_owned(), format_bytes);
            let guest = Text(guest);
            format!(
                "{{ dir = {guest}, access = \"write\", quota = {} }}",
                Text(&quota)
            )
        }
        WasiGrant::Connect(address) => format!("{{ connect = \"{address}\" }}"),
    }
}

fn supervision(f: &mut fmt::Formatter<'_>, supervision: &Supervision) -> fmt::Result {
    writeln!(f, "\n[supervision]")?;
    writeln!(f, "restart = {}", Text(supervision.restart.as_str()))?;
    let max_restarts = format_count(supervision.max_restarts.into());
    writeln!(f, "max-restarts = {max_restarts}")?;
    for (key, duration) in [
        ("within", supervision.within),
        ("backoff", supervision.backoff),
    ] {
        writeln!(f, "{key} = {}", Text(&format_duration(duration)))?;
    }
    let mailbox = format_count(supervision.mailbox.into());
    writeln!(f, "mailbox = {mailbox}")?;
    if supervision.start != StartPolicy::default() {
        writeln!(f, "start = {}", Text(supervision.start.as_str()))?;
    }
    for (key, duration) in [("idle", supervision.idle), ("health", supervision.health)] {
        let duration = duration.map(format_duration);
        optional(f, key, duration.as_deref().map(Text))?;
    }
    if supervision.swap != SwapPolicy::default() {
        writeln!(f, "swap = {}", Text(supervision.swap.as_str()))?;
    }
    Ok(())
}

fn optional(f: &mut fmt::Formatter<'_>, key: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| writeln!(f, "{key} = {value}"))
}

fn list<T: Display>(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    writeln!(f, "{key} = [{}]", items.join(", "))
}

fn path(path: &Path) -> String {
    Text(&path.to_string_lossy()).to_string()
}

/// A TOML string, with escapes where TOML wants them; as a key, a quoted one.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                _ if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ComponentId, HttpRoute, LogLevel, ResourceLimits, RestartPolicy};

    #[track_caller]
    fn reads_back(manifest: &ComponentManifest) {
        let text = manifest.to_string();
        let read = ComponentManifest::parse(&text, Path::new("d/Component.toml"), 4 << 30);
        assert_eq!(read.as_ref(), Ok(manifest), "{text}");
    }

    fn minimal(fuel: Option<u64>) -> ComponentManifest {
        let limits = ResourceLimits::new(512 << 10, Duration::from_millis(1500), fuel).unwrap();
        let id = ComponentId::new("demo", "greeter", "main").unwrap();
        ComponentManifest::new(id, "greeter.wasm", limits)
    }

    #[test]
    fn what_is_absent_is_not_written() {
        assert_eq!(
            minimal(None).to_string(),
            r#"[component]
id = "demo/greeter/main"
wasm = "greeter.wasm"

[resources]
memory = "512KiB"
fuel = "unmetered"
timeout = "1500ms"
"#
        );
        reads_back(&minimal(None));
        reads_back(&minimal(Some(u64::MAX)));
    }

    #[test]
    fn a_text_is_escaped_where_toml_wants_it_and_stays_readable() {
        for (text, written) in [
            ("", r#""""#),
            ("é 'x'", r#""é 'x'""#),
            ("\"a\\", r#""\"a\\""#),
            ("a\n\tb", r#""a\n\tb""#),
            ("\r\u{0}\u{7f}\u{85}", r#""\u000D\u0000\u007F\u0085""#),
        ] {
            assert_eq!(Text(text).to_string(), written, "{text:?}");
        }
    }

    #[test]
    fn everything_reads_back() {
        let odd = "\"\\\u{0}\u{7f}\u{85}\t\r\né\u{202e}'''";
        let mut manifest = minimal(Some(1_000_000));
        manifest.wasm = "../a \"b\"\\c.wasm".into();
        manifest.version = Some("1.0.0".to_owned());
        manifest.description = Some(odd.to_owned());
        manifest.authors = vec!["A <a@b>".to_owned(), odd.to_owned()];
        manifest.license = Some(String::new());
        manifest.env = vec![
            ("Z".to_owned(), odd.replace('\0', "")),
            ("a b.c\n\"".to_owned(), String::new()),
        ];
        manifest.secrets = vec![
            ("S".to_owned(), SecretSource::File("/run/\"x\"".into())),
            ("E".to_owned(), SecretSource::Environment("X Y".to_owned())),
        ];
        manifest.config = ConfigSource::Text(odd.to_owned());
        manifest.permissions.send = vec!["demo/*/*".parse().unwrap(), "a/b/c".parse().unwrap()];
        manifest.permissions.request = vec!["demo/counter/*".parse().unwrap()];
        manifest.permissions.broadcast = vec!["*/*/*".parse().unwrap()];
        manifest.permissions.storage = Some(1_000_001);
        manifest.permissions.log = Some(LogLevel::Warn);
        manifest.permissions.http = vec![
            "https://*.example.com".parse().unwrap(),
            "http://localhost:*".parse().unwrap(),
        ];
        manifest.permissions.imports = vec!["acme:shop/*".parse().unwrap()];
        manifest.permissions.wasi = vec![
            WasiGrant::Stdout,
            WasiGrant::Stderr,
            WasiGrant::Env,
            WasiGrant::Connect("[::1]:80".parse().unwrap()),
            WasiGrant::Dir {
                guest: "data".to_owned(),
                host: "d/data".into(),
                access: DirAccess::Read,
                quota: None,
            },
            WasiGrant::Dir {
                guest: "../\"out\"".to_owned(),
                host: "d/../\"out\"".into(),
                access: DirAccess::Write,
                quota: Some(16 << 20),
            },
            WasiGrant::Dir {
                guest: "all".to_owned(),
                host: "d/all".into(),
                access: DirAccess::Write,
                quota: None,
            },
        ];
        manifest.instances = InstancePolicy::PerMessage;
        manifest.concurrency = 1000;
        manifest.supervision.restart = RestartPolicy::OnFailure;
        manifest.supervision.max_restarts = u32::MAX;
        manifest.supervision.within = Duration::from_secs(86_400);
        manifest.supervision.backoff = Duration::from_micros(1500);
        manifest.supervision.mailbox = 1;
        manifest.supervision.start = StartPolicy::OnMessage;
        manifest.supervision.idle = Some(Duration::from_millis(1));
        manifest.supervision.health = Some(Duration::from_secs(86_400));
        manifest.supervision.swap = SwapPolicy::Pause;
        manifest.supervision.after_crash = AfterCrash::Redeliver;
        let path = "/shop/*".parse().unwrap();
        manifest.http = Some(HttpRoute::new(path).with_reply_type("text/html; charset=\"x\""));
        reads_back(&manifest);
        manifest.config = ConfigSource::File("a/b.json".into());
        reads_back(&manifest);
    }
}

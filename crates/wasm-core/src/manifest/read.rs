use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::component::{ComponentManifest, ConfigSource, SecretSource};
use super::problem::{Found, ManifestErrors, Problems};
use super::reader::{Reader, Section};
use super::spans::ManifestSpans;
use super::value::{choice, duration, one_of, relative_path, size, string, whole_number};
use crate::text::Quoted;
use crate::units::{format_bytes, format_duration};
use crate::{
    AfterCrash, ComponentConfig, ComponentId, ComponentPattern, DirAccess, HttpPattern, HttpRoute,
    ImportPattern, InstancePolicy, InvalidComponentId, LogLevel, Permissions, ResourceLimits,
    RestartPolicy, StartPolicy, Supervision, SwapPolicy, WasiGrant,
};

const ACCESSES: [(&str, DirAccess); 2] = [("read", DirAccess::Read), ("write", DirAccess::Write)];

/// Names and what they stand for, in the order of the file.
type Variables<T> = Vec<(String, T)>;

pub(super) fn manifest(
    source: &str,
    file: &Path,
    memory_ceiling_bytes: u64,
) -> Result<(ComponentManifest, ManifestSpans), ManifestErrors> {
    let mut reader = Reader {
        folder: file.parent().unwrap_or(Path::new("")),
        problems: Problems::default(),
    };
    let (root, complaints) = DeTable::parse_recoverable(source);
    for complaint in complaints {
        reader.not_toml(source, &complaint);
    }
    // What a damaged text seems to say is not worth reporting on.
    let manifest = if reader.problems.is_empty() {
        reader.manifest(root.get_ref(), memory_ceiling_bytes)
    } else {
        None
    };
    match manifest {
        Some(manifest) if reader.problems.is_empty() => {
            Ok((manifest, ManifestSpans::of(root.get_ref())))
        }
        _ => Err(ManifestErrors::new(reader.problems, source, file)),
    }
}

impl Reader<'_> {
    fn manifest(
        &mut self,
        root: &DeTable<'_>,
        memory_ceiling_bytes: u64,
    ) -> Option<ComponentManifest> {
        let misspelled = self.unknown_sections(root);
        for (name, keys) in [
            ("component", "`id` and `wasm`"),
            ("resources", "`memory`, `fuel` and `timeout`"),
        ] {
            if !root.contains_key(name) && !misspelled.contains(&name) {
                let allowed = format!("a section [{name}] with {keys}");
                self.report(0..0, name.to_owned(), Found::Nothing, allowed);
            }
        }
        let component = self.section(root, "component");
        let resources = self.section(root, "resources");
        let (env, secrets) = self.env(root);
        let config = self.config(root);
        let permissions = self.permissions(root);
        let supervision = Supervision {
            after_crash: self.after_crash(root),
            ..self.supervision(root)
        };
        let (instances, concurrency) = match &resources {
            Some(section) => self.instances(section),
            None => (InstancePolicy::default(), 1),
        };
        let (build_command, build_sources) = self.build(root);
        let http = self.http(root);
        let limits = resources.and_then(|section| self.limits(&section, memory_ceiling_bytes));
        let section = component?;

        let id = self.required(
            &section,
            "id",
            "`namespace/name/instance`, each 1 to 64 of the characters [A-Za-z0-9._-] and not \
             \".\" or \"..\"",
            |value| {
                let text = value.as_str().ok_or(None)?;
                text.parse::<ComponentId>().map_err(|error| match error {
                    InvalidComponentId::Segments { .. } => None,
                    InvalidComponentId::Segment { segment, found } => {
                        Some(format!("the {segment} {} is at fault", Quoted::new(&found)))
                    }
                })
            },
        );
        let wasm = self.required(
            &section,
            "wasm",
            "the path of a file, relative to the manifest's folder",
            relative_path,
        );
        let version = self.string(&section, "version", "a string such as \"1.0.0\"");
        let description = self.string(&section, "description", "a string");
        let authors = self.list(&section, "authors", "a list of strings", |reader, item| {
            reader.item(&section, "authors", item, "a string", string)
        });
        let license = self.string(&section, "license", "a string such as \"MIT\"");
        Some(ComponentManifest {
            version,
            description,
            authors,
            license,
            instances,
            concurrency,
            env,
            secrets,
            config,
            permissions,
            supervision,
            http,
            build_command,
            build_sources,
            ..ComponentManifest::new(id?, wasm?, limits?)
        })
    }

    fn instances(&mut self, section: &Section<'_, '_>) -> (InstancePolicy, u32) {
        let policies = InstancePolicy::ALL.map(|policy| (policy.as_str(), policy));
        let instances = self.optional(section, "instance", &one_of(&policies), |value| {
            choice(value, &policies)
        });
        let concurrency = self.count(section, "concurrency", 1..=ComponentConfig::MAX_CONCURRENCY);
        (instances.unwrap_or_default(), concurrency.unwrap_or(1))
    }

    fn limits(&mut self, section: &Section<'_, '_>, ceiling: u64) -> Option<ResourceLimits> {
        let ceiling = ceiling.min(ResourceLimits::MAX_MEMORY_BYTES);
        let memory = self.required(
            section,
            "memory",
            &format!(
                "a size such as \"2MiB\", from {} to {}",
                format_bytes(ResourceLimits::MIN_MEMORY_BYTES),
                format_bytes(ceiling)
            ),
            |value| {
                let bytes = size(value)?;
                if (ResourceLimits::MIN_MEMORY_BYTES..=ceiling).contains(&bytes) {
                    return Ok(bytes);
                }
                let can_rise = bytes > ceiling && ceiling < ResourceLimits::MAX_MEMORY_BYTES;
                Err(can_rise.then(|| {
                    format!(
                        "{} is the ceiling on this host; its operator can raise it up to {}",
                        format_bytes(ceiling),
                        format_bytes(ResourceLimits::MAX_MEMORY_BYTES)
                    )
                }))
            },
        );
        let fuel = self.required(
            section,
            "fuel",
            "a whole number from 1 to 2^64-1, or \"unmetered\"",
            |value| {
                if let Some(text) = value.as_str() {
                    if text.replace('_', "").parse::<u64>().is_ok() {
                        return Err(Some("a number is written without quotes".to_owned()));
                    }
                    return choice(value, &[("unmetered", None)]);
                }
                whole_number(value, 1..=u64::MAX).map(Some)
            },
        );
        let timeout = self.required(
            section,
            "timeout",
            &format!(
                "a duration such as \"250ms\", from {} to {}",
                format_duration(ResourceLimits::MIN_TIMEOUT),
                format_duration(ResourceLimits::MAX_TIMEOUT)
            ),
            |value| {
                duration(
                    value,
                    ResourceLimits::MIN_TIMEOUT..=ResourceLimits::MAX_TIMEOUT,
                )
            },
        );
        ResourceLimits::new(memory?, timeout?, fuel?).ok()
    }

    fn env(&mut self, root: &DeTable<'_>) -> (Variables<String>, Variables<SecretSource>) {
        let Some(section) = self.section(root, "env") else {
            return (Vec::new(), Vec::new());
        };
        let entries = section.table.len();
        if entries > ComponentManifest::MAX_ENTRIES {
            self.too_many(section.span, section.path.to_owned(), entries);
            return (Vec::new(), Vec::new());
        }
        let mut variables: Vec<_> = section.table.iter().collect();
        variables.sort_by_key(|(key, _)| key.span().start);
        let mut env = Vec::with_capacity(variables.len());
        let mut secrets = Vec::new();
        for (key, value) in variables {
            let name = key.get_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                self.report(
                    key.span(),
                    section.dotted(name),
                    Found::Value(Quoted::new(name).to_string()),
                    "a name that is not empty and has no `=` and no NUL character",
                );
            }
            if let DeValue::Table(table) = value.get_ref() {
                let source = self.secret(&section.dotted(name), table, value.span());
                secrets.extend(source.map(|source| (name.to_string(), source)));
                continue;
            }
            let allowed = "a string without NUL characters, { file = \"...\" } or \
                           { environment = \"...\" }";
            let value = self.item(&section, name, value, allowed, |value| {
                match string(value) {
                    Ok(text) if text.contains('\0') => Err(None),
                    text => text,
                }
            });
            env.extend(value.map(|value| (name.to_string(), value)));
        }
        (env, secrets)
    }

    /// Where the value of a variable comes from.
    fn secret(
        &mut self,
        dotted: &str,
        table: &DeTable<'_>,
        span: Range<usize>,
    ) -> Option<SecretSource> {
        let allowed = "{ file = \"...\" } with the path of a file, or { environment = \"...\" } \
                       with the name of a variable of the host's environment";
        let mut entries = table.iter();
        let entry = entries.next().filter(|_| entries.next().is_none());
        let source = entry.and_then(|(key, value)| {
            let text = value.get_ref().as_str()?;
            let is_given = !text.is_empty() && !text.contains('\0');
            match key.get_ref().as_ref() {
                "file" if is_given => Some(SecretSource::File(text.into())),
                "environment" if is_given && !text.contains('=') => {
                    Some(SecretSource::Environment(text.to_owned()))
                }
                _ => None,
            }
        });
        if source.is_none() {
            let found = Found::Value("a table".to_owned());
            self.report(span, dotted.to_owned(), found, allowed);
        }
        source
    }

    fn config(&mut self, root: &DeTable<'_>) -> ConfigSource {
        let Some(section) = self.section(root, "config") else {
            return ConfigSource::None;
        };
        let allowed = "the path of a file, relative to the manifest's folder";
        let file = self.optional(&section, "file", allowed, relative_path);
        let text = self.string(&section, "text", "a string");
        let one_of = "one of `file` and `text`";
        match (section.table.get("file"), section.table.get("text")) {
            (Some(file), Some(text)) => {
                let later = if file.span().start > text.span().start {
                    file
                } else {
                    text
                };
                let both = Found::Value("both `file` and `text`".to_owned());
                self.report(later.span(), "config".to_owned(), both, one_of);
            }
            (None, None) if section.table.is_empty() => {
                self.report(section.span, "config".to_owned(), Found::Nothing, one_of);
            }
            _ => {}
        }
        match (file, text) {
            (Some(file), _) => ConfigSource::File(file),
            (None, Some(text)) => ConfigSource::Text(text),
            (None, None) => ConfigSource::None,
        }
    }

    fn permissions(&mut self, root: &DeTable<'_>) -> Permissions {
        let Some(section) = self.section(root, "permissions") else {
            return Permissions::default();
        };
        let storage = self.optional(&section, "storage", "a size such as \"1MiB\"", size);
        let levels = LogLevel::ALL.map(|level| (level.as_str(), level));
        let log = self.optional(&section, "log", &one_of(&levels), |value| {
            choice(value, &levels)
        });
        Permissions {
            send: self.patterns(&section, "send"),
            request: self.patterns(&section, "request"),
            broadcast: self.patterns(&section, "broadcast"),
            storage,
            log,
            http: self.http_patterns(&section),
            wasi: self.wasi(&section),
            imports: self.imports(&section),
        }
    }

    fn patterns(&mut self, section: &Section<'_, '_>, key: &'static str) -> Vec<ComponentPattern> {
        let allowed = "a list of patterns such as [\"demo/*/*\"]";
        self.list(section, key, allowed, |reader, item| {
            let allowed = "a pattern `namespace/name/instance` such as \"demo/*/*\", each 1 to 64 \
                           of the characters [A-Za-z0-9._-] or `*`";
            reader.item(section, key, item, allowed, |value| {
                value
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(None)
            })
        })
    }

    fn http_patterns(&mut self, section: &Section<'_, '_>) -> Vec<HttpPattern> {
        let allowed = "a list of origins such as [\"https://api.example.com\"]";
        self.list(section, "http", allowed, |reader, item| {
            let allowed = "`http://` or `https://` with a name, an address, or `*.` before a name, \
                           and no path, such as \"https://api.example.com\", \
                           \"https://*.example.com:8443\" or \"http://localhost:*\"";
            reader.item(section, "http", item, allowed, |value| {
                value
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(None)
            })
        })
    }

    fn imports(&mut self, section: &Section<'_, '_>) -> Vec<ImportPattern> {
        let allowed = "a list of interfaces such as [\"acme:shop/catalog\"]";
        self.list(section, "imports", allowed, |reader, item| {
            let allowed = "an interface `namespace:package/name` without a version, or with `*` \
                           for the name, such as \"acme:shop/*\"";
            reader.item(section, "imports", item, allowed, |value| {
                value
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(None)
            })
        })
    }

    fn wasi(&mut self, section: &Section<'_, '_>) -> Vec<WasiGrant> {
        const GRANTS: &str = "\"stdout\", \"stderr\", \"env\", { dir = \"...\", access = \"read\" }, \
                              { dir = \"...\", access = \"write\", quota = \"16MiB\" } or \
                              { connect = \"ip:port\" }";
        let allowed = format!("a list of {GRANTS}");
        let mut directories = HashSet::new();
        self.list(section, "wasi", &allowed, |reader, item| {
            if let DeValue::Table(table) = item.get_ref() {
                let grant = Section {
                    path: "permissions.wasi",
                    table,
                    span: item.span(),
                    misspelled: Vec::new(),
                };
                return reader.wasi_table(grant, &mut directories);
            }
            reader.item(section, "wasi", item, GRANTS, |value| {
                let names = [
                    ("stdout", WasiGrant::Stdout),
                    ("stderr", WasiGrant::Stderr),
                    ("env", WasiGrant::Env),
                ];
                choice(value, &names)
            })
        })
    }

    fn wasi_table(
        &mut self,
        mut grant: Section<'_, '_>,
        directories: &mut HashSet<String>,
    ) -> Option<WasiGrant> {
        if grant.table.contains_key("connect") {
            self.unknown_keys(&mut grant, &["connect"]);
            let allowed = "an address such as \"127.0.0.1:6379\" or \"[::1]:6379\"";
            let address = self.required(&grant, "connect", allowed, |value| {
                value
                    .as_str()
                    .and_then(|text| text.parse::<SocketAddr>().ok())
                    .ok_or(None)
            });
            return address.map(WasiGrant::Connect);
        }
        self.unknown_keys(&mut grant, &["dir", "access", "quota"]);
        let allowed = "the path of a folder, relative to the manifest's, and each once";
        let guest = self.required(&grant, "dir", allowed, |value| {
            relative_path(value)?;
            let guest = string(value)?;
            if directories.insert(guest.clone()) {
                Ok(guest)
            } else {
                Err(Some("it is granted above".to_owned()))
            }
        });
        let access = self.required(&grant, "access", &one_of(&ACCESSES), |value| {
            choice(value, &ACCESSES)
        });
        let quota = self.quota(&grant, access);
        let guest = guest?;
        Some(WasiGrant::Dir {
            host: self.folder.join(&guest),
            guest,
            access: access?,
            quota,
        })
    }

    /// How much may be in a folder granted for writing.
    fn quota(&mut self, grant: &Section<'_, '_>, access: Option<DirAccess>) -> Option<u64> {
        if let (Some(value), Some(DirAccess::Read)) = (grant.table.get("quota"), access) {
            self.report(
                value.span(),
                grant.dotted("quota"),
                Found::Value("a quota of a folder that is only read".to_owned()),
                "a quota beside `access = \"write\"`",
            );
            return None;
        }
        let allowed = "a size such as \"16MiB\", from 4KiB on, or \"unbounded\"";
        let quota = self.optional(grant, "quota", allowed, |value| {
            if value.as_str() == Some("unbounded") {
                return Ok(None);
            }
            let bytes = size(value)?;
            if bytes >= WasiGrant::MIN_QUOTA_BYTES {
                return Ok(Some(bytes));
            }
            Err(Some(format!(
                "each file counts {} besides its size",
                format_bytes(WasiGrant::MIN_QUOTA_BYTES)
            )))
        });
        match access? {
            DirAccess::Read => None,
            DirAccess::Write => quota.unwrap_or(Some(WasiGrant::DEFAULT_QUOTA_BYTES)),
        }
    }

    fn build(&mut self, root: &DeTable<'_>) -> (Option<String>, Vec<PathBuf>) {
        let Some(section) = self.section(root, "build") else {
            return (None, Vec::new());
        };
        let allowed = "folders, relative to the manifest's";
        let sources = self.list(&section, "sources", allowed, |reader, item| {
            reader.item(&section, "sources", item, allowed, relative_path)
        });
        // The tool of the language is told of the folders; a command says itself where it looks.
        if section.table.contains_key("sources") && !section.table.contains_key("command") {
            return (None, sources);
        }
        let allowed = "a line of a shell such as \"make greeter.wasm\"";
        let command = self.required(&section, "command", allowed, |value| {
            let line = string(value)?;
            let is_blank = line.trim().is_empty();
            if is_blank { Err(None) } else { Ok(line) }
        });
        (command, sources)
    }

    fn http(&mut self, root: &DeTable<'_>) -> Option<HttpRoute> {
        let section = self.section(root, "http")?;
        let allowed = "a path such as \"/shop\", or \"/shop/*\" with all that is below, of segments \
                       of [A-Za-z0-9._~-] that are not \".\" or \"..\"";
        let path = self.required(&section, "path", allowed, |value| {
            let path = value.as_str().and_then(|text| text.parse().ok());
            path.ok_or(None)
        });
        let allowed = "a content type such as \"text/html; charset=utf-8\"";
        let reply_type = self.optional(&section, "reply-type", allowed, |value| {
            let text = string(value)?;
            let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
            let is_type = text.contains('/') && text.bytes().all(is_visible);
            if is_type { Ok(text) } else { Err(None) }
        });
        let mut route = HttpRoute::new(path?);
        route.reply_type = reply_type;
        Some(route)
    }

    fn after_crash(&mut self, root: &DeTable<'_>) -> AfterCrash {
        let Some(section) = self.section(root, "delivery") else {
            return AfterCrash::default();
        };
        let policies = AfterCrash::ALL.map(|policy| (policy.as_str(), policy));
        let policy = self.optional(&section, "after-crash", &one_of(&policies), |value| {
            choice(value, &policies)
        });
        policy.unwrap_or_default()
    }

    fn supervision(&mut self, root: &DeTable<'_>) -> Supervision {
        let default = Supervision::default();
        let Some(section) = self.section(root, "supervision") else {
            return default;
        };
        let policies = RestartPolicy::ALL.map(|policy| (policy.as_str(), policy));
        let restart = self.optional(&section, "restart", &one_of(&policies), |value| {
            choice(value, &policies)
        });
        let starts = StartPolicy::ALL.map(|start| (start.as_str(), start));
        let start = self.optional(&section, "start", &one_of(&starts), |value| {
            choice(value, &starts)
        });
        let swaps = SwapPolicy::ALL.map(|swap| (swap.as_str(), swap));
        let swap = self.optional(&section, "swap", &one_of(&swaps), |value| {
            choice(value, &swaps)
        });
        Supervision {
            restart: restart.unwrap_or(default.restart),
            max_restarts: self
                .count(&section, "max-restarts", 0..=u32::MAX)
                .unwrap_or(default.max_restarts),
            within: self
                .duration(&section, "within", ResourceLimits::MAX_TIMEOUT)
                .unwrap_or(default.within),
            backoff: self
                .duration(&section, "backoff", Supervision::MAX_BACKOFF)
                .unwrap_or(default.backoff),
            mailbox: self
                .count(&section, "mailbox", 1..=Supervision::MAX_MAILBOX)
                .unwrap_or(default.mailbox),
            start: start.unwrap_or(default.start),
            idle: self.duration(&section, "idle", Supervision::MAX_INTERVAL),
            health: self.duration(&section, "health", Supervision::MAX_INTERVAL),
            swap: swap.unwrap_or(default.swap),
            after_crash: default.after_crash,
        }
    }
}

#[cfg(test)]
mod tests;

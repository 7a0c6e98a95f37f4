//! What this host provides to components, and which permission each part of it
//! takes. The engine's linker has the last word, at `check` and when loading; a
//! test keeps the two in step.

/// What becomes of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provision {
    /// It is there, and works without a permission.
    Free,
    /// It is there, and does nothing until this is granted: a value for `--allow`
    /// and a key of `[permissions]`.
    Granted(&'static str),
    /// It is there, so that the component loads, and refuses everything.
    Refused,
    /// It is not there: the component cannot be loaded.
    Missing,
}

/// Interfaces of WASI 0.2 by package.
const WASI: &[(&str, &[&str])] = &[
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:http", &["types", "outgoing-handler"]),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:random", &["random", "insecure", "insecure-seed"]),
    ("wasi:filesystem", &["types", "preopens"]),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
];

/// What becomes of an imported interface.
pub(crate) fn provision(interface: &str) -> Provision {
    core_provision(interface)
        .or_else(|| wasi_provision(interface))
        .unwrap_or(Provision::Missing)
}

/// Whether it is the interface through which components are sent messages.
pub(crate) fn is_lifecycle(interface: &str) -> bool {
    core_interface(interface) == Some("component-lifecycle")
}

/// Releases of major version 1 stand in for one another.
fn core_interface(interface: &str) -> Option<&str> {
    let (name, release) = interface.strip_prefix("airssys:core/")?.split_once('@')?;
    let mut numbers = release.split('.');
    let known = numbers.next() == Some("1")
        && numbers.clone().count() == 2
        && numbers.all(|number| number.parse::<u64>().is_ok());
    known.then_some(name)
}

fn core_provision(interface: &str) -> Option<Provision> {
    Some(match core_interface(interface)? {
        "types" | "errors" => Provision::Free,
        "host-messaging" => Provision::Granted("send, request, broadcast"),
        "host-services" => Provision::Granted("log"),
        "storage" => Provision::Granted("storage"),
        _ => return None,
    })
}

fn wasi_provision(interface: &str) -> Option<Provision> {
    let (path, release) = interface.split_once('@')?;
    // Releases of 0.2 stand in for one another; candidates do not.
    let patch = release.strip_prefix("0.2.")?;
    if patch.is_empty() || !patch.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (package, name) = path.split_once('/')?;
    let (_, names) = WASI.iter().find(|(known, _)| *known == package)?;
    if !names.contains(&name) {
        return None;
    }
    Some(match (package, name) {
        ("wasi:http", "outgoing-handler") => Provision::Refused,
        ("wasi:filesystem", _) => Provision::Granted("wasi (dir)"),
        ("wasi:sockets", _) => Provision::Granted("wasi (connect)"),
        ("wasi:cli", "environment") => Provision::Granted("wasi (env)"),
        ("wasi:cli", "stdout") => Provision::Granted("wasi (stdout)"),
        ("wasi:cli", "stderr") => Provision::Granted("wasi (stderr)"),
        _ => Provision::Free,
    })
}

#[cfg(test)]
mod tests {
    use wasmtime::StoreContextMut;
    use wasmtime::component::Val;
    use wasmtime::component::types::ComponentFunc;

    use wasm_core::HostServices;
    use wasm_runtime::{EngineConfig, HostState, WasmtimeEngine};

    use super::*;

    #[test]
    fn only_what_is_linked_is_provided() {
        for (interface, expected) in [
            ("airssys:core/types@1.0.0", Provision::Free),
            ("airssys:core/storage@1.0.0", Provision::Granted("storage")),
            ("airssys:core/storage@1.2.3", Provision::Granted("storage")),
            ("airssys:core/storage@2.0.0", Provision::Missing),
            ("airssys:core/storage@1.0.0-rc.1", Provision::Missing),
            ("wasi:io/poll@0.2.0", Provision::Free),
            ("wasi:io/poll@0.2.6", Provision::Free),
            ("wasi:io/poll@0.3.0", Provision::Missing),
            ("wasi:io/poll@0.2.0-rc-2023", Provision::Missing),
            ("wasi:io/poll", Provision::Missing),
            ("wasi:cli/stdout@0.2.3", Provision::Granted("wasi (stdout)")),
            ("wasi:cli/run@0.2.0", Provision::Missing),
            ("wasi:http/types@0.2.0", Provision::Free),
            ("wasi:http/outgoing-handler@0.2.0", Provision::Refused),
            ("wasi:http/incoming-handler@0.2.0", Provision::Missing),
            ("acme:db/query@1.0.0", Provision::Missing),
            ("", Provision::Missing),
        ] {
            assert_eq!(provision(interface), expected, "{interface}");
        }
    }

    /// A linker does not tell what it has, but refuses to define a name twice.
    #[test]
    fn the_engine_provides_the_whole_table() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let wasi = WASI.iter().flat_map(|(package, names)| {
            names
                .iter()
                .map(move |name| format!("{package}/{name}@0.2.12"))
        });
        let core = ["host-messaging", "host-services", "storage"]
            .map(|name| format!("airssys:core/{name}@1.0.0"));
        for interface in wasi.chain(core) {
            assert_ne!(provision(&interface), Provision::Missing, "{interface}");
            let mut linker = engine.linker().clone();
            linker.allow_shadowing(false);
            let second = linker.root().func_new(
                &interface,
                |_: StoreContextMut<'_, HostState>, _: ComponentFunc, _: &[Val], _: &mut [Val]| {
                    Ok(())
                },
            );
            assert!(second.is_err(), "{interface} is not in the linker");
        }
    }
}

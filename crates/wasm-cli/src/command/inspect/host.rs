//! Which permission a part of this host takes. Whether it is there at all is asked of
//! the engine, which also decides which release stands in for which.

/// What it takes to use an interface that this host provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It works without a permission.
    Free,
    /// It does nothing until this is granted: a value for `--allow` and a key of
    /// `[permissions]`.
    Granted(&'static str),
}

/// An interface's name without its release; this host has one of each.
pub(crate) fn path_of(interface: &str) -> &str {
    interface.split('@').next().unwrap_or(interface)
}

/// What it takes to use an interface that is provided.
pub(crate) fn access(interface: &str) -> Access {
    match path_of(interface) {
        "airssys:core/host-messaging" => Access::Granted("send, request, broadcast"),
        "airssys:core/host-services" => Access::Granted("log"),
        "airssys:core/storage" => Access::Granted("storage"),
        path if path.starts_with("wasi:keyvalue/") => Access::Granted("storage"),
        "wasi:http/outgoing-handler" => Access::Granted("http"),
        "wasi:cli/environment" => Access::Granted("wasi (env)"),
        "wasi:cli/stdout" => Access::Granted("wasi (stdout)"),
        "wasi:cli/stderr" => Access::Granted("wasi (stderr)"),
        path if path.starts_with("wasi:filesystem/") => Access::Granted("wasi (dir)"),
        path if path.starts_with("wasi:sockets/") => Access::Granted("wasi (connect)"),
        _ => Access::Free,
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::HostServices;
    use wasm_runtime::{EngineConfig, WasmtimeEngine};

    use super::*;

    #[test]
    fn access_goes_by_the_interface_whatever_its_release() {
        for (interface, expected) in [
            ("airssys:core/types@1.0.0", Access::Free),
            ("airssys:core/storage@1.0.0", Access::Granted("storage")),
            ("airssys:core/storage@1.2.3+b1", Access::Granted("storage")),
            ("wasi:io/poll@0.2.0", Access::Free),
            ("wasi:cli/stdout@0.2.3", Access::Granted("wasi (stdout)")),
            ("wasi:filesystem/types@0.2.9", Access::Granted("wasi (dir)")),
            ("wasi:http/types@0.2.0", Access::Free),
            ("wasi:http/outgoing-handler@0.2.0", Access::Granted("http")),
            (
                "wasi:keyvalue/batch@0.2.0-draft2",
                Access::Granted("storage"),
            ),
            ("wasi:config/store@0.2.0-draft", Access::Free),
            ("storage", Access::Free),
        ] {
            assert_eq!(access(interface), expected, "{interface}");
        }
    }

    /// Each function must be there, and without the permission it is of no use.
    #[tokio::test]
    async fn what_takes_a_permission_is_there() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let result = "(result (result))";
        for (interface, function) in [
            ("airssys:core/host-messaging@1.0.0", "send"),
            ("airssys:core/host-services@1.0.0", "log"),
            ("airssys:core/storage@1.0.0", "get"),
            ("wasi:http/outgoing-handler@0.2.0", "handle"),
            ("wasi:keyvalue/store@0.2.0-draft", "open"),
            ("wasi:cli/environment@0.2.0", "get-environment"),
            ("wasi:cli/stdout@0.2.0", "get-stdout"),
            ("wasi:cli/stderr@0.2.0", "get-stderr"),
            ("wasi:filesystem/preopens@0.2.0", "get-directories"),
            ("wasi:sockets/tcp-create-socket@0.2.0", "create-tcp-socket"),
        ] {
            assert_ne!(access(interface), Access::Free, "{interface}");
            let text = format!(
                "(component (import \"{interface}\" (instance
                    (export \"{function}\" (func {result})))))"
            );
            let bytes = wat::parse_str(text).unwrap().into();
            let id = "local/a/main".parse().unwrap();
            let audit = engine
                .audit_imports(&id, bytes, &Default::default())
                .await
                .unwrap();
            // Of another type, as it is none of their types, and not missing.
            let [unmet] = audit.unmet.as_slice() else {
                panic!("{interface}: {audit:?}");
            };
            assert_eq!(unmet.name, format!("{interface}#{function}"));
            assert!(
                matches!(unmet.reason, wasm_core::Unmet::OtherType { .. }),
                "{unmet}"
            );
        }
    }
}

//! Which versions of packages the engine provides, so that a component that was built for
//! another is told.

use wasm_core::{LIFECYCLE_INTERFACE, Unmet, UnmetImport};

/// The release of WASI that is linked.
const WASI_VERSION: &str = "0.2.12";
/// The latest of the drafts of these, none of which stands in for another.
const KEYVALUE_VERSION: &str = "0.2.0-draft2";
const CONFIG_VERSION: &str = "0.2.0-rc.1";

/// Tells of what is missing which version the host has, if that is another. `interfaces` are
/// the embedder's.
pub(crate) fn name_version(unmet: &mut UnmetImport, interfaces: &[&'static str]) {
    if unmet.reason != Unmet::Missing {
        return;
    }
    let interface = unmet.name.split('#').next().unwrap_or_default();
    let Some((path, wanted)) = interface.split_once('@') else {
        return;
    };
    let provided = provided(path, wanted, interfaces);
    if let Some(provided) = provided.filter(|provided| !stands_in(provided, wanted)) {
        unmet.reason = Unmet::OtherVersion {
            provided: provided.to_owned(),
        };
    }
}

/// Whether a version has all that the other has: then nothing is missing for its sake.
fn stands_in(provided: &str, wanted: &str) -> bool {
    match (numbers(provided), numbers(wanted)) {
        (Some(provided), Some(wanted)) => major(provided) == major(wanted) && provided >= wanted,
        _ => provided == wanted,
    }
}

/// Of a release, with its build left out. A pre-release stands in for itself alone.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let release = version.split('+').next()?;
    let numbers: Result<Vec<u64>, _> = release.split('.').map(str::parse).collect();
    numbers.ok()?.try_into().ok()
}

/// What is the same of releases that may stand in for each other.
fn major([major, minor, _]: [u64; 3]) -> (u64, u64) {
    (major, if major == 0 { minor } else { 0 })
}

/// The version of a package that the engine provides, or of an interface of the embedder; if
/// there are several, of the one that would be taken.
fn provided<'a>(path: &str, wanted: &str, interfaces: &[&'a str]) -> Option<&'a str> {
    let package = path.split('/').next()?;
    let contract = LIFECYCLE_INTERFACE.split_once('@');
    let contract = contract.filter(|(path, _)| path.split('/').next() == Some(package));
    if let Some((_, version)) = contract {
        return Some(version);
    }
    if let Some("cli" | "clocks" | "filesystem" | "http" | "io" | "random" | "sockets") =
        package.strip_prefix("wasi:")
    {
        return Some(WASI_VERSION);
    }
    match package {
        "wasi:keyvalue" => return Some(KEYVALUE_VERSION),
        "wasi:config" => return Some(CONFIG_VERSION),
        _ => {}
    }
    let own = interfaces.iter().filter_map(|name| name.split_once('@'));
    let own = own
        .filter(|(own, _)| *own == path)
        .map(|(_, version)| version);
    let line = |version: &str| numbers(version).map(major);
    own.max_by_key(|version| (line(version) == line(wanted), numbers(version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of an import that is missing.
    fn told(name: &str) -> Unmet {
        let interfaces = [
            "acme:shop/catalog@1.4.0",
            "acme:shop/catalog@2.1.0",
            "acme:shop/orders@0.3.0",
            "acme:shop/prices",
        ];
        let mut unmet = UnmetImport {
            name: name.to_owned(),
            reason: Unmet::Missing,
        };
        name_version(&mut unmet, &interfaces);
        unmet.reason
    }

    fn other(provided: &str) -> Unmet {
        Unmet::OtherVersion {
            provided: provided.to_owned(),
        }
    }

    #[test]
    fn a_component_for_another_version_is_told_which_there_is() {
        for (name, reason) in [
            ("airssys:core/host-log@2.0.0", other("1.0.0")),
            ("airssys:core/host-log@1.1.0#write", other("1.0.0")),
            ("wasi:http/types@0.3.0", other("0.2.12")),
            ("wasi:cli/environment@0.2.13", other("0.2.12")),
            ("wasi:keyvalue/store@0.2.0-draft", other("0.2.0-draft2")),
            ("wasi:config/store@0.2.0-draft", other("0.2.0-rc.1")),
            // Of several, the one of the same major version.
            ("acme:shop/catalog@1.5.0", other("1.4.0")),
            ("acme:shop/catalog@2.2.0", other("2.1.0")),
            ("acme:shop/catalog@3.0.0", other("2.1.0")),
            // Before 1.0.0, a minor version is another one.
            ("acme:shop/orders@0.4.0", other("0.3.0")),
            ("acme:shop/orders@0.2.0", other("0.3.0")),
            ("acme:shop/orders@0.3.0-rc.1", other("0.3.0")),
        ] {
            assert_eq!(told(name), reason, "{name}");
        }
    }

    /// The version is no reason for what is missing.
    #[test]
    fn a_version_that_would_do_is_not_named() {
        for name in [
            "airssys:core/host-dreams@1.0.0",
            "airssys:core/host-log@1.0.0+build.7",
            "wasi:cli/dreams@0.2.12",
            "wasi:cli/dreams@0.2.3",
            "wasi:keyvalue/dreams@0.2.0-draft2",
            "wasi:config/dreams@0.2.0-rc.1",
            "wasi:nn/graph@0.2.0",
            "acme:shop/catalog@1.3.9",
            "acme:shop/catalog@2.1.0",
            "acme:shop/orders@0.3.0",
            "acme:shop/prices@1.0.0",
            "acme:shop/catalog",
            "acme:shop/stock@1.0.0",
        ] {
            assert_eq!(told(name), Unmet::Missing, "{name}");
        }
    }

    #[test]
    fn what_is_not_granted_is_there() {
        let mut unmet = UnmetImport {
            name: "acme:shop/orders@9.0.0".to_owned(),
            reason: Unmet::NotGranted,
        };
        name_version(&mut unmet, &["acme:shop/orders@0.3.0"]);
        assert_eq!(unmet.reason, Unmet::NotGranted);
    }
}

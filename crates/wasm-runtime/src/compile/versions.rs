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
    let provided = provided(path, interfaces);
    if let Some(provided) = provided.filter(|provided| !stands_in(provided, wanted)) {
        unmet.reason = Unmet::OtherVersion {
            provided: provided.to_owned(),
        };
    }
}

/// Whether a version has all that the other has: then nothing is missing for its sake.
fn stands_in(provided: &str, wanted: &str) -> bool {
    // A pre-release stands in for itself, and a build for its release.
    let numbers = |version: &str| -> Option<[u64; 3]> {
        let numbers: Result<Vec<u64>, _> = version.split('.').map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    };
    let build = |version: &str| version.split('+').next().and_then(numbers);
    match (build(provided), build(wanted)) {
        (Some(provided), Some(wanted)) => {
            let major = |[major, minor, _]: [u64; 3]| (major, if major == 0 { minor } else { 0 });
            major(provided) == major(wanted) && provided >= wanted
        }
        _ => provided == wanted,
    }
}

/// The version of a package that the engine provides, or of an interface of the embedder.
fn provided<'a>(path: &str, interfaces: &[&'a str]) -> Option<&'a str> {
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
    let mut interfaces = interfaces.iter().filter_map(|name| name.split_once('@'));
    let own = interfaces.find(|(own, _)| *own == path);
    own.map(|(_, version)| version)
}

//! Whether a component may write what decides over it.

use std::path::Path;

use wasm_core::text::PathText as _;
use wasm_core::{DirAccess, WasiGrant};
use wasm_host::written_through;

use crate::input::files::unreadable;
use crate::input::flags::{Allow, Flags};
use crate::input::source::manifest::ReadManifest;
use crate::output::report::Report;

/// Whether what `--allow` grants for writing holds what decides over the component itself, as
/// no grant of a manifest may either; and whether one of the manifest holds what flags name.
pub(super) fn check_granted(
    flags: &Flags,
    manifest: Option<&ReadManifest>,
    bare: Option<&Path>,
) -> Result<(), Report> {
    let mut own: Vec<(&str, &Path)> = Vec::new();
    let mut flagged: Vec<(&str, &Path)> = Vec::new();
    let (mut written, mut written_by_flags) = (Vec::new(), Vec::new());
    own.extend(bare.map(|file| ("component", file)));
    if let Some(ReadManifest { file, files, .. }) = manifest {
        own.extend([("manifest", &*file.file), ("component", files.wasm())]);
        if flags.config.is_none() {
            own.extend(files.config().map(|file| ("configuration", file)));
        }
        own.extend(files.secrets().map(|file| ("secret", file)));
        for (folder, access) in files.dirs() {
            own.push(("granted folder", folder));
            if access == DirAccess::Write {
                written.push(folder);
            }
        }
    }
    flagged.extend(flags.config.as_deref().map(|file| ("configuration", file)));
    for allow in &flags.allow {
        if let Allow::Wasi(WasiGrant::Dir { host, access, .. }) = allow {
            flagged.push(("granted folder", host));
            if *access == DirAccess::Write {
                written_by_flags.push(host.as_path());
            }
        }
    }
    // What is of the manifest alone has been compared.
    let by_flags = written_by_flags.iter().flat_map(|folder| {
        let all = own.iter().chain(&flagged);
        all.map(move |input| (*folder, *input))
    });
    let by_manifest = written.iter().flat_map(|folder| {
        let flagged = flagged.iter();
        flagged.map(move |input| (*folder, *input))
    });
    for (folder, (what, path)) in by_flags.chain(by_manifest) {
        let through = written_through(folder, path);
        if let Some(through) = through.map_err(|error| unreadable(path, &error))? {
            return Err(grants_itself(folder, what, path, &through));
        }
    }
    Ok(())
}

fn grants_itself(folder: &Path, what: &str, path: &Path, through: &Path) -> Report {
    let report = Report::error(format!(
        "the component may write {}, and so change its own {what}",
        folder.escaped()
    ));
    let path = path.escaped();
    let way = if through.is_dir() {
        format!("{path} is looked for in that folder, or may be")
    } else {
        format!(
            "{path} is the same file as {} (a hard link)",
            through.escaped()
        )
    };
    report.with_note(way).with_help(
        "grant a folder for writing that holds data only, and keep manifests, components, \
         configuration and other granted folders out of it",
    )
}

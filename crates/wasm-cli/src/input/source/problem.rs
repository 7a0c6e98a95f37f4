//! What is wrong with an application, told with the lines of its manifests.

use std::path::{Path, PathBuf};

use wasm_core::text::PathText as _;
use wasm_host::{ApplicationErrors, ApplicationFolder, ApplicationProblem, ManifestLine};

use crate::output::report::{Excerpt, Problems, Report};

/// What is wrong with an application, with the lines of its manifests.
pub(crate) fn told(problem: &ApplicationProblem) -> Report {
    match problem {
        ApplicationProblem::Outside {
            line,
            path,
            leads_to,
            folder,
        } => {
            let path = path.escaped();
            let report = Report::error(format!(
                "{path} is outside of {}, the folder of the application",
                folder.escaped()
            ));
            let wider = match leads_to.parent() {
                Some(parent) if leads_to.is_file() => parent,
                _ => leads_to,
            };
            at_line(report, line)
                .with_note(format!("it leads to {}", leads_to.escaped()))
                .with_help(format!("--allow-outside {} allows it", wider.escaped()))
        }
        ApplicationProblem::Secret { line, reason } => at_line(Report::error(reason.clone()), line),
        ApplicationProblem::Overlap(overlap) => {
            let line = &overlap.line;
            let other = format!("{}\n{line}: {}", overlap.way(), line.text.trim());
            let report = at_line(Report::error(overlap.message()), &overlap.grant);
            report.with_note(other).with_help(match &overlap.hard_link {
                Some(_) => {
                    "give the file a single name, by copying it where it is linked, or empty the \
                     granted folder"
                }
                None => {
                    "grant a folder for writing that holds data only, and keep manifests, \
                     components, configuration and other granted folders out of it"
                }
            })
        }
        ApplicationProblem::GrantedFile(granted) => {
            let report = Report::error(format!(
                "{} lies in {}, which is granted to {}",
                granted.file.escaped(),
                granted.folder.escaped(),
                granted.component
            ));
            at_line(report, &granted.grant)
                .with_note("the file was given by --data, and has what all components store")
                .with_help("keep it in a folder that is granted to no component")
        }
        ApplicationProblem::NotAFolder { .. } => Report::error(problem.to_string()).with_help(
            "`up` takes the folder of an application, with a Component.toml in it or below",
        ),
        _ => Report::error(problem.to_string()),
    }
}

pub(crate) fn all_told(errors: &ApplicationErrors) -> Problems {
    errors.problems().iter().map(told).collect()
}

/// With what `--allow-outside` allows.
pub(crate) fn widened(
    folder: ApplicationFolder,
    outside: &[PathBuf],
) -> Result<ApplicationFolder, Report> {
    outside.iter().try_fold(folder, |folder, path| {
        let widened = folder.allow_outside(path);
        widened.map_err(|problem| told(&problem).with_note("it was named by --allow-outside"))
    })
}

/// That a manifest has more problems than those that are told.
pub(super) fn more(manifest: &Path, omitted: usize) -> Option<Report> {
    let manifest = manifest.to_owned();
    let problem = ApplicationProblem::More { manifest, omitted };
    (omitted > 0).then(|| told(&problem))
}

/// Points at a line of a manifest.
pub(super) fn at_line(report: Report, line: &ManifestLine) -> Report {
    report.at(line).with_excerpt(Excerpt {
        line: line.text.clone(),
        number: Some(line.place.line),
        start: line.place.column - 1,
        length: line.length,
        label: String::new(),
    })
}

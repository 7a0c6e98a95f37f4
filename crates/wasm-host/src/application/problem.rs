use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use wasm_core::ComponentId;
use wasm_core::manifest::ManifestErrors;
use wasm_core::text::PathText as _;
use wasm_core::units::format_bytes;

use super::files::{ManifestLine, SOURCES};

pub(super) const MANIFEST_NAME: &str = "Component.toml";

/// Deeper than any application is laid out.
pub(super) const MAX_DEPTH: usize = 16;

/// Someone who names `/` has made a mistake, and hears of it within seconds. Ten thousand
/// components in a folder each are an application.
pub(super) const MAX_FOLDERS: usize = 50_000;

/// Everything that keeps an application from being read; never nothing. Prints one
/// problem per line.
#[derive(Debug)]
pub struct ApplicationErrors(pub(super) Vec<ApplicationProblem>);

impl ApplicationErrors {
    /// Each of them.
    pub fn problems(&self) -> &[ApplicationProblem] {
        &self.0
    }
}

impl ApplicationErrors {
    /// What is wrong with one manifest, if anything is: the first problems, and how many more
    /// there are.
    pub(super) fn check(
        manifest: &Path,
        problems: impl IntoIterator<Item = ApplicationProblem>,
    ) -> Result<(), Self> {
        let mut problems = problems.into_iter();
        let mut told: Vec<_> = problems
            .by_ref()
            .take(ManifestErrors::MAX_PROBLEMS)
            .collect();
        let omitted = problems.count();
        if omitted > 0 {
            let manifest = manifest.to_owned();
            told.push(ApplicationProblem::More { manifest, omitted });
        }
        match told.is_empty() {
            true => Ok(()),
            false => Err(Self(told)),
        }
    }
}

impl From<ApplicationProblem> for ApplicationErrors {
    fn from(problem: ApplicationProblem) -> Self {
        Self(vec![problem])
    }
}

impl Display for ApplicationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Error for ApplicationErrors {}

/// One thing that keeps an application from being read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplicationProblem {
    /// A file or folder that is needed.
    #[error("{} cannot be read: {source}", path.escaped())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// As the operating system said it.
        source: io::Error,
    },
    /// A file that is larger than anything that belongs there.
    #[error("{} is larger than {}", path.escaped(), format_bytes(*limit))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// A file that a manifest names cannot be used.
    #[error("{line}: {problem}")]
    Named {
        /// The line that names it.
        line: Box<ManifestLine>,
        /// [`Unreadable`](Self::Unreadable) or [`TooLarge`](Self::TooLarge).
        problem: Box<ApplicationProblem>,
    },
    /// The value of a variable that a manifest does not say cannot be read.
    #[error("{line}: {reason}")]
    Secret {
        /// The line that says where it is.
        line: Box<ManifestLine>,
        /// Why not.
        reason: String,
    },
    /// What is wrong in a manifest.
    #[error("{0}")]
    Manifest(ManifestErrors),
    /// A manifest that is not text.
    #[error("{} is not UTF-8 text", path.escaped())]
    NotText {
        /// The manifest.
        path: PathBuf,
    },
    /// Two manifests that name the same component.
    #[error(
        "{} and {} are both {id}: give one of them another `id` in [component]",
        first.escaped(), second.escaped()
    )]
    Duplicate {
        /// The id that both have.
        id: ComponentId,
        /// The one manifest.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Something else than a folder.
    #[error("{} is no folder", path.escaped())]
    NotAFolder {
        /// What was taken for one.
        path: PathBuf,
    },
    /// More than an application has.
    #[error(
        "{} has more than {MAX_FOLDERS} folders, which is more than an application has: a \
         folder further down may be what was meant",
        folder.escaped()
    )]
    TooManyFolders {
        /// Where was looked.
        folder: PathBuf,
    },
    /// There is nothing to run.
    #[error("there is no {MANIFEST_NAME} in {} or below{}", folder.escaped(), besides(left_out))]
    Empty {
        /// Where was looked.
        folder: PathBuf,
        /// What was not looked into.
        left_out: Vec<LeftOut>,
    },
    /// A path of a manifest, or the manifest itself, leads out of the application.
    #[error(
        "{line}: {} leads to {}, which is outside of {}, the folder of the application",
        path.escaped(), leads_to.escaped(), folder.escaped()
    )]
    Outside {
        /// The line that names it; the `id` where it is the manifest itself.
        line: Box<ManifestLine>,
        /// As it is written, joined with the manifest's folder.
        path: PathBuf,
        /// Without links and `..`.
        leads_to: PathBuf,
        /// What it should be in.
        folder: PathBuf,
    },
    /// There is more wrong with a manifest than is told.
    #[error("{} has {omitted} more problems", manifest.escaped())]
    More {
        /// The manifest.
        manifest: PathBuf,
        /// How many.
        omitted: usize,
    },
    /// A component may write what decides over another, or over itself.
    #[error("{0}")]
    Overlap(Box<Overlap>),
    /// A component may read or write a file that is the host's own.
    #[error("{0}")]
    GrantedFile(Box<GrantedFile>),
}

fn besides(left_out: &[LeftOut]) -> String {
    let texts = left_out.iter().map(|left_out| format!("; {left_out}"));
    texts.collect()
}

/// A component may write what decides over another component, or over itself.
#[derive(Debug)]
#[non_exhaustive]
pub struct Overlap {
    /// Who may write.
    pub writer: ComponentId,
    /// The line that grants it.
    pub grant: ManifestLine,
    /// The folder that is granted, without links and `..`.
    pub folder: PathBuf,
    /// Whose it is.
    pub component: ComponentId,
    /// The line that names what can be written; the `id` where it is the manifest itself.
    pub line: ManifestLine,
    /// What can be written, as it is written, joined with the manifest's folder.
    pub path: PathBuf,
    /// Another name of that file in the folder, where it is by this that it can be
    /// written, or the folder itself where it is too large or too deep to be looked through
    /// for one.
    pub hard_link: Option<PathBuf>,
    /// The name of something on the way, or of the file itself, that was seen in the granted
    /// folder or below, and is elsewhere by now.
    pub moved: Option<PathBuf>,
    /// Whether it is a folder with sources in which the granted folder lies, in place of one
    /// that is looked for there.
    pub is_around: bool,
}

impl Overlap {
    /// What the component may do, in a sentence without places.
    pub fn message(&self) -> String {
        let whose = if self.writer == self.component {
            "its own".to_owned()
        } else {
            format!("the {} of {}", self.what(), self.component)
        };
        let what = if self.writer == self.component {
            format!("{whose} {}", self.what())
        } else {
            whose
        };
        format!(
            "{} may write {}, and so change {what}",
            self.writer,
            self.folder.escaped()
        )
    }

    /// How what is named is reached from the granted folder.
    pub fn way(&self) -> String {
        let path = self.path.escaped();
        if self.is_around {
            return format!("that folder is, or lies in, {path}, of which it is built");
        }
        if let Some(moved) = &self.moved {
            return format!(
                "{path} is, or lies in, what was in that folder as {}",
                moved.escaped()
            );
        }
        match &self.hard_link {
            None => format!("{path} is looked for in that folder"),
            Some(folder) if *folder == self.folder => format!(
                "{path} has several names (hard links), and the folder has too many files, or \
                 folders too deep, to tell whether one of them is there"
            ),
            Some(name) => format!(
                "{path} is the same file as {} (a hard link)",
                name.escaped()
            ),
        }
    }

    fn what(&self) -> &'static str {
        match self.line.key.as_str() {
            "component.wasm" => "component",
            "config.file" => "configuration",
            "component.id" => "manifest",
            key if key.starts_with("env.") => "secret",
            key if key.starts_with(SOURCES) => "sources",
            _ => "granted folder",
        }
    }
}

impl Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (grant, line) = (&self.grant, &self.line);
        write!(f, "{grant}: {}, {line}: {}", self.message(), self.way())
    }
}

/// Something in the folder of an application that was left out.
#[derive(Debug)]
#[non_exhaustive]
pub enum LeftOut {
    /// A link to a folder outside of the application.
    LinkOutside {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        leads_to: PathBuf,
    },
    /// A link that leads nowhere or in a circle.
    BrokenLink {
        /// The link.
        link: PathBuf,
        /// As the operating system said it.
        source: io::Error,
    },
    /// A folder below that of the application.
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// As the operating system said it.
        source: io::Error,
    },
    /// A manifest, or a link to a folder, that lies in a folder that a component may write.
    InData {
        /// The manifest or link.
        path: PathBuf,
        /// The line that grants the folder.
        grant: Box<ManifestLine>,
    },
    /// A manifest, or a folder that was not looked through for one, that is more than 16
    /// folders down.
    TooDeep {
        /// The manifest or folder.
        path: PathBuf,
    },
}

impl LeftOut {
    /// What was left out.
    pub fn path(&self) -> &Path {
        match self {
            Self::LinkOutside { link, .. } | Self::BrokenLink { link, .. } => link,
            Self::Unreadable { folder, .. } => folder,
            Self::InData { path, .. } | Self::TooDeep { path } => path,
        }
    }
}

impl Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path().escaped();
        match self {
            Self::LinkOutside { leads_to, .. } => write!(
                f,
                "{path} is a link to {}, outside of the application, and is not followed",
                leads_to.escaped()
            ),
            Self::BrokenLink { source, .. } => {
                write!(f, "{path} is a link that cannot be followed: {source}")
            }
            Self::Unreadable { source, .. } => write!(f, "{path} cannot be read: {source}"),
            Self::InData { grant, .. } => write!(
                f,
                "{path} is not loaded: a component may write it, as {grant} grants"
            ),
            Self::TooDeep { .. } => write!(
                f,
                "{path} is left out: it is more than {MAX_DEPTH} folders down"
            ),
        }
    }
}

/// A component is granted a folder in which the host keeps a file of its own.
#[derive(Debug)]
#[non_exhaustive]
pub struct GrantedFile {
    /// To whom the folder is granted.
    pub component: ComponentId,
    /// The line that grants it.
    pub grant: ManifestLine,
    /// The folder, without links and `..`.
    pub folder: PathBuf,
    /// The host's file.
    pub file: PathBuf,
}

impl Display for GrantedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} lies in {}, which is granted to {}",
            self.grant,
            self.file.escaped(),
            self.folder.escaped(),
            self.component
        )
    }
}

impl Error for GrantedFile {}

pub(super) fn unreadable(path: &Path, source: io::Error) -> ApplicationProblem {
    ApplicationProblem::Unreadable {
        path: path.to_owned(),
        source,
    }
}

//! The compiler's own side: a process that reads one component, writes what it compiled
//! it to, and ends.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, Read, Write};
use std::process::ExitCode;

use wasmtime::Engine;

use wasm_core::Defect;

use crate::compiler::settings::Settings;
use crate::compiler::{Failure, compile};
use crate::error::chain;
use crate::survey;

/// What a compiler tells the engine, each on a line of its standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// What it is not confined by.
    Unconfined(String),
    /// The component cannot be compiled.
    Defect(Defect),
    OutOfMemory,
    /// What it made is larger than any file that it may write.
    FileTooLarge,
    /// What it made is written.
    Compiled {
        metadata_bytes: u64,
    },
}

impl Report {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "unconfined" => Self::Unconfined(rest.to_owned()),
            "malformed" => Self::Defect(Defect::Malformed {
                reason: rest.to_owned(),
            }),
            "too-complex" => {
                let (found, what) = rest.split_once(' ')?;
                let defect = survey::excess(what, found.parse().ok()?)?;
                Self::Defect(defect)
            }
            "unsupported" => {
                let (proposals, advice) = survey::proposals::of_names(rest);
                Self::Defect(Defect::Unsupported { proposals, advice })
            }
            "out-of-memory" => Self::OutOfMemory,
            "file-too-large" => Self::FileTooLarge,
            "compiled" => Self::Compiled {
                metadata_bytes: rest.parse().ok()?,
            },
            _ => return None,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconfined(what) => write!(f, "unconfined {what}"),
            Self::Defect(Defect::TooComplex { what, found, .. }) => {
                write!(f, "too-complex {found} {what}")
            }
            Self::Defect(Defect::Malformed { reason }) => {
                write!(f, "malformed {}", reason.replace(['\n', '\r'], " "))
            }
            Self::Defect(Defect::Unsupported { proposals, .. }) => {
                write!(f, "unsupported {}", proposals.join(";"))
            }
            Self::Defect(other) => write!(f, "malformed {other}"),
            Self::OutOfMemory => f.write_str("out-of-memory"),
            Self::FileTooLarge => f.write_str("file-too-large"),
            Self::Compiled { metadata_bytes } => write!(f, "compiled {metadata_bytes}"),
        }
    }
}

/// Serves as the compiler of an engine that is set up with
/// [`CompilerProcess`](crate::CompilerProcess): reads a component from standard input,
/// writes what it compiled it to to standard output, and says on standard error how that
/// went.
///
/// `arguments` are those that the engine gave the process, after any of
/// [`CompilerProcess::with_argument`](crate::CompilerProcess::with_argument). To be called
/// before the process has started any thread or opened any file, because it first gives up
/// everything that it does not need: on Linux, access to files and the network and all
/// system calls but a few.
pub fn compile_for_parent(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(settings) = Settings::parse(arguments) else {
        eprintln!("this compiles a component for an engine, which starts it by itself");
        return ExitCode::FAILURE;
    };
    confine(&settings);
    match serve(&settings) {
        Ok(report) => {
            say(&report);
            if let Report::Compiled { .. } = report {
                return ExitCode::SUCCESS;
            }
        }
        Err(text) => eprintln!("{text}"),
    }
    ExitCode::FAILURE
}

fn serve(settings: &Settings) -> Result<Report, String> {
    let stopped = |error: io::Error| error.to_string();
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map_err(stopped)?;
    let engine = Engine::new(&settings.code.wasmtime_config()).map_err(|error| chain(&error))?;
    let (code, metadata_bytes) = match compile(&engine, &bytes) {
        Ok(compiled) => compiled,
        Err(Failure::Component(defect)) => return Ok(Report::Defect(defect)),
        // Where it is refused in single pieces, the process is ended instead.
        Err(Failure::OutOfMemory) => return Ok(Report::OutOfMemory),
        Err(Failure::Compiler(text)) => return Err(text),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&code).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Report::Compiled { metadata_bytes }),
        // Where the signal is ignored that ends the process otherwise.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Report::FileTooLarge),
        Err(error) => Err(stopped(error)),
    }
}

fn say(report: &Report) {
    eprintln!("{report}");
}

fn confine(settings: &Settings) {
    #[cfg(target_os = "linux")]
    for missing in crate::compiler::sandbox::enter(settings) {
        say(&Report::Unconfined(missing));
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = settings;
        let missing = "limits of memory and processor time and without a sandbox";
        say(&Report::Unconfined(missing.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_reports_is_what_the_engine_reads() {
        for (report, line) in [
            (
                Report::Unconfined("seccomp, which is missing".to_owned()),
                "unconfined seccomp, which is missing",
            ),
            (
                Report::Defect(Defect::Malformed {
                    reason: "unexpected end".to_owned(),
                }),
                "malformed unexpected end",
            ),
            (
                Report::Defect(Defect::TooComplex {
                    what: "core instances",
                    found: 300,
                    limit: 256,
                }),
                "too-complex 300 core instances",
            ),
            (
                Report::Defect(Defect::Unsupported {
                    proposals: vec!["exceptions", "threads"],
                    advice: Some("compile without `-fwasm-exceptions`"),
                }),
                "unsupported exceptions;threads",
            ),
            (Report::OutOfMemory, "out-of-memory"),
            (Report::FileTooLarge, "file-too-large"),
            (
                Report::Compiled {
                    metadata_bytes: 4096,
                },
                "compiled 4096",
            ),
        ] {
            assert_eq!(report.to_string(), line);
            assert_eq!(Report::parse(line), Some(report));
        }
    }

    #[test]
    fn a_reason_of_several_lines_is_reported_on_one() {
        let report = Report::Defect(Defect::Malformed {
            reason: "unexpected end\r\nof the file".to_owned(),
        });
        assert_eq!(report.to_string(), "malformed unexpected end  of the file");
    }

    /// A panic, or a compiler of another release.
    #[test]
    fn what_is_no_report_is_not_taken_for_one() {
        for line in [
            "",
            "thread 'main' panicked",
            "compiled",
            "compiled well",
            "too-complex",
            "too-complex many tables",
            "too-complex 65 unknown things",
            // So many there may be.
            "too-complex 64 tables",
        ] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }
}

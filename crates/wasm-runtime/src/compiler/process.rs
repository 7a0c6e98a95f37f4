//! The engine's side of a compiler that is a process of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasm_core::Defect;
use wasm_core::text::Escaped;
use wasm_core::units::{format_bytes, format_duration};

use crate::compiler::artifact::Artifact;
use crate::compiler::child::Report;
use crate::compiler::settings::Settings;
use crate::compiler::{Compilation, CompilerProcess, Failure};
use crate::config::CodeSettings;

/// What is read of what a compiler says: its report is one line, a panic some more.
const MAX_SAID_BYTES: u64 = 64 << 10;

/// How much of that is shown when it is no report.
const SHOWN_BYTES: usize = 500;

impl CompilerProcess {
    /// Starts the program, hands it the component and waits until it has ended, which is at
    /// the latest when its time is up.
    ///
    /// To be called on a thread that lives as long as this takes: Linux ends the child when
    /// the thread that started it does.
    pub(super) fn compile(
        &self,
        bytes: &[u8],
        code: CodeSettings,
        max_artifact_bytes: u64,
    ) -> Result<Compilation, Failure> {
        let settings = Settings {
            memory_bytes: self.limits.memory_bytes,
            cpu_seconds: whole_seconds(self.limits.cpu),
            max_artifact_bytes,
            parent: std::process::id(),
            code,
        };
        let not_started = |error: io::Error| {
            Failure::Compiler(format!(
                "the compiler {} could not be started: {error} (`with_compiler` in EngineConfig)",
                Escaped::new(&self.program.to_string_lossy())
            ))
        };
        let output = Output::new().map_err(not_started)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .args(settings.to_arguments())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(output.for_child().map_err(not_started)?)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_started)?;
        let ended = supervise(child, bytes, self.limits.timeout)
            .map_err(|error| Failure::Compiler(format!("the compiler was lost: {error}")))?;
        self.conclude(&ended, output, max_artifact_bytes)
    }

    fn conclude(
        &self,
        ended: &Ended,
        output: Output,
        max_artifact_bytes: u64,
    ) -> Result<Compilation, Failure> {
        let reports: Vec<Report> = ended.said.lines().filter_map(Report::parse).collect();
        for report in &reports {
            if let Report::Unconfined(what) = report {
                warn_of_unconfined(what);
            }
        }
        if ended.was_late {
            return Err(self.too_costly("time", format_duration(self.limits.timeout), "timeout"));
        }
        // What Rust says before it aborts.
        let out_of_memory = signal_of(ended.status) == Some(SIGABRT)
            && ended
                .said
                .lines()
                .any(|line| line.starts_with("memory allocation of "));
        match signal_of(ended.status) {
            Some(SIGXCPU) => {
                let limit = format_duration(self.limits.cpu);
                let seconds = whole_seconds(self.limits.cpu);
                return Err(lower_limit(Limit::Cpu, seconds)
                    .unwrap_or_else(|| self.too_costly("processor time", limit, "cpu")));
            }
            Some(SIGXFSZ) => return Err(too_large(max_artifact_bytes)),
            _ => {}
        }
        for report in reports {
            match report {
                Report::Defect(defect) => return Err(defect.into()),
                Report::OutOfMemory => return Err(self.out_of_memory()),
                Report::FileTooLarge => return Err(too_large(max_artifact_bytes)),
                Report::Compiled { metadata_bytes } if ended.status.success() => {
                    let artifact = output.into_artifact(max_artifact_bytes)?;
                    return Ok(Compilation {
                        artifact,
                        metadata_bytes,
                    });
                }
                _ => {}
            }
        }
        if out_of_memory {
            return Err(self.out_of_memory());
        }
        let said = ended.said.trim();
        let status = ended.status;
        Err(Failure::Compiler(if said.is_empty() {
            let hint = match signal_of(status) {
                Some(SIGKILL) => ", as where the system has no memory left",
                _ => "",
            };
            format!("the compiler ended without a result ({status}){hint}")
        } else {
            let said = Escaped::up_to(SHOWN_BYTES, said);
            format!("the compiler ended without a result ({status}): {said}")
        }))
    }

    fn out_of_memory(&self) -> Failure {
        let bytes = self.limits.memory_bytes;
        lower_limit(Limit::Memory, bytes)
            .unwrap_or_else(|| self.too_costly("memory", format_bytes(bytes), "memory"))
    }

    fn too_costly(&self, what: &'static str, limit: String, setting: &'static str) -> Failure {
        Failure::Component(Defect::CostlyToCompile {
            what,
            limit,
            setting,
        })
    }
}

/// What a compiler made is more than it could write.
fn too_large(max_artifact_bytes: u64) -> Failure {
    let kept = Defect::HostMemory {
        bytes: None,
        limit: max_artifact_bytes,
    };
    lower_limit(Limit::FileSize, max_artifact_bytes).unwrap_or_else(|| kept.into())
}

/// A limit that a compiler inherits from this process.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Memory,
    Cpu,
    FileSize,
}

/// That a compiler was ended by a limit of this process, if that is lower than the one
/// that it is given.
fn lower_limit(which: Limit, given: u64) -> Option<Failure> {
    ended_by(which, inherited(which), given)
}

fn ended_by(which: Limit, inherited: Option<u64>, given: u64) -> Option<Failure> {
    let inherited = inherited.filter(|inherited| *inherited < given)?;
    Some(Failure::Compiler(match which {
        Limit::Memory => format!(
            "compiling it takes more than {}, which is all that this process may use \
             (RLIMIT_DATA, `ulimit -d`)",
            format_bytes(inherited)
        ),
        Limit::Cpu => "compiling it takes more processor time than this process may use \
                       (RLIMIT_CPU, `ulimit -t`)"
            .to_owned(),
        Limit::FileSize => format!(
            "what it compiles to is larger than {}, the largest file that this process may \
             write (RLIMIT_FSIZE, `ulimit -f`)",
            format_bytes(inherited)
        ),
    }))
}

#[cfg(unix)]
fn inherited(limit: Limit) -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(match limit {
        Limit::Memory => Resource::Data,
        Limit::Cpu => Resource::Cpu,
        Limit::FileSize => Resource::Fsize,
    });
    // On Linux a compiler has the one that it is given, as far as it may.
    if cfg!(target_os = "linux") {
        limit.maximum
    } else {
        limit.current
    }
}

#[cfg(not(unix))]
fn inherited(_: Limit) -> Option<u64> {
    None
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

struct Ended {
    status: ExitStatus,
    /// What it wrote to its standard error.
    said: String,
    /// Whether it was ended because its time was up.
    was_late: bool,
}

/// Feeds the child and waits for its end, which closes its standard error.
fn supervise(mut child: Child, bytes: &[u8], timeout: Duration) -> io::Result<Ended> {
    let pipes = child.stdin.take().zip(child.stderr.take());
    let (stdin, stderr) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
    let (said, was_late) = thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        scope.spawn(move || done.send(converse(stdin, stderr, bytes)));
        match ended.recv_timeout(timeout) {
            Ok(said) => (said, false),
            Err(_) => {
                // It may have ended by itself just now.
                let _ = child.kill();
                (ended.recv().unwrap_or_default(), true)
            }
        }
    });
    // Nothing is left of it, also if it only closed its standard error.
    let _ = child.kill();
    let status = child.wait()?;
    Ok(Ended {
        status,
        said,
        was_late,
    })
}

/// The child reads all of the component before it says anything.
fn converse(mut stdin: ChildStdin, stderr: ChildStderr, bytes: &[u8]) -> String {
    // A child that ends early closes the pipe; why it ended is what it says, or its status.
    let _ = stdin.write_all(bytes);
    drop(stdin);
    let mut said = Vec::new();
    let _ = stderr.take(MAX_SAID_BYTES).read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Once for each process: it is the same for all of them.
fn warn_of_unconfined(what: &str) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!("compilers run without {what}, which this kernel does not offer");
    });
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// Sent by whoever ends a process without asking it.
const SIGKILL: i32 = 9;

/// Sent to a process that has used up its processor time; the same number on all Unix
/// systems.
const SIGXCPU: i32 = 24;

/// Sent to a process that writes a file larger than it may.
const SIGXFSZ: i32 = 25;

/// Where the child writes what it made: a file in memory that has no name.
#[cfg(target_os = "linux")]
struct Output(File);

#[cfg(target_os = "linux")]
impl Output {
    fn new() -> io::Result<Self> {
        use rustix::fs::{MemfdFlags, memfd_create};
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("compiled-component", flags)?;
        Ok(Self(file.into()))
    }

    fn for_child(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// After the child has ended.
    fn into_artifact(self, max_bytes: u64) -> Result<Artifact, Failure> {
        use rustix::fs::{SealFlags, fcntl_add_seals};
        let lost = |error: io::Error| Failure::Compiler(format!("compiled code was lost: {error}"));
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&self.0, seals).map_err(|error| lost(error.into()))?;
        let bytes = self.0.metadata().map_err(lost)?.len();
        if bytes > max_bytes {
            return Err(Defect::HostMemory {
                bytes: Some(bytes),
                limit: max_bytes,
            }
            .into());
        }
        Ok(Artifact::sealed(self.0, bytes))
    }
}

/// Where the child writes what it made: a file without a name.
#[cfg(not(target_os = "linux"))]
struct Output(File);

#[cfg(not(target_os = "linux"))]
impl Output {
    fn new() -> io::Result<Self> {
        tempfile::tempfile().map(Self)
    }

    fn for_child(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// After the child has ended.
    fn into_artifact(mut self, max_bytes: u64) -> Result<Artifact, Failure> {
        use std::io::Seek;
        let lost = |error: io::Error| Failure::Compiler(format!("compiled code was lost: {error}"));
        self.0.rewind().map_err(lost)?;
        let mut code = Vec::new();
        let taken = self.0.take(max_bytes.saturating_add(1));
        let bytes = { taken }.read_to_end(&mut code).map_err(lost)? as u64;
        if bytes > max_bytes {
            return Err(Defect::HostMemory {
                bytes: Some(bytes),
                limit: max_bytes,
            }
            .into());
        }
        Ok(Artifact::in_memory(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_this_process_is_named_if_it_is_the_lower_one() {
        let said = |which, inherited, given| match ended_by(which, inherited, given) {
            None => None,
            Some(Failure::Compiler(said)) => Some(said),
            Some(other) => panic!("{other:?}"),
        };
        for (which, named) in [
            (
                Limit::Memory,
                "compiling it takes more than 1KiB, which is all that this process may use \
                 (RLIMIT_DATA, `ulimit -d`)",
            ),
            (
                Limit::Cpu,
                "compiling it takes more processor time than this process may use (RLIMIT_CPU, \
                 `ulimit -t`)",
            ),
            (
                Limit::FileSize,
                "what it compiles to is larger than 1KiB, the largest file that this process may \
                 write (RLIMIT_FSIZE, `ulimit -f`)",
            ),
        ] {
            assert_eq!(said(which, Some(1024), 1025).as_deref(), Some(named));
            assert_eq!(said(which, Some(1024), 1024), None);
            assert_eq!(said(which, None, 1024), None);
        }
    }

    /// Set for the process that has a limit.
    const LIMITED: &str = "AIRSSYS_WASM_TEST_LIMITED";

    #[cfg(unix)]
    #[test]
    fn a_limit_of_this_process_is_known() {
        if std::env::var_os(LIMITED).is_some() {
            let lower = [101, 100].map(|given| lower_limit(Limit::Cpu, given).is_some());
            println!("inherited: {:?} {lower:?}", inherited(Limit::Cpu));
            return;
        }
        let test = "compiler::process::tests::a_limit_of_this_process_is_known";
        let limited = Command::new("sh")
            .args(["-c", "ulimit -t 100; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(LIMITED, "")
            .output()
            .unwrap();
        let said = String::from_utf8(limited.stdout).unwrap();
        assert!(
            said.contains("inherited: Some(100) [true, false]"),
            "{said}"
        );
    }

    #[test]
    fn processor_time_is_rounded_up() {
        for (time, seconds) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(2), 2),
            (Duration::from_millis(2_001), 3),
        ] {
            assert_eq!(whole_seconds(time), seconds, "{time:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_compiler_made_is_taken_up_to_a_size() {
        let output = |bytes: &[u8]| {
            let output = Output::new().unwrap();
            (&output.0).write_all(bytes).unwrap();
            output
        };
        let artifact = output(&[7; 100]).into_artifact(100).unwrap();
        assert_eq!(artifact.bytes(), 100);
        let Err(Failure::Component(defect)) = output(&[7; 101]).into_artifact(100) else {
            panic!("it is larger");
        };
        let (bytes, limit) = (Some(101), 100);
        assert_eq!(defect, Defect::HostMemory { bytes, limit });
    }

    /// What is compiled is native code, which runs as it was compiled or not at all.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_compiler_made_is_not_changed_any_more() {
        let output = Output::new().unwrap();
        let mut kept_by_child = output.0.try_clone().unwrap();
        kept_by_child.write_all(b"code").unwrap();
        output.into_artifact(100).unwrap();
        assert!(kept_by_child.write_all(b"more").is_err());
        assert!(kept_by_child.set_len(1).is_err());
        assert!(kept_by_child.set_len(1000).is_err());
        assert_eq!(kept_by_child.metadata().unwrap().len(), 4);
    }
}

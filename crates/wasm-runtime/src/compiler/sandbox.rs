//! What a compiler gives up before it reads anything: on Linux, all that a flaw in it
//! could be used for.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::io;
use std::process;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, getrlimit, nice, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::compiler::settings::Settings;

/// Files that a compiler has open: three, and some that its runtime tries to look at.
const MAX_OPEN_FILES: u64 = 16;

/// What a compiler is willing to wait: the engine's own threads come first.
const NICENESS: i32 = 10;

/// The release of Landlock that is asked for; older kernels do what they can.
const LANDLOCK: ABI = ABI::V6;

/// Confines the process for as long as it lives, and says what this kernel cannot do.
pub(crate) fn enter(settings: &Settings) -> Vec<String> {
    let mut missing = Vec::new();
    let mut need = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            missing.push(format!("{what} ({error})"));
        }
    };
    need("an end with its engine", end_with(settings.parent));
    need(
        "a limit of memory",
        limit(Resource::Data, settings.memory_bytes),
    );
    need("a limit of processor time", limit_cpu(settings.cpu_seconds));
    // A component that compiles to more than may be kept is not written in full.
    need(
        "a limit of what it writes",
        limit(Resource::Fsize, settings.max_artifact_bytes),
    );
    need(
        "a limit of open files",
        limit(Resource::Nofile, MAX_OPEN_FILES),
    );
    // Its memory is of no use to anybody, and has a stranger's bytes in it.
    need("keeping its memory to itself", keep_memory());
    need(
        "a lower priority",
        nice(NICENESS).map(drop).map_err(Into::into),
    );
    need(
        "Landlock, which keeps it from files and the network",
        landlock(),
    );
    need("seccomp, which keeps it from system calls", seccomp());
    missing
}

/// Has the kernel end this process when the thread that started it ends.
fn end_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If it ended before, the kernel has given this process another parent.
    let still_there = getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent as i32);
    if !still_there {
        process::exit(1);
    }
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = at_most(resource, most);
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// A limit that its parent has, and that is lower, stays: it may not be raised.
fn at_most(resource: Resource, most: u64) -> u64 {
    let inherited = getrlimit(resource).maximum;
    inherited.map_or(most, |inherited| inherited.min(most))
}

/// The first limit ends the process with a signal that tells why, the second with one that
/// does not.
fn limit_cpu(seconds: u64) -> io::Result<()> {
    let last = at_most(Resource::Cpu, seconds.saturating_add(1));
    let limit = Rlimit {
        current: Some(last.saturating_sub(1)),
        maximum: Some(last),
    };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

fn keep_memory() -> io::Result<()> {
    limit(Resource::Core, 0)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn landlock() -> io::Result<()> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.no_new_privs(true).restrict_self());
    match ruleset {
        Ok(status) if status.ruleset == RulesetStatus::FullyEnforced => Ok(()),
        Ok(status) if status.ruleset == RulesetStatus::PartiallyEnforced => {
            Err(io::Error::other("this kernel has an older release of it"))
        }
        Ok(_) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Memory, threads, the end, and reading and writing what is open. Everything else fails
/// as if it were forbidden to this user.
fn seccomp() -> io::Result<()> {
    let allowed = [
        libc::SYS_close,
        libc::SYS_ppoll,
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        allowed.into_iter().map(|call| (call, vec![])).collect();
    // The three streams that it was started with, whatever else it inherited.
    for call in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_fstat,
        libc::SYS_lseek,
    ] {
        let stream = rule(0, SeccompCmpOp::Le, libc::STDERR_FILENO as u64)?;
        rules.insert(call, vec![stream]);
    }
    // Memory of its own, which the limit counts: neither files nor what is shared.
    let kinds = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
    let own = SeccompCmpOp::MaskedEq(kinds);
    let own = rule(3, own, libc::MAP_ANONYMOUS as u64)?;
    rules.insert(libc::SYS_mmap, vec![own]);
    // Its own end, by `abort`.
    let itself = rule(0, SeccompCmpOp::Eq, u64::from(process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![itself]);
    rules.insert(libc::SYS_clone, vec![new_thread()?]);
    rules.insert(libc::SYS_prctl, vec![name_of_thread()?]);
    // Its flags are out of a filter's reach. Told that the kernel has no such call, the C
    // library uses `clone`, whose flags are not.
    apply(
        BTreeMap::from([(libc::SYS_clone3, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )?;
    rules.insert(libc::SYS_clone3, vec![]);
    apply(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )
}

/// A thread of this process, not a process.
fn new_thread() -> io::Result<SeccompRule> {
    let thread = libc::CLONE_THREAD as u64;
    rule(0, SeccompCmpOp::MaskedEq(thread), thread)
}

fn name_of_thread() -> io::Result<SeccompRule> {
    rule(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)
}

fn rule(argument: u8, comparison: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, comparison, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    rule.map_err(io::Error::other)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> io::Result<()> {
    let architecture = ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, architecture);
    let filter = filter.map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read, Seek};
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio, id};
    use std::thread;

    use rustix::process::{dumpable_behavior, parent_process_death_signal};

    use super::*;
    use crate::config::EngineConfig;

    /// Set for the process that is confined.
    const CONFINED: &str = "AIRSSYS_WASM_TEST_CONFINED";

    /// What a confined process finds that it can still do.
    fn attempts() -> Vec<&'static str> {
        let settings = Settings {
            memory_bytes: 256 << 20,
            cpu_seconds: 10,
            max_artifact_bytes: 1 << 20,
            parent: std::os::unix::process::parent_id(),
            code: EngineConfig::default().code(),
        };
        // As if it had been inherited.
        let mut inherited = File::open("/etc/passwd").unwrap();
        let missing = enter(&settings);
        assert_eq!(missing, [""; 0], "this kernel has all of it");
        let mut possible = Vec::new();
        let mut attempt = |what, done: bool| {
            if done {
                possible.push(what);
            }
        };
        let mut some = [0; 16];
        attempt("read what is open", inherited.read(&mut some).is_ok());
        attempt("seek in it", inherited.rewind().is_ok());
        attempt("read a file", File::open("/etc/passwd").is_ok());
        attempt("write a file", File::create("/tmp/confined").is_ok());
        attempt("list a folder", std::fs::read_dir("/").is_ok());
        attempt("connect", TcpStream::connect("127.0.0.1:9").is_ok());
        attempt("make a socket", UdpSocket::bind("127.0.0.1:0").is_ok());
        attempt("make a local socket", UnixStream::pair().is_ok());
        attempt("start a program", Command::new("true").status().is_ok());
        attempt(
            "send a signal",
            rustix::process::kill_process(rustix::process::getpid(), Signal::CONT).is_ok(),
        );
        attempt("wait in a thread", thread::spawn(|| ()).join().is_ok());
        possible
    }

    #[test]
    fn a_confined_process_can_start_threads_and_nothing_else() {
        if std::env::var_os(CONFINED).is_some() {
            println!("possible: {:?}", attempts());
            // Looked at from outside until then.
            let _ = io::stdin().read_line(&mut String::new());
            return;
        }
        let test =
            "compiler::sandbox::tests::a_confined_process_can_start_threads_and_nothing_else";
        let mut confined = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CONFINED, id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(confined.stdout.take().unwrap()).lines();
        let possible = said.find_map(|line| {
            let line = line.unwrap();
            line.split_once("possible: ")
                .map(|(_, what)| what.to_owned())
        });
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", confined.id()));
        drop(confined.stdin.take());
        confined.wait().unwrap();
        assert_eq!(possible.as_deref(), Some("[\"wait in a thread\"]"));
        let open_files: Vec<String> = limits
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("Max open files"))
            .map(|limits| {
                limits
                    .split_whitespace()
                    .take(2)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(open_files, ["16 16"]);
    }

    /// Set for the process that tries one part after the other.
    const IN_PARTS: &str = "AIRSSYS_WASM_TEST_CONFINED_IN_PARTS";

    /// What does not hold although the part is there that is for it: all of them together have
    /// more than one reason to refuse something.
    fn broken() -> Vec<&'static str> {
        let mut broken = Vec::new();
        let mut hold = |what, holds: bool| {
            if !holds {
                broken.push(what);
            }
        };
        end_with(std::os::unix::process::parent_id()).unwrap();
        let at_its_end = parent_process_death_signal();
        hold(
            "it ends with its parent",
            at_its_end == Ok(Some(Signal::KILL)),
        );
        limit_cpu(100).unwrap();
        let cpu = getrlimit(Resource::Cpu);
        let seconds = (cpu.current, cpu.maximum);
        hold("it is told first", seconds == (Some(100), Some(101)));
        keep_memory().unwrap();
        let core = getrlimit(Resource::Core).current;
        hold("nothing of it is written", core == Some(0));
        let is_readable = dumpable_behavior() != Ok(DumpableBehavior::NotDumpable);
        hold("nobody reads its memory", !is_readable);
        landlock().unwrap();
        let is_denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let file = File::open("/etc/passwd");
        hold("it reads no file", file.is_err_and(is_denied));
        let folder = std::fs::read_dir("/");
        hold("it lists no folder", folder.is_err_and(is_denied));
        let connected = TcpStream::connect("127.0.0.1:9");
        hold("it connects to nobody", connected.is_err_and(is_denied));
        broken
    }

    #[test]
    fn each_part_confines_by_itself() {
        if std::env::var_os(IN_PARTS).is_some() {
            println!("broken: {:?}", broken());
            return;
        }
        let test = "compiler::sandbox::tests::each_part_confines_by_itself";
        let confined = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(IN_PARTS, "")
            .output()
            .unwrap();
        let said = String::from_utf8(confined.stdout).unwrap();
        assert!(said.contains("broken: []"), "{said}");
    }
}

//! An error over a limit points at the line that sets it, or names the process's limit.

#[cfg(unix)]
use std::process::Command;

#[cfg(unix)]
use crate::{CACHE, Ended, LIMITS, ended, example};
use crate::{Folder, program};

#[test]
fn a_limit_is_found_however_it_is_written() {
    let component = "[component]\nid = \"demo/a/main\"\nwasm = \"spin.wasm\"\n";
    let about = "description = \'\'\'\n[resources]\ntimeout = \"9h\"\n\'\'\'\n";
    let rest = "memory = \"1MiB\"\nfuel = \"unmetered\"\n";
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::SPIN);
    for (manifest, place, shown) in [
        (
            format!("{component}{about}[resources]\ntimeout = \"50ms\"\n{rest}"),
            "9:1",
            "9 | timeout = \"50ms\"\n  | ^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!("{component}[ resources ]\n  timeout=\"50ms\" # short\n{rest}"),
            "5:3",
            "5 |   timeout=\"50ms\" # short\n  |   ^^^^^^^^^^^^^^\n",
        ),
        (
            format!("{component}[resources]\n\"timeout\" = \"50ms\"\n{rest}"),
            "5:1",
            "  | ^^^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!(
                "resources.memory = \"1MiB\"\nresources.fuel = \"unmetered\"\n\
                 resources.timeout = \"50ms\"\n{component}"
            ),
            "3:11",
            "3 | resources.timeout = \"50ms\"\n  |           ^^^^^^^^^^^^^^^^\n",
        ),
        (
            format!(
                "\u{feff}resources = {{ memory = \"1MiB\", fuel = \"unmetered\", timeout = \
                 \"50ms\" }}\n{component}"
            ),
            "1:52",
            "timeout = \"50ms\" }\n",
        ),
        (
            format!("\u{feff}[resources]\n{rest}timeout = \"50ms\"\n{component}"),
            "4:1",
            "4 | timeout = \"50ms\"\n",
        ),
    ] {
        folder.write("Component.toml", &manifest);
        let ended = program(["run", &folder.path(""), "-m", "x"]).expect(1, "");
        ended.complains(&[
            "not done within 50ms",
            &format!("Component.toml:{place}\n"),
            shown,
        ]);
    }
}

/// The program, after a line of a shell.
#[cfg(unix)]
fn after(line: &str, arguments: &[&str]) -> Ended {
    let line = format!("{line}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &line, "sh", env!("CARGO_BIN_EXE_airssys-wasm")]);
    command.env(CACHE.0, CACHE.1);
    ended(&command.args(arguments).output().unwrap())
}

/// A signal ends a process whose file would become too large, unless it takes it.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let folder = Folder::new();
    let wasm = wat::parse_str(include_str!("write-far.wat")).unwrap();
    let wasm = folder.write("far.wasm", wasm);
    let granted = folder.path("granted");
    std::fs::create_dir(&granted).unwrap();
    let grant = format!("wasi=dir:{granted}:write:unbounded");
    let call = ["call", &wasm, "write()", "--allow", &grant];
    // The case of `file-too-large` plus one.
    after("ulimit -f 4096", &[&call[..], &LIMITS].concat()).expect(0, "9\n");

    let data = folder.path("data");
    let ended = after("ulimit -f 16", &["up", &example("echo"), "--data", &data]);
    ended
        .expect(2, "")
        .complains(&[&data, "File too large", "given by --data"]);
}

/// Here for want of memory for their stacks; `ulimit -u` does not hold for root.
#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let line = "ulimit -v 600000; export TOKIO_WORKER_THREADS=1024";
    after(line, &["check", &example("echo")])
        .expect(2, "")
        .complains(&[
            "error: no threads to work with: Resource temporarily unavailable",
            "TOKIO_WORKER_THREADS",
        ]);
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_that_there_are_none_of_are_an_error() {
    for descriptors in 6..=14 {
        let run = ["run", &example("echo"), "-m", "hi"];
        after(&format!("ulimit -n {descriptors}"), &run)
            .expect(2, "")
            .complains(&["error: ", "Too many open files"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_may_not_be_written_is_compiled_neither() {
    let run = ["run", &example("echo"), "-m", "hi", "--no-cache"];
    for limit in ["ulimit -f 4", "trap '' XFSZ; ulimit -f 4"] {
        let ended = after(limit, &run).expect(2, "");
        ended.complains(&[
            "the largest file that this process may write (RLIMIT_FSIZE, `ulimit -f`)",
        ]);
        for wrong in ["kernel", "--max-host-memory", "without a result"] {
            assert!(!ended.stderr.contains(wrong), "{}", ended.stderr);
        }
    }
    // There is enough for what it compiles to.
    after("ulimit -f 20000", &run).expect(0, "hi\n");
}

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Folder, command, ended, example, limited, program, with_input};

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn messages_are_sent_in_the_order_typed() {
    let folder = Folder::new();
    let file = folder.write("message", "two\nlines\n");
    program([
        "run",
        &example("echo"),
        "-m",
        "one",
        "--message-file",
        &file,
        "--message=three",
    ])
    .expect(0, "one\ntwo\nlines\n\nthree\n");
}

#[test]
fn lines_of_any_kind_are_messages() {
    let echo = example("echo");
    with_input(["run", &echo], b"").expect(0, "");
    with_input(["run", &echo], b"one\r\n\ntwo").expect(0, "one\n\ntwo\n");
    with_input(["run", &echo], b"\xff\x00\n").expect(0, "0xff00\n");
    with_input(["run", &echo], "zw\u{f6}lf\ttabs\n".as_bytes()).expect(0, "zwölf\ttabs\n");
    // What would steer a terminal is spelled out.
    with_input(["run", &echo], b"\x1b[31m\n").expect(0, "0x1b5b33316d\n");
}

#[test]
fn a_line_is_answered_before_the_next_is_read() {
    let mut child = command(["run", &example("counter")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for expected in ["1\n", "2\n", "3\n"] {
        stdin.write_all(b"next\n").unwrap();
        let mut reply = String::new();
        stdout.read_line(&mut reply).unwrap();
        assert_eq!(reply, expected);
    }
    drop(stdin);
    ended(&child.wait_with_output().unwrap()).expect(0, "");
}

#[test]
fn a_line_longer_than_the_components_memory_is_refused() {
    let mut input = vec![b'x'; 3 << 20];
    input.extend_from_slice(b"\nok\n");
    let ended = with_input(["run", &example("echo")], &input).expect(1, "ok\n");
    ended.complains(&[
        "a message of more than 1MiB is not sent",
        "line 1 of standard input",
    ]);

    let ended = with_input(["run", &example("echo"), "--json"], &input);
    assert_eq!(ended.code, Some(1));
    let answers = json_lines(&ended.stdout);
    assert_eq!(answers[0]["error"]["kind"], "message-too-long");
    assert_eq!(answers[1]["reply"], json!({"text": "ok"}));
}

#[test]
fn an_answer_is_an_object_for_programs() {
    let spin = example("spin");
    let ended = program(["run", &spin, "--json", "-m", "ok", "-m", "go", "-m", "ok"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    let answers = json_lines(&ended.stdout);
    assert_eq!(answers.len(), 3);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["index"], index);
        assert_eq!(answer["ok"], index != 1);
        assert_eq!(answer["restarted"], index == 2);
        for key in ["fuel", "memory", "peak_memory", "micros"] {
            assert!(answer[key].is_u64(), "{key} in {answer}");
        }
    }
    assert_eq!(answers[0]["reply"], json!({"text": "ok"}));
    assert!(answers[0]["fuel"].as_u64().unwrap() > 0);
    assert!(answers[0]["memory"].as_u64().unwrap() >= 64 << 10);
    assert_eq!(answers[1]["error"]["kind"], "timeout");
    assert!(answers[1]["micros"].as_u64().unwrap() >= 100_000);
    assert_eq!(answers[1].get("reply"), None);

    let bytes = with_input(["run", &example("echo"), "--json"], b"\xff\n\x1b\n");
    let answers = json_lines(&bytes.stdout);
    assert_eq!(answers[0]["reply"], json!({"hex": "ff"}));
    assert_eq!(answers[1]["reply"], json!({"text": "\u{1b}"}));
}

#[test]
fn no_reply_is_nothing_in_text_and_null_in_json() {
    let folder = Folder::new();
    let logger = folder.fixture(wasm_fixtures::LOGGER);
    program(limited(&["run", &logger, "-m", "x"])).expect(0, "");
    let answers = json_lines(&program(limited(&["run", &logger, "-m", "x", "--json"])).stdout);
    assert_eq!(answers[0]["reply"], Value::Null);
    assert!(answers[0].as_object().unwrap().contains_key("reply"));
}

#[test]
fn usage_goes_to_standard_error() {
    let ended =
        program(["run", &example("counter"), "--usage", "-m", "a", "-m", "b"]).expect(0, "1\n2\n");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    for (line, start) in lines.iter().zip(["[message 1] fuel ", "[message 2] fuel "]) {
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains("memory ") && line.contains("time "), "{line}");
    }
}

#[test]
fn logs_are_shown_where_they_are_granted() {
    let folder = Folder::new();
    let logger = folder.fixture(wasm_fixtures::LOGGER);
    let silent = program(limited(&["run", &logger, "-m", "hey"])).expect(0, "");
    assert_eq!(silent.stderr, "");
    let warned = program(limited(&[
        "run", &logger, "-m", "hey", "--allow", "log=warn",
    ]));
    let lines: Vec<&str> = warned.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", warned.stderr);
    assert!(
        lines[0].starts_with("[local/logger/main] warn: hey"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("[local/logger/main] error: hey"),
        "{}",
        lines[1]
    );
}

#[test]
fn a_log_line_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let logger = folder.fixture(wasm_fixtures::LOGGER);
    let arguments = limited(&["run", &logger, "--allow", "log=error"]);
    let ended = with_input(arguments, b"\x1b[2J\n").expect(0, "");
    ended.complains(&["[local/logger/main] error: \\u{1b}[2J"]);
}

#[test]
fn a_failure_names_the_limit_and_the_line_that_sets_it() {
    let spin = example("spin");
    program(["run", &spin, "-m", "go"])
        .expect(1, "")
        .complains(&[
            "error: demo/spin/main was stopped in `handle-message`: not done within 100ms",
            "spin/Component.toml:21:1",
            "21 | timeout = \"100ms\"",
            "   | ^^^^^^^^^^^^^^^^^",
            "= help: --timeout replaces it for one run",
        ]);
    program(["run", &spin, "-m", "go", "--timeout", "50ms"])
        .expect(1, "")
        .complains(&["not done within 50ms", "the limit was given by --timeout"]);
    program(["run", &spin, "-m", "go", "--fuel", "1_000_000"])
        .expect(1, "")
        .complains(&["out of fuel", "1_000_000", "the limit was given by --fuel"]);

    let folder = Folder::new();
    let grow = folder.fixture(wasm_fixtures::GROW);
    let limits = [
        "--memory",
        "512KiB",
        "--fuel",
        "unmetered",
        "--timeout",
        "5s",
    ];
    let arguments = [&["run", &grow, "-m", "go", "-m", "ok"], &limits[..]].concat();
    program(arguments).expect(1, "ok\n").complains(&[
        "memory limit reached: asked for 576KiB of at most 512KiB",
        "the limit was given by --memory",
    ]);
}

#[test]
fn a_trap_shows_where_it_was() {
    let folder = Folder::new();
    let trap = folder.fixture(wasm_fixtures::TRAP);
    program(limited(&["run", &trap, "-m", "go"]))
        .expect(1, "")
        .complains(&[
            "error: local/trap/main trapped in `handle-message`: `unreachable` was executed",
            "trap.wasm",
            "where it was, innermost first",
            "0: ",
            "!give-up",
        ]);
}

#[test]
fn an_error_of_the_guest_is_no_failure_of_the_component() {
    let folder = Folder::new();
    let refusing = folder.fixture(wasm_fixtures::GUEST_ERROR);
    let ended = program(limited(&["run", &refusing, "-m", "go", "-m", "ok"])).expect(1, "ok\n");
    ended.complains(&["answered with an error: runtime-error \"as asked\""]);
    assert!(!ended.stderr.contains("restarted"), "{}", ended.stderr);
}

#[test]
fn flags_replace_and_add_to_the_manifest() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::STORED_COUNTER);
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"stored-counter.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n";
    let path = folder.write("Component.toml", manifest);
    let denied = program(["run", &path, "-m", "x"]);
    assert_eq!(denied.code, Some(1));
    denied.complains(&["demo/a/main answered with an error"]);
    program(["run", &path, "-m", "x", "--allow", "storage=4KiB"]).expect(0, "1\n");
    program(["run", &path, "-m", "x", "--allow", "storage"]).expect(0, "1\n");
    let renamed = program(["run", &path, "-m", "x", "--id", "demo/b/main"]);
    renamed.complains(&["demo/b/main answered with an error"]);
}

#[test]
fn a_ceiling_can_be_raised() {
    let folder = Folder::new();
    let echo = folder.fixture(wasm_fixtures::ECHO);
    let limits = ["--memory", "8MiB", "--fuel", "unmetered", "--timeout", "5s"];
    let arguments = [&["run", &echo, "-m", "x"], &limits[..]].concat();
    program(&arguments).expect(2, "").complains(&[
        "a memory limit of 8MiB is not allowed: it must be 512KiB to 4MiB",
        "--memory-ceiling 8MiB allows it",
    ]);
    program([&arguments[..], &["--memory-ceiling", "8MiB"]].concat()).expect(0, "x\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut child = command(["run", &example("echo")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    // Until the program has noticed.
    while stdin.write_all(b"hello\n").is_ok() {}
    ended(&child.wait_with_output().unwrap()).expect(0, "");
}

#[test]
fn standard_error_may_be_closed() {
    let mut child = command(["run", &example("spin"), "--usage", "-m", "go", "-m", "ok"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert_eq!(
        (stdout.as_str(), child.wait().unwrap().code()),
        ("ok\n", Some(1))
    );
}

/// While it waits for a line, and while a component runs for a long time.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_program() {
    for next in ["", "go\n"] {
        let mut child = command(["run", &example("spin"), "--timeout", "1h"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdin.write_all(b"ok\n").unwrap();
        let mut reply = String::new();
        stdout.read_line(&mut reply).unwrap();
        assert_eq!(reply, "ok\n");
        stdin.write_all(next.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(200));

        let started = Instant::now();
        let interrupt = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(interrupt.success());
        // Standard input is still open: its end would end the program, too.
        let ended = ended(&child.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(130), ""));
        assert!(started.elapsed() < Duration::from_secs(30));
        drop(stdin);
    }
}

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Folder, command, ended, example, limited, program, repository, terminal, with_input};

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

/// Also those that join letters, or say in which direction they are written.
#[test]
fn texts_of_all_people_are_text() {
    let texts = "👩\u{200d}💻\nمی\u{200c}خواهم\nשלום\u{200f}\na\u{2060}b\u{200b}c\u{200e}\n";
    with_input(["run", &example("echo")], texts.as_bytes()).expect(0, texts);
    // These would turn round what stands beside them.
    let steering = "a\u{202e}b\na\u{2066}b\n";
    let shown = "0x61e280ae62\n0x61e281a662\n";
    with_input(["run", &example("echo")], steering.as_bytes()).expect(0, shown);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_text() {
    let input = "\u{feff}one\r\n\u{feff}two\r\n";
    let shown = "one\n0xefbbbf74776f\n";
    with_input(["run", &example("echo")], input.as_bytes()).expect(0, shown);
    let echo = "\u{feff}demo/echo/main hi\r\n";
    let ended = with_input(["up", &example("echo")], echo.as_bytes());
    ended.expect(0, "demo/echo/main: hi\n");
}

#[test]
fn the_message_of_a_file_is_as_it_is() {
    let folder = Folder::new();
    let file = folder.write("message", "\u{feff}hi");
    let shown = "0xefbbbf6869\n";
    program(["run", &example("echo"), "--message-file", &file]).expect(0, shown);
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
    folder.fixture(wasm_fixtures::LOGGER);
    let lines = [
        "run logger.wasm -m hey $LIMITS",
        "run logger.wasm -m hey --allow log=warn $LIMITS",
        "run logger.wasm -m hey --allow log=trace $LIMITS",
    ];
    folder.shows("run-logs", &lines);
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
    let lines = [
        "run examples/spin -m go",
        "run examples/spin -m ok -m go -m ok",
        "run examples/spin -m go --timeout 50ms",
        "run examples/spin -m go --fuel 1_000_000",
    ];
    terminal(&repository(), "run-out-of-time-or-fuel", &lines);

    let folder = Folder::new();
    folder.fixture(wasm_fixtures::GROW);
    let limits = "--memory 512KiB --fuel unmetered --timeout 5s";
    let lines = [format!("run grow.wasm -m go -m ok {limits}")];
    folder.shows("run-out-of-memory", &lines);
}

#[test]
fn a_failure_shows_where_it_was() {
    let folder = Folder::new();
    let lines = [
        wasm_fixtures::TRAP,
        wasm_fixtures::RECURSE_FOREVER,
        // An error of the guest is no failure of the component.
        wasm_fixtures::GUEST_ERROR,
    ]
    .map(|fixture| {
        folder.fixture(fixture);
        format!("run {}.wasm -m go -m ok $LIMITS", fixture.name)
    });
    folder.shows("run-failures", &lines);
}

#[test]
fn flags_replace_and_add_to_the_manifest() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::STORED_COUNTER);
    let manifest = "[component]\nid = \"demo/a/main\"\nwasm = \"stored-counter.wasm\"\n\
                    [resources]\nmemory = \"1MiB\"\nfuel = 1_000_000\ntimeout = \"5s\"\n";
    folder.write("Component.toml", manifest);
    let lines = [
        "run . -m x",
        "run . -m x --allow storage=4KiB",
        "run . -m x --allow storage",
        "run . -m x --id demo/b/main",
    ];
    folder.shows("run-with-flags", &lines);
}

#[test]
fn a_ceiling_can_be_raised() {
    let folder = Folder::new();
    folder.fixture(wasm_fixtures::ECHO);
    let run = "run echo.wasm -m x --memory 8MiB --fuel unmetered --timeout 5s";
    let lines = [run.to_owned(), format!("{run} --memory-ceiling 8MiB")];
    folder.shows("run-with-ceiling", &lines);
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

/// As for what a manifest grants.
#[test]
fn what_decides_over_a_component_is_not_granted_by_flags() {
    let folder = Folder::new();
    let home = folder.path("");
    folder.component("a", wasm_fixtures::ECHO, "");
    let (a, wasm) = (folder.path("a"), folder.path("a/component.wasm"));
    let data = folder.path("a/data");
    std::fs::create_dir_all(format!("{data}/in")).unwrap();
    let config = folder.write("a/data/config", "");
    let allow = |dir: &str, access: &str| format!("--allow=wasi=dir:{dir}:{access}");
    let bare = [&[wasm.as_str()][..], &crate::LIMITS].concat();
    let config = format!("--config={config}");
    for (source, flags, part) in [
        (
            &[a.as_str()][..],
            vec![allow(&a, "write")],
            "change its own manifest",
        ),
        (
            &[&a],
            vec![allow(&home, "write")],
            "change its own manifest",
        ),
        (&bare, vec![allow(&a, "write")], "change its own component"),
        (
            &bare,
            vec![allow(&home, "write:1MiB")],
            "change its own component",
        ),
        (
            &[&a],
            vec![allow(&data, "write"), config.clone()],
            "change its own configuration",
        ),
        (
            &[&a],
            vec![allow(&data, "write"), allow(&format!("{data}/in"), "read")],
            "change its own granted folder",
        ),
    ] {
        let flags = flags.iter().map(String::as_str);
        for command in [&["run", "-m", "x"][..], &["check"]] {
            let line: Vec<&str> = command
                .iter()
                .chain(source)
                .copied()
                .chain(flags.clone())
                .collect();
            let ended = program(&line);
            assert_eq!(ended.code, Some(2), "{line:?}: {}", ended.stderr);
            ended.complains(&["the component may write", part]);
        }
    }
    for flags in [[allow(&data, "write")], [allow(&a, "read")]] {
        let flags = flags.iter().map(String::as_str);
        let line: Vec<&str> = ["run", "-m", "x", &a].into_iter().chain(flags).collect();
        program(&line).expect(0, "x\n");
    }
    #[cfg(unix)]
    {
        std::fs::hard_link(&wasm, format!("{data}/in/other")).unwrap();
        let line = ["run", "-m", "x", &a, &allow(&data, "write")];
        program(line)
            .expect(2, "")
            .complains(&["change its own component", "(a hard link)"]);
    }
}

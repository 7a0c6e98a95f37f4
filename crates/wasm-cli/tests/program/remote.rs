//! What commands do that ask a host, of servers that are none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use crate::up::LONG;
use crate::{Ended, Folder, command, ended, program};

const HTML: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
const TO: &str = "demo/echo/main";

/// Has each connection answered so once something was asked, for as long as the test runs.
fn server(answer: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut asked = [0; 4096];
                if stream.read(&mut asked).is_ok() {
                    answer(stream);
                }
            });
        }
    });
    address
}

fn ask(address: SocketAddr, arguments: &[&str]) -> Ended {
    program([arguments, &["--host", &address.to_string()]].concat())
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let silent = server(|stream| {
        thread::sleep(LONG * 2);
        drop(stream);
    });
    let secure = format!("https://{silent}");
    let begun = server(|mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        thread::sleep(LONG * 2);
    });
    let (silent, begun) = (silent.to_string(), begun.to_string());
    let started = Instant::now();
    let asking = [
        (vec!["request", TO, "x", "--host", &silent], "begun"),
        (vec!["send", TO, "x", "--host", &silent], "begun"),
        (vec!["restart", TO, "--host", &silent], "begun"),
        (vec!["ps", "--host", &silent], "begun"),
        (vec!["events", "--host", &silent], "begun"),
        (vec!["dead", "--host", &silent], "begun"),
        (
            vec!["ps", "--host", &secure],
            "TLS is not agreed on within 5s",
        ),
        (
            vec!["ps", "--host", &begun],
            "has not ended its answer within 3100ms",
        ),
    ];
    let asking = asking.map(|(arguments, told)| {
        let mut command = command(arguments);
        command.args(["--timeout", "100ms"]);
        let asking = thread::spawn(move || ended(&command.output().unwrap()));
        (asking, told)
    });
    for (asking, told) in asking {
        let ended = asking.join().unwrap();
        assert_ne!(ended.code, Some(0));
        ended.complains(&[told]);
        if told == "begun" {
            let told = format!("http://{silent} has not begun its answer within 3100ms");
            ended.complains(&[&told, "--timeout allows it 100ms"]);
        }
    }
    assert!(started.elapsed() < LONG);
}

#[test]
fn what_no_host_answers_is_no_answer() {
    let html = server(|mut stream| stream.write_all(HTML.as_bytes()).unwrap());
    for arguments in [
        &["request", TO, "x"][..],
        &["send", TO, "x"],
        &["restart", TO],
        &["dead", "--redeliver", "1"],
        &["events"],
        &["ps"],
    ] {
        ask(html, arguments)
            .expect(1, "")
            .complains(&["answers 200 OK with text/html, as no `up --listen` does"]);
    }
    let other = server(|mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n";
        let answer = format!("{head}\r\n{{\"done\":\"other\"}}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    ask(other, &["restart", TO])
        .expect(1, "")
        .complains(&["has done \"other\", which was not asked"]);
}

#[test]
fn a_reply_has_a_bound() {
    let large = server(|mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncorrelation-id: 1\r\ncontent-length: 1025\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(&[b'x'; 1025]);
    });
    let reply = "x".repeat(1025) + "\n";
    ask(large, &["request", TO, "x"]).expect(0, &reply);
    ask(large, &["request", TO, "x", "--max-reply", "1KiB"])
        .expect(1, "")
        .complains(&["more than the 1KiB", "--max-reply has more taken"]);
}

#[test]
fn events_that_end_are_no_success() {
    let cut_off = server(|mut stream| {
        let answer = format!("{EVENTS}transfer-encoding: chunked\r\n\r\n3\r\n:\n\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    ask(cut_off, &["events"])
        .expect(1, "")
        .complains(&["breaks off"]);
    let over = server(|mut stream| {
        let answer = format!("{EVENTS}content-length: 3\r\n\r\n:\n\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    ask(over, &["events"])
        .expect(1, "")
        .complains(&["no more events come"]);
}

/// Whoever reads JSON is given nothing else.
#[test]
fn what_is_no_event_is_not_handed_on() {
    let other = server(|mut stream| {
        let answer = format!("{EVENTS}\r\ndata: \u{1b}[2J\n\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    for flags in [&["events"][..], &["events", "--json"]] {
        ask(other, flags)
            .expect(2, "")
            .complains(&["the answer is not understood"]);
    }
}

/// As `| head -1` leaves it, while nothing happens.
#[cfg(unix)]
#[test]
fn events_that_nobody_reads_are_not_waited_for() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let once = server(|mut stream| {
        let answer = format!("{EVENTS}\r\ndata: {{\"text\":\"it began\"}}\n\n");
        stream.write_all(answer.as_bytes()).unwrap();
        thread::sleep(LONG * 2);
    });
    let started = Instant::now();
    let mut events = command(["events", "--host", &once.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(events.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "it began\n");
    drop(reader);
    assert!(events.wait().unwrap().success());
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[test]
fn http_and_tls_are_told_apart() {
    // An alert, as a server of TLS answers who does not speak it.
    let tls = server(|mut stream| stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46").unwrap());
    ask(tls, &["ps"]).expect(2, "").complains(&[
        "does not answer in HTTP",
        &format!("--host https://{tls} asks over TLS"),
    ]);
    let http = server(|mut stream| stream.write_all(HTML.as_bytes()).unwrap());
    let secure = format!("https://{http}");
    program(["ps", "--host", &secure])
        .expect(2, "")
        .complains(&["is not reached: what answers there is not TLS"]);
}

#[test]
fn what_no_header_can_have_is_named() {
    let folder = Folder::new();
    let nowhere = ["ps", "--host", "127.0.0.1:1"];
    let with = |name: &str, value: &str| {
        let mut command = command(nowhere);
        ended(&command.env(name, value).output().unwrap())
    };
    for token in ["\u{1b}", "\u{e9}", "a\nb"] {
        let ended = with("AIRSSYS_WASM_TOKEN", token).expect(2, "");
        ended.complains(&["the token of the variable AIRSSYS_WASM_TOKEN cannot be sent"]);
    }
    let in_file = |content: &[u8]| {
        let file = folder.write("token", content);
        program([&nowhere[..], &["--token-file", &file]].concat()).expect(2, "")
    };
    in_file(b"\x1b").complains(&["the token of --token-file", "cannot be sent"]);
    in_file(b"\xef\xbb\xbfaaaa").complains(&["is not reached"]);
    in_file(&vec![b' '; 2 << 20]).complains(&["larger than the 1MiB that a file of --token-file"]);
    for command in ["request", "send"] {
        program([
            command,
            TO,
            "x",
            "--type",
            "a\u{1b}",
            "--host",
            "127.0.0.1:1",
        ])
        .expect(2, "")
        .complains(&["the type \"a\\u{1b}\" of --type cannot be sent"]);
    }
}

//! Components that answer HTTP requests, served alone and beside others.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::reached::{curl, up};
use super::{LONG, Running};
use crate::{Folder, LIMITS, command, program};

/// Components of their own for each path.
fn application() -> Folder {
    let folder = Folder::new();
    for (name, fixture, path) in [
        ("web", wasm_fixtures::WEB, "path = \"/web/*\""),
        (
            "shop",
            wasm_fixtures::ECHO,
            "path = \"/shop/*\"\nreply-type = \"text/plain\"",
        ),
    ] {
        fs::create_dir(folder.path(name)).unwrap();
        folder.write(&format!("{name}/it.wasm"), fixture.wasm);
        let manifest = manifest(name, path);
        folder.write(&format!("{name}/Component.toml"), manifest.as_bytes());
    }
    folder
}

fn manifest(name: &str, http: &str) -> String {
    format!(
        "[component]\nid = \"demo/{name}/main\"\nwasm = \"it.wasm\"\n[resources]\nmemory = \
         \"1MiB\"\nfuel = 100_000_000\ntimeout = \"20s\"\ninstance = \"per-message\"\n\
         concurrency = 4\n[http]\n{http}\n"
    )
}

fn serve(arguments: &[&str]) -> (Running, String) {
    let flags = ["serve", "--listen", "127.0.0.1:0"];
    let mut running = Running::new(command([&flags, arguments].concat()));
    let address = running.listens();
    (running, address)
}

#[test]
fn a_component_is_served_alone() {
    let folder = Folder::new();
    folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let file = folder.path("web.wasm");
    let (running, address) = serve(&[&[file.as_str()], LIMITS.as_slice()].concat());
    assert_eq!(curl(&address, "/", &[]), (200, "hello".into()));
    assert_eq!(
        curl(&address, "/echo", &["-d", "soup"]),
        (200, "soup".into())
    );
    // Each request has an instance of its own.
    for _ in 0..3 {
        assert_eq!(curl(&address, "/count", &[]), (200, "1".into()));
    }
    let (status, problem) = curl(&address, "/spin", &[]);
    assert_eq!(status, 502, "{problem}");
    assert!(problem.contains("fuel"), "{problem}");
    assert_eq!(curl(&address, "/", &[]), (200, "hello".into()));
    running.signal("-TERM");
    running.ends_with(0);
}

/// The first piece is there although the call has an hour to go, and the call ends when its
/// reader is gone.
#[test]
fn a_response_begins_before_its_call_ends() {
    let folder = Folder::new();
    folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let file = folder.path("web.wasm");
    let limits = ["--memory", "1MiB", "--fuel", "unmetered", "--timeout", "2h"];
    let one = ["--concurrency", "1"];
    let (_running, address) = serve(&[&[file.as_str()], &limits[..], &one].concat());
    for _ in 0..3 {
        let authority = address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(authority).unwrap();
        write!(stream, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap() == "hello"));
        // The next has its turn once this one is gone.
    }
    assert_eq!(curl(&address, "/", &[]), (200, "hello".into()));
}

#[test]
fn components_answer_at_their_paths_and_nothing_else_is_reached() {
    let folder = application();
    let mut running = up(&folder.path(""), &["--http", "127.0.0.1:0"]);
    let address = running.answers();
    assert_eq!(curl(&address, "/web/x", &[]), (200, "hello".into()));
    assert_eq!(
        curl(&address, "/shop/x", &["-d", "soup"]),
        (200, "soup".into())
    );
    for path in ["/", "/components", "/healthz", "/shops"] {
        assert_eq!(curl(&address, path, &[]).0, 404, "{path}");
    }
    // Another path, and a component less.
    let manifest = manifest("web", "path = \"/moved\"");
    folder.write("web/Component.toml", manifest.as_bytes());
    fs::remove_file(folder.path("shop/Component.toml")).unwrap();
    running.signal("-HUP");
    let began = Instant::now();
    for (path, status) in [("/moved", 200), ("/web/x", 404), ("/shop/x", 404)] {
        while curl(&address, path, &[]).0 != status {
            assert!(began.elapsed() < LONG, "{path} is not {status}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn what_answers_no_requests_is_refused() {
    let folder = application();
    folder.write("web/it.wasm", wasm_fixtures::HELLO.wasm);
    let path = folder.path("");
    for arguments in [
        &["up", &path, "--http", "127.0.0.1:0"][..],
        &["check", &path],
    ] {
        let refused = program(arguments);
        assert_eq!(refused.code, Some(2));
        refused.complains(&[
            "demo/web/main answers no requests",
            "wasi:http/incoming-handler@0.2",
            "path = \"/web/*\"",
        ]);
    }
    folder.write("hello.wasm", wasm_fixtures::HELLO.wasm);
    let file = folder.path("hello.wasm");
    let refused = program([&["serve", &file][..], &LIMITS].concat());
    assert_eq!(refused.code, Some(2));
    refused.complains(&["answers no requests", "hello.wasm"]);
}

#[test]
fn a_path_is_one_components() {
    let folder = application();
    let manifest = manifest("web", "path = \"/shop/*\"");
    folder.write("web/Component.toml", manifest.as_bytes());
    let refused = program(["up", &folder.path(""), "--http", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(2));
    refused.complains(&[
        "requests to /shop/* are for demo/shop/main",
        "path = \"/shop/*\"",
    ]);
}

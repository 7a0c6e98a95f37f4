//! Components that answer HTTP requests, served alone and beside others.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::reached::{curl, up};
use super::{LONG, Running};
use crate::{Folder, LIMITS, command, program};

/// A component that sends requests on behalf of whoever asks, to another that answers.
#[test]
fn a_component_sends_requests_where_it_may_and_denials_are_told() {
    let folder = Folder::new();
    folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let file = folder.path("web.wasm");
    let plain = [&[file.as_str()], LIMITS.as_slice()].concat();
    let (_answering, to) = serve(&plain);
    let port = to.rsplit(':').next().unwrap();
    let allowed = ["--allow", "http=http://localhost:*"];
    let (mut running, address) = serve(&[&plain[..], &allowed].concat());
    let fetch = |url: &str| curl(&address, &format!("/fetch?{url}"), &[]);
    assert_eq!(
        fetch(&format!("http://localhost:{port}/")),
        (200, "hello".into())
    );
    // HTTP-request-denied: the address itself is not granted.
    assert_eq!(
        fetch(&format!("http://127.0.0.1:{port}/")),
        (200, "015".into())
    );
    running.says(&format!("http to http://127.0.0.1:{port}: not granted"));
    assert_eq!(fetch("http://169.254.169.254/"), (200, "015".into()));
    running.says("http to http://169.254.169.254: not granted");

    // All names are not all addresses, whatever a name leads to.
    let allowed = ["--allow", "http=http://*:*"];
    let (mut running, address) = serve(&[&plain[..], &allowed].concat());
    let fetch = |url: &str| curl(&address, &format!("/fetch?{url}"), &[]);
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "10.0.0.1",
        "169.254.169.254",
    ] {
        let url = format!("http://{host}:{port}/");
        assert_eq!(fetch(&url), (200, "004".into()), "{url}");
        running.says(&format!("http to http://{host}:{port} at "));
    }
    program(["run", &file, "--allow", "http=localhost"])
        .expect(2, "")
        .complains(&["nowhere to send requests", "https://api.example.com"]);
}

/// At localhost an operator gets in, too, and so does everybody else unless tokens are asked for.
#[test]
fn who_may_send_requests_to_its_own_host_is_told_of() {
    let folder = Folder::new();
    let more = "[http]\npath = \"/*\"\n[permissions]\nhttp = [\"http://localhost:*\"]\n";
    folder.component("web", wasm_fixtures::WEB, more);
    let token = folder.write("tokens", "administer aaaaaaaaaaaaaaaa\n");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let told = "demo/web/main may send requests to http://127.0.0.1:";
    for (flags, is_told) in [(vec![], true), (vec!["--token-file", &token], false)] {
        let mut running = folder.start(&[&["--listen", "127.0.0.1:0"], &flags[..]].concat());
        let before = running.says_before("listening at");
        let found = before.iter().any(|line| line.contains(told));
        assert_eq!(found, is_told, "{before:#?}");
        running.signal("-TERM");
        running.ends_with(0);
    }
}

/// Of localhost, signed by itself, and its key.
pub(super) fn certificate(folder: &Folder) -> (String, String) {
    let (cert, key) = (folder.path("it.pem"), folder.path("it.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (cert, key)
}

/// With the certificate of whoever answers among those that the machine trusts, and without.
#[test]
fn a_component_speaks_tls_with_those_whom_the_machine_trusts() {
    let folder = Folder::new();
    folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let file = folder.path("web.wasm");
    let (cert, key) = certificate(&folder);
    let plain = [&[file.as_str()], LIMITS.as_slice()].concat();
    let tls = ["--tls-cert", cert.as_str(), "--tls-key", key.as_str()];
    let (_answering, to) = serve(&[&plain[..], &tls].concat());
    assert!(to.starts_with("https://"), "{to}");
    let port = to.rsplit(':').next().unwrap();
    let nobody = folder.write("nobody.pem", "");
    for (trusted, url, answer) in [
        (&cert, format!("https://localhost:{port}/"), "hello"),
        // TLS-certificate-error: of nobody that is trusted, and for another name.
        (&nobody, format!("https://localhost:{port}/"), "013"),
        (&cert, format!("https://127.0.0.1:{port}/"), "013"),
    ] {
        let allowed = [
            "--allow",
            "http=https://localhost:*",
            "--allow",
            "http=https://127.0.0.1:*",
        ];
        let flags = ["serve", "--listen", "127.0.0.1:0"];
        let mut command = command([&flags[..], &plain, &allowed].concat());
        command
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR");
        let mut running = Running::new(command);
        let address = running.listens();
        let fetched = curl(&address, &format!("/fetch?{url}"), &[]);
        assert_eq!(fetched, (200, answer.into()), "{trusted} {url}");
    }
}

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
    let (mut running, address) = serve(&[&[file.as_str()], LIMITS.as_slice()].concat());
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
    // What a component wrote or ran out of is none of a visitor's business.
    assert!(!problem.contains("fuel"), "{problem}");
    assert!(
        problem.contains("whoever operates it is told why"),
        "{problem}"
    );
    running.says("fuel");
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

/// Where they are told that whoever operates it is told why.
#[test]
fn what_goes_wrong_with_requests_of_visitors_is_told() {
    let folder = Folder::new();
    folder.component("web", wasm_fixtures::WEB, "");
    let manifest = manifest("web", "path = \"/*\"").replace("it.wasm", "component.wasm");
    folder.write("web/Component.toml", manifest.as_bytes());
    let mut running = up(&folder.path(""), &["--http", "127.0.0.1:0"]);
    let address = running.answers();
    let ended = "the component has not come to the end of the response";
    for (path, told) in [
        ("/trap", "has not answered GET /trap: demo/web/main trapped"),
        (
            "/none",
            "has not answered GET /none: demo/web/main has returned",
        ),
        (
            "/error",
            "has not answered GET /error: ErrorCode::HttpRequest",
        ),
        // Before anything was sent of it or after that, as it happens.
        ("/part", ended),
        ("/broken", "GET /broken: demo/web/main trapped"),
        ("/later", "GET /later: demo/web/main was stopped"),
    ] {
        let (status, _) = curl(&address, &format!("{path}?secret"), &[]);
        let has_begun = ["/part", "/broken", "/later"].contains(&path);
        assert!(status == 502 || has_begun, "{path}: {status}");
        running.says(told);
        // One in a second is told.
        thread::sleep(Duration::from_millis(1_100));
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

//! What others reach of it: over HTTP, from other shells, as a service.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::{LONG, Running, lines_of, wait_for};
use crate::{CACHE, Folder, command, example, program, repository};

impl Running {
    /// Where it says that it listens. Its standard input has ended by then.
    pub(super) fn listens(&mut self) -> String {
        self.says_where("listening at ")
    }

    /// Where components answer requests.
    pub(super) fn answers(&mut self) -> String {
        self.says_where("components answer requests at ")
    }

    fn says_where(&mut self, before: &str) -> String {
        drop(self.stdin.take());
        let began = Instant::now();
        while let Ok(line) = self
            .stderr
            .recv_timeout(LONG.saturating_sub(began.elapsed()))
        {
            if let Some(address) = line.strip_prefix(before) {
                return address.to_owned();
            }
        }
        panic!("it does not listen");
    }
}

pub(super) fn up(folder: &str, flags: &[&str]) -> Running {
    Running::new(command([&["up", folder], flags].concat()))
}

/// The status, and what is answered.
pub(super) fn curl(address: &str, path: &str, arguments: &[&str]) -> (u16, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(arguments)
        .arg(format!("{address}{path}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

struct Cafe {
    running: Running,
    address: String,
}

impl Cafe {
    fn tells(&self, who: &str, text: &str) -> (u16, String) {
        let path = format!("/components/cafe/{who}");
        curl(
            &self.address,
            &path,
            &["-H", "Content-Type: text/plain", "-d", text],
        )
    }

    /// Until it is so: what a message sets going comes to rest a moment later.
    fn comes_to(&self, path: &str, parts: &[&str]) {
        let began = Instant::now();
        loop {
            let (_, text) = curl(&self.address, path, &[]);
            if parts.iter().all(|part| text.contains(part)) {
                return;
            }
            assert!(began.elapsed() < LONG, "{parts:?} are not in {text}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Follows events with curl, which is ended with it.
struct Following(Child, Receiver<String>);

impl Following {
    fn new(address: &str, query: &str) -> Self {
        let mut child = Command::new("curl")
            .args([
                "--silent",
                "--no-buffer",
                &format!("{address}/events{query}"),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        wait_for(&lines, "events follow");
        Self(child, lines)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In any order: what a component sends may be handled before its own call has ended.
#[track_caller]
fn wait_for_all(lines: &Receiver<String>, parts: &[&str]) {
    let mut missing = parts.to_vec();
    while !missing.is_empty() {
        let line = lines.recv_timeout(LONG);
        let line = line.unwrap_or_else(|_| panic!("{missing:?} do not come"));
        missing.retain(|part| !line.contains(part));
    }
}

#[test]
fn a_day_in_the_cafe_over_http() {
    let mut running = up(&example("cafe"), &["--listen", "127.0.0.1:0"]);
    let address = running.listens();
    let cafe = Cafe { running, address };
    let events = Following::new(&cafe.address, "?messages=true");

    // An order, the callback that answers it, and the coins that follow.
    assert_eq!(
        cafe.tells("waiter/ada", "order soup"),
        (200, "soup is ordered".into())
    );
    wait_for_all(
        &events.1,
        &[
            "cafe/kitchen/main -> cafe/waiter/ada: callback",
            "cafe/waiter/ada -> cafe/till/main: message",
        ],
    );
    assert_eq!(cafe.tells("till/main", "total"), (200, "4 coins".into()));
    let (status, error) = cafe.tells("till/main", "butter");
    assert_eq!(status, 422, "{error}");

    // A crash, and what comes of it.
    assert_eq!(cafe.tells("waiter/ben", "order fondue").0, 200);
    let crash = [
        "cafe/kitchen/main has failed",
        "event: dead-letter",
        "cafe/kitchen/main was restarted",
    ];
    wait_for_all(&events.1, &crash);
    let (_, letters) = curl(&cafe.address, "/dead-letters", &[]);
    assert!(
        letters.contains("\"from\":\"cafe/waiter/ben\""),
        "{letters}"
    );
    let (status, stew) = cafe.tells("kitchen/main", "stew");
    assert!(
        status == 502 && stew.contains("out of fuel"),
        "{status} {stew}"
    );
    cafe.comes_to(
        "/components/cafe/kitchen/main",
        &["\"phase\":\"ready\"", "\"failures\":2"],
    );

    // A permission that is taken back.
    assert_eq!(cafe.tells("guest/max", "tip 2"), (200, "2 for you".into()));
    let permissions = "/components/cafe/guest/max/permissions";
    let taken_back = curl(&cafe.address, permissions, &["-X", "PUT", "-d", "{}"]);
    assert_eq!(
        taken_back,
        (200, "{\"done\":\"permissions-changed\"}".into())
    );
    let (_, refused) = cafe.tells("guest/max", "tip 2");
    assert!(refused.contains("permission denied"), "{refused}");
    wait_for(&events.1, "`send` was revoked");

    // A swap by upload.
    let kitchen = repository().join("examples/cafe/kitchen");
    let manifest = fs::read_to_string(kitchen.join("Component.toml")).unwrap();
    let folder = Folder::new();
    let manifest = folder.write("Component.toml", manifest.replace("1.0.0", "2.0.0"));
    let manifest = format!("manifest=<{manifest}");
    let wasm = format!("component=@{}", kitchen.join("kitchen.wasm").display());
    let upload = ["-X", "PUT", "-F", &manifest, "-F", &wasm];
    let swapped = curl(&cafe.address, "/components/cafe/kitchen/main", &upload);
    assert_eq!(swapped, (200, "{\"done\":\"swapped\"}".into()));
    wait_for(&events.1, "cafe/kitchen/main was replaced");
    cafe.comes_to(
        "/components/cafe/kitchen/main",
        &["\"version\":\"2.0.0\"", "\"swaps\":1"],
    );
    let status = (200, "dishes since the stove was lit: 0, ever: 1".into());
    assert_eq!(cafe.tells("kitchen/main", "status"), status);

    // Measurements that say so.
    cafe.comes_to(
        "/metrics",
        &[
            "wasm_restarts_total{component=\"cafe/kitchen/main\"} 2",
            "wasm_failures_total{component=\"cafe/kitchen/main\"} 2",
            "wasm_denied_total{component=\"cafe/guest/max\",capability=\"send\"} 1",
            "wasm_dead_letters_total{component=\"cafe/kitchen/main\",cause=\"failed\"} 2",
            "wasm_call_seconds_bucket{component=\"cafe/waiter/ada\",le=\"+Inf\"} 2",
        ],
    );
    dashboard_is_about(&curl(&cafe.address, "/metrics", &[]).1);
    drop(events);
    cafe.running.signal("-TERM");
    cafe.running.ends_with(0);
}

/// Every measurement of the dashboard is there, but for one of which nothing happened.
fn dashboard_is_about(metrics: &str) {
    let file = repository().join("docs/operations/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut measured = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let (_, name) = expression.split_once("wasm_").unwrap();
            let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let name = format!("\nwasm_{}", &name[..end.unwrap_or(name.len())]);
            let is_there = metrics.contains(&name) || name == "\nwasm_refused_total";
            assert!(is_there, "{name} is not in {metrics}");
            measured += 1;
        }
    }
    assert!(measured > 10, "{measured}");
}

#[test]
fn other_shells_ask_it_through_a_socket() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("trap", wasm_fixtures::TRAP, "");
    let socket = format!("unix:{}", folder.path("up.sock"));
    let mut running = folder.start(&["--listen", &socket]);
    assert_eq!(running.listens(), socket);
    let ask = |arguments: &[&str]| program([arguments, &["--host", &socket]].concat());

    ask(&["request", "demo/echo/main", "hello"]).expect(0, "hello\n");
    ask(&["request", "demo/echo/main", "a\"b", "--json"]).expect(0, "{\"reply\":\"a\\\"b\"}\n");
    ask(&["send", "demo/echo/main", "hello"]).expect(0, "");
    ask(&["request", "demo/nobody/main", "x"])
        .expect(1, "")
        .complains(&["no component demo/nobody/main is loaded"]);
    ask(&["send", "demo/trap/main", "x"]).expect(0, "");
    let began = Instant::now();
    while !ask(&["ps"]).stdout.contains("quarantined") {
        assert!(began.elapsed() < LONG);
    }
    ask(&["request", "demo/trap/main", "x"])
        .expect(1, "")
        .complains(&["is not restarted until an operator does"]);
    let dead = ask(&["dead"]).stdout;
    assert!(
        dead.starts_with("1: message of 1B from local/airssys-wasm/up to demo/trap/main: "),
        "{dead}"
    );
    ask(&["restart", "demo/trap/main"])
        .expect(0, "")
        .complains(&["was restarted"]);
    ask(&["dead", "--redeliver", "1"]).expect(0, "");
    ask(&["dead", "--redeliver", "1"])
        .expect(1, "")
        .complains(&["there is no dead letter 1"]);
    let listed: serde_json::Value = serde_json::from_str(&ask(&["ps", "--json"]).stdout).unwrap();
    assert_eq!(listed["components"].as_array().unwrap().len(), 2);
    running.signal("-TERM");
    running.ends_with(0);
    ask(&["ps"])
        .expect(2, "")
        .complains(&["is not reached", "up … --listen"]);
}

#[test]
fn a_socket_left_by_one_that_was_killed_is_no_obstacle() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let socket = format!("unix:{}", folder.path("up.sock"));
    let mut killed = folder.start(&["--listen", &socket]);
    killed.listens();
    folder
        .up(&["--listen", &socket], &[])
        .expect(2, "")
        .complains(&["another process listens at"]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(fs::exists(folder.path("up.sock")).unwrap());
    let mut running = folder.start(&["--listen", &socket]);
    running.listens();
    program(["request", "demo/echo/main", "hi", "--host", &socket]).expect(0, "hi\n");
    running.signal("-INT");
    running.ends_with(0);
    assert!(!fs::exists(folder.path("up.sock")).unwrap());
}

#[test]
fn other_machines_need_tokens() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder
        .up(&["--listen", "0.0.0.0:0"], &[])
        .expect(2, "")
        .complains(&["is reached from other machines", "--token-file"]);
    let file = folder.write("tokens", "read,message rrrrrrrrrrrrrrrr\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--token-file", &file];
    folder
        .up(&flags, &[])
        .expect(2, "")
        .complains(&["chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut running = folder.start(&flags);
    let address = running.listens();
    let ask = |arguments: &[&str]| program([arguments, &["--host", &address]].concat());
    ask(&["ps"])
        .expect(1, "")
        .complains(&["Authorization: Bearer TOKEN"]);
    ask(&["request", "demo/echo/main", "hi", "--token-file", &file]).expect(0, "hi\n");
    ask(&["restart", "demo/echo/main", "--token-file", &file])
        .expect(1, "")
        .complains(&["does not have the role `administer`"]);

    // Another token, while it runs; a file that is none changes nothing.
    folder.write("tokens", "administer aaaaaaaaaaaaaaaa\n");
    running.signal("-HUP");
    let reading = "reading the folder again";
    running.says(reading);
    let began = Instant::now();
    while ask(&["restart", "demo/echo/main", "--token-file", &file]).code != Some(0) {
        assert!(began.elapsed() < LONG);
    }
    folder.write("tokens", "nonsense\n");
    running.signal("-HUP");
    // However long the folder is read.
    let before = running.says_before("the tokens that were read before stay");
    assert!(
        !before.iter().any(|line| line.contains(reading)),
        "{before:?}"
    );
    let (status, _) = curl(
        &address,
        "/components",
        &["-H", "Authorization: Bearer aaaaaaaaaaaaaaaa"],
    );
    assert_eq!(status, 200);
    running.signal("-TERM");
    running.ends_with(0);
}

#[test]
fn a_name_is_that_of_a_host_and_nothing_else() {
    let folder = Folder::new();
    for name in [
        "",
        "a b",
        "shop.example:7070",
        "https://shop.example",
        "[::1]",
    ] {
        folder
            .up(&["--listen", "127.0.0.1:0", "--name", name], &[])
            .expect(2, "")
            .complains(&["is no name of a machine", "such as shop.example"]);
    }
}

/// Who names a certificate believes that TLS is spoken.
#[test]
fn a_certificate_that_nobody_sees_is_told_of() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let socket = format!("unix:{}", folder.path("up.sock"));
    let tls = ["--tls-cert", "a.pem", "--tls-key", "b.pem"];
    let mut running = folder.start(&[&["--listen", socket.as_str()], &tls[..]].concat());
    running.says("--tls-cert has no effect: nothing listens at an address of the network");
    running.says("listening at unix:");
    running.signal("-TERM");
    running.ends_with(0);
}

/// Nobody would know why nobody gets in.
#[test]
fn that_there_are_no_more_files_to_open_is_told() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 48 && exec \"$0\" \"$@\""])
        .args([env!("CARGO_BIN_EXE_airssys-wasm"), "up", &folder.path("")])
        .args(["--listen", "127.0.0.1:0"])
        .env(CACHE.0, CACHE.1);
    let mut running = Running::new(limited);
    let address = running.listens();
    let at = address.trim_start_matches("http://");
    let open: Vec<_> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
    running.says(" lets nobody in for now: ");
    drop(open);
    assert_eq!(curl(&address, "/healthz", &[]).0, 200);
    running.signal("-TERM");
    running.ends_with(0);
}

/// One address for others, with TLS, and a socket for this machine.
#[test]
fn it_listens_at_several_addresses() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
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
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            &key,
            "-out",
            &cert,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    folder
        .up(
            &[
                "--listen",
                "127.0.0.1:0",
                "--tls-cert",
                &cert,
                "--tls-key",
                &cert,
            ],
            &[],
        )
        .expect(2, "")
        .complains(&["it.pem cannot be used for TLS"]);
    let socket = format!("unix:{}", folder.path("up.sock"));
    let flags = ["--listen", "127.0.0.1:0", "--listen", &socket];
    let mut running =
        folder.start(&[&flags[..], &["--tls-cert", &cert, "--tls-key", &key]].concat());
    let address = running.listens();
    assert!(address.starts_with("https://127.0.0.1:"), "{address}");
    assert_eq!(running.listens(), socket);
    let (status, text) = curl(&address, "/readyz", &["--cacert", &cert]);
    assert_eq!((status, text.as_str()), (200, "ready\n"));
    program(["request", "demo/echo/main", "hi", "--host", &socket]).expect(0, "hi\n");
    running.signal("-TERM");
    running.ends_with(0);
}

/// Whatever it failed for may have gone, though none of its files has changed.
#[test]
fn a_hangup_tries_again_what_failed() {
    for watches in [false, true] {
        let folder = Folder::new();
        folder.component("old", wasm_fixtures::ECHO, "");
        let listen = ["--listen", "127.0.0.1:0", "--max-memory", "1MiB"];
        let flags: &[&str] = if watches { &["--watch"] } else { &[] };
        let mut running = folder.start(&[&listen, flags].concat());
        let address = running.listens();
        let ask = |name: &str| {
            let path = format!("/components/demo/{name}/main");
            curl(&address, &path, &["-d", "x"]).0
        };
        folder.component("new", wasm_fixtures::ECHO, "");
        running.signal("-HUP");
        running.says("demo/new/main");
        assert_eq!((ask("old"), ask("new")), (200, 404));
        let replace = |old: &str, new: &str| {
            fs::remove_dir_all(folder.path(old)).unwrap();
            running.signal("-HUP");
            let began = Instant::now();
            while ask(new) != 200 {
                assert!(began.elapsed() < LONG);
                thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(ask(old), 404);
        };
        replace("old", "new");
        // One that comes while another goes may be tried before that is gone.
        folder.component("third", wasm_fixtures::ECHO, "");
        replace("new", "third");
        running.signal("-TERM");
        running.ends_with(0);
    }
}

#[test]
fn a_hangup_reads_the_folder_again() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("gone", wasm_fixtures::ECHO, "");
    folder.component("broken", wasm_fixtures::ECHO, "");
    let mut running = folder.start(&["--listen", "127.0.0.1:0"]);
    let address = running.listens();
    folder.component("late", wasm_fixtures::COUNTER, "");
    folder.write("echo/component.wasm", wasm_fixtures::COUNTER.wasm);
    folder.replace("broken", "memory", "memoir");
    fs::remove_dir_all(folder.path("gone")).unwrap();
    running.signal("-HUP");
    running.says("reading the folder again");
    let ask = |name: &str| {
        curl(
            &address,
            &format!("/components/demo/{name}/main"),
            &["-d", "x"],
        )
    };
    let began = Instant::now();
    while ask("late").0 != 200 || ask("echo").1 == "x" || ask("gone").0 != 404 {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(50));
    }
    running.says("demo/broken/main goes on as it was");
    assert_eq!(ask("broken"), (200, "x".into()));
    running.signal("-TERM");
    running.ends_with(0);
}

/// Of which a link names the one that is in force.
#[test]
fn a_hangup_takes_up_another_release() {
    let folder = Folder::new();
    for (release, fixture) in [("v1", wasm_fixtures::COUNTER), ("v2", wasm_fixtures::ECHO)] {
        folder.component(&format!("{release}/a"), fixture, "");
        let manifest = folder.path(&format!("{release}/a/Component.toml"));
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, text.replace(&format!("/{release}/a/"), "/a/")).unwrap();
    }
    let current = folder.path("current");
    symlink("v1", &current).unwrap();
    let mut running = Running::new(command(["up", &current, "--listen", "127.0.0.1:0"]));
    let address = running.listens();
    let ask = || curl(&address, "/components/demo/a/main", &["-d", "x"]).1;
    assert_eq!(ask(), "1");
    symlink("v2", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), &current).unwrap();
    running.signal("-HUP");
    running.says("demo/a/main was replaced");
    assert_eq!(ask(), "x");
    running.signal("-TERM");
    running.ends_with(0);
}

/// From the beginning, and not only once somebody is let in.
#[test]
fn hangups_while_it_starts_are_one_reading() {
    let folder = Folder::new();
    let waits = "[build]\ncommand = \"touch started; until [ -e go ]; do sleep 0.05; done\"\n";
    folder.component("echo", wasm_fixtures::ECHO, waits);
    let mut running = folder.start(&["--build", "--listen", "127.0.0.1:0"]);
    let began = Instant::now();
    while !fs::exists(folder.path("echo/started")).unwrap() {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..3 {
        running.signal("-HUP");
    }
    folder.write("echo/go", "");
    running.listens();
    let told = "reading the folder again";
    running.says(told);
    running.signal("-TERM");
    let more = running.ends(0);
    assert!(!more.iter().any(|line| line.contains(told)), "{more:?}");
}

/// Those that come while it is read are one more reading.
#[test]
fn hangups_in_a_row_do_not_add_up() {
    for watches in [false, true] {
        let folder = Folder::new();
        folder.component("echo", wasm_fixtures::ECHO, "");
        let flags: &[&str] = if watches { &["--watch"] } else { &[] };
        let mut running = folder.start(&[&["--listen", "127.0.0.1:0"], flags].concat());
        running.listens();
        for _ in 0..20 {
            running.signal("-HUP");
        }
        let told = "reading the folder again";
        running.says(told);
        running.says(told);
        running.signal("-TERM");
        assert!(running.child.wait().unwrap().success());
        let more: Vec<String> = running.stderr.iter().collect();
        assert!(!more.iter().any(|line| line.contains(told)), "{more:?}");
    }
}

/// Whatever was accepted was handled or is a dead letter.
#[test]
fn sigterm_under_load_loses_nothing() {
    let folder = Folder::new();
    let stores = "[permissions]\nstorage = \"4KiB\"\n";
    folder.component("counter", wasm_fixtures::STORED_COUNTER, stores);
    let data = folder.path("data.redb");
    let mut running = folder.start(&["--listen", "127.0.0.1:0", "--data", &data]);
    let address = running.listens();
    let address = address.strip_prefix("http://").unwrap().to_owned();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || accepted(&address))
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    running.signal("-TERM");
    let accepted: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    let began = Instant::now();
    while running.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
    let dead = running
        .stderr
        .iter()
        .filter(|line| line.starts_with("dead letter"))
        .count();
    let count = folder
        .up(&["--data", &data], &["demo/counter/main x"])
        .stdout;
    let count = count
        .trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap();
    let handled = count - 1;
    assert!(accepted > 0, "nothing was accepted");
    assert!(
        handled + dead >= accepted,
        "{handled} + {dead} of {accepted}"
    );
}

/// Sends messages over one connection until it ends; how many were accepted.
fn accepted(address: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let text = "POST /components/demo/counter/main/messages HTTP/1.1\r\nHost: localhost\r\n\
                Content-Length: 1\r\n\r\nx";
    let mut accepted = 0;
    let mut buffer = [0; 4096];
    while stream.write_all(text.as_bytes()).is_ok() {
        match stream.read(&mut buffer) {
            Ok(length) if length > 0 => {
                let answer = String::from_utf8_lossy(&buffer[..length]);
                accepted += usize::from(answer.starts_with("HTTP/1.1 202 "));
            }
            _ => break,
        }
    }
    accepted
}

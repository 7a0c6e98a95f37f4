//! A server of NATS that lasts as long as a test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, io};

use tempfile::TempDir;

/// What is said where no server is named.
pub(crate) const NEEDED: &str =
    "needs NATS_SERVER=PATH of a nats-server (scripts/cluster-tests.sh)";

/// The program, if it is named: these tests take as long as many others together.
pub(crate) fn program() -> Option<PathBuf> {
    env::var_os("NATS_SERVER").map(PathBuf::from)
}

const LOG: &str = "nats.log";

pub(crate) struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With this besides in its configuration.
    pub(crate) fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        let process = spawn(port, &folder);
        let server = Self {
            process,
            port,
            folder,
        };
        server.wait();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }

    /// Ends it, as a crash does.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again, with what it had stored.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder);
        self.wait();
    }

    fn wait(&self) {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let is_soon = began.elapsed() < Duration::from_secs(20);
            assert!(is_soon, "no server: {}", self.log());
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    let program = program().expect(NEEDED);
    let spawned: io::Result<Child> = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("nats.conf"))
        .arg("-l")
        .arg(folder.path().join(LOG))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.expect("nats-server starts")
}

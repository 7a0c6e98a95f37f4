//! Three servers that store everything together.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::process::signal;
use crate::server::{NEEDED, free_port, program};

/// What is accepted is on the disk then. Without it, a server that is killed may forget what it
/// had said that it has, and the others elect one that was paused meanwhile and never had it.
const SETTINGS: &str = "jetstream { sync_interval: always }\n";

pub(crate) struct Servers {
    ports: Vec<u16>,
    routes: Vec<u16>,
    folders: Vec<TempDir>,
    processes: Vec<Option<Child>>,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let ports = || (0..3).map(|_| free_port()).collect::<Vec<_>>();
        let mut servers = Self {
            ports: ports(),
            routes: ports(),
            folders: (0..3).map(|_| tempfile::tempdir().unwrap()).collect(),
            processes: vec![None, None, None],
        };
        (0..3).for_each(|it| servers.restart(it));
        for port in &servers.ports {
            while TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        }
        servers
    }

    pub(crate) fn url(&self) -> String {
        let urls = self.ports.iter();
        let urls: Vec<_> = urls
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        urls.join(",")
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.processes[number].take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(crate) fn restart(&mut self, number: usize) {
        let routes: Vec<_> = self
            .routes
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let settings = self.folders[number].path().join("nats.conf");
        fs::write(&settings, SETTINGS).unwrap();
        let process = Command::new(program().expect(NEEDED))
            .arg("-c")
            .arg(settings)
            .args(["-a", "127.0.0.1", "-p", &self.ports[number].to_string()])
            .args(["-js", "-n", &format!("server{number}"), "-sd"])
            .arg(self.folders[number].path())
            .args(["--cluster_name", "three", "--cluster", &routes[number]])
            .args(["--routes", &routes.join(",")])
            // Nodes know no other way to it than that they were given.
            .arg("--no_advertise")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.processes[number] = Some(process.expect("nats-server starts"));
    }

    /// It answers nobody any more.
    pub(crate) fn pause(&self, number: usize) {
        self.processes[number]
            .iter()
            .for_each(|it| signal(it, "STOP"));
    }

    pub(crate) fn go_on(&self, number: usize) {
        self.processes[number]
            .iter()
            .for_each(|it| signal(it, "CONT"));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..3).for_each(|it| self.kill(it));
    }
}

//! A node that is a process of its own.

use std::env;
use std::future::pending;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::keeper;
use crate::member::Setup;

/// Set for a process that is a node: its name, the servers and the lease in milliseconds.
pub(crate) const NODE: &str = "WASM_NATS_CHAOS_NODE";

pub(crate) fn setup(url: &str, lease: Duration) -> Setup {
    setup_on(url, lease, 1)
}

/// With everything stored on so many servers.
pub(crate) fn setup_on(url: &str, lease: Duration, replicas: usize) -> Setup {
    let mut setup = Setup::new(url.to_owned(), keeper::components());
    setup.lease = lease;
    setup.partitions = 32;
    setup.replicas = replicas;
    setup
}

/// Is a node until it is killed.
pub(crate) async fn be(text: &str) {
    let mut words = text.split_whitespace();
    let mut word = || words.next().expect("name, servers and lease");
    let (name, url, lease, replicas) = (word(), word(), word(), word());
    let replicas = replicas.parse().expect("a number");
    let lease = Duration::from_millis(lease.parse().expect("milliseconds"));
    let joined = setup_on(url, lease, replicas)
        .join_with(name, keeper::engine)
        .await;
    match joined {
        Ok(_member) => pending().await,
        Err(error) => eprintln!("{name}: {error}"),
    }
}

pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(name: &str, url: &str, lease: Duration, replicas: usize) -> Self {
        let program = env::current_exe().expect("this program");
        let child = Command::new(program)
            .env(
                NODE,
                format!("{name} {url} {} {replicas}", lease.as_millis()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("a node"),
        }
    }

    pub(crate) fn pause(&self) {
        signal(&self.child, "STOP");
    }

    pub(crate) fn go_on(&self) {
        signal(&self.child, "CONT");
    }

    /// With `SIGKILL`: it says good bye to nobody.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(process: &Child, name: &str) {
    let kill = Command::new("kill")
        .args(["-s", name, &process.id().to_string()])
        .status();
    assert!(kill.is_ok_and(|it| it.success()), "no signal");
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

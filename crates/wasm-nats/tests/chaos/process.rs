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
    let mut setup = Setup::new(url.to_owned(), keeper::components());
    setup.lease = lease;
    setup.partitions = 32;
    setup
}

/// Is a node until it is killed.
pub(crate) async fn be(text: &str) {
    let mut words = text.split_whitespace();
    let mut word = || words.next().expect("name, servers and lease");
    let (name, url, lease) = (word(), word(), word());
    let lease = Duration::from_millis(lease.parse().expect("milliseconds"));
    let joined = setup(url, lease).join_with(name, keeper::engine).await;
    match joined {
        Ok(_member) => pending().await,
        Err(error) => eprintln!("{name}: {error}"),
    }
}

pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(name: &str, url: &str, lease: Duration) -> Self {
        let program = env::current_exe().expect("this program");
        let child = Command::new(program)
            .env(NODE, format!("{name} {url} {}", lease.as_millis()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("a node"),
        }
    }

    /// With `SIGKILL`: it says good bye to nobody.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

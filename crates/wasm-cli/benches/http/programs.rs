//! Programs that serve the same component, each a process with one thread for requests.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::NamedTempFile;

use wasm_fixtures::WEB;

/// It ends with this value.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    process: Child,
    _component: NamedTempFile,
}

impl Program {
    /// `wasmtime serve`, of the program that the variable `WASMTIME` names.
    pub(crate) fn wasmtime() -> Option<Self> {
        let mut serve = Command::new(env::var_os("WASMTIME")?);
        serve.args(["serve", "--addr", "127.0.0.1:0"]);
        Some(Self::start(serve))
    }

    /// `airssys-wasm serve`, which sends its traces, logs and metrics to a collector if there
    /// is one.
    pub(crate) fn airssys_wasm(collector: Option<SocketAddr>) -> Self {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_airssys-wasm"));
        serve.args(["serve", "--listen", "127.0.0.1:0", "--no-cache"]);
        serve.args(["--memory", "1MiB", "--fuel", "100_000_000"]);
        serve.args(["--timeout", "10s"]);
        if let Some(collector) = collector {
            serve.args(["--otlp", &format!("http://{collector}")]);
        }
        Self::start(serve)
    }

    fn start(mut serve: Command) -> Self {
        let mut component = NamedTempFile::with_suffix(".wasm").expect("a file can be made");
        component.write_all(WEB.wasm).expect("it can be written");
        let mut process = serve
            .arg(component.path())
            .env("TOKIO_WORKER_THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", serve.get_program().display()));
        let said = process.stderr.take().expect("it is piped");
        let mut said = BufReader::new(said).lines().map_while(Result::ok);
        let address = said.find_map(|line| {
            let (_, address) = line.split_once("http://")?;
            address.trim_end_matches('/').parse().ok()
        });
        // What else it says is nobody's concern, but must not hold it up.
        thread::spawn(move || said.for_each(drop));
        Self {
            address: address.expect("it says where it listens"),
            process,
            _component: component,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

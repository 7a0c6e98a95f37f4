//! The program of wasmtime, serving the same component.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use wasm_fixtures::WEB;

/// It ends with this value.
pub(crate) struct WasmtimeServe {
    pub(crate) address: SocketAddr,
    process: Child,
    _component: NamedTempFile,
}

impl WasmtimeServe {
    /// The program that the variable `WASMTIME` names, with one thread for requests as all
    /// others have.
    pub(crate) fn start() -> Option<Self> {
        let program = env::var_os("WASMTIME")?;
        let mut component = NamedTempFile::new().expect("a file can be made");
        component.write_all(WEB.wasm).expect("it can be written");
        let mut process = Command::new(&program)
            .args(["serve", "--addr", "127.0.0.1:0"])
            .arg(component.path())
            .env("TOKIO_WORKER_THREADS", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("WASMTIME={}: {error}", program.display()));
        let said = BufReader::new(process.stderr.take().expect("it is piped"));
        let address = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("http://")?;
            address.trim_end_matches('/').parse().ok()
        });
        Some(Self {
            address: address.expect("`wasmtime serve` says where"),
            process,
            _component: component,
        })
    }
}

impl Drop for WasmtimeServe {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

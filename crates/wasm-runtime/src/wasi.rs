//! WASI 0.2: every interface is linked, so that components of the usual
//! toolchains load, and grants nothing but what the permissions say.

use std::future::{Future, ready};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks,
};

use wasm_core::text::Escaped;
use wasm_core::{Clock, ComponentId, DirAccess, WasiGrant};

use crate::store::Guest;

/// The release of the interfaces that wasmtime-wasi links; others of 0.2 are
/// matched to it.
pub(crate) const WASI_VERSION: &str = "0.2.12";

/// What a language runtime draws to seed its own generator is far below; each
/// byte costs the host, not the guest.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// A clock this coarse still serves schedulers and logs, and is of little use for
/// measuring what a neighbour does to the caches.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// Lines that one call may write to its log and its standard streams together.
const LINES_PER_CALL: u32 = 256;

/// Where a line is cut. Escaped, each byte may take ten times the room.
pub(crate) const MAX_LINE_BYTES: usize = 2048;

/// The standard streams' permit for one write.
const WRITE_BYTES: usize = 64 << 10;

/// Counts the lines of a call, so that a flood of them costs the guest its fuel
/// and the operator nothing.
#[derive(Debug, Default)]
pub(crate) struct LineBudget {
    written: AtomicU32,
}

/// Whether a line may be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Write,
    /// The first one too many, to be reported.
    Last,
    Drop,
}

impl LineBudget {
    pub(crate) fn reset(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    pub(crate) fn next(&self) -> Line {
        // Saturates in practice: 2^32 lines take longer than any deadline.
        match self.written.fetch_add(1, Ordering::Relaxed) {
            n if n < LINES_PER_CALL => Line::Write,
            LINES_PER_CALL => Line::Last,
            _ => Line::Drop,
        }
    }
}

/// One standard stream of a component: cut into lines and handed to `tracing`.
pub(crate) struct GuestOutput {
    guest: Arc<Guest>,
    stream: &'static str,
    partial: Mutex<Vec<u8>>,
}

impl GuestOutput {
    fn new(guest: &Arc<Guest>, stream: &'static str) -> Self {
        Self {
            guest: Arc::clone(guest),
            stream,
            partial: Mutex::default(),
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            for chunk in piece.chunks(MAX_LINE_BYTES) {
                partial.extend_from_slice(chunk);
                if partial.ends_with(b"\n") || partial.len() >= MAX_LINE_BYTES {
                    self.emit(&std::mem::take(&mut *partial));
                }
            }
        }
    }

    /// Writes what has no line end yet, as at the end of a call.
    pub(crate) fn end_line(&self) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if !partial.is_empty() {
            self.emit(&std::mem::take(&mut *partial));
        }
    }

    fn emit(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = Escaped::up_to(MAX_LINE_BYTES, line.trim_end_matches(['\r', '\n']));
        let (component, stream) = (self.guest.id(), self.stream);
        match self.guest.lines.next() {
            Line::Write => {
                tracing::info!(target: crate::COMPONENT_TARGET, %component, stream, "{line}");
            }
            Line::Last => report_flood(component),
            Line::Drop => {}
        }
    }
}

pub(crate) fn report_flood(component: &ComponentId) {
    tracing::warn!(
        target: crate::COMPONENT_TARGET, %component,
        "more than {LINES_PER_CALL} lines in one call; the rest is dropped"
    );
}

struct OutputHandle(Arc<GuestOutput>);

impl IsTerminal for OutputHandle {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputHandle {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

#[async_trait]
impl Pollable for OutputHandle {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputHandle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for OutputHandle {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct CoarseWallClock(Arc<dyn Clock>);

impl HostWallClock for CoarseWallClock {
    fn resolution(&self) -> Duration {
        CLOCK_RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().as_millis())
    }
}

struct CoarseMonotonicClock(Instant);

impl HostMonotonicClock for CoarseMonotonicClock {
    fn resolution(&self) -> u64 {
        CLOCK_RESOLUTION.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        // From one tick on: Go's runtime takes a clock at zero for a broken one.
        let ticks = 1 + self.0.elapsed().as_nanos() / CLOCK_RESOLUTION.as_nanos();
        (ticks * CLOCK_RESOLUTION.as_nanos()) as u64
    }
}

/// Refuses every outgoing request, as an error that the guest can handle.
pub(crate) struct NoHttp;

type HttpEnd = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type HttpExchange = Result<(Response<WasiBody>, HttpEnd), HttpError>;

/// What a body that will never be sent may buffer, and its headers: each handle may
/// hold as much, outside of the guest's memory.
const HTTP_BUFFER_BYTES: usize = 1024;

impl NoHttp {
    pub(crate) fn context() -> WasiHttpCtx {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(4 * HTTP_BUFFER_BYTES);
        context
    }
}

impl WasiHttpHooks for NoHttp {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        HTTP_BUFFER_BYTES
    }

    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: HttpEnd,
    ) -> Box<dyn Future<Output = HttpExchange> + Send> {
        Box::new(ready(Err(HttpError::HttpRequestDenied)))
    }
}

/// What an instance has of WASI.
pub(crate) struct WasiGrants {
    pub(crate) context: WasiCtx,
    pub(crate) outputs: Vec<Arc<GuestOutput>>,
}

/// A directory that was granted but cannot be opened.
pub(crate) struct UnreadableDir {
    pub(crate) path: PathBuf,
    pub(crate) error: wasmtime::Error,
}

impl WasiGrants {
    pub(crate) fn new(guest: &Arc<Guest>) -> Result<Self, UnreadableDir> {
        let Guest {
            config, services, ..
        } = &**guest;
        let mut outputs = Vec::new();
        let mut addresses = Vec::new();
        let mut builder = WasiCtxBuilder::new();
        builder
            .max_random_size(MAX_RANDOM_BYTES)
            .wall_clock(CoarseWallClock(Arc::clone(&services.clock)))
            .monotonic_clock(CoarseMonotonicClock(Instant::now()))
            .allow_ip_name_lookup(false)
            .allow_udp(false)
            .allow_tcp(false);
        let mut output = |stream| {
            let output = Arc::new(GuestOutput::new(guest, stream));
            outputs.push(Arc::clone(&output));
            OutputHandle(output)
        };
        for grant in &config.permissions.wasi {
            match grant {
                WasiGrant::Stdout => {
                    builder.stdout(output("stdout"));
                }
                WasiGrant::Stderr => {
                    builder.stderr(output("stderr"));
                }
                WasiGrant::Env => {
                    builder.envs(&config.env);
                }
                WasiGrant::Dir {
                    guest,
                    host,
                    access,
                } => {
                    let permissions = match access {
                        DirAccess::Read => FsPerms::ReadOnly,
                        DirAccess::Write => FsPerms::ReadWrite,
                    };
                    builder
                        .preopened_dir(host, guest, permissions)
                        .map_err(|error| UnreadableDir {
                            path: host.clone(),
                            error,
                        })?;
                }
                WasiGrant::Connect(address) => addresses.push(*address),
                // A grant that this engine does not know grants nothing.
                _ => {}
            }
        }
        if !addresses.is_empty() {
            builder
                .allow_tcp(true)
                .socket_addr_check(move |address, usage| {
                    // Binding to any port of one's own comes with connecting.
                    let granted = match usage {
                        SocketAddrUse::TcpConnect => addresses.contains(&address),
                        SocketAddrUse::TcpBind => {
                            address.ip().is_unspecified() && address.port() == 0
                        }
                        _ => false,
                    };
                    Box::pin(async move { granted })
                });
        }
        Ok(Self {
            context: builder.build(),
            outputs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_so_many_lines() {
        let budget = LineBudget::default();
        for _ in 0..LINES_PER_CALL {
            assert_eq!(budget.next(), Line::Write);
        }
        assert_eq!(budget.next(), Line::Last);
        assert_eq!(budget.next(), Line::Drop);
        budget.reset();
        assert_eq!(budget.next(), Line::Write);
    }

    #[test]
    fn clocks_tell_whole_milliseconds() {
        let wall = CoarseWallClock(Arc::new(wasm_core::SystemClock));
        assert_eq!(wall.now().subsec_nanos() % 1_000_000, 0);
        assert_eq!(wall.resolution(), CLOCK_RESOLUTION);
        let monotonic = CoarseMonotonicClock(Instant::now());
        assert_eq!(monotonic.now() % monotonic.resolution(), 0);
        assert!(monotonic.now() >= monotonic.resolution());
    }
}

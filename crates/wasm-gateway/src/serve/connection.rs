use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::limits::GatewayLimits;
use crate::serve::listener::Stream;
use crate::serve::stall::Unstalled;

/// The head of a request, its first line included, in bytes; and what is read ahead.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

/// What a connection is served with.
pub(crate) struct Connection<S> {
    service: S,
    stopping: watch::Receiver<bool>,
    header_time: Duration,
    stall_time: Duration,
}

impl<S> Connection<S>
where
    S: HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
{
    pub(crate) fn new(limits: &GatewayLimits, service: S, stopping: watch::Receiver<bool>) -> Self {
        Self {
            service,
            stopping,
            header_time: limits.header_time,
            stall_time: limits.stall_time,
        }
    }

    /// Until either side ends it.
    pub(crate) async fn serve(self, stream: Stream, tls: Option<TlsAcceptor>) {
        let stream = Unstalled::new(stream, self.stall_time);
        let Some(tls) = tls else {
            return self.answer(stream).await;
        };
        // A handshake that does not come to an end is one that has no head either.
        if let Ok(Ok(stream)) = timeout(self.header_time, tls.accept(stream)).await {
            self.answer(stream).await;
        }
    }

    async fn answer(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_time)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), self.service);
        let mut serving = pin!(serving);
        tokio::select! {
            // What goes wrong with a connection is its other side's affair.
            _ = serving.as_mut() => return,
            _ = self.stopping.wait_for(|is_stopping| *is_stopping) => {}
        }
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
}

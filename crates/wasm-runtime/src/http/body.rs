//! The body of a response that a component gives while its call goes on.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use wasm_core::units::format_count;

use crate::wasi::READ_AHEAD;

/// The body of a response. Dropping it before its end gives the request up.
#[derive(Debug)]
pub struct HttpBody {
    inner: HyperOutgoingBody,
    /// What was read before anybody asked for it, the end included.
    ahead: VecDeque<Option<Result<Frame<Bytes>, Incomplete>>>,
    /// Until whoever reads it has all there is.
    presence: Option<oneshot::Sender<()>>,
    /// Nobody reads it, whatever is written.
    is_never_read: bool,
    /// How many bytes it has, if its head says so and somebody reads them.
    declared: Option<u64>,
    /// How many of them the component has written.
    written: u64,
    call: Call,
}

/// The call that gives a body.
#[derive(Debug)]
pub(super) struct Call {
    /// Set before the body of a call that failed ends.
    pub(super) failed: Arc<OnceLock<()>>,
    /// Ends in an error when the call has ended.
    pub(super) over: oneshot::Receiver<()>,
}

impl HttpBody {
    pub(super) fn new(
        inner: HyperOutgoingBody,
        head: &Parts,
        method: &Method,
        presence: oneshot::Sender<()>,
        call: Call,
    ) -> Self {
        let is_never_read = *method == Method::HEAD
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let declared = head.headers.get(CONTENT_LENGTH).filter(|_| !is_never_read);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_empty = inner.is_end_stream() || declared == Some(0);
        let mut body = Self {
            inner,
            ahead: VecDeque::new(),
            presence: Some(presence),
            is_never_read,
            declared,
            written: 0,
            call,
        };
        if is_never_read || is_empty {
            body.is_read();
        }
        body
    }

    /// Reads what the component writes in its next turns, so that a short body goes out together
    /// with the head, and not in packets of its own. Where many components answer at a time,
    /// their responses go out one right after the other, too.
    pub(super) async fn read_ahead(&mut self) {
        if self.is_never_read {
            return;
        }
        for _ in 0..READ_AHEAD {
            if let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(self.poll_written(cx))).await {
                let goes_on = matches!(written, Some(Ok(_)));
                self.ahead.push_back(written);
                if !goes_on {
                    return;
                }
            }
            give_way().await;
        }
    }

    /// Why what was read ahead does not come to its end. The call that gave it may go on.
    pub(super) fn known_incomplete(&mut self) -> Option<Incomplete> {
        let incomplete = *self.ahead.back()?.as_ref()?.as_ref().err()?;
        self.is_read();
        Some(incomplete)
    }

    /// Of what was read ahead.
    fn bytes_ahead(&self) -> u64 {
        let ahead = self.ahead.iter().flatten().flatten();
        let ahead = ahead.filter_map(Frame::data_ref);
        ahead.map(|data| data.len() as u64).sum()
    }

    /// What the component has written next, until it has come to the end of the body or of its
    /// call.
    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Incomplete>>> {
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if frame.is_pending() {
            if !self.call.over.is_terminated() {
                ready!(Pin::new(&mut self.call.over).poll(cx)).ok();
            }
            // All that was written is there by now, and nobody writes any more.
            frame = Pin::new(&mut self.inner).poll_frame(cx);
        }
        let written = match frame {
            Poll::Ready(Some(Ok(frame))) => Some(frame),
            Poll::Ready(None) if self.call.failed.get().is_none() => None,
            // Whoever reads it has all that it says it has.
            Poll::Ready(None | Some(Err(_))) | Poll::Pending if self.is_complete() => None,
            // It has failed over it, or given up on it.
            _ => return Poll::Ready(Some(Err(self.incomplete()))),
        };
        let data = written.as_ref().and_then(Frame::data_ref);
        self.written += data.map_or(0, |data| data.len() as u64);
        let is_wrong = |declared| match written {
            Some(_) => self.written > declared,
            None => self.written != declared,
        };
        Poll::Ready(match self.declared.is_some_and(is_wrong) {
            true => Some(Err(self.incomplete())),
            false => written.map(Ok),
        })
    }

    fn is_complete(&self) -> bool {
        self.declared == Some(self.written)
    }

    fn incomplete(&self) -> Incomplete {
        let written = self.written;
        match self.declared {
            Some(declared) if declared != written => Incomplete::Length { declared, written },
            _ => Incomplete::Unfinished,
        }
    }

    /// Whoever reads it has all there is, and may go: the call goes on until it ends.
    fn is_read(&mut self) {
        if let Some(presence) = self.presence.take() {
            // The call may have ended.
            let _ = presence.send(());
        }
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = Incomplete;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Incomplete>>> {
        let written = match self.ahead.pop_front() {
            Some(written) => written,
            None => ready!(self.poll_written(cx)),
        };
        Poll::Ready(match written {
            Some(Ok(frame)) => {
                if self.declared == Some(self.written - self.bytes_ahead()) {
                    self.is_read();
                }
                Some(Ok(frame))
            }
            // The component may have given up on it, and its call goes on.
            end => {
                self.is_read();
                end
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        // An end that was read ahead is told, so that it is known here that it was.
        self.ahead.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.bytes_ahead();
        let left = self.inner.size_hint();
        let mut whole = SizeHint::new();
        whole.set_lower(left.lower().saturating_add(ahead));
        if let Some(upper) = left.upper() {
            whole.set_upper(upper.saturating_add(ahead));
        }
        whole
    }
}

/// Lets the other tasks of this thread go on that are ready. Unlike `yield_now` of tokio it does
/// not wait until there is nothing else to do.
async fn give_way() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A body has not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incomplete {
    /// The component has failed over it, or given up on it.
    Unfinished,
    /// The component has written fewer or more bytes than its `content-length` says.
    Length {
        /// What it says.
        declared: u64,
        /// How many there are, as far as they were read.
        written: u64,
    },
}

impl Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => {
                f.write_str("the component has not come to the end of the response")
            }
            Self::Length { declared, written } => write!(
                f,
                "the component has written {} bytes of a response whose `content-length` is {}",
                format_count(*written),
                format_count(*declared)
            ),
        }
    }
}

impl StdError for Incomplete {}

//! The standard streams of a component, cut into lines.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use wasm_core::guest::MAX_LINE_BYTES;
use wasm_core::text::Escaped;

use crate::lines::{COMPONENT_TARGET, Lines};

/// The standard streams' permit for one write.
const WRITE_BYTES: usize = 64 << 10;

/// What is kept of a standard error stream for the error of a call that ends in a trap: a
/// panic's message with its place is a tenth of it.
const LAST_WORDS_BYTES: usize = 1 << 10;

/// One standard stream of a component: cut into lines and handed to `tracing`.
pub(crate) struct GuestOutput {
    lines: Arc<Lines>,
    stream: &'static str,
    partial: Mutex<Vec<u8>>,
}

/// The end of what was written to standard error in a call, whether or not that is granted.
#[derive(Default)]
pub(crate) struct LastWords(Mutex<Vec<u8>>);

impl LastWords {
    /// For the next call.
    pub(crate) fn forget(&self) {
        self.bytes().clear();
    }

    /// Without the space around them; `None` if nothing else was written.
    pub(crate) fn get(&self) -> Option<Box<str>> {
        let bytes = self.bytes();
        let text = String::from_utf8_lossy(&bytes);
        // What is no text takes more room as text.
        let begin = text.ceil_char_boundary(text.len().saturating_sub(LAST_WORDS_BYTES));
        let text = text[begin..].trim();
        (!text.is_empty()).then(|| text.into())
    }

    fn write(&self, written: &[u8]) {
        let mut bytes = self.bytes();
        let last = &written[written.len().saturating_sub(LAST_WORDS_BYTES)..];
        let excess = (bytes.len() + last.len()).saturating_sub(LAST_WORDS_BYTES);
        bytes.drain(..excess);
        bytes.extend_from_slice(last);
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuestOutput {
    pub(super) fn new(lines: &Arc<Lines>, stream: &'static str) -> Self {
        Self {
            lines: Arc::clone(lines),
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
        let text = || {
            let line = String::from_utf8_lossy(line);
            Escaped::prose(MAX_LINE_BYTES, line.trim_end_matches(['\r', '\n'])).to_string()
        };
        let (component, stream) = (self.lines.component(), self.stream);
        if let Some(line) = self.lines.admit(text) {
            tracing::info!(target: COMPONENT_TARGET, %component, stream, "{line}");
        }
    }
}

/// Where a guest writes to.
#[derive(Clone, Default)]
pub(super) struct OutputHandle {
    /// Unless it is not granted.
    pub(super) output: Option<Arc<GuestOutput>>,
    pub(super) last_words: Option<Arc<LastWords>>,
}

impl OutputHandle {
    fn take(&self, bytes: &[u8]) {
        if let Some(last_words) = &self.last_words {
            last_words.write(bytes);
        }
        if let Some(output) = &self.output {
            output.write(bytes);
        }
    }
}

impl IsTerminal for OutputHandle {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputHandle {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for OutputHandle {
    async fn ready(&mut self) {}
}

impl OutputStream for OutputHandle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
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
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::task::Waker;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::config::LogRate;
    use crate::lines::LineBuckets;

    /// Keeps what is said.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<String>>>);

    impl Visit for Said {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Said {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn what_is_written_is_cut_into_lines() {
        let said = Said::default();
        let take = || std::mem::take(&mut *said.0.lock().unwrap());
        let component = "demo/output/main".parse().unwrap();
        let bucket = LineBuckets::new(LogRate::default()).of(&component);
        let output = GuestOutput::new(&Arc::new(Lines::new(bucket)), "stdout");
        with_default(said.clone(), || {
            output.write(b"one\ntwo\r\nthr");
            assert_eq!(take(), ["one", "two"]);
            output.write(b"ee\n\nfo");
            assert_eq!(take(), ["three", ""]);
            // As at the end of a call.
            output.end_line();
            assert_eq!(take(), ["fo"]);
            output.end_line();
            assert_eq!(take(), [""; 0]);
            // A line that does not end is cut.
            let long = "x".repeat(MAX_LINE_BYTES);
            output.write(&long.as_bytes()[1..]);
            assert_eq!(take(), [""; 0]);
            output.write(b"x");
            assert!(take() == [&*long]);
            output.write(b"yz");
            output.end_line();
            assert_eq!(take(), ["yz"]);
        });
    }

    #[test]
    fn a_log_is_no_terminal() {
        assert!(!OutputHandle::default().is_terminal());
    }

    /// As WASI's other interfaces write, which components do not have yet.
    #[test]
    fn what_is_written_asynchronously_is_taken_at_once() {
        let words = Arc::new(LastWords::default());
        let handle = OutputHandle {
            output: None,
            last_words: Some(Arc::clone(&words)),
        };
        let mut stream = Pin::from(handle.async_stream());
        let cx = &mut Context::from_waker(Waker::noop());
        let written = stream.as_mut().poll_write(cx, b"farewell");
        assert!(matches!(written, Poll::Ready(Ok(8))), "{written:?}");
        assert_eq!(words.get().as_deref(), Some("farewell"));
        assert!(matches!(
            stream.as_mut().poll_flush(cx),
            Poll::Ready(Ok(()))
        ));
        assert!(matches!(
            stream.as_mut().poll_shutdown(cx),
            Poll::Ready(Ok(()))
        ));
    }

    #[test]
    fn of_what_is_no_text_the_end_is_kept_too() {
        let words = LastWords::default();
        words.write(&[0xff; 960]);
        words.write(b" the end ");
        let said = words.get().unwrap();
        assert!(said.ends_with(" the end"), "{said}");
        assert!(
            (1_000..=LAST_WORDS_BYTES).contains(&said.len()),
            "{}",
            said.len()
        );
    }
}

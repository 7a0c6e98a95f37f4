//! How much of what is sent reaches the collector, and how much does not: neither waits for the
//! other.

use std::mem::replace;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::logs::Severity;
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use wasm_core::text::Escaped;

use super::signal::Signal;
use crate::output::report::{Report, aside};

/// Spans, or log records, that wait or are being sent.
pub(super) const MAX_WAITING: usize = 8 << 10;

/// What became of a signal.
#[derive(Debug)]
pub(super) struct Counts {
    signal: Signal,
    collector: String,
    /// Those that wait and those that are being sent.
    waiting: AtomicUsize,
    /// Since it was told last.
    lost: AtomicU64,
    attempts: Mutex<Attempts>,
}

/// How it went to send them.
#[derive(Debug, Default)]
struct Attempts {
    failure: Option<String>,
    is_told: bool,
    /// That a part of what was sent was not taken.
    is_refusal_told: bool,
}

impl Counts {
    pub(super) fn new(signal: Signal, collector: String) -> Self {
        Self {
            signal,
            collector,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            attempts: Mutex::default(),
        }
    }

    /// Why the last attempt failed, if it did.
    pub(super) fn attempted(&self, failure: Option<String>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.failure = failure;
    }

    /// The collector has taken the rest of what it was sent, and said why not these.
    pub(super) fn refused(&self, items: u64, why: &str) {
        // It counts the numbers in a reading.
        let lost = match self.signal {
            Signal::Metrics => 1,
            Signal::Traces | Signal::Logs => items,
        };
        self.lost.fetch_add(lost, Ordering::Relaxed);
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if replace(&mut attempts.is_refusal_told, true) {
            return;
        }
        drop(attempts);
        let (collector, signal, why) = (&self.collector, self.signal, Escaped::new(why));
        Report::warning(format!(
            "{collector} takes {signal} but for some ({items}): {why}"
        ))
        .with_note("more of them are counted, and told at the end")
        .print();
    }

    /// Whether there is room for one more.
    fn take_in(&self) -> bool {
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        if waiting < MAX_WAITING {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.lost.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// So many wait no more; the collector has them, or nobody.
    fn sent(&self, items: usize, is_well: bool) {
        self.waiting.fetch_sub(items, Ordering::AcqRel);
        if !is_well {
            self.lost.fetch_add(items as u64, Ordering::Relaxed);
        }
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.is_told != is_well {
            return;
        }
        attempts.is_told = !is_well;
        let why = attempts.failure.clone();
        drop(attempts);
        let (collector, signal, items) = (&self.collector, self.signal, self.signal.items());
        if is_well {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            return aside(format!(
                "{collector} takes {signal} again; {lost} {items} were lost"
            ));
        }
        let why = why.unwrap_or_else(|| "nothing was sent".to_owned());
        Report::warning(format!("{collector} takes no {signal}: {why}"))
            .with_note(format!(
                "{items} are dropped and counted until it does, which is told"
            ))
            .with_help(format!(
                "--otlp is for a collector that speaks OTLP over HTTP, mostly at port 4318; \
                 {}=none sends it no {signal}",
                signal.variable()
            ))
            .print();
    }

    /// What is lost at the end, if something is, as in `3 spans`.
    pub(super) fn lost(&self) -> Option<String> {
        let waiting = self.waiting.load(Ordering::Acquire) as u64;
        let lost = self.lost.load(Ordering::Relaxed) + waiting;
        (lost > 0).then(|| format!("{lost} {}", self.signal.items()))
    }
}

/// What ends up in it is counted, before and after.
#[derive(Debug)]
pub(super) struct Counted<T> {
    inner: T,
    counts: Arc<Counts>,
}

impl<T> Counted<T> {
    pub(super) fn new(inner: T, counts: Arc<Counts>) -> Self {
        Self { inner, counts }
    }
}

impl<P: SpanProcessor> SpanProcessor for Counted<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // The sampler wants nothing to be known of the others.
        if span.span_context.is_sampled() && self.counts.take_in() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.inner.export(batch).await;
        self.counts.sent(spans, sent.is_ok());
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Counted<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.counts.take_in() {
            self.inner.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let records = batch.iter().count();
        let sent = self.inner.export(batch).await;
        self.counts.sent(records, sent.is_ok());
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        // One at a time: there is room.
        self.counts.take_in();
        let sent = self.inner.export(metrics).await;
        self.counts.sent(1, sent.is_ok());
        sent
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::{Logger as _, LoggerProvider as _};
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::logs::SdkLoggerProvider;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

    use super::*;

    /// Takes what it is given, and sends nothing.
    #[derive(Debug)]
    struct Stalled;

    impl SpanProcessor for Stalled {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, _: SpanData) {}

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    impl LogProcessor for Stalled {
        fn emit(&self, _: &mut SdkLogRecord, _: &InstrumentationScope) {}

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn end_spans(sampler: Sampler, spans: usize) -> Arc<Counts> {
        let counts = Arc::new(Counts::new(Signal::Traces, "http://collector".to_owned()));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_span_processor(Counted::new(Stalled, Arc::clone(&counts)))
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            tracer.start("span").end();
        }
        counts
    }

    fn known(counts: &Counts) -> (usize, u64) {
        let waiting = counts.waiting.load(Ordering::Relaxed);
        (waiting, counts.lost.load(Ordering::Relaxed))
    }

    #[test]
    fn so_many_wait_and_more_are_lost() {
        let counts = end_spans(Sampler::AlwaysOn, MAX_WAITING + 3);
        assert_eq!(known(&counts), (MAX_WAITING, 3));
        counts.sent(512, true);
        assert_eq!(known(&counts), (MAX_WAITING - 512, 3));
        counts.attempted(Some("it is away".to_owned()));
        counts.sent(512, false);
        assert_eq!(known(&counts), (MAX_WAITING - 1024, 515));
        // It is told how many were lost.
        counts.sent(1, true);
        assert_eq!(known(&counts), (MAX_WAITING - 1025, 0));
    }

    #[test]
    fn what_is_not_to_be_recorded_does_not_wait() {
        assert_eq!(known(&end_spans(Sampler::AlwaysOff, 3)), (0, 0));
    }

    #[test]
    fn so_many_lines_wait_and_more_are_lost() {
        let counts = Arc::new(Counts::new(Signal::Logs, "http://collector".to_owned()));
        let provider = SdkLoggerProvider::builder()
            .with_log_processor(Counted::new(Stalled, Arc::clone(&counts)))
            .build();
        let logger = provider.logger("test");
        for _ in 0..MAX_WAITING + 3 {
            logger.emit(logger.create_log_record());
        }
        assert_eq!(known(&counts), (MAX_WAITING, 3));
        let lost = format!("{} log records", MAX_WAITING + 3);
        assert_eq!(counts.lost(), Some(lost));
    }
}

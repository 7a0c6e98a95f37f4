//! The headers `traceparent` and `tracestate`, as W3C has them.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::HeaderInjector;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use wasm_gateway::http::{HeaderMap, HeaderValue};

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// What must be handed on of a header at least; it is kept with each span.
const MAX_VALUE_BYTES: usize = 512;

/// Gives a span the parent that the headers of its request name, if they do.
pub(crate) fn join(headers: &HeaderMap, span: &Span) {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Given(headers));
    if context.has_active_span() {
        // A span that is not traced has no parent either.
        let _ = span.set_parent(context);
    }
}

/// Names the current span in the headers of a request, in place of what they said.
pub(crate) fn write(headers: &mut HeaderMap) {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return;
    }
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    if headers.get(STATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(STATE);
    }
}

/// Headers that are there once, and not too long.
struct Given<'a>(&'a HeaderMap);

impl Extractor for Given<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let value = value.to_str().ok()?;
        (value.len() <= MAX_VALUE_BYTES).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    /// What a request says that is sent on behalf of one with these headers.
    fn written(
        given: &[(&'static str, String)],
        before: &[(&'static str, &'static str)],
    ) -> HeaderMap {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        let mut written = HeaderMap::new();
        for (name, value) in before {
            written.append(*name, HeaderValue::from_static(value));
        }
        with_default(tracing_subscriber::registry().with(layer), || {
            let span = info_span!("request");
            join(&headers, &span);
            span.in_scope(|| info_span!("outgoing").in_scope(|| write(&mut written)));
        });
        written
    }

    fn parent(trace: &str, flags: &str) -> (&'static str, String) {
        (PARENT, format!("00-{trace}-b7ad6b7169203331-{flags}"))
    }

    #[test]
    fn a_trace_goes_on_in_another_span() {
        for flags in ["00", "01"] {
            let state = (STATE, "vendor=x".to_owned());
            let headers = written(&[parent(TRACE, flags), state], &[]);
            let parent = headers[PARENT].to_str().unwrap();
            assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
            assert!(parent.ends_with(&format!("-{flags}")), "{parent}");
            assert!(!parent.contains("b7ad6b7169203331"), "{parent}");
            assert_eq!(headers[STATE], "vendor=x");
        }
    }

    #[test]
    fn what_a_component_wrote_is_replaced() {
        let forged = [
            (
                PARENT,
                "00-11111111111111111111111111111111-2222222222222222-01",
            ),
            (
                PARENT,
                "00-33333333333333333333333333333333-4444444444444444-01",
            ),
            (STATE, "forged=y"),
        ];
        let headers = written(&[parent(TRACE, "01")], &forged);
        assert_eq!(headers.get_all(PARENT).iter().count(), 1);
        assert!(headers[PARENT].to_str().unwrap().contains(TRACE));
        assert_eq!(headers.get(STATE), None);
    }

    #[test]
    fn what_names_no_trace_begins_one() {
        let long = (STATE, format!("vendor={}", "x".repeat(600)));
        let headers = written(&[parent(TRACE, "01"), long], &[]);
        assert!(headers[PARENT].to_str().unwrap().contains(TRACE));
        assert_eq!(headers.get(STATE), None);
        for given in [
            vec![],
            vec![(PARENT, "00-x".to_owned())],
            vec![parent(&"0".repeat(32), "01")],
            vec![parent(TRACE, "01"), parent(TRACE, "01")],
        ] {
            let headers = written(&given, &[]);
            let parent = headers[PARENT].to_str().unwrap();
            assert_eq!(parent.len(), 55, "{parent}");
            assert!(!parent.contains(TRACE), "{parent}");
            assert!(!parent.contains(&"0".repeat(32)), "{parent}");
        }
    }

    #[test]
    fn without_a_span_headers_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, HeaderValue::from_static("x"));
        write(&mut headers);
        assert_eq!(headers[PARENT], "x");
    }
}

//! Traces, as a collector has them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

use super::reached::curl;
use super::{LONG, Running};
use crate::{Folder, LIMITS, command, program};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A request: its first line, its headers in lower case, and its body.
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Answers every request with nothing, and says what was asked.
struct Server {
    port: u16,
    asked: Receiver<Asked>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if sender.send(answer(stream.unwrap())).is_err() {
                    return;
                }
            }
        });
        Self { port, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[track_caller]
    fn next(&self) -> Asked {
        self.asked.recv_timeout(LONG).unwrap()
    }

    /// All spans that a process has sent which has ended.
    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for asked in self.asked.try_iter() {
            assert_eq!(asked.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(asked.headers["content-type"], "application/x-protobuf");
            let sent = ExportTraceServiceRequest::decode(asked.body.as_slice()).unwrap();
            for of_resource in sent.resource_spans {
                let resource = attributes(of_resource.resource.unwrap().attributes);
                assert_eq!(resource["service.name"], "airssys-wasm");
                for of_scope in of_resource.scope_spans {
                    spans.extend(of_scope.spans.into_iter().map(|span| {
                        Span {
                            name: span.name,
                            trace: hex(&span.trace_id),
                            id: hex(&span.span_id),
                            parent: hex(&span.parent_span_id),
                            attributes: attributes(span.attributes),
                            error: span
                                .status
                                .map_or_else(String::new, |status| status.message),
                        }
                    }));
                }
            }
        }
        spans
    }
}

fn answer(mut stream: TcpStream) -> Asked {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map(Result::unwrap);
    let line = lines.next().unwrap_or_default();
    let headers: BTreeMap<_, _> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    let length = headers.get("content-length");
    let length = length.map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(end).unwrap();
    Asked {
        line,
        headers,
        body,
    }
}

#[derive(Debug)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    attributes: BTreeMap<String, String>,
    error: String,
}

fn attributes(of: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    of.into_iter().map(|it| (it.key, text(it.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The only span of this name with these attributes.
#[track_caller]
fn find<'a>(spans: &'a [Span], name: &str, with: &[(&str, &str)]) -> &'a Span {
    let fits = |span: &&Span| {
        let has =
            |(key, value): &(&str, &str)| span.attributes.get(*key).is_some_and(|it| it == value);
        span.name == name && with.iter().all(has)
    };
    let found: Vec<_> = spans.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{name} {with:?} in {spans:#?}");
    found[0]
}

/// From a request over HTTP to the request that a component sends when it is called back.
#[test]
fn what_a_request_sets_going_is_one_trace() {
    for concurrency in [1, 4] {
        let (collector, kitchen) = (Server::new(), Server::new());
        let folder = Folder::new();
        let more = format!(
            "concurrency = {concurrency}\n[permissions]\nrequest = [\"demo/echo/main\"]\n\
             http = [\"http://localhost:*\"]\n"
        );
        folder.component("courier", wasm_fixtures::COURIER, &more);
        folder.component("echo", wasm_fixtures::ECHO, "");
        let url = collector.url();
        let mut running = folder.start(&["--listen", "127.0.0.1:0", "--otlp", &url]);
        let address = running.listens();
        let order = format!("demo/echo/main http://localhost:{}/menu", kitchen.port);
        let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        let arguments = ["-H", &parent, "-H", "tracestate: shop=7", "-d", &order];
        let (status, _) = curl(&address, "/components/demo/courier/main", &arguments);
        assert_eq!(status, 200);
        let asked = kitchen.next();
        assert_eq!(asked.line, "GET /menu HTTP/1.1");
        assert_eq!(asked.headers["tracestate"], "shop=7");
        running.signal("-TERM");
        running.ends_with(0);

        let spans = collector.spans();
        let request = find(&spans, "http request", &[("to", "demo/courier/main")]);
        assert_eq!(request.parent, PARENT);
        assert_eq!(request.attributes["http.response.status_code"], "200");
        let kind = |kind, to| [("kind", kind), ("to", to)];
        let handled = find(&spans, "message", &kind("request", "demo/courier/main"));
        assert_eq!(handled.parent, request.id);
        let echoed = find(&spans, "message", &kind("request", "demo/echo/main"));
        assert_eq!(echoed.parent, handled.id);
        let callback = find(&spans, "message", &kind("callback", "demo/courier/main"));
        assert!([&handled.id, &echoed.id].contains(&&callback.parent));
        let outgoing = find(&spans, "outgoing http request", &[]);
        assert_eq!(outgoing.parent, callback.id);
        assert_eq!(outgoing.attributes["http.response.status_code"], "200");
        let named = format!("00-{TRACE}-{}-01", outgoing.id);
        assert_eq!(asked.headers["traceparent"], named);
        assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    }
}

/// One with a trace of its own, of which nobody spoke, and one that nobody wants to be known.
#[test]
fn a_component_that_answers_requests_is_traced_and_failures_say_why() {
    let (collector, other) = (Server::new(), Server::new());
    let folder = Folder::new();
    folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let file = folder.path("web.wasm");
    let allowed = ["--allow", "http=http://localhost:*"];
    let url = collector.url();
    let flags = ["serve", &file, "--listen", "127.0.0.1:0", "--otlp", &url];
    let mut running = Running::new(command([&flags, &LIMITS[..], &allowed].concat()));
    let address = running.listens();
    let fetch = format!("/fetch?http://localhost:{}/", other.port);
    assert_eq!(curl(&address, &fetch, &[]).0, 200);
    let told = other.next().headers["traceparent"].clone();
    let unsampled = format!("traceparent: 00-{TRACE}-{PARENT}-00");
    assert_eq!(curl(&address, &fetch, &["-H", &unsampled]).0, 200);
    let told_unsampled = other.next().headers["traceparent"].clone();
    assert!(told_unsampled.starts_with(&format!("00-{TRACE}-")));
    assert!(told_unsampled.ends_with("-00"), "{told_unsampled}");
    assert_eq!(curl(&address, "/spin", &[]).0, 502);
    running.signal("-TERM");
    running.ends_with(0);

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
    let outgoing = find(&spans, "outgoing http request", &[]);
    assert_eq!(told, format!("00-{}-{}-01", outgoing.trace, outgoing.id));
    let calls = spans.iter().filter(|span| span.name == "message");
    let (well, failed): (Vec<_>, Vec<_>) = calls.partition(|call| call.error.is_empty());
    assert_eq!(well.len(), 1, "{spans:#?}");
    assert_eq!(outgoing.parent, well[0].id);
    assert_eq!(failed.len(), 1, "{spans:#?}");
    assert!(failed[0].error.contains("fuel"), "{spans:#?}");
    let status = [("http.response.status_code", "502")];
    let request = find(&spans, "http request", &status);
    assert_eq!((&request.id, &request.parent[..]), (&failed[0].parent, ""));
}

/// It goes on, says so once, and ends.
#[test]
fn a_collector_that_is_away_or_stalls_keeps_nobody() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let path = folder.path("");
    let mut sending = command(["up", &path, "--otlp", &away]);
    sending.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut running = Running::new(sending);
    running.asks("demo/echo/main one", "demo/echo/main: one");
    running.says(&format!("{away} takes no traces: "));
    running.asks("demo/echo/main two", "demo/echo/main: two");
    running.type_line("quit");
    running.says(&format!("spans have not reached {away}"));
    running.ends_with(0);

    // It takes connections, and nothing else.
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", stalled.local_addr().unwrap());
    let mut running = folder.start(&["--otlp", &url]);
    running.asks("demo/echo/main one", "demo/echo/main: one");
    running.type_line("quit");
    running.says(&format!("spans have not reached {url}"));
    running.ends_with(0);
}

#[test]
fn a_collector_is_named_by_a_url() {
    let folder = Folder::new();
    for url in ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://"] {
        let refused = program(["up", &folder.path(""), "--otlp", url]);
        assert_eq!(refused.code, Some(2), "{url}");
        refused.complains(&["--otlp <URL>", "http://127.0.0.1:4318"]);
    }
}

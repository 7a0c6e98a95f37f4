//! Traces, logs and metrics, as a collector has them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::reached::curl;
use super::served::certificate;
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

/// Answers every request in the same way, and says what was asked.
struct Server {
    port: u16,
    asked: Receiver<Asked>,
}

impl Server {
    fn new() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }

    fn answering(answered: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if sender.send(answer(stream.unwrap(), answered)).is_err() {
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

    /// All that a process has sent which has ended.
    fn all(&self) -> Sent {
        let mut sent = Sent::default();
        for asked in self.asked.try_iter() {
            sent.add(&asked);
        }
        sent
    }
}

/// What a collector has.
#[derive(Debug, Default)]
struct Sent {
    spans: Vec<Span>,
    logs: Vec<Log>,
    /// The latest value of each number, and the count of each histogram, as `/metrics` names
    /// them.
    metrics: BTreeMap<String, f64>,
    /// Upper bounds of each histogram.
    bounds: BTreeMap<String, Vec<f64>>,
}

impl Sent {
    fn add(&mut self, asked: &Asked) {
        assert_eq!(asked.headers["content-type"], "application/x-protobuf");
        let body = asked.body.as_slice();
        match asked.line.as_str() {
            "POST /v1/traces HTTP/1.1" => self.add_traces(body),
            "POST /v1/logs HTTP/1.1" => self.add_logs(body),
            "POST /v1/metrics HTTP/1.1" => self.add_metrics(body),
            other => panic!("{other}"),
        }
    }

    fn add_traces(&mut self, body: &[u8]) {
        let sent = ExportTraceServiceRequest::decode(body).unwrap();
        for of_resource in sent.resource_spans {
            is_ours(of_resource.resource);
            for span in of_resource.scope_spans.into_iter().flat_map(|it| it.spans) {
                self.spans.push(Span {
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: attributes(span.attributes),
                    error: span
                        .status
                        .map_or_else(String::new, |status| status.message),
                });
            }
        }
    }

    fn add_logs(&mut self, body: &[u8]) {
        let sent = ExportLogsServiceRequest::decode(body).unwrap();
        for of_resource in sent.resource_logs {
            is_ours(of_resource.resource);
            for scope in of_resource.scope_logs {
                let target = scope.scope.unwrap().name;
                self.logs.extend(scope.log_records.into_iter().map(|log| {
                    assert_ne!(log.observed_time_unix_nano, 0);
                    Log {
                        target: target.clone(),
                        severity: (log.severity_number, log.severity_text),
                        body: text(log.body),
                        trace: hex(&log.trace_id),
                        span: hex(&log.span_id),
                        attributes: attributes(log.attributes),
                    }
                }));
            }
        }
    }

    fn add_metrics(&mut self, body: &[u8]) {
        let sent = ExportMetricsServiceRequest::decode(body).unwrap();
        for of_resource in sent.resource_metrics {
            is_ours(of_resource.resource);
            for metric in of_resource
                .scope_metrics
                .into_iter()
                .flat_map(|it| it.metrics)
            {
                self.add_metric(&metric.name, metric.data.unwrap());
            }
        }
    }

    fn add_metric(&mut self, name: &str, data: Data) {
        let points = match data {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic, "{name}");
                sum.data_points
            }
            Data::Gauge(gauge) => gauge.data_points,
            Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    let key = series(&format!("{name}_count"), point.attributes);
                    self.metrics.insert(key, point.count as f64);
                    self.bounds.insert(name.to_owned(), point.explicit_bounds);
                }
                return;
            }
            other => panic!("{other:?}"),
        };
        for point in points {
            let value = match point.value.unwrap() {
                number_data_point::Value::AsInt(value) => value as f64,
                number_data_point::Value::AsDouble(value) => value,
            };
            self.metrics.insert(series(name, point.attributes), value);
        }
    }
}

fn is_ours(resource: Option<Resource>) {
    let resource = attributes(resource.unwrap().attributes);
    assert_eq!(resource["service.name"], "airssys-wasm");
}

/// As the text format of Prometheus has it.
fn series(name: &str, labels: Vec<KeyValue>) -> String {
    let labels = attributes(labels);
    let labels = labels
        .iter()
        .map(|(key, value)| format!("{key}=\"{value}\""));
    format!("{name}{{{}}}", labels.collect::<Vec<_>>().join(","))
}

fn answer(mut stream: TcpStream, answered: &[u8]) -> Asked {
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
    stream.write_all(answered).unwrap();
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

#[derive(Debug)]
struct Log {
    target: String,
    severity: (i32, String),
    body: String,
    trace: String,
    span: String,
    attributes: BTreeMap<String, String>,
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attributes(of: Vec<KeyValue>) -> BTreeMap<String, String> {
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

        let spans = collector.all().spans;
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

    let spans = collector.all().spans;
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

/// What a component logs in the call that a request over HTTP leads to, as far as it is shown.
#[test]
fn a_line_of_the_log_says_whose_it_is_and_of_which_trace() {
    let all = &[(9, "INFO"), (13, "WARN"), (17, "ERROR")][..];
    for (filter, shown) in [("", all), ("airssys::component=error", &all[2..])] {
        let collector = Server::new();
        let folder = Folder::new();
        let more = "[permissions]\nlog = \"info\"\n";
        folder.component("logger", wasm_fixtures::LOGGER, more);
        let path = folder.path("");
        let url = collector.url();
        let mut up = command(["up", &path, "--listen", "127.0.0.1:0", "--otlp", &url]);
        up.env("RUST_LOG", filter);
        let mut running = Running::new(up);
        let address = running.listens();
        let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01");
        let arguments = ["-H", &parent, "-d", "hey"];
        let (status, _) = curl(&address, "/components/demo/logger/main", &arguments);
        assert_eq!(status, 204);
        running.signal("-TERM");
        running.ends_with(0);

        let sent = collector.all();
        let handled = find(&sent.spans, "message", &[("to", "demo/logger/main")]);
        let mut severities = Vec::new();
        for line in &sent.logs {
            assert_eq!(line.target, "airssys::component");
            assert_eq!(line.body, "hey \"key\"=\"value\"");
            assert_eq!(line.attributes["component"], "demo/logger/main");
            assert_eq!((line.trace.as_str(), &line.span), (TRACE, &handled.id));
            severities.push((line.severity.0, line.severity.1.as_str()));
        }
        assert_eq!(severities, shown);
    }
}

/// Each number that is not zero, with the same name and labels.
#[test]
fn metrics_are_those_that_are_scraped() {
    let collector = Server::new();
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component("trap", wasm_fixtures::TRAP, "");
    let path = folder.path("");
    let url = collector.url();
    let mut up = command(["up", &path, "--listen", "127.0.0.1:0", "--otlp", &url]);
    up.env("OTEL_METRIC_EXPORT_INTERVAL", "50");
    let mut running = Running::new(up);
    let address = running.listens();
    for _ in 0..3 {
        let sent = curl(&address, "/components/demo/echo/main", &["-d", "hello"]);
        assert_eq!(sent.0, 200);
    }
    let failed = curl(&address, "/components/demo/trap/main", &["-d", "hello"]);
    assert_ne!(failed.0, 200);
    let began = Instant::now();
    let mut sent = Sent::default();
    loop {
        sent.add(&collector.next());
        // It may still be on its way back to life.
        let (status, scraped) = curl(&address, "/metrics", &[]);
        assert_eq!(status, 200);
        let scraped = numbers(&scraped);
        let differ = |(key, value): &(&String, &f64)| sent.metrics.get(*key) != Some(*value);
        let missing: Vec<_> = scraped.iter().filter(differ).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            began.elapsed() < LONG,
            "{missing:#?} in {:#?}",
            sent.metrics
        );
    }
    let echo = |name: &str| sent.metrics[&format!("{name}{{component=\"demo/echo/main\"}}")];
    assert_eq!(echo("wasm_call_seconds_count"), 3.0);
    assert!(echo("wasm_memory_bytes") > 0.0 && echo("wasm_fuel_total") > 0.0);
    assert_eq!(sent.metrics["wasm_components{phase=\"starting\"}"], 0.0);
    let answered = "component=\"demo/echo/main\",kind=\"request\",outcome=\"answered\"";
    let answered = format!("wasm_messages_total{{{answered}}}");
    assert_eq!(sent.metrics[&answered], 3.0);
    assert_eq!(
        sent.metrics["wasm_failures_total{component=\"demo/trap/main\"}"],
        1.0
    );
    let bounds = &sent.bounds["wasm_call_seconds"];
    assert_eq!(
        (bounds.first(), bounds.last()),
        (Some(&0.000_01), Some(&10.0))
    );
    running.signal("-TERM");
    running.ends_with(0);
}

/// Those of the text format of Prometheus that are not zero, with their labels in order, and of
/// the parts of histograms the counts.
fn numbers(text: &str) -> BTreeMap<String, f64> {
    let number = |line: &str| {
        let (key, value) = line.rsplit_once(' ')?;
        let is_part = key.contains("_bucket{") || key.contains("_sum{");
        let value: f64 = value.parse().ok()?;
        let wanted = !line.starts_with('#') && !is_part && value != 0.0;
        let (name, labels) = key.strip_suffix('}')?.split_once('{')?;
        let mut labels: Vec<_> = labels.split(',').collect();
        labels.sort_unstable();
        wanted.then(|| (format!("{name}{{{}}}", labels.join(",")), value))
    };
    text.lines().filter_map(number).collect()
}

/// Without being scraped, and at the end if it ends before it is time.
#[test]
fn all_that_is_wanted_is_sent_at_the_end() {
    for unwanted in [
        "",
        "OTEL_TRACES_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_METRICS_EXPORTER",
    ] {
        let collector = Server::new();
        let folder = Folder::new();
        folder.component(
            "logger",
            wasm_fixtures::LOGGER,
            "[permissions]\nlog = \"info\"\n",
        );
        let path = folder.path("");
        let url = collector.url();
        let mut up = command(["up", &path, "--otlp", &url]);
        // What is sent is not told of in turn, however much is shown.
        up.env("RUST_LOG", "trace")
            .env("OTEL_BLRP_SCHEDULE_DELAY", "20");
        if !unwanted.is_empty() {
            up.env(unwanted, "none");
        }
        let mut running = Running::new(up);
        running.type_line("demo/logger/main hey");
        running.says("[demo/logger/main] warn: hey");
        running.type_line("quit");
        running.ends_with(0);
        let sent = collector.all();
        let has = |name: &str| unwanted != name;
        assert_eq!(
            !sent.spans.is_empty(),
            has("OTEL_TRACES_EXPORTER"),
            "{sent:#?}"
        );
        let lines = if has("OTEL_LOGS_EXPORTER") { 3 } else { 0 };
        assert_eq!(sent.logs.len(), lines, "{sent:#?}");
        let calls = "wasm_call_seconds_count{component=\"demo/logger/main\"}";
        let calls = sent.metrics.get(calls).copied();
        let expected = has("OTEL_METRICS_EXPORTER").then_some(1.0);
        assert_eq!(calls, expected, "{sent:#?}");
    }
}

fn folder_that_logs() -> Folder {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    folder.component(
        "logger",
        wasm_fixtures::LOGGER,
        "[permissions]\nlog = \"info\"\n",
    );
    folder
}

/// It goes on, says so once of each signal, and ends.
#[test]
fn a_collector_that_is_away_keeps_nobody() {
    let folder = folder_that_logs();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let path = folder.path("");
    for (signal, delay) in [
        ("traces", "OTEL_BSP_SCHEDULE_DELAY"),
        ("logs", "OTEL_BLRP_SCHEDULE_DELAY"),
        ("metrics", "OTEL_METRIC_EXPORT_INTERVAL"),
    ] {
        let mut sending = command(["up", &path, "--otlp", &away]);
        sending.env(delay, "50");
        let mut running = Running::new(sending);
        running.type_line("demo/logger/main hey");
        running.asks("demo/echo/main one", "demo/echo/main: one");
        running.says(&format!("{away} takes no {signal}: "));
        running.asks("demo/echo/main two", "demo/echo/main: two");
        running.type_line("quit");
        running.says(&format!(" readings of metrics have not reached {away}"));
        running.ends_with(0);
    }
}

#[test]
fn what_the_environment_says_and_is_not_understood_is_told() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let collector = Server::new();
    let (path, url) = (folder.path(""), collector.url());
    let mut up = command(["up", &path, "--otlp", &url]);
    up.env("OTEL_TRACES_SAMPLER", "garbage")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "5s");
    let mut running = Running::new(up);
    running.says("warning: \"garbage\" in OTEL_TRACES_SAMPLER is not understood");
    running.says("parentbased_always_on");
    running.says("warning: \"5s\" in OTEL_METRIC_EXPORT_INTERVAL is not understood");
    running.type_line("quit");
    running.ends_with(0);
}

/// It takes connections, and nothing else.
#[test]
fn a_collector_that_stalls_keeps_nobody() {
    let folder = folder_that_logs();
    let stalled = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", stalled.local_addr().unwrap());
    let mut running = folder.start(&["--otlp", &url]);
    running.type_line("demo/logger/main hey");
    running.says("[demo/logger/main] warn: hey");
    running.asks("demo/echo/main one", "demo/echo/main: one");
    running.type_line("quit");
    running.says(&format!(
        "2 spans, 3 log records, 1 readings of metrics have not reached {url}"
    ));
    running.ends_with(0);
}

/// As OTLP has it, with 200 and the number of those that were refused.
#[test]
fn what_a_collector_takes_only_in_part_is_told_and_counted() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let collector = Server::answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 16\r\n\
          Connection: close\r\n\r\n\x0a\x0e\x08\x05\x12\x0atoo\x1b large",
    );
    let url = collector.url();
    let mut up = command(["up", &folder.path(""), "--otlp", &url]);
    up.env("OTEL_LOGS_EXPORTER", "none")
        .env("OTEL_METRICS_EXPORTER", "none")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut running = Running::new(up);
    running.asks("demo/echo/main one", "demo/echo/main: one");
    running.says(&format!(
        "{url} takes traces but for some (5): too\\u{{1b}} large"
    ));
    running.type_line("quit");
    running.says(&format!(" spans have not reached {url}"));
    running.ends_with(0);
}

/// Such as a page that somebody is to sign in at.
#[test]
fn who_answers_with_pages_is_no_collector() {
    let folder = Folder::new();
    folder.component("echo", wasm_fixtures::ECHO, "");
    let pages = Server::answering(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\
          Connection: close\r\n\r\n<p>",
    );
    let mut running = folder.start(&["--otlp", &pages.url()]);
    running.asks("demo/echo/main one", "demo/echo/main: one");
    running.type_line("quit");
    running.says("takes no metrics: it answered with a page for people (text/html)");
    running.ends_with(0);
}

/// With the collector's certificate among those that the machine trusts, and without.
#[test]
fn a_collector_is_reached_over_tls() {
    let folder = Folder::new();
    let (cert, key) = certificate(&folder);
    let web = folder.write("web.wasm", wasm_fixtures::WEB.wasm);
    let flags = ["serve", &web, "--listen", "127.0.0.1:0"];
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let mut collector = Running::new(command([&flags[..], &LIMITS, &tls].concat()));
    let address = collector.listens();
    let port = address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let nobody = folder.write("nobody.pem", "");
    folder.component("echo", wasm_fixtures::ECHO, "");
    let path = folder.path("");
    for (trusted, is_reached) in [(&cert, true), (&nobody, false)] {
        let mut up = command(["up", &path, "--otlp", &url]);
        up.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR");
        let mut running = Running::new(up);
        running.asks("demo/echo/main one", "demo/echo/main: one");
        running.type_line("quit");
        let told = running.ends(0);
        let complained = told.iter().any(|line| line.contains(&url));
        assert_eq!(complained, !is_reached, "{told:#?}");
    }
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

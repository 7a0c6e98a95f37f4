//! Components that send HTTP requests: where they may, and where they end up.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Collected, Empty};

use wasm_core::{
    Capability, ComponentConfig, ComponentHandle, HostServices, HttpOrigin, InstancePolicy,
    Permissions, ResourceLimits, WasmError,
};
use wasm_fixtures::WEB;
use wasm_runtime::{EngineConfig, HttpOutcome, HttpScheme, WasmtimeEngine, http_exchange};
use wasm_testkit::RecordingValidator;

use crate::support::{COMPILED, HANG, load, within};

/// Numbers of cases of an error code, as the component writes them.
const PROHIBITED: &str = "004";
const REFUSED: &str = "006";
const TERMINATED: &str = "007";
const TIMED_OUT: &str = "009";
const DENIED: &str = "015";
const INVALID: &str = "019";

/// Answers each connection with the same, and counts them.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.ends_with(b"\r\n\r\n") {
                    let read = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..read]);
                    if read == 0 {
                        break;
                    }
                }
                // Whoever asked may be gone.
                let _ = stream.write_all(&answer(&String::from_utf8_lossy(&request)));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Answers with what it was asked.
    fn echo() -> Self {
        Self::new(|request| ok(request.as_bytes()))
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

struct Fetcher {
    engine: WasmtimeEngine,
    web: ComponentHandle,
    validator: Arc<RecordingValidator>,
}

impl Fetcher {
    async fn new(granted: &[&str], config: EngineConfig) -> Self {
        Self::timed(granted, config, HANG).await
    }

    async fn timed(granted: &[&str], config: EngineConfig, timeout: Duration) -> Self {
        let validator = Arc::new(RecordingValidator::new());
        let services = HostServices::default().with_validator(Arc::clone(&validator) as _);
        let engine = WasmtimeEngine::new(config.with_cache(COMPILED), services).unwrap();
        let mut permissions = Permissions::default();
        permissions.http = granted.iter().map(|text| text.parse().unwrap()).collect();
        let limits = ResourceLimits::new(1 << 20, timeout, None).unwrap();
        let config = ComponentConfig::new(limits)
            .with_permissions(permissions)
            .with_instances(InstancePolicy::PerMessage);
        let web = load(&engine, WEB, config).await;
        Self {
            engine,
            web,
            validator,
        }
    }

    /// What the component says came of it: the status if there is one, and the body.
    async fn try_fetch(
        &self,
        url: &str,
    ) -> (Result<HttpOutcome, WasmError>, Option<String>, Bytes) {
        let request = Request::get(format!("/fetch?{url}")).header("host", "localhost");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (responder, pending) = http_exchange();
        let (engine, web) = (&self.engine, &self.web);
        let call = engine.answer_http(web, request, HttpScheme::Http, responder);
        let reading = async {
            let Some(Ok(response)) = pending.response(&Method::GET).await else {
                return (None, Bytes::new());
            };
            let status = response.headers().get("x-status");
            let status = status.map(|status| status.to_str().unwrap().to_owned());
            let body = response.into_body().collect().await;
            (status, body.map(Collected::to_bytes).unwrap_or_default())
        };
        let (outcome, (status, body)) = within(async { tokio::join!(call, reading) }).await;
        (outcome, status, body)
    }

    async fn fetch(&self, url: &str) -> (Option<String>, String) {
        let (outcome, status, body) = self.try_fetch(url).await;
        assert_eq!(outcome.unwrap(), HttpOutcome::Ended, "{url}");
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The number of the case of the error code.
    async fn fails(&self, url: &str) -> String {
        let (status, code) = self.fetch(url).await;
        assert_eq!(status, None, "{url}: {code}");
        code
    }

    fn denials(&self) -> Vec<String> {
        let denials = self.validator.take_denials();
        let texts = denials.iter().map(|(_, denied)| denied.to_string());
        texts.collect()
    }
}

#[tokio::test]
async fn a_request_is_sent_where_it_is_granted() {
    let server = Server::echo();
    let fetcher = Fetcher::new(&["http://localhost:*"], EngineConfig::default()).await;
    let url = format!("http://localhost:{}/a?b=c", server.port());
    let (status, body) = fetcher.fetch(&url).await;
    assert_eq!(status.as_deref(), Some("200"));
    assert!(body.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{body}");
    let host = format!("host: localhost:{}\r\n", server.port());
    assert!(body.contains(&host), "{body}");
    assert_eq!(fetcher.denials(), [""; 0]);
}

/// In place of what is there already.
#[tokio::test]
async fn a_request_says_what_the_embedder_writes_in_its_headers() {
    let server = Server::echo();
    let config = EngineConfig::default().with_trace_context(|headers| {
        headers.insert("traceparent", "00-a-b-01".parse().unwrap());
        headers.insert("host", "elsewhere".parse().unwrap());
    });
    let fetcher = Fetcher::new(&["http://localhost:*"], config).await;
    let url = format!("http://localhost:{}/", server.port());
    let (_, body) = fetcher.fetch(&url).await;
    assert!(body.contains("traceparent: 00-a-b-01\r\n"), "{body}");
    assert_eq!(body.matches("host: ").count(), 1, "{body}");
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_told() {
    let server = Server::echo();
    let port = server.port();
    let granted = [
        "https://localhost:*",
        "http://127.0.0.1",
        "http://*.localhost:*",
    ];
    let fetcher = Fetcher::new(&granted, EngineConfig::default()).await;
    for url in [
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://example.com/".to_owned(),
    ] {
        assert_eq!(fetcher.fails(&url).await, DENIED, "{url}");
        let origin = url.trim_end_matches('/');
        assert_eq!(
            fetcher.denials(),
            [format!(
                "permission denied: http to {origin}: not granted by `http` in [permissions]"
            )]
        );
    }
    let nothing = Fetcher::new(&[], EngineConfig::default()).await;
    assert_eq!(nothing.fails("https://example.com/").await, DENIED);
    assert_eq!(nothing.denials().len(), 1);
    assert_eq!(server.connections(), 0);
}

/// Each by a name, and as it is where that is one of all that are granted.
#[tokio::test]
async fn names_lead_nowhere_that_is_not_public() {
    let server = Server::echo();
    let port = server.port();
    let addresses = [
        ("metadata.example", "169.254.169.254"),
        ("loopback.example", "127.0.0.1"),
        ("loopback6.example", "::1"),
        ("mapped.example", "::ffff:127.0.0.1"),
        ("translated.example", "64:ff9b::7f00:1"),
        ("private.example", "10.0.0.1"),
        ("home.example", "192.168.1.1"),
        ("shared.example", "100.64.0.1"),
        ("unique.example", "fd00:ec2::254"),
        ("link.example", "fe80::1"),
        ("nobody.example", "0.0.0.0"),
        ("nobody6.example", "::"),
        ("all.example", "255.255.255.255"),
    ];
    let config = addresses
        .iter()
        .fold(EngineConfig::default(), |config, (name, address)| {
            let address: IpAddr = address.parse().unwrap();
            config.with_host_name(name, [address])
        });
    let fetcher = Fetcher::new(&["http://*:*"], config).await;
    for (name, address) in addresses {
        assert_eq!(
            fetcher.fails(&format!("http://{name}:{port}/")).await,
            PROHIBITED,
            "{name}"
        );
        let denied = fetcher.denials();
        let told = format!("permission denied: http to http://{name}:{port} at {address}: it is");
        assert!(
            denied.len() == 1 && denied[0].starts_with(&told),
            "{denied:?}"
        );
        let literal = match address.parse().unwrap() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let url = format!("http://{literal}:{port}/");
        assert_eq!(fetcher.fails(&url).await, PROHIBITED, "{url}");
        assert_eq!(fetcher.denials().len(), 1, "{url}");
    }
    // However the system reads what is written.
    for host in [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
    ] {
        let url = format!("http://{host}:{port}/");
        let code = fetcher.fails(&url).await;
        // Some systems know no such name.
        assert!(
            [PROHIBITED, "001"].contains(&code.as_str()),
            "{url}: {code}"
        );
    }
    assert_eq!(server.connections(), 0);
}

/// As it is written, an address is granted, and a name that leads to it with it.
#[tokio::test]
async fn a_private_address_is_granted_as_such() {
    let server = Server::echo();
    let port = server.port();
    let local: IpAddr = [127, 0, 0, 1].into();
    let other: IpAddr = [169, 254, 169, 254].into();
    let config = EngineConfig::default()
        .with_host_name("shop.example", [other, local])
        .with_host_name("other.example", [other]);
    let address = format!("http://127.0.0.1:{port}");
    let granted = [address.as_str(), "http://*.example:*"];
    let fetcher = Fetcher::new(&granted, config).await;
    assert_eq!(
        fetcher.fetch(&format!("{address}/")).await.0.as_deref(),
        Some("200")
    );
    // The first that may be reached is what is connected to.
    let shop = fetcher.fetch(&format!("http://shop.example:{port}/")).await;
    assert!(
        shop.1.contains(&format!("host: shop.example:{port}")),
        "{shop:?}"
    );
    assert_eq!(fetcher.denials().len(), 1);
    let code = fetcher
        .fails(&format!("http://other.example:{port}/"))
        .await;
    assert_eq!(code, PROHIBITED);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_where_it_leads_is_looked_at_anew() {
    for to in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]/",
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let server = Server::new(move |_| answer.clone().into_bytes());
        let granted = ["http://localhost:*", "http://*:*"];
        let fetcher = Fetcher::new(&granted, EngineConfig::default()).await;
        let url = format!("http://localhost:{}/", server.port());
        let (status, body) = fetcher.fetch(&url).await;
        assert_eq!((status.as_deref(), body.as_str()), (Some("302"), ""));
        assert_eq!(server.connections(), 1);
        // As a component does that follows it.
        let code = fetcher.fails(to).await;
        // The address of this machine is granted as localhost.
        match to {
            "http://[::1]/" => assert_ne!(code, DENIED),
            _ => {
                assert_eq!(code, PROHIBITED, "{to}");
                assert_eq!(fetcher.denials().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn what_the_validator_takes_back_is_denied_from_the_next_request_on() {
    let server = Server::echo();
    let fetcher = Fetcher::new(&["http://localhost:*"], EngineConfig::default()).await;
    let url = format!("http://localhost:{}/", server.port());
    assert_eq!(fetcher.fetch(&url).await.0.as_deref(), Some("200"));
    let origin = HttpOrigin::new(false, "localhost", Some(server.port())).unwrap();
    fetcher.validator.revoke(Capability::Http(origin));
    assert_eq!(fetcher.fails(&url).await, DENIED);
    assert_eq!(fetcher.denials().len(), 1);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_goes_wrong_is_told_to_the_component() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let silent = Server::new(|_| Vec::new());
    let fetcher = Fetcher::new(&["http://localhost:*"], EngineConfig::default()).await;
    for (url, code) in [
        (format!("http://localhost:{}/", gone.port()), REFUSED),
        (format!("http://localhost:{}/", silent.port()), TERMINATED),
        (format!("http://user@localhost:{}/", silent.port()), INVALID),
    ] {
        assert_eq!(fetcher.fails(&url).await, code, "{url}");
    }
    let endless = Server::new(|_| {
        let head = "HTTP/1.1 200 OK\r\n".to_owned();
        (head + &"x-y: z\r\n".repeat(20_000)).into_bytes()
    });
    let code = fetcher
        .fails(&format!("http://localhost:{}/", endless.port()))
        .await;
    assert_ne!(code, DENIED);
}

/// The time of the call is that of its requests, too.
#[tokio::test]
async fn nobody_waits_longer_than_the_call() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let time = Duration::from_millis(200);
    let fetcher = Fetcher::timed(&["http://localhost:*"], EngineConfig::default(), time).await;
    let (outcome, status, body) = fetcher
        .try_fetch(&format!("http://localhost:{port}/"))
        .await;
    assert_eq!(status, None);
    match outcome {
        Err(error) => assert!(matches!(error, WasmError::Timeout { .. }), "{error}"),
        Ok(_) => assert_eq!(body, TIMED_OUT),
    }
}

#[tokio::test]
async fn a_call_receives_so_much_and_no_more() {
    const MOST: usize = 64 << 20;
    const LESS: usize = 4 << 20;
    let server = Server::new(|request| match request.contains("/less") {
        true => ok(&vec![b'x'; LESS]),
        false => ok(&vec![b'x'; MOST + (1 << 20)]),
    });
    let fetcher = Fetcher::new(&["http://localhost:*"], EngineConfig::default()).await;
    let url = format!("http://localhost:{}", server.port());
    // Each call has the whole of it.
    for (path, least, most) in [("/", MOST - (1 << 20), MOST), ("/less", LESS, LESS)] {
        let (outcome, status, body) = fetcher.try_fetch(&format!("{url}{path}")).await;
        assert_eq!(outcome.unwrap(), HttpOutcome::Ended);
        assert_eq!(status.as_deref(), Some("200"));
        assert!((least..=most).contains(&body.len()), "{}", body.len());
    }
}

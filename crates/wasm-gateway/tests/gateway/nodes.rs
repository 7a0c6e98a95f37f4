//! What is told of all hosts, where this one is one of several.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use wasm_gateway::{
    Cluster, ClusterComponent, ClusterDeadLetter, ClusterError, ClusterEvent, ClusterEvents,
    ClusterNode, ClusterUsage, Gateway, GatewayBuilder, GatewayLimits,
};
use wasm_testkit::ModelEngine;

use crate::support::{HANGS, Served, ask, gateway, host, rest, until};

/// Two hosts that are none.
#[derive(Default)]
struct Model {
    /// What those who listen are told next: of the first who does.
    told: Mutex<Option<mpsc::Receiver<ClusterEvent>>>,
    is_away: bool,
    is_silent: bool,
}

impl Model {
    async fn answer<T>(&self, answer: T) -> Result<T, ClusterError> {
        if self.is_silent {
            pending::<()>().await;
        }
        match self.is_away {
            true => Err(ClusterError::new("no server answers")),
            false => Ok(answer),
        }
    }
}

struct Told(Option<mpsc::Receiver<ClusterEvent>>);

#[async_trait]
impl ClusterEvents for Told {
    async fn next(&mut self) -> Option<ClusterEvent> {
        match &mut self.0 {
            Some(told) => told.recv().await,
            None => pending().await,
        }
    }
}

#[async_trait]
impl Cluster for Model {
    async fn nodes(&self) -> Result<Vec<ClusterNode>, ClusterError> {
        let mut component = ClusterComponent::default();
        component.id = "demo/echo/main".to_owned();
        component.phase = "ready".to_owned();
        component.health = "healthy".to_owned();
        (component.waiting, component.handled, component.failures) = (1, 2, 3);
        let mut usage = ClusterUsage::default();
        (usage.memory_bytes, usage.total_fuel) = (65_536, 7);
        component.usage = Some(usage);
        let mut a = ClusterNode::default();
        a.node = "a".to_owned();
        a.partitions = 40;
        a.components = vec![component];
        let mut b = ClusterNode::default();
        b.node = "b".to_owned();
        b.only = vec!["gpu/*/*".to_owned()];
        b.homeless = 1;
        b.first_homeless = vec!["gpu/x/main".to_owned()];
        self.answer(vec![a, b]).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<ClusterDeadLetter>, ClusterError> {
        let mut letter = ClusterDeadLetter::default();
        letter.number = 9;
        letter.node = "b".to_owned();
        letter.from = "demo/a/main".to_owned();
        letter.to = "demo/b/main".to_owned();
        letter.message_type = Some("GET /shop?key=secret".to_owned());
        letter.bytes = 4;
        letter.cause = "failed".to_owned();
        letter.text = "it failed over it".to_owned();
        letter.at = 5;
        self.answer(vec![letter; limit.min(1)]).await
    }

    async fn events(&self) -> Result<Box<dyn ClusterEvents>, ClusterError> {
        let told = self.told.lock().await.take();
        self.answer(Box::new(Told(told)) as Box<dyn ClusterEvents>)
            .await
    }
}

async fn one_of(model: Model, limits: GatewayLimits) -> Gateway<ModelEngine> {
    let builder = GatewayBuilder::new().with_limits(limits);
    builder.with_cluster(Arc::new(model)).build(host(&[]).await)
}

async fn follow(served: &Served, query: &str) -> TcpStream {
    let mut stream = served.connect().await;
    let text = format!(
        "GET /nodes/events{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

const PATHS: [&str; 3] = ["/nodes", "/nodes/dead-letters", "/nodes/events"];

#[tokio::test]
async fn all_nodes_are_told_of_with_their_components() {
    let router = one_of(Model::default(), GatewayLimits::default())
        .await
        .router();
    let nodes = ask(&router, "GET", "/nodes", "").await;
    assert_eq!(
        nodes.json(),
        json!({"nodes": [
            {
                "node": "a", "partitions": 40, "only": [], "homeless": 0, "first_homeless": [],
                "components": [{
                    "id": "demo/echo/main", "phase": "ready", "health": "healthy",
                    "waiting": 1, "handled": 2, "failures": 3,
                    "usage": {"memory_bytes": 65_536, "total_fuel": 7},
                }],
            },
            {
                "node": "b", "partitions": 0, "only": ["gpu/*/*"], "homeless": 1,
                "first_homeless": ["gpu/x/main"], "components": [],
            },
        ]})
    );
}

#[tokio::test]
async fn dead_letters_of_all_nodes_are_told_of_without_secrets() {
    let router = one_of(Model::default(), GatewayLimits::default())
        .await
        .router();
    let letters = ask(&router, "GET", "/nodes/dead-letters", "").await;
    assert_eq!(
        letters.json(),
        json!({"dead_letters": [{
            "number": 9, "node": "b", "from": "demo/a/main", "to": "demo/b/main",
            "message_type": "GET /shop", "bytes": 4, "cause": "failed",
            "text": "it failed over it", "at": 5,
        }]})
    );
}

#[tokio::test]
async fn what_happens_on_all_nodes_is_told_as_it_happens() {
    let (tell, told) = mpsc::channel(8);
    let model = Model {
        told: Mutex::new(Some(told)),
        ..Model::default()
    };
    let served = Served::of(one_of(model, GatewayLimits::default()).await).await;
    let mut stream = follow(&served, "").await;
    let head = until(&mut stream, ": events follow\n\n").await;
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    let mut event = ClusterEvent::default();
    event.node = "b".to_owned();
    event.kind = "failed".to_owned();
    event.at = 5;
    event.text = "two\nlines".to_owned();
    event.component = Some("demo/b/main".to_owned());
    tell.send(event.clone()).await.unwrap();
    // Another node may say anything.
    event.kind = "x\ndata: y".to_owned();
    event.component = None;
    tell.send(event).await.unwrap();
    drop(tell);
    let events = rest(&mut stream).await;
    let events: Vec<&str> = events
        .lines()
        .filter(|line| line.starts_with("event:") || line.starts_with("data:"))
        .collect();
    assert_eq!(
        events,
        [
            "event: failed",
            "data: {\"node\":\"b\",\"kind\":\"failed\",\"at\":5,\"text\":\"two\\nlines\",\"component\":\"demo/b/main\"}",
            "event: other",
            "data: {\"node\":\"b\",\"kind\":\"x\\ndata: y\",\"at\":5,\"text\":\"two\\nlines\"}",
        ]
    );
}

#[tokio::test]
async fn streams_of_all_nodes_have_the_room_of_those_of_one() {
    let limits = GatewayLimits::default().with_event_streams(1);
    let served = Served::of(one_of(Model::default(), limits).await).await;
    let mut stream = follow(&served, "").await;
    until(&mut stream, "events follow").await;
    let refused = rest(&mut follow(&served, "").await).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let here = "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let refused = served.exchange(here.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let wrong = rest(&mut follow(&served, "?node=a").await).await;
    assert!(wrong.starts_with("HTTP/1.1 400 "), "{wrong}");
    served.stopped().await;
    rest(&mut stream).await;
}

#[tokio::test]
async fn a_host_that_is_alone_says_so() {
    let router = gateway(&[]).await.router();
    for path in PATHS {
        let refused = ask(&router, "GET", path, "").await;
        assert_eq!(refused.status, 404, "{path}");
        assert_eq!(refused.problem(), "not-found");
        assert!(refused.text().contains("this host is alone"), "{path}");
    }
}

#[tokio::test]
async fn nodes_that_do_not_answer_are_a_problem_in_time() {
    let limits = GatewayLimits::default().with_request_time(Duration::from_millis(20));
    for (is_away, is_silent, detail) in [
        (true, false, "no server answers"),
        (false, true, "have not answered within 20ms"),
    ] {
        let model = Model {
            is_away,
            is_silent,
            ..Model::default()
        };
        let router = one_of(model, limits.clone()).await.router();
        // Whoever gave up waiting is in nobody's way.
        for path in PATHS.into_iter().chain(PATHS) {
            let refused = timeout(HANGS, ask(&router, "GET", path, "")).await.unwrap();
            assert_eq!(refused.status, 503, "{path}");
            assert_eq!(refused.problem(), "cluster");
            assert!(refused.text().contains(detail), "{}", refused.text());
        }
    }
}

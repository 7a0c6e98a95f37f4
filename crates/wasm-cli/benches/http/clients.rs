//! Those who ask, each one thing after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Connections, with one request each at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// How long a round takes.
const ROUND: Duration = Duration::from_secs(1);

/// What is asked for, and the body that must be answered.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) answer: &'static str,
}

/// Requests a second, and how long each took.
pub(crate) fn round(
    clients: &Runtime,
    address: SocketAddr,
    question: Question,
) -> (f64, Vec<Duration>) {
    clients.block_on(async {
        let began = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            connections.spawn(requests(address, question, began + ROUND));
        }
        let mut all = Vec::new();
        while let Some(taken) = connections.join_next().await {
            all.append(&mut taken.expect("a client does not panic"));
        }
        (all.len() as f64 / began.elapsed().as_secs_f64(), all)
    })
}

async fn requests(address: SocketAddr, question: Question, until: Instant) -> Vec<Duration> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("it speaks HTTP");
    let connection = tokio::spawn(connection);
    let mut taken = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header("host", "localhost")
            .header("content-type", "text/plain")
            .body(Full::new(Bytes::from_static(question.body.as_bytes())))
            .expect("it is a request");
        let response = sender.send_request(request).await.expect("it answers");
        assert!(response.status().is_success(), "{response:?}");
        let body = response.into_body().collect().await.expect("it ends");
        assert_eq!(body.to_bytes(), question.answer);
        taken.push(began.elapsed());
    }
    connection.abort();
    taken
}

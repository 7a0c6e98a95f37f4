//! A way to a server that can be cut.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of that which is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// Nothing passes and nobody is told, as when a cable is cut: it passes once the way is open.
    Silent,
    /// The same, of what the server says only.
    Deaf,
    /// Connections end, and none is made.
    Closed,
}

pub(crate) struct Way {
    port: u16,
    state: watch::Sender<State>,
}

impl Way {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Open);
        tokio::spawn(async move {
            while let Ok((inner, _)) = listener.accept().await {
                tokio::spawn(pass(inner, server, seen.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn pass(inner: TcpStream, server: u16, mut seen: watch::Receiver<State>) {
    if *seen.borrow_and_update() == State::Closed {
        return;
    }
    let Ok(outer) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (from_inner, to_inner) = inner.into_split();
    let (from_outer, to_outer) = outer.into_split();
    tokio::select! {
        () = carry(from_inner, to_outer, seen.clone(), &[State::Open, State::Deaf]) => {}
        () = carry(from_outer, to_inner, seen.clone(), &[State::Open]) => {}
        _ = seen.wait_for(|state| *state == State::Closed) => {}
    }
}

/// Until one side has ended, in these states.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: watch::Receiver<State>,
    open: &[State],
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let is_open = seen.wait_for(|state| open.contains(state)).await.is_ok();
        if !is_open || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

//! A server for a gateway, with bounds on connections and on how long each may take.

pub(crate) mod address;
pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod listener;
mod pem;
pub(crate) mod stall;
pub(crate) mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{HttpService, service_fn};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use wasm_core::RuntimeEngine;

use crate::gateway::Gateway;
use crate::serve::clients::Clients;
use crate::serve::connection::Connection;
use crate::serve::listener::{Listener, Refusal};
use crate::sites::answer::{IsSecure, visited};

/// After an error of the system, such as too many open files, which goes away by waiting.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is told that there is one.
const TELL: Duration = Duration::from_secs(60);

impl<E: RuntimeEngine + ?Sized + 'static> Gateway<E> {
    /// Serves HTTP/1.1 to those who connect, until `stop` is there. Then nobody is let in any
    /// more, streams of events end, and requests that are being answered have
    /// [`drain_time`](crate::GatewayLimits::drain_time) to be. The host goes on.
    ///
    /// Dropping the future ends all connections at once.
    pub async fn serve(&self, listener: Listener, stop: impl Future<Output = ()>) {
        let is_secure = IsSecure(listener.tls().is_some());
        let router = self.router().layer(Extension(is_secure));
        let service = TowerToHyperService::new(router);
        self.serve_with(service, listener, stop).await;
    }

    /// The same with only what [components](Self::add_site) answer, for everybody who connects.
    pub async fn serve_sites(&self, listener: Listener, stop: impl Future<Output = ()>) {
        let app = Arc::clone(&self.shared);
        let is_secure = IsSecure(listener.tls().is_some());
        // There is one thing to do for all paths: a router would have nothing to choose.
        let service = service_fn(move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(visited(&app, request.map(Body::new), is_secure).await) }
        });
        self.serve_with(service, listener, stop).await;
    }

    async fn serve_with<S>(&self, service: S, listener: Listener, stop: impl Future<Output = ()>)
    where
        S: HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let limits = &self.shared.limits;
        let room = Arc::new(Semaphore::new(limits.connections));
        let clients = Clients::new(limits.connections_of_address);
        let stopping = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        if let Some(tls) = listener.tls() {
            connections.spawn(until(stopping.subscribe(), Arc::clone(tls).follow()));
        }
        let mut stop = pin!(stop);
        let mut told: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if told.is_none_or(|at| at.elapsed() >= TELL) {
                        told = Some(Instant::now());
                        tracing::warn!("{listener} lets nobody in for now: {error}");
                    }
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(own) = clients.enter(address) else {
                stream.refuse(Refusal::TooMany(limits.connections_of_address));
                continue;
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                stream.refuse(Refusal::NoRoom);
                continue;
            };
            let connection = Connection::new(limits, service.clone(), stopping.subscribe());
            let tls = listener.tls().map(|tls| tls.acceptor());
            connections.spawn(async move {
                connection.serve(stream, tls).await;
                drop((place, own));
            });
        }
        drop(listener);
        self.drain();
        stopping.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        // What is not answered by then is not.
        let _ = timeout(limits.drain_time, ended).await;
    }
}

async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
        () = work => {}
    }
}

//! A host of components reached, seen and operated from outside: HTTP for messages and for
//! operators, events as they come, measurements for Prometheus.
//!
//! A [`Gateway`] is put around a [`Host`](wasm_host::Host) of any engine. Its
//! [`router`](Gateway::router) is mounted in a server of one's own, or it is
//! [served](Gateway::serve) with bounds on connections and on how long each may take.
//!
//! | to | see |
//! |---|---|
//! | put it together | [`GatewayBuilder`], [`GatewayLimits`] |
//! | serve it | [`Gateway::serve`], [`Listener`], [`ListenAddress`], [`Tls`] |
//! | say who gets in | [`Tokens`], [`Role`] |
//! | measure | [`Metrics`] |
//! | tell of all hosts of which it is one | [`Cluster`] |
//!
//! What can be asked for, and what comes of it, is described at `/openapi.json`; at `/` there
//! is a page to look at.
//!
//! # A message
//!
//! `POST /components/{namespace}/{name}/{instance}` hands the body to the component as a
//! message and answers with its reply. `Content-Type` is the type of the message; a reply has
//! no type of its own and gets the same. `Request-Timeout: 250ms` says how long to wait, and
//! `Correlation-Id` what the request is called in logs, in the message and in the answer.
//!
//! | the component | status |
//! |---|---|
//! | replied; has no reply | 200; 204 |
//! | is not there | 404 |
//! | answered with an error | 422 |
//! | has no room in its mailbox | 429, with `Retry-After` |
//! | failed over it | 502 |
//! | is quarantined, or the host is about to end | 503 |
//! | has not answered in time | 504 |
//!
//! Everything else than a reply is a problem document, RFC 9457.
//!
//! # Who gets in
//!
//! Requests must name this machine in `Host` by an address, as `localhost` or by a name that
//! the gateway [was told](GatewayBuilder::with_name): what a name server can be made to say
//! does not lead here. A page of another site does not get in either (`Origin`,
//! `Sec-Fetch-Site`). With [`Tokens`] each request needs one, for what it asks.

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Bodies, requests and responses as they are handed to an [`HttpHandler`].
pub use axum::{body::Body, http};

mod access;
mod api;
mod cluster;
mod events;
mod fault;
mod gateway;
mod json;
mod limits;
mod metrics;
mod openapi;
mod operation;
mod page;
mod problem;
mod receive;
mod routes;
mod serve;
mod shared;
mod sites;
mod told;
mod trace;
mod views;

pub use access::role::Role;
pub use access::tokens::{TokenFileError, Tokens};
pub use cluster::{
    Cluster, ClusterComponent, ClusterDeadLetter, ClusterError, ClusterEvent, ClusterEvents,
    ClusterNode, ClusterUsage,
};
pub use gateway::{Gateway, GatewayBuilder};
pub use limits::GatewayLimits;
pub use metrics::recorder::PrometheusRecorder;
pub use metrics::value::DURATION_BUCKETS;
pub use metrics::{Metrics, RecorderTaken};
pub use serve::address::{InvalidAddress, ListenAddress};
pub use serve::listener::{ListenError, Listener};
pub use serve::tls::{Tls, TlsError};
pub use sites::handler::{HttpCall, HttpHandler, HttpResponder};
pub use sites::table::{PathTaken, SiteKind};

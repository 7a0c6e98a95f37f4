//! The table of everything that can be asked for.

use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Value, json};

use wasm_core::RuntimeEngine;

use crate::access::role::Role::{Administer, Message, Read};
use crate::api::components::{LISTED, MOST_LISTED};
use crate::api::{components, dead_letters, event_stream, messages, nodes, scrape, uploads};
use crate::cluster::ClusterEvent;
use crate::operation::{Content, Operation};
use crate::shared::App;
use crate::told::Told;
use crate::views::{
    ComponentList, ComponentView, DeadLetterList, Done, NodeDeadLetterList, NodeList,
    PermissionsView,
};

/// What can be asked for, and what answers.
pub(crate) struct Route<E: RuntimeEngine + ?Sized + 'static> {
    pub(crate) operation: Operation,
    pub(crate) answering: MethodRouter<App<E>>,
}

const COMPONENTS: &str = "/components";
const COMPONENT: &str = "/components/{namespace}/{name}/{instance}";
const MESSAGES: &str = "/components/{namespace}/{name}/{instance}/messages";
const RESTART: &str = "/components/{namespace}/{name}/{instance}/restart";
const PERMISSIONS: &str = "/components/{namespace}/{name}/{instance}/permissions";
const DEAD_LETTERS: &str = "/dead-letters";
const PAYLOAD: &str = "/dead-letters/{number}/payload";
const REDELIVER: &str = "/dead-letters/{number}/redeliver";

const REQUEST_TIMEOUT: &str = "How long to wait, such as 250ms.";
const CORRELATION_ID: &str = "By which it is found in logs; made if it is absent.";

const UNKNOWN: (u16, &str) = (404, "There is no such component.");
const BUSY: (u16, &str) = (504, "It was not done in time.");

pub(crate) fn routes<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Route<E>> {
    let mut routes = to_components();
    routes.extend(of_operators());
    routes.extend(of_watchers());
    routes.extend(of_all_nodes());
    routes
}

fn to_components<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Route<E>> {
    let refused = [
        (400, "A header is not what it may be."),
        UNKNOWN,
        (413, "The payload is too large."),
        (429, "Its mailbox is full."),
        (503, "It is quarantined, or there is no room for now."),
    ];
    let request = Operation::new(Method::POST, COMPONENT, Message, "Have it answer a message")
        .header("content-type", "The type of the message, and of its reply.")
        .header("request-timeout", REQUEST_TIMEOUT)
        .header("correlation-id", CORRELATION_ID)
        .takes(Content::Any)
        .answers(200, "Its reply.", Content::Any)
        .answers(204, "It has handled the message, and has no reply.", None)
        .fails(&refused)
        .fails(&[
            (422, "It answered with an error."),
            (502, "It failed over the message."),
            (504, "It has not answered in time."),
        ]);
    let send = Operation::new(Method::POST, MESSAGES, Message, "Send it a message")
        .header("content-type", "The type of the message.")
        .header("correlation-id", CORRELATION_ID)
        .takes(Content::Any)
        .answers(
            202,
            "It will handle the message, or there is a dead letter.",
            None,
        )
        .fails(&refused);
    vec![
        route(request, on(MethodFilter::POST, messages::request::<E>)),
        route(send, on(MethodFilter::POST, messages::send::<E>)),
    ]
}

fn of_operators<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Route<E>> {
    let list = Operation::new(Method::GET, COMPONENTS, Read, "List components")
        .query("after", "The id after which the list begins.", id())
        .query(
            "limit",
            "How many at the most.",
            json!({ "type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED }),
        )
        .answers(
            200,
            "Components, in the order of their ids.",
            json::<ComponentList>(),
        );
    let show = Operation::new(Method::GET, COMPONENT, Read, "Show one component")
        .answers(200, "The component.", json::<ComponentView>())
        .fails(&[UNKNOWN]);
    let put = Operation::new(Method::PUT, COMPONENT, Administer, "Load it, or replace it")
        .takes(Content::Upload)
        .answers(200, "It was replaced.", json::<Done>())
        .answers(201, "It was loaded.", json::<Done>())
        .fails(&[
            (400, "The parts of the upload are others."),
            (413, "The upload is too large."),
            (
                409,
                "It is loaded, and the path of its `[http]` is another component's.",
            ),
            (422, "The manifest or the component cannot be used."),
            (
                503,
                "There is no room for it, or another is being uploaded.",
            ),
        ]);
    let unload = Operation::new(Method::DELETE, COMPONENT, Administer, "Unload it")
        .header("request-timeout", REQUEST_TIMEOUT)
        .answers(200, "It is gone.", json::<Done>())
        .fails(&[UNKNOWN, BUSY]);
    let restart = Operation::new(
        Method::POST,
        RESTART,
        Administer,
        "Give it a fresh instance",
    )
    .header("request-timeout", REQUEST_TIMEOUT)
    .answers(200, "It has one.", json::<Done>())
    .fails(&[UNKNOWN, (422, "It does not start."), BUSY]);
    let permissions = Operation::new(Method::GET, PERMISSIONS, Read, "Show what it may do")
        .answers(200, "What it may do now.", json::<PermissionsView>())
        .fails(&[UNKNOWN]);
    let set = Operation::new(
        Method::PUT,
        PERMISSIONS,
        Administer,
        "Change what it may do",
    )
    .takes(json::<PermissionsView>())
    .answers(200, "It may do that from now on.", json::<Done>())
    .fails(&[
        (400, "The body is something else."),
        (403, "It was not loaded with as much."),
        UNKNOWN,
    ]);
    vec![
        route(list, on(MethodFilter::GET, components::list::<E>)),
        route(show, on(MethodFilter::GET, components::show::<E>)),
        route(put, on(MethodFilter::PUT, uploads::put::<E>)),
        route(unload, on(MethodFilter::DELETE, components::unload::<E>)),
        route(restart, on(MethodFilter::POST, components::restart::<E>)),
        route(
            permissions,
            on(MethodFilter::GET, components::permissions::<E>),
        ),
        route(set, on(MethodFilter::PUT, components::set_permissions::<E>)),
    ]
}

fn of_watchers<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Route<E>> {
    let unknown = (404, "There is no such dead letter.");
    let list = Operation::new(Method::GET, DEAD_LETTERS, Read, "List dead letters").answers(
        200,
        "Messages that could not be handled.",
        json::<DeadLetterList>(),
    );
    let payload = Operation::new(Method::GET, PAYLOAD, Administer, "Read a dead letter")
        .answers(200, "What it says.", Content::Any)
        .fails(&[unknown]);
    let redeliver = Operation::new(Method::POST, REDELIVER, Administer, "Deliver one again")
        .answers(200, "It is on its way.", json::<Done>())
        .fails(&[
            unknown,
            (409, "It cannot be delivered again."),
            (429, "The mailbox is full."),
        ]);
    let events = Operation::new(Method::GET, "/events", Read, "Follow what happens")
        .query(
            "component",
            "Only what is about the component of this id.",
            id(),
        )
        .query(
            "messages",
            "Whether messages that were handled are among it.",
            json!({ "type": "boolean", "default": false }),
        )
        .header("last-event-id", "After which event to go on.")
        .answers(
            200,
            "Server-sent events; the data of each is JSON.",
            Content::events::<Told>(),
        )
        .fails(&[(503, "As many streams are open as may be.")]);
    let text = Content::Text("text/plain");
    let metrics = Operation::new(
        Method::GET,
        "/metrics",
        Read,
        "Measurements, for Prometheus",
    )
    .answers(200, "In the text format of Prometheus.", text);
    let alive = Operation::new(Method::GET, "/healthz", None, "Whether the process answers")
        .answers(200, "It does.", text);
    let ready = Operation::new(Method::GET, "/readyz", None, "Whether it takes messages")
        .answers(200, "It does.", text)
        .fails(&[(503, "It is about to end.")]);
    vec![
        route(list, on(MethodFilter::GET, dead_letters::list::<E>)),
        route(payload, on(MethodFilter::GET, dead_letters::payload::<E>)),
        route(
            redeliver,
            on(MethodFilter::POST, dead_letters::redeliver::<E>),
        ),
        route(events, on(MethodFilter::GET, event_stream::events::<E>)),
        route(metrics, on(MethodFilter::GET, scrape::metrics::<E>)),
        route(alive, on(MethodFilter::GET, scrape::alive)),
        route(ready, on(MethodFilter::GET, scrape::ready::<E>)),
    ]
}

/// Of several hosts, of which this is one.
fn of_all_nodes<E: RuntimeEngine + ?Sized + 'static>() -> Vec<Route<E>> {
    let refused = [
        (404, "This host is alone."),
        (503, "The nodes do not answer."),
    ];
    let list = Operation::new(Method::GET, "/nodes", Read, "List all nodes")
        .answers(
            200,
            "Those that have answered, with their components.",
            json::<NodeList>(),
        )
        .fails(&refused);
    let dead = Operation::new(
        Method::GET,
        "/nodes/dead-letters",
        Read,
        "List the latest dead letters of all nodes",
    )
    .answers(
        200,
        "Messages that could not be handled, at most 100.",
        json::<NodeDeadLetterList>(),
    )
    .fails(&refused);
    let events = Operation::new(
        Method::GET,
        "/nodes/events",
        Read,
        "Follow what happens on all nodes",
    )
    .answers(
        200,
        "Server-sent events; the data of each is JSON.",
        Content::events::<ClusterEvent>(),
    )
    .fails(&[
        (404, "This host is alone."),
        (
            503,
            "As many streams are open as may be, or the nodes do not answer.",
        ),
    ]);
    vec![
        route(list, on(MethodFilter::GET, nodes::list::<E>)),
        route(dead, on(MethodFilter::GET, nodes::dead_letters::<E>)),
        route(events, on(MethodFilter::GET, nodes::events::<E>)),
    ]
}

fn route<E: RuntimeEngine + ?Sized + 'static>(
    operation: Operation,
    answering: MethodRouter<App<E>>,
) -> Route<E> {
    Route {
        operation,
        answering,
    }
}

fn json<T: schemars::JsonSchema>() -> Content {
    Content::json::<T>()
}

/// That of a component, in a query.
fn id() -> Value {
    let part = "[A-Za-z0-9._-]{1,64}";
    json!({ "type": "string", "pattern": format!("^{part}/{part}/{part}$") })
}

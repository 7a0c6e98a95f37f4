//! Events as they come, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use wasm_core::{ComponentId, RuntimeEngine};

use crate::access::Pass;
use crate::access::role::Role;
use crate::api::query::Query;
use crate::events::{EventRing, Found, Position, sse};
use crate::problem::Problem;
use crate::shared::{App, Shared};
use crate::told::is_about;

/// After so long without an event there is a comment, so that both sides learn that the other
/// is gone.
const PAUSE: Duration = Duration::from_secs(15);

/// So that a client knows that it is heard.
pub(crate) const FOLLOW: &[u8] = b": events follow\n\n";

/// Events from now on, or after the one that `Last-Event-ID` names.
pub(crate) async fn events<E: RuntimeEngine + ?Sized + 'static>(
    State(app): State<App<E>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::read(&uri, &["component", "messages"])?;
    let about = query
        .value("component")
        .map(str::parse::<ComponentId>)
        .transpose();
    let about = about.map_err(|error| Problem::bad_request(error.to_string()))?;
    let with_messages = match query.value("messages") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::bad_request("`messages` is true or false")),
    };
    let room = room(&app)?;
    let resumed = Resumed::read(&headers, app.events.epoch());
    let here = Here {
        ring: Arc::clone(&app.events),
        position: app.events.position(resumed.after(), with_messages),
        about,
    };
    Ok(told(&app, headers, room, resumed.first_words(), here))
}

/// Room for one more stream.
pub(crate) fn room<E: RuntimeEngine + ?Sized>(
    app: &Shared<E>,
) -> Result<OwnedSemaphorePermit, Problem> {
    let room = Arc::clone(&app.event_streams).try_acquire_owned();
    room.map_err(|_| {
        let limit = app.limits.event_streams;
        let detail = format!("{limit} streams of events are open, as many as may be");
        Problem::unavailable("no-room", detail).retry_after(PAUSE)
    })
}

/// Has a client that came with these headers read what a source tells, after these words.
pub(crate) fn told<E: RuntimeEngine + ?Sized>(
    app: &Shared<E>,
    headers: HeaderMap,
    room: OwnedSemaphorePermit,
    first_words: Bytes,
    source: impl Source,
) -> Response {
    let reader = Reader {
        source,
        pass: Pass::new(&app.access, headers, Role::Read),
        draining: app.draining.subscribe(),
        first: Some(first_words),
        _room: room,
    };
    let text = stream::unfold(reader, |mut reader| async {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(text), reader))
    });
    let mut response = Response::new(Body::from_stream(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Where a client was before.
enum Resumed {
    /// It is new.
    Not,
    After(u64),
    /// What it has read was told by another process, or by nobody.
    Elsewhere,
}

impl Resumed {
    fn read(headers: &HeaderMap, epoch: u64) -> Self {
        let Some(id) = headers.get("last-event-id") else {
            return Self::Not;
        };
        let id = id.to_str().unwrap_or_default();
        let id = id.split_once('-').and_then(|(epoch, number)| {
            let epoch = u64::from_str_radix(epoch, 16).ok()?;
            Some((epoch, number.parse().ok()?))
        });
        match id {
            Some((of, number)) if of == epoch => Self::After(number),
            _ => Self::Elsewhere,
        }
    }

    /// The number after which it goes on; everything that is kept for who was elsewhere.
    fn after(&self) -> Option<u64> {
        match self {
            Self::Not => None,
            Self::After(number) => Some(*number),
            Self::Elsewhere => Some(0),
        }
    }

    fn first_words(&self) -> Bytes {
        match self {
            Self::Elsewhere => missed("the process is another one than that of Last-Event-ID"),
            Self::Not | Self::After(_) => Bytes::from_static(FOLLOW),
        }
    }
}

/// What a stream tells.
pub(crate) trait Source: Send + 'static {
    /// The next event as it is written; nothing once there is no more. Dropping the future loses
    /// none.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// Events of this host.
struct Here {
    ring: Arc<EventRing>,
    position: Position,
    about: Option<ComponentId>,
}

impl Source for Here {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.ring.next(&mut self.position).await {
                Found::End => return None,
                Found::Missed => return Some(missed("some events are not kept any more")),
                Found::Event(entry) => {
                    let about = self.about.as_ref();
                    if about.is_none_or(|id| is_about(&entry.event, id)) {
                        return Some(entry.text(self.ring.epoch()));
                    }
                }
            }
        }
    }
}

struct Reader<S> {
    source: S,
    pass: Pass,
    draining: watch::Receiver<bool>,
    first: Option<Bytes>,
    _room: OwnedSemaphorePermit,
}

impl<S: Source> Reader<S> {
    /// What is written next; nothing once there is no more.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            biased;
            () = self.pass.ended() => None,
            found = timeout(PAUSE, self.source.next()) => match found {
                Ok(text) => text,
                Err(_) => Some(Bytes::from_static(b":\n\n")),
            },
            _ = self.draining.wait_for(|is_draining| *is_draining) => None,
        }
    }
}

/// Something is missing here.
#[derive(Serialize)]
struct Gap {
    kind: &'static str,
    text: &'static str,
}

fn missed(text: &'static str) -> Bytes {
    let kind = "missed";
    sse(None, kind, &Gap { kind, text })
}

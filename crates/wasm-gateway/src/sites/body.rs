//! A component does not wait for ever for a client that sends nothing.

use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Body as _;
use thiserror::Error;
use tokio::time::timeout;

use wasm_core::units::format_duration;

#[derive(Debug, Error)]
#[error("the client has sent nothing of the body for {}", format_duration(*.0))]
struct TooSlow(Duration);

/// The same body, which ends in an error once somebody has waited for the next part of it for
/// this long.
pub(crate) fn unless_it_pauses(body: Body, within: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let frames = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match timeout(within, body.frame()).await {
            Ok(frame) => frame.map(|frame| (frame, Some(body))),
            Err(_) => Some((Err(axum::Error::new(TooSlow(within))), None)),
        }
    });
    Body::new(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::StreamExt as _;
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// `pauses` before each of its parts.
    fn sent_after(pauses: &'static [Duration]) -> Body {
        let parts = stream::iter(pauses).then(|pause| async {
            sleep(*pause).await;
            Ok::<_, axum::Error>(Bytes::from_static(b"x"))
        });
        unless_it_pauses(Body::from_stream(parts), SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_takes_as_long_as_it_goes_on() {
        const OFTEN: Duration = Duration::from_millis(900);
        let whole = sent_after(&[OFTEN; 5]).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "xxxxx");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_pauses_ends_in_an_error_with_what_came_before() {
        let mut body = sent_after(&[Duration::ZERO, Duration::MAX]);
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "x");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the client has sent nothing of the body for 1s"
        );
        assert!(body.frame().await.is_none());
    }
}

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use wasm_core::ComponentId;

use crate::problem::Problem;

/// The component that the path names.
pub(crate) struct Target(pub(crate) ComponentId);

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|error| Problem::bad_request(error.to_string()))?;
        let segment = |name: &str| {
            let mut params = params.iter();
            let param = params.find(|(key, _)| *key == name);
            param.map_or("", |(_, value)| value)
        };
        let id = ComponentId::new(segment("namespace"), segment("name"), segment("instance"));
        // There is none of an id that is none.
        id.map(Self)
            .map_err(|error| Problem::not_found(error.to_string()))
    }
}

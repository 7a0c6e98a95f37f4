//! Components that answer HTTP requests of their own, at the paths that `[http]` of their
//! manifests names.

pub(crate) mod answer;
mod body;
mod call;
pub(crate) mod handler;
mod message;
pub(crate) mod table;
pub(crate) mod unanswered;

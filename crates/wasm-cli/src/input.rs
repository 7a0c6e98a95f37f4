//! What it is given: manifests, folders, flags, lines and what they say of components, and how
//! those are compiled.

pub(crate) mod anatomy;
pub(crate) mod application;
pub(crate) mod cluster;
pub(crate) mod compiler;
pub(crate) mod files;
pub(crate) mod flags;
pub(crate) mod line;
pub(crate) mod message;
pub(crate) mod sites;
pub(crate) mod source;
pub(crate) mod sources;
#[cfg(unix)]
pub(crate) mod terminal;
pub(crate) mod wit;

//! What is answered, by what it is about.

pub(crate) mod components;
pub(crate) mod dead_letters;
pub(crate) mod event_stream;
pub(crate) mod messages;
pub(crate) mod nodes;
pub(crate) mod query;
pub(crate) mod scrape;
pub(crate) mod target;
pub(crate) mod uploads;

//! What a component makes the host hold on its behalf, outside of its linear memory:
//! one account for each instance, in bytes.
//!
//! Everything that outlives a call lies in the instance's resource table, so the
//! account is added up from the table whenever something comes to it. There is no
//! balance to keep in step, and nothing that is dropped can be forgotten.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::{self, Display};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{Method, Scheme};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::{
    HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};

use wasm_core::units::format_bytes;

use super::files::listing::Listing;
use crate::standard::cas::Cas;

/// Names and values of one set of HTTP fields, as wasmtime counts them.
pub(super) const FIELDS_SIZE_LIMIT: usize = 4 << 10;

/// What a set of fields at that limit takes: each short field of it costs about 150
/// bytes in the tables of `http::HeaderMap`, which grow by doubling, and a heap block.
const FIELDS_BYTES: usize = 16 << 10;

/// What is written to a body at a time at the most.
pub(super) const BODY_CHUNK_BYTES: usize = 16 << 10;

/// Chunks of a response that are read before it goes out, each after a turn of the component: in
/// the first it may write what comes after the head, in the second the end.
pub(crate) const READ_AHEAD: usize = 2;

/// The two chunks that wait to be sent, those of a response that are [read ahead](READ_AHEAD),
/// and the channel that holds them, of which the first block has 32 places.
const BODY_BYTES: usize = (2 + READ_AHEAD) * BODY_CHUNK_BYTES + (4 << 10);

/// An entry of the resource table and the small thing in it: a pollable, a clock, the
/// network, an open file's handle, an error.
const ENTRY_BYTES: u64 = 1 << 10;

/// What a stream holds at the most: the chunk that was read ahead or waits to be
/// written.
pub(super) const STREAM_BYTES: usize = 16 << 10;

/// How much an instance may make the host hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostAccount {
    limit: u64,
}

impl HostAccount {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit }
    }

    /// Adds up what `table` holds now that `item` has come to it.
    ///
    /// # Errors
    /// [`HeldTooMuch`], which ends the call and with it the instance.
    pub(crate) fn settle(
        &self,
        table: &mut ResourceTable,
        item: &'static str,
    ) -> wasmtime::Result<()> {
        let held = table.iter_mut().map(|entry| bytes_of(entry)).sum();
        if held <= self.limit {
            return Ok(());
        }
        Err(wasmtime::Error::new(HeldTooMuch {
            item,
            held,
            limit: self.limit,
        }))
    }
}

/// A store's data that has an account.
pub(crate) trait HasAccount {
    /// Adds up what the host holds for the instance, now that `item` has come to it.
    ///
    /// # Errors
    /// [`HeldTooMuch`].
    fn settle(&mut self, item: &'static str) -> wasmtime::Result<()>;
}

/// What an entry of a resource table takes of the host's memory, at the most.
fn bytes_of(entry: &(dyn Any + Send)) -> u64 {
    let more = if entry.is::<DynInputStream>() || entry.is::<DynOutputStream>() {
        STREAM_BYTES
    } else if let Some(listing) = entry.downcast_ref::<Listing>() {
        listing.max_bytes()
    } else if entry.is::<FieldMap>() {
        FIELDS_BYTES
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        FIELDS_BYTES + request_bytes(request) + body_bytes(request.body.is_some())
    } else if let Some(response) = entry.downcast_ref::<HostOutgoingResponse>() {
        FIELDS_BYTES + body_bytes(response.body.is_some())
    } else if entry.is::<HostIncomingRequest>() || entry.is::<HostIncomingResponse>() {
        FIELDS_BYTES + STREAM_BYTES
    } else if let Some(cas) = entry.downcast_ref::<Cas>() {
        cas.bytes()
    } else if entry.is::<HostOutgoingBody>() {
        BODY_BYTES
    } else {
        0
    };
    ENTRY_BYTES + more as u64
}

fn request_bytes(request: &HostOutgoingRequest) -> usize {
    let method = match &request.method {
        Method::Other(name) => name.capacity(),
        _ => 0,
    };
    let scheme = match &request.scheme {
        Some(Scheme::Other(name)) => name.capacity(),
        _ => 0,
    };
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
    method + scheme + text(&request.authority) + text(&request.path_with_query)
}

/// A body keeps a chunk, and its trailers once it is finished.
fn body_bytes(has_body: bool) -> usize {
    if has_body {
        BODY_BYTES + FIELDS_BYTES
    } else {
        0
    }
}

/// More than an instance may make the host hold.
#[derive(Debug)]
pub(crate) struct HeldTooMuch {
    /// What came last.
    pub(crate) item: &'static str,
    /// In bytes, with that.
    pub(crate) held: u64,
    /// In bytes.
    pub(crate) limit: u64,
}

impl Display for HeldTooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "with {} the host would hold {} for it, of at most {}",
            self.item,
            format_bytes(self.held),
            format_bytes(self.limit)
        )
    }
}

impl StdError for HeldTooMuch {}

#[cfg(test)]
mod tests {
    use wasmtime_wasi::p2::pipe::{ClosedInputStream, SinkOutputStream};
    use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

    use super::*;

    const ENTRY: u64 = 1 << 10;
    const FIELDS: u64 = 16 << 10;

    fn request(method: Method, scheme: Option<Scheme>) -> HostOutgoingRequest {
        HostOutgoingRequest {
            method,
            scheme,
            authority: None,
            path_with_query: None,
            headers: FieldMap::default(),
            body: None,
        }
    }

    #[test]
    fn a_request_takes_what_its_texts_do() {
        let bytes = |request: HostOutgoingRequest| bytes_of(&request) - ENTRY - FIELDS;
        assert_eq!(bytes(request(Method::Get, Some(Scheme::Https))), 0);
        let text = |length| "x".repeat(length);
        assert_eq!(bytes(request(Method::Other(text(10)), None)), 10);
        let other = Some(Scheme::Other(text(20)));
        assert_eq!(bytes(request(Method::Get, other.clone())), 20);
        let full = HostOutgoingRequest {
            authority: Some(text(300)),
            path_with_query: Some(text(4_000)),
            ..request(Method::Other(text(10)), other)
        };
        assert_eq!(bytes(full), 10 + 20 + 300 + 4_000);
    }

    #[test]
    fn what_is_in_a_table_takes_what_it_may_come_to_hold() {
        let body = || Some(HyperOutgoingBody::default());
        let with_body = ENTRY + FIELDS + body_bytes(true) as u64;
        let sent = HostOutgoingRequest {
            body: body(),
            authority: Some("x".repeat(7)),
            ..request(Method::Get, None)
        };
        assert_eq!(bytes_of(&sent), with_body + 7);
        let answer = |body| HostOutgoingResponse {
            status: http::StatusCode::OK,
            headers: FieldMap::default(),
            body,
        };
        assert_eq!(bytes_of(&answer(body())), with_body);
        assert_eq!(bytes_of(&answer(None)), ENTRY + FIELDS);
        let received = HostIncomingResponse {
            status: 200,
            headers: FieldMap::default(),
            body: None,
        };
        assert_eq!(bytes_of(&received), ENTRY + FIELDS + (16 << 10));
        let input: DynInputStream = Box::new(ClosedInputStream);
        let output: DynOutputStream = Box::new(SinkOutputStream);
        for stream in [bytes_of(&input), bytes_of(&output)] {
            assert_eq!(stream, ENTRY + (16 << 10));
        }
    }

    #[test]
    fn a_body_has_four_chunks_a_channel_and_trailers() {
        assert_eq!(body_bytes(false), 0);
        assert_eq!(body_bytes(true), 4 * (16 << 10) + (4 << 10) + (16 << 10));
        assert_eq!(bytes_of(&FieldMap::default()), ENTRY + FIELDS);
        assert_eq!(bytes_of(&"a small thing"), ENTRY);
    }

    #[test]
    fn an_account_holds_as_much_as_its_limit_says() {
        let mut table = ResourceTable::new();
        let two_entries = HostAccount::new(2 * ENTRY);
        for _ in 0..2 {
            table.push(()).unwrap();
            two_entries.settle(&mut table, "a pollable").unwrap();
        }
        table.push(()).unwrap();
        let error = two_entries.settle(&mut table, "a pollable").unwrap_err();
        assert_eq!(
            error.to_string(),
            "with a pollable the host would hold 3KiB for it, of at most 2KiB"
        );
    }
}

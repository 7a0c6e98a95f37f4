//! How each signal is sent, and as whose.

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;

use super::client::{Client, SEND_TIME};

/// The name of this program where the environment gives it none.
pub(super) const SERVICE: &str = "airssys-wasm";
const SERVICE_NAME: &str = "service.name";
const SERVICE_VERSION: &str = "service.version";

/// An exporter that sends to this URL.
pub(super) fn aimed<B: WithExportConfig + WithHttpConfig>(
    exporter: B,
    client: Client,
    url: String,
) -> B {
    exporter
        .with_http_client(client)
        .with_endpoint(url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(SEND_TIME)
}

/// Who sends, as the environment and this program say.
pub(super) fn resource() -> Resource {
    let version = KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
    let resource = || Resource::builder().with_attribute(version.clone());
    let found = resource().build();
    let name = found.get(&Key::new(SERVICE_NAME));
    // As the specification has it of a program that nobody has named.
    match name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        true => resource().with_service_name(SERVICE).build(),
        false => found,
    }
}

use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    ComponentConfig, ComponentId, ComponentPattern, HostServices, LogLevel, MessagePayload,
    Permissions, ResourceLimits, RestartPolicy, RuntimeEngine, Supervision,
};
use wasm_host::{
    Component, DeadLetter, Event, Events, Host, HostBuilder, HostLimits, Phase, RequestError,
};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::Fixture;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Time per call of every component here, if nothing else is said.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// `demo/NAME/main`.
pub(crate) fn demo(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").unwrap()
}

/// A host around a model of its own.
pub(crate) fn host() -> Host<ModelEngine> {
    host_with(HostLimits::default())
}

pub(crate) fn host_with(limits: HostLimits) -> Host<ModelEngine> {
    start(HostBuilder::new().with_limits(limits))
}

pub(crate) fn start(builder: HostBuilder) -> Host<ModelEngine> {
    let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
    builder.start(model).unwrap()
}

/// Permission to everything.
pub(crate) fn everything() -> Permissions {
    let everyone: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send.clone_from(&everyone);
    permissions.request.clone_from(&everyone);
    permissions.broadcast = everyone;
    permissions.storage = Some(1 << 16);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

pub(crate) fn config() -> ComponentConfig {
    let limits = ResourceLimits::new(1 << 20, TIMEOUT, Some(1_000_000)).unwrap();
    ComponentConfig::new(limits).with_permissions(everything())
}

/// As `demo/NAME/main`, permitted everything, and never restarted.
pub(crate) fn component(name: &str, fixture: Fixture) -> Component {
    Component::new(demo(name), fixture.wasm, config())
}

/// The same, restarted as often as it takes, 10 ms after the first failure.
pub(crate) fn restarted(name: &str, fixture: Fixture) -> Component {
    let mut supervision = Supervision::default();
    supervision.restart = RestartPolicy::OnFailure;
    supervision.max_restarts = 1_000;
    supervision.backoff = Duration::from_millis(10);
    component(name, fixture).with_supervision(supervision)
}

pub(crate) async fn ask<E: RuntimeEngine + ?Sized + 'static>(
    host: &Host<E>,
    name: &str,
    text: &str,
) -> Result<Option<String>, RequestError> {
    let reply = host
        .request(&demo(name), text.to_owned(), 10 * SECOND)
        .await?;
    Ok(reply.map(|reply| text_of(&reply)))
}

pub(crate) fn text_of(payload: &MessagePayload) -> String {
    String::from_utf8(payload.as_bytes().to_vec()).unwrap()
}

/// Events up to the first for which `last` holds, that one included.
pub(crate) async fn until(events: &mut Events, last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
        if seen.last().is_some_and(&last) {
            return seen;
        }
    }
    panic!("not among {seen:?}");
}

/// A host with these components.
pub(crate) async fn load(components: &[Component]) -> Host<ModelEngine> {
    let host = host();
    for component in components {
        host.load(component.clone()).await.unwrap();
    }
    host
}

/// The answer of `demo/NAME/main`, which must have one.
pub(crate) async fn told<E: RuntimeEngine + ?Sized + 'static>(
    host: &Host<E>,
    name: &str,
    text: &str,
) -> String {
    match ask(host, name, text).await {
        Ok(Some(reply)) => reply,
        other => panic!("{name} {text}: {other:?}"),
    }
}

/// What the last callback brought, once nothing is on its way any more.
pub(crate) async fn last_callback(host: &Host<ModelEngine>, name: &str) -> String {
    host.drain(10 * SECOND).await.unwrap();
    told(host, name, "last").await
}

pub(crate) async fn is(host: &Host<ModelEngine>, name: &str, phase: Phase) -> bool {
    host.component(&demo(name)).await.unwrap().phase == phase
}

pub(crate) fn causes(letters: &[DeadLetter]) -> Vec<&'static str> {
    letters.iter().map(|letter| letter.cause.as_str()).collect()
}

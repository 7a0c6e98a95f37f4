//! Denied, granted, revoked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentPattern, Permissions, SecurityValidator,
};
use wasm_host::{Event, Host, HostBuilder, HostError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{
    BROADCASTER, CALLBACK, COUNTER, DIRECTORY, ECHO, Fixture, INIT_SENDS, LOGGER, SENDER, STORE,
};

use crate::support::{ask, component, demo, everything, host, load, restarted, start, told};

fn permitted(name: &str, fixture: Fixture, permissions: Permissions) -> wasm_host::Component {
    let mut component = component(name, fixture);
    component.config.permissions = permissions;
    component
}

/// What each capability is tried with, and the key that grants it.
const TRIED: [(&str, Fixture, &str); 4] = [
    ("send", SENDER, "demo/sink/main hi"),
    ("request", CALLBACK, "demo/sink/main hi"),
    ("broadcast", BROADCASTER, "demo/sink/main hi"),
    ("storage", STORE, "set key value"),
];

async fn denied_events(events: &mut wasm_host::Events) -> Vec<String> {
    let mut denied = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        if let Event::Denied { .. } = event {
            denied.push(event.to_string());
        }
    }
    denied
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_is_denied_and_told() {
    for (key, fixture, command) in TRIED {
        let host = load(&[
            permitted("tried", fixture, Permissions::default()),
            component("sink", COUNTER),
        ])
        .await;
        let mut events = host.events();
        let refused = ask(&host, "tried", command).await.unwrap_err().to_string();
        assert!(
            refused.contains("delivery-failed") || refused.contains("io-error"),
            "{refused}"
        );
        assert_eq!(told(&host, "sink", "").await, "1", "{key}");
        let target = if key == "storage" {
            ""
        } else {
            " to demo/sink/main"
        };
        let expected = format!(
            "demo/tried/main was denied: {key}{target}: not granted by `{key}` in [permissions]"
        );
        assert_eq!(denied_events(&mut events).await, [expected]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_granted_is_done_until_it_is_revoked() {
    for (key, fixture, command) in TRIED {
        let host = load(&[
            permitted("tried", fixture, everything()),
            component("sink", COUNTER),
        ])
        .await;
        let mut events = host.events();
        ask(&host, "tried", command).await.unwrap();
        assert_eq!(denied_events(&mut events).await, [""; 0], "{key}");
        let mut fewer = host.permissions(&demo("tried")).unwrap();
        let other: Vec<ComponentPattern> = vec!["demo/other/*".parse().unwrap()];
        match key {
            "send" => fewer.send = other,
            "request" => fewer.request = other,
            "broadcast" => fewer.broadcast = other,
            _ => fewer.storage = None,
        }
        host.set_permissions(&demo("tried"), fewer).unwrap();
        ask(&host, "tried", command).await.unwrap_err();
        let (target, granted) = match key {
            "storage" => ("", ""),
            _ => (" to demo/sink/main", " (granted: demo/other/*)"),
        };
        let expected =
            format!("demo/tried/main was denied: {key}{target}: `{key}` was revoked{granted}");
        assert_eq!(denied_events(&mut events).await, [expected]);
        // Given back, up to what it was loaded with.
        host.set_permissions(&demo("tried"), everything()).unwrap();
        ask(&host, "tried", command).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_never_gets_more_than_it_was_loaded_with() {
    let host = load(&[
        permitted("tried", SENDER, Permissions::default()),
        component("sink", COUNTER),
    ])
    .await;
    let refused = host.set_permissions(&demo("tried"), everything());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "demo/tried/main was not loaded with `send = [\"*/*/*\"]`: what it was granted can be \
         taken back and given back, and it is replaced by one with a wider manifest to be granted \
         more (Host::swap)"
    );
    let in_force = host.permissions(&demo("tried")).unwrap();
    assert_eq!(in_force, Permissions::default());
    ask(&host, "tried", "demo/sink/main hi").await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn what_is_in_force_is_what_is_told() {
    let mut granted = everything();
    granted.send = vec!["demo/*/*".parse().unwrap()];
    granted.log = None;
    let host = load(&[permitted("tried", SENDER, granted.clone())]).await;
    let in_force = || host.permissions(&demo("tried")).unwrap();
    assert_eq!(in_force(), granted);
    let mut fewer = granted.clone();
    fewer.send = vec!["demo/si*/*".parse().unwrap()];
    fewer.storage = Some(1);
    host.set_permissions(&demo("tried"), fewer.clone()).unwrap();
    // A quota stays as it was loaded.
    fewer.storage = granted.storage;
    assert_eq!(in_force(), fewer);
    // A new version has what it was loaded with.
    let mut narrower = granted.clone();
    narrower.send = vec!["demo/sink/*".parse().unwrap()];
    host.swap(permitted("tried", SENDER, narrower.clone()))
        .await
        .unwrap();
    assert_eq!(in_force(), narrower);
    let refused = host.set_permissions(&demo("tried"), fewer).unwrap_err();
    assert!(matches!(refused, HostError::Widened { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn without_permissions_a_component_computes_and_answers_and_no_more() {
    let host = load(&[
        permitted("counter", COUNTER, Permissions::default()),
        permitted("directory", DIRECTORY, Permissions::default()),
        permitted("logger", LOGGER, Permissions::default()),
        component("other", ECHO),
    ])
    .await;
    assert_eq!(told(&host, "counter", "").await, "1");
    // It knows of nobody but itself.
    assert_eq!(told(&host, "directory", "").await, "demo/directory/main\n");
    let info = ask(&host, "directory", "demo/other/main")
        .await
        .unwrap_err();
    assert!(info.to_string().contains("invalid-state"), "{info}");
    let mut events = host.events();
    assert_eq!(ask(&host, "logger", "hello").await.unwrap(), None);
    assert_eq!(denied_events(&mut events).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_directory_shows_who_may_be_messaged() {
    let mut other = component("other", ECHO).with_version("1.2.3");
    other.config.permissions = Permissions::default();
    let host = load(&[component("directory", DIRECTORY), other]).await;
    assert_eq!(
        told(&host, "directory", "").await,
        "demo/directory/main\ndemo/other/main\n"
    );
    let shown = told(&host, "directory", "demo/other/main").await;
    assert_eq!(shown, "demo/other/main|other|1.2.3|unknown");
    host.health(&demo("other")).await.unwrap();
    let shown = told(&host, "directory", "demo/other/main").await;
    assert_eq!(shown, "demo/other/main|other|1.2.3|healthy");
}

#[tokio::test(start_paused = true)]
async fn many_denials_do_not_drive_other_events_away() {
    let tried = permitted("tried", SENDER, Permissions::default());
    let host = load(&[tried]).await;
    let mut events = host.events();
    for _ in 0..100 {
        ask(&host, "tried", "demo/sink/main hi").await.unwrap_err();
    }
    // What was told once is counted, and what is different told all the same.
    let different = ask(&host, "tried", "demo/vault/main hi").await;
    different.unwrap_err();
    let denied = denied_events(&mut events).await;
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(denied[1].contains("send to demo/vault/main"), "{denied:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    let later = events.try_next().unwrap();
    assert_eq!(
        later.to_string(),
        "demo/tried/main was denied 99 more times"
    );
}

#[tokio::test(start_paused = true)]
async fn so_many_different_denials_are_told_in_a_second() {
    let tried = permitted("tried", SENDER, Permissions::default());
    let host = load(&[tried]).await;
    let mut events = host.events();
    for number in 0..100 {
        let asked = ask(&host, "tried", &format!("demo/t{number}/main hi")).await;
        asked.unwrap_err();
    }
    assert_eq!(denied_events(&mut events).await.len(), 16);
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::yield_now().await;
    let later = events.try_next().unwrap();
    assert_eq!(
        later.to_string(),
        "demo/tried/main was denied 84 more times"
    );
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_unloaded_hides_no_denial() {
    let tried = permitted("tried", SENDER, Permissions::default());
    let host = load(&[tried]).await;
    let mut events = host.events();
    for n in 0..20 {
        let command = format!("demo/sink/n{n} hi");
        ask(&host, "tried", &command).await.unwrap_err();
    }
    assert_eq!(denied_events(&mut events).await.len(), 16);
    host.unload(&demo("tried")).await.unwrap();
    let later = events.try_next().unwrap();
    assert_eq!(later.to_string(), "demo/tried/main was denied 4 more times");
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_while_a_component_initializes_is_revoked() {
    let host = load(&[component("sink", COUNTER), restarted("first", INIT_SENDS)]).await;
    assert_eq!(told(&host, "sink", "").await, "3");
    host.set_permissions(&demo("first"), Permissions::default())
        .unwrap();
    let refused = host.restart(&demo("first")).await.unwrap_err();
    assert!(refused.to_string().contains("delivery-failed"), "{refused}");
    assert_eq!(told(&host, "sink", "").await, "4");
}

#[tokio::test(start_paused = true)]
async fn what_is_revoked_before_a_component_is_there_is_revoked() {
    let host = load(&[component("sink", COUNTER)]).await;
    let (loaded, ()) = tokio::join!(host.load(component("first", INIT_SENDS)), async {
        host.set_permissions(&demo("first"), Permissions::default())
            .unwrap();
    });
    let refused = loaded.unwrap_err().to_string();
    assert!(refused.contains("delivery-failed"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_of_this_host_may_do_nothing() {
    let host = host();
    let stranger = ComponentHandle::new(demo("stranger"), 1);
    let validator = &host.services().validator;
    let denied = validator.validate(&stranger, &Capability::Storage);
    assert!(
        denied
            .unwrap_err()
            .reason
            .contains("is not a component of this host")
    );
}

#[derive(Default)]
struct Strict(Mutex<Vec<String>>);

impl SecurityValidator for Strict {
    fn validate(
        &self,
        _: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        match capability {
            Capability::Storage => Err(CapabilityDenied {
                capability: capability.clone(),
                reason: "not today".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {denied}", component.id()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_validator_of_the_embedder_has_a_word_too_and_is_told_of_every_denial() {
    let strict = Arc::new(Strict::default());
    let host: Host<ModelEngine> = start(HostBuilder::new().with_validator(strict.clone()));
    host.load(component("store", STORE)).await.unwrap();
    host.load(permitted("sender", SENDER, Permissions::default()))
        .await
        .unwrap();
    let refused = ask(&host, "store", "set key value").await.unwrap_err();
    assert!(refused.to_string().contains("io-error"), "{refused}");
    for _ in 0..20 {
        ask(&host, "sender", "demo/store/main hi")
            .await
            .unwrap_err();
    }
    let told = strict.0.lock().unwrap().clone();
    assert_eq!(
        told[0],
        "demo/store/main permission denied: storage: not today"
    );
    assert_eq!(told.len(), 21);
}

#[tokio::test(start_paused = true)]
async fn permissions_are_those_of_who_is_loaded() {
    let host = host();
    let nobody = host.set_permissions(&demo("nobody"), everything());
    assert!(matches!(nobody, Err(HostError::NotLoaded(id)) if id == demo("nobody")));
    assert_eq!(host.permissions(&demo("nobody")), None);
}

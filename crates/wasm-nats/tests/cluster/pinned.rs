//! Nodes that are there for some components alone.

use std::time::Duration;

use tokio::time::sleep;

use wasm_core::{ComponentId, ComponentMessage};
use wasm_host::Component;
use wasm_nats::{NatsError, NodeStatus};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

use crate::member::{Member, SECOND, Setup, component, eventually};
use crate::server::Server;

const COUNT: usize = 8;

fn id(namespace: &str, number: usize) -> ComponentId {
    ComponentId::new(namespace, &format!("c{number}"), "main").unwrap()
}

fn echoes(namespace: &'static str) -> impl Iterator<Item = Component> {
    (0..COUNT).map(move |number| component(id(namespace, number), ECHO.wasm))
}

/// Of components of `shop` and of `demo`, which have partitions of their own.
fn setup(server: &Server) -> Setup {
    let components = echoes("shop").chain(echoes("demo")).collect();
    let mut setup = Setup::new(server.url(), components);
    setup.pinned = vec!["shop/*/*".parse().unwrap(), "demo/*/*".parse().unwrap()];
    setup
}

async fn join_only(setup: &Setup, node: &str, only: &str) -> Result<Member, NatsError> {
    let mut config = setup.config(node);
    config.only = vec![only.parse().unwrap()];
    setup.join_as(config, ModelEngine::new).await
}

/// Waits until a node has these components and no others.
async fn has_all_of(member: &Member, namespaces: &[&str]) {
    eventually("it has them", async || {
        let ids = member.host.ids(None, 100);
        ids.len() == COUNT * namespaces.len()
            && ids.iter().all(|id| namespaces.contains(&id.namespace()))
    })
    .await;
}

async fn status_of(member: &Member) -> NodeStatus {
    let nodes = member.node.connection().nodes(5 * SECOND).await.unwrap();
    nodes.into_iter().next().unwrap()
}

async fn is_answered(member: &Member, to: &ComponentId) -> bool {
    let answer = member.host.request(to, "hello", 10 * SECOND).await;
    answer.is_ok_and(|it| it.unwrap().as_bytes() == b"hello")
}

pub(crate) async fn components_are_where_they_are_pinned() {
    let server = Server::start();
    let setup = setup(&server);
    let shop = join_only(&setup, "shop", "shop/*/*").await.unwrap();
    has_all_of(&shop, &["shop"]).await;
    let demo = join_only(&setup, "demo", "demo/*/*").await.unwrap();
    has_all_of(&demo, &["demo"]).await;
    let second = join_only(&setup, "shop2", "shop/*/*").await.unwrap();
    eventually("those of one pattern share its components", async || {
        let counts = [&shop, &second].map(|it| it.node.owned().len());
        counts == [2, 2]
    })
    .await;
    assert_eq!(demo.node.owned().len(), 4);
    second.leave().await;
    has_all_of(&shop, &["shop"]).await;
    has_all_of(&demo, &["demo"]).await;
    for number in 0..COUNT {
        assert!(is_answered(&shop, &id("demo", number)).await);
        assert!(is_answered(&demo, &id("shop", number)).await);
    }
    demo.leave().await;
    shop.leave().await;
}

pub(crate) async fn what_waits_for_a_node_is_delivered_once_it_is_back() {
    let server = Server::start();
    let setup = setup(&server);
    let shop = join_only(&setup, "shop", "shop/*/*").await.unwrap();
    let demo = join_only(&setup, "demo", "demo/*/*").await.unwrap();
    has_all_of(&demo, &["demo"]).await;
    has_all_of(&shop, &["shop"]).await;
    assert_eq!(status_of(&shop).await.homeless, 0);
    demo.leave().await;
    eventually("it is told", async || {
        let status = status_of(&shop).await;
        status.only == ["shop/*/*"]
            && status.homeless == COUNT
            && status.first_homeless.contains(&"demo/c0/main".to_owned())
    })
    .await;
    let program = shop.host.program_id().clone();
    let message = ComponentMessage::new(program, id("demo", 0), "waits");
    shop.host.dispatch(message).await.unwrap();
    // Longer than a lease: nobody takes it over meanwhile.
    sleep(setup.lease + Duration::from_secs(1)).await;
    assert_eq!(shop.host.ids(None, 100).len(), COUNT);
    let demo = join_only(&setup, "demo", "demo/*/*").await.unwrap();
    eventually("it is delivered", async || {
        let status = demo.host.component(&id("demo", 0)).await;
        status.is_some_and(|it| it.handled == 1)
    })
    .await;
    eventually("all have a node", async || {
        status_of(&shop).await.homeless == 0
    })
    .await;
    assert!(is_answered(&shop, &id("demo", 0)).await);
    demo.leave().await;
    shop.leave().await;
}

pub(crate) async fn whoever_owns_all_has_what_is_pinned_to_nobody_there() {
    let server = Server::start();
    let setup = setup(&server);
    let all = setup.join("all").await;
    has_all_of(&all, &["shop", "demo"]).await;
    let shop = join_only(&setup, "shop", "shop/*/*").await.unwrap();
    has_all_of(&shop, &["shop"]).await;
    has_all_of(&all, &["demo"]).await;
    shop.leave().await;
    has_all_of(&all, &["shop", "demo"]).await;
    all.leave().await;
}

pub(crate) async fn patterns_are_those_that_whoever_was_first_has_said() {
    let server = Server::start();
    let setup = setup(&server);
    let all = setup.join("all").await;
    let refused = join_only(&setup, "gpu", "gpu/*/*").await;
    let Err(error) = refused else {
        panic!("it owns what has no partitions of its own");
    };
    let text = error.to_string();
    assert!(text.contains("--only gpu/*/*"), "{text}");
    assert!(text.contains("these have: shop/*/*, demo/*/*"), "{text}");
    let overlapping = join_only(&setup, "gpu", "shop/c1/*").await;
    let text = overlapping.err().unwrap().to_string();
    assert!(text.contains("shop/*/* and shop/c1/*"), "{text}");
    // What others say later does not divide components in another way.
    let mut later = setup.config("later");
    later.pinned = vec!["*/*/*".parse().unwrap()];
    let later = setup.join_as(later, ModelEngine::new).await.unwrap();
    let pinned = later.node.connection().pinned();
    assert_eq!(pinned, setup.pinned);
    later.leave().await;
    all.leave().await;
}

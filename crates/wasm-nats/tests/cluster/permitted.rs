//! Users of NATS that may do what the guide says, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use async_nats::ConnectOptions;
use tokio::time::timeout;

use wasm_nats::{Applied, Connection, EventsOfNodes, NatsConfig, Part};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

use crate::member::{SECOND, Setup, component, demo, eventually, fixture, settled};
use crate::server::Server;

/// What the guide says: of nodes, and of whoever deploys.
fn documented() -> [String; 2] {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cluster.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks = guide
        .split("```\n")
        .filter(|it| it.starts_with("permissions: {"));
    let blocks: Vec<_> = blocks.map(str::to_owned).collect();
    blocks.try_into().unwrap()
}

fn server() -> Server {
    let [nodes, deploy] = documented();
    Server::start_with(&format!(
        "authorization {{ users: [\n\
         {{ user: nodes, password: \"n@des\", {nodes} }}\n\
         {{ user: deploy, password: secret, {deploy} }}\n\
         ] }}\n"
    ))
}

fn violations(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter(|it| it.contains("Violation"));
    lines.map(str::to_owned).collect()
}

fn keeper(services: wasm_core::HostServices) -> ModelEngine {
    ModelEngine::new(services).with_host(&demo("keeper"), |host, message| {
        Box::pin(async move {
            if message.message_type.as_deref() != Some(wasm_core::TIMER_TYPE) {
                host.set_timer(SECOND / 10, "x".into()).await.unwrap();
            }
            let before = host.get("count").await.unwrap().unwrap_or_default();
            let now = [&before, b"x".as_slice()].concat();
            host.set("count", now.clone().into()).await.unwrap();
            Ok(Some(now.into()))
        })
    })
}

/// Waits until it is told that something was restarted on each node, whichever is told first.
async fn restarted_on_both(events: &mut EventsOfNodes) {
    let mut nodes = BTreeSet::new();
    let told = async {
        while nodes.len() < 2 {
            let event = events.next().await.unwrap();
            if event.kind == "restarted" {
                nodes.insert(event.node);
            }
        }
    };
    let told = timeout(30 * SECOND, told).await;
    assert!(told.is_ok(), "it is told of {nodes:?} only");
}

pub(crate) async fn what_the_guide_permits_is_enough() {
    let server = server();
    let as_user = |user: &str| format!("nats://{user}@127.0.0.1:{}", server.port());
    let mut components: Vec<_> = (0..8).map(|n| fixture(&format!("e{n}"), ECHO)).collect();
    components.push(component(demo("keeper"), b""));
    let mut setup = Setup::new(as_user("nodes:n%40des"), components);
    setup.app = "wasm".to_owned();
    let a = setup.join_with("a", keeper).await.unwrap();
    let b = setup.join_with("b", keeper).await.unwrap();
    settled(16, &[&a, &b]).await;
    for n in 0..8 {
        assert_eq!(a.told(&format!("e{n}"), "hello").await, "hello");
    }
    assert_eq!(a.told("keeper", "").await, "x");
    eventually("the timer comes", async || {
        b.told("keeper", "").await.len() > 2
    })
    .await;

    let mut config: NatsConfig = setup.config("program");
    config.url = as_user("deploy:secret");
    let deploying = Connection::open(config).await.unwrap();
    let part = Part {
        id: demo("e0"),
        manifest: String::new(),
        wasm: vec![b'x'; 300_000].into(),
        config: None,
    };
    let mut told = deploying.events().await.unwrap();
    let mut told_here = b.node.connection().events().await.unwrap();
    for member in [&a, &b] {
        let mut echoes = (0..8).map(|n| demo(&format!("e{n}")));
        let mut here = None;
        while let (None, Some(id)) = (&here, echoes.next()) {
            here = member.host.component(&id).await.map(|_| id);
        }
        member.host.restart(&here.unwrap()).await.unwrap();
    }
    for events in [&mut told, &mut told_here] {
        restarted_on_both(events).await;
    }
    let number = deploying.deploy(vec![part]).await.unwrap();
    for node in [&a.node, &b.node] {
        let release = node.connection().release().await.unwrap();
        let wasm = &release.parts[&demo("e0")].wasm;
        let fetched = node.connection().objects().fetch(wasm).await;
        assert_eq!(fetched.unwrap().len(), 300_000);
        let applied = Applied::new(number);
        node.connection().say_applied(&applied).await.unwrap();
    }
    let outcome = deploying.outcome(number, 5 * SECOND).await.unwrap();
    assert!(outcome.len() == 2 && outcome.values().all(Option::is_some));
    assert_eq!(deploying.nodes(5 * SECOND).await.unwrap().len(), 2);
    assert_eq!(deploying.latest_dead_letters(1).await.unwrap().len(), 0);
    assert_eq!(
        a.node
            .connection()
            .latest_dead_letters(1)
            .await
            .unwrap()
            .len(),
        0
    );
    assert_eq!(deploying.owners().await.unwrap().len(), 16);

    a.leave().await;
    settled(16, &[&b]).await;
    assert_eq!(b.told("e0", "hello").await, "hello");
    b.leave().await;
    assert_eq!(violations(&server), [""; 0]);
}

pub(crate) async fn what_the_guide_permits_is_not_more() {
    let server = server();
    let as_user = async |user: &str, password: &str| {
        let options = ConnectOptions::new().user_and_password(user.into(), password.into());
        let url = format!("127.0.0.1:{}", server.port());
        options.connect(url).await.unwrap()
    };
    let nodes = as_user("nodes", "n@des").await;
    let deploying = as_user("deploy", "secret").await;
    let mut expected = 0;
    for subject in [
        "other.mail.1.a.b.c",
        "other.event.a",
        "$KV.other-data.owner.1",
        "$JS.API.STREAM.DELETE.wasm-mail",
        "$JS.API.STREAM.MSG.GET.other-mail",
        "$JS.API.CONSUMER.CREATE.other-mail.x",
        "$JS.ACK.other-mail.x.1.1.1.1.1",
        "_INBOX.somebody",
    ] {
        for client in [&nodes, &deploying] {
            client.publish(subject, "".into()).await.unwrap();
            expected += 1;
        }
    }
    for subject in [
        "wasm.event.a",
        "$KV.wasm-data.owner.1",
        "wasm.mail.1.a.b.c",
        "wasm.dead.a.b.c",
    ] {
        deploying.publish(subject, "".into()).await.unwrap();
        expected += 1;
    }
    for client in [&nodes, &deploying] {
        let _subscriber = client.subscribe("_INBOX.>").await.unwrap();
        client.flush().await.unwrap();
        expected += 1;
    }
    eventually("they are refused", async || {
        violations(&server).len() >= expected
    })
    .await;
}

pub(crate) async fn whoever_is_nobody_is_told_without_the_password() {
    let server = server();
    let url = format!("nats://nodes:wr0ng@127.0.0.1:{}", server.port());
    let error = Connection::open(NatsConfig::new(url, "a"))
        .await
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(
        error.contains("nats://***@127.0.0.1") && !error.contains("wr0ng"),
        "{error}"
    );
}

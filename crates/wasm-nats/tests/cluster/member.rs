//! A node of a test, with model components.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use wasm_core::{
    AfterCrash, ComponentConfig, ComponentId, ComponentPattern, HostServices, LogLevel,
    Permissions, ResourceLimits, RestartPolicy, Supervision,
};
use wasm_host::{Component, Host, HostBuilder, HostLimits};
use wasm_nats::{Connection, NatsConfig, NatsError, Node, Tenants};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::Fixture;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// `demo/NAME/main`.
pub(crate) fn demo(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").unwrap()
}

/// A component that is permitted everything, and restarted.
pub(crate) fn component(id: ComponentId, bytes: &'static [u8]) -> Component {
    let everyone: Vec<ComponentPattern> = vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send.clone_from(&everyone);
    permissions.request.clone_from(&everyone);
    permissions.broadcast = everyone;
    permissions.storage = Some(1 << 20);
    permissions.log = Some(LogLevel::Trace);
    let limits = ResourceLimits::new(1 << 20, 2 * SECOND, Some(1_000_000)).unwrap();
    let config = ComponentConfig::new(limits).with_permissions(permissions);
    let mut supervision = Supervision::default();
    supervision.restart = RestartPolicy::OnFailure;
    supervision.max_restarts = 1_000;
    supervision.backoff = Duration::from_millis(10);
    Component::new(id, bytes, config).with_supervision(supervision)
}

pub(crate) fn fixture(name: &str, fixture: Fixture) -> Component {
    component(demo(name), fixture.wasm)
}

pub(crate) struct Members {
    host: Host<ModelEngine>,
    components: Vec<Component>,
    after_crash: AfterCrash,
    panics_over_unloading: bool,
}

#[async_trait]
impl Tenants for Members {
    fn ids(&self) -> Vec<ComponentId> {
        self.components.iter().map(|it| it.id.clone()).collect()
    }

    async fn load(&self, ids: Vec<ComponentId>) {
        let wanted = self.components.iter().filter(|it| ids.contains(&it.id));
        for loaded in self.host.load_all(wanted.cloned()).await {
            loaded.unwrap();
        }
    }

    async fn unload(&self, ids: Vec<ComponentId>) {
        assert!(!self.panics_over_unloading, "as asked");
        for id in ids {
            self.host.unload(&id).await.unwrap();
        }
    }

    fn concurrency(&self, id: &ComponentId) -> u32 {
        let mut components = self.components.iter();
        let component = components.find(|it| it.id == *id);
        component.map_or(1, |it| it.config.concurrency())
    }

    fn after_crash(&self, _: &ComponentId) -> AfterCrash {
        self.after_crash
    }
}

/// How a test differs from others.
pub(crate) struct Setup {
    pub(crate) url: String,
    pub(crate) app: String,
    pub(crate) max_waiting: i64,
    pub(crate) max_waiting_bytes: i64,
    pub(crate) patience: Duration,
    pub(crate) lease: Duration,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) limits: HostLimits,
    pub(crate) partitions: u16,
    pub(crate) pinned: Vec<ComponentPattern>,
    pub(crate) replicas: usize,
    pub(crate) components: Vec<Component>,
    pub(crate) after_crash: AfterCrash,
    pub(crate) panics_over_unloading: bool,
}

impl Setup {
    pub(crate) fn new(url: String, components: Vec<Component>) -> Self {
        Self {
            url,
            app: "test".to_owned(),
            max_waiting: 1_024,
            max_waiting_bytes: 32 << 20,
            patience: 3 * SECOND,
            lease: 2 * SECOND,
            tls_ca: None,
            credentials: None,
            limits: HostLimits::default(),
            partitions: 16,
            pinned: Vec::new(),
            replicas: 1,
            components,
            after_crash: AfterCrash::DeadLetter,
            panics_over_unloading: false,
        }
    }

    pub(crate) fn config(&self, node: &str) -> NatsConfig {
        let mut config = NatsConfig::new(self.url.clone(), node);
        config.lease = self.lease;
        config.partitions = self.partitions;
        config.pinned.clone_from(&self.pinned);
        config.replicas = self.replicas;
        config.patience = self.patience;
        config.app.clone_from(&self.app);
        config.tls_ca.clone_from(&self.tls_ca);
        config.credentials.clone_from(&self.credentials);
        config.max_waiting = self.max_waiting;
        config.max_waiting_bytes = self.max_waiting_bytes;
        config
    }

    pub(crate) async fn join_with(
        &self,
        node: &str,
        engine: impl FnOnce(HostServices) -> ModelEngine,
    ) -> Result<Member, NatsError> {
        self.join_as(self.config(node), engine).await
    }

    pub(crate) async fn join_as(
        &self,
        config: NatsConfig,
        engine: impl FnOnce(HostServices) -> ModelEngine,
    ) -> Result<Member, NatsError> {
        let connection = Connection::open(config).await?;
        let builder = connection.build(HostBuilder::new().with_limits(self.limits.clone()));
        let host = builder
            .start(|services| Ok::<_, String>(Arc::new(engine(services))))
            .unwrap();
        let tenants = Members {
            host: host.clone(),
            components: self.components.clone(),
            after_crash: self.after_crash,
            panics_over_unloading: self.panics_over_unloading,
        };
        let node = Node::start(connection, host.clone(), Arc::new(tenants)).await?;
        Ok(Member { host, node })
    }

    pub(crate) async fn join(&self, node: &str) -> Member {
        self.join_with(node, ModelEngine::new).await.unwrap()
    }
}

pub(crate) struct Member {
    pub(crate) host: Host<ModelEngine>,
    pub(crate) node: Node,
}

impl Member {
    pub(crate) async fn leave(self) {
        self.node.leave().await;
        self.host.stop().await;
    }

    /// The answer to a request of the program.
    pub(crate) async fn told(&self, name: &str, text: &str) -> String {
        let answer = self
            .host
            .request(&demo(name), text.to_owned(), 10 * SECOND)
            .await;
        let answer = answer.unwrap_or_else(|error| panic!("{name} {text}: {error}"));
        String::from_utf8(answer.unwrap_or_default().as_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn has(&self, name: &str) -> bool {
        self.host.component(&demo(name)).await.is_some()
    }
}

/// Waits until this is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < 30 * SECOND, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until these own everything.
pub(crate) async fn settled(partitions: u16, members: &[&Member]) {
    eventually("all is owned", async || {
        let owned: Vec<_> = members.iter().map(|it| it.node.owned().len()).collect();
        let fair = usize::from(partitions) / members.len();
        owned.iter().sum::<usize>() == usize::from(partitions)
            && owned.iter().all(|it| *it >= fair && *it <= fair + 1)
    })
    .await;
}

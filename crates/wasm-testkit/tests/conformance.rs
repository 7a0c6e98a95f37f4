//! The model of an engine and the services in memory, each held to its suite.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    ComponentDirectory, ComponentHandle, ComponentId, ComponentInfo, ComponentLoader,
    ComponentMessage, HostServices, MessageRouter, PermissionsOnly, SystemClock,
};
use wasm_testkit::conformance::{Behind, Feature, Harness, Settings};
use wasm_testkit::suites::directory::DirectoryBench;
use wasm_testkit::suites::loader::LoaderBench;
use wasm_testkit::suites::router::RouterBench;
use wasm_testkit::suites::{clock, directory, loader, router, storage, validator};
use wasm_testkit::{
    Conditions, ManualClock, MemoryDirectory, MemoryLoader, MemoryStorage, ModelEngine,
    RecordingRouter, RecordingValidator, RouterCall, Runner, Time,
};

struct Model;

impl Harness for Model {
    type Engine = ModelEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<ModelEngine> {
        let engine = ModelEngine::new(services);
        Arc::new(engine.with_memory_ceiling_bytes(settings.memory_ceiling_bytes))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

/// It delivers nothing: what it recorded for a component counts as delivered.
#[derive(Default)]
struct Recording {
    router: RecordingRouter,
    delivered: Mutex<Vec<ComponentMessage>>,
    joined: AtomicU64,
}

#[async_trait]
impl RouterBench for Recording {
    fn router(&self) -> &dyn MessageRouter {
        &self.router
    }

    async fn join(&self, id: &ComponentId) -> ComponentHandle {
        let number = self.joined.fetch_add(1, Ordering::Relaxed);
        ComponentHandle::new(id.clone(), number)
    }

    async fn take(&self, recipient: &ComponentId) -> Vec<ComponentMessage> {
        let mut delivered = self.delivered.lock().expect("nobody panicked with it");
        for call in self.router.take_calls() {
            match call {
                RouterCall::Send { message, .. } | RouterCall::Request { message, .. } => {
                    delivered.push(message);
                }
                RouterCall::Broadcast { messages, .. } => delivered.extend(messages),
                RouterCall::Cancel { .. } => {}
            }
        }
        delivered
            .extract_if(.., |message| message.recipient == *recipient)
            .collect()
    }

    async fn callbacks(&self, _: &ComponentHandle) -> Vec<ComponentMessage> {
        Vec::new()
    }
}

struct Listed(MemoryDirectory);

#[async_trait]
impl DirectoryBench for Listed {
    fn directory(&self) -> &dyn ComponentDirectory {
        &self.0
    }

    async fn insert(&self, info: ComponentInfo) {
        self.0.insert(info);
    }

    async fn remove(&self, id: &ComponentId) {
        self.0.remove(id);
    }
}

struct Loaded(MemoryLoader);

#[async_trait]
impl LoaderBench for Loaded {
    fn loader(&self) -> &dyn ComponentLoader {
        &self.0
    }

    async fn put(&self, id: &ComponentId, bytes: Bytes) {
        self.0.insert(id.clone(), bytes);
    }
}

fn revoked() -> RecordingValidator {
    let validator = RecordingValidator::new();
    validator.revoke_everything();
    validator
}

fn main() -> ExitCode {
    let paused = Conditions {
        time: Time::Paused,
        patience: Duration::from_secs(60),
    };
    Runner::from_args()
        .suite("MemoryStorage", storage::cases(), &[], || {
            Arc::new(MemoryStorage::new()) as storage::Subject
        })
        .suite("RecordingRouter", router::cases(), &[], || {
            router::Subject::new(Recording::default())
        })
        .suite("MemoryDirectory", directory::cases(), &[], || {
            directory::Subject::new(Listed(MemoryDirectory::new()))
        })
        .suite("MemoryLoader", loader::cases(), &[], || {
            loader::Subject::new(Loaded(MemoryLoader::new()))
        })
        .suite("PermissionsOnly", validator::cases(), &[], || {
            Arc::new(PermissionsOnly) as validator::Subject
        })
        .suite("RecordingValidator", validator::cases(), &[], || {
            Arc::new(revoked()) as validator::Subject
        })
        .suite("ManualClock", clock::cases(), &[], || {
            Arc::new(ManualClock::new()) as clock::Subject
        })
        .suite("SystemClock", clock::cases(), &[], || {
            Arc::new(SystemClock) as clock::Subject
        })
        .engine("ModelEngine", Model)
        .under(paused)
        .engine("ModelEngine in paused time", Model)
        .engine("dyn ModelEngine", Behind(Model))
        .run()
}

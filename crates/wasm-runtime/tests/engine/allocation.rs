//! Where instances have their memory, and what is said when there is no more of it.

use wasm_core::{Defect, HostServices, Resource, ResourceLimits, WasmError};
use wasm_fixtures::ECHO;
use wasm_runtime::{Allocation, EngineConfig, Profile, WasmtimeEngine};

use crate::support::{config, id, load, message, try_load};

fn engine(config: EngineConfig) -> WasmtimeEngine {
    WasmtimeEngine::new(config, HostServices::default()).unwrap()
}

fn all() -> Vec<EngineConfig> {
    let mut all = Vec::new();
    for allocation in [Allocation::Pooled { instances: 3 }, Allocation::OnDemand] {
        for profile in [Profile::Speed, Profile::Density] {
            let config = EngineConfig::default();
            all.push(config.with_allocation(allocation).with_profile(profile));
        }
    }
    all
}

#[tokio::test]
async fn components_run_wherever_their_memory_is() {
    for config_of_engine in all() {
        let engine = engine(config_of_engine);
        let echo = load(&engine, ECHO, config()).await;
        let reply = engine
            .call_handle_message(&echo, message(&echo, "hello"))
            .await;
        assert_eq!(reply.unwrap(), Some("hello".into()));
        engine.restart_component(&echo).await.unwrap();
        assert!(engine.usage(&echo).unwrap().memory_bytes > 0);
        engine.unload_component(&echo).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_pool_says_so_and_has_room_again() {
    let config_of_engine =
        EngineConfig::default().with_allocation(Allocation::Pooled { instances: 2 });
    let engine = engine(config_of_engine);
    let one = load(&engine, ECHO, config()).await;
    let other = load(&engine, ECHO, config()).await;
    match try_load(&engine, ECHO, config()).await {
        Err(WasmError::InstantiationFailed { reason, .. }) => {
            assert!(reason.contains("no room for another instance"), "{reason}");
            assert!(reason.contains("limit of 2"), "{reason}");
            assert!(reason.contains("`with_allocation`"), "{reason}");
        }
        full => panic!("{full:?}"),
    }
    // A restart needs no more room than there is.
    engine.restart_component(&other).await.unwrap();
    engine.unload_component(&one).await.unwrap();
    load(&engine, ECHO, config()).await;
}

/// The failure of their growth is told without a question before it, as that of no other.
#[tokio::test]
async fn tables_and_memories_of_64_bits_are_not_run() {
    let engine = engine(EngineConfig::default());
    for what in ["(table i64 1 funcref)", "(memory i64 1)"] {
        let wasm = wat::parse_str(format!("(component (core module {what}))")).unwrap();
        let loaded = engine
            .load_component(&id("demo/wide/main"), wasm.into(), config())
            .await;
        match loaded {
            Err(WasmError::InvalidComponent {
                defect: Defect::Unsupported { .. },
                ..
            }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_begins_too_large_is_over_the_memory_limit_everywhere() {
    let pages = (ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES >> 16) + 1;
    let wat =
        format!("(component (core module $m (memory {pages})) (core instance (instantiate $m)))");
    let wasm = wat::parse_str(wat).unwrap();
    for config_of_engine in all() {
        let engine = engine(config_of_engine.clone());
        let loaded = engine
            .load_component(&id("demo/large/main"), wasm.clone().into(), config())
            .await;
        match loaded {
            Err(WasmError::ResourceLimitExceeded {
                resource: Resource::Memory,
                requested: Some(requested),
                ..
            }) => assert_eq!(requested, pages << 16),
            other => panic!("{config_of_engine:?}: {other:?}"),
        }
    }
}

/// However few instances a pool is for.
#[tokio::test]
async fn a_pool_has_room_for_the_largest_that_is_accepted() {
    let engine =
        engine(EngineConfig::default().with_allocation(Allocation::Pooled { instances: 1 }));
    let (tables, memories) = ("(table 1 funcref)".repeat(64), "(memory 0)".repeat(8));
    let wat = format!(
        "(component (core module $m {tables} {memories}) (core instance (instantiate $m)))"
    );
    let wasm = wat::parse_str(wat).unwrap();
    engine
        .load_component(&id("demo/many/main"), wasm.into(), config())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_table_that_no_pool_has_room_for_is_accepted_nowhere() {
    let wat = "(component (core module (table 4194305 funcref)))";
    let wasm = wat::parse_str(wat).unwrap();
    for config_of_engine in all() {
        let engine = engine(config_of_engine.clone());
        let loaded = engine
            .load_component(&id("demo/large/main"), wasm.clone().into(), config())
            .await;
        match loaded {
            Err(WasmError::InvalidComponent {
                defect:
                    Defect::TooComplex {
                        what: "elements in tables",
                        ..
                    },
                ..
            }) => {}
            other => panic!("{config_of_engine:?}: {other:?}"),
        }
    }
}

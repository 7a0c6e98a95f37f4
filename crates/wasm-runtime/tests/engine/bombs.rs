//! Components that cost much to load, at the size at which nobody would notice them.
//! `scripts/bombs.sh` measures them at every size.

use std::time::Duration;

use tokio::time::timeout;

use wasm_core::{Defect, HostServices, WasmError};
use wasm_fixtures::bombs::{self, Outcome, SMALL_BYTES};
use wasm_runtime::{Compiler, CompilerProcess, EngineConfig, WasmtimeEngine};

use crate::support::{config, engine, id};

/// Twice what a compiler may take on a machine with other work: what takes this long
/// hangs.
const HANG: Duration = Duration::from_secs(600);

async fn loaded(engine: &WasmtimeEngine, what: &str, bytes: Vec<u8>) -> Result<(), WasmError> {
    let config = config();
    let id = id("demo/bomb/main");
    let preparing = engine.prepare_component(&id, bytes.into(), &config);
    match timeout(HANG, preparing).await {
        Ok(ended) => ended.map(drop),
        Err(_) => panic!("{what} hangs"),
    }
}

/// Whether a bomb ended as its row says.
fn is_as_told(outcome: Outcome, ended: &Result<(), WasmError>) -> bool {
    let malformed = matches!(
        ended,
        Err(WasmError::InvalidComponent {
            defect: Defect::Malformed { .. } | Defect::Unsupported { .. },
            ..
        })
    );
    let bounded = matches!(
        ended,
        Err(WasmError::InvalidComponent {
            defect: Defect::TooComplex { .. }
                | Defect::CostlyToCompile { .. }
                | Defect::HostMemory { .. },
            ..
        })
    );
    match outcome {
        Outcome::Malformed => malformed,
        Outcome::Bounded => bounded || ended.is_ok(),
        Outcome::Refused => ended.is_err(),
    }
}

#[tokio::test]
#[ignore = "a minute"]
async fn every_bomb_ends_as_told() {
    let process = CompilerProcess::new(env!("CARGO_BIN_EXE_airssys-wasm-compiler"));
    let config = EngineConfig::default().with_compiler(Compiler::Process(process));
    let engine = WasmtimeEngine::new(config, HostServices::default()).unwrap();
    let mut wrong = Vec::new();
    for bomb in bombs::ALL {
        let ended = loaded(&engine, bomb.kind, bomb.of_bytes(SMALL_BYTES)).await;
        if !is_as_told(bomb.outcome, &ended) {
            wrong.push(format!("{}: {ended:?}", bomb.kind));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And nobody was harmed.
    let echo = wasm_fixtures::ECHO.wasm;
    assert_eq!(
        loaded(&engine, "echo", echo.to_vec())
            .await
            .map_err(|e| e.to_string()),
        Ok(())
    );
}

/// What counting alone refuses costs an engine that compiles in its own process as little.
#[tokio::test]
async fn what_is_damaged_is_refused_without_a_process_of_its_own() {
    let engine = engine();
    for bomb in bombs::ALL {
        if bomb.outcome == Outcome::Malformed {
            let ended = loaded(&engine, bomb.kind, bomb.of_bytes(SMALL_BYTES)).await;
            assert!(is_as_told(bomb.outcome, &ended), "{}: {ended:?}", bomb.kind);
        }
    }
}

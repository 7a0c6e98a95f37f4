use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    ComponentConfig, ComponentState, GuestError, HostServices, Resource, Trap, WasmError,
};
use wasm_fixtures::{
    ANSI_LOG, BAD_POINTER_REALLOC, BAD_UTF8_RESULT, BIG_INITIAL_MEMORY, BROADCAST_STORM, COUNTER,
    ECHO, Fixture, GROW, GROW_FOREVER, GROW_SURVIVES, HUGE_STRING_RESULT, LOG_FLOOD,
    MANY_INSTANCES, MANY_MEMORIES, RANDOM_64M, RECURSE_FOREVER, RECURSE_THEN_HOSTCALL, SEND_FLOOD,
    SLEEP_FOREVER, SPIN, SPIN_IN_HEALTH, SPIN_IN_INITIALIZE, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC,
    SPIN_IN_SHUTDOWN, SPIN_IN_START, STORAGE_FILL, TABLE_BOMB, THOUSAND_MODULES, TRAP_EVERY_THIRD,
    WASI_SLEEP,
};
use wasm_testkit::RecordingRouter;

use crate::support::{
    HANG, all_permissions, ask, config, engine, engine_with, fuelled, load, send, timed, try_load,
    within,
};

/// How a hostile component's message ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Or its loading, if it does not get that far.
    Time,
    Fuel,
    Memory,
    Stack,
    RefusedByHost,
    GuestError(&'static str),
    Answer(&'static str),
    NoAnswer,
    NoExport,
    NotAComponent,
}

impl End {
    fn is(self, outcome: &Result<Option<String>, WasmError>) -> bool {
        match (self, outcome) {
            (Self::Time, Err(WasmError::Timeout { .. })) | (Self::NoAnswer, Ok(None)) => true,
            (Self::Fuel, Err(WasmError::ResourceLimitExceeded { resource, .. })) => {
                *resource == Resource::Fuel
            }
            (Self::Memory, Err(WasmError::ResourceLimitExceeded { resource, .. })) => {
                *resource == Resource::Memory
            }
            (Self::Stack, Err(WasmError::Trapped { trap, .. })) => *trap == Trap::StackOverflow,
            (Self::RefusedByHost, Err(WasmError::Trapped { trap, .. })) => {
                matches!(trap, Trap::RefusedByHost(_))
            }
            (Self::GuestError(case), Err(WasmError::GuestError { error, .. })) => {
                *error == GuestError::RuntimeError(case.to_owned())
            }
            (Self::Answer(expected), Ok(Some(reply))) => reply == expected,
            (Self::NoExport, Err(WasmError::ExportNotFound { .. }))
            | (Self::NotAComponent, Err(WasmError::InvalidComponent { .. })) => true,
            _ => false,
        }
    }
}

/// Short only for what has no other end, so that a busy machine changes nothing.
fn unmetered(fixture: Fixture, end: End) -> ComponentConfig {
    let endless = matches!(end, End::Time) || fixture.name == SPIN_IN_SHUTDOWN.name;
    let timeout = if endless {
        Duration::from_millis(150)
    } else {
        HANG
    };
    timed(timeout).with_permissions(all_permissions())
}

const ZOO: &[(Fixture, End, End)] = &[
    // With fuel; without.
    (SPIN, End::Fuel, End::Time),
    (SPIN_IN_START, End::Fuel, End::Time),
    (SPIN_IN_INITIALIZE, End::Fuel, End::Time),
    (SPIN_IN_REALLOC, End::Fuel, End::Time),
    (SPIN_IN_POST_RETURN, End::Fuel, End::Time),
    (SPIN_IN_HEALTH, End::Answer("go"), End::Answer("go")),
    (SPIN_IN_SHUTDOWN, End::Answer("go"), End::Answer("go")),
    (GROW, End::Memory, End::Memory),
    (GROW_FOREVER, End::Fuel, End::Time),
    (GROW_SURVIVES, End::Answer("32"), End::Answer("32")),
    (MANY_MEMORIES, End::Answer("32"), End::Answer("32")),
    (MANY_INSTANCES, End::NoExport, End::NoExport),
    (TABLE_BOMB, End::Memory, End::Memory),
    (BIG_INITIAL_MEMORY, End::Memory, End::Memory),
    (THOUSAND_MODULES, End::NotAComponent, End::NotAComponent),
    (RECURSE_FOREVER, End::Stack, End::Stack),
    (SLEEP_FOREVER, End::Time, End::Time),
    (WASI_SLEEP, End::Time, End::Time),
    (RANDOM_64M, End::RefusedByHost, End::RefusedByHost),
    (LOG_FLOOD, End::NoAnswer, End::NoAnswer),
    (
        SEND_FLOOD,
        End::Answer("1024 queue-full"),
        End::Answer("1024 queue-full"),
    ),
    (
        BROADCAST_STORM,
        End::GuestError("queue-full"),
        End::GuestError("queue-full"),
    ),
    (
        STORAGE_FILL,
        End::Answer("51 quota-exceeded"),
        End::Answer("51 quota-exceeded"),
    ),
    (HUGE_STRING_RESULT, End::RefusedByHost, End::RefusedByHost),
    (BAD_UTF8_RESULT, End::RefusedByHost, End::RefusedByHost),
    (BAD_POINTER_REALLOC, End::RefusedByHost, End::RefusedByHost),
    (ANSI_LOG, End::NoAnswer, End::NoAnswer),
    (TRAP_EVERY_THIRD, End::Answer("go"), End::Answer("go")),
];

#[tokio::test]
async fn whatever_a_component_tries_ends_as_it_should_and_its_neighbours_go_on() {
    let services = HostServices::default().with_router(Arc::new(RecordingRouter::new()));
    let engine = engine_with(services);
    let neighbour = load(&engine, COUNTER, config()).await;
    let mut count = 0;
    for (fixture, with_fuel, without) in ZOO {
        let waits = matches!(with_fuel, End::Time);
        let metered = if waits {
            unmetered(*fixture, *with_fuel)
        } else {
            fuelled(20_000_000).with_permissions(all_permissions())
        };
        for (limited, end) in [
            (metered, with_fuel),
            (unmetered(*fixture, *without), without),
        ] {
            let loaded = within(try_load(&engine, *fixture, limited)).await;
            let (outcome, handle) = match loaded {
                Ok(handle) => (within(send(&engine, &handle, "go")).await, Some(handle)),
                Err(error) => (Err(error), None),
            };
            assert!(end.is(&outcome), "{}: {end:?}, {outcome:?}", fixture.name);

            count += 1;
            assert_eq!(ask(&engine, &neighbour, "").await, count.to_string());
            let newcomer = load(&engine, ECHO, config()).await;
            assert_eq!(ask(&engine, &newcomer, "hi").await, "hi");
            engine.unload_component(&newcomer).await.unwrap();

            let Some(handle) = handle else { continue };
            let failed = outcome.is_err_and(|error| error.fails_instance());
            let state = engine.usage(&handle).unwrap().state;
            assert_eq!(state == ComponentState::Failed, failed, "{}", fixture.name);
            within(engine.restart_component(&handle)).await.unwrap();
            let state = engine.usage(&handle).unwrap().state;
            assert_eq!(state, ComponentState::Ready, "{}", fixture.name);
            let _ = within(engine.unload_component(&handle)).await;
        }
    }
}

#[tokio::test]
async fn the_stack_is_exhausted_by_the_guest_never_by_the_host() {
    let engine = engine();
    let handle = load(&engine, RECURSE_THEN_HOSTCALL, config()).await;
    let mut overflowed = false;
    // Ever closer to the end of the stack, in steps smaller than a host call takes.
    for depth in (1_000..40_000).step_by(100) {
        match send(&engine, &handle, depth.to_string()).await {
            Ok(reply) => {
                assert!(!overflowed, "{depth}");
                assert_eq!(reply.as_deref(), Some("back"));
            }
            Err(error) => {
                assert!(
                    matches!(
                        &error,
                        WasmError::Trapped {
                            trap: Trap::StackOverflow,
                            ..
                        }
                    ),
                    "{depth}: {error}"
                );
                overflowed = true;
                engine.restart_component(&handle).await.unwrap();
            }
        }
    }
    assert!(overflowed);
}

#[tokio::test]
async fn a_stack_overflow_shows_some_frames_not_all() {
    let engine = engine();
    let handle = load(&engine, RECURSE_FOREVER, config()).await;
    let error = send(&engine, &handle, "go").await.unwrap_err();
    let frames = error.frames().len();
    assert!((1..=32).contains(&frames), "{frames}");
}

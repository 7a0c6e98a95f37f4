//! The store of an instance, with everything that bounds it.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};

use wasm_core::text::PathText as _;
use wasm_core::{ResourceLimits, WasmError};

use super::bulk::most_in_bounds;
use super::failure::EndedCall;
use super::limiter::{MAX_HANDLES, MAX_HOST_RESOURCES, MemoryMeter, WasmResourceLimiter};
use super::state::{Contained, Guest, HostState, Pace};
use crate::wasi::{UnreadableDir, granted_files};

/// Fuel after which the count in the store is brought up to date: what a guest
/// consumed in a loop is otherwise unknown when its deadline ends the loop. About a
/// millisecond's worth, so that the yield which comes with it is as rare as that of
/// the epoch.
const FUEL_INTERVAL: u64 = 1_000_000;

/// A store for one instance, which has the data of the embedder.
pub(super) fn new_store<T: Send + 'static>(
    engine: &Engine,
    guest: &Arc<Guest>,
    memory: &Arc<MemoryMeter>,
    data: T,
) -> Result<Store<HostState<T>>, WasmError> {
    let files = granted_files(&guest.calls, &guest.wasi);
    let files = files.map_err(
        |UnreadableDir { path, error }| WasmError::InstantiationFailed {
            component: guest.id().clone(),
            reason: format!(
                "the directory {} cannot be opened: {} (`wasi` in [permissions])",
                path.escaped(),
                error
            ),
            source: Some(Arc::new(error)),
        },
    )?;
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HOST_RESOURCES);
    let limits = &guest.config().limits;
    let state = HostState {
        guest: Arc::clone(guest),
        limiter: WasmResourceLimiter::new(limits.memory_bytes(), Arc::clone(memory)),
        pace: Pace::default(),
        files,
        wasi: None,
        table: Contained::new(table),
        counts_fuel: true,
        data: Contained::new(data),
    };
    let mut store = Store::new(engine, state);
    apply_limits(&mut store, limits);
    Ok(store)
}

/// Puts everything that bounds a store for its whole life in place; fuel and
/// deadline are set for each call.
fn apply_limits<T: 'static>(store: &mut Store<HostState<T>>, limits: &ResourceLimits) {
    store.limiter(|state| &mut state.limiter);
    // A guest can hand over no more than it can hold itself.
    store.set_hostcall_fuel(usize::try_from(limits.memory_bytes()).unwrap_or(usize::MAX));
    store.set_max_component_handles(MAX_HANDLES);
    // Fails only on an engine that counts no fuel.
    let counts_fuel = store.fuel_async_yield_interval(Some(FUEL_INTERVAL));
    store.data_mut().counts_fuel = counts_fuel.is_ok();
    // Each tick of the epoch a running guest gives way to other tasks, until its
    // time is up. `YieldCustom`, because wasmtime's own yield wakes itself at once
    // and starves the executor.
    store.epoch_deadline_callback(|mut store| {
        if Instant::now() >= store.data().guest.deadline.at() {
            return Ok(UpdateDeadline::Interrupt);
        }
        let fuel_left = match store.data().counts_fuel {
            true => store.get_fuel()?,
            false => u64::MAX,
        };
        let pace = &mut store.data_mut().pace;
        pace.epoch_yields += 1;
        pace.fuel_left = fuel_left;
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(tokio::task::yield_now()),
        ))
    });
}

/// What a call was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    fuel: u64,
}

impl Budget {
    fn consumed(self, left: u64) -> u64 {
        self.fuel - left.min(self.fuel)
    }
}

/// Gives the call its full budgets.
pub(super) fn begin_call<T: 'static>(store: &mut Store<HostState<T>>) -> Budget {
    let HostState {
        guest, counts_fuel, ..
    } = store.data();
    let (fuel, counts_fuel) = (guest.fuel, *counts_fuel);
    if counts_fuel {
        // Fails only on an engine that counts none.
        let _ = store.set_fuel(fuel);
    }
    // A whole tick at the least, so that few calls that end in microseconds give way.
    store.set_epoch_deadline(2);
    let state = store.data_mut();
    state.guest.deadline.begin();
    state.pace = Pace {
        epoch_yields: 0,
        fuel_left: fuel,
    };
    state.guest.calls.begin_call();
    state.guest.lines.reset();
    if let Some(wasi) = &state.wasi {
        wasi.last_words.forget();
        // Without its WASI state, the instance has not sent anything yet.
        state.guest.http.refill();
    }
    state.limiter.take_denied();
    Budget { fuel }
}

/// The fuel that a call has consumed, once it has ended.
pub(super) fn end_call<T: 'static>(store: &mut Store<HostState<T>>, budget: Budget) -> u64 {
    if let Some(wasi) = &store.data().wasi {
        wasi.end_lines();
    }
    match store.data().counts_fuel {
        true => budget.consumed(store.get_fuel().unwrap_or(0)),
        false => 0,
    }
}

/// What else is known of a call that did not end well.
pub(super) fn ended<T: 'static>(
    store: &mut Store<HostState<T>>,
    budget: Budget,
    fuel_consumed: u64,
    pauses: u64,
) -> EndedCall {
    let state = store.data_mut();
    // Whenever it did not give way because of the epoch, it may have done so because of
    // its fuel.
    let fuel_yields = pauses.saturating_sub(state.pace.epoch_yields);
    EndedCall {
        fuel_consumed,
        fuel_seen: budget.consumed(state.pace.fuel_left),
        most_in_bounds: most_in_bounds(
            fuel_yields,
            FUEL_INTERVAL,
            state.config().limits.memory_bytes(),
        ),
        denied: state.limiter.take_denied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_consumed_what_is_not_left() {
        let budget = Budget { fuel: 100 };
        assert_eq!(budget.consumed(100), 0);
        assert_eq!(budget.consumed(40), 60);
        assert_eq!(budget.consumed(0), 100);
        // Nothing was consumed where there is more than there was.
        assert_eq!(budget.consumed(u64::MAX), 0);
    }
}

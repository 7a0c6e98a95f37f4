//! What holds for every function of a component, tried in each of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentState, ComponentStorage, ComponentUsage, GuestError,
    HealthStatus, HostServices, LifecycleError, MemoryStorage, MessageRouter, Resource, Trap,
    WasmError,
};
use wasm_fixtures::{ECHO, OBEDIENT, PAGE_BYTES, RECURSE_THEN_HOSTCALL, STORAGE_FILL};

use super::lab::{
    Bench, KIB, MIB, SHORT, all_permissions, begin, exceeded, failed_because, fuelled, id_of,
    not_found, permitted, timed, timed_out, until, with_memory,
};
use super::probes::{GatedRouter, Panicking};
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};
use crate::{Fault, Faulty, Method};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["exports":
        "Every call starts with the full fuel and time of the component's `ResourceLimits`; time \
         counts from when the guest begins, not while the call waits for its turn." => [
            each_starts_with_the_full_fuel needs Feature::Fuel,
            shutdown_starts_with_the_full_fuel needs Feature::Fuel,
            initialize_starts_with_the_full_fuel needs Feature::Fuel,
            each_starts_with_the_full_time,
        ],
        "This holds for every export and while instantiating." => [
            each_that_computes_is_stopped_at_its_deadline,
            each_that_waits_is_stopped_at_its_deadline,
            each_that_computes_runs_out_of_fuel needs Feature::Fuel,
            each_ends_at_the_memory_limit,
            an_initialize_that_is_handed_too_much_ends_at_the_memory_limit,
        ],
        "A trap, exhausted fuel, a passed deadline, a denied growth that the guest did not \
         survive or a panic in a host function fails the instance, and nothing else: the call \
         ends with the cause, the instance is dropped, and further calls end in \
         `WasmError::ComponentFailed` until `restart_component`." => [
            a_trap_in_each_fails_the_instance,
            a_panic_in_each_fails_the_instance needs Feature::HostPanics,
        ],
        "Calls to one handle run one at a time, in the order in which their futures were first \
         polled." => [
            calls_of_all_kinds_keep_their_places,
        ],
        "A call that still waits for its turn is withdrawn, and the guest never sees it." => [
            whichever_waits_and_is_dropped_is_never_made,
        ],
        "Dropping the future of a call that has begun does no harm: the call ends in the \
         background within its deadline, its answer is discarded, and the component stays as \
         that call left it." => [
            each_that_is_dropped_ends_in_the_background,
        ],
        "Lets the running call end, withdraws the waiting ones, calls `shutdown` and frees \
         everything." => [
            unloading_lets_each_end,
            unloading_withdraws_whatever_waits,
            an_unload_that_is_not_polled_goes_on,
        ],
        "A guest that returns an error has answered: the call ends in `WasmError::GuestError` \
         and the component stays ready." => [
            every_error_of_a_guest_is_its_answer,
        ],
        "One for which `WasmError::is_load_error` holds, or a trap or a limit: an initial memory \
         over the limit, a start function or `initialize` that goes wrong." => [
            every_error_of_initialize_is_quoted,
        ],
        "What `shutdown` ended with." => [
            every_error_of_shutdown_is_quoted,
        ],
        "What a component says of its own condition." => [
            every_condition_is_told,
        ],
        "Calls, `initialize` included, that ended in a trap, out of fuel or at the memory \
         limit." => [
            traps_of_each_count,
            memory_limits_of_each_count,
            exhausted_fuel_of_each_counts needs Feature::Fuel,
        ],
        "Calls, `initialize` included, that were stopped at their deadline." => [
            deadlines_of_each_count,
        ],
        "`timeout` is wall-clock time per call; `fuel` is per call and roughly one per \
         WebAssembly instruction, `None` only if the operator asked for unmetered execution in \
         so many words." => [
            many_host_calls_have_the_time_of_one_call,
        ],
        "Answers at once, also while a call runs or the component has failed." => [
            usage_is_known_while_a_restart_runs,
        ],
        "Fuel that all calls consumed, `initialize` and `shutdown` included." => [
            fuel_of_each_is_part_of_the_total needs Feature::Fuel,
            the_first_initialize_is_part_of_the_total needs Feature::Fuel,
        ],
    ]
}

/// The functions of a component, by how an engine is made to call them; `initialize` by a
/// restart.
const EXPORTS: [&str; 6] = [
    "handle-message",
    "handle-callback",
    "health",
    "metadata",
    "initialize",
    "shutdown",
];

/// Those that are called as often as one likes.
const CALLS: [&str; 4] = ["handle-message", "handle-callback", "health", "metadata"];

/// Components that do in each of their functions what they are told.
struct Obedient<E: ?Sized> {
    bench: Bench<E>,
    storage: Arc<MemoryStorage>,
}

impl<E: Engine + ?Sized> Obedient<E> {
    fn new(lab: &Lab<E>) -> Self {
        Self::with_router(lab, GatedRouter::open())
    }

    fn with_router(lab: &Lab<E>, router: Arc<dyn MessageRouter>) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let services = HostServices::default()
            .with_router(router)
            .with_storage(storage.clone());
        Self {
            bench: lab.bench_with(services),
            storage,
        }
    }

    /// From now on, in all of them.
    async fn tell(&self, export: &str, command: &str) {
        let (owner, command) = (id_of(OBEDIENT), Bytes::copy_from_slice(command.as_bytes()));
        let told = self.storage.set(&owner, export, command, u64::MAX).await;
        assert_eq!(told, Ok(()), "the storage of the case");
    }

    async fn load(&self, config: ComponentConfig) -> ComponentHandle {
        let config = config.with_permissions(all_permissions());
        self.bench.load(OBEDIENT, config).await
    }

    async fn not_loaded(&self, config: ComponentConfig) -> WasmError {
        let config = config.with_permissions(all_permissions());
        self.bench.not_loaded(OBEDIENT, config).await
    }

    async fn call(&self, handle: &ComponentHandle, export: &str) -> Result<(), WasmError> {
        let (bench, engine) = (&self.bench, &self.bench.engine);
        match export {
            "handle-message" => bench.send(handle, "hi").await.map(drop),
            "handle-callback" => bench.call_back(handle, "hi").await,
            "health" => engine.health(handle).await.map(drop),
            "metadata" => engine.metadata(handle).await.map(drop),
            "initialize" => engine.restart_component(handle).await,
            _ => engine.unload_component(handle).await,
        }
    }

    async fn succeed(&self, handle: &ComponentHandle, export: &str) {
        if let Err(error) = self.call(handle, export).await {
            panic!("`{export}`: {error}");
        }
    }

    async fn fail(&self, handle: &ComponentHandle, export: &str) -> WasmError {
        match self.call(handle, export).await {
            Ok(()) => panic!("`{export}` ended well"),
            Err(error) => error,
        }
    }

    /// How each function ends that was told this, `initialize` also when it is called by
    /// a load; and the usage afterwards, where the component is still there.
    async fn ends(
        &self,
        config: &ComponentConfig,
        command: &str,
    ) -> Vec<(&'static str, WasmError, Option<ComponentUsage>)> {
        let mut ends = Vec::new();
        for export in EXPORTS {
            let handle = self.load(config.clone()).await;
            self.tell(export, command).await;
            let error = self.fail(&handle, export).await;
            let usage = self.bench.engine.usage(&handle).await.ok();
            ends.push((export, error, usage));
            if export == "initialize" {
                let error = self.not_loaded(config.clone()).await;
                ends.push((export, error, None));
            }
            self.tell(export, "").await;
        }
        ends
    }
}

async fn each_starts_with_the_full_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for export in CALLS {
        let measured = all.load(fuelled(u64::MAX)).await;
        let mut most = all.bench.usage(&measured).await.last_call_fuel;
        for call in CALLS {
            all.succeed(&measured, call).await;
            most = most.max(all.bench.usage(&measured).await.last_call_fuel);
        }
        // Enough for one of them, too little for two of the most expensive.
        let budget = most / 2 * 3;
        let handle = all.load(fuelled(budget)).await;
        while all.bench.usage(&handle).await.total_fuel < 5 * budget {
            all.succeed(&handle, "handle-message").await;
            all.succeed(&handle, export).await;
        }
        while all.bench.usage(&handle).await.total_fuel < 10 * budget {
            all.succeed(&handle, export).await;
        }
    }
}

async fn shutdown_starts_with_the_full_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let measured = bench.load(RECURSE_THEN_HOSTCALL, fuelled(u64::MAX)).await;
    assert_eq!(bench.ask(&measured, "500").await, "back");
    let before = bench.usage(&measured).await;
    bench.restart(&measured).await;
    let after = bench.usage(&measured).await;
    let shutdown = after.total_fuel - before.total_fuel - after.last_call_fuel;
    // What the message leaves is not enough.
    let budget = before.last_call_fuel + (shutdown / 2).max(1);
    let handle = bench.load(RECURSE_THEN_HOSTCALL, fuelled(budget)).await;
    assert_eq!(bench.ask(&handle, "500").await, "back");
    bench.unload(&handle).await;
}

async fn initialize_starts_with_the_full_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    let handle = all.load(fuelled(300_000)).await;
    for export in ["shutdown", "handle-message"] {
        all.tell(export, "loop").await;
        if export == "handle-message" {
            let error = all.fail(&handle, export).await;
            exceeded(&error, Resource::Fuel, 300_000, export);
        }
        all.succeed(&handle, "initialize").await;
        all.succeed(&handle, "health").await;
    }
}

async fn each_starts_with_the_full_time<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for export in EXPORTS {
        let mut tries = 0;
        while !takes_its_time_again_and_again(&all, export).await {
            tries += 1;
            assert!(tries < 10, "`{export}`: this machine is too slow to tell");
        }
    }
}

/// `false` where the machine was too slow for a wait that fits into the time of a call.
async fn takes_its_time_again_and_again<E: Engine + ?Sized>(
    all: &Obedient<E>,
    export: &str,
) -> bool {
    // Enough for one wait, too little for two.
    const LIMIT: Duration = Duration::from_millis(500);
    let handle = all.load(timed(LIMIT)).await;
    all.tell(export, "wait 300").await;
    let calls = if export == "shutdown" { 1 } else { 3 };
    for _ in 0..calls {
        let began = Instant::now();
        let Err(error) = all.call(&handle, export).await else {
            continue;
        };
        let has_timed_out = matches!(error, WasmError::Timeout { .. });
        assert!(
            has_timed_out && began.elapsed() >= LIMIT,
            "`{export}`: {error}"
        );
        all.tell(export, "").await;
        // Where it was `shutdown` that took too long, there is none any more.
        let _ = all.bench.engine.unload_component(&handle).await;
        return false;
    }
    all.tell(export, "").await;
    true
}

async fn each_that_computes_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, config) = (Obedient::new(&lab), timed(SHORT));
    for (export, error, _) in all.ends(&config, "loop").await {
        timed_out(&error, &config, export);
    }
}

async fn each_that_waits_is_stopped_at_its_deadline<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, config) = (Obedient::new(&lab), timed(SHORT));
    // Not as long as a second.
    for (export, error, _) in all.ends(&config, "wait 900").await {
        timed_out(&error, &config, export);
    }
}

async fn each_that_computes_runs_out_of_fuel<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for (export, error, _) in all.ends(&fuelled(300_000), "loop").await {
        exceeded(&error, Resource::Fuel, 300_000, export);
    }
}

async fn each_ends_at_the_memory_limit<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for (export, error, usage) in all.ends(&with_memory(512 * KIB), "grow").await {
        exceeded(&error, Resource::Memory, 512 * KIB, export);
        if let Some(usage) = usage {
            let peak = usage.peak_memory_bytes;
            assert!(
                (512 * KIB - PAGE_BYTES..=512 * KIB).contains(&peak),
                "`{export}` grew to {peak} bytes"
            );
        }
    }
}

async fn an_initialize_that_is_handed_too_much_ends_at_the_memory_limit<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let bench = lab.bench();
    let large = with_memory(512 * KIB).with_config_data(vec![b'x'; 1 << 20]);
    let error = bench.not_loaded(ECHO, large).await;
    exceeded(&error, Resource::Memory, 512 * KIB, "initialize");
    assert!(
        matches!(error, WasmError::ResourceLimitExceeded { requested: Some(requested), .. }
            if requested > MIB),
        "1 MiB was handed over, but: {error}"
    );
}

async fn has_failed<E: Engine + ?Sized>(
    bench: &Bench<E>,
    handle: &ComponentHandle,
    cause: &WasmError,
) {
    assert_eq!(bench.state(handle).await, ComponentState::Failed, "{cause}");
    for error in bench.errors_of_calls(handle).await {
        failed_because(&error, cause);
    }
}

async fn a_trap_in_each_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for export in EXPORTS {
        let handle = all.load(permitted()).await;
        all.tell(export, "trap").await;
        let cause = all.fail(&handle, export).await;
        assert!(
            matches!(&cause, WasmError::Trapped { component, trap: Trap::Unreachable, export: of, .. }
                if component == handle.id() && **of == *export),
            "`{export}`: {cause}"
        );
        all.tell(export, "").await;
        if export == "shutdown" {
            all.bench.is_unknown(&handle).await;
        } else {
            has_failed(&all.bench, &handle, &cause).await;
            all.bench.restart(&handle).await;
            all.succeed(&handle, export).await;
        }
    }
}

async fn a_panic_in_each_fails_the_instance<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::with_router(&lab, Arc::new(Panicking));
    for export in EXPORTS {
        let handle = all.load(permitted()).await;
        all.tell(export, "send").await;
        let cause = all.fail(&handle, export).await;
        // The router panics with what it is to send.
        assert!(
            matches!(&cause, WasmError::Trapped { trap: Trap::HostPanic(text), export: of, .. }
                if **of == *export && text.contains(export)),
            "`{export}`: {cause}"
        );
        all.tell(export, "").await;
        if export == "shutdown" {
            all.bench.is_unknown(&handle).await;
        } else {
            has_failed(&all.bench, &handle, &cause).await;
            all.bench.restart(&handle).await;
        }
    }
}

/// An obedient component, all of whose calls pass a gate that is closed once it is loaded
/// and in a message.
async fn held<E: Engine + ?Sized>(
    lab: &Lab<E>,
) -> (Obedient<E>, Arc<GatedRouter>, ComponentHandle) {
    let router = GatedRouter::new();
    let all = Obedient::with_router(lab, router.clone());
    let handle = all.load(permitted()).await;
    for export in EXPORTS {
        all.tell(export, "send").await;
    }
    (all, router, handle)
}

async fn calls_of_all_kinds_keep_their_places<E: Engine + ?Sized>(lab: Lab<E>) {
    // Each kind of call is once the first that waits, and once the last.
    for first in 0..5 {
        let (all, router, handle) = held(&lab).await;
        let mut running = Box::pin(all.call(&handle, "handle-message"));
        router.gate.entered_by(running.as_mut()).await;
        let mut order = EXPORTS[..5].to_vec();
        order.rotate_left(first);
        // And none of them stands for another.
        let order = order.repeat(2);
        let mut waiting = Vec::new();
        for export in &order {
            let mut call = Box::pin(all.call(&handle, export));
            begin("a call behind another", call.as_mut()).await;
            waiting.push((export, call));
        }
        router.gate.open(99);
        // Whoever is polled first now has its place all the same.
        for (export, call) in waiting.into_iter().rev() {
            if let Err(error) = call.await {
                panic!("`{export}` behind another: {error}");
            }
        }
        let outcome = running.await;
        assert!(matches!(outcome, Ok(())), "{outcome:?}");
        let mut expected = vec!["handle-message"];
        for export in order {
            if export == "initialize" {
                expected.push("shutdown");
            }
            expected.push(export);
        }
        assert_eq!(router.accepted(), expected, "what the guest saw");
        assert_eq!(router.most_inside(), 1, "calls at once");
    }
}

async fn whichever_waits_and_is_dropped_is_never_made<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, router, handle) = held(&lab).await;
    let mut running = Box::pin(all.call(&handle, "health"));
    router.gate.entered_by(running.as_mut()).await;
    let mut waiting = Vec::new();
    for export in CALLS.into_iter().chain(CALLS) {
        let mut call = Box::pin(all.call(&handle, export));
        begin("a call behind another", call.as_mut()).await;
        waiting.push(call);
    }
    // One of each kind stays.
    waiting.truncate(CALLS.len());
    let dropped = waiting.split_off(2);
    drop(dropped);
    router.gate.open(9);
    for call in waiting {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(())), "{outcome:?}");
    }
    // Behind whatever is left.
    all.succeed(&handle, "metadata").await;
    let outcome = running.await;
    assert!(matches!(outcome, Ok(())), "{outcome:?}");
    let seen = ["health", "handle-message", "handle-callback", "metadata"];
    assert_eq!(router.accepted(), seen, "what the guest saw");
    assert_eq!(all.bench.usage(&handle).await.calls, 4);
}

async fn each_that_is_dropped_ends_in_the_background<E: Engine + ?Sized>(lab: Lab<E>) {
    for export in EXPORTS {
        let (all, router, handle) = held(&lab).await;
        let alone = Arc::strong_count(&router);
        let mut call = Box::pin(all.call(&handle, export));
        if export == "initialize" {
            router.gate.open(1);
            router.gate.entered_by(call.as_mut()).await;
        }
        router.gate.entered_by(call.as_mut()).await;
        drop(call);
        router.gate.open(1);
        if export == "shutdown" {
            until(async || Arc::strong_count(&router) < alone).await;
            all.bench.is_unknown(&handle).await;
            continue;
        }
        until(async || all.bench.state(&handle).await == ComponentState::Ready).await;
        let seen = router.accepted();
        assert_eq!(seen.last().map(String::as_str), Some(export));
        let usage = all.bench.usage(&handle).await;
        let restarts = u64::from(export == "initialize");
        let counted = (usage.calls, usage.restarts, usage.timeouts);
        assert_eq!(
            counted,
            (1 - restarts, restarts, 0),
            "calls, restarts, timeouts"
        );
        router.gate.open(1);
        all.succeed(&handle, "handle-message").await;
    }
}

async fn unloading_lets_each_end<E: Engine + ?Sized>(lab: Lab<E>) {
    for export in &EXPORTS[..5] {
        let (all, router, handle) = held(&lab).await;
        let mut running = Box::pin(all.call(&handle, export));
        if *export == "initialize" {
            router.gate.open(1);
            router.gate.entered_by(running.as_mut()).await;
        }
        router.gate.entered_by(running.as_mut()).await;
        let mut unload = all.bench.engine.unload_component(&handle);
        begin("an unload beside a call", unload.as_mut()).await;
        router.gate.open(2);
        let (running, unloaded) = tokio::join!(running, unload);
        assert!(matches!(running, Ok(())), "`{export}`: {running:?}");
        assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
        let seen = router.accepted();
        let [.., before, last] = &seen[..] else {
            panic!("the guest saw {seen:?}");
        };
        assert_eq!((&**before, &**last), (*export, "shutdown"), "at last");
        assert_eq!(router.most_inside(), 1, "calls at once");
    }
}

async fn unloading_withdraws_whatever_waits<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, router, handle) = held(&lab).await;
    let mut running = Box::pin(all.call(&handle, "handle-message"));
    router.gate.entered_by(running.as_mut()).await;
    let mut waiting = Vec::new();
    for export in &EXPORTS[..5] {
        let mut call = Box::pin(all.call(&handle, export));
        begin("a call behind another", call.as_mut()).await;
        waiting.push((export, call));
    }
    let mut unload = all.bench.engine.unload_component(&handle);
    begin("an unload beside a call", unload.as_mut()).await;
    router.gate.open(9);
    let unloaded = unload.await;
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
    for (export, call) in waiting {
        match call.await {
            Ok(()) => panic!("`{export}` was made behind an unload"),
            Err(error) => not_found(&error, &handle),
        }
    }
    let running = running.await;
    assert!(matches!(running, Ok(())), "{running:?}");
    assert_eq!(router.accepted(), ["handle-message", "shutdown"]);
}

async fn an_unload_that_is_not_polled_goes_on<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, router, handle) = held(&lab).await;
    let mut running = Box::pin(all.call(&handle, "handle-message"));
    router.gate.entered_by(running.as_mut()).await;
    let mut unload = all.bench.engine.unload_component(&handle);
    begin("an unload beside a call", unload.as_mut()).await;
    router.gate.open(9);
    // Nobody polls either of them any more.
    until(async || router.accepted() == ["handle-message", "shutdown"]).await;
    let (running, unloaded) = tokio::join!(running, unload);
    assert!(matches!((&running, &unloaded), (Ok(()), Ok(()))));
}

async fn every_error_of_a_guest_is_its_answer<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    let handle = all.load(permitted()).await;
    let text = || "as stored".to_owned();
    let errors = [
        GuestError::ComponentNotFound(text()),
        GuestError::InstantiationFailed(text()),
        GuestError::ExportNotFound(text()),
        GuestError::Timeout,
        GuestError::ResourceLimitExceeded(text()),
        GuestError::InvalidComponent(text()),
        GuestError::RuntimeError(text()),
    ];
    for (case, expected) in errors.iter().enumerate() {
        for export in ["handle-message", "handle-callback"] {
            all.tell(export, &format!("fail {case}")).await;
            let told = all.fail(&handle, export).await;
            assert!(
                matches!(&told, WasmError::GuestError { component, error }
                    if component == handle.id() && error == expected),
                "`{export}` answered {expected:?}, but: {told:?}"
            );
        }
    }
    let usage = all.bench.usage(&handle).await;
    let counted = (usage.state, usage.calls, usage.traps, usage.timeouts);
    assert_eq!(counted, (ComponentState::Ready, 14, 0, 0));
}

fn errors_of_a_lifecycle() -> [LifecycleError; 5] {
    let text = || "as stored".to_owned();
    [
        LifecycleError::InitializationFailed(text()),
        LifecycleError::AlreadyInitialized,
        LifecycleError::NotInitialized,
        LifecycleError::ShutdownFailed(text()),
        LifecycleError::InvalidState(text()),
    ]
}

async fn every_error_of_initialize_is_quoted<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for (case, expected) in errors_of_a_lifecycle().iter().enumerate() {
        let handle = all.load(permitted()).await;
        all.tell("initialize", &format!("fail {case}")).await;
        let restart = all.fail(&handle, "initialize").await;
        for told in [&restart, &all.not_loaded(permitted()).await] {
            assert!(
                matches!(told, WasmError::InitializationFailed { component, error }
                    if component == handle.id() && error == expected),
                "`initialize` answered {expected:?}, but: {told:?}"
            );
        }
        has_failed(&all.bench, &handle, &restart).await;
        all.tell("initialize", "").await;
    }
}

async fn every_error_of_shutdown_is_quoted<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    for (case, expected) in errors_of_a_lifecycle().iter().enumerate() {
        let handle = all.load(permitted()).await;
        all.tell("shutdown", &format!("fail {case}")).await;
        let told = all.fail(&handle, "shutdown").await;
        assert!(
            matches!(&told, WasmError::ShutdownFailed { component, error }
                if component == handle.id() && error == expected),
            "`shutdown` answered {expected:?}, but: {told:?}"
        );
        all.bench.is_unknown(&handle).await;
    }
}

async fn every_condition_is_told<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    let handle = all.load(permitted()).await;
    let conditions = [
        HealthStatus::Healthy,
        HealthStatus::Degraded,
        HealthStatus::Unhealthy,
        HealthStatus::Unknown,
    ];
    for (case, expected) in conditions.into_iter().enumerate() {
        all.tell("health", &format!("fail {case}")).await;
        match all.bench.engine.health(&handle).await {
            Ok(health) => assert_eq!(health, expected),
            Err(error) => panic!("{error}"),
        }
    }
    let usage = all.bench.usage(&handle).await;
    assert_eq!((usage.state, usage.calls), (ComponentState::Ready, 4));
}

/// That whatever ends so is counted as this many traps and timeouts.
async fn counts<E: Engine + ?Sized>(
    lab: Lab<E>,
    config: ComponentConfig,
    command: &str,
    expected: (u64, u64),
) {
    let all = Obedient::new(&lab);
    for (export, error, usage) in all.ends(&config, command).await {
        let Some(usage) = usage else { continue };
        let calls = u64::from(export != "initialize");
        let counted = (usage.calls, usage.restarts, (usage.traps, usage.timeouts));
        assert_eq!(
            counted,
            (calls, 0, expected),
            "calls, restarts, traps and timeouts after: {error}"
        );
    }
}

async fn traps_of_each_count<E: Engine + ?Sized>(lab: Lab<E>) {
    counts(lab, permitted(), "trap", (1, 0)).await;
}

async fn memory_limits_of_each_count<E: Engine + ?Sized>(lab: Lab<E>) {
    counts(lab, with_memory(512 * KIB), "grow", (1, 0)).await;
}

async fn exhausted_fuel_of_each_counts<E: Engine + ?Sized>(lab: Lab<E>) {
    counts(lab, fuelled(300_000), "loop", (1, 0)).await;
}

async fn deadlines_of_each_count<E: Engine + ?Sized>(lab: Lab<E>) {
    counts(lab, timed(SHORT), "wait 900", (0, 1)).await;
}

async fn fuel_of_each_is_part_of_the_total<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    let handle = all.load(fuelled(u64::MAX)).await;
    let mut before = all.bench.usage(&handle).await;
    for export in CALLS {
        for _ in 0..2 {
            all.succeed(&handle, export).await;
            let after = all.bench.usage(&handle).await;
            assert_ne!(after.last_call_fuel, 0, "of `{export}`");
            assert_eq!(
                after.total_fuel,
                before.total_fuel + after.last_call_fuel,
                "fuel of all calls, of which `{export}` was the last"
            );
            before = after;
        }
    }
    all.succeed(&handle, "initialize").await;
    let after = all.bench.usage(&handle).await;
    assert_ne!(after.last_call_fuel, 0, "of `initialize`");
    // In between was `shutdown`.
    assert!(
        after.total_fuel > before.total_fuel + after.last_call_fuel,
        "{before:?}, after a restart {after:?}"
    );
}

async fn the_first_initialize_is_part_of_the_total<E: Engine + ?Sized>(lab: Lab<E>) {
    let all = Obedient::new(&lab);
    let handle = all.load(fuelled(u64::MAX)).await;
    let usage = all.bench.usage(&handle).await;
    assert_ne!(usage.last_call_fuel, 0, "of `initialize`");
    assert!(usage.total_fuel >= usage.last_call_fuel, "{usage:?}");
}

async fn many_host_calls_have_the_time_of_one_call<E: Engine + ?Sized>(lab: Lab<E>) {
    let delay = Fault::Delay(Duration::from_millis(50));
    let storage = Faulty::new(Arc::new(MemoryStorage::new()));
    let storage = storage.on_every_call(Method::Set, delay);
    let bench = lab.bench_with(HostServices::default().with_storage(Arc::new(storage)));
    let config = timed(SHORT).with_permissions(all_permissions());
    // It stores 51 times, until there is no room.
    let fill = bench.load(STORAGE_FILL, config.clone()).await;
    let error = bench.fail(&fill, "").await;
    timed_out(&error, &config, "handle-message");
}

async fn usage_is_known_while_a_restart_runs<E: Engine + ?Sized>(lab: Lab<E>) {
    let (all, router, handle) = held(&lab).await;
    let mut restart = Box::pin(all.call(&handle, "initialize"));
    for calls in 0..2 {
        // In `shutdown`, and then in `initialize`.
        router.gate.entered_by(restart.as_mut()).await;
        // The gate is closed: whoever waits for the restart does so for ever.
        let usage = all.bench.usage(&handle).await;
        assert_eq!(
            (usage.state, usage.restarts),
            (ComponentState::Busy, 0),
            "{calls}"
        );
        router.gate.open(1);
    }
    let outcome = restart.await;
    assert!(matches!(outcome, Ok(())), "{outcome:?}");
    assert_eq!(all.bench.usage(&handle).await.restarts, 1);
}

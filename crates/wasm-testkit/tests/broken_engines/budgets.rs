//! Engines that give too much or too little.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use wasm_core::{ComponentHandle, Resource, ResourceLimits, Trap, WasmError};
use wasm_fixtures::{GROW_SURVIVES, GROW_THEN_TRAP, STORAGE_FILL, TABLE_BOMB};

use crate::List;
use crate::wrong::{Kept, Right, Wrong, out_of_fuel, out_of_time, trapped};

/// Takes the fuel of all calls of a kind from one budget.
fn adds_up_fuel(wrong: Wrong, kind: &'static str) -> Wrong<Kept<u64>> {
    wrong
        .keeping(Kept::default())
        .after_calls(move |right, handle, export, outcome| async move {
            outcome?;
            let Some(limit) = right.limits(&handle).and_then(|limits| limits.fuel()) else {
                return Ok(());
            };
            if export != kind {
                return Ok(());
            }
            let consumed = right.usage(&handle).await?.last_call_fuel;
            let total = right.kept.change(&handle, |total| {
                *total += consumed;
                *total
            });
            if total > limit {
                return Err(out_of_fuel(&handle, export, limit));
            }
            Ok(())
        })
}

/// Gives all calls of a kind the time of one.
fn adds_up_time(
    wrong: Wrong,
    kind: &'static str,
) -> Wrong<(Kept<Option<Instant>>, Kept<Duration>)> {
    wrong
        .keeping((Kept::default(), Kept::default()))
        .before_calls(|right, handle, _| async move {
            right.kept.0.set(&handle, Some(Instant::now()));
            Ok(None)
        })
        .after_calls(move |right, handle, export, outcome| async move {
            outcome?;
            let (limit, start) = (right.timeout(&handle), right.kept.0.get(&handle));
            let elapsed = start.map_or(Duration::ZERO, |start| start.elapsed());
            let spent = right.kept.1.change(&handle, |spent| {
                *spent += if export == kind {
                    elapsed
                } else {
                    Duration::ZERO
                };
                *spent
            });
            if export == kind && spent > limit {
                return Err(out_of_time(&handle, export, limit));
            }
            Ok(())
        })
}

/// Does otherwise with what is stopped at a limit in a kind of call.
fn ends(
    wrong: Wrong,
    kind: &'static str,
    otherwise: fn(&ComponentHandle, &'static str, WasmError) -> Option<WasmError>,
) -> Wrong {
    let end = move |handle: ComponentHandle, export, error| async move {
        match otherwise(&handle, export, error) {
            Some(error) => error,
            None => pending().await,
        }
    };
    wrong
        .after_calls(move |_, handle, export, outcome| async move {
            match outcome {
                Err(error) if export == kind => Err(end(handle, export, error).await),
                outcome => outcome,
            }
        })
        .on_unload(move |right, handle| async move {
            match right.unload_component(&handle).await {
                Err(error) if kind == "shutdown" => Err(end(handle, kind, error).await),
                outcome => outcome,
            }
        })
        .on_load(move |right, id, bytes, config| async move {
            match right.load_component(&id, bytes, config).await {
                Err(error) if kind == "initialize" => {
                    Err(end(ComponentHandle::new(id, 0), kind, error).await)
                }
                outcome => outcome,
            }
        })
}

fn without_a_deadline(_: &ComponentHandle, _: &'static str, error: WasmError) -> Option<WasmError> {
    (!matches!(error, WasmError::Timeout { .. })).then_some(error)
}

fn is_at_limit(error: &WasmError, of: Resource) -> bool {
    matches!(error, WasmError::ResourceLimitExceeded { resource, .. } if *resource == of)
}

/// Only its deadline ends a guest that would never end.
fn unmetered(of: &ComponentHandle, export: &'static str, error: WasmError) -> Option<WasmError> {
    Some(if is_at_limit(&error, Resource::Fuel) {
        out_of_time(of, export, ResourceLimits::MAX_TIMEOUT)
    } else {
        error
    })
}

/// As if a guest had not survived that it was denied memory.
fn out_of_memory<S>(right: &Right<S>, handle: &ComponentHandle) -> WasmError {
    let limit = right.limits(handle).unwrap().memory_bytes();
    WasmError::ResourceLimitExceeded {
        component: handle.id().clone(),
        export: "handle-message".into(),
        resource: Resource::Memory,
        limit,
        requested: Some(limit + 1),
        charged_ahead: false,
        fuel_consumed: 0,
        frames: Box::default(),
        source: None,
    }
}

/// A guest that is denied memory traps, and that is all that is told.
fn denied(of: &ComponentHandle, export: &'static str, error: WasmError) -> Option<WasmError> {
    Some(if is_at_limit(&error, Resource::Memory) {
        trapped(of, export)
    } else {
        error
    })
}

/// The time of a call that is stopped when it has waited and run for too long.
async fn within<S, T>(
    right: &Right<S>,
    handle: &ComponentHandle,
    export: &str,
    call: impl Future<Output = Result<T, WasmError>>,
) -> Result<T, WasmError> {
    let limit = right.timeout(handle);
    let late = limit.saturating_add(Duration::from_millis(1));
    let ended = timeout(late, call).await;
    ended.unwrap_or_else(|_| Err(out_of_time(handle, export, limit)))
}

pub(crate) fn rows(list: &mut List) {
    full_budgets(list);
    every_export(list);
    in_time(list);
}

fn full_budgets(list: &mut List) {
    let fuel = &["exports::each_starts_with_the_full_fuel"];
    let time = &["exports::each_starts_with_the_full_time"];
    list.breaks(
        "Every call starts with the full fuel and time of the component's `ResourceLimits`",
    );
    list.wrong(
        "takes the fuel of all messages from one budget",
        &["budgets::every_call_starts_with_the_full_fuel"],
        |wrong| adds_up_fuel(wrong, "handle-message"),
    );
    list.wrong(
        "takes the fuel of all callbacks from one budget",
        fuel,
        |wrong| adds_up_fuel(wrong, "handle-callback"),
    );
    list.wrong(
        "takes the fuel of all health from one budget",
        fuel,
        |wrong| adds_up_fuel(wrong, "health"),
    );
    list.wrong(
        "takes the fuel of all metadata from one budget",
        fuel,
        |wrong| adds_up_fuel(wrong, "metadata"),
    );
    list.wrong(
        "gives `shutdown` the fuel that the last message has left",
        &["exports::shutdown_starts_with_the_full_fuel"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                let fuel = right.limits(&handle).and_then(|limits| limits.fuel());
                let usage = right.usage(&handle).await;
                right.unload_component(&handle).await?;
                match (fuel, usage) {
                    (Some(fuel), Ok(usage)) if usage.last_call_fuel + 100 > fuel => {
                        Err(out_of_fuel(&handle, "shutdown", fuel))
                    }
                    _ => Ok(()),
                }
            })
        },
    );
    list.wrong(
        "gives `initialize` the fuel that `shutdown` has left",
        &["exports::initialize_starts_with_the_full_fuel"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                let before = right.usage(&handle).await?.total_fuel;
                right.restart_component(&handle).await?;
                let spent = right.usage(&handle).await?.total_fuel - before;
                match right.limits(&handle).and_then(|limits| limits.fuel()) {
                    Some(fuel) if spent > fuel => Err(out_of_fuel(&handle, "initialize", fuel)),
                    _ => Ok(()),
                }
            })
        },
    );
    list.wrong(
        "gives all messages the time of one",
        &["budgets::every_call_starts_with_the_full_time"],
        |wrong| adds_up_time(wrong, "handle-message"),
    );
    list.wrong("gives all callbacks the time of one", time, |wrong| {
        adds_up_time(wrong, "handle-callback")
    });
    list.wrong("gives all health the time of one", time, |wrong| {
        adds_up_time(wrong, "health")
    });
    list.wrong("gives all metadata the time of one", time, |wrong| {
        adds_up_time(wrong, "metadata")
    });
    list.wrong(
        "gives `shutdown` and `initialize` the time of one",
        time,
        |wrong| adds_up_time(wrong, "initialize"),
    );
    list.wrong(
        "counts time while a message waits for its turn",
        &["budgets::waiting_for_a_turn_takes_no_time"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let call = right.call_handle_message(&handle, message);
                within(&right, &handle, "handle-message", call).await
            })
        },
    );
    list.wrong(
        "counts time while a callback waits for its turn",
        &["budgets::waiting_for_a_turn_takes_no_time_of_any_call"],
        |wrong| {
            wrong.on_callback(|right, handle, message| async move {
                let call = right.call_handle_callback(&handle, message);
                within(&right, &handle, "handle-callback", call).await
            })
        },
    );
    list.wrong(
        "counts time while `health` waits for its turn",
        &["budgets::waiting_for_a_turn_takes_no_time_of_any_call"],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                within(&right, &handle, "health", right.health(&handle)).await
            })
        },
    );
}

fn every_export(list: &mut List) {
    let deadline = &["exports::each_that_computes_is_stopped_at_its_deadline"];
    let fuel = &["exports::each_that_computes_runs_out_of_fuel"];
    let memory = &["exports::each_ends_at_the_memory_limit"];
    list.breaks("This holds for every export and while instantiating.");
    list.wrong("knows no deadline in a callback", deadline, |wrong| {
        ends(wrong, "handle-callback", without_a_deadline)
    });
    list.wrong("knows no deadline in `health`", deadline, |wrong| {
        ends(wrong, "health", without_a_deadline)
    });
    list.wrong("knows no deadline in `metadata`", deadline, |wrong| {
        ends(wrong, "metadata", without_a_deadline)
    });
    list.wrong("knows no deadline in `shutdown`", deadline, |wrong| {
        ends(wrong, "shutdown", without_a_deadline)
    });
    list.wrong(
        "knows no deadline in a restart",
        &["budgets::a_restart_that_is_not_done_is_stopped_at_its_deadline"],
        |wrong| ends(wrong, "initialize", without_a_deadline),
    );
    list.wrong("meters no callbacks", fuel, |wrong| {
        ends(wrong, "handle-callback", unmetered)
    });
    list.wrong("meters no health", fuel, |wrong| {
        ends(wrong, "health", unmetered)
    });
    list.wrong("meters no metadata", fuel, |wrong| {
        ends(wrong, "metadata", unmetered)
    });
    list.wrong("meters no `shutdown`", fuel, |wrong| {
        ends(wrong, "shutdown", unmetered)
    });
    list.wrong("meters no `initialize`", fuel, |wrong| {
        ends(wrong, "initialize", unmetered)
    });
    list.wrong(
        "tells of memory denied in a callback as of a trap",
        memory,
        |wrong| ends(wrong, "handle-callback", denied),
    );
    list.wrong(
        "tells of memory denied in `health` as of a trap",
        memory,
        |wrong| ends(wrong, "health", denied),
    );
    list.wrong(
        "tells of memory denied in `metadata` as of a trap",
        memory,
        |wrong| ends(wrong, "metadata", denied),
    );
    list.wrong(
        "tells of memory denied in `shutdown` as of a trap",
        memory,
        |wrong| ends(wrong, "shutdown", denied),
    );
    list.wrong(
        "tells of memory denied in `initialize` as of a trap",
        &[
            "exports::an_initialize_that_is_handed_too_much_ends_at_the_memory_limit",
            "exports::each_ends_at_the_memory_limit",
        ],
        |wrong| ends(wrong, "initialize", denied),
    );
    list.wrong(
        "limits no memory in `initialize`",
        &["exports::an_initialize_that_is_handed_too_much_ends_at_the_memory_limit"],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                let mut more = config.clone();
                match right.load_component(&id, bytes.clone(), config).await {
                    Err(error) if is_at_limit(&error, Resource::Memory) => {
                        let of = more.limits;
                        let most = ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES;
                        let all = ResourceLimits::new(most, of.timeout(), of.fuel());
                        more.limits = all.unwrap();
                        right.load_component(&id, bytes, more).await
                    }
                    outcome => outcome,
                }
            })
        },
    );
    list.wrong(
        "does not count tables",
        &["budgets::table_elements_count_as_memory"],
        |wrong| {
            // A guest is denied them by what its own type says.
            wrong.answering(|right, handle, reply| match reply {
                Err(WasmError::ResourceLimitExceeded { .. })
                    if right.is(handle, TABLE_BOMB.wasm) =>
                {
                    Err(trapped(handle, "handle-message"))
                }
                reply => reply,
            })
        },
    )
    .breaking("Memory is a total over all memories and tables of the instance.");
    list.wrong(
        "kills whom it denies memory",
        &["failure::a_denied_growth_that_was_survived_fails_nothing"],
        |wrong| {
            wrong.answering(|right, handle, reply| {
                if reply.is_ok() && right.is(handle, GROW_SURVIVES.wasm) {
                    return Err(trapped(handle, "handle-message"));
                }
                reply
            })
        },
    )
    .breaking("a denied growth that the guest did not survive");
    list.breaks("other traps, and those of later calls, are told as what they are");
    list.wrong(
        "takes any trap after a denied growth for want of memory",
        &["failure::another_trap_after_a_denied_growth_is_told_as_such"],
        |wrong| {
            wrong.answering(|right, handle, reply| match reply {
                Err(WasmError::Trapped {
                    trap: Trap::IntegerDivisionByZero,
                    ..
                }) => Err(out_of_memory(right, handle)),
                reply => reply,
            })
        },
    );
    list.wrong(
        "never forgets a growth that it denied",
        &["failure::a_growth_that_was_denied_is_not_the_cause_of_a_later_trap"],
        |wrong| {
            wrong
                .keeping(Kept::<bool>::default())
                .answering(|right, handle, reply| match reply {
                    Ok(_) if right.is(handle, GROW_THEN_TRAP.wasm) => {
                        right.kept.set(handle, true);
                        reply
                    }
                    Err(WasmError::Trapped { .. }) if right.kept.get(handle) => {
                        Err(out_of_memory(right, handle))
                    }
                    reply => reply,
                })
        },
    );
}

fn in_time(list: &mut List) {
    let due = "`timeout` is wall-clock time per call";
    list.breaks("This holds for every export and while instantiating.");
    list.wrong(
        "rounds a deadline up to a second",
        &["exports::each_that_waits_is_stopped_at_its_deadline"],
        |wrong| {
            wrong
                .configuring(|config, _| {
                    let of = config.limits;
                    let seconds = of.timeout().as_millis().div_ceil(1_000);
                    let timeout = Duration::from_secs(seconds as u64);
                    let all = ResourceLimits::new(of.memory_bytes(), timeout, of.fuel());
                    config.limits = all.unwrap();
                })
                .after_calls(|right, handle, _, mut outcome| async move {
                    if let Err(WasmError::Timeout { limit, .. }) = &mut outcome {
                        *limit = right.timeout(&handle);
                    }
                    outcome
                })
        },
    );
    list.wrong(
        "renews the deadline at each host call",
        &["exports::many_host_calls_have_the_time_of_one_call"],
        |wrong| {
            // None of the calls of this guest takes as long as its limit.
            wrong.configuring(|config, bytes| {
                let (of, day) = (config.limits, ResourceLimits::MAX_TIMEOUT);
                if *bytes == *STORAGE_FILL.wasm {
                    let all = ResourceLimits::new(of.memory_bytes(), day, of.fuel());
                    config.limits = all.unwrap();
                }
            })
        },
    )
    .breaking(due);
    list.breaks("a clock turned by hand cannot give a component more time than its limit");
    list.wrong(
        "lets deadlines follow the clock of components",
        &["budgets::a_clock_that_is_turned_on_brings_no_deadline_nearer"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let clock = Arc::clone(&right.services.clock);
                let start = clock.now().as_millis();
                let reply = right.call_handle_message(&handle, message).await?;
                let millis = clock.now().as_millis().saturating_sub(start);
                let limit = right.timeout(&handle);
                if u128::from(millis) > limit.as_millis() {
                    return Err(out_of_time(&handle, "handle-message", limit));
                }
                Ok(reply)
            })
        },
    );
    list.wrong(
        "stops a guest late",
        &["budgets::a_deadline_comes_when_it_is_due"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let reply = right.call_handle_message(&handle, message).await;
                if let Err(WasmError::Timeout { limit, .. }) = &reply {
                    sleep(*limit * 30).await;
                }
                reply
            })
        },
    )
    .breaking("");
}

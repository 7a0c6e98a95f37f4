//! Engines that report other figures than they should.

use std::mem::take;

use wasm_core::{ComponentState, ComponentUsage, Resource, WasmError};

use crate::List;
use crate::wrong::{Kept, Wrong};

/// Traps and timeouts of a kind of call that go uncounted.
fn miscounts(
    wrong: Wrong,
    kind: &'static str,
    is_counted: fn(&WasmError) -> bool,
) -> Wrong<Kept<(u64, u64)>> {
    wrong
        .keeping(Kept::default())
        .after_calls(move |right, handle, export, outcome| async move {
            if let Err(error) = &outcome
                && export == kind
                && !is_counted(error)
            {
                right.kept.change(&handle, |(traps, timeouts)| match error {
                    WasmError::Timeout { .. } => *timeouts += 1,
                    WasmError::Trapped { .. } | WasmError::ResourceLimitExceeded { .. } => {
                        *traps += 1;
                    }
                    _ => {}
                });
            }
            outcome
        })
        .reporting(|kept, handle, usage| {
            let (traps, timeouts) = kept.get(handle);
            usage.traps -= traps;
            usage.timeouts -= timeouts;
        })
}

fn memory_counts(error: &WasmError) -> bool {
    !matches!(error, WasmError::ResourceLimitExceeded { resource, .. }
        if *resource == Resource::Memory)
}

fn timeouts_count(error: &WasmError) -> bool {
    matches!(error, WasmError::Timeout { .. })
}

fn traps_count(error: &WasmError) -> bool {
    !timeouts_count(error)
}

/// Leaves the fuel of a kind of call out of the total.
fn loses_fuel(wrong: Wrong, kind: &'static str) -> Wrong<Kept<u64>> {
    wrong
        .keeping(Kept::default())
        .after_calls(move |right, handle, export, outcome| async move {
            if export == kind
                && let Ok(usage) = right.usage(&handle).await
            {
                right
                    .kept
                    .change(&handle, |lost| *lost += usage.last_call_fuel);
            }
            outcome
        })
        .reporting(|kept, handle, usage| usage.total_fuel -= kept.get(handle))
}

fn reports(wrong: Wrong, change: fn(&mut ComponentUsage)) -> Wrong {
    wrong.reporting(move |(), _, usage| change(usage))
}

pub(crate) fn rows(list: &mut List) {
    states_and_memory(list);
    fuel(list);
    counters(list);
}

fn states_and_memory(list: &mut List) {
    list.breaks("Where it is in its life.");
    list.wrong(
        "is never busy",
        &["usage::a_component_is_ready_busy_or_failed"],
        |wrong| {
            reports(wrong, |usage| {
                if usage.state == ComponentState::Busy {
                    usage.state = ComponentState::Ready;
                }
            })
        },
    );
    list.breaks("Memories and tables now, in bytes; 0 while it is failed.");
    list.wrong(
        "reports memory of a failed instance",
        &[
            "usage::usage_is_known_of_a_failed_component",
            "failure::what_a_failed_instance_held_is_freed",
        ],
        |wrong| {
            reports(wrong, |usage| {
                if usage.state == ComponentState::Failed {
                    usage.memory_bytes = usage.peak_memory_bytes;
                }
            })
        },
    )
    .breaking("Answers at once, also while a call runs or the component has failed.");
    list.wrong(
        "reports memory in whole mebibytes",
        &["usage::memory_is_what_the_instance_has"],
        |wrong| {
            reports(wrong, |usage| {
                usage.memory_bytes = usage.memory_bytes.next_multiple_of(1 << 20);
            })
        },
    );
    list.wrong(
        "reports memory without tables",
        &["usage::tables_are_part_of_the_memory"],
        |wrong| reports(wrong, |usage| usage.memory_bytes &= !0xffff),
    );
    list.wrong(
        "reports a page of memory at most",
        &[
            "usage::what_a_guest_is_handed_takes_memory",
            "usage::what_a_guest_keeps_takes_memory",
        ],
        |wrong| {
            reports(wrong, |usage| {
                usage.memory_bytes = usage.memory_bytes.min(1 << 16);
            })
        },
    );
    list.breaks("The most that `memory_bytes` has been.");
    list.wrong("forgets the peak", &["usage::the_peak_stays"], |wrong| {
        reports(wrong, |usage| usage.peak_memory_bytes = usage.memory_bytes)
    });
}

fn fuel(list: &mut List) {
    let each = &["exports::fuel_of_each_is_part_of_the_total"];
    list.breaks("Fuel that the latest call consumed, `initialize` and `shutdown` included.");
    list.wrong(
        "reports more fuel for every call",
        &["usage::the_same_call_takes_the_same_fuel"],
        |wrong| reports(wrong, |usage| usage.last_call_fuel += usage.calls),
    );
    list.breaks("Fuel that all calls consumed, `initialize` and `shutdown` included.");
    list.wrong(
        "reports the fuel of the last call as that of all",
        &["usage::total_fuel_is_the_sum_of_all_calls"],
        |wrong| reports(wrong, |usage| usage.total_fuel = usage.last_call_fuel),
    );
    list.wrong("leaves callbacks out of the total", each, |wrong| {
        loses_fuel(wrong, "handle-callback")
    });
    list.wrong("leaves `health` out of the total", each, |wrong| {
        loses_fuel(wrong, "health")
    });
    list.wrong("leaves `metadata` out of the total", each, |wrong| {
        loses_fuel(wrong, "metadata")
    });
    list.wrong(
        "leaves `initialize` in a restart out of the total",
        each,
        |wrong| loses_fuel(wrong, "initialize"),
    );
    list.wrong(
        "leaves the first `initialize` out of the total",
        &["exports::the_first_initialize_is_part_of_the_total"],
        |wrong| {
            wrong
                .keeping(Kept::<u64>::default())
                .on_load(|right, id, bytes, config| async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    let usage = right.usage(&handle).await?;
                    right.kept.set(&handle, usage.total_fuel);
                    Ok(handle)
                })
                .reporting(|kept, handle, usage| usage.total_fuel -= kept.get(handle))
        },
    );
    list.wrong(
        "leaves `shutdown` out of the total",
        &["usage::what_shutdown_consumed_is_part_of_the_total"],
        |wrong| {
            wrong
                .keeping(Kept::<u64>::default())
                .on_restart(|right, handle| async move {
                    let before = right.usage(&handle).await?;
                    right.restart_component(&handle).await?;
                    let after = right.usage(&handle).await?;
                    let spent = after.total_fuel - before.total_fuel;
                    right.kept.change(&handle, |lost| {
                        *lost += spent - after.last_call_fuel;
                    });
                    Ok(())
                })
                .reporting(|kept, handle, usage| usage.total_fuel -= kept.get(handle))
        },
    );
}

fn counters(list: &mut List) {
    let traps = &["exports::traps_of_each_count"];
    let memory = &["exports::memory_limits_of_each_count"];
    list.breaks(
        "Calls that an embedder made and that reached the guest; without `initialize` and \
             `shutdown`.",
    );
    list.wrong(
        "counts `initialize` as a call",
        &["usage::a_new_component_was_never_called"],
        |wrong| reports(wrong, |usage| usage.calls += 1),
    );
    list.wrong(
        "counts calls that reach no guest",
        &["usage::calls_that_reach_no_guest_do_not_count"],
        |wrong| {
            wrong
                .keeping(Kept::<u64>::default())
                .after_calls(|right, handle, _, outcome| async move {
                    if let Err(WasmError::ComponentFailed { .. }) = outcome {
                        right.kept.change(&handle, |failed| *failed += 1);
                    }
                    outcome
                })
                .reporting(|kept, handle, usage| usage.calls += kept.get(handle))
        },
    );
    list.breaks(
        "Calls, `initialize` included, that ended in a trap, out of fuel or at the memory \
             limit.",
    );
    list.wrong(
        "counts the memory limit as nothing",
        &["usage::the_memory_limit_counts_as_a_trap"],
        |wrong| miscounts(wrong, "handle-message", memory_counts),
    );
    list.wrong(
        "counts the memory limit of callbacks as nothing",
        memory,
        |wrong| miscounts(wrong, "handle-callback", memory_counts),
    );
    list.wrong(
        "counts the memory limit of health as nothing",
        memory,
        |wrong| miscounts(wrong, "health", memory_counts),
    );
    list.wrong(
        "counts the memory limit of a restart as nothing",
        memory,
        |wrong| miscounts(wrong, "initialize", memory_counts),
    );
    list.wrong(
        "does not count the traps of callbacks",
        &[
            "usage::traps_of_calls_of_every_kind_count",
            "exports::traps_of_each_count",
        ],
        |wrong| miscounts(wrong, "handle-callback", timeouts_count),
    );
    list.wrong("does not count the traps of `health`", traps, |wrong| {
        miscounts(wrong, "health", timeouts_count)
    });
    list.wrong(
        "does not count a trap of `initialize` in a restart",
        traps,
        |wrong| miscounts(wrong, "initialize", timeouts_count),
    );
    list.breaks("Calls, `initialize` included, that were stopped at their deadline.");
    list.wrong(
        "counts a timeout as a trap",
        &["usage::deadlines_count_as_timeouts"],
        |wrong| reports(wrong, |usage| usage.traps += take(&mut usage.timeouts)),
    );
    list.wrong(
        "does not count the timeouts of restarts",
        &[
            "usage::deadlines_of_calls_of_every_kind_count",
            "exports::deadlines_of_each_count",
        ],
        |wrong| miscounts(wrong, "initialize", traps_count),
    );
    list.wrong(
        "does not count the timeouts of callbacks",
        &["exports::deadlines_of_each_count"],
        |wrong| miscounts(wrong, "handle-callback", traps_count),
    );
    list.wrong(
        "does not count the timeouts of `metadata`",
        &["exports::deadlines_of_each_count"],
        |wrong| miscounts(wrong, "metadata", traps_count),
    );
    list.breaks("Counters go on, memory starts anew.");
    list.wrong(
        "counts anew after a restart",
        &["failure::counters_go_on_over_a_restart"],
        |wrong| {
            wrong
                .keeping(Kept::<Option<ComponentUsage>>::default())
                .on_restart(|right, handle| async move {
                    let usage = right.usage(&handle).await?;
                    right.kept.set(&handle, Some(usage));
                    right.restart_component(&handle).await
                })
                .reporting(|kept, handle, usage| {
                    if let Some(before) = kept.get(handle) {
                        usage.calls -= before.calls;
                        usage.traps -= before.traps;
                        usage.total_fuel -= before.total_fuel;
                    }
                })
        },
    );
    list.breaks("Times it was given a fresh instance.");
    list.wrong(
        "counts restarts twice",
        &["usage::restarts_count"],
        |wrong| reports(wrong, |usage| usage.restarts *= 2),
    );
}

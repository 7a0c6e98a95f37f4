//! Engines that have other instances than the configuration says, or as many at a time.

use wasm_core::{InstancePolicy, WasmError};
use wasm_fixtures::SHUTDOWN_FAILS;

use crate::List;
use crate::wrong::{Kept, failed};

pub(crate) fn rows(list: &mut List) {
    instances(list);
    turns(list);
}

fn instances(list: &mut List) {
    list.breaks("no call sees what another has left in memory, and one that fails harms no other");
    list.wrong(
        "keeps the instance of a message for the next",
        &[
            "policies::a_message_finds_nothing_of_those_before_it",
            "policies::a_message_finds_nothing_of_a_callback",
            "policies::a_crash_harms_its_own_message",
        ],
        |wrong| wrong.configuring(|config, _| config.instances = InstancePolicy::Resident),
    )
    .breaking("no call sees what another has left in memory");
    list.wrong(
        "fails a component with any of its instances",
        &[
            "policies::a_crash_harms_its_own_message",
            "policies::a_failure_beside_other_calls_harms_none_of_them",
        ],
        |wrong| {
            wrong
                .keeping(Kept::<Option<WasmError>>::default())
                .on_message(|right, handle, message| async move {
                    if let Some(cause) = right.kept.get(&handle) {
                        return Err(failed(&handle, cause));
                    }
                    let reply = right.call_handle_message(&handle, message).await;
                    if let Err(error) = &reply
                        && error.fails_instance()
                    {
                        right.kept.set(&handle, Some(error.clone()));
                    }
                    reply
                })
        },
    );
    list.breaks("what `shutdown` answers changes nothing.");
    list.wrong(
        "answers a message with what the shutdown after it ended in",
        &["policies::a_shutdown_that_goes_wrong_costs_no_answer"],
        |wrong| {
            wrong.answering(|right, handle, reply| {
                if !right.is(handle, SHUTDOWN_FAILS.wasm) {
                    return reply;
                }
                Err(WasmError::ShutdownFailed {
                    component: handle.id().clone(),
                    error: wasm_core::LifecycleError::ShutdownFailed("as asked".to_owned()),
                })
            })
        },
    );
    list.breaks("Usage is that of all instances together.");
    list.wrong(
        "tells the usage of one instance",
        &["policies::usage_is_that_of_all_instances"],
        |wrong| wrong.reporting(|_, _, usage| usage.calls = usage.calls.min(1)),
    );
}

fn turns(list: &mut List) {
    list.breaks("one more waits for the first that ends.");
    list.wrong(
        "runs one more at a time than is allowed",
        &["policies::as_many_calls_run_at_a_time_as_are_allowed"],
        |wrong| {
            wrong.configuring(|config, _| {
                if config.concurrency() > 1 {
                    *config = config.clone().with_concurrency(config.concurrency() + 1);
                }
            })
        },
    );
    list.breaks("has so many turns");
    list.wrong(
        "runs one at a time however many are allowed",
        &[
            "policies::as_many_calls_run_at_a_time_as_are_allowed",
            "policies::those_that_wait_for_one_of_several_turns_keep_their_order",
        ],
        |wrong| wrong.configuring(|config, _| *config = config.clone().with_concurrency(1)),
    );
    list.breaks("Calls that run at a time are in instances of their own.");
    list.wrong(
        "lets calls at a time share their memory",
        &["policies::calls_at_a_time_share_no_memory"],
        |wrong| {
            wrong
                .keeping(Kept::<Option<u64>>::default())
                .reporting(|kept, handle, usage| {
                    let first = kept.get(handle).unwrap_or(usage.memory_bytes);
                    kept.set(handle, Some(first));
                    usage.memory_bytes = usage.memory_bytes.min(first);
                })
        },
    );
    list.breaks("Restarting and unloading wait until no call runs.");
    list.wrong(
        "has restarted before the last call has ended",
        &["policies::a_restart_waits_for_all_calls"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                if right.usage(&handle).await?.restarts == 0 {
                    tokio::spawn(async move { right.restart_component(&handle).await });
                    return Ok(());
                }
                right.restart_component(&handle).await
            })
        },
    );
    list.wrong(
        "has unloaded before the last call has ended",
        &["policies::an_unloading_waits_for_all_calls"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                tokio::spawn(async move { right.unload_component(&handle).await });
                Ok(())
            })
        },
    );
    list.breaks("has one more of the `hops` than that");
    list.wrong(
        "forgets how far a message has come",
        &[
            "host::what_is_sent_about_a_message_has_come_further",
            "host::what_is_sent_around_a_message_has_come_further",
        ],
        |wrong| {
            wrong.on_message(|right, handle, mut message| async move {
                message.hops = 0;
                right.call_handle_message(&handle, message).await
            })
        },
    );
}

//! Engines that look at what a guest asks of its host in another order, or bound it otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use wasm_core::{
    Capability, ComponentHandle, ComponentId, ComponentState, GuestError, MessagePayload,
    StorageError, WasmError,
};
use wasm_fixtures::{
    ALARM, BROADCAST_STORM, BROADCASTER, CALLBACK, DIRECTORY, Fixture, SEND_FLOOD, STORE,
};

use crate::List;
use crate::hosts::{routed, stored};
use crate::wrong::{Kept, Reply, Right, Wrong};

/// What the fixtures answer when a call of the host was refused.
fn refusal(of: &ComponentHandle, case: &str) -> Reply {
    Err(WasmError::GuestError {
        component: of.id().clone(),
        error: GuestError::RuntimeError(case.to_owned()),
    })
}

/// Has a fixture told of another refusal.
fn tells(wrong: Wrong, fixture: Fixture, told: &'static str, instead: &'static str) -> Wrong {
    wrong.answering(move |right, handle, reply| match &reply {
        Err(WasmError::GuestError {
            error: GuestError::RuntimeError(case),
            ..
        }) if case == told && right.is(handle, fixture.wasm) => refusal(handle, instead),
        _ => reply,
    })
}

/// Shows a fixture another list.
fn shows(
    wrong: Wrong,
    fixture: Fixture,
    change: fn(&Right<()>, &ComponentHandle, String) -> Reply,
) -> Wrong {
    wrong.answering(move |right, handle, reply| match &reply {
        Ok(Some(text)) if right.is(handle, fixture.wasm) => {
            let text = String::from_utf8_lossy(text.as_bytes()).into_owned();
            change(right, handle, text)
        }
        _ => reply,
    })
}

fn whole(text: String) -> Reply {
    Ok(Some(MessagePayload::from(text)))
}

/// Whether an unload or a restart is under way, and whether a `shutdown` of it went wrong.
#[derive(Default)]
struct Ending {
    is_under_way: AtomicBool,
    went_wrong: AtomicBool,
}

impl Ending {
    fn begins(&self, is_this_kind: bool) {
        self.is_under_way.store(is_this_kind, Ordering::SeqCst);
        self.went_wrong.store(false, Ordering::SeqCst);
    }
}

/// Calls no `shutdown` after one that went wrong, as the obedient fixture has it, in a restart or
/// else in an unload.
fn stops_at_the_first(wrong: Wrong, in_restart: bool) -> Wrong<Ending> {
    let ending = Arc::new(Ending::default());
    let (asked, told) = (ending.clone(), ending.clone());
    wrong
        .serving(|services| {
            stored(services, |storage| {
                storage.check_key = Box::new(move |key| {
                    let is_over = asked.is_under_way.load(Ordering::SeqCst)
                        && asked.went_wrong.load(Ordering::SeqCst);
                    match key == "shutdown" && is_over {
                        true => Err(StorageError::Io("it is over".to_owned())),
                        false => Ok(()),
                    }
                });
                storage.read = Box::new(move |key, command| {
                    if key == "shutdown" && matches!(command.first(), Some(b'f' | b't')) {
                        told.went_wrong.store(true, Ordering::SeqCst);
                    }
                });
            })
        })
        .sharing(ending)
        .on_unload(move |right, handle| async move {
            right.kept.begins(!in_restart);
            right.unload_component(&handle).await
        })
        .on_restart(move |right, handle| async move {
            right.kept.begins(in_restart);
            right.restart_component(&handle).await
        })
}

pub(crate) fn rows(list: &mut List) {
    messages(list);
    storage(list);
    others(list);
}

fn messages(list: &mut List) {
    list.breaks("takes it from the call's budget, checks the target and the permission");
    list.wrong(
        "checks the permission of a message, and then the budget",
        &["bounds::nobody_is_asked_about_a_message_over_the_budget"],
        |wrong| {
            wrong.answering(|right, handle, reply| {
                if right.is(handle, SEND_FLOOD.wasm) {
                    let sink = ComponentId::new("demo", "sink", "main").unwrap();
                    let validator = &right.services.validator;
                    let _ = validator.validate(handle, &Capability::Send(sink));
                }
                reply
            })
        },
    );
    list.breaks("each recipient counts, before anything is done for it");
    list.wrong(
        "checks the permissions of a broadcast, and then the budget",
        &["bounds::nobody_is_asked_about_a_broadcast_over_the_budget"],
        |wrong| tells(wrong, BROADCAST_STORM, "queue-full", "delivery-failed"),
    );
    list.breaks("those of a broadcast counted once");
    list.wrong(
        "counts the payload of a broadcast for each recipient",
        &["bounds::the_payload_of_a_broadcast_counts_once"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                if right.is(&handle, BROADCASTER.wasm) && message.payload.len() > 512 << 10 {
                    return refusal(&handle, "queue-full");
                }
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.breaks("Sends each of the messages");
    list.wrong(
        "sends one to whom a broadcast names twice",
        &["bounds::who_is_named_twice_is_sent_two"],
        |wrong| {
            wrong.on_message(|right, handle, mut message| async move {
                let payload = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
                if right.is(&handle, BROADCASTER.wasm)
                    && let Some((ids, text)) = payload.split_once(' ')
                {
                    let mut ids: Vec<_> = ids.split(',').collect();
                    ids.dedup();
                    message.payload = format!("{} {text}", ids.join(",")).into();
                }
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.breaks("nothing has to be granted to take back what was");
    list.wrong(
        "lets only those take a request back who may make one",
        &["bounds::a_request_is_cancelled_whatever_is_granted"],
        |wrong| {
            wrong
                .keeping(Kept::<bool>::default())
                .on_load(|right, id, bytes, config| async move {
                    let may_ask = !config.permissions.request.is_empty();
                    let handle = right.load_component(&id, bytes, config).await?;
                    right.kept.set(&handle, may_ask);
                    Ok(handle)
                })
                .on_message(|right, handle, message| async move {
                    let cancels = message.payload.as_bytes().starts_with(b"cancel ");
                    if cancels && right.is(&handle, CALLBACK.wasm) && !right.kept.get(&handle) {
                        return refusal(&handle, "delivery-failed");
                    }
                    right.call_handle_message(&handle, message).await
                })
        },
    );
}

fn storage(list: &mut List) {
    list.breaks("checks the permission, then the key");
    list.wrong(
        "checks the key, and then the permission",
        &["bounds::what_is_not_granted_is_denied_whatever_the_key"],
        |wrong| tells(wrong, STORE, "io-error", "invalid-key"),
    );
    list.breaks("where more match, it is an error, because a list cut short would look complete");
    list.wrong(
        "lists as many keys as it may, and no more",
        &["bounds::no_list_of_keys_is_cut_short"],
        |wrong| wrong.serving(|s| stored(s, |storage| storage.keys = 4_096)),
    );
    list.breaks("Empty, too long or otherwise unfit.");
    list.wrong(
        "counts the characters of a key",
        &["services::a_key_has_up_to_1024_bytes"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let payload = message.payload.as_bytes().to_vec();
                let reply = right.call_handle_message(&handle, message).await;
                let is_wide = !payload.is_ascii();
                match reply {
                    Err(WasmError::GuestError { .. })
                        if is_wide && right.is(&handle, STORE.wasm) =>
                    {
                        Ok(None)
                    }
                    reply => reply,
                }
            })
        },
    );
}

fn others(list: &mut List) {
    list.breaks("checks the permission and the bounds, and sets it");
    list.wrong(
        "checks the bounds of a timer, and then the permission",
        &["bounds::what_is_not_granted_is_denied_whatever_the_timer"],
        |wrong| tells(wrong, ALARM, "permission-denied", "invalid"),
    );
    list.breaks("a guest that may see more is shown the first in order of their ids");
    list.wrong(
        "shows the last of many components",
        &["bounds::of_too_many_components_the_first_are_listed"],
        |wrong| {
            shows(wrong, DIRECTORY, |_, _, listed| {
                let last = listed.lines().rev().take(1_000);
                let mut last: Vec<_> = last.collect();
                last.reverse();
                whole(last.iter().map(|line| format!("{line}\n")).collect())
            })
        },
    );
    list.breaks("the component itself is there even if the directory does not know it");
    list.wrong(
        "asks the directory alone, also about a component itself",
        &["bounds::a_component_is_there_for_itself"],
        |wrong| {
            shows(wrong, DIRECTORY, |_, handle, told| {
                if told.ends_with("||unknown") {
                    return refusal(handle, "invalid-state");
                }
                whole(told)
            })
        },
    );
    list.breaks("until it ends, `usage` says `ComponentState::Busy`");
    list.wrong(
        "takes a component for ready that has turns left",
        &["bounds::a_component_is_busy_while_it_has_turns_left"],
        |wrong| {
            wrong
                .keeping(Kept::<u32>::default())
                .on_load(|right, id, bytes, config| async move {
                    let turns = config.concurrency();
                    let handle = right.load_component(&id, bytes, config).await?;
                    right.kept.set(&handle, turns);
                    Ok(handle)
                })
                .reporting(|turns, handle, usage| {
                    if turns.get(handle) > 1 && usage.state == ComponentState::Busy {
                        usage.state = ComponentState::Ready;
                    }
                })
        },
    );
    list.breaks("one that has not is shut down first");
    list.wrong(
        "shuts down one of several instances before a restart",
        &["bounds::every_instance_is_shut_down_before_a_restart"],
        |wrong| {
            wrong.serving(|services| {
                let words = AtomicU32::new(0);
                routed(services, |router| {
                    router.alter = Box::new(move |message| {
                        let is_last = message.payload.as_bytes() == b"shutdown";
                        if is_last && words.fetch_add(1, Ordering::SeqCst) > 0 {
                            message.payload = "dropped".into();
                        }
                    });
                })
            })
        },
    );
    list.wrong(
        "shuts no more instances down before a restart once one has failed to",
        &["bounds::a_shutdown_that_goes_wrong_before_a_restart_stops_no_other"],
        |wrong| stops_at_the_first(wrong, true),
    );
    list.breaks("Each of several instances is shut down");
    list.wrong(
        "shuts no more instances down in an unload once one has failed to",
        &["bounds::a_shutdown_that_goes_wrong_in_an_unload_stops_no_other"],
        |wrong| stops_at_the_first(wrong, false),
    );
}

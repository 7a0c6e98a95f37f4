//! Engines that go wrong when something ends: a call that is dropped, a restart, an
//! unload.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use wasm_core::{
    ComponentHandle, ComponentMessage, ComponentState, HostServices, LifecycleError,
    MessagePayload, WasmError,
};
use wasm_fixtures::SHUTDOWN_FAILS;

use crate::List;
use crate::wrong::{Kept, OnDrop, Reply, Right, Wrong, failed};

async fn until_idle<S>(right: &Right<S>, handle: &ComponentHandle) {
    yield_now().await;
    while let Ok(usage) = right.usage(handle).await
        && usage.state == ComponentState::Busy
    {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Polls it once, before whatever comes next.
fn poll_once(future: impl Future) {
    let polled = Box::pin(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    drop(polled);
}

/// Restarts a component when a call is dropped.
fn restart_unless_done<S: Send + Sync + 'static>(
    right: &Right<S>,
    handle: &ComponentHandle,
) -> OnDrop<impl FnOnce() + Send + use<S>> {
    let (right, handle) = (right.clone(), handle.clone());
    OnDrop(Some(move || {
        poll_once(async move { right.restart_component(&handle).await });
    }))
}

/// Answers that were left to the next call, as the calls were dropped.
type Left = Kept<Option<Option<MessagePayload>>>;

/// A call whose answer is left to the next one when it is dropped.
struct Leaving(Option<JoinHandle<Reply>>, ComponentHandle, Arc<Left>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let (call, of, left) = (self.0.take(), self.1.clone(), Arc::clone(&self.2));
        tokio::spawn(async move {
            if let Some(call) = call
                && let Ok(Ok(reply)) = call.await
            {
                left.set(&of, Some(reply));
            }
        });
    }
}

/// Unloads what is left when it is dropped.
#[derive(Default)]
struct Loaded(Mutex<Vec<(Right<()>, ComponentHandle)>>);

impl Drop for Loaded {
    fn drop(&mut self) {
        for (right, handle) in self.0.lock().unwrap().drain(..) {
            tokio::spawn(async move { right.unload_component(&handle).await });
        }
    }
}

pub(crate) fn rows(list: &mut List) {
    dropped(list);
    restarted(list);
    unloaded(list);
    shut_down(list);
    unknown_handles(list);
}

fn dropped(list: &mut List) {
    list.breaks("Dropping the future of a call that has begun does no harm");
    list.wrong(
        "starts a component over when its message is dropped",
        &["cancellation::the_effect_of_a_dropped_call_stays"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let mut guard = restart_unless_done(&right, &handle);
                let reply = right.call_handle_message(&handle, message).await;
                guard.0 = None;
                reply
            })
        },
    );
    list.wrong(
        "starts a component over when its health is dropped",
        &[
            "cancellation::a_dropped_health_is_stopped_at_its_deadline",
            "exports::each_that_is_dropped_ends_in_the_background",
        ],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                let mut guard = restart_unless_done(&right, &handle);
                let health = right.health(&handle).await;
                guard.0 = None;
                health
            })
        },
    );
    list.wrong(
        "starts a component over when its metadata is dropped",
        &["exports::each_that_is_dropped_ends_in_the_background"],
        |wrong| {
            wrong.on_metadata(|right, handle| async move {
                let mut guard = restart_unless_done(&right, &handle);
                let metadata = right.metadata(&handle).await;
                guard.0 = None;
                metadata
            })
        },
    );
    list.wrong(
        "stops a message that is dropped where it is",
        &[
            "cancellation::a_dropped_call_ends_in_the_background",
            "cancellation::the_next_call_waits_for_a_dropped_one",
        ],
        |wrong| stops_when_dropped(wrong, "handle-message"),
    );
    list.wrong(
        "stops a callback that is dropped where it is",
        &["exports::each_that_is_dropped_ends_in_the_background"],
        |wrong| stops_when_dropped(wrong, "handle-callback"),
    );
    list.wrong(
        "answers a call with what a dropped one was answered",
        &["cancellation::the_answer_of_a_dropped_call_goes_to_nobody"],
        |wrong| {
            wrong
                .keeping(Left::default())
                .on_message(|right, handle, message| async move {
                    let (engine, to) = (right.clone(), handle.clone());
                    let call =
                        tokio::spawn(async move { engine.call_handle_message(&to, message).await });
                    let kept = Arc::clone(&right.kept);
                    let mut leaving = Leaving(Some(call), handle.clone(), kept);
                    let reply = leaving.0.as_mut().unwrap().await.unwrap();
                    leaving.0 = None;
                    let left = right.kept.change(&handle, Option::take);
                    left.map_or(reply, Ok)
                })
        },
    );
    list.breaks("A call that still waits for its turn is withdrawn, and the guest never sees it.");
    list.wrong(
        "withdraws no waiting message",
        &["cancellation::a_waiting_call_that_is_dropped_is_never_made"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let call = async move { right.call_handle_message(&handle, message).await };
                tokio::spawn(call).await.unwrap()
            })
        },
    );
    list.wrong(
        "withdraws no waiting callback",
        &[
            "cancellation::a_waiting_call_of_any_kind_that_is_dropped_is_never_made",
            "exports::whichever_waits_and_is_dropped_is_never_made",
        ],
        |wrong| {
            wrong.on_callback(|right, handle, message| async move {
                let call = async move { right.call_handle_callback(&handle, message).await };
                tokio::spawn(call).await.unwrap()
            })
        },
    );
    list.wrong(
        "withdraws no waiting health",
        &["exports::whichever_waits_and_is_dropped_is_never_made"],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                let call = async move { right.health(&handle).await };
                tokio::spawn(call).await.unwrap()
            })
        },
    );
    list.wrong(
        "withdraws no waiting metadata",
        &["exports::whichever_waits_and_is_dropped_is_never_made"],
        |wrong| {
            wrong.on_metadata(|right, handle| async move {
                let call = async move { right.metadata(&handle).await };
                tokio::spawn(call).await.unwrap()
            })
        },
    );
    list.wrong(
        "leaks its lock at the third waiting message that is dropped",
        &["crowds::any_number_of_waiting_calls_may_be_dropped"],
        |wrong| {
            wrong.keeping(Kept::<usize>::default()).on_message(
                |right, handle, message| async move {
                    if right.kept.get(&handle) >= 3 {
                        until_idle(&right, &handle).await;
                        return pending().await;
                    }
                    let (kept, of) = (Arc::clone(&right.kept), handle.clone());
                    let mut guard = OnDrop(Some(move || {
                        kept.change(&of, |dropped| *dropped += 1);
                    }));
                    let reply = right.call_handle_message(&handle, message).await;
                    guard.0 = None;
                    reply
                },
            )
        },
    );
    list.breaks("Dropping the future does not stop it.");
    list.wrong(
        "gives up a restart that is dropped",
        &["cancellation::a_dropped_restart_goes_on"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                yield_now().await;
                right.restart_component(&handle).await
            })
        },
    );
    list.breaks("once it has been polled, its call takes place");
    list.wrong(
        "goes on with a restart only while it is polled",
        &["cancellation::waiting_calls_of_all_kinds_that_are_not_polled_take_their_turns"],
        |wrong| {
            wrong
                .keeping(AsyncMutex::new(()))
                .on_restart(|right, handle| async move {
                    let _held = right.kept.lock().await;
                    right.restart_component(&handle).await
                })
                .on_message(|right, handle, message| async move {
                    drop(right.kept.lock().await);
                    right.call_handle_message(&handle, message).await
                })
        },
    );
}

/// Leaves a component whose call was dropped inside of that call.
fn stops_when_dropped(wrong: Wrong, kind: &'static str) -> Wrong<Kept<bool>> {
    wrong
        .keeping(Kept::default())
        .before_calls(move |right, handle, export| async move {
            if right.kept.get(&handle) {
                return pending().await;
            }
            if export != kind {
                return Ok(None);
            }
            // Undone by what comes after a call that was not dropped.
            let (kept, of) = (Arc::clone(&right.kept), handle.clone());
            Ok(Some(
                Box::new(OnDrop(Some(move || kept.set(&of, true)))) as _
            ))
        })
        .after_calls(|right, handle, _, outcome| async move {
            right.kept.set(&handle, false);
            outcome
        })
        .reporting(|kept, handle, usage| {
            if kept.get(handle) {
                usage.state = ComponentState::Busy;
            }
        })
}

fn restarted(list: &mut List) {
    list.breaks("Puts a fresh, initialized instance under the same handle");
    list.wrong(
        "keeps state across a restart",
        &[
            "failure::an_instance_that_is_well_is_shut_down_before_a_restart",
            "failure::memory_starts_anew",
        ],
        |wrong| {
            wrong
                .keeping(Kept::<u64>::default())
                .on_restart(|right, handle| async move {
                    if right.usage(&handle).await?.state == ComponentState::Failed {
                        return right.restart_component(&handle).await;
                    }
                    right.kept.change(&handle, |skipped| *skipped += 1);
                    Ok(())
                })
                .reporting(|kept, handle, usage| usage.restarts += kept.get(handle))
        },
    );
    list.wrong(
        "restarts only what has failed",
        &["failure::a_component_that_is_well_is_restarted"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                match right.usage(&handle).await?.state {
                    ComponentState::Failed => right.restart_component(&handle).await,
                    _ => Err(WasmError::Unsupported {
                        what: "restarting a component that is well".to_owned(),
                    }),
                }
            })
        },
    );
    list.wrong(
        "forgets `shutdown` before a restart",
        &["failure::an_instance_that_is_well_is_shut_down_before_a_restart"],
        |wrong| {
            // It lets the instance fail first.
            wrong
                .keeping(Kept::<u64>::default())
                .on_restart(|right, handle| async move {
                    let id = handle.id();
                    let much = vec![0; 8 << 20];
                    let much = ComponentMessage::new(id.clone(), id.clone(), much);
                    let reply = right.call_handle_message(&handle, much).await;
                    if let Err(WasmError::ResourceLimitExceeded { .. }) = reply {
                        right.kept.change(&handle, |own| *own += 1);
                    }
                    right.restart_component(&handle).await
                })
                .reporting(|kept, handle, usage| {
                    usage.calls -= kept.get(handle);
                    usage.traps -= kept.get(handle);
                })
        },
    );
    list.breaks("Takes its turn among the calls.");
    list.wrong(
        "says too early that it has restarted",
        &["failure::a_restart_takes_its_turn"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                right.usage(&handle).await?;
                tokio::spawn(async move { right.restart_component(&handle).await });
                Ok(())
            })
        },
    );
    list.wrong(
        "ends the restart that waits with the calls that do",
        &["failure::a_restart_that_waits_when_the_instance_fails_is_made"],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                if right.usage(&handle).await?.state == ComponentState::Busy {
                    until_idle(&right, &handle).await;
                    if right.usage(&handle).await?.state == ComponentState::Failed {
                        right.health(&handle).await?;
                    }
                }
                right.restart_component(&handle).await
            })
        },
    );
    list.breaks("As `load_component`; the component is failed then.");
    list.wrong(
        "hides that a restart failed",
        &[
            "failure::a_restart_that_fails_leaves_the_component_failed",
            "failure::a_restart_that_has_failed_is_tried_again",
        ],
        |wrong| {
            wrong.on_restart(|right, handle| async move {
                match right.restart_component(&handle).await {
                    Err(WasmError::InitializationFailed { .. }) => Ok(()),
                    outcome => outcome,
                }
            })
        },
    );
    list.wrong(
        "takes a component for ready that did not restart",
        &["failure::a_restart_that_fails_leaves_the_component_failed"],
        |wrong| {
            wrong.reporting(|(), _, usage| {
                // It was no call that failed it.
                if usage.state == ComponentState::Failed && usage.calls == 0 {
                    usage.state = ComponentState::Ready;
                }
            })
        },
    );
    list.wrong(
        "gives up restarting what did not restart once",
        &["failure::a_restart_that_has_failed_is_tried_again"],
        |wrong| {
            wrong
                .keeping(Kept::<Option<WasmError>>::default())
                .on_restart(|right, handle| async move {
                    if let Some(error) = right.kept.get(&handle) {
                        return Err(error);
                    }
                    let outcome = right.restart_component(&handle).await;
                    right.kept.set(&handle, outcome.clone().err());
                    outcome
                })
        },
    );
}

fn unloaded(list: &mut List) {
    let withdraws = &["exports::unloading_withdraws_whatever_waits"];
    list.breaks(
        "Lets the running call end, withdraws the waiting ones, calls `shutdown` and frees \
             everything.",
    );
    list.wrong(
        "makes the waiting messages before it unloads",
        &["unloading::unloading_withdraws_the_waiting_calls"],
        |wrong| unloads_after(wrong, "handle-message"),
    );
    list.wrong(
        "makes the waiting callbacks before it unloads",
        withdraws,
        |wrong| unloads_after(wrong, "handle-callback"),
    );
    list.wrong(
        "makes the waiting health before it unloads",
        withdraws,
        |wrong| unloads_after(wrong, "health"),
    );
    list.wrong(
        "makes the waiting metadata before it unloads",
        withdraws,
        |wrong| unloads_after(wrong, "metadata"),
    );
    list.wrong(
        "makes the waiting restarts before it unloads",
        withdraws,
        |wrong| unloads_after(wrong, "initialize"),
    );
    list.wrong(
        "ignores a running restart when it unloads",
        &["exports::unloading_lets_each_end"],
        |wrong| {
            wrong
                .keeping(Kept::<bool>::default())
                .before_calls(|right, handle, export| async move {
                    right.kept.set(&handle, export == "initialize");
                    Ok(None)
                })
                .after_calls(|right, handle, _, outcome| async move {
                    right.kept.set(&handle, false);
                    outcome
                })
                .on_unload(|right, handle| async move {
                    let restarts = right.kept.get(&handle);
                    let (engine, of) = (right.clone(), handle.clone());
                    let unload = async move { engine.unload_component(&of).await };
                    let unload = tokio::spawn(unload);
                    if restarts {
                        yield_now().await;
                        return Ok(());
                    }
                    unload.await.unwrap()
                })
        },
    );
    list.wrong(
        "frees nothing",
        &["unloading::unloading_frees_everything"],
        |wrong| {
            wrong
                .keeping(Mutex::new(Vec::<HostServices>::new()))
                .on_unload(|right, handle| async move {
                    right.kept.lock().unwrap().push(right.services.clone());
                    right.unload_component(&handle).await
                })
        },
    );
    list.wrong(
        "unloads beside a call that was dropped",
        &["unloading::unloading_lets_a_dropped_call_end"],
        |wrong| {
            wrong
                .keeping(Kept::<bool>::default())
                .on_message(|right, handle, message| async move {
                    right.kept.set(&handle, true);
                    let reply = right.call_handle_message(&handle, message).await;
                    right.kept.set(&handle, false);
                    reply
                })
                .on_unload(|right, handle| async move {
                    if !right.kept.get(&handle) {
                        return right.unload_component(&handle).await;
                    }
                    tokio::spawn(async move { right.unload_component(&handle).await });
                    Ok(())
                })
        },
    );
    list.wrong(
        "unloads only while it is polled",
        &["exports::an_unload_that_is_not_polled_goes_on"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                until_idle(&right, &handle).await;
                right.unload_component(&handle).await
            })
        },
    );
    list.breaks("From the first poll on, further calls are `WasmError::ComponentNotFound`.");
    list.wrong(
        "unloads when nobody calls any more",
        &[
            "unloading::nothing_knows_the_handle_while_unloading",
            "unloading::a_dropped_unload_goes_on",
        ],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                until_idle(&right, &handle).await;
                right.unload_component(&handle).await
            })
        },
    );
    list.breaks("What `shutdown` ended with.");
    list.wrong(
        "forgets `shutdown` when it unloads",
        &[
            "unloading::an_error_of_shutdown_is_told",
            "unloading::a_trap_in_shutdown_is_told",
            "unloading::unloading_lets_the_running_call_end",
        ],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                tokio::spawn(async move { right.unload_component(&handle).await });
                Ok(())
            })
        },
    );
    list.breaks("The component is unloaded all the same.");
    list.wrong(
        "keeps a component whose `shutdown` fails",
        &["unloading::a_component_is_unloaded_whatever_shutdown_answers"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                let loaded = right.usage(&handle).await.is_ok();
                if loaded && right.is(&handle, SHUTDOWN_FAILS.wasm) {
                    return Err(WasmError::ShutdownFailed {
                        component: handle.id().clone(),
                        error: LifecycleError::ShutdownFailed("still busy".to_owned()),
                    });
                }
                right.unload_component(&handle).await
            })
        },
    );
    list.breaks("An engine that is dropped drops its components without calling their `shutdown`.");
    list.wrong(
        "shuts components down when it is dropped",
        &["unloading::a_dropped_engine_frees_its_components_at_once"],
        |wrong| {
            let loaded = Arc::new(Loaded::default());
            wrong.on_load(move |right, id, bytes, config| {
                let loaded = Arc::clone(&loaded);
                async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    let mut loaded = loaded.0.lock().unwrap();
                    loaded.push((right.clone(), handle.clone()));
                    Ok(handle)
                }
            })
        },
    );
}

/// Unloads when no calls of a kind are left that were made before.
fn unloads_after(wrong: Wrong, kind: &'static str) -> Wrong<(Kept<usize>, Notify)> {
    wrong
        .keeping((Kept::default(), Notify::new()))
        .before_calls(move |right, handle, export| async move {
            if export == kind {
                right.kept.0.change(&handle, |calls| *calls += 1);
            }
            Ok(None)
        })
        .after_calls(move |right, handle, export, outcome| async move {
            if export == kind {
                right.kept.0.change(&handle, |calls| *calls -= 1);
                right.kept.1.notify_waiters();
            }
            outcome
        })
        .on_unload(|right, handle| async move {
            loop {
                let ended = right.kept.1.notified();
                if right.kept.0.get(&handle) == 0 {
                    break;
                }
                ended.await;
            }
            right.unload_component(&handle).await
        })
}

fn shut_down(list: &mut List) {
    list.breaks("Whatever else it may do, it may do then too.");
    list.wrong(
        "undoes what a component stores in its `shutdown`",
        &["host::what_a_component_stores_in_its_shutdown_is_stored"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                let unloaded = right.unload_component(&handle).await;
                // Under the key of the only fixture that does so.
                let storage = Arc::clone(&right.services.storage);
                storage.delete(handle.id(), "ended").await.unwrap();
                unloaded
            })
        },
    );
}

fn unknown_handles(list: &mut List) {
    list.breaks("Every call ends in `WasmError::ComponentNotFound`");
    list.wrong(
        "looks up a handle by its number only",
        &["unloading::a_handle_of_another_id_is_not_found"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashMap::<u64, ComponentHandle>::new()))
                .on_load(|right, id, bytes: Bytes, config| async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    let mut loaded = right.kept.lock().unwrap();
                    loaded.insert(handle.handle_id(), handle.clone());
                    Ok(handle)
                })
                .on_message(|right, handle, message| async move {
                    let loaded = right.kept.lock().unwrap().clone();
                    let meant = loaded.get(&handle.handle_id()).unwrap_or(&handle);
                    let meant = meant.clone();
                    right.call_handle_message(&meant, message).await
                })
        },
    );
    list.wrong(
        "takes what is gone for failed",
        &[
            "unloading::a_handle_that_was_never_given_is_not_found",
            "unloading::nothing_knows_the_handle_after_unloading",
        ],
        |wrong| {
            wrong.answering(|_, handle, reply| match reply {
                Err(error @ WasmError::ComponentNotFound { .. }) => Err(failed(handle, error)),
                reply => reply,
            })
        },
    );
    list.breaks("An unknown handle is fine.");
    list.wrong(
        "unloads only what is there",
        &[
            "unloading::unloading_twice_is_fine",
            "unloading::unloading_what_was_never_loaded_is_fine",
        ],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                right.usage(&handle).await?;
                right.unload_component(&handle).await
            })
        },
    );
    list.wrong(
        "unloads a component once",
        &["unloading::unloading_twice_is_fine"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashSet::new()))
                .on_unload(|right, handle| async move {
                    if !right.kept.lock().unwrap().insert(handle.clone()) {
                        return Err(WasmError::ComponentNotFound { handle });
                    }
                    right.unload_component(&handle).await
                })
        },
    );
}

//! Engines that lose the order of calls, or let one component wait for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use wasm_core::{ComponentHandle, ComponentState, HealthStatus, WasmError};
use wasm_fixtures::SPIN;

use crate::List;
use crate::wrong::{Guard, Kept, OnDrop, Right, Wrong, out_of_time};

/// Locks that are held across calls, one for all handles that a key does not tell apart.
type Locks<K> = Mutex<Vec<(K, Arc<AsyncMutex<()>>)>>;

fn lock_of<K: PartialEq>(locks: &Locks<K>, key: K) -> Arc<AsyncMutex<()>> {
    let mut locks = locks.lock().unwrap();
    if let Some((_, lock)) = locks.iter().find(|(known, _)| *known == key) {
        return Arc::clone(lock);
    }
    let lock = Arc::default();
    locks.push((key, Arc::clone(&lock)));
    lock
}

/// Holds one across each message.
fn locks<K: PartialEq + Send + 'static>(
    wrong: Wrong,
    key: fn(&ComponentHandle) -> K,
) -> Wrong<Locks<K>> {
    wrong
        .keeping(Locks::<K>::default())
        .on_message(move |right, handle, message| async move {
            let lock = lock_of(&right.kept, key(&handle));
            let _held = lock.lock().await;
            right.call_handle_message(&handle, message).await
        })
}

/// Puts calls of a kind ahead of all that wait, as if they were of another queue.
fn overtakes(wrong: Wrong, kind: &'static str) -> Wrong<Kept<(usize, Arc<Notify>)>> {
    wrong
        .keeping(Kept::<(usize, Arc<Notify>)>::default())
        .before_calls(move |right, handle, export| async move {
            if export == kind {
                right.kept.change(&handle, |(waiting, _)| *waiting += 1);
                let (right, handle) = (right.clone(), handle.clone());
                let done = OnDrop(Some(move || {
                    right.kept.change(&handle, |(waiting, ended)| {
                        *waiting -= 1;
                        ended.notify_waiters();
                    });
                }));
                return Ok(Some(Box::new(done) as _));
            }
            // Others begin when nothing of that kind waits.
            let usage = right.usage(&handle).await;
            if !usage.is_ok_and(|usage| usage.state == ComponentState::Busy) {
                return Ok(None);
            }
            tokio::task::yield_now().await;
            loop {
                let (waiting, ended) = right.kept.get(&handle);
                let ended = ended.notified();
                if waiting == 0 {
                    return Ok(None);
                }
                ended.await;
            }
        })
}

async fn place(places: &Arc<Semaphore>) -> Result<Guard, WasmError> {
    let place: OwnedSemaphorePermit = places.clone().acquire_owned().await.unwrap();
    Ok(Some(Box::new(place)))
}

/// The calls that wait, the last of which is made next.
#[derive(Default)]
struct Stack {
    busy: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

fn next(stacks: &Mutex<HashMap<ComponentHandle, Stack>>, handle: &ComponentHandle) {
    let mut stacks = stacks.lock().unwrap();
    let stack = stacks.entry(handle.clone()).or_default();
    while let Some(next) = stack.waiting.pop() {
        if next.send(()).is_ok() {
            return;
        }
    }
    stack.busy = false;
}

pub(crate) fn rows(list: &mut List) {
    one_at_a_time(list);
    in_parallel(list);
}

fn one_at_a_time(list: &mut List) {
    let places = &["exports::calls_of_all_kinds_keep_their_places"];
    list.breaks(
        "Calls to one handle run one at a time, in the order in which their futures were first \
         polled.",
    );
    list.wrong(
        "runs two calls at once",
        &["order::calls_to_one_component_never_overlap"],
        |wrong| {
            wrong
                .keeping((Kept::default(), AtomicU64::new(0)))
                .on_load(|right, id, bytes, config| async move {
                    let (same, like) = (bytes.clone(), config.clone());
                    let twin = right.load_component(&id, same, like).await?;
                    let handle = right.load_component(&id, bytes, config).await?;
                    right.kept.0.set(&handle, Some(twin));
                    Ok(handle)
                })
                .on_message(|right, handle, message| async move {
                    let odd = right.kept.1.fetch_add(1, Ordering::Relaxed) % 2 == 1;
                    let twin = right.kept.0.get(&handle).filter(|_| odd);
                    let to = twin.unwrap_or(handle);
                    right.call_handle_message(&to, message).await
                })
        },
    );
    list.wrong(
        "takes the last waiting message first",
        &["order::calls_run_in_the_order_in_which_they_were_first_polled"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashMap::<_, Stack>::new()))
                .on_message(|right, handle, message| async move {
                    let turn = {
                        let mut stacks = right.kept.lock().unwrap();
                        let stack = stacks.entry(handle.clone()).or_default();
                        if stack.busy {
                            let (give, turn) = oneshot::channel();
                            stack.waiting.push(give);
                            Some(turn)
                        } else {
                            stack.busy = true;
                            None
                        }
                    };
                    if let Some(turn) = turn {
                        turn.await.unwrap();
                    }
                    let reply = right.call_handle_message(&handle, message).await;
                    next(&right.kept, &handle);
                    reply
                })
        },
    );
    list.wrong("lets callbacks overtake", places, |wrong| {
        overtakes(wrong, "handle-callback")
    });
    list.wrong("lets `health` overtake", places, |wrong| {
        overtakes(wrong, "health")
    });
    list.wrong("lets `metadata` overtake", places, |wrong| {
        overtakes(wrong, "metadata")
    });
    list.wrong("lets restarts overtake", places, |wrong| {
        overtakes(wrong, "initialize")
    });
    list.wrong(
        "takes a restart for the one that waits already",
        places,
        |wrong| {
            wrong
                .keeping(Kept::<(bool, Arc<Notify>)>::default())
                .on_restart(|right, handle| async move {
                    let (waits, ended) = right.kept.get(&handle);
                    if waits {
                        ended.notified().await;
                        return Ok(());
                    }
                    right.kept.change(&handle, |(waits, _)| *waits = true);
                    let outcome = right.restart_component(&handle).await;
                    right.kept.change(&handle, |(waits, ended)| {
                        *waits = false;
                        ended.notify_waiters();
                    });
                    outcome
                })
        },
    );
    list.wrong(
        "guesses health",
        &[
            "order::calls_of_all_kinds_wait_for_the_one_that_runs",
            "messages::health_is_what_the_guest_says",
            "order::health_waits_for_its_turn",
        ],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                match right.usage(&handle).await?.state {
                    ComponentState::Failed => right.health(&handle).await,
                    _ => Ok(HealthStatus::Healthy),
                }
            })
        },
    );
}

fn in_parallel(list: &mut List) {
    list.breaks("Calls to different handles run in parallel.");
    list.wrong(
        "holds one lock for everybody",
        &[
            "order::calls_to_different_components_overlap",
            "order::a_component_that_waits_keeps_no_other_from_anything",
        ],
        |wrong| locks(wrong, |_| ()),
    );
    list.wrong(
        "holds one lock for an id",
        &["order::calls_to_instances_of_one_id_overlap"],
        |wrong| locks(wrong, |handle| handle.id().clone()),
    );
    list.wrong(
        "makes 32 calls at once at most",
        &["crowds::a_hundred_calls_are_made_at_once"],
        |wrong| {
            wrong
                .keeping(Arc::new(Semaphore::new(32)))
                .before_calls(|right, _, _| async move { place(&right.kept).await })
        },
    );
    list.wrong(
        "lets calls that wait for one component use up the workers of all",
        &["crowds::calls_that_wait_for_one_component_keep_no_other_from_answering"],
        |wrong| {
            // As many as there are components in other cases.
            wrong
                .keeping(Arc::new(Semaphore::new(110)))
                .before_calls(|right, _, _| async move { place(&right.kept).await })
        },
    );
    list.wrong(
        "lets guests block the threads of the runtime",
        &["isolation::components_that_compute_keep_no_other_from_answering"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let spins = message.payload.as_bytes() != b"ok";
                if spins && right.is(&handle, SPIN.wasm) {
                    thread::sleep(Duration::from_millis(10));
                    let limit = right.timeout(&handle);
                    return Err(out_of_time(&handle, "handle-message", limit));
                }
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.wrong(
        "unloads one component at a time",
        &["order::a_component_that_shuts_down_keeps_no_other_from_anything"],
        |wrong| {
            wrong
                .keeping(AsyncMutex::new(()))
                .on_unload(|right, handle| async move {
                    let _held = right.kept.lock().await;
                    right.unload_component(&handle).await
                })
                .before_calls(|right, _, _| async move {
                    drop(right.kept.lock().await);
                    Ok(None)
                })
        },
    );
    list.breaks("once it has been polled, its call takes place");
    list.wrong(
        "goes on with a call only while it is polled",
        &[
            "cancellation::a_running_call_that_is_not_polled_goes_on",
            "cancellation::a_waiting_call_that_is_not_polled_takes_its_turn",
        ],
        |wrong| locks(wrong, Clone::clone),
    );
    list.breaks("Answers at once, also while a call runs or the component has failed.");
    list.wrong(
        "answers `usage` when the call has ended",
        &["usage::usage_is_known_while_a_call_runs"],
        |wrong| {
            locks(wrong, Clone::clone).on_usage(|right, handle| async move {
                let lock = lock_of(&right.kept, handle.clone());
                let _held = lock.lock().await;
                right.usage(&handle).await
            })
        },
    );
    list.wrong(
        "answers `usage` when the restart has ended",
        &["exports::usage_is_known_while_a_restart_runs"],
        |wrong| {
            wrong
                .keeping(Locks::<ComponentHandle>::default())
                .on_restart(|right: Right<Locks<_>>, handle| async move {
                    let lock = lock_of(&right.kept, handle.clone());
                    let _held = lock.lock().await;
                    right.restart_component(&handle).await
                })
                .on_usage(|right, handle| async move {
                    let lock = lock_of(&right.kept, handle.clone());
                    let _held = lock.lock().await;
                    right.usage(&handle).await
                })
        },
    );
}

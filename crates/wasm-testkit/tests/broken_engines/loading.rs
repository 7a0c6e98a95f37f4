//! Engines that load what they should not, or otherwise than they should.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};
use tokio::task::yield_now;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, Defect, HostServices, MessagePayload,
    Permissions, Preparation, ResourceLimits, Trap, WasmError,
};
use wasm_fixtures::{COUNTER, ECHO, HELLO, MANY_MEMORIES, MINIMAL};

use crate::wrong::{Right, Wrong, not_instantiated};
use crate::{List, permissions};

/// Which handle stands for which.
type Aliases = Mutex<(Vec<u64>, HashMap<ComponentHandle, ComponentHandle>)>;

fn meant(aliases: &Aliases, handle: &ComponentHandle) -> ComponentHandle {
    let aliases = aliases.lock().unwrap();
    aliases.1.get(handle).unwrap_or(handle).clone()
}

/// Loads something else in place of bytes that are refused for a reason.
fn accepts(wrong: Wrong, refused: fn(&WasmError) -> bool) -> Wrong {
    wrong.on_load(move |right, id, bytes, config| async move {
        match right.load_component(&id, bytes, config.clone()).await {
            Err(error) if refused(&error) => {
                let other = Bytes::from_static(COUNTER.wasm);
                right.load_component(&id, other, config).await
            }
            outcome => outcome,
        }
    })
}

fn has_defect(error: &WasmError, is_it: fn(&Defect) -> bool) -> bool {
    matches!(error, WasmError::InvalidComponent { defect, .. } if is_it(defect))
}

/// Loads it when it is only to be prepared, and says that all is well.
async fn prepare_by_loading(
    right: Right<()>,
    (id, bytes, config): (ComponentId, Bytes, ComponentConfig),
    unloads: bool,
) -> Result<Preparation, WasmError> {
    if let Ok(handle) = right.load_component(&id, bytes, config).await
        && unloads
    {
        right.unload_component(&handle).await?;
    }
    Ok(Preparation::default())
}

fn limit(config: &mut ComponentConfig, memory: u64, timeout: Duration, fuel: Option<u64>) {
    config.limits = ResourceLimits::new(memory, timeout, fuel).unwrap();
}

pub(crate) fn rows(list: &mut List) {
    instances(list);
    refusals(list);
    preparations(list);
    limits(list);
    configurations(list);
}

fn instances(list: &mut List) {
    list.breaks("each is an instance of its own, with a number that the engine never gives again");
    list.wrong(
        "gives a number again",
        &["loading::numbers_are_never_given_again"],
        |wrong| {
            wrong
                .keeping(Aliases::default())
                .on_load(|right, id, bytes, config| async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    let mut aliases = right.kept.lock().unwrap();
                    let Some(number) = aliases.0.pop() else {
                        return Ok(handle);
                    };
                    let alias = ComponentHandle::new(id, number);
                    aliases.1.insert(alias.clone(), handle);
                    Ok(alias)
                })
                .on_unload(|right, handle| async move {
                    let meant = meant(&right.kept, &handle);
                    if right.usage(&meant).await.is_ok() {
                        right.kept.lock().unwrap().0.push(handle.handle_id());
                    }
                    right.unload_component(&meant).await
                })
                .on_message(|right, handle, message| async move {
                    let meant = meant(&right.kept, &handle);
                    right.call_handle_message(&meant, message).await
                })
                .on_restart(|right, handle| async move {
                    let meant = meant(&right.kept, &handle);
                    right.restart_component(&meant).await
                })
                .on_usage(
                    |right, handle| async move { right.usage(&meant(&right.kept, &handle)).await },
                )
        },
    );
    list.wrong(
        "loads an id once",
        &["loading::the_same_id_and_bytes_are_two_instances"],
        |wrong| {
            wrong.keeping(Mutex::new(HashSet::new())).on_load(
                |right, id, bytes, config| async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    if right.kept.lock().unwrap().insert(id.clone()) {
                        return Ok(handle);
                    }
                    right.unload_component(&handle).await?;
                    Err(not_instantiated(&id, "it is loaded already"))
                },
            )
        },
    );
    list.wrong(
        "lets equal loads at once share an instance",
        &["crowds::equal_loads_at_once_are_instances_of_their_own"],
        |wrong| {
            let loading = Mutex::new(HashMap::<_, std::sync::Arc<Notify>>::new());
            wrong
                .keeping((loading, Mutex::new(HashMap::new())))
                .on_load(|right, id, bytes, config| async move {
                    let key = (id.clone(), bytes.clone());
                    let (loading, loaded) = &*right.kept;
                    let other = loading.lock().unwrap().get(&key).cloned();
                    if let Some(other) = other {
                        other.notified().await;
                        other.notify_one();
                        let handle = loaded.lock().unwrap().get(&key).cloned();
                        return handle.ok_or_else(|| not_instantiated(&id, "together"));
                    }
                    let done = std::sync::Arc::new(Notify::new());
                    loading.lock().unwrap().insert(key.clone(), done.clone());
                    let outcome = right.load_component(&id, bytes, config).await;
                    loading.lock().unwrap().remove(&key);
                    if let Ok(handle) = &outcome {
                        loaded.lock().unwrap().insert(key, handle.clone());
                    }
                    done.notify_one();
                    outcome
                })
        },
    );
    list.wrong(
        "has room for 32 components",
        &["crowds::a_hundred_components_are_loaded"],
        |wrong| {
            wrong
                .keeping(AtomicUsize::new(0))
                .on_load(|right, id, bytes, config| async move {
                    if right.kept.load(Ordering::SeqCst) == 32 {
                        return Err(not_instantiated(&id, "there is no room"));
                    }
                    let handle = right.load_component(&id, bytes, config).await?;
                    right.kept.fetch_add(1, Ordering::SeqCst);
                    Ok(handle)
                })
                .on_unload(|right, handle| async move {
                    if right.usage(&handle).await.is_ok() {
                        right.kept.fetch_sub(1, Ordering::SeqCst);
                    }
                    right.unload_component(&handle).await
                })
        },
    );
    list.wrong(
        "knows no capital letters",
        &[
            "loading::a_handle_carries_the_id_that_was_loaded",
            "host::a_component_knows_its_own_id",
        ],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                let lower = id.to_string().to_lowercase().parse().unwrap();
                right.load_component(&lower, bytes, config).await
            })
        },
    );
    list.breaks(
        "A component that does not export `component-lifecycle` is loaded without `initialize`.",
    );
    list.wrong(
        "insists on a lifecycle",
        &[
            "loading::a_component_without_a_lifecycle_is_loaded",
            "messages::a_component_without_a_lifecycle_takes_no_messages",
        ],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                if [HELLO.wasm, MINIMAL.wasm].contains(&&*bytes) {
                    return Err(not_instantiated(&id, "it has no lifecycle"));
                }
                right.load_component(&id, bytes, config).await
            })
        },
    );
    list.breaks("If any step fails or the future is dropped, nothing is left behind.");
    list.wrong(
        "leaves behind what failed to load",
        &["loading::a_load_that_fails_leaves_nothing_behind"],
        |wrong| {
            wrong
                .keeping(Mutex::new(Vec::<HostServices>::new()))
                .on_load(|right, id, bytes, config| async move {
                    let loaded = right.load_component(&id, bytes, config).await;
                    if loaded.is_err() {
                        right.kept.lock().unwrap().push(right.services.clone());
                    }
                    loaded
                })
        },
    );
    list.wrong(
        "loads on when the load is dropped",
        &["loading::a_load_that_is_dropped_leaves_nothing_behind"],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                let load = async move { right.load_component(&id, bytes, config).await };
                tokio::spawn(load).await.unwrap()
            })
        },
    );
    list.breaks("Calls to different handles run in parallel.");
    list.wrong(
        "loads one component at a time",
        &["order::a_component_that_initializes_keeps_no_other_from_anything"],
        |wrong| {
            wrong
                .keeping(AsyncMutex::new(()))
                .on_load(|right, id, bytes, config| async move {
                    let _held = right.kept.lock().await;
                    right.load_component(&id, bytes, config).await
                })
                .before_calls(|right, _, _| async move {
                    drop(right.kept.lock().await);
                    Ok(None)
                })
        },
    );
    list.wrong(
        "loads two components at a time",
        &["crowds::equal_loads_at_once_are_instances_of_their_own"],
        |wrong| {
            wrong
                .keeping(Semaphore::new(2))
                .on_load(|right, id, bytes, config| async move {
                    let _place = right.kept.acquire().await.unwrap();
                    right.load_component(&id, bytes, config).await
                })
        },
    )
    .breaking("The same id and bytes may be loaded any number of times");
}

fn refusals(list: &mut List) {
    list.breaks("a start function or `initialize` that goes wrong");
    list.wrong(
        "accepts core modules",
        &[
            "loading::a_core_module_is_no_component",
            "loading::bytes_that_are_no_component_are_told_apart",
        ],
        |wrong| accepts(wrong, |e| has_defect(e, |d| *d == Defect::CoreModule)),
    );
    list.wrong(
        "accepts half a lifecycle",
        &["loading::an_incomplete_lifecycle_is_named"],
        |wrong| {
            accepts(wrong, |error| {
                has_defect(error, |defect| {
                    matches!(defect, Defect::IncompleteLifecycle { .. })
                })
            })
        },
    );
    list.wrong(
        "ignores what `initialize` answers",
        &["loading::an_initialize_that_refuses_is_quoted"],
        |wrong| {
            accepts(wrong, |error| {
                matches!(error, WasmError::InitializationFailed { .. })
            })
        },
    );
    list.wrong(
        "refuses everything with the same words",
        &[
            "loading::a_truncated_component_is_malformed",
            "loading::an_export_of_another_type_is_named",
            "loading::an_import_nobody_provides_is_named",
            "loading::too_many_instances_are_too_complex",
            "loading::an_initialize_that_traps_fails_the_load",
        ],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                let loaded = right.load_component(&id, bytes, config).await;
                loaded.map_err(|_| not_instantiated(&id, "something went wrong"))
            })
        },
    );
    list.breaks("a panic in a host function fails the instance");
    list.wrong(
        "lets a panic of a service through while it loads",
        &["failure::a_panic_while_loading_fails_the_load"],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                match right.load_component(&id, bytes, config).await {
                    Err(WasmError::Trapped {
                        trap: Trap::HostPanic(message),
                        ..
                    }) => panic!("{message}"),
                    outcome => outcome,
                }
            })
        },
    );
}

fn preparations(list: &mut List) {
    let ahead = "Does ahead of time what loading does before it runs any of the component.";
    let same = "loads of the same bytes skip that, whatever their ids and configurations";
    let refusals = "The one that `load_component` would end in";
    list.breaks(ahead);
    list.wrong(
        "prepares a component by loading it",
        &[
            "loading::preparing_loads_nothing_and_changes_nothing_that_is_loaded",
            "loading::a_preparation_that_is_dropped_leaves_nothing_behind",
        ],
        |wrong| {
            wrong.on_prepare(|right, id, bytes, config| {
                prepare_by_loading(right, (id, bytes, config), false)
            })
        },
    );
    list.wrong(
        "prepares a component by loading and unloading it",
        &["loading::preparing_runs_nothing_of_a_component"],
        |wrong| {
            wrong.on_prepare(|right, id, bytes, config| {
                prepare_by_loading(right, (id, bytes, config), true)
            })
        },
    );
    list.wrong(
        "prepares a component by loading and unloading it without permissions",
        &["loading::preparing_runs_nothing_of_a_component"],
        |wrong| {
            wrong.on_prepare(|right, id, bytes, mut config| {
                config.permissions = Permissions::default();
                prepare_by_loading(right, (id, bytes, config), true)
            })
        },
    );
    list.wrong(
        "runs `initialize` ahead of time, and refuses what does not come through it",
        &["loading::preparing_runs_nothing_of_a_component"],
        |wrong| {
            wrong.on_prepare(|right, id, bytes, config| async move {
                let handle = right.load_component(&id, bytes, config).await?;
                right.unload_component(&handle).await?;
                Ok(Preparation::default())
            })
        },
    );
    list.breaks(same);
    list.wrong(
        "loads what was prepared with the configuration of then",
        &["loading::what_is_prepared_is_loaded_under_any_id_and_configuration"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashMap::new()))
                .on_prepare(|right, id, bytes, config| async move {
                    let (key, then) = (bytes.clone(), config.clone());
                    right.kept.lock().unwrap().insert(key, then);
                    right.prepare_component(&id, bytes, &config).await
                })
                .on_load(|right, id, bytes, config| async move {
                    let then = right.kept.lock().unwrap().get(&bytes).cloned();
                    let config = then.unwrap_or(config);
                    right.load_component(&id, bytes, config).await
                })
        },
    );
    list.wrong(
        "loads what was prepared for that id, whatever the bytes",
        &["loading::what_was_prepared_is_loaded_for_its_bytes_only"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashMap::new()))
                .on_prepare(|right, id, bytes, config| async move {
                    let prepared = right.prepare_component(&id, bytes.clone(), &config).await?;
                    right.kept.lock().unwrap().insert(id, bytes);
                    Ok(prepared)
                })
                .on_load(|right, id, bytes, config| async move {
                    let prepared = right.kept.lock().unwrap().get(&id).cloned();
                    let bytes = prepared.unwrap_or(bytes);
                    right.load_component(&id, bytes, config).await
                })
        },
    );
    list.breaks("Calls and loads go on meanwhile.");
    list.wrong(
        "calls nobody while it prepares a component",
        &["loading::calls_and_loads_go_on_while_a_component_is_prepared"],
        |wrong| {
            wrong
                .keeping(AsyncMutex::new(()))
                .on_prepare(|right, id, bytes, config| async move {
                    let _alone = right.kept.lock().await;
                    sleep(Duration::from_millis(1)).await;
                    right.prepare_component(&id, bytes, &config).await
                })
                .before_calls(|right, _, _| async move {
                    drop(right.kept.lock().await);
                    Ok(None)
                })
        },
    );
    list.breaks("Dropping the future leaves nothing behind.");
    list.wrong(
        "waits for preparations that were dropped",
        &["loading::a_preparation_that_is_dropped_leaves_nothing_behind"],
        |wrong| {
            wrong
                .keeping(AtomicUsize::new(0))
                .on_prepare(|right, id, bytes, config| async move {
                    right.kept.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    let prepared = right.prepare_component(&id, bytes, &config).await;
                    right.kept.fetch_sub(1, Ordering::SeqCst);
                    prepared
                })
                .on_load(|right, id, bytes, config| async move {
                    if bytes == ECHO.wasm && right.kept.load(Ordering::SeqCst) > 0 {
                        pending::<()>().await;
                    }
                    right.load_component(&id, bytes, config).await
                })
        },
    );
    list.breaks(refusals);
    list.wrong(
        "refuses for good what it refused to prepare once",
        &["loading::what_is_refused_with_one_configuration_is_loaded_with_another"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashSet::new()))
                .on_prepare(|right, id, bytes, config| async move {
                    let prepared = right.prepare_component(&id, bytes.clone(), &config).await;
                    if prepared.is_err() {
                        right.kept.lock().unwrap().insert(bytes);
                    }
                    prepared
                })
                .on_load(|right, id, bytes, config| async move {
                    if right.kept.lock().unwrap().contains(&bytes) {
                        return Err(not_instantiated(&id, "it was refused before"));
                    }
                    right.load_component(&id, bytes, config).await
                })
        },
    );
    list.wrong(
        "tells everyone what it told the first who prepared the same bytes",
        &["loading::preparing_refuses_with_the_words_of_loading"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashMap::<Bytes, WasmError>::new()))
                .on_prepare(|right, id, bytes, config| async move {
                    if let Some(refusal) = right.kept.lock().unwrap().get(&bytes) {
                        return Err(refusal.clone());
                    }
                    let prepared = right.prepare_component(&id, bytes.clone(), &config).await;
                    prepared.inspect_err(|refusal| {
                        let mut kept = right.kept.lock().unwrap();
                        kept.insert(bytes, refusal.clone());
                    })
                })
        },
    );
    list.wrong(
        "refuses to prepare in words of its own",
        &["loading::preparing_refuses_with_the_words_of_loading"],
        |wrong| {
            wrong.on_prepare(|right, id, bytes, config| async move {
                let prepared = right.prepare_component(&id, bytes, &config).await;
                prepared.map_err(|_| not_instantiated(&id, "it was not prepared"))
            })
        },
    );
}

fn limits(list: &mut List) {
    list.breaks("what an engine grants at the most, unless its operator raised the ceiling");
    list.wrong(
        "has no memory ceiling",
        &["loading::memory_limits_reach_up_to_the_ceiling"],
        |wrong| wrong.granting(u64::MAX),
    );
    list.breaks("Memory is a total over all memories and tables of the instance.");
    list.wrong(
        "limits each memory instead of all together",
        &["budgets::many_memories_share_the_limit"],
        |wrong| {
            wrong.configuring(|config, bytes| {
                let of = config.limits;
                let memories = if *bytes == *MANY_MEMORIES.wasm { 4 } else { 1 };
                let memory = (of.memory_bytes() * memories).min(4 << 20);
                limit(config, memory, of.timeout(), of.fuel());
            })
        },
    );
    list.wrong(
        "rounds a memory limit up",
        &["budgets::a_limit_between_two_pages_is_not_rounded_up"],
        |wrong| {
            wrong.configuring(|config, _| {
                let of = config.limits;
                let whole = of.memory_bytes().next_multiple_of(64 << 10);
                limit(config, whole, of.timeout(), of.fuel());
            })
        },
    );
    list.wrong(
        "grants more memory than the limit",
        &[
            "budgets::one_memory_grows_to_the_limit",
            "budgets::a_message_that_does_not_fit_ends_at_the_memory_limit",
            "budgets::a_callback_that_does_not_fit_ends_at_the_memory_limit",
            "budgets::a_denied_growth_says_how_much_it_would_have_been",
            "exports::each_ends_at_the_memory_limit",
            "messages::initialize_is_given_the_limits",
        ],
        |wrong| {
            wrong.configuring(|config, _| {
                let of = config.limits;
                let most = (4 * of.memory_bytes()).min(4 << 20);
                let memory = most.max(of.memory_bytes());
                limit(config, memory, of.timeout(), of.fuel());
            })
        },
    );
    list.breaks("Validates, links, instantiates and calls `initialize`, all under the limits.");
    list.wrong(
        "knows no deadline",
        &[
            "loading::an_initialize_that_spins_is_stopped_at_its_deadline",
            "budgets::a_message_that_is_not_done_is_stopped_at_its_deadline",
            "budgets::a_post_return_that_spins_is_stopped_at_its_deadline",
            "budgets::health_that_spins_is_stopped_at_its_deadline",
            "budgets::a_shutdown_that_spins_is_stopped_at_its_deadline",
            "budgets::waiting_in_sleep_takes_time",
            "budgets::waiting_in_a_service_takes_time",
        ],
        |wrong| {
            wrong.configuring(|config, _| {
                let (of, day) = (config.limits, ResourceLimits::MAX_TIMEOUT);
                limit(config, of.memory_bytes(), day, of.fuel());
            })
        },
    );
    list.wrong(
        "counts no fuel",
        &[
            "loading::a_start_function_that_spins_runs_out_of_fuel",
            "budgets::a_message_that_spins_runs_out_of_fuel",
            "failure::exhausted_fuel_fails_the_instance",
        ],
        |wrong| {
            wrong.configuring(|config, _| {
                let of = config.limits;
                limit(config, of.memory_bytes(), of.timeout(), None);
            })
        },
    );
    list.breaks("`None` only if the operator asked for unmetered execution in so many words");
    list.wrong(
        "meters who is unmetered",
        &["budgets::unmetered_execution_consumes_all_it_wants"],
        |wrong| {
            wrong.configuring(|config, _| {
                let of = config.limits;
                let fuel = Some(of.fuel().unwrap_or(5_000));
                limit(config, of.memory_bytes(), of.timeout(), fuel);
            })
        },
    );
}

fn configurations(list: &mut List) {
    list.breaks("Handed to `initialize`, in this order.");
    list.wrong(
        "sorts the environment",
        &["messages::initialize_is_given_the_environment_in_order"],
        |wrong| wrong.configuring(|config, _| config.env.sort()),
    );
    list.breaks("Handed to `initialize` as `config-data`.");
    list.wrong(
        "takes empty data for none",
        &["messages::no_data_and_empty_data_are_told_apart"],
        |wrong| {
            wrong.configuring(|config, _| {
                let data = config.config_data.take();
                config.config_data = data.filter(|data| *data != MessagePayload::empty());
            })
        },
    );
    list.breaks("What a component may do. The default grants nothing.");
    list.wrong(
        "grants everything",
        &[
            "host::nothing_may_be_sent_by_default",
            "host::nothing_may_be_stored_by_default",
            "host::each_way_of_sending_needs_a_grant_of_its_own",
            "host::one_recipient_that_is_not_granted_stops_a_broadcast",
            "host::a_component_without_permissions_sees_itself_only",
            "host::what_is_hidden_looks_like_what_is_not_there",
            "host::the_validator_never_adds",
            "services::what_is_not_granted_reaches_no_service",
        ],
        |wrong| wrong.configuring(|config, _| config.permissions = permissions()),
    );
}

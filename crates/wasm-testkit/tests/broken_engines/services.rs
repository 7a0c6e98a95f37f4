//! Engines that serve their components badly.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, Clock, ComponentHandle, ComponentId, HealthStatus, HostServices,
    MessagingError, Permissions, PermissionsOnly, StorageError, SystemClock, TimerError, Timestamp,
    WasmError,
};
use wasm_fixtures::{
    ALARM, BROADCAST_STORM, Fixture, SHUTDOWN_BROADCASTS, SHUTDOWN_LOGS, SHUTDOWN_REQUESTS,
    SHUTDOWN_SENDS, STORE,
};
use wasm_testkit::Method;

use crate::hosts::{asked, listed, routed, stored, timed, validated};
use crate::wrong::{Right, Wrong};
use crate::{List, permissions};

/// What the validator was asked last, and would have said.
type Late = Arc<Mutex<Option<CapabilityDenied>>>;

/// Asks the validator when all is done; until then it takes it for granted.
fn asks_afterwards(wrong: Wrong, change: fn(HostServices, Late) -> HostServices) -> Wrong {
    wrong.serving(|services| {
        let late = Late::default();
        let asks = late.clone();
        let services = asked(services, move |real, handle, capability| {
            *asks.lock().unwrap() = real.validate(handle, capability).err();
            Ok(())
        });
        change(services, late)
    })
}

fn routed_late(services: HostServices, late: Late, of: Method) -> HostServices {
    routed(services, |router| {
        router.then = Box::new(move |method| match late.lock().unwrap().take() {
            Some(denied) if method == of => Err(MessagingError::DeliveryFailed(denied.to_string())),
            _ => Ok(()),
        });
    })
}

/// Tells components of one error whatever the router refuses.
fn flattens(wrong: Wrong, of: Method) -> Wrong {
    wrong.serving(move |services| {
        routed(services, |router| {
            router.tell = Box::new(move |method, error| {
                if method == of {
                    MessagingError::DeliveryFailed("it did not work".to_owned())
                } else {
                    error
                }
            });
        })
    })
}

/// Refuses a component everything while it shuts down, in a restart or else in an unload.
fn takes_no_last_word(
    wrong: Wrong,
    of: Fixture,
    in_restart: bool,
) -> Wrong<Mutex<HashSet<ComponentHandle>>> {
    let ending = Arc::new(Mutex::new(HashSet::new()));
    let silent = ending.clone();
    wrong
        .serving(|services| {
            asked(services, move |real, handle, capability| {
                if silent.lock().unwrap().contains(handle) {
                    return Err(CapabilityDenied::not_granted(capability.clone()));
                }
                real.validate(handle, capability)
            })
        })
        .sharing(ending)
        .on_unload(move |right, handle| async move {
            if !in_restart && right.is(&handle, of.wasm) {
                right.kept.lock().unwrap().insert(handle.clone());
            }
            right.unload_component(&handle).await
        })
        .on_restart(move |right, handle| async move {
            if in_restart && right.is(&handle, of.wasm) {
                right.kept.lock().unwrap().insert(handle.clone());
            }
            let restarted = right.restart_component(&handle).await;
            right.kept.lock().unwrap().remove(&handle);
            restarted
        })
}

/// What components were loaded with, kept where a validator looks it up, and who was
/// restarted.
type Granted = Mutex<(HashMap<ComponentId, Permissions>, HashSet<ComponentHandle>)>;

/// Grants everything, and leaves it to a validator to take back what was not granted to
/// the latest instance of an id; of one that was restarted, nothing.
fn looks_up_permissions(wrong: Wrong, also_of_restarted: bool) -> Wrong<Granted> {
    let granted = Arc::new(Granted::default());
    let looked_up = granted.clone();
    wrong
        .serving(|services| {
            asked(services, move |real, handle, capability| {
                let (of_ids, restarted) = &*looked_up.lock().unwrap();
                let allows = |own: &Permissions| own.allows(capability);
                if !restarted.contains(handle) && !of_ids.get(handle.id()).is_some_and(allows) {
                    return Err(CapabilityDenied::not_granted(capability.clone()));
                }
                real.validate(handle, capability)
            })
        })
        .sharing(granted)
        .on_load(|right, id, bytes, config| async move {
            let own = config.permissions.clone();
            right.kept.lock().unwrap().0.insert(id.clone(), own);
            let config = config.with_permissions(permissions());
            right.load_component(&id, bytes, config).await
        })
        .on_restart(move |right, handle| async move {
            right.restart_component(&handle).await?;
            if !also_of_restarted {
                right.kept.lock().unwrap().1.insert(handle);
            }
            Ok(())
        })
}

/// Makes the request of the only fixture that makes one in its `shutdown`.
async fn last_request(right: &Right<()>, handle: &ComponentHandle) -> bool {
    let asks = right.is(handle, SHUTDOWN_REQUESTS.wasm) && right.usage(handle).await.is_ok();
    if asks {
        let sink = ComponentId::new("demo", "sink", "main").unwrap();
        let bye = wasm_core::ComponentMessage::new(handle.id().clone(), sink, "bye");
        let router = Arc::clone(&right.services.router);
        let second = Duration::from_secs(1);
        router.request(handle, bye, second).await.unwrap();
    }
    asks
}

/// A clock that is asked once and remembers.
struct Remembered(Arc<dyn Clock>, Mutex<(bool, Option<Timestamp>)>);

impl Clock for Remembered {
    fn now(&self) -> Timestamp {
        let (in_call, known) = &mut *self.1.lock().unwrap();
        if !*in_call {
            return self.0.now();
        }
        *known.get_or_insert_with(|| self.0.now())
    }
}

fn is_not_granted(denied: &CapabilityDenied) -> bool {
    *denied == CapabilityDenied::not_granted(denied.capability.clone())
}

/// Tells the validator of a refusal this many times.
fn tells_of_refusals(wrong: Wrong, times: fn(&CapabilityDenied) -> usize) -> Wrong {
    wrong.serving(move |services| {
        validated(
            services,
            |real, handle, capability| real.validate(handle, capability),
            move |real, handle, denied| {
                for _ in 0..times(denied) {
                    real.denied(handle, denied);
                }
            },
        )
    })
}

/// Understands only patterns whose segments fit `is_known`.
fn knows_patterns(wrong: Wrong, is_known: fn(&str) -> bool) -> Wrong {
    wrong.configuring(move |config, _| {
        let permissions = &mut config.permissions;
        for patterns in [
            &mut permissions.send,
            &mut permissions.request,
            &mut permissions.broadcast,
        ] {
            patterns.retain(|pattern| pattern.to_string().split('/').all(is_known));
        }
    })
}

pub(crate) fn rows(list: &mut List) {
    messages(list);
    last_words(list);
    refusals(list);
    storage(list);
    timers(list);
    others(list);
}

fn timers(list: &mut List) {
    let set = &["timers::what_a_component_sets_is_set_as_it_says"];
    list.breaks("Sets a timer that is due after `delay` at the earliest");
    list.wrong("takes milliseconds for seconds", set, |wrong| {
        wrong.serving(|s| timed(s, |timers| timers.delay = |delay| delay * 1_000))
    });
    list.wrong("counts a delay in 32 bits", set, |wrong| {
        wrong.serving(|s| {
            timed(s, |timers| {
                timers.delay = |delay| Duration::from_millis(delay.as_millis() as u32 as u64);
            })
        })
    });
    list.wrong("ends a note at its first zero", set, |wrong| {
        wrong.serving(|s| {
            timed(s, |timers| {
                timers.payload = |whole| {
                    let text = whole.split(|byte| *byte == 0).next();
                    text.unwrap_or_default().to_vec().into()
                };
            })
        })
    });
    list.breaks("its number, which is no other's of the component.");
    list.wrong("numbers timers in 32 bits", set, |wrong| {
        wrong.serving(|s| timed(s, |timers| timers.timer = |timer| timer as u32 as u64))
    });
    list.breaks("Takes a timer of the component back; whether it was still to come.");
    list.wrong(
        "says of each timer that it was still to come",
        &["timers::what_a_component_takes_back_is_taken_back"],
        |wrong| wrong.serving(|s| timed(s, |timers| timers.cancelled = |_| true)),
    );
    list.breaks("the cases of the contract's `timer-error`.");
    list.wrong(
        "takes all that the timers refuse for one",
        &["timers::what_the_timers_refuse_is_told_whatever_was_asked"],
        |wrong| {
            wrong.serving(|s| {
                timed(s, |timers| {
                    timers.tell = |_| TimerError::NotSet("it did not work".to_owned());
                })
            })
        },
    );
    list.breaks("The delay or the payload is out of bounds.");
    list.wrong(
        "cuts notes that are too long",
        &["timers::a_timer_is_due_within_ten_years_and_carries_up_to_4_kib"],
        |wrong| {
            wrong.on_message(|right, handle, mut message| async move {
                if right.is(&handle, ALARM.wasm) {
                    let mut command = message.payload.into_bytes().to_vec();
                    // With `0 ` before it.
                    command.truncate(2 + (4 << 10));
                    message.payload = command.into();
                }
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.wrong(
        "sets timers for ten years that are to come later",
        &["timers::a_timer_is_due_within_ten_years_and_carries_up_to_4_kib"],
        |wrong| {
            wrong.on_message(|right, handle, mut message| async move {
                let later = ["315360000001 ", "18446744073709551615 "];
                let command = message.payload.as_bytes();
                if right.is(&handle, ALARM.wasm) && later.iter().any(|it| command == it.as_bytes())
                {
                    message.payload = "315360000000 ".into();
                }
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.breaks("after it has checked the permission");
    list.wrong(
        "lets everybody set timers",
        &["timers::what_is_not_granted_or_taken_back_sets_no_timer"],
        |wrong| {
            wrong
                .configuring(|config, _| {
                    config.permissions.storage.get_or_insert(0);
                })
                .serving(|s| {
                    asked(s, |real, handle, capability| match capability {
                        Capability::Storage => Ok(()),
                        _ => real.validate(handle, capability),
                    })
                })
        },
    );
}

fn messages(list: &mut List) {
    let told = &["services::what_the_router_refuses_is_told_whatever_was_asked"];
    list.breaks("`message.sender` is always the id of `from`");
    list.wrong(
        "lets a component choose its sender",
        &["host::a_message_is_sent_under_the_id_of_its_sender"],
        |wrong| {
            wrong.serving(|services| {
                routed(services, |router| {
                    router.alter = Box::new(|message| {
                        message.sender = message.recipient.clone();
                    });
                })
            })
        },
    );
    list.wrong(
        "ends what is sent at its first zero",
        &["services::what_is_sent_is_any_bytes"],
        |wrong| {
            wrong.serving(|services| {
                routed(services, |router| {
                    router.alter = Box::new(|message| {
                        let whole = message.payload.as_bytes();
                        let text = whole.split(|byte| *byte == 0).next();
                        message.payload = text.unwrap_or_default().to_vec().into();
                    });
                })
            })
        },
    );
    list.wrong(
        "has everything that is sent replied to its sender",
        &["services::every_message_carries_the_id_of_its_sender_and_nothing_else"],
        |wrong| {
            wrong.serving(|services| {
                routed(services, |router| {
                    router.alter = Box::new(|message| {
                        message.reply_to = Some(message.sender.clone());
                    });
                })
            })
        },
    );
    list.wrong(
        "sends a broadcast one by one",
        &["host::a_broadcast_is_handed_over_in_one_call"],
        |wrong| wrong.serving(|s| routed(s, |router| router.one_by_one = true)),
    );
    list.breaks("`from` is the handle that loading returns, already while `initialize` runs.");
    list.wrong(
        "gives a component its handle after `initialize`",
        &["host::what_initialize_sends_comes_from_the_handle_that_is_loaded"],
        |wrong| {
            let loading = Arc::new(AtomicBool::new(false));
            let nameless = loading.clone();
            wrong
                .serving(|services| {
                    routed(services, |router| {
                        router.from = Box::new(move |from| {
                            if nameless.load(Ordering::SeqCst) {
                                return ComponentHandle::new(from.id().clone(), u64::MAX);
                            }
                            from.clone()
                        });
                    })
                })
                .sharing(loading)
                .on_load(|right, id, bytes, config| async move {
                    right.kept.store(true, Ordering::SeqCst);
                    let loaded = right.load_component(&id, bytes, config).await;
                    right.kept.store(false, Ordering::SeqCst);
                    loaded
                })
        },
    );
    list.breaks("comes to `from` as exactly one callback with the returned id");
    list.wrong(
        "waits longer for an answer than it is told",
        &["host::a_request_is_made_under_the_id_that_the_router_gave"],
        |wrong| wrong.serving(|s| routed(s, |router| router.wait = Duration::from_secs(1))),
    );
    list.breaks("Why a message was not accepted");
    list.wrong(
        "takes all that the router refuses to send for one",
        &[
            "services::what_the_router_refuses_is_told_whatever_was_asked",
            "host::what_the_router_refuses_the_component_is_told",
        ],
        |wrong| flattens(wrong, Method::Send),
    );
    list.wrong(
        "takes all that the router refuses of requests for one",
        told,
        |wrong| flattens(wrong, Method::Request),
    );
    list.wrong(
        "takes all that the router refuses to broadcast for one",
        told,
        |wrong| flattens(wrong, Method::Broadcast),
    );
    list.wrong(
        "takes all that the router refuses to cancel for one",
        told,
        |wrong| flattens(wrong, Method::CancelRequest),
    );
    list.breaks("No room in the recipient's mailbox, or none left in the sender's budget.");
    list.wrong(
        "counts a broadcast as one message",
        &["host::each_recipient_of_a_broadcast_counts"],
        |wrong| {
            wrong.answering(|right, handle, reply| {
                if reply.is_err() && right.is(handle, BROADCAST_STORM.wasm) {
                    return Ok(None);
                }
                reply
            })
        },
    );
}

fn last_words(list: &mut List) {
    list.breaks("Whatever else it may do, it may do then too.");
    list.wrong(
        "takes no message from a component that is unloaded",
        &["host::what_a_component_sends_in_its_shutdown_is_sent"],
        |wrong| takes_no_last_word(wrong, SHUTDOWN_SENDS, false),
    );
    list.wrong(
        "takes no message from a component that ends in a restart",
        &["host::what_a_component_sends_in_its_shutdown_is_sent"],
        |wrong| takes_no_last_word(wrong, SHUTDOWN_SENDS, true),
    );
    list.wrong(
        "takes no broadcast from a component that is unloaded",
        &["host::what_a_component_broadcasts_in_its_shutdown_is_broadcast"],
        |wrong| takes_no_last_word(wrong, SHUTDOWN_BROADCASTS, false),
    );
    list.wrong(
        "logs nothing of a component that ends in a restart",
        &["host::what_a_component_logs_in_its_shutdown_is_logged"],
        |wrong| takes_no_last_word(wrong, SHUTDOWN_LOGS, true),
    );
    list.breaks("A request that a component makes during its `shutdown` is refused");
    list.wrong(
        "lets a component make a request in its `shutdown`",
        &[
            "host::a_request_in_the_shutdown_of_an_unload_is_refused",
            "host::a_request_in_the_shutdown_of_a_restart_is_refused",
        ],
        |wrong| {
            wrong
                .on_unload(|right, handle| async move {
                    let asks = last_request(&right, &handle).await;
                    let unloaded = right.unload_component(&handle).await;
                    if asks { Ok(()) } else { unloaded }
                })
                .on_restart(|right, handle| async move {
                    last_request(&right, &handle).await;
                    right.restart_component(&handle).await
                })
        },
    );
}

fn refusals(list: &mut List) {
    let late = &["services::what_the_validator_refuses_reaches_no_service"];
    list.breaks("grant it *and* the validator does not object");
    list.wrong(
        "asks no validator",
        &[
            "host::the_validator_is_asked_about_what_is_granted",
            "host::the_validator_takes_back_while_the_component_runs",
            "host::log_lines_are_checked_at_their_level",
            "services::the_validator_is_asked_at_every_host_call",
        ],
        |wrong| wrong.serving(|s| s.with_validator(Arc::new(PermissionsOnly))),
    );
    list.wrong(
        "asks the validator about the first recipient of a broadcast",
        &["host::one_recipient_that_was_taken_back_stops_a_broadcast"],
        |wrong| {
            wrong.serving(|services| {
                asked(services, |real, handle, capability| match capability {
                    // Who comes second in the suite.
                    Capability::Broadcast(to) if to.name() == "b" => Ok(()),
                    _ => real.validate(handle, capability),
                })
            })
        },
    );
    list.wrong(
        "uses the store, and then asks the validator",
        late,
        |wrong| {
            asks_afterwards(wrong, |services, late| {
                stored(services, |storage| {
                    storage.then = Box::new(move || match late.lock().unwrap().take() {
                        Some(denied) => Err(StorageError::Io(denied.to_string())),
                        None => Ok(()),
                    });
                })
            })
        },
    );
    list.wrong(
        "sends a message, and then asks the validator",
        late,
        |wrong| asks_afterwards(wrong, |s, late| routed_late(s, late, Method::Send)),
    );
    list.wrong(
        "makes a request, and then asks the validator",
        late,
        |wrong| asks_afterwards(wrong, |s, late| routed_late(s, late, Method::Request)),
    );
    list.wrong("broadcasts, and then asks the validator", late, |wrong| {
        asks_afterwards(wrong, |s, late| routed_late(s, late, Method::Broadcast))
    });
    list.breaks(
        "It is asked at every host call of the contract's interfaces that needs a capability",
    );
    list.wrong(
        "remembers what the validator allowed an instance",
        &["services::the_validator_is_asked_at_every_host_call"],
        |wrong| {
            let allowed = Mutex::new(Vec::<(ComponentHandle, Capability)>::new());
            wrong.serving(|services| {
                asked(services, move |real, handle, capability| {
                    let known = (handle.clone(), capability.clone());
                    if allowed.lock().unwrap().contains(&known) {
                        return Ok(());
                    }
                    real.validate(handle, capability)?;
                    allowed.lock().unwrap().push(known);
                    Ok(())
                })
            })
        },
    );
    list.breaks("The permissions are fixed at load");
    list.wrong(
        "forgets after a restart what was not granted",
        &["host::permissions_are_the_same_after_a_restart"],
        |wrong| looks_up_permissions(wrong, false),
    );
    list.breaks("each is an instance of its own");
    list.wrong(
        "keeps permissions by id",
        &["loading::instances_of_one_id_have_limits_and_permissions_of_their_own"],
        |wrong| looks_up_permissions(wrong, true),
    );
    list.breaks("in which `*` stands for any run of characters");
    list.wrong(
        "knows no `*` inside of a segment",
        &["services::a_star_stands_for_any_run_of_characters"],
        |wrong| knows_patterns(wrong, |part| part == "*" || !part.contains('*')),
    );
    list.wrong(
        "knows `*` only at the end of a segment",
        &["services::a_star_stands_for_any_run_of_characters"],
        |wrong| {
            knows_patterns(wrong, |part| {
                part.find('*').is_none_or(|at| at + 1 == part.len())
            })
        },
    );
    list.breaks(
        "Told of every refusal, its own and those by the permissions the component was loaded \
             with",
    );
    list.wrong(
        "tells the validator only what it refused itself",
        &["host::the_validator_is_told_what_the_permissions_refuse"],
        |wrong| tells_of_refusals(wrong, |d| usize::from(!is_not_granted(d))),
    );
    list.wrong(
        "tells the validator only what the permissions refuse",
        &["host::the_validator_is_told_what_it_refused"],
        |wrong| tells_of_refusals(wrong, |d| usize::from(is_not_granted(d))),
    );
    list.wrong(
        "tells the validator of every refusal twice",
        &[
            "host::the_validator_is_told_what_the_permissions_refuse",
            "host::the_validator_is_told_what_it_refused",
        ],
        |wrong| tells_of_refusals(wrong, |_| 2),
    );
}

fn storage(list: &mut List) {
    let told = &["services::what_the_storage_refuses_is_told_whatever_was_asked"];
    list.breaks("`owner` is stamped by the engine, never by the guest.");
    list.wrong(
        "lets siblings share their storage",
        &["host::storage_is_kept_under_the_id_of_the_component"],
        |wrong| {
            wrong.serving(|services| {
                stored(services, |storage| {
                    storage.owner =
                        |id| ComponentId::new(id.namespace(), id.name(), "any").unwrap();
                })
            })
        },
    );
    list.wrong(
        "stores texts only",
        &["services::what_is_stored_is_any_bytes"],
        |wrong| {
            wrong.serving(|services| {
                stored(services, |storage| {
                    storage.value =
                        |value| Bytes::from(String::from_utf8_lossy(&value).into_owned());
                })
            })
        },
    );
    list.breaks("Bytes it may keep in the store, keys included; `None`: no store.");
    list.wrong(
        "grants a larger quota",
        &["host::the_quota_is_what_was_granted"],
        |wrong| {
            wrong.serving(|services| {
                stored(services, |storage| {
                    storage.quota = |quota| quota.saturating_add(1 << 10);
                })
            })
        },
    );
    list.breaks("The cases of the contract's `storage-error`.");
    list.wrong(
        "tells of all that a storage refuses in the same way",
        told,
        |wrong| {
            wrong.serving(|services| {
                stored(services, |storage| {
                    storage.tell = |_, error| StorageError::Io(error.to_string());
                })
            })
        },
    );
    list.wrong("finds nothing in a store that fails", told, |wrong| {
        wrong.serving(|s| stored(s, |to| to.hides = Some(Method::Exists)))
    });
    list.wrong("takes a store that fails for an empty one", told, |wrong| {
        wrong.serving(|s| stored(s, |to| to.hides = Some(Method::Usage)))
    });
    list.wrong("lists no keys of a store that fails", told, |wrong| {
        wrong.serving(|s| stored(s, |to| to.hides = Some(Method::ListKeys)))
    });
    list.breaks("in ascending order of bytes");
    list.wrong(
        "lists 50 keys",
        &["services::all_keys_are_listed"],
        |wrong| wrong.serving(|s| stored(s, |storage| storage.keys = 50)),
    );
    list.breaks("Empty, too long or otherwise unfit.");
    list.wrong(
        "takes keys of any length",
        &["services::a_key_has_up_to_1024_bytes"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                let is_long = message.payload.len() > 1_024;
                let reply = right.call_handle_message(&handle, message).await;
                match reply {
                    Err(WasmError::GuestError { .. })
                        if is_long && right.is(&handle, STORE.wasm) =>
                    {
                        Ok(None)
                    }
                    reply => reply,
                }
            })
        },
    );
    list.wrong(
        "refuses the longest keys",
        &["services::a_key_has_up_to_1024_bytes"],
        |wrong| {
            wrong.serving(|services| {
                stored(services, |storage| {
                    storage.check_key = Box::new(|key| match key.len() {
                        1_024.. => Err(StorageError::InvalidKey("it is long".to_owned())),
                        _ => Ok(()),
                    });
                })
            })
        },
    );
}

fn others(list: &mut List) {
    list.breaks("What components are told when they ask for the time.");
    list.wrong(
        "tells the time of another clock",
        &["host::the_time_is_that_of_the_clock"],
        |wrong| wrong.serving(|s| s.with_clock(Arc::new(SystemClock))),
    );
    list.wrong(
        "stamps messages with no time",
        &["host::a_message_is_stamped_with_the_time_of_the_clock"],
        |wrong| {
            wrong.serving(|services| {
                routed(services, |router| {
                    router.alter = Box::new(|message| message.timestamp = Timestamp::default());
                })
            })
        },
    );
    list.wrong(
        "asks for the time once per call",
        &["services::each_message_of_a_call_is_stamped_with_its_own_time"],
        |wrong| {
            let clocks = Arc::new(Mutex::new(None::<Arc<Remembered>>));
            let made = clocks.clone();
            wrong
                .serving(move |services| {
                    let real = services.clock.clone();
                    let clock = Arc::new(Remembered(real, Mutex::default()));
                    *made.lock().unwrap() = Some(clock.clone());
                    services.with_clock(clock)
                })
                .sharing(clocks)
                .on_message(|right, handle, message| async move {
                    let clock = right.kept.lock().unwrap().clone().unwrap();
                    *clock.1.lock().unwrap() = (true, None);
                    let reply = right.call_handle_message(&handle, message).await;
                    *clock.1.lock().unwrap() = (false, None);
                    reply
                })
        },
    );
    list.breaks("An engine shows a component only itself and those it may message");
    list.wrong(
        "looks at the first page of the directory",
        &[
            "host::however_many_are_hidden_the_others_are_seen",
            "services::all_whom_a_component_may_message_are_listed",
        ],
        |wrong| wrong.serving(|s| listed(s, |directory| directory.one_page = true)),
    );
    list.breaks("As last known; nobody is asked for it.");
    list.wrong(
        "takes who is not well for one that is ill",
        &["services::every_condition_in_the_directory_is_told"],
        |wrong| {
            wrong.serving(|services| {
                listed(services, |directory| {
                    directory.health = |health| match health {
                        HealthStatus::Healthy => health,
                        _ => HealthStatus::Unhealthy,
                    };
                })
            })
        },
    );
}

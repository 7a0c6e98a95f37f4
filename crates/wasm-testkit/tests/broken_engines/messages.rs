//! Engines that change what is said, and that fail whom they should not.

use std::collections::HashSet;
use std::sync::Mutex;

use wasm_core::{
    ComponentHandle, ComponentMessage, ComponentMetadata, GuestError, HealthStatus, LifecycleError,
    MessagePayload, Trap, WasmError,
};
use wasm_fixtures::SENDER;

use crate::List;
use crate::wrong::{Wrong, failed, out_of_time, trapped};

/// Delivers other messages than it was given.
fn alters_messages(wrong: Wrong, alter: fn(&mut ComponentMessage)) -> Wrong {
    wrong.on_message(move |right, handle, mut message| async move {
        alter(&mut message);
        right.call_handle_message(&handle, message).await
    })
}

fn alters_callbacks(wrong: Wrong, alter: fn(&mut ComponentMessage)) -> Wrong {
    wrong.on_callback(move |right, handle, mut message| async move {
        alter(&mut message);
        right.call_handle_callback(&handle, message).await
    })
}

/// Tells of other errors than came up.
fn tells(wrong: Wrong, otherwise: fn(&ComponentHandle, &'static str, &mut WasmError)) -> Wrong {
    wrong.after_calls(move |_, handle, export, mut outcome| async move {
        if let Err(error) = &mut outcome {
            otherwise(&handle, export, error);
        }
        outcome
    })
}

/// Who is there, and who counts as failed.
type Poisoned = Mutex<(HashSet<ComponentHandle>, HashSet<ComponentHandle>)>;

/// Fails others than whom it should.
fn poisons(wrong: Wrong, by: fn(&WasmError) -> bool, everybody: bool) -> Wrong<Poisoned> {
    wrong
        .keeping(Poisoned::default())
        .on_load(|right, id, bytes, config| async move {
            let handle = right.load_component(&id, bytes, config).await?;
            right.kept.lock().unwrap().0.insert(handle.clone());
            Ok(handle)
        })
        .on_message(move |right, handle, message| async move {
            if right.kept.lock().unwrap().1.contains(&handle) {
                return Err(failed(&handle, trapped(&handle, "handle-message")));
            }
            let reply = right.call_handle_message(&handle, message).await;
            if reply.as_ref().is_err_and(by) {
                let (known, poisoned) = &mut *right.kept.lock().unwrap();
                if everybody {
                    poisoned.extend(known.iter().filter(|other| **other != handle).cloned());
                } else {
                    poisoned.insert(handle);
                }
            }
            reply
        })
        .on_restart(|right, handle| async move {
            right.kept.lock().unwrap().1.remove(&handle);
            right.restart_component(&handle).await
        })
}

fn host_panic(error: &WasmError) -> Option<String> {
    match error {
        WasmError::Trapped {
            trap: Trap::HostPanic(message),
            ..
        } => Some(message.clone()),
        _ => None,
    }
}

pub(crate) fn rows(list: &mut List) {
    delivery(list);
    answers(list);
    failures(list);
}

fn delivery(list: &mut List) {
    let envelope = &["services::the_whole_envelope_of_a_callback_reaches_the_guest"];
    list.breaks("Calls `handle-message`; `None` is a guest that has no reply.");
    list.wrong(
        "delivers a message twice",
        &["messages::a_message_is_handled_once"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                right.call_handle_message(&handle, message.clone()).await?;
                right.call_handle_message(&handle, message).await
            })
        },
    );
    list.wrong(
        "loses the correlation id of a message",
        &["messages::the_whole_envelope_reaches_the_guest"],
        |wrong| alters_messages(wrong, |message| message.correlation_id = None),
    );
    list.wrong(
        "takes the recipient for the sender",
        &[
            "messages::the_whole_envelope_reaches_the_guest",
            "messages::what_an_envelope_does_not_hold_is_none",
        ],
        |wrong| alters_messages(wrong, |message| message.sender = message.recipient.clone()),
    );
    list.wrong(
        "takes an empty reply for none",
        &["messages::no_reply_and_an_empty_one_are_told_apart"],
        |wrong| wrong.answering(|_, _, reply| Ok(reply?.filter(|reply| !reply.is_empty()))),
    );
    list.wrong(
        "answers without umlauts",
        &["messages::a_reply_is_what_the_guest_answered"],
        |wrong| {
            wrong.answering(|_, _, reply| {
                Ok(
                    reply?.map(|whole| match std::str::from_utf8(whole.as_bytes()) {
                        Ok(text) => text.replace('ü', "u").into(),
                        Err(_) => whole,
                    }),
                )
            })
        },
    );
    list.wrong(
        "ends a payload at its first zero",
        &["messages::payloads_are_bytes_of_any_kind_and_length"],
        |wrong| {
            wrong.answering(|_, _, reply| {
                Ok(reply?.map(|whole| {
                    let text = whole.as_bytes().split(|byte| *byte == 0).next();
                    MessagePayload::from(text.unwrap_or_default().to_vec())
                }))
            })
        },
    );
    list.breaks("an engine that is given a message delivers it to the handle it was called with");
    list.wrong(
        "delivers to whom a message names",
        &["messages::a_message_goes_to_the_handle_that_is_called"],
        |wrong| {
            wrong
                .keeping(Mutex::new(HashSet::<ComponentHandle>::new()))
                .on_load(|right, id, bytes, config| async move {
                    let handle = right.load_component(&id, bytes, config).await?;
                    right.kept.lock().unwrap().insert(handle.clone());
                    Ok(handle)
                })
                .on_message(|right, handle, message| async move {
                    let known = right.kept.lock().unwrap().clone();
                    let named = known.into_iter().find(|known| {
                        known.id() == &message.recipient && known.id() != handle.id()
                    });
                    let to = named.unwrap_or(handle);
                    right.call_handle_message(&to, message).await
                })
        },
    );
    list.breaks("Calls `handle-callback` with the answer to a request that the component made.");
    list.wrong(
        "delivers a callback twice",
        &["messages::a_callback_is_delivered_once"],
        |wrong| {
            wrong.on_callback(|right, handle, message| async move {
                right.call_handle_callback(&handle, message.clone()).await?;
                right.call_handle_callback(&handle, message).await
            })
        },
    );
    list.wrong(
        "loses the correlation id of a callback",
        &["messages::a_callback_carries_correlation_type_and_payload"],
        |wrong| alters_callbacks(wrong, |message| message.correlation_id = None),
    );
    list.wrong(
        "names the component itself as sender of a callback",
        envelope,
        |wrong| {
            alters_callbacks(wrong, |message| {
                message.sender = message.recipient.clone();
            })
        },
    );
    list.wrong(
        "loses whom a callback is to be replied to",
        envelope,
        |wrong| alters_callbacks(wrong, |message| message.reply_to = None),
    );
    list.wrong("stamps callbacks with no time", envelope, |wrong| {
        alters_callbacks(wrong, |message| message.timestamp = Default::default())
    });
    list.wrong("drops the nanoseconds of a callback", envelope, |wrong| {
        alters_callbacks(wrong, |message| message.timestamp.nanoseconds = 0)
    });
}

fn answers(list: &mut List) {
    let errors = &["exports::every_error_of_a_guest_is_its_answer"];
    list.breaks("A guest that returns an error has answered");
    list.wrong(
        "counts a guest's error as a failure",
        &["messages::an_error_of_the_guest_is_its_answer"],
        |wrong| poisons(wrong, WasmError::is_guest_error, false),
    );
    list.wrong(
        "ignores what a callback answers",
        &["messages::an_error_of_a_callback_is_its_answer"],
        |wrong| {
            wrong.on_callback(|right, handle, message| async move {
                match right.call_handle_callback(&handle, message).await {
                    Err(WasmError::GuestError { .. }) => Ok(()),
                    outcome => outcome,
                }
            })
        },
    );
    list.wrong("takes all errors of a guest for one", errors, |wrong| {
        tells(wrong, |_, export, error| {
            if let WasmError::GuestError { error, .. } = error
                && export == "handle-message"
            {
                *error = GuestError::RuntimeError("as stored".to_owned());
            }
        })
    });
    list.wrong("takes all errors of a callback for one", errors, |wrong| {
        tells(wrong, |_, export, error| {
            if let WasmError::GuestError { error, .. } = error
                && export == "handle-callback"
            {
                *error = GuestError::RuntimeError("unwanted".to_owned());
            }
        })
    });
    list.wrong(
        "takes a guest that says `timeout` for one that was late",
        errors,
        |wrong| {
            tells(wrong, |handle, export, error| {
                if let WasmError::GuestError {
                    error: GuestError::Timeout,
                    ..
                } = error
                {
                    *error = out_of_time(handle, export, std::time::Duration::ZERO);
                }
            })
        },
    );
    list.breaks("a start function or `initialize` that goes wrong");
    list.wrong(
        "takes all errors of `initialize` for one",
        &["exports::every_error_of_initialize_is_quoted"],
        |wrong| {
            wrong.on_load(|right, id, bytes, config| async move {
                let mut loaded = right.load_component(&id, bytes, config).await;
                if let Err(WasmError::InitializationFailed { error, .. }) = &mut loaded {
                    let text = "no configuration".to_owned();
                    *error = LifecycleError::InitializationFailed(text);
                }
                loaded
            })
        },
    );
    list.breaks("What `shutdown` ended with.");
    list.wrong(
        "takes all errors of `shutdown` for one",
        &["exports::every_error_of_shutdown_is_quoted"],
        |wrong| {
            wrong.on_unload(|right, handle| async move {
                let mut unloaded = right.unload_component(&handle).await;
                if let Err(WasmError::ShutdownFailed { error, .. }) = &mut unloaded {
                    let text = "still busy".to_owned();
                    *error = LifecycleError::ShutdownFailed(text);
                }
                unloaded
            })
        },
    );
    list.breaks("What a component says of its own condition.");
    list.wrong(
        "takes an unknown condition for a bad one",
        &["exports::every_condition_is_told"],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                Ok(match right.health(&handle).await? {
                    HealthStatus::Unknown => HealthStatus::Unhealthy,
                    health => health,
                })
            })
        },
    );
    list.breaks("What a component says of itself; nothing of it is verified.");
    list.wrong(
        "takes every component for stateless",
        &["messages::metadata_is_what_the_guest_says"],
        |wrong| {
            wrong.on_metadata(|right, handle| async move {
                let mut metadata = right.metadata(&handle).await?;
                metadata.stateful = false;
                Ok(metadata)
            })
        },
    );
}

fn failures(list: &mut List) {
    list.breaks(
        "A trap, exhausted fuel, a passed deadline, a denied growth that the guest did not survive \
         or a panic in a host function fails the instance, and nothing else",
    );
    list.wrong(
        "fails everybody with one",
        &["failure::nothing_else_fails"],
        |wrong| poisons(wrong, WasmError::fails_instance, true),
    );
    list.wrong(
        "lets a failed component answer",
        &["failure::a_failed_component_answers_nothing_and_says_why"],
        |wrong| {
            wrong.on_message(|right, handle, message| async move {
                match right.call_handle_message(&handle, message.clone()).await {
                    Err(WasmError::ComponentFailed { .. }) => {
                        right.restart_component(&handle).await?;
                        right.call_handle_message(&handle, message).await
                    }
                    reply => reply,
                }
            })
        },
    );
    list.wrong(
        "forgets why a component failed",
        &["failure::a_panic_in_a_host_function_fails_the_instance"],
        |wrong| {
            wrong.answering(|_, handle, reply| match reply {
                Err(WasmError::ComponentFailed { .. }) => {
                    Err(failed(handle, trapped(handle, "handle-message")))
                }
                reply => reply,
            })
        },
    );
    list.wrong(
        "takes one trap for another",
        &[
            "failure::a_trap_fails_the_instance",
            "failure::an_exhausted_stack_fails_the_instance",
        ],
        |wrong| {
            tells(wrong, |_, _, error| {
                if let WasmError::Trapped { trap, .. } = error {
                    *trap = Trap::Other("wasm trap".to_owned());
                }
            })
        },
    );
    list.wrong(
        "tells of a trap in `health` as of one in a message",
        &["exports::a_trap_in_each_fails_the_instance"],
        |wrong| {
            tells(wrong, |_, of, error| {
                if let WasmError::Trapped { export, .. } = error
                    && of == "health"
                {
                    *export = "handle-message".into();
                }
            })
        },
    );
    list.wrong(
        "restarts a component that traps in `health`",
        &["exports::a_trap_in_each_fails_the_instance"],
        |wrong| {
            wrong.on_health(|right, handle| async move {
                let health = right.health(&handle).await;
                if let Err(WasmError::Trapped { .. }) = health {
                    right.restart_component(&handle).await?;
                }
                health
            })
        },
    );
    list.wrong(
        "lets a panic of a service through",
        &["failure::a_panic_in_a_host_function_fails_the_instance"],
        |wrong| {
            tells(wrong, |_, export, error| {
                if export == "handle-message"
                    && let Some(message) = host_panic(error)
                {
                    panic!("{message}");
                }
            })
        },
    );
    list.wrong(
        "catches the panics of routers only",
        &["failure::a_panic_in_any_service_fails_the_instance"],
        |wrong| {
            wrong.answering(|right, handle, reply| {
                if let Err(error) = &reply
                    && let Some(message) = host_panic(error)
                    && !right.is(handle, SENDER.wasm)
                {
                    panic!("{message}");
                }
                reply
            })
        },
    );
    list.wrong(
        "catches no panics in callbacks",
        &["exports::a_panic_in_each_fails_the_instance"],
        |wrong| {
            tells(wrong, |_, export, error| {
                if export == "handle-callback"
                    && let Some(message) = host_panic(error)
                {
                    panic!("{message}");
                }
            })
        },
    );
    list.wrong(
        "makes up metadata that it cannot read",
        &["failure::metadata_that_cannot_be_read_fails_the_instance"],
        |wrong| {
            wrong.on_metadata(|right, handle| async move {
                match right.metadata(&handle).await {
                    Err(WasmError::Trapped { .. }) => Ok(ComponentMetadata::default()),
                    outcome => outcome,
                }
            })
        },
    );
}

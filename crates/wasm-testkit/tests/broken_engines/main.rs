//! Engines that each break a sentence of the contract, and the cases that find them
//! out. An engine that is not found out is a case that is missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod ends;
mod loading;
mod services;
mod wrapper;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::num::NonZeroUsize;
use std::panic::set_hook;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wasm_core::{
    ComponentState, Defect as Flaw, HostServices, LogLevel, Permissions, PermissionsOnly,
    RuntimeEngine, SystemClock, WasmError,
};
use wasm_fixtures::{SHUTDOWN_BROADCASTS, SHUTDOWN_LOGS, SHUTDOWN_SENDS};
use wasm_testkit::conformance::{Feature, Harness, Lab, Settings, cases};
use wasm_testkit::{Broken, Conditions, ModelEngine, Time};

use calls::{
    AddsUpTime, Alters, Answers, CountsMessagesOnly, CountsNoTables, CountsTimeWhileHealthWaits,
    CountsTimeWhileWaiting, DeliversByRecipient, FollowsTheClock, GuessesHealth, GuessesMetadata,
    IgnoresCallbacks, KillsWhomItDenies, LeaksFuel, LetsFailedAnswer, Locks, LosesOrder,
    MakesMetadataUp, OneThingAtATime, Poisons, Repeats, SparesTheGreedy, StopsLate, TwoAtOnce,
    counts_broadcasts_once, empty_for_none, gone_is_failed, mixes_up_traps, no_cause,
    passes_panics_of_others_on, passes_panics_on, up_to_a_zero, without_umlauts,
};
use ends::{
    CountsAnew, CountsAttempts, FailsWaitingRestarts, ForgetsTheEnd, FreesNothing,
    GivesUpRestarting, GivesUpWhenDropped, HeedsShutdown, HidesFailedRestarts, Hurries, KeepsState,
    Misreports, MixesUpAnswers, RestartsForever, RestartsOnlyFailed, RestartsWhilePolled,
    RestartsWithoutShutdown, ShutsDownForFree, ShutsDownWhenDropped, StartsOverWhenDropped,
    StartsOverWhenHealthIsDropped, StopsWhenDropped, TakesLastRequests, TakesNoLastWord,
    UnloadsBesideDroppedCalls, UnloadsLast, UnloadsLater, UnloadsOnlyWhatIsThere,
    WithdrawsNoCallback, WithdrawsNothing,
};
use loading::{
    Accepts, Configures, ConfiguresWhatIsPrepared, IgnoresIdsOfHandles, InitializesAheadOfTime,
    InsistsOnALifecycle, LeavesFailedLoadsBehind, LoadsAnIdOnce, LoadsOnWhenDropped, LowersIds,
    PanicsWhileLoading, PreparesByLoading, PreparesVaguely, RefusesForGood, RepeatsRefusals,
    ReusesNumbers, StopsTheWorld, VagueRefusals, WaitsForWhatWasDropped, counts_no_fuel,
    grants_everything, grants_more_memory, keeps_no_empty_data, knows_no_deadline,
    limits_each_memory, meters_everybody, rounds_memory_up, sorts_the_environment,
};
use services::{
    LooksUpPermissions, NamesLate, alters_what_is_sent, asks_about_the_first,
    broadcasts_one_by_one, grants_a_larger_quota, is_not_granted, reads_one_page, shares_storage,
    takes_every_refusal_for_io, tells_of_refusals, waits_longer_for_answers,
};
use wrapper::{Defect, With};

type Make = fn(HostServices, Settings) -> Arc<dyn RuntimeEngine>;

fn model(services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
    let engine = ModelEngine::new(services);
    Arc::new(engine.with_memory_ceiling_bytes(settings.memory_ceiling_bytes))
}

fn with<D: Defect>(
    services: HostServices,
    settings: Settings,
    defect: D,
) -> Arc<dyn RuntimeEngine> {
    let inner = model(services, settings);
    Arc::new(With { inner, defect })
}

fn permissions() -> Permissions {
    let everybody = || vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everybody();
    permissions.request = everybody();
    permissions.broadcast = everybody();
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

struct Subject(Make);

impl Harness for Subject {
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
        (self.0)(services, settings)
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

/// What each of them does wrong, and which cases must say so.
const BROKEN: &[(&str, Make, &[&str])] = &[
    (
        "gives a number again",
        |s, t| with(s, t, ReusesNumbers::default()),
        &["loading::numbers_are_never_given_again"],
    ),
    (
        "loads an id once",
        |s, t| with(s, t, LoadsAnIdOnce::default()),
        &["loading::the_same_id_and_bytes_are_two_instances"],
    ),
    (
        "looks up a handle by its number only",
        |s, t| with(s, t, IgnoresIdsOfHandles::default()),
        &["unloading::a_handle_of_another_id_is_not_found"],
    ),
    (
        "leaves behind what failed to load",
        |s, t| with(s.clone(), t, LeavesFailedLoadsBehind::new(s)),
        &["loading::a_load_that_fails_leaves_nothing_behind"],
    ),
    (
        "loads on when the load is dropped",
        |s, t| with(s, t, LoadsOnWhenDropped),
        &["loading::a_load_that_is_dropped_leaves_nothing_behind"],
    ),
    (
        "accepts core modules",
        |s, t| {
            let refused = |error: &WasmError| matches!(error, WasmError::InvalidComponent { defect, .. } if *defect == Flaw::CoreModule);
            with(s, t, Accepts { refused })
        },
        &[
            "loading::a_core_module_is_no_component",
            "loading::bytes_that_are_no_component_are_told_apart",
        ],
    ),
    (
        "accepts half a lifecycle",
        |s, t| {
            let refused = |error: &WasmError| {
                matches!(
                    error,
                    WasmError::InvalidComponent {
                        defect: Flaw::IncompleteLifecycle { .. },
                        ..
                    }
                )
            };
            with(s, t, Accepts { refused })
        },
        &["loading::an_incomplete_lifecycle_is_named"],
    ),
    (
        "prepares a component by loading it",
        |s, t| {
            let secretly = PreparesByLoading {
                unloads: false,
                permits: true,
            };
            with(s, t, secretly)
        },
        &[
            "loading::preparing_loads_nothing_and_changes_nothing_that_is_loaded",
            "loading::a_preparation_that_is_dropped_leaves_nothing_behind",
        ],
    ),
    (
        "prepares a component by loading and unloading it",
        |s, t| {
            let secretly = PreparesByLoading {
                unloads: true,
                permits: true,
            };
            with(s, t, secretly)
        },
        &["loading::preparing_runs_nothing_of_a_component"],
    ),
    (
        "prepares a component by loading and unloading it without permissions",
        |s, t| {
            let secretly = PreparesByLoading {
                unloads: true,
                permits: false,
            };
            with(s, t, secretly)
        },
        &["loading::preparing_runs_nothing_of_a_component"],
    ),
    (
        "refuses for good what it refused to prepare once",
        |s, t| with(s, t, RefusesForGood::default()),
        &["loading::what_is_refused_with_one_configuration_is_loaded_with_another"],
    ),
    (
        "tells everyone what it told the first who prepared the same bytes",
        |s, t| with(s, t, RepeatsRefusals::default()),
        &["loading::preparing_refuses_with_the_words_of_loading"],
    ),
    (
        "calls nobody while it prepares a component",
        |s, t| with(s, t, StopsTheWorld::default()),
        &["loading::calls_and_loads_go_on_while_a_component_is_prepared"],
    ),
    (
        "waits for preparations that were dropped",
        |s, t| with(s, t, WaitsForWhatWasDropped::default()),
        &["loading::a_preparation_that_is_dropped_leaves_nothing_behind"],
    ),
    (
        "runs `initialize` ahead of time",
        |s, t| with(s, t, InitializesAheadOfTime),
        &["loading::preparing_runs_nothing_of_a_component"],
    ),
    (
        "loads what was prepared with the configuration of then",
        |s, t| with(s, t, ConfiguresWhatIsPrepared::default()),
        &["loading::what_is_prepared_is_loaded_under_any_id_and_configuration"],
    ),
    (
        "refuses to prepare in words of its own",
        |s, t| with(s, t, PreparesVaguely),
        &["loading::preparing_refuses_with_the_words_of_loading"],
    ),
    (
        "ignores what `initialize` answers",
        |s, t| {
            let refused =
                |error: &WasmError| matches!(error, WasmError::InitializationFailed { .. });
            with(s, t, Accepts { refused })
        },
        &["loading::an_initialize_that_refuses_is_quoted"],
    ),
    (
        "refuses everything with the same words",
        |s, t| with(s, t, VagueRefusals),
        &[
            "loading::a_truncated_component_is_malformed",
            "loading::an_export_of_another_type_is_named",
            "loading::an_import_nobody_provides_is_named",
            "loading::too_many_instances_are_too_complex",
            "loading::an_initialize_that_traps_fails_the_load",
        ],
    ),
    (
        "insists on a lifecycle",
        |s, t| with(s, t, InsistsOnALifecycle),
        &[
            "loading::a_component_without_a_lifecycle_is_loaded",
            "messages::a_component_without_a_lifecycle_takes_no_messages",
        ],
    ),
    (
        "has no memory ceiling",
        |s, _| Arc::new(ModelEngine::new(s).with_memory_ceiling_bytes(u64::MAX)),
        &["loading::memory_limits_reach_up_to_the_ceiling"],
    ),
    (
        "limits each memory instead of all together",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: limits_each_memory,
                },
            )
        },
        &["budgets::many_memories_share_the_limit"],
    ),
    (
        "rounds a memory limit up",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: rounds_memory_up,
                },
            )
        },
        &["budgets::a_limit_between_two_pages_is_not_rounded_up"],
    ),
    (
        "does not count tables",
        |s, t| with(s, t, CountsNoTables),
        &["budgets::table_elements_count_as_memory"],
    ),
    (
        "kills whom it denies memory",
        |s, t| with(s, t, KillsWhomItDenies),
        &["failure::a_denied_growth_that_was_survived_fails_nothing"],
    ),
    (
        "knows no deadline",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: knows_no_deadline,
                },
            )
        },
        &[
            "loading::an_initialize_that_spins_is_stopped_at_its_deadline",
            "budgets::a_message_that_is_not_done_is_stopped_at_its_deadline",
            "budgets::a_post_return_that_spins_is_stopped_at_its_deadline",
            "budgets::health_that_spins_is_stopped_at_its_deadline",
            "budgets::a_shutdown_that_spins_is_stopped_at_its_deadline",
            "budgets::waiting_in_sleep_takes_time",
            "budgets::waiting_in_a_service_takes_time",
        ],
    ),
    (
        "adds up the time of all calls",
        |s, t| with(s, t, AddsUpTime::default()),
        &["budgets::every_call_starts_with_the_full_time"],
    ),
    (
        "counts time while a call waits for its turn",
        |s, t| with(s, t, CountsTimeWhileWaiting::default()),
        &["budgets::waiting_for_a_turn_takes_no_time"],
    ),
    (
        "lets deadlines follow the clock of components",
        |s, t| with(s.clone(), t, FollowsTheClock::new(&s)),
        &["budgets::a_clock_that_is_turned_on_brings_no_deadline_nearer"],
    ),
    (
        "counts a broadcast as one message",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: counts_broadcasts_once,
                },
            )
        },
        &["host::each_recipient_of_a_broadcast_counts"],
    ),
    (
        "counts no fuel",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: counts_no_fuel,
                },
            )
        },
        &[
            "loading::a_start_function_that_spins_runs_out_of_fuel",
            "budgets::a_message_that_spins_runs_out_of_fuel",
            "failure::exhausted_fuel_fails_the_instance",
        ],
    ),
    (
        "leaks fuel from one call to the next",
        |s, t| with(s, t, LeaksFuel::default()),
        &["budgets::every_call_starts_with_the_full_fuel"],
    ),
    (
        "runs two calls at once",
        |s, t| with(s, t, TwoAtOnce::default()),
        &["order::calls_to_one_component_never_overlap"],
    ),
    (
        "takes the last waiting call first",
        |s, t| with(s, t, LosesOrder::default()),
        &["order::calls_run_in_the_order_in_which_they_were_first_polled"],
    ),
    (
        "holds one lock for everybody",
        |s, t| with(s, t, Locks::by(|_| ())),
        &[
            "order::calls_to_different_components_overlap",
            "order::a_component_that_waits_keeps_no_other_from_anything",
        ],
    ),
    (
        "holds one lock for an id",
        |s, t| with(s, t, Locks::by(|handle| handle.id().clone())),
        &["order::calls_to_instances_of_one_id_overlap"],
    ),
    (
        "goes on with a call only while it is polled",
        |s, t| with(s, t, Locks::by(Clone::clone)),
        &[
            "cancellation::a_running_call_that_is_not_polled_goes_on",
            "cancellation::a_waiting_call_that_is_not_polled_takes_its_turn",
        ],
    ),
    (
        "answers `usage` when the call has ended",
        |s, t| with(s, t, Locks::by(Clone::clone).and_usage()),
        &["usage::usage_is_known_while_a_call_runs"],
    ),
    (
        "guesses health",
        |s, t| with(s, t, GuessesHealth),
        &[
            "messages::health_is_what_the_guest_says",
            "order::health_waits_for_its_turn",
        ],
    ),
    (
        "delivers a message twice",
        |s, t| with(s, t, Repeats { messages: true }),
        &["messages::a_message_is_handled_once"],
    ),
    (
        "delivers a callback twice",
        |s, t| with(s, t, Repeats { messages: false }),
        &["messages::a_callback_is_delivered_once"],
    ),
    (
        "delivers to whom a message names",
        |s, t| with(s, t, DeliversByRecipient::default()),
        &["messages::a_message_goes_to_the_handle_that_is_called"],
    ),
    (
        "shuts components down when it is dropped",
        |s, t| with(s, t, ShutsDownWhenDropped::default()),
        &["unloading::a_dropped_engine_frees_its_components_at_once"],
    ),
    (
        "loses the correlation id",
        |s, t| {
            with(
                s,
                t,
                Alters {
                    message: |message| message.correlation_id = None,
                },
            )
        },
        &[
            "messages::a_callback_carries_correlation_type_and_payload",
            "messages::the_whole_envelope_reaches_the_guest",
        ],
    ),
    (
        "takes the recipient for the sender",
        |s, t| {
            with(
                s,
                t,
                Alters {
                    message: |message| message.sender = message.recipient.clone(),
                },
            )
        },
        &[
            "messages::the_whole_envelope_reaches_the_guest",
            "messages::what_an_envelope_does_not_hold_is_none",
        ],
    ),
    (
        "takes an empty reply for none",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: empty_for_none,
                },
            )
        },
        &["messages::no_reply_and_an_empty_one_are_told_apart"],
    ),
    (
        "ends a payload at its first zero",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: up_to_a_zero,
                },
            )
        },
        &["messages::payloads_are_bytes_of_any_kind_and_length"],
    ),
    (
        "sorts the environment",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: sorts_the_environment,
                },
            )
        },
        &["messages::initialize_is_given_the_environment_in_order"],
    ),
    (
        "takes empty data for none",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: keeps_no_empty_data,
                },
            )
        },
        &["messages::no_data_and_empty_data_are_told_apart"],
    ),
    (
        "counts a guest's error as a failure",
        |s, t| with(s, t, Poisons::new(WasmError::is_guest_error, false)),
        &["messages::an_error_of_the_guest_is_its_answer"],
    ),
    (
        "fails everybody with one",
        |s, t| with(s, t, Poisons::new(WasmError::fails_instance, true)),
        &["failure::nothing_else_fails"],
    ),
    (
        "lets a failed component answer",
        |s, t| with(s, t, LetsFailedAnswer),
        &["failure::a_failed_component_answers_nothing_and_says_why"],
    ),
    (
        "forgets why a component failed",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: no_cause,
                },
            )
        },
        &["failure::a_panic_in_a_host_function_fails_the_instance"],
    ),
    (
        "takes one trap for another",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: mixes_up_traps,
                },
            )
        },
        &[
            "failure::a_trap_fails_the_instance",
            "failure::an_exhausted_stack_fails_the_instance",
        ],
    ),
    (
        "lets a panic of a service through",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: passes_panics_on,
                },
            )
        },
        &["failure::a_panic_in_a_host_function_fails_the_instance"],
    ),
    (
        "keeps state across a restart",
        |s, t| with(s, t, KeepsState::default()),
        &[
            "failure::memory_starts_anew",
            "failure::an_instance_that_is_well_is_shut_down_before_a_restart",
        ],
    ),
    (
        "restarts only what has failed",
        |s, t| with(s, t, RestartsOnlyFailed),
        &["failure::a_component_that_is_well_is_restarted"],
    ),
    (
        "forgets `shutdown` before a restart",
        |s, t| with(s, t, RestartsWithoutShutdown::default()),
        &["failure::an_instance_that_is_well_is_shut_down_before_a_restart"],
    ),
    (
        "says too early that it has restarted",
        |s, t| with(s, t, Hurries { restarts: true }),
        &["failure::a_restart_takes_its_turn"],
    ),
    (
        "counts anew after a restart",
        |s, t| with(s, t, CountsAnew::default()),
        &["failure::counters_go_on_over_a_restart"],
    ),
    (
        "hides that a restart failed",
        |s, t| with(s, t, HidesFailedRestarts),
        &[
            "failure::a_restart_that_fails_leaves_the_component_failed",
            "failure::a_restart_that_has_failed_is_tried_again",
        ],
    ),
    (
        "takes a component for ready that did not restart",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| {
                        // It was no call that failed it.
                        if usage.state == ComponentState::Failed && usage.calls == 0 {
                            usage.state = ComponentState::Ready;
                        }
                    },
                },
            )
        },
        &["failure::a_restart_that_fails_leaves_the_component_failed"],
    ),
    (
        "gives up restarting what did not restart once",
        |s, t| with(s, t, GivesUpRestarting::default()),
        &["failure::a_restart_that_has_failed_is_tried_again"],
    ),
    (
        "starts a component over when its call is dropped",
        |s, t| with(s, t, StartsOverWhenDropped),
        &["cancellation::the_effect_of_a_dropped_call_stays"],
    ),
    (
        "stops a call that is dropped where it is",
        |s, t| with(s, t, StopsWhenDropped::default()),
        &[
            "cancellation::a_dropped_call_ends_in_the_background",
            "cancellation::the_next_call_waits_for_a_dropped_one",
        ],
    ),
    (
        "withdraws no waiting call",
        |s, t| with(s, t, WithdrawsNothing),
        &["cancellation::a_waiting_call_that_is_dropped_is_never_made"],
    ),
    (
        "answers a call with what a dropped one was answered",
        |s, t| with(s, t, MixesUpAnswers::default()),
        &["cancellation::the_answer_of_a_dropped_call_goes_to_nobody"],
    ),
    (
        "gives up a restart that is dropped",
        |s, t| with(s, t, GivesUpWhenDropped),
        &["cancellation::a_dropped_restart_goes_on"],
    ),
    (
        "forgets `shutdown` when it unloads",
        |s, t| with(s, t, Hurries { restarts: false }),
        &[
            "unloading::an_error_of_shutdown_is_told",
            "unloading::a_trap_in_shutdown_is_told",
            "unloading::unloading_lets_the_running_call_end",
        ],
    ),
    (
        "keeps a component whose `shutdown` fails",
        |s, t| with(s, t, HeedsShutdown),
        &["unloading::a_component_is_unloaded_whatever_shutdown_answers"],
    ),
    (
        "makes the waiting calls before it unloads",
        |s, t| with(s, t, UnloadsLast::default()),
        &["unloading::unloading_withdraws_the_waiting_calls"],
    ),
    (
        "unloads when nobody calls any more",
        |s, t| with(s, t, UnloadsLater),
        &[
            "unloading::nothing_knows_the_handle_while_unloading",
            "unloading::a_dropped_unload_goes_on",
        ],
    ),
    (
        "unloads only what is there",
        |s, t| with(s, t, UnloadsOnlyWhatIsThere),
        &[
            "unloading::unloading_twice_is_fine",
            "unloading::unloading_what_was_never_loaded_is_fine",
        ],
    ),
    (
        "frees nothing",
        |s, t| with(s.clone(), t, FreesNothing::new(s)),
        &["unloading::unloading_frees_everything"],
    ),
    (
        "takes what is gone for failed",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: gone_is_failed,
                },
            )
        },
        &[
            "unloading::nothing_knows_the_handle_after_unloading",
            "unloading::a_handle_that_was_never_given_is_not_found",
        ],
    ),
    (
        "is never busy",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| {
                        if usage.state == ComponentState::Busy {
                            usage.state = ComponentState::Ready;
                        }
                    },
                },
            )
        },
        &["usage::a_component_is_ready_busy_or_failed"],
    ),
    (
        "reports memory of a failed instance",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| {
                        if usage.state == ComponentState::Failed {
                            usage.memory_bytes = usage.peak_memory_bytes;
                        }
                    },
                },
            )
        },
        &[
            "failure::what_a_failed_instance_held_is_freed",
            "usage::usage_is_known_of_a_failed_component",
        ],
    ),
    (
        "forgets the peak",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| usage.peak_memory_bytes = usage.memory_bytes,
                },
            )
        },
        &["usage::the_peak_stays"],
    ),
    (
        "counts a timeout as a trap",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| {
                        usage.traps += take(&mut usage.timeouts);
                    },
                },
            )
        },
        &["usage::deadlines_count_as_timeouts"],
    ),
    (
        "reports the fuel of the last call as that of all",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| usage.total_fuel = usage.last_call_fuel,
                },
            )
        },
        &["usage::total_fuel_is_the_sum_of_all_calls"],
    ),
    (
        "counts calls that reach no guest",
        |s, t| with(s, t, CountsAttempts::default()),
        &["usage::calls_that_reach_no_guest_do_not_count"],
    ),
    (
        "lets a component choose its sender",
        |s, t| {
            model(
                alters_what_is_sent(s, |message| {
                    message.sender = message.recipient.clone();
                }),
                t,
            )
        },
        &["host::a_message_is_sent_under_the_id_of_its_sender"],
    ),
    (
        "stamps messages with no time",
        |s, t| {
            model(
                alters_what_is_sent(s, |message| message.timestamp = Default::default()),
                t,
            )
        },
        &["host::a_message_is_stamped_with_the_time_of_the_clock"],
    ),
    (
        "gives a component its handle after `initialize`",
        |s, t| {
            let (services, late) = NamesLate::new(s);
            with(services, t, late)
        },
        &["host::what_initialize_sends_comes_from_the_handle_that_is_loaded"],
    ),
    (
        "takes no message from a component that is unloaded",
        |s, t| {
            let (services, no_last_word) = TakesNoLastWord::new(s, SHUTDOWN_SENDS, false);
            with(services, t, no_last_word)
        },
        &["host::what_a_component_sends_in_its_shutdown_is_sent"],
    ),
    (
        "takes no message from a component that ends in a restart",
        |s, t| {
            let (services, no_last_word) = TakesNoLastWord::new(s, SHUTDOWN_SENDS, true);
            with(services, t, no_last_word)
        },
        &["host::what_a_component_sends_in_its_shutdown_is_sent"],
    ),
    (
        "takes no broadcast from a component that is unloaded",
        |s, t| {
            let (services, no_last_word) = TakesNoLastWord::new(s, SHUTDOWN_BROADCASTS, false);
            with(services, t, no_last_word)
        },
        &["host::what_a_component_broadcasts_in_its_shutdown_is_broadcast"],
    ),
    (
        "logs nothing of a component that ends in a restart",
        |s, t| {
            let (services, no_last_word) = TakesNoLastWord::new(s, SHUTDOWN_LOGS, true);
            with(services, t, no_last_word)
        },
        &["host::what_a_component_logs_in_its_shutdown_is_logged"],
    ),
    (
        "undoes what a component stores in its `shutdown`",
        |s, t| with(s.clone(), t, ForgetsTheEnd::new(&s)),
        &["host::what_a_component_stores_in_its_shutdown_is_stored"],
    ),
    (
        "lets a component make a request in its `shutdown`",
        |s, t| with(s.clone(), t, TakesLastRequests::new(&s)),
        &[
            "host::a_request_in_the_shutdown_of_an_unload_is_refused",
            "host::a_request_in_the_shutdown_of_a_restart_is_refused",
        ],
    ),
    (
        "sends a broadcast one by one",
        |s, t| model(broadcasts_one_by_one(s), t),
        &["host::a_broadcast_is_handed_over_in_one_call"],
    ),
    (
        "waits longer for an answer than it is told",
        |s, t| model(waits_longer_for_answers(s), t),
        &["host::a_request_is_made_under_the_id_that_the_router_gave"],
    ),
    (
        "grants everything",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: grants_everything,
                },
            )
        },
        &[
            "host::nothing_may_be_sent_by_default",
            "host::nothing_may_be_stored_by_default",
            "host::each_way_of_sending_needs_a_grant_of_its_own",
            "host::one_recipient_that_is_not_granted_stops_a_broadcast",
            "host::a_component_without_permissions_sees_itself_only",
            "host::what_is_hidden_looks_like_what_is_not_there",
            "host::the_validator_never_adds",
        ],
    ),
    (
        "asks no validator",
        |s, t| model(s.with_validator(Arc::new(PermissionsOnly)), t),
        &[
            "host::the_validator_is_asked_about_what_is_granted",
            "host::the_validator_takes_back_while_the_component_runs",
            "host::log_lines_are_checked_at_their_level",
        ],
    ),
    (
        "tells the validator only what it refused itself",
        |s, t| model(tells_of_refusals(s, |d| usize::from(!is_not_granted(d))), t),
        &["host::the_validator_is_told_what_the_permissions_refuse"],
    ),
    (
        "tells the validator only what the permissions refuse",
        |s, t| model(tells_of_refusals(s, |d| usize::from(is_not_granted(d))), t),
        &["host::the_validator_is_told_what_it_refused"],
    ),
    (
        "tells the validator of every refusal twice",
        |s, t| model(tells_of_refusals(s, |_| 2), t),
        &[
            "host::the_validator_is_told_what_the_permissions_refuse",
            "host::the_validator_is_told_what_it_refused",
        ],
    ),
    (
        "tells the time of another clock",
        |s, t| model(s.with_clock(Arc::new(SystemClock)), t),
        &["host::the_time_is_that_of_the_clock"],
    ),
    (
        "lets siblings share their storage",
        |s, t| model(shares_storage(s), t),
        &["host::storage_is_kept_under_the_id_of_the_component"],
    ),
    (
        "grants a larger quota",
        |s, t| model(grants_a_larger_quota(s), t),
        &["host::the_quota_is_what_was_granted"],
    ),
    (
        "knows no capital letters",
        |s, t| with(s, t, LowersIds),
        &[
            "loading::a_handle_carries_the_id_that_was_loaded",
            "host::a_component_knows_its_own_id",
        ],
    ),
    (
        "grants more memory than the limit",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: grants_more_memory,
                },
            )
        },
        &[
            "budgets::one_memory_grows_to_the_limit",
            "budgets::a_message_that_does_not_fit_ends_at_the_memory_limit",
            "budgets::a_callback_that_does_not_fit_ends_at_the_memory_limit",
            "budgets::a_denied_growth_says_how_much_it_would_have_been",
            "messages::initialize_is_given_the_limits",
        ],
    ),
    (
        "meters who is unmetered",
        |s, t| {
            with(
                s,
                t,
                Configures {
                    otherwise: meters_everybody,
                },
            )
        },
        &["budgets::unmetered_execution_consumes_all_it_wants"],
    ),
    (
        "answers without umlauts",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: without_umlauts,
                },
            )
        },
        &["messages::a_reply_is_what_the_guest_answered"],
    ),
    (
        "guesses metadata",
        |s, t| with(s, t, GuessesMetadata),
        &["messages::metadata_is_what_the_guest_says"],
    ),
    (
        "ignores what a callback answers",
        |s, t| with(s, t, IgnoresCallbacks),
        &["messages::an_error_of_a_callback_is_its_answer"],
    ),
    (
        "counts `initialize` as a call",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| usage.calls += 1,
                },
            )
        },
        &["usage::a_new_component_was_never_called"],
    ),
    (
        "reports memory in whole mebibytes",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| {
                        usage.memory_bytes = usage.memory_bytes.next_multiple_of(1 << 20);
                    },
                },
            )
        },
        &["usage::memory_is_what_the_instance_has"],
    ),
    (
        "reports more fuel for every call",
        |s, t| {
            with(
                s,
                t,
                Misreports {
                    usage: |usage| usage.last_call_fuel += usage.calls,
                },
            )
        },
        &["usage::the_same_call_takes_the_same_fuel"],
    ),
    (
        "loads one component at a time",
        |s, t| with(s, t, OneThingAtATime::new(true)),
        &["order::a_component_that_initializes_keeps_no_other_from_anything"],
    ),
    (
        "unloads one component at a time",
        |s, t| with(s, t, OneThingAtATime::new(false)),
        &["order::a_component_that_shuts_down_keeps_no_other_from_anything"],
    ),
    (
        "counts time while `health` waits for its turn",
        |s, t| with(s, t, CountsTimeWhileHealthWaits::default()),
        &["budgets::waiting_for_a_turn_takes_no_time_of_any_call"],
    ),
    (
        "stops a guest late",
        |s, t| with(s, t, StopsLate),
        &["budgets::a_deadline_comes_when_it_is_due"],
    ),
    (
        "knows no deadline in a restart",
        |s, t| with(s, t, RestartsForever),
        &["budgets::a_restart_that_is_not_done_is_stopped_at_its_deadline"],
    ),
    (
        "withdraws no waiting callback",
        |s, t| with(s, t, WithdrawsNoCallback),
        &["cancellation::a_waiting_call_of_any_kind_that_is_dropped_is_never_made"],
    ),
    (
        "goes on with a restart only while it is polled",
        |s, t| with(s, t, RestartsWhilePolled::default()),
        &["cancellation::waiting_calls_of_all_kinds_that_are_not_polled_take_their_turns"],
    ),
    (
        "starts a component over when its health is dropped",
        |s, t| with(s, t, StartsOverWhenHealthIsDropped),
        &["cancellation::a_dropped_health_is_stopped_at_its_deadline"],
    ),
    (
        "makes up metadata that it cannot read",
        |s, t| with(s, t, MakesMetadataUp),
        &["failure::metadata_that_cannot_be_read_fails_the_instance"],
    ),
    (
        "catches the panics of routers only",
        |s, t| {
            with(
                s,
                t,
                Answers {
                    otherwise: passes_panics_of_others_on,
                },
            )
        },
        &["failure::a_panic_in_any_service_fails_the_instance"],
    ),
    (
        "lets a panic of a service through while it loads",
        |s, t| with(s, t, PanicsWhileLoading),
        &["failure::a_panic_while_loading_fails_the_load"],
    ),
    (
        "ends the restart that waits with the calls that do",
        |s, t| with(s, t, FailsWaitingRestarts),
        &["failure::a_restart_that_waits_when_the_instance_fails_is_made"],
    ),
    (
        "forgets after a restart what was not granted",
        |s, t| {
            let (services, defect) = LooksUpPermissions::until_a_restart(s);
            with(services, t, defect)
        },
        &["host::permissions_are_the_same_after_a_restart"],
    ),
    (
        "keeps permissions by id",
        |s, t| {
            let (services, defect) = LooksUpPermissions::by_id(s);
            with(services, t, defect)
        },
        &["loading::instances_of_one_id_have_limits_and_permissions_of_their_own"],
    ),
    (
        "asks the validator about the first recipient of a broadcast",
        |s, t| model(asks_about_the_first(s), t),
        &["host::one_recipient_that_was_taken_back_stops_a_broadcast"],
    ),
    (
        "tells of all that a storage refuses in the same way",
        |s, t| model(takes_every_refusal_for_io(s), t),
        &["host::what_the_storage_refuses_the_component_is_told"],
    ),
    (
        "looks at the first page of the directory",
        |s, t| model(reads_one_page(s), t),
        &["host::however_many_are_hidden_the_others_are_seen"],
    ),
    (
        "counts how messages end, and nothing else",
        |s, t| with(s, t, CountsMessagesOnly::default()),
        &[
            "usage::traps_of_calls_of_every_kind_count",
            "usage::deadlines_of_calls_of_every_kind_count",
        ],
    ),
    (
        "does not count what `shutdown` consumes",
        |s, t| with(s, t, ShutsDownForFree::default()),
        &["usage::what_shutdown_consumed_is_part_of_the_total"],
    ),
    (
        "unloads beside a call that was dropped",
        |s, t| with(s, t, UnloadsBesideDroppedCalls::default()),
        &["unloading::unloading_lets_a_dropped_call_end"],
    ),
    (
        "counts the memory limit as nothing",
        |s, t| with(s, t, SparesTheGreedy::default()),
        &["usage::the_memory_limit_counts_as_a_trap"],
    ),
];

/// What the suite says of an engine, by name of the case.
fn verdict(make: Make) -> BTreeMap<&'static str, Broken> {
    let conditions = Conditions {
        time: Time::Paused,
        patience: Duration::from_secs(10),
    };
    let harness = Arc::new(Subject(make));
    let mut verdict = BTreeMap::new();
    for case in cases() {
        let harness = Arc::clone(&harness);
        if let Err(broken) = case.run(conditions, move || Lab::new(harness)) {
            verdict.insert(case.name(), broken);
        }
    }
    verdict
}

/// Of all broken engines, in their order.
fn verdicts() -> Vec<BTreeMap<&'static str, Broken>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let some = |engines: &'static [(&str, Make, &[&str])]| {
        move || -> Vec<_> { engines.iter().map(|(_, make, _)| verdict(*make)).collect() }
    };
    thread::scope(|scope| {
        let running: Vec<_> = BROKEN
            .chunks(BROKEN.len().div_ceil(threads))
            .map(|engines| scope.spawn(some(engines)))
            .collect();
        let done = running.into_iter().map(|thread| thread.join().unwrap());
        done.flatten().collect()
    })
}

/// Hundreds of cases panic here as they should.
fn quietly() {
    set_hook(Box::new(|panic| {
        // Those are on threads named after their cases.
        let thread = thread::current();
        if !thread.name().is_some_and(|name| name.contains("::")) {
            eprintln!("{panic}");
        }
    }));
}

#[test]
fn the_model_keeps_the_contract() {
    assert_eq!(verdict(model), BTreeMap::new());
}

#[test]
fn every_broken_engine_is_found_out_and_told_which_sentence_it_breaks() {
    quietly();
    let sentences: BTreeMap<_, _> = cases::<dyn RuntimeEngine>()
        .iter()
        .map(|case| (case.name(), case.sentence()))
        .collect();
    let mut missed = Vec::new();
    let mut untried: BTreeSet<_> = sentences.keys().copied().collect();
    for ((name, _, expected), verdict) in BROKEN.iter().zip(verdicts()) {
        untried.retain(|case| !verdict.contains_key(case));
        for case in *expected {
            let text = verdict.get(case).map(ToString::to_string);
            let told = sentences
                .get(case)
                .map(|s| format!("broken sentence: {s}\n{case}: "));
            match (text, told) {
                (Some(text), Some(told)) if text.starts_with(&told) => {}
                (text, _) => missed.push(format!("{name}: {case} says {text:?}")),
            }
        }
        // What breaks one thing does not break everything.
        if verdict.len() > sentences.len() / 2 {
            missed.push(format!("{name}: {} cases failed", verdict.len()));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert_eq!(untried, BTreeSet::new(), "cases that no engine fails");
}

//! Nodes on a real server of NATS, which each test starts for itself. Where there is none, the
//! tests are ignored; with `--include-ignored` they fail then, and say what they need.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, of a harness of their own"
)]

mod bounds;
mod cut;
mod events;
mod mail;
mod member;
mod outage;
mod ownership;
mod permitted;
mod pinned;
mod router;
mod secured;
mod server;
mod storage;
mod way;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::server::{NEEDED, program};

/// Runs a test on a runtime of its own.
fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    let is_missing = program().is_none();
    let trial = Trial::test(name, move || {
        if is_missing {
            return Err(NEEDED.into());
        }
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(test());
        Ok(())
    });
    match is_missing {
        true => trial.with_kind(NEEDED).with_ignored_flag(true),
        false => trial,
    }
}

macro_rules! trials {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        vec![$($(trial(
            concat!(stringify!($module), "::", stringify!($test)),
            $module::$test,
        )),+),+]
    };
}

fn main() -> ExitCode {
    let mut trials = trials![
        mail:
            a_message_reaches_a_component_of_another_node,
            a_request_is_answered_from_another_node,
            what_nobody_is_is_not_found,
            messages_arrive_in_order_and_once,
            a_queue_that_is_full_is_told;
        ownership:
            partitions_move_when_nodes_come_and_go,
            partitions_move_where_components_cannot_be_unloaded,
            a_name_is_one_node_s,
            what_is_stored_moves_along,
            timers_move_along;
        bounds:
            slow_recipients_hold_up_nobody_of_their_partition,
            as_many_messages_are_handled_at_a_time_as_a_component_may,
            what_waits_in_the_stream_comes_in_order,
            what_never_fits_is_a_dead_letter,
            a_node_answers_to_nobody_s_subjects_but_those_who_ask,
            a_desk_that_cannot_be_read_is_not_taken_for_an_empty_one,
            what_comes_late_does_not_take_the_place_of_what_is_newer,
            leases_need_not_be_of_one_length,
            what_waits_for_one_takes_no_room_for_ever,
            who_only_looks_makes_nothing,
            all_components_of_a_node_are_told_of;
        cut:
            who_is_cut_off_handles_nothing_and_comes_back,
            what_was_handled_and_is_stored_again_is_not_handled_again,
            what_waits_at_a_host_and_is_stored_again_is_handled_once,
            who_is_cut_off_while_it_takes_over_goes_on,
            who_has_died_is_not_waited_for_when_deploying,
            what_is_busy_holds_up_no_other_that_is_handed_over;
        events:
            what_happens_on_a_node_is_told_on_another_and_outside,
            whoever_is_too_slow_is_told_how_much_was_missed;
        pinned:
            components_are_where_they_are_pinned,
            what_waits_for_a_node_is_delivered_once_it_is_back,
            whoever_owns_all_has_what_is_pinned_to_nobody_there,
            patterns_are_those_that_whoever_was_first_has_said;
        permitted:
            what_the_guide_permits_is_enough,
            what_the_guide_permits_is_not_more,
            whoever_is_nobody_is_told_without_the_password;
        secured:
            a_server_is_trusted_by_its_certificate,
            a_user_is_known_by_a_file_of_credentials;
        outage:
            what_was_accepted_outlasts_the_server,
            writes_that_wait_for_one_another_are_not_patient_one_by_one;
    ];
    trials.extend(storage::trials());
    trials.extend(router::trials());
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    storage::end();
    conclusion.exit_code()
}

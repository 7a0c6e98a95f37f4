//! What nodes decide, in a world of crashes, pauses, lost answers, clocks that do not run alike
//! and networks that are cut: for each seed one such world. Protocols that leave something out
//! must be caught.
//!
//! `WASM_NATS_SEEDS` is how many worlds are tried, `WASM_NATS_SEED` is the first.

mod judge;
mod node;
mod random;
mod server;
mod world;

use std::env;

use crate::judge::Violation;
use crate::world::{Broken, World};

fn number(name: &str, or: u64) -> u64 {
    env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

/// What is wrong in the first world in which something is.
fn first_violation(broken: Option<Broken>, seeds: u64) -> Option<(u64, Violation)> {
    violation_from(number("WASM_NATS_SEED", 0), broken, seeds)
}

fn violation_from(first: u64, broken: Option<Broken>, seeds: u64) -> Option<(u64, Violation)> {
    (first..first + seeds).find_map(|seed| {
        let violation = World::new(seed, broken).run().err()?;
        Some((seed, violation))
    })
}

#[test]
fn every_message_is_handled_once_or_is_a_dead_letter() {
    let seeds = number("WASM_NATS_SEEDS", 100);
    let violation = first_violation(None, seeds);
    assert!(violation.is_none(), "seed and what is wrong: {violation:?}");
}

#[test]
fn worlds_are_no_quiet_places() {
    let mut seen = judge::Tally::default();
    for seed in 0..100 {
        seen.add(&World::new(seed, None).run().expect("nothing is wrong"));
    }
    assert!(seen.crashes > 50, "{seen:?}");
    assert!(seen.pauses > 50, "{seen:?}");
    assert!(seen.takeovers > 50, "{seen:?}");
    assert!(seen.dead > 25, "{seen:?}");
    assert!(seen.refused_writes > 10, "{seen:?}");
    assert!(seen.behind > 10, "{seen:?}");
    assert!(seen.handled > 4 * seen.dead, "{seen:?}");
}

/// How many worlds it takes to catch each, with room to spare.
const CAUGHT_WITHIN: u64 = 2_000;

fn caught(broken: Broken) -> Violation {
    caught_from(0, broken)
}

/// From a seed on that is not long before the first that catches it.
fn caught_from(first: u64, broken: Broken) -> Violation {
    let violation = violation_from(first, Some(broken), CAUGHT_WITHIN);
    let (seed, violation) = violation.unwrap_or_else(|| panic!("{broken:?} is not caught"));
    println!("{broken:?} falls at seed {seed}: {violation:?}");
    violation
}

#[test]
fn writes_without_a_fence_are_caught() {
    let violation = caught(Broken::NoFence);
    assert!(
        matches!(
            violation,
            Violation::Twice { .. } | Violation::OutOfOrder { .. }
        ),
        "{violation:?}"
    );
}

#[test]
fn messages_that_are_stored_twice_are_caught() {
    assert!(matches!(caught(Broken::NoDedupe), Violation::Twice { .. }));
}

#[test]
fn acknowledging_too_early_is_caught() {
    assert!(matches!(
        caught(Broken::AckTooEarly),
        Violation::Lost { .. }
    ));
}

#[test]
fn acknowledging_what_could_store_nothing_is_caught() {
    assert!(matches!(
        caught(Broken::AcksWhenOver),
        Violation::Lost { .. }
    ));
}

#[test]
fn not_writing_down_what_begins_is_caught() {
    assert!(matches!(caught(Broken::NoDesk), Violation::Twice { .. }));
}

#[test]
fn whatever_a_server_stores_twice_its_owner_handles_once() {
    let violation = first_violation(Some(Broken::NoIds), 100);
    assert!(violation.is_none(), "seed and what is wrong: {violation:?}");
}

#[test]
fn forgetting_what_was_taken_up_is_caught() {
    let violation = caught(Broken::NothingTaken);
    assert!(matches!(
        violation,
        Violation::Twice { .. } | Violation::OutOfOrder { .. }
    ));
}

#[test]
fn taking_off_the_desk_what_a_consumer_has_not_given_is_caught() {
    assert!(matches!(
        caught_from(250, Broken::TrustsConsumer),
        Violation::Lost { .. }
    ));
}

#[test]
fn taking_off_the_desk_what_one_server_has_nothing_of_is_caught() {
    let violation = caught_from(350, Broken::TrustsSilence);
    assert!(matches!(violation, Violation::Lost { .. }));
}

#[test]
fn taking_over_a_desk_as_a_server_that_is_behind_has_it_is_caught() {
    assert!(matches!(caught(Broken::StaleDesk), Violation::Twice { .. }));
}

#[test]
fn dead_letters_that_are_not_written_down_first_are_caught() {
    let violation = caught(Broken::NeverBegun);
    assert!(matches!(violation, Violation::Twice { .. }));
}

#[test]
fn leases_by_the_wall_clock_are_caught() {
    assert!(matches!(
        caught(Broken::WallClock),
        Violation::TwoOwners { .. }
    ));
}

#[test]
fn taking_all_leases_for_as_long_as_ones_own_is_caught() {
    assert!(matches!(
        caught(Broken::OneLength),
        Violation::TwoOwners { .. }
    ));
}

#[test]
fn owning_what_is_pinned_to_others_is_caught() {
    assert!(matches!(
        caught(Broken::NoPins),
        Violation::Misplaced { .. }
    ));
}

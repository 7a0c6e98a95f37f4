//! The same done in two ways by turns, so that whatever else the machine does falls on both:
//! a row of a table has the medians of many rounds, and their ratio.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// Rounds of each way; odd, so that there is a median.
pub(crate) const ROUNDS: usize = 41;

/// Rounds of what takes longer than a round each.
const LONG_ROUNDS: usize = 9;

/// About how long a round takes.
pub(crate) const ROUND: Duration = Duration::from_millis(20);

/// Prints the head of a table, with the names of both ways.
pub(crate) fn head(ours: &str, other: &str) {
    println!("| what | {ours} | {other} | ratio |\n|---|---|---|---|");
}

/// Prints a row of the table: what once of each takes.
pub(crate) fn compare(
    runtime: &Runtime,
    what: &str,
    mut ours: impl AsyncFnMut(),
    mut other: impl AsyncFnMut(),
) {
    let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let count = iterations(&mut ours).await;
        let count = count.min(iterations(&mut other).await);
        let rounds = if count == 1 { LONG_ROUNDS } else { ROUNDS };
        for _ in 0..rounds {
            our_times.push(time(count, &mut ours).await);
            other_times.push(time(count, &mut other).await);
        }
    });
    let (ours, other) = (median(&mut our_times), median(&mut other_times));
    row(what, &shown(ours), &shown(other), ours / other);
}

pub(crate) fn row(what: &str, ours: &str, other: &str, ratio: f64) {
    println!("| {what} | {ours} | {other} | {ratio:.2} |");
}

/// Nanoseconds, in a fitting unit.
pub(crate) fn shown(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

pub(crate) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// How often it can be done in a round.
async fn iterations(act: &mut impl AsyncFnMut()) -> u32 {
    let mut count = 1;
    loop {
        let nanos = time(count, act).await * f64::from(count);
        if nanos >= ROUND.as_nanos() as f64 {
            return count;
        }
        count *= 2;
    }
}

/// Nanoseconds of one of so many.
async fn time(count: u32, act: &mut impl AsyncFnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..count {
        act().await;
    }
    began.elapsed().as_nanos() as f64 / f64::from(count)
}

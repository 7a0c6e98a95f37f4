//! The same done in each way by turns, so that whatever else the machine does falls on all.

use std::time::{Duration, Instant};

/// Rounds of each way; odd, so that there is a median.
const ROUNDS: usize = 41;

/// About how long a round takes.
const ROUND: Duration = Duration::from_millis(20);

/// One figure of each way.
pub(crate) struct Figures {
    pub(crate) bare: f64,
    pub(crate) engine: f64,
    pub(crate) limited: f64,
    pub(crate) unlimited: f64,
}

/// How often a second it is done in each way: medians of the rounds.
pub(crate) async fn rates(
    mut bare: impl AsyncFnMut(),
    mut engine: impl AsyncFnMut(),
    mut limited: impl AsyncFnMut(),
    mut unlimited: impl AsyncFnMut(),
) -> Figures {
    let (bare_count, engine_count) = (iterations(&mut bare).await, iterations(&mut engine).await);
    let limited_count = iterations(&mut limited).await;
    let unlimited_count = iterations(&mut unlimited).await;
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        rates[0].push(rate(bare_count, &mut bare).await);
        rates[1].push(rate(engine_count, &mut engine).await);
        rates[2].push(rate(limited_count, &mut limited).await);
        rates[3].push(rate(unlimited_count, &mut unlimited).await);
    }
    let [bare, engine, limited, unlimited] = rates.map(median);
    Figures {
        bare,
        engine,
        limited,
        unlimited,
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// How often it can be done in a round.
async fn iterations(act: &mut impl AsyncFnMut()) -> u32 {
    let mut count = 1;
    while f64::from(count) / rate(count, act).await < ROUND.as_secs_f64() {
        count *= 2;
    }
    count
}

/// How often a second it is done, of so many times.
async fn rate(count: u32, act: &mut impl AsyncFnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..count {
        act().await;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

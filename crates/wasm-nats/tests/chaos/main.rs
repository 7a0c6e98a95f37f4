//! Nodes in processes of their own on real servers, which are killed, stopped and cut off: each
//! accepted message is handled or a dead letter, and no effect is stored twice.
//!
//! `scripts/cluster-chaos.sh` runs it. Without arguments that say so nothing is run, because it
//! takes minutes: `kills ROUNDS MESSAGES` kills the owners with `kill -9` while they handle
//! messages, and prints a table; `judge RUNS SEED` has three nodes on three servers killed,
//! paused and cut off, and the servers restarted.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, of a harness of their own"
)]

#[path = "../cluster/member.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod member;
#[path = "../cluster/server.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod server;
#[path = "../cluster/way.rs"]
mod way;

mod cluster;
mod cost;
mod judge;
mod keeper;
mod kills;
mod process;
mod verdict;

use std::env;
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::server::{NEEDED, program};

fn main() -> ExitCode {
    if let Ok(node) = env::var(process::NODE) {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(process::be(&node));
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |index: usize, or: u64| {
        let given = arguments.get(index);
        given.map_or(or, |text| text.parse().expect("a number"))
    };
    let chaos = arguments.first().map(String::as_str);
    if !matches!(chaos, Some("kills" | "judge" | "cost")) {
        println!("takes minutes, and is run by scripts/cluster-chaos.sh");
        return ExitCode::SUCCESS;
    }
    if program().is_none() {
        eprintln!("{NEEDED}");
        return ExitCode::FAILURE;
    }
    let runtime = Runtime::new().expect("a runtime");
    let is_fine = runtime.block_on(async {
        match chaos {
            Some("cost") => cost::run().await,
            Some("judge") => judge::run(number(1, 200), number(2, 0)).await,
            _ => kills::run(number(1, 10), number(2, 10_000)).await,
        }
    });
    match is_fine {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

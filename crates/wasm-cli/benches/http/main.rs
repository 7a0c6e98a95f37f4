//! Requests a second, taking turns in one run, each server with one thread.
//!
//! A component that answers HTTP requests behind the gateway and the host, with all that bounds
//! it; the same component on bare wasmtime with pooled instances behind hyper; and hyper alone
//! answering the same. The same component in processes: `airssys-wasm serve`, which sends its
//! traces, logs and metrics to a collector or does not, and `wasmtime serve`, if the variable
//! `WASMTIME` names the program. Each request has a fresh instance.
//!
//! A component that answers messages, asked through the gateway, beside axum alone.
//!
//! `cargo bench --workspace --bench http` prints both tables; with `-- NAME…` of those servers
//! alone whose names contain one of these.

mod alone;
mod bare;
mod clients;
mod ours;
mod programs;

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use wasm_runtime::{Allocation, EngineConfig};

use crate::clients::{CONNECTIONS, Question, round};
use crate::programs::Program;

/// Rounds of each; odd, so that there is a median.
const ROUNDS: usize = 11;

const WEB_PAGE: Question = Question {
    method: "GET",
    path: "/",
    body: "",
    answer: "hello",
};

const ECHOED: Question = Question {
    method: "POST",
    path: "/components/bench/echo/main",
    body: "sixty-four bytes of text, which are sent back as they have come.",
    answer: "sixty-four bytes of text, which are sent back as they have come.",
};

type Side = (&'static str, SocketAddr);

fn main() {
    // Cargo adds flags of its own.
    let asked: Vec<_> = env::args().skip(1).collect();
    // A bench that is tested runs nothing.
    if asked.iter().any(|argument| argument == "--test") {
        return;
    }
    let names: Vec<_> = asked.iter().filter(|it| !it.starts_with("--")).collect();
    let is_asked =
        |side: &Side| names.is_empty() || names.iter().any(|name| side.0.contains(*name));
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread is to be had");
    let clients = Builder::new_current_thread().enable_all().build();
    let clients = clients.expect("this thread is to be had");
    let (web, echo) = servers.block_on(ours::serve());
    // Beside those that are measured.
    let others = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let others = others.expect("a thread is to be had");
    let collector = others.block_on(alone::collector());
    let silent = Program::airssys_wasm(None);
    let sending = Program::airssys_wasm(Some(collector));
    let wasmtime = Program::wasmtime();
    let mut pages = vec![
        ("bare wasmtime, hyper", servers.block_on(bare::serve())),
        ("host, gateway", web),
        ("hyper alone", servers.block_on(alone::hyper_page())),
        ("`airssys-wasm serve`", silent.address),
        ("`airssys-wasm serve --otlp`", sending.address),
    ];
    match &wasmtime {
        Some(it) => pages.push(("`wasmtime serve`", it.address)),
        None => eprintln!("`wasmtime serve` is left out: WASMTIME=PATH names the program"),
    }
    pages.retain(is_asked);
    compare(&clients, WEB_PAGE, &pages);
    println!();
    let axum = servers.block_on(alone::axum_echo());
    let mut echoes = vec![("axum alone", axum), ("host, gateway", echo)];
    echoes.retain(is_asked);
    compare(&clients, ECHOED, &echoes);
}

/// Prints a table of all beside the first.
fn compare(clients: &Runtime, question: Question, sides: &[Side]) {
    let mut rates = vec![Vec::new(); sides.len()];
    let mut times = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (side, (_, address)) in sides.iter().enumerate() {
            let (rate, mut taken) = round(clients, *address, question);
            rates[side].push(rate);
            times[side].append(&mut taken);
        }
    }
    let Some((first, _)) = sides.first() else {
        return;
    };
    println!("| {CONNECTIONS} connections | requests/s | of {first} | p50 | p99 | p99.9 |");
    println!("|---|---|---|---|---|---|");
    for (side, (name, _)) in sides.iter().enumerate() {
        let beside_first = rates[side].iter().zip(&rates[0]);
        let share = median(beside_first.map(|(rate, first)| rate / first).collect());
        let rate = median(rates[side].clone());
        let [p50, p99, p999] = percentiles(&mut times[side]);
        println!("| {name} | {rate:.0} | {share:.2} | {p50:.0?} | {p99:.0?} | {p999:.0?} |");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn percentiles(times: &mut [Duration]) -> [Duration; 3] {
    times.sort_unstable();
    [0.5, 0.99, 0.999].map(|share| times[((times.len() - 1) as f64 * share) as usize])
}

/// The settings of the engine, which bare wasmtime has, too.
fn config() -> EngineConfig {
    let instances = CONNECTIONS as u32 + 16;
    EngineConfig::default().with_allocation(Allocation::Pooled { instances })
}

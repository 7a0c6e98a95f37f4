//! A gateway for a long time: a crowd that is there and says next to nothing, clients that
//! misbehave in every way there is, and so many requests meanwhile. Nothing may be lost, and
//! the memory of the server must not grow.
//!
//! ```sh
//! cargo run --release -p airssys-wasm-gateway --example soak -- 10000 1000000
//! ```
//!
//! The first number is how many streams of events and as many idle connections there are, the
//! second how many requests are sent. Each side has a process of its own, of which each needs two
//! files for each of the crowd, as in `ulimit -n 20600` for 10,000; with fewer, there are fewer
//! idle connections, and it is said. The engine is a model that answers at once. It takes some
//! minutes, and ends with 1 if something is not as it must be.
//! Clients come from several addresses of 127.0.0.0/8, which Linux has without being told.

mod client;
mod crowd;
mod misbehaving;
mod requests;
mod server;

use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::client::{Outcome, ask};
use self::crowd::Crowd;
use self::misbehaving::Misbehaving;
use self::requests::Requests;
use self::server::{Memory, Server};

/// Parts of the requests, after each of which the memory is looked at.
const STEPS: usize = 10;

/// What comes and goes in the memory of a process that does not grow: of a large crowd, each
/// takes a kilobyte when it is first told something.
const ALLOWED_KIB: u64 = 16 << 10;

/// What may be in use when a crowd has gone and was not before anybody came: tables that are as
/// long as the crowd was, and messages that are kept for whoever follows next.
const LEFT_KIB: u64 = 8 << 10;

/// What lies unused between what is in use: one of so many parts of what is resident. A first
/// crowd has less resident than in use, as most of its buffers are not written to; later ones get
/// memory that was.
const GAPS: u64 = 10;

/// How many crowds come when the first is gone.
const CROWDS: u8 = 3;

/// How long the server may take to see that a crowd is gone.
const GONE: Duration = Duration::from_secs(5);

/// How often all streams are told something.
const EVENTS: usize = 3;

/// Files of a process that are no connections of the crowd.
const OTHER_FILES: usize = 500;

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, otherwise: usize| {
        let text = arguments.get(at);
        text.map_or(Ok(otherwise), |text| text.parse())
    };
    if arguments.first().is_some_and(|first| first == server::ROLE) {
        server::serve(number(1, 0)?).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (streams, requests) = (number(0, 1_000)?, number(1, 100_000)?);
    let files = open_files()?;
    let most = files.saturating_sub(OTHER_FILES);
    if streams > most {
        let needed = 2 * streams + OTHER_FILES;
        return Err(format!("{files} files may be open, too few: ulimit -n {needed}").into());
    }
    let idle = streams.min(most - streams);
    if idle < streams {
        println!("{files} files may be open, so that only {idle} connections are idle");
    }
    let verdict = soak(streams, idle, requests).await?;
    Ok(verdict)
}

async fn soak(streams: usize, idle: usize, requests: usize) -> Outcome<ExitCode> {
    let mut server = Server::start(streams + idle)?;
    let address = server.address;
    let earlier = Requests::send(address, requests.min(1_000)).await?.accepted;
    println!("| | memory of the server | in use | requests/s | p50 | p99 | p99.9 |");
    println!("|---|---|---|---|---|---|---|");
    let beginning = show(&mut server, "at the beginning")?;
    let crowd = Arc::new(Crowd::new(0));
    crowd.follow(address, streams).await?;
    show(&mut server, &format!("with {streams} streams of events"))?;
    crowd.idle(address, idle).await?;
    let with_idle = format!("with {idle} idle connections besides");
    show(&mut server, &with_idle)?;

    let misbehaving = Misbehaving::begin(address);
    let mut all = Requests::default();
    let mut resident = Vec::new();
    for step in 1..=STEPS {
        let began = Instant::now();
        let part = Requests::send(address, requests / STEPS).await?;
        let rate = part.times.len() as f64 / began.elapsed().as_secs_f64();
        let memory = server.memory()?;
        resident.push(memory.resident_kib);
        let sent = step * requests / STEPS;
        let times = part.percentiles();
        println!("| after {sent} requests | {memory} | {rate:.0} | {times} |");
        all.add(part);
    }
    let heard = events(address, &crowd, streams).await?;
    let gone = misbehaving.end().await;
    let accepted = earlier + all.accepted;
    let handled = handled(address, accepted).await?;
    let lost = crowd.lost.load(Relaxed);
    let answered = crowd.answered.load(Relaxed);
    crowd.leave().await;
    sleep(GONE).await;
    show(&mut server, "when all have gone")?;
    // What the allocator keeps is used again.
    let mut last = beginning;
    for number in 1..=CROWDS {
        let others = Arc::new(Crowd::new(number));
        others.follow(address, streams).await?;
        others.idle(address, idle).await?;
        let with_others = format!("with {streams} and {idle} others");
        last = show(&mut server, &with_others)?;
        others.leave().await;
        sleep(GONE).await;
    }
    let end = show(&mut server, "when they have gone, too")?;

    println!();
    println!("all requests: p50, p99 and p99.9 are {}", all.percentiles());
    let grown = resident[STEPS - 1].saturating_sub(resident[STEPS / 2 - 1]);
    let taken = last.resident_kib.saturating_sub(beginning.resident_kib);
    let left = end.in_use_kib.saturating_sub(beginning.in_use_kib);
    let checks = [
        (
            all.wrong == 0,
            format!(
                "{} of {} requests were answered rightly",
                all.right,
                all.times.len()
            ),
        ),
        (
            handled == accepted,
            format!("{handled} of {accepted} messages that were accepted were handled"),
        ),
        (
            heard == EVENTS * streams,
            format!(
                "{heard} of {} events were heard on streams",
                EVENTS * streams
            ),
        ),
        (
            lost == 0,
            format!("{answered} requests on idle connections were answered, {lost} not"),
        ),
        (gone.is_right(), gone.to_string()),
        (
            grown <= ALLOWED_KIB,
            format!("the memory grew by {grown} KiB in the second half"),
        ),
        (
            left <= LEFT_KIB,
            format!("{left} KiB more are in use than before anybody came"),
        ),
        (
            taken - taken / GAPS <= last.in_use_kib,
            format!(
                "the last of {CROWDS} more crowds took {taken} KiB, of which {} were in use",
                last.in_use_kib
            ),
        ),
    ];
    for (holds, what) in &checks {
        println!("{}: {what}", if *holds { "ok" } else { "WRONG" });
    }
    let all_hold = checks.iter().all(|(holds, _)| *holds);
    Ok(if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(server: &mut Server, what: &str) -> Outcome<Memory> {
    let memory = server.memory()?;
    println!("| {what} | {memory} | | | | |");
    Ok(memory)
}

/// How many events were heard, of what happens now.
async fn events(address: SocketAddr, crowd: &Crowd, streams: usize) -> Outcome<usize> {
    for _ in 0..EVENTS {
        let restarted = ask(address, "POST", "/components/demo/idler/main/restart", b"").await?;
        if !restarted.starts_with("HTTP/1.1 2") {
            return Err(format!("it was not restarted: {restarted}").into());
        }
    }
    for _ in 0..300 {
        if crowd.heard.load(Relaxed) >= EVENTS * streams {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(crowd.heard.load(Relaxed))
}

/// Messages that the counter has handled, when it has had time for all.
async fn handled(address: SocketAddr, accepted: usize) -> Outcome<usize> {
    let mut handled = 0;
    for _ in 0..100 {
        let shown = ask(address, "GET", "/components/demo/counter/main", b"").await?;
        let number = shown.split_once("\"handled\":").map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split([',', '}']).next()?.trim().parse().ok());
        handled = number.ok_or_else(|| format!("no number of messages in {shown}"))?;
        if handled >= accepted {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(handled)
}

/// How many this process may have, which the other one may have, too.
fn open_files() -> Outcome<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("/proc/self/limits does not tell")?.parse()?)
}

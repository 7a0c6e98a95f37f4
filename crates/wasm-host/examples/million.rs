//! A million components from one binary, of which few have an instance at a time.
//!
//! Registers so many, asks so many of them at random, and prints what that takes:
//!
//! ```text
//! cargo run --release -p airssys-wasm-host --example million [COMPONENTS [REQUESTS [AWAKE]]]
//! ```
//!
//! It runs on the model engine, so that what is measured is the host.

use std::env;
use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasm_core::{
    ComponentConfig, ComponentId, HostServices, ResourceLimits, StartPolicy, Supervision,
};
use wasm_host::{Component, Host, HostBuilder, HostLimits};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::STORED_COUNTER;

/// Requests at a time.
const CALLERS: u64 = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.replace('_', "").parse(),
        None => Ok(default),
    };
    let (components, requests) = (number(1_000_000)?, number(100_000)?);
    let awake = number(1_000)?;
    let limits = HostLimits::default()
        .with_components(awake)
        .with_memory_bytes(awake << 20)
        .with_registered(components);
    let model = |services: HostServices| {
        Ok::<_, Box<dyn Error + Send + Sync>>(Arc::new(ModelEngine::new(services)))
    };
    let host = HostBuilder::new().with_limits(limits).start(model)?;

    let (before, began) = (resident_kib()?, Instant::now());
    register(&host, components).await?;
    let (took, kib) = (began.elapsed(), resident_kib()?.saturating_sub(before));
    println!(
        "{components} components registered in {took:.2?}, {} bytes each",
        (kib << 10) / components
    );

    let began = Instant::now();
    let most_awake = ask(&host, components, requests).await?;
    let took = began.elapsed();
    println!(
        "{requests} requests at random in {took:.2?}, {:.0} a second, each answered rightly; at most \
         {most_awake} of {awake} instances were seen at a time; {} MiB resident",
        requests as f64 / took.as_secs_f64(),
        resident_kib()? >> 10
    );
    host.stop().await;
    Ok(())
}

async fn register(
    host: &Host<ModelEngine>,
    components: u64,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
    let mut config = ComponentConfig::new(limits);
    config.permissions.storage = Some(1 << 10);
    let mut supervision = Supervision::default();
    supervision.start = StartPolicy::OnMessage;
    supervision.idle = Some(Duration::from_millis(5));
    for n in 0..components {
        let component = Component::new(id(n)?, STORED_COUNTER.wasm, config.clone());
        host.load(component.with_supervision(supervision)).await?;
    }
    Ok(())
}

/// Each counts in its storage how often it was asked, whatever instance it has by then. The
/// most instances that were seen at a time.
async fn ask(
    host: &Host<ModelEngine>,
    components: u64,
    requests: u64,
) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let host = host.clone();
        callers.push(tokio::spawn(async move {
            // Each caller has components of its own, so that it knows how often they were asked.
            let mut asked = std::collections::HashMap::new();
            let mut random = caller + 1;
            for _ in 0..requests / CALLERS {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let n = (random >> 33) % (components / CALLERS) * CALLERS + caller;
                let count: &mut u64 = asked.entry(n).or_default();
                *count += 1;
                let id = id(n).map_err(|error| error.to_string())?;
                let answer = host.request(&id, "", Duration::from_secs(60)).await;
                let answer = answer.map_err(|error| error.to_string())?;
                let expected = Some(count.to_string().into());
                if answer != expected {
                    return Err(format!("{id} said {answer:?}, not {expected:?}"));
                }
            }
            Ok(())
        }));
    }
    let most = Arc::new(AtomicU64::new(0));
    let watching = {
        let (host, most) = (host.clone(), Arc::clone(&most));
        tokio::spawn(async move {
            loop {
                let awake = host.instances();
                most.fetch_max(awake, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    for caller in callers {
        caller.await??;
    }
    watching.abort();
    Ok(most.load(Ordering::Relaxed))
}

fn id(n: u64) -> Result<ComponentId, Box<dyn Error + Send + Sync>> {
    Ok(ComponentId::new("many", &format!("c{n}"), "main")?)
}

/// What the process has in memory, as Linux tells.
fn resident_kib() -> Result<u64, Box<dyn Error + Send + Sync>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number
        .ok_or("the memory of this process is not known")?
        .parse()?)
}

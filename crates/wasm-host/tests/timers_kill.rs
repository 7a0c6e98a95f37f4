//! `kill -9` while a component sets timers and is sent them: none comes twice or early, and at
//! most the one that was being handled does not come.
//!
//! `WASM_HOST_TIMER_KILLS` is how often.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::sleep;

use wasm_core::guest::Guest;
use wasm_core::{
    ComponentConfig, ComponentId, ComponentMessage, ComponentStorage, GuestError, MessagePayload,
    ResourceLimits, TIMER_TYPE,
};
use wasm_host::{Component, Host, HostBuilder, RedbStorage};
use wasm_testkit::wasm_fixtures::ECHO;
use wasm_testkit::{ModelEngine, OwnAnswer};

/// Set for the process that is to be killed: the round and the file.
const VICTIM: &str = "WASM_HOST_TIMER_VICTIM";

const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    if let Ok(text) = env::var(VICTIM) {
        let outcome = set_until_killed(&text);
        eprintln!("{outcome:?}");
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::from_args();
    let trial = Trial::test(
        "each_timer_comes_once_whenever_the_process_is_killed",
        || survive().map_err(|error| Failed::from(error.to_string())),
    );
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn survive() -> Result<(), Failure> {
    let kills = env::var("WASM_HOST_TIMER_KILLS").map_or(Ok(10), |text| text.parse::<usize>())?;
    let folder = TempDir::new()?;
    let path = folder.path().join("store");
    let mut set = BTreeSet::new();
    for round in 0..kills {
        set.extend(kill_one(&path, round)?);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(&path, &set, kills))
}

/// The timers that were set before the process was killed, as it said.
fn kill_one(path: &Path, round: usize) -> Result<Vec<String>, Failure> {
    let mut victim = Command::new(env::current_exe()?)
        .env(VICTIM, format!("{round} {}", path.display()))
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = victim.stderr.take().ok_or("it has no stderr")?;
    let listening = thread::spawn(move || {
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        lines.collect::<Vec<_>>()
    });
    let now = SystemTime::UNIX_EPOCH.elapsed()?.subsec_micros();
    thread::sleep(Duration::from_millis(150 + u64::from(now % 400)));
    victim.kill()?;
    victim.wait()?;
    let lines = listening.join().map_err(|_| "nobody listened")?;
    let said = lines
        .iter()
        .map(|line| line.strip_prefix("set ").map(str::to_owned));
    said.collect::<Option<_>>()
        .ok_or_else(|| format!("round {round}: {lines:?}").into())
}

async fn check(path: &Path, set: &BTreeSet<String>, kills: usize) -> Result<(), Failure> {
    let storage = Arc::new(RedbStorage::open(path)?);
    let host = start(&storage).await?;
    // Whatever is left is due within 40 ms.
    let timers = ComponentId::new("host", "timers", "main")?;
    while !storage.list_keys(&timers, "", None, 1).await?.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    host.drain(PATIENCE).await?;
    let mut missing = 0;
    for timer in set {
        match storage.get(&alarm()?, timer).await?.as_deref() {
            Some(b"1") => {}
            None => missing += 1,
            Some(other) => {
                let found = String::from_utf8_lossy(other).into_owned();
                return Err(format!("timer {timer}: {found}").into());
            }
        }
    }
    println!(
        "{kills} kills: {} timers were set, {missing} were being handled when the process was \
         killed",
        set.len()
    );
    if set.is_empty() || missing > kills {
        return Err(format!("{missing} of {} timers did not come", set.len()).into());
    }
    host.stop().await;
    Ok(())
}

fn set_until_killed(text: &str) -> Result<(), Failure> {
    let (round, path) = text.split_once(' ').ok_or("what to do?")?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let storage = Arc::new(RedbStorage::open(path)?);
        let host = start(&storage).await?;
        for number in 0_u64.. {
            let delay = number * 7 % 40;
            let text = format!("{delay} {round}-{number}");
            if let Some(timer) = host.request(&alarm()?, text, PATIENCE).await? {
                eprintln!("set {}", String::from_utf8_lossy(timer.as_bytes()));
            }
        }
        Ok(())
    })
}

fn alarm() -> Result<ComponentId, Failure> {
    Ok(ComponentId::new("demo", "alarm", "main")?)
}

async fn start(storage: &Arc<RedbStorage>) -> Result<Host<ModelEngine>, Failure> {
    let id = alarm()?;
    let host = HostBuilder::new()
        .with_storage(Arc::clone(storage) as Arc<_>)
        .start(|services| {
            let engine = ModelEngine::new(services).with_host(&id, |host, message| {
                Box::pin(async move { handle(&host, message).await }) as OwnAnswer
            });
            Ok::<_, Failure>(Arc::new(engine))
        })?;
    let limits = ResourceLimits::new(1 << 20, PATIENCE, None)?;
    let mut config = ComponentConfig::new(limits);
    config.permissions.storage = Some(64 << 20);
    host.load(Component::new(id, ECHO.wasm, config)).await?;
    Ok(host)
}

/// `DELAY NAME` sets a timer that is due after so many milliseconds. What a timer does is to
/// count in the store how often it came, or to say there that it was early.
async fn handle(
    host: &Guest,
    message: ComponentMessage,
) -> Result<Option<MessagePayload>, GuestError> {
    let failed = |error: String| GuestError::RuntimeError(error);
    let text = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
    if message.message_type.as_deref() != Some(TIMER_TYPE) {
        let (delay, name) = text.split_once(' ').unwrap_or_default();
        let delay = delay.parse().unwrap_or_default();
        let timer = format!("{name}-{}", host.now().as_millis() + delay);
        let payload = Bytes::from(timer.clone());
        let set = host.set_timer(Duration::from_millis(delay), payload).await;
        // There may be too many.
        return Ok(set.ok().map(|_| timer.into()));
    }
    let due = text.rsplit('-').next().and_then(|due| due.parse().ok());
    let came = host
        .get(&text)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let count = match came {
        None if due.is_some_and(|due: u64| host.now().as_millis() < due) => "early",
        None => "1",
        Some(_) => "more than once",
    };
    let kept = host.set(&text, Bytes::from_static(count.as_bytes())).await;
    kept.map_err(|error| failed(error.to_string()))?;
    Ok(None)
}

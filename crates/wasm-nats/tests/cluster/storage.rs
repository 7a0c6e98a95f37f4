//! The suite of every storage, on a bucket.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use tokio::runtime::Runtime;

use wasm_core::ComponentStorage;
use wasm_testkit::suites::storage;

use crate::member::{Member, Setup, settled};
use crate::server::{NEEDED, Server, program};

/// One server for all cases, and everything that is on it.
static SERVER: Mutex<Option<(Server, Arc<Runtime>)>> = Mutex::new(None);
static APPS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn trials() -> Vec<Trial> {
    let is_missing = program().is_none();
    let cases = storage::cases().into_iter();
    let trials = cases.map(|case| {
        let trial = Trial::test(format!("suite::{}", case.name()), move || {
            if is_missing {
                return Err(NEEDED.into());
            }
            let outcome = case.run(Default::default(), subject);
            outcome.map_err(Into::into)
        });
        match is_missing {
            true => trial.with_kind(NEEDED).with_ignored_flag(true),
            false => trial,
        }
    });
    trials.collect()
}

/// Ends the server.
pub(crate) fn end() {
    if let Some((_server, runtime)) = SERVER.lock().unwrap().take()
        && let Ok(runtime) = Arc::try_unwrap(runtime).map_err(drop)
    {
        runtime.shutdown_background();
    }
}

/// The server, the name of an application that nobody has, and where it runs.
pub(crate) fn server() -> (String, String, Arc<Runtime>) {
    let mut server = SERVER.lock().unwrap();
    let (server, runtime) = server.get_or_insert_with(|| {
        let runtime = Runtime::new().expect("a runtime");
        (Server::start(), Arc::new(runtime))
    });
    let app = format!("app{}", APPS.fetch_add(1, Ordering::Relaxed));
    (server.url(), app, Arc::clone(runtime))
}

/// A storage in which nothing is kept: that of an application of its own.
fn subject() -> Arc<dyn ComponentStorage> {
    let (url, app, runtime) = server();
    // The case runs in a runtime already, which ends with it.
    std::thread::scope(|scope| {
        let made = scope.spawn(|| runtime.block_on(member(url, app)));
        let member = made.join().expect("a node");
        let storage = Arc::clone(&member.host.services().storage);
        // It owns everything until the process ends.
        std::mem::forget(member);
        storage
    })
}

async fn member(url: String, app: String) -> Member {
    let mut setup = Setup::new(url, Vec::new());
    setup.partitions = 4;
    setup.app = app;
    let member = setup.join("only").await;
    settled(4, &[&member]).await;
    member
}

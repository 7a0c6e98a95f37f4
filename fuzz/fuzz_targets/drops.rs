//! Futures of an engine that are dropped after any number of polls: nothing is lost,
//! and nobody waits for what is gone.

#![no_main]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use airssys_wasm_fuzz::{config, engine, finish, id, message, no_panic};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use wasm_testkit::wasm_fixtures::{COUNTER, SLEEPER, SPIN};

#[derive(Debug, Arbitrary)]
struct Step {
    what: What,
    /// After how many polls it is dropped.
    polls: u8,
    /// Whether the next poll waits until it has been woken.
    patient: bool,
}

#[derive(Debug, Arbitrary)]
enum What {
    Count,
    Sleep(u8),
    Spin,
    Health,
    Restart,
    LoadAnother,
}

/// Polls it so often, and lets it go.
async fn dropped_after<F: Future>(future: F, polls: u8, patient: bool) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..=polls {
        let once = poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        });
        if let Some(output) = once.await {
            return Some(output);
        }
        if patient {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    None
}

fuzz_target!(|steps: Vec<Step>| {
    let engine = engine();
    let load = |name: &str, wasm: &'static [u8]| {
        let id = id(name);
        finish(engine.load_component(&id, wasm.into(), config())).expect("fixtures load")
    };
    let counter = load("fuzz/counter/main", COUNTER.wasm);
    let sleeper = load("fuzz/sleeper/main", SLEEPER.wasm);
    let spinner = load("fuzz/spinner/main", SPIN.wasm);
    let call = |to, payload: Vec<u8>| {
        engine.call_handle_message(to, message(&id("fuzz/any/main"), payload))
    };
    for Step {
        what,
        polls,
        patient,
    } in steps.into_iter().take(12)
    {
        let polls = polls % 16;
        finish(async {
            match what {
                What::Count => {
                    dropped_after(call(&counter, vec![]), polls, patient).await;
                }
                What::Sleep(millis) => {
                    let payload = millis.to_string().into_bytes();
                    dropped_after(call(&sleeper, payload), polls, patient).await;
                }
                What::Spin => {
                    dropped_after(call(&spinner, b"go".to_vec()), polls, patient).await;
                }
                What::Health => {
                    dropped_after(engine.health(&counter), polls, patient).await;
                }
                What::Restart => {
                    dropped_after(engine.restart_component(&spinner), polls, patient).await;
                }
                What::LoadAnother => {
                    let id = id("fuzz/another/main");
                    let loading = engine.load_component(&id, COUNTER.wasm.into(), config());
                    if let Some(Ok(handle)) = dropped_after(loading, polls, patient).await {
                        drop(engine.unload_component(&handle).await);
                    }
                }
            }
        });
    }
    // Whatever was dropped, who is asked now answers.
    let counted = no_panic(finish(call(&counter, vec![]))).flatten();
    assert!(counted.is_some(), "the counter answers");
    finish(engine.restart_component(&spinner)).expect("the spinner starts again");
    let reply = finish(call(&spinner, b"ok".to_vec())).expect("and answers");
    assert_eq!(reply, Some("ok".into()));
    for handle in [counter, sleeper, spinner] {
        no_panic(finish(engine.unload_component(&handle)));
    }
});

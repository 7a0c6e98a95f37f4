//! Asks an actor 64 bytes, one question after the other: a component of a host on the model
//! engine, that engine alone, an actor of kameo and one of ractor. Then two unrelated pairs at
//! a time, on one worker and on two.
//!
//! ```text
//! cargo run --release --manifest-path bench/actors/Cargo.toml [QUESTIONS]
//! ```

use std::env;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kameo::Actor as KameoActor;
use kameo::message::{Context, Message};
use ractor::{Actor as RactorActor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::runtime::Builder;
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, HostServices, ResourceLimits,
    RuntimeEngine,
};
use wasm_host::{Component, Host, HostBuilder};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

type Failure = Box<dyn Error + Send + Sync>;

const PAYLOAD: Bytes = Bytes::from_static(&[7; 64]);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(KameoActor)]
struct Echo;

struct Ask(Bytes);

#[derive(kameo::Reply)]
struct Answer(Bytes);

impl Message<Ask> for Echo {
    type Reply = Answer;

    async fn handle(&mut self, Ask(bytes): Ask, _: &mut Context<Self, Self::Reply>) -> Answer {
        Answer(bytes)
    }
}

struct RactorEcho;

enum RactorAsk {
    Ask(Bytes, RpcReplyPort<Bytes>),
}

impl RactorActor for RactorEcho {
    type Msg = RactorAsk;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<RactorAsk>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<RactorAsk>,
        RactorAsk::Ask(bytes, reply): RactorAsk,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // Whoever asked may be gone.
        let _ = reply.send(bytes);
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let questions = env::args()
        .nth(1)
        .map_or(Ok(200_000), |text| text.parse())?;
    for workers in [1, 2] {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()?;
        runtime.block_on(async { tokio::spawn(measure(workers, questions)).await? })?;
    }
    Ok(())
}

/// What is compared is done by turns, as often as this: what else the machine does then is the
/// same for all.
const TURNS: usize = 21;

/// Messages that wait at a time, at the most.
const MESSAGES: u32 = 1_000;

async fn measure(workers: usize, questions: u32) -> Result<(), Failure> {
    let (host, handles) = host().await?;
    let engine = Arc::clone(host.engine());
    let handle = handles[0].clone();
    let message = || {
        let id = handle.id().clone();
        ComponentMessage::new(id.clone(), id, PAYLOAD)
    };
    let to = handle.id();
    let actor = <Echo as KameoActor>::spawn(Echo);
    let (other, _) = ractor::Actor::spawn(None, RactorEcho, ()).await?;
    let some = questions / TURNS as u32;
    let (mut alone, mut hosted, mut kameo, mut ractor) = (vec![], vec![], vec![], vec![]);
    let (mut share, mut sent) = (vec![], vec![]);
    for _ in 0..TURNS {
        let call = time(some, || async {
            engine
                .call_handle_message(&handle, message())
                .await
                .map(drop)
        });
        let call = call.await?;
        let ask = time(some, || async {
            host.request(to, PAYLOAD, PATIENCE).await.map(drop)
        });
        let ask = ask.await?;
        let native = time(some, || async {
            actor
                .ask(Ask(PAYLOAD))
                .await
                .map(|Answer(bytes)| drop(bytes))
        });
        let native = native.await?;
        ractor.push(
            time(some, || async {
                ractor::call!(other, RactorAsk::Ask, PAYLOAD).map(drop)
            })
            .await?,
        );
        let crowds = time(some / MESSAGES + 1, || async {
            for _ in 0..MESSAGES {
                host.send(to, PAYLOAD)?;
            }
            host.drain(PATIENCE).await.map_err(Failure::from)
        });
        sent.push(crowds.await? / f64::from(MESSAGES) / call);
        share.push((ask - call) / native);
        alone.push(call);
        hosted.push(ask);
        kameo.push(native);
    }
    println!(
        "{workers} workers: host {:.0} ns, of which the engine's call {:.0} ns; kameo {:.0} ns, \
         ractor {:.0} ns",
        median(hosted),
        median(alone),
        median(kameo),
        median(ractor)
    );
    println!(
        "  the host's own share is {:.2} kameo's asks",
        median(share)
    );
    println!(
        "  {MESSAGES} messages take {:.2} of as many calls of the engine",
        median(sent)
    );
    println!(
        "  two unrelated pairs at a time: {:.0} ns for each question",
        pairs(&host, handles, questions).await?
    );
    host.stop().await;
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds of a question, where each component is asked by somebody of its own.
async fn pairs(
    host: &Host<ModelEngine>,
    handles: Vec<ComponentHandle>,
    questions: u32,
) -> Result<f64, Failure> {
    let mut figures = Vec::new();
    let some = questions / TURNS as u32;
    for _ in 0..TURNS {
        let began = Instant::now();
        let asked = handles.iter().cloned().map(|handle| {
            let host = host.clone();
            tokio::spawn(async move {
                let to = handle.id();
                for _ in 0..some {
                    host.request(to, PAYLOAD, PATIENCE).await?;
                }
                Ok::<_, Failure>(())
            })
        });
        for asked in asked.collect::<Vec<_>>() {
            asked.await??;
        }
        figures.push(began.elapsed().as_secs_f64() / f64::from(some) / 2.0 * 1e9);
    }
    Ok(median(figures))
}

async fn host() -> Result<(Host<ModelEngine>, Vec<ComponentHandle>), Failure> {
    let model = |services: HostServices| Ok::<_, Failure>(Arc::new(ModelEngine::new(services)));
    let host = HostBuilder::new().start(model)?;
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), Some(1_000_000))?;
    let mut handles = Vec::new();
    for name in ["one", "other"] {
        let id = ComponentId::new("demo", name, "main")?;
        let component = Component::new(id, ECHO.wasm, ComponentConfig::new(limits));
        handles.extend(host.load(component).await?);
    }
    Ok((host, handles))
}

/// Nanoseconds of a question, of which some are asked first to warm up.
async fn time<F, T, X>(questions: u32, ask: impl Fn() -> F) -> Result<f64, Failure>
where
    F: Future<Output = Result<T, X>>,
    X: Into<Failure>,
{
    for _ in 0..questions / 10 {
        ask().await.map_err(Into::into)?;
    }
    let began = Instant::now();
    for _ in 0..questions {
        ask().await.map_err(Into::into)?;
    }
    Ok(began.elapsed().as_secs_f64() / f64::from(questions) * 1e9)
}

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
    let questions = env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    for workers in [1, 2] {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()?;
        runtime.block_on(async { tokio::spawn(measure(workers, questions)).await? })?;
    }
    Ok(())
}

async fn measure(workers: usize, questions: u32) -> Result<(), Failure> {
    let (host, handles) = host().await?;
    let engine = Arc::clone(host.engine());
    let handle = handles[0].clone();
    let alone = time(questions, || {
        let id = handle.id().clone();
        let message = ComponentMessage::new(id.clone(), id, PAYLOAD);
        let (engine, handle) = (&engine, &handle);
        async move { engine.call_handle_message(handle, message).await.map(drop) }
    });
    let alone = alone.await?;
    let to = handle.id();
    let hosted = time(questions, || async { host.request(to, PAYLOAD, PATIENCE).await.map(drop) });
    let hosted = hosted.await?;
    let actor = <Echo as KameoActor>::spawn(Echo);
    let kameo = time(questions, || async {
        actor.ask(Ask(PAYLOAD)).await.map(|Answer(bytes)| drop(bytes))
    });
    let kameo = kameo.await?;
    let (actor, _) = ractor::Actor::spawn(None, RactorEcho, ()).await?;
    let ractor = time(questions, || async {
        ractor::call!(actor, RactorAsk::Ask, PAYLOAD).map(drop)
    });
    let ractor = ractor.await?;
    println!(
        "{workers} workers: host {hosted:.0} ns, of which the engine's call {alone:.0} ns; \
         kameo {kameo:.0} ns, ractor {ractor:.0} ns"
    );
    println!("  the host's own share is {:.2} kameo's asks", (hosted - alone) / kameo);
    let began = Instant::now();
    let pairs = handles.into_iter().map(|handle| {
        let host = host.clone();
        tokio::spawn(async move {
            let to = handle.id();
            time(questions, || async { host.request(to, PAYLOAD, PATIENCE).await.map(drop) }).await
        })
    });
    for pair in pairs.collect::<Vec<_>>() {
        pair.await??;
    }
    let each = began.elapsed().as_secs_f64() / f64::from(questions) / 2.0 * 1e9;
    println!("  two unrelated pairs at a time: {each:.0} ns for each question");
    host.stop().await;
    Ok(())
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

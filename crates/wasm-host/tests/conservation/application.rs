//! Does to a host what a plan says.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::slice;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};

use wasm_core::{
    ComponentId, ComponentMessage, ComponentStorage, HostServices, MemoryStorage, MessageRouter,
    RuntimeEngine,
};
use wasm_host::{
    BudgetExceeded, Component, Event, Events, Host, HostBuilder, HostError, LetterKind, Phase,
    RequestError,
};

use super::judge::{Law, judge};
use super::ledger::{Accepted, Awaited, Ledger, timestamp, told};
use super::plan::{Action, Build, End, Patience, Plan, id, permissions};
use super::timers::{FailingStorage, WatchedTimers, alarm};
use super::watched::{WatchedEngine, WatchedRouter, Weather};
use super::{Redelivery, Setting, Tally, Time};

type TheHost = Host<dyn RuntimeEngine>;

/// What came of an application.
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<String>,
    pub(crate) tally: Tally,
}

/// Runs an application from its beginning to its end.
pub(crate) async fn run(plan: &Plan, setting: &Setting) -> Verdict {
    // What another application left on this thread.
    told();
    let ledger = Arc::new(Ledger::default());
    let mut application = Application::start(plan, *setting, Arc::clone(&ledger));
    let patience = setting.patience();
    let hangs = timeout(patience, application.live(plan)).await.is_err();
    if hangs {
        let left = application.what_is_left().await;
        ledger.book().wrong.extend(left);
        application.leave();
    } else {
        application.end().await;
    }
    let mut book = ledger.book();
    let law = Law {
        stopped: plan.end != End::Drops,
        slack: setting.slack(),
        one_thread: setting.is_one_thread(),
    };
    // Of one that hangs, all else would be wrong too.
    let wrong = match hangs {
        true => mem::take(&mut book.wrong),
        false => judge(&mut book, law),
    };
    Verdict {
        wrong,
        tally: mem::take(&mut book.tally),
    }
}

struct Application {
    host: Option<TheHost>,
    setting: Setting,
    ledger: Arc<Ledger>,
    weather: Arc<Weather>,
    memory: Arc<MemoryStorage>,
    engine: Weak<WatchedEngine>,
    events: Option<Events>,
    /// What goes on in the background, with its action.
    tasks: Vec<(String, JoinHandle<()>)>,
    /// For who wonders what takes so long.
    doing: String,
}

impl Application {
    fn start(plan: &Plan, setting: Setting, ledger: Arc<Ledger>) -> Self {
        let weather = Arc::new(Weather::new(plan.seed, plan.faults, setting.scale()));
        let router = {
            let (ledger, weather) = (Arc::clone(&ledger), Arc::clone(&weather));
            move |own| {
                Arc::new(WatchedRouter {
                    inner: (setting.router)(own),
                    ledger,
                    weather,
                }) as Arc<dyn MessageRouter>
            }
        };
        let mut watched = Weak::new();
        let engine = |services: HostServices| {
            let timers = WatchedTimers {
                inner: (setting.timers)(Arc::clone(&services.timers)),
                ledger: Arc::clone(&ledger),
            };
            let services = services.with_timers(Arc::new(timers));
            let engine = Arc::new(WatchedEngine {
                inner: (setting.engine)(services),
                ledger: Arc::clone(&ledger),
                weather: Arc::clone(&weather),
            });
            watched = Arc::downgrade(&engine);
            Ok::<_, Infallible>((setting.around)(engine))
        };
        let memory = Arc::new(MemoryStorage::new());
        let storage = FailingStorage {
            inner: (setting.storage)(Arc::clone(&memory) as Arc<_>),
            weather: Arc::clone(&weather),
        };
        let host = HostBuilder::new()
            .with_storage(Arc::new(storage))
            .with_limits(plan.limits.clone())
            .with_clock(Arc::clone(&ledger) as Arc<_>)
            .with_router(router)
            .start(engine);
        let host = match host {
            Ok(host) => host,
            Err(never) => match never {},
        };
        Self {
            events: plan.listens.then(|| host.events()),
            host: Some(host),
            setting,
            ledger,
            weather,
            memory,
            engine: watched,
            tasks: Vec::new(),
            doing: String::new(),
        }
    }

    fn host(&self) -> &TheHost {
        self.host.as_ref().unwrap()
    }

    async fn live(&mut self, plan: &Plan) {
        for (number, action) in plan.actions.iter().enumerate() {
            self.doing = format!("{number}. {action}");
            self.act(action.clone()).await;
        }
        self.doing = "the end".to_owned();
        match plan.end {
            End::Drops => return,
            End::Stops => {}
            End::DrainsAndStops => {
                self.drain().await;
                self.join().await;
                if self.setting.time == Time::Paused && !plan.stops_early() {
                    // What was begun by a future that was dropped comes to its end.
                    sleep(self.setting.time(60_000)).await;
                    self.drain().await;
                    self.fits().await;
                }
            }
            End::ReloadsAndStops => {
                self.reload(plan.limits.components).await;
                self.join().await;
            }
        }
        self.stop(plan).await;
    }

    async fn act(&mut self, action: Action) {
        let host = self.host().clone();
        let ledger = Arc::clone(&self.ledger);
        match action {
            Action::Load(slot, build, patience) => {
                let component = build.component(id(slot), self.setting.scale());
                let load = async move { ledger.count(&of("load", &host.load(component).await)) };
                self.begin(patience, load).await;
            }
            Action::Unload(slot, patience) => {
                let unload =
                    async move { ledger.count(&of("unload", &host.unload(&id(slot)).await)) };
                self.begin(patience, unload).await;
            }
            Action::Swap(slot, build, patience) => {
                let component = build.component(id(slot), self.setting.scale());
                let swap = async move { ledger.count(&of("swap", &host.swap(component).await)) };
                self.begin(patience, swap).await;
            }
            Action::Restart(slot, patience) => {
                let restart =
                    async move { ledger.count(&of("restart", &host.restart(&id(slot)).await)) };
                self.begin(patience, restart).await;
            }
            Action::Health(slot, patience) => {
                let health =
                    async move { ledger.count(&of("health", &host.health(&id(slot)).await)) };
                self.begin(patience, health).await;
            }
            Action::Send(slot, text) => {
                self.send(&[id(slot)], &text);
            }
            Action::Burst(slot, text, times) => {
                for _ in 0..times {
                    self.send(&[id(slot)], &text);
                }
            }
            Action::Broadcast(slots, text) => {
                let ids: Vec<_> = slots.into_iter().map(id).collect();
                self.send(&ids, &text);
            }
            Action::Request(slot, text, timeout, gives_up) => {
                let time = |millis: u64| self.setting.time(millis);
                self.request(id(slot), text, time(timeout), gives_up.map(time))
                    .await;
            }
            Action::Cancel(which, someone) => self.cancel(which, someone.map(id)),
            Action::Break(slot) => {
                if let Some(handle) = ledger.handle(&id(slot)) {
                    ledger.breaks(&handle);
                }
            }
            Action::Remove(slot) => {
                if let (Some(handle), Some(engine)) =
                    (ledger.handle(&id(slot)), self.engine.upgrade())
                {
                    // Whatever its shutdown says.
                    let _ = engine.inner.unload_component(&handle).await;
                }
            }
            Action::Permit(slot, permitted) => {
                // It need not be loaded.
                let _ = host.set_permissions(&id(slot), permissions(permitted));
            }
            Action::Sleep(millis) => sleep(self.setting.time(millis)).await,
            Action::Yield(times) => {
                for _ in 0..times {
                    yield_now().await;
                }
            }
            Action::Drain(millis) => {
                // It need not be quiet by then.
                let _ = host.drain(self.setting.time(millis)).await;
            }
            Action::Status => drop(host.status().await),
            Action::Redeliver(letters) => self.redeliver(letters),
            Action::SetTimer(millis) => {
                if self.setting.has_alarm {
                    // Mostly it is there already.
                    let _ = host.load(self.alarm()).await;
                    let micros = self.setting.time(millis).as_micros();
                    self.send(&[alarm()], &format!("timer {micros}"));
                }
            }
            Action::CancelTimer => {
                if self.setting.has_alarm {
                    self.send(&[alarm()], "untimer");
                }
            }
            Action::TakeDeadLetters => ledger.book().dead.extend(host.take_dead_letters()),
            Action::Stop(patience) => self.begin(patience, async move { host.stop().await }).await,
        }
    }

    async fn begin(
        &mut self,
        patience: Patience,
        action: impl Future<Output = ()> + Send + 'static,
    ) {
        match patience {
            Patience::Waits => action.await,
            Patience::InBackground => {
                let task = (self.doing.clone(), tokio::spawn(action));
                self.tasks.push(task);
            }
            Patience::Leaves => {
                let mut action = Box::pin(action);
                poll_fn(|cx| Poll::Ready(action.as_mut().poll(cx).is_ready())).await;
            }
        }
    }

    fn send(&self, to: &[ComponentId], text: &str) -> Accepted {
        told();
        let outcome = match to {
            [to] => self.host().send(to, text.to_owned()),
            to => self.host().broadcast(to, text.to_owned()),
        };
        let letters = told();
        if letters.len() != to.len() {
            self.wrong(format!(
                "{} messages were stamped instead of {}",
                letters.len(),
                to.len()
            ));
        }
        let accepted = match &outcome {
            Ok(()) => Accepted::Yes,
            Err(_) if to.len() == 1 => Accepted::No,
            // Some of them may have been accepted.
            Err(_) => Accepted::Maybe,
        };
        for (letter, to) in letters.into_iter().zip(to) {
            let message = self.message(letter, to, text);
            self.ledger.offers(letter, &message, LetterKind::Message);
            self.ledger.settles(letter, accepted);
        }
        accepted
    }

    fn message(&self, letter: u64, to: &ComponentId, text: &str) -> ComponentMessage {
        let program = self.host().program_id().clone();
        ComponentMessage::new(program, to.clone(), text.to_owned())
            .with_timestamp(timestamp(letter))
    }

    async fn request(
        &mut self,
        to: ComponentId,
        text: String,
        within: Duration,
        gives_up: Option<Duration>,
    ) {
        let host = self.host().clone();
        let asked = Instant::now();
        let mut request = {
            let (to, text) = (to.clone(), text.clone());
            Box::pin(async move { host.request(&to, text, within).await })
        };
        told();
        let first = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
        let [letter] = told()[..] else {
            return self.wrong("a request was not stamped once".to_owned());
        };
        let message = self.message(letter, &to, &text);
        self.ledger.offers(letter, &message, LetterKind::Request);
        // One that is accepted waits; but another thread may have answered it already.
        let accepted = match &first {
            Poll::Ready(Err(RequestError::Messaging(_))) if self.setting.is_one_thread() => {
                Accepted::No
            }
            Poll::Ready(Err(RequestError::Messaging(_))) => Accepted::Maybe,
            Poll::Ready(_) | Poll::Pending => Accepted::Yes,
        };
        self.ledger.settles(letter, accepted);
        let outcome = match first {
            Poll::Ready(outcome) => Some((Instant::now(), outcome)),
            Poll::Pending => None,
        };
        let is_open = outcome.is_none();
        let place = {
            let mut book = self.ledger.book();
            book.answers.push(Awaited {
                letter,
                asked,
                timeout: within,
                given_up: is_open && gives_up == Some(Duration::ZERO),
                outcome,
            });
            book.answers.len() - 1
        };
        if !is_open || gives_up == Some(Duration::ZERO) {
            return;
        }
        let ledger = Arc::clone(&self.ledger);
        let answered = tokio::spawn(async move {
            let outcome = match gives_up {
                Some(after) => timeout(after, request).await.ok(),
                None => Some(request.await),
            };
            let mut book = ledger.book();
            match outcome {
                Some(outcome) => book.answers[place].outcome = Some((Instant::now(), outcome)),
                None => book.answers[place].given_up = true,
            }
        });
        self.tasks.push((self.doing.clone(), answered));
    }

    /// Tells a component to cancel a request, for which [`CALLBACK`] has a command.
    ///
    /// [`CALLBACK`]: wasm_testkit::wasm_fixtures::CALLBACK
    fn cancel(&self, which: u64, someone: Option<ComponentId>) {
        let found = {
            let book = self.ledger.book();
            // Rather one of the latest, which may be open.
            let latest = book.asked.len().min(3) as u64;
            which.checked_rem(latest).map(|back| {
                let request = &book.asked[book.asked.len() - 1 - back as usize];
                (request.clone(), book.requests[request].requester.clone())
            })
        };
        if let Some((request, requester)) = found {
            let to = someone.unwrap_or(requester);
            self.send(&[to], &format!("cancel {request}"));
        }
    }

    fn alarm(&self) -> Component {
        let mut build = Build::plain();
        build.mailbox = 64;
        build.max_restarts = Some(1_000);
        build.idle = Some(50);
        let mut alarm = build.component(alarm(), self.setting.scale());
        alarm.config.permissions.storage = Some(1 << 10);
        alarm
    }

    fn redeliver(&self, letters: usize) {
        let mut left = letters;
        for dead in self.host().dead_letters() {
            if left == 0 || matches!(dead.kind, LetterKind::Callback | LetterKind::Timer) {
                continue;
            }
            left -= 1;
            let number = dead.number;
            if self.setting.redelivery == Redelivery::Loses {
                let kept = self.host().take_dead_letters();
                let mut book = self.ledger.book();
                book.dead
                    .extend(kept.into_iter().filter(|it| it.number != number));
                book.redelivered.push(dead);
                return;
            }
            // It may have been delivered again before, and its recipient may be gone.
            match self.host().redeliver(number) {
                Ok(()) => {
                    let mut book = self.ledger.book();
                    book.count("redelivered");
                    if self.setting.redelivery == Redelivery::Keeps {
                        book.dead.push(dead.clone());
                    }
                    book.redelivered.push(dead);
                }
                Err(_) => self.ledger.count("not redelivered"),
            }
        }
    }

    /// What the store has of timers.
    async fn read_timers(&self) {
        let owner = ComponentId::new("host", "timers", "main").unwrap();
        let keys = self.memory.list_keys(&owner, "", None, usize::MAX).await;
        let timers = keys.into_iter().flatten().filter_map(|key| {
            let (_, number) = key.rsplit_once('/')?;
            u64::from_str_radix(number, 16).ok()
        });
        self.ledger.book().kept.extend(timers);
    }

    fn wrong(&self, what: String) {
        self.ledger.book().wrong.push(what);
    }

    async fn join(&mut self) {
        for (_, task) in &mut self.tasks {
            if let Err(error) = task.await {
                let wrong = format!("a task of the program: {error}");
                self.ledger.book().wrong.push(wrong);
            }
        }
        self.tasks.clear();
    }

    async fn drain(&self) {
        if let Err(error) = self.host().drain(self.setting.patience() / 4).await {
            self.wrong(format!("not drained: {error}"));
        }
    }

    /// Where nothing waits, there is room.
    async fn fits(&mut self) {
        self.doing = "to send once more".to_owned();
        self.weather.calms_down();
        for status in self.host().status().await {
            // As it is now: one that is restarted over such a message may send to others.
            let id = status.id;
            let is_free = self
                .host()
                .component(&id)
                .await
                .is_some_and(|status| status.phase == Phase::Ready && status.waiting == 0);
            if is_free && self.send(slice::from_ref(&id), "ok") != Accepted::Yes {
                self.wrong(format!("no room for a message to {id}"));
            }
            self.drain().await;
        }
    }

    /// What is unloaded leaves room for others.
    async fn reload(&mut self, components: u64) {
        // What is still in the background may load something: first it is done.
        self.doing = "to unload all".to_owned();
        self.join().await;
        let host = self.host().clone();
        loop {
            let loaded = host.status().await;
            if loaded.is_empty() {
                break;
            }
            for status in loaded {
                // Whatever its shutdown says.
                let _ = host.unload(&status.id).await;
            }
        }
        self.doing = "to load all".to_owned();
        self.weather.calms_down();
        let plain = Build::plain();
        for number in 0..=components {
            let name = ComponentId::new("full", &format!("x{number}"), "main").unwrap();
            let outcome = host.load(plain.component(name, self.setting.scale())).await;
            let is_right = match &outcome {
                Ok(_) => number < components,
                Err(HostError::Budget {
                    source: BudgetExceeded::Components { .. },
                    ..
                }) => number == components,
                // Stopped before.
                Err(HostError::Stopped) => true,
                Err(_) => false,
            };
            if !is_right {
                self.wrong(format!(
                    "number {number} of {components} components: {outcome:?}"
                ));
            }
        }
    }

    async fn stop(&mut self, plan: &Plan) {
        self.doing = "to stop".to_owned();
        let host = self.host().clone();
        let began = Instant::now();
        host.stop().await;
        let took = began.elapsed();
        if took > self.setting.longest_stop() {
            self.wrong(format!("stopping took {took:?}"));
        }
        self.doing = "to come to an end".to_owned();
        self.join().await;
        if let Err(error) = host.drain(Duration::ZERO).await {
            self.wrong(format!("after the stop: {error}"));
        }
        let left = host.status().await;
        if !left.is_empty() {
            self.wrong(format!("after the stop: {left:?}"));
        }
        let component = Build::plain().component(id(0), self.setting.scale());
        let refused = host.load(component).await;
        if !matches!(refused, Err(HostError::Stopped)) {
            self.wrong(format!("after the stop: loading is {refused:?}"));
        }
        self.send(&[id(0)], "late");
        let dead = host.take_dead_letters();
        self.ledger.book().dead.extend(dead);
        self.read_timers().await;
        self.ledger.count(&format!("ended: {}", plan.end.as_str()));
        if let Some(events) = self.events.take() {
            self.doing = "to tell of the end".to_owned();
            self.read(events).await;
        }
    }

    /// Everything that was handled or given up was told.
    async fn read(&self, mut events: Events) {
        let (mut handled, mut dead) = (0, 0);
        loop {
            match events.next().await {
                Some(Event::Message {
                    kind: LetterKind::Timer,
                    ..
                }) => {}
                Some(Event::Message { .. }) => handled += 1,
                Some(Event::Slept { .. }) => self.ledger.count("slept"),
                Some(Event::Woke { .. }) => self.ledger.count("woke"),
                Some(Event::DeadLetter { .. }) => dead += 1,
                Some(Event::Missed { .. }) => return,
                Some(Event::Stopped) => break,
                Some(_) => {}
                None => return self.wrong("the events end without a stop".to_owned()),
            }
        }
        let mut book = self.ledger.book();
        let found = book.dead.len() + book.redelivered.len();
        if dead != found {
            book.wrong
                .push(format!("{found} dead letters, of which {dead} were told"));
        }
        let answered = book.calls.iter().filter(|call| call.was_handled()).count();
        if handled != answered {
            book.wrong.push(format!(
                "{answered} were handled, of which {handled} were told"
            ));
        }
    }

    /// What an application that does not end waits for.
    async fn what_is_left(&self) -> Vec<String> {
        let mut left = vec![format!("does not end: {}", self.doing)];
        let open = self.tasks.iter().filter(|(_, task)| !task.is_finished());
        left.extend(open.map(|(action, _)| format!("has not ended: {action}")));
        // An engine that hangs does not tell either.
        let status = timeout(Duration::from_secs(1), self.host().status()).await;
        let there = status.into_iter().flatten();
        left.extend(there.map(|status| format!("is there: {status:?}")));
        left
    }

    /// Without waiting for anything.
    fn leave(&mut self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
        self.host = None;
    }

    /// Nothing is left of a host that is dropped.
    async fn end(&mut self) {
        let host = self.host.take();
        self.events = None;
        for (_, task) in &self.tasks {
            task.abort();
        }
        for (_, task) in self.tasks.drain(..) {
            // It was given up.
            let _ = task.await;
        }
        let dead = host.as_ref().map(TheHost::take_dead_letters);
        self.ledger.book().dead.extend(dead.into_iter().flatten());
        drop(host);
        // Calls that have begun end in their own time.
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let until = Instant::now() + self.setting.patience() / 4;
        while (self.engine.strong_count() > 0 || tasks() > 0) && Instant::now() < until {
            sleep(self.setting.time(10)).await;
        }
        if self.engine.strong_count() > 0 {
            self.wrong("the engine outlives the host".to_owned());
        }
        if tasks() > 0 {
            self.wrong(format!("{} tasks outlive the host", tasks()));
        }
    }
}

fn of<T>(what: &str, outcome: &Result<T, HostError>) -> String {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(HostError::AlreadyLoaded(_)) => "already loaded",
        Err(HostError::NotLoaded(_)) => "not loaded",
        Err(HostError::Budget { .. } | HostError::NoRoomForBoth { .. }) => "budget",
        Err(HostError::Engine(_)) => "engine",
        Err(HostError::Superseded(_)) => "superseded",
        Err(HostError::Stopped) => "stopped",
        Err(_) => "other",
    };
    format!("{what}: {outcome}")
}

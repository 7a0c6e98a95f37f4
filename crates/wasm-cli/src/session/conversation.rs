use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::consume_budget;
use tokio::time::{sleep, timeout};

use wasm_core::text::{PathText as _, Quoted};
use wasm_core::units::{format_bytes, format_duration};
use wasm_core::{ComponentId, ComponentMessage, MessagePayload, MessagingError, WasmError};
use wasm_host::{
    Component, DeadLetter, Event, Events, HandledMessages, Host, HostError, LetterKind, Phase,
    Reply, RequestError,
};
use wasm_nats::Node;
use wasm_runtime::WasmtimeEngine;

use crate::input::application::Application;
use crate::input::line::{HELP, Line};
use crate::input::message::{Message, TooLong, Typed, unreadable_input};
use crate::input::source::Source;
use crate::output;
use crate::output::outcome::Stop;
use crate::output::reply::shown;
use crate::output::report::{Problems, Report, aside, size};
use crate::output::table;
use crate::session::asked::{Answer, Asked, Number, Outcome};
use crate::session::call::expression::Expression;
use crate::session::call::names::SharedNames;
use crate::session::nodes::{lost_letters, nodes};

/// What takes longer is worth a line, or it looks as if nothing happened.
pub(crate) const SLOW: Duration = Duration::from_millis(500);
/// How long the next line waits for what the last one set going; for its reply too, if
/// someone types.
const SETTLE: Duration = Duration::from_secs(1);
/// Every request has a timeout of its own.
const UNTIL_ANSWERED: Duration = Duration::MAX;
/// A failure is told to whoever waits for the answer in less.
const AT_ONCE: Duration = Duration::from_millis(100);
/// What takes longer to end is named: longer than a host goes on delivering.
const SLOW_END: Duration = Duration::from_millis(1500);
/// As many as a host keeps: messages, those that were answered with an error, what was refused,
/// and others.
const KEPT_EVENTS: usize = 4 * 1024;
/// More than work brings before it lets others go on.
const EVENTS_AT_A_TIME: usize = 256;
/// An event comes soon after the answer that told of it, or never.
const KEPT_REPORTED: usize = 16;
/// More would hide the error above them.
const SHOWN_IDS: usize = 20;
/// The latest; the table of them is no archive.
const SHOWN_DEAD_LETTERS: usize = 20;
/// Of a line besides its message: the longest id, and a word before it.
pub(crate) const ADDRESS_BYTES: u64 = 256;

/// Lines to the components of a host, and what comes back.
pub(crate) struct Conversation {
    host: Host<WasmtimeEngine>,
    application: Arc<Application>,
    /// Of a host that is one of several.
    node: Option<Arc<Node>>,
    events: Events,
    timeout: Duration,
    verbose: bool,
    /// Someone types, knows which line it was, and may wonder why there is no reply.
    interactive: bool,
    /// What the lines asked for.
    asked: Asked,
    /// Of resources that calls were told to keep.
    names: BTreeMap<ComponentId, SharedNames>,
    /// Since when what is announced as being compiled is.
    compiling: BTreeMap<ComponentId, Instant>,
    /// What a report has said need not be said by an event.
    reported: VecDeque<Arc<WasmError>>,
    failed: bool,
    /// So many are being loaded that a line for each would hide what matters.
    loading_many: bool,
    stopping: bool,
}

/// Waits until another process has the name of a node, if there is one.
async fn replaced(node: Option<&Node>) {
    match node {
        Some(node) => node.replaced().await,
        None => pending().await,
    }
}

impl Conversation {
    pub(crate) fn new(
        host: Host<WasmtimeEngine>,
        application: Arc<Application>,
        timeout: Duration,
        verbose: bool,
        interactive: bool,
    ) -> Self {
        let messages = match verbose {
            true => HandledMessages::All,
            // Nothing else tells of an error that nobody waits for.
            false => HandledMessages::Errors,
        };
        Self {
            events: host.events().with_messages(messages),
            host,
            application,
            node: None,
            timeout,
            verbose,
            interactive,
            asked: Asked::default(),
            names: BTreeMap::new(),
            compiling: BTreeMap::new(),
            reported: VecDeque::new(),
            failed: false,
            loading_many: false,
            stopping: false,
        }
    }

    /// Its components are shared with other nodes.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        self.node = Some(node);
    }

    /// The node that shares its components with others, if it is one.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// A line was not understood, or a message not answered well.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Loads every component; the reports about all that cannot be. With `keep_going` these are
    /// printed, and the others stay, if there are any.
    pub(crate) async fn load(&mut self, keep_going: bool) -> Result<(), Stop> {
        let sources = self.application.sources();
        let components: Vec<Component> = sources.iter().map(|source| source.component()).collect();
        self.loading_many = sources.len() > SHOWN_IDS;
        let host = self.host.clone();
        let began = Instant::now();
        let mut loading = pin!(host.load_all(components));
        let mut slow = pin!(sleep(SLOW));
        let mut is_slow = false;
        let loaded = loop {
            tokio::select! {
                biased;
                loaded = &mut loading => break loaded,
                Some(event) = self.events.next() => {
                    self.show(&event);
                    self.show_pending().await;
                }
                () = &mut slow, if !is_slow => {
                    is_slow = true;
                    self.announce(&sources, began).await;
                }
            }
        };
        self.show_pending().await;
        self.compiling.clear();
        let many = mem::take(&mut self.loading_many);
        let mut missing = 0;
        let mut reports = Vec::new();
        for (source, loaded) in sources.iter().zip(loaded) {
            if let Err(error) = loaded {
                reports.push(explain(source, &error));
                if keep_going {
                    self.application.remove(&source.id);
                    missing += 1;
                }
            }
        }
        if !reports.is_empty() {
            let problems = Problems::from_iter(reports);
            if !keep_going || missing == sources.len() {
                return Err(problems.into());
            }
            problems.tell().await;
            self.failed = true;
        }
        if many {
            aside(match sources.len() - missing {
                1 => "1 component is loaded".to_owned(),
                loaded => format!("{loaded} components are loaded"),
            });
        }
        Ok(())
    }

    /// Says of what is not loaded yet that it takes its time.
    async fn announce(&mut self, sources: &[Arc<Source>], began: Instant) {
        let mut waiting = Vec::new();
        for source in sources {
            let status = self.host.component(&source.id).await;
            if status.is_some_and(|status| status.handle.is_none()) {
                waiting.push(source);
            }
        }
        if waiting.len() > SHOWN_IDS {
            let (waiting, all) = (waiting.len(), sources.len());
            aside(format!("compiling {waiting} of {all} components …"));
            return;
        }
        for source in waiting {
            aside(compiling(source));
            self.compiling.insert(source.id.clone(), began);
        }
    }

    /// Does what the lines say, until they end or one says so. Each is done with before
    /// the next is looked at, but someone who types need not wait long.
    pub(crate) async fn talk(&mut self, lines: &mut mpsc::Receiver<Typed>) -> Result<End, Stop> {
        let patience = match self.interactive {
            true => SETTLE,
            false => UNTIL_ANSWERED,
        };
        loop {
            let line = match self.showing(lines.recv()).await? {
                None => return Ok(End::OfInput),
                Some(Err(error)) => {
                    return Err(unreadable_input(&error).into());
                }
                Some(Ok(Ok(line))) => line,
                Some(Ok(Err(TooLong { line }))) => {
                    let report = Report::error("a line is longer than any message can be");
                    self.complain(report, &format!("line {line} of standard input"), false);
                    continue;
                }
            };
            match self.obey(&line).await? {
                Done::Well => {}
                Done::Badly(report) => self.complain(report, &line.origin, false),
                Done::Asked(number) => self.answer(number, patience).await?,
                Done::Last => return Ok(End::Asked),
            }
            if self.asked.is_empty() {
                let host = self.host.clone();
                // What does not come to rest goes on beside the next line.
                let _ = self.showing(host.drain(SETTLE)).await?;
            }
            self.show_pending().await;
        }
    }

    /// Waits for the answer to a line.
    async fn answer(&mut self, to: Number, patience: Duration) -> Result<(), Stop> {
        let mut end = pin!(sleep(patience));
        while self.asked.is_waiting(to) && self.step(end.as_mut()).await?.is_none() {}
        if let Some(id) = self.asked.is_late(to) {
            aside(format!("waiting for {id}; other lines are taken"));
        }
        Ok(())
    }

    fn complain(&mut self, report: Report, line: &str, is_late: bool) {
        self.failed = true;
        // Who types sees the line above, unless others came in between.
        if self.interactive && !is_late {
            report.print();
        } else {
            report.with_note(format!("this was {line}")).print();
        }
    }

    async fn obey(&mut self, line: &Message) -> Result<Done, Stop> {
        let Message { payload, origin } = line;
        let origin = match self.interactive {
            true => Quoted::new(&String::from_utf8_lossy(payload)).to_string(),
            false => origin.clone(),
        };
        let line = match Line::parse(payload) {
            Ok(line) => line,
            Err(report) => return Ok(Done::Badly(report)),
        };
        Ok(match line {
            Line::Empty => Done::Well,
            Line::Quit => Done::Last,
            Line::Help => {
                self.print(HELP.to_owned()).await?;
                Done::Well
            }
            Line::Components => {
                let table = match &self.node {
                    Some(node) => nodes(node.connection()).await,
                    None => Ok(table::components(&self.host.status().await)),
                };
                match table {
                    Ok(table) => self.print(table).await?,
                    Err(report) => return Ok(Done::Badly(report)),
                }
                Done::Well
            }
            Line::Component(id) => match self.host.component(&id).await {
                Some(status) => {
                    self.print(table::component(&status)).await?;
                    Done::Well
                }
                None => Done::Badly(self.not_loaded(&id)),
            },
            Line::Redeliver(number) => match self.host.redeliver(number) {
                Ok(()) => Done::Well,
                Err(error) => {
                    let report = Report::error(error.to_string());
                    Done::Badly(report.with_help("`dead` lists those that there are"))
                }
            },
            Line::DeadLetters => return self.tell_dead_letters().await,
            Line::Ask(to, text) => self.ask(&to, text, origin),
            Line::Send(to, text) => self.send(&to, text).await,
            Line::Call(to, call) => self.call(&to, &call, origin),
            Line::Restart(id) => self.restart(&id, origin),
        })
    }

    async fn tell_dead_letters(&mut self) -> Result<Done, Stop> {
        if let Some(node) = &self.node {
            return match lost_letters(node.connection()).await {
                Ok(text) => {
                    self.print(text).await?;
                    Ok(Done::Well)
                }
                Err(report) => Ok(Done::Badly(report)),
            };
        }
        let letters = self.host.dead_letters();
        if letters.is_empty() {
            aside("there are no dead letters");
        }
        self.print(dead_letters(&letters)).await?;
        Ok(Done::Well)
    }

    fn ask(&mut self, to: &ComponentId, text: Vec<u8>, line: String) -> Done {
        let source = match self.addressee(to, &text) {
            Ok(source) => source,
            Err(report) => return Done::Badly(report),
        };
        let (host, to, within) = (self.host.clone(), to.clone(), self.timeout);
        let reply = async move { Outcome::Replied(host.request(&to, text, within).await) };
        Done::Asked(self.asked.begin(source, line, reply))
    }

    fn call(&mut self, to: &ComponentId, call: &str, line: String) -> Done {
        let source = match self.addressee(to, call.as_bytes()) {
            Ok(source) => source,
            Err(report) => return Done::Badly(report),
        };
        let expression = match Expression::parse(call) {
            Ok(expression) => expression,
            Err(report) => return Done::Badly(report),
        };
        let names = self.names.entry(to.clone()).or_default().clone();
        let (host, to, within) = (self.host.clone(), to.clone(), self.timeout);
        let name = call.trim().to_owned();
        let called = async move {
            let called = host.call(&to, &name, |engine, handle| async move {
                expression.make(&engine, handle, &names).await
            });
            Outcome::Called(timeout(within, called).await.ok())
        };
        Done::Asked(self.asked.begin(source, line, called))
    }

    fn restart(&mut self, id: &ComponentId, line: String) -> Done {
        let source = match self.addressee(id, &[]) {
            Ok(source) => source,
            Err(report) => return Done::Badly(report),
        };
        let (host, id, within) = (self.host.clone(), id.clone(), self.timeout);
        let restart = async move {
            let restarted = timeout(within, host.restart(&id)).await;
            Outcome::Restarted(restarted.ok())
        };
        Done::Asked(self.asked.begin(source, line, restart))
    }

    async fn tell(&mut self, answer: Answer) -> Result<(), Stop> {
        let source = answer.source;
        let id = &source.id;
        let report = match answer.outcome {
            Outcome::Replied(Ok(Some(reply))) => {
                return Ok(self.print(reply_line(id, &reply)).await?);
            }
            Outcome::Replied(Ok(None)) => {
                aside(format!("{id} has no reply"));
                return Ok(());
            }
            Outcome::Called(Some(Ok(called))) => match called {
                Ok(Some(result)) => return Ok(self.print(line_of(id, &result)).await?),
                Ok(None) => {
                    aside(format!("{id} has returned"));
                    return Ok(());
                }
                Err(report) => report.at(source.file.escaped()),
            },
            Outcome::Called(None) => late(id, self.timeout),
            Outcome::Replied(Err(RequestError::Component(error)))
            | Outcome::Called(Some(Err(RequestError::Component(error)))) => {
                let report = source.explain(&error);
                self.reports(error);
                report
            }
            Outcome::Replied(Err(RequestError::Messaging(error)))
            | Outcome::Called(Some(Err(RequestError::Messaging(error)))) => {
                self.not_answered(id, &error).await
            }
            Outcome::Replied(Err(error)) | Outcome::Called(Some(Err(error))) => {
                Report::error(error.to_string())
            }
            Outcome::Restarted(Some(Ok(()))) => return Ok(()),
            Outcome::Restarted(Some(Err(error))) => {
                let report = explain(&source, &error);
                if let HostError::Engine(error) = error {
                    self.reports(error);
                }
                report
            }
            Outcome::Restarted(None) => not_restarted(&source, self.timeout),
        };
        self.complain(report, &answer.line, answer.is_late);
        Ok(())
    }

    /// Prints to standard output. What happens meanwhile is shown: whoever reads the
    /// replies late, or never, may still read what else there is.
    async fn print(&mut self, text: String) -> io::Result<()> {
        let mut printing = pin!(output::print(text));
        loop {
            tokio::select! {
                biased;
                outcome = &mut printing => return outcome,
                Some(event) = self.events.next() => {
                    self.show(&event);
                    consume_budget().await;
                }
            }
        }
    }

    /// An event need not tell of it again.
    fn reports(&mut self, error: Arc<WasmError>) {
        if self.reported.len() == KEPT_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back(error);
    }

    fn is_reported(&self, error: &Arc<WasmError>) -> bool {
        self.reported
            .iter()
            .any(|reported| Arc::ptr_eq(reported, error))
    }

    async fn send(&self, to: &ComponentId, text: Vec<u8>) -> Done {
        if let Err(report) = self.addressee(to, &text) {
            return Done::Badly(report);
        }
        let program = self.host.program_id().clone();
        let message = ComponentMessage::new(program, to.clone(), text);
        match self.host.dispatch(message).await {
            Ok(()) => Done::Well,
            Err(error) => Done::Badly(self.not_answered(to, &error).await),
        }
    }

    /// Who takes this text.
    fn addressee(&self, id: &ComponentId, text: &[u8]) -> Result<Arc<Source>, Report> {
        let source = self.application.source(id);
        let source = source.ok_or_else(|| self.not_loaded(id))?;
        let limit = source.config.limits.memory_bytes();
        if text.len() as u64 > limit {
            return Err(Report::error(format!(
                "more than {} is not sent to {id}: that is all the memory that it may have",
                format_bytes(limit)
            )));
        }
        Ok(source)
    }

    async fn not_answered(&self, to: &ComponentId, error: &MessagingError) -> Report {
        match error {
            MessagingError::TargetNotFound(id) => self.not_loaded(id),
            MessagingError::CorrelationTimeout(_) => late(to, self.timeout),
            MessagingError::QueueFull => {
                let report = Report::error(format!("{to} has no room for another message"));
                report.with_help("`mailbox` in [supervision] says how many may wait")
            }
            error => {
                let report = Report::error(format!("{to} was not reached: {error}"));
                match self.host.component(to).await {
                    Some(status) if status.phase == Phase::Quarantined => {
                        of_quarantine(report, to, status.cause.as_deref())
                    }
                    _ => report,
                }
            }
        }
    }

    fn not_loaded(&self, id: &ComponentId) -> Report {
        no_such_component(id.as_str(), &self.application.ids())
    }

    /// Waits for what the lines set going, no longer than for a reply. Who types has
    /// seen what came of it, or goes without.
    pub(crate) async fn settle(&mut self) -> Result<(), Stop> {
        if self.interactive {
            return Ok(());
        }
        let host = self.host.clone();
        let mut rest = pin!(host.drain(self.timeout));
        let soon = timeout(SLOW_END, &mut rest);
        let rested = match self.showing(soon).await? {
            Ok(rested) => rested,
            Err(_) => {
                let limit = format_duration(self.timeout);
                aside(format!(
                    "waiting up to {limit} for what is on its way; Ctrl-C does not wait"
                ));
                self.showing(rest).await?
            }
        };
        if let Err(error) = rested {
            Report::warning(error.to_string()).print();
        }
        Ok(())
    }

    /// Shows what happens, without end.
    pub(crate) async fn watch(&mut self) -> Result<(), Stop> {
        self.showing(pending()).await
    }

    /// Ends all components, and does not wait for answers.
    pub(crate) async fn stop(&mut self) -> Result<(), Stop> {
        self.stopping = true;
        for id in self.asked.abandon() {
            self.failed = true;
            aside(format!("{id} has not answered"));
        }
        if let Some(node) = self.node.take() {
            self.showing(async move { node.leave().await }).await?;
        }
        let host = self.host.clone();
        let mut stop = pin!(host.stop());
        let soon = timeout(SLOW_END, &mut stop);
        if self.showing(soon).await?.is_err() {
            self.tell_who_is_busy().await;
            self.showing(stop).await?;
        }
        self.show_pending().await;
        Ok(())
    }

    /// A call that is under way is waited for, and may be allowed hours.
    async fn tell_who_is_busy(&self) {
        for status in self.host.status().await.iter().take(SHOWN_IDS) {
            let id = &status.id;
            let limit = self
                .application
                .source(id)
                .map_or_else(String::new, |source| {
                    let limit = format_duration(source.config.limits.timeout());
                    format!(", which has {limit} for a call")
                });
            aside(format!("waiting for {id}{limit}; Ctrl-C does not wait"));
        }
    }

    /// Shows what happens in the meantime.
    async fn showing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        loop {
            if let Some(outcome) = self.step(work.as_mut()).await? {
                return Ok(outcome);
            }
        }
    }

    /// Shows one thing that happens, unless the work is done.
    async fn step<T>(
        &mut self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, Stop> {
        tokio::select! {
            biased;
            outcome = work => return Ok(Some(outcome)),
            Some(answer) = self.asked.next() => self.tell(answer).await?,
            () = replaced(self.node.as_deref()), if !self.stopping => {
                let report = Report::error("another process has the name of this node by now");
                let note = "it was silent for longer than its lease, and owns nothing any more";
                return Err(Stop::Failed(report.with_note(note)));
            }
            Some(event) = self.events.next() => self.tell_events(event).await?,
        }
        Ok(None)
    }

    /// Tells of this one and, as work may bring many at a time, of some that have happened since.
    async fn tell_events(&mut self, first: Event) -> Result<(), Stop> {
        let mut next = Some(first);
        let mut more = EVENTS_AT_A_TIME;
        while let Some(event) = next {
            if let Event::Failed { component, error } = &event {
                self.answer_of(component, error).await?;
            }
            self.show(&event);
            consume_budget().await;
            more -= 1;
            next = match more {
                0 => None,
                _ => self.events.try_next(),
            };
        }
        Ok(())
    }

    /// A failure may be the answer that a line waits for, whose report says more than the
    /// event.
    async fn answer_of(&mut self, id: &ComponentId, failed: &Arc<WasmError>) -> Result<(), Stop> {
        while self.asked.is_about(id) && !self.is_reported(failed) {
            match timeout(AT_ONCE, self.asked.next()).await {
                Ok(Some(answer)) => self.tell(answer).await?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Shows what has happened, as far as it is kept. What happens meanwhile can wait:
    /// components are faster than a terminal, and Ctrl-C is to be heard.
    async fn show_pending(&mut self) {
        for _ in 0..KEPT_EVENTS {
            let Some(event) = self.events.try_next() else {
                return;
            };
            self.show(&event);
            consume_budget().await;
        }
    }

    fn show(&mut self, event: &Event) {
        if let Event::Loaded { component } = event
            && let Some(began) = self.compiling.remove(component)
        {
            aside(format!("{event}, after {:.1?}", began.elapsed()));
        } else if self.verbose || self.is_news(event) {
            aside(event);
        }
        if let Event::Unloaded { component, .. } = event {
            self.names.remove(component);
        }
    }

    /// Whether nothing else has told of it or will.
    fn is_news(&self, event: &Event) -> bool {
        match event {
            Event::Message {
                from, kind, reply, ..
            } => matches!(reply, Reply::Error(_)) && !self.is_asked(from, *kind),
            Event::DeadLetter { from, kind, .. } => !self.is_asked(from, *kind),
            Event::Failed { error, .. } => !self.is_reported(error),
            // Whoever had it loaded has reported why.
            Event::NotLoaded { .. } => false,
            Event::Loaded { .. } => !self.loading_many,
            // The log of the component has a line about it.
            Event::Denied { .. } => false,
            Event::Unloaded { error: None, .. } => !self.stopping,
            Event::Stopped => false,
            // What a component is for is not changed by that; `ps` shows it.
            Event::Slept { .. } | Event::Woke { .. } => false,
            _ => true,
        }
    }

    /// A line was this request, and its report says what came of it.
    fn is_asked(&self, from: &ComponentId, kind: LetterKind) -> bool {
        matches!(kind, LetterKind::Request | LetterKind::Call) && from == self.host.program_id()
    }
}

/// What ended the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    OfInput,
    /// One of them.
    Asked,
}

/// How it went with a line.
enum Done {
    Well,
    Badly(Report),
    Asked(Number),
    Last,
}

/// What a host could not do with a component.
pub(crate) fn explain(source: &Source, error: &HostError) -> Report {
    match error {
        HostError::Engine(error) => source.explain(error),
        error => Report::error(error.to_string()).at(source.named_by().escaped()),
    }
}

pub(crate) fn compiling(source: &Source) -> String {
    format!(
        "compiling {} ({}) …",
        source.id,
        size(source.bytes.len() as u64)
    )
}

/// Lines after the first are indented: none can pass for another component's reply.
fn reply_line(from: &ComponentId, reply: &MessagePayload) -> String {
    line_of(from, &shown(reply.as_bytes()))
}

fn line_of(from: &ComponentId, text: &str) -> String {
    format!("{from}: {}\n", text.replace('\n', "\n    "))
}

fn dead_letters(letters: &[DeadLetter]) -> String {
    let older = letters.len().saturating_sub(SHOWN_DEAD_LETTERS);
    let mut text = match older {
        0 => String::new(),
        older => format!("and {older} before these\n"),
    };
    for letter in &letters[older..] {
        let message = &letter.message;
        let payload = match (&message.message_type, letter.kind) {
            (Some(name), LetterKind::Call) => name.as_bytes(),
            _ => message.payload.as_bytes(),
        };
        let payload = match std::str::from_utf8(payload) {
            Ok(text) => Quoted::prose(text).to_string(),
            Err(_) => format_bytes(payload.len() as u64),
        };
        let (kind, from, to) = (letter.kind, &message.sender, &message.recipient);
        let again = match letter.redeliveries {
            0 => "",
            _ => ", delivered again",
        };
        let (number, cause) = (letter.number, &letter.cause);
        text += &format!("{number}: {kind} from {from} to {to}, {payload}{again}: {cause}\n");
    }
    text
}

fn late(id: &ComponentId, waited: Duration) -> Report {
    let waited = format_duration(waited);
    Report::error(format!("{id} has not answered within {waited}"))
        .with_help("--timeout waits longer")
}

fn not_restarted(source: &Source, waited: Duration) -> Report {
    let (id, waited) = (&source.id, format_duration(waited));
    let limit = format_duration(source.config.limits.timeout());
    Report::error(format!(
        "{id} is busy, and was not restarted within {waited}"
    ))
    .with_note(format!(
        "a call of it may take {limit} (`timeout` in [resources])"
    ))
    .with_help("--timeout waits longer")
}

fn of_quarantine(report: Report, id: &ComponentId, cause: Option<&WasmError>) -> Report {
    let report = report.with_help(format!("`restart {id}` gives it a fresh start"));
    match cause {
        Some(cause) => report.with_note(format!("its last failure: {cause}")),
        None => report,
    }
}

fn no_such_component(wanted: &str, loaded: &[String]) -> Report {
    let report = Report::error(format!("no component {wanted} is loaded"));
    if loaded.is_empty() {
        return report.with_note("no other is, either");
    }
    let mut list = vec!["these are".to_owned()];
    list.extend(loaded.iter().take(SHOWN_IDS).map(|id| format!("  {id}")));
    if loaded.len() > SHOWN_IDS {
        list.push(format!(
            "  and {} more, which `ps` lists",
            loaded.len() - SHOWN_IDS
        ));
    }
    let report = report.with_note(list.join("\n"));
    let similar = loaded
        .iter()
        .map(|id| (strsim::damerau_levenshtein(id, wanted), id))
        .filter(|(distance, id)| *distance <= id.len() / 3)
        .min_by_key(|(distance, _)| *distance);
    match similar {
        Some((_, id)) => report.with_help(format!("did you mean {id}?")),
        None => report,
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::{ComponentConfig, HostServices, ResourceLimits};
    use wasm_host::HostBuilder;
    use wasm_testkit::ModelEngine;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_dead_letters_the_latest_are_shown() {
        let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
        let host = HostBuilder::new().start(model).unwrap();
        let id: ComponentId = "demo/sleeper/main".parse().unwrap();
        let limits = ResourceLimits::new(1 << 20, 2 * SETTLE, Some(1_000_000)).unwrap();
        let wasm = wasm_fixtures::SLEEPER.wasm;
        let sleeper = Component::new(id.clone(), wasm, ComponentConfig::new(limits));
        host.load(sleeper).await.unwrap();
        for _ in 0..26 {
            host.send(&id, "500").unwrap();
        }
        // The first one is being handled.
        sleep(AT_ONCE).await;
        host.unload(&id).await.unwrap();
        let text = dead_letters(&host.dead_letters());
        assert!(text.starts_with("and 5 before these\n"), "{text}");
        assert_eq!(text.lines().count(), 21);
    }

    #[test]
    fn a_reply_cannot_pass_for_another_components() {
        let from: ComponentId = "demo/a/main".parse().unwrap();
        let line = |reply: &str| reply_line(&from, &reply.to_owned().into());
        assert_eq!(line("hi"), "demo/a/main: hi\n");
        assert_eq!(line(""), "demo/a/main: \n");
        assert_eq!(line("a\nb/c/d: e"), "demo/a/main: a\n    b/c/d: e\n");
        assert_eq!(line("a\rb/c/d: e"), "demo/a/main: 0x610d622f632f643a2065\n");
    }

    #[test]
    fn a_component_that_is_not_there_reminds_of_those_that_are() {
        let loaded = ["demo/echo/main", "demo/counter/main"].map(str::to_owned);
        let report = no_such_component("demo/ecoh/main", &loaded).to_string();
        for part in [
            "no component demo/ecoh/main",
            "demo/counter/main",
            "did you mean",
        ] {
            assert!(report.contains(part), "{report}");
        }
        let many: Vec<String> = (0..30).map(|i| format!("a/b/{i}")).collect();
        let report = no_such_component("x/y/z", &many).to_string();
        assert!(
            report.contains("and 10 more") && !report.contains("did you mean"),
            "{report}"
        );
    }
}

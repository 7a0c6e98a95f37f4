use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use wasm_core::text::PathText as _;
use wasm_core::units::{format_bytes, format_count};
use wasm_core::{
    Clock, ComponentHandle, ComponentId, ComponentMessage, LIFECYCLE_INTERFACE, MessagePayload,
    Resource, SystemClock, WasmError,
};
use wasm_runtime::WasmtimeEngine;

use crate::input::flags::Flags;
use crate::input::message::{Message, MessageArgs, TooLong, Typed, typed_lines, unreadable_input};
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::{FAILED, Stop, block_on, end, unless_interrupted};
use crate::output::reply::{hex, shown};
use crate::output::report::Report;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm run examples/echo --message hello
  seq 3 | airssys-wasm run examples/counter --usage
  airssys-wasm run examples/spin --message go --timeout 50ms
  airssys-wasm run echo.wasm --memory 1MiB --fuel 1_000_000 --timeout 1s -m x
  airssys-wasm run examples/echo --json -m hello | jq .reply.text";

const DETAILS: &str = "\
A reply that is text is printed as it is; one that is not UTF-8 or has control
characters other than tab and newline is printed in hexadecimal, as 0x00ff. A
component that has no reply to a message prints nothing. What a component logs
goes to standard error, and only if [permissions] grants it.

A component that failed is restarted for the next message, whatever its
[supervision] says. Storage is in memory; timers cannot be set, and other
components do not exist.

With --json, each message is answered with one object on one line:
  {\"index\":0,\"ok\":true,\"restarted\":false,\"reply\":{\"text\":\"hello\"},
   \"fuel\":1234,\"memory\":65536,\"peak_memory\":65536,\"micros\":85}
`reply` is {\"text\": ...} for UTF-8, {\"hex\": ...} for other bytes, or null for no
reply. Instead of `reply`, a failure has \"error\": {\"kind\": ..., \"message\": ...,
\"frames\": [...]}, whose kind is trapped, timeout, out-of-fuel, memory-limit,
host-memory-limit, guest-error, not-restarted, message-too-long or other.

Exit codes:
  0  every message was answered
  1  a message failed
  2  bad input: nothing was sent";

/// Load a component, send it messages and print its replies
///
/// Messages are sent one after the other: those of --message and --message-file in
/// the order given, or else the lines of standard input, each answered before the
/// next is read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Run {
    /// Folder with a Component.toml, a manifest, or a bare .wasm with its limits as flags
    path: PathBuf,

    #[command(flatten)]
    messages: MessageArgs,

    /// Print one JSON object per message
    #[arg(long)]
    json: bool,

    /// Print fuel, memory and time of each message on standard error
    #[arg(long)]
    usage: bool,

    #[command(flatten)]
    flags: Flags,
}

impl Run {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let source = Source::read(Place::of(&self.path)?, &self.flags).await?;
        let memory_bytes = source.config.limits.memory_bytes();
        let messages = if self.messages.is_empty() {
            None
        } else {
            let too_large = |file: &Path| self.flags.too_large(file, memory_bytes);
            Some(self.messages.read(memory_bytes, too_large).await?)
        };
        let engine = source.engine()?;
        let load = engine.load_component(&source.id, source.bytes.clone(), source.config.clone());
        let handle = load.await.map_err(|error| source.explain(&error))?;
        let handle_message = format!("{LIFECYCLE_INTERFACE}#handle-message");
        if engine.export_type(&handle, &handle_message).is_err() {
            return Err(takes_no_messages(&source).into());
        }
        let messages = match messages {
            Some(messages) => Messages::Given(messages.into()),
            None => {
                if io::stdin().is_terminal() {
                    Report::note("each line is a message; Ctrl-D ends").print();
                }
                Messages::Lines(typed_lines(memory_bytes))
            }
        };
        let mut session = Session {
            engine: &engine,
            handle: &handle,
            source: &source,
            failed: false,
            json: self.json,
            usage: self.usage,
        };
        let outcome = unless_interrupted(session.answer(messages)).await;
        end(&engine, &handle, &outcome).await;
        outcome
    }
}

fn takes_no_messages(source: &Source) -> Report {
    Report::error(format!(
        "{} does not export `{LIFECYCLE_INTERFACE}`, so it takes no messages",
        source.id
    ))
    .at(source.file.escaped())
    .with_help(format!(
        "`airssys-wasm call {} 'EXPORT(ARGUMENTS)'` calls what it exports",
        source.named_by().escaped()
    ))
}

enum Messages {
    Given(VecDeque<Message>),
    Lines(mpsc::Receiver<Typed>),
}

impl Messages {
    async fn next(&mut self) -> Result<Option<Result<Message, TooLong>>, Report> {
        match self {
            Self::Given(messages) => Ok(messages.pop_front().map(Ok)),
            Self::Lines(lines) => lines
                .recv()
                .await
                .transpose()
                .map_err(|error| unreadable_input(&error)),
        }
    }
}

/// A loaded component and how it is talked to.
struct Session<'a> {
    engine: &'a WasmtimeEngine,
    handle: &'a ComponentHandle,
    source: &'a Source,
    /// Its instance is gone.
    failed: bool,
    json: bool,
    usage: bool,
}

/// What came of one message.
struct Answer {
    result: Result<Option<MessagePayload>, Failure>,
    origin: String,
    restarted: bool,
    /// Of this message, or of the restart that failed.
    fuel: u64,
    /// Now; 0 after a failure.
    memory: u64,
    /// Since the component was loaded.
    peak_memory: u64,
    elapsed: Duration,
}

enum Failure {
    Call(WasmError),
    Restart(WasmError),
    TooLong { max_bytes: u64 },
}

impl Session<'_> {
    /// Sends every message and prints what comes of it.
    async fn answer(&mut self, mut messages: Messages) -> Result<ExitCode, Stop> {
        let mut code = ExitCode::SUCCESS;
        let mut index = 0;
        while let Some(message) = messages.next().await? {
            let answer = match message {
                Ok(message) => self.send(message).await,
                Err(TooLong { line }) => self.refuse(line),
            };
            if answer.result.is_err() {
                code = ExitCode::from(FAILED);
            }
            if self.json {
                print_json(index, &answer).await?;
            } else {
                self.print(index, &answer).await?;
            }
            index += 1;
        }
        Ok(code)
    }

    async fn send(&mut self, message: Message) -> Answer {
        let was_failed = self.failed;
        let started = Instant::now();
        let result = match self.restart().await {
            Ok(()) => self.call(message.payload).await.map_err(Failure::Call),
            Err(error) => Err(Failure::Restart(error)),
        };
        let elapsed = started.elapsed();
        self.failed = match &result {
            Ok(_) => false,
            Err(Failure::Call(error)) => error.fails_instance(),
            Err(_) => true,
        };
        let usage = self.engine.usage(self.handle).ok();
        Answer {
            restarted: was_failed && !matches!(result, Err(Failure::Restart(_))),
            result,
            origin: message.origin,
            fuel: usage.map_or(0, |usage| usage.last_call_fuel),
            memory: usage.map_or(0, |usage| usage.memory_bytes),
            peak_memory: usage.map_or(0, |usage| usage.peak_memory_bytes),
            elapsed,
        }
    }

    fn refuse(&self, line: u64) -> Answer {
        let max_bytes = self.source.config.limits.memory_bytes();
        Answer {
            result: Err(Failure::TooLong { max_bytes }),
            origin: format!("line {line} of standard input"),
            restarted: false,
            fuel: 0,
            memory: 0,
            peak_memory: 0,
            elapsed: Duration::ZERO,
        }
    }

    async fn restart(&self) -> Result<(), WasmError> {
        if !self.failed {
            return Ok(());
        }
        if !self.json {
            let id = self.handle.id();
            Report::note(format!(
                "{id} failed and is restarted; what it had in memory is gone"
            ))
            .tell()
            .await;
        }
        self.engine.restart_component(self.handle).await
    }

    async fn call(&self, payload: Vec<u8>) -> Result<Option<MessagePayload>, WasmError> {
        let message = ComponentMessage::new(sender(), self.source.id.clone(), payload)
            .with_timestamp(SystemClock.now());
        self.engine.call_handle_message(self.handle, message).await
    }

    async fn print(&self, index: u64, answer: &Answer) -> io::Result<()> {
        match &answer.result {
            Ok(None) => {}
            Ok(Some(reply)) => {
                let mut line = shown(reply.as_bytes());
                line.push('\n');
                output::print(line).await?;
            }
            Err(failure) => {
                let place = format!("this was message {} ({})", index + 1, answer.origin);
                failure.report(self.source).with_note(place).tell().await;
            }
        }
        if self.usage {
            let usage = format!(
                "[message {}] fuel {}, memory {} (at most {} so far), time {:.1?}\n",
                index + 1,
                format_count(answer.fuel),
                format_bytes(answer.memory),
                format_bytes(answer.peak_memory),
                answer.elapsed,
            );
            output::complain(usage).await;
        }
        Ok(())
    }
}

/// Who the messages come from, as the component sees it.
fn sender() -> ComponentId {
    ComponentId::new("local", "airssys-wasm", "run").expect("these are segments")
}

impl Failure {
    fn report(&self, source: &Source) -> Report {
        match self {
            Self::Call(error) => source.explain(error),
            Self::Restart(error) => source
                .explain(error)
                .with_note("it had failed before and could not be restarted"),
            Self::TooLong { max_bytes } => Report::error(too_long(*max_bytes)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "message-too-long",
            Self::Restart(_) => "not-restarted",
            Self::Call(error) => match error {
                WasmError::Trapped { .. } => "trapped",
                WasmError::Timeout { .. } => "timeout",
                WasmError::ResourceLimitExceeded {
                    resource: Resource::Fuel,
                    ..
                } => "out-of-fuel",
                WasmError::ResourceLimitExceeded {
                    resource: Resource::Memory,
                    ..
                } => "memory-limit",
                WasmError::ResourceLimitExceeded {
                    resource: Resource::HostMemory { .. },
                    ..
                } => "host-memory-limit",
                WasmError::GuestError { .. } => "guest-error",
                _ => "other",
            },
        }
    }
}

fn too_long(max_bytes: u64) -> String {
    format!(
        "a message of more than {} is not sent: that is all the memory that the component may have",
        format_bytes(max_bytes)
    )
}

#[derive(Serialize)]
struct JsonAnswer<'a> {
    index: u64,
    ok: bool,
    restarted: bool,
    #[serde(flatten)]
    result: JsonResult<'a>,
    fuel: u64,
    memory: u64,
    peak_memory: u64,
    micros: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum JsonResult<'a> {
    Reply(Option<JsonReply<'a>>),
    Error(JsonError),
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum JsonReply<'a> {
    Text(&'a str),
    Hex(String),
}

#[derive(Serialize)]
struct JsonError {
    kind: &'static str,
    message: String,
    frames: Vec<String>,
}

async fn print_json(index: u64, answer: &Answer) -> io::Result<()> {
    let result = match &answer.result {
        Ok(reply) => JsonResult::Reply(reply.as_ref().map(|reply| {
            match std::str::from_utf8(reply.as_bytes()) {
                Ok(text) => JsonReply::Text(text),
                Err(_) => JsonReply::Hex(hex(reply.as_bytes())),
            }
        })),
        Err(failure) => JsonResult::Error(JsonError::new(failure)),
    };
    let object = JsonAnswer {
        index,
        ok: answer.result.is_ok(),
        restarted: answer.restarted,
        result,
        fuel: answer.fuel,
        memory: answer.memory,
        peak_memory: answer.peak_memory,
        micros: u64::try_from(answer.elapsed.as_micros()).unwrap_or(u64::MAX),
    };
    let mut line = serde_json::to_string(&object)?;
    line.push('\n');
    output::print(line).await
}

impl JsonError {
    fn new(failure: &Failure) -> Self {
        let (message, frames) = match failure {
            Failure::TooLong { max_bytes } => (too_long(*max_bytes), Vec::new()),
            Failure::Call(error) | Failure::Restart(error) => (
                error.to_string(),
                error.frames().iter().map(ToString::to_string).collect(),
            ),
        };
        Self {
            kind: failure.kind(),
            message,
            frames,
        }
    }
}

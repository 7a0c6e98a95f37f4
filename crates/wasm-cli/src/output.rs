//! What the program prints, and how it ends. A thread writes it, so that whoever does not read it stops
//! nothing else: no guest, no timeout and no signal waits for a pipe.
//!
//! Standard output and standard error have a thread each, or one for both where they
//! are the same terminal, pipe or file, whose reader is to see what comes first first.

pub(crate) mod arguments;
pub(crate) mod deserted;
pub(crate) mod guest_log;
pub(crate) mod log_filter;
pub(crate) mod otlp;
pub(crate) mod outcome;
pub(crate) mod reply;
pub(crate) mod report;
#[cfg(unix)]
pub(crate) mod screen;
pub(crate) mod signals;
pub(crate) mod table;

#[cfg(unix)]
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use anstream::adapter::strip_bytes;
use anstream::adapter::strip_str;
#[cfg(unix)]
use anstream::{AutoStream, ColorChoice};
use serde_json::json;
use tokio::sync::oneshot;

use wasm_core::units::format_count;
use wasm_core::{Clock as _, SystemClock};

/// Of log lines, events and reports that wait to be written: a burst of some seconds'
/// worth, and what a host can spare.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// A short line takes more memory than its bytes.
const MAX_QUEUED_LINES: usize = 8192;
/// What is written at a time: a reader that takes this much within [`STALLED`] is there.
const CHUNK_BYTES: usize = 8 << 10;
/// A reader that takes nothing for so long is not waited for at the end.
const STALLED: Duration = Duration::from_millis(300);
/// The longest that the end of an interrupted program waits for a reader that is slow.
const PATIENCE: Duration = Duration::from_millis(800);
/// How often the end of the program looks for a signal meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Stdout,
    /// Standard output, with the codes for colours, which are left out where they are
    /// not wanted.
    StyledStdout,
    /// Standard error, with the codes for colours.
    Stderr,
}

const TARGETS: usize = 3;

/// Prints a result to standard output, and waits until it is written.
///
/// # Errors
/// What writing it ended in.
pub(crate) async fn print(text: String) -> io::Result<()> {
    Output::get().written(Target::Stdout, text).await
}

/// [`print()`] with colours, if standard output is a terminal that wants them.
pub(crate) async fn print_styled(text: String) -> io::Result<()> {
    Output::get().written(Target::StyledStdout, text).await
}

/// Prints to standard error, and waits until it is written: for commands that have
/// nothing else to do.
pub(crate) async fn complain(text: String) {
    let text = shaped(text);
    // Without standard error there is nowhere to complain.
    let _ = Output::get().written(Target::Stderr, text).await;
}

/// Prints to standard error what must not be lost, at the end of the program.
pub(crate) fn complain_last(text: String) {
    let text = shaped(text);
    let lane = &Output::get().lane(Target::Stderr).queue;
    let is_gone = lane.lock().is_gone;
    match is_gone {
        true => write_at_once(&text),
        false => lane.keep(Target::Stderr, text, None),
    }
}

/// Where there can be no thread for it. The program ends then, and is to tell why.
fn write_at_once(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Prints to standard error and waits for nothing: what does not fit into the queue is
/// dropped and counted, and the count is printed once there is room.
pub(crate) fn note(text: String) {
    note_shaped(shaped(text));
}

/// [`note`] of what has the shape already that is wanted of standard error.
pub(crate) fn note_shaped(text: String) {
    Output::get().lane(Target::Stderr).queue.offer(text);
}

/// Gives the terminal on which lines are edited back when it is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct GivenBack;

#[cfg(unix)]
impl Drop for GivenBack {
    fn drop(&mut self) {
        Output::get().give_terminal_back();
    }
}

/// From now on, everything on standard error is JSON, an object on each line.
pub(crate) fn speak_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Reports are written for people; as JSON they are one message without colours.
fn shaped(text: String) -> String {
    if !IS_JSON.load(Ordering::Relaxed) {
        return text;
    }
    let message = strip_str(&text).to_string();
    let message = message.trim_end();
    let level = match message.split_once(": ") {
        Some(("error", _)) => "error",
        Some(("warning", _)) => "warn",
        _ => "info",
    };
    let at = SystemClock.now().as_millis();
    format!(
        "{}\n",
        json!({ "at": at, "level": level, "message": message })
    )
}

/// Ends with the program: what is queued is written, as far as somebody reads it.
#[derive(Debug)]
pub(crate) struct Finish;

impl Drop for Finish {
    fn drop(&mut self) {
        Output::get().finish(None);
    }
}

/// What is queued is written if that takes no longer than `within`.
pub(crate) fn finish_within(within: Duration) {
    Output::get().finish(Some(within));
}

struct Output {
    lanes: Vec<Lane>,
}

impl Output {
    fn get() -> &'static Self {
        static OUTPUT: OnceLock<Output> = OnceLock::new();
        OUTPUT.get_or_init(|| {
            let lanes = if is_one_file() { 1 } else { 2 };
            Self {
                lanes: (0..lanes)
                    .map(|_| Lane::start(standard_streams()))
                    .collect(),
            }
        })
    }

    fn lane(&self, target: Target) -> &Lane {
        match target {
            Target::Stdout | Target::StyledStdout => &self.lanes[0],
            Target::Stderr => &self.lanes[self.lanes.len() - 1],
        }
    }

    async fn written(&self, target: Target, text: String) -> io::Result<()> {
        let (sender, written) = oneshot::channel();
        self.lane(target).queue.keep(target, text, Some(sender));
        let gone = |_| io::Error::other("the thread that writes it is gone");
        written.await.map_err(gone)?
    }

    #[cfg(unix)]
    fn give_terminal_back(&self) {
        if screen::give_back() {
            // Whatever comes first on the way there begins a line.
            self.lane(Target::Stderr).queue.offer(String::new());
        }
    }

    fn finish(&self, within: Option<Duration>) {
        let began = Instant::now();
        #[cfg(unix)]
        self.give_terminal_back();
        for lane in &self.lanes {
            lane.queue.finish(began, within);
        }
    }
}

/// A thread that writes, and what is queued for it.
struct Lane {
    queue: Arc<Queue>,
}

type Streams = [Box<dyn Write + Send>; TARGETS];

fn standard_streams() -> Streams {
    [
        Box::new(io::stdout()),
        Box::new(anstream::stdout()),
        Box::new(anstream::stderr()),
    ]
}

impl Lane {
    fn start(streams: Streams) -> Self {
        let queue = Arc::new(Queue::default());
        let written = Arc::clone(&queue);
        let writer = thread::Builder::new().name("output".to_owned());
        let started = writer.spawn(move || written.write_to(streams));
        if started.is_err() {
            // Without a thread there is no output, and whoever waits for it is told so.
            queue.lock().is_gone = true;
        }
        Self { queue }
    }
}

#[derive(Default)]
struct Queue {
    pending: Mutex<Pending>,
    /// Something was queued, or written.
    changed: Condvar,
    /// Of the chunks that somebody has read or will.
    chunks: AtomicU64,
}

#[derive(Default)]
struct Pending {
    texts: VecDeque<Text>,
    /// Of what may be dropped, what is being written included.
    bytes: usize,
    lines: usize,
    /// How many texts must not be lost, with what is being written.
    kept: usize,
    is_writing: bool,
    is_gone: bool,
    /// Lines since there was room.
    dropped: u64,
}

struct Text {
    target: Target,
    text: String,
    kind: Kind,
}

enum Kind {
    Droppable,
    Kept(Option<oneshot::Sender<io::Result<()>>>),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, target: Target, text: String, answer: Option<oneshot::Sender<io::Result<()>>>) {
        let mut pending = self.lock();
        if pending.is_gone {
            return;
        }
        pending.kept += 1;
        pending.texts.push_back(Text {
            target,
            text,
            kind: Kind::Kept(answer),
        });
        self.changed.notify_all();
    }

    fn offer(&self, text: String) {
        let mut pending = self.lock();
        if pending.is_gone {
            drop(pending);
            return write_at_once(&text);
        }
        let lines = lines(&text);
        let is_full = pending.bytes + text.len() > MAX_QUEUED_BYTES
            || pending.lines + lines > MAX_QUEUED_LINES;
        // Once some are dropped, the others are too until that is told: it is told where
        // they would be, and not again for every line.
        if pending.dropped > 0 || is_full {
            pending.dropped += lines as u64;
            return;
        }
        pending.queue_droppable(text);
        self.changed.notify_all();
    }

    fn write_to(&self, mut streams: Streams) {
        loop {
            let batch = self.next_batch();
            let stream = &mut streams[batch.target as usize];
            let outcome = batch.print(|| self.write(stream, &batch.bytes));
            let mut pending = self.lock();
            pending.is_writing = false;
            pending.bytes -= batch.droppable_bytes;
            pending.lines -= batch.droppable_lines;
            pending.kept -= batch.kept.len();
            pending.tell_dropped();
            drop(pending);
            self.changed.notify_all();
            for answer in batch.kept.into_iter().flatten() {
                // An error has no copy.
                let outcome = match &outcome {
                    Ok(()) => Ok(()),
                    Err(error) => Err(copy(error)),
                };
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            }
        }
    }

    /// Waits for texts, and takes as many as go to the same stream and are worth one
    /// write.
    fn next_batch(&self) -> Batch {
        let mut pending = self.lock();
        let first = loop {
            if let Some(text) = pending.texts.pop_front() {
                break text;
            }
            pending = self
                .changed
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        };
        pending.is_writing = true;
        let mut batch = Batch::new(first);
        while batch.bytes.len() < CHUNK_BYTES
            && let Some(text) = pending
                .texts
                .pop_front_if(|text| text.target == batch.target)
        {
            batch.add(text);
        }
        batch
    }

    fn write(&self, stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            stream.write_all(chunk)?;
            self.chunks.fetch_add(1, Ordering::Relaxed);
        }
        stream.flush()
    }

    /// Waits until everything is written, or nobody reads it. What must not be lost is
    /// waited for until a signal comes, unless `within` says how long.
    fn finish(&self, began: Instant, within: Option<Duration>) {
        let mut pending = self.lock();
        let mut chunks = self.chunks.load(Ordering::Relaxed);
        let mut progress = Instant::now();
        while !pending.is_gone && (pending.is_writing || !pending.texts.is_empty()) {
            let is_stalled = progress.elapsed() >= STALLED;
            let is_over = match within {
                Some(within) => began.elapsed() >= within,
                None if signals::take() => is_stalled || began.elapsed() >= PATIENCE,
                None => is_stalled && pending.kept == 0,
            };
            if is_over {
                return;
            }
            let waited = self.changed.wait_timeout(pending, LOOK);
            (pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let now = self.chunks.load(Ordering::Relaxed);
            if now != chunks {
                chunks = now;
                progress = Instant::now();
            }
        }
    }
}

impl Pending {
    fn queue_droppable(&mut self, text: String) {
        self.bytes += text.len();
        self.lines += lines(&text);
        self.texts.push_back(Text {
            target: Target::Stderr,
            text,
            kind: Kind::Droppable,
        });
    }

    /// Once half of the queue is free, so that a reader who is a little too slow does not
    /// read of it with every line.
    fn tell_dropped(&mut self) {
        let has_room = self.bytes <= MAX_QUEUED_BYTES / 2 && self.lines <= MAX_QUEUED_LINES / 2;
        if self.dropped == 0 || !has_room {
            return;
        }
        let dropped = mem::take(&mut self.dropped);
        self.queue_droppable(dropped_line(dropped, IS_JSON.load(Ordering::Relaxed)));
    }
}

/// In place of so many lines.
fn dropped_line(dropped: u64, is_json: bool) -> String {
    let (noun, were) = match dropped {
        1 => ("line", "was"),
        _ => ("lines", "were"),
    };
    let count = format_count(dropped);
    let message = format!("{count} log {noun} {were} dropped: standard error was not read");
    match is_json {
        false => format!("… {message}\n"),
        true => {
            let at = SystemClock.now().as_millis();
            let line = json!({ "at": at, "level": "warn", "message": message, "dropped": dropped });
            format!("{line}\n")
        }
    }
}

/// Texts that are written together.
struct Batch {
    target: Target,
    bytes: Vec<u8>,
    droppable_bytes: usize,
    droppable_lines: usize,
    kept: Vec<Option<oneshot::Sender<io::Result<()>>>>,
}

impl Batch {
    fn new(first: Text) -> Self {
        let mut batch = Self {
            target: first.target,
            bytes: Vec::new(),
            droppable_bytes: 0,
            droppable_lines: 0,
            kept: Vec::new(),
        };
        batch.add(first);
        batch
    }

    fn add(&mut self, text: Text) {
        match text.kind {
            Kind::Droppable => {
                self.droppable_bytes += text.text.len();
                self.droppable_lines += lines(&text.text);
            }
            Kind::Kept(answer) => self.kept.push(answer),
        }
        if self.bytes.is_empty() {
            self.bytes = text.text.into_bytes();
        } else {
            self.bytes.extend_from_slice(text.text.as_bytes());
        }
    }
}

#[cfg(unix)]
impl Batch {
    /// As the terminal wants it, above a line that is being typed, or else by `print`.
    fn print(&self, print: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let has_colors = || AutoStream::choice(&io::stderr()) != ColorChoice::Never;
        let shown = || match self.target {
            Target::StyledStdout | Target::Stderr if !has_colors() => {
                Cow::Owned(strip_bytes(&self.bytes).into_vec())
            }
            _ => Cow::Borrowed(&self.bytes[..]),
        };
        screen::print(shown, print)
    }
}

#[cfg(not(unix))]
impl Batch {
    fn print(&self, print: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        print()
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count().max(1)
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Whether standard output and standard error are the same terminal.
#[cfg(unix)]
pub(crate) fn is_one_terminal() -> bool {
    io::stdout().is_terminal() && is_one_file()
}

/// Whether standard output and standard error are the same terminal, pipe or file.
fn is_one_file() -> bool {
    #[cfg(unix)]
    {
        use std::fs::File;
        use std::os::fd::AsFd;
        use std::os::unix::fs::MetadataExt;

        let identity = |stream: &dyn AsFd| -> io::Result<(u64, u64)> {
            let file = File::from(stream.as_fd().try_clone_to_owned()?);
            let metadata = file.metadata()?;
            Ok((metadata.dev(), metadata.ino()))
        };
        match (identity(&io::stdout()), identity(&io::stderr())) {
            (Ok(stdout), Ok(stderr)) => stdout == stderr,
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    #[test]
    fn what_is_dropped_is_a_line_of_its_own() {
        assert_eq!(
            dropped_line(1, false),
            "… 1 log line was dropped: standard error was not read\n"
        );
        let line = dropped_line(1_200, true);
        let object: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(object["dropped"], 1_200);
        assert_eq!(object["level"], "warn");
        let message = "1_200 log lines were dropped: standard error was not read";
        assert_eq!(object["message"], message);
        assert!(object["at"].is_u64());
    }

    /// For what takes milliseconds, on a machine that does something else.
    const LONG: Duration = Duration::from_secs(60);

    /// A stream that is written to when a test says so, and what was written then.
    struct Gate {
        open: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A test that is over waits for nothing.
            let _ = self.open.recv();
            let _ = self
                .written
                .send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// One lane with a reader for all that is written.
    fn gated() -> (Output, Sender<()>, Receiver<String>) {
        let (open, opened) = channel();
        let (sender, written) = channel();
        let stream = Gate {
            open: opened,
            written: sender,
        };
        let streams: Streams = [Box::new(io::sink()), Box::new(io::sink()), Box::new(stream)];
        let output = Output {
            lanes: vec![Lane::start(streams)],
        };
        (output, open, written)
    }

    fn offer(output: &Output, text: &str) {
        output.lane(Target::Stderr).queue.offer(text.to_owned());
    }

    /// As much as the queue takes, and a bit more.
    fn flood(output: &Output) -> u64 {
        let lines = 8192 + 100;
        (0..lines).for_each(|n| offer(output, &format!("{n}\n")));
        lines
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_would_be() {
        let (output, open, written) = gated();
        let offered = flood(&output);
        drop(open);
        output.finish(Some(LONG));
        offer(&output, "after\n");
        output.finish(Some(LONG));
        let text: String = written.try_iter().collect();
        let (before, after) = text.split_once("… ").unwrap();
        let kept = before.lines().count() as u64;
        assert!(kept >= 8192, "{kept}");
        let dropped = format_count(offered - kept);
        let told = format!("{dropped} log lines were dropped: standard error was not read\n");
        assert_eq!(after, told + "after\n");
        for (n, line) in before.lines().enumerate() {
            assert_eq!(line, n.to_string());
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (output, open, written) = gated();
        let line = "x".repeat(100 << 10) + "\n";
        (0..100).for_each(|_| offer(&output, &line));
        drop(open);
        output.finish(Some(LONG));
        let text: String = written.try_iter().collect();
        assert!(text.len() < (1 << 20) + line.len() + 100, "{}", text.len());
        assert!(text.contains("log lines were dropped"));
    }

    #[tokio::test]
    async fn what_must_not_be_lost_waits_behind_what_is_queued() {
        let (output, open, written) = gated();
        flood(&output);
        let last = output.written(Target::Stderr, "last\n".to_owned());
        let mut last = std::pin::pin!(last);
        let soon = tokio::time::timeout(Duration::from_millis(100), &mut last);
        assert!(soon.await.is_err(), "nobody has read it");
        drop(open);
        last.await.unwrap();
        let text: String = written.try_iter().collect();
        assert!(text.contains("\nlast\n"));
    }

    #[tokio::test]
    async fn who_cannot_write_is_told_why() {
        let streams: Streams = [Box::new(Broken), Box::new(io::sink()), Box::new(io::sink())];
        let output = Output {
            lanes: vec![Lane::start(streams)],
        };
        for _ in 0..2 {
            let written = output.written(Target::Stdout, "x\n".to_owned()).await;
            let error = written.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        assert!(
            output
                .written(Target::Stderr, "x\n".to_owned())
                .await
                .is_ok()
        );
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_is_not_there() {
        let (output, _open, _written) = gated();
        offer(&output, "x\n");
        let began = Instant::now();
        output.finish(None);
        output.finish(Some(Duration::ZERO));
        assert!(began.elapsed() < LONG);
    }
}

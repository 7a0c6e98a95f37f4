//! Lines that are edited while they are typed at a terminal, with completion, and with those
//! before them, which are kept in memory only: messages may be secrets.

use std::borrow::Cow::{self, Borrowed, Owned};
use std::env;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter as _, Helper};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::input::line::{HELP, Line, WORDS};
use crate::input::message::{Message, TooLong, Typed, forward_lines, on_a_thread};
use crate::output::GivenBack;
use crate::output::is_one_terminal;
use crate::output::report::Report;
use crate::output::screen::Screen;

const PROMPT: &str = "> ";
/// Makes an editor draw its line again. It ends what it is told to print with a line's end,
/// which this takes back.
const NOTHING: &str = "\x1b[A\n";
/// More are not listed: nobody reads them.
const MAX_CANDIDATES: usize = 1000;
/// `select` takes those below 1024, and others open some meanwhile.
const MAX_DESCRIPTOR: RawFd = 960;
/// Where nothing can be edited.
const UNFIT: [&str; 4] = ["", "dumb", "cons25", "emacs"];

type Ids = Box<dyn Fn() -> Vec<String> + Send>;

/// Edits lines on a thread of its own, as [`typed_lines`](super::message::typed_lines) reads
/// them, until the second of the two is dropped. `None` if the terminal cannot do it, or there
/// is none. `ids` are those of the components that are there.
pub(crate) fn edited_lines(
    max_bytes: u64,
    ids: impl Fn() -> Vec<String> + Send + 'static,
) -> Option<(mpsc::Receiver<Typed>, GivenBack)> {
    let term = env::var("TERM").unwrap_or_default();
    let is_unfit = UNFIT.iter().any(|unfit| unfit.eq_ignore_ascii_case(&term));
    if is_unfit || !io::stdin().is_terminal() || !is_one_terminal() {
        return None;
    }
    let original = tcgetattr(io::stdin()).ok()?;
    let config = Config::builder()
        .completion_type(CompletionType::List)
        // There are none; but without them, nobody is asked how a prompt is drawn.
        .color_mode(ColorMode::Forced);
    let mut editor = Editor::with_history(config.build(), MemHistory::new()).ok()?;
    let mut printer = editor.create_external_printer().ok()?;
    let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw())).ok()?;
    let screen = Screen::set_up(move || set(&original))?;
    let edited = Arc::new(OnceLock::new());
    editor.set_helper(Some(Session {
        screen,
        edited: Arc::clone(&edited),
        ids: Box::new(ids),
    }));
    // It is told on a thread of its own: it listens when it wants to.
    let teller = thread::Builder::new().name("terminal".to_owned());
    teller
        .spawn(move || {
            loop {
                screen.until_stale();
                if printer.print(NOTHING.to_owned()).is_err() {
                    return;
                }
            }
        })
        .ok()?;
    tokio::spawn(async move {
        // Whoever had the terminal meanwhile has put it into a mode of their own.
        while continued.recv().await.is_some() {
            if screen.refresh()
                && let Some(edited) = edited.get()
            {
                set(edited);
            }
        }
    });
    let lines = on_a_thread(move |lines| {
        if edit(editor, screen, max_bytes, lines) {
            forward_lines(max_bytes, lines);
        }
    });
    Some((lines, GivenBack))
}

/// Unless another process has the terminal, which would stop this one.
fn set(mode: &Termios) {
    if group_of_terminal().is_none_or(|group| group == getpgrp()) {
        // It is gone, or nothing can be done about it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
    }
}

/// Whom the terminal takes for those who use it, if it is the one that can stop and end them.
fn group_of_terminal() -> Option<Pid> {
    tcgetpgrp(io::stdin()).ok()
}

/// What the terminal does on Ctrl-C while no line is edited.
fn interrupt() {
    // Whoever edits a line can be sent signals.
    let _ = match group_of_terminal() {
        Some(group) => kill_process_group(group, Signal::INT),
        None => kill_process(getpid(), Signal::INT),
    };
}

/// Edits lines until they end; whether there may be more that are not edited.
fn edit(
    mut editor: Editor<Session, MemHistory>,
    screen: &Screen,
    max_bytes: u64,
    lines: &mpsc::Sender<Typed>,
) -> bool {
    let mut number = 0;
    while can_wait() && screen.begin() {
        // Whatever goes wrong with it, lines can still be read.
        let edited = catch_unwind(AssertUnwindSafe(|| editor.readline(PROMPT)));
        screen.end();
        let text = match edited {
            Ok(Ok(text)) => text,
            Ok(Err(ReadlineError::Eof)) => return false,
            Ok(Err(ReadlineError::Interrupted)) => {
                interrupt();
                return true;
            }
            Ok(Err(ReadlineError::Io(error))) if error.kind() == ErrorKind::InvalidData => {
                Report::error("this was not UTF-8, and is left out").print();
                continue;
            }
            Ok(Err(_)) | Err(_) => return true,
        };
        // It is in memory, where there is room or not.
        let _ = editor.add_history_entry(&text);
        // Several may have been pasted.
        for line in text.split('\n') {
            number += 1;
            let is_last = matches!(Line::parse(line.as_bytes()), Ok(Line::Quit));
            let line = match line.len() as u64 > max_bytes {
                true => Err(TooLong { line: number }),
                false => Ok(Message {
                    payload: line.as_bytes().to_vec(),
                    origin: format!("line {number} of standard input"),
                }),
            };
            if lines.blocking_send(Ok(line)).is_err() {
                return false;
            }
            if is_last {
                return true;
            }
        }
    }
    true
}

/// Whether an editor can wait for the descriptors that it opens for a line, by `select`.
fn can_wait() -> bool {
    let next = io::stdin().as_fd().try_clone_to_owned();
    next.is_ok_and(|next| next.as_raw_fd() < MAX_DESCRIPTOR)
}

/// What an editor asks while a line is edited.
struct Session {
    screen: &'static Screen,
    /// The mode of the terminal meanwhile.
    edited: Arc<OnceLock<Termios>>,
    ids: Ids,
}

impl Helper for Session {}

impl Validator for Session {}

impl Hinter for Session {
    type Hint = String;
}

impl Highlighter for Session {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.edited.get().is_none()
            && let Ok(mode) = tcgetattr(io::stdin())
        {
            // Nobody else sets it.
            let _ = self.edited.set(mode);
        }
        match self.screen.draw() {
            text if text.is_empty() => Borrowed(prompt),
            text => Owned(text + prompt),
        }
    }
}

impl Completer for Session {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(completions(&line[..position], &self.ids))
    }
}

/// What the last word of `line` may become, and where it begins.
fn completions(line: &str, ids: impl Fn() -> Vec<String>) -> (usize, Vec<Pair>) {
    let start = line.rfind([' ', '\t']).map_or(0, |space| space + 1);
    let (before, word) = line.split_at(start);
    let mut candidates = Vec::new();
    let before = before.trim();
    if before.is_empty() {
        candidates.extend(WORDS.map(str::to_owned));
    }
    let takes_id = || {
        HELP.lines()
            .any(|line| line.starts_with(&format!("{before} ID")))
    };
    if before.is_empty() || takes_id() {
        let mut ids = ids();
        ids.sort();
        candidates.extend(ids);
    }
    candidates.retain(|candidate| candidate.starts_with(word));
    if candidates.len() > MAX_CANDIDATES {
        let common = common_start(&candidates).to_owned();
        let pair = Pair {
            display: common.clone(),
            replacement: common,
        };
        return (start, vec![pair]);
    }
    let pairs = candidates.into_iter().map(|candidate| Pair {
        replacement: format!("{candidate} "),
        display: candidate,
    });
    (start, pairs.collect())
}

/// Of all of them.
fn common_start(texts: &[String]) -> &str {
    let mut common = texts.first().map_or("", String::as_str);
    for text in texts {
        let matching = common.chars().zip(text.chars());
        let length = matching
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a.len_utf8());
        common = &common[..length.sum()];
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> (usize, Vec<String>) {
        let ids = || ["shop/till/main", "shop/cook/ben", "shop/cook/ada"].map(str::to_owned);
        let (start, pairs) = completions(line, || ids().to_vec());
        let texts = pairs.into_iter().map(|pair| pair.replacement);
        (start, texts.collect())
    }

    #[test]
    fn words_come_first_and_ids_where_they_belong() {
        let ids = ["shop/cook/ada ", "shop/cook/ben ", "shop/till/main "];
        let (start, all) = completed("");
        assert_eq!(
            (start, &all[..2]),
            (0, &["send ", "call "].map(str::to_owned)[..])
        );
        assert_eq!(all[WORDS.len()..], ids);
        for (line, start, expected) in [
            ("q", 0, &["quit "][..]),
            ("  re", 2, &["redeliver ", "restart "]),
            (
                "s",
                0,
                &[
                    "send ",
                    "shop/cook/ada ",
                    "shop/cook/ben ",
                    "shop/till/main ",
                ],
            ),
            ("shop/t", 0, &["shop/till/main "]),
            ("send ", 5, &ids),
            ("call  shop/c", 6, &["shop/cook/ada ", "shop/cook/ben "]),
            ("ps\tshop/till/", 3, &["shop/till/main "]),
            ("restart x", 8, &[]),
            // No id comes there, or no other.
            ("redeliver ", 10, &[]),
            ("dead s", 5, &[]),
            ("send shop/till/main s", 20, &[]),
            ("shop/till/main s", 15, &[]),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(completed(line), (start, expected), "{line:?}");
        }
    }

    #[test]
    fn of_too_many_ids_only_what_they_share_is_completed() {
        let ids = || (0..=MAX_CANDIDATES).map(|i| format!("a/é{i}/b")).collect();
        let (start, pairs) = completions("send a", ids);
        assert_eq!((start, pairs.len()), (5, 1));
        assert_eq!(pairs[0].replacement, "a/é");
        let (_, pairs) = completions("send a/é12/", ids);
        assert_eq!(pairs[0].replacement, "a/é12/b ");
    }
}

//! A terminal at which a line is edited while other things are printed. What is printed appears
//! above the line, by the thread that edits it and at a moment of its choice, so that the two
//! never write over each other; and the terminal is given back as it was, however this ends.

use std::borrow::Cow;
use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Ends an update of the screen and the brackets around what is pasted, both of which an editor
/// may have begun, and the line.
const AFTER_A_LINE: &[u8] = b"\x1b[?2026l\x1b[?2004l\n";
/// An editor that has begun has drawn its line in less.
const DRAWN: Duration = Duration::from_millis(100);

static SCREEN: OnceLock<Screen> = OnceLock::new();

pub(crate) struct Screen {
    state: Mutex<State>,
    changed: Condvar,
    /// Puts the terminal back into the mode in which it was.
    restore: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two lines.
    #[default]
    Idle,
    Editing,
    /// There will be no more lines.
    Over,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// The line that is edited is on the screen, and the terminal in the editor's mode.
    is_drawn: bool,
    /// To be printed above that line.
    text: String,
    /// The editor is to draw the line again.
    is_stale: bool,
    /// It was told so.
    is_told: bool,
    /// The thread that prints does so itself.
    is_printing: bool,
    /// The line that was edited last has no end.
    is_unfinished: bool,
}

impl Screen {
    /// `None` if there is one already.
    pub(crate) fn set_up(restore: impl Fn() + Send + Sync + 'static) -> Option<&'static Self> {
        let screen = Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            restore: Box::new(restore),
        };
        SCREEN.set(screen).ok()?;
        SCREEN.get()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        until: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(state, |state| !until(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// A line is going to be edited, unless there are to be no more.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.wait(self.lock(), |state| !state.is_printing);
        if state.phase == Phase::Over {
            return false;
        }
        state.phase = Phase::Editing;
        state.is_drawn = false;
        true
    }

    /// The line was edited, and the terminal is in the mode in which it was.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Editing {
            state.phase = Phase::Idle;
        }
        state.is_told = false;
        self.changed.notify_all();
    }

    /// The editor is about to draw its line, and draws this above it.
    pub(crate) fn draw(&self) -> String {
        let mut state = self.lock();
        state.is_drawn = true;
        state.is_stale = false;
        state.is_told = false;
        let text = mem::take(&mut state.text);
        let is_over = state.phase == Phase::Over;
        drop(state);
        self.changed.notify_all();
        if is_over {
            // It began too late to be seen.
            (self.restore)();
        }
        text
    }

    /// Waits until the editor is to draw its line, and has not been told so.
    pub(crate) fn until_stale(&self) {
        let is_stale =
            |state: &State| state.phase == Phase::Editing && state.is_stale && !state.is_told;
        self.wait(self.lock(), is_stale).is_told = true;
    }

    /// Whether a line is being edited; if so, it is to be drawn again.
    pub(crate) fn refresh(&self) -> bool {
        let mut state = self.lock();
        state.is_stale = state.phase == Phase::Editing;
        self.changed.notify_all();
        state.is_stale
    }

    fn give_back(&self) -> bool {
        let mut state = self.lock();
        if mem::replace(&mut state.phase, Phase::Over) != Phase::Editing {
            return false;
        }
        state.is_unfinished = true;
        self.changed.notify_all();
        let drawn = |state: &mut State| !state.is_drawn;
        let drawn = self.changed.wait_timeout_while(state, DRAWN, drawn);
        drop(drawn);
        (self.restore)();
        true
    }

    fn print(&self, text: &[u8], print: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if state.phase == Phase::Editing {
            state.text = whole_lines(text);
            state.is_stale = true;
            self.changed.notify_all();
            let done = |state: &State| state.phase != Phase::Editing || state.text.is_empty();
            state = self.wait(state, done);
            if mem::take(&mut state.text).is_empty() {
                return Ok(());
            }
        }
        state.is_printing = true;
        let is_unfinished = mem::take(&mut state.is_unfinished);
        drop(state);
        let begun = match is_unfinished {
            true => io::stdout().write_all(AFTER_A_LINE),
            false => Ok(()),
        };
        let outcome = begun.and_then(|()| print());
        self.lock().is_printing = false;
        self.changed.notify_all();
        outcome
    }
}

/// Below it a line is drawn.
fn whole_lines(text: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Prints `text` above a line that is being edited, or else by `print`. `shown` is what of
/// `text` the terminal is to get.
pub(super) fn print<'a>(
    shown: impl FnOnce() -> Cow<'a, [u8]>,
    print: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    match SCREEN.get() {
        Some(screen) => screen.print(&shown(), print),
        None => print(),
    }
}

/// No more lines are edited: the terminal is as it was. Whether a line was being edited, which
/// has no end now.
pub(super) fn give_back() -> bool {
    SCREEN.get().is_some_and(Screen::give_back)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    fn screen() -> (Arc<Screen>, Arc<AtomicUsize>) {
        let restored = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&restored);
        let screen = Screen {
            state: Mutex::default(),
            changed: Condvar::new(),
            restore: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
        };
        (Arc::new(screen), restored)
    }

    /// Prints on a thread of its own; whether it did so itself comes once it is printed.
    fn printing(screen: &Arc<Screen>, text: &'static str) -> mpsc::Receiver<bool> {
        let (sender, printed) = mpsc::channel();
        let screen = Arc::clone(screen);
        thread::spawn(move || {
            let mut directly = false;
            let print = || {
                directly = true;
                Ok(())
            };
            screen.print(text.as_bytes(), print).unwrap();
            sender.send(directly).unwrap();
        });
        printed
    }

    #[test]
    fn what_is_printed_appears_once_above_a_line_or_between_two() {
        let (screen, restored) = screen();
        assert!(printing(&screen, "a\n").recv().unwrap());
        assert!(screen.begin());
        assert_eq!(screen.draw(), "");
        let printed = printing(&screen, "b");
        screen.until_stale();
        assert_eq!(printed.try_recv(), Err(mpsc::TryRecvError::Empty));
        assert_eq!(screen.draw(), "b\n");
        assert!(!printed.recv().unwrap());
        // The editor was told, and ended before it listened.
        let printed = printing(&screen, "c\n");
        screen.until_stale();
        screen.end();
        assert!(printed.recv().unwrap());
        assert!(screen.begin());
        assert_eq!(screen.draw(), "");
        assert_eq!(restored.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_terminal_is_given_back_once_and_for_all() {
        let (screen, restored) = screen();
        assert!(screen.begin());
        assert_eq!(screen.draw(), "");
        let printed = printing(&screen, "a\n");
        screen.until_stale();
        assert!(screen.give_back() && !screen.give_back());
        assert_eq!(restored.load(Ordering::Relaxed), 1);
        assert!(printed.recv().unwrap());
        // An editor that was about to begin has changed its mode since.
        assert_eq!(screen.draw(), "");
        assert_eq!(restored.load(Ordering::Relaxed), 2);
        screen.end();
        assert!(!screen.begin() && !screen.refresh());
    }
}

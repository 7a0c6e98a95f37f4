//! What must hold once an application has ended.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use wasm_core::{ComponentId, ComponentMessage, CorrelationId, MessagingError, WasmError};
use wasm_host::{DeadLetter, DeadLetterCause, ERROR_TYPE, LetterKind, RequestError};

use super::ledger::{
    Accepted, Asked, Awaited, Book, Call, Moment, Outcome, Ring, Sent, moment_of, timer_of,
};

/// What is expected besides.
#[derive(Clone, Copy)]
pub(crate) struct Law {
    /// Whether the host was stopped: nothing is on its way any more.
    pub(crate) stopped: bool,
    /// How much later than it should something may happen.
    pub(crate) slack: Duration,
    /// Whether everything happens on one thread: a host has seen the end of an instance
    /// before anything else happens.
    pub(crate) one_thread: bool,
}

/// All that is wrong.
pub(crate) fn judge(book: &mut Book, law: Law) -> Vec<String> {
    let mut judge = Judge {
        deliveries: HashMap::new(),
        dead: HashMap::new(),
        callbacks: HashMap::new(),
        dead_callbacks: HashMap::new(),
        redelivered: HashMap::new(),
        dead_timers: HashMap::new(),
        wrong: std::mem::take(&mut book.wrong),
        tally: std::mem::take(&mut book.tally),
        book,
        law,
    };
    judge.sort();
    judge.letters();
    judge.order();
    judge.requests();
    judge.answers();
    judge.timers();
    judge.lives();
    let Judge { wrong, tally, .. } = judge;
    book.tally = tally;
    wrong
}

struct Judge<'a> {
    book: &'a Book,
    law: Law,
    deliveries: HashMap<Moment, Vec<&'a Call>>,
    dead: HashMap<Moment, Vec<&'a DeadLetter>>,
    callbacks: HashMap<&'a CorrelationId, Vec<&'a Call>>,
    dead_callbacks: HashMap<&'a CorrelationId, Vec<&'a DeadLetter>>,
    /// What was delivered once more.
    redelivered: HashMap<Moment, Vec<&'a DeadLetter>>,
    dead_timers: HashMap<u64, Vec<&'a DeadLetter>>,
    wrong: Vec<String>,
    tally: BTreeMap<String, u64>,
}

impl<'a> Judge<'a> {
    fn count(&mut self, what: String) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Nothing is delivered or given up that nobody sent.
    fn sort(&mut self) {
        let book = self.book;
        for call in &book.calls {
            if call.ended.is_none() && self.law.stopped {
                self.wrong
                    .push(format!("a call of {} did not end", call.handle));
            }
            let letter = moment_of(call.message.timestamp);
            let request = call.message.correlation_id.as_ref();
            if !call.is_callback {
                let known = book.letters.get(&letter);
                if !known.is_some_and(|sent| sent.is(&call.message)) {
                    self.wrong.push(format!(
                        "{} was given a message {letter} that nobody sent so",
                        call.handle
                    ));
                }
                self.deliveries.entry(letter).or_default().push(call);
            } else if let Some(request) = request.filter(|it| book.requests.contains_key(it)) {
                self.callbacks.entry(request).or_default().push(call);
            } else {
                self.wrong
                    .push(format!("{} was called back about no request", call.handle));
            }
        }
        for dead in &book.redelivered {
            let letter = moment_of(dead.message.timestamp);
            self.redelivered.entry(letter).or_default().push(dead);
        }
        for dead in &book.dead {
            self.count(format!("dead: {}, {}", dead.kind, dead.cause.as_str()));
            let letter = moment_of(dead.message.timestamp);
            let request = dead.message.correlation_id.as_ref();
            if dead.kind == LetterKind::Timer {
                if let Some(timer) = timer_of(&dead.message) {
                    self.dead_timers.entry(timer).or_default().push(dead);
                }
            } else if dead.kind != LetterKind::Callback {
                let known = book.letters.get(&letter);
                // One that is delivered again is answered to nobody.
                let is_kind = |kind| kind == dead.kind || dead.redeliveries == 1;
                if !known.is_some_and(|sent| sent.is(&dead.message) && is_kind(sent.kind)) {
                    self.wrong.push(format!(
                        "the {} {letter}, a dead letter, was not sent so",
                        dead.kind
                    ));
                }
                self.dead.entry(letter).or_default().push(dead);
            } else if let Some(request) = request.filter(|it| book.requests.contains_key(it)) {
                self.dead_callbacks.entry(request).or_default().push(dead);
            } else {
                self.wrong
                    .push("a dead callback about no request".to_owned());
            }
        }
    }

    /// Each was handled once or is a dead letter.
    fn letters(&mut self) {
        let book = self.book;
        let unwanted = self.unwanted();
        for (letter, sent) in &book.letters {
            let count = self.deliveries(*letter);
            let dead = self.dead.get(letter).map_or(&[][..], Vec::as_slice);
            let again = self.redelivered.get(letter).map_or(&[][..], Vec::as_slice);
            let died = dead.iter().chain(again);
            let died = died.filter(|dead| is_failed(dead)).count();
            let total = count.handled + dead.len();
            if again.len() > 1 {
                self.wrong
                    .push(format!("delivered again {} times", again.len()));
            }
            let what = format!(
                "{} (handled {}, dead {})",
                sent.describe(*letter),
                count.handled,
                dead.len()
            );
            let is_withdrawn = total == 0 && unwanted.contains_key(letter);
            if is_withdrawn {
                self.count(format!("withdrawn: {:?}", unwanted[letter]));
            }
            let is_right = match sent.accepted {
                Accepted::Yes if is_withdrawn => true,
                Accepted::Yes if self.law.stopped => total == 1,
                Accepted::Yes | Accepted::Maybe => total <= 1,
                Accepted::No => total + count.calls == 0,
            };
            if !is_right {
                self.wrong.push(format!(
                    "not conserved, accepted {:?}: {what}",
                    sent.accepted
                ));
            }
            if count.failed != died && (self.law.stopped || count.failed < died) {
                self.wrong.push(format!(
                    "failed over {} times and dead of that {died} times: {what}",
                    count.failed
                ));
            }
            if sent.recipient.name() == "nobody" && sent.accepted == Accepted::Yes {
                self.wrong.push(format!("accepted for nobody: {what}"));
            }
            self.count(format!("{}: {:?}", sent.kind, sent.accepted));
            // What fixtures say in their shutdown.
            if sent.payload.as_bytes() == b"bye" {
                self.count(format!("last word: {:?}", sent.accepted));
            }
            if count.handled == 1 {
                self.count(format!("handled: {}", sent.kind));
            }
        }
    }

    /// Requests that nobody waited for at last, and why.
    fn unwanted(&self) -> HashMap<Moment, Unwanted> {
        let mut unwanted = HashMap::new();
        for awaited in &self.book.answers {
            let outcome = awaited.outcome.as_ref().map(|(_, outcome)| outcome);
            let why = match outcome {
                None if awaited.given_up => Unwanted::GivenUp,
                Some(Err(RequestError::Messaging(MessagingError::CorrelationTimeout(_)))) => {
                    Unwanted::TimedOut
                }
                _ => continue,
            };
            unwanted.insert(awaited.letter, why);
        }
        for id in &self.book.asked {
            let asked = &self.book.requests[id];
            let ended = asked
                .life
                .is_none_or(|life| self.book.lives[life].ended.is_some());
            let called_back = self.callbacks.get(id).into_iter().flatten();
            let dead = self.dead_callbacks.get(id).into_iter().flatten();
            let mut told = called_back
                .map(|call| &call.message)
                .chain(dead.map(|dead| &dead.message));
            let why = if asked.cancelled.is_some() {
                Unwanted::GivenUp
            } else if told.any(|told| told.payload.as_bytes() == b"correlation-timeout") {
                Unwanted::TimedOut
            } else if ended {
                Unwanted::AskerGone
            } else {
                continue;
            };
            unwanted.insert(asked.letter, why);
        }
        unwanted
    }

    fn deliveries(&self, letter: Moment) -> Count {
        Count::of(self.deliveries.get(&letter).map_or(&[][..], Vec::as_slice))
    }

    /// What one sends to another arrives in the order in which it was accepted.
    fn order(&mut self) {
        let mut last: HashMap<(&ComponentId, &ComponentId), Moment> = HashMap::new();
        for call in &self.book.calls {
            let reached = call
                .ended
                .as_ref()
                .is_none_or(|(_, _, outcome)| *outcome != Outcome::NotReached);
            let letter = moment_of(call.message.timestamp);
            let message = &call.message;
            let unordered = &self.book.unordered;
            // Who handles several at a time sends several at a time: on several threads, which
            // of them is accepted first is not known.
            let is_ordered = !unordered.contains(&message.recipient)
                && (self.law.one_thread || !unordered.contains(&message.sender));
            // One that is delivered again has lost its place.
            let is_again = self.redelivered.contains_key(&letter);
            if call.is_callback || !reached || !is_ordered || is_again {
                continue;
            }
            if let Some(before) = last.insert((&message.sender, &message.recipient), letter)
                && before > letter
            {
                let (from, to) = (&message.sender, &message.recipient);
                self.wrong.push(format!(
                    "out of order from {from} to {to}: {letter} after {before}"
                ));
            }
        }
    }

    fn requests(&mut self) {
        for id in &self.book.asked {
            let asked = &self.book.requests[id];
            self.request(id, asked);
        }
    }

    /// It was called back once, or cancelled, or its instance was gone first.
    fn request(&mut self, id: &CorrelationId, asked: &'a Asked) {
        let calls = self.callbacks.get(id).cloned().unwrap_or_default();
        let dead = self.dead_callbacks.get(id).cloned().unwrap_or_default();
        let count = Count::of(&calls);
        let died = dead.iter().filter(|dead| is_failed(dead)).count();
        let total = count.handled + dead.len();
        let what = format!(
            "request {} of {} (called back {}, dead callbacks {})",
            asked.letter,
            asked.requester,
            count.handled,
            dead.len()
        );
        if count.failed != died && (self.law.stopped || count.failed < died) {
            self.wrong.push(format!(
                "failed over {} times and dead of that {died} times: {what}",
                count.failed
            ));
        }
        let settled = self.settled(asked.letter);
        // An instance without a life is none.
        let life = asked.life.map(|life| &self.book.lives[life]);
        let ended = life.map_or(Some((0, asked.deadline)), |life| life.ended);
        let ended_first =
            ended.filter(|(moment, _)| settled.is_none_or(|settled| *moment < settled));
        if asked.cancelled.is_some() {
            if total + count.calls > 0 {
                self.wrong
                    .push(format!("called back though cancelled: {what}"));
            }
        } else if total > 1 {
            self.wrong
                .push(format!("called back more than once: {what}"));
        } else if total == 0 && self.law.stopped {
            // Of one that handles several at a time, a host sees the end of a call later.
            let ended_first = match self.book.unordered.contains(&asked.of) {
                true => ended,
                false => ended_first,
            };
            let is_excused = match self.law.one_thread {
                true => ended_first.is_some_and(|(_, at)| at <= asked.deadline + self.law.slack),
                false => ended.is_some(),
            };
            match is_excused {
                true => self.count("request: abandoned".to_owned()),
                false => self.wrong.push(format!("not called back: {what}")),
            }
        } else if total == 1 && self.law.stopped && self.law.one_thread {
            // One that asks itself may fail over its own request.
            let is_prompt = !self.book.unordered.contains(&asked.requester);
            let is_vain = is_prompt
                && asked.of != asked.requester
                && ended_first.is_some_and(|(_, at)| at + self.law.slack < asked.deadline);
            if is_vain {
                self.wrong
                    .push(format!("called back after its instance was gone: {what}"));
            }
        }
        if count.handled == 1 {
            self.count("handled: callback".to_owned());
        }
        for (moment, at) in &asked.not_cancelled {
            let was_open = asked.cancelled.is_none_or(|cancelled| *moment < cancelled)
                && settled.is_none_or(|settled| *moment < settled)
                && *at + self.law.slack < asked.deadline;
            // What is given up after a host is dropped is not seen.
            if was_open && self.law.one_thread && self.law.stopped {
                self.wrong
                    .push(format!("could not be cancelled while it was open: {what}"));
            }
        }
        for call in calls {
            self.callback(asked, call, &what);
        }
    }

    /// When its target or the host was done with a letter.
    fn settled(&self, letter: Moment) -> Option<Moment> {
        let calls = self.deliveries.get(&letter).into_iter().flatten();
        let handled = calls.filter_map(|call| match &call.ended {
            Some((moment, _, Outcome::Answered(_) | Outcome::GuestError)) => Some(*moment),
            _ => None,
        });
        let again = self.redelivered.get(&letter).into_iter().flatten();
        let dead = self.dead.get(&letter).into_iter().flatten().chain(again);
        handled
            .chain(dead.map(|dead| moment_of(dead.timestamp)))
            .min()
    }

    /// It came to who asked, from whom was asked, with what that one answered.
    fn callback(&mut self, asked: &Asked, call: &Call, what: &str) {
        let Some((_, at, outcome)) = &call.ended else {
            return;
        };
        let message = &call.message;
        if message.sender != asked.of || *call.handle.id() != asked.requester {
            self.wrong.push(format!(
                "{} was called back by {}: {what}",
                call.handle, message.sender
            ));
        }
        if *outcome == Outcome::NotReached {
            return;
        }
        if call.life != asked.life {
            self.wrong
                .push(format!("another instance was called back: {what}"));
        }
        let is_late = *at + self.law.slack >= asked.deadline;
        // What comes of it when it is delivered again is told to nobody.
        let answered = match self.redelivered.contains_key(&asked.letter) {
            true => None,
            false => self.outcome(asked.letter),
        };
        let is_right = match message.message_type.as_deref() {
            None => {
                let reply = Some(message.payload.clone()).filter(|it| !it.is_empty());
                matches!(answered, Some(Outcome::Answered(found))
                    if reply == found.clone().filter(|it| !it.is_empty()))
            }
            Some(ERROR_TYPE) => match message.payload.as_bytes() {
                b"correlation-timeout" => is_late,
                error if error.starts_with(b"delivery-failed: ") => {
                    // An answer may be too large for the mailbox.
                    let too_large = error.ends_with(b"has no room");
                    too_large == matches!(answered, Some(Outcome::Answered(_)))
                }
                _ => false,
            },
            Some(_) => false,
        };
        if !is_right {
            let payload = String::from_utf8_lossy(message.payload.as_bytes());
            self.wrong.push(format!(
                "called back with {payload:?}, but {answered:?}: {what}"
            ));
        }
    }

    /// What came of a letter that reached its recipient.
    fn outcome(&self, letter: Moment) -> Option<&'a Outcome> {
        let calls = self.deliveries.get(&letter)?;
        let mut outcomes = calls
            .iter()
            .filter_map(|call| Some(&call.ended.as_ref()?.2));
        outcomes.rfind(|outcome| **outcome != Outcome::NotReached)
    }

    /// Each timer came once and not early, or is a dead letter, was taken back or waits in the
    /// store.
    fn timers(&mut self) {
        let book = self.book;
        let mut rung: HashMap<u64, Vec<&Ring>> = HashMap::new();
        for ring in &book.rings {
            match ring.timer.filter(|timer| book.timers.contains_key(timer)) {
                Some(timer) => rung.entry(timer).or_default().push(ring),
                None => self.wrong.push("a timer came that nobody set".to_owned()),
            }
        }
        for (timer, set) in &book.timers {
            let rings = rung.get(timer).map_or(&[][..], Vec::as_slice);
            let handled = rings.iter().filter(|ring| is_over(ring.outcome.as_ref()));
            let dead = self.dead_timers.get(timer).map_or(0, Vec::len);
            let total = handled.count() + dead;
            let what = format!("timer {timer} (came {} times, dead {dead})", rings.len());
            if rings.iter().any(|ring| ring.began.1 < set.due) {
                self.wrong.push(format!("came early: {what}"));
            }
            let is_taken = set.cancelled.iter().find(|(_, done)| *done == Some(true));
            let may_be_taken = set.cancelled.iter().any(|(_, done)| done.is_none());
            if let Some((moment, _)) = is_taken
                && (dead > 0 || rings.iter().any(|ring| ring.began.0 > *moment))
            {
                self.wrong.push(format!("came though taken back: {what}"));
            }
            let is_excused = is_taken.is_some() || may_be_taken || book.kept.contains(timer);
            let is_right = total == 1 || total == 0 && (is_excused || !self.law.stopped);
            if !is_right {
                self.wrong
                    .push(format!("neither came once nor is kept: {what}"));
            }
            self.count(match (total, is_taken) {
                (1, _) => "timer: came".to_owned(),
                (_, Some(_)) => "timer: taken back".to_owned(),
                _ => "timer: kept".to_owned(),
            });
        }
    }

    /// No instance outlives the host.
    fn lives(&mut self) {
        let lives = self.book.lives.iter();
        let left = lives.filter(|life| life.ended.is_none()).count();
        if left > 0 && self.law.stopped {
            self.wrong
                .push(format!("{left} instances were never ended"));
        }
    }

    /// The program has one outcome for each request, and the right one.
    fn answers(&mut self) {
        for awaited in &self.book.answers {
            let accepted = self.book.letters[&awaited.letter].accepted;
            self.count(format!(
                "program's request: {accepted:?}{}",
                given_up(awaited)
            ));
            if let Some(wrong) = self.answer(awaited, accepted) {
                let outcome = awaited.outcome.as_ref().map(|(_, outcome)| outcome);
                self.wrong.push(format!(
                    "request {} of the program, accepted {accepted:?}: {wrong}: {outcome:?}",
                    awaited.letter
                ));
            }
        }
    }

    fn answer(&self, awaited: &Awaited, accepted: Accepted) -> Option<&'static str> {
        if awaited.given_up {
            return None;
        }
        let Some((at, outcome)) = &awaited.outcome else {
            return self.law.stopped.then_some("no outcome");
        };
        let due = awaited.asked + awaited.timeout;
        if *at > due + self.law.slack && self.law.one_thread {
            return Some("too late");
        }
        let again = self.redelivered.get(&awaited.letter);
        let dead = again.or_else(|| self.dead.get(&awaited.letter));
        let dead = dead.and_then(|dead| dead.first());
        let answered = self.outcome(awaited.letter);
        let is_right = match outcome {
            Ok(reply) => matches!(answered, Some(Outcome::Answered(found)) if found == reply),
            Err(RequestError::Component(error)) => match **error {
                WasmError::GuestError { .. } => answered == Some(&Outcome::GuestError),
                _ => dead.is_some_and(|dead| is_failed(dead)),
            },
            Err(RequestError::Messaging(_)) if accepted == Accepted::No => true,
            Err(RequestError::Messaging(MessagingError::CorrelationTimeout(_))) => {
                *at + self.law.slack >= due
            }
            Err(_) if accepted == Accepted::Maybe => true,
            Err(_) => dead.is_some_and(|dead| !is_failed(dead)),
        };
        (!is_right).then_some("the wrong outcome")
    }
}

fn is_over(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Answered(_) | Outcome::GuestError))
}

fn given_up(awaited: &Awaited) -> &'static str {
    match awaited.given_up {
        true => ", given up",
        false => "",
    }
}

/// Why nobody waits for the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwanted {
    TimedOut,
    GivenUp,
    AskerGone,
}

struct Count {
    handled: usize,
    failed: usize,
    /// Those that did not reach the instance included.
    calls: usize,
}

impl Count {
    fn of(calls: &[&Call]) -> Self {
        let with = |fits: fn(&Outcome) -> bool| {
            let ended = calls.iter().filter_map(|call| call.ended.as_ref());
            ended.filter(|(_, _, outcome)| fits(outcome)).count()
        };
        Self {
            handled: with(|outcome| matches!(outcome, Outcome::Answered(_) | Outcome::GuestError)),
            failed: with(|outcome| *outcome == Outcome::Failed),
            calls: calls.len(),
        }
    }
}

fn is_failed(dead: &DeadLetter) -> bool {
    matches!(dead.cause, DeadLetterCause::Failed(_))
}

impl Sent {
    /// Whether this is what was sent.
    fn is(&self, message: &ComponentMessage) -> bool {
        self.sender == message.sender
            && self.recipient == message.recipient
            && self.payload == message.payload
    }

    fn describe(&self, letter: Moment) -> String {
        format!(
            "{} {letter} from {} to {}: {}",
            self.kind,
            self.sender,
            self.recipient,
            String::from_utf8_lossy(self.payload.as_bytes())
        )
    }
}

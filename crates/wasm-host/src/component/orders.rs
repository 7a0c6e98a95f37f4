//! What the task of a component is told to do, apart from the messages that it delivers.

use std::collections::VecDeque;
use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, oneshot};

use wasm_core::HealthStatus;

use crate::error::HostError;
use crate::lock::lock;

/// What a task does between two messages. A command that nobody waits for any more when its
/// turn comes is not carried out.
#[derive(Debug)]
pub(crate) enum Command {
    Restart(oneshot::Sender<Result<(), HostError>>),
    Health(oneshot::Sender<Result<HealthStatus, HostError>>),
}

/// What ends a task, before all commands that still wait.
#[derive(Debug)]
pub(crate) enum Leaving {
    Unloaded(oneshot::Sender<Result<(), HostError>>),
    Stopped(oneshot::Sender<Result<(), HostError>>),
    /// The host is gone.
    Abandoned,
}

/// What a task does next of what it was told.
#[derive(Debug)]
pub(crate) enum Order {
    Leave(Leaving),
    Obey(Command),
}

/// Commands that wait for a component; who gives more waits with them.
const WAITING_COMMANDS: usize = 16;

/// What a task has been told and has not done yet.
///
/// A channel would keep what is sent while its receiver is dropped for as long as there are
/// senders, and whoever waits for an answer is one of them. Here nothing is taken any more once
/// this is [closed](Self::close), and what was taken before is dropped then, which is how who
/// waits for it is told.
#[derive(Debug)]
pub(crate) struct Orders {
    state: Mutex<State>,
    /// Whether there may be some: asked before each message. It is changed under the lock.
    are_given: AtomicBool,
    /// Commands that may be given without waiting.
    room: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    leaving: VecDeque<Leaving>,
    commands: VecDeque<Command>,
    is_closed: bool,
}

impl Orders {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            are_given: AtomicBool::new(false),
            room: Semaphore::new(WAITING_COMMANDS),
        }
    }

    /// Gives a command, once few enough wait; whether the task will hear of it.
    pub(crate) async fn command(&self, command: Command) -> bool {
        let Ok(room) = self.room.acquire().await else {
            return false;
        };
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        room.forget();
        state.commands.push_back(command);
        self.are_given.store(true, Ordering::Release);
        true
    }

    /// Tells the task to end; whether it will hear of it.
    pub(crate) fn leave(&self, leaving: Leaving) -> bool {
        let mut state = lock(&self.state);
        if !state.is_closed {
            state.leaving.push_back(leaving);
            self.are_given.store(true, Ordering::Release);
        }
        !state.is_closed
    }

    /// What is done next, if there is something: leaving before commands.
    pub(crate) fn next(&self) -> Option<Order> {
        if !self.are_given.load(Ordering::Acquire) {
            return None;
        }
        let mut state = lock(&self.state);
        if let Some(leaving) = state.leaving.pop_front() {
            return Some(Order::Leave(leaving));
        }
        let Some(command) = state.commands.pop_front() else {
            self.are_given.store(false, Ordering::Release);
            return None;
        };
        drop(state);
        self.room.add_permits(1);
        Some(Order::Obey(command))
    }

    /// Whether there is nothing to do.
    pub(crate) fn are_empty(&self) -> bool {
        let state = lock(&self.state);
        state.leaving.is_empty() && state.commands.is_empty()
    }

    /// The task has ended: nothing is taken any more, and nothing that was taken is done.
    pub(crate) fn close(&self) {
        self.room.close();
        let left = {
            let mut state = lock(&self.state);
            state.is_closed = true;
            (
                mem::take(&mut state.leaving),
                mem::take(&mut state.commands),
            )
        };
        // Whoever waits is woken without the lock.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use tokio::runtime::Builder;
    use tokio::sync::oneshot::error::TryRecvError;
    use tokio::task::yield_now;

    use super::*;

    fn restart() -> (Command, oneshot::Receiver<Result<(), HostError>>) {
        let (reply, answer) = oneshot::channel();
        (Command::Restart(reply), answer)
    }

    #[tokio::test]
    async fn so_many_commands_wait() {
        let orders = Arc::new(Orders::new());
        for _ in 0..WAITING_COMMANDS {
            assert!(orders.command(restart().0).await);
        }
        let one_more = {
            let orders = Arc::clone(&orders);
            tokio::spawn(async move { orders.command(restart().0).await })
        };
        yield_now().await;
        assert!(!one_more.is_finished());
        let next = orders.next();
        assert!(
            matches!(next, Some(Order::Obey(Command::Restart(_)))),
            "{next:?}"
        );
        assert!(one_more.await.unwrap());
        let too_late = {
            let orders = Arc::clone(&orders);
            tokio::spawn(async move { orders.command(restart().0).await })
        };
        yield_now().await;
        orders.close();
        assert!(!too_late.await.unwrap());
        assert!(!orders.command(restart().0).await);
        assert!(orders.next().is_none() && orders.are_empty());
    }

    /// Orders that are given in the very moment in which the task ends. Of so many, a channel of
    /// tokio keeps some for as long as whoever waits for the answer is there.
    #[test]
    fn whoever_waits_hears_of_the_end() {
        const ROUNDS: usize = 20_000;
        let all: Vec<_> = (0..ROUNDS).map(|_| Orders::new()).collect();
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut kept = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for (round, orders) in all.iter().enumerate() {
                    wait(&begun, round + 1);
                    orders.close();
                    ended.store(round + 1, Ordering::Release);
                }
            });
            for (round, orders) in all.iter().enumerate() {
                let (command, mut answer) = restart();
                let (reply, mut left) = oneshot::channel();
                begun.store(round + 1, Ordering::Release);
                runtime.block_on(orders.command(command));
                orders.leave(Leaving::Stopped(reply));
                wait(&ended, round + 1);
                kept += usize::from(answer.try_recv().unwrap_err() == TryRecvError::Empty);
                kept += usize::from(left.try_recv().unwrap_err() == TryRecvError::Empty);
            }
        });
        assert_eq!(kept, 0);
    }

    fn wait(counter: &AtomicUsize, for_round: usize) {
        while counter.load(Ordering::Acquire) < for_round {
            thread::yield_now();
        }
    }
}

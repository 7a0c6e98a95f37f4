//! A component that runs, and every call that it can get.

use crate::component::Component;
use crate::config::Config;
use crate::error::Result;
use crate::health::HealthStatus;
use crate::message::{Answer, Message};
use crate::payload::Payload;
use crate::pending::Pending;

/// An instance of a component: its state, and what it waits for.
pub(crate) struct Running<C> {
    state: C,
    pending: Pending<C>,
}

impl<C: Component> Running<C> {
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let mut pending = Pending::new();
        let state = C::from_config(config)?;
        pending.update();
        Ok(Self { state, pending })
    }

    pub(crate) fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let outcome = self.state.handle(message);
        self.pending.update();
        outcome
    }

    pub(crate) fn answer(&mut self, answer: Answer) -> Result<()> {
        let outcome = match self.pending.take(&answer.request) {
            Some(then) => then(&mut self.state, answer),
            None => self.state.answered(answer),
        };
        self.pending.update();
        outcome
    }

    pub(crate) fn health(&self) -> HealthStatus {
        self.state.health()
    }

    pub(crate) fn shutdown(&mut self) -> Result<()> {
        self.state.shutdown()
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn state(&self) -> &C {
        &self.state
    }
}

use std::mem;
use std::sync::Mutex;

use wasm_core::{Capability, CapabilityDenied, ComponentHandle, SecurityValidator};

use crate::lock::lock;

/// A validator that objects to what was revoked, and remembers every question and
/// every refusal that it was told of.
///
/// A new one objects to nothing.
#[derive(Debug, Default)]
pub struct RecordingValidator {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    questions: Vec<(ComponentHandle, Capability)>,
    denials: Vec<(ComponentHandle, CapabilityDenied)>,
    revoked: Vec<Capability>,
    everything_revoked: bool,
}

impl RecordingValidator {
    /// Nothing revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes exactly this capability from every component, from the next question
    /// on.
    pub fn revoke(&self, capability: Capability) {
        lock(&self.state).revoked.push(capability);
    }

    /// Takes every capability from every component.
    pub fn revoke_everything(&self) {
        lock(&self.state).everything_revoked = true;
    }

    /// Gives back all that was revoked.
    pub fn restore_everything(&self) {
        let mut state = lock(&self.state);
        state.revoked.clear();
        state.everything_revoked = false;
    }

    /// Every question since the last [`take_questions`](Self::take_questions), in
    /// the order they came, whatever the answer.
    pub fn questions(&self) -> Vec<(ComponentHandle, Capability)> {
        lock(&self.state).questions.clone()
    }

    /// The same, and forgets them.
    pub fn take_questions(&self) -> Vec<(ComponentHandle, Capability)> {
        mem::take(&mut lock(&self.state).questions)
    }

    /// Every refusal that it was told of since the last
    /// [`take_denials`](Self::take_denials), in the order they came.
    pub fn denials(&self) -> Vec<(ComponentHandle, CapabilityDenied)> {
        lock(&self.state).denials.clone()
    }

    /// The same, and forgets them.
    pub fn take_denials(&self) -> Vec<(ComponentHandle, CapabilityDenied)> {
        mem::take(&mut lock(&self.state).denials)
    }
}

impl SecurityValidator for RecordingValidator {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let mut state = lock(&self.state);
        state
            .questions
            .push((component.clone(), capability.clone()));
        if state.everything_revoked || state.revoked.contains(capability) {
            return Err(CapabilityDenied {
                capability: capability.clone(),
                reason: "revoked".to_owned(),
            });
        }
        Ok(())
    }

    fn denied(&self, component: &ComponentHandle, denied: &CapabilityDenied) {
        let mut state = lock(&self.state);
        state.denials.push((component.clone(), denied.clone()));
    }
}

#[cfg(test)]
mod tests {
    use wasm_core::{ComponentId, LogLevel};

    use super::*;

    fn handle() -> ComponentHandle {
        ComponentHandle::new(ComponentId::new("demo", "a", "main").unwrap(), 1)
    }

    fn denied(capability: Capability) -> Result<(), CapabilityDenied> {
        Err(CapabilityDenied {
            capability,
            reason: "revoked".to_owned(),
        })
    }

    #[test]
    fn only_what_was_revoked_is_denied_until_it_is_restored() {
        let validator = RecordingValidator::new();
        let ask = |capability| validator.validate(&handle(), &capability);
        assert_eq!(ask(Capability::Storage), Ok(()));
        validator.revoke(Capability::Storage);
        validator.revoke(Capability::Log(LogLevel::Debug));
        assert_eq!(ask(Capability::Storage), denied(Capability::Storage));
        assert_eq!(ask(Capability::Log(LogLevel::Info)), Ok(()));
        validator.restore_everything();
        assert_eq!(ask(Capability::Storage), Ok(()));
        validator.revoke_everything();
        assert_eq!(
            ask(Capability::Log(LogLevel::Info)),
            denied(Capability::Log(LogLevel::Info))
        );
        validator.restore_everything();
        assert_eq!(ask(Capability::Log(LogLevel::Debug)), Ok(()));
    }

    #[test]
    fn every_question_is_recorded() {
        let validator = RecordingValidator::new();
        let target = handle().id().clone();
        let asked = [
            Capability::Send(target.clone()),
            Capability::Storage,
            Capability::Send(target),
        ];
        validator.revoke(Capability::Storage);
        for capability in &asked {
            let expected = match capability {
                Capability::Storage => denied(Capability::Storage),
                _ => Ok(()),
            };
            assert_eq!(validator.validate(&handle(), capability), expected);
        }
        let questions = asked.map(|capability| (handle(), capability));
        assert_eq!(validator.questions(), questions);
        assert_eq!(validator.take_questions(), questions);
        assert_eq!(validator.questions(), []);
    }

    #[test]
    fn only_refusals_that_it_is_told_of_are_recorded() {
        let validator = RecordingValidator::new();
        validator.revoke_everything();
        let asked = validator.validate(&handle(), &Capability::Storage);
        assert_eq!(asked, denied(Capability::Storage));
        assert_eq!(validator.denials(), []);
        let told = [Capability::Storage, Capability::Log(LogLevel::Info)]
            .map(|capability| (handle(), CapabilityDenied::not_granted(capability)));
        for (who, what) in &told {
            validator.denied(who, what);
        }
        assert_eq!(validator.denials(), told);
        assert_eq!(validator.take_denials(), told);
        assert_eq!(validator.denials(), []);
    }
}

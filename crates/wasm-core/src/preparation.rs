use std::any::Any;
use std::fmt::{self, Debug};

/// Keeps what
/// [`RuntimeEngine::prepare_component`](crate::RuntimeEngine::prepare_component) has
/// done, until it is dropped.
#[derive(Default)]
#[must_use = "what was prepared is kept only as long as this is"]
pub struct Preparation(Option<Box<dyn Any + Send + Sync>>);

impl Preparation {
    /// Around what the engine can let go of as soon as nobody holds this.
    pub fn new(kept: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(kept)))
    }
}

impl Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation")
            .field("keeps_something", &self.0.is_some())
            .finish()
    }
}

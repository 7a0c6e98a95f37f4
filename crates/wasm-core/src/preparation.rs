use std::any::Any;
use std::fmt::{self, Debug};

use crate::KeptMemory;

/// Keeps what
/// [`RuntimeEngine::prepare_component`](crate::RuntimeEngine::prepare_component) has
/// done, until it is dropped.
#[derive(Default)]
#[must_use = "what was prepared is kept only as long as this is"]
pub struct Preparation {
    prepared: Option<Box<dyn Any + Send + Sync>>,
    kept: KeptMemory,
}

impl Preparation {
    /// Around what the engine can let go of as soon as nobody holds this.
    pub fn new(prepared: impl Any + Send + Sync) -> Self {
        Self {
            prepared: Some(Box::new(prepared)),
            kept: KeptMemory::default(),
        }
    }

    /// With what the engine keeps for it, and for the component once it is loaded.
    pub fn with_kept(self, kept: KeptMemory) -> Self {
        Self { kept, ..self }
    }

    /// The host memory that is kept for the component as long as it is loaded, as
    /// [`ComponentUsage::kept`](crate::ComponentUsage::kept) tells of one that is.
    pub fn kept(&self) -> KeptMemory {
        self.kept
    }
}

impl Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation")
            .field("keeps_something", &self.prepared.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_was_prepared_is_kept_until_it_is_dropped() {
        let kept = Arc::new(());
        let preparation = Preparation::new(Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(preparation);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn it_says_whether_it_keeps_something() {
        let texts = [Preparation::default(), Preparation::new("compiled")]
            .map(|preparation| format!("{preparation:?}"));
        assert_eq!(
            texts,
            [
                "Preparation { keeps_something: false }",
                "Preparation { keeps_something: true }"
            ]
        );
    }
}

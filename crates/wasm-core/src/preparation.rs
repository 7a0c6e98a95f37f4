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

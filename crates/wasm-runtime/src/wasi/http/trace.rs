//! What requests that components send say of the trace that they are parts of.

use std::fmt::{self, Debug};
use std::sync::Arc;

use http::HeaderMap;

type Write = dyn Fn(&mut HeaderMap) + Send + Sync;

/// Names the trace, and the span that is current when it is asked, in headers.
#[derive(Clone, Default)]
pub(crate) struct TraceContext(Option<Arc<Write>>);

impl TraceContext {
    pub(crate) fn new(write: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(write)))
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Some(write) = &self.0 {
            write(headers);
        }
    }
}

impl Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext")
            .field(&self.0.is_some())
            .finish()
    }
}

/// Those are equal that were cloned from one another.
impl PartialEq for TraceContext {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(this), Some(other)) => Arc::ptr_eq(this, other),
            _ => false,
        }
    }
}

impl Eq for TraceContext {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_equal_that_were_cloned_from_one_another() {
        let none = TraceContext::default();
        let (some, other) = (TraceContext::new(|_| ()), TraceContext::new(|_| ()));
        assert_eq!(none, TraceContext::default());
        assert_eq!(some, some.clone());
        assert_ne!(some, other);
        assert_ne!(some, none);
        assert_ne!(none, some);
        assert_eq!(format!("{some:?}"), "TraceContext(true)");
    }
}

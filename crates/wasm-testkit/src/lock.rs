use std::sync::{Mutex, MutexGuard, PoisonError};

/// A test that panicked elsewhere must not hide its own failure behind this one:
/// nothing here leaves data half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

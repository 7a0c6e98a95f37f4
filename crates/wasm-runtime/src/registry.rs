//! The components of an engine by the numbers of their handles.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use wasm_core::{ComponentHandle, WasmError};

use crate::turn::Slot;

/// Two threads that call components of their own seldom meet at one lock, whose count of
/// readers both would have to write.
const SHARDS: usize = 64;

/// Slots by number.
pub(crate) struct Registry<T: 'static> {
    shards: [RwLock<Shard<T>>; SHARDS],
}

type Shard<T> = HashMap<u64, Arc<Slot<T>>, BuildHasherDefault<NumberHasher>>;

impl<T: Send + 'static> Registry<T> {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
        }
    }

    /// # Errors
    /// [`WasmError::ComponentNotFound`].
    pub(crate) fn find(&self, handle: &ComponentHandle) -> Result<Arc<Slot<T>>, WasmError> {
        let shard = self.shard(handle.handle_id()).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard
            .get(&handle.handle_id())
            .filter(|slot| slot.guest.handle() == handle)
            .cloned()
            .ok_or_else(|| WasmError::ComponentNotFound {
                handle: handle.clone(),
            })
    }

    pub(crate) fn insert(&self, slot: Slot<T>) {
        let number = slot.guest.handle().handle_id();
        let shard = self.shard(number).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.insert(number, Arc::new(slot));
    }

    pub(crate) fn remove(&self, handle: &ComponentHandle) -> Option<Arc<Slot<T>>> {
        let number = handle.handle_id();
        let shard = self.shard(number).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard
            .get(&number)
            .is_some_and(|slot| slot.guest.handle() == handle)
            .then(|| shard.remove(&number))?
    }

    fn shard(&self, number: u64) -> &RwLock<Shard<T>> {
        &self.shards[number as usize % SHARDS]
    }
}

/// The engine itself gives the numbers, one after the other, so that nobody can choose some
/// that collide.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// By the golden ratio, which spreads neighbours over the high bits, by which the map
    /// tells its entries apart.
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(bytes: &[u8]) -> u64 {
        let mut hasher = NumberHasher::default();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn bytes_are_told_apart_like_numbers() {
        assert_eq!(hashed(b"ab"), hashed(b"ab"));
        assert_ne!(hashed(b"ab"), hashed(b"ba"));
        assert_ne!(hashed(b"a"), hashed(b""));
    }

    /// A map tells entries apart by the low bits and by the high ones.
    #[test]
    fn numbers_one_after_the_other_are_spread() {
        let hashes = (0..1000_u64).map(|number| {
            let mut hasher = NumberHasher::default();
            hasher.write_u64(number);
            hasher.finish()
        });
        let (mut low, mut high): (Vec<_>, Vec<_>) = hashes
            .map(|hash| (hash as u16, (hash >> 48) as u16))
            .unzip();
        for bits in [&mut low, &mut high] {
            bits.sort_unstable();
            bits.dedup();
            assert!(bits.len() > 950, "{}", bits.len());
        }
    }
}

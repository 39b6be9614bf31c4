//! The keys with far larger values than most, listed one by one: a sample of the keys would miss
//! them, and with them most of the memory.
//!
//! A key is noted when its value becomes large, and not removed when the value shrinks, so readers
//! of the list check each key. When the list has grown to twice the number of large keys found last
//! time, it is swept. The cost is amortised over the keys noted since.

use crate::blob::Blob;
use crate::value::ValueRef;
use im::OrdSet;

/// An aggregate with this many elements is large.
pub const LARGE_ELEMENTS: usize = 4096;
/// A string of this many bytes is large.
pub const LARGE_BYTES: usize = 1 << 16;

const SWEEP_MIN: usize = 64;

pub fn is_large(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::String(string) => string.len() >= LARGE_BYTES,
        aggregate => aggregate.len() >= LARGE_ELEMENTS,
    }
}

/// Keys that had large values when they were noted.
#[derive(Clone)]
pub(super) struct LargeKeys {
    keys: OrdSet<Blob>,
    sweep_at: usize,
}

impl Default for LargeKeys {
    fn default() -> Self {
        LargeKeys { keys: OrdSet::new(), sweep_at: SWEEP_MIN }
    }
}

impl LargeKeys {
    pub fn keys(&self) -> impl Iterator<Item = &Blob> {
        self.keys.iter()
    }

    /// Notes a key with a large value. `is_large` decides which noted keys still have one.
    pub fn note(&mut self, key: &[u8], is_large: impl Fn(&[u8]) -> bool) {
        if self.keys.contains(key) {
            return;
        }
        self.keys.insert(Blob::new(key));
        if self.keys.len() >= self.sweep_at {
            self.keys = self.keys.iter().filter(|key| is_large(key)).cloned().collect();
            self.sweep_at = SWEEP_MIN + 2 * self.keys.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_keys_are_forgotten() {
        let mut noted = LargeKeys::default();
        let key = |n: usize| format!("k{n}").into_bytes();
        for n in 0..10 * SWEEP_MIN {
            noted.note(&key(n), |other| other == key(n));
            assert!(noted.keys.len() < SWEEP_MIN + 4);
        }
        let before = noted.keys.len();
        for n in 0..10 * SWEEP_MIN {
            noted.note(format!("l{n}").as_bytes(), |other| other.starts_with(b"l"));
        }
        assert!((10 * SWEEP_MIN..=10 * SWEEP_MIN + before).contains(&noted.keys.len()));
    }
}

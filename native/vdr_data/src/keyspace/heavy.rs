//! The keys of far more elements than most, and the longest strings: a sample of keys would miss them, and with them most of the memory.
//!
//! A key is noted when it becomes heavy and not struck out when it ceases to be: whoever asks looks again. When there are more than twice
//! as many as were found heavy the last time, all are looked at, which the writer pays once for each time that it noted as many.

use super::{Db, EntryRef};
use crate::blob::Blob;
use crate::value::ValueRef;
use im::OrdSet;

/// Elements of an aggregate, or bytes of a string.
pub const HEAVY_ELEMENTS: usize = 4096;
pub const HEAVY_BYTES: usize = 1 << 16;

const SWEPT_AT: usize = 64;

pub fn is_heavy(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::String(string) => string.len() >= HEAVY_BYTES,
        aggregate => aggregate.len() >= HEAVY_ELEMENTS,
    }
}

#[derive(Clone)]
pub(super) struct Heavy {
    keys: OrdSet<Blob>,
    sweep_at: usize,
}

impl Default for Heavy {
    fn default() -> Self {
        Heavy { keys: OrdSet::new(), sweep_at: SWEPT_AT }
    }
}

impl Db {
    /// The heavy entries.
    pub fn heavy(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.heavy.keys.iter().filter_map(|key| self.get(key)).filter(|entry| is_heavy(entry.value()))
    }

    /// A heavy value has been put.
    pub(super) fn note_heavy(&mut self, key: &[u8]) {
        if self.heavy.keys.contains(key) {
            return;
        }
        self.heavy.keys.insert(Blob::new(key));
        if self.heavy.keys.len() >= self.heavy.sweep_at {
            let keys: OrdSet<Blob> = self.heavy().map(|entry| Blob::new(entry.key())).collect();
            self.heavy = Heavy { sweep_at: SWEPT_AT + 2 * keys.len(), keys };
        }
    }

    /// An aggregate was changed in place: how many elements it had, and has.
    pub fn has_grown(&mut self, key: &[u8], before: usize, now: usize) {
        if before < HEAVY_ELEMENTS && now >= HEAVY_ELEMENTS {
            self.note_heavy(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::Expiry;

    #[test]
    fn keys_that_are_gone_are_forgotten() {
        let (mut db, long) = (Db::default(), "x".repeat(HEAVY_BYTES));
        for n in 0..10 * SWEPT_AT {
            db.insert_string(format!("k{n}").as_bytes(), long.as_bytes(), Expiry::NEVER);
            db.remove(format!("k{n}").as_bytes());
            assert!(db.heavy.keys.len() < SWEPT_AT + 4);
        }
        for n in 0..10 * SWEPT_AT {
            db.insert_string(format!("k{n}").as_bytes(), long.as_bytes(), Expiry::NEVER);
        }
        assert_eq!(db.heavy().count(), 10 * SWEPT_AT);
    }
}

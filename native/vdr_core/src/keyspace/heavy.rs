//! The keys of far more elements than most, and the longest strings: a sample of keys would miss them, and with them most of the memory.
//!
//! A key is noted when it becomes heavy and not struck out when it ceases to be: whoever asks looks again. When there are more than twice
//! as many as were found heavy the last time, all are looked at, which the writer pays once for each time that it noted as many.

use super::{Db, EntryRef};
use crate::blob::Blob;
use crate::value::ValueRef;
use im::OrdSet;

/// Elements of an aggregate, or bytes of a string.
const HEAVY_ELEMENTS: usize = 4096;
const HEAVY_BYTES: usize = 1 << 16;

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
    use crate::commands::harness::{Mirror, Rng};

    fn known(db: &Db) -> Vec<String> {
        let mut keys: Vec<String> = db.heavy().map(|entry| entry.key().escape_ascii().to_string()).collect();
        keys.sort();
        keys
    }

    fn all(db: &Db) -> Vec<String> {
        let heavy = db.iter().filter(|entry| is_heavy(entry.value()));
        let mut keys: Vec<String> = heavy.map(|entry| entry.key().escape_ascii().to_string()).collect();
        keys.sort();
        keys
    }

    /// A command that adds so many elements.
    fn adding(name: &str, key: usize, from: usize, count: usize) -> String {
        let words = (from..from + count).map(|n| match name {
            "hset" | "zadd" => format!(" {n} {n}"),
            _ => format!(" {n}"),
        });
        format!("{name} {name}{key}{}", words.collect::<String>())
    }

    #[test]
    fn whatever_makes_a_key_heavy_it_is_known() {
        for seed in 0..20 {
            let (mut rng, mut mirror) = (Rng(seed), Mirror::new());
            for _ in 0..300 {
                let (key, other) = (rng.below(4), rng.below(4));
                let (from, count) = (rng.below(HEAVY_ELEMENTS), 1 + rng.below(HEAVY_ELEMENTS / 2));
                let command = match rng.below(16) {
                    12 => format!("setbit string{key} {} 1", rng.below(16 * HEAVY_BYTES)),
                    13 => format!("zunionstore zadd{key} 2 zadd{key} zadd{other}"),
                    14 => format!("sort sadd{key} store rpush{other}"),
                    15 => format!("xadd xadd{key} {from}-{count} a b"),
                    0 => adding("sadd", key, from, count),
                    1 => adding("hset", key, from, count),
                    2 => adding("zadd", key, from, count),
                    3 => adding("rpush", key, from, count),
                    4 => format!("set string{key} {}", "x".repeat(rng.below(2 * HEAVY_BYTES))),
                    5 => format!("append string{key} {}", "x".repeat(rng.below(HEAVY_BYTES))),
                    6 => format!("setrange string{key} {} x", rng.below(2 * HEAVY_BYTES)),
                    7 => format!("rename sadd{key} sadd{other}"),
                    8 => format!("copy hset{key} hset{other} replace"),
                    9 => format!("sunionstore sadd{key} sadd{key} sadd{other}"),
                    10 => format!("ltrim rpush{key} 0 {}", rng.below(2 * HEAVY_ELEMENTS)),
                    _ => format!("del zadd{key} string{other}"),
                };
                // A key may be missing.
                let _ = mirror.attempt(&command);
                assert_eq!(
                    known(mirror.keyspace.db(0)),
                    all(mirror.keyspace.db(0)),
                    "seed {seed}: {}",
                    &command[..20.min(command.len())]
                );
            }
        }
    }

    #[test]
    fn keys_that_are_gone_are_forgotten() {
        let mut mirror = Mirror::new();
        let long = "x".repeat(HEAVY_BYTES);
        for n in 0..10 * SWEPT_AT {
            mirror.run(&[&format!("set k{n} {long}"), &format!("del k{n}")]);
            assert!(mirror.keyspace.db(0).heavy.keys.len() < SWEPT_AT + 4);
        }
        for n in 0..10 * SWEPT_AT {
            mirror.run(&[&format!("set k{n} {long}")]);
        }
        assert_eq!(mirror.keyspace.db(0).heavy().count(), 10 * SWEPT_AT);
    }
}

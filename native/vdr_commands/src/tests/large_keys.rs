//! Whatever command makes a key large, the database notes it.

use crate::harness::{Mirror, Rng};
use vdr_data::keyspace::{Db, LARGE_BYTES, LARGE_ELEMENTS, is_large};

fn known(db: &Db) -> Vec<String> {
    let mut keys: Vec<String> = db.large_entries().map(|entry| entry.key().escape_ascii().to_string()).collect();
    keys.sort();
    keys
}

fn all(db: &Db) -> Vec<String> {
    let large = db.iter().filter(|entry| is_large(entry.value()));
    let mut keys: Vec<String> = large.map(|entry| entry.key().escape_ascii().to_string()).collect();
    keys.sort();
    keys
}

/// A command that adds `count` elements.
fn adding(name: &str, key: usize, from: usize, count: usize) -> String {
    let words = (from..from + count).map(|n| match name {
        "hset" | "zadd" => format!(" {n} {n}"),
        _ => format!(" {n}"),
    });
    format!("{name} {name}{key}{}", words.collect::<String>())
}

#[test]
fn whatever_makes_a_key_large_it_is_known() {
    for seed in 0..20 {
        let (mut rng, mut mirror) = (Rng(seed), Mirror::new());
        for _ in 0..300 {
            let (key, other) = (rng.below(4), rng.below(4));
            let (from, count) = (rng.below(LARGE_ELEMENTS), 1 + rng.below(LARGE_ELEMENTS / 2));
            let command = match rng.below(16) {
                12 => format!("setbit string{key} {} 1", rng.below(16 * LARGE_BYTES)),
                13 => format!("zunionstore zadd{key} 2 zadd{key} zadd{other}"),
                14 => format!("sort sadd{key} store rpush{other}"),
                15 => format!("xadd xadd{key} {from}-{count} a b"),
                0 => adding("sadd", key, from, count),
                1 => adding("hset", key, from, count),
                2 => adding("zadd", key, from, count),
                3 => adding("rpush", key, from, count),
                4 => format!("set string{key} {}", "x".repeat(rng.below(2 * LARGE_BYTES))),
                5 => format!("append string{key} {}", "x".repeat(rng.below(LARGE_BYTES))),
                6 => format!("setrange string{key} {} x", rng.below(2 * LARGE_BYTES)),
                7 => format!("rename sadd{key} sadd{other}"),
                8 => format!("copy hset{key} hset{other} replace"),
                9 => format!("sunionstore sadd{key} sadd{key} sadd{other}"),
                10 => format!("ltrim rpush{key} 0 {}", rng.below(2 * LARGE_ELEMENTS)),
                _ => format!("del zadd{key} string{other}"),
            };
            // The command fails if its key is missing.
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

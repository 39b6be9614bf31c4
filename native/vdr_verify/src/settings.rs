//! Settings of a server for one program: limits that force one encoding or the other, disk-based
//! and diskless transfers, lazy freeing, eviction.

use fastrand::Rng;
use std::io;
use vdr_testkit::Client;

/// A name and a value for CONFIG SET.
pub type Setting = (&'static str, &'static str);

/// The settings and their values. A server that does not know a name keeps its own default.
const CHOICES: &[(&str, &[&str])] = &[
    ("list-max-listpack-size", &["1", "5", "-1"]),
    ("list-compress-depth", &["1", "2"]),
    ("hash-max-listpack-entries", &["0", "4", "1000"]),
    ("hash-max-listpack-value", &["1", "10"]),
    ("set-max-intset-entries", &["0", "4", "1000"]),
    ("set-max-listpack-entries", &["0", "4", "1000"]),
    ("set-max-listpack-value", &["1", "10"]),
    ("stream-node-max-entries", &["1", "5"]),
    ("repl-diskless-sync", &["yes", "no"]),
    ("repl-backlog-size", &["16384"]),
    ("rdbcompression", &["yes", "no"]),
    ("rdbchecksum", &["yes", "no"]),
    ("lazyfree-lazy-expire", &["yes", "no"]),
    ("lazyfree-lazy-server-del", &["yes", "no"]),
    ("lazyfree-lazy-user-del", &["yes", "no"]),
    ("active-expire-effort", &["10"]),
    ("maxmemory-policy", &["allkeys-random", "allkeys-lru", "volatile-ttl"]),
    ("maxmemory-samples", &["1"]),
];

/// The limits at which sorted sets change their encoding. With them a score of -0 is not
/// comparable, so programs must know about them.
const OF_SORTED_SETS: &[(&str, &[&str])] =
    &[("zset-max-listpack-entries", &["0", "3", "1000"]), ("zset-max-listpack-value", &["1", "10"])];

/// Settings for one program, and whether its scores may be -0.
pub fn choose(rng: &mut Rng) -> (Vec<Setting>, bool) {
    let mut settings = Vec::new();
    let mut maybe = |rng: &mut Rng, (name, values): (&'static str, &[&'static str])| {
        if rng.u8(0..3) == 0 {
            settings.push((name, values[rng.usize(0..values.len())]));
        }
    };
    CHOICES.iter().for_each(|choice| maybe(rng, *choice));
    let default_sorted_sets = rng.u8(0..4) > 0;
    if !default_sorted_sets {
        OF_SORTED_SETS.iter().for_each(|choice| maybe(rng, *choice));
    }
    (settings, default_sorted_sets)
}

pub fn apply(client: &mut Client, settings: &[Setting]) -> io::Result<()> {
    for (name, value) in settings {
        client.call(&["CONFIG", "SET", name, value])?;
    }
    Ok(())
}

//! What the heart costs: CPU per write at several batch sizes, per load and per read, and memory per key.
//!
//! `cargo run --release -p vdr_core --example heart [figure ...]`. Times are of this thread's CPU, so that other work on
//! the machine disturbs little; memory is resident growth. Each figure is the least of a few rounds.

use std::hint::black_box;
use std::sync::Arc;
use vdr_core::blob::Blob;
use vdr_core::commands::{self, Apply, Words};
use vdr_core::keyspace::{DbBuilder, Entry, Keyspace};
use vdr_core::live::{Live, Snapshot};
use vdr_core::value::{Field, Hash, List, Score, Set, Value, ZSet};

const KEYS: usize = 1_000_000;
const VALUE: [u8; 32] = [b'v'; 32];
const ROUNDS: usize = 3;

struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn resident_bytes() -> usize {
    let stat = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    stat.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn key(n: usize) -> Vec<u8> {
    format!("user:{n:010}:name").into_bytes()
}

fn member(n: usize) -> Vec<u8> {
    format!("member:{n:08}").into_bytes()
}

fn report(figure: &str, value: f64, unit: &str) {
    println!("{figure:<44} {value:>10.1} {unit}");
}

fn ns_per(ops: usize, work: impl FnOnce()) -> f64 {
    let start = cpu_ns();
    work();
    (cpu_ns() - start) as f64 / ops as f64
}

fn strings() -> Keyspace {
    let mut builder = DbBuilder::default();
    for n in 0..KEYS {
        builder.insert(Blob::from(key(n)), Entry::new(Blob::new(&VALUE)));
    }
    let mut keyspace = Keyspace::default();
    keyspace.put_db(0, builder.build());
    keyspace
}

struct Writer {
    keyspace: Keyspace,
    live: Live,
    at: u64,
}

impl Writer {
    fn new(keyspace: Keyspace) -> Self {
        Writer { keyspace, live: Live::new(), at: 0 }
    }

    fn run(&mut self, words: &[&[u8]]) {
        let Some((name, args)) = words.split_first() else { return };
        let Some(row) = commands::write(name) else { return };
        let mut apply = Apply { keyspace: &mut self.keyspace, db: 0, now_ms: 0 };
        black_box((row.run)(&mut apply, &mut Words::new(args))).ok();
    }

    fn publish(&mut self) -> Option<Arc<Snapshot>> {
        self.at += 1;
        self.live.publish(Snapshot { keyspace: self.keyspace.clone(), offset: self.at, ..Snapshot::default() })
    }

    /// The least over some rounds of a write's cost when every `batch` writes are published.
    fn batches(&mut self, ops: usize, batch: usize, mut write: impl FnMut(&mut Self, usize)) -> f64 {
        let mut rng = Rng(batch as u64);
        (0..ROUNDS).fold(f64::MAX, |least, _| {
            let picks: Vec<usize> = (0..ops).map(|_| rng.below(KEYS)).collect();
            least.min(ns_per(ops, || {
                for (at, pick) in picks.iter().enumerate() {
                    write(self, *pick);
                    if at % batch == batch - 1 {
                        drop(self.publish());
                    }
                }
            }))
        })
    }
}

const BATCHES: [usize; 4] = [1, 10, 100, 1000];

fn string_figures() {
    let before = resident_bytes();
    let mut loaded = Keyspace::default();
    report("strings 1M: bulk load", ns_per(KEYS, || loaded = strings()), "ns/key");
    report("strings 1M: memory", (resident_bytes() - before) as f64 / KEYS as f64, "B/key");
    let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
    let mut rng = Rng(7);
    let picks: Vec<&Vec<u8>> = (0..KEYS).filter_map(|_| keys.get(rng.below(KEYS))).collect();
    let get = (0..ROUNDS).fold(f64::MAX, |least, _| {
        least.min(ns_per(KEYS, || {
            let view = loaded.view(0, 0);
            for key in &picks {
                black_box(view.string(key)).ok();
            }
        }))
    });
    report("strings 1M: get", get, "ns");
    let mut writer = Writer::new(loaded);
    for batch in BATCHES {
        let set = writer.batches(200_000, batch, |writer, n| {
            let Some(key) = keys.get(n) else { return };
            writer.run(&[b"set", key, &VALUE]);
        });
        report(&format!("SET over 1M, published every {batch}"), set, "ns");
    }
    let held = writer.publish();
    let set = writer.batches(200_000, 10, |writer, n| {
        let Some(key) = keys.get(n) else { return };
        writer.run(&[b"set", key, &VALUE]);
    });
    report("SET over 1M, every 10, one snapshot held", set, "ns");
    drop(held);
    let turn = writer.batches(100_000, 10, |writer, n| {
        let key = keys.get(n).map(|key| [key.as_slice(), b"+"].concat()).unwrap_or_default();
        writer.run(&[b"set", &key, &VALUE]);
        writer.run(&[b"del", &key]);
    });
    report("SET of a new key and DEL, every 10", turn, "ns");
    report("strings 1M: dropped", ns_per(KEYS, || drop(writer)), "ns/key");
    let mut writer = Writer::new(Keyspace::default());
    let load = ns_per(KEYS, || {
        for (at, key) in keys.iter().enumerate() {
            writer.run(&[b"set", key, &VALUE]);
            if at % 100 == 99 {
                drop(writer.publish());
            }
        }
    });
    report("SET of 1M new keys, every 100", load, "ns");
}

fn aggregate(name: &str, count: usize, value: impl FnOnce() -> Value, mut write: impl FnMut(&mut Writer, usize)) {
    let before = resident_bytes();
    let mut keyspace = Keyspace::default();
    let load = ns_per(count, || {
        keyspace.db_mut(0).insert(Blob::from("big"), Entry::new(value()));
    });
    report(&format!("{name} 1M: bulk load"), load, "ns/element");
    report(&format!("{name} 1M: memory"), (resident_bytes() - before) as f64 / count as f64, "B/element");
    let mut writer = Writer::new(keyspace);
    for batch in [1, 10, 100] {
        let cost = writer.batches(100_000, batch, &mut write);
        report(&format!("{name} 1M: write, published every {batch}"), cost, "ns");
    }
}

fn big_aggregates() {
    let value = |n: usize| Field::from(Blob::from(format!("value:{n:012}").into_bytes()));
    let hash = || Value::from((0..KEYS).map(|n| (Blob::from(member(n)), value(n))).collect::<Hash>());
    aggregate("hash", KEYS, hash, |writer, n| writer.run(&[b"hset", b"big", &member(n), b"value:000000000000"]));
    let set = || Value::from((0..KEYS).map(|n| Blob::from(member(n * 2))).collect::<Set>());
    aggregate("set", KEYS, set, |writer, n| {
        writer.run(&[b"sadd", b"big", &member(n * 2 + 1)]);
        writer.run(&[b"srem", b"big", &member(n * 2 + 1)]);
    });
    let scored = |n: usize| Some((Blob::from(member(n)), Score::new((n % 1000) as f64)?));
    let zset = || Value::from(ZSet::from_members((0..KEYS).filter_map(scored), false));
    aggregate("zset", KEYS, zset, |writer, n| writer.run(&[b"zincrby", b"big", b"1", &member(n)]));
    let list = || Value::from((0..KEYS).map(|n| Blob::from(member(n))).collect::<List>());
    aggregate("list", KEYS, list, |writer, n| {
        writer.run(&[b"rpush", b"big", &member(n)]);
        writer.run(&[b"lpop", b"big"]);
    });
}

fn small_hashes() {
    const HASHES: usize = 100_000;
    let before = resident_bytes();
    let mut keyspace = Keyspace::default();
    let load = ns_per(HASHES, || {
        let mut builder = DbBuilder::default();
        for n in 0..HASHES {
            let field =
                |f: usize| (Blob::from(format!("field{f}").as_str()), Field::from(Blob::from_int((n * f) as i64)));
            builder.insert(Blob::from(key(n)), Entry::new((0..20).map(field).collect::<Hash>()));
        }
        keyspace.put_db(0, builder.build());
    });
    report("hashes 100k of 20: bulk load", load, "ns/hash");
    report("hashes 100k of 20: memory", (resident_bytes() - before) as f64 / HASHES as f64, "B/hash");
    let mut writer = Writer::new(keyspace);
    for batch in BATCHES {
        let cost =
            writer.batches(100_000, batch, |writer, n| writer.run(&[b"hset", &key(n % HASHES), b"field7", b"x"]));
        report(&format!("HSET into 100k hashes, every {batch}"), cost, "ns");
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let groups: [(&str, fn()); 3] = [("strings", string_figures), ("small", small_hashes), ("big", big_aggregates)];
    for (name, run) in groups {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            run();
        }
    }
}

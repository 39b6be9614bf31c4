//! Compares the estimate of a keyspace's memory with what the allocator has given out for it.

#![cfg(test)]

use fastrand::Rng;
use std::hint::black_box;
use std::thread;
use tikv_jemalloc_ctl::{epoch, stats};
use vdr_data::blob::Blob;
use vdr_data::estimate::estimate;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_data::value::stream::Id;
use vdr_data::value::{Hash, List, Score, Set, Stream, ZSet};

// The library's own allocator, with its settings.
#[path = "../../vdr_nif/src/allocator.rs"]
mod allocator;

const OFF: f64 = 0.03;
/// Memory in thread caches counts as given out, so a case must be many times larger.
const BYTES_MIN: f64 = 1.5e7;

fn given_out() -> f64 {
    allocator::give_back();
    epoch::advance().unwrap();
    stats::allocated::read().unwrap() as f64
}

fn near(what: &str, fill: impl FnOnce(&mut Keyspace) + Send) {
    let before = given_out();
    let filled = || {
        let mut keyspace = Keyspace::default();
        fill(&mut keyspace);
        keyspace
    };
    // A thread returns its cached memory when it ends.
    let keyspace = thread::scope(|scope| scope.spawn(filled).join().unwrap());
    let taken = given_out() - before;
    let estimated = estimate(&keyspace).allocated;
    assert!(taken > BYTES_MIN, "{what}: {taken} bytes are too few to measure");
    println!("{what}: {:.3}", estimated / taken);
    assert!((estimated / taken - 1.0).abs() < OFF, "{what}: {estimated} bytes are estimated, {taken} are taken");
    black_box(&keyspace);
}

fn put(keyspace: &mut Keyspace, key: impl AsRef<str>, value: impl Into<vdr_data::value::Value>) {
    keyspace.db_mut(0).insert(key.as_ref().as_bytes(), Entry::new(value));
}

fn member(n: usize) -> Vec<u8> {
    format!("member:{n:08}").into_bytes()
}

fn zset(members: impl IntoIterator<Item = usize>) -> ZSet {
    let mut zset = ZSet::default();
    for n in members {
        zset.insert(&member(n), Score::new(n as f64).unwrap());
    }
    zset
}

fn set(members: impl IntoIterator<Item = usize>) -> Set {
    let mut set = Set::default();
    for n in members {
        set.insert(&member(n));
    }
    set
}

fn hash(fields: impl IntoIterator<Item = usize>, bytes: usize) -> Hash {
    let mut hash = Hash::default();
    for n in fields {
        hash.insert(&member(n), &vec![b'v'; bytes], Expiry::NEVER);
    }
    hash
}

fn list(elements: usize, bytes: usize) -> List {
    let mut list = List::default();
    for n in 0..elements {
        list.push_back(&vec![b'0' + (n % 10) as u8; bytes]);
    }
    list
}

fn stream(entries: u64) -> Stream {
    let fields =
        |n| [(Blob::from("member"), Blob::new(&member(n as usize))), (Blob::from("v"), Blob::new(&[b'v'; 60]))];
    Stream::from_sorted((1..=entries).map(|n| (Id::new(n, 0), fields(n).into())).collect())
}

/// One test, because all tests of a process share its allocator.
#[test]
fn what_is_told_is_what_is_taken() {
    let mut rng = Rng::with_seed(7);
    let mut shuffled: Vec<usize> = (0..600_000).collect();
    rng.shuffle(&mut shuffled);

    for keys in [200_000, 350_000, 700_000] {
        near(&format!("{keys} strings"), |all| {
            (0..keys).for_each(|n| put(all, format!("key:{n}"), Blob::new(&vec![b'v'; 20 + n % 100])));
        });
    }
    near("strings that do not lie beside their keys", |all| {
        (0..5000).for_each(|n| put(all, format!("key:{n}"), Blob::new(&vec![b'v'; 5000 + n])));
    });
    near("half of the keys deleted", |all| {
        (0..800_000).for_each(|n| put(all, format!("key:{n}"), Blob::new(&[b'v'; 32])));
        (0..400_000).for_each(|n| assert!(all.db_mut(0).remove(format!("key:{}", 2 * n).as_bytes())));
    });
    near("keys in order", |all| {
        (0..400_000).for_each(|n| put(all, format!("a long prefix of a key:{n}"), Blob::new(&[b'v'; 32])));
        assert_eq!(all.db(0).keys(0, 1).count(), 1);
    });

    near("a sorted set in order", |all| put(all, "one", zset(0..400_000)));
    near("a sorted set in no order", |all| put(all, "one", zset(shuffled.iter().copied())));
    near("a sorted set that has shrunk", |all| {
        let mut shrinking = zset(shuffled.iter().copied());
        shuffled.iter().filter(|n| *n % 3 != 0).for_each(|n| assert!(shrinking.remove(&member(*n)).is_some()));
        put(all, "one", shrinking);
    });
    near("a set in no order", |all| put(all, "one", set(shuffled.iter().map(|n| n * 1_000_003))));
    near("a hash of long values", |all| put(all, "one", hash(shuffled.iter().copied(), 100)));
    near("a list", |all| put(all, "one", list(1_000_000, 40)));
    near("a list of long elements", |all| put(all, "one", list(20_000, 3000)));
    near("a stream", |all| put(all, "one", stream(200_000)));

    near("small hashes", |all| (0..60_000).for_each(|n| put(all, format!("h:{n}"), hash(0..n % 20 + 1, 10))));
    near("small sorted sets", |all| (0..60_000).for_each(|n| put(all, format!("z:{n}"), zset(n..n + n % 20 + 1))));
    near("small lists", |all| (0..60_000).for_each(|n| put(all, format!("l:{n}"), list(n % 60 + 1, 15))));
    for members in [200, 600, 3000] {
        near(&format!("sets of {members}"), |all| {
            (0..2_000_000 / members).for_each(|n| put(all, format!("s:{n}"), set(n..n + members)));
        });
    }

    near("one that is far larger than others that are large", |all| {
        (0..3000).for_each(|n| put(all, format!("document:{n}"), Blob::new(&vec![b'v'; (1 << 16) + n])));
        put(all, "document:1000:index", zset(shuffled.iter().copied()));
    });
    near("a few that are far larger than most", |all| {
        (0..100_000).for_each(|n| put(all, format!("key:{n}"), Blob::new(&[b'v'; 20])));
        put(all, "a leaderboard", zset(shuffled.iter().copied()));
        put(all, "a queue", list(300_000, 60));
        (0..20).for_each(|n| put(all, format!("document:{n}"), Blob::new(&vec![b'v'; 1 << 20])));
        (0..30).for_each(|n| put(all, format!("followers:{n}"), set(n * 5000..(n + 1) * 5000 + 123 * n)));
    });
}

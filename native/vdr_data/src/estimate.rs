//! How much memory a keyspace takes: an estimate, made when somebody asks, so that writes need not count.
//!
//! Of many keys the first [`KEYS_MAX`] are looked at in the order of their hashes, which has to do with nothing else, and of an aggregate some
//! elements that lie evenly in it; what leads to an element is told by its part of each node on the way, so that nodes count as full as
//! they are. Keys of far more elements than others, and the longest strings, are known one by one ([`is_large`]), since none of them may be
//! among those that are looked at; an aggregate of few elements that are very long is not known so. What snapshots held elsewhere keep
//! alive is not in it, nor are the gaps that an allocator leaves.

use crate::keyspace::{Db, EntryRef, Keyspace, is_large};
use crate::size::{self, Footprint};
use crate::value::{Stream, StringRef, ValueRef};
use std::ops::Add;
use vdr_snapmap::COUNTS;
use vdr_snapmap::tree::Tree;

/// Looked at in a database, and as many that are known to be far larger than others.
pub const KEYS_MAX: usize = 20_000;
/// Looked at in an aggregate.
pub const ELEMENTS_MAX: usize = 16;
/// Looked at in all aggregates of a database that are known to be large, at best; no less than in another one.
const LARGE_ELEMENTS_MAX: usize = 100_000;
/// Looked at in the largest aggregate, and in the order of the keys.
const ELEMENTS_OF_ONE_MAX: usize = 1000;

/// An entry that waits for its acknowledgement, twice: in its group and at its consumer.
const STREAM_PENDING_BYTES: f64 = 108.0;

/// What the data of a keyspace takes, roughly.
pub fn estimate(keyspace: &Keyspace) -> Footprint {
    keyspace.dbs().map(|(_, db)| database(db)).fold(Footprint::NOTHING, Add::add)
}

fn database(db: &Db) -> Footprint {
    let large: Vec<EntryRef<'_>> = db.large_entries().collect();
    let elements = (LARGE_ELEMENTS_MAX / large.len().max(1)).clamp(ELEMENTS_MAX, ELEMENTS_OF_ONE_MAX);
    let of_large = |at| Some(entry(*large.get(at)?, elements));
    let (mut others, mut sum) = (0, Footprint::NOTHING);
    let mut entries = db.entries();
    for other in entries.by_ref().map(EntryRef::new).take(KEYS_MAX).filter(|entry| !is_large(entry.value())) {
        others += 1;
        sum = sum + entry(other, ELEMENTS_MAX);
    }
    let looked_at = db.len() - entries.len();
    let nodes = Footprint { allocated: entries.node_bytes() as f64, ..Footprint::NOTHING };
    let ordered = sampled(db.index().map_or(0, Tree::len), ELEMENTS_OF_ONE_MAX, |rank| {
        let order = db.index()?;
        Some(size::amortized_entry(order, rank)? + Footprint::of(order.at(rank)?.0))
    });
    sampled(large.len(), KEYS_MAX, of_large)
        + scaled(sum, db.len().saturating_sub(large.len()), others)
        + scaled(nodes, db.len(), looked_at)
        + ordered
}

fn entry(entry: EntryRef<'_>, elements_max: usize) -> Footprint {
    Footprint::from(entry.memory()) + of_value(entry.value(), elements_max)
}

fn of_value(value: ValueRef<'_>, most: usize) -> Footprint {
    let len = value.len();
    match value {
        ValueRef::String(StringRef::Shared(blob)) => Footprint::of(blob),
        ValueRef::String(StringRef::Packed(_) | StringRef::Long(_)) | ValueRef::Other | ValueRef::Unknown => {
            Footprint::NOTHING
        }
        ValueRef::List(list) => list.overhead_bytes() + sampled(len, most, |at| list.amortized_bytes(at)),
        ValueRef::Set(set) => set.overhead_bytes() + sampled(len, most, |at| set.amortized_bytes(at)),
        ValueRef::ZSet(zset) => zset.overhead_bytes() + sampled(len, most, |at| zset.amortized_bytes(at)),
        ValueRef::Hash(hash) => hash.overhead_bytes() + sampled(len, most, |at| hash.amortized_bytes(at)),
        ValueRef::Stream(stream) => of_stream(stream, most),
    }
}

fn of_stream(stream: &Stream, most: usize) -> Footprint {
    let pending = stream.groups().map(|(_, group)| group.pending_len()).fold(0, usize::saturating_add);
    let pending = Footprint { allocated: pending as f64 * STREAM_PENDING_BYTES, ..Footprint::NOTHING };
    Footprint::allocated(COUNTS + size_of::<Stream>())
        + sampled(stream.len(), most, |at| stream.amortized_bytes(at))
        + pending
}

/// The sum over `len` things of which some `most` are looked at, evenly. Nothing, where the first has no part of its own.
fn sampled(len: usize, most: usize, part: impl Fn(usize) -> Option<Footprint>) -> Footprint {
    let step = len.div_ceil(most).max(1);
    let parts = (0..len).step_by(step).map_while(part);
    let (seen, sum) = parts.fold((0, Footprint::NOTHING), |(seen, sum), part| (seen + 1, sum + part));
    scaled(sum, len, seen)
}

/// The sum over `len` things of which `seen` have this sum.
fn scaled(sum: Footprint, len: usize, seen: usize) -> Footprint {
    if seen == 0 { Footprint::NOTHING } else { sum * (len as f64 / seen as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::keyspace::Entry;
    use crate::value::stream::{Fields, Group, Id};

    fn filled(keys: usize, bytes: usize) -> Keyspace {
        let mut keyspace = Keyspace::default();
        for n in 0..keys {
            keyspace.db_mut(0).insert(format!("key:{n}").as_bytes(), Entry::new(Blob::new(&vec![b'x'; bytes])));
        }
        keyspace
    }

    fn bytes(taken: Footprint) -> i64 {
        (taken.allocated + taken.in_host) as i64
    }

    // That the estimate is true is tested where the allocator tells: `native/vdr_bench/tests/memory.rs`.

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(estimate(&Keyspace::default()), Footprint::NOTHING);
    }

    #[test]
    fn the_estimate_follows_the_contents_and_sampling_keeps_to_the_mean() {
        let few = bytes(estimate(&filled(100, 900)));
        assert!((100_000..200_000).contains(&few), "{few}");
        let many = bytes(estimate(&filled(KEYS_MAX * 2 + 1, 900)));
        let expected = few / 100 * (KEYS_MAX as i64 * 2 + 1);
        assert!((many - expected).abs() < expected / 50, "{many} {expected}");
    }

    #[test]
    fn a_stream_counts_what_is_pending() {
        let fields: Fields = [(Blob::from("f"), Blob::new(&[b'x'; 100]))].into();
        let mut stream: Stream = Stream::from_sorted((1..=10_000).map(|ms| (Id::new(ms, 0), fields.clone())));
        let without = of_stream(&stream, ELEMENTS_MAX);
        let mut group = Group::default();
        (1..=1000).for_each(|ms| group.assign(Id::new(ms, 0), b"c", 0, 1));
        stream.put_group(Blob::from("g"), group);
        let pending = bytes(of_stream(&stream, ELEMENTS_MAX)) - bytes(without);
        assert_eq!(pending, 1000 * STREAM_PENDING_BYTES as i64);
    }
}

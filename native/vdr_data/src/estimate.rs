//! Estimates the memory of a keyspace on demand, so that writes need not count it.
//!
//! The estimate samples. Of many keys it looks at the first [`KEYS_MAX`] in the order of their
//! hashes, which is unrelated to everything else. Of an aggregate it looks at elements at even
//! distances, each with its share of the nodes on its path, so that nodes count as full as they
//! are. A sample would miss keys with far more elements than others and the longest strings, so
//! these are listed and counted one by one ([`is_large`]). An aggregate of few but very long
//! elements is not listed. The estimate does not include the data that only snapshots keep alive,
//! nor the allocator's fragmentation.

use crate::keyspace::{Db, EntryRef, Keyspace, is_large};
use crate::size::{self, Footprint};
use crate::value::{Stream, StringRef, ValueRef};
use std::ops::Add;
use vdr_snapmap::COUNTS;
use vdr_snapmap::tree::Tree;

/// The sample of keys in a database, and the most large keys that are counted one by one.
pub const KEYS_MAX: usize = 20_000;
/// The sample of elements in an aggregate.
pub const ELEMENTS_MAX: usize = 16;
/// The sample of elements in all large aggregates of a database together. Each gets at least the
/// sample of another aggregate.
const LARGE_ELEMENTS_MAX: usize = 100_000;
/// The sample of elements in the largest aggregate, and of keys in the key index.
const ELEMENTS_OF_ONE_MAX: usize = 1000;

/// A pending entry, counted twice: in its group and at its consumer.
const STREAM_PENDING_BYTES: f64 = 108.0;

/// The approximate memory of a keyspace.
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
    let ordered = sample_sum(db.index().map_or(0, Tree::len), ELEMENTS_OF_ONE_MAX, |rank| {
        let order = db.index()?;
        Some(size::amortized_entry(order, rank)? + Footprint::of(order.at(rank)?.0))
    });
    sample_sum(large.len(), KEYS_MAX, of_large)
        + extrapolate(sum, db.len().saturating_sub(large.len()), others)
        + extrapolate(nodes, db.len(), looked_at)
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
        ValueRef::List(list) => list.overhead_bytes() + sample_sum(len, most, |at| list.amortized_bytes(at)),
        ValueRef::Set(set) => set.overhead_bytes() + sample_sum(len, most, |at| set.amortized_bytes(at)),
        ValueRef::ZSet(zset) => zset.overhead_bytes() + sample_sum(len, most, |at| zset.amortized_bytes(at)),
        ValueRef::Hash(hash) => hash.overhead_bytes() + sample_sum(len, most, |at| hash.amortized_bytes(at)),
        ValueRef::Stream(stream) => of_stream(stream, most),
    }
}

fn of_stream(stream: &Stream, most: usize) -> Footprint {
    let pending = stream.groups().map(|(_, group)| group.pending_len()).fold(0, usize::saturating_add);
    let pending = Footprint { allocated: pending as f64 * STREAM_PENDING_BYTES, ..Footprint::NOTHING };
    Footprint::allocated(COUNTS + size_of::<Stream>())
        + sample_sum(stream.len(), most, |at| stream.amortized_bytes(at))
        + pending
}

/// Extrapolates the sum over `len` things from about `most` of them at even distances. Zero if the
/// first one has no size of its own.
fn sample_sum(len: usize, most: usize, part: impl Fn(usize) -> Option<Footprint>) -> Footprint {
    let step = len.div_ceil(most).max(1);
    let parts = (0..len).step_by(step).map_while(part);
    let (seen, sum) = parts.fold((0, Footprint::NOTHING), |(seen, sum), part| (seen + 1, sum + part));
    extrapolate(sum, len, seen)
}

/// Extrapolates the sum over `len` things from the sum over `seen` of them.
fn extrapolate(sum: Footprint, len: usize, seen: usize) -> Footprint {
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

    // `native/vdr_bench/tests/memory.rs` compares the estimate with the allocator.

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
        let mut stream: Stream = Stream::from_sorted((1..=10_000).map(|ms| (Id::new(ms, 0), fields.clone())).collect());
        let without = of_stream(&stream, ELEMENTS_MAX);
        let mut group = Group::default();
        (1..=1000).for_each(|ms| group.assign(Id::new(ms, 0), b"c", 0, 1));
        stream.put_group(Blob::from("g"), group);
        let pending = bytes(of_stream(&stream, ELEMENTS_MAX)) - bytes(without);
        assert_eq!(pending, 1000 * STREAM_PENDING_BYTES as i64);
    }
}

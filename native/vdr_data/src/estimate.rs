//! How much memory a keyspace takes: an estimate, made when somebody asks, so that writes need not count.
//!
//! Of many keys the first [`KEYS_MAX`] are looked at in the order of their hashes, which has to do with nothing else, and of an aggregate some
//! elements that lie evenly in it; what leads to an element is told by its part of each node on the way, so that nodes count as full as
//! they are. Keys of far more elements than others, and the longest strings, are known one by one ([`is_heavy`]), since none of them may be
//! among those that are looked at; an aggregate of few elements that are very long is not known so. What snapshots held elsewhere keep
//! alive is not in it, nor are the gaps that an allocator leaves.

use crate::keyspace::{Db, EntryRef, Keyspace, is_heavy};
use crate::size::{self, Taken};
use crate::value::{Stream, StringRef, ValueRef};
use std::ops::Add;
use vdr_snapmap::COUNTS;
use vdr_snapmap::tree::Tree;

/// Looked at in a database, and as many that are known to be far larger than others.
pub const KEYS_MAX: usize = 20_000;
/// Looked at in an aggregate.
pub const ELEMENTS_MAX: usize = 16;
/// Looked at in all aggregates of a database that are known to be large, at best; no less than in another one.
const HEAVY_ELEMENTS_MAX: usize = 100_000;
/// Looked at in the largest aggregate, and in the order of the keys.
const ELEMENTS_OF_ONE_MAX: usize = 1000;

/// An entry that waits for its acknowledgement, twice: in its group and at its consumer.
const STREAM_PENDING_BYTES: f64 = 108.0;

/// What the data of a keyspace takes, roughly.
pub fn estimate(keyspace: &Keyspace) -> Taken {
    keyspace.dbs().map(|(_, db)| database(db)).fold(Taken::NOTHING, Add::add)
}

fn database(db: &Db) -> Taken {
    let heavy: Vec<EntryRef<'_>> = db.heavy().collect();
    let elements = (HEAVY_ELEMENTS_MAX / heavy.len().max(1)).clamp(ELEMENTS_MAX, ELEMENTS_OF_ONE_MAX);
    let of_heavy = |at| Some(entry(*heavy.get(at)?, elements));
    let (mut others, mut sum) = (0, Taken::NOTHING);
    let mut entries = db.entries();
    for other in entries.by_ref().map(EntryRef::new).take(KEYS_MAX).filter(|entry| !is_heavy(entry.value())) {
        others += 1;
        sum = sum + entry(other, ELEMENTS_MAX);
    }
    let looked_at = db.len() - entries.len();
    let nodes = Taken { allocated: entries.node_bytes() as f64, ..Taken::NOTHING };
    let ordered = sampled(db.in_order().map_or(0, Tree::len), ELEMENTS_OF_ONE_MAX, |rank| {
        let order = db.in_order()?;
        Some(size::part(order, rank)? + Taken::of(order.at(rank)?.0))
    });
    sampled(heavy.len(), KEYS_MAX, of_heavy)
        + scaled(sum, db.len().saturating_sub(heavy.len()), others)
        + scaled(nodes, db.len(), looked_at)
        + ordered
}

fn entry(entry: EntryRef<'_>, elements_max: usize) -> Taken {
    Taken::from(entry.memory()) + of_value(entry.value(), elements_max)
}

fn of_value(value: ValueRef<'_>, most: usize) -> Taken {
    let len = value.len();
    match value {
        ValueRef::String(StringRef::Shared(blob)) => Taken::of(blob),
        ValueRef::String(StringRef::Packed(_) | StringRef::Long(_)) | ValueRef::Other | ValueRef::Unknown => {
            Taken::NOTHING
        }
        ValueRef::List(list) => list.around() + sampled(len, most, |at| list.part(at)),
        ValueRef::Set(set) => set.around() + sampled(len, most, |at| set.part(at)),
        ValueRef::ZSet(zset) => zset.around() + sampled(len, most, |at| zset.part(at)),
        ValueRef::Hash(hash) => hash.around() + sampled(len, most, |at| hash.part(at)),
        ValueRef::Stream(stream) => of_stream(stream, most),
    }
}

fn of_stream(stream: &Stream, most: usize) -> Taken {
    let pending = stream.groups().map(|(_, group)| group.pending_len()).fold(0, usize::saturating_add);
    let pending = Taken { allocated: pending as f64 * STREAM_PENDING_BYTES, ..Taken::NOTHING };
    Taken::allocated(COUNTS + size_of::<Stream>()) + sampled(stream.len(), most, |at| stream.part(at)) + pending
}

/// The sum over `len` things of which some `most` are looked at, evenly. Nothing, where the first has no part of its own.
fn sampled(len: usize, most: usize, part: impl Fn(usize) -> Option<Taken>) -> Taken {
    let step = len.div_ceil(most).max(1);
    let parts = (0..len).step_by(step).map_while(part);
    let (seen, sum) = parts.fold((0, Taken::NOTHING), |(seen, sum), part| (seen + 1, sum + part));
    scaled(sum, len, seen)
}

/// The sum over `len` things of which `seen` have this sum.
fn scaled(sum: Taken, len: usize, seen: usize) -> Taken {
    if seen == 0 { Taken::NOTHING } else { sum * (len as f64 / seen as f64) }
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

    fn bytes(taken: Taken) -> i64 {
        (taken.allocated + taken.at_home) as i64
    }

    // That the estimate is true is tested where the allocator tells: `native/vdr_bench/tests/memory.rs`.

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(estimate(&Keyspace::default()), Taken::NOTHING);
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

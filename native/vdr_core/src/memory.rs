//! How much memory a keyspace takes: an estimate, made when somebody asks, so that writes need not count.
//!
//! Every key of a small database is looked at, and of a larger one the first [`KEYS_MAX`] in the order of their hashes, which has
//! to do with nothing else; of an aggregate, [`ELEMENTS_MAX`] elements that lie evenly in it. What structures cost beyond their contents is counted by
//! the constants below. A few keys that are far larger than the others may be missed. What snapshots held elsewhere keep
//! alive is not in it.

use crate::blob::Blob;
use crate::keyspace::{Db, EntryRef, Keyspace};
use crate::value::pack::{Pack, allocated};
use crate::value::{List, Stream, StringRef, ValueRef};
use vdr_snapmap::Memory;

pub const KEYS_MAX: usize = 20_000;
pub const ELEMENTS_MAX: usize = 16;

/// A key in the nodes of the map, and what they leave empty; its entry is told apart.
const KEY_BYTES: usize = 17;
/// A key in the order of keys, if that is kept.
const ORDER_BYTES: usize = 29;
/// A chunk of a large list: its key and handle, and what its node leaves empty.
const LIST_CHUNK_BYTES: usize = 48;
/// An element of a large aggregate: its handle and its share of a node, which is nearly full after a full sync and two
/// thirds full after many insertions: in between.
const SET_ELEMENT_BYTES: usize = 31;
/// A value and an expiry beside the name.
const HASH_ELEMENT_BYTES: usize = 68;
/// Twice: by member and by score.
const ZSET_ELEMENT_BYTES: usize = 80;
/// An id and a handle, and the counts in front of the fields.
const STREAM_ENTRY_BYTES: usize = 52;
/// Twice: in its group and at its consumer.
const STREAM_PENDING_BYTES: usize = 108;

/// Bytes that the data of a keyspace takes, roughly.
pub fn estimate(keyspace: &Keyspace) -> u64 {
    keyspace.dbs().map(|(_, db)| database(db)).fold(0, u64::saturating_add)
}

/// What an allocation takes.
pub fn taken(memory: Memory) -> usize {
    memory.at_home.unwrap_or_else(|| allocated(memory.bytes))
}

fn database(db: &Db) -> u64 {
    let ordered = |key: &[u8]| if db.is_ordered() { ORDER_BYTES + Blob::new(key).heap_bytes() } else { 0 };
    let bytes = |entry: EntryRef<'_>| {
        let around = taken(entry.memory()) + KEY_BYTES + ordered(entry.key());
        u128::from(of_value(entry.value())).saturating_add(around as u128)
    };
    let sum = db.iter().take(KEYS_MAX).map(bytes).fold(0, u128::saturating_add);
    scaled(sum, db.len(), db.len().min(KEYS_MAX) as u128)
}

fn of_value(value: ValueRef<'_>) -> u64 {
    match value {
        ValueRef::String(StringRef::Shared(blob)) => blob.heap_bytes() as u64,
        ValueRef::String(StringRef::Packed(_) | StringRef::Long(_)) | ValueRef::Other => 0,
        ValueRef::List(list) => of_list(list),
        ValueRef::Set(set) => {
            of_pack(set.pack(), || elements(set.len(), SET_ELEMENT_BYTES, |at| set.at(at).map(beside)))
        }
        ValueRef::ZSet(zset) => of_pack(zset.pack(), || {
            elements(zset.len(), ZSET_ELEMENT_BYTES, |at| zset.at(at).map(|(member, _)| beside(member)))
        }),
        ValueRef::Hash(hash) => of_pack(hash.pack(), || {
            elements(hash.len(), HASH_ELEMENT_BYTES, |at| {
                hash.at(at).map(|(name, field)| beside(name).saturating_add(beside(field.value)))
            })
        }),
        ValueRef::Stream(stream) => of_stream(stream),
    }
}

/// All of a small aggregate, or the estimate of a large one.
fn of_pack(pack: Option<&Pack>, large: impl FnOnce() -> u64) -> u64 {
    pack.map_or_else(large, |pack| allocated(pack.heap_bytes()) as u64)
}

fn of_list(list: &List) -> u64 {
    // An element's part of its chunk in 256ths, since it may be a few bytes.
    let part = |at| {
        let (chunk, elements) = list.share(at)?;
        let around = if list.is_small() { 0 } else { LIST_CHUNK_BYTES };
        Some((chunk.saturating_add(around) as u64).saturating_mul(256) / elements.max(1) as u64)
    };
    sampled(list.len(), ELEMENTS_MAX, part) / 256
}

/// What a string takes beside the handle to it.
fn beside(string: StringRef<'_>) -> usize {
    match string {
        StringRef::Packed(_) | StringRef::Long(_) => 0,
        StringRef::Shared(blob) => blob.heap_bytes(),
    }
}

fn of_stream(stream: &Stream) -> u64 {
    let entries = elements(stream.len(), STREAM_ENTRY_BYTES, |at| {
        let pair = |(name, value): &(Blob, Blob)| size_of::<(Blob, Blob)>() + name.heap_bytes() + value.heap_bytes();
        stream.at(at).map(|(_, fields)| fields.iter().map(pair).fold(0, usize::saturating_add))
    });
    let pending = stream.groups().map(|(_, group)| group.pending_len()).fold(0, usize::saturating_add);
    entries.saturating_add(pending.saturating_mul(STREAM_PENDING_BYTES) as u64)
}

fn elements(len: usize, each: usize, heap: impl Fn(usize) -> Option<usize>) -> u64 {
    sampled(len, ELEMENTS_MAX, |at| Some(heap(at)?.saturating_add(each) as u64))
}

/// The sum over `len` things of which at most `max` are looked at.
fn sampled(len: usize, max: usize, bytes: impl Fn(usize) -> Option<u64>) -> u64 {
    let step = len.div_ceil(max).max(1);
    let (mut seen, mut sum) = (0u128, 0u128);
    for at in (0..len).step_by(step) {
        sum = sum.saturating_add(u128::from(bytes(at).unwrap_or(0)));
        seen = seen.saturating_add(1);
    }
    scaled(sum, len, seen)
}

/// The sum over `len` things of which `seen` have this sum.
fn scaled(sum: u128, len: usize, seen: u128) -> u64 {
    let scaled = sum.saturating_mul(len as u128).checked_div(seen).unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Entry;
    use crate::value::List;
    use crate::value::stream::{Fields, Group, Id};

    fn filled(keys: usize, bytes: usize) -> Keyspace {
        let mut keyspace = Keyspace::default();
        for n in 0..keys {
            keyspace.db_mut(0).insert(format!("key:{n}").as_bytes(), Entry::new(Blob::new(&vec![b'x'; bytes])));
        }
        keyspace
    }

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(estimate(&Keyspace::default()), 0);
    }

    #[test]
    fn the_estimate_follows_the_contents_and_sampling_keeps_to_the_mean() {
        let few = estimate(&filled(100, 900));
        assert!((100_000..200_000).contains(&few), "{few}");
        let many = estimate(&filled(KEYS_MAX * 2 + 1, 900));
        let expected = few / 100 * (KEYS_MAX as u64 * 2 + 1);
        assert!(many.abs_diff(expected) < expected / 100, "{many} {expected}");
    }

    #[test]
    fn a_stream_counts_by_its_entries_and_by_what_is_pending() {
        let value = Blob::new(&[b'x'; 100]);
        let fields: Fields = [(Blob::from("f"), value)].into();
        let mut stream: Stream = Stream::from_sorted((1..=10_000).map(|ms| (Id::new(ms, 0), fields.clone())));
        let bytes = of_stream(&stream);
        assert!((1_000_000..3_000_000).contains(&bytes), "{bytes}");
        let mut group = Group::default();
        (1..=1000).for_each(|ms| group.assign(Id::new(ms, 0), b"c", 0, 1));
        stream.put_group(Blob::from("g"), group);
        assert_eq!(of_stream(&stream) - bytes, 1000 * STREAM_PENDING_BYTES as u64);
    }

    #[test]
    fn an_aggregate_counts_by_its_elements() {
        let mut list = List::default();
        (0..10_000).for_each(|_| list.push_back(&[b'x'; 100]));
        let mut keyspace = Keyspace::default();
        keyspace.db_mut(3).insert(b"list", Entry::new(list));
        let bytes = estimate(&keyspace);
        assert!((1_000_000..2_000_000).contains(&bytes), "{bytes}");
    }
}

//! The largest keys as a NIF.

use crate::source::SourceRef;
use crate::terms;
use rustler::{Encoder, Env, NewBinary, Term};
use vdr_data::keyspace::EntryRef;
use vdr_data::value::ValueRef;
use vdr_replica::live::Snapshot;

/// The keys with the largest values of those that are far larger than most, the largest first: at
/// most `count` of `{db, key, kind, size}`. The size is in elements, and of a string in bytes.
/// `O(n log n)` for the n keys of 4,096 elements or 64 KB.
#[rustler::nif(schedule = "DirtyCpu")]
fn large_keys<'a>(env: Env<'a>, source: SourceRef, count: usize) -> Vec<Term<'a>> {
    source.read_long(|snapshot| largest(env, snapshot, count)).unwrap_or_default()
}

fn largest<'a>(env: Env<'a>, snapshot: &Snapshot, count: usize) -> Vec<Term<'a>> {
    let mut found: Vec<(usize, u32, EntryRef<'_>)> = Vec::new();
    for (db, data) in snapshot.keyspace.dbs() {
        found.extend(data.large_entries().map(|entry| (size(entry.value()), db, entry)));
    }
    found.sort_by_key(|(size, _, _)| std::cmp::Reverse(*size));
    found.truncate(count);
    found.into_iter().map(|(size, db, entry)| term(env, db, entry, size)).collect()
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::String(string) => string.len(),
        aggregate => aggregate.len(),
    }
}

fn term<'a>(env: Env<'a>, db: u32, entry: EntryRef<'_>, size: usize) -> Term<'a> {
    let mut key = NewBinary::new(env, entry.key().len());
    key.as_mut_slice().copy_from_slice(entry.key());
    (db, Term::from(key), terms::word(env, entry.value().kind().name()), size).encode(env)
}

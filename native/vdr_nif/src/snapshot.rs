//! Snapshots as NIFs.

use crate::dropper;
use crate::source::{Source, SourceRef};
use crate::terms;
use rustler::types::atom;
use rustler::{Encoder, Env, NewBinary, NifResult, Term};
use std::collections::HashMap;
use vdr_commands::{Apply, ApplyError, ArgCursor, Rules};
use vdr_data::keyspace::{EntryRef, Keyspace};
use vdr_link::now_ms;
use vdr_replica::live::Snapshot;

mod atoms {
    rustler::atoms! { bad_command }
}

/// Applies write commands to an empty keyspace, without a server: `{:ok, source}`, or `{:error,
/// {:bad_command, index}}`. They run on a dirty scheduler, and the caller decides how many there
/// are.
#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_from_commands<'a>(env: Env<'a>, db: Term<'a>, list: Term<'a>) -> Term<'a> {
    let (Ok(db), Ok(list)) = (terms::db(db), terms::commands(list)) else {
        return env.error_tuple((atoms::bad_command(), atom::nil()));
    };
    let (mut keyspace, now_ms) = (Keyspace::default(), now_ms());
    for (index, words) in list.iter().enumerate() {
        if run(&mut keyspace, db, now_ms, words).is_err() {
            return env.error_tuple((atoms::bad_command(), index));
        }
    }
    let snapshot = Snapshot { keyspace, ..Snapshot::default() };
    (atom::ok(), Source::fixed(snapshot)).encode(env)
}

/// Applies write commands to the snapshot of a source at a time in Unix milliseconds, which its
/// readers see from then on: `{:ok, source}`, a new one, or `{:error, {index, code}}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_apply<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    list: Term<'a>,
    now_ms: i64,
) -> NifResult<Term<'a>> {
    let (Ok(db), Ok(list)) = (terms::db(db), terms::commands(list)) else { return Err(rustler::Error::BadArg) };
    let Some(before) = source.keep() else { return Err(rustler::Error::BadArg) };
    let mut after = Snapshot { time_ms: Some(now_ms), ..Snapshot::clone(&before) };
    dropper::release(before);
    for (index, words) in list.iter().enumerate() {
        if let Err(code) = run_known(&mut after.keyspace, db, now_ms, words) {
            dropper::defer_drop(after);
            return Ok(env.error_tuple((index, terms::word(env, code))));
        }
    }
    Ok((atom::ok(), Source::fixed(after)).encode(env))
}

fn run_known(keyspace: &mut Keyspace, db: u32, now_ms: i64, words: &[&[u8]]) -> Result<(), &'static str> {
    let name = words.first().ok_or("bad_argument")?;
    vdr_commands::write(name).ok_or("unknown_command")?;
    run(keyspace, db, now_ms, words).map_err(|error| match error {
        ApplyError::WrongType => "wrong_type",
        ApplyError::Missing => "not_found",
        ApplyError::NotANumber => "not_a_number",
        ApplyError::OutOfRange => "out_of_range",
        ApplyError::BadArguments | ApplyError::BadPayload | ApplyError::NotMirrored => "bad_argument",
    })
}

/// The keys of all databases that have expired at a time in Unix milliseconds: `[{db, key}]`. Looks
/// at every key.
#[rustler::nif(schedule = "DirtyCpu")]
fn snapshot_expired<'a>(env: Env<'a>, source: SourceRef, now_ms: i64) -> Term<'a> {
    let expired = source.read_long(|snapshot| {
        let past = |entry: &EntryRef<'_>| entry.expiry().is_set() && entry.expiry().is_past(now_ms);
        let dbs = snapshot.keyspace.dbs();
        dbs.flat_map(|(index, db)| db.iter().filter(past).map(move |entry| (index, entry.key().to_vec()))).collect()
    });
    let expired: Vec<(u32, Vec<u8>)> = expired.unwrap_or_default();
    let terms: Vec<Term<'a>> = expired.iter().map(|(db, key)| (db, bytes(env, key)).encode(env)).collect();
    terms.encode(env)
}

fn bytes<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// The offset of a source's snapshot; 0 without one.
#[rustler::nif]
fn snapshot_offset(source: SourceRef) -> u64 {
    source.read(|snapshot| snapshot.offset).unwrap_or(0)
}

/// The number of keys of each database that a source shows.
#[rustler::nif]
fn snapshot_keys(source: SourceRef) -> HashMap<u32, usize> {
    let count = |snapshot: &Snapshot| snapshot.keyspace.dbs().map(|(index, db)| (index, db.len())).collect();
    source.read(count).unwrap_or_default()
}

fn run(keyspace: &mut Keyspace, db: u32, now_ms: i64, words: &[&[u8]]) -> Result<(), ApplyError> {
    let (name, args) = words.split_first().ok_or(ApplyError::BadArguments)?;
    let row = vdr_commands::write(name).ok_or(ApplyError::BadArguments)?;
    (row.run)(&mut Apply { keyspace, db, now_ms, rules: Rules::default() }, &mut ArgCursor::new(args))
}

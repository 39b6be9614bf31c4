//! Snapshots as NIFs.

use crate::source::{Source, SourceRef};
use crate::terms;
use rustler::types::atom;
use rustler::{Encoder, Env, Term};
use std::collections::HashMap;
use vdr_commands::{Apply, ApplyError, ArgCursor, Rules};
use vdr_data::keyspace::Keyspace;
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

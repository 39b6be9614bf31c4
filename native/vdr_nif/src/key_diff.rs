//! Diffs of two snapshots as NIFs.

use crate::dropper;
use crate::source::SourceRef;
use crate::terms;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use std::vec::IntoIter;
use vdr_commands::ReadError;
use vdr_data::blob::Blob;
use vdr_data::keyspace::Change;

/// The most changes that one call of `diff_next` returns, since it runs on a normal scheduler.
const PORTION_MAX: usize = 1000;

/// The changes that were not returned yet.
struct Changes(Mutex<IntoIter<(Blob, Change)>>);

#[rustler::resource_impl]
impl Resource for Changes {}

impl Drop for Changes {
    fn drop(&mut self) {
        dropper::defer_drop(std::mem::take(&mut *self.0.lock()));
    }
}

/// The changes of a database between two snapshots: `{:ok, changes}` for [`diff_next`].
#[rustler::nif(schedule = "DirtyCpu")]
fn diff_new<'a>(env: Env<'a>, old: SourceRef, new: SourceRef, db: Term<'a>) -> Term<'a> {
    let Ok(db) = terms::db(db) else { return terms::answer(env, &Err(ReadError::BadArgument)) };
    let Some(before) = old.keep() else { return env.error_tuple(old.unreadable()) };
    let Some(after) = new.keep() else { return env.error_tuple(new.unreadable()) };
    let changes = before.keyspace.db(db).diff(after.keyspace.db(db));
    [before, after].into_iter().for_each(dropper::release);
    (atom::ok(), ResourceArc::new(Changes(Mutex::new(changes.into_iter())))).encode(env)
}

/// The next changes, at most `count`; an empty list at the end.
#[rustler::nif]
fn diff_next<'a>(env: Env<'a>, changes: ResourceArc<Changes>, count: usize) -> Vec<Term<'a>> {
    let mut changes = changes.0.lock();
    changes.by_ref().take(count.min(PORTION_MAX)).map(|(key, change)| terms::change(env, &key, change)).collect()
}

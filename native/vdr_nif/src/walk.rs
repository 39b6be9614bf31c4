//! Walks over many keys as NIFs, a portion at a time.

use crate::reaper;
use crate::source::{SourceRef, now_ms};
use crate::terms;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};
use std::vec::IntoIter;
use vdr_commands::{ReadError, Wanted, walk};
use vdr_data::blob::Blob;
use vdr_data::keyspace::Change;
use vdr_data::value::Kind;

/// What `diff_next` hands out at most, since it runs on a normal scheduler.
const PORTION_MAX: usize = 1000;

const KINDS: &[Kind] = &[Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream, Kind::Other];

/// The next keys: `{:ok, keys, next}`, where `next` is what to give as `after` for more, nil at the end. `filter` is `{prefix,
/// pattern, kind}`, the latter two nil for all.
#[rustler::nif(schedule = "DirtyCpu")]
fn walk_keys<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    after: Option<Binary<'a>>,
    (prefix, pattern, kind): (Binary<'a>, Option<Binary<'a>>, Term<'a>),
    count: usize,
) -> NifResult<Term<'a>> {
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, Err(ReadError::BadArgument))) };
    let kind = if atom::nil() == kind { None } else { Some(kind_of(env, kind)?) };
    let wanted = Wanted { prefix: prefix.as_slice(), pattern: pattern.as_ref().map(Binary::as_slice), kind };
    let after = after.as_ref().map(Binary::as_slice);
    let portion = source
        .read_long(|snapshot| terms::portion(env, &walk(snapshot.view(db, now_ms()), after, &wanted, count.max(1))));
    Ok(portion.unwrap_or_else(|| env.error_tuple(source.unreadable())))
}

fn kind_of<'a>(env: Env<'a>, kind: Term<'a>) -> NifResult<Kind> {
    KINDS.iter().copied().find(|known| terms::word(env, known.name()) == kind).ok_or(rustler::Error::BadArg)
}

/// What is left to tell of a difference.
struct Changes(Mutex<IntoIter<(Blob, Change)>>);

#[rustler::resource_impl]
impl Resource for Changes {}

impl Drop for Changes {
    fn drop(&mut self) {
        reaper::bury(std::mem::take(&mut *self.0.lock()));
    }
}

/// What happened to a database between two states: `{:ok, changes}` for [`diff_next`].
#[rustler::nif(schedule = "DirtyCpu")]
fn diff_new<'a>(env: Env<'a>, old: SourceRef, new: SourceRef, db: Term<'a>) -> Term<'a> {
    let Ok(db) = terms::db(db) else { return terms::answer(env, Err(ReadError::BadArgument)) };
    let Some(before) = old.keep() else { return env.error_tuple(old.unreadable()) };
    let Some(after) = new.keep() else { return env.error_tuple(new.unreadable()) };
    let changes = before.keyspace.db(db).diff(after.keyspace.db(db));
    [before, after].into_iter().for_each(reaper::release);
    (atom::ok(), ResourceArc::new(Changes(Mutex::new(changes.into_iter())))).encode(env)
}

/// The next changes, at most `count`; an empty list at the end.
#[rustler::nif]
fn diff_next<'a>(env: Env<'a>, changes: ResourceArc<Changes>, count: usize) -> Vec<Term<'a>> {
    let mut changes = changes.0.lock();
    changes.by_ref().take(count.min(PORTION_MAX)).map(|(key, change)| terms::change(env, &key, change)).collect()
}

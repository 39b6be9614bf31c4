//! Watches as NIFs.

use crate::instance::store;
use crate::sampling;
use crate::source::SourceRef;
use crate::terms;
use crate::watching::Wish;
use rustler::types::atom;
use rustler::{Encoder, Env, LocalPid, NifResult, Term};
use std::sync::Arc;
use vdr_replica::position::Position;
use vdr_replica::watch::{Target, WatchError};

mod atoms {
    rustler::atoms! { not_found, bad_argument, already_registered, dirty }
}

/// Watches for `pid`, a process of this node. `manner`: see [`terms::manner`].
#[rustler::nif]
fn watch<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    watched: Term<'a>,
    tag: Term<'a>,
    pid: Term<'a>,
    manner: Term<'a>,
) -> NifResult<Term<'a>> {
    let (store, local): (_, LocalPid) = (store(&source)?, pid.decode()?);
    let (Ok((db, watched)), Ok((manner, acknowledges))) = (terms::watched(db, watched), terms::manner(manner)) else {
        return Ok(env.error_tuple(atoms::bad_argument()));
    };
    let monitor = || source.monitor(Some(env), &local);
    Ok(match store.watch(&Wish { db, watched, manner, acknowledges, tag }, pid, local, monitor) {
        Ok(()) => atom::ok().to_term(env),
        Err(error) => refusal(env, error),
    })
}

#[rustler::nif]
fn unwatch<'a>(env: Env<'a>, source: SourceRef, db: Term<'a>, watched: Term<'a>, pid: Term<'a>) -> NifResult<Term<'a>> {
    let store = store(&source)?;
    let Ok(place) = terms::watched(db, watched) else { return Ok(env.error_tuple(atoms::bad_argument())) };
    Ok(match store.unwatch(place, pid) {
        Ok(monitor) => {
            monitor.map(|monitor| source.demonitor(Some(env), &monitor));
            atom::ok().to_term(env)
        }
        Err(error) => refusal(env, error),
    })
}

fn refusal(env: Env<'_>, error: WatchError) -> Term<'_> {
    env.error_tuple(match error {
        WatchError::AlreadyRegistered => atoms::already_registered(),
        WatchError::NotFound => atoms::not_found(),
    })
}

/// Whether a write to what is watched may have become visible since a position. O(stream since
/// then).
#[rustler::nif(schedule = "DirtyCpu")]
fn watch_may_have_missed<'a>(
    source: SourceRef,
    db: Term<'a>,
    watched: Term<'a>,
    replication_id: &'a str,
    offset: u64,
) -> NifResult<bool> {
    let store = store(&source)?;
    let (db, watched) = terms::watched(db, watched).map_err(|_| rustler::Error::BadArg)?;
    let since = Position { replication_id: Arc::from(replication_id), offset };
    Ok(store.may_have_missed(&since, &Target::new(db, watched)))
}

/// The process has handled so many more of its events.
#[rustler::nif]
fn watch_acknowledge<'a>(env: Env<'a>, source: SourceRef, pid: Term<'a>, count: u32) -> NifResult<Term<'a>> {
    Ok(match store(&source)?.watcher(pid) {
        Some(watcher) => {
            watcher.acknowledge(count);
            atom::ok().to_term(env)
        }
        None => env.error_tuple(atoms::not_found()),
    })
}

/// `pid` looks at mailboxes from now on. It is sent `:sample` when there is something to do.
#[rustler::nif]
fn watch_sampler(pid: LocalPid) -> rustler::Atom {
    sampling::set_sampler(pid);
    atom::ok()
}

/// The mailboxes to look at: `[{pid, number}]`.
#[rustler::nif]
fn watch_samples() -> Vec<(LocalPid, u64)> {
    sampling::take()
}

/// How many events the process of this look was sent so far, nil if nobody waits for the look any
/// more.
#[rustler::nif]
fn watch_sent(number: u64) -> Option<i64> {
    sampling::watcher(number).map(|watcher| watcher.sent())
}

/// So many messages waited in the mailbox of this look, after so many events were sent. Answers
/// whether to look again soon, or `:dirty`: events are being sent, call [`watch_sampled_dirty`].
#[rustler::nif]
fn watch_sampled(env: Env<'_>, number: u64, sent: i64, waiting: u32) -> Term<'_> {
    let again = sampling::watcher(number).map_or(Some(false), |watcher| watcher.try_sampled(sent, waiting));
    again.map_or_else(|| atoms::dirty().to_term(env), |again| end_unless(number, again).encode(env))
}

/// As [`watch_sampled`]. It waits for the lock under which up to 64 messages are sent.
#[rustler::nif(schedule = "DirtyIo")]
fn watch_sampled_dirty(number: u64, sent: i64, waiting: u32) -> bool {
    let again = sampling::watcher(number).is_some_and(|watcher| watcher.sampled(sent, waiting));
    end_unless(number, again)
}

fn end_unless(number: u64, again: bool) -> bool {
    if !again {
        sampling::done(number);
    }
    again
}

//! The log of an instance or a handler as NIFs.

use crate::recipient::Recipient;
use crate::source::SourceRef;
use crate::terms;
use rustler::types::atom;
use rustler::{Atom, Env, LocalPid, NifResult, Term};

/// `pid` receives `{tag, :lines}` when there are lines, once until [`log_take`] has answered `[]`.
#[rustler::nif]
fn log_listen<'a>(source: SourceRef, pid: LocalPid, tag: Term<'a>) -> NifResult<Atom> {
    source.slot()?.log.listen(Recipient::new(pid, tag));
    Ok(atom::ok())
}

/// The oldest lines: a list of `{level, time_us, text}` and `{:dropped, count}`.
#[rustler::nif]
fn log_take(env: Env<'_>, source: SourceRef) -> NifResult<Term<'_>> {
    Ok(terms::log_entries(env, &source.slot()?.log.take()))
}

/// The level as `Vdr.Log` counts it.
#[rustler::nif]
fn log_level(source: SourceRef) -> NifResult<u8> {
    Ok(source.slot()?.log.level())
}

#[rustler::nif]
fn log_set_level(source: SourceRef, level: u8) -> NifResult<Atom> {
    source.slot()?.log.set_level(level);
    Ok(atom::ok())
}

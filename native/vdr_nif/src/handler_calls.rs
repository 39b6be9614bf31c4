//! Handlers as NIFs: a process that receives the commands of a link. The link is started as any
//! other.

use crate::handler::Handler;
use crate::recipient::Recipient;
use crate::source::{Source, SourceRef};
use crate::terms;
use rustler::types::atom;
use rustler::{Encoder, Env, LocalPid, NifResult, Term};

/// `pid` receives `{tag, message}` with the messages `:replication_start`, `:streaming_start`,
/// `{:commands, number, list}` and `:link_lost`. `initial` is nil or `{replication_id, offset,
/// db}`.
#[rustler::nif]
fn handler_new<'a>(
    env: Env<'a>,
    pid: LocalPid,
    tag: Term<'a>,
    only: Term<'a>,
    initial: Term<'a>,
) -> NifResult<Term<'a>> {
    let handler = Handler::new(Recipient::new(pid, tag), terms::only(only)?, terms::initial(initial)?);
    Ok(SourceRef::new(Source::Handler(handler)).encode(env))
}

/// Acknowledges the batches up to this number.
#[rustler::nif]
fn handler_handled(source: SourceRef, number: u64) -> NifResult<rustler::Atom> {
    source.handler()?.handled(number);
    Ok(atom::ok())
}

/// `{state, replication_id, position}`: state nil when there is no link, replication id nil before
/// the first sync, position nil or `{replication_id, offset, db}`.
#[rustler::nif]
fn handler_status<'a>(env: Env<'a>, source: SourceRef) -> NifResult<Term<'a>> {
    Ok(terms::handler_status(env, source.handler()?.status()))
}

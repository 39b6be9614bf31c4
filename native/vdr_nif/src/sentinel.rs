//! A Sentinel monitor as NIFs. Its resource belongs to the link's process: with the process the
//! resource goes, and with the resource the monitor.

use crate::link_slot::LinkSlot;
use crate::questions::LinkProcess;
use crate::recipient::Recipient;
use crate::source::SourceRef;
use crate::terms;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use vdr_link::{Address, Answers, BoxFuture, LinkState, NotFound, Owner, Question, SentinelHandle};

mod atoms {
    rustler::atoms! { no_thread }
}

pub struct Sentinel {
    handle: SentinelHandle,
    owner: Arc<SentinelOwner>,
}

#[rustler::resource_impl]
impl Resource for Sentinel {}

/// The link that the monitor works for.
struct SentinelOwner {
    slot: Arc<LinkSlot>,
    process: LinkProcess,
}

impl Answers for SentinelOwner {
    fn ask(&self, question: Question) -> BoxFuture<'_, Option<Vec<u8>>> {
        self.process.ask(question)
    }
}

impl Owner for SentinelOwner {
    fn is_streaming(&self) -> bool {
        self.slot.status.state() == Some(LinkState::Streaming)
    }

    fn found(&self, found: Result<&Address, &NotFound>) {
        self.process.recipient.send(|env| terms::found(env, found));
    }

    fn switched(&self, primary: &Address) {
        self.process.recipient.send(|env| terms::switched(env, primary));
    }
}

/// Starts a monitor for the link of a store or a handler. `pid`, which is the caller's, receives
/// `{tag, message}` with the messages of [`terms::found`], [`terms::switched`] and
/// [`terms::question`]. Starting threads takes a while the first time.
#[rustler::nif(schedule = "DirtyIo")]
fn sentinel_start<'a>(
    env: Env<'a>,
    source: SourceRef,
    config: Term<'a>,
    pid: LocalPid,
    tag: Term<'a>,
) -> NifResult<Term<'a>> {
    let slot = source.slot()?.clone();
    let config = terms::sentinel_config(config, slot.log.number())?;
    let owner = Arc::new(SentinelOwner { slot, process: LinkProcess::new(Recipient::new(pid, tag)) });
    Ok(match vdr_link::spawn_sentinel(config, owner.clone()) {
        Ok(handle) => (atom::ok(), ResourceArc::new(Sentinel { handle, owner })).encode(env),
        Err(_) => env.error_tuple(atoms::no_thread()),
    })
}

/// Asks for the server to attach to. The answer is a message.
#[rustler::nif]
fn sentinel_look_up(sentinel: ResourceArc<Sentinel>) -> rustler::Atom {
    sentinel.handle.look_up();
    atom::ok()
}

/// Answers a question of the monitor. nil: the user's function failed.
#[rustler::nif]
fn sentinel_answer(sentinel: ResourceArc<Sentinel>, number: u64, answer: Option<Binary<'_>>) -> rustler::Atom {
    sentinel.owner.process.answer(number, answer.map(|answer| answer.as_slice().to_vec()));
    atom::ok()
}

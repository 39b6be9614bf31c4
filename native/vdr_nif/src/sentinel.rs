//! A Sentinel monitor as NIFs. Its resource belongs to the link's process: with the process the
//! resource goes, and with the resource the monitor.

use crate::link_slot::LinkSlot;
use crate::recipient::Recipient;
use crate::source::SourceRef;
use crate::terms;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use vdr_link::{Address, LinkState, NotFound, Owner, Question, SentinelHandle};

mod atoms {
    rustler::atoms! { no_thread }
}

pub struct Sentinel {
    handle: SentinelHandle,
    owner: Arc<LinkProcess>,
}

#[rustler::resource_impl]
impl Resource for Sentinel {}

/// The process of the link, which runs the user's functions.
struct LinkProcess {
    slot: Arc<LinkSlot>,
    recipient: Recipient,
    questions: Mutex<Questions>,
}

/// The questions that the process has not answered.
#[derive(Default)]
struct Questions {
    last: u64,
    pending: HashMap<u64, oneshot::Sender<Option<Vec<u8>>>>,
}

impl Questions {
    fn open(&mut self) -> (u64, oneshot::Receiver<Option<Vec<u8>>>) {
        // Nobody waits any longer for the answers to some.
        self.pending.retain(|_, answer| !answer.is_closed());
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        self.pending.insert(self.last, sender);
        (self.last, receiver)
    }
}

impl Owner for LinkProcess {
    async fn ask(&self, question: Question) -> Option<Vec<u8>> {
        let (number, answer) = self.questions.lock().open();
        self.recipient.send(|env| terms::question(env, number, &question));
        answer.await.ok()?
    }

    fn is_streaming(&self) -> bool {
        self.slot.status.state() == Some(LinkState::Streaming)
    }

    fn found(&self, found: Result<&Address, &NotFound>) {
        self.recipient.send(|env| terms::found(env, found));
    }

    fn switched(&self, primary: &Address) {
        self.recipient.send(|env| terms::switched(env, primary));
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
    let owner = Arc::new(LinkProcess { slot, recipient: Recipient::new(pid, tag), questions: Mutex::default() });
    Ok(match vdr_link::spawn_sentinel(terms::sentinel_config(config)?, owner.clone()) {
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
    if let Some(waiting) = sentinel.owner.questions.lock().pending.remove(&number) {
        let _no_longer_awaited = waiting.send(answer.map(|answer| answer.as_slice().to_vec()));
    }
    atom::ok()
}

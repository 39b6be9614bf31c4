//! One call as bytes to send and replies to read.

use super::call::{Answer, Call, Stage};
use super::forbidden::{forbidden, is_slow};
use crate::runtime::run_soon;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vdr_replica::resp::encode;
use vdr_replica::resp::reply::Reply;

/// Most bytes of one call.
pub const REQUEST_BYTES_MAX: usize = 1 << 30;

/// Calls of more bytes than this take another connection, so that others do not wait for them.
const LARGE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Command,
    Pipeline,
    /// The commands between MULTI and EXEC.
    Transaction,
    /// No command: only the primary's offset is asked for.
    Sync,
    /// As [`Kind::Sync`], and the primary's replication id.
    Identify,
}

/// The connection that a call takes: those of one class share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Quick,
    Large,
    /// It waits for replicas.
    Slow,
}

/// Why a call is not sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It must not be sent over a shared connection.
    NotAllowed(String),
    TooLarge,
}

/// See the module. Dropped without an answer, it answers that it was stopped.
pub struct Request {
    pub db: u32,
    pub kind: Kind,
    pub class: Class,
    pub bytes: Vec<u8>,
    /// How many replies will come.
    pub replies: usize,
    /// Whether the answer waits until the effect is visible.
    pub awaits: bool,
    pub call: Arc<Call>,
    queued: Option<Queued>,
    /// Whether nobody else answers the call.
    answers: bool,
}

/// Its share of the bytes that wait to be sent.
struct Queued {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Request {
    pub fn new(kind: Kind, db: u32, commands: &[Vec<&[u8]>], awaits: bool, call: Arc<Call>) -> Result<Self, Refused> {
        if let Some(name) = commands.iter().find_map(|words| forbidden(words)) {
            return Err(Refused::NotAllowed(name));
        }
        let words = commands.iter().flatten();
        let len = words.map(|word| word.len().saturating_add(16)).fold(64, usize::saturating_add);
        if len > REQUEST_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut bytes = Vec::with_capacity(len);
        let is_unit = kind == Kind::Transaction;
        if is_unit {
            encode(&[b"MULTI"], &mut bytes);
        }
        commands.iter().for_each(|words| encode(words, &mut bytes));
        if is_unit {
            encode(&[b"EXEC"], &mut bytes);
        }
        let class = if commands.iter().any(|words| is_slow(words)) {
            Class::Slow
        } else if len > LARGE_BYTES {
            Class::Large
        } else {
            Class::Quick
        };
        let replies = commands.len().saturating_add(if is_unit { 2 } else { 0 });
        Ok(Request { db, kind, class, bytes, replies, awaits, call, queued: None, answers: true })
    }

    /// Asks for the primary's offset only.
    pub fn sync(kind: Kind, call: Arc<Call>) -> Self {
        Request {
            db: 0,
            kind,
            class: Class::Quick,
            bytes: Vec::new(),
            replies: 0,
            awaits: true,
            call,
            queued: None,
            answers: true,
        }
    }

    /// Whether it can be sent twice without harm.
    pub fn is_harmless(&self) -> bool {
        matches!(self.kind, Kind::Sync | Kind::Identify)
    }

    /// Counts its bytes among those that wait to be sent.
    pub fn count(&mut self, all: &Arc<AtomicUsize>) {
        all.fetch_add(self.bytes.len(), Ordering::Relaxed);
        self.queued = Some(Queued { bytes: self.bytes.len(), all: all.clone() });
    }

    /// Its bytes go to the socket: they are taken out.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        self.queued = None;
        std::mem::take(&mut self.bytes)
    }

    /// Somebody else answers the call from now on.
    pub fn hand_over(&mut self) {
        self.answers = false;
    }

    /// There is no answer of the server.
    pub fn fail(&self, stage: Stage, code: &'static str) {
        self.call.finish(Answer::Failed { stage, code });
    }

    /// The answer that the replies make, and whether something may have been written.
    pub fn answer(&self, replies: Vec<Reply>) -> (Answer, bool) {
        let mut replies = replies;
        match self.kind {
            Kind::Command => {
                let reply = replies.pop().unwrap_or(Reply::Null);
                let is_error = is_error(&reply);
                (Answer::Reply(reply), !is_error)
            }
            Kind::Pipeline => {
                let may_have_written = !replies.iter().all(is_error);
                (Answer::Replies(replies), may_have_written)
            }
            Kind::Transaction => match replies.pop() {
                Some(Reply::Array(results)) => {
                    let may_have_written = !results.iter().all(is_error);
                    (Answer::Replies(results), may_have_written)
                }
                Some(error) if is_error(&error) => {
                    let cause = replies.into_iter().find(is_error);
                    (Answer::Refused { error, cause }, false)
                }
                other => (Answer::Reply(other.unwrap_or(Reply::Null)), false),
            },
            Kind::Sync | Kind::Identify => (Answer::Visible, true),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.answers && self.call.is_awaited() {
            // Callers are answered on threads of the library, and this may be another one.
            let call = self.call.clone();
            let _no_thread = run_soon(move || call.finish(Answer::Failed { stage: call.stage(), code: "stopped" }));
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub fn is_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(_))
}

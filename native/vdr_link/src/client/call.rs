//! One call of a user, from the queue to its answer. The caller may give up at any time: then it
//! learns how far the call has come, and nobody answers it any more.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use vdr_replica::position::{Ticket, Waiters};
use vdr_replica::resp::reply::Reply;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// No byte of it was sent.
    Queued,
    /// It may have run or not.
    Sent,
    /// The server has run it. What it did may not be visible here yet.
    Written,
    /// It is answered.
    Done,
    /// The caller has given up.
    Cancelled,
}

/// The answer of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reply to one command, which may be an error.
    Reply(Reply),
    /// The replies of a pipeline or of an EXEC; those that are errors are among them.
    Replies(Vec<Reply>),
    /// The server's error for the call as a whole. The cause is that of the first command that EXEC
    /// refuses to run.
    Refused { error: Reply, cause: Option<Reply> },
    /// What was waited for is visible.
    Visible,
    /// There is no answer of the server, or what it did cannot be waited for.
    Failed { stage: Stage, code: &'static str },
}

pub trait Caller: Send + Sync + 'static {
    fn answer(&self, answer: Answer);
}

/// See the module.
pub struct Call {
    stage: AtomicU8,
    caller: Box<dyn Caller>,
    waiters: Arc<Waiters>,
    /// Its place among those that wait for a position.
    ticket: Mutex<Option<Ticket>>,
}

impl Call {
    pub fn new(caller: impl Caller, waiters: Arc<Waiters>) -> Arc<Self> {
        let stage = AtomicU8::new(Stage::Queued as u8);
        Arc::new(Call { stage, caller: Box::new(caller), waiters, ticket: Mutex::default() })
    }

    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Queued,
            1 => Stage::Sent,
            2 => Stage::Written,
            3 => Stage::Done,
            _ => Stage::Cancelled,
        }
    }

    /// Whether somebody waits for the answer.
    pub fn is_awaited(&self) -> bool {
        !matches!(self.stage(), Stage::Done | Stage::Cancelled)
    }

    /// Goes on to another stage, unless the call is over.
    pub(super) fn advance(&self, to: Stage) -> bool {
        let is_over = |stage| stage == Stage::Done as u8 || stage == Stage::Cancelled as u8;
        let advanced =
            self.stage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |stage| (!is_over(stage)).then_some(to as u8));
        advanced.is_ok()
    }

    /// Answers the call, unless it is over.
    pub(super) fn finish(&self, answer: Answer) {
        if self.advance(Stage::Done) {
            self.caller.answer(answer);
        }
    }

    /// The caller gives up. Answers how far the call has come: after [`Stage::Done`] the answer is
    /// on its way.
    pub fn cancel(&self) -> Stage {
        loop {
            let stage = self.stage();
            if matches!(stage, Stage::Done | Stage::Cancelled) {
                return stage;
            }
            let cancelled = Stage::Cancelled as u8;
            if self.stage.compare_exchange(stage as u8, cancelled, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return stage;
            }
        }
    }

    /// Whether a cancelled call is still in the list of those that wait for a position.
    pub fn has_ticket(&self) -> bool {
        self.ticket.lock().is_some()
    }

    /// Leaves the list of those that wait for a position. Takes a lock for which tasks of clients
    /// wait: not for threads of the host.
    pub fn stop_waiting(&self) {
        if let Some(ticket) = self.ticket.lock().take() {
            self.waiters.cancel(&ticket);
        }
    }

    /// Remembers the place in the list, to leave it when the caller gives up.
    pub(super) fn keep_ticket(&self, ticket: Ticket) {
        *self.ticket.lock() = Some(ticket);
        // The caller may have given up before there was a ticket.
        if !self.is_awaited() {
            self.stop_waiting();
        }
    }
}

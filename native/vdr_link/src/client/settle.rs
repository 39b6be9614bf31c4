//! Answers a call as soon as a position is visible.

use super::call::{Answer, Call, Stage};
use std::sync::Arc;
use vdr_replica::position::{Outcome, Position, Registered, Waiter, Waiters};

/// A call that waits for a position.
struct Waiting {
    call: Arc<Call>,
    answer: Answer,
    /// How far the call has come, for the caller whose position is lost.
    stage: Stage,
}

impl Waiter for Waiting {
    fn done(self: Box<Self>, outcome: Outcome) {
        let Waiting { call, answer, stage } = *self;
        call.finish(match outcome {
            Outcome::Visible => answer,
            Outcome::Lost => Answer::Failed { stage, code: "lost_history" },
            Outcome::Closed => Answer::Failed { stage, code: "no_instance" },
        });
    }
}

/// Gives the answer once the position is visible. Answers whether the position's id was never
/// heard of.
pub fn answer_at(waiters: &Waiters, position: Position, call: Arc<Call>, answer: Answer) -> bool {
    let stage = call.stage();
    let waiting = Box::new(Waiting { call: call.clone(), answer, stage });
    match waiters.register(position, waiting) {
        Registered::Done => false,
        Registered::Waiting { ticket, unknown } => {
            call.keep_ticket(ticket);
            unknown
        }
    }
}

//! Positions: which writes are visible, across changes of the primary, and who waits for them.
//!
//! ```text
//! publisher --> Visible: offset, and History: the ids behind the data    (atomics; a lock at a change of id)
//!                  |  wake, if somebody waits for this offset
//!                  v
//!              Waiters, in the order of their offsets
//! ```
//!
//! A position is a replication id and an offset. Offsets of two ids are never compared as numbers:
//! [`History::locate`] translates the position into the present history first, or says that it is
//! not part of it.

mod history;
mod visible;
mod waiters;

pub use history::{FORMER_IDS_MAX, History, Located, Position};
pub use visible::Visible;
pub use waiters::{Outcome, Registered, Ticket, WAITERS_PER_WAKE, Waiter, Waiters};

//! A client's connections to a server: commands and replies, as opposed to a replication link.
//!
//! ```text
//! pool          one for each instance: takes the calls of its user
//!   lane        one connection, opened again as often as it takes
//!     primary   finds the primary from the server that the link follows
//!     serving   many calls at once over one open connection
//!       settle  answers a call when what it wrote is visible here
//! ```

mod access;
mod call;
mod connection;
mod forbidden;
mod lane;
mod pool;
mod primary;
mod replication;
mod request;
mod serving;
mod settle;
mod state;

pub use access::{Access, AccessError, Answers, HostMap, Question};
pub use call::{Answer, Call, Caller, Stage};
pub use connection::{ClientError, Connection};
pub use pool::{Busy, ClientPool};
pub use request::{Kind, Refused, Request};
pub use settle::answer_at;
pub use state::{PoolConfig, PoolState};

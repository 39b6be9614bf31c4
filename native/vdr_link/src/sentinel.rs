//! Sentinel: finds the server to attach to, and notices a failover.
//!
//! ```text
//! monitor        one task per link: answers look-ups, decides about failovers
//!   round        asks all known Sentinels at the same time
//!     query      asks one Sentinel
//!   subscription listens to +switch-master on one Sentinel, and on the next one when that is lost
//!   verdict      votes and config epochs become a decision; no I/O
//! ```
//!
//! A Sentinel may be wrong: it may be alone in a minority partition with an old primary. So a
//! majority is one of all known Sentinels, not of those that answer, and a lower config epoch never
//! replaces a higher one without a majority. A link that streams is not left on the votes of a poll
//! alone.

mod config;
mod failure;
mod monitor;
mod owner;
mod query;
mod roster;
mod round;
mod server_role;
mod subscription;
mod verdict;

pub use config::SentinelConfig;
pub use failure::NotFound;
pub use monitor::{SentinelHandle, spawn_sentinel};
pub use owner::Owner;

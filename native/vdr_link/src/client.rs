//! A client's connection to a server: commands and replies, as opposed to a replication link. The
//! reader of replies is sans-IO; [`Connection`] adds the socket and the time limits.

mod connection;
mod reply;

pub use connection::{ClientConfig, ClientError, Connection};
pub use reply::{Reply, ReplyLimits};

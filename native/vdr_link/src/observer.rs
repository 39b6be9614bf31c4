//! Callbacks that report the progress of a link.

use crate::end::LinkEnd;
use crate::state::LinkState;
use std::net::SocketAddr;
use vdr_replica::handshake::Role;

/// Is called from the link's task: an implementation must neither block nor take long.
pub trait Observer: Send + Sync + 'static {
    /// The link has entered this state. `Streaming` directly after `Psync` is a partial sync; after
    /// `RdbTransfer` it is a full one.
    fn state(&self, _state: LinkState) {}

    /// The link is connected. `peer` is the address of the name that answered; a Unix socket has
    /// none.
    fn connected(&self, _peer: Option<SocketAddr>) {}

    /// The role that the server reports. Comes before PSYNC, and only when the server was asked and
    /// answered.
    fn role(&self, _role: Role) {}

    /// This many bytes have just arrived, keepalives included. Called once per turn of reading.
    fn received(&self, _bytes: usize) {}

    /// The link is over: the socket is closed, the sink has been notified and dropped. This is the
    /// last call, and it comes exactly once.
    fn ended(&self, end: &LinkEnd);
}

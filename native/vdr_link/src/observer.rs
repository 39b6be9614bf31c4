//! Who wants to know how a link stands. Called from the link's task: what takes long or blocks does not belong here.

use crate::end::LinkEnd;
use std::fmt;
use std::net::SocketAddr;
use vdr_replica::handshake::{Role, Step};

/// Where a link is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Resolving the name, connecting.
    Init,
    Ping,
    Auth,
    ReplconfListeningPort,
    ReplconfCapa,
    Psync,
    RdbTransfer,
    Streaming,
}

impl LinkState {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Init => "init",
            LinkState::Ping => "ping",
            LinkState::Auth => "auth",
            LinkState::ReplconfListeningPort => "replconf_listening_port",
            LinkState::ReplconfCapa => "replconf_capa",
            LinkState::Psync => "psync",
            LinkState::RdbTransfer => "rdb_transfer",
            LinkState::Streaming => "streaming",
        }
    }
}

impl From<Step> for LinkState {
    fn from(step: Step) -> Self {
        match step {
            Step::Ping => LinkState::Ping,
            Step::Auth | Step::Role | Step::Info => LinkState::Auth,
            Step::ListeningPort => LinkState::ReplconfListeningPort,
            // The version is one more thing that we are capable of.
            Step::CapaEof | Step::CapaPsync2 | Step::Version => LinkState::ReplconfCapa,
            Step::Psync => LinkState::Psync,
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub trait Observer: Send + Sync + 'static {
    /// The link is now in this state. `Streaming` right after `Psync` is a partial sync, after `RdbTransfer` a full one.
    fn state(&self, _state: LinkState) {}

    /// Which of the name's addresses it is. None: the transport has no such thing.
    fn connected(&self, _peer: Option<SocketAddr>) {}

    /// What the server said that it is; before PSYNC, and only when it was asked and told.
    fn role(&self, _role: Role) {}

    /// So many bytes came just now, keepalives included. Once per turn of reading.
    fn received(&self, _bytes: usize) {}

    /// The link is over and nothing of it is left: socket closed, sink told and dropped. The last call, exactly once.
    fn ended(&self, end: &LinkEnd);
}

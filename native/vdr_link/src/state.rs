//! The states of a link, from connecting to streaming.

use std::fmt;
use vdr_replica::handshake::Step;

/// Where a link is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Resolving the name, connecting, and the TLS handshake.
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
            Step::Auth | Step::Role | Step::Info | Step::StringLimit => LinkState::Auth,
            Step::ListeningPort => LinkState::ReplconfListeningPort,
            // The version is one more capability.
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

//! The end of a link: a code for programs, details for people, and whether another attempt makes
//! sense.

use crate::endpoint::Endpoint;
use crate::sink::SinkError;
use crate::state::LinkState;
use crate::tls::TlsError;
use crate::transfer::{TransferError, TransferFault};
use crate::transport::{ConnectError, wire_code};
use std::fmt;
use std::io;
use std::time::Duration;
use vdr_replica::handshake::{Refusal, Retry};

#[derive(Debug)]
pub struct LinkEnd {
    pub endpoint: Endpoint,
    /// The last state of the link.
    pub state: LinkState,
    pub cause: Cause,
}

#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The owner stopped the link.
    Stopped,
    /// The link could not connect.
    Connect(ConnectError),
    /// The commands before PSYNC were not answered in time.
    HandshakeTimeout(Duration),
    /// TLS failed after the handshake: the peer can no longer be trusted to be the primary.
    Tls(TlsError),
    /// The server refused, or its answer makes no sense.
    Refused(Refusal),
    /// The framing of the snapshot file is wrong.
    Transfer(TransferError),
    /// The primary was silent for this long.
    ReadTimeout(Duration),
    /// The primary accepted no byte for this long.
    WriteTimeout(Duration),
    /// The primary closed the connection.
    Closed,
    /// The server closed the connection instead of answering this command of the handshake. A proxy
    /// that does not know the command does so.
    ClosedInHandshake {
        command: &'static str,
    },
    Io(io::Error),
    /// A command is longer than the configured limit.
    CommandTooLong {
        bytes_max: usize,
    },
    Sink(SinkError),
    /// A bug of this library. The VM stays up.
    Panicked,
}

impl Cause {
    /// The cause of a failed read or write: the wire itself, or TLS above it.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match TlsError::of_io(&error) {
            Some(tls) => Cause::Tls(tls),
            None => Cause::Io(error),
        }
    }

    /// The same cause, if the connection ended while this command was awaited.
    pub(crate) fn in_handshake(self, command: &'static str) -> Self {
        match self {
            Cause::Closed => Cause::ClosedInHandshake { command },
            Cause::Io(error) if wire_code(error.kind()) == "connection_reset" => Cause::ClosedInHandshake { command },
            other => other,
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Cause::Stopped => "stopped",
            Cause::Connect(error) => error.code(),
            Cause::HandshakeTimeout(_) => "handshake_timeout",
            Cause::Tls(error) => error.kind.code(),
            Cause::Refused(refusal) => refusal.code(),
            Cause::Transfer(TransferError::Aborted { .. }) => "sync_aborted",
            Cause::Transfer(_) => "bad_rdb_transfer",
            Cause::ReadTimeout(_) => "read_timeout",
            Cause::WriteTimeout(_) => "write_timeout",
            Cause::Closed => "closed",
            Cause::ClosedInHandshake { .. } => "closed_in_handshake",
            Cause::Io(error) => wire_code(error.kind()),
            Cause::CommandTooLong { .. } => "command_too_long",
            Cause::Sink(error) => error.code,
            Cause::Panicked => "panicked",
        }
    }

    pub fn retry(&self) -> Retry {
        match self {
            Cause::Stopped => Retry::Never,
            Cause::Connect(error) => error.retry(),
            Cause::Tls(error) => error.kind.retry(),
            Cause::Refused(refusal) => refusal.retry(),
            Cause::Sink(error) => error.retry,
            Cause::CommandTooLong { .. } | Cause::Panicked => Retry::Slowly,
            Cause::HandshakeTimeout(_)
            | Cause::Transfer(_)
            | Cause::ReadTimeout(_)
            | Cause::WriteTimeout(_)
            | Cause::Closed
            | Cause::ClosedInHandshake { .. }
            | Cause::Io(_) => Retry::Soon,
        }
    }
}

impl From<ConnectError> for Cause {
    fn from(error: ConnectError) -> Self {
        Cause::Connect(error)
    }
}

impl From<TransferFault> for Cause {
    fn from(fault: TransferFault) -> Self {
        match fault {
            TransferFault::Framing(error) => Cause::Transfer(error),
            TransferFault::Sink(error) => Cause::Sink(error),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Connect(error) => error.fmt(f),
            Cause::Io(error) => error.fmt(f),
            Cause::HandshakeTimeout(after) | Cause::ReadTimeout(after) | Cause::WriteTimeout(after) => {
                write!(f, "{} ms", after.as_millis())
            }
            Cause::Tls(error) => error.fmt(f),
            Cause::Refused(refusal) => refusal.fmt(f),
            Cause::Transfer(error) => error.fmt(f),
            Cause::Sink(error) => error.fmt(f),
            Cause::ClosedInHandshake { command } => write!(f, "after {command}"),
            Cause::CommandTooLong { bytes_max } => write!(f, "{bytes_max} bytes"),
            Cause::Stopped | Cause::Closed | Cause::Panicked => Ok(()),
        }
    }
}

impl LinkEnd {
    pub fn code(&self) -> &'static str {
        self.cause.code()
    }

    pub fn retry(&self) -> Retry {
        self.cause.retry()
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.endpoint, self.state, self.code())?;
        let detail = self.cause.to_string();
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

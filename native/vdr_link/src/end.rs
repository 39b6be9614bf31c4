//! Why a link is over: a code for programs, facts for people, and whether another attempt makes sense.

use crate::config::Endpoint;
use crate::observer::LinkState;
use crate::sink::SinkError;
use crate::tls::TlsError;
use crate::transfer::TransferError;
use std::fmt;
use std::io;
use std::time::Duration;
use vdr_replica::handshake::{Refusal, Retry};

#[derive(Debug)]
pub struct LinkEnd {
    pub endpoint: Endpoint,
    /// The state that the link ended in.
    pub state: LinkState,
    pub cause: Cause,
}

#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// We wanted it.
    Stopped,
    /// The name has no address.
    Resolve(io::Error),
    Connect(io::Error),
    ConnectTimeout(Duration),
    /// Connected, but the commands before PSYNC were not answered in time.
    HandshakeTimeout(Duration),
    /// The connection is not, or no longer, one that can be trusted to be with the primary and nobody else.
    Tls(TlsError),
    /// The server said no, or something that is not an answer.
    Refused(Refusal),
    /// The file's framing is wrong.
    Transfer(TransferError),
    /// Nothing came for so long.
    ReadTimeout(Duration),
    /// The primary took nothing for so long.
    WriteTimeout(Duration),
    /// The primary closed the connection.
    Closed,
    Io(io::Error),
    /// A command was longer than we are ready to wait for.
    CommandTooLong {
        bytes_max: usize,
    },
    Sink(SinkError),
    /// A bug of ours. The VM stays up.
    Panicked,
}

impl Cause {
    /// What reading or writing failed of: the wire itself, or what stands between it and us.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => Cause::Tls(TlsError::from(inner)),
            None => Cause::Io(error),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            Cause::Stopped => "stopped",
            Cause::Resolve(_) => "host_not_found",
            Cause::Connect(error) => connect_code(error.kind()),
            Cause::ConnectTimeout(_) => "connect_timeout",
            Cause::HandshakeTimeout(_) => "handshake_timeout",
            Cause::Tls(error) => error.kind.code(),
            Cause::Refused(refusal) => refusal.code(),
            Cause::Transfer(TransferError::Aborted { .. }) => "sync_aborted",
            Cause::Transfer(_) => "bad_rdb_transfer",
            Cause::ReadTimeout(_) => "read_timeout",
            Cause::WriteTimeout(_) => "write_timeout",
            Cause::Closed => "closed",
            Cause::Io(error) => io_code(error.kind()),
            Cause::CommandTooLong { .. } => "command_too_long",
            Cause::Sink(error) => error.code,
            Cause::Panicked => "panicked",
        }
    }

    pub fn retry(&self) -> Retry {
        match self {
            Cause::Stopped => Retry::Never,
            Cause::Tls(error) => error.kind.retry(),
            Cause::Refused(refusal) => refusal.retry(),
            Cause::Sink(error) => error.retry,
            Cause::CommandTooLong { .. } | Cause::Panicked => Retry::Slowly,
            Cause::Resolve(_)
            | Cause::Connect(_)
            | Cause::ConnectTimeout(_)
            | Cause::HandshakeTimeout(_)
            | Cause::Transfer(_)
            | Cause::ReadTimeout(_)
            | Cause::WriteTimeout(_)
            | Cause::Closed
            | Cause::Io(_) => Retry::Soon,
        }
    }
}

impl From<TlsError> for Cause {
    fn from(error: TlsError) -> Self {
        Cause::Tls(error)
    }
}

fn connect_code(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::HostUnreachable => "host_unreachable",
        io::ErrorKind::NetworkUnreachable => "network_unreachable",
        io::ErrorKind::TimedOut => "connect_timeout",
        // Of a socket's path.
        io::ErrorKind::NotFound => "socket_not_found",
        io::ErrorKind::PermissionDenied => "permission_denied",
        _ => "connect_failed",
    }
}

fn io_code(kind: io::ErrorKind) -> &'static str {
    match kind {
        // What a transport with an end of its own says when there is none.
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection_reset"
        }
        io::ErrorKind::TimedOut => "connection_timed_out",
        _ => "io_error",
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Resolve(error) | Cause::Connect(error) | Cause::Io(error) => error.fmt(f),
            Cause::ConnectTimeout(after)
            | Cause::HandshakeTimeout(after)
            | Cause::ReadTimeout(after)
            | Cause::WriteTimeout(after) => write!(f, "{} ms", after.as_millis()),
            Cause::Tls(error) => error.fmt(f),
            Cause::Refused(refusal) => refusal.fmt(f),
            Cause::Transfer(error) => error.fmt(f),
            Cause::Sink(error) => error.fmt(f),
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

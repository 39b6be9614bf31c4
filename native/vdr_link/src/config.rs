//! What a link is told before it starts. Nothing here is read again later.

use crate::tls::TlsConfig;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use vdr_replica::handshake::{Credentials, HIDDEN_LISTENING_PORT, RoleQuery};

/// Where the primary listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp {
        host: String,
        port: u16,
    },
    /// A socket in the file system of a primary on the same machine.
    Unix {
        path: PathBuf,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The shortest interval of acknowledgements: below it a link would do nothing else.
pub const ACK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long the link waits for the other side.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Name resolution and connecting, all addresses of the name together.
    pub connect: Duration,
    /// From the connection until everything before PSYNC is answered; a TLS handshake before it has as long again. PSYNC itself may take minutes, in which the primary
    /// gives signs of life: there `read` holds.
    pub handshake: Duration,
    /// Silence that ends the link. The default is three of the server's default ping periods.
    pub read: Duration,
    /// How long the primary may refuse to take a byte from us.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            read: Duration::from_secs(30),
            write: Duration::from_secs(10),
        }
    }
}

/// What the primary is told of how far we are. A primary takes whoever acknowledges for a copy of its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// What is applied: SHUTDOWN waits for nobody, and WAIT and FAILOVER count us.
    #[default]
    Truthful,
    /// Always 0, which keeps the link alive and nothing more: WAIT and FAILOVER never count us, and SHUTDOWN waits its
    /// full timeout for us.
    Lagging,
}

#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The instance's name in log events.
    pub label: String,
    pub endpoint: Endpoint,
    /// None: what is said can be read on the way.
    pub tls: Option<TlsConfig>,
    pub credentials: Option<Credentials>,
    /// What Sentinel and INFO see; [`HIDDEN_LISTENING_PORT`] tells why the default is no real port.
    pub listening_port: u32,
    pub role: RoleQuery,
    pub ack: AckPolicy,
    /// How often the applied offset is acknowledged. Until the stream has begun it is far more often: a primary that
    /// sent the file diskless begins it only after an acknowledgement that it had not expected yet.
    pub ack_interval: Duration,
    pub timeouts: Timeouts,
    /// The most that may wait for the rest of a command. The servers' own limit for what a client sends is 1 GB.
    pub command_bytes_max: usize,
}

impl LinkConfig {
    pub fn new(endpoint: Endpoint) -> Self {
        LinkConfig {
            label: endpoint.to_string(),
            endpoint,
            tls: None,
            credentials: None,
            listening_port: HIDDEN_LISTENING_PORT,
            role: RoleQuery::Skip,
            ack: AckPolicy::Truthful,
            ack_interval: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            command_bytes_max: 1 << 30,
        }
    }
}

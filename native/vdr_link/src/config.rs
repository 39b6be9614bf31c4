//! The configuration of a link. It does not change while the link lives.

use crate::endpoint::Endpoint;
use crate::tls::TlsConfig;
use crate::transport::ConnectLimits;
use std::time::Duration;
use vdr_data::limits::STRING_BYTES_MAX;
use vdr_replica::handshake::{Credentials, HIDDEN_LISTENING_PORT, RoleQuery, Secret, SyncBy};
use vdr_replica::resp::frame_bytes_max;

/// The shortest interval between acknowledgements: below it a link would do nothing else.
pub const ACK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long the link waits for the server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For resolving the name and connecting, all addresses of the name together.
    pub connect: Duration,
    /// From the connection until everything before PSYNC is answered. The TLS handshake before it
    /// has the same time again. PSYNC itself may take minutes; the primary sends keepalives
    /// meanwhile, so `read` applies there.
    pub handshake: Duration,
    /// The link ends after this much silence. The default is three of the server's default ping
    /// periods.
    pub read: Duration,
    /// How long the primary may accept no byte.
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

/// The offset that acknowledgements report. A primary counts whoever acknowledges as a copy of its
/// data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// The applied offset: SHUTDOWN does not wait for the link, and WAIT and FAILOVER count it.
    #[default]
    Truthful,
    /// Always 0, which only keeps the link alive: WAIT and FAILOVER never count it, and SHUTDOWN
    /// waits its full timeout.
    Lagging,
}

#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The number by which events of `tracing` name the instance.
    pub instance: u64,
    pub endpoint: Endpoint,
    /// None: the connection is not encrypted.
    pub tls: Option<TlsConfig>,
    pub credentials: Option<Credentials>,
    /// The port that INFO and Sentinel show. [`HIDDEN_LISTENING_PORT`] explains the default.
    pub listening_port: u32,
    pub role: RoleQuery,
    pub sync_by: SyncBy,
    /// The server's name for PSYNC, if it has another one.
    pub psync_command: Option<Secret>,
    pub ack: AckPolicy,
    /// How often the applied offset is acknowledged. Until the stream has begun the link
    /// acknowledges far more often: a primary that sent the file diskless begins the stream only
    /// after an acknowledgement.
    pub ack_interval: Duration,
    pub timeouts: Timeouts,
    /// How many bytes of an unfinished command may be buffered.
    pub command_bytes_max: usize,
}

impl LinkConfig {
    pub fn new(endpoint: Endpoint) -> Self {
        LinkConfig {
            instance: 0,
            endpoint,
            tls: None,
            credentials: None,
            listening_port: HIDDEN_LISTENING_PORT,
            role: RoleQuery::Skip,
            sync_by: SyncBy::Socket,
            psync_command: None,
            ack: AckPolicy::Truthful,
            ack_interval: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            command_bytes_max: frame_bytes_max(STRING_BYTES_MAX),
        }
    }
}

impl Timeouts {
    pub(crate) fn connect_limits(&self) -> ConnectLimits {
        ConnectLimits { connect: self.connect, tls_handshake: self.handshake, unacknowledged: self.read }
    }
}

//! The configuration of a Sentinel monitor. It does not change while the monitor lives.

use super::address::Address;
use crate::client::{ClientConfig, ReplyLimits};
use crate::tls::TlsConfig;
use std::collections::HashMap;
use std::time::Duration;
use vdr_replica::handshake::Role;

/// The largest reply of a Sentinel is a list of replicas, each of which takes about a kilobyte.
const REPLY_LIMITS: ReplyLimits = ReplyLimits { bytes_max: 1 << 20, depth_max: 4, elements_max: 32 << 10 };

#[derive(Clone, Debug)]
pub struct SentinelConfig {
    /// The instance's name in log events.
    pub label: String,
    /// The Sentinels that the user named, at least one.
    pub sentinels: Vec<Address>,
    /// The name of the group, which Sentinel calls a master name.
    pub group: String,
    /// Which server of the group is wanted.
    pub role: Role,
    /// How to connect to Sentinels.
    pub access: Access,
    /// How to connect to the server, which is asked for its role before a streaming link is left.
    pub server_access: Access,
    pub host_map: HostMap,
    /// These replace the host and the port of the server that Sentinel names.
    pub server_host: Option<String>,
    pub server_port: Option<u16>,
}

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct Access {
    pub tls: Option<TlsConfig>,
    /// For each step: connecting, the TLS handshake, AUTH, and the replies to one set of questions.
    pub timeout: Duration,
    pub username: Option<String>,
    /// Whether there is a password. The monitor asks its owner for it at every connection.
    pub password: bool,
}

/// How hosts that Sentinel names become hosts that this machine reaches.
#[derive(Clone, Debug)]
pub enum HostMap {
    /// Hosts that the table does not name stay as they are.
    Table(HashMap<String, String>),
    /// The monitor asks its owner.
    Ask,
}

impl Access {
    pub(super) fn client(&self) -> ClientConfig {
        ClientConfig { tls: self.tls.clone(), timeout: self.timeout, limits: REPLY_LIMITS }
    }
}

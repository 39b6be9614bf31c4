//! The configuration of a Sentinel monitor. It does not change while the monitor lives.

use crate::address::Address;
use crate::client::{Access, HostMap};
use vdr_replica::handshake::Role;
use vdr_replica::resp::reply::ReplyLimits;

/// The largest reply of a Sentinel is a list of replicas, each of which takes about a kilobyte.
pub(super) const REPLY_LIMITS: ReplyLimits = ReplyLimits { bytes_max: 1 << 20, depth_max: 4, elements_max: 32 << 10 };

#[derive(Clone, Debug)]
pub struct SentinelConfig {
    /// The number by which events of `tracing` name the instance.
    pub instance: u64,
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

//! The states of instances and handlers as plain values, for [`crate::terms`] to encode.

use std::collections::HashMap;
use std::sync::Arc;
use vdr_link::{LinkState, PoolState, Role};
use vdr_rdb::Server;
use vdr_replica::batch::ResumePoint;

/// The state of an instance, as `info/1` shows it.
pub struct StoreStatus {
    pub state: Option<LinkState>,
    pub ready: bool,
    pub stale: bool,
    pub stale_ms: Option<i64>,
    pub last_message_ms_ago: Option<i64>,
    pub role: Option<Role>,
    pub replication_id: Option<String>,
    pub offset: u64,
    pub primary_offset: u64,
    pub lag_bytes: u64,
    pub commands_applied: u64,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub loading_bytes: u64,
    pub loading_keys: u64,
    pub guard_window_ms: Option<i64>,
    pub divergences: u64,
    pub guard_windows_given_up: u64,
    pub complete: bool,
    pub unknown_values: usize,
    pub miscounted_streams: u64,
    pub unknown_commands: HashMap<String, u64>,
    pub keys: HashMap<u32, usize>,
    pub server: Option<Arc<Server>>,
    pub watches: usize,
    pub snapshots_held: usize,
    pub snapshots_oldest_ms: Option<i64>,
    pub snapshots_written_since_bytes: Option<u64>,
    pub snapshots_before_full_sync: bool,
    /// Whether commands can be sent.
    pub writes: PoolState,
    /// How many calls wait for a position.
    pub waiting: usize,
}

/// The state of a handler.
pub struct HandlerStatus {
    pub state: Option<LinkState>,
    pub replication_id: Option<Arc<str>>,
    /// The replication id and place up to which everything is handled; `None` within a full sync.
    pub position: Option<(Arc<str>, ResumePoint)>,
}

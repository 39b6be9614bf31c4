//! The states of instances and handlers.

use super::primitive::word;
use crate::status::{HandlerStatus, StoreStatus};
use rustler::{Encoder, Env, NifMap, Term};
use std::collections::HashMap;
use vdr_link::LinkState;

/// `info/1`, as a map.
#[derive(NifMap)]
#[rustler(encode)]
struct StatusMap<'a> {
    state: Term<'a>,
    connected: bool,
    ready: bool,
    stale: bool,
    stale_ms: Option<i64>,
    last_message_ms_ago: Option<i64>,
    role: Option<Term<'a>>,
    replication_id: Option<String>,
    offset: u64,
    primary_offset: u64,
    lag_bytes: u64,
    commands_applied: u64,
    full_syncs: u64,
    partial_syncs: u64,
    loading_bytes: u64,
    loading_keys: u64,
    guard_window_ms: Option<i64>,
    divergences: u64,
    guard_windows_given_up: u64,
    complete: bool,
    unknown_values: usize,
    miscounted_streams: u64,
    unknown_commands: HashMap<String, u64>,
    keys: HashMap<u32, usize>,
    server: Option<Server>,
    watches: usize,
    snapshots_held: usize,
    snapshots_oldest_ms: Option<i64>,
    snapshots_written_since_bytes: Option<u64>,
    snapshots_before_full_sync: bool,
    writes: Term<'a>,
    waiting: usize,
}

#[derive(NifMap)]
#[rustler(encode)]
pub struct Server {
    name: &'static str,
    version: String,
}

impl Server {
    pub fn new(server: &vdr_rdb::Server) -> Self {
        Server { name: server.name, version: server.version.clone() }
    }
}

pub fn status<'a>(env: Env<'a>, status: StoreStatus) -> Term<'a> {
    let map = StatusMap {
        state: word(env, status.state.unwrap_or(LinkState::Init).as_str()),
        connected: status.state.is_some_and(|state| state != LinkState::Init),
        ready: status.ready,
        stale: status.stale,
        stale_ms: status.stale_ms,
        last_message_ms_ago: status.last_message_ms_ago,
        role: status.role.map(|role| word(env, role.as_str())),
        replication_id: status.replication_id,
        offset: status.offset,
        primary_offset: status.primary_offset,
        lag_bytes: status.lag_bytes,
        commands_applied: status.commands_applied,
        full_syncs: status.full_syncs,
        partial_syncs: status.partial_syncs,
        loading_bytes: status.loading_bytes,
        loading_keys: status.loading_keys,
        guard_window_ms: status.guard_window_ms,
        divergences: status.divergences,
        guard_windows_given_up: status.guard_windows_given_up,
        complete: status.complete,
        unknown_values: status.unknown_values,
        miscounted_streams: status.miscounted_streams,
        unknown_commands: status.unknown_commands,
        keys: status.keys,
        server: status.server.as_deref().map(Server::new),
        watches: status.watches,
        snapshots_held: status.snapshots_held,
        snapshots_oldest_ms: status.snapshots_oldest_ms,
        snapshots_written_since_bytes: status.snapshots_written_since_bytes,
        snapshots_before_full_sync: status.snapshots_before_full_sync,
        writes: word(env, status.writes.as_str()),
        waiting: status.waiting,
    };
    map.encode(env)
}

/// `{state, replication_id, position}`: the state is nil when there is no link, the replication id
/// is nil before the first sync, the position is nil or `{replication_id, offset, db}`.
pub fn handler_status<'a>(env: Env<'a>, status: HandlerStatus) -> Term<'a> {
    let state = status.state.map(|state| word(env, state.as_str()));
    let position = status.position.map(|(id, place)| (id.to_string(), place.offset, place.db));
    (state, status.replication_id.map(|id| id.to_string()), position).encode(env)
}

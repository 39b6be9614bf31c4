//! What the connections of a pool share.

use super::access::{Access, Answers, HostMap};
use super::request::Class;
use crate::endpoint::Endpoint;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use vdr_replica::position::Waiters;

#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The number by which events of `tracing` name the instance.
    pub instance: u64,
    pub access: Access,
    pub host_map: HostMap,
    /// How long the server may be silent while replies are due.
    pub silence: Duration,
}

/// Whether commands can be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolState {
    /// No connection was needed yet.
    #[default]
    Unused,
    Ready,
    /// The user may not ask for offsets, so nobody knows when a write is visible.
    NoOffset,
    /// The last attempt to connect failed, or the connection was lost.
    Down,
}

impl PoolState {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            PoolState::Unused => "unused",
            PoolState::Ready => "ready",
            PoolState::NoOffset => "no_offset",
            PoolState::Down => "down",
        }
    }
}

/// Shared with the tasks of the connections.
pub struct PoolShared {
    pub config: PoolConfig,
    pub owner: Arc<dyn Answers>,
    pub waiters: Arc<Waiters>,
    /// The server that the link follows.
    target: watch::Sender<Option<Endpoint>>,
    state: Mutex<(PoolState, Option<&'static str>)>,
}

impl PoolShared {
    pub fn new(config: PoolConfig, owner: Arc<dyn Answers>, waiters: Arc<Waiters>) -> Self {
        let (target, state) = (watch::Sender::new(None), Mutex::default());
        PoolShared { config, owner, waiters, target, state }
    }

    /// The link follows this server now.
    pub fn follow(&self, server: Endpoint) {
        self.target.send_if_modified(|target| {
            let server = Some(server);
            let is_new = *target != server;
            *target = server;
            is_new
        });
    }

    pub fn target(&self) -> watch::Receiver<Option<Endpoint>> {
        self.target.subscribe()
    }

    pub fn state(&self) -> PoolState {
        self.state.lock().0
    }

    /// Why the last attempt to connect failed, if none has succeeded since.
    pub fn last_error(&self) -> Option<&'static str> {
        self.state.lock().1
    }

    pub fn set_state(&self, state: PoolState, error: Option<&'static str>) {
        *self.state.lock() = (state, error);
    }
}

/// What tells one connection from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneKey {
    pub db: u32,
    pub class: Class,
}

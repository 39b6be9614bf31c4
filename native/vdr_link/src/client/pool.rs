//! The connections of one instance for its user's commands: one for each database and class of
//! calls, opened when it is first needed. They find the primary from the server that the link
//! follows.

use super::access::Answers;
use super::lane;
use super::request::Request;
use super::state::{LaneKey, PoolConfig, PoolShared, PoolState};
use crate::endpoint::Endpoint;
use crate::runtime::{boxed, runtime};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use vdr_replica::position::Waiters;

/// Most bytes of calls that wait to be sent. A single call may have more.
pub const QUEUED_BYTES_MAX: usize = 256 << 20;

/// Most connections. A server has 16 databases unless it is configured for more.
pub const LANES_MAX: usize = 256;

/// Why a call is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Too many bytes wait to be sent, or too many databases are used.
    Overloaded,
    /// The system has no threads left.
    NoThread,
}

/// See the module. Dropping it closes the connections.
pub struct ClientPool {
    shared: Arc<PoolShared>,
    queued: Arc<AtomicUsize>,
    lanes: Mutex<HashMap<LaneKey, mpsc::UnboundedSender<Request>>>,
}

impl ClientPool {
    /// Starts no task and no connection.
    pub fn new(config: PoolConfig, owner: Arc<dyn Answers>, waiters: Arc<Waiters>) -> Self {
        ClientPool {
            shared: Arc::new(PoolShared::new(config, owner, waiters)),
            queued: Arc::default(),
            lanes: Mutex::default(),
        }
    }

    /// The link follows this server now.
    pub fn follow(&self, server: Endpoint) {
        self.shared.follow(server);
    }

    pub fn waiters(&self) -> &Arc<Waiters> {
        &self.shared.waiters
    }

    pub fn state(&self) -> PoolState {
        self.shared.state()
    }

    /// Why the last attempt to connect failed, if none has succeeded since.
    pub fn last_error(&self) -> Option<&'static str> {
        self.shared.last_error()
    }

    /// Takes a call. Its caller gets the answer, unless it is not taken.
    pub fn submit(&self, request: Request) -> Result<(), Busy> {
        let mut request = request;
        let queued = self.queued.load(Ordering::Relaxed);
        if queued > 0 && queued.saturating_add(request.bytes.len()) > QUEUED_BYTES_MAX {
            request.hand_over();
            return Err(Busy::Overloaded);
        }
        request.count(&self.queued);
        let key = LaneKey { db: request.db, class: request.class };
        let mut lanes = self.lanes.lock();
        // A task ends when it cannot connect for good; then the next call starts another.
        if let Some(lane) = lanes.get(&key) {
            match lane.send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::SendError(unsent)) => request = unsent,
            }
        }
        lanes.retain(|_, lane| !lane.is_closed());
        let runtime = match runtime() {
            Ok(runtime) if lanes.len() < LANES_MAX => runtime,
            refused => {
                request.hand_over();
                return Err(if refused.is_ok() { Busy::Overloaded } else { Busy::NoThread });
            }
        };
        let (lane, inbox) = mpsc::unbounded_channel();
        // The task has not begun, so it takes the call.
        let _unsent = lane.send(request);
        lanes.insert(key, lane);
        runtime.spawn(boxed(lane::run(self.shared.clone(), key, inbox)));
        Ok(())
    }
}

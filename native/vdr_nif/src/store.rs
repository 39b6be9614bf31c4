//! One instance: its mirror, its link slot, its watching processes and its held snapshots.

use crate::clock::steady;
use crate::dropper;
use crate::freshness::StaleReads;
use crate::holdings::{HeldSnapshot, Holdings};
use crate::link_slot::LinkSlot;
use crate::notices::Notices;
use crate::questions::LinkProcess;
use crate::status::StoreStatus;
use crate::watching::{Processes, Wish};
use parking_lot::Mutex;
use rustler::{Encoder, Env, LocalPid, Monitor, Term};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use vdr_link::{Answer, Call, Caller, ClientPool, Endpoint, Kind, LinkState, PoolState, Request, now_ms};
use vdr_replica::filter::Filter;
use vdr_replica::live::Live;
use vdr_replica::mirror::{Garbage, Mirror, Shared};
use vdr_replica::position::{Located, Position, WAITERS_PER_WAKE, Waiters};
use vdr_replica::watch::{Target, WatchError, Watched, Watcher};

/// The connections for commands, and the process that knows passwords and hosts for them.
pub struct Client {
    pub pool: ClientPool,
    pub process: Arc<LinkProcess>,
}

/// The content of an instance's resource.
pub struct Store {
    inner: Arc<Inner>,
}

/// Shared with the instance's links.
pub struct Inner {
    pub shared: Shared,
    pub mirror: Arc<Mutex<Mirror>>,
    /// The server of the last link that got as far as asking for data.
    pub followed: Mutex<Option<Endpoint>>,
    pub slot: Arc<LinkSlot>,
    /// Who waits for a position to become visible.
    pub waiters: Arc<Waiters>,
    /// The connections for commands, once the link's process has said how to connect.
    pub client: Mutex<Option<Arc<Client>>>,
    /// The replication id of a primary that a test plays, while its link streams.
    pub played_id: Mutex<Option<String>>,
    /// What the link's process reports of the instance.
    pub notices: Arc<Notices>,
    processes: Mutex<Processes>,
    snapshots: Arc<Holdings>,
    closed: AtomicBool,
}

fn defer_drop(garbage: Garbage) {
    dropper::drop_replaced(garbage, Garbage::drop_unheld);
}

impl Store {
    /// Writes between the guard key's setting and removal become visible together. `only`: the
    /// filter, if not everything is mirrored.
    pub fn new(stale_reads: StaleReads, guard_key: Option<Vec<u8>>, only: Option<Filter>) -> Self {
        let shared = Shared::default();
        let waiters = Arc::new(Waiters::new(shared.visible.clone()));
        let mut mirror = Mirror::new(shared.clone(), guard_key, Box::new(defer_drop)).with_clock(steady);
        mirror = mirror.with_background(Box::new(run_aside));
        if let Some(only) = only {
            mirror = mirror.with_filter(only);
        }
        let inner = Inner {
            shared,
            mirror: Arc::new(Mutex::new(mirror)),
            followed: Mutex::default(),
            slot: Arc::new(LinkSlot::new(stale_reads)),
            waiters,
            client: Mutex::default(),
            played_id: Mutex::default(),
            notices: Arc::default(),
            processes: Mutex::default(),
            snapshots: Arc::default(),
            closed: AtomicBool::new(false),
        };
        let inner = Arc::new(inner);
        let served = Arc::downgrade(&inner);
        inner.shared.visible.wake_by(move || wake(&served));
        Store { inner }
    }

    #[inline]
    pub fn live(&self) -> &Live {
        &self.inner.shared.live
    }

    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst)
    }

    pub fn has_data(&self) -> bool {
        self.live().load().get().is_some()
    }

    /// Whether the data is too old to be read, by the instance's `stale_reads`.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.inner.slot.status.freshness().refuses()
    }

    pub fn hold(&self) -> Option<HeldSnapshot> {
        if self.is_stale() {
            return None;
        }
        let full_syncs = self.inner.shared.status.full_syncs.load(Ordering::Relaxed);
        let (list, live) = (self.inner.snapshots.clone(), self.inner.shared.live.clone());
        Some(HeldSnapshot::new(live.snapshot()?, full_syncs, list, live))
    }

    pub fn status(&self) -> StoreStatus {
        let (inner, now_ms) = (&*self.inner, now_ms());
        let (status, state) = (&inner.shared.status, inner.slot.status.state());
        let loaded = self.live().load();
        let snapshot = loaded.get();
        let (snapshots_held, oldest) = inner.snapshots.oldest();
        let guard_since_ms = status.guard_window_since_ms.load(Ordering::Relaxed);
        let (offset, full_syncs) = (status.offset.load(Ordering::Relaxed), status.full_syncs.load(Ordering::Relaxed));
        let received = status.received.load(Ordering::Relaxed);
        let ready = snapshot.is_some();
        let stale = ready && state != Some(LinkState::Streaming);
        let unknown = status.unknown_commands.lock().iter().map(|(name, count)| (name.clone(), *count)).collect();
        StoreStatus {
            state,
            ready,
            stale,
            stale_ms: if stale { inner.slot.status.stale_ms() } else { None },
            last_message_ms_ago: inner.slot.status.silent_ms(),
            role: inner.slot.status.role(),
            replication_id: Some(status.replication_id.lock().to_string()).filter(|id| !id.is_empty()),
            offset,
            primary_offset: received.max(offset),
            lag_bytes: received.saturating_sub(offset),
            commands_applied: status.commands_applied.load(Ordering::Relaxed),
            full_syncs,
            partial_syncs: status.partial_syncs.load(Ordering::Relaxed),
            loading_bytes: status.loading_bytes.load(Ordering::Relaxed),
            loading_keys: status.loading_keys.load(Ordering::Relaxed),
            guard_window_ms: (guard_since_ms != 0).then(|| now_ms.saturating_sub(guard_since_ms).max(0)),
            divergences: status.divergences.load(Ordering::Relaxed),
            guard_windows_given_up: status.guard_windows_given_up.load(Ordering::Relaxed),
            complete: !status.incomplete.load(Ordering::Relaxed),
            unknown_values: snapshot.as_ref().map_or(0, |all| all.keyspace.unknown_values()),
            unknown_commands: unknown,
            miscounted_streams: status.miscounted_streams.load(Ordering::Relaxed),
            keys: snapshot.iter().flat_map(|all| all.keyspace.dbs()).map(|(index, db)| (index, db.len())).collect(),
            server: snapshot.and_then(|all| all.server.clone()),
            watches: inner.shared.watches.len(),
            snapshots_held,
            snapshots_oldest_ms: oldest.map(|held| now_ms.saturating_sub(held.since_ms).max(0)),
            snapshots_written_since_bytes: oldest.map(|held| offset.saturating_sub(held.offset)),
            snapshots_before_full_sync: oldest.is_some_and(|held| held.full_syncs < full_syncs),
            writes: self.writes(),
            waiting: inner.waiters.len(),
        }
    }

    /// Whether commands can be sent. A server that did not tell its role to the link will not tell
    /// the offset of a write either.
    pub fn writes(&self) -> PoolState {
        let status = &self.inner.slot.status;
        let client = self.inner.client.lock().as_ref().map(|client| client.pool.state()).unwrap_or_default();
        let tells_no_role = status.state() == Some(LinkState::Streaming) && status.role().is_none();
        if client == PoolState::Unused && tells_no_role { PoolState::NoOffset } else { client }
    }

    /// Ends the instance: nothing can be read any more, and the link stops.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.slot.unlink();
        let inner = self.inner.clone();
        // A link that is publishing holds the mirror's lock: neither the VM nor the dropper waits
        // for it.
        dropper::run_when(move || inner.mirror.try_lock().map(|mut mirror| mirror.close()).is_some());
        dropper::defer_drop(self.live().clear());
        let (client, waiters) = (self.inner.client.lock().take(), self.inner.waiters.clone());
        // It answers callers, which no thread of the VM may do.
        dropper::run(move || {
            drop(client);
            waiters.close();
        });
    }

    pub fn watch(
        &self,
        wish: &Wish<'_>,
        pid: Term<'_>,
        local: LocalPid,
        monitor: impl FnOnce() -> Option<Monitor>,
    ) -> Result<(), WatchError> {
        if self.is_closed() {
            return Err(WatchError::NotFound);
        }
        let notified = (&*self.inner.shared.watches, &self.inner.notices);
        self.inner.processes.lock().watch(notified, wish, pid, local, monitor)
    }

    pub fn watcher(&self, pid: Term<'_>) -> Option<Arc<Watcher>> {
        self.inner.processes.lock().watcher(pid)
    }

    /// Whether a write to the target may have become visible since a position. `true` also where
    /// that is not known.
    pub fn may_have_missed(&self, since: &Position, target: &Target) -> bool {
        let shared = &self.inner.shared;
        let Located::At(offset) = shared.visible.locate(since).0 else { return true };
        // Without data, a full sync will say Init.
        let Some(now) = self.live().load().get().map(|all| all.offset) else { return true };
        shared.recent.may_have_written(offset, now, target) != Some(false)
    }

    pub fn unwatch(&self, place: (u32, Watched<&[u8]>), pid: Term<'_>) -> Result<Option<Monitor>, WatchError> {
        self.inner.processes.lock().unwatch(&self.inner.shared.watches, place, pid)
    }

    /// A monitored process is gone.
    pub fn down(&self, env: Env<'_>, pid: LocalPid, monitor: Monitor) {
        if self.inner.slot.down(&monitor) {
            return;
        }
        let gone = self.inner.processes.lock().remove_dead(pid.encode(env), monitor);
        if let Some(watcher) = gone {
            let inner = self.inner.clone();
            // It may have watched a million keys.
            dropper::run(move || inner.shared.watches.remove_watcher(&watcher));
        }
    }
}

/// A publication shows what somebody waits for. Whoever comes first is called at once, by the
/// publisher; the others on another thread, a few at a time.
fn wake(inner: &Weak<Inner>) {
    let Some(inner) = inner.upgrade() else { return };
    if inner.waiters.try_serve(WAITERS_PER_WAKE) {
        serve_soon(inner);
    }
}

fn serve_soon(inner: Arc<Inner>) {
    // Without threads there is no link either that could publish again.
    let _no_thread = vdr_link::run_soon(move || {
        let is_more = inner.waiters.serve(WAITERS_PER_WAKE);
        if inner.waiters.take_doubt() {
            inner.identify();
        }
        if is_more {
            serve_soon(inner);
        }
    });
}

impl Inner {
    /// The connections for commands.
    pub fn client(&self) -> Option<Arc<Client>> {
        self.client.lock().clone()
    }

    /// Asks the primary for its replication ids, which tells what becomes of positions of other
    /// ids.
    pub fn identify(&self) {
        let played_id = self.played_id.lock().clone();
        if let Some(client) = self.client() {
            let question = Call::new(Nobody, self.waiters.clone());
            let _not_asked = client.pool.submit(Request::sync(Kind::Identify, question));
        } else if let Some(id) = played_id {
            self.waiters.refuse_unknown(&id);
        }
    }
}

/// Nobody waits for the answer.
struct Nobody;

impl Caller for Nobody {
    fn answer(&self, _answer: Answer) {}
}

/// Runs a job on a thread of its own. If the system has no thread for it, the job is left undone:
/// readers build the key index when they need it.
fn run_aside(job: Box<dyn FnOnce() + Send>) {
    let _thread = std::thread::Builder::new().name("vdr_index".into()).spawn(job);
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
        dropper::defer_drop(self.inner.clone());
    }
}

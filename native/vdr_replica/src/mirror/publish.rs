//! Publishing: a snapshot is swapped in for readers, then the watchers of what became visible are
//! notified. A watcher that is woken reads at least the state that its event is about.

use super::full_sync::FullSync;
use super::pending::{Due, Pending};
use crate::live::{Live, Snapshot};
use crate::position::Visible;
use crate::stream::Applier;
use crate::watch::{Event, Hit, Notify, Shown, Watch, Watches};
use std::collections::HashSet;
use std::sync::Arc;
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;
use vdr_snapmap::published::Replaced;

/// If at most this many elements were replaced and no reader holds the old snapshot, the writer
/// frees it inline, for cache locality; otherwise the dropper does.
pub(super) const UNLINKED_MAX: u64 = 4096;

/// What may be large and is to be freed elsewhere than on the writer's thread.
pub enum Garbage {
    /// No longer current; readers may still hold it.
    Snapshot(Replaced<Snapshot>),
    /// A full sync that was broken off.
    FullSync(Box<FullSync>),
    /// What commands were applied to until a full sync or a divergence.
    Applier(Box<Applier>),
}

impl Garbage {
    /// Frees it on this thread, unless a reader still holds it.
    pub fn drop_unheld(self) -> Result<(), Garbage> {
        match self {
            Garbage::Snapshot(snapshot) => snapshot.drop_unheld().map_err(Garbage::Snapshot),
            Garbage::FullSync(_) | Garbage::Applier(_) => Ok(()),
        }
    }
}

/// Hands garbage to the dropper, which frees it later on a thread of its own.
pub type DeferDrop = Box<dyn Fn(Garbage) + Send>;

/// See the module.
pub(super) struct Publisher {
    live: Arc<Live>,
    watches: Arc<Watches>,
    visible: Arc<Visible>,
    defer_drop: DeferDrop,
    pub(super) pending: Pending,
    /// Every watch needs an Init at the next publication: a full sync is to become visible, or the
    /// notifying of the last publication was broken off by a panic.
    init_due: bool,
    published_offset: Option<u64>,
    /// [`Keyspace::unlinked`](vdr_data::keyspace::Keyspace::unlinked) of the published snapshot;
    /// `None` when the next one is no version of it.
    published_unlinked: Option<u64>,
    /// Replaced snapshots that are cheap to free, oldest first. The writer frees each as soon as no
    /// reader holds it.
    replaced: Vec<Replaced<Snapshot>>,
}

impl Publisher {
    pub(super) fn new(live: &Arc<Live>, watches: &Arc<Watches>, visible: &Arc<Visible>, defer_drop: DeferDrop) -> Self {
        Publisher {
            live: live.clone(),
            watches: watches.clone(),
            visible: visible.clone(),
            defer_drop,
            pending: Pending::default(),
            init_due: false,
            published_offset: None,
            published_unlinked: None,
            replaced: Vec::new(),
        }
    }

    pub(super) fn defer_drop(&self, garbage: Garbage) {
        (self.defer_drop)(garbage);
    }

    /// The next snapshot is that of a full sync, and no version of the last one.
    pub(super) fn begin_anew(&mut self) {
        self.pending = Pending::default();
        self.init_due = true;
        self.published_offset = None;
        self.published_unlinked = None;
    }

    /// The next snapshot is published, whatever its offset: the stream goes on under another
    /// replication id, or a test sets the time.
    pub(super) fn publish_again(&mut self) {
        self.published_offset = None;
    }

    /// Whether a snapshot of this offset is to be published.
    pub(super) fn wants(&self, offset: u64) -> bool {
        self.init_due || self.published_offset != Some(offset)
    }

    /// Whether everything up to this offset was published, and its watchers notified.
    pub(super) fn shows(&self, offset: u64) -> bool {
        !self.wants(offset)
    }

    /// Publishes a snapshot and notifies the watchers of what it shows. Everything up to `applied`
    /// is applied. The caller calls [`Publisher::defer_replaced`] in the end.
    pub(super) fn publish(&mut self, snapshot: Snapshot, applied: u64) {
        let (offset, unlinked) = (snapshot.offset, snapshot.keyspace.unlinked());
        self.published_offset = Some(offset);
        let before = self.published_unlinked.replace(unlinked);
        let is_cheap = before.is_some_and(|before| unlinked.wrapping_sub(before) <= UNLINKED_MAX);
        let old = self.live.publish(snapshot);
        self.notify(old.as_deref(), offset, offset == applied);
        match old {
            Some(old) if !is_cheap => self.defer_drop(Garbage::Snapshot(old)),
            old => self.replaced.extend(old),
        }
        // A reader that still held a snapshot when it was replaced has mostly let go of it by the
        // next publication.
        let held = |old: Replaced<Snapshot>| old.drop_unheld().err();
        self.replaced = std::mem::take(&mut self.replaced).into_iter().filter_map(held).collect();
    }

    /// Leaves the snapshots that readers still hold to the dropper.
    pub(super) fn defer_replaced(&mut self) {
        self.replaced.drain(..).map(Garbage::Snapshot).for_each(&self.defer_drop);
    }

    #[cfg(test)]
    pub(super) fn replaced_len(&self) -> usize {
        self.replaced.len()
    }

    /// Sends Init where a panic kept watchers from being notified of what is visible: the next
    /// publication may be far away.
    pub(super) fn make_up(&mut self) {
        if self.init_due
            && let Some(offset) = self.published_offset
        {
            self.notify(None, offset, false);
        }
    }

    fn notify(&mut self, old: Option<&Snapshot>, offset: u64, complete: bool) {
        // Set until all are notified: a panic on the way loses the rest of these events, and Init
        // stands for them.
        let init_due = std::mem::replace(&mut self.init_due, true);
        self.visible.publish(offset);
        let Due { inits, hits } = self.pending.take_visible(offset);
        if self.watches.is_empty() && hits.is_empty() {
            self.init_due = false;
            return;
        }
        let init = |watches: &[Arc<Watch>]| watches.iter().for_each(|watch| watch.deliver(&Event::Init { offset }));
        if init_due {
            init(&self.watches.all(complete));
        } else if let Some(new) = self.live.snapshot() {
            let stale = self.watches.stale_new(&Shown { old, new: &new, hits: &hits, complete }, &inits);
            init(&inits);
            notify_hits(&hits, old, &new);
            init(&stale);
        }
        self.init_due = false;
    }
}

/// Sends the events of writes that became visible.
fn notify_hits(hits: &[Hit], old: Option<&Snapshot>, new: &Snapshot) {
    // The keys that watches have heard of, by the watch's address: such a watch hears of each key
    // once.
    let mut heard: HashSet<(usize, Option<&[u8]>), foldhash::fast::RandomState> = HashSet::default();
    for Hit { watch, key, command, offset: end } in hits {
        let (db, key) = (watch.target.db, key.as_ref());
        if let Some(command) = command {
            watch.deliver(&Event::Update { command, db, key, offset: *end });
        } else if heard.insert((watch.address(), key.map(Blob::as_bytes))) {
            let (offset, old) = (new.offset, || entry_of(old?, db, key));
            watch.deliver(&match watch.manner.notify {
                Notify::Value => Event::Value { db, key, old: old(), new: entry_of(new, db, key), offset },
                Notify::Key | Notify::Command => Event::Key { db, key, offset },
            });
        }
    }
}

fn entry_of<'s>(snapshot: &'s Snapshot, db: u32, key: Option<&Blob>) -> Option<EntryRef<'s>> {
    snapshot.keyspace.db(db).get(key?)
}

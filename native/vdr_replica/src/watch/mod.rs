//! The watch registry: which writes affect which watchers.
//!
//! Any thread adds and removes watches; the publisher asks which of them a write affects, and sends
//! their events once it is visible. What a write costs does not depend on watches that it does not
//! affect: a key is looked up in a hash table, a prefix by its length, a pattern by the literal
//! bytes that its matches have, and a filter in front of the table answers most look-ups.
//!
//! A watch may be added while writes are applied but not yet published. It must not miss them: it
//! counts as *new*, and at the publications that show them what it watches is compared in the old
//! and the new snapshot (see [`Watches::stale_new`]).
//!
//! The modules stand in reading order: each uses those above it.

mod event;
mod watcher;
mod filter;
mod table;
mod affixes;
mod links;
pub mod finder;

pub use affixes::PATTERN_BYTES_MAX;
pub use event::{Event, Kind, Manner, Notify, Target, Watched};
pub use watcher::{Mailbox, Owner, Tag, Watch, Watcher};

use crate::live::Snapshot;
use affixes::Affixes;
use filter::Unpublished;
use links::Links;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::Table;
use vdr_commands::Tuple;
use vdr_data::blob::Blob;

/// Why a watch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchError {
    AlreadyRegistered,
    NotFound,
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<T> = HashSet<T, foldhash::fast::RandomState>;

/// What one watch is to hear of one write.
pub struct Hit {
    pub watch: Arc<Watch>,
    /// `None` if the write affected several keys of a prefix or pattern, or a whole database.
    pub key: Option<Blob>,
    /// For watches that are notified of commands.
    pub command: Option<Arc<Tuple>>,
    /// The replication offset after the write.
    pub offset: u64,
}

/// All watches of one instance.
#[derive(Default)]
pub struct Watches {
    count: AtomicUsize,
    unpublished: Unpublished,
    table: Table,
    affixes: Affixes,
    links: Links,
}

impl Watches {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A process that is to watch.
    pub fn watcher(&self, owner: Owner, mailbox: Box<dyn Mailbox>) -> Arc<Watcher> {
        Watcher::new(owner, mailbox, self.links.up())
    }

    /// Adds a watch. One process watches one key, one prefix and one pattern once. `tag` is
    /// released in any case once the watch is gone.
    pub fn add(
        &self,
        db: u32,
        watched: Watched<&[u8]>,
        manner: Manner,
        watcher: &Arc<Watcher>,
        tag: Tag,
    ) -> Result<Arc<Watch>, WatchError> {
        let watch = Watch::new(Target::new(db, watched), manner, watcher.clone(), tag);
        // The publisher must find it from the moment on when the table has it: see `Unpublished`.
        self.count_in(&watch.target);
        if !self.table.add(&watch, &self.unpublished) {
            self.count_out(&watch.target);
            return Err(WatchError::AlreadyRegistered);
        }
        watcher.keep(&watch);
        if manner.link {
            self.links.add(&watch);
        }
        Ok(watch)
    }

    pub fn remove(&self, db: u32, watched: Watched<&[u8]>, watcher: &Watcher) -> Result<(), WatchError> {
        let place = (db, watched.kind().into(), watched.name());
        let watch = self.table.remove(place, watcher.owner()).ok_or(WatchError::NotFound)?;
        watcher.forget(&watch);
        self.gone(&watch);
        Ok(())
    }

    /// Removes every watch of a process that is gone.
    pub fn remove_watcher(&self, watcher: &Watcher) {
        while let Some(last) = watcher.take_last() {
            let Some(watch) = last.upgrade() else { continue };
            if self.table.remove(watch.target.place(), watcher.owner()).is_some() {
                self.gone(&watch);
            }
        }
    }

    fn gone(&self, watch: &Arc<Watch>) {
        if watch.manner.link {
            self.links.remove(watch);
        }
        self.count_out(&watch.target);
    }

    fn count_in(&self, target: &Target) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.affixes.add(&self.table, target);
    }

    fn count_out(&self, target: &Target) {
        self.affixes.remove(&self.table, target);
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Everything that was applied is published.
    pub fn end(&self) {
        self.unpublished.end();
    }

    /// Every watch: a full sync became visible, or events were lost. `complete`: everything that
    /// was applied is visible.
    pub fn all(&self, complete: bool) -> Vec<Arc<Watch>> {
        drop(self.table.new_watches(complete));
        let mut all = Vec::with_capacity(self.len());
        self.table.for_each_in(|_| true, |watch| all.push(watch.clone()));
        all
    }

    /// The new watches that may have missed a write of this publication, except those in `inits`.
    /// To be called after each publication while there are watches. A watch that is added later has
    /// seen what was published, and stays new for the next publication. So does each new one unless
    /// the publication is `complete`: some of what was applied before it came is still to be shown.
    pub fn stale_new(&self, shown: &Shown<'_>, inits: &[Arc<Watch>]) -> Vec<Arc<Watch>> {
        let mut watches = self.table.new_watches(shown.complete);
        let Some(old) = shown.old.filter(|_| !watches.is_empty()) else { return Vec::new() };
        // Without any lock: to compare takes time.
        let heard = HeardKeys::of(shown.hits);
        let inits: Set<usize> = inits.iter().map(Arc::as_ptr).map(<*const Watch>::addr).collect();
        watches.retain(|watch| !inits.contains(&watch.address()) && heard.may_miss(watch, old, shown.new));
        watches
    }

    /// The link with this number streams.
    pub fn link_up(&self, link: u64) {
        self.links.link_up(link);
    }

    /// The link with this number has ended.
    pub fn link_down(&self, link: u64) {
        self.links.link_down(link);
    }
}

/// One publication.
pub struct Shown<'s> {
    pub old: Option<&'s Snapshot>,
    pub new: &'s Snapshot,
    /// The events of the writes that it shows.
    pub hits: &'s [Hit],
    /// It shows everything that was applied: no transaction or guard window holds a part back.
    pub complete: bool,
}

/// Who hears of which keys, by the watch's address. A look at all events for each new watch would
/// take a minute with some hundred thousand of both.
struct HeardKeys<'h> {
    by_watch: Map<usize, Set<&'h [u8]>>,
    none: Set<&'h [u8]>,
}

impl<'h> HeardKeys<'h> {
    fn of(hits: &'h [Hit]) -> Self {
        let mut by_watch: Map<usize, Set<&[u8]>> = Map::default();
        for hit in hits {
            by_watch.entry(hit.watch.address()).or_default().extend(hit.key.as_ref().map(Blob::as_bytes));
        }
        HeardKeys { by_watch, none: Set::default() }
    }

    /// Whether a new watch may have missed a write. An event of a key tells its value, but not
    /// which commands led to it: who hears of some may have missed those before.
    fn may_miss(&self, watch: &Arc<Watch>, old: &Snapshot, new: &Snapshot) -> bool {
        match self.by_watch.get(&watch.address()) {
            Some(_) if watch.manner.notify == Notify::Command => true,
            keys => changed(old, new, &watch.target, keys.unwrap_or(&self.none)),
        }
    }
}

/// How many entries are compared to find out whether a key of a prefix or pattern has changed. If
/// more entries have changed, one of them may be of it.
const COMPARED_MAX: usize = 10_000;

/// Whether the target has changed, other than in the keys that events name.
fn changed(old: &Snapshot, new: &Snapshot, target: &Target, named: &Set<&[u8]>) -> bool {
    let (old, new) = (old.keyspace.db(target.db), new.keyspace.db(target.db));
    match target.kind {
        Kind::Key if named.contains(target.name.as_bytes()) => false,
        Kind::Key => match (old.get(&target.name), new.get(&target.name)) {
            (None, None) => false,
            (Some(old), Some(new)) => old.expiry() != new.expiry() || !old.value().same(&new.value()),
            _ => true,
        },
        Kind::Prefix | Kind::Pattern => {
            old.may_differ(new, COMPARED_MAX, |key| target.covers(key) && !named.contains(key))
        }
    }
}

#[cfg(test)]
mod tests;

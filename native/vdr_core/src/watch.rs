//! Which changes concern which watchers.
//!
//! A watch that comes while writes are applied but not yet published must not miss them: such a watch is *fresh*, and at
//! the next publication its key is compared in the old and the new snapshot (see [`Watches::settle`]).

use crate::blob::Blob;
use crate::commands::{Touch, Tuple};
use crate::live::Snapshot;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a watcher is told, always after it is visible.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write touched the key.
    Update { command: Arc<Tuple>, db: u32, key: Blob, offset: u64 },
    /// Whatever was known before may be stale: a full sync became visible.
    Init { offset: u64 },
}

/// Where events go: a process of the BEAM, say.
pub trait Watcher: Send + Sync {
    fn notify(&self, event: &Event);
}

/// Who watches: one process, in the border's own numbering.
pub type Owner = u64;

/// Why a watch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchError {
    AlreadyRegistered,
    NotFound,
}

#[derive(Clone)]
struct Entry {
    owner: Owner,
    watcher: Arc<dyn Watcher>,
    fresh: bool,
}

type Key = (u32, Blob);
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<T> = HashSet<T, foldhash::fast::RandomState>;

#[derive(Default)]
struct Table {
    by_key: Map<Key, Vec<Entry>>,
    by_owner: Map<Owner, Set<Key>>,
    fresh: Set<(Key, Owner)>,
}

/// An event and who gets it.
pub type Delivery = (Arc<dyn Watcher>, Event);

/// All watches of one instance. Any thread may add and remove; only the publisher asks.
#[derive(Default)]
pub struct Watches {
    count: AtomicUsize,
    table: Mutex<Table>,
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

    /// Adds a watch on a key. One owner watches one key once.
    pub fn add(&self, db: u32, key: &[u8], owner: Owner, watcher: Arc<dyn Watcher>) -> Result<(), WatchError> {
        let mut table = self.table.lock();
        let place = (db, Blob::new(key));
        let entries = table.by_key.entry(place.clone()).or_default();
        if entries.iter().any(|entry| entry.owner == owner) {
            return Err(WatchError::AlreadyRegistered);
        }
        entries.push(Entry { owner, watcher, fresh: true });
        table.by_owner.entry(owner).or_default().insert(place.clone());
        table.fresh.insert((place, owner));
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    pub fn remove(&self, db: u32, key: &[u8], owner: Owner) -> Result<(), WatchError> {
        let mut table = self.table.lock();
        let place = (db, Blob::new(key));
        if !table.drop_entry(&place, owner) {
            return Err(WatchError::NotFound);
        }
        if let Some(places) = table.by_owner.get_mut(&owner) {
            places.remove(&place);
            if places.is_empty() {
                table.by_owner.remove(&owner);
            }
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    /// Forgets everything that an owner watched: its process is gone.
    pub fn remove_owner(&self, owner: Owner) {
        let mut table = self.table.lock();
        for place in table.by_owner.remove(&owner).unwrap_or_default() {
            if table.drop_entry(&place, owner) {
                self.count.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Collects who must hear of a write, for delivery once it is visible. `event` makes the event for one key.
    pub fn touched(&self, touch: Touch<'_>, event: &dyn Fn(&Key) -> Event, out: &mut Vec<Delivery>) {
        let table = self.table.lock();
        let mut tell = |place: &Key, entries: &[Entry]| {
            out.extend(entries.iter().map(|entry| (entry.watcher.clone(), event(place))));
        };
        match touch {
            Touch::Key { db, key } => {
                if let Some((place, entries)) = table.by_key.get_key_value(&(db, Blob::new(key))) {
                    tell(place, entries);
                }
            }
            Touch::Db(db) => table.by_key.iter().filter(|((of, _), _)| *of == db).for_each(|(p, e)| tell(p, e)),
            Touch::All => table.by_key.iter().for_each(|(place, entries)| tell(place, entries)),
        }
    }

    /// Every watcher, with an Init: a full sync became visible.
    pub fn init(&self, offset: u64) -> Vec<Delivery> {
        let mut table = self.table.lock();
        table.fresh.clear();
        let entries = table.by_key.values_mut().flatten();
        entries
            .map(|entry| {
                entry.fresh = false;
                (entry.watcher.clone(), Event::Init { offset })
            })
            .collect()
    }

    /// To be called after each publication while anybody watches (who begins to after that was asked has seen what was published, and stays
    /// fresh for the next one): watches added since the last one whose key changed meanwhile, and that `told`
    /// does not reach anyway, get an Init.
    pub fn settle(&self, old: Option<&Snapshot>, new: &Snapshot, told: &[Delivery]) -> Vec<Delivery> {
        let mut table = self.table.lock();
        let mut late = Vec::new();
        for (place, owner) in std::mem::take(&mut table.fresh) {
            let entries = table.by_key.get_mut(&place).map(Vec::as_mut_slice).unwrap_or_default();
            let Some(entry) = entries.iter_mut().find(|entry| entry.owner == owner && entry.fresh) else { continue };
            entry.fresh = false;
            let told = told.iter().any(|(watcher, _)| Arc::ptr_eq(watcher, &entry.watcher));
            if !told && old.is_some_and(|old| changed(old, new, &place)) {
                late.push((entry.watcher.clone(), Event::Init { offset: new.offset }));
            }
        }
        late
    }
}

impl Table {
    fn drop_entry(&mut self, place: &Key, owner: Owner) -> bool {
        self.fresh.remove(&(place.clone(), owner));
        let Some(entries) = self.by_key.get_mut(place) else { return false };
        let before = entries.len();
        entries.retain(|entry| entry.owner != owner);
        let found = entries.len() < before;
        if entries.is_empty() {
            self.by_key.remove(place);
        }
        found
    }
}

fn changed(old: &Snapshot, new: &Snapshot, (db, key): &Key) -> bool {
    match (old.keyspace.db(*db).get(key), new.keyspace.db(*db).get(key)) {
        (None, None) => false,
        (Some(old), Some(new)) => old.expiry() != new.expiry() || !old.value().same(&new.value()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Watcher for Nobody {
        fn notify(&self, _event: &Event) {}
    }

    /// Where each looked at all others this would take minutes.
    #[test]
    fn one_watch_of_many_is_removed_without_a_look_at_the_others() {
        let (watches, nobody) = (Watches::new(), Arc::new(Nobody));
        let keys: Vec<String> = (0..100_000).map(|n| format!("key:{n}")).collect();
        keys.iter().for_each(|key| watches.add(0, key.as_bytes(), 1, nobody.clone()).unwrap());
        let begun = std::time::Instant::now();
        keys.iter().rev().for_each(|key| watches.remove(0, key.as_bytes(), 1).unwrap());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        assert!(watches.is_empty());
        assert_eq!(watches.remove(0, b"key:1", 1), Err(WatchError::NotFound));
    }
}

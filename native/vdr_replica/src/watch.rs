//! Which changes concern which watchers.
//!
//! A watch that comes while writes are applied but not yet published must not miss them: such a watch is *fresh*, and at
//! the next publication its key is compared in the old and the new snapshot (see [`Watches::settle`]).

use crate::live::Snapshot;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vdr_commands::{Affected, Tuple};
use vdr_data::blob::Blob;

/// What a watcher is told, always after it is visible.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write touched the key, or one of a watched prefix: none is named where it touched several.
    Update { command: Arc<Tuple>, db: u32, key: Option<Blob>, offset: u64 },
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

/// What is watched of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watched<B> {
    Key(B),
    /// All keys that begin so.
    Prefix(B),
}

type Place = (u32, Watched<Blob>);
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<T> = HashSet<T, foldhash::fast::RandomState>;
/// Who watches one place: as many as the node has processes.
type Watchers = Map<Owner, Arc<dyn Watcher>>;

#[derive(Default)]
struct Table {
    by_place: Map<Place, Watchers>,
    by_owner: Map<Owner, Set<Place>>,
    fresh: Set<(Place, Owner)>,
    /// How long the watched prefixes are, and how many of that length: for each length a key is looked up once.
    prefix_lens: BTreeMap<usize, usize>,
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

    /// Adds a watch. One owner watches one key once, and one prefix once.
    pub fn add(
        &self,
        db: u32,
        watched: Watched<&[u8]>,
        owner: Owner,
        watcher: Arc<dyn Watcher>,
    ) -> Result<(), WatchError> {
        let mut table = self.table.lock();
        let place = (db, watched.to_owned());
        let watchers = table.by_place.entry(place.clone()).or_default();
        if watchers.contains_key(&owner) {
            return Err(WatchError::AlreadyRegistered);
        }
        watchers.insert(owner, watcher);
        if let (Watched::Prefix(prefix), 1) = (watched, watchers.len()) {
            *table.prefix_lens.entry(prefix.len()).or_default() += 1;
        }
        table.by_owner.entry(owner).or_default().insert(place.clone());
        table.fresh.insert((place, owner));
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    pub fn remove(&self, db: u32, watched: Watched<&[u8]>, owner: Owner) -> Result<(), WatchError> {
        let mut table = self.table.lock();
        let place = (db, watched.to_owned());
        if !table.forget(&place, owner) {
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
            if table.forget(&place, owner) {
                self.count.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Who must hear of one write, once it is visible. `touches` tells what it touches; `event` makes the event of one key, or of several that
    /// a watched prefix stands for.
    pub fn told(
        &self,
        touches: impl FnOnce(&mut dyn FnMut(Affected<'_>)),
        event: &dyn Fn(u32, Option<Blob>) -> Event,
    ) -> Vec<Delivery> {
        let table = self.table.lock();
        let mut out = Vec::new();
        let mut tell = |watchers: &Watchers, db, key: Option<&Blob>| {
            out.extend(watchers.values().map(|watcher| (watcher.clone(), event(db, key.cloned()))));
        };
        // One message for each watch, however many keys of the prefix a write touches: each message has the whole command in it.
        let mut prefixes: Map<(u32, &[u8]), Touched<'_>> = Map::default();
        touches(&mut |touch| match touch {
            Affected::Key { db, key } => {
                let name = Blob::new(key);
                if let Some(watchers) = table.by_place.get(&(db, Watched::Key(name.clone()))) {
                    tell(watchers, db, Some(&name));
                }
                for (prefix, watchers) in table.prefixes(db, key) {
                    let (_, one) = prefixes.entry((db, prefix)).or_insert_with(|| (watchers, Some(name.clone())));
                    *one = one.take().filter(|other| *other == name);
                }
            }
            Affected::Db(_) | Affected::All => {
                let is_touched = |db: u32| matches!(touch, Affected::All) || touch == Affected::Db(db);
                for ((db, watched), watchers) in table.by_place.iter().filter(|((db, _), _)| is_touched(*db)) {
                    match watched {
                        Watched::Key(key) => tell(watchers, *db, Some(key)),
                        Watched::Prefix(prefix) => drop(prefixes.insert((*db, prefix), (watchers, None))),
                    }
                }
            }
        });
        for ((db, _), (watchers, key)) in prefixes {
            tell(watchers, db, key.as_ref());
        }
        out
    }

    /// Every watcher, with an Init: a full sync became visible.
    pub fn init(&self, offset: u64) -> Vec<Delivery> {
        let mut table = self.table.lock();
        table.fresh.clear();
        let watchers = table.by_place.values().flat_map(Map::values);
        watchers.map(|watcher| (watcher.clone(), Event::Init { offset })).collect()
    }

    /// To be called after each publication while anybody watches (who begins to after that was asked has seen what was published, and stays
    /// fresh for the next one): watches added since the last one get an Init when a key of theirs changed meanwhile of which `told` does
    /// not tell them anyway.
    pub fn settle(&self, old: Option<&Snapshot>, new: &Snapshot, told: &[Delivery]) -> Vec<Delivery> {
        let mut table = self.table.lock();
        let mut late = Vec::new();
        if table.fresh.is_empty() {
            return late;
        }
        // A look at all of `told` for each watch would hold up whoever watches, for a minute with some hundred thousand of them.
        let at = |watcher: &Arc<dyn Watcher>| Arc::as_ptr(watcher).cast::<()>();
        let mut keys: Map<*const (), Set<&[u8]>> = Map::default();
        for (watcher, event) in told {
            if let Event::Update { key: Some(key), .. } = event {
                keys.entry(at(watcher)).or_default().insert(key.as_bytes());
            }
        }
        let none = Set::default();
        for (place, owner) in std::mem::take(&mut table.fresh) {
            let Some(watcher) = table.by_place.get(&place).and_then(|watchers| watchers.get(&owner)) else { continue };
            let keys = keys.get(&at(watcher)).unwrap_or(&none);
            if old.is_some_and(|old| changed(old, new, &place, keys)) {
                late.push((watcher.clone(), Event::Init { offset: new.offset }));
            }
        }
        late
    }
}

/// Who watches a prefix, and which of its keys a write touches: none is named when it is several.
type Touched<'t> = (&'t Watchers, Option<Blob>);

impl Watched<&[u8]> {
    fn to_owned(self) -> Watched<Blob> {
        match self {
            Watched::Key(key) => Watched::Key(Blob::new(key)),
            Watched::Prefix(prefix) => Watched::Prefix(Blob::new(prefix)),
        }
    }
}

impl Table {
    /// The watched prefixes that a key begins with, and who watches them.
    fn prefixes(&self, db: u32, key: &[u8]) -> impl Iterator<Item = (&[u8], &Watchers)> {
        let lens = self.prefix_lens.range(..=key.len());
        lens.filter_map(move |(len, _)| {
            let place = (db, Watched::Prefix(key.get(..*len)?).to_owned());
            match self.by_place.get_key_value(&place)? {
                ((_, Watched::Prefix(prefix)), watchers) => Some((prefix.as_bytes(), watchers)),
                _ => None,
            }
        })
    }

    fn forget(&mut self, place: &Place, owner: Owner) -> bool {
        self.fresh.remove(&(place.clone(), owner));
        let Some(watchers) = self.by_place.get_mut(place) else { return false };
        let found = watchers.remove(&owner).is_some();
        if watchers.is_empty() {
            self.by_place.remove(place);
            self.forget_len(&place.1);
        }
        found
    }

    fn forget_len(&mut self, watched: &Watched<Blob>) {
        let Watched::Prefix(prefix) = watched else { return };
        if let Some(count) = self.prefix_lens.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.prefix_lens.remove(&prefix.len());
            }
        }
    }
}

/// How many entries are compared to tell whether one of a prefix has changed; where more have, it may be.
const COMPARED_MAX: usize = 10_000;

/// Whether what is watched has changed, other than in the keys that are told of.
fn changed(old: &Snapshot, new: &Snapshot, (db, watched): &Place, told: &Set<&[u8]>) -> bool {
    let (old, new) = (old.keyspace.db(*db), new.keyspace.db(*db));
    match watched {
        Watched::Key(key) if told.contains(key.as_bytes()) => false,
        Watched::Key(key) => match (old.get(key), new.get(key)) {
            (None, None) => false,
            (Some(old), Some(new)) => old.expiry() != new.expiry() || !old.value().same(&new.value()),
            _ => true,
        },
        Watched::Prefix(prefix) => {
            old.may_differ(new, COMPARED_MAX, |key| key.starts_with(prefix) && !told.contains(key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Watcher for Nobody {
        fn notify(&self, _event: &Event) {}
    }

    /// Where each looked at all others this would take minutes. Miri takes as long for what does not.
    const MANY: u64 = if cfg!(miri) { 100 } else { 100_000 };

    #[test]
    fn one_watcher_of_many_comes_and_goes_without_a_look_at_the_others() {
        let (watches, nobody) = (Watches::new(), Arc::new(Nobody));
        let (owners, begun) = (0..MANY, std::time::Instant::now());
        owners.clone().for_each(|owner| watches.add(0, Watched::Key(b"key"), owner, nobody.clone()).unwrap());
        assert_eq!(watches.add(0, Watched::Key(b"key"), 7, nobody), Err(WatchError::AlreadyRegistered));
        owners.rev().for_each(|owner| watches.remove_owner(owner));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        assert!(watches.is_empty());
    }

    #[test]
    fn one_watch_of_many_is_removed_without_a_look_at_the_others() {
        let (watches, nobody) = (Watches::new(), Arc::new(Nobody));
        let keys: Vec<String> = (0..MANY).map(|n| format!("key:{n}")).collect();
        keys.iter().for_each(|key| watches.add(0, Watched::Key(key.as_bytes()), 1, nobody.clone()).unwrap());
        let begun = std::time::Instant::now();
        keys.iter().rev().for_each(|key| watches.remove(0, Watched::Key(key.as_bytes()), 1).unwrap());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        assert!(watches.is_empty());
        assert_eq!(watches.remove(0, Watched::Key(b"key:1"), 1), Err(WatchError::NotFound));
    }
}

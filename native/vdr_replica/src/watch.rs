//! The watch registry: which writes affect which watchers.
//!
//! A watch may be added while writes are applied but not yet published. It must not miss them: it
//! counts as *new*, and at the next publication what it watches is compared in the old and the new
//! snapshot (see [`Watches::notify_new_watches`]).

use crate::live::Snapshot;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vdr_commands::{Affected, Tuple};
use vdr_data::blob::Blob;

/// What a watcher is notified of, always after it is visible.
#[derive(Clone, Debug)]
pub enum Event {
    /// A write affected the watched key, or keys of a watched prefix. `key` is `None` when it
    /// affected several.
    Update { command: Arc<Tuple>, db: u32, key: Option<Blob>, offset: u64 },
    /// Whatever the watcher knew may be stale: a full sync became visible, or events were dropped.
    Init { offset: u64 },
}

/// The destination of events: a process of the BEAM, say.
pub trait Watcher: Send + Sync {
    fn notify(&self, event: &Event);
}

/// The number under which the embedding application knows the process that watches.
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
    /// All keys that start with these bytes.
    Prefix(B),
}

/// What is watched: a key or a prefix of one database.
type Target = (u32, Watched<Blob>);
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<T> = HashSet<T, foldhash::fast::RandomState>;
/// The watchers of one target: as many as the node has processes.
type Watchers = Map<Owner, Arc<dyn Watcher>>;

#[derive(Default)]
struct Table {
    by_target: Map<Target, Watchers>,
    by_owner: Map<Owner, Set<Target>>,
    /// Watches added since the last publication.
    new: Set<(Target, Owner)>,
    /// How many watched prefixes there are of each length: a key is looked up once for each length.
    prefix_lens: BTreeMap<usize, usize>,
}

/// An event and its destination.
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
        let target = (db, watched.to_owned());
        let watchers = table.by_target.entry(target.clone()).or_default();
        if watchers.contains_key(&owner) {
            return Err(WatchError::AlreadyRegistered);
        }
        watchers.insert(owner, watcher);
        if let (Watched::Prefix(prefix), 1) = (watched, watchers.len()) {
            *table.prefix_lens.entry(prefix.len()).or_default() += 1;
        }
        table.by_owner.entry(owner).or_default().insert(target.clone());
        table.new.insert((target, owner));
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    pub fn remove(&self, db: u32, watched: Watched<&[u8]>, owner: Owner) -> Result<(), WatchError> {
        let mut table = self.table.lock();
        let target = (db, watched.to_owned());
        if !table.forget(&target, owner) {
            return Err(WatchError::NotFound);
        }
        if let Some(targets) = table.by_owner.get_mut(&owner) {
            targets.remove(&target);
            if targets.is_empty() {
                table.by_owner.remove(&owner);
            }
        }
        self.count.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    /// Removes every watch of an owner: its process is gone.
    pub fn remove_owner(&self, owner: Owner) {
        let mut table = self.table.lock();
        for target in table.by_owner.remove(&owner).unwrap_or_default() {
            if table.forget(&target, owner) {
                self.count.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Collects the notifications for one write, to be sent once it is published. `touches`
    /// enumerates the affected keys; `event` builds the message, without a key when a prefix watch
    /// matched several.
    pub fn affected_watchers(
        &self,
        touches: impl FnOnce(&mut dyn FnMut(Affected<'_>)),
        event: &dyn Fn(u32, Option<Blob>) -> Event,
    ) -> Vec<Delivery> {
        let table = self.table.lock();
        let mut out = Vec::new();
        let mut notify = |watchers: &Watchers, db, key: Option<&Blob>| {
            out.extend(watchers.values().map(|watcher| (watcher.clone(), event(db, key.cloned()))));
        };
        // One message for each watch, however many keys of the prefix a write affects: each message
        // carries the whole command.
        let mut prefixes: Map<(u32, &[u8]), AffectedPrefix<'_>> = Map::default();
        touches(&mut |touch| match touch {
            Affected::Key { db, key } => {
                let name = Blob::new(key);
                if let Some(watchers) = table.by_target.get(&(db, Watched::Key(name.clone()))) {
                    notify(watchers, db, Some(&name));
                }
                for (prefix, watchers) in table.prefixes(db, key) {
                    let (_, one) = prefixes.entry((db, prefix)).or_insert_with(|| (watchers, Some(name.clone())));
                    *one = one.take().filter(|other| *other == name);
                }
            }
            Affected::Db(_) | Affected::All => {
                let is_touched = |db: u32| matches!(touch, Affected::All) || touch == Affected::Db(db);
                for ((db, watched), watchers) in table.by_target.iter().filter(|((db, _), _)| is_touched(*db)) {
                    match watched {
                        Watched::Key(key) => notify(watchers, *db, Some(key)),
                        Watched::Prefix(prefix) => drop(prefixes.insert((*db, prefix), (watchers, None))),
                    }
                }
            }
        });
        for ((db, _), (watchers, key)) in prefixes {
            notify(watchers, db, key.as_ref());
        }
        out
    }

    /// An Init for every watcher: a full sync became visible.
    pub fn init(&self, offset: u64) -> Vec<Delivery> {
        let mut table = self.table.lock();
        table.new.clear();
        let watchers = table.by_target.values().flat_map(Map::values);
        watchers.map(|watcher| (watcher.clone(), Event::Init { offset })).collect()
    }

    /// An Init for each new watch whose keys changed in this publication without an event of it in
    /// `deliveries`. To be called after each publication while there are watches. A watch that is
    /// added later has seen what was published, and stays new for the next publication.
    pub fn notify_new_watches(&self, old: Option<&Snapshot>, new: &Snapshot, deliveries: &[Delivery]) -> Vec<Delivery> {
        let Some(old) = old else {
            self.table.lock().new.clear();
            return Vec::new();
        };
        let watches = self.table.lock().take_new();
        if watches.is_empty() {
            return Vec::new();
        }
        // From here on without the lock: to compare takes time, and schedulers wait for the lock to
        // add watches.
        let events = EventKeys::of(deliveries);
        let is_stale = |(target, watcher): &(Target, Arc<dyn Watcher>)| {
            !events.inits.contains(&address(watcher)) && changed(old, new, target, events.of_watcher(watcher))
        };
        let stale = watches.into_iter().filter(is_stale);
        stale.map(|(_, watcher)| (watcher, Event::Init { offset: new.offset })).collect()
    }
}

/// The watchers of a prefix, and the one key of it that a write affects, if it is only one.
type AffectedPrefix<'t> = (&'t Watchers, Option<Blob>);

/// The keys that events name, by the watcher's address. A look at all events for each new watch
/// would take a minute with some hundred thousand of both.
struct EventKeys<'d> {
    by_watcher: Map<usize, Set<&'d [u8]>>,
    none: Set<&'d [u8]>,
    /// The watchers that get an Init anyway.
    inits: Set<usize>,
}

impl<'d> EventKeys<'d> {
    fn of(deliveries: &'d [Delivery]) -> Self {
        let (mut by_watcher, mut inits): (Map<usize, Set<&[u8]>>, Set<usize>) = Default::default();
        for (watcher, event) in deliveries {
            match event {
                Event::Update { key: Some(key), .. } => {
                    by_watcher.entry(address(watcher)).or_default().insert(key.as_bytes());
                }
                Event::Update { key: None, .. } => {}
                Event::Init { .. } => drop(inits.insert(address(watcher))),
            }
        }
        EventKeys { by_watcher, none: Set::default(), inits }
    }

    fn of_watcher(&self, watcher: &Arc<dyn Watcher>) -> &Set<&'d [u8]> {
        self.by_watcher.get(&address(watcher)).unwrap_or(&self.none)
    }
}

/// The identity of a watcher.
pub fn address(watcher: &Arc<dyn Watcher>) -> usize {
    Arc::as_ptr(watcher).cast::<()>().addr()
}

impl Watched<&[u8]> {
    fn to_owned(self) -> Watched<Blob> {
        match self {
            Watched::Key(key) => Watched::Key(Blob::new(key)),
            Watched::Prefix(prefix) => Watched::Prefix(Blob::new(prefix)),
        }
    }
}

impl Table {
    /// Takes the watches out that were added since the last call.
    fn take_new(&mut self) -> Vec<(Target, Arc<dyn Watcher>)> {
        let watcher = |(target, owner): (Target, Owner)| {
            let watcher = self.by_target.get(&target)?.get(&owner)?.clone();
            Some((target, watcher))
        };
        std::mem::take(&mut self.new).into_iter().filter_map(watcher).collect()
    }

    /// The watched prefixes of a key, and their watchers.
    fn prefixes(&self, db: u32, key: &[u8]) -> impl Iterator<Item = (&[u8], &Watchers)> {
        let lens = self.prefix_lens.range(..=key.len());
        lens.filter_map(move |(len, _)| {
            let target = (db, Watched::Prefix(key.get(..*len)?).to_owned());
            match self.by_target.get_key_value(&target)? {
                ((_, Watched::Prefix(prefix)), watchers) => Some((prefix.as_bytes(), watchers)),
                _ => None,
            }
        })
    }

    fn forget(&mut self, target: &Target, owner: Owner) -> bool {
        self.new.remove(&(target.clone(), owner));
        let Some(watchers) = self.by_target.get_mut(target) else { return false };
        let found = watchers.remove(&owner).is_some();
        if watchers.is_empty() {
            self.by_target.remove(target);
            self.forget_len(&target.1);
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

/// How many entries are compared to find out whether a key of a prefix has changed. If more entries
/// have changed, one of them may be of the prefix.
const COMPARED_MAX: usize = 10_000;

/// Whether the target has changed, other than in the keys that events name.
fn changed(old: &Snapshot, new: &Snapshot, (db, watched): &Target, named: &Set<&[u8]>) -> bool {
    let (old, new) = (old.keyspace.db(*db), new.keyspace.db(*db));
    match watched {
        Watched::Key(key) if named.contains(key.as_bytes()) => false,
        Watched::Key(key) => match (old.get(key), new.get(key)) {
            (None, None) => false,
            (Some(old), Some(new)) => old.expiry() != new.expiry() || !old.value().same(&new.value()),
            _ => true,
        },
        Watched::Prefix(prefix) => {
            old.may_differ(new, COMPARED_MAX, |key| key.starts_with(prefix) && !named.contains(key))
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

    /// Where each looked at all others this would take minutes. Miri takes as long for what does
    /// not.
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

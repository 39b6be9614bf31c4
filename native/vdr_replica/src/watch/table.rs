//! The watches of an instance by what they watch: a hash table in shards.
//!
//! Schedulers add and remove watches while the publisher looks up what each write affects. Nobody
//! holds a lock for longer than a shard's part of the work: one look-up, or the growth of one
//! shard, or a copy of one shard's references.

use super::event::{Kind, Target};
use super::watcher::{Owner, Watch};
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A million watches are four thousand in a shard, which it copies in some 0.1 ms when it grows.
const SHARDS: usize = 256;

/// How many watchers of one key are looked at under the lock at once.
const AT_ONCE: usize = 1000;

pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    hasher: foldhash::fast::RandomState,
    /// How many new watches there are in all shards.
    new: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    slots: HashTable<Slot>,
    /// Watches that were added while writes were applied and not published, by address.
    new: BTreeMap<usize, Arc<Watch>>,
}

/// Who watches one target. Most targets have one watcher.
enum Slot {
    One(Arc<Watch>),
    Many(Box<Many>),
}

struct Many {
    target: Target,
    /// As many as the node has processes.
    watches: BTreeMap<Owner, Arc<Watch>>,
}

/// What is looked up: database, kind and name.
pub(super) type Place<'p> = (u32, Kind, &'p [u8]);

impl Slot {
    fn target(&self) -> &Target {
        match self {
            Slot::One(watch) => &watch.target,
            Slot::Many(many) => &many.target,
        }
    }

    fn is_at(&self, place: Place<'_>) -> bool {
        self.target().place() == place
    }
}

impl Target {
    pub(super) fn place(&self) -> Place<'_> {
        (self.db, self.kind, self.name.as_bytes())
    }
}

impl Default for Table {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Table { shards, hasher: Default::default(), new: AtomicUsize::new(0) }
    }
}

impl Table {
    /// The shard and the hash of a place. The table inside takes other bits of the hash.
    fn shard(&self, place: Place<'_>) -> Option<(&Mutex<Shard>, u64)> {
        let hash = self.hasher.hash_one(place);
        Some((self.shards.get((hash >> 40) as usize % SHARDS)?, hash))
    }

    /// Adds a watch; it is new if writes are applied and not published at this moment. `false` if
    /// its process watches this target already.
    pub(super) fn add(&self, watch: &Arc<Watch>, unpublished: &AtomicBool) -> bool {
        let Some((shard, hash)) = self.shard(watch.target.place()) else { return false };
        let mut shard = shard.lock();
        match shard.slots.find_mut(hash, |slot| slot.is_at(watch.target.place())) {
            None => {
                let rehash = |slot: &Slot| self.hasher.hash_one(slot.target().place());
                shard.slots.insert_unique(hash, Slot::One(watch.clone()), rehash);
            }
            Some(Slot::One(other)) if other.owner() == watch.owner() => return false,
            Some(Slot::Many(many)) if many.watches.contains_key(&watch.owner()) => return false,
            Some(Slot::Many(many)) => drop(many.watches.insert(watch.owner(), watch.clone())),
            Some(slot) => {
                let mut watches = BTreeMap::from([(watch.owner(), watch.clone())]);
                if let Slot::One(other) = slot {
                    watches.insert(other.owner(), other.clone());
                }
                *slot = Slot::Many(Box::new(Many { target: watch.target.clone(), watches }));
            }
        }
        // Read when the watch can be found: see `Watches::begin`.
        if unpublished.load(Ordering::SeqCst) {
            shard.new.insert(watch.address(), watch.clone());
            self.new.fetch_add(1, Ordering::SeqCst);
        }
        true
    }

    pub(super) fn remove(&self, place: Place<'_>, owner: Owner) -> Option<Arc<Watch>> {
        let (shard, hash) = self.shard(place)?;
        let mut shard = shard.lock();
        let mut found = shard.slots.find_entry(hash, |slot| slot.is_at(place)).ok()?;
        let removed = match found.get_mut() {
            Slot::One(watch) if watch.owner() == owner => {
                let watch = watch.clone();
                drop(found.remove());
                watch
            }
            Slot::One(_) => return None,
            Slot::Many(many) => {
                let watch = many.watches.remove(&owner)?;
                if many.watches.is_empty() {
                    drop(found.remove());
                }
                watch
            }
        };
        if shard.new.remove(&removed.address()).is_some() {
            self.new.fetch_sub(1, Ordering::SeqCst);
        }
        Some(removed)
    }

    /// Calls `found` with the watches of a place.
    pub(super) fn for_each(&self, place: Place<'_>, mut found: impl FnMut(&Arc<Watch>)) {
        let Some((shard, hash)) = self.shard(place) else { return };
        let mut from = Bound::Unbounded;
        loop {
            let shard = shard.lock();
            match shard.slots.find(hash, |slot| slot.is_at(place)) {
                None => return,
                Some(Slot::One(watch)) => return found(watch),
                Some(Slot::Many(many)) => {
                    let mut watches = many.watches.range((from, Bound::Unbounded)).take(AT_ONCE);
                    let mut last = None;
                    for (owner, watch) in watches.by_ref() {
                        found(watch);
                        last = Some(*owner);
                    }
                    // Who comes meanwhile with a smaller number is new.
                    let Some(last) = last else { return };
                    from = Bound::Excluded(last);
                }
            }
        }
    }

    /// Calls `found` with the watches of the databases that `is_wanted` answers for.
    pub(super) fn for_each_in(&self, is_wanted: impl Fn(u32) -> bool, mut found: impl FnMut(&Arc<Watch>)) {
        for shard in &self.shards {
            let (mut ones, mut targets) = (Vec::new(), Vec::new());
            for slot in shard.lock().slots.iter().filter(|slot| is_wanted(slot.target().db)) {
                match slot {
                    Slot::One(watch) => ones.push(watch.clone()),
                    Slot::Many(many) => targets.push(many.target.clone()),
                }
            }
            ones.iter().for_each(&mut found);
            targets.iter().for_each(|target| self.for_each(target.place(), &mut found));
        }
    }

    /// The new watches. `settled`: from now on they are not new any more.
    pub(super) fn new_watches(&self, settled: bool) -> Vec<Arc<Watch>> {
        let mut found = Vec::new();
        if self.new.load(Ordering::SeqCst) > 0 {
            for shard in &self.shards {
                let mut shard = shard.lock();
                if settled {
                    let new = std::mem::take(&mut shard.new);
                    self.new.fetch_sub(new.len(), Ordering::SeqCst);
                    found.extend(new.into_values());
                } else {
                    found.extend(shard.new.values().cloned());
                }
            }
        }
        found
    }
}

//! What is watched, by where it is looked up: a hash table in shards.
//!
//! A [`Place`] holds the watches of one target. Other places hold what leads to prefixes and
//! patterns: see the module `affixes`.
//!
//! Schedulers add and remove watches while the publisher looks up what each write affects. Nobody
//! holds a lock for longer than a shard's part of the work: one look-up, or the growth of one
//! shard, or a copy of one shard's references.

use super::event::{Kind, Target};
use super::filter::{Filter, Filters, Renewals, Unpublished};
use super::watcher::{Owner, Watch};
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vdr_data::blob::Blob;
use vdr_data::keyspace::KeyHasher;

/// A million watches are four thousand in a shard, which it copies in some 0.1 ms when it grows.
const SHARDS: usize = 256;

/// How many watchers or patterns of one place are looked at under the lock at once.
const AT_ONCE: usize = 1000;

/// A filter is made anew when more hashes have gone than are left, and these.
const GONE_MIN: usize = 16;

pub(super) struct Table {
    shards: Vec<Mutex<Shard>>,
    renewals: Renewals,
    hasher: KeyHasher,
    /// How many new watches there are in all shards.
    new: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    slots: HashTable<Slot>,
    /// Of the hashes of `slots`.
    filter: Filter,
    /// How many of the filter's hashes have gone.
    gone: usize,
    /// Watches that were added while writes were applied and not published, by address.
    new: BTreeMap<usize, Arc<Watch>>,
}

/// What one place holds.
enum Slot {
    /// Most targets have one watcher.
    One(Arc<Watch>),
    Many(Box<Many>),
    Items(Box<Items>),
}

struct Many {
    target: Target,
    /// As many as the node has processes.
    watches: BTreeMap<Owner, Arc<Watch>>,
}

struct Items {
    db: u32,
    sort: Sort,
    name: Blob,
    /// With the number of watches because of which each is here.
    counts: BTreeMap<Item, usize>,
}

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// The watches of a key, a prefix, a pattern.
    Key,
    Prefix,
    Pattern,
    /// The patterns of an anchor: see the module `affixes`.
    StartAnchor,
    EndAnchor,
    InsideAnchor,
    /// The lengths of a head: see there, too.
    StartHead,
    EndHead,
    InsideHead,
}

/// What leads to watches.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Pattern(Blob),
    /// There are prefixes or anchors of this length.
    Length(usize, Sort),
}

/// What is looked up: database, sort and name.
pub(super) type Place<'p> = (u32, Sort, &'p [u8]);

impl From<Kind> for Sort {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Key => Sort::Key,
            Kind::Prefix => Sort::Prefix,
            Kind::Pattern => Sort::Pattern,
        }
    }
}

impl Target {
    pub(super) fn place(&self) -> Place<'_> {
        (self.db, self.kind.into(), self.name.as_bytes())
    }
}

impl Slot {
    fn place(&self) -> Place<'_> {
        match self {
            Slot::One(watch) => watch.target.place(),
            Slot::Many(many) => many.target.place(),
            Slot::Items(items) => (items.db, items.sort, items.name.as_bytes()),
        }
    }
}

fn shard_of(hash: u64) -> usize {
    // The table in the shard and the filter take other bits.
    (hash >> 40) as usize % SHARDS
}

/// The hash of a place, of the hash of its name: so the publisher hashes each key once, for the
/// keyspace and for this table.
pub(super) fn place_hash(db: u32, sort: Sort, name_hash: u64) -> u64 {
    let scattered = ((u64::from(db) << 8) | sort as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    name_hash ^ scattered ^ (scattered >> 32)
}

/// Whether a place may hold something, as the publisher knows it.
pub(super) fn may_hold(filters: &Filters, hash: u64) -> bool {
    filters.may_have(shard_of(hash), hash)
}

/// Prefetches what [`may_hold`] reads.
pub(super) fn prefetch(filters: &Filters, hash: u64) {
    filters.prefetch(shard_of(hash), hash);
}

impl Default for Table {
    fn default() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Table { shards, renewals: Renewals::of(SHARDS), hasher: Default::default(), new: AtomicUsize::new(0) }
    }
}

impl Table {
    pub(super) fn hash(&self, (db, sort, name): Place<'_>) -> u64 {
        place_hash(db, sort, self.hasher.hash_one(name))
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        self.shards.get(shard_of(hash))
    }

    fn insert(&self, shard: &mut Shard, hash: u64, slot: Slot) {
        shard.slots.insert_unique(hash, slot, |slot| self.hash(slot.place()));
        if shard.slots.len() + shard.gone > shard.filter.room() {
            self.renew_filter(shard, hash);
        } else {
            shard.filter.add(hash);
        }
    }

    /// The slot with this hash was removed.
    fn removed(&self, shard: &mut Shard, hash: u64) {
        shard.gone += 1;
        if shard.gone > shard.slots.len() + GONE_MIN {
            self.renew_filter(shard, hash);
        }
    }

    fn renew_filter(&self, shard: &mut Shard, hash: u64) {
        let filter = Filter::for_more_than(shard.slots.len());
        shard.slots.iter().for_each(|slot| filter.add(self.hash(slot.place())));
        (shard.filter, shard.gone) = (filter, 0);
        self.renewals.note(shard_of(hash));
    }

    /// Gets the publisher the filters that were renewed.
    pub(super) fn refresh(&self, filters: &mut Filters) {
        let current = |shard: usize| self.shards.get(shard).map(|shard| shard.lock().filter.clone());
        filters.refresh(&self.renewals, |shard| current(shard).unwrap_or_default());
    }

    /// Adds a watch; it is new if writes are applied and not published at this moment. `false` if
    /// its process watches this target already.
    pub(super) fn add(&self, watch: &Arc<Watch>, unpublished: &Unpublished) -> bool {
        let place = watch.target.place();
        let hash = self.hash(place);
        let Some(mut shard) = self.shard(hash).map(Mutex::lock) else { return false };
        match shard.slots.find_mut(hash, |slot| slot.place() == place) {
            None => self.insert(&mut shard, hash, Slot::One(watch.clone())),
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
        // Read when the watch can be found.
        if unpublished.is_set() {
            shard.new.insert(watch.address(), watch.clone());
            self.new.fetch_add(1, Ordering::SeqCst);
        }
        true
    }

    pub(super) fn remove(&self, place: Place<'_>, owner: Owner) -> Option<Arc<Watch>> {
        let hash = self.hash(place);
        let mut shard = self.shard(hash)?.lock();
        let mut found = shard.slots.find_entry(hash, |slot| slot.place() == place).ok()?;
        let (removed, is_last) = match found.get_mut() {
            Slot::One(watch) if watch.owner() == owner => (watch.clone(), true),
            Slot::One(_) | Slot::Items(_) => return None,
            Slot::Many(many) => (many.watches.remove(&owner)?, many.watches.is_empty()),
        };
        if is_last {
            drop(found.remove());
            self.removed(&mut shard, hash);
        }
        if shard.new.remove(&removed.address()).is_some() {
            self.new.fetch_sub(1, Ordering::SeqCst);
        }
        Some(removed)
    }

    /// Adds an item because of a watch. Calls `changed` under the lock if it was not there.
    pub(super) fn add_item(&self, place: Place<'_>, item: Item, changed: impl FnOnce()) {
        let hash = self.hash(place);
        let Some(mut shard) = self.shard(hash).map(Mutex::lock) else { return };
        match shard.slots.find_mut(hash, |slot| slot.place() == place) {
            Some(Slot::Items(items)) => {
                let count = items.counts.entry(item).or_default();
                *count += 1;
                if *count > 1 {
                    return;
                }
            }
            Some(Slot::One(_) | Slot::Many(_)) => return,
            None => {
                let (db, sort, name) = place;
                let items = Items { db, sort, name: Blob::new(name), counts: BTreeMap::from([(item, 1)]) };
                self.insert(&mut shard, hash, Slot::Items(Box::new(items)));
            }
        }
        changed();
    }

    /// Takes out an item that was added because of a watch that is gone. Calls `changed` under the
    /// lock if it is not there any more.
    pub(super) fn remove_item(&self, place: Place<'_>, item: &Item, changed: impl FnOnce()) {
        let hash = self.hash(place);
        let Some(mut shard) = self.shard(hash).map(Mutex::lock) else { return };
        let Ok(mut found) = shard.slots.find_entry(hash, |slot| slot.place() == place) else { return };
        let Slot::Items(items) = found.get_mut() else { return };
        let Some(count) = items.counts.get_mut(item) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        items.counts.remove(item);
        if items.counts.is_empty() {
            drop(found.remove());
            self.removed(&mut shard, hash);
        }
        changed();
    }

    /// Calls `found` with the watches of a place.
    pub(super) fn for_each(&self, place: Place<'_>, hash: u64, mut found: impl FnMut(&Arc<Watch>)) {
        let Some(shard) = self.shard(hash) else { return };
        let mut from = Bound::Unbounded;
        loop {
            let shard = shard.lock();
            match shard.slots.find(hash, |slot| slot.place() == place) {
                None | Some(Slot::Items(_)) => return,
                Some(Slot::One(watch)) => return found(watch),
                Some(Slot::Many(many)) => {
                    let mut last = None;
                    for (owner, watch) in many.watches.range((from, Bound::Unbounded)).take(AT_ONCE) {
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

    /// Calls `found` with the items of a place.
    pub(super) fn for_each_item(&self, place: Place<'_>, hash: u64, mut found: impl FnMut(&Item)) {
        let Some(shard) = self.shard(hash) else { return };
        let mut from = Bound::Unbounded;
        loop {
            let shard = shard.lock();
            let slot = shard.slots.find(hash, |slot| slot.place() == place);
            let Some(Slot::Items(items)) = slot else { return };
            let mut last = None;
            for (item, _) in items.counts.range((from.as_ref(), Bound::Unbounded)).take(AT_ONCE) {
                found(item);
                last = Some(item);
            }
            // As above.
            let Some(last) = last.cloned() else { return };
            from = Bound::Excluded(last);
        }
    }

    /// Calls `found` with the watches of the databases that `is_wanted` answers for.
    pub(super) fn for_each_in(&self, is_wanted: impl Fn(u32) -> bool, mut found: impl FnMut(&Arc<Watch>)) {
        for shard in &self.shards {
            let (mut ones, mut targets) = (Vec::new(), Vec::new());
            for slot in &shard.lock().slots {
                match slot {
                    Slot::One(watch) if is_wanted(watch.target.db) => ones.push(watch.clone()),
                    Slot::Many(many) if is_wanted(many.target.db) => targets.push(many.target.clone()),
                    Slot::One(_) | Slot::Many(_) | Slot::Items(_) => {}
                }
            }
            ones.iter().for_each(&mut found);
            for target in targets {
                self.for_each(target.place(), self.hash(target.place()), &mut found);
            }
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

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }
}

//! Changing a map: insert, change in place, remove.

use super::item::{ItemPtr, OwnedPayload, Payload, PayloadMut, Put};
use super::leaf::{Hashed, leaf_of, position, replace};
use super::trie::{DropCost, Map, TriePart};
use std::hash::BuildHasher;

impl<V: Clone + DropCost, S: BuildHasher + Clone> Map<V, S> {
    /// Puts an entry; `true` when the key is new.
    pub fn insert(&mut self, key: &[u8], stamp: Option<i64>, put: Put<'_, V>) -> bool {
        self.become_newest();
        let hash = self.hash(key);
        let item = ItemPtr::new(self.version.generation(), key, stamp, put);
        let Some(path) = self.make_path_unique(hash, key) else {
            self.root = Some(leaf_of(self.version.generation(), &[Hashed::new(hash, item.raw())]));
            self.len = 1;
            return true;
        };
        // SAFETY: the leaf of a unique path is of this generation, so only this map reaches it
        // (point 2 of `crate::version`).
        let old = unsafe { position::<V>(path.leaf, hash, key).map(|at| replace(path.leaf, at, item)) };
        match old {
            Some(old) => {
                self.count_drop_cost(old);
                self.discard_item(old);
            }
            None => {
                self.add(path, hash, item.raw());
                self.len += 1;
            }
        }
        self.version.flush_retired();
        old.is_none()
    }

    /// The content of an entry, to change in place; a clone of it where a snapshot reaches it too.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<PayloadMut<'_, V>> {
        self.find(key)?;
        let item = self.make_item_unique(key);
        self.version.flush_retired();
        let item = item?;
        // SAFETY: the item is of this generation, so only this map reaches it, and its bytes were
        // not exported.
        Some(unsafe { item.payload_mut() })
    }

    /// Changes the stamp of an entry; `false` when there is no such entry.
    pub fn restamp(&mut self, key: &[u8], stamp: Option<i64>) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        self.become_newest();
        let old = self.set_stamp(key, stamp);
        old.into_iter().for_each(|old| self.discard_item(old));
        self.version.flush_retired();
        true
    }

    /// Answers the item that had to be replaced.
    fn set_stamp(&mut self, key: &[u8], stamp: Option<i64>) -> Option<ItemPtr<V>> {
        let hash = self.hash(key);
        let leaf = self.make_path_unique(hash, key)?.leaf;
        // SAFETY: the leaf is of this generation, and so is an item that is written to: only this
        // map reaches them.
        unsafe {
            let at = position::<V>(leaf, hash, key)?;
            let old = ItemPtr::<V>::from_raw(leaf.slot(at));
            if old.born() == self.version.generation() && old.restamp(stamp) {
                return None;
            }
            Some(replace(leaf, at, old.copy(self.version.generation(), stamp)))
        }
    }

    /// `true` when there was such an entry.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let item = self.unlink(key);
        item.into_iter().for_each(|item| self.discard_item(item));
        self.version.flush_retired();
        item.is_some()
    }

    /// Takes an entry out, with its stamp; its value is a clone where a snapshot reaches it too.
    pub fn take(&mut self, key: &[u8]) -> Option<(Option<i64>, OwnedPayload<V>)> {
        let item = self.unlink(key)?;
        // SAFETY: the map reached the item until now, so it is allocated. Only this map reached an
        // item of this generation, and it does not any more.
        let taken = unsafe {
            let stamp = item.stamp();
            if item.born() == self.version.generation() {
                (stamp, item.take())
            } else {
                let taken = item.to_owned_payload();
                self.discard_item(item);
                (stamp, taken)
            }
        };
        self.version.flush_retired();
        Some(taken)
    }

    /// Makes the item of a key unique to this map: of this generation, and not exported.
    fn make_item_unique(&mut self, key: &[u8]) -> Option<ItemPtr<V>> {
        self.become_newest();
        let hash = self.hash(key);
        let leaf = self.make_path_unique(hash, key)?.leaf;
        // SAFETY: as in `set_stamp`.
        let (item, old) = unsafe {
            let at = position::<V>(leaf, hash, key)?;
            let old = ItemPtr::<V>::from_raw(leaf.slot(at));
            if old.born() == self.version.generation() && !old.is_exported() {
                return Some(old);
            }
            let item = old.copy(self.version.generation(), old.stamp());
            (item, replace(leaf, at, item))
        };
        self.discard_item(old);
        Some(item)
    }

    /// Takes the item of a key off its leaf: still allocated, but this map does not reach it any
    /// more.
    fn unlink(&mut self, key: &[u8]) -> Option<ItemPtr<V>> {
        self.find(key)?;
        self.become_newest();
        let hash = self.hash(key);
        let path = self.make_path_unique(hash, key)?;
        // SAFETY: the leaf is of this generation, so only this map reaches it.
        let item = unsafe {
            let at = position::<V>(path.leaf, hash, key)?;
            let item = ItemPtr::from_raw(path.leaf.slot(at));
            path.leaf.swap_remove(at);
            item
        };
        self.count_drop_cost(item);
        self.len -= 1;
        self.shrink(path);
        Some(item)
    }

    fn count_drop_cost(&mut self, item: ItemPtr<V>) {
        // SAFETY: this map reached the item until now, so it is allocated, and nobody writes to it.
        if let Payload::Value(value) = unsafe { item.payload() } {
            self.unlinked = self.unlinked.wrapping_add(value.drop_cost() as u64);
        }
    }

    /// Only for an item that the caller has just unlinked.
    fn discard_item(&mut self, item: ItemPtr<V>) {
        // SAFETY: the callers have made this map the newest, and have unlinked the item.
        unsafe { self.version.discard(TriePart::Item(item)) };
    }
}

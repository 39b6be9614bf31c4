//! Look-up, and prefetching the memory of one.

use super::digits::{Place, digit, second_hash, tag};
use super::item::{Item, ItemPtr};
use super::leaf::position;
use super::node::Node;
use super::trie::Map;
use crate::prefetch::prefetch;
use std::hash::BuildHasher;

impl<V, S: BuildHasher> Map<V, S> {
    pub fn get(&self, key: &[u8]) -> Option<Item<'_, V>> {
        // SAFETY: this map reaches the item, and nobody writes to it while this map is borrowed.
        Some(unsafe { Item::new(self.find(key)?) })
    }

    /// Prefetches the path of a key with this hash as far as its leaf. A hint: nothing depends on
    /// it.
    pub fn prefetch_leaf(&self, hash: u64, key: &[u8]) {
        self.leaf(hash, key);
    }

    /// Prefetches the entry of a key, for which it reads the leaf: call it some time after
    /// [`Map::prefetch_leaf`].
    pub fn prefetch_item(&self, hash: u64, key: &[u8]) {
        let Some(leaf) = self.leaf(hash, key) else { return };
        // SAFETY: this map reaches the leaf, and nobody writes to it while it is borrowed.
        unsafe {
            let tags = leaf.all_tags().iter().zip(leaf.all_slots());
            for (_, slot) in tags.filter(|(other, _)| **other == tag(hash)) {
                prefetch(*slot, ItemPtr::<V>::BYTES_SEEN);
            }
        }
    }

    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<ItemPtr<V>> {
        let hash = self.hash(key);
        let leaf = self.leaf(hash, key)?;
        // SAFETY: this map reaches the leaf, and nobody writes to it while it is borrowed.
        unsafe { position::<V>(leaf, hash, key).map(|at| ItemPtr::from_raw(leaf.slot(at))) }
    }

    /// The leaf of a key with this hash, prefetched. The key is there, if it is anywhere.
    fn leaf(&self, hash: u64, key: &[u8]) -> Option<Node> {
        let mut node = self.root?;
        let (mut hash, mut place) = (hash, Place::ROOT);
        // SAFETY: this map reaches the nodes, so they are allocated and nobody writes to them while
        // it is borrowed.
        unsafe {
            while !node.is_leaf() {
                node = Node::from_raw(node.slot(node.child_of(digit(hash, place.shift))));
                // The whole leaf at once: only its first cache line says which part of it is
                // needed.
                prefetch(node.raw(), Node::LEAF_BYTES);
                place = place.next().unwrap_or_else(|| {
                    hash = second_hash(key);
                    Place::SECOND
                });
            }
        }
        Some(node)
    }
}

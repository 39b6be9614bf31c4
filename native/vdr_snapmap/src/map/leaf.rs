//! Leaves: where a key is in one, and how they are made.

use super::digits::{second_hash, tag};
use super::item::ItemPtr;
use super::node::{Node, Raw};
use crate::prefetch::prefetch;

/// The index of a key in a leaf.
///
/// # Safety
/// The node is an allocated leaf of a map of these types, and nobody writes to it meanwhile.
pub unsafe fn position<V>(leaf: Node, hash: u64, key: &[u8]) -> Option<usize> {
    // SAFETY: the slots of a leaf lead to items, which are freed only after the leaf is.
    unsafe {
        let tags = leaf.all_tags().iter().enumerate();
        let mut alike = tags.filter(|(_, other)| **other == tag(hash)).map(|(at, _)| at);
        alike.find(|at| {
            let item = leaf.slot(*at);
            prefetch(item, ItemPtr::<V>::BYTES_SEEN);
            ItemPtr::<V>::from_raw(item).key() == key
        })
    }
}

/// Puts an item in the place of another, which it answers.
///
/// # Safety
/// The node is an allocated leaf that nobody else can reach, and `at` below its length.
pub unsafe fn replace<V>(leaf: Node, at: usize, item: ItemPtr<V>) -> ItemPtr<V> {
    // SAFETY: as asked of the caller.
    ItemPtr::from_raw(unsafe { std::mem::replace(&mut *leaf.slot_at(at), item.raw()) })
}

/// An item, with the hash whose digits it is sorted by.
#[derive(Clone, Copy)]
pub struct Hashed {
    pub hash: u64,
    tag: u8,
    pub item: Raw,
}

impl Hashed {
    /// By the first hash.
    pub fn new(hash: u64, item: Raw) -> Self {
        Hashed { hash, tag: tag(hash), item }
    }

    /// By the second one.
    ///
    /// # Safety
    /// The item is allocated and one of a map of these types, and nobody writes to it meanwhile.
    pub unsafe fn second<V>(self) -> Self {
        // SAFETY: as asked of the caller.
        Hashed { hash: second_hash(unsafe { ItemPtr::<V>::from_raw(self.item).key() }), ..self }
    }
}

/// A new leaf of these items.
pub fn leaf_of(born: u64, items: &[Hashed]) -> Node {
    let leaf = Node::new(born, 0, items.len());
    for Hashed { tag, item, .. } in items {
        // SAFETY: made with room for all of them, and not linked anywhere yet.
        unsafe { leaf.push(*tag, *item) };
    }
    leaf
}

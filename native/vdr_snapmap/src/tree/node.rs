//! Nodes in memory, as the parts of a tree.

use super::child::{Child, ErasedPtr, Separated};
use super::inner::Inner;
use super::key::Key;
use super::leaf::Leaf;
use crate::version::Part;
use std::ptr::NonNull;

pub struct Node<K, V> {
    pub born: u64,
    pub below: Below<K, V>,
}

#[derive(Clone)]
pub enum Below<K, V> {
    Leaf(Leaf<K, V>),
    Inner(Inner<K>),
}

/// The address of a node, without ownership: see [`crate::version`].
pub struct NodePtr<K, V>(NonNull<Node<K, V>>);

impl<K, V> Clone for NodePtr<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for NodePtr<K, V> {}

impl<K, V> PartialEq for NodePtr<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

// SAFETY: an address. Any thread may read what it leads to, and whichever thread is the last to
// reach it drops it. By the proof of `crate::version` no two threads do so at once.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for NodePtr<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for NodePtr<K, V> {}

impl<K, V> NodePtr<K, V> {
    pub fn new(born: u64, below: Below<K, V>) -> Self {
        NodePtr(NonNull::from(Box::leak(Box::new(Node { born, below }))))
    }

    pub fn address(self) -> NonNull<Node<K, V>> {
        self.0
    }

    /// # Safety
    /// A living tree, which is borrowed for as long as the result is used, reaches the node.
    pub unsafe fn read<'t>(self) -> &'t Node<K, V> {
        // SAFETY: as asked of the caller; nobody writes to what a borrowed tree reaches.
        unsafe { self.0.as_ref() }
    }
}

impl ErasedPtr {
    /// The node with its type: that of the tree which reaches it. Of another type it is an address
    /// that leads nowhere.
    pub fn typed<K, V>(self) -> NodePtr<K, V> {
        NodePtr(self.cast())
    }
}

impl<K, V> Part for NodePtr<K, V> {
    type Erased = ErasedPtr;

    fn erase(self) -> ErasedPtr {
        ErasedPtr::from(self.0)
    }

    fn restore(erased: ErasedPtr) -> Self {
        erased.typed()
    }

    unsafe fn born(&self) -> u64 {
        // SAFETY: as asked of the caller.
        unsafe { (*self.0.as_ptr()).born }
    }

    unsafe fn free(self) {
        // SAFETY: made by `Box::new`, and this is the only owner left.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<K, V> Below<K, V> {
    /// A lower bound of its keys.
    pub fn first(&self) -> Option<&K> {
        match self {
            Below::Leaf(leaf) => leaf.first().map(|(key, _)| key),
            Below::Inner(inner) => inner.separators().first(),
        }
    }
}

impl<K, V> Node<K, V> {
    /// The number of its entries or children.
    pub fn len(&self) -> usize {
        match &self.below {
            Below::Leaf(leaf) => leaf.len(),
            Below::Inner(inner) => inner.len(),
        }
    }
}

/// A new node as a child, behind its separator.
pub fn new_child<K: Key, V>(born: u64, below: Below<K, V>) -> Option<Separated<K>> {
    let first = below.first()?.clone();
    let count = match &below {
        Below::Leaf(leaf) => leaf.len(),
        Below::Inner(inner) => inner.iter().map(|child| child.count).sum::<usize>(),
    };
    Some((first, Child { count, node: NodePtr::new(born, below).erase() }))
}

/// The child with the entry at a rank. The rank becomes the rank within the child.
pub fn child_at<K>(inner: &Inner<K>, rank: &mut usize) -> Option<Child> {
    let child = inner.iter().find(|child| {
        let here = *rank < child.count;
        *rank -= if here { 0 } else { child.count };
        here
    });
    child.copied()
}

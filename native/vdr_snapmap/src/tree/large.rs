//! A tree of more than one leaf, as a version of its chain.

use super::child::ErasedPtr;
use super::inner::Inner;
use super::key::{Key, Probe};
use super::leaf::Leaf;
use super::node::{Below, Node, NodePtr};
use crate::prefetch::prefetch;
use crate::version::{Part, Version};

pub struct Large<K, V> {
    pub root: ErasedPtr,
    pub len: usize,
    pub version: Version<NodePtr<K, V>>,
    /// [`Large::end`]. Whoever drops a tree calls it by its address, so that the compiler makes it
    /// only where trees are made, and not in each crate that drops one.
    end: unsafe fn(&mut Large<K, V>),
}

impl<K, V> Large<K, V> {
    /// The first version of a chain, with a root that is born in it.
    pub fn new(root: NodePtr<K, V>, len: usize, version: Version<NodePtr<K, V>>) -> Self {
        Large { root: root.erase(), len, version, end: Self::end }
    }

    pub fn root(&self) -> NodePtr<K, V> {
        self.root.typed()
    }

    /// The next version of the chain; `None` when this is not the newest.
    pub fn fork(&self) -> Option<Self> {
        Some(Large { root: self.root, len: self.len, version: self.version.fork(0)?, end: self.end })
    }

    /// # Safety
    /// The tree ends with the call.
    unsafe fn end(&mut self) {
        let root = self.root();
        // SAFETY: the tree ends. It reaches the root, and the walk finds each younger node once.
        let last = unsafe { self.version.end(|before| nodes_born_after(root, before)) };
        // SAFETY: the tree reaches its root until now.
        let all = if last { unsafe { nodes_born_after(root, 0) } } else { Vec::new() };
        for node in all {
            // SAFETY: the chain has ended, so nobody else reaches these nodes, and this tree does
            // not any more.
            unsafe { node.free() };
        }
    }
}

impl<K, V> Drop for Large<K, V> {
    fn drop(&mut self) {
        let end = self.end;
        // SAFETY: the tree ends.
        unsafe { end(self) };
    }
}

/// The nodes that were born after a generation.
///
/// # Safety
/// A tree, which is borrowed or ending, reaches the root.
pub unsafe fn nodes_born_after<K, V>(root: NodePtr<K, V>, generation: u64) -> Vec<NodePtr<K, V>> {
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(ptr) = next.pop() {
        // SAFETY: the tree reaches the node.
        let node = unsafe { ptr.read() };
        if node.born <= generation {
            continue;
        }
        if let Below::Inner(children) = &node.below {
            next.extend(children.iter().map(|child| child.node.typed()));
        }
        found.push(ptr);
    }
    found
}

impl<K: Key, V: Clone> Large<K, V> {
    /// The leaf of a key: it is there, if it is anywhere. Calls `pass` with each inner node on the
    /// path and the index of the child that the path goes on with.
    pub fn leaf(&self, probe: &impl Probe<K>, mut pass: impl FnMut(&Inner<K>, usize)) -> &Leaf<K, V> {
        let mut ptr = self.root();
        loop {
            // SAFETY: this tree, which is borrowed, reaches its root and the children of what it
            // reaches.
            match unsafe { &ptr.read().below } {
                Below::Leaf(leaf) => return leaf,
                Below::Inner(inner) => {
                    let at = inner.position(probe);
                    pass(inner, at);
                    ptr = inner.get(at).map_or(ptr, |child| child.node.typed());
                    prefetch(ptr.address(), size_of::<Node<K, V>>());
                }
            }
        }
    }
}

//! Changing a tree: insert, change in place, remove.

use super::btree::{Repr, Tree};
use super::bulk::large;
use super::child::{Child, ErasedPtr, Separated};
use super::fanout::{MAX, MIN};
use super::inner::Inner;
use super::key::{Key, Probe};
use super::large::Large;
use super::leaf::Leaf;
use super::node::{Below, Node, NodePtr, new_child};
use crate::version::{Part, Version};
use std::sync::Arc;

impl<K: Key, V: Clone> Tree<K, V> {
    /// The value of a key, to change in place; copies what snapshots share. O(log n).
    pub fn get_mut(&mut self, probe: impl Probe<K>) -> Option<&mut V> {
        // Looking first spares the copies when there is no such entry.
        self.seek(&probe)?;
        self.become_newest();
        match &mut self.0 {
            Repr::Empty => None,
            Repr::Small(leaf) => Arc::make_mut(leaf).find_mut(&probe),
            Repr::Large(large) => large.make_leaf_unique(&probe)?.find_mut(&probe),
        }
    }

    /// Puts an entry. Answers the replaced value. An equal key that is there already stays. O(log
    /// n).
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.become_newest();
        match &mut self.0 {
            Repr::Empty => {
                self.0 = Repr::Small(Arc::new(Leaf::new(vec![(key, value)])));
                None
            }
            Repr::Small(shared) => {
                let leaf = Arc::make_mut(shared);
                let (old, right) = leaf.insert(key, value);
                if let Some(right) = right {
                    let left = std::mem::replace(leaf, Leaf::new(Vec::new()));
                    *self = large(vec![left, right]);
                }
                old
            }
            Repr::Large(large) => large.insert(key, value),
        }
    }

    /// Takes an entry out. O(log n).
    pub fn remove(&mut self, probe: impl Probe<K>) -> Option<(K, V)> {
        self.seek(&probe)?;
        self.become_newest();
        let taken = match &mut self.0 {
            Repr::Empty => None,
            Repr::Small(leaf) => Arc::make_mut(leaf).remove(&probe),
            Repr::Large(large) => large.remove(&probe),
        };
        let small = match &self.0 {
            Repr::Small(leaf) if leaf.is_empty() => Some(Repr::Empty),
            Repr::Large(large) if large.len <= MIN => {
                let entries = self.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                Some(Repr::Small(Arc::new(Leaf::new(entries))))
            }
            _ => None,
        };
        if let Some(small) = small {
            self.0 = small;
        }
        taken
    }
}

/// What the newest tree changes its nodes with.
struct Editor<'t, K, V> {
    generation: u64,
    version: &'t mut Version<NodePtr<K, V>>,
}

impl<K: Key, V: Clone> Editor<'_, K, V> {
    /// The node, to change in place. Where other trees may reach it, a copy replaces it in `place`
    /// first.
    ///
    /// # Safety
    /// The editor is that of the newest tree of a chain, which reaches the node by `place`.
    unsafe fn make_unique<'n>(&mut self, place: &'n mut ErasedPtr) -> &'n mut Node<K, V> {
        let old: NodePtr<K, V> = place.typed();
        // SAFETY: the node is reached, so it is allocated. It is only read until it is of this
        // generation. Then this tree alone reaches it (point 2 of `crate::version`), by this one
        // place.
        unsafe {
            if old.read().born != self.generation {
                *place = NodePtr::new(self.generation, old.read().below.clone()).erase();
                self.discard(old);
            }
            &mut *place.typed().address().as_ptr()
        }
    }

    /// # Safety
    /// The editor is that of the newest tree of a chain, which reached the node until now and does
    /// not any more.
    unsafe fn discard(&mut self, node: NodePtr<K, V>) {
        // SAFETY: as asked of the caller.
        unsafe { self.version.discard(node) };
    }

    fn new_child(&self, below: Below<K, V>) -> Option<Separated<K>> {
        new_child(self.generation, below)
    }
}

impl<K: Key, V: Clone> Large<K, V> {
    /// The root, to change in place, and the editor for it. For the newest tree only.
    fn edit(&mut self) -> (&mut ErasedPtr, Editor<'_, K, V>) {
        let generation = self.version.generation();
        (&mut self.root, Editor { generation, version: &mut self.version })
    }

    fn make_leaf_unique(&mut self, probe: &impl Probe<K>) -> Option<&mut Leaf<K, V>> {
        let (mut place, mut editor) = self.edit();
        let leaf = loop {
            // SAFETY: this is the newest tree, and reaches each place by the one before.
            let node: *mut Node<K, V> = unsafe { editor.make_unique(place) };
            // SAFETY: as above; the place, which stands in the node above, is not used while its
            // node is.
            match unsafe { &mut (*node).below } {
                Below::Leaf(_) => break node,
                Below::Inner(inner) => {
                    let at = inner.position(probe);
                    place = &mut inner.child_mut(at)?.node;
                }
            }
        };
        self.version.flush_retired();
        // SAFETY: a leaf of this generation, which this tree alone reaches (point 2), and the tree
        // is borrowed.
        match unsafe { &mut (*leaf).below } {
            Below::Leaf(leaf) => Some(leaf),
            Below::Inner(_) => None,
        }
    }

    fn insert(&mut self, key: K, value: V) -> Option<V> {
        let len = self.len;
        let (root, mut editor) = self.edit();
        // SAFETY: this is the newest tree, and reaches its root.
        let node = unsafe { editor.make_unique(root) };
        let (old, split) = node.insert(&mut editor, key, value);
        if let Some(right) = split
            && let Some(first) = node.below.first().cloned()
        {
            let left = Child { count: len + 1 - right.1.count, node: *root };
            if let Some(above) = Inner::new(vec![(first, left), right]) {
                *root = NodePtr::<K, V>::new(editor.generation, Below::Inner(above)).erase();
            }
        }
        self.len += usize::from(old.is_none());
        self.version.flush_retired();
        old
    }

    fn remove(&mut self, probe: &impl Probe<K>) -> Option<(K, V)> {
        let (root, mut editor) = self.edit();
        // SAFETY: this is the newest tree, and reaches its root.
        let taken = unsafe { editor.make_unique(root) }.remove(&mut editor, probe)?;
        // SAFETY: as above; the root is not changed while it is read.
        while let Below::Inner(children) = unsafe { &root.typed::<K, V>().read().below }
            && let [only] = &**children
        {
            let old = std::mem::replace(root, only.node);
            // SAFETY: unlinked just now.
            unsafe { editor.discard(old.typed()) };
        }
        self.len -= 1;
        self.version.flush_retired();
        Some(taken)
    }
}

impl<K: Key, V: Clone> Node<K, V> {
    /// Puts an entry below this node. Answers the replaced value, and the right half if the node
    /// had to split.
    fn insert(&mut self, editor: &mut Editor<'_, K, V>, key: K, value: V) -> (Option<V>, Option<Separated<K>>) {
        match &mut self.below {
            Below::Leaf(leaf) => {
                let (old, right) = leaf.insert(key, value);
                (old, right.and_then(|right| editor.new_child(Below::Leaf(right))))
            }
            Below::Inner(inner) => {
                inner.lower(&key);
                let at = inner.position(&&key);
                let Some(below) = inner.child_mut(at) else { return (None, None) };
                // SAFETY: this node is unique to the newest tree, which reaches the child by it.
                let (old, right) = unsafe { editor.make_unique(&mut below.node) }.insert(editor, key, value);
                below.count += usize::from(old.is_none());
                let Some(right) = right else { return (old, None) };
                below.count -= right.1.count;
                let right = inner.insert(at + 1, right);
                (old, right.and_then(|right| editor.new_child(Below::Inner(right))))
            }
        }
    }

    /// Takes out an entry that is there.
    fn remove(&mut self, editor: &mut Editor<'_, K, V>, probe: &impl Probe<K>) -> Option<(K, V)> {
        match &mut self.below {
            Below::Leaf(leaf) => leaf.remove(probe),
            Below::Inner(inner) => {
                let at = inner.position(probe);
                let below = inner.child_mut(at)?;
                // SAFETY: this node is unique to the newest tree, which reaches the child by it.
                let node = unsafe { editor.make_unique(&mut below.node) };
                let taken = node.remove(editor, probe)?;
                below.count -= 1;
                if node.len() < MIN {
                    merge(editor, inner, at);
                }
                Some(taken)
            }
        }
    }

    /// Appends the entries or children of the node to the right.
    fn append(&mut self, right: &Node<K, V>) {
        match (&mut self.below, &right.below) {
            (Below::Leaf(left), Below::Leaf(right)) => left.append(right),
            (Below::Inner(left), Below::Inner(right)) => left.append(right),
            // Siblings have the same depth, so they are of the same kind.
            _ => {}
        }
    }
}

/// Joins the child at `at`, which has become small, with a neighbour, if both fit into one node.
/// `inner` is unique to the newest tree.
fn merge<K: Key, V: Clone>(editor: &mut Editor<'_, K, V>, inner: &mut Inner<K>, at: usize) {
    // SAFETY: the newest tree, which the editor borrows, reaches them.
    let len = |at: usize| inner.get(at).map_or(MAX, |child| unsafe { child.node.typed::<K, V>().read() }.len());
    if len(at) == 0 {
        let empty = inner.remove(at);
        // SAFETY: unlinked just now.
        return unsafe { editor.discard(empty.node.typed()) };
    }
    let left = if at > 0 && len(at - 1) + len(at) <= MAX - MIN { at - 1 } else { at };
    if len(left) + len(left + 1) > MAX - MIN {
        return;
    }
    let right = inner.remove(left + 1);
    if let Some(left) = inner.child_mut(left) {
        // SAFETY: a unique node reaches the left child, and reached the right one until now.
        unsafe {
            editor.make_unique(&mut left.node).append(right.node.typed().read());
            left.count += right.count;
            editor.discard(right.node.typed());
        }
    }
}

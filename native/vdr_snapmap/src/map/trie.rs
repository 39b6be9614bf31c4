//! A map as a version of its trie: its fields, how a snapshot is taken, and what the end of a
//! version frees.

use super::item::{ItemPtr, Payload, Put};
use super::node::Node;
use crate::version::{Part, Version};
use foldhash::fast::{FoldHasher, RandomState};
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Room for the parts that the first change of a version retires: the nodes on the path, and an
/// item.
const RETIRED_AT_ONCE: usize = 8;

/// See the module.
pub struct Map<V, S = ProcessHasher> {
    pub(super) root: Option<Node>,
    pub(super) len: usize,
    pub(super) version: Version<TriePart<V>>,
    /// See [`Map::unlinked`].
    pub(super) unlinked: u64,
    pub(super) hasher: S,
}

/// Hashes with one random seed for all maps of the process, so that a key has the same position in
/// each of them: see [`Map::scan`].
#[derive(Clone)]
pub struct ProcessHasher(RandomState);

static PROCESS_SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl Default for ProcessHasher {
    fn default() -> Self {
        ProcessHasher(PROCESS_SEED.clone())
    }
}

impl BuildHasher for ProcessHasher {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// The cost of dropping a value, in whatever unit.
pub trait DropCost {
    fn drop_cost(&self) -> usize;
}

/// The parts of a trie.
pub(super) enum TriePart<V> {
    Node(Node),
    Item(ItemPtr<V>),
}

impl<V> Part for TriePart<V> {
    type Erased = Self;

    fn erase(self) -> Self {
        self
    }

    fn restore(erased: Self) -> Self {
        erased
    }

    unsafe fn born(&self) -> u64 {
        match self {
            // SAFETY: as asked of the caller.
            TriePart::Node(node) => unsafe { node.born() },
            // SAFETY: as asked of the caller.
            TriePart::Item(item) => unsafe { item.born() },
        }
    }

    unsafe fn free(self) {
        match self {
            // SAFETY: as asked of the caller.
            TriePart::Node(node) => unsafe { node.free() },
            // SAFETY: as asked of the caller.
            TriePart::Item(item) => unsafe { item.free() },
        }
    }
}

// SAFETY: a part is an address. Any thread may read or free what it leads to, so that must be Send
// and Sync itself. By the proof of `crate::version` no two threads do so at once.
unsafe impl<V: Send + Sync> Send for TriePart<V> {}

// SAFETY: a map is a handle to values. Any thread may read them through `&` (Sync), and whichever
// thread is the last to reach them drops them (Send).
unsafe impl<V: Send + Sync, S: Send> Send for Map<V, S> {}
// SAFETY: as above; `clone` is the only change through `&`, and makes it behind locks.
unsafe impl<V: Send + Sync, S: Sync> Sync for Map<V, S> {}

impl<V, S: Default> Default for Map<V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<V, S> Map<V, S> {
    pub fn with_hasher(hasher: S) -> Self {
        Map { root: None, len: 0, version: Version::default(), unlinked: 0, hasher }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        self.root == other.root
    }

    /// The drop cost of all values that this map and its ancestors took out or replaced: at most as
    /// much is freed when the maps that still reach them end.
    pub fn unlinked(&self) -> u64 {
        self.unlinked
    }
}

impl<V: Clone + DropCost, S: BuildHasher + Clone> Clone for Map<V, S> {
    /// O(1) for the newest map of its chain. Any other map is copied whole.
    fn clone(&self) -> Self {
        let Some(version) = self.version.fork(RETIRED_AT_ONCE) else { return self.copied() };
        Map { root: self.root, len: self.len, version, unlinked: self.unlinked, hasher: self.hasher.clone() }
    }
}

impl<V: Clone + DropCost, S: BuildHasher + Clone> Map<V, S> {
    /// A map that shares nothing with this one.
    fn copied(&self) -> Self {
        let mut copy = Self::with_hasher(self.hasher.clone());
        for item in self.iter() {
            let put = match item.payload() {
                Payload::Packed(bytes) => Put::Packed(bytes),
                Payload::Value(value) => Put::Value(value.clone()),
            };
            copy.insert(item.key(), item.stamp(), put);
        }
        copy
    }

    /// Makes the map the newest of its chain. Every change begins with it.
    pub(super) fn become_newest(&mut self) {
        if !self.version.is_newest() {
            *self = self.copied();
        }
    }
}

impl<V, S> Drop for Map<V, S> {
    fn drop(&mut self) {
        let root = self.root.take();
        // SAFETY: the map ends. It reaches the root, and the walk finds each younger part once.
        let last = unsafe { self.version.end(|before| parts_born_after(root, before)) };
        if last {
            // SAFETY: the chain has ended, so nobody else reaches these parts, and this map does
            // not any more.
            unsafe { free_all::<V>(root) };
        }
    }
}

/// The parts that were born after a generation, outermost first.
///
/// # Safety
/// A map of these types, which is borrowed or ending, reaches the root.
pub(super) unsafe fn parts_born_after<V>(root: Option<Node>, generation: u64) -> Vec<TriePart<V>> {
    let mut parts = Vec::new();
    let mut nodes: Vec<Node> = root.into_iter().collect();
    while let Some(node) = nodes.pop() {
        // SAFETY: the map reaches the node, so it is allocated, and so is what it leads to.
        unsafe {
            if node.born() <= generation {
                continue;
            }
            for at in 0..node.len() {
                let raw = node.slot(at);
                if !node.is_leaf() {
                    nodes.push(Node::from_raw(raw));
                } else if ItemPtr::<V>::from_raw(raw).born() > generation {
                    parts.push(TriePart::Item(ItemPtr::from_raw(raw)));
                }
            }
        }
        parts.push(TriePart::Node(node));
    }
    parts
}

/// Frees everything that a root leads to.
///
/// # Safety
/// Nobody reaches it, and it is not used again.
unsafe fn free_all<V>(root: Option<Node>) {
    let mut nodes: Vec<Node> = root.into_iter().collect();
    while let Some(node) = nodes.pop() {
        // SAFETY: as asked of the caller; each part is reached once.
        unsafe {
            for at in 0..node.len() {
                let raw = node.slot(at);
                if node.is_leaf() {
                    ItemPtr::<V>::from_raw(raw).free();
                } else {
                    nodes.push(Node::from_raw(raw));
                }
            }
            node.free();
        }
    }
}

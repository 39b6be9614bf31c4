//! A hash map of which a snapshot costs nothing: a trie over six bits of the hash at a time, its nodes owned by
//! generation.
//!
//! ```text
//! inner    digits 0-15 | 16-31 | 32-63          a child for each range of six-bit digits, as fine as its items need
//!              |          |        \
//! leaf     [ items, each with eight bits of its hash beside it ]
//!              |
//! item     born | key | value, in one allocation: see [`crate::item`]
//! ```
//!
//! A full leaf splits its range of digits in halves; one that stands for a single digit becomes an inner node of the next
//! six bits. Where the hash has no bits left a leaf grows without a limit.
//!
//! # Ownership
//!
//! Each [`Map`] is a version of a [`Line`] and has its generation. Nodes and items, together *parts*, carry the
//! generation of the map that made them. `clone` forks the line: both maps then reach the same parts. A map changes only
//! while it is the newest of its line, and then so:
//!
//! * a part of its own generation in place, but for bytes that were lent: these are replaced as if they were older;
//! * a node of an older one is replaced by a copy of its bytes, an item by one with the same key and a clone of its value
//!   or a new one, and the older part is *retired*. No count is touched in what the node leads to.
//!
//! A map that is to be changed and is not the newest first becomes a line of its own, by a copy of every item. (The
//! mirror never does that: it changes a checkpoint again only after the branch that it abandons is dropped.)
//!
//! # Why this is sound
//!
//! 1. *A part's `born` is at most that of the part that leads to it, and at most the generation of each map that reaches
//!    it.* A part is made or linked in only below parts of the newest generation, and a fork gives a greater generation.
//! 2. *A part with the newest map's generation is reached by that map alone.* Older maps reach nothing born after them
//!    (1). So changing it in place, through `&mut` of the newest map, is unseen by anybody else. `is_newest` cannot become
//!    false meanwhile: forking needs `&` of this map and ending it needs the map itself. When it becomes true because a
//!    newer map ended, that map has been walked to its end before the line says so, and with `Acquire`.
//! 3. *Nobody reaches what is freed.* [`Line`] frees a retired part when every map between its birth and its retirement
//!    has ended, and only maps between these reach it: those before lack it by (1), those after descend from the map that
//!    replaced it. When the newest of several maps ends, it frees what was born after the map before it, which nobody
//!    else reaches (1), and walks no further down, by (1) as well, than there is such a part. The last map frees all.
//! 4. *Nothing is freed twice.* A part is retired when the newest map unlinks it, so it is in one bag or reachable from the
//!    newest map, never both; when a map becomes the newest again, the bags of what it reaches are emptied unfreed.
//! 5. *Values drop once.* A value belongs to its item, and items are never copied as bytes, only addresses of them. An
//!    item's memory and value go together, in [`Part::free`] or when an owned item is taken apart.
//! 6. *Readers see whole nodes.* Parts are written before the map that made them is shared, which is the caller's to do
//!    with the usual synchronisation (`Arc`, a channel, an atomic pointer), and never again while shared (2). The last use
//!    of a part by a reader comes before its map is dropped; dropping takes the line's lock, and so does whoever frees.
//!
//! The borrow checker does the rest: a reference into a map lives no longer than the borrow of that map. `Map` is
//! invariant in its type, since the line's mutex is, so nothing shorter-lived gets into bags that a longer-lived map
//! frees.

mod unshared;

pub use unshared::Unshared;

use crate::item::{At, Item, Payload, PayloadMut, Put, Taken};
use crate::line::{FIRST, Line, Retired};
use crate::node::{LEAF_MAX, Node, Raw};
use crate::prefetch::prefetch;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Hash bits that choose a child.
const DIGIT_BITS: u32 = 6;
/// The first digit is the uppermost.
const ROOT_SHIFT: u32 = u64::BITS - DIGIT_BITS;
/// Nodes on the longest way down.
const DEPTH_MAX: usize = (u64::BITS / DIGIT_BITS) as usize + 1;
/// A leaf with no more items is joined with its neighbour when together they have at most [`JOINED_MAX`].
const SMALL: usize = LEAF_MAX / 4;
const JOINED_MAX: usize = LEAF_MAX * 3 / 4;

/// Room for what the first change of a map retires: the nodes on its way, and an item.
const RETIRED_AT_ONCE: usize = 8;

/// See the module.
pub struct Map<V, S = RandomState> {
    root: Option<Node>,
    len: usize,
    generation: u64,
    line: Arc<Line<Part<V>>>,
    /// What the change under way has unlinked and older maps may still reach: empty between changes.
    retired: Vec<Retired<Part<V>>>,
    /// See [`Map::unlinked`].
    unlinked: u64,
    hasher: S,
}

/// How much there is to free with a value, in whatever unit.
pub trait Weigh {
    fn weight(&self) -> usize;
}

/// What a line keeps account of.
enum Part<V> {
    Node(Node),
    Item(At<V>),
}

impl<V> Part<V> {
    /// # Safety
    /// The part is allocated, nobody reaches it, and it is not used again.
    unsafe fn free(self) {
        match self {
            // SAFETY: as asked of the caller.
            Part::Node(node) => unsafe { node.free() },
            // SAFETY: as asked of the caller.
            Part::Item(item) => unsafe { item.free() },
        }
    }
}

// SAFETY: a part is an address; what it leads to is read and freed on whatever thread, never on two at once by the
// module's proof, and so needs to be Send and Sync itself.
unsafe impl<V: Send + Sync> Send for Part<V> {}

// SAFETY: a map is a handle on values that are read through `&` by any thread (Sync) and dropped by whichever
// is the last to reach them (Send).
unsafe impl<V: Send + Sync, S: Send> Send for Map<V, S> {}
// SAFETY: as above; `clone`, the only thing that `&` changes, does so behind locks.
unsafe impl<V: Send + Sync, S: Sync> Sync for Map<V, S> {}

impl<V, S: Default> Default for Map<V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<V, S> Map<V, S> {
    pub fn with_hasher(hasher: S) -> Self {
        Map { root: None, len: 0, generation: FIRST, line: Arc::default(), retired: Vec::new(), unlinked: 0, hasher }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both are the very same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        self.root == other.root
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> Iter<'_, V> {
        let mut iter = Iter { way: Vec::new(), left: self.len, nodes_taken: 0, map: std::marker::PhantomData };
        if let Some(root) = self.root {
            // SAFETY: this map reaches its root, and is borrowed for as long as the iterator lives.
            unsafe { iter.enter(root) };
        }
        iter
    }

    /// Parts born after a generation, outermost first.
    fn born_after(&self, generation: u64) -> Vec<Part<V>> {
        let mut parts = Vec::new();
        let mut nodes: Vec<Node> = self.root.into_iter().collect();
        while let Some(node) = nodes.pop() {
            // SAFETY: this map reaches the node, so that it is allocated, and so is what it leads to.
            unsafe {
                if node.born() <= generation {
                    continue;
                }
                for at in 0..node.len() {
                    let raw = node.slot(at);
                    if !node.is_leaf() {
                        nodes.push(Node::from_raw(raw));
                    } else if At::<V>::from_raw(raw).born() > generation {
                        parts.push(Part::Item(At::from_raw(raw)));
                    }
                }
            }
            parts.push(Part::Node(node));
        }
        parts
    }
}

impl<V, S> Map<V, S> {
    /// The end of a change: nothing of this map leads to what was unlinked, which is the line's from now on.
    fn settle(&mut self) {
        if !self.retired.is_empty() {
            for part in self.line.retire(&mut self.retired) {
                // SAFETY: points 3 and 4 of the module.
                unsafe { part.free() };
            }
        }
    }

    /// Frees what the last map of a line reaches.
    fn free_all(&mut self) {
        let mut nodes: Vec<Node> = self.root.take().into_iter().collect();
        while let Some(node) = nodes.pop() {
            // SAFETY: point 3 of the module: only this map reaches it, and after `take` not even this one.
            unsafe {
                for at in 0..node.len() {
                    let raw = node.slot(at);
                    if node.is_leaf() {
                        At::<V>::from_raw(raw).free();
                    } else {
                        nodes.push(Node::from_raw(raw));
                    }
                }
                node.free();
            }
        }
    }
}

impl<V, S> Drop for Map<V, S> {
    fn drop(&mut self) {
        self.settle();
        let ended = self.line.end(self.generation, |before| self.born_after(before));
        for part in ended.free {
            // SAFETY: point 3 of the module: no living map reaches what the line gives back. Point 4: it does so once.
            unsafe { part.free() };
        }
        if ended.last {
            self.free_all();
        }
    }
}

impl<V: Clone + Weigh, S: BuildHasher + Clone> Clone for Map<V, S> {
    /// O(1) for the newest map of its line. Any other is copied whole.
    fn clone(&self) -> Self {
        let Some((generation, free)) = self.line.fork(self.generation) else { return self.copied() };
        for part in free {
            // SAFETY: points 3 and 4 of the module.
            unsafe { part.free() };
        }
        let (line, hasher) = (self.line.clone(), self.hasher.clone());
        let retired = Vec::with_capacity(RETIRED_AT_ONCE);
        Map { root: self.root, len: self.len, generation, line, retired, unlinked: self.unlinked, hasher }
    }
}

impl<V, S: BuildHasher> Map<V, S> {
    pub fn get(&self, key: &[u8]) -> Option<Item<'_, V>> {
        // SAFETY: this map reaches the item, and nobody writes to it while this map is borrowed.
        Some(unsafe { Item::new(self.find(key)?) })
    }

    /// Asks for the memory on the way to a key, as far as its leaf, to be there soon. A hint: nothing depends on it.
    pub fn prefetch_leaf(&self, key: &[u8]) {
        self.leaf(self.hash(key));
    }

    /// As [`Map::prefetch_leaf`], for the entry itself. Reads the leaf: to be asked for a while after that.
    pub fn prefetch_item(&self, key: &[u8]) {
        self.prefetch_items(self.hash(key));
    }

    fn prefetch_items(&self, hash: u64) {
        let Some(leaf) = self.leaf(hash) else { return };
        // SAFETY: this map reaches the leaf, and nobody writes to it while it is borrowed.
        unsafe {
            let tags = leaf.all_tags().iter().zip(leaf.all_slots());
            for (_, slot) in tags.filter(|(other, _)| **other == tag(hash)) {
                prefetch(*slot, At::<V>::BYTES_SEEN);
            }
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn find(&self, key: &[u8]) -> Option<At<V>> {
        let hash = self.hash(key);
        let leaf = self.leaf(hash)?;
        // SAFETY: this map reaches the leaf, and nobody writes to it while it is borrowed.
        unsafe { position::<V>(leaf, hash, key).map(|at| At::from_raw(leaf.slot(at))) }
    }

    /// Where a key with this hash stands, if it stands anywhere. Its memory has been asked for, too.
    fn leaf(&self, hash: u64) -> Option<Node> {
        let mut node = self.root?;
        let mut shift = ROOT_SHIFT;
        // SAFETY: this map reaches the nodes, so that they are allocated and nobody writes to them while it is borrowed.
        // The shift stays in range since the nodes are no deeper than the hash has digits.
        unsafe {
            while !node.is_leaf() {
                node = Node::from_raw(node.slot(node.child_of(digit(hash, shift))));
                // All of it at once: where to look next is known only when its first line is there.
                prefetch(node.raw(), Node::LEAF_BYTES);
                shift = shift.wrapping_sub(DIGIT_BITS);
            }
        }
        Some(node)
    }
}

impl<V: Clone + Weigh, S: BuildHasher + Clone> Map<V, S> {
    /// Puts an entry; `true` when the key is new.
    pub fn insert(&mut self, key: &[u8], stamp: Option<i64>, put: Put<'_, V>) -> bool {
        self.become_newest();
        let hash = self.hash(key);
        let item = At::new(self.generation, key, stamp, put);
        let Some(way) = self.own_way(hash) else {
            self.root = Some(leaf_of(self.generation, &[(hash, item.raw())]));
            self.len = 1;
            return true;
        };
        // SAFETY: `own_way` leaves a leaf of this generation, which only this map reaches (point 2).
        let old = unsafe { position::<V>(way.leaf, hash, key).map(|at| replace(way.leaf, at, item)) };
        match old {
            Some(old) => {
                self.weigh(old);
                self.discard(Part::Item(old));
            }
            None => {
                self.add(way, hash, item.raw());
                self.len += 1;
            }
        }
        self.settle();
        old.is_none()
    }

    /// What an entry holds, to change in place; a clone of it where a snapshot reaches it too.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<PayloadMut<'_, V>> {
        self.find(key)?;
        let item = self.own_item(key);
        self.settle();
        let item = item?;
        // SAFETY: the item is of this generation, so that it is reached by this map alone, and its bytes were not lent.
        Some(unsafe { item.payload_mut() })
    }

    /// Changes the stamp of an entry; `false` when there is no such entry.
    pub fn restamp(&mut self, key: &[u8], stamp: Option<i64>) -> bool {
        if self.find(key).is_none() {
            return false;
        }
        self.become_newest();
        let old = self.restamped(key, stamp);
        old.into_iter().for_each(|old| self.discard(Part::Item(old)));
        self.settle();
        true
    }

    /// Answers the item that had to be replaced.
    fn restamped(&mut self, key: &[u8], stamp: Option<i64>) -> Option<At<V>> {
        let hash = self.hash(key);
        let leaf = self.own_way(hash)?.leaf;
        // SAFETY: the leaf is of this generation in the end, and so is an item that is written to: only this map
        // reaches them.
        unsafe {
            let at = position::<V>(leaf, hash, key)?;
            let old = At::<V>::from_raw(leaf.slot(at));
            if old.born() == self.generation && old.restamp(stamp) {
                return None;
            }
            Some(replace(leaf, at, old.copy(self.generation, stamp)))
        }
    }

    /// `true` when there was such an entry.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let item = self.unlink(key);
        item.into_iter().for_each(|item| self.discard(Part::Item(item)));
        self.settle();
        item.is_some()
    }

    /// Takes an entry out, with its stamp; its value is a clone where a snapshot reaches it too.
    pub fn take(&mut self, key: &[u8]) -> Option<(Option<i64>, Taken<V>)> {
        let item = self.unlink(key)?;
        // SAFETY: the map reached the item until now, so that it is allocated. One of this generation was reached by this
        // map alone, and not even by this one any more.
        let taken = unsafe {
            let stamp = item.stamp();
            if item.born() == self.generation {
                (stamp, item.take())
            } else {
                let taken = item.taken();
                self.discard(Part::Item(item));
                (stamp, taken)
            }
        };
        self.settle();
        Some(taken)
    }

    /// The item of a key, of this generation in the end, and not lent.
    fn own_item(&mut self, key: &[u8]) -> Option<At<V>> {
        self.become_newest();
        let hash = self.hash(key);
        let leaf = self.own_way(hash)?.leaf;
        // SAFETY: as in `restamp`.
        let (item, old) = unsafe {
            let at = position::<V>(leaf, hash, key)?;
            let old = At::<V>::from_raw(leaf.slot(at));
            if old.born() == self.generation && !old.is_lent() {
                return Some(old);
            }
            let item = old.copy(self.generation, old.stamp());
            (item, replace(leaf, at, item))
        };
        self.discard(Part::Item(old));
        Some(item)
    }

    /// Takes the item of a key off its leaf: still allocated, not reached by this map any more.
    fn unlink(&mut self, key: &[u8]) -> Option<At<V>> {
        self.find(key)?;
        self.become_newest();
        let hash = self.hash(key);
        let way = self.own_way(hash)?;
        // SAFETY: the leaf is of this generation, so that only this map reaches it.
        let item = unsafe {
            let at = position::<V>(way.leaf, hash, key)?;
            let item = At::from_raw(way.leaf.slot(at));
            way.leaf.swap_remove(at);
            item
        };
        self.weigh(item);
        self.len -= 1;
        self.shrink(way);
        Some(item)
    }

    /// The weight of all values that were taken out or replaced, since this map and all that it came from: what there may be to free
    /// when the maps that still reach them end.
    pub fn unlinked(&self) -> u64 {
        self.unlinked
    }

    fn weigh(&mut self, item: At<V>) {
        // SAFETY: this map reached the item until now, so that it is allocated, and nobody writes to it.
        if let Payload::Value(value) = unsafe { item.payload() } {
            self.unlinked = self.unlinked.wrapping_add(value.weight() as u64);
        }
    }

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

    /// What must be true before anything changes.
    fn become_newest(&mut self) {
        if !self.line.is_newest(self.generation) {
            *self = self.copied();
        }
    }

    /// Unlinked already: freed at once when only this map reached it, else retired.
    fn discard(&mut self, part: Part<V>) {
        let born = match part {
            // SAFETY: the newest map reached it until now, so that it is allocated.
            Part::Node(node) => unsafe { node.born() },
            // SAFETY: as above.
            Part::Item(item) => unsafe { item.born() },
        };
        if born == self.generation {
            // SAFETY: point 2 of the module: nobody else reached it.
            unsafe { part.free() };
        } else {
            self.retired.push(Retired { born, part });
        }
    }

    /// Makes every node on the way to a hash this generation's own.
    fn own_way(&mut self, hash: u64) -> Option<Way> {
        let mut nodes = [None; DEPTH_MAX];
        let root = self.root?;
        let (mut node, mut depth, mut shift) = (self.own(root), 0, ROOT_SHIFT);
        self.root = Some(node);
        if node != root {
            // The first change since a fork copies every node on its way: meanwhile the item's memory can come.
            self.prefetch_items(hash);
        }
        // SAFETY: each node in turn is this generation's own, so that only this map reaches it and may write to it.
        unsafe {
            while !node.is_leaf() {
                let at = node.child_of(digit(hash, shift));
                let child = self.own(Node::from_raw(node.slot(at)));
                *node.slot_at(at) = child.raw();
                if let Some(step) = nodes.get_mut(depth) {
                    *step = Some(Step { node, at, shift });
                }
                (node, depth, shift) = (child, depth + 1, shift.wrapping_sub(DIGIT_BITS));
            }
        }
        Some(Way { nodes, depth, leaf: node })
    }

    /// The node, or a copy of it, that only this map reaches. The caller links it in the node's place.
    fn own(&mut self, node: Node) -> Node {
        // SAFETY: the newest map reaches the node.
        unsafe {
            if node.born() == self.generation {
                return node;
            }
            let copy = node.copy(self.generation, 0);
            self.discard(Part::Node(node));
            copy
        }
    }

    /// Links a node, of this generation, where the one at a depth of the way was.
    fn relink(&mut self, way: &Way, depth: usize, node: Node) {
        match depth.checked_sub(1).and_then(|above| way.step(above)) {
            // SAFETY: the nodes of a way are this generation's own.
            Some(above) => unsafe { *above.node.slot_at(above.at) = node.raw() },
            None => self.root = Some(node),
        }
    }

    /// Adds a new item at the end of an own way.
    fn add(&mut self, way: Way, hash: u64, item: Raw) {
        let leaf = way.leaf;
        // SAFETY: the nodes of a way are this generation's own; a replaced one is unlinked before it is discarded.
        unsafe {
            if !leaf.is_full() {
                return leaf.push(tag(hash), item);
            }
            let above = way.depth.checked_sub(1).and_then(|above| way.step(above));
            let bottom = above.is_some_and(|above| above.shift < DIGIT_BITS && above.is_single());
            if leaf.len() < LEAF_MAX || bottom {
                // A pile at the bottom grows by halves: it has no limit.
                let larger = leaf.copy(self.generation, 1 + if bottom { leaf.len() / 2 } else { 0 });
                larger.push(tag(hash), item);
                self.relink(&way, way.depth, larger);
                return self.discard(Part::Node(leaf));
            }
            let mut items: Vec<(u64, Raw)> = (0..leaf.len()).map(|at| self.hashed(leaf.slot(at))).collect();
            items.push((hash, item));
            match above {
                Some(above) if !above.is_single() => {
                    let (from, to) = above.node.digits(above.at);
                    let mut children = Vec::new();
                    spread(self.generation, &items, (from, to), above.shift, &mut children);
                    let wider = above.node.copy(self.generation, children.len() - 1);
                    wider.replace_child(above.at, &children);
                    self.relink(&way, way.depth - 1, wider);
                    self.discard(Part::Node(above.node));
                }
                above => {
                    let shift = above.map_or(ROOT_SHIFT, |above| above.shift - DIGIT_BITS);
                    self.relink(&way, way.depth, branch(self.generation, &items, shift));
                }
            }
            self.discard(Part::Node(leaf));
        }
    }

    /// # Safety
    /// This map reaches the item.
    unsafe fn hashed(&self, raw: Raw) -> (u64, Raw) {
        // SAFETY: as asked of the caller.
        (self.hash(unsafe { At::<V>::from_raw(raw).key() }), raw)
    }

    /// Joins the leaf of an own way with its neighbours as far up as they are small enough together.
    fn shrink(&mut self, way: Way) {
        let (mut leaf, mut depth) = (way.leaf, way.depth);
        // SAFETY: the nodes of a way are this generation's own; neighbours are only read. What is joined into `leaf` is
        // unlinked before it is discarded.
        unsafe {
            while leaf.len() <= SMALL {
                let Some(Step { node, at, .. }) = depth.checked_sub(1).and_then(|above| way.step(above)) else { break };
                if node.len() == 1 {
                    depth -= 1;
                    self.relink(&way, depth, leaf);
                    self.discard(Part::Node(node));
                    continue;
                }
                // Where the leaf stands now: joins may have moved it from where the way led.
                let at = (0..node.len()).find(|index| node.slot(*index) == leaf.raw()).unwrap_or(at);
                let Some((left, other)) = twin(node, at) else { break };
                if !other.is_leaf() || other.len() + leaf.len() > JOINED_MAX {
                    break;
                }
                let joined = leaf.copy(self.generation, other.len());
                for at in 0..other.len() {
                    joined.push(other.tag(at), other.slot(at));
                }
                *node.slot_at(left) = joined.raw();
                node.remove_child_behind(left);
                self.discard(Part::Node(other));
                self.discard(Part::Node(leaf));
                leaf = joined;
            }
            if leaf.len() == 0 && depth == 0 {
                self.root = None;
                self.discard(Part::Node(leaf));
            }
        }
    }
}

/// Inner nodes from the root to a leaf, all of them of the newest generation.
struct Way {
    nodes: [Option<Step>; DEPTH_MAX],
    depth: usize,
    leaf: Node,
}

#[derive(Clone, Copy)]
struct Step {
    node: Node,
    /// The child that the way goes on with.
    at: usize,
    /// Of the digit that chose it.
    shift: u32,
}

impl Way {
    fn step(&self, depth: usize) -> Option<Step> {
        self.nodes.get(depth).copied().flatten()
    }
}

impl Step {
    /// Whether the child stands for one digit.
    ///
    /// # Safety
    /// The node is an allocated inner node and `at` below its length.
    unsafe fn is_single(self) -> bool {
        // SAFETY: as asked of the caller.
        let (from, to) = unsafe { self.node.digits(self.at) };
        to - from == 1
    }
}

/// The other half of the range that a child is a half of, when it is one child: the index of the left one of the two,
/// and the other child.
///
/// # Safety
/// The node is an allocated inner node, `at` below its length.
unsafe fn twin(node: Node, at: usize) -> Option<(usize, Node)> {
    // SAFETY: indices below the length.
    unsafe {
        let (from, to) = node.digits(at);
        let size = to - from;
        let other = if from & size == 0 { at + 1 } else { at.checked_sub(1)? };
        if other >= node.len() {
            return None;
        }
        let (other_from, other_to) = node.digits(other);
        (other_to - other_from == size).then(|| (at.min(other), Node::from_raw(node.slot(other))))
    }
}

fn digit(hash: u64, shift: u32) -> u32 {
    // The remainder only says so to the compiler: the nodes are no deeper than the hash has digits.
    ((hash >> (shift % u64::BITS)) & 63) as u32
}

fn tag(hash: u64) -> u8 {
    hash as u8
}

/// Puts an item in the place of another, which it answers.
///
/// # Safety
/// The node is an allocated leaf that nobody else can reach, and `at` below its length.
unsafe fn replace<V>(leaf: Node, at: usize, item: At<V>) -> At<V> {
    // SAFETY: as asked of the caller.
    At::from_raw(unsafe { std::mem::replace(&mut *leaf.slot_at(at), item.raw()) })
}

/// Where in a leaf a key is.
///
/// # Safety
/// The node is an allocated leaf of a map of these types, and nobody writes to it meanwhile.
unsafe fn position<V>(leaf: Node, hash: u64, key: &[u8]) -> Option<usize> {
    // SAFETY: the slots of a leaf lead to items, which are freed only after the leaf is.
    unsafe {
        let tags = leaf.all_tags().iter().enumerate();
        let mut alike = tags.filter(|(_, other)| **other == tag(hash)).map(|(at, _)| at);
        alike.find(|at| {
            let item = leaf.slot(*at);
            prefetch(item, At::<V>::BYTES_SEEN);
            At::<V>::from_raw(item).key() == key
        })
    }
}

fn leaf_of(born: u64, items: &[(u64, Raw)]) -> Node {
    let leaf = Node::new(born, 0, items.len());
    for (hash, item) in items {
        // SAFETY: made with room for all of them, and not linked anywhere yet.
        unsafe { leaf.push(tag(*hash), *item) };
    }
    leaf
}

/// An inner node for items that are too many for a leaf, by their digit at `shift`.
fn branch(born: u64, items: &[(u64, Raw)], shift: u32) -> Node {
    let mut children = Vec::new();
    spread(born, items, (0, 64), shift, &mut children);
    let node = Node::new(born, 1, children.len());
    // SAFETY: made with room for all children, and not linked anywhere yet. The node begins with one child, which is
    // written before it is replaced.
    unsafe {
        if let Some((_, first)) = children.first() {
            node.begin(*first);
        }
        node.replace_child(0, &children);
    }
    node
}

/// Children for a range of digits: halves, until each is small enough for a leaf.
fn spread(born: u64, items: &[(u64, Raw)], range: (u32, u32), shift: u32, children: &mut Vec<(u32, Raw)>) {
    let (from, to) = range;
    if items.len() <= LEAF_MAX || (to - from == 1 && shift < DIGIT_BITS) {
        return children.push((from, leaf_of(born, items).raw()));
    }
    if to - from == 1 {
        return children.push((from, branch(born, items, shift - DIGIT_BITS).raw()));
    }
    let middle = from.midpoint(to);
    let (left, right): (Vec<_>, Vec<_>) = items.iter().partition(|(hash, _)| digit(*hash, shift) < middle);
    spread(born, &left, (from, middle), shift, children);
    spread(born, &right, (middle, to), shift, children);
}

/// See [`Map::iter`].
pub struct Iter<'m, V> {
    way: Vec<(Node, usize)>,
    left: usize,
    nodes_taken: usize,
    map: std::marker::PhantomData<&'m V>,
}

impl<V> Iter<'_, V> {
    /// # Safety
    /// The map, which is borrowed for as long as the iterator lives, reaches the node.
    unsafe fn enter(&mut self, node: Node) {
        // SAFETY: what a map reaches is allocated.
        self.nodes_taken = self.nodes_taken.saturating_add(unsafe { node.taken() });
        self.way.push((node, 0));
    }

    /// Bytes that the nodes take which the iterator has come to so far.
    pub fn nodes_taken(&self) -> usize {
        self.nodes_taken
    }
}

impl<'m, V> Iterator for Iter<'m, V> {
    type Item = Item<'m, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, at) = self.way.last_mut()?;
            // SAFETY: the map, which is borrowed for 'm, reaches the nodes and items, and nobody writes to them meanwhile.
            unsafe {
                if *at >= node.len() {
                    self.way.pop();
                    continue;
                }
                let raw = node.slot(*at);
                *at += 1;
                if node.is_leaf() {
                    self.left -= 1;
                    return Some(Item::new(At::from_raw(raw)));
                }
                self.enter(Node::from_raw(raw));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}

#[cfg(test)]
mod tests;

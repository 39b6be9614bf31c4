//! An ordered, counted map of which a snapshot costs nothing: a B+tree whose nodes are owned by generation.
//!
//! Every inner node knows how many entries stand below each child, so an entry is found by key or by rank (its position
//! in key order) in O(log n). Every range, cursor and rank query of the API comes down to an interval of ranks.
//!
//! Leaves stand at one depth. The separator of a child is a lower bound of its keys and above everything before it; copies of an
//! inner node share its separators.
//!
//! ```text
//!     [ count | node ][ count | node ] ...  ->  [ separator ][ separator ] ...
//!                /               \
//!     [ (k, v) (k, v) ... ]   [ (k, v) ... ]
//! ```
//!
//! A tree that fits into one leaf is just that, shared by a count until it changes: most aggregates are small. A larger
//! one is a version of a [`Line`], as [`crate::map`] is, and sound for the same six reasons, which are not repeated here.
//! What differs:
//!
//! * The parts are nodes only. Entries belong to their leaf: the copy of a node clones them, and freeing a node drops them; the
//!   separators of an inner node are shared by a count. Only the addresses of children are copied as they are.
//! * Freeing a node therefore frees nothing below it.

mod diff;
pub mod key;
mod node;

pub use diff::{Diff, Difference};
pub use key::{Bytes, Key, Probe, by};

use crate::home::{COUNTS, allocated};
use crate::line::{FIRST, Line, Retired};
use crate::prefetch::prefetch;
use node::{Child, FILL, Inner, Leaf, MAX, MIN, Separated};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// Entries in key order, addressed by key or by rank. A clone is O(1) for the newest of several clones; for another one
/// of more than [`MAX`] entries it is a copy.
pub struct Tree<K, V>(Repr<K, V>);

enum Repr<K, V> {
    Empty,
    Small(Arc<Leaf<K, V>>),
    Large(Box<Large<K, V>>),
}

/// A version of a line.
struct Large<K, V> {
    root: At<K, V>,
    len: usize,
    generation: u64,
    line: Arc<Line<At<K, V>>>,
    /// What the change under way has unlinked and older trees may still reach: empty between changes.
    retired: Vec<Retired<At<K, V>>>,
}

struct Node<K, V> {
    born: u64,
    below: Below<K, V>,
}

#[derive(Clone)]
enum Below<K, V> {
    Leaf(Leaf<K, V>),
    Inner(Inner<K, V>),
}

/// Where a node is. Copying it says nothing of who owns the node: see [`crate::map`].
struct At<K, V>(NonNull<Node<K, V>>);

impl<K, V> Clone for At<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for At<K, V> {}

impl<K, V> PartialEq for At<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

// SAFETY: an address; what it leads to is read on any thread and dropped on whichever is the last to reach it, never on
// two at once by the proof in `map`.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for At<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for At<K, V> {}

impl<K, V> At<K, V> {
    fn new(born: u64, below: Below<K, V>) -> Self {
        At(NonNull::from(Box::leak(Box::new(Node { born, below }))))
    }

    /// # Safety
    /// A living tree, which is borrowed for as long as the answer is used, reaches the node.
    unsafe fn read<'t>(self) -> &'t Node<K, V> {
        // SAFETY: as asked of the caller; nobody writes to what a borrowed tree reaches.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    /// Nobody reaches the node, and it is not used again.
    unsafe fn free(self) {
        // SAFETY: made by `Box::new`, and this is the only owner left.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What the newest tree changes with: its generation, and where it leaves what it replaces.
struct Pen<'t, K, V> {
    generation: u64,
    retired: &'t mut Vec<Retired<At<K, V>>>,
}

impl<K: Key, V: Clone> Pen<'_, K, V> {
    /// The node to change in place; a copy of it takes its place first where other trees may reach it too.
    ///
    /// # Safety
    /// The pen is that of the newest tree of a line, which reaches the node by `place`.
    unsafe fn own<'n>(&mut self, place: &'n mut At<K, V>) -> &'n mut Node<K, V> {
        let old = *place;
        // SAFETY: the node is reached, so it is allocated. It is read only, until it is of this generation and so
        // reached by this tree alone (point 2), by this one place.
        unsafe {
            if (*old.0.as_ptr()).born != self.generation {
                *place = At::new(self.generation, old.read().below.clone());
                self.discard(old);
            }
            &mut *place.0.as_ptr()
        }
    }

    /// # Safety
    /// The pen is that of the newest tree of a line, which reached the node until now and does not any more.
    unsafe fn discard(&mut self, node: At<K, V>) {
        // SAFETY: it was reached until now, so it is allocated.
        let born = unsafe { (*node.0.as_ptr()).born };
        if born == self.generation {
            // SAFETY: point 2: nobody else reached it.
            unsafe { node.free() };
        } else {
            self.retired.push(Retired { born, part: node });
        }
    }

    fn child(&self, below: Below<K, V>) -> Option<Separated<K, V>> {
        child(self.generation, below)
    }
}

impl<K: Key, V: Clone> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        match &self.0 {
            Repr::Empty => Tree(Repr::Empty),
            Repr::Small(entries) => Tree(Repr::Small(entries.clone())),
            Repr::Large(large) => match large.fork() {
                Some(fork) => Tree(Repr::Large(Box::new(fork))),
                None => self.copied(),
            },
        }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Tree(Repr::Empty)
    }
}

impl<K: Key + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Tree<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V: Clone> Tree<K, V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Empty => 0,
            Repr::Small(entries) => entries.len(),
            Repr::Large(large) => large.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rank of the entry that is sought, or the rank where it would stand: of a key `&key` or [`Bytes`], or of whatever [`by`] says.
    /// O(log n).
    pub fn find(&self, probe: impl Probe<K>) -> Result<usize, usize> {
        let mut before = 0;
        let leaf = match &self.0 {
            Repr::Empty => return Err(0),
            Repr::Small(leaf) => leaf,
            Repr::Large(large) => large.leaf(&probe, |inner, at| {
                before += inner.iter().take(at).map(|child| child.count).sum::<usize>();
            }),
        };
        leaf.rank(&probe).map(|at| before + at).map_err(|at| before + at)
    }

    /// The entry that is sought. O(log n).
    pub fn get(&self, probe: impl Probe<K>) -> Option<(&K, &V)> {
        self.seek(&probe)
    }

    fn seek(&self, probe: &impl Probe<K>) -> Option<(&K, &V)> {
        let leaf = match &self.0 {
            Repr::Empty => return None,
            Repr::Small(leaf) => leaf,
            Repr::Large(large) => large.leaf(probe, |_, _| {}),
        };
        leaf.find(probe).map(|(key, value)| (key, value))
    }

    /// The value to change in place; copies what snapshots share. O(log n).
    pub fn get_mut(&mut self, probe: impl Probe<K>) -> Option<&mut V> {
        // Looking first spares the copies when there is no such entry.
        self.seek(&probe)?;
        self.become_newest();
        match &mut self.0 {
            Repr::Empty => None,
            Repr::Small(leaf) => Arc::make_mut(leaf).find_mut(&probe),
            Repr::Large(large) => large.own_leaf(&probe)?.find_mut(&probe),
        }
    }

    /// The entry at a rank. O(log n).
    pub fn at(&self, rank: usize) -> Option<(&K, &V)> {
        let (entries, at) = self.locate(rank)?;
        entries.get(at).map(|(key, value)| (key, value))
    }

    /// Puts an entry; answers the value that it replaces. An equal key that is there already stays. O(log n).
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
                    self.0 =
                        large([left, right].into_iter().filter_map(|half| child(FIRST, Below::Leaf(half))).collect());
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
            Repr::Large(large) if large.len <= MIN => Some(Repr::Small(Arc::new(Leaf::new(self.entries())))),
            _ => None,
        };
        if let Some(small) = small {
            self.0 = small;
        }
        taken
    }

    /// The entries with ranks `from..to` (clipped to what is there), forward or, with `.rev()`, backward. O(log n) to
    /// start and at each leaf, O(1) a step.
    pub fn range(&self, from: usize, to: usize) -> Range<'_, K, V> {
        let to = to.min(self.len());
        Range { tree: self, from: from.min(to), to, front: &[], front_at: 0, back: &[] }
    }

    pub fn iter(&self) -> Range<'_, K, V> {
        self.range(0, self.len())
    }

    /// Builds from entries in strictly ascending key order: O(n). Entries out of order are put where they belong, the
    /// last of equal keys staying.
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut entries = entries.into_iter().peekable();
        let mut leaves: Vec<Vec<(K, V)>> = Vec::new();
        let mut stray = None;
        while stray.is_none() {
            let mut leaf: Vec<(K, V)> = Vec::with_capacity(FILL.min(entries.size_hint().0.max(1)));
            while leaf.len() < FILL
                && let Some(entry) = entries.next()
            {
                let last = leaf.last().or(leaves.last().and_then(|leaf| leaf.last()));
                if last.is_some_and(|(last, _)| *last >= entry.0) {
                    stray = Some(entry);
                    break;
                }
                leaf.push(entry);
            }
            if leaf.is_empty() {
                break;
            }
            leaves.push(leaf);
        }
        let mut tree = if leaves.len() > 1 {
            Tree(large(leaves.into_iter().filter_map(|leaf| child(FIRST, Below::Leaf(Leaf::new(leaf)))).collect()))
        } else {
            Tree(leaves.pop().map_or(Repr::Empty, |leaf| Repr::Small(Arc::new(Leaf::new(leaf)))))
        };
        for (key, value) in stray.into_iter().chain(entries) {
            tree.insert(key, value);
        }
        tree
    }

    /// Whether both are the very same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => Arc::ptr_eq(a, b),
            (Repr::Large(a), Repr::Large(b)) => a.root == b.root,
            (Repr::Empty, Repr::Empty) => true,
            _ => false,
        }
    }

    /// The bytes of the tree's own, what leads to the entry among them, that fall on the entry at a rank: of each node on the way to it
    /// the same part as on the others below. O(log n).
    pub fn part(&self, rank: usize) -> Option<f64> {
        let leaf_part =
            |leaf: &Leaf<K, V>, around: usize| (allocated(around) + leaf.taken()) as f64 / leaf.len().max(1) as f64;
        let mut node = match &self.0 {
            Repr::Empty => return None,
            // Counts of references stand in front of it.
            Repr::Small(leaf) => return (rank < leaf.len()).then(|| leaf_part(leaf, size_of::<Leaf<K, V>>() + COUNTS)),
            // SAFETY: this tree, which is borrowed, reaches its root.
            Repr::Large(large) => unsafe { large.root.read() },
        };
        let (mut at, mut below, mut part) = (rank, self.len(), 0.0);
        loop {
            match &node.below {
                Below::Leaf(leaf) => return (at < leaf.len()).then(|| part + leaf_part(leaf, size_of::<Node<K, V>>())),
                Below::Inner(inner) => {
                    part += (allocated(size_of::<Node<K, V>>()) + inner.taken()) as f64 / below.max(1) as f64;
                    let child = child_at(inner, &mut at)?;
                    below = child.count;
                    // SAFETY: this tree reaches the children of what it reaches.
                    node = unsafe { child.node.read() };
                }
            }
        }
    }

    /// The leaf with the entry at a rank, and where in it.
    fn locate(&self, rank: usize) -> Option<(&[(K, V)], usize)> {
        let mut at = rank;
        let mut node = match &self.0 {
            Repr::Empty => return None,
            Repr::Small(entries) => return (at < entries.len()).then_some((entries, at)),
            // SAFETY: this tree, which is borrowed, reaches its root.
            Repr::Large(large) => unsafe { large.root.read() },
        };
        loop {
            match &node.below {
                Below::Leaf(entries) => return (at < entries.len()).then_some((entries, at)),
                Below::Inner(children) => {
                    let child = child_at(children, &mut at)?;
                    // SAFETY: this tree reaches the children of what it reaches.
                    node = unsafe { child.node.read() };
                }
            }
        }
    }

    fn entries(&self) -> Vec<(K, V)> {
        self.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// A tree that shares nothing with this one.
    fn copied(&self) -> Self {
        Self::from_sorted(self.iter().map(|(key, value)| (key.clone(), value.clone())))
    }

    /// What must be true before anything changes.
    fn become_newest(&mut self) {
        if let Repr::Large(large) = &self.0
            && !large.line.is_newest(large.generation)
        {
            *self = self.copied();
        }
    }
}

impl<K, V> Large<K, V> {
    /// The next version of the line; none when this is not the newest.
    fn fork(&self) -> Option<Self> {
        let (generation, free) = self.line.fork(self.generation)?;
        for node in free {
            // SAFETY: points 3 and 4 of `map`: no living tree reaches what the line gives back, and it does so once.
            unsafe { node.free() };
        }
        Some(Large { root: self.root, len: self.len, generation, line: self.line.clone(), retired: Vec::new() })
    }

    /// The end of a change: nothing of this tree leads to what was unlinked, which is the line's from now on.
    fn settle(&mut self) {
        if !self.retired.is_empty() {
            for node in self.line.retire(&mut self.retired) {
                // SAFETY: as in `fork`.
                unsafe { node.free() };
            }
        }
    }

    /// Nodes born after a generation.
    fn born_after(&self, generation: u64) -> Vec<At<K, V>> {
        let (mut found, mut next) = (Vec::new(), vec![self.root]);
        while let Some(at) = next.pop() {
            // SAFETY: this tree reaches the node.
            let node = unsafe { at.read() };
            if node.born <= generation {
                continue;
            }
            if let Below::Inner(children) = &node.below {
                next.extend(children.iter().map(|child| child.node));
            }
            found.push(at);
        }
        found
    }
}

impl<K, V> Drop for Large<K, V> {
    fn drop(&mut self) {
        self.settle();
        let ended = self.line.end(self.generation, |before| self.born_after(before));
        let all = if ended.last { self.born_after(0) } else { Vec::new() };
        for node in ended.free.into_iter().chain(all) {
            // SAFETY: points 3 and 4 of `map`: nobody reaches these any more, and each is given back once.
            unsafe { node.free() };
        }
    }
}

impl<K: Key, V: Clone> Large<K, V> {
    /// The leaf in which a key is, if it is anywhere; `pass` is told of each inner node on the way, and the child that it goes on with.
    fn leaf(&self, probe: &impl Probe<K>, mut pass: impl FnMut(&Inner<K, V>, usize)) -> &Leaf<K, V> {
        let mut at = self.root;
        loop {
            // SAFETY: this tree, which is borrowed, reaches its root and the children of what it reaches.
            match unsafe { &at.read().below } {
                Below::Leaf(leaf) => return leaf,
                Below::Inner(inner) => {
                    let place = inner.place(probe);
                    pass(inner, place);
                    at = inner.get(place).map_or(at, |child| child.node);
                    prefetch(at.0, size_of::<Node<K, V>>());
                }
            }
        }
    }

    /// The root to change in place, and what to change it with. Of the newest tree only.
    fn open(&mut self) -> (&mut At<K, V>, Pen<'_, K, V>) {
        (&mut self.root, Pen { generation: self.generation, retired: &mut self.retired })
    }

    fn own_leaf(&mut self, probe: &impl Probe<K>) -> Option<&mut Leaf<K, V>> {
        let (mut place, mut pen) = self.open();
        let leaf = loop {
            // SAFETY: this is the newest tree, and reaches each place by the one before.
            let node: *mut Node<K, V> = unsafe { pen.own(place) };
            // SAFETY: as above; the place, which stands in the node above, is not used while its node is.
            match unsafe { &mut (*node).below } {
                Below::Leaf(_) => break node,
                Below::Inner(inner) => {
                    let at = inner.place(probe);
                    place = &mut inner.child_mut(at)?.node;
                }
            }
        };
        self.settle();
        // SAFETY: a leaf of this generation, which this tree alone reaches (point 2), and it is borrowed.
        match unsafe { &mut (*leaf).below } {
            Below::Leaf(leaf) => Some(leaf),
            Below::Inner(_) => None,
        }
    }

    fn insert(&mut self, key: K, value: V) -> Option<V> {
        let len = self.len;
        let (root, mut pen) = self.open();
        // SAFETY: this is the newest tree, and reaches its root.
        let node = unsafe { pen.own(root) };
        let (old, split) = node.insert(&mut pen, key, value);
        if let Some(right) = split
            && let Some(first) = node.below.first().cloned()
        {
            let left = Child { count: len + 1 - right.1.count, node: *root };
            if let Some(above) = Inner::new([(first, left), right]) {
                *root = At::new(pen.generation, Below::Inner(above));
            }
        }
        self.len += usize::from(old.is_none());
        self.settle();
        old
    }

    fn remove(&mut self, probe: &impl Probe<K>) -> Option<(K, V)> {
        let (root, mut pen) = self.open();
        // SAFETY: this is the newest tree, and reaches its root.
        let taken = unsafe { pen.own(root) }.remove(&mut pen, probe)?;
        // SAFETY: as above; the root is not changed while it is read.
        while let Below::Inner(children) = unsafe { &root.read().below }
            && let [only] = &**children
        {
            let old = std::mem::replace(root, only.node);
            // SAFETY: unlinked just now.
            unsafe { pen.discard(old) };
        }
        self.len -= 1;
        self.settle();
        Some(taken)
    }
}

/// The child with the entry at a rank, which is made the rank within it.
fn child_at<K, V>(inner: &Inner<K, V>, rank: &mut usize) -> Option<Child<K, V>> {
    let child = inner.iter().find(|child| {
        let here = *rank < child.count;
        *rank -= if here { 0 } else { child.count };
        here
    });
    child.copied()
}

/// Puts levels of inner nodes over a row of leaves, which are new, until one node is left.
fn large<K: Key, V>(mut row: Vec<Separated<K, V>>) -> Repr<K, V> {
    while row.len() > 1 {
        let mut above = Vec::with_capacity(row.len() / FILL + 1);
        let mut below = row.into_iter().peekable();
        while below.peek().is_some() {
            let mut children: Vec<_> = below.by_ref().take(FILL).collect();
            // A lone child would break the rule that inner nodes have two or more.
            if below.len() == 1 {
                children.extend(below.next());
            }
            above.extend(Inner::new(children).and_then(|inner| child(FIRST, Below::Inner(inner))));
        }
        row = above;
    }
    let Some((_, Child { count: len, node: root })) = row.pop() else { return Repr::Empty };
    let line = Arc::new(Line::default());
    Repr::Large(Box::new(Large { root, len, generation: FIRST, line, retired: Vec::new() }))
}

/// A new node as a child, behind its separator.
fn child<K: Key, V>(born: u64, below: Below<K, V>) -> Option<Separated<K, V>> {
    let first = below.first()?.clone();
    let count = match &below {
        Below::Leaf(entries) => entries.len(),
        Below::Inner(children) => children.iter().map(|child| child.count).sum::<usize>(),
    };
    Some((first, Child { count, node: At::new(born, below) }))
}

impl<K, V> Below<K, V> {
    /// A lower bound of its keys.
    fn first(&self) -> Option<&K> {
        match self {
            Below::Leaf(entries) => entries.first().map(|(key, _)| key),
            Below::Inner(inner) => inner.separators().first(),
        }
    }
}

impl<K: Key, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match &self.below {
            Below::Leaf(entries) => entries.len(),
            Below::Inner(children) => children.len(),
        }
    }

    /// Puts an entry below this node: what it replaced, and the right half when the node had to be split.
    fn insert(&mut self, pen: &mut Pen<'_, K, V>, key: K, value: V) -> (Option<V>, Option<Separated<K, V>>) {
        match &mut self.below {
            Below::Leaf(leaf) => {
                let (old, right) = leaf.insert(key, value);
                (old, right.and_then(|right| pen.child(Below::Leaf(right))))
            }
            Below::Inner(inner) => {
                inner.lower(&key);
                let at = inner.place(&&key);
                let Some(below) = inner.child_mut(at) else { return (None, None) };
                // SAFETY: this node is the newest tree's own, and so is what it reaches by it.
                let (old, right) = unsafe { pen.own(&mut below.node) }.insert(pen, key, value);
                below.count += usize::from(old.is_none());
                let Some(right) = right else { return (old, None) };
                below.count -= right.1.count;
                let right = inner.insert(at + 1, right);
                (old, right.and_then(|right| pen.child(Below::Inner(right))))
            }
        }
    }

    /// Takes out an entry that is there.
    fn remove(&mut self, pen: &mut Pen<'_, K, V>, probe: &impl Probe<K>) -> Option<(K, V)> {
        match &mut self.below {
            Below::Leaf(leaf) => leaf.remove(probe),
            Below::Inner(inner) => {
                let at = inner.place(probe);
                let below = inner.child_mut(at)?;
                // SAFETY: this node is the newest tree's own, and so is what it reaches by it.
                let node = unsafe { pen.own(&mut below.node) };
                let taken = node.remove(pen, probe)?;
                below.count -= 1;
                if node.len() < MIN {
                    merge(pen, inner, at);
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
            // Siblings stand at one depth, so they are of one sort.
            _ => {}
        }
    }
}

/// Joins the child at `at`, which has become small, with a neighbour, when both fit into one node. `inner` is an own node of
/// the newest tree.
fn merge<K: Key, V: Clone>(pen: &mut Pen<'_, K, V>, inner: &mut Inner<K, V>, at: usize) {
    // SAFETY: the newest tree, which the pen borrows, reaches them.
    let len = |at: usize| inner.get(at).map_or(MAX, |child| unsafe { child.node.read() }.len());
    if len(at) == 0 {
        let empty = inner.remove(at);
        // SAFETY: unlinked just now.
        return unsafe { pen.discard(empty.node) };
    }
    let left = if at > 0 && len(at - 1) + len(at) <= MAX - MIN { at - 1 } else { at };
    if len(left) + len(left + 1) > MAX - MIN {
        return;
    }
    let right = inner.remove(left + 1);
    if let Some(left) = inner.child_mut(left) {
        // SAFETY: the left is reached by an own node, and the right was until now.
        unsafe {
            pen.own(&mut left.node).append(right.node.read());
            left.count += right.count;
            pen.discard(right.node);
        }
    }
}

/// See [`Tree::range`].
pub struct Range<'t, K, V> {
    tree: &'t Tree<K, V>,
    from: usize,
    to: usize,
    /// The leaf at the front, and where in it the front stands.
    front: &'t [(K, V)],
    front_at: usize,
    /// What is left of the leaf at the back.
    back: &'t [(K, V)],
}

impl<K, V> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Range { ..*self }
    }
}

impl<'t, K: Key, V: Clone> Iterator for Range<'t, K, V> {
    type Item = (&'t K, &'t V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        if self.front_at >= self.front.len() {
            (self.front, self.front_at) = self.tree.locate(self.from)?;
        }
        let (key, value) = self.front.get(self.front_at)?;
        self.from += 1;
        self.front_at += 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }
}

impl<K: Key, V: Clone> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        if self.back.is_empty() {
            let (leaf, at) = self.tree.locate(self.to - 1)?;
            self.back = leaf.get(..=at)?;
        }
        let ((key, value), rest) = self.back.split_last()?;
        self.back = rest;
        self.to -= 1;
        Some((key, value))
    }
}

impl<K: Key, V: Clone> ExactSizeIterator for Range<'_, K, V> {}

#[cfg(test)]
mod tests;

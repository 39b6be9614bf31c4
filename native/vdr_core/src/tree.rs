//! An ordered, counted, persistent map: a B+tree whose nodes are shared until they change.
//!
//! Every inner node knows how many entries stand below each child, so an entry is found by key or by rank (its position
//! in key order) in O(log n). Every range, cursor and rank query of the API comes down to an interval of ranks.
//!
//! A clone is O(1). A change copies the nodes on the way to the leaf that others still share, and changes the rest in
//! place. Leaves stand at one depth; `first` of a child is a lower bound of its keys and above everything before it.
//!
//! ```text
//!            [ first | count | node ][ first | count | node ] ...
//!               /                        \
//!     [ (k, v) (k, v) ... ]        [ (k, v) ... ]
//! ```

mod diff;

pub use diff::{Diff, Difference};

use std::cmp::Ordering;
use std::sync::Arc;

/// Most entries of a leaf, and most children of an inner node.
const MAX: usize = 32;
/// A node with fewer is merged with a neighbour when both fit into one.
const MIN: usize = MAX / 4;
/// How full the bulk load makes its nodes: nearly, since what is loaded is mostly overwritten and not added to.
const FILL: usize = MAX - 2;

/// Entries in key order, addressed by key or by rank. A clone is O(1) and shares everything.
#[derive(Debug)]
pub struct Tree<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

#[derive(Clone, Debug)]
struct Child<K, V> {
    first: K,
    count: usize,
    node: Arc<Node<K, V>>,
}

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Tree { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Tree { root: None, len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rank of the entry that `order` calls equal, or the rank where it would stand. `order` compares a stored key with
    /// what is sought: `|key| key.cmp(&sought)`. O(log n).
    pub fn find(&self, order: impl Fn(&K) -> Ordering) -> Result<usize, usize> {
        let mut rank = 0;
        let mut node = self.root.as_deref();
        while let Some(Node::Inner(children)) = node {
            let at = child_of(children, &order);
            rank += children.iter().take(at).map(|child| child.count).sum::<usize>();
            node = children.get(at).map(|child| &*child.node);
        }
        let Some(Node::Leaf(entries)) = node else { return Err(0) };
        entries.binary_search_by(|(key, _)| order(key)).map(|at| rank + at).map_err(|at| rank + at)
    }

    /// The entry that `order` calls equal. O(log n).
    pub fn get(&self, order: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        let mut node = self.root.as_deref()?;
        while let Node::Inner(children) = node {
            node = &children.get(child_of(children, &order))?.node;
        }
        let Node::Leaf(entries) = node else { return None };
        let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
        entries.get(at).map(|(key, value)| (key, value))
    }

    /// The value to change in place; copies what snapshots share. O(log n).
    pub fn get_mut(&mut self, order: impl Fn(&K) -> Ordering) -> Option<&mut V> {
        // Looking first spares the copies when there is no such entry.
        self.get(&order)?;
        let mut node = Arc::make_mut(self.root.as_mut()?);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = child_of(children, &order);
                    node = Arc::make_mut(&mut children.get_mut(at)?.node);
                }
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
                    return entries.get_mut(at).map(|(_, value)| value);
                }
            }
        }
    }

    /// The entry at a rank. O(log n).
    pub fn at(&self, rank: usize) -> Option<(&K, &V)> {
        let (entries, at) = self.locate(rank)?;
        entries.get(at).map(|(key, value)| (key, value))
    }

    /// Puts an entry; answers the value that it replaces. An equal key that is there already stays. O(log n).
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let (old, split) = Arc::make_mut(root).insert(key, value);
        self.len += usize::from(old.is_none());
        if let Some(right) = split {
            let left = std::mem::replace(root, Arc::new(Node::Inner(Vec::new())));
            if let Some(first) = left.first().cloned() {
                let left = Child { first, count: self.len - right.count, node: left };
                *root = Arc::new(Node::Inner(vec![left, right]));
            }
        }
        old
    }

    /// Takes an entry out. O(log n).
    pub fn remove(&mut self, order: impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        self.get(&order)?;
        let root = self.root.as_mut()?;
        let taken = Arc::make_mut(root).remove(&order)?;
        self.len -= 1;
        loop {
            let only = match &**root {
                Node::Leaf(entries) if entries.is_empty() => None,
                Node::Inner(children) if children.len() == 1 => children.first().map(|child| child.node.clone()),
                _ => return Some(taken),
            };
            match only {
                Some(node) => *root = node,
                None => {
                    self.root = None;
                    return Some(taken);
                }
            }
        }
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
        let mut leaves: Vec<Child<K, V>> = Vec::new();
        let mut len = 0;
        let mut stray = None;
        while stray.is_none() {
            let mut leaf: Vec<(K, V)> = Vec::with_capacity(FILL.min(entries.size_hint().0.max(1)));
            while leaf.len() < FILL
                && let Some(entry) = entries.next()
            {
                let last = leaf.last().map(|(key, _)| key).or(leaves.last().and_then(|child| child.last()));
                if last.is_some_and(|last| *last >= entry.0) {
                    stray = Some(entry);
                    break;
                }
                leaf.push(entry);
            }
            let Some((first, _)) = leaf.first() else { break };
            len += leaf.len();
            leaves.push(Child { first: first.clone(), count: leaf.len(), node: Arc::new(Node::Leaf(leaf)) });
        }
        let mut tree = Tree { root: stack(leaves), len };
        for (key, value) in stray.into_iter().chain(entries) {
            tree.insert(key, value);
        }
        tree
    }

    /// Whether both are the very same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// The leaf with the entry at a rank, and where in it.
    fn locate(&self, rank: usize) -> Option<(&[(K, V)], usize)> {
        let mut node = self.root.as_deref()?;
        let mut at = rank;
        loop {
            match node {
                Node::Leaf(entries) => return (at < entries.len()).then_some((entries, at)),
                Node::Inner(children) => {
                    let child = children.iter().find(|child| {
                        let here = at < child.count;
                        at -= if here { 0 } else { child.count };
                        here
                    })?;
                    node = &child.node;
                }
            }
        }
    }
}

/// The child in which a key is, if it is anywhere: the last whose lower bound is not above it.
fn child_of<K, V>(children: &[Child<K, V>], order: impl Fn(&K) -> Ordering) -> usize {
    children.partition_point(|child| order(&child.first) != Ordering::Greater).saturating_sub(1)
}

/// Puts levels of inner nodes over a row of nodes until one is left.
fn stack<K: Clone, V>(mut row: Vec<Child<K, V>>) -> Option<Arc<Node<K, V>>> {
    while row.len() > 1 {
        let mut above = Vec::with_capacity(row.len() / FILL + 1);
        let mut below = row.into_iter().peekable();
        while let Some(first) = below.peek().map(|child| child.first.clone()) {
            let mut children: Vec<Child<K, V>> = below.by_ref().take(FILL).collect();
            // A lone child would break the rule that inner nodes have two or more.
            if below.len() == 1 {
                children.extend(below.next());
            }
            let count = children.iter().map(|child| child.count).sum();
            above.push(Child { first, count, node: Arc::new(Node::Inner(children)) });
        }
        row = above;
    }
    row.pop().map(|child| child.node)
}

impl<K, V> Child<K, V> {
    /// The greatest key below a leaf.
    fn last(&self) -> Option<&K> {
        match &*self.node {
            Node::Leaf(entries) => entries.last().map(|(key, _)| key),
            Node::Inner(_) => None,
        }
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn first(&self) -> Option<&K> {
        match self {
            Node::Leaf(entries) => entries.first().map(|(key, _)| key),
            Node::Inner(children) => children.first().map(|child| &child.first),
        }
    }

    /// Puts an entry below this node: what it replaced, and the right half when the node had to be split.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Child<K, V>>) {
        match self {
            Node::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => (entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value)), None),
                Err(at) => {
                    entries.insert(at, (key, value));
                    (None, split(entries, at).and_then(|right| child(Node::Leaf(right))))
                }
            },
            Node::Inner(children) => {
                let at = child_of(children, |first| first.cmp(&key));
                let Some(below) = children.get_mut(at) else { return (None, None) };
                if key < below.first {
                    below.first = key.clone();
                }
                let (old, right) = Arc::make_mut(&mut below.node).insert(key, value);
                below.count += usize::from(old.is_none());
                let Some(right) = right else { return (old, None) };
                below.count -= right.count;
                children.insert(at + 1, right);
                (old, split(children, at + 1).and_then(|right| child(Node::Inner(right))))
            }
        }
    }

    /// Takes out an entry that is there.
    fn remove(&mut self, order: &impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        match self {
            Node::Leaf(entries) => {
                let at = entries.binary_search_by(|(key, _)| order(key)).ok()?;
                Some(entries.remove(at))
            }
            Node::Inner(children) => {
                let at = child_of(children, order);
                let below = children.get_mut(at)?;
                let taken = Arc::make_mut(&mut below.node).remove(order)?;
                below.count -= 1;
                if below.node.len() < MIN {
                    merge(children, at);
                }
                Some(taken)
            }
        }
    }

    /// Appends the entries or children of the node to the right.
    fn append(&mut self, right: &Node<K, V>) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(right)) => left.extend(right.iter().cloned()),
            (Node::Inner(left), Node::Inner(right)) => left.extend(right.iter().cloned()),
            // Siblings stand at one depth, so they are of one sort.
            _ => {}
        }
    }
}

/// Splits what has grown over the limit. What was added at the end splits unevenly: ascending keys then fill their nodes.
fn split<T>(items: &mut Vec<T>, added_at: usize) -> Option<Vec<T>> {
    if items.len() <= MAX {
        return None;
    }
    let at = if added_at + 1 == items.len() { FILL } else { items.len() / 2 };
    Some(items.split_off(at))
}

fn child<K: Ord + Clone, V: Clone>(node: Node<K, V>) -> Option<Child<K, V>> {
    let count = match &node {
        Node::Leaf(entries) => entries.len(),
        Node::Inner(children) => children.iter().map(|child| child.count).sum(),
    };
    Some(Child { first: node.first()?.clone(), count, node: Arc::new(node) })
}

/// Joins the child at `at`, which has become small, with a neighbour, when both fit into one node.
fn merge<K: Ord + Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let len = |at: usize| children.get(at).map_or(MAX, |child| child.node.len());
    if len(at) == 0 {
        children.remove(at);
        return;
    }
    let left = if at > 0 && len(at - 1) + len(at) <= MAX - MIN { at - 1 } else { at };
    if len(left) + len(left + 1) > MAX - MIN {
        return;
    }
    let right = children.remove(left + 1);
    if let Some(left) = children.get_mut(left) {
        Arc::make_mut(&mut left.node).append(&right.node);
        left.count += right.count;
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

impl<'t, K: Ord + Clone, V: Clone> Iterator for Range<'t, K, V> {
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

impl<K: Ord + Clone, V: Clone> DoubleEndedIterator for Range<'_, K, V> {
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

impl<K: Ord + Clone, V: Clone> ExactSizeIterator for Range<'_, K, V> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Every invariant of the structure; answers the depth.
    fn check(node: &Node<u32, u32>, above: Option<u32>) -> (usize, usize) {
        assert!(node.len() <= MAX && node.len() >= 1);
        match node {
            Node::Leaf(entries) => {
                assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
                assert!(above.is_none_or(|above| entries[0].0 >= above));
                (1, entries.len())
            }
            Node::Inner(children) => {
                let mut depths = Vec::new();
                for (at, child) in children.iter().enumerate() {
                    let (depth, count) = check(&child.node, Some(child.first));
                    assert_eq!(count, child.count);
                    depths.push(depth);
                    let next = children.get(at + 1).map(|next| next.first);
                    let last = child.node_last();
                    assert!(next.is_none_or(|next| last < next));
                }
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                (depths[0] + 1, children.iter().map(|child| child.count).sum())
            }
        }
    }

    impl Child<u32, u32> {
        fn node_last(&self) -> u32 {
            match &*self.node {
                Node::Leaf(entries) => entries.last().unwrap().0,
                Node::Inner(children) => children.last().unwrap().node_last(),
            }
        }
    }

    fn same_as(tree: &Tree<u32, u32>, model: &BTreeMap<u32, u32>) {
        assert_eq!(tree.len(), model.len());
        if let Some(root) = &tree.root {
            assert_eq!(check(root, None).1, tree.len());
        }
        assert!(tree.iter().eq(model.iter()));
        assert!(tree.iter().rev().eq(model.iter().rev()));
        let middle = tree.len() / 2;
        assert!(tree.range(middle / 2, middle).eq(model.iter().take(middle).skip(middle / 2)));
        for (rank, (key, value)) in model.iter().enumerate().step_by(7) {
            assert_eq!(tree.find(|k| k.cmp(key)), Ok(rank));
            assert_eq!(tree.at(rank), Some((key, value)));
            assert_eq!(tree.get(|k| k.cmp(key)), Some((key, value)));
        }
    }

    #[test]
    fn ascending_descending_and_bulk_agree() {
        let pairs = |keys: &mut dyn Iterator<Item = u32>| keys.map(|key| (key, key + 1)).collect::<Vec<_>>();
        let model: BTreeMap<u32, u32> = pairs(&mut (0..5000)).into_iter().collect();
        for entries in [pairs(&mut (0..5000)), pairs(&mut (0..5000).rev())] {
            let mut tree = Tree::new();
            for (key, value) in entries.clone() {
                assert_eq!(tree.insert(key, value), None);
            }
            same_as(&tree, &model);
            same_as(&Tree::from_sorted(entries), &model);
        }
        for len in [0, 1, FILL, FILL + 1, FILL * FILL, FILL * FILL + 1, FILL * FILL + FILL + 1] {
            let entries = pairs(&mut (0..len as u32));
            same_as(&Tree::from_sorted(entries.clone()), &entries.into_iter().collect());
        }
    }

    #[test]
    fn both_ends_of_a_range_meet() {
        let tree = Tree::from_sorted((0..100u32).map(|key| (key, key)));
        for from in 0..100 {
            let mut range = tree.range(from, 70);
            let mut seen = 0;
            while range.next().is_some() {
                seen += 1;
                seen += usize::from(range.next_back().is_some());
            }
            assert_eq!(seen, 70usize.saturating_sub(from));
        }
    }

    proptest! {
        #[test]
        fn random_changes_agree_with_a_model_and_leave_snapshots_alone(
            start in prop::collection::btree_map(0u32..3000, any::<u32>(), 0..2000),
            changes in prop::collection::vec((0u32..3000, any::<Option<u32>>()), 0..1500),
        ) {
            let mut model = start.clone();
            let mut tree = Tree::from_sorted(start.clone());
            let snapshot = tree.clone();
            for (index, (key, change)) in changes.iter().enumerate() {
                match change {
                    Some(value) if index % 5 == 0 => {
                        let ours = tree.get_mut(|k| k.cmp(key)).map(|old| std::mem::replace(old, *value));
                        prop_assert_eq!(ours, model.get_mut(key).map(|old| std::mem::replace(old, *value)));
                    }
                    Some(value) => prop_assert_eq!(tree.insert(*key, *value), model.insert(*key, *value)),
                    None => prop_assert_eq!(tree.remove(|k| k.cmp(key)), model.remove_entry(key)),
                }
            }
            same_as(&tree, &model);
            same_as(&snapshot, &start);
            for key in start.keys() {
                prop_assert_eq!(tree.remove(|k| k.cmp(key)).is_some(), model.remove(key).is_some());
            }
            same_as(&tree, &model);
        }
    }
}

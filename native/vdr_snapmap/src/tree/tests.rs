//! Tests against a standard map as the model, as those of [`crate::map`]; and the invariants of the
//! structure.

use super::btree::Repr;
use super::child::Child;
use super::fanout::{FILL, MAX};
use super::large::nodes_born_after;
use super::leaf::Leaf;
use super::node::{Below, Node};
use super::*;
use crate::host_alloc::{COUNTS, allocated};
use crate::testing::{Counted, Rng, START, Step, cases, steps};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering as Atomic};

/// Checks every invariant of a subtree. Answers its depth and the number of its entries.
fn check<V>(node: &Node<u32, V>, above: Option<u32>, born: u64) -> (usize, usize) {
    assert!(node.born <= born);
    match &node.below {
        Below::Leaf(entries) => {
            assert!((1..=MAX).contains(&entries.len()));
            assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(above.is_none_or(|above| entries[0].0 >= above));
            (1, entries.len())
        }
        Below::Inner(children) => {
            assert!((1..=MAX).contains(&children.len()));
            let separators = children.separators();
            assert_eq!(separators.len(), children.len());
            let mut depths = Vec::new();
            for (at, child) in children.iter().enumerate() {
                // SAFETY: the tree, which is borrowed, reaches the node.
                let below: &Node<u32, V> = unsafe { child.node.typed().read() };
                let (depth, count) = check(below, Some(separators[at]), node.born);
                assert_eq!(count, child.count);
                depths.push(depth);
                assert!(separators.get(at + 1).is_none_or(|next| last(below) < *next));
            }
            assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
            (depths[0] + 1, children.iter().map(|child| child.count).sum())
        }
    }
}

fn last<V>(node: &Node<u32, V>) -> u32 {
    match &node.below {
        Below::Leaf(entries) => entries.last().unwrap().0,
        // SAFETY: the tree, which is borrowed, reaches the node.
        Below::Inner(children) => last::<V>(unsafe { children.last().unwrap().node.typed().read() }),
    }
}

fn same_as<V: Clone + PartialEq + std::fmt::Debug>(tree: &Tree<u32, V>, model: &BTreeMap<u32, V>) {
    assert_eq!(tree.len(), model.len());
    if let Repr::Large(large) = &tree.0 {
        // SAFETY: the tree, which is borrowed, reaches its root.
        let root = unsafe { large.root().read() };
        assert_eq!(check(root, None, large.version.generation()).1, tree.len());
    }
    assert!(tree.iter().eq(model.iter()));
    assert!(tree.iter().rev().eq(model.iter().rev()));
    let middle = tree.len() / 2;
    assert!(tree.range(middle / 2, middle).eq(model.iter().take(middle).skip(middle / 2)));
    for (rank, (key, value)) in model.iter().enumerate().step_by(7) {
        assert_eq!(tree.find(key), Ok(rank));
        assert_eq!(tree.at(rank), Some((key, value)));
        assert_eq!(tree.get(key), Some((key, value)));
    }
}

const MANY: u32 = if cfg!(miri) { 200 } else { 5000 };

#[test]
fn ascending_descending_and_bulk_agree() {
    let pairs = |keys: &mut dyn Iterator<Item = u32>| keys.map(|key| (key, key + 1)).collect::<Vec<_>>();
    let model: BTreeMap<u32, u32> = pairs(&mut (0..MANY)).into_iter().collect();
    for entries in [pairs(&mut (0..MANY)), pairs(&mut (0..MANY).rev())] {
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

type Version = (Tree<u32, Counted>, BTreeMap<u32, Counted>);

fn change(version: &mut Version, step: &Step, living: &Arc<AtomicIsize>) {
    let (tree, model) = version;
    match step {
        Step::Insert(n, value) => {
            let (key, value) = (u32::from(*n), Counted::new(*value, living));
            assert_eq!(tree.insert(key, value.clone()), model.insert(key, value));
        }
        Step::Change(n, value) => {
            let key = u32::from(*n);
            let theirs = model.get_mut(&key).map(|old| std::mem::replace(&mut old.value, *value));
            assert_eq!(tree.get_mut(&key).map(|old| std::mem::replace(&mut old.value, *value)), theirs);
        }
        Step::Remove(n) => {
            let key = u32::from(*n);
            assert_eq!(tree.remove(&key), model.remove_entry(&key));
        }
        Step::RemoveMany(n) => (*n..400).step_by(3).for_each(|n| change(version, &Step::Remove(n), living)),
        Step::Get(n) => {
            let key = u32::from(*n);
            assert_eq!(tree.get(&key), model.get_key_value(&key));
        }
        Step::Clone(_) | Step::Select(_) | Step::Drop(_) => {}
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_version_holds_what_it_must(
        start in 0..u32::from(START) * 5,
        bulk in any::<bool>(),
        steps in steps(),
        backwards in any::<bool>(),
    ) {
        let living = Arc::new(AtomicIsize::new(0));
        let start: Vec<(u32, Counted)> = (0..start).map(|n| (n / 2, Counted::new(n, &living))).collect();
        let model: BTreeMap<u32, Counted> = start.iter().cloned().collect();
        let mut tree = Tree::new();
        if bulk {
            tree = Tree::from_sorted(model.clone());
        } else {
            start.iter().cloned().for_each(|(key, value)| drop(tree.insert(key, value)));
        }
        let first: Version = (tree, model);
        drop(start);
        let mut versions = vec![first];
        for step in &steps {
            let count = versions.len();
            match step {
                Step::Clone(at) if count < 8 => {
                    let (tree, model) = &versions[if at % 4 == 0 { at / 4 % count } else { count - 1 }];
                    versions.push((tree.clone(), model.clone()));
                }
                Step::Select(at) => versions.swap(at % count, count - 1),
                Step::Drop(at) if count > 1 => drop(versions.remove(at % count)),
                step => change(versions.last_mut().unwrap(), step, &living),
            }
        }
        while !versions.is_empty() {
            let version = versions.remove(if backwards { versions.len() - 1 } else { 0 });
            same_as(&version.0, &version.1);
        }
        assert_eq!(living.load(Atomic::Relaxed), 0);
    }
}

#[test]
fn a_tree_of_many_levels_shrinks_to_nothing() {
    let living = Arc::new(AtomicIsize::new(0));
    let mut tree = Tree::from_sorted((0..MANY * 4).map(|n| (n, Counted::new(n, &living))));
    for n in 0..MANY * 4 {
        let held = (n % 100 == 0).then(|| {
            let next = tree.clone();
            std::mem::replace(&mut tree, next)
        });
        let key = n.wrapping_mul(7919) % (MANY * 4);
        assert!(tree.remove(&key).is_some());
        assert!(held.is_none_or(|held| held.len() == tree.len() + 1));
    }
    assert!(tree.is_empty() && matches!(tree.0, Repr::Empty));
    assert_eq!(living.load(Atomic::Relaxed), 0);
}

#[test]
fn the_newest_of_clones_shares_and_another_one_copies() {
    let mut tree = Tree::from_sorted((0..200u32).map(|n| (n, n)));
    let next = tree.clone();
    let held = std::mem::replace(&mut tree, next);
    assert!(held.same(&tree) && !held.clone().same(&held));
    assert_eq!(tree.insert(7, 0), Some(7));
    assert!(!held.same(&tree) && held.at(7) == Some((&7, &7)));
    drop(tree);
    assert!(held.clone().same(&held), "the newest again");
}

#[test]
fn what_was_replaced_goes_with_the_versions_that_reach_it_and_not_with_the_next_change() {
    let living = Arc::new(AtomicIsize::new(0));
    let part: u32 = if cfg!(miri) { 20 } else { 100 };
    let mut tree = Tree::from_sorted((0..part * 10).map(|n| (n, Counted::new(n, &living))));
    let next = tree.clone();
    let old = std::mem::replace(&mut tree, next);
    (0..part * 9).for_each(|n| assert!(tree.remove(&n).is_some()));
    drop(old);
    assert_eq!((living.load(Atomic::Relaxed) as usize, tree.len()), (part as usize, part as usize));
}

/// A key of bytes, as the core's trees have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(Vec<u8>);

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Key for Name {
    fn tag(&self) -> u8 {
        key::tag(&self.0)
    }

    fn shared(&self, other: &Self) -> usize {
        key::shared(&self.0, &other.0)
    }

    fn head(&self, skip: usize) -> u64 {
        key::head(&self.0, skip)
    }
}

/// Most keys share a prefix, so that nodes compare heads behind it, and many keys have equal heads.
#[test]
fn keys_of_bytes_are_found_by_the_key_by_their_bytes_and_by_a_closure() {
    let mut rng = Rng(7);
    let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
    let mut name = |alike: bool| {
        let shared = if alike { 23 } else { rng.below(24) };
        let mut name = b"a prefix that all share"[..shared].to_vec();
        name.extend((0..rng.below(14)).map(|_| b"\0ab"[rng.below(3)]));
        Name(name)
    };
    for n in 0..MANY {
        let (key, sought) = (name(n < MANY / 2), name(n % 3 > 0));
        if n % 4 == 3 {
            assert_eq!(tree.remove(Bytes(&sought.0)), model.remove_entry(&sought));
        }
        assert_eq!(tree.insert(key.clone(), n), model.insert(key, n));
        assert_eq!(tree.get(&sought), model.get_key_value(&sought));
        assert_eq!(tree.get(Bytes(&sought.0)), model.get_key_value(&sought));
        assert_eq!(tree.get(by(|key: &Name| key.cmp(&sought))), model.get_key_value(&sought));
        if n % 50 == 0 {
            let rank = model.range(..sought.clone()).count();
            let expected = if model.contains_key(&sought) { Ok(rank) } else { Err(rank) };
            assert_eq!(tree.find(Bytes(&sought.0)), expected);
            assert_eq!(tree.find(by(|key: &Name| key.cmp(&sought))), expected);
            assert!(tree.iter().eq(model.iter()));
        }
    }
}

#[test]
fn nodes_that_grew_by_insertions_have_little_room_to_spare() {
    let mut rng = Rng(11);
    let mut tree = Tree::new();
    for n in 0..MANY {
        tree.insert(rng.below(1 << 30) as u32, n);
    }
    let Repr::Large(large) = &tree.0 else { return assert!(MANY < MAX as u32) };
    // SAFETY: the tree, which is borrowed, reaches its root.
    for ptr in unsafe { nodes_born_after(large.root(), 0) } {
        // SAFETY: the tree, which is borrowed, reaches the node.
        let spare = match unsafe { &ptr.read().below } {
            Below::Leaf(leaf) => leaf.spare(),
            Below::Inner(inner) => inner.spare(),
        };
        assert!(spare <= 8, "{spare}");
    }
}

/// The bytes of a subtree, node by node.
fn allocated_bytes(node: &Node<u32, u32>) -> usize {
    let own = allocated(size_of::<Node<u32, u32>>());
    own + match &node.below {
        Below::Leaf(leaf) => leaf.allocated_bytes(),
        Below::Inner(inner) => {
            // SAFETY: the tree, which is borrowed, reaches the nodes.
            let below = |child: &Child| allocated_bytes(unsafe { child.node.typed().read() });
            inner.allocated_bytes() + inner.iter().map(below).sum::<usize>()
        }
    }
}

#[test]
fn the_amortized_bytes_of_all_entries_are_those_of_the_nodes() {
    let mut rng = Rng(5);
    let mut tree = Tree::from_sorted((0..2000_u32).map(|n| (n * 2, n)));
    for _ in 0..5 {
        for _ in 0..400 {
            tree.insert(rng.below(4000) as u32, 0);
            tree.remove(&(rng.below(4000) as u32));
        }
        let parts: f64 = (0..tree.len()).map(|rank| tree.amortized_entry_bytes(rank).unwrap()).sum();
        assert_eq!(tree.amortized_entry_bytes(tree.len()), None);
        let Repr::Large(large) = &tree.0 else { panic!("it is large") };
        // SAFETY: the tree, which is borrowed, reaches its root.
        assert_eq!(parts.round() as usize, allocated_bytes(unsafe { large.root().read() }));
    }
    let small = Tree::from_sorted((0..10_u32).map(|n| (n, n)));
    let parts: f64 = (0..10).map(|rank| small.amortized_entry_bytes(rank).unwrap()).sum();
    let leaf = allocated(COUNTS + size_of::<Leaf<u32, u32>>()) + allocated(10 * size_of::<(u32, u32)>());
    assert_eq!((parts.round() as usize, small.amortized_entry_bytes(10)), (leaf, None));
}

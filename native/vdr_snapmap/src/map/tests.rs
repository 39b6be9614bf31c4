//! Tests against a standard map as the model: the content of each version, whichever changes, forks
//! or ends in whatever order; that every value is dropped once; and the invariants of the
//! structure.

use super::digits::{Place, tag};
use super::item::ItemPtr;
use super::node::{LEAF_MAX, Node};
use super::trie::{TriePart, parts_born_after};
use super::*;
use crate::testing::host::{Term, install, living};
use crate::testing::{Counted, START, Step, cases, steps};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// A hash with few values: leaves split down to the bottom, and then by the second hash.
#[derive(Default, Clone)]
struct Poor(u64);

impl Hasher for Poor {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Ignores the lengths. The upper bits are nearly always the same.
        if let [.., last] = bytes
            && bytes.len() < 8
        {
            self.0 = u64::from(*last & 3) << 4 | u64::from(*last & 0x40) << 57;
        }
    }
}

type PoorState = BuildHasherDefault<Poor>;

fn key(n: u16) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// Checks every invariant of a subtree. Answers the number of its items.
fn check<V, S: BuildHasher>(map: &Map<V, S>, node: Node, above: u64, place: Place) -> usize {
    // SAFETY: the map, which is borrowed, reaches the node.
    unsafe {
        assert!(node.born() <= above && above <= map.version.generation());
        if node.is_leaf() {
            for at in 0..node.len() {
                let item = ItemPtr::<V>::from_raw(node.slot(at));
                assert!(item.born() <= node.born());
                assert_eq!(tag(map.hash(item.key())), node.tag(at));
            }
            return node.len();
        }
        assert_eq!(node.bits().count_ones() as usize, node.len());
        let mut items = 0;
        for at in 0..node.len() {
            let (from, to) = node.digits(at);
            assert!((to - from).is_power_of_two() && from % (to - from) == 0);
            let child = Node::from_raw(node.slot(at));
            assert!(child.is_leaf() || to - from == 1);
            assert!(!child.is_leaf() || child.len() <= LEAF_MAX);
            items += check(map, child, node.born(), place.next().unwrap_or(Place::SECOND));
        }
        items
    }
}

/// The content of each key: an odd number as a counted value, an even one as packed bytes; and
/// sometimes a stamp.
type Model = HashMap<Vec<u8>, (Option<i64>, u32)>;

fn stamp(value: u32) -> Option<i64> {
    value.is_multiple_of(3).then_some(i64::from(value))
}

fn insert<S: BuildHasher + Clone>(
    map: &mut Map<Counted, S>,
    n: u16,
    stamp: Option<i64>,
    value: u32,
    living: &Arc<AtomicIsize>,
) -> bool {
    let packed = value.to_be_bytes();
    let put = if value % 2 == 1 { Put::Value(Counted::new(value, living)) } else { Put::Packed(&packed[..]) };
    map.insert(&key(n), stamp, put)
}

fn number(packed: &[u8]) -> u32 {
    u32::from_be_bytes(packed.try_into().unwrap())
}

fn read(item: Item<'_, Counted>) -> (Option<i64>, u32) {
    match item.payload() {
        Payload::Packed(bytes) => (item.stamp(), number(bytes)),
        Payload::Value(counted) => (item.stamp(), counted.value),
    }
}

fn same_as<S: BuildHasher>(map: &Map<Counted, S>, model: &Model) {
    assert_eq!((map.len(), map.iter().len()), (model.len(), model.len()));
    assert_eq!(map.root.map_or(0, |root| check(map, root, map.version.generation(), Place::ROOT)), model.len());
    for (key, held) in model {
        assert_eq!(map.get(key).map(read), Some(*held));
    }
    let all: Model = map.iter().map(|item| (item.key().to_vec(), read(item))).collect();
    assert_eq!(&all, model);
    let (mut next, mut scanned) = (Some(0), Vec::new());
    while let Some(from) = next {
        let before = scanned.len();
        next = map.scan(from, 7, |item| scanned.push((item.key().to_vec(), read(item))));
        assert!(next.is_none_or(|next| next > from && next % 16 == 0 && scanned.len() - before >= 7));
    }
    assert_eq!(scanned.len(), model.len());
    assert_eq!(&scanned.into_iter().collect::<Model>(), model);
}

/// Entries that two versions share are the same, and `unshared` yields the rest.
fn differ_as<S: BuildHasher>(new: &Map<Counted, S>, old: &Map<Counted, S>) {
    let reported: Vec<Vec<u8>> = new.unshared(old).map(|item| item.key().to_vec()).collect();
    let once: HashSet<&[u8]> = reported.iter().map(Vec::as_slice).collect();
    assert_eq!(once.len(), reported.len());
    let expected = |item: &Item<'_, Counted>| old.get(item.key()).is_none_or(|before| !before.same(*item));
    assert!(new.iter().filter(expected).all(|item| once.contains(item.key())));
}

/// A version of the map and what it must hold.
type Version<S> = (Map<Counted, S>, Model);

fn change<S: BuildHasher + Clone>(version: &mut Version<S>, step: &Step, living: &Arc<AtomicIsize>) {
    if let Step::RemoveMany(n) = step {
        return (*n..400).step_by(3).for_each(|n| change(version, &Step::Remove(n), living));
    }
    let (map, model) = version;
    match step {
        Step::Insert(n, value) => {
            let new = model.insert(key(*n), (stamp(*value), *value)).is_none();
            assert_eq!(insert(map, *n, stamp(*value), *value, living), new);
        }
        Step::Change(n, value) if value % 2 == 0 => {
            let theirs = model.get_mut(&key(*n)).map(|(old, _)| *old = stamp(*value));
            assert_eq!(map.restamp(&key(*n), stamp(*value)), theirs.is_some());
        }
        Step::Change(n, value) => {
            // What is packed stays packed.
            let theirs = model.get_mut(&key(*n)).map(|(_, old)| *old = *value & !1 | *old & 1);
            let ours = map.get_mut(&key(*n)).map(|payload| match payload {
                PayloadMut::Packed(bytes) => bytes.copy_from_slice(&(value & !1).to_be_bytes()),
                PayloadMut::Value(counted) => counted.value = value | 1,
            });
            assert_eq!(ours, theirs);
        }
        Step::Remove(n) if n % 2 == 0 => assert_eq!(map.remove(&key(*n)), model.remove(&key(*n)).is_some()),
        Step::Remove(n) => {
            let ours = map.take(&key(*n)).map(|(stamp, taken)| match taken {
                OwnedPayload::Packed(bytes) => (stamp, number(&bytes)),
                OwnedPayload::Value(counted) => (stamp, counted.value),
            });
            assert_eq!(ours, model.remove(&key(*n)));
        }
        Step::Get(n) => {
            assert_eq!(map.get(&key(*n)).map(read), model.get(&key(*n)).copied());
        }
        Step::RemoveMany(_) | Step::Clone(_) | Step::Select(_) | Step::Drop(_) => {}
    }
}

/// Runs a program over any number of living versions, of which whichever is selected changes.
fn run<S: BuildHasher + Clone + Default>(start: u16, steps: &[Step], backwards: bool) {
    let living = Arc::new(AtomicIsize::new(0));
    let mut versions: Vec<Version<S>> = vec![Default::default()];
    (0..start).for_each(|n| change(&mut versions[0], &Step::Insert(n, 0), &living));
    for step in steps {
        let count = versions.len();
        match step {
            Step::Clone(at) if count < 8 => {
                // Mostly the newest is cloned, as the mirror does.
                let (map, model) = &versions[if at % 4 == 0 { at / 4 % count } else { count - 1 }];
                versions.push((map.clone(), model.clone()));
            }
            Step::Select(at) => versions.swap(at % count, count - 1),
            Step::Drop(at) if count > 1 => drop(versions.remove(at % count)),
            step => change(versions.last_mut().unwrap(), step, &living),
        }
    }
    while let Some(version) = if backwards { versions.pop() } else { versions.drain(..1).next() } {
        same_as(&version.0, &version.1);
        versions.iter().for_each(|other| differ_as(&version.0, &other.0));
        drop(version);
        if versions.is_empty() {
            break;
        }
    }
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_version_holds_what_it_must(start in 0..START, steps in steps(), backwards in any::<bool>()) {
        run::<RandomState>(start, &steps, backwards);
    }

    #[test]
    fn a_poor_hash_makes_it_slow_and_nothing_else(start in 0..START * 3 / 4, steps in steps(), backwards in any::<bool>()) {
        run::<PoorState>(start, &steps, backwards);
    }
}

/// Puts a counted value, odd or even.
fn put(map: &mut Map<Counted>, n: u16, value: u32, living: &Arc<AtomicIsize>) -> bool {
    map.insert(&key(n), None, Put::Value(Counted::new(value, living)))
}

fn value(map: &Map<Counted>, n: u16) -> Option<u32> {
    map.get(&key(n)).map(|item| read(item).1)
}

fn filled(count: u16, living: &Arc<AtomicIsize>) -> Map<Counted> {
    let mut map = Map::default();
    (0..count).for_each(|n| assert!(put(&mut map, n, u32::from(n), living)));
    map
}

#[test]
fn a_held_snapshot_keeps_what_it_reaches_and_nothing_that_came_later() {
    let living = Arc::new(AtomicIsize::new(0));
    let mut map = filled(300, &living);
    let next = map.clone();
    let held = std::mem::replace(&mut map, next);
    let mut shown = None;
    for round in 0..if cfg!(miri) { 20 } else { 200u32 } {
        (0..300).step_by(7).for_each(|n| assert!(!put(&mut map, n, round, &living)));
        let next = map.clone();
        shown = Some(std::mem::replace(&mut map, next));
    }
    // The held one's 300 items, and at most two versions of the 43 that are overwritten.
    assert!(living.load(Ordering::Relaxed) <= 300 + 2 * 43, "{}", living.load(Ordering::Relaxed));
    assert!((0..300).all(|n| value(&held, n) == Some(u32::from(n))));
    drop((held, shown));
    drop(map);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

#[test]
fn what_an_abandoned_branch_made_goes_with_it_and_its_checkpoint_goes_on() {
    let living = Arc::new(AtomicIsize::new(0));
    let mut checkpoint = filled(300, &living);
    let generation = checkpoint.version.generation();
    for _ in 0..3 {
        let mut branch = checkpoint.clone();
        (100..500).for_each(|n| assert_eq!(put(&mut branch, n, 9, &living), n >= 300));
        (0..50).for_each(|n| assert!(branch.remove(&key(n))));
        drop(branch);
        assert_eq!(living.load(Ordering::Relaxed), 300);
        put(&mut checkpoint, 7, 1, &living);
        assert_eq!((checkpoint.version.generation(), checkpoint.version.census()), (generation, (1, 0)));
    }
    assert_eq!(value(&checkpoint, 7), Some(1));
    drop(checkpoint);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

#[test]
fn an_emptied_map_keeps_no_nodes() {
    let living = Arc::new(AtomicIsize::new(0));
    let mut map = filled(if cfg!(miri) { 500 } else { 20_000 }, &living);
    for n in 0..map.len() as u16 {
        assert!(map.remove(&key(n)));
    }
    assert!(map.is_empty() && map.root.is_none());
}

/// A writer that publishes, readers that hold what they got for as long as they like: each sees one
/// value under every key.
#[test]
fn readers_on_other_threads_see_whole_versions() {
    let living = Arc::new(AtomicIsize::new(0));
    let keys: u16 = if cfg!(miri) { 40 } else { 500 };
    let mut map = Map::<Counted>::default();
    (0..keys).for_each(|n| assert!(put(&mut map, n, 0, &living)));
    let next = map.clone();
    let published = Mutex::new(Arc::new(std::mem::replace(&mut map, next)));
    // ThreadSanitizer does not know the fence by which an `Arc` is dropped; it does know locks.
    let gate = Mutex::new(());
    let let_go = |map: Arc<Map<Counted>>| {
        let _open = gate.lock();
        drop(map);
    };
    std::thread::scope(|scope| {
        for reader in 0..3usize {
            let (published, let_go) = (&published, &let_go);
            scope.spawn(move || {
                let mut held = std::collections::VecDeque::new();
                loop {
                    let map = published.lock().clone();
                    let value = value(&map, 0).unwrap();
                    assert!((0..keys).all(|n| super::tests::value(&map, n) == Some(value)));
                    held.push_back((map, value));
                    if held.len() > reader * 3 {
                        let (map, value) = held.remove(held.len() / 2).unwrap();
                        assert!(map.iter().all(|item| read(item).1 == value));
                        let_go(map);
                    }
                    if value == ROUNDS {
                        break held.into_iter().for_each(|(map, _)| let_go(map));
                    }
                }
            });
        }
        for round in 1..=ROUNDS {
            (0..keys).for_each(|n| assert!(!put(&mut map, n, round, &living)));
            let next = map.clone();
            let next = Arc::new(std::mem::replace(&mut map, next));
            let old = std::mem::replace(&mut *published.lock(), next);
            let_go(old);
        }
    });
    let_go(published.into_inner());
    let_go(Arc::new(map));
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

const ROUNDS: u32 = if cfg!(miri) { 5 } else { 300 };

#[test]
fn what_two_versions_do_not_share_costs_what_changed() {
    let living = Arc::new(AtomicIsize::new(0));
    let many: u16 = if cfg!(miri) { 600 } else { 10_000 };
    let mut map = filled(many, &living);
    let old = map.clone();
    // The clone is the newest version, and only the newest changes in place.
    let (mut map, old) = (old, std::mem::take(&mut map));
    assert_eq!(map.unshared(&old).count(), 0);
    [17, many / 2, many - 1].into_iter().for_each(|n| assert!(!put(&mut map, n, 0, &living)));
    assert!(put(&mut map, 20_000, 0, &living));
    let mut reported: Vec<Vec<u8>> = map.unshared(&old).map(|item| item.key().to_vec()).collect();
    reported.sort();
    // A leaf that had to be split may bring its neighbours along.
    assert!(
        [17, many / 2, many - 1, 20_000].into_iter().all(|n| reported.contains(&key(n))) && reported.len() < 40,
        "{}",
        reported.len()
    );
}

#[test]
fn what_was_replaced_goes_with_the_versions_that_reach_it_and_not_with_the_next_change() {
    let living = Arc::new(AtomicIsize::new(0));
    let part: u16 = if cfg!(miri) { 20 } else { 100 };
    let mut map = filled(part * 10, &living);
    let next = map.clone();
    let old = std::mem::replace(&mut map, next);
    (0..part * 9).for_each(|n| assert!(map.remove(&key(n))));
    assert_eq!(living.load(Ordering::Relaxed) as u16, part * 10);
    drop(old);
    assert_eq!((living.load(Ordering::Relaxed) as u16, map.version.census()), (part, (1, 0)));
}

/// Bytes that a reader exported stay as they were: through a change during the snapshot's life, a
/// change after it, and the removal of the entry.
#[test]
fn exported_bytes_of_an_entry_never_change() {
    install();
    let long = [7; HOST_BYTES_MIN];
    let mut map: Map<Counted> = Map::default();
    map.insert(b"short", None, Put::Packed(&long[1..]));
    assert!(map.get(b"short").unwrap().export().is_none());
    assert_eq!(living(), 0);
    map.insert(b"long", None, Put::Packed(&long));
    let bytes = |map: &mut Map<Counted>| match map.get_mut(b"long") {
        Some(PayloadMut::Packed(bytes)) => std::mem::replace(&mut bytes[0], 8),
        other => panic!("{other:?}"),
    };
    // Never exported: changed in place.
    assert_eq!((bytes(&mut map), living()), (7, 1));
    map.insert(b"long", Some(1), Put::Packed(&long));
    let export = |map: &Map<Counted>| Term::of(map.get(b"long").unwrap().export().unwrap());
    let (snapshot, own) = (map.clone(), export(&map));
    drop(export(&snapshot));
    drop(map);
    let mut map = snapshot;
    assert_eq!((bytes(&mut map), own.shows(), living()), (7, &long[..], 2));
    assert_eq!((bytes(&mut map), living()), (8, 2), "the copy is not shared");
    // The stamp is not part of the exported bytes.
    let other = export(&map);
    assert!(map.restamp(b"long", Some(2)));
    assert_eq!((map.get(b"long").unwrap().stamp(), living()), (Some(2), 2));
    assert!(map.remove(b"long"));
    drop(map);
    assert_eq!((own.shows(), other.shows()[0], living()), (&long[..], 8, 2));
    drop((own, other));
    assert_eq!(living(), 0);
}

#[test]
fn an_iterator_counts_the_bytes_of_the_nodes_that_it_has_visited() {
    let living = Arc::default();
    for count in [0, 1, 16, 17, 3000] {
        let map = filled(count, &living);
        // SAFETY: the map, which is borrowed, reaches its root.
        let parts = unsafe { parts_born_after::<Counted>(map.root, 0) };
        let nodes = parts.into_iter().filter_map(|part| match part {
            // SAFETY: the map reaches the node.
            TriePart::Node(node) => Some(unsafe { node.allocated_bytes() }),
            TriePart::Item(_) => None,
        });
        let all: usize = nodes.sum();
        let mut iter = map.iter();
        iter.by_ref().take(usize::from(count) / 2).for_each(drop);
        assert!(iter.node_bytes() <= all);
        iter.by_ref().for_each(drop);
        assert_eq!(iter.node_bytes(), all);
    }
}

/// A hash that somebody has defeated.
#[derive(Default, Clone)]
struct Defeated;

impl Hasher for Defeated {
    fn finish(&self) -> u64 {
        u64::MAX / 3
    }

    fn write(&mut self, _bytes: &[u8]) {}
}

#[test]
fn keys_that_share_their_hash_stand_in_leaves_as_small_as_others() {
    let living = Arc::new(AtomicIsize::new(0));
    let (mut map, mut model) = (Map::<Counted, BuildHasherDefault<Defeated>>::default(), Model::new());
    let many = if cfg!(miri) { 60 } else { 3_000 };
    for n in 0..many {
        assert!(insert(&mut map, n, None, u32::from(n), &living));
        model.insert(key(n), (None, u32::from(n)));
    }
    let snapshot = map.clone();
    // `check` asserts the size of each leaf.
    same_as(&map, &model);
    let mut scanned = HashSet::new();
    assert_eq!(map.scan(0, 1, |item| assert!(scanned.insert(item.key().to_vec()))), Some(map.hash(b"") / 16 * 16 + 16));
    assert_eq!(scanned.len(), model.len());
    for n in 0..many {
        assert!(map.remove(&key(n)));
    }
    assert!(map.is_empty() && map.root.is_none());
    same_as(&snapshot, &model);
}

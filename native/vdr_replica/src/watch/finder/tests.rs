use super::super::{Event, Mailbox, Manner, Owner, Tag, Watched, Watcher};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use vdr_data::keyspace::KeyHasher;

struct Nobody;

impl Mailbox for Nobody {
    fn send(&self, _tag: Tag, _event: &Event<'_>) {}
    fn sample(&self, _watcher: &Arc<Watcher>) {}
    fn serve_soon(&self, _watcher: &Arc<Watcher>) {}
    fn release(&self, _tag: Tag) {}
}

const MANNER: Manner = Manner { notify: Notify::Key, max_pending: 9, link: false };

/// A table, its publisher, and a process that watches.
struct Bench {
    watches: Arc<Watches>,
    finder: Finder,
    watcher: Arc<Watcher>,
}

impl Bench {
    fn new() -> Self {
        let watches = Arc::new(Watches::new());
        let (finder, watcher) = (Finder::new(&watches), watches.watcher(1, Box::new(Nobody)));
        Bench { watches, finder, watcher }
    }

    fn add(&self, db: u32, watched: Watched<&[u8]>) -> bool {
        self.watches.add(db, watched, MANNER, &self.watcher, 0).is_ok()
    }

    fn remove(&self, db: u32, watched: Watched<&[u8]>) -> bool {
        self.watches.remove(db, watched, &self.watcher).is_ok()
    }

    /// Whom a write of this key affects.
    fn affected(&mut self, db: u32, key: &[u8]) -> Vec<Arc<Watch>> {
        let mut hits = Vec::new();
        let tuple = || vdr_commands::tuple(&[b"DEL", key]);
        self.finder.affected(|report| report(Affected::Key { db, key }), tuple, 1, &mut hits);
        hits.into_iter().map(|hit| hit.watch).collect()
    }

    fn look_ahead(&mut self, db: u32, keys: &[&[u8]]) {
        let hasher = KeyHasher::default();
        let keys: Vec<_> = keys.iter().map(|key| HashedKey { key, hash: hasher.hash_one(key) }).collect();
        self.finder.look_ahead(db, &keys);
    }

    /// As `affected`, in a batch of its own.
    fn names(&mut self, db: u32, key: &str) -> Vec<String> {
        self.finder.begin();
        let found = self.affected(db, key.as_bytes());
        self.watches.end();
        let mut names: Vec<String> = found.iter().map(|watch| watch.target.name.escape_ascii().to_string()).collect();
        names.sort();
        names
    }
}

#[test]
fn prefixes_are_found_by_the_lengths_of_their_head() {
    let mut bench = Bench::new();
    let watched = ["", "a", "user", "user:1", "user:12", "user:1234", "sess:123456"];
    watched.iter().for_each(|prefix| assert!(bench.add(0, Watched::Prefix(prefix.as_bytes()))));
    assert_eq!(bench.names(0, "user:12x"), ["", "user", "user:1", "user:12"]);
    assert_eq!(bench.names(0, "use"), [""]);
    assert_eq!(bench.names(0, "abc"), ["", "a"]);
    assert_eq!(bench.names(1, "user:12x"), [""; 0]);
    for prefix in ["", "a", "user:12", "user"] {
        assert!(bench.remove(0, Watched::Prefix(prefix.as_bytes())));
    }
    assert_eq!(bench.names(0, "user:12x"), ["user:1"]);
    // No short ones are left.
    assert_eq!(bench.finder.affixes.starts, Some(HEAD));
    for prefix in ["user:1", "user:1234", "sess:123456"] {
        assert!(bench.remove(0, Watched::Prefix(prefix.as_bytes())));
    }
    assert_eq!((bench.names(0, "user:12x"), bench.watches.table.places()), (vec![], 0));
    assert_eq!(bench.finder.affixes.starts, None);
}

#[test]
fn patterns_are_found_by_the_literal_bytes_of_their_matches() {
    let mut bench = Bench::new();
    let long = format!("{}*", "x".repeat(40));
    let all = ["user:*", "*:name", "*cart*", "??", "", "*", "user:[0-9]*:name", "*ab*ab*", &long];
    all.iter().for_each(|pattern| assert!(bench.add(0, Watched::Pattern(pattern.as_bytes()))));
    // Another process watches the same.
    let other = bench.watches.watcher(2, Box::new(Nobody));
    bench.watches.add(0, Watched::Pattern(b"user:*"), MANNER, &other, 0).unwrap();
    assert_eq!(bench.names(0, "user:1:name"), ["*", "*:name", "user:*", "user:*", "user:[0-9]*:name"]);
    assert_eq!(bench.names(0, "cartcart"), ["*", "*cart*"]);
    assert_eq!(bench.names(0, "ab"), ["*", "??"]);
    assert_eq!(bench.names(0, "abab"), ["*", "*ab*ab*"]);
    assert_eq!(bench.names(0, ""), ["", "*"]);
    assert_eq!(bench.names(0, &"x".repeat(50)), ["*", &long]);
    assert_eq!(bench.names(0, &"x".repeat(30)), ["*"]);
    assert_eq!(bench.names(1, "user:1:name"), [""; 0]);
    assert!(bench.remove(0, Watched::Pattern(b"user:*")));
    assert_eq!(bench.names(0, "user:1"), ["*", "user:*"]);
    bench.watches.remove_watcher(&other);
    assert_eq!(bench.names(0, "user:1"), ["*"]);
    bench.watches.remove_watcher(&bench.watcher.clone());
    assert_eq!((bench.names(0, "user:1"), bench.watches.table.places()), (vec![], 0));
}

#[test]
fn a_key_in_look_ahead_is_unaffected_in_its_database_only_and_until_the_next_batch() {
    let mut bench = Bench::new();
    assert!(bench.add(0, Watched::Key(b"a")) && bench.add(1, Watched::Key(b"b")));
    assert!(bench.add(0, Watched::Prefix(b"pre:")) && bench.add(0, Watched::Pattern(b"*:end")));
    bench.finder.begin();
    let unaffected = |bench: &Bench, db| [0, 1, 2, 3, 4, 5].map(|nth| bench.finder.is_unaffected(nth, db));
    bench.look_ahead(0, &[b"a", b"b", b"pre:x", b"x:end", b"prefix"]);
    assert_eq!(unaffected(&bench, 0), [false, true, false, false, true, false]);
    // Nothing is known of another database, nor in the next batch.
    assert_eq!(unaffected(&bench, 1), [false; 6]);
    bench.finder.begin();
    assert_eq!(unaffected(&bench, 0), [false; 6]);
    bench.look_ahead(1, &[b"a", b"b", b"pre:x"]);
    assert_eq!(unaffected(&bench, 1), [true, false, true, false, false, false]);
    // A pattern without a literal byte may match any key, and one with an anchor inside is looked
    // up ahead at some places of a key only.
    assert!(bench.add(0, Watched::Pattern(b"*cart*")));
    bench.finder.begin();
    let [short, long] = ["x", "xxxxxxxx"].map(|part| part.repeat(20));
    let many = "x".repeat(PLACES_AHEAD_MAX + 9);
    bench.look_ahead(0, &[short.as_bytes(), b"a cart", long.as_bytes(), many.as_bytes()]);
    assert_eq!(unaffected(&bench, 0), [true, false, false, false, false, false]);
    assert!(bench.add(0, Watched::Pattern(b"??")));
    bench.finder.begin();
    bench.look_ahead(0, &[b"short", b"xy"]);
    assert_eq!(unaffected(&bench, 0), [false; 6]);
}

/// So many watches that the filters grow, and so many go that filters are made anew.
#[test]
fn what_is_left_of_many_watches_is_found_and_the_rest_is_forgotten() {
    const KEYS: usize = if cfg!(miri) { 2_000 } else { 100_000 };
    let mut bench = Bench::new();
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    let watched = |n: usize| match n % 3 {
        0 => Watched::Key(keys[n].as_bytes()),
        1 => Watched::Prefix(keys[n].as_bytes()),
        _ => Watched::Pattern(keys[n].as_bytes()),
    };
    (0..KEYS).for_each(|n| assert!(bench.add(0, watched(n))));
    let heard = |bench: &mut Bench, n: usize| bench.affected(0, keys[n].as_bytes());
    let is_heard =
        |bench: &mut Bench, n: usize| heard(bench, n).iter().any(|watch| *watch.target.name == *keys[n].as_bytes());
    bench.finder.begin();
    bench.watches.end();
    assert!((0..KEYS).all(|n| is_heard(&mut bench, n)));
    // In the order of neither keys nor shards.
    let stays = |n: usize| n.is_multiple_of(17);
    (0..KEYS).filter(|n| !stays(*n)).for_each(|n| assert!(bench.remove(0, watched(n))));
    bench.finder.begin();
    bench.watches.end();
    assert!((0..KEYS).all(|n| is_heard(&mut bench, n) == stays(n)));
    let hash = |n: usize| bench.watches.table.hash((0, Sort::Key, keys[n].as_bytes()));
    let seeming = (0..KEYS).filter(|n| !stays(*n) && may_hold(&bench.finder.filters, hash(*n))).count();
    assert!(seeming < KEYS / 10, "{seeming} of {KEYS}");
    bench.watches.remove_watcher(&bench.watcher.clone());
    assert_eq!((bench.watches.table.places(), bench.watches.len()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, String),
    Remove(usize),
    Begin,
    Write(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, "[ab:*?\\[\\]\\\\^-]{0,7}").prop_map(|(kind, name)| Step::Add(kind, name)),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => Just(Step::Begin),
        4 => "[ab:]{0,9}".prop_map(Step::Write),
    ];
    proptest::collection::vec(step, 1..60)
}

fn watched(kind: usize, name: &str) -> Watched<&[u8]> {
    let name = name.as_bytes();
    [Watched::Key(name), Watched::Prefix(name), Watched::Pattern(name)][kind % 3]
}

proptest! {
    #[test]
    fn no_watch_is_overlooked_that_was_there_when_the_batch_began(steps in steps()) {
        let mut bench = Bench::new();
        // With whether it was there when the batch began.
        let mut model: BTreeMap<(usize, String), bool> = BTreeMap::new();
        bench.finder.begin();
        for step in steps {
            match step {
                Step::Add(kind, name) => {
                    let is_first = bench.add(0, watched(kind, &name));
                    prop_assert_eq!(is_first, !model.contains_key(&(kind, name.clone())));
                    model.entry((kind, name)).or_insert(false);
                }
                Step::Remove(n) => {
                    let Some((kind, name)) = model.keys().nth(n % model.len().max(1)).cloned() else { continue };
                    prop_assert!(bench.remove(0, watched(kind, &name)));
                    model.remove(&(kind, name));
                }
                Step::Begin => {
                    bench.watches.table.new_watches(true);
                    bench.finder.begin();
                    model.values_mut().for_each(|was_there| *was_there = true);
                }
                Step::Write(key) => {
                    // In look-ahead in this database or in another one.
                    match key.len() % 3 {
                        0 | 1 => bench.look_ahead(0, &[b"x", key.as_bytes()]),
                        _ => bench.look_ahead(1, &[b"x", key.as_bytes()]),
                    }
                    // As the mirror: a key that is unaffected ahead is not looked up.
                    let affected = match bench.finder.is_unaffected(1, 0) {
                        true => Vec::new(),
                        false => bench.affected(0, key.as_bytes()),
                    };
                    let found: Vec<(usize, String)> = affected.iter().map(|watch| {
                        (watch.target.kind as usize, String::from_utf8(watch.target.name.to_vec()).unwrap())
                    }).collect();
                    let set: BTreeSet<_> = found.iter().cloned().collect();
                    prop_assert_eq!(found.len(), set.len(), "each once: {:?}", found);
                    let new = bench.watches.table.new_watches(false);
                    for ((kind, name), was_there) in &model {
                        let target = super::super::Target::new(0, watched(*kind, name));
                        let is_found = set.contains(&(*kind, name.clone()));
                        prop_assert!(!is_found || target.covers(key.as_bytes()), "{:?} {:?}", target, key);
                        if target.covers(key.as_bytes()) && !is_found {
                            prop_assert!(!was_there, "{:?} {:?}", target, key);
                            prop_assert!(new.iter().any(|watch| watch.target == target), "{:?} is not new", target);
                        }
                    }
                    prop_assert!(set.iter().all(|found| model.contains_key(found)));
                }
            }
        }
    }
}

/// Threads add and remove watches beside a publisher. Whatever a watch was there for, from before a
/// batch began until after it ended, its publisher has found, or the watch was new.
#[test]
fn watches_that_come_and_go_beside_a_publisher_are_found_in_each_batch_that_they_live_through() {
    const ADDERS: u64 = 3;
    const TURNS: u64 = if cfg!(miri) { 3 } else { 400 };
    const OF_A_TURN: u64 = if cfg!(miri) { 3 } else { 30 };
    let bench = Bench::new();
    let (watches, mut finder) = (bench.watches.clone(), Finder::new(&bench.watches));
    // Odd while a batch is under way.
    let (batch, done) = (AtomicU64::new(0), AtomicBool::new(false));
    // What each turn's watches lived through: the first and the last number.
    let lives = |adder: Owner| {
        let watcher = watches.watcher(adder, Box::new(Nobody));
        let mut lives = Vec::new();
        for turn in 0..TURNS {
            let names: Vec<String> =
                (0..OF_A_TURN).map(|n| format!("{adder}:{:x}:{n}", turn * 0x9E37 % 0xFFFF)).collect();
            for (n, name) in names.iter().enumerate() {
                let tag = turn * OF_A_TURN + n as u64;
                watches.add(0, watched(n + turn as usize, name), MANNER, &watcher, tag).unwrap();
            }
            let from = batch.load(Ordering::SeqCst);
            while batch.load(Ordering::SeqCst) < from + 5 {
                thread::yield_now();
            }
            let to = batch.load(Ordering::SeqCst);
            lives.push((names.clone(), from, to));
            for (n, name) in names.iter().enumerate() {
                watches.remove(0, watched(n + turn as usize, name), &watcher).unwrap();
            }
        }
        lives
    };
    // Which names were found, or new, in each batch.
    let publish = || {
        let mut found: Vec<BTreeSet<Vec<u8>>> = Vec::new();
        while !done.load(Ordering::SeqCst) {
            batch.fetch_add(1, Ordering::SeqCst);
            finder.begin();
            let mut of_batch = BTreeSet::new();
            // What is there at some moment of the batch.
            let mut names = Vec::new();
            watches.table.for_each_in(|_| true, |watch| names.push(watch.target.name.clone()));
            let hasher = KeyHasher::default();
            for name in &names {
                let mut hits = Vec::new();
                // As the mirror: a key that is unaffected ahead is not looked up.
                finder.look_ahead(0, &[HashedKey { key: name, hash: hasher.hash_one(&name[..]) }]);
                if finder.is_unaffected(0, 0) {
                    continue;
                }
                let tuple = || vdr_commands::tuple(&[b"DEL", name]);
                finder.affected(|report| report(Affected::Key { db: 0, key: name }), tuple, 1, &mut hits);
                of_batch.extend(hits.iter().map(|hit| hit.watch.target.name.to_vec()));
            }
            of_batch.extend(watches.table.new_watches(true).iter().map(|watch| watch.target.name.to_vec()));
            watches.end();
            batch.fetch_add(1, Ordering::SeqCst);
            found.push(of_batch);
        }
        found
    };
    let lives = &lives;
    let (lives, found) = thread::scope(|scope| {
        let publisher = scope.spawn(publish);
        let adders: Vec<_> = (1..=ADDERS).map(|adder| scope.spawn(move || lives(adder))).collect();
        let lives: Vec<_> = adders.into_iter().flat_map(|adder| adder.join().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        (lives, publisher.join().unwrap())
    });
    let mut checked = 0;
    for (names, from, to) in lives {
        // Batch n begins with the number 2n + 1 and ends with 2n + 2.
        for n in from.div_ceil(2)..to / 2 {
            for name in &names {
                assert!(found[n as usize].contains(name.as_bytes()), "{name} in batch {n} of {from}..{to}");
                checked += 1;
            }
        }
    }
    assert!(checked >= ADDERS * TURNS * OF_A_TURN * 2, "{checked}");
}

//! Who hears of what, and when.

use super::*;
use crate::watch::Shown;

#[test]
fn a_watcher_hears_of_a_write_once_it_is_visible() {
    let (mut mirror, shared) = mirror();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"a"), 1, log.clone()).unwrap();
    feed(&mut mirror, &["SET a 1", "SET b 1"]).unwrap();
    assert_eq!(log.take().len(), 1);
    feed(&mut mirror, &["MULTI", "SET a 2"]).unwrap();
    assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (0, Some("1")));
    feed(&mut mirror, &["EXEC"]).unwrap();
    assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (1, Some("2")));
}

#[test]
fn a_watch_that_comes_between_a_write_and_its_publication_hears_init() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["MULTI", "SET a 2", "SET c 2"]).unwrap();
    let (on_a, on_b) = (Arc::new(Log::default()), Arc::new(Log::default()));
    watch(&shared, 0, Watched::Key(b"a"), 1, on_a.clone()).unwrap();
    watch(&shared, 0, Watched::Key(b"b"), 1, on_b.clone()).unwrap();
    feed(&mut mirror, &["EXEC"]).unwrap();
    assert_eq!((on_a.take().len(), on_b.take().len()), (1, 0));
    feed(&mut mirror, &["SET c 3"]).unwrap();
    assert_eq!((on_a.take().len(), on_b.take().len()), (0, 0));
}

/// The state is as it was, and the commands that were missed add up with those that were heard.
#[test]
fn a_new_watch_of_commands_that_hears_of_some_hears_init_for_those_before() {
    let (mut mirror, shared) = mirror();
    let logs = [Notify::Command, Notify::Value, Notify::Key].map(|notify| (notify, Arc::new(Log::default())));
    feed(&mut mirror, &["SET a 5", "MULTI", "INCR a"]).unwrap();
    for (owner, (notify, log)) in logs.iter().enumerate() {
        watch_as(&shared, 0, Watched::Key(b"a"), *notify, owner as Owner, log.clone()).unwrap();
    }
    feed(&mut mirror, &["DECR a", "EXEC"]).unwrap();
    let heard = logs.each_ref().map(|(_, log)| log.take().join(", "));
    assert_eq!(heard, ["decr 0 a, init", "0 a 5 5", "0 a"]);
}

/// A publication shows a part of what was applied before the watch came, and the next one the rest.
#[test]
fn a_watch_that_comes_before_a_partial_publication_is_new_until_all_is_shown() {
    type Call = Box<dyn FnOnce()>;
    thread_local! { static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) } }
    let (mirror, shared) = mirror();
    let mut mirror = mirror.with_clock(|| {
        if let Some(call) = CALLS.with_borrow_mut(Vec::pop) {
            call();
        }
        Duration::ZERO
    });
    let (on_a, on_b) = (Arc::new(Log::default()), Arc::new(Log::default()));
    let between = {
        let (shared, on_a, on_b) = (shared.clone(), on_a.clone(), on_b.clone());
        move || {
            watch(&shared, 0, Watched::Key(b"a"), 1, on_a).unwrap();
            watch(&shared, 0, Watched::Key(b"b"), 2, on_b).unwrap();
        }
    };
    // The clock is asked twice before the commands are applied, and then before what they did is
    // published.
    CALLS.set(vec![Box::new(between), Box::new(|| ()), Box::new(|| ())]);
    feed(&mut mirror, &["SET a 2", "MULTI", "SET b 2"]).unwrap();
    assert_eq!((on_a.take(), on_b.take()), (vec!["init".to_owned()], vec![]));
    feed(&mut mirror, &["EXEC"]).unwrap();
    assert_eq!((on_a.take(), on_b.take()), (vec![], vec!["init".to_owned()]));
}

/// Where each new watch looked at all registered ones, this would take minutes.
#[test]
fn many_new_watches_that_all_hear_of_a_write_are_settled_without_a_look_at_each_other() {
    let (mut mirror, shared) = mirror();
    let watches: Vec<(String, Arc<Log>)> = (0..200_000).map(|n| (format!("key:{n}"), Arc::default())).collect();
    for (owner, (key, log)) in watches.iter().enumerate() {
        watch(&shared, 0, Watched::Key(key.as_bytes()), owner as Owner, log.clone()).unwrap();
    }
    let begun = std::time::Instant::now();
    feed(&mut mirror, &["FLUSHALL"]).unwrap();
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert!(watches.iter().all(|(_, log)| log.take().len() == 1));
}

#[test]
fn a_watched_prefix_hears_once_of_each_write_that_touches_its_keys() {
    let (mut mirror, shared) = mirror();
    let (user, all) = (Arc::new(Log::default()), Arc::new(Log::default()));
    let (users, everyone) = (watcher(&shared, 1, user.clone()), watcher(&shared, 2, all.clone()));
    let add = |db, watched, watcher| shared.watches.add(db, watched, manner(Notify::Command), watcher, 0).map(drop);
    add(0, Watched::Prefix(b"user:"), &users).unwrap();
    add(0, Watched::Prefix(b""), &everyone).unwrap();
    assert_eq!(add(0, Watched::Prefix(b"user:"), &users), Err(WatchError::AlreadyRegistered));
    add(0, Watched::Key(b"user:"), &users).unwrap();
    add(1, Watched::Prefix(b"user:"), &users).unwrap();
    for (commands, to_user, to_all) in [
        (&["SET user:1 a"][..], &["set 0 user:1"][..], &["set 0 user:1"][..]),
        (&["SET user 1", "SET use 1"], &[], &["set 0 user", "set 0 use"]),
        (&["MSET user:1 b user:2 b x 1"], &["mset 0 -"], &["mset 0 -"]),
        (&["MSET x 2 user:2 c"], &["mset 0 user:2"], &["mset 0 -"]),
        (&["SET user: 1"], &["set 0 user:", "set 0 user:"], &["set 0 user:"]),
        (&["RENAME user:1 other"], &["rename 0 user:1"], &["rename 0 -"]),
        (&["MULTI", "SELECT 1", "SET user:1 x", "EXEC", "SELECT 0"], &["set 1 user:1"], &[]),
        (&["SWAPDB 0 1"], &["swapdb 0 -", "swapdb 0 user:", "swapdb 1 -"], &["swapdb 0 -"]),
        (&["FLUSHALL"], &["flushall 0 -", "flushall 0 user:", "flushall 1 -"], &["flushall 0 -"]),
    ] {
        feed(&mut mirror, commands).unwrap();
        let mut messages = user.take();
        messages.sort();
        assert_eq!(messages, to_user, "{commands:?}");
        assert_eq!(all.take(), to_all, "{commands:?}");
    }
    shared.watches.remove(0, Watched::Prefix(b"user:"), &users).unwrap();
    assert_eq!(shared.watches.remove(0, Watched::Prefix(b"user:"), &users), Err(WatchError::NotFound));
    feed(&mut mirror, &["SET user:1 a"]).unwrap();
    assert_eq!((user.take().len(), all.take().len()), (0, 1));
    shared.watches.remove_watcher(&users);
    shared.watches.remove_watcher(&everyone);
    feed(&mut mirror, &["SET user:1 b", "SET user: b"]).unwrap();
    assert_eq!((user.take().len(), all.take().len(), shared.watches.len()), (0, 0, 0));
}

#[test]
fn a_watched_prefix_that_comes_between_writes_and_their_publication_hears_init() {
    let (mut mirror, shared) = mirror();
    let at_once = |shared: &Shared, prefix: &str| {
        let log = Arc::new(Log::default());
        watch(shared, 0, Watched::Prefix(prefix.as_bytes()), 1, log.clone()).unwrap();
        log
    };
    feed(&mut mirror, &["SET ab 1", "SET b 1", "SET gone 1"]).unwrap();
    feed(&mut mirror, &["MULTI", "SET aa 2", "SET b 2", "DEL gone"]).unwrap();
    let logs = ["a", "b", "c", "gone", ""].map(|prefix| at_once(&shared, prefix));
    // Of aa and b, which were written before, the update of ab says nothing.
    feed(&mut mirror, &["SET ab 3", "EXEC"]).unwrap();
    let messages: Vec<String> = logs.iter().map(|log| log.take().join(", ")).collect();
    assert_eq!(messages, ["set 0 ab, init", "init", "", "init", "set 0 ab, init"]);
    feed(&mut mirror, &["SET b 3"]).unwrap();
    assert_eq!(logs.map(|log| log.take().len()), [0, 1, 0, 0, 1]);
    // More have changed than are compared.
    let many: Vec<String> = (0..10_001).map(|n| format!("SET k{n} 1")).collect();
    let unit: Vec<&str> = ["MULTI"].into_iter().chain(many.iter().map(String::as_str)).collect();
    feed(&mut mirror, &unit).unwrap();
    let log = at_once(&shared, "none of them");
    feed(&mut mirror, &["EXEC"]).unwrap();
    assert_eq!(log.take(), ["init"]);
}

#[test]
fn a_watched_pattern_hears_once_of_each_write_that_touches_its_keys() {
    let (mut mirror, shared) = mirror();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Pattern(b"user:*:name"), 1, log.clone()).unwrap();
    watch(&shared, 0, Watched::Pattern(b"*[0-9]"), 1, log.clone()).unwrap();
    for (commands, heard) in [
        (&["SET user:1:name a"][..], &["set 0 user:1:name"][..]),
        (&["SET user:1:age 7", "SET user:1:names 7"], &[]),
        (&["MSET user:1:name a user:1:name a user:2 b 3 c"], &["mset 0 -", "mset 0 user:1:name"]),
        (&["MSET user:1:name a user:2:name b"], &["mset 0 -"]),
        (&["FLUSHDB"], &["flushdb 0 -", "flushdb 0 -"]),
    ] {
        feed(&mut mirror, commands).unwrap();
        let mut of_write = log.take();
        of_write.sort();
        assert_eq!(of_write, heard, "{commands:?}");
    }
    feed(&mut mirror, &["MULTI", "SET 7 1"]).unwrap();
    let (late, other) = (Arc::new(Log::default()), Arc::new(Log::default()));
    watch(&shared, 0, Watched::Pattern(b"?"), 2, late.clone()).unwrap();
    watch(&shared, 0, Watched::Pattern(b"??"), 2, other.clone()).unwrap();
    feed(&mut mirror, &["EXEC"]).unwrap();
    assert_eq!((late.take(), other.take()), (vec!["init".to_owned()], vec![]));
}

#[test]
fn values_and_keys_are_sent_once_for_each_key_and_publication() {
    let (mut mirror, shared) = mirror();
    let (values, keys) = (Arc::new(Log::default()), Arc::new(Log::default()));
    watch_as(&shared, 0, Watched::Prefix(b""), Notify::Value, 1, values.clone()).unwrap();
    watch_as(&shared, 0, Watched::Key(b"a"), Notify::Key, 1, keys.clone()).unwrap();
    for (commands, to_values, to_keys) in [
        (&["SET a 1", "SET a 2", "SET b 1"][..], &["0 a 0 2", "0 b nil 1"][..], &["0 a"][..]),
        (&["MSET a 3 b 2", "DEL b", "SADD s 1"], &["0 a 2 3", "0 b 1 nil", "0 s nil set"], &["0 a"]),
        (&["MULTI", "SET a 4"], &[], &[]),
        (&["SET a 5", "EXEC"], &["0 a 3 5"], &["0 a"]),
        (&["FLUSHALL", "SET a 6"], &["0 - nil nil", "0 a 5 6"], &["0 a"]),
    ] {
        feed(&mut mirror, commands).unwrap();
        assert_eq!(values.take(), to_values, "{commands:?}");
        assert_eq!(keys.take(), to_keys, "{commands:?}");
    }
}

#[test]
fn a_watch_that_comes_when_everything_is_published_is_not_compared() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["SET a 1"]).unwrap();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"a"), 1, log.clone()).unwrap();
    let old = shared.live.snapshot().unwrap();
    let shown = Shown { old: Some(&old), new: &old, hits: &[], complete: true };
    assert!(shared.watches.stale_new(&shown, &[]).is_empty());
    feed(&mut mirror, &["SET a 2"]).unwrap();
    assert_eq!(log.take(), ["set 0 a"]);
}

#[test]
fn a_full_sync_sends_one_init_to_each_watch() {
    let (mut mirror, shared) = mirror();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"a"), 1, log.clone()).unwrap();
    watch(&shared, 0, Watched::Key(b"zz"), 1, log.clone()).unwrap();
    mirror.install(loaded(&[("a", "9")]), 0);
    assert_eq!(log.take(), ["init", "init"]);
    assert_eq!(get(&shared, "a").as_deref(), Some("9"));
}

#[test]
fn a_panic_in_the_middle_of_notifying_is_followed_by_init() {
    /// Panics at its first event.
    struct Panics(AtomicU64);
    impl Hears for Panics {
        fn notify(&self, _: &Event<'_>) {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the first event");
        }
    }
    let (mut mirror, shared) = mirror();
    let logs = [Arc::new(Log::default()), Arc::new(Log::default())];
    let panics = Arc::new(Panics(AtomicU64::new(0)));
    watch(&shared, 0, Watched::Key(b"a"), 1, logs[0].clone()).unwrap();
    watch(&shared, 0, Watched::Key(b"a"), 2, panics.clone()).unwrap();
    watch(&shared, 0, Watched::Key(b"a"), 3, logs[1].clone()).unwrap();
    let fed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed(&mut mirror, &["SET a 1"])));
    assert!(fed.is_err());
    mirror.ended();
    assert!(mirror.position().is_some(), "what was applied is whole");
    mirror.tick(0);
    assert_eq!(logs.map(|log| log.take().pop()), [Some("init".into()), Some("init".into())]);
    assert_eq!(panics.0.load(Ordering::Relaxed), 2);
}

#[test]
fn events_that_are_held_back_are_bounded_and_an_init_stands_for_what_is_dropped() {
    let (mut mirror, shared) = mirror();
    let (on_a, on_b) = (Arc::new(Log::default()), Arc::new(Log::default()));
    watch(&shared, 0, Watched::Key(b"a"), 1, on_a.clone()).unwrap();
    watch(&shared, 0, Watched::Key(b"b"), 1, on_b.clone()).unwrap();
    feed(&mut mirror, &["SET __vdr_tx 1"]).unwrap();
    for _ in 0..=PENDING_EVENTS_MAX / 1000 {
        feed(&mut mirror, &["SET a 1"; 1000]).unwrap();
    }
    assert_eq!((on_a.take().len(), mirror.publisher.pending.len()), (0, 0));
    feed(&mut mirror, &["SET a 2", "DEL __vdr_tx"]).unwrap();
    assert_eq!((on_a.take(), on_b.take()), (vec!["init".into()], vec![]));
    feed(&mut mirror, &["SET a 3", "SET b 3"]).unwrap();
    assert_eq!((on_a.take().len(), on_b.take().len()), (1, 1));
    // Long commands count by their length.
    let long = format!("SET a {}", "x".repeat(PENDING_BYTES_MAX / 2));
    feed(&mut mirror, &["MULTI", &long, &long, &long]).unwrap();
    assert_eq!(mirror.publisher.pending.len(), 0);
    // The MULTI is cut off and comes again.
    mirror.ended();
    feed(&mut mirror, &["MULTI", "SET b 4", "EXEC"]).unwrap();
    assert_eq!((on_a.take(), on_b.take().len()), (vec!["init".into()], 1));
}

/// Writes that come together are looked up ahead, by their first argument in the database of the
/// first of them.
#[test]
fn a_write_is_heard_of_whose_first_argument_nobody_watches() {
    let (mut mirror, shared) = mirror();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"k"), 1, log.clone()).unwrap();
    watch(&shared, 1, Watched::Key(b"x"), 1, log.clone()).unwrap();
    feed(&mut mirror, &["SET x 1", "DEL x k", "MSET x 1 k 1", "SET x 1", "RENAME x k"]).unwrap();
    assert_eq!(log.take(), ["del 0 k", "mset 0 k", "rename 0 k"]);
    feed(&mut mirror, &["SET x 1", "SELECT 1", "SET x 1", "SET k 1", "SELECT 0", "SET x 1", "COPY x k"]).unwrap();
    assert_eq!(log.take(), ["set 1 x", "copy 0 k"]);
    feed(&mut mirror, &["SET x 1", "MOVE x 1", "SET y 1", "FLUSHDB"]).unwrap();
    assert_eq!(log.take(), ["move 1 x", "flushdb 0 k"]);
}

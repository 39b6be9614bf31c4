mod watches;

use super::apply::COMMANDS_PER_SNAPSHOT;
use super::*;
use crate::resp;
use crate::watch::{Event, Mailbox, Manner, Notify, Owner, Tag, WatchError, Watched, Watcher};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicU64;
use vdr_data::blob::Blob;
use vdr_data::keyspace::{Entry, EntryRef, Keyspace};
use vdr_data::value::ValueRef;

/// Who hears of events.
trait Hears: Send + Sync {
    fn notify(&self, event: &Event<'_>);
}

/// A mailbox that is read at once.
struct ReadAtOnce(Arc<dyn Hears>);

impl Mailbox for ReadAtOnce {
    fn send(&self, _tag: Tag, event: &Event<'_>) {
        self.0.notify(event);
    }
    fn sample(&self, _watcher: &Arc<Watcher>) {}
    fn serve_soon(&self, _watcher: &Arc<Watcher>) {}
    fn release(&self, _tag: Tag) {}
}

fn watch(
    shared: &Shared,
    db: u32,
    watched: Watched<&[u8]>,
    owner: Owner,
    hears: Arc<dyn Hears>,
) -> Result<(), WatchError> {
    watch_as(shared, db, watched, Notify::Command, owner, hears)
}

fn watch_as(
    shared: &Shared,
    db: u32,
    watched: Watched<&[u8]>,
    notify: Notify,
    owner: Owner,
    hears: Arc<dyn Hears>,
) -> Result<(), WatchError> {
    shared.watches.add(db, watched, manner(notify), &watcher(shared, owner, hears), 0).map(drop)
}

fn manner(notify: Notify) -> Manner {
    Manner { notify, max_pending: 1_000_000, link: false }
}

fn watcher(shared: &Shared, owner: Owner, hears: Arc<dyn Hears>) -> Arc<Watcher> {
    shared.watches.watcher(owner, Box::new(ReadAtOnce(hears)))
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Hears for Log {
    fn notify(&self, event: &Event<'_>) {
        let name = |key: &Option<&Blob>| key.map_or("-".into(), |key| key.as_bytes().escape_ascii().to_string());
        let value = |entry: &Option<EntryRef<'_>>| match entry.map(EntryRef::value) {
            Some(ValueRef::String(string)) => String::from_utf8(string.to_vec()).unwrap(),
            Some(other) => other.kind().name().to_owned(),
            None => "nil".to_owned(),
        };
        self.0.lock().push(match event {
            Event::Update { command, db, key, .. } => format!("{} {db} {}", command.name, name(key)),
            Event::Value { db, key, old, new, .. } => format!("{db} {} {} {}", name(key), value(old), value(new)),
            Event::Key { db, key, .. } => format!("{db} {}", name(key)),
            Event::Init { .. } => "init".to_owned(),
            Event::Missed { count, .. } => format!("missed {count}"),
            Event::Link { up } => format!("up {up}"),
        });
    }
}

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

fn mirror() -> (Mirror, Shared) {
    let shared = Shared::default();
    let mut mirror = Mirror::new(shared.clone(), Some(b"__vdr_tx".to_vec()), Box::new(drop));
    mirror.install(loaded(&[("a", "0")]), 0);
    (mirror, shared)
}

/// A dropper that counts the snapshots that it is given.
fn count_snapshots(count: Arc<AtomicU64>) -> DeferDrop {
    Box::new(move |garbage| {
        count.fetch_add(u64::from(matches!(garbage, Garbage::Snapshot(_))), Ordering::Relaxed);
    })
}

fn loaded(strings: &[(&str, &str)]) -> Loaded {
    let mut keyspace = Keyspace::default();
    for (key, value) in strings {
        keyspace.db_mut(0).insert(key.as_bytes(), Entry::new(Blob::from(*value)));
    }
    Loaded { keyspace, replication_id: Arc::from("id"), offset: 0, db: 0, server: None, miscounted_streams: 0 }
}

fn feed(mirror: &mut Mirror, commands: &[&str]) -> Result<bool, Fault> {
    let mut stream = Vec::new();
    for command in commands {
        resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut stream);
    }
    let (mut input, mut ack_wanted) = (BytesMut::from(&stream[..]), false);
    loop {
        let turn = mirror.stream(&mut input, 0)?;
        ack_wanted |= turn.ack_wanted;
        if !turn.left {
            return Ok(ack_wanted);
        }
    }
}

fn get(shared: &Shared, key: &str) -> Option<String> {
    let snapshot = shared.live.snapshot()?;
    let value = snapshot.view(0, 0).string(key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn an_order_of_keys_that_a_reader_made_is_kept_from_then_on() {
    let (mut mirror, shared) = mirror();
    let keys = || {
        let snapshot = shared.live.snapshot().unwrap();
        let keys = snapshot.keyspace.db(0).keys(0, 10).map(|(key, ())| key.escape_ascii().to_string());
        keys.collect::<Vec<_>>().join(" ")
    };
    let ordered = || shared.live.snapshot().unwrap().keyspace.indexed_dbs();
    let asked = shared.live.snapshot().unwrap();
    feed(&mut mirror, &["SET c 1", "SET b 1"]).unwrap();
    assert_eq!((asked.keyspace.db(0).rank(b"a"), ordered()), (Ok(0), 0));
    // The reader brings what is shown up to date, and the publisher what follows.
    feed(&mut mirror, &["MULTI", "SET d 1"]).unwrap();
    shared.live.offer_key_index(asked);
    assert_eq!((ordered(), keys()), (1, "a b c".into()));
    feed(&mut mirror, &["DEL b", "EXEC", "SET e 1"]).unwrap();
    assert_eq!((ordered(), keys()), (1, "a c d e".into()));
    // Nobody holds on to what was offered.
    assert!(shared.live.take_key_index().is_none());
    mirror.install(loaded(&[("z", "0"), ("y", "0")]), 0);
    assert_eq!((ordered(), keys()), (1, "y z".into()));
    mirror.close();
}

#[test]
fn what_is_offered_when_nothing_comes_any_more_goes_with_the_instance() {
    let (mut mirror, shared) = mirror();
    let asked = shared.live.snapshot().unwrap();
    asked.keyspace.db(0).rank(b"a").unwrap();
    shared.live.offer_key_index(asked.clone());
    mirror.close();
    assert_eq!(Arc::strong_count(&asked), 1);
    // Nor is it kept when it comes too late.
    shared.live.offer_key_index(asked.clone());
    assert_eq!(Arc::strong_count(&asked), 1);
}

#[test]
fn what_is_offered_of_data_that_a_full_sync_replaces_goes_with_it() {
    let (mut mirror, shared) = mirror();
    let asked = shared.live.snapshot().unwrap();
    asked.keyspace.db(0).rank(b"a").unwrap();
    shared.live.offer_key_index(asked.clone());
    mirror.install(loaded(&[("b", "0")]), 0);
    assert_eq!((Arc::strong_count(&asked), shared.live.snapshot().unwrap().keyspace.indexed_dbs()), (1, 1));
}

#[test]
fn what_comes_at_once_is_shown_in_parts_but_never_a_part_of_a_unit() {
    /// What is shown when somebody is woken: its offset, and whether `last` is in it.
    struct Seen(Arc<Live>, Mutex<Vec<(u64, bool)>>);
    impl Hears for Seen {
        fn notify(&self, _: &Event<'_>) {
            let shown = self.0.snapshot().unwrap();
            let last = shown.view(0, 0).string(b"last").unwrap().is_some();
            self.1.lock().push((shown.offset, last));
        }
    }
    let many: Vec<String> = (0..COMMANDS_PER_SNAPSHOT * 3).map(|n| format!("SET k{n} 1")).collect();
    let many = || many.iter().map(String::as_str);
    let (mut mirror, shared) = mirror();
    let seen = Arc::new(Seen(shared.live.clone(), Mutex::default()));
    watch(&shared, 0, Watched::Key(b"a"), 1, seen.clone()).unwrap();
    let parts: Vec<&str> = ["SET a 1"].into_iter().chain(many()).chain(["SET a 2", "SET last 1"]).collect();
    feed(&mut mirror, &parts).unwrap();
    let end = shared.status.offset.load(Ordering::Relaxed);
    let shown = std::mem::take(&mut *seen.1.lock());
    assert!(matches!(shown[..], [(first, false), (second, true)] if first < second && second == end), "{shown:?}");

    feed(&mut mirror, &["DEL last"]).unwrap();
    let unit: Vec<&str> = ["MULTI", "SET a 3"].into_iter().chain(many()).chain(["SET last 1", "EXEC"]).collect();
    feed(&mut mirror, &unit).unwrap();
    assert_eq!(*seen.1.lock(), [(shared.status.offset.load(Ordering::Relaxed), true)]);
    // Where a command contradicts the data, what was shown before it stays.
    let broken: Vec<&str> = ["SET a 4"].into_iter().chain(many()).chain(["SADD last x", "SET a 5"]).collect();
    assert_eq!(feed(&mut mirror, &broken).err().unwrap().code, "diverged");
    assert_eq!(get(&shared, "a").as_deref(), Some("4"));
}

/// Whether it comes out like this. All threads of the process count as readers: one of another test
/// may read just now, and then the dropper gets what the writer would have freed.
fn comes_out<T: PartialEq + std::fmt::Debug>(expected: T, scenario: impl Fn() -> T) {
    let mut seen = scenario();
    for _ in 0..50 {
        if seen == expected {
            return;
        }
        seen = scenario();
    }
    assert_eq!(seen, expected);
}

#[test]
fn who_reads_on_what_was_replaced_leaves_it_to_the_reaper_and_who_is_done_by_then_to_the_writer() {
    /// Holds what is shown at the first event until the second.
    struct Holder(Arc<Live>, Mutex<Option<Arc<Snapshot>>>);
    impl Hears for Holder {
        fn notify(&self, _: &Event<'_>) {
            let mut held = self.1.lock();
            *held = if held.is_some() { None } else { self.0.snapshot() };
        }
    }
    comes_out([(0, 0), (1, 0)], || {
        let (shared, reaped) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let count = reaped.clone();
        let mut mirror = Mirror::new(shared.clone(), None, count_snapshots(count));
        mirror.install(loaded(&[("a", "0")]), 0);
        watch(&shared, 0, Watched::Key(b"a"), 1, Arc::new(Holder(shared.live.clone(), Mutex::default()))).unwrap();
        let keys: Vec<String> = (0..COMMANDS_PER_SNAPSHOT).map(|n| format!("SET k{n} 1")).collect();
        let keys = || keys.iter().map(String::as_str);
        let touches = |times: usize| -> Vec<&str> {
            let touch = std::iter::repeat_with(|| ["SET a 1"].into_iter().chain(keys()));
            touch.take(times).flatten().chain(keys()).collect()
        };
        [2, 1].map(|times| {
            feed(&mut mirror, &touches(times)).unwrap();
            (reaped.load(Ordering::Relaxed), mirror.publisher.replaced_len())
        })
    });
}

#[test]
fn a_divergence_keeps_what_is_served_and_asks_for_a_full_sync() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["SET a x"]).unwrap();
    let fault = feed(&mut mirror, &["SET a y", "INCRBY a 1"]).err().unwrap();
    assert_eq!(fault.code, "diverged");
    assert_eq!(shared.status.divergences.load(Ordering::Relaxed), 1);
    assert_eq!(get(&shared, "a").as_deref(), Some("x"));
    assert!(mirror.position().is_none());
}

#[test]
fn a_command_that_no_row_knows_is_counted_and_ends_the_link_when_that_is_wanted() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["FROB a", "frob b", "SET a 1"]).unwrap();
    assert_eq!(shared.status.unknown_commands.lock().get("frob"), Some(&2));
    assert_eq!(get(&shared, "a").as_deref(), Some("1"));
    mirror.set_on_unknown(OnUnknown::Stop);
    let fault = feed(&mut mirror, &["SET a 2", "FROB a", "SET a 3"]).err().unwrap();
    assert_eq!((fault.code, fault.detail.as_str()), ("unknown_command", "frob"));
    assert_eq!(get(&shared, "a").as_deref(), Some("1"));
}

#[test]
fn names_of_unknown_commands_are_bounded_and_counted_over_full_syncs() {
    let (mut mirror, shared) = mirror();
    let commands: Vec<String> = (0..UNKNOWN_NAMES_MAX + 10).map(|n| format!("X.{n} a")).collect();
    feed(&mut mirror, &commands.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    mirror.install(loaded(&[]), 0);
    feed(&mut mirror, &["x.0 a"]).unwrap();
    let counts = shared.status.unknown_commands.lock();
    assert_eq!((counts.get("x.0"), counts.get("..."), counts.len()), (Some(&2), Some(&10), UNKNOWN_NAMES_MAX + 1));
}

/// What a read of a string answers, in a word.
fn read(shared: &Shared, key: &str) -> String {
    match shared.live.snapshot().unwrap().view(0, 0).string(key.as_bytes()) {
        Ok(value) => value.map_or("nil".into(), |value| String::from_utf8(value.to_vec()).unwrap()),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn keys_that_an_unknown_command_names_are_in_doubt_until_a_write_replaces_them() {
    let (mut mirror, shared) = mirror();
    let counts = |shared: &Shared| {
        let unknown_values = shared.live.snapshot().unwrap().keyspace.unknown_values();
        (unknown_values, shared.status.incomplete.load(Ordering::Relaxed))
    };
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"b"), 1, log.clone()).unwrap();
    feed(&mut mirror, &["MSET a 1 b 1 c 1", "FROB new 7 b"]).unwrap();
    assert_eq!(
        ["a", "b", "c", "new", "7"].map(|key| read(&shared, key)),
        ["1", "UnknownValue", "1", "UnknownValue", "UnknownValue"]
    );
    assert_eq!((counts(&shared), log.take()), ((3, true), vec!["mset 0 b".into(), "generic 0 b".into()]));
    // What is done to them is no contradiction, whatever they hold.
    feed(
        &mut mirror,
        &["APPEND b x", "SADD b x", "LPOP b", "EXPIRE b 100", "RENAME b d", "COPY d e", "SUNIONSTORE f d"],
    )
    .unwrap();
    assert_eq!(
        ["b", "d", "e", "f"].map(|key| read(&shared, key)),
        ["nil", "UnknownValue", "UnknownValue", "UnknownValue"]
    );
    feed(&mut mirror, &["SET d 2", "DEL e new 7", "SET f 3"]).unwrap();
    assert_eq!((read(&shared, "d"), read(&shared, "e"), counts(&shared)), ("2".into(), "nil".into(), (0, true)));
    // Nor is a key missing that may have been made by what is not understood.
    feed(&mut mirror, &["PEXPIREAT made 5000000000000", "RENAME made2 made3"]).unwrap();
    assert_eq!(["made", "made3"].map(|key| read(&shared, key)), ["UnknownValue"; 2]);
    assert_eq!(shared.status.divergences.load(Ordering::Relaxed), 0);
    mirror.install(loaded(&[("b", "4")]), 0);
    assert_eq!((read(&shared, "b"), counts(&shared)), ("4".into(), (0, false)));
    assert_eq!(feed(&mut mirror, &["PEXPIREAT made 5000000000000"]).unwrap_err().code, "diverged");
}

#[test]
fn a_name_that_is_not_the_first_argument_is_in_doubt_within_bounds() {
    let (mut mirror, shared) = mirror();
    let doubted = |shared: &Shared| shared.live.snapshot().unwrap().keyspace.unknown_values();
    feed(&mut mirror, &["FROB from to WITHSCORES"]).unwrap();
    assert_eq!(["to", "from", "WITHSCORES"].map(|key| read(&shared, key)), ["UnknownValue", "UnknownValue", "nil"]);
    // A command with many arguments carries values, and so does a long one.
    let many: String = (0..100).map(|n| format!(" m{n}")).collect();
    feed(&mut mirror, &[&format!("FROB{many}"), &format!("FROB a {}", "x".repeat(2000))]).unwrap();
    assert_eq!(
        ["m0", "m16", "m17", "a"].map(|key| read(&shared, key)),
        ["UnknownValue", "UnknownValue", "nil", "UnknownValue"]
    );
    assert_eq!((read(&shared, &"x".repeat(2000)), doubted(&shared)), ("nil".into(), 20));
    // Beyond the bound only first arguments are marked, and keys that are there.
    for n in 0..1_000 {
        let others: String = (0..16).map(|at| format!(" o{n}:{at}")).collect();
        feed(&mut mirror, &[&format!("FROB f{}{others}", n % 10)]).unwrap();
    }
    assert_eq!(doubted(&shared), 2 + 17 + 1 + 10 + 10_000 - 17);
    feed(&mut mirror, &["SET late 1", "FROB more late other"]).unwrap();
    assert_eq!(["more", "late", "other"].map(|key| read(&shared, key)), ["UnknownValue", "UnknownValue", "nil"]);
    mirror.install(loaded(&[]), 0);
    feed(&mut mirror, &["FROB more other"]).unwrap();
    assert_eq!(read(&shared, "other"), "UnknownValue");
}

#[test]
fn a_full_sync_of_far_fewer_keys_is_refused_where_that_is_wanted() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["MSET a 1 b 1 c 1 d 1"]).unwrap();
    let sync = |mirror: &mut Mirror, keys: usize| {
        let mut file = b"REDIS0011\xfe\x00".to_vec();
        (0..keys).for_each(|key| file.extend([0, 1, b'k' + key as u8, 1, b'v']));
        file.extend([0xff; 1]);
        file.extend([0; 8]);
        mirror.sync_started("b", 100);
        mirror.rdb(&file).unwrap();
        let finished = mirror.sync_finished(0);
        mirror.ended();
        finished
    };
    mirror.set_keep_below(0.5);
    let fault = sync(&mut mirror, 1).unwrap_err();
    assert_eq!((fault.code, fault.detail.as_str()), ("primary_emptied", "1 keys instead of 4"));
    assert_eq!((read(&shared, "a"), read(&shared, "k")), ("1".into(), "nil".into()));
    assert_eq!(sync(&mut mirror, 2), Ok(()), "half is enough");
    assert_eq!((read(&shared, "a"), read(&shared, "k")), ("nil".into(), "v".into()));
    mirror.set_keep_below(0.0);
    assert_eq!(sync(&mut mirror, 0), Ok(()));
    mirror.set_keep_below(1.0);
    assert_eq!(sync(&mut mirror, 0), Ok(()), "there is nothing to keep");
}

#[test]
fn an_unknown_option_is_treated_as_an_unknown_command_is() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["MSET a 1 b 1", "SET a 2 SOMEHOW", "SET c 1"]).unwrap();
    assert_eq!(["a", "b", "c"].map(|key| read(&shared, key)), ["UnknownValue", "1", "1"]);
    assert_eq!(shared.status.unknown_commands.lock().get("set"), Some(&1));
    feed(&mut mirror, &["SET a 3"]).unwrap();
    assert_eq!(read(&shared, "a"), "3");
    mirror.set_on_unknown(OnUnknown::Stop);
    assert_eq!(feed(&mut mirror, &["SET a 2 SOMEHOW"]).unwrap_err().code, "unknown_command");
}

#[test]
fn keys_of_module_types_lead_to_no_full_sync() {
    let (mut mirror, shared) = mirror();
    for _ in 0..30 {
        feed(&mut mirror, &["VADD v x", "EXPIRE v 100", "JSON.SET j $ 1", "PEXPIREAT j 5000000000000"]).unwrap();
        feed(&mut mirror, &["PERSIST j", "RENAME j k", "COPY k l", "MOVE l 3", "VREM v x", "SADD v x", "DEL v"])
            .unwrap();
    }
    assert_eq!((shared.status.divergences.load(Ordering::Relaxed), read(&shared, "k")), (0, "WrongType".into()));
    assert!(!shared.status.incomplete.load(Ordering::Relaxed));
}

#[test]
fn a_full_sync_that_is_broken_off_is_freed_by_the_dropper() {
    let (shared, dropped) = (Shared::default(), Arc::new(AtomicU64::new(0)));
    let count = dropped.clone();
    let defer_drop = move |garbage| {
        count.fetch_add(u64::from(matches!(garbage, Garbage::FullSync(_))), Ordering::Relaxed);
    };
    let mut mirror = Mirror::new(shared, None, Box::new(defer_drop));
    mirror.sync_started("id", 7);
    mirror.ended();
    mirror.sync_started("id", 7);
    mirror.sync_started("id", 8);
    mirror.close();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
}

#[test]
fn a_full_sync_is_visible_before_its_key_index_is_built() {
    type Jobs = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;
    let (mirror, shared) = mirror();
    let jobs = Jobs::default();
    let queue = jobs.clone();
    let mut mirror = mirror.with_background(Box::new(move |job| queue.lock().push(job)));
    let ordered = || shared.live.snapshot().unwrap().keyspace.indexed_dbs();
    shared.live.snapshot().unwrap().keyspace.db(0).rank(b"a").unwrap();
    mirror.install(loaded(&[("b", "1")]), 0);
    assert_eq!((ordered(), get(&shared, "b").as_deref()), (0, Some("1")));
    feed(&mut mirror, &["SET c 1"]).unwrap();
    let job = jobs.lock().pop().unwrap();
    job();
    feed(&mut mirror, &["SET d 1"]).unwrap();
    assert_eq!((ordered(), jobs.lock().len()), (1, 0));
    mirror.install(loaded(&[("b", "1")]), 0);
    assert_eq!(jobs.lock().len(), 1);
}

#[test]
fn a_long_string_is_copied_once_however_many_changes_are_published() {
    const LEN: usize = 4 << 20;
    let long = "x".repeat(LEN);
    let copies = |commands: &[&str]| {
        let (mirror, shared) = mirror();
        let mut mirror = mirror.with_clock(ticking);
        feed(&mut mirror, &[&format!("SET k {long}")]).unwrap();
        feed(&mut mirror, commands).unwrap();
        let copied = shared.live.snapshot().unwrap().keyspace.copied();
        copied / LEN as u64
    };
    // Each look at the clock is a millisecond later, so that commands count as slow and are
    // published one by one. The first change copies the string, each later one a chunk.
    let bits: Vec<String> = (0..1000).map(|n| format!("SETBIT k {n} 0")).collect();
    let bits: Vec<&str> = bits.iter().map(String::as_str).collect();
    assert!((1..=3).contains(&copies(&bits)), "{}", copies(&bits));
    let tails = vec!["APPEND k 123"; 100];
    assert_eq!(copies(&tails), 1);
}

#[test]
fn commands_follow_the_rules_of_the_server_linked_to_and_not_of_the_files_writer() {
    let server = |version: &str| Server { name: "redis", version: version.to_owned() };
    let entries_read = |linked_to: Option<&str>| {
        let (mut mirror, shared) = mirror();
        mirror.install(Loaded { server: Some(server("8.2.1")), ..loaded(&[]) }, 0);
        feed(&mut mirror, &["XADD s 1-1 f v", "XGROUP CREATE s g 0"]).unwrap();
        mirror.ended();
        if let Some(version) = linked_to {
            mirror.linked_to(server(version));
        }
        mirror.continued("id");
        feed(&mut mirror, &["XGROUP SETID s g 1-1 ENTRIESREAD 9"]).unwrap();
        let snapshot = shared.live.snapshot().unwrap();
        let stream = snapshot.view(0, 0).stream(b"s").unwrap().unwrap().clone();
        let read = stream.groups().next().unwrap().1.entries_read;
        (read, snapshot.server.as_ref().unwrap().version.clone())
    };
    assert_eq!(entries_read(None), (Some(9), "8.2.1".to_owned()));
    assert_eq!(entries_read(Some("8.6.0")), (Some(1), "8.6.0".to_owned()));
}

/// The limit holds for the stream and for the file alike, and once it is met the server is asked.
#[test]
fn a_string_above_the_limit_is_one_fault_wherever_it_comes() {
    let long = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$700000000\r\n";
    let file = [&b"REDIS0011\0\x01k\x80"[..], &700_000_000u32.to_be_bytes()].concat();
    for in_stream in [true, false] {
        let (mut mirror, _shared) = mirror();
        let mut offer = || {
            if in_stream {
                mirror.install(loaded(&[]), 0);
                let offered = mirror.stream(&mut BytesMut::from(&long[..]), 0).map(drop);
                (offered, mirror.string_limit())
            } else {
                mirror.sync_started("id", 0);
                (mirror.rdb(&file).map(drop), mirror.string_limit())
            }
        };
        let (offered, limit) = offer();
        assert_eq!(offered.unwrap_err().code, "string_too_long");
        assert!(limit.is_new());
        mirror.set_string_limit(|limit| limit.answered(Some(1 << 30)));
        let again = if in_stream {
            mirror.install(loaded(&[]), 0);
            mirror.stream(&mut BytesMut::from(&long[..]), 0).map(drop)
        } else {
            mirror.sync_started("id", 0);
            mirror.rdb(&file).map(drop)
        };
        assert_eq!(again, Ok(()));
    }
}

#[test]
fn a_cut_off_multi_is_forgotten_with_its_events() {
    let (mut mirror, shared) = mirror();
    let log = Arc::new(Log::default());
    watch(&shared, 0, Watched::Key(b"a"), 1, log.clone()).unwrap();
    feed(&mut mirror, &["MULTI", "SET a 2"]).unwrap();
    let before = mirror.position().unwrap();
    mirror.ended();
    assert_eq!(mirror.position().unwrap(), before);
    feed(&mut mirror, &["MULTI", "SET a 3", "EXEC"]).unwrap();
    assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (1, Some("3")));
}

#[test]
fn what_a_panic_left_half_applied_is_not_gone_on_with() {
    let (mut mirror, shared) = mirror();
    feed(&mut mirror, &["SET a 1"]).unwrap();
    mirror.applying = true;
    mirror.ended();
    assert!(mirror.position().is_none());
    assert_eq!(get(&shared, "a").as_deref(), Some("1"), "what was visible stays");
    assert_eq!(feed(&mut mirror, &["SET a 2"]).unwrap_err().code, "protocol");
    mirror.ended();
    assert!(mirror.position().is_none());
}

thread_local! {
    static STEADY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A clock that only [`pass`] moves.
fn steady() -> Duration {
    STEADY.get()
}

/// A clock that each look moves by a millisecond.
fn ticking() -> Duration {
    pass(Duration::from_millis(1));
    steady()
}

fn pass(time: Duration) {
    STEADY.set(STEADY.get() + time);
}

#[test]
fn a_guard_window_holds_writes_back_up_to_its_limit_whatever_the_wall_clock_says() {
    let (mirror, shared) = mirror();
    let mut mirror = mirror.with_clock(steady);
    feed(&mut mirror, &["SET __vdr_tx 1", "SET a 1"]).unwrap();
    feed(&mut mirror, &["SET b 1"]).unwrap();
    assert_eq!((get(&shared, "a").as_deref(), get(&shared, "b")), (Some("0"), None));
    feed(&mut mirror, &["SET a 5"]).unwrap();
    mirror.tick(1 << 40);
    assert_eq!(get(&shared, "a").as_deref(), Some("0"));
    pass(GUARD_WINDOW_MAX + Duration::from_millis(1));
    mirror.tick(-1);
    assert_eq!(get(&shared, "a").as_deref(), Some("5"));
    assert!(shared.status.guard_windows_closed.is_empty());
    assert_eq!(shared.status.guard_window_since_ms.load(Ordering::Relaxed), 0);
    assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 1);
}

#[test]
fn windows_one_after_the_other_do_not_add_up() {
    let (mirror, shared) = mirror();
    let (mut mirror, mut stream) = (mirror.with_clock(steady), Vec::new());
    for n in 0..10 {
        stream.clear();
        // Each batch ends inside of the next window.
        let (a, b) = (format!("SET a {n}"), "DEL __vdr_tx");
        for command in [b, "SET __vdr_tx 1", &a] {
            resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut stream);
        }
        mirror.stream(&mut BytesMut::from(&stream[..]), 0).unwrap();
        pass(GUARD_WINDOW_MAX / 2);
    }
    assert_eq!(get(&shared, "a").as_deref(), Some("8"));
    assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 0);
    let closed = shared.status.guard_windows_closed.take();
    assert_eq!((closed.count, closed.total / 9), (9, closed.longest));
    assert!(closed.longest >= GUARD_WINDOW_MAX / 2);
    assert!(shared.status.guard_windows_closed.is_empty());
}

#[test]
fn a_full_sync_inside_of_a_window_leaves_the_old_data_visible_until_it_closes() {
    let (mirror, shared) = mirror();
    let mut mirror = mirror.with_clock(steady);
    mirror.install(loaded(&[("a", "9"), ("__vdr_tx", "1")]), 0);
    assert_eq!(get(&shared, "a").as_deref(), Some("0"));
    feed(&mut mirror, &["SET a 10"]).unwrap();
    assert_eq!(get(&shared, "a").as_deref(), Some("0"));
    feed(&mut mirror, &["DEL __vdr_tx"]).unwrap();
    assert_eq!(get(&shared, "a").as_deref(), Some("10"));
    mirror.install(loaded(&[("a", "11"), ("__vdr_tx", "1")]), 0);
    pass(GUARD_WINDOW_MAX + Duration::from_millis(1));
    mirror.tick(0);
    assert_eq!(get(&shared, "a").as_deref(), Some("11"));
    assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 1);
}

/// What the writer itself frees comes back to it warm; what may be much, or is still read, goes to
/// the dropper.
#[test]
fn the_writer_frees_what_is_little_and_read_by_nobody() {
    let members: Vec<String> = (0..=publish::UNLINKED_MAX).map(|n| n.to_string()).collect();
    let [s, t] = ["s", "t"].map(|key| format!("SADD {key} {}", members.join(" ")));
    let steps: [(&[&str], u64, &str); 9] = [
        (&["SET a 1"], 0, "little"),
        (&["SET a 2"], 1, "somebody reads it"),
        (&["SET a 3", "DEL a"], 0, "little"),
        (&[&s, &t], 0, "nothing is replaced"),
        (&["SREM s 1 2 3", "SADD s x 1 2 3"], 0, "little"),
        (&["SET s x"], 1, "a large set was replaced"),
        (&["DEL t"], 1, "a large set is gone"),
        (&["SET a 4"], 0, "little"),
        (&["FLUSHDB"], 1, "nobody counted how much it was"),
    ];
    let expected: Vec<(u64, &str)> = steps.iter().map(|(_, buried, why)| (*buried, *why)).collect();
    comes_out((expected, 1), || {
        let buried = Arc::new(AtomicU64::new(0));
        let shared = Shared::default();
        let mut mirror = Mirror::new(shared.clone(), None, count_snapshots(buried.clone()));
        mirror.install(loaded(&[("a", "0")]), 0);
        let sent = steps.map(|(commands, _, why)| {
            let held = (why == "somebody reads it").then(|| shared.live.snapshot());
            feed(&mut mirror, commands).unwrap();
            drop(held);
            (buried.swap(0, Ordering::Relaxed), why)
        });
        mirror.install(loaded(&[("a", "0")]), 0);
        // A full sync replaces everything.
        (sent.to_vec(), buried.load(Ordering::Relaxed))
    });
}

/// Each look at the clock is a millisecond later than the last.
fn late() -> Duration {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    Duration::from_millis(LOOKS.fetch_add(1, Ordering::Relaxed))
}

/// Notes how far what can be read is when it gets the message of a write.
struct Reader(Shared, Mutex<Vec<Option<String>>>);

impl Hears for Reader {
    fn notify(&self, _event: &Event<'_>) {
        self.1.lock().push(get(&self.0, "k"));
    }
}

#[test]
fn slow_commands_are_published_one_by_one_though_they_come_together() {
    let seen = |clock: Option<Clock>| {
        let (mut mirror, shared) = mirror();
        if let Some(clock) = clock {
            mirror = mirror.with_clock(clock);
        }
        let reader = Arc::new(Reader(shared.clone(), Mutex::default()));
        let watcher = watcher(&shared, 1, reader.clone());
        shared.watches.add(0, Watched::Key(b"k"), manner(Notify::Command), &watcher, 0).unwrap();
        let writes: Vec<String> = (0..32).map(|n| format!("SET k {n}")).collect();
        feed(&mut mirror, &writes.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        // Which holds the watches, and they it.
        shared.watches.remove_watcher(&watcher);
        let seen = std::mem::take(&mut *reader.1.lock());
        seen.into_iter().map(|value| value.unwrap().parse().unwrap()).collect::<Vec<usize>>()
    };
    assert_eq!(seen(None), vec![31; 32]);
    // How slow they are is known behind the first sixteen.
    assert_eq!(seen(Some(late)), [vec![15; 16], (16..32).collect()].concat());
}

#[test]
fn a_stream_whose_writes_are_wrapped_is_never_followed() {
    let (mut mirror, shared) = mirror();
    mirror.install(loaded(&[("a", "1")]), 0);
    let wrapped = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n";
    let mut stream = Vec::new();
    resp::encode(&[b"RREPLAY", b"f6bd2e5a-0000-4000-8000-000000000001", wrapped.as_bytes(), b"0"], &mut stream);
    let fault = mirror.stream(&mut BytesMut::from(&stream[..]), 0).err().unwrap();
    assert_eq!(fault.code, ACTIVE_REPLICATION);
    assert_eq!(mirror.position(), None, "nothing is resumed");
    assert_eq!(get(&shared, "a").as_deref(), Some("1"), "what was read before stays");
    assert!(shared.status.unknown_commands.lock().is_empty());
}

#[test]
fn a_long_input_is_left_in_part_so_that_the_link_can_acknowledge() {
    let (mirror, shared) = mirror();
    let mut mirror = mirror.with_clock(ticking);
    mirror.install(loaded(&[]), 0);
    let mut stream = Vec::new();
    for n in 1..=5000 {
        resp::encode(&[b"SET", b"n", n.to_string().as_bytes()], &mut stream);
    }
    let (mut input, mut turns) = (BytesMut::from(&stream[..]), 0);
    let mut acknowledged = mirror.applied();
    while mirror.stream(&mut input, 0).unwrap().left {
        turns += 1;
        assert!(mirror.applied() > acknowledged, "each turn gets on");
        acknowledged = mirror.applied();
    }
    assert!(turns > 3, "{turns}");
    assert!(input.is_empty());
    assert_eq!(get(&shared, "n").as_deref(), Some("5000"));
}

use super::finder::Finder;
use super::*;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64};
use vdr_commands::Affected;

/// A process whose mailbox is read when the test says so.
#[derive(Default)]
struct Inbox {
    heard: Mutex<Vec<String>>,
    /// Messages of the library and of others that were not read yet.
    waiting: AtomicI64,
    samples: AtomicUsize,
    serves: AtomicUsize,
    /// The next event panics.
    panics: AtomicBool,
    released: Mutex<Vec<Tag>>,
}

struct To(Arc<Inbox>);

impl Mailbox for To {
    fn send(&self, tag: Tag, event: &Event<'_>) {
        assert!(!self.0.panics.swap(false, Ordering::SeqCst), "as the test wants it");
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        self.0.heard.lock().push(match event {
            Event::Update { offset, .. } => format!("{tag}:{offset}"),
            Event::Value { .. } | Event::Key { .. } => format!("{tag}:key"),
            Event::Init { offset } => format!("{tag}:init {offset}"),
            Event::Missed { from, to, count } => format!("{tag}:missed {from}-{to} {count}"),
            Event::Link { up } => format!("{tag}:up {up}"),
        });
    }
    fn sample(&self, _watcher: &Arc<Watcher>) {
        self.0.samples.fetch_add(1, Ordering::SeqCst);
    }
    fn serve_soon(&self, _watcher: &Arc<Watcher>) {
        self.0.serves.fetch_add(1, Ordering::SeqCst);
    }
    fn release(&self, tag: Tag) {
        self.0.released.lock().push(tag);
    }
}

impl Inbox {
    fn read_all(&self) -> Vec<String> {
        self.waiting.store(0, Ordering::SeqCst);
        std::mem::take(&mut self.heard.lock())
    }

    /// The host looks at the mailbox, and serves who lags.
    fn look(&self, watcher: &Arc<Watcher>) -> bool {
        let sent = watcher.sent();
        let again = watcher.sampled(sent, self.waiting.load(Ordering::SeqCst) as u32);
        if self.serves.swap(0, Ordering::SeqCst) > 0 {
            watcher.serve();
        }
        again
    }
}

fn manner(max_pending: u32) -> Manner {
    Manner { notify: Notify::Command, max_pending, link: false }
}

fn watcher(watches: &Watches, owner: Owner) -> (Arc<Inbox>, Arc<Watcher>) {
    let inbox = Arc::new(Inbox::default());
    (inbox.clone(), watches.watcher(owner, Box::new(To(inbox))))
}

/// A process that acknowledges each event while the event is still being sent.
#[derive(Default)]
struct Eager(std::sync::OnceLock<std::sync::Weak<Watcher>>, AtomicUsize);

impl Mailbox for Arc<Eager> {
    fn send(&self, _tag: Tag, event: &Event<'_>) {
        assert!(matches!(event, Event::Update { .. }));
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get().and_then(std::sync::Weak::upgrade).unwrap().acknowledge(1);
    }
    fn sample(&self, _watcher: &Arc<Watcher>) {}
    fn serve_soon(&self, _watcher: &Arc<Watcher>) {}
    fn release(&self, _tag: Tag) {}
}

#[test]
fn an_acknowledgement_that_comes_before_its_event_is_counted_is_not_lost() {
    let watches = Arc::new(Watches::new());
    let eager = Arc::new(Eager::default());
    let watcher = watches.watcher(1, Box::new(eager.clone()));
    eager.0.set(Arc::downgrade(&watcher)).unwrap();
    watcher.set_acknowledges();
    watches.add(0, Watched::Key(b"k"), manner(10), &watcher, 7).unwrap();
    (1..=100).for_each(|offset| write(&watches, b"k", offset));
    assert_eq!((eager.1.load(Ordering::SeqCst), watcher.lagging()), (100, 0));
}

/// What a write to this key does, visible at `offset`.
fn write(watches: &Arc<Watches>, key: &[u8], offset: u64) {
    let (mut finder, mut hits) = (Finder::new(watches), Vec::new());
    finder.begin();
    let tuple = || vdr_commands::tuple(&[b"DEL", key]);
    finder.affected(|report| report(Affected::Key { db: 0, key }), tuple, offset, &mut hits);
    watches.end();
    for hit in hits {
        let command = hit.command.as_ref().unwrap();
        hit.watch.deliver(&Event::Update { command, db: 0, key: hit.key.as_ref(), offset: hit.offset });
    }
}

/// Where each looked at all others this would take minutes. Miri takes as long for what does not.
const MANY: u64 = if cfg!(miri) { 100 } else { 100_000 };

#[test]
fn one_watcher_of_many_comes_and_goes_without_a_look_at_the_others() {
    let (watches, begun) = (Arc::new(Watches::new()), std::time::Instant::now());
    let watchers: Vec<_> = (0..MANY).map(|owner| watcher(&watches, owner).1).collect();
    let add = |watcher: &Arc<Watcher>| watches.add(0, Watched::Key(b"key"), manner(1), watcher, 0).map(drop);
    watchers.iter().for_each(|watcher| add(watcher).unwrap());
    assert_eq!(add(&watchers[7]), Err(WatchError::AlreadyRegistered));
    watchers.iter().rev().for_each(|watcher| watches.remove_watcher(watcher));
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert!(watches.is_empty());
}

#[test]
fn one_watch_of_many_is_removed_without_a_look_at_the_others() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    let keys: Vec<String> = (0..MANY).map(|n| format!("key:{n}")).collect();
    let watched = |key: &'static str| Watched::Key(key.as_bytes());
    for (tag, key) in keys.iter().enumerate() {
        watches.add(0, Watched::Key(key.as_bytes()), manner(1), &one, tag as Tag).unwrap();
    }
    let begun = std::time::Instant::now();
    let (last, rest) = keys.split_last().unwrap();
    rest.iter().rev().for_each(|key| watches.remove(0, Watched::Key(key.as_bytes()), &one).unwrap());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(watches.remove(0, watched("key:1"), &one), Err(WatchError::NotFound));
    assert_eq!((watches.len(), inbox.released.lock().len() as u64), (1, MANY - 1));
    write(&watches, last.as_bytes(), 7);
    assert_eq!(inbox.read_all(), [format!("{}:7", MANY - 1)]);
    watches.remove_watcher(&one);
    assert!(watches.is_empty());
}

#[test]
fn the_watches_of_a_process_go_with_it_and_with_their_tags() {
    let watches = Arc::new(Watches::new());
    let ((inbox, one), (_, other)) = (watcher(&watches, 1), watcher(&watches, 2));
    for (tag, watched) in
        [Watched::Key(&b"a"[..]), Watched::Prefix(b"a"), Watched::Pattern(b"a*")].into_iter().enumerate()
    {
        watches.add(0, watched, manner(9), &one, tag as Tag).unwrap();
        watches.add(0, watched, manner(9), &other, tag as Tag).unwrap();
        assert_eq!(watches.add(0, watched, manner(9), &one, 7).map(drop), Err(WatchError::AlreadyRegistered));
    }
    // Those that were refused are released, too.
    assert_eq!(std::mem::take(&mut *inbox.released.lock()), [7, 7, 7]);
    write(&watches, b"a", 1);
    let mut heard = inbox.read_all();
    heard.sort();
    assert_eq!(heard, ["0:1", "1:1", "2:1"]);
    watches.remove_watcher(&one);
    let mut released = inbox.released.lock().clone();
    released.sort();
    assert_eq!((released, watches.len()), (vec![0, 1, 2], 3));
    watches.remove_watcher(&other);
    assert!(watches.is_empty());
    // Nothing keeps a watcher alive once nobody uses it.
    assert_eq!(Arc::strong_count(&one), 1);
}

#[test]
fn a_process_that_does_not_read_is_sent_no_more_than_its_bound_and_then_told_what_it_missed() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    watches.add(0, Watched::Key(b"a"), manner(10), &one, 1).unwrap();
    watches.add(0, Watched::Key(b"b"), manner(10), &one, 2).unwrap();
    (1..=2).for_each(|offset| write(&watches, b"a", offset));
    assert_eq!(inbox.samples.load(Ordering::SeqCst), 0);
    (3..=8).for_each(|offset| write(&watches, b"a", offset));
    assert_eq!(inbox.samples.load(Ordering::SeqCst), 1, "when more than a quarter may wait");
    (9..=20).for_each(|offset| write(&watches, b"a", offset));
    (21..=23).for_each(|offset| write(&watches, b"b", offset));
    assert_eq!((inbox.waiting.load(Ordering::SeqCst), one.lagging()), (10, 2));
    assert_eq!(inbox.samples.load(Ordering::SeqCst), 1, "one question at a time");
    assert!(inbox.look(&one), "it has not read anything");
    // It has read some: not enough.
    inbox.waiting.store(6, Ordering::SeqCst);
    assert!(inbox.look(&one));
    assert_eq!(one.lagging(), 2);
    // What comes now waits for those before it.
    write(&watches, b"a", 24);
    inbox.waiting.store(5, Ordering::SeqCst);
    assert!(inbox.look(&one));
    let heard = inbox.read_all();
    assert_eq!(heard[10..], ["1:missed 11-24 11"], "with it the mailbox is more than half full");
    assert!(inbox.look(&one));
    assert!(!inbox.look(&one));
    write(&watches, b"a", 25);
    write(&watches, b"b", 26);
    assert_eq!(inbox.read_all(), ["2:missed 21-23 3", "1:25", "2:26"]);
}

#[test]
fn a_process_that_keeps_up_is_looked_at_now_and_then_and_misses_nothing() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    watches.add(0, Watched::Key(b"a"), manner(100), &one, 1).unwrap();
    for offset in 1..=10_000 {
        write(&watches, b"a", offset);
        inbox.waiting.store(0, Ordering::SeqCst);
        if inbox.samples.swap(0, Ordering::SeqCst) > 0 {
            assert!(!inbox.look(&one));
        }
    }
    assert_eq!(inbox.read_all().len(), 10_000);
    // The messages of others fill a mailbox, too.
    inbox.waiting.store(1000, Ordering::SeqCst);
    inbox.look(&one);
    write(&watches, b"a", 10_001);
    assert_eq!((one.lagging(), inbox.read_all().len()), (1, 0));
}

#[test]
fn an_init_stands_for_everything_before_it() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    let watch = watches.add(0, Watched::Key(b"a"), manner(2), &one, 1).unwrap();
    (1..=5).for_each(|offset| write(&watches, b"a", offset));
    watch.deliver(&Event::Init { offset: 6 });
    (7..=9).for_each(|offset| write(&watches, b"a", offset));
    assert_eq!(inbox.read_all(), ["1:1", "1:2"]);
    inbox.look(&one);
    assert_eq!(inbox.read_all(), ["1:init 6", "1:missed 7-9 3"]);
}

#[test]
fn a_panic_while_a_lagging_process_is_served_is_followed_by_an_init() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    watches.add(0, Watched::Key(b"a"), manner(2), &one, 1).unwrap();
    watches.add(0, Watched::Key(b"b"), manner(2), &one, 2).unwrap();
    (1..=5).for_each(|offset| write(&watches, b"a", offset));
    write(&watches, b"b", 6);
    assert_eq!(inbox.read_all(), ["1:1", "1:2"]);
    inbox.panics.store(true, Ordering::SeqCst);
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inbox.look(&one)));
    assert!(served.is_err());
    assert_eq!((inbox.read_all().len(), one.lagging()), (0, 2));
    // The next look finds it still lagging: what it was owed is lost, and Init says so.
    inbox.look(&one);
    assert_eq!(inbox.read_all(), ["1:init 5", "2:missed 6-6 1"]);
    inbox.look(&one);
    write(&watches, b"a", 7);
    assert_eq!((inbox.read_all(), one.lagging()), (vec!["1:7".to_owned()], 0));
}

#[test]
fn a_process_that_acknowledges_is_not_looked_at() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    one.set_acknowledges();
    watches.add(0, Watched::Key(b"a"), manner(4), &one, 1).unwrap();
    (1..=9).for_each(|offset| write(&watches, b"a", offset));
    assert_eq!((inbox.read_all().len(), inbox.samples.load(Ordering::SeqCst)), (4, 0));
    one.acknowledge(1);
    one.serve();
    assert_eq!(inbox.read_all().len(), 0);
    one.acknowledge(1);
    one.serve();
    assert_eq!(inbox.read_all(), ["1:missed 5-9 5"]);
    // More than it got does not count in advance.
    one.acknowledge(u32::MAX);
    (11..=15).for_each(|offset| write(&watches, b"a", offset));
    assert_eq!((inbox.read_all().len(), one.lagging()), (4, 1));
}

#[test]
fn the_link_is_heard_of_once_for_each_change_and_at_first() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    watches.link_up(1);
    watches.add(0, Watched::Key(b"a"), Manner { link: true, ..manner(2) }, &one, 1).unwrap();
    watches.add(0, Watched::Key(b"b"), manner(2), &one, 2).unwrap();
    assert_eq!(inbox.serves.load(Ordering::SeqCst), 1);
    one.serve();
    one.serve();
    assert_eq!(inbox.read_all(), ["1:up true"]);
    watches.link_down(2);
    watches.link_up(3);
    watches.link_down(1);
    inbox.look(&one);
    assert_eq!(inbox.read_all(), ["1:up false", "1:up true"]);
    // A process that lags hears what holds in the end.
    inbox.look(&one);
    (1..=4).for_each(|offset| write(&watches, b"a", offset));
    watches.link_down(3);
    watches.link_up(4);
    watches.link_down(4);
    assert_eq!(inbox.read_all(), ["1:1", "1:2"]);
    inbox.look(&one);
    assert_eq!(inbox.read_all(), ["1:missed 3-4 2", "1:up false"]);
    watches.remove(0, Watched::Key(b"a"), &one).unwrap();
    watches.link_up(5);
    assert_eq!(inbox.read_all(), [""; 0]);
}

#[test]
fn a_watcher_that_dies_while_it_lags_leaves_nothing() {
    let watches = Arc::new(Watches::new());
    let (inbox, one) = watcher(&watches, 1);
    watches.add(0, Watched::Key(b"a"), Manner { link: true, ..manner(1) }, &one, 1).unwrap();
    (1..=4).for_each(|offset| write(&watches, b"a", offset));
    watches.remove_watcher(&one);
    assert_eq!((one.lagging(), watches.len()), (1, 0));
    inbox.read_all();
    inbox.look(&one);
    assert_eq!((one.lagging(), inbox.read_all().len()), (0, 0));
    assert_eq!(Arc::strong_count(&one), 1);
}

#[test]
fn a_watch_takes_less_than_two_cache_lines() {
    assert!(std::mem::size_of::<Watch>() + 16 <= 96, "{}", std::mem::size_of::<Watch>());
}

/// Writes and watches at the same time: each write that is applied after a watch was added reaches
/// it, or the watch is new.
#[test]
fn a_watch_that_comes_between_writes_is_seen_or_new() {
    const TURNS: u64 = if cfg!(miri) { 5 } else { 300 };
    for turn in 0..TURNS {
        let watches = Arc::new(Watches::new());
        let (_, one) = watcher(&watches, 1);
        let watched = [Watched::Key(&b"a"[..]), Watched::Prefix(b""), Watched::Pattern(b"?")][turn as usize % 3];
        std::thread::scope(|scope| {
            let adder = scope.spawn(|| drop(watches.add(0, watched, manner(9), &one, 1).unwrap()));
            let (mut finder, mut hits) = (Finder::new(&watches), Vec::new());
            finder.begin();
            // As the mirror does it: without watches it does not look.
            if !watches.is_empty() {
                let tuple = || vdr_commands::tuple(&[b"DEL", b"a"]);
                finder.affected(|report| report(Affected::Key { db: 0, key: b"a" }), tuple, 1, &mut hits);
            }
            adder.join().unwrap();
            let new = watches.table.new_watches(true);
            assert!(!(hits.is_empty() && new.is_empty()), "{watched:?}");
            watches.end();
        });
    }
}

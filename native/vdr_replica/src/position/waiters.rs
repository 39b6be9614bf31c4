//! Who waits until a position is visible, in the order of the offsets.
//!
//! A publication that somebody waits for wakes the first few waiters itself and leaves the rest to
//! the caller of [`Waiters::serve`]. The publisher never waits for the lock here:
//! [`Waiters::try_serve`] gives up when another thread holds it.

use super::history::{Located, Position};
use super::visible::Visible;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many waiters a publication wakes before the others are left to another thread.
pub const WAITERS_PER_WAKE: usize = 64;

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Readers see everything up to the position.
    Visible,
    /// The position is not part of the data's history: its writes may or may not be in the data.
    Lost,
    /// The instance has ended.
    Closed,
}

/// Is called once, without a lock, on the thread that publishes or that serves the waiters.
pub trait Waiter: Send {
    fn done(self: Box<Self>, outcome: Outcome);
}

/// What was registered, to cancel it.
#[derive(Clone, Debug)]
pub struct Ticket {
    number: u64,
    position: Position,
}

/// What became of a registration.
#[derive(Debug)]
pub enum Registered {
    /// The waiter was called already.
    Done,
    Waiting {
        ticket: Ticket,
        /// Only the primary can say what the position means: see [`Waiters::refuse_unknown`].
        unknown: bool,
    },
}

/// See the module.
pub struct Waiters {
    visible: Arc<Visible>,
    waiting: Mutex<Waiting>,
    /// How many wait.
    count: AtomicUsize,
    /// The id has changed, and only the primary can say what that means for some who wait.
    in_doubt: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    closed: bool,
    last: u64,
    /// The change of id for which the keys of `by_offset` hold.
    generation: u64,
    by_offset: BTreeMap<(u64, u64), Entry>,
    /// Those whose position means something only the primary knows, by number.
    unknown: BTreeMap<u64, Entry>,
}

struct Entry {
    position: Position,
    waiter: Box<dyn Waiter>,
}

type Done = Vec<(Box<dyn Waiter>, Outcome)>;

impl Waiters {
    pub fn new(visible: Arc<Visible>) -> Self {
        Waiters { visible, waiting: Mutex::default(), count: AtomicUsize::new(0), in_doubt: AtomicBool::new(false) }
    }

    pub fn visible(&self) -> &Arc<Visible> {
        &self.visible
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls the waiter when the position is visible, which may be at once. O(log n).
    pub fn register(&self, position: Position, waiter: Box<dyn Waiter>) -> Registered {
        self.work(|waiting, visible, done| {
            if waiting.closed {
                done.push((waiter, Outcome::Closed));
                return Registered::Done;
            }
            let (located, offset) = visible.locate(&position);
            match located {
                Located::Lost => done.push((waiter, Outcome::Lost)),
                Located::At(at) if at <= offset => done.push((waiter, Outcome::Visible)),
                Located::At(_) | Located::Unknown => {
                    waiting.last = waiting.last.wrapping_add(1);
                    let ticket = Ticket { number: waiting.last, position: position.clone() };
                    waiting.insert(ticket.number, located, Entry { position, waiter });
                    return Registered::Waiting { ticket, unknown: located == Located::Unknown };
                }
            }
            Registered::Done
        })
    }

    /// Forgets a waiter, if it still waits. O(log n).
    pub fn cancel(&self, ticket: &Ticket) {
        self.work(|waiting, visible, _done| {
            let known = match visible.locate(&ticket.position).0 {
                Located::At(at) => waiting.by_offset.remove(&(at, ticket.number)),
                _ => None,
            };
            known.or_else(|| waiting.unknown.remove(&ticket.number))
        });
    }

    /// Calls waiters whose position is visible, at most `max`, and all whose position is lost.
    /// Answers whether more are due.
    pub fn serve(&self, max: usize) -> bool {
        self.work(|waiting, visible, done| waiting.take_due(visible, max, done));
        self.is_due()
    }

    /// For the publisher: as [`Waiters::serve`], but waits for no lock, and leaves it to others to
    /// find out what a change of the id means for all waiters.
    pub fn try_serve(&self, max: usize) -> bool {
        let mut done = Done::new();
        let Some(mut waiting) = self.waiting.try_lock() else { return true };
        if waiting.generation != self.visible.generation() {
            return true;
        }
        waiting.take_due(&self.visible, max, &mut done);
        self.finish(waiting, done);
        self.is_due()
    }

    /// Whether the primary is to be asked for its ids, since the id has changed: once for each
    /// change. The answer goes to [`Visible::learn`] and [`Waiters::refuse_unknown`].
    pub fn take_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::SeqCst)
    }

    /// The primary has this id, and has said which one it continues. If it is the id of the data,
    /// positions that are still unknown belong to other histories.
    pub fn refuse_unknown(&self, replication_id: &str) {
        self.work(|waiting, visible, done| {
            if !visible.confirm(replication_id) {
                return;
            }
            for (number, entry) in std::mem::take(&mut waiting.unknown) {
                match visible.locate(&entry.position).0 {
                    Located::At(at) => waiting.insert(number, Located::At(at), entry),
                    Located::Lost | Located::Unknown => done.push((entry.waiter, Outcome::Lost)),
                }
            }
        });
        while self.serve(usize::MAX) {}
    }

    /// The instance has ended.
    pub fn close(&self) {
        self.work(|waiting, _visible, done| {
            waiting.closed = true;
            let all = std::mem::take(&mut waiting.by_offset).into_values();
            let all = all.chain(std::mem::take(&mut waiting.unknown).into_values());
            done.extend(all.map(|entry| (entry.waiter, Outcome::Closed)));
        });
    }

    /// Works under the lock, and calls those who are done without it.
    fn work<T>(&self, work: impl FnOnce(&mut Waiting, &Visible, &mut Done) -> T) -> T {
        let mut done = Done::new();
        let mut waiting = self.waiting.lock();
        self.catch_up(&mut waiting, &mut done);
        let answer = work(&mut waiting, &self.visible, &mut done);
        self.finish(waiting, done);
        // A publication may have come before `awaited` was stored.
        if self.is_due() {
            let mut done = Done::new();
            let mut waiting = self.waiting.lock();
            self.catch_up(&mut waiting, &mut done);
            waiting.take_due(&self.visible, WAITERS_PER_WAKE, &mut done);
            self.finish(waiting, done);
        }
        answer
    }

    fn catch_up(&self, waiting: &mut Waiting, done: &mut Done) {
        if waiting.generation != self.visible.generation() {
            waiting.catch_up(&self.visible, done);
            self.in_doubt.store(!waiting.unknown.is_empty(), Ordering::SeqCst);
        }
    }

    fn finish(&self, waiting: parking_lot::MutexGuard<'_, Waiting>, done: Done) {
        self.visible.set_awaited(waiting.by_offset.first_key_value().map(|((offset, _), _)| *offset));
        self.count.store(waiting.by_offset.len().saturating_add(waiting.unknown.len()), Ordering::Relaxed);
        drop(waiting);
        for (waiter, outcome) in done {
            waiter.done(outcome);
        }
    }

    fn is_due(&self) -> bool {
        self.visible.is_awaited()
    }
}

impl Waiting {
    fn insert(&mut self, number: u64, located: Located, entry: Entry) {
        match located {
            Located::At(offset) => self.by_offset.insert((offset, number), entry),
            Located::Lost | Located::Unknown => self.unknown.insert(number, entry),
        };
    }

    /// Finds out what changes of the id mean for all waiters.
    fn catch_up(&mut self, visible: &Visible, done: &mut Done) {
        while self.generation != visible.generation() {
            self.generation = visible.generation();
            let all = std::mem::take(&mut self.by_offset).into_iter().map(|((_, number), entry)| (number, entry));
            let all: Vec<(u64, Entry)> = all.chain(std::mem::take(&mut self.unknown)).collect();
            for (number, entry) in all {
                match visible.locate(&entry.position).0 {
                    Located::Lost => done.push((entry.waiter, Outcome::Lost)),
                    located => self.insert(number, located, entry),
                }
            }
        }
    }

    fn take_due(&mut self, visible: &Visible, max: usize, done: &mut Done) {
        for _ in 0..max {
            let Some(first) = self.by_offset.first_entry() else { return };
            // An offset counts only for the id for which the keys hold. Of a later id it is seen
            // after the change of id is: both are stored and loaded in one total order.
            let offset = visible.offset();
            if first.key().0 > offset || visible.generation() != self.generation {
                return;
            }
            done.push((first.remove().waiter, Outcome::Visible));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex as StdMutex;
    use std::thread;

    type Log = Arc<StdMutex<Vec<(&'static str, Outcome)>>>;

    struct Named(&'static str, Log);

    impl Waiter for Named {
        fn done(self: Box<Self>, outcome: Outcome) {
            self.1.lock().unwrap().push((self.0, outcome));
        }
    }

    struct Fixture {
        waiters: Arc<Waiters>,
        log: Log,
    }

    impl Fixture {
        /// Waiters that their publisher serves, as a mirror with the id A at offset 100 does.
        fn new() -> Self {
            let visible = Arc::new(Visible::default());
            visible.replace(&Arc::from("A"));
            visible.publish(100);
            let waiters = Arc::new(Waiters::new(visible.clone()));
            let served = Arc::downgrade(&waiters);
            visible.wake_by(move || {
                if let Some(waiters) = served.upgrade() {
                    while waiters.try_serve(WAITERS_PER_WAKE) {
                        waiters.serve(WAITERS_PER_WAKE);
                    }
                }
            });
            Fixture { waiters, log: Log::default() }
        }

        fn wait(&self, name: &'static str, id: &str, offset: u64) -> Registered {
            let position = Position { replication_id: Arc::from(id), offset };
            self.waiters.register(position, Box::new(Named(name, self.log.clone())))
        }

        fn visible(&self) -> &Visible {
            self.waiters.visible()
        }

        fn take(&self) -> Vec<(&'static str, Outcome)> {
            std::mem::take(&mut self.log.lock().unwrap())
        }
    }

    #[test]
    fn who_waits_is_called_in_the_order_of_offsets_and_not_before() {
        let fixture = Fixture::new();
        for (name, offset) in [("c", 130), ("now", 100), ("a", 110), ("b", 120)] {
            fixture.wait(name, "A", offset);
        }
        assert_eq!(fixture.take(), [("now", Outcome::Visible)]);
        fixture.visible().publish(109);
        assert_eq!(fixture.take(), []);
        fixture.visible().publish(125);
        assert_eq!(fixture.take(), [("a", Outcome::Visible), ("b", Outcome::Visible)]);
        assert_eq!(fixture.waiters.len(), 1);
        fixture.waiters.close();
        assert_eq!(fixture.take(), [("c", Outcome::Closed)]);
        fixture.wait("late", "A", 1);
        assert_eq!(fixture.take(), [("late", Outcome::Closed)]);
    }

    #[test]
    fn a_cancelled_waiter_is_gone() {
        let fixture = Fixture::new();
        let tickets = [fixture.wait("known", "A", 110), fixture.wait("unknown", "X", 110)];
        for registered in tickets {
            let Registered::Waiting { ticket, .. } = registered else { panic!("waits") };
            fixture.waiters.cancel(&ticket);
        }
        assert!(fixture.waiters.is_empty());
        fixture.visible().publish(200);
        assert_eq!(fixture.take(), []);
    }

    #[test]
    fn a_failover_without_loss_loses_no_waiter() {
        let fixture = Fixture::new();
        fixture.wait("reached", "A", 90);
        fixture.wait("shared", "A", 120);
        fixture.wait("beyond", "A", 140);
        fixture.wait("future", "B", 150);
        fixture.take();
        fixture.visible().continue_as(&Arc::from("B"), 100, 100);
        // Only the new primary knows how much of the old id it has.
        assert_eq!(fixture.take(), []);
        assert!(fixture.waiters.take_doubt());
        assert!(!fixture.waiters.take_doubt());
        fixture.visible().learn(&Arc::from("B"), &Arc::from("A"), 130);
        fixture.waiters.refuse_unknown("B");
        assert_eq!(fixture.take(), [("beyond", Outcome::Lost)]);
        fixture.visible().publish(149);
        assert_eq!(fixture.take(), [("shared", Outcome::Visible)]);
        fixture.visible().publish(150);
        assert_eq!(fixture.take(), [("future", Outcome::Visible)]);
    }

    /// The old primary wrote up to 200, the new one was promoted at 90 and wrote something else
    /// there.
    #[test]
    fn equal_numbers_of_another_history_are_never_visible() {
        let fixture = Fixture::new();
        fixture.wait("lost", "A", 120);
        fixture.wait("future", "B", 95);
        fixture.wait("stranger", "X", 1);
        fixture.visible().replace(&Arc::from("B"));
        fixture.visible().publish(94);
        assert_eq!(fixture.take(), []);
        fixture.visible().publish(300);
        assert_eq!(fixture.take(), [("future", Outcome::Visible)]);
        fixture.visible().learn(&Arc::from("B"), &Arc::from("A"), 89);
        fixture.waiters.refuse_unknown("B");
        assert_eq!(fixture.take(), [("lost", Outcome::Lost), ("stranger", Outcome::Lost)]);
        fixture.wait("late", "A", 90);
        fixture.wait("in time", "A", 89);
        assert_eq!(fixture.take(), [("late", Outcome::Lost), ("in time", Outcome::Visible)]);
    }

    #[test]
    fn an_unknown_id_is_lost_once_the_primary_has_said_that_it_has_the_present_one() {
        let fixture = Fixture::new();
        fixture.wait("stranger", "X", 1);
        fixture.wait("behind", "W", 90);
        fixture.wait("ahead", "W", 99);
        fixture.waiters.refuse_unknown("B");
        assert_eq!(fixture.take(), []);
        fixture.visible().learn(&Arc::from("A"), &Arc::from("W"), 95);
        fixture.waiters.refuse_unknown("A");
        let mut all = fixture.take();
        all.sort_by_key(|(name, _)| *name);
        assert_eq!(all, [("ahead", Outcome::Lost), ("behind", Outcome::Visible), ("stranger", Outcome::Lost)]);
    }

    #[test]
    fn a_hundred_thousand_who_wait_cost_a_publication_no_call_and_no_lock_until_their_turn() {
        const WAITERS: u64 = 100_000;
        let (visible, log) = (Arc::new(Visible::default()), Log::default());
        visible.replace(&Arc::from("A"));
        let waiters = Waiters::new(visible.clone());
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = wakes.clone();
        visible.wake_by(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        for n in 1..=WAITERS {
            let position = Position { replication_id: Arc::from("A"), offset: WAITERS + n };
            waiters.register(position, Box::new(Named("x", log.clone())));
        }
        // As if somebody came to wait at this moment.
        let held = waiters.waiting.lock();
        (1..=WAITERS).for_each(|offset| visible.publish(offset));
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        // Their turn: the publisher leaves them to the thread that serves.
        visible.publish(WAITERS + 3);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        assert!(waiters.try_serve(WAITERS_PER_WAKE));
        assert_eq!(log.lock().unwrap().len(), 0);
        drop(held);
        assert!(!waiters.try_serve(WAITERS_PER_WAKE));
        assert_eq!((log.lock().unwrap().len(), waiters.len()), (3, WAITERS as usize - 3));
        // Of many whose turn it is, the publisher calls the first few.
        visible.publish(3 * WAITERS);
        assert!(waiters.try_serve(WAITERS_PER_WAKE));
        assert_eq!(log.lock().unwrap().len(), 3 + WAITERS_PER_WAKE);
        while waiters.serve(WAITERS_PER_WAKE) {}
        assert_eq!((log.lock().unwrap().len(), waiters.len()), (WAITERS as usize, 0));
    }

    #[test]
    fn no_waiter_is_missed_by_publications_on_another_thread() {
        let fixture = Fixture::new();
        let (visible, stop) = (fixture.waiters.visible().clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let publisher = thread::spawn(move || {
            let mut offset = 100;
            while !stopped.load(Ordering::Relaxed) {
                offset += 1;
                visible.publish(offset);
            }
            visible.publish(u64::MAX - 1);
        });
        for turn in 0..50_000 {
            fixture.wait("x", "A", 100 + turn * 3);
        }
        stop.store(true, Ordering::Relaxed);
        publisher.join().unwrap();
        assert_eq!(fixture.take().len(), 50_000);
        assert!(fixture.waiters.is_empty());
    }
}

//! A watching process, and the bound on what waits in its mailbox (flow control).
//!
//! The library counts the events that it sends to a process. How many of them the process has
//! handled is known from a look at the length of its mailbox, which the host takes when a quarter
//! of what may wait has been sent since the last look (sampling), or from the process itself, which
//! acknowledges. So a process that keeps up costs a counter, and a look now and then.
//!
//! ```text
//! sent ───────────────●──────────────────────────────●      sent - handled = at most this waits
//! handled ──●   <- a look: sent then - length of the mailbox then
//! ```
//!
//! A watch whose event finds no room *lags*: from then on its events are counted and not sent,
//! until the mailbox is down to half of the bound. Then one [`Event::Missed`] says what was not
//! sent, and events are sent again. An [`Event::Init`] stands for everything before it.

use super::event::{Event, Manner, Target};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The number under which the embedding application knows a process that watches.
pub type Owner = u64;

/// The number under which a mailbox knows the tag of a watch.
pub type Tag = u64;

/// How many watches of a lagging process are served at once, under the lock that the publisher
/// needs to send it events.
const SERVED_AT_ONCE: usize = 64;

/// The way to a process, and to the host that looks at its mailbox. All of it is called on threads
/// of the publisher, of the link, or on the one that serves lagging processes.
pub trait Mailbox: Send + Sync {
    /// Sends an event of the watch with this tag. A tag that was released sends nothing.
    fn send(&self, tag: Tag, event: &Event<'_>);

    /// Asks for a look at the mailbox, after which [`Watcher::sampled`] is called. Not called again
    /// before that answered `false`.
    fn sample(&self, watcher: &Arc<Watcher>);

    /// Asks for a call of [`Watcher::serve`]. Called by any thread.
    fn serve_soon(&self, watcher: &Arc<Watcher>);

    /// The watch with this tag is gone. Called by any thread.
    fn release(&self, tag: Tag);
}

/// One watch of a process.
pub struct Watch {
    pub target: Target,
    pub manner: Manner,
    watcher: Arc<Watcher>,
    tag: Tag,
    /// Its place among the watches of the process.
    place: AtomicU32,
    /// The last link state that was sent.
    link_sent: AtomicU8,
}

/// A process that watches.
pub struct Watcher {
    owner: Owner,
    mailbox: Box<dyn Mailbox>,
    /// Whether a link streams: the same for all watchers of an instance.
    link_up: Arc<AtomicBool>,
    /// The process says how many events it has handled.
    acknowledges: AtomicBool,
    /// As `sent`, and the event that is being sent at this moment: the process may acknowledge it
    /// before `sent` counts it. Changed under the lock of `flow`.
    begun: AtomicI64,
    /// How many events the mailbox has received. Changed under the lock of `flow`.
    sent: AtomicI64,
    handled: AtomicI64,
    /// How many watches lag.
    lagging: AtomicUsize,
    /// [`Mailbox::serve_soon`] was called, and `serve` not yet.
    serve_due: AtomicBool,
    flow: Mutex<Flow>,
    /// New watches that are to hear the state of the link.
    new_links: Mutex<Vec<Weak<Watch>>>,
    watches: Mutex<Places>,
}

#[derive(Default)]
struct Flow {
    /// A look at the mailbox was asked for, and not answered.
    sampling: bool,
    /// The next look is due when this many events were sent, and how many more from look to look:
    /// not at each event while the mailbox stays full enough for one.
    sample_at: i64,
    sample_every: i64,
    /// What the lagging watches are owed, by the watch's address. The weak references of `order`
    /// keep the addresses from being used again.
    owed: HashMap<usize, Owed, foldhash::fast::RandomState>,
    /// Who began to lag first.
    order: VecDeque<Weak<Watch>>,
}

/// What a lagging watch is sent in the end.
#[derive(Clone, Copy, Default)]
struct Owed {
    init: Option<u64>,
    /// Not sent since `init`.
    missed: Option<Missed>,
    link: bool,
}

#[derive(Clone, Copy)]
struct Missed {
    from: u64,
    to: u64,
    count: u64,
}

impl Owed {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Update { offset, .. } | Event::Value { offset, .. } | Event::Key { offset, .. } => {
                let missed = self.missed.get_or_insert(Missed { from: *offset, to: *offset, count: 0 });
                missed.to = *offset;
                missed.count += 1;
            }
            Event::Init { offset } => *self = Owed { init: Some(*offset), missed: None, link: self.link },
            Event::Link { .. } => self.link = true,
            Event::Missed { .. } => {}
        }
    }
}

const UP: u8 = 1;
const DOWN: u8 = 2;

impl Watch {
    pub fn new(target: Target, manner: Manner, watcher: Arc<Watcher>, tag: Tag) -> Arc<Self> {
        let (place, link_sent) = (AtomicU32::new(0), AtomicU8::new(0));
        Arc::new(Watch { target, manner, watcher, tag, place, link_sent })
    }

    pub fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }

    pub fn owner(&self) -> Owner {
        self.watcher.owner
    }

    /// What tells one watch from another.
    pub fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Sends an event, if there is room for it in the process's mailbox.
    pub fn deliver(self: &Arc<Self>, event: &Event<'_>) {
        let mut flow = self.watcher.flow.lock();
        self.watcher.deliver(&mut flow, self, event);
    }

    /// Sends the state of the link, unless it was the last that was sent.
    pub fn deliver_link(self: &Arc<Self>) {
        let mut flow = self.watcher.flow.lock();
        // Read under the lock, as is what was sent: so the last state is sent in the end, and no
        // state twice.
        let up = self.watcher.link_up.load(Ordering::SeqCst);
        if self.link_sent.load(Ordering::Relaxed) != if up { UP } else { DOWN } {
            self.watcher.deliver(&mut flow, self, &Event::Link { up });
        }
    }

    fn low(&self) -> i64 {
        i64::from(self.manner.max_pending / 2)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.mailbox.release(self.tag);
    }
}

impl Watcher {
    pub fn new(owner: Owner, mailbox: Box<dyn Mailbox>, link_up: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Watcher {
            owner,
            mailbox,
            link_up,
            acknowledges: AtomicBool::new(false),
            begun: AtomicI64::new(0),
            sent: AtomicI64::new(0),
            handled: AtomicI64::new(0),
            lagging: AtomicUsize::new(0),
            serve_due: AtomicBool::new(false),
            flow: Mutex::default(),
            new_links: Mutex::default(),
            watches: Mutex::default(),
        })
    }

    pub fn owner(&self) -> Owner {
        self.owner
    }

    pub fn mailbox(&self) -> &dyn Mailbox {
        &*self.mailbox
    }

    /// From now on the process says itself what it has handled.
    pub fn set_acknowledges(&self) {
        self.acknowledges.store(true, Ordering::SeqCst);
    }

    /// How many events were sent so far. To be read before a look at the mailbox.
    pub fn sent(&self) -> i64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many watches lag.
    pub fn lagging(&self) -> usize {
        self.lagging.load(Ordering::SeqCst)
    }

    /// At most this many events wait in the mailbox.
    fn pending(&self) -> i64 {
        self.sent() - self.handled.load(Ordering::SeqCst)
    }

    fn deliver(self: &Arc<Self>, flow: &mut Flow, watch: &Arc<Watch>, event: &Event<'_>) {
        let max = i64::from(watch.manner.max_pending);
        if (flow.owed.is_empty() || !flow.owed.contains_key(&watch.address())) && self.pending() < max {
            self.send(watch, event);
            if self.pending() > max / 4 && self.sent() >= flow.sample_at {
                flow.sample_every = max / 4;
                self.sample(flow);
            }
            return;
        }
        let order = &mut flow.order;
        let owed = flow.owed.entry(watch.address()).or_insert_with(|| {
            order.push_back(Arc::downgrade(watch));
            Owed::default()
        });
        owed.note(event);
        self.lagging.store(flow.owed.len(), Ordering::SeqCst);
        self.sample(flow);
        // An acknowledgement that came before the line above saw nobody lag.
        if self.acknowledges.load(Ordering::SeqCst) && self.pending() <= watch.low() {
            self.serve_soon();
        }
    }

    fn send(&self, watch: &Watch, event: &Event<'_>) {
        // A panic on the way is not counted.
        self.begun.store(self.sent() + 1, Ordering::SeqCst);
        self.mailbox.send(watch.tag, event);
        self.sent.fetch_add(1, Ordering::SeqCst);
        if let Event::Link { up } = event {
            watch.link_sent.store(if *up { UP } else { DOWN }, Ordering::Relaxed);
        }
    }

    fn sample(self: &Arc<Self>, flow: &mut Flow) {
        if !flow.sampling && !self.acknowledges.load(Ordering::SeqCst) {
            flow.sampling = true;
            self.mailbox.sample(self);
        }
    }

    /// Has the state of the link sent to a new watch, by the thread that serves lagging processes.
    pub(super) fn serve_link(self: &Arc<Self>, watch: &Arc<Watch>) {
        self.new_links.lock().push(Arc::downgrade(watch));
        self.serve_soon();
    }

    fn serve_soon(self: &Arc<Self>) {
        if !self.serve_due.swap(true, Ordering::SeqCst) {
            self.mailbox.serve_soon(self);
        }
    }

    /// The host looked at the mailbox, after it had read [`Watcher::sent`]: so many messages waited
    /// there, whoever sent them. Answers whether to look again soon, because watches lag.
    pub fn sampled(self: &Arc<Self>, sent: i64, waiting: u32) -> bool {
        self.note_handled(sent, waiting);
        self.note_sample(&mut self.flow.lock())
    }

    /// As [`Watcher::sampled`]; `None` if events are being sent at this moment. Then there is room
    /// for more already, and the call is to be repeated.
    pub fn try_sampled(self: &Arc<Self>, sent: i64, waiting: u32) -> Option<bool> {
        self.note_handled(sent, waiting);
        Some(self.note_sample(&mut *self.flow.try_lock()?))
    }

    fn note_handled(&self, sent: i64, waiting: u32) {
        self.handled.store(sent.min(self.sent()) - i64::from(waiting), Ordering::SeqCst);
    }

    fn note_sample(self: &Arc<Self>, flow: &mut Flow) -> bool {
        flow.sampling = !flow.owed.is_empty() && !self.acknowledges.load(Ordering::SeqCst);
        flow.sample_at = self.sent() + flow.sample_every;
        if flow.may_be_served(self.pending()) {
            self.serve_soon();
        }
        flow.sampling
    }

    /// The process has handled so many more events. Takes no lock.
    pub fn acknowledge(self: &Arc<Self>, count: u32) {
        let begun = self.begun.load(Ordering::SeqCst);
        let more = |handled: i64| Some((handled + i64::from(count)).min(begun));
        // The closure always answers something.
        let _before = self.handled.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        if self.lagging() > 0 {
            self.serve_soon();
        }
    }

    /// Sends lagging watches what they are owed, as far as there is room.
    pub fn serve(self: &Arc<Self>) {
        self.serve_due.store(false, Ordering::SeqCst);
        let new_links = std::mem::take(&mut *self.new_links.lock());
        new_links.iter().filter_map(Weak::upgrade).for_each(|watch| watch.deliver_link());
        while self.serve_some() {}
    }

    /// Answers whether more can be served now.
    fn serve_some(self: &Arc<Self>) -> bool {
        let mut flow = self.flow.lock();
        for _ in 0..SERVED_AT_ONCE {
            if !flow.may_be_served(self.pending()) {
                break;
            }
            let Some(first) = flow.order.front().cloned() else { break };
            let address = first.as_ptr().addr();
            if let Some(watch) = first.upgrade() {
                self.settle(&mut flow, &watch);
            }
            // Only now: a panic on the way leaves it there.
            flow.owed.remove(&address);
            flow.order.pop_front();
        }
        self.lagging.store(flow.owed.len(), Ordering::SeqCst);
        flow.may_be_served(self.pending())
    }

    /// Sends one watch what it is owed.
    fn settle(&self, flow: &mut Flow, watch: &Arc<Watch>) {
        let Some(entry) = flow.owed.get_mut(&watch.address()) else { return };
        // A panic on the way loses what was owed: then Init stands for it.
        let last = entry.missed.map(|missed| missed.to).or(entry.init).unwrap_or(0);
        let owed = std::mem::replace(entry, Owed { init: Some(last), missed: None, link: watch.manner.link });
        if let Some(offset) = owed.init {
            self.send(watch, &Event::Init { offset });
        }
        if let Some(Missed { from, to, count }) = owed.missed {
            self.send(watch, &Event::Missed { from, to, count });
        }
        let up = self.link_up.load(Ordering::SeqCst);
        if owed.link && watch.link_sent.load(Ordering::Relaxed) != if up { UP } else { DOWN } {
            self.send(watch, &Event::Link { up });
        }
    }

    pub(super) fn keep(&self, watch: &Arc<Watch>) {
        self.watches.lock().push(watch);
    }

    pub(super) fn forget(&self, watch: &Arc<Watch>) {
        self.watches.lock().remove(watch);
    }

    /// Takes one of the watches out.
    pub(super) fn take_last(&self) -> Option<Weak<Watch>> {
        self.watches.lock().pop()
    }
}

impl Flow {
    /// Whether the one that lags longest may be sent what it is owed.
    fn may_be_served(&self, pending: i64) -> bool {
        match self.order.front().map(Weak::upgrade) {
            Some(Some(watch)) => pending <= watch.low(),
            // The watch is gone: there is something to tidy up.
            Some(None) => true,
            None => false,
        }
    }
}

/// The watches of a process, in no order. In pieces, so that a growth copies no more than a piece.
#[derive(Default)]
struct Places(Vec<Vec<Weak<Watch>>>);

const PIECE: usize = 1024;

impl Places {
    fn push(&mut self, watch: &Arc<Watch>) {
        if self.0.last().is_none_or(|piece| piece.len() == PIECE) {
            self.0.push(Vec::new());
        }
        let before = self.0.len().saturating_sub(1) * PIECE;
        if let Some(piece) = self.0.last_mut() {
            watch.place.store((before + piece.len()) as u32, Ordering::Relaxed);
            piece.push(Arc::downgrade(watch));
        }
    }

    fn pop(&mut self) -> Option<Weak<Watch>> {
        let popped = self.0.last_mut()?.pop();
        if self.0.last().is_some_and(Vec::is_empty) {
            self.0.pop();
        }
        popped
    }

    /// The last one takes the place.
    fn remove(&mut self, watch: &Arc<Watch>) {
        let place = watch.place.load(Ordering::Relaxed) as usize;
        let is_there = |slot: &Weak<Watch>| std::ptr::eq(slot.as_ptr(), Arc::as_ptr(watch));
        if !self.0.get(place / PIECE).and_then(|piece| piece.get(place % PIECE)).is_some_and(is_there) {
            return;
        }
        let Some(last) = self.pop() else { return };
        if let Some(slot) = self.0.get_mut(place / PIECE).and_then(|piece| piece.get_mut(place % PIECE)) {
            if let Some(moved) = last.upgrade() {
                moved.place.store(place as u32, Ordering::Relaxed);
            }
            *slot = last;
        }
    }
}

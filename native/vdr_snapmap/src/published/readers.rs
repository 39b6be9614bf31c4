//! Grace periods by sequences of reader threads (a form of quiescent-state-based reclamation).
//!
//! Each thread that reads has a *slot* with a sequence in a cache line of its own. The sequence is
//! odd while the thread is pinned. To pin and to unpin, the thread stores the next number. A grace
//! period notes the odd sequences of all slots, and passes when each of these has changed. So a
//! reader writes only its own cache line, and a writer that has nothing to free reads none of them.
//!
//! # Why a grace period waits for every reader that matters
//!
//! The writer replaces a pointer, and then begins a grace period: it executes a sequentially
//! consistent fence and loads all sequences. A reader stores its odd sequence, executes such a
//! fence, and then loads the pointer. One of the two fences is first in their single total order.
//!
//! * The writer's fence is first: the reader's load sees the replacement. It does not use the old
//!   value.
//! * The reader's fence is first: the writer's load sees the odd sequence or a later one, and it
//!   sees the slot, which was linked before. If it sees the odd one, the grace period waits until
//!   that changes. If it sees a later one, the reader has unpinned since.
//!
//! Every store of a sequence is a Release, and the loads of a grace period are Acquire. So the
//! reader's uses of the value precede the end of the grace period. A thread that pins anew
//! meanwhile has a greater sequence: nobody waits for it.

use crate::sync::{AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr};

/// The sequence of one thread, alone in its cache line and in the line that the processor fetches
/// with it.
#[repr(align(128))]
pub struct Slot {
    sequence: AtomicU64,
    /// A living thread has it. Slots are reused, and never freed.
    taken: AtomicBool,
}

impl Slot {
    pub fn new() -> Self {
        Slot { sequence: AtomicU64::new(0), taken: AtomicBool::new(false) }
    }

    /// Only for the slot's thread, between pins.
    pub fn pin(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Only for the slot's thread, once after each pin.
    pub fn unpin(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Release);
    }
}

/// Slots beside each other, so that their loads do not wait for one another.
struct Block {
    slots: [Slot; 32],
    /// The block that was made before. Set before the block is linked.
    next: Option<&'static Block>,
}

/// The slots of all threads, the latest block first.
static BLOCKS: AtomicPtr<Block> = AtomicPtr::new(ptr::null_mut());

fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: null, or a block that `Slot::claim` has leaked.
    let first = unsafe { BLOCKS.load(Ordering::Acquire).as_ref() };
    std::iter::successors(first, |block| block.next).flat_map(|block| &block.slots)
}

impl Slot {
    /// A free slot for the calling thread; makes more slots when none is free.
    fn claim() -> &'static Slot {
        loop {
            if let Some(slot) = slots().find(|slot| slot.take()) {
                return slot;
            }
            let block = Box::leak(Box::new(Block { slots: std::array::from_fn(|_| Slot::new()), next: None }));
            let mut first = BLOCKS.load(Ordering::Acquire);
            loop {
                // SAFETY: as in `slots`.
                block.next = unsafe { first.as_ref() };
                match BLOCKS.compare_exchange_weak(first, block, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => break,
                    Err(other) => first = other,
                }
            }
        }
    }

    fn take(&self) -> bool {
        !self.taken.load(Ordering::Relaxed)
            && self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Gives the slot to whichever thread comes next.
    fn release(&self) {
        self.taken.store(false, Ordering::Release);
    }
}

/// What a thread knows of its own slot.
struct Own {
    slot: Cell<Option<&'static Slot>>,
    /// The number of its pins that live: the slot is pinned with the first and unpinned with the
    /// last.
    pins: Cell<usize>,
}

/// Gives the slot back when the thread ends.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        OWN.with(|own| {
            // A pin that was forgotten keeps the slot pinned: then nobody else may have it.
            if own.pins.get() == 0
                && let Some(slot) = own.slot.take()
            {
                slot.release();
            }
        });
    }
}

thread_local! {
    /// Without a destructor, so that an access is a mere address.
    static OWN: Own = const { Own { slot: Cell::new(None), pins: Cell::new(0) } };
    static OWNER: Owner = const { Owner };
}

/// While it lives the thread is pinned. It stays on its thread.
pub struct Pin {
    /// For a thread whose end has begun: a slot for this pin alone.
    temporary: Option<&'static Slot>,
    of_thread: PhantomData<*const ()>,
}

impl Pin {
    #[inline]
    pub fn new() -> Self {
        let temporary = OWN.with(|own| {
            let Some(slot) = own.slot.get() else { return pin_first(own) };
            let pins = own.pins.get();
            own.pins.set(pins + 1);
            if pins == 0 {
                slot.pin();
            }
            None
        });
        Pin { temporary, of_thread: PhantomData }
    }
}

/// The first pin of a thread.
#[cold]
fn pin_first(own: &Own) -> Option<&'static Slot> {
    let slot = Slot::claim();
    slot.pin();
    own.pins.set(own.pins.get() + 1);
    if OWNER.try_with(|_| ()).is_err() {
        return Some(slot);
    }
    own.slot.set(Some(slot));
    None
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        OWN.with(|own| {
            let pins = own.pins.get() - 1;
            own.pins.set(pins);
            if let Some(slot) = self.temporary {
                slot.unpin();
                slot.release();
            } else if let Some(slot) = own.slot.get()
                && pins == 0
            {
                slot.unpin();
            }
        });
    }
}

/// Whether the calling thread is pinned.
pub fn is_pinned() -> bool {
    OWN.with(|own| own.pins.get() > 0)
}

#[cfg(all(test, not(loom)))]
pub fn count_slots() -> usize {
    slots().count()
}

/// See the module.
pub struct GracePeriod<'s> {
    /// The slots that were pinned at the beginning, and are still to change.
    waiting: Vec<(&'s Slot, u64)>,
}

impl GracePeriod<'static> {
    /// A grace period for whatever was replaced before this call.
    pub fn begin() -> Self {
        GracePeriod::of(slots)
    }
}

impl<'s> GracePeriod<'s> {
    /// One that has passed.
    pub fn passed() -> Self {
        GracePeriod { waiting: Vec::new() }
    }

    /// The slots are listed behind the fence.
    fn of<I: Iterator<Item = &'s Slot>>(slots: impl FnOnce() -> I) -> Self {
        fence(Ordering::SeqCst);
        let sequences = slots().map(|slot| (slot, slot.sequence.load(Ordering::Acquire)));
        GracePeriod { waiting: sequences.filter(|(_, sequence)| sequence % 2 == 1).collect() }
    }

    pub fn has_passed(&mut self) -> bool {
        self.waiting.retain(|(slot, sequence)| slot.sequence.load(Ordering::Acquire) == *sequence);
        self.waiting.is_empty()
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p vdr_snapmap loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Values in memory, `true` while they are not freed, and the index of the current one.
    struct World {
        memory: [UnsafeCell<bool>; 3],
        current: AtomicUsize,
        slots: [Slot; 2],
    }

    fn world() -> Arc<World> {
        let memory = [true; 3].map(UnsafeCell::new);
        Arc::new(World { memory, current: AtomicUsize::new(0), slots: [Slot::new(), Slot::new()] })
    }

    impl World {
        fn read(&self, slot: usize) {
            self.slots[slot].pin();
            let current = self.current.load(Ordering::Acquire);
            // SAFETY: loom checks that nobody frees it meanwhile.
            self.memory[current].with(|value| assert!(unsafe { *value }));
            self.slots[slot].unpin();
        }

        fn free(&self, value: usize) {
            // SAFETY: loom checks that nobody reads meanwhile.
            self.memory[value].with_mut(|value| unsafe { *value = false });
        }
    }

    /// Each reader reads as many times as its number says, while the writer replaces the value,
    /// waits for the grace period and frees the replaced value, as many times as asked.
    fn readers_find_what_is_not_freed(readers: &[usize], replacements: usize) {
        let world = world();
        let readers: Vec<_> = readers
            .iter()
            .enumerate()
            .map(|(slot, times)| {
                let (world, times) = (world.clone(), *times);
                thread::spawn(move || (0..times).for_each(|_| world.read(slot)))
            })
            .collect();
        for value in 1..=replacements {
            let old = world.current.swap(value, Ordering::AcqRel);
            let mut grace = GracePeriod::of(|| world.slots.iter());
            while !grace.has_passed() {
                thread::yield_now();
            }
            world.free(old);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    }

    #[test]
    fn loom_a_replaced_value_is_freed_when_its_reader_has_unpinned() {
        loom::model(|| readers_find_what_is_not_freed(&[2], 1));
    }

    #[test]
    fn loom_values_are_replaced_one_after_the_other() {
        loom::model(|| readers_find_what_is_not_freed(&[1], 2));
    }

    /// Of three threads that wait for each other there are too many orders: those with at most two
    /// preemptions.
    #[test]
    fn loom_a_grace_period_waits_for_several_readers() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| readers_find_what_is_not_freed(&[1, 1], 1));
    }
}

//! Filters in front of the shards of the table: a look-up that finds nothing takes no lock.
//!
//! Most writes touch nothing that is watched. A lock for each look-up would cost such a write more
//! than the look-up: it waits for the cache misses before it, and holds up those after it. So each
//! shard has a [`Filter`] of the hashes that it holds, which the publisher reads without a lock.
//!
//! Whoever puts something into a shard holds its lock, and adds the hash to the filter. Nothing is
//! taken out of a filter: a hash that has gone costs a look-up now and then. When a filter is full,
//! or most of its hashes have gone, the same thread puts another one in its place, and notes that
//! in [`Renewals`]. The publisher looks there before it applies writes ([`Filters::refresh`]), and
//! until the next time it reads the filters of that moment.
//!
//! What comes meanwhile, it may overlook. [`Unpublished`] tells those who add that this may be so.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::ptr::NonNull;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use vdr_snapmap::prefetch::prefetch;

/// How many hashes a filter takes for each word: 16 bits for each. One of two hundred others then
/// seems to be there.
const HASHES_PER_WORD: usize = 4;

/// A Bloom filter. The four bits of a hash are in the same word, so that a look-up is one load.
#[derive(Clone, Default)]
pub(super) struct Filter(Arc<[AtomicU64]>);

impl Filter {
    /// With room for half as many again: the cost of making a filter is shared by those who fill
    /// it up.
    pub(super) fn for_more_than(count: usize) -> Self {
        let words = (count + count / 2) / HASHES_PER_WORD + 1;
        Filter(std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect())
    }

    /// How many hashes may be added.
    pub(super) fn room(&self) -> usize {
        self.0.len() * HASHES_PER_WORD
    }

    fn word(&self, hash: u64) -> Option<&AtomicU64> {
        // The upper half of the hash as a fraction of the words.
        self.0.get((((hash >> 32) * self.0.len() as u64) >> 32) as usize)
    }

    fn bits(hash: u64) -> u64 {
        [0, 6, 12, 18].iter().fold(0, |bits, from| bits | (1 << ((hash >> from) & 63)))
    }

    pub(super) fn add(&self, hash: u64) {
        if let Some(word) = self.word(hash) {
            word.fetch_or(Self::bits(hash), Ordering::Relaxed);
        }
    }

    /// `false`: it was not added, or at this very moment.
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let bits = Self::bits(hash);
        self.word(hash).is_some_and(|word| word.load(Ordering::Relaxed) & bits == bits)
    }
}

/// Which shards have got another filter, and how often.
pub(super) struct Renewals {
    all: AtomicUsize,
    of_shard: Vec<AtomicU32>,
}

impl Renewals {
    pub(super) fn of(shards: usize) -> Self {
        let of_shard = std::iter::repeat_with(|| AtomicU32::new(0)).take(shards).collect();
        Renewals { all: AtomicUsize::new(0), of_shard }
    }

    /// To be called under the shard's lock.
    pub(super) fn note(&self, shard: usize) {
        if let Some(count) = self.of_shard.get(shard) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.all.fetch_add(1, Ordering::SeqCst);
    }
}

/// The filters as the publisher knows them.
#[derive(Default)]
pub(super) struct Filters {
    renewals: usize,
    of_shard: Vec<Filter>,
    /// How often the filter of each shard had been renewed.
    renewals_of_shard: Vec<u32>,
}

impl Filters {
    /// Gets the filters that were renewed. `current` takes the lock of a shard.
    pub(super) fn refresh(&mut self, renewals: &Renewals, current: impl Fn(usize) -> Filter) {
        // The counts are read before the filters: what is renewed between is looked at again.
        let all = renewals.all.load(Ordering::SeqCst);
        if all == self.renewals {
            return;
        }
        self.renewals = all;
        self.of_shard.resize_with(renewals.of_shard.len(), Default::default);
        self.renewals_of_shard.resize(renewals.of_shard.len(), 0);
        let known = self.renewals_of_shard.iter_mut().zip(&mut self.of_shard);
        for (shard, (renewals, (known, filter))) in renewals.of_shard.iter().zip(known).enumerate() {
            let renewals = renewals.load(Ordering::SeqCst);
            if *known != renewals {
                (*known, *filter) = (renewals, current(shard));
            }
        }
    }

    pub(super) fn prefetch(&self, shard: usize, hash: u64) {
        if let Some(word) = self.of_shard.get(shard).and_then(|filter| filter.word(hash)) {
            prefetch(NonNull::from(word), 1);
        }
    }

    pub(super) fn may_have(&self, shard: usize, hash: u64) -> bool {
        self.of_shard.get(shard).is_some_and(|filter| filter.may_have(hash))
    }
}

/// Whether writes are applied that are not published yet.
///
/// The publisher sets it and then reads the filters; who adds a watch adds to the filters and then
/// reads it. The two fences have an order. If the publisher's comes first, the other thread finds
/// this set, and the watch is *new*; if it comes second, the publisher finds the hash.
#[derive(Default)]
pub(super) struct Unpublished(AtomicBool);

impl Unpublished {
    /// To be called before filters are refreshed and read.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// To be called after a filter was added to.
    pub(super) fn is_set(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_few_others_are() {
        let hash = |n: u64| n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let filter = Filter::for_more_than(1000);
        assert!((1500..1510).contains(&filter.room()));
        let scrambled = |n: u64| hash(hash(n) ^ n);
        (0..filter.room() as u64).for_each(|n| filter.add(scrambled(n)));
        assert!((0..filter.room() as u64).all(|n| filter.may_have(scrambled(n))));
        let others = (10_000..110_000).filter(|n| filter.may_have(scrambled(*n))).count();
        assert!(others < 1_000, "{others} of 100,000");
        assert!(!Filter::default().may_have(7));
    }

    #[test]
    fn only_the_filters_that_were_renewed_are_fetched() {
        let (renewals, mut filters) = (Renewals::of(3), Filters::default());
        let fetched = std::cell::RefCell::new(Vec::new());
        let mut refresh = |renewals: &Renewals| {
            filters.refresh(renewals, |shard| {
                fetched.borrow_mut().push(shard);
                Filter::default()
            });
            fetched.take()
        };
        assert_eq!(refresh(&renewals), [0; 0]);
        renewals.note(1);
        assert_eq!(refresh(&renewals), [1]);
        [2, 0, 2].into_iter().for_each(|shard| renewals.note(shard));
        assert_eq!(refresh(&renewals), [0, 2]);
        assert_eq!(refresh(&renewals), [0; 0]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Mutex;

    const HASH: u64 = 0x1234_5678_9ABC_DEF0;

    #[test]
    fn loom_what_comes_beside_the_publisher_is_found_or_new() {
        loom::model(|| {
            let shared = Arc::new((Unpublished::default(), Filter::for_more_than(1)));
            let adder = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    shared.1.add(HASH);
                    shared.0.is_set()
                })
            };
            shared.0.begin();
            let found = shared.1.may_have(HASH);
            let new = adder.join().unwrap();
            assert!(found || new);
        });
    }

    #[test]
    fn loom_what_comes_with_another_filter_is_found_or_new() {
        loom::model(|| {
            let shared = Arc::new((Unpublished::default(), Renewals::of(1), Mutex::new(Filter::default())));
            let adder = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let mut current = shared.2.lock().unwrap();
                    let filter = Filter::for_more_than(1);
                    filter.add(HASH);
                    *current = filter;
                    shared.1.note(0);
                    shared.0.is_set()
                })
            };
            let mut filters = Filters::default();
            // In two batches: what is new in the first is found in the second.
            let mut found = [false; 2];
            for found in &mut found {
                shared.0.begin();
                filters.refresh(&shared.1, |_| shared.2.lock().unwrap().clone());
                *found = filters.may_have(0, HASH);
            }
            let new = adder.join().unwrap();
            assert!(new || found == [true; 2]);
            shared.0.begin();
            filters.refresh(&shared.1, |_| shared.2.lock().unwrap().clone());
            assert!(filters.may_have(0, HASH));
        });
    }
}

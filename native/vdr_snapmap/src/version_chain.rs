//! Version chain: which versions of a structure are alive, and what the end of a version makes
//! reclaimable. This file follows no pointer.
//!
//! The versions of a structure form a *chain*, ordered by a generation number that only grows. Only
//! the newest version may be forked, which appends a version, and only the newest version may
//! change. A structure consists of *parts*. A part is born in one generation, and the newest
//! version may later retire it. So the versions that reach a part are always neighbours: from the
//! first living version with `generation >= born` to the last version before the one that retired
//! the part.
//!
//! ```text
//! living versions   3 ────── 7 ────── 8 ────── 12 (newest)
//! born 2                ●────────●                      last = 7, first = 3: in bag (3) of version 7
//! born 5                         ●────────●             last = 8, first = 7: in bag (7) of version 8
//! born 9                                                retired by 12: no living version reaches it: freed at once
//! ```
//!
//! Parts that the newest version retires are *pending* until an older version ends or the newest
//! one is forked. Then they are sorted. A sorted part waits in one bag. The bag belongs to the last
//! version that reaches the part, and its label is the first version that does. When version `v`
//! ends:
//!
//! * those of its bags that no earlier version reaches are freed;
//! * its other bags pass to the version before it, which is now the last version that reaches them.
//!
//! The version that a label names may have ended. The label then means the first living version
//! after it. So the end of a version costs what is in its own bags, however many versions are
//! alive.
//!
//! When the newest version ends, the version before it is the newest again. Of the parts that wait
//! in the bags of that version, or are pending and were born before, the newest version is the
//! owner again, and they stop waiting. Parts that only the ended version reached (`born` after the
//! version before) are freed.
//!
//! So a version holds no more memory than it reaches itself, however long it lives: nothing that
//! was born and retired after it waits for it.

use crate::sync::{AtomicU64, Mutex, Ordering};
use std::collections::VecDeque;

/// A retired part, with the generation in which it was born.
pub struct Retired<T> {
    pub born: u64,
    pub part: T,
}

/// The living versions of one structure. See the module.
pub struct VersionChain<T> {
    state: Mutex<State<T>>,
    /// Generation of the newest living version; 0 when no version is alive.
    newest: AtomicU64,
}

struct State<T> {
    last_generation: u64,
    /// In ascending order. Mostly the oldest version ends first.
    versions: VecDeque<Entry<T>>,
    /// Parts that the newest version has retired since its fork and that are not sorted yet.
    pending: Vec<Retired<T>>,
}

struct Entry<T> {
    generation: u64,
    /// The parts of which this is the last version, by the first version that reaches them, in
    /// ascending order. That one may have ended.
    bags: Vec<(u64, Vec<T>)>,
}

/// What the caller must do after the end of a version.
pub struct Ended<T> {
    /// Parts to free: no living version reaches them.
    pub free: Vec<T>,
    /// It was the last living version: the caller also frees everything that the version reached.
    pub last: bool,
}

/// The generation of a chain's first version.
pub const FIRST: u64 = 1;

/// A chain of one version, of generation [`FIRST`].
impl<T> Default for VersionChain<T> {
    fn default() -> Self {
        let first = Entry { generation: FIRST, bags: Vec::new() };
        VersionChain {
            state: Mutex::new(State { last_generation: FIRST, versions: VecDeque::from([first]), pending: Vec::new() }),
            newest: AtomicU64::new(FIRST),
        }
    }
}

impl<T> VersionChain<T> {
    /// Whether a living version is the newest one. If so, it stays the newest until it is forked or
    /// ended. If not, it may become the newest at any time.
    pub fn is_newest(&self, generation: u64) -> bool {
        self.newest.load(Ordering::Acquire) == generation
    }

    /// Takes over the parts that the newest version has retired: that version does not reach them
    /// any more. Answers the parts to free.
    pub fn retire(&self, retired: &mut Vec<Retired<T>>) -> Vec<T> {
        let mut state = self.state.lock();
        append(&mut state.pending, retired);
        if state.versions.len() > 1 { Vec::new() } else { state.sort_pending() }
    }

    /// Appends a version that reaches whatever the newest one reaches. Answers the new generation
    /// and the parts to free; `None` when `generation` is not the newest.
    pub fn fork(&self, generation: u64) -> Option<(u64, Vec<T>)> {
        let mut state = self.state.lock();
        if !self.is_newest(generation) {
            return None;
        }
        let free = state.sort_pending();
        state.last_generation += 1;
        let generation = state.last_generation;
        state.versions.push_back(Entry { generation, bags: Vec::new() });
        self.newest.store(generation, Ordering::Release);
        Some((generation, free))
    }

    /// Ends a version, which must be alive. When it is the newest version but not the only one,
    /// this calls `born_after` with the generation of the version before it, and `born_after`
    /// answers all parts that the ending version reaches and that were born after that generation.
    /// No version forks, ends or becomes the newest meanwhile.
    pub fn end(&self, generation: u64, born_after: &dyn Fn(u64) -> Vec<T>) -> Ended<T> {
        let mut state = self.state.lock();
        let Ok(at) = state.versions.binary_search_by_key(&generation, |version| version.generation) else {
            debug_assert!(false, "a version ends once: {generation}");
            return Ended { free: Vec::new(), last: false };
        };
        if at + 1 < state.versions.len() {
            let mut free = state.remove_older(at);
            append(&mut free, &mut state.sort_pending());
            return Ended { free, last: false };
        }
        let retired = std::mem::take(&mut state.pending);
        state.versions.pop_back();
        let Some(before) = state.versions.back_mut() else {
            self.newest.store(0, Ordering::Release);
            return Ended { free: retired.into_iter().map(|retired| retired.part).collect(), last: true };
        };
        let before_generation = before.generation;
        // The version `before` reaches what was retired after it, and it is the newest version now.
        let returned = std::mem::take(&mut before.bags);
        let retired = retired.into_iter().filter(|retired| retired.born > before_generation);
        let mut free: Vec<T> = retired.map(|retired| retired.part).collect();
        free.extend(born_after(before_generation));
        self.newest.store(before_generation, Ordering::Release);
        drop(state);
        drop(returned);
        Ended { free, last: false }
    }

    /// The number of living versions, and of retired parts that wait for them.
    #[cfg(test)]
    pub fn census(&self) -> (usize, usize) {
        let state = self.state.lock();
        let bags = state.versions.iter().flat_map(|version| &version.bags);
        (state.versions.len(), bags.map(|(_, parts)| parts.len()).sum::<usize>() + state.pending.len())
    }
}

impl<T> State<T> {
    /// Sorts the pending parts into bags. Answers those that no older version reaches.
    fn sort_pending(&mut self) -> Vec<T> {
        let pending = std::mem::take(&mut self.pending);
        let Some(last) = self.versions.len().checked_sub(2) else {
            return pending.into_iter().map(|retired| retired.part).collect();
        };
        let mut free = Vec::new();
        for Retired { born, part } in pending {
            let first = self.versions.partition_point(|version| version.generation < born);
            let first = self.versions.get(first).map(|version| version.generation);
            let bag = match (first, self.versions.get_mut(last)) {
                (Some(first), Some(last)) if first <= last.generation => last.bag(first),
                _ => None,
            };
            bag.unwrap_or(&mut free).push(part);
        }
        free
    }

    /// Removes a version that is not the newest. Answers the parts to free.
    fn remove_older(&mut self, at: usize) -> Vec<T> {
        let Some(ended) = self.versions.remove(at) else { return Vec::new() };
        let mut free = Vec::new();
        for (label, mut parts) in ended.bags {
            // A new label, so that a version that lives long does not collect many bags.
            let first = self.versions.partition_point(|version| version.generation < label);
            let label = self.versions.get(first).map(|version| version.generation);
            let before = at.checked_sub(1).and_then(|before| self.versions.get_mut(before));
            let bag = match (label, before) {
                (Some(label), Some(before)) if first < at => before.bag(label),
                _ => None,
            };
            append(bag.unwrap_or(&mut free), &mut parts);
        }
        free
    }
}

impl<T> Entry<T> {
    /// The bag with a label.
    fn bag(&mut self, first: u64) -> Option<&mut Vec<T>> {
        let at = self.bags.binary_search_by_key(&first, |(label, _)| *label).unwrap_or_else(|at| {
            self.bags.insert(at, (first, Vec::new()));
            at
        });
        self.bags.get_mut(at).map(|(_, bag)| bag)
    }
}

/// Appends the smaller list to the larger one, so that parts that wait long are not moved again and
/// again. Moves nothing when the first list is empty.
fn append<T>(parts: &mut Vec<T>, others: &mut Vec<T>) {
    if parts.len() < others.len() {
        std::mem::swap(parts, others);
    }
    parts.append(others);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn retired(born: u64, part: u32) -> Vec<Retired<u32>> {
        vec![Retired { born, part }]
    }

    #[test]
    fn a_part_waits_for_those_between_its_birth_and_its_retirement() {
        let chain = VersionChain::default();
        let fork_retiring = |generation, born, part| {
            assert!(chain.retire(&mut retired(born, part)).is_empty());
            let (next, free) = chain.fork(generation).unwrap();
            assert!(free.is_empty());
            next
        };
        let (two, _) = chain.fork(1).unwrap();
        let three = fork_retiring(two, 1, 10);
        let four = fork_retiring(three, 2, 20);
        // Born in the third and retired by the fourth: nobody else reaches it once the third has
        // ended.
        fork_retiring(four, 3, 30);
        assert_eq!(chain.end(two, &|_| vec![]).free, [20]);
        assert_eq!(chain.end(three, &|_| vec![]).free, [30]);
        assert_eq!(chain.census(), (3, 1));
        assert_eq!(chain.end(1, &|_| vec![]).free, [10]);
    }

    #[test]
    fn the_end_of_a_version_costs_nothing_for_those_that_live() {
        const VERSIONS: u64 = if cfg!(miri) { 500 } else { 100_000 };
        let chain = VersionChain::default();
        for newest in 1..VERSIONS {
            // Of each version a part that the next one retires.
            let free = chain.retire(&mut retired(newest - 1, newest as u32 - 1));
            assert!(free.is_empty() || newest == 1);
            chain.fork(newest).unwrap();
        }
        // In their order, as they end when each write is published alone: a walk over the others
        // would take minutes.
        for generation in 1..VERSIONS - 1 {
            assert_eq!(chain.end(generation, &|_| vec![]).free, [generation as u32]);
        }
        assert_eq!(chain.census(), (2, 0));
    }

    #[test]
    fn what_a_version_that_lives_long_holds_is_freed_with_it_whoever_ended_before() {
        let chain = VersionChain::default();
        for newest in 1..=9u64 {
            chain.fork(newest).unwrap();
        }
        assert!(chain.retire(&mut (1..=5).map(|born| Retired { born, part: born as u32 }).collect()).is_empty());
        let (_, free) = chain.fork(10).unwrap();
        assert!(free.is_empty());
        for generation in [1, 3, 2, 4, 10, 9, 7, 8, 6] {
            assert!(chain.end(generation, &|_| vec![]).free.is_empty(), "{generation}");
        }
        let mut free = chain.end(5, &|_| vec![]).free;
        free.sort_unstable();
        assert_eq!(free, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_retired_goes_when_the_older_versions_do_whatever_the_newest_does_then() {
        let chain = VersionChain::default();
        let (two, _) = chain.fork(1).unwrap();
        assert!(chain.retire(&mut retired(1, 10)).is_empty());
        assert_eq!(chain.end(1, &|_| vec![]).free, [10]);
        // And at once when there are none.
        assert_eq!((chain.retire(&mut retired(1, 20)), chain.census()), (vec![20], (1, 0)));
        assert!(chain.end(two, &|_| vec![]).last);
    }

    #[test]
    fn what_waits_for_the_version_before_is_part_of_it_again_when_the_newest_ends() {
        let chain = VersionChain::default();
        let (two, _) = chain.fork(1).unwrap();
        assert!(!chain.is_newest(1) && chain.fork(1).is_none());
        assert!(chain.retire(&mut retired(1, 10)).is_empty());
        let ended = chain.end(two, &|before| vec![before as u32 + 100]);
        assert_eq!((ended.free, ended.last, chain.is_newest(1), chain.census()), (vec![101], false, true, (1, 0)));
        assert!(chain.end(1, &|_| vec![]).last);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p vdr_snapmap loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// The memory of three parts. Loom finds reads before a part is made, after it is freed, and
    /// during either.
    type Memory = Arc<[UnsafeCell<Part>; 3]>;

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Part {
        Unmade,
        Made,
        Freed,
    }

    fn memory() -> Memory {
        Arc::new([Part::Unmade; 3].map(UnsafeCell::new))
    }

    fn make(memory: &Memory, part: usize) {
        // SAFETY: loom checks that nobody reads or writes meanwhile.
        memory[part].with_mut(|part| assert_eq!(unsafe { std::mem::replace(&mut *part, Part::Made) }, Part::Unmade));
    }

    fn read(memory: &Memory, part: usize) {
        // SAFETY: loom checks that nobody writes meanwhile.
        memory[part].with(|part| assert_eq!(unsafe { *part }, Part::Made));
    }

    fn free(memory: &Memory, parts: Vec<usize>) {
        for part in parts {
            // SAFETY: loom checks that nobody reads or writes meanwhile.
            memory[part].with_mut(|part| assert_eq!(unsafe { std::mem::replace(&mut *part, Part::Freed) }, Part::Made));
        }
    }

    fn assert_all_freed(memory: &Memory) {
        // SAFETY: loom checks that nobody writes meanwhile.
        (0..3).for_each(|part| memory[part].with(|part| assert_eq!(unsafe { *part }, Part::Freed)));
    }

    /// A published version. The last owner to let go of it ends it and frees what that leaves.
    struct Version {
        chain: Arc<VersionChain<usize>>,
        memory: Memory,
        generation: u64,
        /// The part that it reaches.
        part: usize,
    }

    impl Version {
        fn read(&self) {
            read(&self.memory, self.part);
        }

        /// The newest version, about to be published: answers the generation that is written to
        /// from now on.
        fn fork(&self) -> u64 {
            let (next, freed) = self.chain.fork(self.generation).unwrap();
            free(&self.memory, freed);
            next
        }
    }

    impl Drop for Version {
        fn drop(&mut self) {
            let ended = self.chain.end(self.generation, &|_| vec![]);
            free(&self.memory, ended.free);
            if ended.last {
                free(&self.memory, vec![self.part]);
            }
        }
    }

    /// The version that readers find. The product has a lock-free pointer here.
    struct Published(loom::sync::Mutex<Arc<Version>>);

    impl Published {
        fn load(&self) -> Arc<Version> {
            self.0.lock().unwrap().clone()
        }

        fn swap(&self, version: Version) -> Arc<Version> {
            std::mem::replace(&mut *self.0.lock().unwrap(), Arc::new(version))
        }
    }

    /// The writer makes the second version, publishes it, lets go of the first, and goes on to the
    /// third. Meanwhile each of `readers` takes whichever version it finds, reads it and lets go,
    /// as many times as its number says.
    fn readers_find_what_is_published(readers: &[usize]) {
        let memory = memory();
        let chain = Arc::new(VersionChain::default());
        let version = |generation, part| Version { chain: chain.clone(), memory: memory.clone(), generation, part };
        make(&memory, 0);
        let first = version(1, 0);
        let two = first.fork();
        let published = Arc::new(Published(loom::sync::Mutex::new(Arc::new(first))));
        let readers = readers.iter().map(|times| {
            let (published, times) = (published.clone(), *times);
            thread::spawn(move || (0..times).for_each(|_| published.load().read()))
        });
        let readers: Vec<_> = readers.collect();
        // The second version replaces part 0 by part 1.
        make(&memory, 1);
        free(&memory, chain.retire(&mut vec![Retired { born: 1, part: 0 }]));
        let second = version(two, 1);
        let three = second.fork();
        drop(published.swap(second));
        // The third version replaces part 1 by part 2.
        make(&memory, 2);
        free(&memory, chain.retire(&mut vec![Retired { born: two, part: 1 }]));
        let third = version(three, 2);
        third.read();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        drop((published, third));
        assert_all_freed(&memory);
    }

    #[test]
    fn loom_a_reader_finds_a_whole_version_while_the_next_is_published() {
        loom::model(|| readers_find_what_is_published(&[2]));
    }

    #[test]
    fn loom_the_last_of_several_readers_frees_what_the_writer_replaced() {
        loom::model(|| readers_find_what_is_published(&[1, 1]));
    }

    /// The writer publishes twice and replaces a part each time, while the readers of both older
    /// versions let go.
    #[test]
    fn loom_nothing_is_freed_while_a_version_that_reaches_it_lives() {
        loom::model(|| {
            let memory = memory();
            (0..3).for_each(|part| make(&memory, part));
            let chain = Arc::new(VersionChain::default());
            let (two, _) = chain.fork(1).unwrap();
            // The second version replaces part 0 by part 1.
            free(&memory, chain.retire(&mut vec![Retired { born: 1, part: 0 }]));
            let (three, freed) = chain.fork(two).unwrap();
            free(&memory, freed);
            let readers: Vec<_> = [(1, 0), (two, 1)]
                .map(|(generation, part)| {
                    let (chain, memory) = (chain.clone(), memory.clone());
                    thread::spawn(move || {
                        read(&memory, part);
                        free(&memory, chain.end(generation, &|_| vec![]).free);
                    })
                })
                .into_iter()
                .collect();
            // The third version replaces part 1 by part 2.
            free(&memory, chain.retire(&mut vec![Retired { born: two, part: 1 }]));
            let (four, freed) = chain.fork(three).unwrap();
            free(&memory, freed);
            read(&memory, 2);
            free(&memory, chain.end(three, &|_| vec![]).free);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            let ended = chain.end(four, &|_| vec![]);
            assert!(ended.last && ended.free.is_empty());
            free(&memory, vec![2]);
            assert_all_freed(&memory);
        });
    }

    /// A branch is dropped on another thread. Its checkpoint waits to be the newest version and
    /// then changes in place.
    #[test]
    fn loom_a_checkpoint_changes_only_after_the_branch_has_been_walked() {
        loom::model(|| {
            let memory = memory();
            (0..3).for_each(|part| make(&memory, part));
            let chain = Arc::new(VersionChain::default());
            let (two, _) = chain.fork(1).unwrap();
            let branch = {
                let (chain, memory) = (chain.clone(), memory.clone());
                thread::spawn(move || {
                    // The branch reaches part 0 of the checkpoint, and looks at it on its way to
                    // its own part 1.
                    let ended = chain.end(two, &|_| {
                        read(&memory, 0);
                        vec![1]
                    });
                    free(&memory, ended.free);
                })
            };
            if chain.is_newest(1) {
                // In place: part 0 is this generation's own.
                free(&memory, vec![0]);
            }
            branch.join().unwrap();
            assert!(chain.end(1, &|_| vec![]).last);
        });
    }
}

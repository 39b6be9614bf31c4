//! Which versions of a structure live, and what may be freed when one of them ends. No pointer is followed here.
//!
//! The versions of a structure stand in a *line*, ordered by a generation number that only grows. Only the newest may
//! be forked (which appends a version) and only the newest may change. Whatever a structure is made of, a *part*, is
//! born in one generation and may later be retired by the newest version, so the versions that reach a part always
//! stand side by side: from the first that lives with `generation >= born` to the last before the one that retired it.
//!
//! ```text
//! living versions   3 ────── 7 ────── 8 ────── 12 (newest)
//! born 2                ●────────●                      last = 7, first = 3: in the bag (3) of version 7
//! born 5                         ●────────●             last = 8, first = 7: in the bag (7) of version 8
//! born 9                                                 retired by 12: no living version reaches it: freed at once
//! ```
//!
//! What the newest version retires is *pending* until an older version ends or the newest is forked; then it is sorted. A
//! sorted part waits in one bag: it belongs to the last version that reaches it and is labelled with the first. When
//! version `v` ends:
//!
//! * its bags that no version before it reaches are to be freed;
//! * its other bags pass to the version before it, which is now the last that reaches them.
//!
//! A version that a label names may have ended: the label means the first living one from it on. So the end of a version
//! costs what is in its own bags, however many versions live.
//!
//! When the newest version ends, the one before it is the newest again: what waits in its bags, or is pending and was born
//! before, is part of the newest version once more and stops waiting; what the ended one alone reached (`born` after the one before) is to be freed.
//!
//! So memory held by a version, however long it lives, is at most what it reaches itself: nothing that was born and
//! retired after it waits for it.

use crate::sync::{AtomicU64, Mutex, Ordering};
use std::collections::{BTreeMap, VecDeque};

/// Something retired, with the generation that it was born in.
pub struct Retired<T> {
    pub born: u64,
    pub part: T,
}

/// See the module.
pub struct Line<T> {
    state: Mutex<State<T>>,
    /// Generation of the newest living version; 0 when none lives.
    newest: AtomicU64,
}

struct State<T> {
    last_generation: u64,
    /// Ascending. Mostly the oldest is the one that ends.
    versions: VecDeque<Version<T>>,
    /// What the newest version has retired since it was forked off, as far as it is not sorted yet.
    pending: Vec<Retired<T>>,
}

struct Version<T> {
    generation: u64,
    /// What it is the last to reach, by the first version that reaches it, which may have ended.
    bags: BTreeMap<u64, Vec<T>>,
}

/// What the end of a version leaves to do.
pub struct Ended<T> {
    /// No living version reaches these any more.
    pub free: Vec<T>,
    /// It was the only version left: everything that it reached is to be freed, besides `free`.
    pub last: bool,
}

/// The generation that a line begins with.
pub const FIRST: u64 = 1;

/// A line of one version, of generation [`FIRST`].
impl<T> Default for Line<T> {
    fn default() -> Self {
        let first = Version { generation: FIRST, bags: BTreeMap::new() };
        Line {
            state: Mutex::new(State { last_generation: FIRST, versions: VecDeque::from([first]), pending: Vec::new() }),
            newest: AtomicU64::new(FIRST),
        }
    }
}

impl<T> Line<T> {
    /// Whether a living version is the newest. It stays so for as long as it is neither forked nor ended; one that is
    /// not the newest may become it at any time.
    pub fn is_newest(&self, generation: u64) -> bool {
        self.newest.load(Ordering::Acquire) == generation
    }

    /// Takes over what the newest version has retired: nothing of it reaches these parts any more. Answers what is to be
    /// freed.
    pub fn retire(&self, retired: &mut Vec<Retired<T>>) -> Vec<T> {
        let mut state = self.state.lock();
        append(&mut state.pending, retired);
        if state.versions.len() > 1 { Vec::new() } else { state.put_away() }
    }

    /// Appends a version that reaches whatever the newest one does. Answers the new generation and what is to be freed;
    /// none when `generation` is not the newest.
    pub fn fork(&self, generation: u64) -> Option<(u64, Vec<T>)> {
        let mut state = self.state.lock();
        if !self.is_newest(generation) {
            return None;
        }
        let free = state.put_away();
        state.last_generation += 1;
        let generation = state.last_generation;
        state.versions.push_back(Version { generation, bags: BTreeMap::new() });
        self.newest.store(generation, Ordering::Release);
        Some((generation, free))
    }

    /// Ends a version. `own` is called when it is the newest but not the only one, with the generation before it: it
    /// answers all parts that the ending version reaches and that were born after that generation. Nothing forks, ends
    /// or becomes the newest meanwhile.
    pub fn end(&self, generation: u64, own: impl FnOnce(u64) -> Vec<T>) -> Ended<T> {
        let mut state = self.state.lock();
        let Ok(at) = state.versions.binary_search_by_key(&generation, |version| version.generation) else {
            return Ended { free: Vec::new(), last: false };
        };
        if at + 1 < state.versions.len() {
            let mut free = state.remove_older(at);
            append(&mut free, &mut state.put_away());
            return Ended { free, last: false };
        }
        let retired = std::mem::take(&mut state.pending);
        state.versions.pop_back();
        let Some(before) = state.versions.back_mut() else {
            self.newest.store(0, Ordering::Release);
            return Ended { free: retired.into_iter().map(|retired| retired.part).collect(), last: true };
        };
        let before_generation = before.generation;
        // What was retired after `before` is reached by it, and so by the newest version.
        let returned = std::mem::take(&mut before.bags);
        let retired = retired.into_iter().filter(|retired| retired.born > before_generation);
        let mut free: Vec<T> = retired.map(|retired| retired.part).collect();
        free.extend(own(before_generation));
        self.newest.store(before_generation, Ordering::Release);
        drop(state);
        drop(returned);
        Ended { free, last: false }
    }

    /// How many versions live, and how many retired parts wait for them.
    #[cfg(test)]
    pub fn census(&self) -> (usize, usize) {
        let state = self.state.lock();
        let bags = state.versions.iter().flat_map(|version| version.bags.values());
        (state.versions.len(), bags.map(Vec::len).sum::<usize>() + state.pending.len())
    }
}

impl<T> State<T> {
    /// Sorts what is pending into bags; answers what no older version reaches.
    fn put_away(&mut self) -> Vec<T> {
        let pending = std::mem::take(&mut self.pending);
        let Some(last) = self.versions.len().checked_sub(2) else {
            return pending.into_iter().map(|retired| retired.part).collect();
        };
        let mut free = Vec::new();
        for Retired { born, part } in pending {
            let first = self.versions.partition_point(|version| version.generation < born);
            let first = self.versions.get(first).map(|version| version.generation);
            match (first, self.versions.get_mut(last)) {
                (Some(first), Some(last)) if first <= last.generation => last.bag(first).push(part),
                _ => free.push(part),
            }
        }
        free
    }

    /// Ends a version that is not the newest.
    fn remove_older(&mut self, at: usize) -> Vec<T> {
        let Some(ended) = self.versions.remove(at) else { return Vec::new() };
        let mut free = Vec::new();
        for (label, mut parts) in ended.bags {
            // Labelled anew, so that the bags of a version that lives long do not become many.
            let first = self.versions.partition_point(|version| version.generation < label);
            let label = self.versions.get(first).map(|version| version.generation);
            let before = at.checked_sub(1).and_then(|before| self.versions.get_mut(before));
            match (label, before) {
                (Some(label), Some(before)) if first < at => append(before.bag(label), &mut parts),
                _ => append(&mut free, &mut parts),
            }
        }
        free
    }
}

impl<T> Version<T> {
    fn bag(&mut self, first: u64) -> &mut Vec<T> {
        self.bags.entry(first).or_default()
    }
}

/// Appends the smaller to the larger: what waits long is not moved again and again, and what comes first is not moved at all.
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
        let line = Line::default();
        let fork_retiring = |generation, born, part| {
            assert!(line.retire(&mut retired(born, part)).is_empty());
            let (next, free) = line.fork(generation).unwrap();
            assert!(free.is_empty());
            next
        };
        let (two, _) = line.fork(1).unwrap();
        let three = fork_retiring(two, 1, 10);
        let four = fork_retiring(three, 2, 20);
        // Born in the third and retired by the fourth: nobody else reaches it once the third has ended.
        fork_retiring(four, 3, 30);
        assert_eq!(line.end(two, |_| vec![]).free, [20]);
        assert_eq!(line.end(three, |_| vec![]).free, [30]);
        assert_eq!(line.census(), (3, 1));
        assert_eq!(line.end(1, |_| vec![]).free, [10]);
    }

    #[test]
    fn the_end_of_a_version_costs_nothing_for_those_that_live() {
        const VERSIONS: u64 = if cfg!(miri) { 500 } else { 100_000 };
        let line = Line::default();
        for newest in 1..VERSIONS {
            // Of each version a part that the next one retires.
            let free = line.retire(&mut retired(newest - 1, newest as u32 - 1));
            assert!(free.is_empty() || newest == 1);
            line.fork(newest).unwrap();
        }
        // In their order, as they end when each write is published alone: a walk over the others would take minutes.
        for generation in 1..VERSIONS - 1 {
            assert_eq!(line.end(generation, |_| vec![]).free, [generation as u32]);
        }
        assert_eq!(line.census(), (2, 0));
    }

    #[test]
    fn what_a_version_that_lives_long_holds_is_freed_with_it_whoever_ended_before() {
        let line = Line::default();
        for newest in 1..=9u64 {
            line.fork(newest).unwrap();
        }
        assert!(line.retire(&mut (1..=5).map(|born| Retired { born, part: born as u32 }).collect()).is_empty());
        let (_, free) = line.fork(10).unwrap();
        assert!(free.is_empty());
        for generation in [1, 3, 2, 4, 10, 9, 7, 8, 6] {
            assert!(line.end(generation, |_| vec![]).free.is_empty(), "{generation}");
        }
        let mut free = line.end(5, |_| vec![]).free;
        free.sort_unstable();
        assert_eq!(free, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_retired_goes_when_the_older_versions_do_whatever_the_newest_does_then() {
        let line = Line::default();
        let (two, _) = line.fork(1).unwrap();
        assert!(line.retire(&mut retired(1, 10)).is_empty());
        assert_eq!(line.end(1, |_| vec![]).free, [10]);
        // And at once when there are none.
        assert_eq!((line.retire(&mut retired(1, 20)), line.census()), (vec![20], (1, 0)));
        assert!(line.end(two, |_| vec![]).last);
    }

    #[test]
    fn what_waits_for_the_version_before_is_part_of_it_again_when_the_newest_ends() {
        let line = Line::default();
        let (two, _) = line.fork(1).unwrap();
        assert!(!line.is_newest(1) && line.fork(1).is_none());
        assert!(line.retire(&mut retired(1, 10)).is_empty());
        let ended = line.end(two, |before| vec![before as u32 + 100]);
        assert_eq!((ended.free, ended.last, line.is_newest(1), line.census()), (vec![101], false, true, (1, 0)));
        assert!(line.end(1, |_| vec![]).last);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p vdr_snapmap loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// A part's memory: reading it while it is made or freed, before or after, is what loom finds.
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

    /// A version as it is published: whoever is the last to let go of it ends it and frees what that leaves.
    struct Version {
        line: Arc<Line<usize>>,
        memory: Memory,
        generation: u64,
        /// What it reaches.
        part: usize,
    }

    impl Version {
        fn read(&self) {
            read(&self.memory, self.part);
        }

        /// The newest version, about to be published: answers the generation that is written to from now on.
        fn fork(&self) -> u64 {
            let (next, freed) = self.line.fork(self.generation).unwrap();
            free(&self.memory, freed);
            next
        }
    }

    impl Drop for Version {
        fn drop(&mut self) {
            let ended = self.line.end(self.generation, |_| vec![]);
            free(&self.memory, ended.free);
            if ended.last {
                free(&self.memory, vec![self.part]);
            }
        }
    }

    /// What readers find. In earnest it is an `ArcSwap`, which is trusted to do what this does: loom does not know it.
    struct Published(loom::sync::Mutex<Arc<Version>>);

    impl Published {
        fn load(&self) -> Arc<Version> {
            self.0.lock().unwrap().clone()
        }

        fn swap(&self, version: Version) -> Arc<Version> {
            std::mem::replace(&mut *self.0.lock().unwrap(), Arc::new(version))
        }
    }

    /// The writer makes the second version, publishes it and lets go of the first, then goes on to the third, while `readers`
    /// take whichever they find, as often as it says, read it and let go.
    fn readers_find_what_is_published(readers: &[usize]) {
        let memory = memory();
        let line = Arc::new(Line::default());
        let version = |generation, part| Version { line: line.clone(), memory: memory.clone(), generation, part };
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
        free(&memory, line.retire(&mut vec![Retired { born: 1, part: 0 }]));
        let second = version(two, 1);
        let three = second.fork();
        drop(published.swap(second));
        // The third version replaces part 1 by part 2.
        make(&memory, 2);
        free(&memory, line.retire(&mut vec![Retired { born: two, part: 1 }]));
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

    /// The writer publishes twice, replacing a part each time, while the readers of both older versions let go.
    #[test]
    fn loom_nothing_is_freed_while_a_version_that_reaches_it_lives() {
        loom::model(|| {
            let memory = memory();
            (0..3).for_each(|part| make(&memory, part));
            let line = Arc::new(Line::default());
            let (two, _) = line.fork(1).unwrap();
            // The second version replaces part 0 by part 1.
            free(&memory, line.retire(&mut vec![Retired { born: 1, part: 0 }]));
            let (three, freed) = line.fork(two).unwrap();
            free(&memory, freed);
            let readers: Vec<_> = [(1, 0), (two, 1)]
                .map(|(generation, part)| {
                    let (line, memory) = (line.clone(), memory.clone());
                    thread::spawn(move || {
                        read(&memory, part);
                        free(&memory, line.end(generation, |_| vec![]).free);
                    })
                })
                .into_iter()
                .collect();
            // The third version replaces part 1 by part 2.
            free(&memory, line.retire(&mut vec![Retired { born: two, part: 1 }]));
            let (four, freed) = line.fork(three).unwrap();
            free(&memory, freed);
            read(&memory, 2);
            free(&memory, line.end(three, |_| vec![]).free);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            let ended = line.end(four, |_| vec![]);
            assert!(ended.last && ended.free.is_empty());
            free(&memory, vec![2]);
            assert_all_freed(&memory);
        });
    }

    /// A branch is dropped on another thread while its checkpoint waits to be the newest and then changes in place.
    #[test]
    fn loom_a_checkpoint_changes_only_after_the_branch_has_been_walked() {
        loom::model(|| {
            let memory = memory();
            (0..3).for_each(|part| make(&memory, part));
            let line = Arc::new(Line::default());
            let (two, _) = line.fork(1).unwrap();
            let branch = {
                let (line, memory) = (line.clone(), memory.clone());
                thread::spawn(move || {
                    // The branch reaches part 0 of the checkpoint, and looks at it on its way to its own part 1.
                    let ended = line.end(two, |_| {
                        read(&memory, 0);
                        vec![1]
                    });
                    free(&memory, ended.free);
                })
            };
            if line.is_newest(1) {
                // In place: part 0 is this generation's own.
                free(&memory, vec![0]);
            }
            branch.join().unwrap();
            assert!(line.end(1, |_| vec![]).last);
        });
    }
}

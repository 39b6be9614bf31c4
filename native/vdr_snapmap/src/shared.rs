//! Byte strings in one allocation that any number of handles share. Long ones live at [`crate::home`], and a reader may lend them.
//!
//! ```text
//! handle: place, lent | where | length          what it leads to: count | lent |  bytes
//! ```
//!
//! Why nothing changes under anyone:
//!
//! - Only [`SharedBytes::make_mut`] writes to bytes that were handed out, with the only handle to them in its hands, exclusively,
//!   and never once they were lent. A handle is all that leads to them otherwise.
//! - That it is the only handle is told by the count. Who drops another one counts down with Release, and the count is read with
//!   Acquire: all that the other one was used for came before, the reads and the mark of a loan, too.
//! - A loan is marked in the handle that it was made by: a reader that comes to a handle waits for no other memory, and writes
//!   none when the mark is set. A handle that is marked marks what it leads to before it counts itself down, and a clone is as marked
//!   as its original: so of the only handle left, either it or what it leads to tells of any loan.
//! - A borrowed handle needs no count. That its borrower is done before somebody has it exclusively is Rust's rule, and
//!   where the one is a reader of a version and the other its writer, [`crate::line`] stands for it: what makes the end of the
//!   reads visible to the writer makes the mark visible, which therefore needs no order of its own.
//! - The memory is given back by whoever counts down to nothing, after an Acquire that sees all the others' uses. At home
//!   that is one reference less; the head is not touched again.

use crate::home::{self, Loan, Memory};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// From this length on bytes live at home. Shorter strings are packed in items, which have their own; shorter elements are copied by
/// who reads them, and come and go quicker than they would at home.
const SHARED_HOME_BYTES_MIN: usize = 4096;

#[repr(C)]
struct Head {
    /// Handles. It would take centuries to count beyond it.
    count: AtomicUsize,
    /// By a handle that is no more.
    lent: AtomicBool,
}

const HEAD: usize = size_of::<Head>();
/// What is longer is cut off: no such bytes exist.
const LEN_MAX: usize = isize::MAX as usize - 2 * HEAD;

/// Where memory came from, and goes back to.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Own,
    Home,
}

/// A handle to immutable bytes. A clone shares them.
#[repr(C)]
pub struct SharedBytes {
    /// The same in all handles. In front, where it leaves room for what an enum around it has instead of a handle.
    place: Place,
    lent: AtomicBool,
    head: NonNull<Head>,
    /// The same in all handles.
    len: usize,
}

// SAFETY: the count is atomic, and the bytes change only where no other handle is (see above).
unsafe impl Send for SharedBytes {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    pub fn new(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..LEN_MAX).unwrap_or(bytes);
        let at_home = if bytes.len() < SHARED_HOME_BYTES_MIN { None } else { home::alloc(HEAD + bytes.len()) };
        let head = at_home.unwrap_or_else(|| own_memory(bytes.len())).cast::<Head>();
        // SAFETY: the memory is for a head and so many bytes behind it, aligned for a head, and nobody else's yet.
        unsafe {
            head.write(Head { count: AtomicUsize::new(1), lent: AtomicBool::new(false) });
            head.add(1).cast::<u8>().copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        let place = if at_home.is_some() { Place::Home } else { Place::Own };
        SharedBytes { place, lent: AtomicBool::new(false), head, len: bytes.len() }
    }

    fn head(&self) -> &Head {
        // SAFETY: it was written by `new`, and lives while there is a handle.
        unsafe { self.head.as_ref() }
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `new` wrote so many bytes there. While `self` is borrowed nobody else has this handle exclusively.
        unsafe { NonNull::slice_from_raw_parts(self.head.add(1).cast(), self.len).as_ref() }
    }

    /// The bytes to change in place; copied first when somebody else has them, too.
    pub fn make_mut(&mut self) -> &mut [u8] {
        let head = self.head();
        if self.is_lent() || head.count.load(Ordering::Acquire) != 1 || head.lent.load(Ordering::Relaxed) {
            *self = SharedBytes::new(self.as_slice());
        }
        // SAFETY: `new` wrote so many bytes there, this is the only handle to them, exclusively, and they were never lent.
        unsafe { NonNull::slice_from_raw_parts(self.head.add(1).cast(), self.len).as_mut() }
    }

    /// What lives at home for others to refer to; it never changes again.
    pub fn lend(&self) -> Option<Loan<'_>> {
        if self.place == Place::Own {
            return None;
        }
        if !self.is_lent() {
            self.lent.store(true, Ordering::Relaxed);
        }
        Some(Loan::new(self.head.cast(), self.as_slice()))
    }

    fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    pub fn memory(&self) -> Memory {
        Memory::of(HEAD + self.len, self.place == Place::Home)
    }

    /// Whether both are the very same in memory: then they are equal.
    pub fn same(&self, other: &SharedBytes) -> bool {
        self.head == other.head
    }
}

fn layout(len: usize) -> Layout {
    // SAFETY: the alignment is a type's; rounded up to it the size is no more than `isize::MAX`, since no length is beyond `LEN_MAX`.
    unsafe { Layout::from_size_align_unchecked(HEAD + len, align_of::<Head>()) }
}

fn own_memory(len: usize) -> NonNull<u8> {
    let layout = layout(len);
    // SAFETY: the layout is never empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Clone for SharedBytes {
    fn clone(&self) -> Self {
        // The new handle comes from one that lives: nothing to wait for.
        self.head().count.fetch_add(1, Ordering::Relaxed);
        SharedBytes { place: self.place, lent: AtomicBool::new(self.is_lent()), head: self.head, len: self.len }
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        let head = self.head();
        if self.is_lent() {
            head.lent.store(true, Ordering::Relaxed);
        }
        if head.count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        head.count.load(Ordering::Acquire);
        let memory = self.head.cast::<u8>();
        // SAFETY: this was the last handle, so nobody uses the memory through one any more, and it goes back where `new` had it from.
        unsafe {
            match self.place {
                Place::Home => home::free(memory, HEAD + self.len, head.lent.load(Ordering::Relaxed)),
                Place::Own => dealloc(memory.as_ptr(), layout(self.len)),
            }
        }
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::allocated;
    use crate::home::testing::{Term, living, settle, taken};
    use std::sync::{Arc, mpsc};
    use std::thread;

    const LONG: usize = SHARED_HOME_BYTES_MIN;

    #[test]
    fn every_length_is_kept_and_given_back() {
        settle();
        for len in [0, 1, 7, 8, LONG - 1, LONG, LONG + 1, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let shared = SharedBytes::new(&bytes);
            assert_eq!(shared.as_slice(), bytes);
            assert_eq!(living(), isize::from(len >= LONG));
            let memory =
                if len >= LONG { Memory::AtHome(taken(HEAD + len)) } else { Memory::Allocated(allocated(HEAD + len)) };
            assert_eq!((shared.memory(), shared.lend().is_some()), (memory, len >= LONG));
            let other = shared.clone();
            drop(shared);
            assert_eq!(other.as_slice(), bytes);
            drop(other);
            assert_eq!(living(), 0);
        }
    }

    #[test]
    fn a_change_is_made_in_place_until_somebody_else_has_the_bytes() {
        settle();
        for len in [3, LONG] {
            let mut shared = SharedBytes::new(&vec![0; len]);
            let at = shared.as_slice().as_ptr();
            shared.make_mut()[0] = 1;
            assert_eq!(shared.as_slice().as_ptr(), at);
            let clone = shared.clone();
            shared.make_mut()[0] = 2;
            assert!(!shared.same(&clone) && clone.as_slice()[0] == 1 && shared.as_slice()[0] == 2);
            drop(shared);
            let mut last = clone;
            last.make_mut()[0] = 3;
            assert_eq!((last.as_slice().as_ptr(), last.as_slice()[0]), (at, 3));
        }
    }

    #[test]
    fn what_was_lent_never_changes_and_outlives_its_handles() {
        settle();
        let mut shared = SharedBytes::new(&[0; LONG]);
        let term = Term::of(shared.lend().unwrap());
        shared.make_mut()[0] = 1;
        assert_eq!((term.shows(), shared.as_slice()[0], living()), (&[0; LONG][..], 1, 2));
        // The copy is nobody else's, and the first one stays lent when nobody shows it any more.
        let at = shared.as_slice().as_ptr();
        shared.make_mut()[0] = 2;
        assert_eq!(shared.as_slice().as_ptr(), at);
        drop(Term::of(shared.lend().unwrap()));
        shared.make_mut()[0] = 3;
        assert_ne!(shared.as_slice().as_ptr(), at);
        // Nor does it matter which handle lent it, and whether that still is.
        let mut other = shared.clone();
        drop(Term::of(shared.lend().unwrap()));
        drop(shared);
        let at = other.as_slice().as_ptr();
        other.make_mut()[0] = 4;
        assert_ne!(other.as_slice().as_ptr(), at);
        drop(other);
        assert_eq!((term.shows(), living()), (&[0; LONG][..], 1));
        drop(term);
        assert_eq!(living(), 0);
    }

    /// A writer changes bytes in place where it may; readers get handles from it as from snapshots, lend, let go, and look at their terms
    /// later. Each state is one byte repeated, so a term that shows two was written to.
    #[test]
    fn readers_on_other_threads_never_see_a_change() {
        settle();
        let rounds = if cfg!(miri) { 30 } else { 3_000 };
        let (readers, workers): (Vec<_>, Vec<_>) = (0..3)
            .map(|number| {
                let (send, receive) = mpsc::channel::<Arc<SharedBytes>>();
                let worker = thread::spawn(move || {
                    let mut terms: Vec<(u8, Term)> = Vec::new();
                    for (round, handle) in receive.into_iter().enumerate() {
                        let state = handle.as_slice()[0];
                        if round % 3 == number {
                            terms.push((state, Term::of(handle.lend().unwrap())));
                        }
                        let own = SharedBytes::clone(&handle);
                        drop(handle);
                        assert!(own.as_slice().iter().all(|byte| *byte == state));
                        drop(own);
                        if terms.len() == 8 {
                            terms.drain(..).for_each(|(state, term)| {
                                assert!(term.shows().iter().all(|byte| *byte == state));
                            });
                        }
                    }
                });
                (send, worker)
            })
            .unzip();
        let mut shared = SharedBytes::new(&[0; LONG]);
        for round in 0..rounds {
            shared.make_mut().fill(round as u8);
            if round % 2 == 0 {
                let handle = Arc::new(shared.clone());
                readers.iter().for_each(|reader| reader.send(handle.clone()).unwrap());
            }
        }
        drop((readers, shared));
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(living(), 0);
    }
}

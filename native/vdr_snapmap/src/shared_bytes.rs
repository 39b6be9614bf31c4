//! Reference-counted byte strings in one allocation, copy-on-write. Long ones live in the host
//! allocator ([`crate::host_alloc`]), and a reader may export them.
//!
//! ```text
//! handle: allocator | exported | address | length          allocation: count | exported |  bytes
//! ```
//!
//! Why nobody sees bytes change:
//!
//! - Only [`SharedBytes::make_mut`] writes to bytes that were handed out. It has the only handle to
//!   them, exclusively, and the bytes were never exported. Nothing else leads to them.
//! - The count says that the handle is the only one. A dropped handle counts down with Release, and
//!   the count is read with Acquire. So every use of the other handle came before: its reads, and
//!   its marks of an export, too.
//! - An export is marked in the handle that made it. So a reader with a handle waits for no other
//!   memory, and writes none when the mark is set. A marked handle marks the allocation before it
//!   counts itself down, and a clone has the mark of its original. So either the last handle or the
//!   allocation knows of any export.
//! - A borrowed handle needs no count. By Rust's rules its borrower is done before somebody has it
//!   exclusively. Where one is a reader of a version and the other that version's writer,
//!   [`crate::version`] stands for this rule. Whatever makes the end of the reads visible to the
//!   writer makes the mark visible, so the mark itself is Relaxed.
//! - Whoever counts down to zero gives the memory back, after an Acquire that sees all other uses.
//!   In the host allocator this drops one reference. The header is not touched again.

use crate::host_alloc::{self, ExportedBytes, Memory};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of this length or more live in the host allocator. Shorter strings are packed in items,
/// which have a limit of their own. Readers copy shorter elements, and Rust's allocator makes and
/// frees those faster.
const HOST_BYTES_MIN: usize = 4096;

#[repr(C)]
struct Header {
    /// The number of handles. An overflow would take centuries.
    count: AtomicUsize,
    /// By a handle that has been dropped.
    exported: AtomicBool,
}

const HEADER: usize = size_of::<Header>();
/// Longer bytes are cut off: they cannot exist.
const LEN_MAX: usize = isize::MAX as usize - 2 * HEADER;

/// The allocator that the memory came from, and goes back to.
#[derive(Clone, Copy, PartialEq)]
enum Allocator {
    Rust,
    Host,
}

/// A handle to bytes. A clone shares them.
#[repr(C)]
pub struct SharedBytes {
    /// The same in all handles. It comes first, so that an enum around the handle has a niche for
    /// its other variants.
    allocator: Allocator,
    exported: AtomicBool,
    header: NonNull<Header>,
    /// The same in all handles.
    len: usize,
}

// SAFETY: the count is atomic, and the bytes change only where there is no other handle (see the
// module).
unsafe impl Send for SharedBytes {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    pub fn new(bytes: &[u8]) -> Self {
        SharedBytes::concat(&[bytes])
    }

    /// The parts behind each other, copied once.
    pub fn concat(parts: &[&[u8]]) -> Self {
        // Whatever would make the bytes too long is cut off.
        let part_len = |len: usize, part: &[u8]| part.len().min(LEN_MAX - len);
        let len = parts.iter().fold(0, |len, part| len + part_len(len, part));
        let in_host = if len < HOST_BYTES_MIN { None } else { host_alloc::alloc(HEADER + len) };
        let header = in_host.unwrap_or_else(|| rust_alloc(len)).cast::<Header>();
        // SAFETY: the memory has room for a header and `len` bytes behind it, is aligned for a
        // header, and is nobody else's yet. The parts fill these bytes exactly, by the sum above.
        unsafe {
            header.write(Header { count: AtomicUsize::new(1), exported: AtomicBool::new(false) });
            let (bytes, mut at) = (header.add(1).cast::<u8>(), 0);
            for part in parts {
                let part_len = part_len(at, part);
                bytes.add(at).copy_from_nonoverlapping(NonNull::from(*part).cast(), part_len);
                at += part_len;
            }
        }
        let allocator = if in_host.is_some() { Allocator::Host } else { Allocator::Rust };
        SharedBytes { allocator, exported: AtomicBool::new(false), header, len }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: `new` wrote it, and it lives while there is a handle.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `new` wrote as many bytes there. While `self` is borrowed nobody else has this
        // handle exclusively.
        unsafe { NonNull::slice_from_raw_parts(self.header.add(1).cast(), self.len).as_ref() }
    }

    /// Whether this is the only handle to the bytes, and they were never exported: then
    /// [`SharedBytes::make_mut`] copies nothing.
    pub fn is_unique(&mut self) -> bool {
        let header = self.header();
        !self.is_exported() && header.count.load(Ordering::Acquire) == 1 && !header.exported.load(Ordering::Relaxed)
    }

    /// The bytes to change in place. Copies them first when they are shared or were exported.
    pub fn make_mut(&mut self) -> &mut [u8] {
        if !self.is_unique() {
            *self = SharedBytes::new(self.as_slice());
        }
        // SAFETY: `new` wrote as many bytes there, this is the only handle to them, exclusively,
        // and they were never exported.
        unsafe { NonNull::slice_from_raw_parts(self.header.add(1).cast(), self.len).as_mut() }
    }

    /// Exports the bytes without a copy, if they live in the host allocator. They never change
    /// again.
    #[inline]
    pub fn export(&self) -> Option<ExportedBytes<'_>> {
        if self.allocator == Allocator::Rust {
            return None;
        }
        if !self.is_exported() {
            self.exported.store(true, Ordering::Relaxed);
        }
        Some(ExportedBytes::new(self.header.cast(), self.as_slice()))
    }

    #[inline]
    fn is_exported(&self) -> bool {
        self.exported.load(Ordering::Relaxed)
    }

    pub fn memory(&self) -> Memory {
        Memory::of(HEADER + self.len, self.allocator == Allocator::Host)
    }

    /// Whether both share one allocation: then they are equal.
    pub fn same(&self, other: &SharedBytes) -> bool {
        self.header == other.header
    }
}

fn layout(len: usize) -> Layout {
    // SAFETY: the alignment is a type's. The size rounded up to it is at most `isize::MAX`, since
    // no length exceeds `LEN_MAX`.
    unsafe { Layout::from_size_align_unchecked(HEADER + len, align_of::<Header>()) }
}

fn rust_alloc(len: usize) -> NonNull<u8> {
    let layout = layout(len);
    // SAFETY: the layout is never empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

impl Clone for SharedBytes {
    fn clone(&self) -> Self {
        // The new handle comes from a living one, so there is nothing to wait for.
        self.header().count.fetch_add(1, Ordering::Relaxed);
        SharedBytes {
            allocator: self.allocator,
            exported: AtomicBool::new(self.is_exported()),
            header: self.header,
            len: self.len,
        }
    }
}

impl Drop for SharedBytes {
    fn drop(&mut self) {
        let header = self.header();
        if self.is_exported() {
            header.exported.store(true, Ordering::Relaxed);
        }
        if header.count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        header.count.load(Ordering::Acquire);
        let memory = self.header.cast::<u8>();
        // SAFETY: this was the last handle, so nobody uses the memory through one any more. It goes
        // back to the allocator that `new` had it from.
        unsafe {
            match self.allocator {
                Allocator::Host => host_alloc::free(memory, HEADER + self.len, header.exported.load(Ordering::Relaxed)),
                Allocator::Rust => dealloc(memory.as_ptr(), layout(self.len)),
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
    use crate::host_alloc::allocated;
    use crate::testing::host::{Term, install, living, taken};
    use std::sync::{Arc, mpsc};
    use std::thread;

    const LONG: usize = HOST_BYTES_MIN;

    #[test]
    fn every_length_is_kept_and_given_back() {
        install();
        for len in [0, 1, 7, 8, LONG - 1, LONG, LONG + 1, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let shared = SharedBytes::new(&bytes);
            assert_eq!(shared.as_slice(), bytes);
            assert_eq!(living(), isize::from(len >= LONG));
            let memory = if len >= LONG {
                Memory::InHost(taken(HEADER + len))
            } else {
                Memory::Allocated(allocated(HEADER + len))
            };
            assert_eq!((shared.memory(), shared.export().is_some()), (memory, len >= LONG));
            let other = shared.clone();
            drop(shared);
            assert_eq!(other.as_slice(), bytes);
            drop(other);
            assert_eq!(living(), 0);
        }
    }

    #[test]
    fn a_change_is_made_in_place_until_somebody_else_has_the_bytes() {
        install();
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
    fn exported_bytes_never_change_and_outlive_their_handles() {
        install();
        let mut shared = SharedBytes::new(&[0; LONG]);
        let term = Term::of(shared.export().unwrap());
        shared.make_mut()[0] = 1;
        assert_eq!((term.shows(), shared.as_slice()[0], living()), (&[0; LONG][..], 1, 2));
        // The copy is not shared. The original stays exported after its last term.
        let at = shared.as_slice().as_ptr();
        shared.make_mut()[0] = 2;
        assert_eq!(shared.as_slice().as_ptr(), at);
        drop(Term::of(shared.export().unwrap()));
        shared.make_mut()[0] = 3;
        assert_ne!(shared.as_slice().as_ptr(), at);
        // It does not matter which handle exported the bytes, or whether that handle still exists.
        let mut other = shared.clone();
        drop(Term::of(shared.export().unwrap()));
        drop(shared);
        let at = other.as_slice().as_ptr();
        other.make_mut()[0] = 4;
        assert_ne!(other.as_slice().as_ptr(), at);
        drop(other);
        assert_eq!((term.shows(), living()), (&[0; LONG][..], 1));
        drop(term);
        assert_eq!(living(), 0);
    }

    /// A writer changes bytes in place where it may. Readers get handles from it as from snapshots,
    /// export, let go, and look at their terms later. Each state is one byte repeated, so a term
    /// that shows two bytes was written to.
    #[test]
    fn readers_on_other_threads_never_see_a_change() {
        install();
        let rounds = if cfg!(miri) { 30 } else { 3_000 };
        let (readers, workers): (Vec<_>, Vec<_>) = (0..3)
            .map(|number| {
                let (send, receive) = mpsc::channel::<Arc<SharedBytes>>();
                let worker = thread::spawn(move || {
                    let mut terms: Vec<(u8, Term)> = Vec::new();
                    for (round, handle) in receive.into_iter().enumerate() {
                        let state = handle.as_slice()[0];
                        if round % 3 == number {
                            terms.push((state, Term::of(handle.export().unwrap())));
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

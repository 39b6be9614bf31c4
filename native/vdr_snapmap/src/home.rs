//! Where long bytes live, if not in memory of Rust's allocator: with somebody who counts references to it himself, as the VM does with
//! its binaries.
//!
//! We hold one reference to such memory, and a reader may *lend* it: tell its object to whoever takes more of them. So nothing
//! is copied when he reads, nothing is allocated, and he keeps what he shows when we have given ours back. What was lent is marked, and
//! never changes again: see [`crate::item`] and [`crate::shared`].

use std::ptr::NonNull;
use std::sync::OnceLock;

/// Memory of somebody who counts the references to what he gives out.
#[derive(Debug)]
pub struct Home {
    /// An object of so many bytes with one reference to it; null when it cannot be had.
    pub alloc: fn(usize) -> *mut u8,
    /// Gives the reference back, of how many bytes, and whether they were lent: if not, it was the only one.
    ///
    /// # Safety
    /// It is one that `alloc` gave for so many, and is given back once.
    pub free: unsafe fn(*mut u8, usize, bool),
    /// What an object of so many bytes takes with all that is around them.
    pub taken: fn(usize) -> usize,
}

static HOME: OnceLock<Home> = OnceLock::new();

impl Home {
    /// Where long bytes live from now on; the first home stays. Any thread will call it.
    ///
    /// # Safety
    /// An object is aligned to eight bytes, nobody else writes to it, and it stays as long as there is a reference to it.
    pub unsafe fn settle(self) {
        // What came before lives on where it is.
        let _first = HOME.set(self);
    }
}

/// Bytes that will never change again, and the object that they are part of. While the loan lives, so does the object; who takes a
/// reference to that may read them for as long as he has it.
#[derive(Clone, Copy, Debug)]
pub struct Loan<'s> {
    object: NonNull<u8>,
    bytes: &'s [u8],
}

impl<'s> Loan<'s> {
    /// For what [`alloc`] gave, that holds the bytes, and that is kept for as long as they are borrowed.
    pub(crate) fn new(object: NonNull<u8>, bytes: &'s [u8]) -> Self {
        Loan { object, bytes }
    }

    pub fn object(self) -> *mut u8 {
        self.object.as_ptr()
    }

    pub fn bytes(self) -> &'s [u8] {
        self.bytes
    }
}

/// What the counts of an `Arc` take in front of what is counted.
pub const COUNTS: usize = 2 * size_of::<usize>();

/// What an allocation of Rust's takes: its allocator has four sizes between a power of two and the next, multiples of 16 among the
/// small ones.
pub fn allocated(bytes: usize) -> usize {
    let step = if bytes <= 128 { 16 } else { bytes.next_power_of_two() / 8 };
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// Where an allocation is, and how many bytes it takes there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Allocated(usize),
    AtHome(usize),
}

impl Memory {
    /// Of an allocation that was asked to hold so many bytes.
    pub(crate) fn of(bytes: usize, at_home: bool) -> Self {
        match HOME.get().filter(|_| at_home) {
            Some(home) => Memory::AtHome((home.taken)(bytes)),
            None => Memory::Allocated(allocated(bytes)),
        }
    }
}

/// Memory at home, aligned to eight bytes; none where there is no home.
pub(crate) fn alloc(bytes: usize) -> Option<NonNull<u8>> {
    NonNull::new((HOME.get()?.alloc)(bytes))
}

/// # Safety
/// It is what [`alloc`] gave for so many bytes, and is not used again but by those that it was lent to, if it was.
pub(crate) unsafe fn free(memory: NonNull<u8>, bytes: usize, lent: bool) {
    // There is always one: it gave the memory, and stays.
    if let Some(home) = HOME.get() {
        // SAFETY: as asked of the caller.
        unsafe { (home.free)(memory.as_ptr(), bytes, lent) }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A home whose objects are counted, and what refers to them.

    use super::*;
    use std::alloc::{Layout, alloc, dealloc};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

    pub fn taken(bytes: usize) -> usize {
        size_of::<Object>() + bytes
    }

    thread_local! {
        /// Objects that this thread made and that live, wherever they go.
        static LIVING: Arc<AtomicIsize> = Arc::default();
    }

    pub fn living() -> isize {
        LIVING.with(|living| living.load(Ordering::Acquire))
    }

    /// In front of an object: its references, how long it is, and where it is counted.
    #[repr(C)]
    struct Object {
        references: AtomicUsize,
        len: usize,
        living: Arc<AtomicIsize>,
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(size_of::<Object>() + len, align_of::<Object>()).unwrap()
    }

    fn object_alloc(len: usize) -> *mut u8 {
        let living = LIVING.with(Arc::clone);
        living.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the layout is not empty, and has room for an object's head.
        unsafe {
            let object = alloc(layout(len)).cast::<Object>();
            object.write(Object { references: AtomicUsize::new(1), len, living });
            object.add(1).cast()
        }
    }

    unsafe fn object_free(memory: *mut u8, bytes: usize, lent: bool) {
        // SAFETY: in front of what `object_alloc` gave lies an object's head, which nobody changes but its count.
        let object = unsafe { &*memory.cast::<Object>().sub(1) };
        assert_eq!(object.len, bytes);
        assert!(lent || object.references.load(Ordering::Acquire) == 1);
        // SAFETY: the reference that was made with the object.
        unsafe { give_back(memory) };
    }

    unsafe fn give_back(memory: *mut u8) {
        // SAFETY: as above; whoever gives the last reference back frees the object.
        unsafe {
            let object = memory.cast::<Object>().sub(1);
            if (*object).references.fetch_sub(1, Ordering::AcqRel) == 1 {
                let Object { len, living, .. } = object.read();
                living.fetch_sub(1, Ordering::AcqRel);
                dealloc(object.cast(), layout(len));
            }
        }
    }

    pub fn settle() {
        // SAFETY: as the functions above do it.
        unsafe { Home { alloc: object_alloc, free: object_free, taken }.settle() };
    }

    /// What the VM's binaries are: a reference to an object, and what it shows of it.
    pub struct Term(*mut u8, *const [u8]);

    // SAFETY: its object counts with atomics, and what it shows does not change.
    unsafe impl Send for Term {}

    impl Term {
        pub fn of(loan: Loan<'_>) -> Self {
            // SAFETY: an object's head lies in front of it.
            unsafe { (*loan.object().cast::<Object>().sub(1)).references.fetch_add(1, Ordering::Relaxed) };
            Term(loan.object(), loan.bytes())
        }

        pub fn shows(&self) -> &[u8] {
            // SAFETY: the reference keeps it.
            unsafe { &*self.1 }
        }
    }

    impl Drop for Term {
        fn drop(&mut self) {
            // SAFETY: its own reference.
            unsafe { give_back(self.0) };
        }
    }
}

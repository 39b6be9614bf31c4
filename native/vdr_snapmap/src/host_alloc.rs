//! Host allocator: memory for long byte strings from an embedder that counts references, as the VM
//! does for its binaries. Without one, long strings come from Rust's allocator as short ones do.
//!
//! We hold one reference to each such object. A reader may *export* the bytes (zero-copy): it hands
//! the object to somebody who takes further references. So an exporting read copies and allocates
//! nothing, and the exported bytes outlive our own reference. Exported bytes are marked and never
//! change again: see [`crate::map::Item::export`] and [`crate::shared_bytes`].

use std::ptr::NonNull;
use std::sync::OnceLock;

/// The functions of an allocator whose objects are reference-counted.
#[derive(Debug)]
pub struct HostAlloc {
    /// Makes an object of this many bytes with one reference to it; null when there is no memory.
    pub alloc: fn(usize) -> *mut u8,
    /// Gives that reference back. The arguments are the object, its bytes, and whether they were
    /// exported: if not, this was the only reference.
    ///
    /// # Safety
    /// `alloc` gave the object for this many bytes, and its reference is given back once.
    pub free: unsafe fn(*mut u8, usize, bool),
    /// The memory that an object of this many bytes takes, with its overhead.
    pub allocated_bytes: fn(usize) -> usize,
}

static HOST: OnceLock<HostAlloc> = OnceLock::new();

impl HostAlloc {
    /// Makes this the allocator of long strings from now on. The first one installed stays. Any
    /// thread will call it.
    ///
    /// # Safety
    /// An object is aligned to eight bytes, nobody else writes to it, and it lives as long as there
    /// is a reference to it.
    pub unsafe fn install(self) {
        // Earlier allocations know their own allocator.
        let _first = HOST.set(self);
    }
}

/// Bytes that never change again, and the object that holds them. The object lives as long as this
/// borrow. Whoever takes a reference to the object may read the bytes for as long as it keeps the
/// reference.
#[derive(Clone, Copy, Debug)]
pub struct ExportedBytes<'s> {
    object: NonNull<u8>,
    bytes: &'s [u8],
}

impl<'s> ExportedBytes<'s> {
    /// [`alloc`] gave the object. It holds the bytes, and the owner keeps it while they are
    /// borrowed.
    pub(crate) fn new(object: NonNull<u8>, bytes: &'s [u8]) -> Self {
        ExportedBytes { object, bytes }
    }

    pub fn object(self) -> *mut u8 {
        self.object.as_ptr()
    }

    pub fn bytes(self) -> &'s [u8] {
        self.bytes
    }
}

/// The bytes of the two counts that an `Arc` keeps in front of its value.
pub const COUNTS: usize = 2 * size_of::<usize>();

/// The bytes that an allocation of this size takes from Rust's allocator. The allocator has four
/// size classes between a power of two and the next, and multiples of 16 among the small ones.
pub fn allocated(bytes: usize) -> usize {
    let step = if bytes <= 128 { 16 } else { bytes.next_power_of_two() / 8 };
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// The allocator that an allocation came from, and the bytes that it takes there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    Allocated(usize),
    InHost(usize),
}

impl Memory {
    /// Of an allocation that was made for this many bytes.
    pub(crate) fn of(bytes: usize, in_host: bool) -> Self {
        match HOST.get().filter(|_| in_host) {
            Some(host) => Memory::InHost((host.allocated_bytes)(bytes)),
            None => Memory::Allocated(allocated(bytes)),
        }
    }
}

/// An object of the host allocator, aligned to eight bytes; `None` where no allocator is installed.
pub(crate) fn alloc(bytes: usize) -> Option<NonNull<u8>> {
    NonNull::new((HOST.get()?.alloc)(bytes))
}

/// # Safety
/// [`alloc`] gave the memory for this many bytes. Nobody uses it again, except holders of exported
/// bytes if there are any.
pub(crate) unsafe fn free(memory: NonNull<u8>, bytes: usize, exported: bool) {
    // Always there: it gave the memory, and the first one installed stays.
    if let Some(host) = HOST.get() {
        // SAFETY: as asked of the caller.
        unsafe { (host.free)(memory.as_ptr(), bytes, exported) }
    }
}

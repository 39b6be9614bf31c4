//! The allocator of the library.

#![expect(unsafe_code, reason = "jemalloc's own controls are functions of C")]

use std::ptr::null_mut;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Gives back what is cached for this thread. A thread that has freed millions of entries keeps
/// some thousands of them, and with each of these a slab of 64 KB is still in use.
pub fn give_back() {
    // SAFETY: the name ends with a zero, and what it names neither reads nor writes anything of the
    // caller's.
    unsafe {
        tikv_jemalloc_sys::mallctl(c"thread.tcache.flush".as_ptr(), null_mut(), null_mut(), null_mut(), 0);
    }
}

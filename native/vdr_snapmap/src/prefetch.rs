//! Cache prefetch. A read among millions of entries waits for memory, one cache line after the
//! other where each names the next. Lines that will be needed anyway are prefetched together, so
//! that their misses overlap.

use std::ptr::NonNull;

const CACHE_LINE: usize = 64;

/// Prefetches all cache lines of `bytes` bytes. A hint: it reads nothing and faults nowhere.
pub fn prefetch<T>(from: NonNull<T>, bytes: usize) {
    let from = from.as_ptr().cast::<i8>();
    (0..bytes).step_by(CACHE_LINE).for_each(|offset| prefetch_line(from.wrapping_add(offset)));
}

/// Prefetches the cache line in front of an address.
#[inline]
pub fn prefetch_before<T>(what: NonNull<T>) {
    prefetch_line(what.as_ptr().cast::<i8>().wrapping_sub(CACHE_LINE));
}

#[inline]
fn prefetch_line(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that the program sees, and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

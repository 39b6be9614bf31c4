//! Asking for memory ahead. A read among millions of entries is waiting for memory, line by line where each tells of the next: what
//! will be looked at anyway is asked for at once.

use std::ptr::NonNull;

const CACHE_LINE: usize = 64;

/// Asks for all cache lines of `bytes` bytes. A hint: it reads nothing, and faults nowhere.
pub fn prefetch<T>(from: NonNull<T>, bytes: usize) {
    let from = from.as_ptr().cast::<i8>();
    (0..bytes).step_by(CACHE_LINE).for_each(|offset| line(from.wrapping_add(offset)));
}

/// Asks for the cache line in front of something.
pub fn prefetch_before<T>(what: NonNull<T>) {
    line(what.as_ptr().cast::<i8>().wrapping_sub(CACHE_LINE));
}

fn line(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

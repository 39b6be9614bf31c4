//! The global allocator of the library: jemalloc, and its settings.

#![expect(unsafe_code, reason = "jemalloc reads its settings from a symbol, and its controls are functions of C")]

use std::ptr::null_mut;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc does unless `_RJEM_MALLOC_CONF` in the environment says otherwise. The
/// measurements stand in `docs/decisions.md`.
///
/// - `thp`: huge pages, because a read of one key among millions spends much of its time in the
///   page tables.
/// - `background_thread` and the decay times: a thread of jemalloc returns freed memory also while
///   nobody writes.
/// - `slab_sizes`, `tcache_nslots_small_max`, `lg_tcache_nslots_mul`: large slabs, and thread
///   caches that hold as many pieces as two slabs, because each write allocates and frees a few
///   small pieces. Not more: a cache of sixteen slabs takes 2 MB of huge pages for each scheduler
///   that reads.
/// - `narenas`: few arenas, because each of them takes huge pages of its own.
/// - `oversize_threshold`: no arena for large allocations, around which huge pages were left half
///   empty.
const SETTINGS: &[u8] = concat!(
    "thp:always,background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0,",
    "slab_sizes:1-512:16,tcache_nslots_small_max:2000,lg_tcache_nslots_mul:1,",
    "narenas:4,oversize_threshold:0\0"
)
.as_bytes();

/// A pointer to the settings, under the name by which jemalloc looks for them: they are part of the
/// library, wherever and however it was built.
// SAFETY: the name belongs to jemalloc, which defines it as a weak `const char *`; a reference has
// the same layout as that, and the bytes end with a zero and live forever.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Option<&u8> = SETTINGS.first();

/// Flushes this thread's cache. A thread that has freed millions of entries keeps some thousands of
/// them, and with each of these a slab of 64 KB is still in use.
pub fn give_back() {
    // SAFETY: the name ends with a zero, and what it names neither reads nor writes anything of the
    // caller's.
    unsafe {
        tikv_jemalloc_sys::mallctl(c"thread.tcache.flush".as_ptr(), null_mut(), null_mut(), null_mut(), 0);
    }
}

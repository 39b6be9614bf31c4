//! Zero-copy binaries: long byte strings live in resource objects of the VM, so that a binary can
//! refer to one without a copy.
//!
//! A binary that is made of an object counts a reference to it and points into it. An object ends
//! with its last reference, which may be a binary's, on any thread. Nothing must be done then, so
//! the resource type has no destructor.
//!
//! `vdr_snapmap` defines and proves how bytes are shared and when they may change: see its
//! `host_alloc`, `shared_bytes` and `map::item`.

#![expect(
    unsafe_code,
    reason = "rustler's own resources are of one size, and each of their binaries begins with a resource of its own"
)]

use crate::dropper;
use parking_lot::Mutex;
use rustler::sys::{
    ErlNifResourceFlags, ErlNifResourceType, c_void, enif_alloc_resource, enif_make_resource_binary,
    enif_open_resource_type, enif_release_resource,
};
use rustler::{Env, Term};
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use vdr_snapmap::{ExportedBytes, HostAlloc};

/// The bytes of the VM's own header in front of an object, and of its allocator's word in front of
/// each block.
const OVERHEAD_BYTES: usize = 72;
/// The sizes of objects are multiples of this, so that they can be reused for each other.
const STEP: usize = 64;

/// The type of the objects; null until it is opened.
static TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// Free list of resource objects that were never exported. Creating or destroying one costs the VM
/// ~0.5 us, and a writer does both for every long string it overwrites. Emptied every second,
/// because one live object can pin a multi-megabyte carrier.
static FREE_LIST: Mutex<FreeList> = Mutex::new(FreeList::NONE);

struct FreeList {
    objects: VecDeque<(usize, AtomicPtr<u8>)>,
    bytes: usize,
    /// A job of the dropper is scheduled, after which it empties the list.
    scheduled: bool,
}

impl FreeList {
    const NONE: FreeList = FreeList { objects: VecDeque::new(), bytes: 0, scheduled: false };
    /// A few times the bytes that the end of a version frees at once.
    const BYTES_MAX: usize = 1 << 20;
    /// Filling a longer object takes longer than creating it.
    const SIZE_MAX: usize = 1 << 16;
    /// The number of objects that are searched for one of the right size.
    const SEARCHED: usize = 16;

    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let back = self.objects.iter().rev().take(Self::SEARCHED).position(|(other, _)| *other == size)?;
        let at = self.objects.len().checked_sub(1 + back)?;
        let (_, object) = self.objects.swap_remove_back(at)?;
        self.bytes = self.bytes.saturating_sub(size);
        Some(object.into_inner())
    }

    /// Answers an object to release.
    fn put(&mut self, size: usize, object: *mut u8) -> Option<*mut u8> {
        if !std::mem::replace(&mut self.scheduled, true) {
            // The dropper tidies up after each job.
            dropper::defer_drop(());
        }
        self.objects.push_back((size, AtomicPtr::new(object)));
        self.bytes = self.bytes.saturating_add(size);
        self.excess()
    }

    /// The oldest object, while there are too many.
    fn excess(&mut self) -> Option<*mut u8> {
        let (size, object) = if self.bytes > Self::BYTES_MAX { self.objects.pop_front()? } else { return None };
        self.bytes = self.bytes.saturating_sub(size);
        Some(object.into_inner())
    }
}

/// Opens the resource type and installs the allocator. Called when the library is loaded, before
/// there is any long string.
pub fn open(env: Env<'_>) -> bool {
    // SAFETY: the environment is the one of a load, the name ends with a null byte, and no module
    // is to be named.
    let opened = unsafe {
        enif_open_resource_type(
            env.as_c_arg(),
            ptr::null(),
            c"vdr_bytes".as_ptr(),
            None,
            ErlNifResourceFlags::ERL_NIF_RT_CREATE,
            ptr::null_mut(),
        )
    };
    if opened.is_null() {
        return false;
    }
    TYPE.store(opened.cast_mut(), Ordering::Release);
    // SAFETY: the VM aligns objects to eight bytes, does not touch their contents, frees an object
    // when nothing refers to it, and creates and releases objects on any thread.
    unsafe { HostAlloc { alloc, free, allocated_bytes }.install() };
    true
}

fn allocated_bytes(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP).saturating_add(OVERHEAD_BYTES)
}

fn alloc(bytes: usize) -> *mut u8 {
    let size = bytes.next_multiple_of(STEP);
    if let Some(object) = FREE_LIST.lock().take(size) {
        return object;
    }
    // SAFETY: the type was opened before anybody could call this, and is never closed.
    unsafe { enif_alloc_resource(TYPE.load(Ordering::Acquire), size) }.cast()
}

/// Releases all free objects. The dropper calls it.
pub fn release_free() {
    let free = std::mem::replace(&mut *FREE_LIST.lock(), FreeList::NONE);
    for (_, object) in free.objects {
        // SAFETY: the reference that `alloc` made; whoever put the object here gave it back.
        unsafe { enif_release_resource(object.into_inner().cast()) }
    }
}

unsafe fn free(object: *mut u8, bytes: usize, exported: bool) {
    let size = bytes.next_multiple_of(STEP);
    // Binaries may refer to exported bytes for any time.
    let keep = !exported && size <= FreeList::SIZE_MAX;
    let mut goes = if keep { FREE_LIST.lock().put(size, object) } else { Some(object) };
    while let Some(object) = goes {
        // SAFETY: the reference that `alloc` made: the caller gives it back, or a caller before
        // did.
        unsafe { enif_release_resource(object.cast()) }
        goes = if keep { FREE_LIST.lock().excess() } else { None };
    }
}

/// A binary that refers to exported bytes.
pub fn binary<'a>(env: Env<'a>, exported: ExportedBytes<'_>) -> Term<'a> {
    let (object, bytes) = (exported.object().cast::<c_void>(), exported.bytes());
    // SAFETY: there is one host allocator, so `alloc` made the object, and the borrow keeps it
    // alive meanwhile. The bytes are part of it and never change again. They live as long as the
    // object, to which the binary takes a reference.
    unsafe { Term::new(env, enif_make_resource_binary(env.as_c_arg(), object, bytes.as_ptr().cast(), bytes.len())) }
}

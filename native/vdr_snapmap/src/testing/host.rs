//! A host allocator whose objects are counted, and terms that refer to them.

use crate::host_alloc::{ExportedBytes, HostAlloc};
use std::alloc::{Layout, alloc, dealloc};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

pub fn taken(bytes: usize) -> usize {
    size_of::<Object>() + bytes
}

thread_local! {
    /// The living objects that this thread made, wherever they went.
    static LIVING: Arc<AtomicIsize> = Arc::default();
}

pub fn living() -> isize {
    LIVING.with(|living| living.load(Ordering::Acquire))
}

/// The header in front of an object: its references, its length, and where it is counted.
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
    // SAFETY: the layout is not empty, and has room for an object's header.
    unsafe {
        let object = alloc(layout(len)).cast::<Object>();
        object.write(Object { references: AtomicUsize::new(1), len, living });
        object.add(1).cast()
    }
}

unsafe fn object_free(memory: *mut u8, bytes: usize, exported: bool) {
    // SAFETY: an object's header lies in front of what `object_alloc` gave. Only its count ever
    // changes.
    let object = unsafe { &*memory.cast::<Object>().sub(1) };
    assert_eq!(object.len, bytes);
    assert!(exported || object.references.load(Ordering::Acquire) == 1);
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

pub fn install() {
    // SAFETY: as the functions above do it.
    unsafe { HostAlloc { alloc: object_alloc, free: object_free, allocated_bytes: taken }.install() };
}

/// As the VM's binaries are: a reference to an object, and the bytes that it shows.
pub struct Term(*mut u8, *const [u8]);

// SAFETY: its object counts with atomics, and the bytes that it shows do not change.
unsafe impl Send for Term {}

impl Term {
    pub fn of(exported: ExportedBytes<'_>) -> Self {
        // SAFETY: an object's header lies in front of it.
        unsafe { (*exported.object().cast::<Object>().sub(1)).references.fetch_add(1, Ordering::Relaxed) };
        Term(exported.object(), exported.bytes())
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

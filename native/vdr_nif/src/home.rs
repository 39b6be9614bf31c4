//! Where long byte strings live: in objects of the VM, so that a binary of it can show them without a copy.
//!
//! A binary that is made of an object counts a reference to it and points into it. An object ends with its last reference,
//! which may be a binary's, on whatever thread: there is nothing to be done then, so its type has no destructor.
//!
//! How bytes are shared and when they may change is told, and proved, in `vdr_snapmap`: `home`, `item`, `shared`.

#![expect(
    unsafe_code,
    reason = "rustler's own resources are of one size, and each of their binaries begins with a resource of its own"
)]

use crate::reaper;
use parking_lot::Mutex;
use rustler::sys::{
    ErlNifResourceFlags, ErlNifResourceType, c_void, enif_alloc_resource, enif_make_resource_binary,
    enif_open_resource_type, enif_release_resource,
};
use rustler::{Env, Term};
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use vdr_snapmap::{Home, Loan};

/// What the VM keeps in front of an object, and the word in front of each block of its allocator.
const BYTES_BESIDE: usize = 72;
/// Objects are of sizes that are multiples of this, so that one serves for another.
const STEP: usize = 64;

/// The type of the objects, once there is one.
static TYPE: AtomicPtr<ErlNifResourceType> = AtomicPtr::new(ptr::null_mut());

/// Objects that nobody was lent, to be used again. It costs the VM half a microsecond to make one, and as much to end one; a writer
/// does both for each long string that it overwrites. Never for long: each of them keeps some megabytes around it from the system.
static SPARE: Mutex<Spare> = Mutex::new(Spare::NONE);

struct Spare {
    objects: VecDeque<(usize, AtomicPtr<u8>)>,
    bytes: usize,
    /// The reaper will give them up.
    told: bool,
}

impl Spare {
    const NONE: Spare = Spare { objects: VecDeque::new(), bytes: 0, told: false };
    /// What the end of a version gives back at once, a few times.
    const BYTES_MAX: usize = 1 << 20;
    /// To fill a longer one takes longer than to make it.
    const SIZE_MAX: usize = 1 << 16;
    /// How far an object of the right size is searched for.
    const SEARCHED: usize = 16;

    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let back = self.objects.iter().rev().take(Self::SEARCHED).position(|(other, _)| *other == size)?;
        let at = self.objects.len().checked_sub(1 + back)?;
        let (_, object) = self.objects.swap_remove_back(at)?;
        self.bytes = self.bytes.saturating_sub(size);
        Some(object.into_inner())
    }

    /// Answers one that is to go.
    fn put(&mut self, size: usize, object: *mut u8) -> Option<*mut u8> {
        if !std::mem::replace(&mut self.told, true) {
            // Who has a job tidies up after it.
            reaper::bury(());
        }
        self.objects.push_back((size, AtomicPtr::new(object)));
        self.bytes = self.bytes.saturating_add(size);
        self.excess()
    }

    /// The oldest, while there are too many.
    fn excess(&mut self) -> Option<*mut u8> {
        let (size, object) = if self.bytes > Self::BYTES_MAX { self.objects.pop_front()? } else { return None };
        self.bytes = self.bytes.saturating_sub(size);
        Some(object.into_inner())
    }
}

/// To be called while the library is loaded, before there is any long string.
pub fn open(env: Env<'_>) -> bool {
    // SAFETY: the environment is the one of a load, the name ends with a null byte, and no module is to be named.
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
    // SAFETY: the VM aligns objects to eight bytes, leaves their contents alone, and frees an object when nothing refers to it. It
    // makes and releases them on any thread.
    unsafe { Home { alloc, free, taken }.install() };
    true
}

fn taken(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP).saturating_add(BYTES_BESIDE)
}

fn alloc(bytes: usize) -> *mut u8 {
    let size = bytes.next_multiple_of(STEP);
    if let Some(object) = SPARE.lock().take(size) {
        return object;
    }
    // SAFETY: the type was opened before anybody could call this, and is never closed.
    unsafe { enif_alloc_resource(TYPE.load(Ordering::Acquire), size) }.cast()
}

/// Gives to the VM what is spare. The reaper calls it when there was something.
pub fn give_up_spare() {
    let spare = std::mem::replace(&mut *SPARE.lock(), Spare::NONE);
    for (_, object) in spare.objects {
        // SAFETY: the reference that `alloc` made; whoever put the object here gave it back.
        unsafe { enif_release_resource(object.into_inner().cast()) }
    }
}

unsafe fn free(object: *mut u8, bytes: usize, lent: bool) {
    let size = bytes.next_multiple_of(STEP);
    // What was lent may be shown for as long as somebody likes.
    let keep = !lent && size <= Spare::SIZE_MAX;
    let mut goes = if keep { SPARE.lock().put(size, object) } else { Some(object) };
    while let Some(object) = goes {
        // SAFETY: the reference that `alloc` made: the caller gives it back, or a caller before did.
        unsafe { enif_release_resource(object.cast()) }
        goes = if keep { SPARE.lock().excess() } else { None };
    }
}

/// A binary that shows what is lent.
pub fn show<'a>(env: Env<'a>, loan: Loan<'_>) -> Term<'a> {
    let (object, bytes) = (loan.object().cast::<c_void>(), loan.bytes());
    // SAFETY: there is one home, so `alloc` made the object, and the loan keeps it meanwhile. The bytes are part of it and do not change
    // any more; they stay while it does, which the binary sees to.
    unsafe { Term::new(env, enif_make_resource_binary(env.as_c_arg(), object, bytes.as_ptr().cast(), bytes.len())) }
}

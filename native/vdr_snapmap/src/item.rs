//! The memory of one entry: key, value and stamp in a single allocation, so that finding the key brings the value along.
//!
//! ```text
//! born | key length | packed length | flags | lent |  stamp, if any  |  value, if any  |  key bytes  |  packed bytes
//! ```
//!
//! A value is either packed bytes or a `V`, never both. Items are not copied as bytes: a `V` in them has one owner.
//!
//! An item with long packed bytes lives at [`crate::home`], and who reads them may lend them. The mark of that is set through a shared
//! item, and asked for by who is about to change the bytes, whom [`crate::map`] lets do so only when all who read the item are done: what
//! makes the end of their reads visible to him makes the mark visible. So it needs no order of its own.

use crate::home::{self, Loan, Memory};
use crate::prefetch::prefetch_before;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest packed value.
pub const PACKED_MAX: usize = u16::MAX as usize;

/// Items with this many packed bytes or more live at home.
pub const HOME_BYTES_MIN: usize = 512;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload<'m, V> {
    /// Bytes that lie beside the key.
    Packed(&'m [u8]),
    Value(&'m V),
}

/// What an entry holds, to change in place.
#[derive(Debug)]
pub enum PayloadMut<'m, V> {
    Packed(&'m mut [u8]),
    Value(&'m mut V),
}

/// What is to be put: bytes are copied, a value moves.
#[derive(Debug)]
pub enum Put<'p, V> {
    /// No longer than [`PACKED_MAX`]; what goes beyond it is cut off.
    Packed(&'p [u8]),
    Value(V),
}

/// What was taken out.
#[derive(Debug, PartialEq)]
pub enum Taken<V> {
    Packed(Vec<u8>),
    Value(V),
}

#[repr(C)]
struct Head {
    born: u64,
    key_len: u32,
    packed_len: u16,
    flags: u8,
    /// The packed bytes never change again.
    lent: AtomicBool,
}

const HEAD: usize = size_of::<Head>();
const STAMP: usize = size_of::<i64>();
/// There is a stamp.
const STAMPED: u8 = 1;
/// There is a value, and no packed bytes.
const VALUED: u8 = 2;
/// It lives at home.
const AT_HOME: u8 = 4;

/// An item's address. Copying it says nothing of who owns the item: see [`crate::map`].
///
/// Every unsafe method asks that the item is allocated; those that write, that nobody else can reach it meanwhile.
pub(crate) struct At<V>(NonNull<Head>, PhantomData<V>);

impl<V> Clone for At<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for At<V> {}

impl<V> PartialEq for At<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V> At<V> {
    /// What a look at an item reads: its head, the key and a short value.
    pub const BYTES_SEEN: usize = 128;

    const VALUE: usize = {
        assert!(align_of::<V>() <= align_of::<Head>(), "values are aligned as heads are");
        size_of::<V>().next_multiple_of(align_of::<Head>())
    };

    pub fn new(born: u64, key: &[u8], stamp: Option<i64>, put: Put<'_, V>) -> Self {
        let packed: &[u8] = match &put {
            Put::Packed(bytes) => bytes.get(..PACKED_MAX).unwrap_or(bytes),
            Put::Value(_) => &[],
        };
        let flags = u8::from(stamp.is_some()) * STAMPED + u8::from(matches!(put, Put::Value(_))) * VALUED;
        // Longer keys than that are cut off before anything is written: a stored key is never longer than its allocation.
        let key = key.get(..u32::MAX as usize).unwrap_or(key);
        let lent = AtomicBool::new(false);
        let mut head = Head { born, key_len: key.len() as u32, packed_len: packed.len() as u16, flags, lent };
        let layout = head.layout::<V>();
        let at_home = if packed.len() < HOME_BYTES_MIN { None } else { home::alloc(layout.size()) };
        head.flags |= u8::from(at_home.is_some()) * AT_HOME;
        // SAFETY: the layout is never empty.
        let raw =
            at_home.or_else(|| NonNull::new(unsafe { alloc(layout) })).unwrap_or_else(|| handle_alloc_error(layout));
        let at = At(raw.cast::<Head>(), PhantomData);
        // SAFETY: freshly allocated with room for all parts that the head names, each at its offset and so aligned.
        unsafe {
            let bytes = raw.as_ptr().add(head.bytes_at::<V>());
            let stamp_at = raw.as_ptr().add(HEAD).cast::<i64>();
            let value_at = raw.as_ptr().add(head.value_at()).cast::<V>();
            at.0.write(head);
            if let Some(stamp) = stamp {
                stamp_at.write(stamp);
            }
            key.as_ptr().copy_to_nonoverlapping(bytes, key.len());
            packed.as_ptr().copy_to_nonoverlapping(bytes.add(key.len()), packed.len());
            if let Put::Value(value) = put {
                value_at.write(value);
            }
        }
        at
    }

    pub fn from_raw(raw: NonNull<u8>) -> Self {
        At(raw.cast(), PhantomData)
    }

    pub fn raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// # Safety
    /// The item is allocated, and not written to while the answer lives.
    unsafe fn head<'m>(self) -> &'m Head {
        // SAFETY: an item begins with its head.
        unsafe { self.0.as_ref() }
    }

    fn part(self, offset: usize) -> *mut u8 {
        self.0.as_ptr().cast::<u8>().wrapping_add(offset)
    }

    /// # Safety
    /// The item is allocated.
    pub unsafe fn born(self) -> u64 {
        // SAFETY: as asked of the caller.
        unsafe { self.head() }.born
    }

    /// # Safety
    /// The item is allocated, and not written to while the answer lives.
    pub unsafe fn key<'m>(self) -> &'m [u8] {
        // SAFETY: `new` wrote as many bytes there.
        unsafe {
            let head = self.head();
            std::slice::from_raw_parts(self.part(head.bytes_at::<V>()), head.key_len as usize)
        }
    }

    /// # Safety
    /// The item is allocated.
    pub unsafe fn stamp(self) -> Option<i64> {
        // SAFETY: `new` wrote one there when the flag is set.
        unsafe { (self.head().flags & STAMPED != 0).then(|| self.part(HEAD).cast::<i64>().read()) }
    }

    /// # Safety
    /// The item is allocated, and not written to while the answer lives.
    pub unsafe fn payload<'m>(self) -> Payload<'m, V> {
        // SAFETY: `new` wrote a value there, or as many bytes, as the head says.
        unsafe {
            let head = self.head();
            if head.flags & VALUED != 0 {
                return Payload::Value(&*self.part(head.value_at()).cast::<V>());
            }
            let bytes = self.part(head.bytes_at::<V>() + head.key_len as usize);
            Payload::Packed(std::slice::from_raw_parts(bytes, head.packed_len as usize))
        }
    }

    /// Whether its packed bytes may be changed by who alone reaches the item.
    ///
    /// # Safety
    /// The item is allocated.
    pub unsafe fn is_lent(self) -> bool {
        // SAFETY: as asked of the caller.
        unsafe { self.head() }.lent.load(Ordering::Relaxed)
    }

    /// # Safety
    /// The item is allocated and its packed bytes were not lent, and while the answer lives nobody else can reach it.
    pub unsafe fn payload_mut<'m>(self) -> PayloadMut<'m, V> {
        // SAFETY: as asked of the caller; `new` wrote a value there, or as many bytes, as the head says.
        unsafe {
            let head = self.head();
            if head.flags & VALUED != 0 {
                return PayloadMut::Value(&mut *self.part(head.value_at()).cast::<V>());
            }
            let bytes = self.part(head.bytes_at::<V>() + head.key_len as usize);
            PayloadMut::Packed(std::slice::from_raw_parts_mut(bytes, head.packed_len as usize))
        }
    }

    /// Changes the stamp in place; `false` when there is no room for one or would be one too many.
    ///
    /// # Safety
    /// The item is allocated, and nobody else can reach it.
    pub unsafe fn restamp(self, stamp: Option<i64>) -> bool {
        // SAFETY: as asked of the caller; the room is there when the flag is set.
        unsafe {
            let stamped = self.head().flags & STAMPED != 0;
            if let Some(stamp) = stamp
                && stamped
            {
                self.part(HEAD).cast::<i64>().write(stamp);
            }
            stamped == stamp.is_some()
        }
    }

    /// # Safety
    /// The item is allocated, nobody can reach it, and it is not used again.
    pub unsafe fn free(self) {
        // SAFETY: as asked of the caller: the value has this one owner, and the layout is the one of `new`.
        unsafe {
            if self.head().flags & VALUED != 0 {
                self.part(self.head().value_at()).cast::<V>().drop_in_place();
            }
            self.give_back();
        }
    }

    /// # Safety
    /// As of [`At::free`], and the value has been dropped or read out.
    unsafe fn give_back(self) {
        // SAFETY: as asked of the caller; the layout is the one of `new`, and the memory goes back where that had it from.
        unsafe {
            let (at_home, layout) = (self.head().flags & AT_HOME != 0, self.head().layout::<V>());
            match at_home {
                true => home::free(self.raw(), layout.size(), self.is_lent()),
                false => dealloc(self.raw().as_ptr(), layout),
            }
        }
    }

    /// Frees the item and gives what it held.
    ///
    /// # Safety
    /// As of [`At::free`].
    pub unsafe fn take(self) -> Taken<V> {
        // SAFETY: as asked of the caller; a value is read out once, and only the memory is given back then.
        unsafe {
            let taken = match self.payload() {
                Payload::Packed(bytes) => Taken::Packed(bytes.to_vec()),
                Payload::Value(value) => Taken::Value(std::ptr::read(value)),
            };
            self.give_back();
            taken
        }
    }
}

impl<V: Clone> At<V> {
    /// # Safety
    /// The item is allocated, and not written to meanwhile.
    pub unsafe fn copy(self, born: u64, stamp: Option<i64>) -> Self {
        // SAFETY: as asked of the caller.
        unsafe {
            let put = match self.payload() {
                Payload::Packed(bytes) => Put::Packed(bytes),
                Payload::Value(value) => Put::Value(value.clone()),
            };
            At::new(born, self.key(), stamp, put)
        }
    }

    /// # Safety
    /// The item is allocated, and not written to meanwhile.
    pub unsafe fn taken(self) -> Taken<V> {
        // SAFETY: as asked of the caller.
        match unsafe { self.payload() } {
            Payload::Packed(bytes) => Taken::Packed(bytes.to_vec()),
            Payload::Value(value) => Taken::Value(value.clone()),
        }
    }
}

impl Head {
    fn value_at(&self) -> usize {
        HEAD + if self.flags & STAMPED != 0 { STAMP } else { 0 }
    }

    fn bytes_at<V>(&self) -> usize {
        self.value_at() + if self.flags & VALUED != 0 { At::<V>::VALUE } else { 0 }
    }

    fn layout<V>(&self) -> Layout {
        let bytes = self.bytes_at::<V>() + self.key_len as usize + self.packed_len as usize;
        // Far below isize::MAX since the bytes exist.
        Layout::from_size_align(bytes, align_of::<Head>()).unwrap_or(Layout::new::<Head>())
    }
}

/// An entry of a map that is borrowed.
pub struct Item<'m, V> {
    at: At<V>,
    map: PhantomData<&'m V>,
}

impl<V> Clone for Item<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Item<'_, V> {}

impl<'m, V> Item<'m, V> {
    /// # Safety
    /// While 'm lasts the item is allocated and not written to.
    pub(crate) unsafe fn new(at: At<V>) -> Self {
        Item { at, map: PhantomData }
    }

    pub fn key(self) -> &'m [u8] {
        // SAFETY: as `new` was promised.
        unsafe { self.at.key() }
    }

    pub fn stamp(self) -> Option<i64> {
        // SAFETY: as `new` was promised.
        unsafe { self.at.stamp() }
    }

    pub fn payload(self) -> Payload<'m, V> {
        // SAFETY: as `new` was promised.
        unsafe { self.at.payload() }
    }

    /// Asks for the memory that a loan will write to: where its home counts references, in front of the item.
    pub fn prefetch_loan(self) {
        // SAFETY: as `new` was promised.
        if unsafe { self.at.head() }.flags & AT_HOME != 0 {
            prefetch_before(self.at.raw());
        }
    }

    /// Packed bytes that live at home, for others to refer to; they never change again.
    pub fn lend(self) -> Option<Loan<'m>> {
        // SAFETY: as `new` was promised.
        let head = unsafe { self.at.head() };
        match self.payload() {
            Payload::Packed(bytes) if head.flags & AT_HOME != 0 => {
                // A reader that finds the mark set writes nothing.
                if !head.lent.load(Ordering::Relaxed) {
                    head.lent.store(true, Ordering::Relaxed);
                }
                Some(Loan::new(self.at.raw(), bytes))
            }
            _ => None,
        }
    }

    pub fn memory(self) -> Memory {
        // SAFETY: as `new` was promised.
        let head = unsafe { self.at.head() };
        Memory::of(head.layout::<V>().size(), head.flags & AT_HOME != 0)
    }

    /// Whether both are the very same item in memory: then they are equal.
    pub fn same(self, other: Item<'_, V>) -> bool {
        self.at == other.at
    }
}

//! The memory of one entry: key, value and stamp in a single allocation, so that finding the key brings the value along.
//!
//! ```text
//! born | key length | packed length | flags |  stamp, if any  |  value, if any  |  key bytes  |  packed bytes
//! ```
//!
//! A value is either packed bytes or a `V`, never both. Items are not copied as bytes: a `V` in them has one owner.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The longest packed value.
pub const PACKED_MAX: usize = u16::MAX as usize;

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
    flags: u16,
}

const HEAD: usize = size_of::<Head>();
const STAMP: usize = size_of::<i64>();
/// There is a stamp.
const STAMPED: u16 = 1;
/// There is a value, and no packed bytes.
const VALUED: u16 = 2;

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
        let flags = u16::from(stamp.is_some()) * STAMPED + u16::from(matches!(put, Put::Value(_))) * VALUED;
        // Longer keys than that are cut off before anything is written: a stored key is never longer than its allocation.
        let key = key.get(..u32::MAX as usize).unwrap_or(key);
        let head = Head { born, key_len: key.len() as u32, packed_len: packed.len() as u16, flags };
        let layout = head.layout::<V>();
        // SAFETY: the layout is never empty.
        let Some(raw) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
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

    /// # Safety
    /// The item is allocated, and while the answer lives nobody else can reach it.
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
            let layout = self.head().layout::<V>();
            if let PayloadMut::Value(value) = self.payload_mut() {
                std::ptr::drop_in_place(value);
            }
            dealloc(self.0.as_ptr().cast(), layout);
        }
    }

    /// Frees the item and gives what it held.
    ///
    /// # Safety
    /// As of [`At::free`].
    pub unsafe fn take(self) -> Taken<V> {
        // SAFETY: as asked of the caller; a value is read out once, and only the memory is given back then.
        unsafe {
            let layout = self.head().layout::<V>();
            let taken = match self.payload() {
                Payload::Packed(bytes) => Taken::Packed(bytes.to_vec()),
                Payload::Value(value) => Taken::Value(std::ptr::read(value)),
            };
            dealloc(self.0.as_ptr().cast(), layout);
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

    /// What its allocation is asked to hold.
    pub fn bytes(self) -> usize {
        // SAFETY: as `new` was promised.
        unsafe { self.at.head() }.layout::<V>().size()
    }

    /// Whether both are the very same item in memory: then they are equal.
    pub fn same(self, other: Item<'_, V>) -> bool {
        self.at == other.at
    }
}

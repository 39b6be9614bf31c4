//! Memory layout of one entry: key, value and stamp in a single allocation, so that the cache
//! misses of the key bring the value along.
//!
//! ```text
//! born | key length | packed length | flags | exported |  stamp?  |  value?  |  key bytes  |  packed bytes
//! ```
//!
//! An entry holds packed bytes or a `V`, never both. Items are not copied as bytes: the `V` in an
//! item has one owner.
//!
//! An item with long packed bytes lives in the host allocator ([`crate::host_alloc`]), and readers
//! may export the bytes. A reader marks that in the shared item. A writer reads the mark before it
//! changes the bytes, and [`crate::version`] gives it the item only after all readers are done.
//! Whatever makes the end of their reads visible to the writer makes the mark visible, so the mark
//! itself is Relaxed.

use crate::host_alloc::{self, ExportedBytes, Memory};
use crate::prefetch::prefetch_before;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// The length of the longest packed value.
pub const PACKED_MAX: usize = u16::MAX as usize;

/// Items with this many packed bytes or more live in the host allocator.
pub const HOST_BYTES_MIN: usize = 512;

/// The content of an entry, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload<'m, V> {
    /// Bytes that are stored beside the key.
    Packed(&'m [u8]),
    Value(&'m V),
}

/// The content of an entry, to change in place.
#[derive(Debug)]
pub enum PayloadMut<'m, V> {
    Packed(&'m mut [u8]),
    Value(&'m mut V),
}

/// The content of an entry to insert: bytes are copied, a value moves.
#[derive(Debug)]
pub enum Put<'p, V> {
    /// At most [`PACKED_MAX`] bytes; the rest is cut off.
    Packed(&'p [u8]),
    Value(V),
}

/// The content of an entry that was taken out.
#[derive(Debug, PartialEq)]
pub enum OwnedPayload<V> {
    Packed(Vec<u8>),
    Value(V),
}

#[repr(C)]
struct Header {
    born: u64,
    key_len: u32,
    packed_len: u16,
    flags: u8,
    /// The packed bytes never change again.
    exported: AtomicBool,
}

const HEADER: usize = size_of::<Header>();
const STAMP: usize = size_of::<i64>();
/// Flag: there is a stamp.
const STAMPED: u8 = 1;
/// Flag: there is a value, and no packed bytes.
const VALUED: u8 = 2;
/// Flag: the item lives in the host allocator.
const IN_HOST: u8 = 4;

/// The address of an item, without ownership: see [`crate::version`].
///
/// Every unsafe method requires that the item is allocated. Methods that write also require that
/// nobody else can reach it meanwhile.
pub(crate) struct ItemPtr<V>(NonNull<Header>, PhantomData<V>);

impl<V> Clone for ItemPtr<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for ItemPtr<V> {}

impl<V> PartialEq for ItemPtr<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<V> ItemPtr<V> {
    /// The bytes that a look-up mostly reads: the header, the key and a short value.
    pub const BYTES_SEEN: usize = 128;

    const VALUE: usize = {
        assert!(align_of::<V>() <= align_of::<Header>(), "values need no more alignment than headers");
        size_of::<V>().next_multiple_of(align_of::<Header>())
    };

    pub fn new(born: u64, key: &[u8], stamp: Option<i64>, put: Put<'_, V>) -> Self {
        let packed: &[u8] = match &put {
            Put::Packed(bytes) => bytes.get(..PACKED_MAX).unwrap_or(bytes),
            Put::Value(_) => &[],
        };
        let flags = u8::from(stamp.is_some()) * STAMPED + u8::from(matches!(put, Put::Value(_))) * VALUED;
        // Cut off before anything is written: a stored key is never longer than its allocation.
        let key = key.get(..u32::MAX as usize).unwrap_or(key);
        let exported = AtomicBool::new(false);
        let mut header = Header { born, key_len: key.len() as u32, packed_len: packed.len() as u16, flags, exported };
        let layout = header.layout::<V>();
        let in_host = if packed.len() < HOST_BYTES_MIN { None } else { host_alloc::alloc(layout.size()) };
        header.flags |= u8::from(in_host.is_some()) * IN_HOST;
        // SAFETY: the layout is never empty.
        let raw =
            in_host.or_else(|| NonNull::new(unsafe { alloc(layout) })).unwrap_or_else(|| handle_alloc_error(layout));
        let item = ItemPtr(raw.cast::<Header>(), PhantomData);
        // SAFETY: freshly allocated with room for all parts that the header names, each at its
        // offset and so aligned.
        unsafe {
            let bytes = raw.as_ptr().add(header.bytes_at::<V>());
            let stamp_at = raw.as_ptr().add(HEADER).cast::<i64>();
            let value_at = raw.as_ptr().add(header.value_at()).cast::<V>();
            item.0.write(header);
            if let Some(stamp) = stamp {
                stamp_at.write(stamp);
            }
            key.as_ptr().copy_to_nonoverlapping(bytes, key.len());
            packed.as_ptr().copy_to_nonoverlapping(bytes.add(key.len()), packed.len());
            if let Put::Value(value) = put {
                value_at.write(value);
            }
        }
        item
    }

    pub fn from_raw(raw: NonNull<u8>) -> Self {
        ItemPtr(raw.cast(), PhantomData)
    }

    pub fn raw(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// # Safety
    /// The item is allocated, and nobody writes to it while the result lives.
    unsafe fn header<'m>(self) -> &'m Header {
        // SAFETY: an item begins with its header.
        unsafe { self.0.as_ref() }
    }

    fn field(self, offset: usize) -> *mut u8 {
        self.0.as_ptr().cast::<u8>().wrapping_add(offset)
    }

    /// # Safety
    /// The item is allocated.
    pub unsafe fn born(self) -> u64 {
        // SAFETY: as asked of the caller.
        unsafe { self.header() }.born
    }

    /// # Safety
    /// The item is allocated, and nobody writes to it while the result lives.
    pub unsafe fn key<'m>(self) -> &'m [u8] {
        // SAFETY: `new` wrote as many bytes there.
        unsafe {
            let header = self.header();
            std::slice::from_raw_parts(self.field(header.bytes_at::<V>()), header.key_len as usize)
        }
    }

    /// # Safety
    /// The item is allocated.
    pub unsafe fn stamp(self) -> Option<i64> {
        // SAFETY: `new` wrote one there when the flag is set.
        unsafe { (self.header().flags & STAMPED != 0).then(|| self.field(HEADER).cast::<i64>().read()) }
    }

    /// # Safety
    /// The item is allocated, and nobody writes to it while the result lives.
    pub unsafe fn payload<'m>(self) -> Payload<'m, V> {
        // SAFETY: `new` wrote a value or as many bytes there, as the header says.
        unsafe {
            let header = self.header();
            if header.flags & VALUED != 0 {
                return Payload::Value(&*self.field(header.value_at()).cast::<V>());
            }
            let bytes = self.field(header.bytes_at::<V>() + header.key_len as usize);
            Payload::Packed(std::slice::from_raw_parts(bytes, header.packed_len as usize))
        }
    }

    /// Whether somebody exported the packed bytes: then they must not change.
    ///
    /// # Safety
    /// The item is allocated.
    pub unsafe fn is_exported(self) -> bool {
        // SAFETY: as asked of the caller.
        unsafe { self.header() }.exported.load(Ordering::Relaxed)
    }

    /// # Safety
    /// The item is allocated, its packed bytes were not exported, and nobody else can reach it
    /// while the result lives.
    pub unsafe fn payload_mut<'m>(self) -> PayloadMut<'m, V> {
        // SAFETY: as asked of the caller; `new` wrote a value or as many bytes there, as the header
        // says.
        unsafe {
            let header = self.header();
            if header.flags & VALUED != 0 {
                return PayloadMut::Value(&mut *self.field(header.value_at()).cast::<V>());
            }
            let bytes = self.field(header.bytes_at::<V>() + header.key_len as usize);
            PayloadMut::Packed(std::slice::from_raw_parts_mut(bytes, header.packed_len as usize))
        }
    }

    /// Changes the stamp in place; `false` when the item has no room for it, or room that it must
    /// not keep.
    ///
    /// # Safety
    /// The item is allocated, and nobody else can reach it.
    pub unsafe fn restamp(self, stamp: Option<i64>) -> bool {
        // SAFETY: as asked of the caller; the room is there when the flag is set.
        unsafe {
            let stamped = self.header().flags & STAMPED != 0;
            if let Some(stamp) = stamp
                && stamped
            {
                self.field(HEADER).cast::<i64>().write(stamp);
            }
            stamped == stamp.is_some()
        }
    }

    /// # Safety
    /// The item is allocated, nobody can reach it, and it is not used again.
    pub unsafe fn free(self) {
        // SAFETY: as asked of the caller: the value has this one owner, and the layout is the one
        // of `new`.
        unsafe {
            if self.header().flags & VALUED != 0 {
                self.field(self.header().value_at()).cast::<V>().drop_in_place();
            }
            self.dealloc();
        }
    }

    /// # Safety
    /// As for [`ItemPtr::free`], and the value has been dropped or read out.
    unsafe fn dealloc(self) {
        // SAFETY: as asked of the caller; the layout is the one of `new`, and the memory goes back
        // to its allocator.
        unsafe {
            let (in_host, layout) = (self.header().flags & IN_HOST != 0, self.header().layout::<V>());
            match in_host {
                true => host_alloc::free(self.raw(), layout.size(), self.is_exported()),
                false => dealloc(self.raw().as_ptr(), layout),
            }
        }
    }

    /// Frees the item and answers its content.
    ///
    /// # Safety
    /// As for [`ItemPtr::free`].
    pub unsafe fn take(self) -> OwnedPayload<V> {
        // SAFETY: as asked of the caller; a value is read out once, and then only the memory is
        // freed.
        unsafe {
            let taken = match self.payload() {
                Payload::Packed(bytes) => OwnedPayload::Packed(bytes.to_vec()),
                Payload::Value(value) => OwnedPayload::Value(std::ptr::read(value)),
            };
            self.dealloc();
            taken
        }
    }
}

impl<V: Clone> ItemPtr<V> {
    /// # Safety
    /// The item is allocated, and nobody writes to it meanwhile.
    pub unsafe fn copy(self, born: u64, stamp: Option<i64>) -> Self {
        // SAFETY: as asked of the caller.
        unsafe {
            let put = match self.payload() {
                Payload::Packed(bytes) => Put::Packed(bytes),
                Payload::Value(value) => Put::Value(value.clone()),
            };
            ItemPtr::new(born, self.key(), stamp, put)
        }
    }

    /// # Safety
    /// The item is allocated, and nobody writes to it meanwhile.
    pub unsafe fn to_owned_payload(self) -> OwnedPayload<V> {
        // SAFETY: as asked of the caller.
        match unsafe { self.payload() } {
            Payload::Packed(bytes) => OwnedPayload::Packed(bytes.to_vec()),
            Payload::Value(value) => OwnedPayload::Value(value.clone()),
        }
    }
}

impl Header {
    fn value_at(&self) -> usize {
        HEADER + if self.flags & STAMPED != 0 { STAMP } else { 0 }
    }

    fn bytes_at<V>(&self) -> usize {
        self.value_at() + if self.flags & VALUED != 0 { ItemPtr::<V>::VALUE } else { 0 }
    }

    fn layout<V>(&self) -> Layout {
        let bytes = self.bytes_at::<V>() + self.key_len as usize + self.packed_len as usize;
        // Far below isize::MAX since the bytes exist.
        Layout::from_size_align(bytes, align_of::<Header>()).unwrap_or(Layout::new::<Header>())
    }
}

/// An entry of a borrowed map.
pub struct Item<'m, V> {
    ptr: ItemPtr<V>,
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
    /// During 'm the item is allocated and nobody writes to it.
    pub(crate) unsafe fn new(ptr: ItemPtr<V>) -> Self {
        Item { ptr, map: PhantomData }
    }

    pub fn key(self) -> &'m [u8] {
        // SAFETY: by the contract of `new`.
        unsafe { self.ptr.key() }
    }

    pub fn stamp(self) -> Option<i64> {
        // SAFETY: by the contract of `new`.
        unsafe { self.ptr.stamp() }
    }

    pub fn payload(self) -> Payload<'m, V> {
        // SAFETY: by the contract of `new`.
        unsafe { self.ptr.payload() }
    }

    /// Prefetches the memory that an export will write: the host allocator's reference count, in
    /// front of the item.
    pub fn prefetch_export(self) {
        // SAFETY: by the contract of `new`.
        if unsafe { self.ptr.header() }.flags & IN_HOST != 0 {
            prefetch_before(self.ptr.raw());
        }
    }

    /// Exports the packed bytes without a copy, if the item lives in the host allocator. They never
    /// change again.
    pub fn export(self) -> Option<ExportedBytes<'m>> {
        // SAFETY: by the contract of `new`.
        let header = unsafe { self.ptr.header() };
        match self.payload() {
            Payload::Packed(bytes) if header.flags & IN_HOST != 0 => {
                // Only the first reader writes, so that the others share the cache line.
                if !header.exported.load(Ordering::Relaxed) {
                    header.exported.store(true, Ordering::Relaxed);
                }
                Some(ExportedBytes::new(self.ptr.raw(), bytes))
            }
            _ => None,
        }
    }

    /// The memory that the entry takes.
    pub fn memory(self) -> Memory {
        // SAFETY: by the contract of `new`.
        let header = unsafe { self.ptr.header() };
        Memory::of(header.layout::<V>().size(), header.flags & IN_HOST != 0)
    }

    /// The entry as packed bytes alone, if it holds packed bytes.
    pub fn packed(self) -> Option<PackedItem<'m>> {
        match self.payload() {
            // SAFETY: by the contract of `new`. Without a value, no place in the item's layout
            // depends on the type of values.
            Payload::Packed(_) => Some(PackedItem(unsafe { Item::new(ItemPtr(self.ptr.0, PhantomData)) })),
            Payload::Value(_) => None,
        }
    }

    /// Whether both are the same item in memory: then they are equal.
    pub fn same(self, other: Item<'_, V>) -> bool {
        self.ptr == other.ptr
    }
}

/// The packed bytes of an entry, without the type of its map's values.
#[derive(Clone, Copy)]
pub struct PackedItem<'m>(Item<'m, ()>);

impl<'m> PackedItem<'m> {
    pub fn as_bytes(self) -> &'m [u8] {
        match self.0.payload() {
            Payload::Packed(bytes) => bytes,
            Payload::Value(()) => &[],
        }
    }

    /// As [`Item::export`].
    pub fn export(self) -> Option<ExportedBytes<'m>> {
        self.0.export()
    }
}

impl PartialEq for PackedItem<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for PackedItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_bytes().escape_ascii())
    }
}

//! A key's value and expiry, owned and by reference.

use crate::blob::Blob;
use crate::expiry::Expiry;
use crate::value::{StringRef, Value, ValueRef};
use vdr_snapmap::{HOST_BYTES_MIN, Item, Memory, OwnedPayload, PACKED_MAX, Payload, Put};

/// The longest string that is stored beside its key, so that one cache miss serves both. Longer
/// strings are shared by a refcount, so that a change of the expiry does not copy them. Readers
/// export both kinds zero-copy, unless they are short.
pub const PACKED_BYTES_MAX: usize = 4095;
const _: () = assert!(PACKED_BYTES_MAX <= PACKED_MAX);

/// An owned entry.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Value,
    pub expiry: Expiry,
}

impl Entry {
    pub fn new(value: impl Into<Value>) -> Self {
        Entry { value: value.into(), expiry: Expiry::NEVER }
    }

    /// Passes the entry to a map in the form that the map stores.
    pub(super) fn put<T>(self, put: impl FnOnce(Option<i64>, Put<'_, Value>) -> T) -> T {
        let stamp = self.expiry.get();
        match self.value {
            Value::String(blob) if blob.len() <= PACKED_BYTES_MAX => put(stamp, Put::Packed(&blob)),
            value => put(stamp, Put::Value(value)),
        }
    }

    pub(super) fn from_payload(stamp: Option<i64>, payload: OwnedPayload<Value>) -> Self {
        let value = match payload {
            OwnedPayload::Packed(bytes) => Value::String(Blob::from(bytes)),
            OwnedPayload::Value(value) => value,
        };
        Entry { value, expiry: Expiry::of(stamp) }
    }
}

pub(super) fn put_string(bytes: &[u8]) -> Put<'_, Value> {
    if bytes.len() <= PACKED_BYTES_MAX { Put::Packed(bytes) } else { Put::Value(Value::String(Blob::new(bytes))) }
}

/// A stored entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'s>(Item<'s, Value>);

impl<'s> EntryRef<'s> {
    pub fn new(item: Item<'s, Value>) -> Self {
        EntryRef(item)
    }

    #[inline]
    pub fn key(self) -> &'s [u8] {
        self.0.key()
    }

    #[inline]
    pub fn expiry(self) -> Expiry {
        Expiry::of(self.0.stamp())
    }

    #[inline]
    pub fn value(self) -> ValueRef<'s> {
        match self.0.payload() {
            Payload::Packed(bytes) if bytes.len() >= HOST_BYTES_MIN => {
                self.0.prefetch_export();
                ValueRef::String(self.0.packed().map_or(StringRef::Packed(bytes), StringRef::Long))
            }
            Payload::Packed(bytes) => ValueRef::String(StringRef::Packed(bytes)),
            Payload::Value(value) => value.as_ref(),
        }
    }

    pub fn to_entry(self) -> Entry {
        Entry { value: self.value().to_value(), expiry: self.expiry() }
    }

    /// The entry's own allocation, without what its value points to.
    pub fn memory(self) -> Memory {
        self.0.memory()
    }
}

//! What a key holds. One small module per type keeps its structure to itself, so that a faster one can take its place.

mod either;
mod hash;
mod list;
pub mod pack;
mod set;
pub mod stream;
mod zset;
mod aggregate;

pub use aggregate::Aggregate;
pub use hash::{Field, Hash, HashBuilder};
pub use list::{List, ListBuilder};
pub use set::{Set, SetBuilder};
pub use stream::Stream;
pub use zset::{Score, ZSet, ZSetBuilder};

use crate::blob::Blob;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use vdr_snapmap::{DropCost, ExportedBytes, Item, Payload};

/// The type of a value, by the server's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    String,
    List,
    Set,
    ZSet,
    Hash,
    Stream,
    /// A module's value: known to be there, not understood.
    Other,
}

impl Kind {
    pub const ALL: &[Kind] = &[Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream, Kind::Other];

    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
            Kind::Other => "other",
        }
    }
}

/// A value. Cloning is O(1): aggregates share their structure until one side changes.
#[derive(Clone, Debug)]
pub enum Value {
    String(Blob),
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
    Stream(Arc<Stream>),
    Other,
}

impl Value {
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::String(blob) => ValueRef::String(StringRef::Shared(blob)),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::ZSet(zset) => ValueRef::ZSet(zset),
            Value::Hash(hash) => ValueRef::Hash(hash),
            Value::Stream(stream) => ValueRef::Stream(stream),
            Value::Other => ValueRef::Other,
        }
    }

    pub fn kind(&self) -> Kind {
        self.as_ref().kind()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }
}

/// A string where it is kept, a value or an element of one: short ones lie beside their key, or beside each other.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'s> {
    Packed(&'s [u8]),
    /// Beside its key, and long enough to be lent.
    Long(LongRef<'s>),
    Shared(&'s Blob),
}

impl<'s> StringRef<'s> {
    pub fn as_bytes(self) -> &'s [u8] {
        match self {
            StringRef::Packed(bytes) => bytes,
            StringRef::Long(long) => long.as_bytes(),
            StringRef::Shared(blob) => blob.as_bytes(),
        }
    }

    pub fn to_blob(self) -> Blob {
        match self {
            StringRef::Shared(blob) => blob.clone(),
            StringRef::Packed(_) | StringRef::Long(_) => Blob::new(self.as_bytes()),
        }
    }
}

impl Deref for StringRef<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for StringRef<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for StringRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for StringRef<'_> {}

impl PartialOrd for StringRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Byte order, wherever they are kept.
impl Ord for StringRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// A long string beside its key.
#[derive(Clone, Copy)]
pub struct LongRef<'s>(Item<'s, Value>);

impl<'s> LongRef<'s> {
    pub fn new(item: Item<'s, Value>) -> Self {
        LongRef(item)
    }

    pub fn as_bytes(self) -> &'s [u8] {
        match self.0.payload() {
            Payload::Packed(bytes) => bytes,
            Payload::Value(_) => &[],
        }
    }

    /// As its home may show it without a copy. From then on it never changes.
    pub fn export(self) -> Option<ExportedBytes<'s>> {
        self.0.export()
    }
}

impl PartialEq for LongRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for LongRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// A value where it is kept.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'s> {
    String(StringRef<'s>),
    List(&'s List),
    Set(&'s Set),
    ZSet(&'s ZSet),
    Hash(&'s Hash),
    Stream(&'s Arc<Stream>),
    Other,
}

impl ValueRef<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::String(_) => Kind::String,
            ValueRef::List(_) => Kind::List,
            ValueRef::Set(_) => Kind::Set,
            ValueRef::ZSet(_) => Kind::ZSet,
            ValueRef::Hash(_) => Kind::Hash,
            ValueRef::Stream(_) => Kind::Stream,
            ValueRef::Other => Kind::Other,
        }
    }

    /// How many elements an aggregate has; 1 for everything else.
    pub fn len(&self) -> usize {
        match self {
            ValueRef::List(list) => list.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Stream(stream) => stream.len(),
            ValueRef::String(_) | ValueRef::Other => 1,
        }
    }

    /// An aggregate without elements: a server never keeps one. A stream without entries is none: it stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !matches!(self, ValueRef::Stream(_))
    }

    pub fn to_value(self) -> Value {
        match self {
            ValueRef::String(string) => Value::String(string.to_blob()),
            ValueRef::List(list) => Value::List(list.clone()),
            ValueRef::Set(set) => Value::Set(set.clone()),
            ValueRef::ZSet(zset) => Value::ZSet(zset.clone()),
            ValueRef::Hash(hash) => Value::Hash(hash.clone()),
            ValueRef::Stream(stream) => Value::Stream(stream.clone()),
            ValueRef::Other => Value::Other,
        }
    }

    /// Whether both hold the same. What they share in memory is not looked at, other than in lists. A stream that is not
    /// the very same counts as another; of a module's value nothing is known but that it is there.
    pub fn equals(&self, other: &ValueRef<'_>) -> bool {
        match (self, other) {
            (ValueRef::List(a), ValueRef::List(b)) => a.equals(b),
            (ValueRef::Set(a), ValueRef::Set(b)) => a.equals(b),
            (ValueRef::ZSet(a), ValueRef::ZSet(b)) => a.equals(b),
            (ValueRef::Hash(a), ValueRef::Hash(b)) => a.equals(b),
            (ValueRef::Other, ValueRef::Other) => true,
            _ => self.same(other),
        }
    }

    /// Whether both are certainly the same, judged in O(1): shared structure, or equal strings. `false` may be wrong.
    pub fn same(&self, other: &ValueRef<'_>) -> bool {
        match (self, other) {
            (ValueRef::String(a), ValueRef::String(b)) => a.as_bytes() == b.as_bytes(),
            (ValueRef::List(a), ValueRef::List(b)) => a.same(b),
            (ValueRef::Set(a), ValueRef::Set(b)) => a.same(b),
            (ValueRef::ZSet(a), ValueRef::ZSet(b)) => a.same(b),
            (ValueRef::Hash(a), ValueRef::Hash(b)) => a.same(b),
            (ValueRef::Stream(a), ValueRef::Stream(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl DropCost for Value {
    /// Elements: what is freed one by one.
    fn drop_cost(&self) -> usize {
        self.as_ref().len()
    }
}

impl From<Blob> for Value {
    fn from(blob: Blob) -> Self {
        Value::String(blob)
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Value::List(list)
    }
}

impl From<Set> for Value {
    fn from(set: Set) -> Self {
        Value::Set(set)
    }
}

impl From<ZSet> for Value {
    fn from(zset: ZSet) -> Self {
        Value::ZSet(zset)
    }
}

impl From<Hash> for Value {
    fn from(hash: Hash) -> Self {
        Value::Hash(hash)
    }
}

impl From<Stream> for Value {
    fn from(stream: Stream) -> Self {
        Value::Stream(Arc::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of the keyspace is made of one, so each word counts.
    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
        assert_eq!((size_of::<Hash>(), size_of::<Set>(), size_of::<ZSet>(), size_of::<List>()), (16, 16, 16, 16));
    }
}

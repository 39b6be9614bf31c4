//! A value of any type, owned and by reference.

use super::hash::Hash;
use super::kind::Kind;
use super::list::List;
use super::set::Set;
use super::stream::Stream;
use super::string::StringRef;
use super::zset::ZSet;
use crate::blob::Blob;
use std::sync::Arc;
use vdr_snapmap::DropCost;

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
    /// Not followed: a command that is not understood may have changed the value or its type, or
    /// have removed the key.
    Unknown,
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
            Value::Unknown => ValueRef::Unknown,
        }
    }

    pub fn kind(&self) -> Kind {
        self.as_ref().kind()
    }

    pub fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }
}

/// A value by reference.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'s> {
    String(StringRef<'s>),
    List(&'s List),
    Set(&'s Set),
    ZSet(&'s ZSet),
    Hash(&'s Hash),
    Stream(&'s Arc<Stream>),
    Other,
    /// Not followed: a command that is not understood may have changed the value or its type, or
    /// have removed the key.
    Unknown,
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
            ValueRef::Other | ValueRef::Unknown => Kind::Other,
        }
    }

    /// The number of an aggregate's elements; 1 for everything else.
    pub fn len(&self) -> usize {
        match self {
            ValueRef::List(list) => list.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Stream(stream) => stream.len(),
            ValueRef::String(_) | ValueRef::Other | ValueRef::Unknown => 1,
        }
    }

    /// Whether this is an aggregate without elements, which a server never keeps. A stream without
    /// entries stays.
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
            ValueRef::Unknown => Value::Unknown,
        }
    }

    /// Whether both values are equal. Two streams count as equal only if they share their memory.
    /// Two values of modules count as equal, since their contents are unknown.
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

    /// Whether both values share their structure or are equal strings, in O(1). `false` does not
    /// mean that they differ.
    pub fn same(&self, other: &ValueRef<'_>) -> bool {
        match (self, other) {
            (ValueRef::String(a), ValueRef::String(b)) => a == b,
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
    /// The number of elements, which are freed one by one.
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

    /// Every entry of the keyspace has one, so each word counts.
    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
        assert_eq!((size_of::<Hash>(), size_of::<Set>(), size_of::<ZSet>(), size_of::<List>()), (16, 16, 16, 16));
    }
}

//! What a key holds. One small module per type keeps its structure to itself, so that a faster one can take its place.

mod hash;
mod list;
mod set;
pub mod stream;
mod zset;

pub use hash::{Field, Hash};
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use zset::{Score, ZSet};

use crate::blob::Blob;
use std::sync::Arc;

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
    List(Arc<List>),
    Set(Set),
    ZSet(Arc<ZSet>),
    Hash(Hash),
    Stream(Arc<Stream>),
    Other,
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Set(_) => Kind::Set,
            Value::ZSet(_) => Kind::ZSet,
            Value::Hash(_) => Kind::Hash,
            Value::Stream(_) => Kind::Stream,
            Value::Other => Kind::Other,
        }
    }

    /// How many elements an aggregate has; 1 for everything else.
    pub fn len(&self) -> usize {
        match self {
            Value::List(list) => list.len(),
            Value::Set(set) => set.len(),
            Value::ZSet(zset) => zset.len(),
            Value::Hash(hash) => hash.len(),
            Value::Stream(stream) => stream.len(),
            Value::String(_) | Value::Other => 1,
        }
    }

    /// An aggregate without elements: a server never keeps one. A stream without entries is none: it stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !matches!(self, Value::Stream(_))
    }

    /// Whether both hold the same. What they share in memory is not looked at, other than in lists. A stream that is not
    /// the very same counts as another; of a module's value nothing is known but that it is there.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b) || a.iter().eq(b.iter()),
            (Value::Set(a), Value::Set(b)) => a.equals(b),
            (Value::ZSet(a), Value::ZSet(b)) => Arc::ptr_eq(a, b) || a.equals(b),
            (Value::Hash(a), Value::Hash(b)) => a.equals(b),
            (Value::Other, Value::Other) => true,
            _ => self.same(other),
        }
    }

    /// Whether both are certainly the same, judged in O(1): shared structure, or equal strings. `false` may be wrong.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b),
            (Value::Set(a), Value::Set(b)) => a.same(b),
            (Value::ZSet(a), Value::ZSet(b)) => Arc::ptr_eq(a, b),
            (Value::Hash(a), Value::Hash(b)) => a.same(b),
            (Value::Stream(a), Value::Stream(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl From<Blob> for Value {
    fn from(blob: Blob) -> Self {
        Value::String(blob)
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Value::List(Arc::new(list))
    }
}

impl From<Set> for Value {
    fn from(set: Set) -> Self {
        Value::Set(set)
    }
}

impl From<ZSet> for Value {
    fn from(zset: ZSet) -> Self {
        Value::ZSet(Arc::new(zset))
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

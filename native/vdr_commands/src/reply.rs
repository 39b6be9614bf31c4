//! The reply of a read, before it becomes a term or a Lua value.

use vdr_data::blob::Blob;
use vdr_data::value::LongRef;
use vdr_data::value::StringRef;

/// A reply. It borrows from the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'s> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Bytes of the snapshot. Long ones are exported without a copy.
    Blob(&'s Blob),
    /// As [`Reply::Blob`], for a long string that lies beside its key.
    Long(LongRef<'s>),
    /// Bytes of the snapshot that are too short to be shared.
    Slice(&'s [u8]),
    /// Bytes that the read computed.
    Bytes(Vec<u8>),
    /// An atom of the BEAM, a string in Lua: `infinity`, `pos_inf`, `zset` ...
    Word(&'static str),
    List(Vec<Reply<'s>>),
    /// As [`Reply::List`], for strings of the snapshot.
    Strings(Vec<StringRef<'s>>),
    /// `{a, b}` on the BEAM, a table of two in Lua.
    Pair(Box<(Reply<'s>, Reply<'s>)>),
    /// A list of pairs, without an allocation for each.
    Pairs(Vec<(Reply<'s>, Reply<'s>)>),
    /// A field-value list: a list of pairs on the BEAM, a table keyed by field in Lua (hash reads).
    Map(Vec<(StringRef<'s>, StringRef<'s>)>),
    /// A map with atom keys on the BEAM, a table with string keys in Lua: the properties of a
    /// stream or a group.
    Record(Vec<(&'static str, Reply<'s>)>),
}

impl<'s> Reply<'s> {
    pub fn string(string: StringRef<'s>) -> Self {
        match string {
            StringRef::Packed(bytes) => Reply::Slice(bytes),
            StringRef::Long(long) => Reply::Long(long),
            StringRef::Shared(blob) => Reply::Blob(blob),
        }
    }

    pub fn string_or_nil(string: Option<StringRef<'s>>) -> Self {
        string.map_or(Reply::Nil, Reply::string)
    }

    /// Whether to use the reply means to copy a long string first: one that was written to and not
    /// read as a whole since. See [`Blob::is_contiguous`].
    pub fn copies_long_string(&self) -> bool {
        match self {
            Reply::Blob(blob) => !blob.is_contiguous(),
            Reply::List(items) => items.iter().any(Reply::copies_long_string),
            Reply::Strings(strings) => {
                strings.iter().any(|string| matches!(string, StringRef::Shared(blob) if !blob.is_contiguous()))
            }
            _ => false,
        }
    }

    pub fn int(value: usize) -> Self {
        Reply::Int(value as i64)
    }

    /// A score. Infinities become words, because a float of the BEAM cannot hold them.
    pub fn score(score: f64) -> Self {
        if score == f64::INFINITY {
            Reply::Word("pos_inf")
        } else if score == f64::NEG_INFINITY {
            Reply::Word("neg_inf")
        } else {
            Reply::Float(score)
        }
    }

    pub fn blobs(blobs: impl Iterator<Item = &'s Blob>) -> Self {
        Reply::List(blobs.map(Reply::Blob).collect())
    }

    pub fn strings(strings: impl Iterator<Item = StringRef<'s>>) -> Self {
        Reply::Strings(collected(strings))
    }
}

/// As `collect`, by one call of the iterator: those of aggregates have a loop for it, which asks
/// once, and not for each element, how the aggregate is stored.
pub fn collected<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all = Vec::with_capacity(items.size_hint().0);
    items.for_each(|item| all.push(item));
    all
}

//! Builds values, or a whole keyspace, from what is reported of a file.

use crate::error::Fault;
use crate::stream::Part;
use crate::stream_builder::StreamBuilder;
use crate::visit::{Element, KeyHeader, Visit, Want};
use vdr_data::blob::Blob;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_data::value::{HashBuilder, Kind, ListBuilder, Score, SetBuilder, Value, ZSetBuilder};

/// The longest server version that is kept.
const VERSION_BYTES_MAX: usize = 64;

const REPLICATION_ID_DIGITS: usize = 40;

/// Builds one value at a time.
#[derive(Default)]
pub struct ValueBuilder {
    partial: Option<Partial>,
    /// Kept from one value to the next: these builders reuse their buffers, and files have many
    /// small sets and hashes.
    set: SetBuilder,
    hash: HashBuilder,
}

enum Partial {
    Value(Value),
    List(ListBuilder),
    Set,
    Hash,
    ZSet(ZSetBuilder),
    Stream(Box<StreamBuilder>),
}

impl ValueBuilder {
    /// The value, if one was reported.
    pub fn into_value(mut self) -> Result<Option<Value>, Fault> {
        self.take()
    }

    fn take(&mut self) -> Result<Option<Value>, Fault> {
        let Some(partial) = self.partial.take() else { return Ok(None) };
        // The number of reported elements, for types that have no element twice.
        let (count, value): (Option<usize>, Value) = match partial {
            Partial::Value(value) => (None, value),
            Partial::List(elements) => (None, elements.build().into()),
            Partial::Set => (Some(self.set.count()), self.set.build().into()),
            Partial::Hash => (Some(self.hash.count()), self.hash.build().into()),
            Partial::ZSet(members) => (Some(members.count()), members.build().into()),
            Partial::Stream(stream) => (None, stream.build().into()),
        };
        let repeated = count.is_some_and(|count| count != value.as_ref().len());
        if repeated { Err(Fault::Corrupt("duplicate member or field")) } else { Ok(Some(value)) }
    }
}

impl Visit for ValueBuilder {
    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        // The elements of a key that did not end are not part of this one.
        if self.partial.is_some() {
            *self = ValueBuilder::default();
        }
        self.partial = Some(match header.kind {
            Kind::String => Partial::Value(Value::String(Blob::default())),
            Kind::List => Partial::List(ListBuilder::default()),
            Kind::Set => Partial::Set,
            Kind::Hash => Partial::Hash,
            Kind::ZSet => Partial::ZSet(ZSetBuilder::new(header.packed)),
            Kind::Stream => Partial::Stream(Box::default()),
            Kind::Other => Partial::Value(Value::Other),
        });
        Want::Repeated
    }

    fn element(&mut self, element: Element<'_>) {
        match (self.partial.as_mut(), element) {
            (Some(Partial::Value(value)), Element::String(bytes)) => *value = Blob::new(bytes).into(),
            (Some(Partial::List(elements)), Element::Item(item)) => elements.push(item),
            (Some(Partial::Set), Element::Item(item)) => self.set.push(item),
            (Some(Partial::Hash), Element::Field { name, value, expiry }) => self.hash.push(name, value, expiry),
            (Some(Partial::ZSet(members)), Element::Member { member, score }) => {
                if let Some(score) = Score::new(score) {
                    members.push(member, score);
                }
            }
            (Some(Partial::Stream(stream)), Element::Entry { id, fields }) => stream.entry(id, fields),
            // The walk reports only elements of the kind of their key.
            _ => {}
        }
    }

    fn stream_part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        match self.partial.as_mut() {
            Some(Partial::Stream(stream)) => stream.part(part),
            _ => Ok(()),
        }
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Builds a keyspace, and keeps what else the file says.
#[derive(Default)]
pub struct KeyspaceBuilder {
    keyspace: Keyspace,
    value: ValueBuilder,
    db: u32,
    key: Blob,
    expiry: Option<Expiry>,
    summary: FileSummary,
}

/// The contents of a file apart from its keys, and their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSummary {
    /// The database that is selected when the stream after this file begins.
    pub repl_stream_db: Option<u32>,
    /// Where the stream after this file begins: the replication id and the offset of the last byte
    /// before it.
    pub replication_id: Option<String>,
    pub offset: Option<u64>,
    pub server: Option<Server>,
    pub keys: u64,
    pub streams: u64,
    /// Values of modules: the keys are known, their contents are skipped.
    pub modules: u64,
    /// Keys that came twice in one database. The later value counts. A server refuses such a file.
    pub duplicate_keys: u64,
    /// Streams that record another number of entries than they have.
    pub miscounted_streams: u64,
}

/// The server that wrote a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `redis` or `valkey`.
    pub name: &'static str,
    pub version: String,
}

impl KeyspaceBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn summary(&self) -> &FileSummary {
        &self.summary
    }

    pub fn into_keyspace(self) -> Keyspace {
        self.keyspace
    }
}

impl Visit for KeyspaceBuilder {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        note_aux(&mut self.summary, name, value);
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        (self.db, self.key, self.expiry) = (header.db, Blob::new(header.key), Some(header.expiry));
        self.value.key(header)
    }

    fn element(&mut self, element: Element<'_>) {
        self.value.element(element);
    }

    fn stream_part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        self.value.stream_part(part)
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        let (Some(value), Some(expiry)) = (self.value.take()?, self.expiry.take()) else { return Ok(()) };
        self.summary.keys += 1;
        match &value {
            Value::Stream(stream) => {
                self.summary.streams += 1;
                self.summary.miscounted_streams += u64::from(stream.miscounted != 0);
            }
            Value::Other => self.summary.modules += 1,
            _ => {}
        }
        let new = self.keyspace.db_mut(self.db).insert(&self.key, Entry { value, expiry });
        self.summary.duplicate_keys += u64::from(!new);
        Ok(())
    }
}

/// Reads an auxiliary field: the start of the stream behind the file, or the server.
pub fn note_aux(summary: &mut FileSummary, name: &[u8], value: &[u8]) {
    match name {
        b"repl-stream-db" => summary.repl_stream_db = number(value),
        b"repl-offset" => summary.offset = number(value),
        b"repl-id" if value.len() == REPLICATION_ID_DIGITS && value.iter().all(u8::is_ascii_hexdigit) => {
            summary.replication_id = Some(String::from_utf8_lossy(value).into_owned());
        }
        b"redis-ver" => summary.server = Some(server("redis", value)),
        b"valkey-ver" => summary.server = Some(server("valkey", value)),
        _ => {}
    }
}

fn number<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn server(name: &'static str, version: &[u8]) -> Server {
    let version = version.get(..VERSION_BYTES_MAX).unwrap_or(version);
    Server { name, version: String::from_utf8_lossy(version).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn report(builder: &mut ValueBuilder, kind: Kind, names: &[u8]) {
        builder.key(&KeyHeader { db: 0, key: b"k", kind, expiry: Expiry::NEVER, packed: true });
        for name in names.chunks(1) {
            builder.element(match kind {
                Kind::Hash => Element::Field { name, value: name, expiry: Expiry::NEVER },
                _ => Element::Item(name),
            });
        }
    }

    proptest! {
        /// Sets and hashes in turns, with names that come twice, and with keys that do not end.
        #[test]
        fn elements_of_a_key_are_in_no_other_key(
            keys in proptest::collection::vec((any::<bool>(), proptest::collection::vec(b'a'..b'h', 1..6), 0u8..5), 1..40),
        ) {
            let mut builder = ValueBuilder::default();
            for (is_hash, names, end) in keys {
                report(&mut builder, if is_hash { Kind::Hash } else { Kind::Set }, &names);
                if end == 0 {
                    continue;
                }
                let model: BTreeSet<&[u8]> = names.chunks(1).collect();
                let built = match builder.take() {
                    Ok(Some(Value::Hash(hash))) => Some(hash.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()),
                    Ok(Some(Value::Set(set))) => Some(set.iter().map(|name| name.to_vec()).collect()),
                    Ok(_) => panic!("neither a set nor a hash"),
                    Err(fault) => {
                        prop_assert_eq!(fault, Fault::Corrupt("duplicate member or field"));
                        None
                    }
                };
                prop_assert_eq!(built, (model.len() == names.len()).then(|| model.into_iter().map(<[u8]>::to_vec).collect()));
            }
        }
    }
}

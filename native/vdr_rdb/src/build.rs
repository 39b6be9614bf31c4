//! From what is told of a file to values: one, or a whole keyspace.

use crate::build_stream::Streaming;
use crate::error::Fault;
use crate::stream::Part;
use crate::visit::{Element, KeyHeader, Visit, Want};
use vdr_data::blob::Blob;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_data::value::{HashBuilder, Kind, ListBuilder, Score, SetBuilder, Value, ZSetBuilder};

/// The longest server version that is kept.
const VERSION_BYTES_MAX: usize = 64;

/// Builds the value told last.
#[derive(Default)]
pub struct One {
    partial: Option<Partial>,
    /// What there are many small ones of is built in the same room.
    set: SetBuilder,
    hash: HashBuilder,
}

enum Partial {
    Whole(Value),
    List(ListBuilder),
    Set,
    Hash,
    ZSet(ZSetBuilder),
    Stream(Box<Streaming>),
}

impl One {
    /// The value, when one was told.
    pub fn into_value(mut self) -> Result<Option<Value>, Fault> {
        self.take()
    }

    fn take(&mut self) -> Result<Option<Value>, Fault> {
        let Some(partial) = self.partial.take() else { return Ok(None) };
        // How many elements were told, of a kind that has none twice.
        let (told, value): (Option<usize>, Value) = match partial {
            Partial::Whole(value) => (None, value),
            Partial::List(elements) => (None, elements.build().into()),
            Partial::Set => (Some(self.set.told()), self.set.build().into()),
            Partial::Hash => (Some(self.hash.told()), self.hash.build().into()),
            Partial::ZSet(members) => (Some(members.told()), members.build().into()),
            Partial::Stream(stream) => (None, stream.build().into()),
        };
        let repeated = told.is_some_and(|told| told != value.as_ref().len());
        if repeated { Err(Fault::Corrupt("duplicate member or field")) } else { Ok(Some(value)) }
    }
}

impl Visit for One {
    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        // What was told of a key that did not end is not part of this one.
        if self.partial.is_some() {
            *self = One::default();
        }
        self.partial = Some(match header.kind {
            Kind::String => Partial::Whole(Value::String(Blob::default())),
            Kind::List => Partial::List(ListBuilder::default()),
            Kind::Set => Partial::Set,
            Kind::Hash => Partial::Hash,
            Kind::ZSet => Partial::ZSet(ZSetBuilder::new(header.packed)),
            Kind::Stream => Partial::Stream(Box::default()),
            Kind::Other => Partial::Whole(Value::Other),
        });
        Want::Repeated
    }

    fn element(&mut self, element: Element<'_>) {
        match (self.partial.as_mut(), element) {
            (Some(Partial::Whole(value)), Element::String(bytes)) => *value = Blob::new(bytes).into(),
            (Some(Partial::List(elements)), Element::Item(item)) => elements.push(item),
            (Some(Partial::Set), Element::Item(item)) => self.set.push(item),
            (Some(Partial::Hash), Element::Field { name, value, expiry }) => self.hash.push(name, value, expiry),
            (Some(Partial::ZSet(members)), Element::Member { member, score }) => {
                if let Some(score) = Score::new(score) {
                    members.push(member, score);
                }
            }
            (Some(Partial::Stream(stream)), Element::Entry { id, fields }) => stream.entry(id, fields),
            // The walk tells elements of the kind that it has told.
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

/// Builds a keyspace, and notes what else the file says.
#[derive(Default)]
pub struct Builder {
    keyspace: Keyspace,
    one: One,
    db: u32,
    key: Blob,
    expiry: Option<Expiry>,
    seen: Seen,
}

/// What a file says beside its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The database that the stream after this file has selected.
    pub repl_stream_db: Option<u32>,
    pub server: Option<Server>,
    pub keys: u64,
    pub streams: u64,
    /// Modules' values: known to be there, their content stepped over.
    pub modules: u64,
    /// Keys that came twice in one database; the later one counts. A server refuses such a file.
    pub duplicate_keys: u64,
}

/// The server that wrote a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `redis` or `valkey`.
    pub name: &'static str,
    pub version: String,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    pub fn into_keyspace(self) -> Keyspace {
        self.keyspace
    }
}

impl Visit for Builder {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        note_aux(&mut self.seen, name, value);
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        (self.db, self.key, self.expiry) = (header.db, Blob::new(header.key), Some(header.expiry));
        self.one.key(header)
    }

    fn element(&mut self, element: Element<'_>) {
        self.one.element(element);
    }

    fn stream_part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        self.one.stream_part(part)
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        let (Some(value), Some(expiry)) = (self.one.take()?, self.expiry.take()) else { return Ok(()) };
        self.seen.keys += 1;
        match value {
            Value::Stream(_) => self.seen.streams += 1,
            Value::Other => self.seen.modules += 1,
            _ => {}
        }
        let new = self.keyspace.db_mut(self.db).insert(&self.key, Entry { value, expiry });
        self.seen.duplicate_keys += u64::from(!new);
        Ok(())
    }
}

/// Keeps what an auxiliary field says of the stream behind the file and of the server.
pub fn note_aux(seen: &mut Seen, name: &[u8], value: &[u8]) {
    match name {
        b"repl-stream-db" => {
            seen.repl_stream_db = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        }
        b"redis-ver" => seen.server = Some(server("redis", value)),
        b"valkey-ver" => seen.server = Some(server("valkey", value)),
        _ => {}
    }
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

    fn tell(one: &mut One, kind: Kind, names: &[u8]) {
        one.key(&KeyHeader { db: 0, key: b"k", kind, expiry: Expiry::NEVER, packed: true });
        for name in names.chunks(1) {
            one.element(match kind {
                Kind::Hash => Element::Field { name, value: name, expiry: Expiry::NEVER },
                _ => Element::Item(name),
            });
        }
    }

    proptest! {
        /// Sets and hashes in turns, with names that come twice, and with keys that do not end.
        #[test]
        fn what_was_told_of_a_key_is_in_no_other(
            keys in proptest::collection::vec((any::<bool>(), proptest::collection::vec(b'a'..b'h', 1..6), 0u8..5), 1..40),
        ) {
            let mut one = One::default();
            for (is_hash, names, end) in keys {
                tell(&mut one, if is_hash { Kind::Hash } else { Kind::Set }, &names);
                if end == 0 {
                    continue;
                }
                let model: BTreeSet<&[u8]> = names.chunks(1).collect();
                let told = match one.take() {
                    Ok(Some(Value::Hash(hash))) => Some(hash.iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()),
                    Ok(Some(Value::Set(set))) => Some(set.iter().map(|name| name.to_vec()).collect()),
                    Ok(_) => panic!("neither a set nor a hash"),
                    Err(fault) => {
                        prop_assert_eq!(fault, Fault::Corrupt("duplicate member or field"));
                        None
                    }
                };
                prop_assert_eq!(told, (model.len() == names.len()).then(|| model.into_iter().map(<[u8]>::to_vec).collect()));
            }
        }
    }
}

//! From what is told of a file to values: one, or a whole keyspace.

use super::build_stream::Streaming;
use super::error::Fault;
use super::stream::Part;
use super::{Element, KeyHeader, Visit, Want};
use crate::blob::Blob;
use crate::keyspace::{DbBuilder, Entry, Expiry, Keyspace};
use crate::only::Only;
use crate::value::{Field, Hash, Kind, List, Score, Set, Value, ZSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many elements are reserved on the word of the file alone; beyond it an aggregate grows as it comes.
const RESERVE_ELEMENTS_MAX: u64 = 4096;

/// The longest server version that is kept.
const VERSION_BYTES_MAX: usize = 64;

/// Builds the value told last.
#[derive(Default)]
pub struct One(Option<Partial>);

enum Partial {
    Whole(Value),
    List(Vec<Blob>),
    Set(Vec<Blob>),
    Hash(Vec<(Blob, Field)>),
    ZSet { members: Vec<(Blob, Score)>, packed: bool },
    Stream(Box<Streaming>),
}

impl One {
    /// The value, when one was told.
    pub fn into_value(mut self) -> Option<Value> {
        self.take()
    }

    fn take(&mut self) -> Option<Value> {
        self.0.take().map(|partial| match partial {
            Partial::Whole(value) => value,
            Partial::List(items) => List::from_iter(items).into(),
            Partial::Set(members) => Set::from_iter(members).into(),
            Partial::Hash(fields) => Hash::from_iter(fields).into(),
            Partial::ZSet { members, packed } => ZSet::from_members(members, packed).into(),
            Partial::Stream(stream) => stream.build().into(),
        })
    }
}

impl Visit for One {
    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        let capacity = header.len_hint.min(RESERVE_ELEMENTS_MAX) as usize;
        self.0 = Some(match header.kind {
            Kind::String => Partial::Whole(Value::String(Blob::default())),
            Kind::List => Partial::List(Vec::with_capacity(capacity)),
            Kind::Set => Partial::Set(Vec::with_capacity(capacity)),
            Kind::Hash => Partial::Hash(Vec::with_capacity(capacity)),
            Kind::ZSet => Partial::ZSet { members: Vec::with_capacity(capacity), packed: header.packed },
            Kind::Stream => Partial::Stream(Box::default()),
            Kind::Other => Partial::Whole(Value::Other),
        });
        Want::Elements
    }

    fn element(&mut self, element: Element<'_>) {
        match (self.0.as_mut(), element) {
            (Some(Partial::Whole(value)), Element::String(bytes)) => *value = Blob::new(bytes).into(),
            (Some(Partial::List(items) | Partial::Set(items)), Element::Item(item)) => items.push(Blob::new(item)),
            (Some(Partial::Hash(fields)), Element::Field { name, value, expiry }) => {
                fields.push((Blob::new(name), Field { value: Blob::new(value), expiry }));
            }
            (Some(Partial::ZSet { members, .. }), Element::Member { member, score }) => {
                members.extend(Score::new(score).map(|score| (Blob::new(member), score)));
            }
            (Some(Partial::Stream(stream)), Element::Entry { id, fields }) => stream.entry(id, fields),
            // The walk tells elements of the kind that it has told.
            _ => {}
        }
    }

    fn stream_part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        match self.0.as_mut() {
            Some(Partial::Stream(stream)) => stream.part(part),
            _ => Ok(()),
        }
    }

    fn end_key(&mut self) {}
}

/// Builds a keyspace, and notes what else the file says.
#[derive(Default)]
pub struct Builder {
    dbs: BTreeMap<u32, DbBuilder>,
    one: One,
    db: u32,
    key: Blob,
    expiry: Option<Expiry>,
    seen: Seen,
    only: Option<Arc<Only>>,
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

    /// Builds only what the filter keeps.
    pub fn only(only: Option<Arc<Only>>) -> Self {
        Builder { only, ..Self::default() }
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    pub fn into_keyspace(self) -> Keyspace {
        let mut keyspace = Keyspace::default();
        for (index, db) in self.dbs {
            keyspace.put_db(index, db.build());
        }
        keyspace
    }
}

impl Visit for Builder {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        note_aux(&mut self.seen, name, value);
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        if self.only.as_ref().is_some_and(|only| !only.keeps(header.db, header.key, header.kind)) {
            return Want::Skip;
        }
        (self.db, self.key, self.expiry) = (header.db, Blob::new(header.key), Some(header.expiry));
        self.one.key(header)
    }

    fn element(&mut self, element: Element<'_>) {
        self.one.element(element);
    }

    fn stream_part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        self.one.stream_part(part)
    }

    fn end_key(&mut self) {
        let (Some(value), Some(expiry)) = (self.one.take(), self.expiry.take()) else { return };
        self.seen.keys += 1;
        match value {
            Value::Stream(_) => self.seen.streams += 1,
            Value::Other => self.seen.modules += 1,
            _ => {}
        }
        let new = self.dbs.entry(self.db).or_default().insert(&self.key, Entry { value, expiry });
        self.seen.duplicate_keys += u64::from(!new);
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

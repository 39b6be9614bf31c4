//! Shared by the tests of snapshot files: a visitor that records all reports, a writer of hand-made
//! files, and the folders with files of real servers.

use std::collections::BTreeMap;
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;
use vdr_rdb::{Element, Fault, KeyHeader, Loader, Progress, RdbError, Visit, Want};

/// An owned copy of an element, comparable.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedElement {
    String(Vec<u8>),
    Item(Vec<u8>),
    Field(Vec<u8>, Vec<u8>, Option<i64>),
    Member(Vec<u8>, f64),
    /// An id, then fields and values.
    Entry(String, Vec<Vec<u8>>),
}

impl OwnedElement {
    pub fn name(&self) -> &[u8] {
        match self {
            OwnedElement::String(bytes)
            | OwnedElement::Item(bytes)
            | OwnedElement::Field(bytes, ..)
            | OwnedElement::Member(bytes, _) => bytes,
            OwnedElement::Entry(id, _) => id.as_bytes(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub db: u32,
    pub key: Vec<u8>,
    pub kind: Kind,
    pub expiry: Expiry,
    pub packed: bool,
    pub elements: Vec<OwnedElement>,
    pub whole: bool,
}

#[derive(Debug, Default, PartialEq)]
pub struct Recorder {
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    pub keys: Vec<Key>,
    pub slots: Vec<(Vec<u8>, u64, u64)>,
    pub sizes: Vec<(u32, u64, u64)>,
}

impl Visit for Recorder {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.aux.push((name.to_vec(), value.to_vec()));
    }

    fn resize_db(&mut self, db: u32, keys: u64, expires: u64) {
        self.sizes.push((db, keys, expires));
    }

    fn slot_import(&mut self, job: &[u8], first: u64, last: u64) {
        self.slots.push((job.to_vec(), first, last));
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        assert!(self.keys.iter().all(|key| key.whole), "a key begins inside another");
        let KeyHeader { db, key, kind, expiry, packed, .. } = *header;
        self.keys.push(Key { db, key: key.to_vec(), kind, expiry, packed, elements: Vec::new(), whole: false });
        Want::Elements
    }

    fn element(&mut self, element: Element<'_>) {
        let key = self.keys.last_mut().expect("an element belongs to a key");
        assert!(!key.whole);
        key.elements.push(match element {
            Element::String(bytes) => OwnedElement::String(bytes.to_vec()),
            Element::Item(item) => OwnedElement::Item(item.to_vec()),
            Element::Field { name, value, expiry } => OwnedElement::Field(name.to_vec(), value.to_vec(), expiry.get()),
            Element::Member { member, score } => OwnedElement::Member(member.to_vec(), score),
            Element::Entry { id, fields } => {
                let mut words = Vec::new();
                fields.for_each(|name, value| words.extend([name.to_vec(), value.to_vec()]));
                OwnedElement::Entry(id.to_string(), words)
            }
        });
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        self.keys.last_mut().expect("an end belongs to a key").whole = true;
        Ok(())
    }
}

impl Recorder {
    /// How many keys there are of each kind in each database.
    pub fn counts(&self) -> BTreeMap<u32, BTreeMap<&'static str, usize>> {
        let mut counts: BTreeMap<u32, BTreeMap<&'static str, usize>> = BTreeMap::new();
        for key in &self.keys {
            *counts.entry(key.db).or_default().entry(key.kind.name()).or_default() += 1;
        }
        counts
    }
}

/// Loads a file from chunks. Returns what was reported, and how many bytes belong to the file.
pub fn load<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Recorder, usize), RdbError> {
    let (mut loader, mut recorded, mut taken) = (Loader::new(), Recorder::default(), 0);
    for piece in pieces {
        match loader.feed(piece, &mut recorded)? {
            Progress::More => taken += piece.len(),
            Progress::Done { consumed } => {
                loader.finish()?;
                return Ok((recorded, taken + consumed));
            }
        }
    }
    loader.finish()?;
    Ok((recorded, taken))
}

pub fn load_whole(bytes: &[u8]) -> Result<Recorder, RdbError> {
    load([bytes]).map(|(recorded, taken)| {
        assert_eq!(taken, bytes.len());
        recorded
    })
}

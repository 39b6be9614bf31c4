//! Hashes: fields in byte order, each with a value and perhaps a time to live of its own.

use crate::blob::Blob;
use crate::keyspace::Expiry;
use crate::tree::{Bytes, Tree};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub value: Blob,
    pub expiry: Expiry,
}

impl From<Blob> for Field {
    fn from(value: Blob) -> Self {
        Field { value, expiry: Expiry::NEVER }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Hash {
    fields: Tree<Blob, Field>,
    /// How many fields carry an expiry: none in most hashes, and then reads need not look.
    expiring: usize,
}

impl Hash {
    /// Physical fields, those past their time included, as the server counts them.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub fn has_expiring_fields(&self) -> bool {
        self.expiring > 0
    }

    /// The field as stored, even past its time.
    pub fn get(&self, field: &[u8]) -> Option<&Field> {
        self.fields.get(Bytes(field)).map(|(_, field)| field)
    }

    /// The field's value unless its time has passed.
    pub fn live(&self, field: &[u8], is_past: impl Fn(Expiry) -> bool) -> Option<&Blob> {
        self.get(field).filter(|field| !is_past(field.expiry)).map(|field| &field.value)
    }

    /// Puts a field, its expiry included; answers what it replaces.
    pub fn insert(&mut self, name: Blob, field: Field) -> Option<Field> {
        self.expiring += usize::from(field.expiry.is_set());
        let old = self.fields.insert(name, field);
        self.forget(&old);
        old
    }

    pub fn remove(&mut self, name: &[u8]) -> Option<Field> {
        let old = self.fields.remove(Bytes(name)).map(|(_, field)| field);
        self.forget(&old);
        old
    }

    /// Sets a field's expiry; `false` when there is no such field.
    pub fn set_expiry(&mut self, name: &[u8], expiry: Expiry) -> bool {
        match self.fields.get_mut(Bytes(name)) {
            Some(field) => {
                self.expiring += usize::from(expiry.is_set());
                self.expiring = self.expiring.saturating_sub(usize::from(field.expiry.is_set()));
                field.expiry = expiry;
                true
            }
            None => false,
        }
    }

    /// Position of a field in byte order, or where it would stand.
    pub fn rank(&self, name: &[u8]) -> Result<usize, usize> {
        self.fields.find(Bytes(name))
    }

    pub fn at(&self, rank: usize) -> Option<(&Blob, &Field)> {
        self.fields.at(rank)
    }

    /// Fields with ranks `from..to` (clipped), in byte order, those past their time included.
    pub fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = (&Blob, &Field)> + ExactSizeIterator + Clone {
        self.fields.range(from, to)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Blob, &Field)> + ExactSizeIterator + Clone {
        self.fields.iter()
    }

    /// Whether both have the same fields with the same values and times. O(difference).
    pub fn equals(&self, other: &Hash) -> bool {
        self.fields.equals(&other.fields)
    }

    pub fn same(&self, other: &Hash) -> bool {
        self.fields.same(&other.fields)
    }

    fn forget(&mut self, old: &Option<Field>) {
        let expired = old.as_ref().is_some_and(|field| field.expiry.is_set());
        self.expiring = self.expiring.saturating_sub(usize::from(expired));
    }
}

impl FromIterator<(Blob, Field)> for Hash {
    /// Of equal names the last one counts.
    fn from_iter<I: IntoIterator<Item = (Blob, Field)>>(fields: I) -> Self {
        let mut fields: Vec<(Blob, Field)> = fields.into_iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields.reverse();
        fields.dedup_by(|a, b| a.0 == b.0);
        fields.reverse();
        let expiring = fields.iter().filter(|(_, field)| field.expiry.is_set()).count();
        Hash { fields: Tree::from_sorted(fields), expiring }
    }
}

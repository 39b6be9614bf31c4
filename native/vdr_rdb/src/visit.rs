//! The contents of a file, as they are reported, and the trait of those who receive them.

use crate::error::Fault;
use crate::stream;
use crate::stream_node::Fields;
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;
use vdr_data::value::stream::Id;

/// Receives the contents of a file. Implemented by the builders of values, by what counts keys, and
/// by what forwards elements.
pub trait Visit {
    /// An auxiliary field of the header, such as `repl-stream-db`. Unknown fields are reported,
    /// too.
    fn aux(&mut self, _name: &[u8], _value: &[u8]) {}

    /// The numbers of keys and expiries that the file announces for a database. A hint, not to be
    /// trusted.
    fn resize_db(&mut self, _db: u32, _keys: u64, _expires: u64) {}

    /// Slots that the server was importing, the first and the last (Valkey). Their keys are in the
    /// file, but hidden from the server's readers until the import is complete.
    fn slot_import(&mut self, _job: &[u8], _first: u64, _last: u64) {}

    /// A key begins. Its elements follow, unless the answer is [`Want::Skip`], and then
    /// [`Visit::end_key`] in any case. An aggregate without elements is not reported. A module's
    /// value has no elements here.
    ///
    /// Elements of compact encodings are checked: no member or field comes twice, and sorted sets
    /// are in order. Elements of the other encodings are reported as they stand, so a visitor that
    /// keeps them must check names that come twice, see [`Visit::end_key`]. A visitor may do this
    /// for all encodings, see [`Want::Repeated`].
    fn key(&mut self, header: &KeyHeader<'_>) -> Want;

    /// An element of the current key.
    fn element(&mut self, element: Element<'_>);

    /// A part of a stream other than its entries, which are reported as [`Element::Entry`]. An
    /// error ends the walk: some contradictions are visible only to the visitor, which has the
    /// whole stream.
    fn stream_part(&mut self, _part: stream::Part<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// The current key is complete. An error ends the walk, as with [`Visit::stream_part`].
    fn end_key(&mut self) -> Result<(), Fault>;

    /// An item was read that takes so many bytes in the file, whether or not anything was reported
    /// of it.
    fn item_read(&mut self, _bytes: usize) {}
}

/// A key without its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHeader<'a> {
    pub db: u32,
    pub key: &'a [u8],
    pub kind: Kind,
    pub expiry: Expiry,
    /// The encoding was a listpack or ziplist. It decides about the sign of a zero score.
    pub packed: bool,
}

/// Which elements of a key the visitor wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Elements,
    /// All elements, unchecked: the visitor itself detects members and fields that come twice.
    Repeated,
    Skip,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Element<'a> {
    /// A string.
    String(&'a [u8]),
    /// An element of a list (in order) or a member of a set.
    Item(&'a [u8]),
    Field {
        name: &'a [u8],
        value: &'a [u8],
        expiry: Expiry,
    },
    Member {
        member: &'a [u8],
        score: f64,
    },
    /// An entry of a stream, in the order of ids. Deleted entries are not reported.
    Entry {
        id: Id,
        fields: Fields<'a>,
    },
}

//! What is reported of a file, and to whom.

use crate::error::Fault;
use crate::stream;
use crate::stream_node::Fields;
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;
use vdr_data::value::stream::Id;

/// What the walk over a file reports. Whoever builds values, counts keys, or hands elements on implements this.
pub trait Visit {
    /// An auxiliary field of the header, `repl-stream-db` say. Unknown ones come too.
    fn aux(&mut self, _name: &[u8], _value: &[u8]) {}

    /// How many keys and expiries the file announces for a database: a hint, not to be trusted.
    fn resize_db(&mut self, _db: u32, _keys: u64, _expires: u64) {}

    /// Slots, first and last one, that the server was importing (Valkey): their keys are in the file, and hidden from
    /// its readers until the import is done.
    fn slot_import(&mut self, _job: &[u8], _first: u64, _last: u64) {}

    /// A key begins. What follows are its elements, unless the answer is [`Want::Skip`], and [`Visit::end_key`] in
    /// any case. An aggregate without elements is not told. A module's value has no elements here.
    ///
    /// The compact encodings have no member or field twice, and sorted sets in them are in order. The others are told as
    /// they stand: who keeps the elements sees a name that comes twice, see [`Visit::end_key`]; so may it do with all of them,
    /// see [`Want::Repeated`].
    fn key(&mut self, header: &KeyHeader<'_>) -> Want;

    /// One element of the key begun last.
    fn element(&mut self, element: Element<'_>);

    /// What a stream holds beside its entries; its nodes are told as [`Element::Entry`]. An error ends the walk: what
    /// only the whole can contradict is for the visitor to see.
    fn stream_part(&mut self, _part: stream::Part<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// The key begun last is whole. An error ends the walk, as with [`Visit::stream_part`].
    fn end_key(&mut self) -> Result<(), Fault>;

    /// So many bytes of the file made the item that was read last, whatever was told of it.
    fn taken(&mut self, _bytes: usize) {}
}

/// What is known of a key before its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHeader<'a> {
    pub db: u32,
    pub key: &'a [u8],
    pub kind: Kind,
    pub expiry: Expiry,
    /// The encoding was a listpack or ziplist: matters for the sign of a zero score.
    pub packed: bool,
}

/// Whether the visitor wants the elements of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Elements,
    /// With members and fields that come twice, even in a compact encoding: the visitor sees for itself.
    Repeated,
    Skip,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Element<'a> {
    /// The whole of a string.
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
    /// An entry of a stream: ids ascend. Entries that were deleted are not told.
    Entry {
        id: Id,
        fields: Fields<'a>,
    },
}

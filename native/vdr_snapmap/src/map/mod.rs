//! Hash map with O(1) snapshots: a persistent hash trie with six bits of the hash per level, whose
//! nodes are owned by generation.
//!
//! ```text
//! inner    digits 0-15 | 16-31 | 32-63          a child per range of six-bit digits, as fine as its items need
//!              |          |        \
//! leaf     [ items, each with eight bits of its hash beside it ]
//!              |
//! item     born | key | value, in one allocation: see [`mod@item`]
//! ```
//!
//! A full leaf splits its range of digits in halves. A full leaf that stands for a single digit
//! becomes an inner node of the next six bits. Where the hash has no bits left, the bits of a
//! second, keyed hash follow: see [`mod@digits`].
//!
//! A [`Map`] is a [`Version`](crate::version::Version). Its parts are nodes and items. Two rules
//! add to those of [`crate::version`]:
//!
//! * *Exported bytes do not change.* An item whose bytes were exported is replaced as if its
//!   generation were older.
//! * *Values drop once.* A value belongs to its item. Items are never copied as bytes, only their
//!   addresses are. An older item is replaced by an item with the same key and a clone of the
//!   value, or a new value. An item's memory and value go together: when the item is freed as a
//!   part, or when an item of the newest generation is taken apart.

mod digits;
mod item;
mod node;

mod leaf;
mod trie;

mod find;
mod iter;
mod scan;
mod unshared;

mod edit;
mod path;
mod split_join;

pub use item::{HOST_BYTES_MIN, Item, OwnedPayload, PACKED_MAX, PackedItem, Payload, PayloadMut, Put};
pub use iter::Iter;
pub use trie::{DropCost, Map, ProcessHasher};
pub use unshared::Unshared;

#[cfg(test)]
mod tests;

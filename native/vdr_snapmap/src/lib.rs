//! Persistent maps with O(1) snapshots: the structures below the keyspace, and all of the core's
//! unsafe code.
//!
//! [`Map`] is a hash trie. [`Tree`] is an ordered, counted B+tree. [`SharedBytes`] are long byte
//! strings, shared by a reference count. A map is a value: `clone` takes a snapshot in O(1).
//! Nothing changes a snapshot. Any thread may hold it for any time, and snapshots may be dropped in
//! any order.
//!
//! Writes copy the path from the root to the entry, as in other copy-on-write structures. The nodes
//! have no reference counts, so the copy of a node does not touch the node's children. Instead each
//! node belongs to a *generation*: [`version`] has the rules and the proof, [`version_chain`]
//! decides when memory may be freed.
//!
//! The modules stand in reading order, from the ground up.

#![allow(
    unsafe_code,
    reason = "nodes belong to a generation, which the borrow checker cannot see: see `version` for the proof"
)]

pub mod prefetch;
mod sync;

pub mod published;

pub mod host_alloc;
pub mod shared_bytes;

pub mod version_chain;

pub mod version;

pub mod map;
pub mod tree;

#[cfg(test)]
mod testing;

pub use host_alloc::{COUNTS, ExportedBytes, HostAlloc, Memory, allocated};
pub use map::{DropCost, HOST_BYTES_MIN, Item, Map, OwnedPayload, PACKED_MAX, PackedItem, Payload, PayloadMut, Put};
pub use shared_bytes::SharedBytes;
pub use tree::Tree;

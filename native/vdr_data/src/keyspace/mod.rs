//! Databases, their keys, and what hides expired keys from readers.
//!
//! A keyspace is a persistent value: `clone` is O(databases), and no later change reaches the
//! clone. An expired key stays until the primary's DEL arrives, as on a real replica. [`View`]
//! hides it from readers.
//!
//! The modules stand in reading order: each uses those above it.

mod entry;
mod large_keys;
mod db;
mod view;
mod databases;
mod key_index;
mod diff;

pub use databases::Keyspace;
pub use db::{Db, HashedKey, KeyHasher};
pub use diff::Change;
pub use entry::{Entry, EntryRef, PACKED_BYTES_MAX};
pub use large_keys::{LARGE_BYTES, LARGE_ELEMENTS, is_large};
pub use view::{Now, TypeError, View};

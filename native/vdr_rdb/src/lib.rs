//! Snapshot files: the opcode walk, the encodings of values, the checksum.
//!
//! [`Loader`] takes the file as it arrives, in chunks of any size, and reports its contents to a
//! [`Visit`], element by element. Beyond the data, its memory is bounded by the longest string of
//! the file, never by the size of a key.
//!
//! The modules stand in reading order: each uses those above it.

#![forbid(unsafe_code)]

mod error;
mod budget;
mod checksum;
mod lzf;
mod cursor;
mod packed;
pub mod stream;
mod types;
mod stream_node;
mod visit;
mod entry_reader;
mod template;
mod walk;
mod loader;
mod stream_builder;
mod build;
mod dump;
mod survey;

pub use budget::{BYTES_PER_BYTE, FREE_BYTES};
pub use build::{FileSummary, KeyspaceBuilder, Server, ValueBuilder, note_aux};
pub use cursor::Raw;
pub use dump::{decode_dump, restore, restore_up_to};
pub use error::{Fault, RdbError};
pub use loader::{Loader, Progress};
pub use stream_node::Fields;
pub use survey::{Group, KeySize, Survey};
pub use types::Dialect;
pub use visit::{Element, KeyHeader, Visit, Want};

//! Batches of whole commands for a handler, from a full sync and from the stream.
//!
//! ```text
//! file   -> Loader  -> SnapshotBatcher --\
//!                                         >-- Batch: a bounded number of commands and bytes, each with its db and offset
//! stream -> Decoder -> StreamBatcher   --/
//! ```
//!
//! This module does not know the handler, nor what it does with a batch.

mod commands;
mod consumer_groups;
mod snapshot_batcher;
mod stream_batcher;

pub use commands::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, Batch, Command};
pub use snapshot_batcher::{CHUNK_BYTES_MAX, CHUNK_ELEMENTS_MAX, SnapshotBatcher};
pub use stream_batcher::{ResumePoint, StreamBatcher, Taken, UNIT_BYTES_MAX, UNIT_COMMANDS_MAX};

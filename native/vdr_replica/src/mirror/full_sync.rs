//! A full sync under way: the snapshot file is decoded into a keyspace of its own. Readers keep the
//! data of before until the file is whole.

use super::fault::Fault;
use crate::filter::{Filter, Filtered};
use std::sync::Arc;
use vdr_data::keyspace::Keyspace;
use vdr_rdb::{FileSummary, KeyspaceBuilder, Loader, Progress, Server};

/// See the module.
pub struct FullSync {
    loader: Loader,
    builder: Filtered<KeyspaceBuilder>,
    /// The replication id and the offset of the file, unless only the file says them.
    start: Option<(Arc<str>, u64)>,
}

/// The contents of a full sync, ready to be shown.
pub struct Loaded {
    pub keyspace: Keyspace,
    pub replication_id: Arc<str>,
    pub offset: u64,
    /// The database that the stream has selected at `offset`.
    pub db: u32,
    /// The server that wrote the file.
    pub server: Option<Server>,
    /// See [`FileSummary::miscounted_streams`].
    pub miscounted_streams: u64,
}

impl FullSync {
    pub(super) fn new(start: Option<(Arc<str>, u64)>, filter: Option<Arc<Filter>>, string_bytes_max: u64) -> Self {
        let builder = Filtered::new(filter, KeyspaceBuilder::new());
        FullSync { loader: Loader::new().with_string_bytes_max(string_bytes_max), builder, start }
    }

    /// Decodes the next bytes of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        self.loader.feed(bytes, &mut self.builder).map_err(|error| Fault::from(&error))
    }

    /// What the file said beside its keys, and how many keys it had so far.
    pub(super) fn summary(&self) -> &FileSummary {
        self.builder.visit.summary()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.loader.offset_bytes()
    }

    /// Refuses a file of fewer keys than this part of those before.
    pub(super) fn compare(&self, before: usize, keep_below: f64) -> Result<(), Fault> {
        let keys = self.summary().keys;
        if (keys as f64) < before as f64 * keep_below { Err(Fault::emptied(before, keys)) } else { Ok(()) }
    }

    /// The whole file was fed.
    pub(super) fn finish(self) -> Result<Loaded, Fault> {
        self.loader.finish().map_err(|error| Fault::from(&error))?;
        let summary = self.builder.visit.summary().clone();
        let named = summary.replication_id.as_deref().map(Arc::from).zip(summary.offset);
        let (replication_id, offset) = self.start.or(named).ok_or_else(Fault::no_offset)?;
        Ok(Loaded {
            keyspace: self.builder.visit.into_keyspace(),
            replication_id,
            offset,
            db: summary.repl_stream_db.unwrap_or(0),
            server: summary.server,
            miscounted_streams: summary.miscounted_streams,
        })
    }
}

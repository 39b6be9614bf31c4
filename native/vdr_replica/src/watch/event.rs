//! What is watched, and what a watching process is notified of.

use std::sync::Arc;
use vdr_commands::Tuple;
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;

/// What a watcher is notified of, always after it is visible.
#[derive(Clone, Copy)]
pub enum Event<'e> {
    /// A write affected the watched key, or keys of a watched prefix or pattern. `key` is `None`
    /// when it affected several.
    Update { command: &'e Arc<Tuple>, db: u32, key: Option<&'e Blob>, offset: u64 },
    /// A key was written since the last publication: its entries in the two snapshots. `key` is
    /// `None` when the whole database was.
    Value { db: u32, key: Option<&'e Blob>, old: Option<EntryRef<'e>>, new: Option<EntryRef<'e>>, offset: u64 },
    /// As `Value`, without the entries.
    Key { db: u32, key: Option<&'e Blob>, offset: u64 },
    /// Whatever the watcher knew may be stale: a full sync became visible, or events were dropped
    /// before they were visible.
    Init { offset: u64 },
    /// The watcher did not drain its mailbox, so events were not sent: how many, and the offsets of
    /// the first and the last of them.
    Missed { from: u64, to: u64, count: u64 },
    /// The link to the server came to stream, or ended.
    Link { up: bool },
}

impl Event<'_> {
    /// About how many bytes the names and arguments take. `None`: it has values of any size.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            Event::Update { command, key, .. } => Some(command.bytes().saturating_add(key.map_or(0, Blob::len))),
            Event::Value { .. } => None,
            Event::Key { key, .. } => Some(key.map_or(0, Blob::len)),
            Event::Init { .. } | Event::Missed { .. } | Event::Link { .. } => Some(0),
        }
    }
}

/// What a watcher is notified of when a write affects what it watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Each write, with its command: [`Event::Update`].
    #[default]
    Command,
    /// Each key once for each publication, with its values before and after: [`Event::Value`].
    Value,
    /// Each key once for each publication: [`Event::Key`].
    Key,
}

/// What is watched of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched<B> {
    Key(B),
    /// All keys that start with these bytes.
    Prefix(B),
    /// All keys that match this glob pattern.
    Pattern(B),
}

impl<B> Watched<B> {
    pub fn kind(&self) -> Kind {
        match self {
            Watched::Key(_) => Kind::Key,
            Watched::Prefix(_) => Kind::Prefix,
            Watched::Pattern(_) => Kind::Pattern,
        }
    }

    pub fn name(self) -> B {
        match self {
            Watched::Key(name) | Watched::Prefix(name) | Watched::Pattern(name) => name,
        }
    }
}

/// Which of the three ways of watching it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Key,
    Prefix,
    Pattern,
}

/// A key, a prefix or a pattern of one database, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub db: u32,
    pub kind: Kind,
    pub name: Blob,
}

impl Target {
    pub fn new(db: u32, watched: Watched<&[u8]>) -> Self {
        Target { db, kind: watched.kind(), name: Blob::new(watched.name()) }
    }

    /// Whether a write to this key concerns it.
    pub fn covers(&self, key: &[u8]) -> bool {
        match self.kind {
            Kind::Key => self.name.as_bytes() == key,
            Kind::Prefix => key.starts_with(&self.name),
            Kind::Pattern => vdr_commands::glob::matches(&self.name, key),
        }
    }
}

/// How a process watches.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub notify: Notify,
    /// Most events that may wait in the process's mailbox, at least 1; beyond them
    /// [`Event::Missed`] counts.
    pub max_pending: u32,
    /// Whether the process also hears [`Event::Link`].
    pub link: bool,
}

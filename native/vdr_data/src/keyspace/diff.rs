//! What differs between two states of one database.

use super::{Db, EntryRef};
use crate::blob::Blob;

/// What has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    /// Its value or its expiry is another.
    Changed,
    Removed,
}

impl Change {
    pub fn name(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Removed => "removed",
        }
    }
}

impl Db {
    /// What happened to the keys on the way to `new`, in key order. Keys past their time count until they are deleted.
    pub fn diff(&self, new: &Db) -> Vec<(Blob, Change)> {
        let mut changes: Vec<(Blob, Change)> = new
            .unshared(self)
            .filter_map(|entry| {
                let change = match self.get(entry.key()) {
                    None => Change::Added,
                    Some(old) if differ(old, entry) => Change::Changed,
                    Some(_) => return None,
                };
                Some((Blob::new(entry.key()), change))
            })
            .collect();
        let removed = self.unshared(new).filter(|entry| new.get(entry.key()).is_none());
        changes.extend(removed.map(|entry| (Blob::new(entry.key()), Change::Removed)));
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
    }
}

impl Db {
    /// Whether one of these keys may be another in `new`: judged by so many entries that may be, and surely when there are more.
    pub fn may_differ(&self, new: &Db, most: usize, of_these: impl Fn(&[u8]) -> bool) -> bool {
        let mut entries = new.unshared(self).chain(self.unshared(new));
        entries.by_ref().take(most).any(|entry| of_these(entry.key())) || entries.next().is_some()
    }
}

fn differ(old: EntryRef<'_>, new: EntryRef<'_>) -> bool {
    old.expiry() != new.expiry() || !old.value().equals(&new.value())
}

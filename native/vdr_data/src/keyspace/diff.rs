//! The difference between two versions of a database.

use super::db::Db;
use super::entry::EntryRef;
use crate::blob::Blob;

/// What happened to a key between two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    /// Its value or its expiry differs.
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
    /// The changes from this version to `new`, in byte order of keys. Expired keys count until they
    /// are deleted.
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

    /// Whether a key that `of_these` accepts may differ in `new`. Looks at no more than `most`
    /// entries; `true` if more differ.
    pub fn may_differ(&self, new: &Db, most: usize, of_these: impl Fn(&[u8]) -> bool) -> bool {
        let mut entries = new.unshared(self).chain(self.unshared(new));
        entries.by_ref().take(most).any(|entry| of_these(entry.key())) || entries.next().is_some()
    }
}

fn differ(old: EntryRef<'_>, new: EntryRef<'_>) -> bool {
    old.expiry() != new.expiry() || !old.value().equals(&new.value())
}

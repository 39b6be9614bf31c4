//! A primary that the tests of an application play: it sets the time, and hands over its data
//! without a file.

use super::{Loaded, Mirror};
use std::sync::Arc;
use vdr_data::keyspace::Keyspace;

impl Mirror {
    /// From now on readers and commands see this time; with `None`, the clock's.
    pub fn set_time(&mut self, time_ms: Option<i64>, now_ms: i64) {
        self.time_ms = time_ms;
        self.publisher.publish_again();
        self.tick(now_ms);
    }

    /// The time for commands and for what is published: the one that was set, or the clock's.
    pub(super) fn time_or(&self, clock_ms: i64) -> i64 {
        self.time_ms.unwrap_or(clock_ms)
    }

    /// A full sync of this data: what the filter keeps of it becomes visible as a whole.
    pub fn sync_data(&mut self, replication_id: &str, offset: u64, data: &Keyspace, now_ms: i64) {
        self.drop_full_sync();
        let keyspace = self.kept(data);
        let loaded = Loaded {
            keyspace,
            replication_id: Arc::from(replication_id),
            offset,
            db: 0,
            server: None,
            miscounted_streams: 0,
        };
        self.install(loaded, now_ms);
    }

    fn kept(&self, data: &Keyspace) -> Keyspace {
        let mut keyspace = data.clone();
        let Some(filter) = &self.filter else { return keyspace };
        for (index, db) in data.dbs() {
            for entry in db.iter().filter(|entry| !filter.keeps(index, entry.key(), entry.value().kind())) {
                keyspace.db_mut(index).remove(entry.key());
            }
        }
        keyspace
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::Filter;
    use crate::mirror::{Mirror, Shared};
    use crate::watch::{Event, Mailbox, Manner, Notify, Tag, Watched, Watcher};
    use bytes::BytesMut;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use vdr_data::expiry::Expiry;
    use vdr_data::keyspace::Keyspace;

    fn data(keys: &[&str]) -> Keyspace {
        let mut keyspace = Keyspace::default();
        for key in keys {
            keyspace.db_mut(0).insert_string(key.as_bytes(), b"1", Expiry::NEVER);
        }
        keyspace
    }

    fn keys(shared: &Shared, keys: &[&str]) -> Vec<bool> {
        let loaded = shared.live.load();
        let view = loaded.get().unwrap().view(0, 0);
        keys.iter().map(|key| view.entry(key.as_bytes()).is_some()).collect()
    }

    /// Counts Inits.
    struct Inits(Arc<AtomicUsize>);

    impl Mailbox for Inits {
        fn send(&self, _tag: Tag, event: &Event<'_>) {
            if matches!(event, Event::Init { .. }) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        fn sample(&self, _watcher: &Arc<Watcher>) {}
        fn serve_soon(&self, _watcher: &Arc<Watcher>) {}
        fn release(&self, _tag: Tag) {}
    }

    #[test]
    fn the_data_of_a_played_primary_is_a_full_sync_of_what_the_filter_keeps() {
        let shared = Shared::default();
        let filter = Filter::new(None, Some(vec![b"kept".to_vec()]), None);
        let mut mirror = Mirror::new(shared.clone(), None, Box::new(|_| ())).with_filter(filter);
        let inits = Arc::new(AtomicUsize::new(0));
        let watcher = shared.watches.watcher(1, Box::new(Inits(inits.clone())));
        let manner = Manner { notify: Notify::Command, max_pending: 10, link: false };
        shared.watches.add(0, Watched::Key(b"kept:1"), manner, &watcher, 0).unwrap();
        let data = data(&["kept:1", "left:1"]);
        mirror.sync_data("a", 7, &data, 0);
        assert_eq!(keys(&shared, &["kept:1", "left:1"]), [true, false]);
        assert_eq!(mirror.position(), Some((Arc::from("a"), 7)));
        assert_eq!(inits.load(Ordering::SeqCst), 1);
        mirror.stream(&mut BytesMut::from("*3\r\n$3\r\nSET\r\n$6\r\nkept:2\r\n$1\r\n2\r\n"), 0).unwrap();
        assert_eq!(keys(&shared, &["kept:1", "kept:2"]), [true, true]);
        // The primary's own data is as it was.
        assert_eq!(data.db(0).len(), 2);
    }

    #[test]
    fn readers_see_the_time_that_is_set_until_it_is_the_clocks_again() {
        let shared = Shared::default();
        let mut mirror = Mirror::new(shared.clone(), None, Box::new(|_| ()));
        mirror.sync_data("a", 0, &data(&["k"]), 0);
        mirror.stream(&mut BytesMut::from("*3\r\n$9\r\nPEXPIREAT\r\n$1\r\nk\r\n$3\r\n100\r\n"), 0).unwrap();
        // The clock says 0.
        assert_eq!(keys(&shared, &["k"]), [true]);
        mirror.set_time(Some(200), 0);
        assert_eq!(keys(&shared, &["k"]), [false]);
        mirror.set_time(Some(99), 0);
        assert_eq!(keys(&shared, &["k"]), [true]);
        mirror.set_time(Some(200), 0);
        mirror.set_time(None, 0);
        assert_eq!(keys(&shared, &["k"]), [true]);
    }
}

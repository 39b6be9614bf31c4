//! A mirror and its link, and nothing else.

use crate::tape::Tape;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vdr_data::digest::{Dialect, digest};
use vdr_link::{LinkConfig, LinkHandle, MirrorSink, now_ms};
use vdr_replica::live::Snapshot;
use vdr_replica::mirror::{Mirror, Shared};

pub struct Mirrored {
    pub shared: Shared,
    mirror: Arc<Mutex<Mirror>>,
}

impl Mirrored {
    pub fn new() -> Self {
        let shared = Shared::default();
        let mirror = Mirror::new(shared.clone(), None, Box::new(drop));
        Mirrored { shared, mirror: Arc::new(Mutex::new(mirror)) }
    }

    pub fn attach(&self, config: LinkConfig, tape: &Tape) -> LinkHandle {
        vdr_link::spawn(config, MirrorSink::new(self.mirror.clone(), ()), tape.watcher()).unwrap()
    }

    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.shared.live.snapshot()
    }

    /// The position from which the next link would resume.
    pub fn position(&self) -> Option<(String, u64)> {
        self.mirror.lock().position().map(|(id, offset)| (id.to_string(), offset))
    }

    pub fn keys(&self) -> Option<usize> {
        self.snapshot().map(|snapshot| snapshot.keyspace.db(0).len())
    }

    pub fn offset(&self) -> Option<u64> {
        self.snapshot().map(|snapshot| snapshot.offset)
    }

    pub fn string(&self, key: &str) -> Option<String> {
        let snapshot = self.snapshot()?;
        let value = snapshot.view(0, now_ms()).string(key.as_bytes()).unwrap()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// Waits until everything up to `offset` is visible. Returns the visible offset, and the digest
    /// at it.
    pub fn digest_from(&self, offset: u64, dialect: Dialect, patience: Duration) -> (u64, String) {
        let deadline = Instant::now() + patience;
        loop {
            match self.snapshot() {
                Some(snapshot) if snapshot.offset >= offset => {
                    let digest = digest(&snapshot.keyspace, dialect, now_ms()).unwrap();
                    return (snapshot.offset, digest.to_string());
                }
                seen => assert!(Instant::now() < deadline, "still at {:?}", seen.map(|snapshot| snapshot.offset)),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

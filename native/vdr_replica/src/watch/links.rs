//! The watches that also hear of the link: whether one streams.

use super::watcher::Watch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// How many watches are taken at once under the lock that adds and removes them.
const AT_ONCE: usize = 1000;

#[derive(Default)]
pub(super) struct Links {
    up: Arc<AtomicBool>,
    /// The link that streams. Also keeps two changes from being sent at once.
    streaming: Mutex<Option<u64>>,
    /// By address.
    watches: Mutex<BTreeMap<usize, Weak<Watch>>>,
}

impl Links {
    /// Whether a link streams.
    pub(super) fn up(&self) -> Arc<AtomicBool> {
        self.up.clone()
    }

    pub(super) fn add(&self, watch: &Arc<Watch>) {
        self.watches.lock().insert(watch.address(), Arc::downgrade(watch));
        // From the thread that sends: this one may be the VM's.
        watch.watcher().serve_link(watch);
    }

    pub(super) fn remove(&self, watch: &Arc<Watch>) {
        self.watches.lock().remove(&watch.address());
    }

    pub(super) fn link_up(&self, link: u64) {
        let mut streaming = self.streaming.lock();
        // Its predecessor may not have ended yet.
        if streaming.is_some() {
            self.change(false);
        }
        *streaming = Some(link);
        self.change(true);
    }

    pub(super) fn link_down(&self, link: u64) {
        let mut streaming = self.streaming.lock();
        if *streaming == Some(link) {
            *streaming = None;
            self.change(false);
        }
    }

    fn change(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
        let mut from = Bound::Unbounded;
        loop {
            let watches = self.watches.lock();
            let some: Vec<(usize, Weak<Watch>)> = watches
                .range((from, Bound::Unbounded))
                .take(AT_ONCE)
                .map(|(key, watch)| (*key, watch.clone()))
                .collect();
            drop(watches);
            let Some((last, _)) = some.last() else { return };
            from = Bound::Excluded(*last);
            some.iter().filter_map(|(_, watch)| watch.upgrade()).for_each(|watch| watch.deliver_link());
        }
    }
}

//! Observers of one link: they maintain the status of the link's slot and send messages to the
//! process that keeps the link.

use crate::link_slot::LinkSlot;
use crate::recipient::Recipient;
use crate::store::Inner;
use crate::terms;
use crate::terms::FeedConfig;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vdr_link::{Endpoint, LinkEnd, LinkState, MirrorHooks, MirrorSink, Observer, Role};
use vdr_replica::mirror::Mirror;
use vdr_replica::watch::Watches;

/// Reports the state of one link to the slot and to the process.
pub struct LinkObserver {
    slot: Arc<LinkSlot>,
    link: u64,
    recipient: Arc<Recipient>,
    /// Those of an instance also hear of the link.
    watches: Option<Arc<Watches>>,
}

impl LinkObserver {
    /// The observer of a new link, which is the current one from now on.
    pub fn new(slot: Arc<LinkSlot>, recipient: Recipient, watches: Option<Arc<Watches>>) -> Self {
        let link = slot.begin();
        LinkObserver { slot, link, recipient: Arc::new(recipient), watches }
    }

    pub fn link(&self) -> u64 {
        self.link
    }

    pub fn feed(&self, inner: Arc<Inner>, endpoint: Endpoint, config: FeedConfig) -> MirrorSink {
        let sent_given_up = inner.shared.status.guard_windows_given_up.load(Ordering::Relaxed);
        let mirror = inner.mirror.clone();
        let events = MirrorEvents {
            inner,
            endpoint,
            link: self.link,
            recipient: self.recipient.clone(),
            sent_ready: false,
            sent_given_up,
            sent_unknown: HashSet::new(),
            config,
        };
        MirrorSink::new(mirror, events)
    }
}

impl Observer for LinkObserver {
    fn state(&self, state: LinkState) {
        self.slot.set_state(self.link, Some(state));
        if self.slot.is_current(self.link) {
            self.recipient.send(|env| terms::link_state(env, state));
            if state == LinkState::Streaming {
                self.watches.iter().for_each(|watches| watches.link_up(self.link));
            }
        }
    }

    fn role(&self, role: Role) {
        if self.slot.is_current(self.link) {
            self.slot.status.set_role(Some(role));
        }
    }

    fn received(&self, _bytes: usize) {
        if self.slot.is_current(self.link) {
            self.slot.status.received();
        }
    }

    fn ended(&self, end: &LinkEnd) {
        self.slot.set_state(self.link, None);
        self.watches.iter().for_each(|watches| watches.link_down(self.link));
        self.recipient.send(|env| terms::link_end(env, end));
    }
}

/// Sends the events of the mirror that a link feeds.
struct MirrorEvents {
    inner: Arc<Inner>,
    endpoint: Endpoint,
    link: u64,
    recipient: Arc<Recipient>,
    sent_ready: bool,
    /// The number of given up guard windows that were sent.
    sent_given_up: u64,
    /// The unknown commands that were sent. The mirror bounds the number of names.
    sent_unknown: HashSet<String>,
    config: FeedConfig,
}

impl MirrorEvents {
    fn send_given_up(&mut self) {
        let given_up = self.inner.shared.status.guard_windows_given_up.load(Ordering::Relaxed);
        if given_up != self.sent_given_up {
            self.sent_given_up = given_up;
            self.recipient.send(terms::guard_given_up);
        }
    }

    fn send_ready(&mut self) {
        if !self.sent_ready && self.inner.shared.live.load().get().is_some() {
            self.sent_ready = true;
            // A process that reads upon this message must not be refused.
            if self.is_current() {
                self.inner.slot.status.freshness().renew();
            }
            self.recipient.send(terms::ready);
        }
    }

    /// Sends each name once, so that logging needs no look at the counters.
    fn send_unknown(&mut self) {
        let unknown = self.inner.shared.status.unknown_commands.lock();
        if unknown.len() > self.sent_unknown.len() {
            let new: Vec<String> = unknown.keys().filter(|name| !self.sent_unknown.contains(*name)).cloned().collect();
            drop(unknown);
            for name in new {
                self.recipient.send(|env| terms::unknown_command(env, &name));
                self.sent_unknown.insert(name);
            }
        }
    }
}

impl MirrorHooks for MirrorEvents {
    fn is_current(&self) -> bool {
        self.inner.slot.is_current(self.link)
    }

    fn before_feed(&self, mirror: &mut Mirror) {
        mirror.set_on_unknown(self.config.on_unknown);
        mirror.set_keep_below(self.config.keep_below);
        mirror.set_string_limit(|limit| limit.give(self.config.string_bytes_max));
        let before = self.inner.followed.lock().replace(self.endpoint.clone());
        if before.as_ref() != Some(&self.endpoint) {
            mirror.change_server();
        }
    }

    fn after_feed(&mut self) {
        self.send_unknown();
        self.send_given_up();
        if !self.inner.shared.status.guard_windows_closed.is_empty() {
            self.inner.notices.note();
        }
        self.send_ready();
    }
}

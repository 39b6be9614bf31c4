//! The spans of a connection: the handshake, and the sync behind it. A span that ends before its
//! phase is done says so.

use crate::endpoint::Endpoint;
use tracing::field::Empty;
use tracing::{Span, debug_span};

pub struct PhaseSpan {
    span: Span,
    file_bytes: Option<u64>,
    outcome: &'static str,
}

impl PhaseSpan {
    pub fn handshake(instance: u64, server: &Endpoint) -> Self {
        PhaseSpan::new(debug_span!("handshake", vdr = instance, %server, outcome = Empty))
    }

    /// `start` is the position that the primary names; where it names none, only the file has it.
    pub fn full_sync(instance: u64, by_disk: bool, start: Option<(&str, u64)>) -> Self {
        let (replication_id, offset) = start.unzip();
        let (vdr, by) = (instance, if by_disk { "disk" } else { "socket" });
        let span = debug_span!("full sync", vdr, replication_id, offset, by, file_bytes = Empty, outcome = Empty);
        let mut phase = PhaseSpan::new(span);
        phase.file_bytes = Some(0);
        phase
    }

    pub fn partial_sync(instance: u64, replication_id: &str, offset: u64) -> Self {
        PhaseSpan::new(debug_span!("partial sync", vdr = instance, replication_id, offset, outcome = Empty))
    }

    fn new(span: Span) -> Self {
        PhaseSpan { span, file_bytes: None, outcome: "broken off" }
    }

    /// So many more bytes of the file are loaded.
    pub fn loaded(&mut self, bytes: usize) {
        self.file_bytes = self.file_bytes.map(|before| before.saturating_add(bytes as u64));
    }

    pub fn done(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for PhaseSpan {
    fn drop(&mut self) {
        if let Some(bytes) = self.file_bytes {
            self.span.record("file_bytes", bytes);
        }
        self.span.record("outcome", self.outcome);
    }
}

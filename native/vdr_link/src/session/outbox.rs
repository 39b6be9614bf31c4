//! The output buffer: output waits here until the primary accepts it, so that reading never waits
//! for writing.

use crate::wire::BoxedWire;
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::Instant;

pub struct Outbox {
    writer: WriteHalf<BoxedWire>,
    bytes: BytesMut,
    flushed: bool,
    /// Since when the primary has accepted nothing, while there is output.
    pub stuck_since: Option<Instant>,
}

impl Outbox {
    pub fn new(writer: WriteHalf<BoxedWire>) -> Self {
        Outbox { writer, bytes: BytesMut::new(), flushed: true, stuck_since: None }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.stuck_since.get_or_insert_with(Instant::now);
        self.bytes.extend_from_slice(bytes);
        self.flushed = false;
    }

    /// The primary has accepted all output.
    pub fn is_empty(&self) -> bool {
        self.flushed
    }

    /// Extends the write deadline by a time in which the link was busy elsewhere.
    pub fn extend_deadline(&mut self, busy: Duration) {
        self.stuck_since = self.stuck_since.map(|since| since.checked_add(busy).unwrap_or(since));
    }

    /// Writes until nothing is left. Nothing is lost or sent twice when the future is dropped.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.bytes.is_empty() {
            if self.writer.write_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.stuck_since = Some(Instant::now());
        }
        self.writer.flush().await?;
        self.flushed = true;
        self.stuck_since = None;
        Ok(())
    }
}

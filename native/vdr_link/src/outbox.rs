//! Writing: what we say to the primary waits here until it takes it, so that reading never waits for writing.

use crate::transport::BoxedWire;
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::Instant;

pub struct Outbox {
    writer: WriteHalf<BoxedWire>,
    bytes: BytesMut,
    flushed: bool,
    /// Since when the primary has taken nothing, while there is something to take.
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

    /// Everything said so far has been taken.
    pub fn is_empty(&self) -> bool {
        self.flushed
    }

    /// We were busy elsewhere for so long: that is not the primary's fault.
    pub fn forgive(&mut self, busy: Duration) {
        self.stuck_since = self.stuck_since.map(|since| since.checked_add(busy).unwrap_or(since));
    }

    /// Writes until nothing is left. Nothing is lost or said twice when the future is dropped.
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

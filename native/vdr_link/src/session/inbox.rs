//! The input buffer: one turn of reading takes all bytes that the socket has, up to a batch.

use crate::wire::BoxedWire;
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, ReadHalf};

/// The most bytes per turn. It bounds how long one turn occupies the thread.
const BATCH_BYTES_MAX: usize = 1 << 20;

const READ_BYTES_MIN: usize = 64 << 10;

/// After this much silence a large buffer is freed.
const QUIET: Duration = Duration::from_millis(500);

pub struct Inbox {
    reader: ReadHalf<BoxedWire>,
    pub input: BytesMut,
    read_bytes: usize,
    /// The start of the current silence.
    quiet_since: Option<Instant>,
    /// An error that came after bytes, which are handed on first.
    failed: Option<io::Error>,
}

impl Inbox {
    pub fn new(reader: ReadHalf<BoxedWire>) -> Self {
        Inbox { reader, input: BytesMut::new(), read_bytes: READ_BYTES_MIN, quiet_since: None, failed: None }
    }

    /// Waits for bytes, then takes all that are available. Zero: the peer closed. Nothing is lost
    /// when the future is dropped.
    pub async fn fill(&mut self) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.shrink();
        self.input.reserve(self.read_bytes);
        self.quiet_since.get_or_insert_with(Instant::now);
        let mut total = self.reader.read_buf(&mut self.input).await?;
        self.quiet_since = None;
        let mut last = total;
        while last > 0 && total < BATCH_BYTES_MAX {
            if self.input.capacity() == self.input.len() {
                self.read_bytes = self.read_bytes.saturating_mul(2).min(BATCH_BYTES_MAX);
                self.input.reserve(self.read_bytes);
            }
            last = self.read_now().await;
            total = total.saturating_add(last);
        }
        Ok(total)
    }

    /// Takes the available bytes without waiting. A closed socket is seen again in the next turn;
    /// an error may not be, so it is kept.
    async fn read_now(&mut self) -> usize {
        let mut read = pin!(self.reader.read_buf(&mut self.input));
        poll_fn(|context| {
            Poll::Ready(match read.as_mut().poll(context) {
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error);
                    0
                }
                Poll::Pending => 0,
            })
        })
        .await
    }

    /// Frees a buffer that one large command, or a full sync, has made large. `fill` is called
    /// again at least whenever the link acknowledges, by default each second, so a silence is
    /// noticed.
    fn shrink(&mut self) {
        let is_quiet = self.quiet_since.is_some_and(|since| since.elapsed() >= QUIET);
        let most = if is_quiet { READ_BYTES_MIN } else { BATCH_BYTES_MAX };
        if self.input.is_empty() && self.input.capacity() > most.saturating_mul(2) {
            self.input = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    /// A wait that is broken off.
    async fn wait(inbox: &mut Inbox) {
        assert!(timeout(Duration::from_millis(20), inbox.fill()).await.is_err());
    }

    #[tokio::test]
    async fn the_buffer_of_a_quiet_link_goes_back_and_nothing_that_came_is_lost() {
        let (near, mut far) = tokio::io::duplex(4 << 20);
        let mut inbox = Inbox::new(tokio::io::split(Box::new(near) as BoxedWire).0);
        for rest in [0, 1] {
            far.write_all(&vec![b'x'; 3 << 20]).await.unwrap();
            while inbox.input.len() < 3 << 20 {
                inbox.fill().await.unwrap();
            }
            let _applied = inbox.input.split_to(inbox.input.len() - rest);
            drop(_applied);
            wait(&mut inbox).await;
            assert!(inbox.input.capacity() > 2 * READ_BYTES_MIN, "not at once");
            tokio::time::sleep(QUIET).await;
            wait(&mut inbox).await;
            assert_eq!(inbox.input.len(), rest);
            if rest == 0 {
                assert!(inbox.input.capacity() <= 2 * READ_BYTES_MIN, "{}", inbox.input.capacity());
            }
        }
        far.write_all(b"y").await.unwrap();
        assert_eq!(inbox.fill().await.unwrap(), 1);
        assert_eq!(&inbox.input[..], b"xy");
    }
}

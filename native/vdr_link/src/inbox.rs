//! Reading: one turn takes what the socket has, up to a batch, into one growing buffer.

use crate::transport::BoxedWire;
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, ReadHalf};

/// The most that one turn brings, which is how long it holds the thread.
const BATCH_BYTES_MAX: usize = 1 << 20;

const READ_BYTES_MIN: usize = 64 << 10;

pub struct Inbox {
    reader: ReadHalf<BoxedWire>,
    pub input: BytesMut,
    read_bytes: usize,
    /// Nothing has come since somebody began to wait.
    in_vain: bool,
    /// Came behind bytes that were handed on first.
    failed: Option<io::Error>,
}

impl Inbox {
    pub fn new(reader: ReadHalf<BoxedWire>) -> Self {
        Inbox { reader, input: BytesMut::new(), read_bytes: READ_BYTES_MIN, in_vain: false, failed: None }
    }

    /// Waits for bytes, then takes all that is there. Zero: the peer closed. Nothing is lost when the future is dropped.
    pub async fn fill(&mut self) -> io::Result<usize> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.give_back();
        self.input.reserve(self.read_bytes);
        self.in_vain = true;
        let mut total = self.reader.read_buf(&mut self.input).await?;
        self.in_vain = false;
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

    /// What is there without waiting. An end shows itself again at the next turn; an error may not and is kept.
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

    /// After one large command, or a full sync, the buffer need not stay large for the rest of the link's life: at most it takes two
    /// batches, and where nothing came until the wait was broken off, which a link does once a second, hardly any.
    fn give_back(&mut self) {
        let most = if self.in_vain { READ_BYTES_MIN } else { BATCH_BYTES_MAX };
        if self.input.is_empty() && self.input.capacity() > most.saturating_mul(2) {
            self.input = BytesMut::new();
            self.read_bytes = READ_BYTES_MIN;
        }
    }
}

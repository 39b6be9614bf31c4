//! The output buffer: output waits here until the primary accepts it, so that reading never waits
//! for writing.
//!
//! While the sink computes, the link's thread sends nothing, and a primary drops a replica that
//! says nothing for `repl-timeout`. So a task on the shared threads sends a sign of life then: a
//! newline, which primaries take as one and which no offset counts.

use crate::runtime::{boxed, runtime};
use crate::wire::BoxedWire;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// How often a link gives a sign of life while it loads a file or its sink computes.
pub const SIGN_INTERVAL: Duration = Duration::from_secs(1);

/// A computation this long is one during which signs of life are needed.
const LONG: Duration = Duration::from_millis(500);

const SIGN: &[u8] = b"\n";

pub struct Outbox {
    output: Arc<Mutex<Output>>,
    flushed: bool,
    signs: Option<AbortHandle>,
}

struct Output {
    /// `None`: the link is over, and the socket is to be closed at once.
    writer: Option<WriteHalf<BoxedWire>>,
    bytes: BytesMut,
    /// Since when the primary has accepted nothing, while there is output.
    stuck_since: Option<Instant>,
    /// Since when the link's thread has been computing.
    computing_since: Option<Instant>,
}

impl Outbox {
    pub fn new(writer: WriteHalf<BoxedWire>) -> Self {
        let output = Output { writer: Some(writer), bytes: BytesMut::new(), stuck_since: None, computing_since: None };
        Outbox { output: Arc::new(Mutex::new(output)), flushed: true, signs: None }
    }

    /// From now on there are signs of life while the sink computes: the primary knows the link as a
    /// replica.
    pub fn give_signs(&mut self) {
        if self.signs.is_none()
            && let Ok(runtime) = runtime()
        {
            self.signs = Some(runtime.spawn(boxed(give_signs(self.output.clone()))).abort_handle());
        }
    }

    /// The link's thread begins to compute, and cannot write until [`Outbox::computed`].
    pub fn compute(&self) {
        self.output.lock().computing_since = Some(Instant::now());
    }

    /// The write deadline is extended by the time of the computation.
    pub fn computed(&mut self) {
        let mut output = self.output.lock();
        if let Some(since) = output.computing_since.take() {
            let busy = since.elapsed();
            output.stuck_since = output.stuck_since.map(|stuck| stuck.checked_add(busy).unwrap_or(stuck));
        }
        // A sign may be left to write.
        self.flushed &= output.stuck_since.is_none();
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.output.lock().push(bytes);
        self.flushed = false;
    }

    /// The primary has accepted all output.
    pub fn is_empty(&self) -> bool {
        self.flushed
    }

    pub fn stuck_since(&self) -> Option<Instant> {
        self.output.lock().stuck_since
    }

    /// Writes until nothing is left. Nothing is lost or sent twice when the future is dropped.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.output.lock().poll_flush(context)).await?;
        self.output.lock().stuck_since = None;
        self.flushed = true;
        Ok(())
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.signs.iter().for_each(AbortHandle::abort);
        self.output.lock().writer = None;
    }
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        self.stuck_since.get_or_insert_with(Instant::now);
        self.bytes.extend_from_slice(bytes);
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        while !self.bytes.is_empty() {
            match ready!(Pin::new(&mut *writer).poll_write(context, &self.bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.bytes.advance(written),
            }
            self.stuck_since = Some(Instant::now());
        }
        Pin::new(writer).poll_flush(context)
    }
}

/// Runs until it is aborted, or the link is over. What it cannot write waits for the link, which
/// also notices the errors that it leaves.
async fn give_signs(output: Arc<Mutex<Output>>) {
    loop {
        sleep(SIGN_INTERVAL).await;
        let goes_on = poll_fn(|context| {
            let mut output = output.lock();
            if output.computing_since.is_some_and(|since| since.elapsed() >= LONG) {
                // While the primary has not accepted the previous output, another sign adds
                // nothing.
                if output.bytes.is_empty() {
                    output.push(SIGN);
                }
                let _left_to_the_link = output.poll_flush(context);
            }
            Poll::Ready(output.writer.is_some())
        });
        if !goes_on.await {
            return;
        }
    }
}

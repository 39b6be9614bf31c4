//! A link on a thread of its own. The link reads, applies and acknowledges there, so a command that
//! takes seconds delays this link only; and what it applies goes from the socket's buffer into the
//! data without a change of threads.

use crate::config::LinkConfig;
use crate::end::{Cause, LinkEnd};
use crate::observer::Observer;
use crate::runtime::{catch_panic, runtime};
use crate::session::Session;
use crate::sink::Sink;
use crate::state::LinkState;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::runtime::Builder;
use tokio::sync::watch;

/// A running link. Dropping it stops the link.
#[derive(Debug)]
pub struct LinkHandle {
    stop: watch::Sender<bool>,
}

impl LinkHandle {
    /// Asks the link to end; the observer is called when it has. May be called any number of times,
    /// in any state, from any thread.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The link has ended, and its observer was called.
    pub fn is_over(&self) -> bool {
        self.stop.is_closed()
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a link. Fails only where the system has no threads, or no descriptors, left.
pub fn spawn(config: LinkConfig, sink: impl Sink, observer: impl Observer) -> io::Result<LinkHandle> {
    start(config, Box::new(sink), Box::new(observer))
}

fn start(config: LinkConfig, sink: Box<dyn Sink>, observer: Box<dyn Observer>) -> io::Result<LinkHandle> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    // The link needs the shared threads, too: whoever starts it hears of it if there are none.
    runtime()?;
    let (stop, stopped) = watch::channel(false);
    let waits = Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new()
        .name(format!("vdr-link-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
        .spawn(move || waits.block_on(live(config, sink, observer, stopped)))?;
    Ok(LinkHandle { stop })
}

async fn live(
    config: LinkConfig,
    mut sink: Box<dyn Sink>,
    observer: Box<dyn Observer>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut state = LinkState::Init;
    let cause = {
        let session = pin!(Session::run(&config, &mut *sink, &*observer, &mut state));
        tokio::select! {
            biased;
            // An error means that the handle was dropped, which stops the link too.
            _ = stopped.wait_for(|stop| *stop) => Cause::Stopped,
            cause = catch_panic(session) => cause.unwrap_or(Cause::Panicked),
        }
    };
    // From here on the socket is closed. A panic in these calls can only be logged.
    let _ = catch_unwind(AssertUnwindSafe(move || {
        sink.ended();
        drop(sink);
    }));
    let end = LinkEnd { endpoint: config.endpoint, state, cause };
    // Without the details, which may quote what the server sent. The observer has them.
    tracing::debug!(
        vdr = config.instance,
        code = end.code(),
        state = end.state.as_str(),
        "link to {} ended",
        end.endpoint
    );
    let _ = catch_unwind(AssertUnwindSafe(|| observer.ended(&end)));
}

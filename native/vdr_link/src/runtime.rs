//! The tokio runtime of the library, and the task of a link on it.

use crate::config::LinkConfig;
use crate::end::{Cause, LinkEnd};
use crate::observer::Observer;
use crate::session::Session;
use crate::sink::Sink;
use crate::state::LinkState;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Links wait far more than they compute.
const WORKERS_MAX: usize = 4;

/// Threads for name resolution and for reading certificates. Each serves one link at a time.
const RESOLVERS_MAX: usize = 16;
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_secs(5);

pub fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let workers = available_parallelism().map_or(1, usize::from).clamp(1, WORKERS_MAX);
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(RESOLVERS_MAX)
        .thread_keep_alive(RESOLVER_KEEP_ALIVE)
        .thread_name_fn(|| format!("vdr-link-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
        .enable_io()
        .enable_time()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Runs a short job on a thread of the library, soon.
pub fn run_soon(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    runtime()?.spawn(async { job() });
    Ok(())
}

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

/// Starts a link. Fails only where the system has no threads left.
pub fn spawn<S: Sink, O: Observer>(config: LinkConfig, sink: S, observer: O) -> io::Result<LinkHandle> {
    let (stop, stopped) = watch::channel(false);
    runtime()?.spawn(live(config, sink, observer, stopped));
    Ok(LinkHandle { stop })
}

async fn live<S: Sink, O: Observer>(config: LinkConfig, mut sink: S, observer: O, mut stopped: watch::Receiver<bool>) {
    let mut state = LinkState::Init;
    let cause = {
        let session = pin!(Session::run(&config, &mut sink, &observer, &mut state));
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
    tracing::info!(vdr = config.label, code = end.code(), "link ended: {end}");
    let _ = catch_unwind(AssertUnwindSafe(|| observer.ended(&end)));
}

/// Polls a future to its end. None: it panicked.
pub async fn catch_panic<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

//! The tokio runtime that all links share, for what waits and does not compute: Sentinel's
//! monitors, clients' connections, signs of life, and jobs that block.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Nothing on these threads computes for long. Half of the cores at most: a worker that begins to
/// work wakes another one to look for more, which on two cores costs a round trip a fifth.
const WORKERS_MAX: usize = 2;

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
    let workers = (available_parallelism().map_or(1, usize::from) / 2).clamp(1, WORKERS_MAX);
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(RESOLVERS_MAX)
        .thread_keep_alive(RESOLVER_KEEP_ALIVE)
        .thread_name_fn(|| format!("vdr-io-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
        .enable_io()
        .enable_time()
        .build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// A future of any kind.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A future of any kind as one type. The code of a tokio task is compiled for each type of future,
/// and for each of the schedulers. So what is spawned once per connection or more seldom is boxed.
pub fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    Box::pin(future)
}

/// Runs a short job on a thread of the library, soon.
pub fn run_soon(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    runtime()?.spawn(boxed(async { job() }));
    Ok(())
}

/// Runs a job that may block on one of the shared threads for such jobs.
pub async fn block<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    runtime()?.spawn_blocking(job).await.map_err(io::Error::other)
}

/// Polls a future to its end. None: it panicked.
pub async fn catch_panic<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

//! Deferred drops: large values are freed on a thread of our own, so that no scheduler of the BEAM
//! walks millions of nodes.
//!
//! Nothing here ever blocks a caller. The queue is bounded by backpressure on the writers: while
//! the dropper is far behind, [`drop_replaced`] frees in the writer's own time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// A job waits this long before it runs. A quick read on a scheduler has let go of its snapshot by
/// then, so that the dropper is the last holder.
const GRACE: Duration = Duration::from_millis(20);

/// After this long without a job, the dropper tidies up.
const IDLE: Duration = Duration::from_millis(200);

/// With jobs all the time, it tidies up this often.
const BUSY: Duration = Duration::from_secs(1);

/// The dropper is behind when its oldest job has waited this long.
const BEHIND: Duration = Duration::from_secs(1);

/// A job answers whether it is done. If not, it runs again later.
type Job = Box<dyn FnMut() -> bool + Send>;

/// Frees memory that is kept for reuse and was kept long enough.
static TIDY: OnceLock<fn()> = OnceLock::new();

static DROPPER: LazyLock<Option<Arc<Dropper>>> = LazyLock::new(|| Dropper::start(BEHIND));

/// Makes the dropper call `tidy` now and then when there were jobs. The first function stays.
pub fn tidy_by(tidy: fn()) {
    let _first = TIDY.set(tidy);
}

/// Runs `job` later, on the dropper's thread.
pub fn run(job: impl FnOnce() + Send + 'static) {
    let mut job = Some(job);
    run_when(move || {
        if let Some(job) = job.take() {
            job();
        }
        true
    });
}

/// Runs `job` later, on the dropper's thread, until it answers `true`. The job must not block: it
/// tries a lock and is tried again, while the dropper goes on with other jobs.
pub fn run_when(mut job: impl FnMut() -> bool + Send + 'static) {
    match &*DROPPER {
        Some(dropper) => dropper.push(Box::new(job)),
        // The system has no thread for us: this is the only place left.
        None => {
            while !job() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Drops a value later, on the dropper's thread.
pub fn defer_drop<T: Send + 'static>(value: T) {
    run(move || drop(value));
}

/// Drops a reference to a shared value: later, if it is the last one.
pub fn release<T: Send + 'static>(shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        defer_drop(last);
    }
}

/// For a writer: drops what it has replaced, later. While the dropper is behind, `drop_unheld`
/// drops it here and now, unless a reader holds it. So a writer cannot produce garbage faster than
/// it is freed.
pub fn drop_replaced<G: Send + 'static>(garbage: G, drop_unheld: impl FnOnce(G) -> Result<(), G>) {
    match &*DROPPER {
        Some(dropper) => dropper.drop_replaced(garbage, drop_unheld),
        None => drop(garbage),
    }
}

struct Dropper {
    queue: Mutex<Queue>,
    arrived: Condvar,
    behind: Duration,
}

#[derive(Default)]
struct Queue {
    /// With the time of their arrival, oldest first.
    jobs: VecDeque<(Instant, Job)>,
    /// The arrival of the running job.
    running: Option<Instant>,
}

impl Dropper {
    fn start(behind: Duration) -> Option<Arc<Self>> {
        let dropper = Arc::new(Dropper { queue: Mutex::default(), arrived: Condvar::new(), behind });
        let worker = dropper.clone();
        Builder::new().name("vdr_dropper".into()).spawn(move || worker.work()).ok()?;
        Some(dropper)
    }

    /// No user code runs under the lock, so a poisoned queue is whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.queue().jobs.push_back((Instant::now(), job));
        self.arrived.notify_one();
    }

    fn is_behind(&self) -> bool {
        let queue = self.queue();
        let oldest = queue.running.or_else(|| queue.jobs.front().map(|(since, _)| *since));
        oldest.is_some_and(|since| since.elapsed() >= self.behind)
    }

    fn drop_replaced<G: Send + 'static>(&self, garbage: G, drop_unheld: impl FnOnce(G) -> Result<(), G>) {
        let garbage = if self.is_behind() { drop_unheld(garbage) } else { Err(garbage) };
        if let Err(held) = garbage {
            let mut held = Some(held);
            self.push(Box::new(move || {
                drop(held.take());
                true
            }));
        }
    }

    fn work(&self) {
        let mut tidied = Instant::now();
        let mut untidy = false;
        loop {
            let Some((since, mut job)) = self.next(untidy) else {
                tidy();
                (untidy, tidied) = (false, Instant::now());
                continue;
            };
            untidy = true;
            thread::sleep(GRACE.saturating_sub(since.elapsed()));
            // A job that panics is dropped: its remains may leak, but the thread goes on.
            let done = catch_unwind(AssertUnwindSafe(&mut job)).unwrap_or(true);
            if !done {
                self.push(job);
            } else if catch_unwind(AssertUnwindSafe(move || drop(job))).is_err() {
                continue;
            }
            if tidied.elapsed() >= BUSY {
                tidy();
                tidied = Instant::now();
            }
        }
    }

    /// The next job. `None`: there was something to tidy up after, and for a while no job came.
    fn next(&self, untidy: bool) -> Option<(Instant, Job)> {
        let mut queue = self.queue();
        queue.running = None;
        loop {
            if let Some((since, job)) = queue.jobs.pop_front() {
                queue.running = Some(since);
                return Some((since, job));
            }
            if !untidy {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.arrived.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            if waited.1.timed_out() && queue.jobs.is_empty() {
                return None;
            }
        }
    }
}

fn tidy() {
    if let Some(tidy) = TIDY.get() {
        tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Reports the thread on which it is dropped.
    struct Reports(Sender<Option<String>>);

    impl Drop for Reports {
        fn drop(&mut self) {
            let _nobody_waits = self.0.send(thread::current().name().map(str::to_owned));
        }
    }

    fn once(job: impl FnOnce() + Send + 'static) -> Job {
        let mut job = Some(job);
        Box::new(move || {
            job.take().into_iter().for_each(|job| job());
            true
        })
    }

    #[test]
    fn a_panic_in_a_job_or_in_its_drop_ends_neither_the_thread_nor_the_other_jobs() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a value whose drop panics");
            }
        }
        let (dropper, (send, receive)) = (Dropper::start(BEHIND).unwrap(), channel());
        dropper.push(once(|| panic!("a job that panics")));
        dropper.push(once(|| drop(Bomb)));
        let kept = Bomb;
        dropper.push(Box::new(move || {
            let _kept_until_the_job_is_dropped = &kept;
            true
        }));
        dropper.push(once(move || drop(Reports(send))));
        assert_eq!(receive.recv_timeout(PATIENCE).unwrap().as_deref(), Some("vdr_dropper"));
    }

    #[test]
    fn a_job_that_is_not_done_is_tried_again_and_holds_up_no_other() {
        let (dropper, (send, receive)) = (Dropper::start(BEHIND).unwrap(), channel());
        let busy = Arc::new(AtomicBool::new(true));
        let (is_busy, done) = (busy.clone(), Reports(send.clone()));
        let mut done = Some(done);
        dropper.push(Box::new(move || {
            let free = !is_busy.load(Ordering::SeqCst);
            drop(done.take_if(|_| free));
            free
        }));
        let (other, other_done) = channel();
        dropper.push(once(move || drop(Reports(other))));
        assert!(other_done.recv_timeout(PATIENCE).is_ok());
        assert!(receive.try_recv().is_err());
        busy.store(false, Ordering::SeqCst);
        assert!(receive.recv_timeout(PATIENCE).is_ok());
    }

    #[test]
    fn a_writer_frees_by_itself_while_the_dropper_is_behind_and_only_then() {
        let (dropper, (send, receive)) = (Dropper::start(Duration::from_millis(50)).unwrap(), channel());
        let dropped_by = |receive: &std::sync::mpsc::Receiver<_>| receive.recv_timeout(PATIENCE).unwrap();
        let drop_replaced =
            |shared: Arc<Reports>| dropper.drop_replaced(shared, |shared| Arc::try_unwrap(shared).map(drop));
        drop_replaced(Arc::new(Reports(send.clone())));
        assert_eq!(dropped_by(&receive).as_deref(), Some("vdr_dropper"));
        // A job that takes until we say so.
        let (resume, wait) = channel::<()>();
        dropper.push(once(move || {
            let _resumed = wait.recv();
        }));
        thread::sleep(Duration::from_millis(200));
        let (shared, own) = (Arc::new(Reports(send.clone())), Arc::new(Reports(send)));
        drop_replaced(shared.clone());
        drop_replaced(own);
        assert_eq!(dropped_by(&receive), thread::current().name().map(str::to_owned));
        // A reader holds the other one, so it was left to the dropper.
        drop(shared);
        drop(resume);
        assert_eq!(dropped_by(&receive).as_deref(), Some("vdr_dropper"));
    }
}

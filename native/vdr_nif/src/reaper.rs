//! Where large things go to be freed: a thread of our own, so that no scheduler of the BEAM walks millions of nodes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// How long the reaper waits before it frees something. A quick read on a scheduler that is still at it has let go by
/// then, so that the last one to hold a snapshot is the reaper.
const GRACE: Duration = Duration::from_millis(20);

/// So long without a job, and it is time to tidy up.
const IDLE: Duration = Duration::from_millis(200);

/// And so long with jobs all the time.
const BUSY: Duration = Duration::from_secs(1);

/// A job, and when it came.
type Due = (Instant, Box<dyn FnOnce() + Send>);

/// What there is to do after freeing: memory that is kept to be used again has been kept long enough.
static TIDY: OnceLock<fn()> = OnceLock::new();

static REAPER: OnceLock<Option<Sender<Due>>> = OnceLock::new();

/// Has this done now and then, when there were jobs. To be called once.
pub fn tidy_by(tidy: fn()) {
    let _only = TIDY.set(tidy);
}

/// Does `job` later, elsewhere. Never blocks.
pub fn run(job: impl FnOnce() + Send + 'static) {
    let reaper = REAPER.get_or_init(|| {
        let (sender, receiver) = channel();
        Builder::new().name("vdr_reaper".into()).spawn(move || work(&receiver)).ok().map(|_| sender)
    });
    match reaper {
        // An error would be that the thread is gone; what comes back is then dropped here, which is all that is left.
        Some(reaper) => drop(reaper.send((Instant::now(), Box::new(job)))),
        None => job(),
    }
}

/// Frees `remains` later, elsewhere.
pub fn bury<T: Send + 'static>(remains: T) {
    run(move || drop(remains));
}

/// Lets go of what others may hold too, and buries it when nobody does. Who was one of several keeps none of it waiting.
pub fn release<T: Send + 'static>(shared: Arc<T>) {
    if let Some(last) = Arc::into_inner(shared) {
        bury(last);
    }
}

fn work(jobs: &Receiver<Due>) {
    while let Ok(first) = jobs.recv() {
        let (mut next, mut tidied) = (Some(first), Instant::now());
        while let Some((since, job)) = next {
            thread::sleep(GRACE.saturating_sub(since.elapsed()));
            job();
            if tidied.elapsed() >= BUSY {
                tidy();
                tidied = Instant::now();
            }
            next = jobs.recv_timeout(IDLE).ok();
        }
        tidy();
    }
}

fn tidy() {
    if let Some(tidy) = TIDY.get() {
        tidy();
    }
}

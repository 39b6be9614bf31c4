//! Where large things go to be freed: a thread of our own, so that no scheduler of the BEAM walks millions of nodes.

use crate::home;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

/// How long the reaper waits before it frees something. A quick read on a scheduler that is still at it has let go by
/// then, so that the last one to hold a snapshot is the reaper.
const GRACE: Duration = Duration::from_millis(20);

/// How often what is kept to be used again is given up.
const TICK: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

static REAPER: OnceLock<Option<Sender<(Instant, Job)>>> = OnceLock::new();

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

fn work(jobs: &Receiver<(Instant, Job)>) {
    let mut ticked = Instant::now();
    loop {
        match jobs.recv_timeout(TICK) {
            Ok((since, job)) => {
                sleep(GRACE.saturating_sub(since.elapsed()));
                job();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if ticked.elapsed() >= TICK {
            home::give_up_spare();
            ticked = Instant::now();
        }
    }
}

//! Where large things go to be freed: a thread of our own, so that no scheduler of the BEAM walks millions of nodes.

use crate::{allocator, home};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// How long the reaper waits before it frees something. A quick read on a scheduler that is still at it has let go by
/// then, so that the last one to hold a snapshot is the reaper.
const GRACE: Duration = Duration::from_millis(20);

/// So long without a job, and the memory that is cached for this thread goes back.
const IDLE: Duration = Duration::from_millis(200);

/// How often what is kept to be used again is given up.
const TICK: Duration = Duration::from_secs(1);

/// A job, and when it came.
type Due = (Instant, Box<dyn FnOnce() + Send>);

static REAPER: OnceLock<Option<Sender<Due>>> = OnceLock::new();

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

fn work(jobs: &Receiver<Due>) {
    let (mut busy, mut given_up) = (false, Instant::now());
    loop {
        match jobs.recv_timeout(if busy { IDLE } else { TICK }) {
            Ok((since, job)) => {
                thread::sleep(GRACE.saturating_sub(since.elapsed()));
                job();
                busy = true;
            }
            Err(RecvTimeoutError::Timeout) => {
                if busy {
                    allocator::give_back();
                }
                busy = false;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if given_up.elapsed() >= TICK {
            home::give_up_spare();
            given_up = Instant::now();
        }
    }
}

//! Threads for scripts that take their time: as many as the machine has processors, started when they are needed.
//!
//! No scheduler of the BEAM is theirs, a dirty one neither: a few scripts of seconds would keep every large read of every
//! process, and much else that the VM does on dirty schedulers, waiting. Jobs are done in the order in which they came.

use crate::reaper;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::thread::{Builder, available_parallelism};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Pool {
    work: Mutex<Work>,
    arrived: Condvar,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// The system has no thread for us.
pub struct NoThread;

/// Does `job` on a thread of the pool, as soon as one has time. Never blocks. On an error `job` is dropped elsewhere.
pub fn run(job: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
    let mut work = POOL.work.lock();
    work.jobs.push_back(Box::new(job));
    if work.jobs.len() > work.idle && work.threads < available_parallelism().map_or(1, usize::from) {
        match Builder::new().name("vdr_script".into()).spawn(|| POOL.serve()) {
            Ok(_) => work.threads += 1,
            Err(_) if work.threads == 0 => {
                work.jobs.drain(..).for_each(reaper::bury);
                return Err(NoThread);
            }
            Err(_) => {}
        }
    }
    drop(work);
    POOL.arrived.notify_one();
    Ok(())
}

impl Pool {
    fn serve(&self) {
        let mut work = self.work.lock();
        loop {
            if let Some(job) = work.jobs.pop_front() {
                drop(work);
                // A job that panics has told so when it was dropped.
                let _panicked = catch_unwind(AssertUnwindSafe(job));
                work = self.work.lock();
            } else {
                work.idle += 1;
                self.arrived.wait(&mut work);
                work.idle -= 1;
            }
        }
    }
}

//! A thread pool for long scripts: at most as many threads as the machine has processors, started
//! on demand.
//!
//! Scripts do not run on schedulers of the BEAM, not even on dirty ones. A few scripts of seconds
//! each would delay every large read of every process, and much else that the VM does there. Jobs
//! run in the order of their arrival.

use crate::dropper;
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

/// Runs `job` on a thread of the pool, as soon as one is free. Never blocks. On an error the
/// dropper drops `job`.
pub fn run(job: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
    let mut work = POOL.work.lock();
    work.jobs.push_back(Box::new(job));
    if work.jobs.len() > work.idle && work.threads < available_parallelism().map_or(1, usize::from) {
        match Builder::new().name("vdr_script".into()).spawn(|| POOL.serve()) {
            Ok(_) => work.threads += 1,
            Err(_) if work.threads == 0 => {
                work.jobs.drain(..).for_each(dropper::defer_drop);
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
                // A job that panics has answered its caller when it was dropped.
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

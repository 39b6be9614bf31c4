//! Thread pools: at most as many threads in each as the machine has processors, started on demand.
//! Jobs run in the order of their arrival.

use crate::dropper;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::thread::{Builder, available_parallelism};

type Job = Box<dyn FnOnce() + Send>;

pub struct Pool {
    /// Of its threads.
    name: &'static str,
    work: Mutex<Work>,
    arrived: Condvar,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// For long scripts. Scripts do not run on schedulers of the BEAM, not even on dirty ones. A few
/// scripts of seconds each would delay every large read of every process, and much else that the VM
/// does there.
#[cfg(feature = "lua")]
pub static SCRIPTS: LazyLock<Pool> = LazyLock::new(|| Pool::new("vdr_script"));

/// For links without a network: only threads that are not the VM's can send messages.
pub static FEEDS: LazyLock<Pool> = LazyLock::new(|| Pool::new("vdr_feed"));

/// The system has no thread for us.
pub struct NoThread;

impl Pool {
    fn new(name: &'static str) -> Self {
        Pool { name, work: Mutex::default(), arrived: Condvar::new() }
    }

    /// Runs `job` on a thread of the pool, as soon as one is free. Never blocks. On an error the
    /// dropper drops `job`.
    pub fn run(&'static self, job: impl FnOnce() + Send + 'static) -> Result<(), NoThread> {
        self.run_boxed(Box::new(job))
    }

    fn run_boxed(&'static self, job: Job) -> Result<(), NoThread> {
        let mut work = self.work.lock();
        work.jobs.push_back(job);
        if work.jobs.len() > work.idle && work.threads < available_parallelism().map_or(1, usize::from) {
            match Builder::new().name(self.name.into()).spawn(|| self.serve()) {
                Ok(_) => work.threads += 1,
                Err(_) if work.threads == 0 => {
                    work.jobs.drain(..).for_each(dropper::defer_drop);
                    return Err(NoThread);
                }
                Err(_) => {}
            }
        }
        drop(work);
        self.arrived.notify_one();
        Ok(())
    }

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

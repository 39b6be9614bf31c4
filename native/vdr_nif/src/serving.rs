//! The thread that serves lagging watchers. Their events come from threads that are not the VM's,
//! all of them: the VM keeps the order of messages only among senders of one kind.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::thread::Builder;
use vdr_replica::watch::Watcher;

#[derive(Default)]
struct Queue {
    watchers: Mutex<VecDeque<Arc<Watcher>>>,
    arrived: Condvar,
}

/// `None`: the system has no thread for us.
static SERVING: LazyLock<Option<Arc<Queue>>> = LazyLock::new(|| {
    let queue = Arc::new(Queue::default());
    let worker = queue.clone();
    Builder::new().name("vdr_watchers".into()).spawn(move || worker.work()).ok()?;
    Some(queue)
});

/// Calls [`Watcher::serve`] soon. Never blocks. Each watcher is in the queue once at most.
pub fn serve(watcher: Arc<Watcher>) {
    if let Some(queue) = &*SERVING {
        queue.watchers.lock().push_back(watcher);
        queue.arrived.notify_one();
    }
}

impl Queue {
    fn work(&self) {
        let mut watchers = self.watchers.lock();
        loop {
            match watchers.pop_front() {
                Some(watcher) => {
                    drop(watchers);
                    // After a panic it is served again, with an Init for what was lost.
                    let _panicked = catch_unwind(AssertUnwindSafe(|| watcher.serve()));
                    drop(watcher);
                    watchers = self.watchers.lock();
                }
                None => self.arrived.wait(&mut watchers),
            }
        }
    }
}

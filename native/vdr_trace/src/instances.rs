//! The instances whose events are heard. An event names one by its number, which is never used
//! again.

use crate::level::{Levels, Rank};
use crate::queue::{Entry, Line, Queue};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// Tells the process of an instance that there are lines. Is called by the thread of an event, so
/// it must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub struct Instances {
    open: RwLock<HashMap<u64, Weak<Instance>>>,
    last: AtomicU64,
    levels: Levels,
}

impl Instances {
    /// A new instance. It wants nothing until its level is set.
    pub fn open(self: &Arc<Self>) -> Arc<Instance> {
        let number = self.last.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let instance = Arc::new(Instance {
            number,
            level: Rank::default(),
            queue: Mutex::default(),
            is_woken: AtomicBool::new(false),
            wake: Mutex::default(),
            all: self.clone(),
        });
        self.open.write().insert(number, Arc::downgrade(&instance));
        instance
    }

    /// The highest level that an instance wants.
    pub(crate) fn highest(&self) -> &Rank {
        self.levels.highest()
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Instance>> {
        self.open.read().get(&number)?.upgrade()
    }
}

/// One instance of the library: its level, and the lines that wait.
pub struct Instance {
    number: u64,
    level: Rank,
    queue: Mutex<Queue>,
    /// The process was woken and has not found the queue empty since.
    is_woken: AtomicBool,
    wake: Mutex<Option<Wake>>,
    all: Arc<Instances>,
}

impl Instance {
    /// The value of the field `vdr` in events of this instance.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn level(&self) -> LevelFilter {
        self.level.filter()
    }

    pub fn set_level(&self, level: LevelFilter) {
        let before = self.level.set(level);
        self.all.levels.change(before, level);
    }

    /// From now on `wake` is called when lines come. What waits already is for the caller to take.
    pub fn wake_by(&self, wake: Wake) {
        *self.wake.lock() = Some(wake);
        self.is_woken.store(false, Ordering::SeqCst);
    }

    /// At most `max` entries, the oldest first. When there are none, the next line wakes.
    pub fn take(&self, max: usize) -> Vec<Entry> {
        let mut queue = self.queue.lock();
        let taken = queue.take(max);
        if taken.is_empty() {
            self.is_woken.store(false, Ordering::SeqCst);
        }
        taken
    }

    pub(crate) fn wants(&self, level: &Level) -> bool {
        self.level.wants(level)
    }

    pub(crate) fn push(&self, line: Line) {
        self.queue.lock().push(line);
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            let wake = self.wake.lock().clone();
            wake.iter().for_each(|wake| wake());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.all.open.write().remove(&self.number);
        self.set_level(LevelFilter::OFF);
    }
}

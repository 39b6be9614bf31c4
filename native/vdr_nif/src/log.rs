//! The log of an instance or a handler: its level, and the lines that wait for the process that
//! passes them on to the Logger.

use crate::recipient::Recipient;
use rustler::{Encoder, Env, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use vdr_trace::{Entry, Instance, LevelFilter};

mod atoms {
    rustler::atoms! { lines }
}

/// How many lines the process takes at once.
const TAKE_MAX: usize = 100;

pub struct Log {
    /// As `Vdr.Log` counts levels: 0 is none at all, 8 is `:debug`, 9 is `:trace`.
    level: AtomicU8,
    instance: Arc<Instance>,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: AtomicU8::new(0), instance: vdr_trace::instances().open() }
    }
}

impl Log {
    /// By this number events name the instance.
    pub fn number(&self) -> u64 {
        self.instance.number()
    }

    pub fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    pub fn set_level(&self, level: u8) {
        self.level.store(level, Ordering::Relaxed);
        self.instance.set_level(match level {
            0..=3 => LevelFilter::OFF,
            4 => LevelFilter::ERROR,
            5 | 6 => LevelFilter::WARN,
            7 => LevelFilter::INFO,
            8 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        });
    }

    /// From now on this process is told when there are lines, once until it has taken all of them.
    pub fn listen(&self, recipient: Recipient) {
        let recipient = Arc::new(recipient);
        self.instance.wake_by(Arc::new(move || {
            let recipient = recipient.clone();
            // An event may come from a thread of the VM, which cannot send this way.
            let _no_thread = vdr_link::run_soon(move || recipient.send(lines));
        }));
    }

    pub fn take(&self) -> Vec<Entry> {
        self.instance.take(TAKE_MAX)
    }
}

fn lines(env: Env<'_>) -> Term<'_> {
    atoms::lines().encode(env)
}

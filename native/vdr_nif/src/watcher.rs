//! Watching processes: who they are, and how they are told.

use crate::terms;
use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::sys::ErlNifTerm;
use rustler::{Encoder, Env, LocalPid, Monitor, OwnedEnv, Term};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use vdr_replica::watch::{Event, Owner, WatchError, Watched, Watcher, Watches};

thread_local! {
    /// Messages are made here: one environment for each thread that sends, used again and again.
    static MESSAGES: RefCell<OwnedEnv> = RefCell::new(OwnedEnv::new());
}

/// A process and a term of its own by which it knows our messages: `{tag, payload}`.
pub struct Recipient {
    pid: LocalPid,
    /// The term and where it lives, which is not for two threads at once.
    tag: Mutex<(OwnedEnv, SavedTerm)>,
}

impl Recipient {
    pub fn new(pid: LocalPid, tag: Term<'_>) -> Self {
        let home = OwnedEnv::new();
        let tag = home.run(|env| home.save(tag.in_env(env)));
        Recipient { pid, tag: Mutex::new((home, tag)) }
    }

    /// Sends `{tag, payload}`. Only for threads that are not the VM's own, where sending is something else.
    pub fn send(&self, payload: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        MESSAGES.with_borrow_mut(|messages| {
            // An error is that the process is gone; its monitor tells us so.
            let _gone = messages.send_and_clear(&self.pid, |env| {
                let home = self.tag.lock();
                let tag = home.0.run(|env_of_tag| home.1.load(env_of_tag).in_env(env));
                (tag, payload(env)).encode(env)
            });
        });
    }
}

impl Watcher for Recipient {
    fn notify(&self, event: &Event) {
        self.send(|env| terms::event(env, event));
    }
}

/// A process that watches.
struct Process {
    owner: Owner,
    watches: usize,
    monitor: Monitor,
}

/// The watching processes of one instance, by their pids: a local pid is a number to us.
#[derive(Default)]
pub struct Processes {
    last: Owner,
    by_pid: HashMap<ErlNifTerm, Process, foldhash::fast::RandomState>,
}

impl Processes {
    /// Adds a watch; `monitor` is asked for the first one of a process, and has no answer when the process is gone.
    pub fn watch(
        &mut self,
        watches: &Watches,
        (db, watched): (u32, Watched<&[u8]>),
        pid: Term<'_>,
        recipient: Recipient,
        monitor: impl FnOnce() -> Option<Monitor>,
    ) -> Result<(), WatchError> {
        let known = self.by_pid.get_mut(&pid.as_c_arg());
        if let Some(process) = known {
            watches.add(db, watched, process.owner, Arc::new(recipient))?;
            process.watches += 1;
            return Ok(());
        }
        let monitor = monitor().ok_or(WatchError::NotFound)?;
        self.last += 1;
        watches.add(db, watched, self.last, Arc::new(recipient))?;
        self.by_pid.insert(pid.as_c_arg(), Process { owner: self.last, watches: 1, monitor });
        Ok(())
    }

    /// Removes a watch; answers the monitor of a process that watches nothing any more.
    pub fn unwatch(
        &mut self,
        watches: &Watches,
        (db, watched): (u32, Watched<&[u8]>),
        pid: Term<'_>,
    ) -> Result<Option<Monitor>, WatchError> {
        let process = self.by_pid.get_mut(&pid.as_c_arg()).ok_or(WatchError::NotFound)?;
        watches.remove(db, watched, process.owner)?;
        process.watches -= 1;
        if process.watches > 0 {
            return Ok(None);
        }
        Ok(self.by_pid.remove(&pid.as_c_arg()).map(|process| process.monitor))
    }

    /// Forgets a process that is gone, if this was its monitor: its watches are left to be removed.
    pub fn gone(&mut self, pid: Term<'_>, monitor: Monitor) -> Option<Owner> {
        let ours = self.by_pid.get(&pid.as_c_arg())?.monitor == monitor;
        if ours { self.by_pid.remove(&pid.as_c_arg()).map(|process| process.owner) } else { None }
    }
}

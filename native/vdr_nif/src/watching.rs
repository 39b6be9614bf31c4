//! Watching processes.

use crate::recipient::Recipient;
use crate::terms;
use rustler::sys::ErlNifTerm;
use rustler::{Monitor, Term};
use std::collections::HashMap;
use std::sync::Arc;
use vdr_replica::watch::{Event, Owner, WatchError, Watched, Watcher, Watches};

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

/// The watching processes of one instance, by pid: the term of a local pid is a number.
#[derive(Default)]
pub struct Processes {
    last: Owner,
    by_pid: HashMap<ErlNifTerm, Process, foldhash::fast::RandomState>,
}

impl Processes {
    /// Adds a watch. Calls `monitor` for the first watch of a process; its answer is `None` when
    /// the process is gone.
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

    /// Removes a watch. Answers the monitor when it was the last watch of the process.
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

    /// Forgets a process that is gone, if this was its monitor. The caller removes its watches.
    pub fn remove_dead(&mut self, pid: Term<'_>, monitor: Monitor) -> Option<Owner> {
        let ours = self.by_pid.get(&pid.as_c_arg())?.monitor == monitor;
        if ours { self.by_pid.remove(&pid.as_c_arg()).map(|process| process.owner) } else { None }
    }
}

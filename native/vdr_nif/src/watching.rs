//! Watching processes.

use crate::notices::Notices;
use crate::recipient;
use crate::sampling;
use crate::serving;
use crate::tags::Tags;
use crate::terms;
use rustler::sys::ErlNifTerm;
use rustler::types::atom;
use rustler::{Encoder, LocalPid, Monitor, Term};
use std::collections::HashMap;
use std::sync::Arc;
use vdr_replica::watch::{Event, Mailbox, Manner, Owner, Tag, WatchError, Watched, Watcher, Watches};

/// The mailbox of a process of the VM.
struct ProcessMailbox {
    pid: LocalPid,
    tags: Arc<Tags>,
    notices: Arc<Notices>,
}

impl Mailbox for ProcessMailbox {
    fn send(&self, tag: Tag, event: &Event<'_>) {
        recipient::send_event(&self.pid, event.bytes(), |env| {
            // It is there: a tag is released only when the watch has gone that sends this.
            let tag = self.tags.load(tag, env).unwrap_or_else(|| atom::nil().to_term(env));
            (tag, terms::event(env, event)).encode(env)
        });
        if let Event::Missed { count, .. } = event {
            self.notices.note_missed(*count);
        }
    }

    fn sample(&self, watcher: &Arc<Watcher>) {
        sampling::ask(self.pid, watcher);
    }

    fn serve_soon(&self, watcher: &Arc<Watcher>) {
        serving::serve(watcher.clone());
    }

    fn release(&self, tag: Tag) {
        self.tags.release(tag);
    }
}

/// A process that watches.
struct Process {
    watcher: Arc<Watcher>,
    tags: Arc<Tags>,
    watches: usize,
    monitor: Monitor,
}

/// The watching processes of one instance, by pid: the term of a local pid is a number.
#[derive(Default)]
pub struct Processes {
    last: Owner,
    by_pid: HashMap<ErlNifTerm, Process, foldhash::fast::RandomState>,
}

/// What a process watches, and how.
pub struct Wish<'w> {
    pub db: u32,
    pub watched: Watched<&'w [u8]>,
    pub manner: Manner,
    /// The process acknowledges its events.
    pub acknowledges: bool,
    pub tag: Term<'w>,
}

impl Processes {
    /// Adds a watch. Calls `monitor` for the first watch of a process; its answer is `None` when
    /// the process is gone.
    pub fn watch(
        &mut self,
        (watches, notices): (&Watches, &Arc<Notices>),
        wish: &Wish<'_>,
        pid: Term<'_>,
        local: LocalPid,
        monitor: impl FnOnce() -> Option<Monitor>,
    ) -> Result<(), WatchError> {
        let add = |watcher: &Arc<Watcher>, tags: &Tags| {
            if wish.acknowledges {
                watcher.set_acknowledges();
            }
            watches.add(wish.db, wish.watched, wish.manner, watcher, tags.keep(wish.tag)).map(drop)
        };
        let known = self.by_pid.get_mut(&pid.as_c_arg());
        if let Some(process) = known {
            add(&process.watcher, &process.tags)?;
            process.watches += 1;
            return Ok(());
        }
        let monitor = monitor().ok_or(WatchError::NotFound)?;
        self.last += 1;
        let tags = Arc::new(Tags::default());
        let mailbox = ProcessMailbox { pid: local, tags: tags.clone(), notices: notices.clone() };
        let watcher = watches.watcher(self.last, Box::new(mailbox));
        add(&watcher, &tags)?;
        self.by_pid.insert(pid.as_c_arg(), Process { watcher, tags, watches: 1, monitor });
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
        watches.remove(db, watched, &process.watcher)?;
        process.watches -= 1;
        if process.watches > 0 {
            return Ok(None);
        }
        Ok(self.by_pid.remove(&pid.as_c_arg()).map(|process| process.monitor))
    }

    pub fn watcher(&self, pid: Term<'_>) -> Option<Arc<Watcher>> {
        self.by_pid.get(&pid.as_c_arg()).map(|process| process.watcher.clone())
    }

    /// Forgets a process that is gone, if this was its monitor. The caller removes its watches.
    pub fn remove_dead(&mut self, pid: Term<'_>, monitor: Monitor) -> Option<Arc<Watcher>> {
        let ours = self.by_pid.get(&pid.as_c_arg())?.monitor == monitor;
        if ours { self.by_pid.remove(&pid.as_c_arg()).map(|process| process.watcher) } else { None }
    }
}

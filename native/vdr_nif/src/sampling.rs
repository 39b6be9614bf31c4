//! Looks at the mailboxes of watching processes. Only a process of the VM can take one, so there is
//! one for it (`Vdr.Watch.Sampler`): it is woken, takes the list of what to look at, and answers
//! for each.

use crate::recipient;
use parking_lot::Mutex;
use rustler::{Encoder, LocalPid};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use vdr_replica::watch::Watcher;

mod atoms {
    rustler::atoms! { sample }
}

/// The looks that watchers wait for, each under a number.
static LOOKS: Mutex<Looks> = Mutex::new(Looks { sampler: None, last: 0, woken: false, by_number: BTreeMap::new() });

struct Looks {
    sampler: Option<LocalPid>,
    last: u64,
    /// The sampler was woken and has not come yet.
    woken: bool,
    by_number: BTreeMap<u64, Look>,
}

struct Look {
    pid: LocalPid,
    watcher: Weak<Watcher>,
    taken: bool,
}

/// The process that looks. What its predecessor had taken is to be done again.
pub fn set_sampler(pid: LocalPid) {
    let mut looks = LOOKS.lock();
    looks.sampler = Some(pid);
    looks.woken = false;
    looks.by_number.values_mut().for_each(|look| look.taken = false);
}

/// Asks for a look at a process's mailbox. Not for threads of the VM.
pub fn ask(pid: LocalPid, watcher: &Arc<Watcher>) {
    let mut looks = LOOKS.lock();
    looks.last += 1;
    let number = looks.last;
    looks.by_number.insert(number, Look { pid, watcher: Arc::downgrade(watcher), taken: false });
    if !std::mem::replace(&mut looks.woken, true)
        && let Some(sampler) = &looks.sampler
    {
        recipient::send(sampler, |env| atoms::sample().encode(env));
    }
}

/// The processes to look at that were not taken yet, each with the number of its look.
pub fn take() -> Vec<(LocalPid, u64)> {
    let mut looks = LOOKS.lock();
    looks.woken = false;
    looks.by_number.retain(|_, look| look.watcher.strong_count() > 0);
    let untaken = looks.by_number.iter_mut().filter(|(_, look)| !look.taken);
    untaken
        .map(|(number, look)| {
            look.taken = true;
            (look.pid, *number)
        })
        .collect()
}

/// The watcher that waits for a look.
pub fn watcher(number: u64) -> Option<Arc<Watcher>> {
    LOOKS.lock().by_number.get(&number)?.watcher.upgrade()
}

/// The look was enough.
pub fn done(number: u64) {
    LOOKS.lock().by_number.remove(&number);
}

//! Messages to processes.

use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};
use std::cell::RefCell;

thread_local! {
    /// Messages are built here: one environment for each sending thread, reused.
    static MESSAGES: RefCell<OwnedEnv> = RefCell::new(OwnedEnv::new());

    static COPIED: RefCell<Copied> = RefCell::default();
}

/// Messages that were sent as copies stay where they were built, up to about so many bytes. To free
/// each one alone takes a tenth of the time of sending it. A longer message is not copied.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// About how much memory a message takes besides its bytes.
const STRUCTURE_BYTES: usize = 400;

#[derive(Default)]
struct Copied {
    messages: OwnedEnv,
    bytes: usize,
}

/// A process, and the tag by which it recognises our messages: `{tag, payload}`.
pub struct Recipient {
    pid: LocalPid,
    /// The term and its environment, which two threads must not use at once.
    tag: Mutex<(OwnedEnv, SavedTerm)>,
}

impl Recipient {
    pub fn new(pid: LocalPid, tag: Term<'_>) -> Self {
        let env_of_tag = OwnedEnv::new();
        let tag = env_of_tag.run(|env| env_of_tag.save(tag.in_env(env)));
        Recipient { pid, tag: Mutex::new((env_of_tag, tag)) }
    }

    /// Sends `{tag, payload}`. Not for threads of the VM: there this way of sending panics.
    pub fn send(&self, payload: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        send(&self.pid, |env| {
            let saved = self.tag.lock();
            let tag = saved.0.run(|of_tag| saved.1.load(of_tag).in_env(env));
            (tag, payload(env)).encode(env)
        });
    }
}

/// Sends a message that has about so many bytes besides its structure; `None`: any number. Not for
/// threads of the VM.
///
/// A short message is sent as a copy. Otherwise it takes the memory of its environment along, which
/// is 1.6 KB at least, and the process keeps that until it collects its garbage.
pub fn send_event(pid: &LocalPid, bytes: Option<usize>, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
    let Some(bytes) = bytes.filter(|bytes| *bytes < COPIED_BYTES_MAX) else { return send(pid, message) };
    COPIED.with_borrow_mut(|copied| {
        // An error means that the process is gone, which its monitor reports.
        let _gone = copied.messages.run(|env| env.send(pid, message(env)));
        copied.bytes += bytes + STRUCTURE_BYTES;
        if copied.bytes >= COPIED_BYTES_MAX {
            copied.messages.clear();
            copied.bytes = 0;
        }
    });
}

/// Sends a message. Not for threads of the VM.
pub fn send(pid: &LocalPid, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
    MESSAGES.with_borrow_mut(|messages| {
        // An error means that the process is gone, which its monitor reports.
        let _gone = messages.send_and_clear(pid, message);
    });
}

//! Messages to processes.

use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};
use std::cell::RefCell;

thread_local! {
    /// Messages are built here: one environment for each sending thread, reused.
    static MESSAGES: RefCell<OwnedEnv> = RefCell::new(OwnedEnv::new());
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

/// Sends a message. Not for threads of the VM.
pub fn send(pid: &LocalPid, message: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
    MESSAGES.with_borrow_mut(|messages| {
        // An error means that the process is gone, which its monitor reports.
        let _gone = messages.send_and_clear(pid, message);
    });
}

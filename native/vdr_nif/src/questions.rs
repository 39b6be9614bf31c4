//! Questions that only a function of the user's can answer: a password, or a host. The process of
//! the link is asked by a message, and answers by a NIF.

use crate::recipient::Recipient;
use crate::terms;
use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::sync::oneshot;
use vdr_link::{Answers, BoxFuture, Question};

/// The process of a link, which runs the user's functions.
pub struct LinkProcess {
    pub recipient: Recipient,
    questions: Mutex<Questions>,
}

/// The questions that the process has not answered.
#[derive(Default)]
struct Questions {
    last: u64,
    pending: HashMap<u64, oneshot::Sender<Option<Vec<u8>>>>,
}

impl Questions {
    fn open(&mut self) -> (u64, oneshot::Receiver<Option<Vec<u8>>>) {
        // Nobody waits any longer for the answers to some.
        self.pending.retain(|_, answer| !answer.is_closed());
        self.last += 1;
        let (sender, receiver) = oneshot::channel();
        self.pending.insert(self.last, sender);
        (self.last, receiver)
    }
}

impl LinkProcess {
    pub fn new(recipient: Recipient) -> Self {
        LinkProcess { recipient, questions: Mutex::default() }
    }

    /// The answer to a question. None: the user's function failed.
    pub fn answer(&self, number: u64, answer: Option<Vec<u8>>) {
        if let Some(waiting) = self.questions.lock().pending.remove(&number) {
            let _no_longer_awaited = waiting.send(answer);
        }
    }
}

impl Answers for LinkProcess {
    fn ask(&self, question: Question) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let (number, answer) = self.questions.lock().open();
            self.recipient.send(|env| terms::question(env, number, &question));
            answer.await.ok()?
        })
    }
}

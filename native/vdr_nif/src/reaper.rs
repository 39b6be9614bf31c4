//! Where large things go to be freed: a thread of our own, so that no scheduler of the BEAM walks millions of nodes.

use std::any::Any;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;

type Remains = Box<dyn Any + Send>;

static REAPER: OnceLock<Option<Sender<Remains>>> = OnceLock::new();

/// Frees `remains` later, elsewhere. Never blocks.
pub fn bury<T: Send + 'static>(remains: T) {
    let reaper = REAPER.get_or_init(|| {
        let (sender, receiver) = channel::<Remains>();
        let thread = Builder::new().name("vdr_reaper".into());
        thread.spawn(move || receiver.into_iter().for_each(drop)).ok().map(|_| sender)
    });
    if let Some(reaper) = reaper {
        // When it cannot be sent the thread is gone, and freeing it here is all that is left to do.
        drop(reaper.send(Box::new(remains)));
    }
}

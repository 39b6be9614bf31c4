//! One connection of a pool, and how it is opened again. Calls wait for it as long as their callers
//! do; only a server that refuses for good is answered at once.

use super::call::{Answer, Stage};
use super::primary::{self, NotOpened, Opened};
use super::request::Request;
use super::serving::{Ended, Serving};
use super::state::{LaneKey, PoolShared, PoolState};
use crate::endpoint::Endpoint;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// The delay after the first failed attempt, and the longest; each failure doubles it.
const DELAY_MIN: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_secs(1);

/// How long a final refusal of the server answers further calls.
const REFUSAL_KEPT: Duration = Duration::from_secs(1);

pub async fn run(shared: Arc<PoolShared>, key: LaneKey, inbox: mpsc::UnboundedReceiver<Request>) {
    let target = shared.target();
    Lane { shared, key, inbox, target, queue: VecDeque::new() }.run().await;
}

struct Lane {
    shared: Arc<PoolShared>,
    key: LaneKey,
    inbox: mpsc::UnboundedReceiver<Request>,
    target: watch::Receiver<Option<Endpoint>>,
    /// The calls that are to be sent, oldest first.
    queue: VecDeque<Request>,
}

/// The pool is gone.
struct Closed;

impl Lane {
    async fn run(mut self) {
        loop {
            if self.queue.is_empty() {
                let Some(request) = self.inbox.recv().await else { return };
                self.queue.push_back(request);
            }
            match self.connect().await {
                Err(Closed) => return,
                Ok(None) => {}
                Ok(Some(Err(refusal))) => return self.refuse(refusal).await,
                Ok(Some(Ok((opened, doubts)))) => {
                    let silence = self.shared.config.silence;
                    let waiters = self.shared.waiters.clone();
                    if let Some((id, (former, shared))) = opened.id.as_ref().zip(opened.former.as_ref()) {
                        waiters.visible().learn(id, former, *shared);
                    }
                    let state = if opened.id.is_some() { PoolState::Ready } else { PoolState::NoOffset };
                    self.shared.set_state(state, None);
                    let serving = Serving::new(opened, doubts, waiters, silence);
                    match serving.run(&mut self.inbox, &mut self.target, &mut self.queue).await {
                        Ended::PoolClosed => return,
                        Ended::Left => {}
                        Ended::Lost(code, detail) => {
                            let vdr = self.shared.config.instance;
                            tracing::warn!(vdr, code, "a connection for commands ended: {detail}");
                            self.shared.set_state(PoolState::Down, Some(code));
                        }
                    }
                }
            }
        }
    }

    /// Connects, as often as it takes, while somebody waits. None: nobody waits any more.
    async fn connect(&mut self) -> Result<Option<Result<(Opened, u64), NotOpened>>, Closed> {
        let mut delay = DELAY_MIN;
        loop {
            self.queue.retain(|request| request.call.is_awaited());
            if self.queue.is_empty() {
                return Ok(None);
            }
            let Some(server) = self.target.borrow_and_update().clone() else {
                self.wait(Duration::MAX).await?;
                continue;
            };
            let doubts = self.shared.waiters.visible().doubts();
            match self.attempt(server).await? {
                // The link follows another server meanwhile.
                None => {}
                Some(Ok(opened)) => return Ok(Some(Ok((opened, doubts)))),
                Some(Err(error)) if error.is_final => return Ok(Some(Err(error))),
                Some(Err(error)) => {
                    let vdr = self.shared.config.instance;
                    tracing::debug!(vdr, code = error.code, "no connection for commands: {}", error.detail);
                    self.shared.set_state(PoolState::Down, Some(error.code));
                    self.wait(delay).await?;
                    delay = delay.saturating_mul(2).min(DELAY_MAX);
                }
            }
        }
    }

    /// One attempt. None: it was broken off, since the link follows another server.
    async fn attempt(&mut self, server: Endpoint) -> Result<Option<Result<Opened, NotOpened>>, Closed> {
        let shared = self.shared.clone();
        let config = &shared.config;
        let mut opening = pin!(primary::open(&config.access, &config.host_map, &*shared.owner, server, self.key.db));
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(Some(opened)),
                request = self.inbox.recv() => self.queue.push_back(request.ok_or(Closed)?),
                changed = self.target.changed() => {
                    changed.map_err(|_| Closed)?;
                    return Ok(None);
                }
            }
        }
    }

    /// Waits, but not when the link follows another server.
    async fn wait(&mut self, delay: Duration) -> Result<(), Closed> {
        let mut waiting = pin!(sleep(delay.min(crate::deadline::WAIT_MAX)));
        loop {
            tokio::select! {
                () = &mut waiting => return Ok(()),
                request = self.inbox.recv() => self.queue.push_back(request.ok_or(Closed)?),
                changed = self.target.changed() => return changed.map_err(|_| Closed),
            }
        }
    }

    /// Answers all calls with the refusal, for a while, so that a server that refuses is not asked
    /// by every call.
    async fn refuse(mut self, refusal: NotOpened) {
        let (vdr, code) = (self.shared.config.instance, refusal.code);
        tracing::warn!(vdr, code, "no connection for commands: {}", refusal.detail);
        if refusal.error.is_none() {
            self.shared.set_state(PoolState::Down, Some(refusal.code));
        }
        let refuse = |request: Request| match &refusal.error {
            Some(error) => request.call.finish(Answer::Refused { error: error.clone(), cause: None }),
            None => request.fail(Stage::Queued, refusal.code),
        };
        self.queue.drain(..).for_each(refuse);
        let mut waiting = pin!(sleep(REFUSAL_KEPT));
        let until = Instant::now() + REFUSAL_KEPT;
        while Instant::now() < until {
            tokio::select! {
                () = &mut waiting => break,
                request = self.inbox.recv() => match request {
                    Some(request) => refuse(request),
                    None => return,
                },
                _ = self.target.changed() => break,
            }
        }
        self.inbox.close();
        while let Ok(request) = self.inbox.try_recv() {
            refuse(request);
        }
    }
}

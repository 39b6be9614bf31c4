//! The monitor: one task per link, which answers look-ups and notices failovers.
//!
//! The task itself never waits for the network. Rounds of questions run beside it, so a message of
//! a failover is handled at once even while a look-up goes on. What the owner is told comes from
//! this task alone, in order: after `switched` no older answer to a look-up follows.

use super::config::SentinelConfig;
use super::failure::{Failure, FailureKind, NotFound};
use super::owner::{Owner, reachable};
use super::query::{self, Answer};
use super::roster::Roster;
use super::round::{self, IsEnough, Round};
use super::server_role::role_of;
use super::subscription::{self, Notice};
use super::verdict::{PollVerdict, Vote, choose, is_decided, is_older, judge_poll};
use crate::address::Address;
use crate::runtime::{boxed, catch_panic, runtime};
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use vdr_replica::handshake::Role;

/// How often all Sentinels are asked, since a message may get lost.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// How long to wait before a monitor that failed by a bug of ours starts again.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// Notices that wait for the monitor; beyond it the subscription is not read.
const NOTICES_MAX: usize = 16;

/// A running monitor. Dropping it stops the monitor.
#[derive(Debug)]
pub struct SentinelHandle {
    look_ups: mpsc::UnboundedSender<()>,
}

impl SentinelHandle {
    /// Asks for the server to attach to. The owner gets the answer.
    pub fn look_up(&self) {
        let _ended_by_shutdown = self.look_ups.send(());
    }
}

/// Starts a monitor. Fails only where the system has no threads left.
pub fn spawn_sentinel(config: SentinelConfig, owner: Arc<dyn Owner>) -> io::Result<SentinelHandle> {
    let (look_ups, requests) = mpsc::unbounded_channel();
    runtime()?.spawn(boxed(keep_running(Arc::new(config), owner, requests)));
    Ok(SentinelHandle { look_ups })
}

/// A panic, which is a bug of ours, costs the pending look-up and nothing else.
async fn keep_running(config: Arc<SentinelConfig>, owner: Arc<dyn Owner>, mut requests: mpsc::UnboundedReceiver<()>) {
    loop {
        let monitor = Monitor::new(config.clone(), owner.clone());
        if catch_panic(pin!(monitor.run(&mut requests))).await.is_some() {
            return;
        }
        owner.found(Err(&NotFound::panicked()));
        sleep(RESTART_WAIT).await;
    }
}

struct Monitor {
    config: Arc<SentinelConfig>,
    owner: Arc<dyn Owner>,
    roster: Roster,
    /// The known addresses, for the subscription.
    addresses: watch::Sender<Vec<Address>>,
    /// The primary, as it was last named to the owner, and the config by which it was.
    accepted: Option<Vote>,
    /// The server that the owner follows. None: it waits for the answer to a look-up, or has not
    /// asked yet.
    followed: Option<Address>,
    /// The look-up that the owner waits for.
    look_up: Option<AbortHandle>,
    is_polling: bool,
    tasks: JoinSet<Done>,
}

/// The result of a task beside the monitor.
enum Done {
    LookUp(Round),
    Poll(Round),
    /// The Sentinel that published a switch was asked itself.
    Switch {
        primary: Option<Address>,
        answer: Result<Answer, Failure>,
    },
    /// The current server was asked for its role, since this vote would leave it.
    ServerRole {
        server: Address,
        vote: Vote,
        role: Option<Role>,
    },
}

impl Monitor {
    fn new(config: Arc<SentinelConfig>, owner: Arc<dyn Owner>) -> Self {
        let roster = Roster::new(&config.sentinels);
        let addresses = watch::Sender::new(roster.addresses());
        Monitor {
            config,
            owner,
            roster,
            addresses,
            accepted: None,
            followed: None,
            look_up: None,
            is_polling: false,
            tasks: JoinSet::new(),
        }
    }

    /// Returns when the handle is dropped.
    async fn run(mut self, requests: &mut mpsc::UnboundedReceiver<()>) {
        let (sender, mut notices) = mpsc::channel(NOTICES_MAX);
        let addresses = self.addresses.subscribe();
        let mut subscriptions = JoinSet::new();
        subscriptions.spawn(boxed(subscription::run(self.config.clone(), self.owner.clone(), addresses, sender)));
        let mut poll_at = Instant::now() + POLL_INTERVAL;
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(()) => self.start_look_up(),
                    None => return,
                },
                Some(notice) = notices.recv() => match notice {
                    Notice::Subscribed => poll_at = Instant::now(),
                    Notice::Switched { sentinel, primary } => self.start_switch(sentinel, primary),
                },
                () = sleep_until(poll_at) => {
                    poll_at = Instant::now() + POLL_INTERVAL;
                    self.start_poll();
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                    Ok(done) => self.handle(done),
                    Err(stopped) if stopped.is_cancelled() => {}
                    Err(panicked) => resume_unwind(panicked.into_panic()),
                },
                Some(Err(panicked)) = subscriptions.join_next() => resume_unwind(panicked.into_panic()),
            }
        }
    }

    fn start(&mut self, task: impl Future<Output = Done> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(boxed(task))
    }

    fn start_look_up(&mut self) {
        self.stop_look_up();
        self.followed = None;
        let accepted = self.accepted.clone();
        let is_enough: IsEnough = Box::new(move |votes, known| is_decided(votes, known, accepted.as_ref()));
        let round = round::run(self.config.clone(), self.owner.clone(), self.roster.clone(), Some(is_enough));
        self.look_up = Some(self.start(async { Done::LookUp(round.await) }));
    }

    fn stop_look_up(&mut self) {
        if let Some(look_up) = self.look_up.take() {
            look_up.abort();
        }
    }

    fn start_poll(&mut self) {
        if !self.is_polling {
            self.is_polling = true;
            let round = round::run(self.config.clone(), self.owner.clone(), self.roster.clone(), None);
            self.start(async { Done::Poll(round.await) });
        }
    }

    /// A message has no config epoch, and may be late. The Sentinel that sent it knows the epoch.
    fn start_switch(&mut self, sentinel: Address, primary: Address) {
        let (config, owner) = (self.config.clone(), self.owner.clone());
        self.start(async move {
            let primary = reachable(&*owner, &config, primary).await.ok();
            Done::Switch { primary, answer: query::ask(&config, &*owner, &sentinel).await }
        });
    }

    fn start_server_role(&mut self, server: Address, vote: Vote) {
        let (config, owner) = (self.config.clone(), self.owner.clone());
        self.start(async move {
            let role = role_of(&config, &*owner, &server).await;
            Done::ServerRole { server, vote, role }
        });
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::LookUp(round) => self.finish_look_up(round),
            Done::Poll(round) => self.finish_poll(round),
            Done::Switch { primary, answer } => {
                let vote = match answer {
                    Ok(Answer { primary, epoch, .. }) => Some(Vote { primary, epoch }),
                    // The message is all that there is.
                    Err(_) => primary.map(|primary| Vote { primary, epoch: None }),
                };
                let is_late = |vote: &Vote| self.accepted.as_ref().is_some_and(|accepted| is_older(vote, accepted));
                if let Some(vote) = vote.filter(|vote| !is_late(vote)) {
                    self.switch(vote);
                }
            }
            Done::ServerRole { server, vote, role } => {
                let has_changed = role.is_some_and(|role| role != self.config.role);
                if self.followed == Some(server) && (has_changed || !self.owner.is_streaming()) {
                    self.switch(vote);
                }
            }
        }
    }

    fn finish_look_up(&mut self, round: Round) {
        self.look_up = None;
        let chosen = choose(&round.votes(), round.roster.len(), self.accepted.as_ref());
        let found = chosen.ok_or_else(|| NotFound::new(&round.failures)).and_then(|vote| {
            let server = match self.config.role {
                Role::Primary => vote.primary.clone(),
                Role::Replica => replica(&round, &vote)?,
            };
            self.accepted = Some(vote);
            Ok(server)
        });
        self.learn(round.roster);
        self.followed = found.as_ref().ok().cloned();
        self.owner.found(found.as_ref());
    }

    fn finish_poll(&mut self, round: Round) {
        self.is_polling = false;
        let (votes, known) = (round.votes(), round.roster.len());
        self.learn(round.roster);
        let Some(followed) = self.followed.clone() else { return };
        match judge_poll(&votes, known, self.accepted.as_ref(), |primary| self.leaves(primary)) {
            PollVerdict::Leave(vote) => self.switch(vote),
            PollVerdict::AskServer(vote) if self.owner.is_streaming() => self.start_server_role(followed, vote),
            PollVerdict::AskServer(vote) => self.switch(vote),
            PollVerdict::Stay => self.refresh_epoch(&votes),
        }
    }

    /// The config by which the accepted primary is named may be a newer one by now, or be known
    /// only now.
    fn refresh_epoch(&mut self, votes: &[Vote]) {
        if let Some(accepted) = &mut self.accepted {
            let epochs = votes.iter().filter(|vote| vote.primary == accepted.primary).map(|vote| vote.epoch);
            accepted.epoch = epochs.max().flatten().max(accepted.epoch);
        }
    }

    fn learn(&mut self, roster: Roster) {
        let addresses = roster.addresses();
        self.roster = roster;
        self.addresses.send_if_modified(|known| std::mem::replace(known, addresses.clone()) != addresses);
    }

    /// Whether this primary is a reason to leave the server that is followed: a followed replica
    /// that has become the primary is no replica any more.
    fn leaves(&self, primary: &Address) -> bool {
        self.followed.as_ref().is_some_and(|followed| match self.config.role {
            Role::Primary => followed != primary,
            Role::Replica => followed == primary,
        })
    }

    fn switch(&mut self, vote: Vote) {
        if self.look_up.is_some() {
            // The owner waits for a look-up, whose answers may be older than this.
            self.accepted = Some(vote);
            self.start_look_up();
        } else if self.leaves(&vote.primary) {
            tracing::debug!(vdr = self.config.instance, "Sentinel names {} the primary", vote.primary);
            self.owner.switched(&vote.primary);
            self.followed = match self.config.role {
                Role::Primary => Some(vote.primary.clone()),
                Role::Replica => None,
            };
            self.accepted = Some(vote);
        }
    }
}

/// A replica at random, so that no replica gets all mirrors, as the newest config lists them.
fn replica(round: &Round, vote: &Vote) -> Result<Address, NotFound> {
    let answers = || round.answers.iter().filter(|answer| answer.primary == vote.primary);
    let usable = answers().filter_map(|answer| answer.replicas.as_ref()?.as_ref().ok()).next();
    if let Some(replica) = usable.and_then(|usable| usable.get(fastrand::usize(..usable.len().max(1)))) {
        return Ok(replica.clone());
    }
    let mut failures = round.failures.clone();
    failures.extend(round.answers.iter().map(|answer| {
        let failure = match &answer.replicas {
            Some(Err(failure)) => failure.clone(),
            _ => Failure::new(FailureKind::NoUsableReplica, "names an older primary"),
        };
        (answer.sentinel.clone(), failure)
    }));
    Err(NotFound::new(&failures))
}

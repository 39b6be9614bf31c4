//! One connection from its first byte to its last: what comes is handed on, what is due is said, who is silent is left.
//!
//! Three things go on at once and none waits for another: reading (when the sink is ready), writing (when there is
//! something to say), and one alarm clock set to whatever is due next.

use crate::config::{ACK_INTERVAL_MIN, AckPolicy, LinkConfig};
use crate::end::Cause;
use crate::inbox::Inbox;
use crate::observer::{LinkState, Observer};
use crate::outbox::Outbox;
use crate::sink::{RdbStep, Sink};
use crate::transfer::Transfer;
use crate::transport;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use vdr_replica::handshake::{Action, Handshake, Opening, Step, command};

/// How often we tell the primary that we live while the file comes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How often we acknowledge until the stream has begun. A primary that sent the file diskless begins it with the first
/// acknowledgement after it saw its own child end, which may be after our first one: then nothing comes until the next.
const UNTIL_BEGUN: Duration = Duration::from_millis(20);

/// The longest wait, whatever a configuration says: no instant overflows by it, and its milliseconds fit the kernel's int.
pub const WAIT_MAX: Duration = Duration::from_secs(20 * 24 * 60 * 60);

enum Phase {
    Opening(Handshake),
    Transfer(Transfer),
    /// `begun`: a command of it has come.
    Stream {
        begun: bool,
    },
}

enum Event {
    Read(io::Result<usize>),
    /// The sink, which had left something, has room again.
    Ready,
    Written(io::Result<()>),
    Alarm,
}

pub struct Session<'a, S, O> {
    config: &'a LinkConfig,
    sink: &'a mut S,
    observer: &'a O,
    state: &'a mut LinkState,
    phase: Phase,
    inbox: Inbox,
    outbox: Outbox,
    clock: Clock,
    /// The primary has not taken our last words yet: the next acknowledgement waits and will be a newer one.
    ack_owed: bool,
    /// The sink left something of what has come: it is offered again before more is read.
    left: bool,
}

/// What is due when.
struct Clock {
    alarm: Pin<Box<Sleep>>,
    connected: Instant,
    heard: Instant,
    /// The sink is not ready: silence is our own doing.
    deaf: bool,
    /// When we last gave a sign of life or acknowledged without being asked.
    spoke: Instant,
}

impl<'a, S: Sink, O: Observer> Session<'a, S, O> {
    /// Runs until there is a cause to end. Dropping the future closes the connection.
    pub async fn run(config: &'a LinkConfig, sink: &'a mut S, observer: &'a O, state: &'a mut LinkState) -> Cause {
        observer.state(*state);
        tracing::debug!(vdr = config.label, "connecting to {}", config.endpoint);
        let (wire, peer) = match transport::connect(config).await {
            Ok(connected) => connected,
            Err(cause) => return cause,
        };
        observer.connected(peer);
        tracing::info!(vdr = config.label, peer = ?peer, "connected to {}", config.endpoint);
        let (reader, writer) = tokio::io::split(wire);
        let position = sink.position();
        let opening = Opening {
            credentials: config.credentials.clone(),
            listening_port: config.listening_port,
            role: config.role,
            // The writer of the snapshot file is the server itself; of a stream that resumes it may be another one.
            ask_version: position.is_some(),
            position,
        };
        let session = Session {
            config,
            sink,
            observer,
            state,
            phase: Phase::Opening(Handshake::new(opening)),
            inbox: Inbox::new(reader),
            outbox: Outbox::new(writer),
            clock: Clock::new(),
            ack_owed: false,
            left: false,
        };
        match session.turns().await {
            Ok(never) => match never {},
            Err(cause) => cause,
        }
    }

    async fn turns(mut self) -> Result<std::convert::Infallible, Cause> {
        self.advance()?;
        loop {
            match self.event().await {
                Event::Read(Ok(0)) => return Err(Cause::Closed),
                Event::Read(Ok(bytes)) => {
                    let since = Instant::now();
                    self.observer.received(bytes);
                    self.advance()?;
                    // The time that we spent on it was none in which the primary was silent.
                    self.clock.heard = Instant::now();
                    self.outbox.forgive(since.elapsed());
                }
                Event::Ready => self.advance()?,
                Event::Read(Err(error)) | Event::Written(Err(error)) => return Err(Cause::from_io(error)),
                Event::Written(Ok(())) => {
                    if std::mem::take(&mut self.ack_owed) {
                        self.acknowledge();
                    }
                }
                Event::Alarm => self.alarm()?,
            }
        }
    }

    /// Waits for the next thing to happen. Time comes first, or a primary that never stops talking would hear nothing.
    async fn event(&mut self) -> Event {
        let (due, left) = (self.due(), self.left);
        let Self { sink, inbox, outbox, clock, .. } = self;
        clock.set(due);
        let rings = due.is_some();
        let Clock { alarm, heard, deaf, .. } = clock;
        tokio::select! {
            biased;
            () = alarm.as_mut(), if rings => Event::Alarm,
            written = outbox.flush(), if !outbox.is_empty() => Event::Written(written),
            event = async {
                if !ready_now(&mut **sink).await {
                    *deaf = true;
                    sink.ready().await;
                }
                if std::mem::take(deaf) {
                    *heard = Instant::now();
                }
                if left { Event::Ready } else { Event::Read(inbox.fill().await) }
            } => event,
        }
    }

    /// Hands on what has come, through as many phases as it reaches.
    fn advance(&mut self) -> Result<(), Cause> {
        self.left = false;
        loop {
            let goes_on = match &mut self.phase {
                Phase::Opening(_) => self.open()?,
                Phase::Transfer(transfer) => {
                    let whole = transfer.advance(&mut self.inbox.input, |bytes| {
                        let step = self.sink.rdb(bytes);
                        self.left = matches!(step, Ok(RdbStep::Part { .. }));
                        step
                    })?;
                    if whole {
                        self.sink.sync_finished().map_err(Cause::Sink)?;
                        self.stream_from_now();
                    }
                    whole
                }
                Phase::Stream { begun } => {
                    // Newlines are no more than a sign of life.
                    *begun = *begun || self.inbox.input.iter().any(|byte| *byte != b'\n');
                    if !self.inbox.input.is_empty() {
                        self.stream()?;
                    }
                    false
                }
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn open(&mut self) -> Result<bool, Cause> {
        let Phase::Opening(handshake) = &mut self.phase else { return Ok(false) };
        let action = handshake.advance(&mut self.inbox.input).map_err(Cause::Refused)?;
        let (step, role, server) = (handshake.step(), handshake.role(), handshake.server().cloned());
        match action {
            Action::Wait => return Ok(false),
            Action::Send(bytes) => {
                if step == Step::ListeningPort {
                    role.into_iter().for_each(|role| self.observer.role(role));
                }
                self.outbox.push(&bytes);
                self.enter(LinkState::from(step));
            }
            Action::FullSync { replication_id, offset } => {
                tracing::info!(vdr = self.config.label, replication_id, offset, "full sync");
                self.enter(LinkState::RdbTransfer);
                self.sink.sync_started(&replication_id, offset);
                self.phase = Phase::Transfer(Transfer::new());
            }
            Action::Continue { replication_id } => {
                tracing::info!(vdr = self.config.label, replication_id, "partial sync");
                server.into_iter().for_each(|server| self.sink.linked_to(server));
                self.sink.continued(&replication_id);
                self.stream_from_now();
            }
        }
        Ok(true)
    }

    fn stream_from_now(&mut self) {
        self.phase = Phase::Stream { begun: false };
        self.enter(LinkState::Streaming);
        self.sink.streaming();
        self.clock.spoke = Instant::now();
        self.acknowledge();
    }

    fn stream(&mut self) -> Result<(), Cause> {
        let step = self.sink.stream(&mut self.inbox.input).map_err(Cause::Sink)?;
        self.left = step.left;
        if !step.left && self.inbox.input.len() > self.config.command_bytes_max {
            return Err(Cause::CommandTooLong { bytes_max: self.config.command_bytes_max });
        }
        if step.ack_wanted {
            self.acknowledge();
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        if self.outbox.is_empty() {
            let told = match self.config.ack {
                AckPolicy::Truthful => self.sink.applied(),
                AckPolicy::Lagging => 0,
            };
            self.outbox.push(&command(&[b"REPLCONF", b"ACK", told.to_string().as_bytes()]));
        } else {
            self.ack_owed = true;
        }
    }

    fn enter(&mut self, state: LinkState) {
        if *self.state != state {
            *self.state = state;
            tracing::debug!(vdr = self.config.label, state = state.as_str(), "link state");
            self.observer.state(state);
        }
    }

    /// The handshake's time counts until PSYNC is asked; then the primary may prepare for minutes, with signs of life.
    fn handshake_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Opening(handshake) if handshake.step() != Step::Psync => {
                Some(after(self.clock.connected, self.config.timeouts.handshake))
            }
            _ => None,
        }
    }

    fn read_deadline(&self) -> Option<Instant> {
        (!self.clock.deaf).then(|| after(self.clock.heard, self.config.timeouts.read))
    }

    fn write_deadline(&self) -> Option<Instant> {
        self.outbox.stuck_since.map(|since| after(since, self.config.timeouts.write))
    }

    fn speak_at(&self) -> Option<Instant> {
        let interval = match self.phase {
            Phase::Opening(_) => return None,
            Phase::Transfer(_) => SIGN_OF_LIFE,
            Phase::Stream { begun: false } => self.config.ack_interval.min(UNTIL_BEGUN),
            Phase::Stream { begun: true } => self.config.ack_interval,
        };
        Some(after(self.clock.spoke, interval.max(ACK_INTERVAL_MIN)))
    }

    fn due(&self) -> Option<Instant> {
        [self.handshake_deadline(), self.read_deadline(), self.write_deadline(), self.speak_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn alarm(&mut self) -> Result<(), Cause> {
        let now = Instant::now();
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let timeouts = &self.config.timeouts;
        if is_past(self.handshake_deadline()) {
            return Err(Cause::HandshakeTimeout(timeouts.handshake));
        }
        if is_past(self.read_deadline()) {
            return Err(Cause::ReadTimeout(timeouts.read));
        }
        if is_past(self.write_deadline()) {
            return Err(Cause::WriteTimeout(timeouts.write));
        }
        if is_past(self.speak_at()) {
            self.clock.spoke = now;
            match self.phase {
                Phase::Stream { .. } => {
                    self.sink.tick();
                    self.acknowledge();
                }
                // A sign of life that the primary does not take is no news: it has the last one still to take.
                _ if self.outbox.is_empty() => self.outbox.push(b"\n"),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Clock { alarm: Box::pin(sleep_until(now)), connected: now, heard: now, deaf: false, spoke: now }
    }

    /// Sets the alarm, unless it rings before: then it is set anew when it has rung.
    fn set(&mut self, due: Option<Instant>) {
        if let Some(due) = due
            && (self.alarm.is_elapsed() || due < self.alarm.deadline())
        {
            self.alarm.as_mut().reset(due);
        }
    }
}

pub fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(WAIT_MAX)
}

async fn ready_now<S: Sink>(sink: &mut S) -> bool {
    let mut ready = pin!(sink.ready());
    poll_fn(|context| Poll::Ready(ready.as_mut().poll(context).is_ready())).await
}

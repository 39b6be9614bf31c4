//! One connection to the primary, from its first byte to its last.
//!
//! Reading, writing and one alarm run concurrently, and none waits for another. Reading runs when
//! the sink is ready, writing when there is output, and the alarm is set to the next deadline. The
//! sink computes on the same thread; `outbox` gives signs of life meanwhile.

mod timer;
mod inbox;
mod outbox;
mod phase_span;

use crate::config::{ACK_INTERVAL_MIN, AckPolicy, LinkConfig};
use crate::deadline::after;
use crate::end::Cause;
use crate::observer::Observer;
use crate::sink::{RdbStep, Sink};
use crate::state::LinkState;
use crate::transfer::{Transfer, consumed};
use crate::transport;

use inbox::Inbox;
use outbox::{Outbox, SIGN_INTERVAL};
use phase_span::PhaseSpan;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use timer::Timer;
use tokio::task::yield_now;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::trace_span;
use vdr_replica::handshake::{Action, Handshake, Opening, Position, Refusal, RefusalKind, Step, command};
use vdr_replica::resp::frame_bytes_max;

/// How often the link acknowledges until the stream has begun. A primary that sent the file
/// diskless begins the stream with the first acknowledgement after its child process has ended. If
/// the child ends after the link's first acknowledgement, nothing comes until the next one.
const ACK_INTERVAL_UNTIL_BEGUN: Duration = Duration::from_millis(20);

enum Phase {
    Opening(Handshake),
    Transfer(Transfer),
    /// `begun`: a command has arrived.
    Stream {
        begun: bool,
    },
}

enum Event {
    Read(io::Result<usize>),
    /// The sink, which left some of the input, has capacity again.
    Ready,
    Written(io::Result<()>),
    Alarm,
}

pub struct Session<'a> {
    config: &'a LinkConfig,
    sink: &'a mut dyn Sink,
    observer: &'a dyn Observer,
    state: &'a mut LinkState,
    phase: Phase,
    /// Of the handshake and of the sync; none while the link streams.
    span: Option<PhaseSpan>,
    inbox: Inbox,
    outbox: Outbox,
    timer: Timer,
    /// The primary has not accepted the previous output yet: the next acknowledgement waits, and
    /// reports a newer offset then.
    ack_owed: bool,
    /// The sink left some of the input: the link offers it again before it reads more.
    left: bool,
    asked_string_limit: bool,
    command_bytes_max: usize,
}

impl<'a> Session<'a> {
    /// Runs until there is a cause to end. Dropping the future closes the connection.
    pub async fn run(
        config: &'a LinkConfig,
        sink: &'a mut dyn Sink,
        observer: &'a dyn Observer,
        state: &'a mut LinkState,
    ) -> Cause {
        observer.state(*state);
        tracing::debug!(vdr = config.instance, "connecting to {}", config.endpoint);
        let limits = config.timeouts.connect_limits();
        let (wire, peer) = match transport::connect(&config.endpoint, config.tls.as_ref(), &limits).await {
            Ok(connected) => connected,
            Err(error) => return error.into(),
        };
        observer.connected(peer);
        tracing::debug!(vdr = config.instance, peer = ?peer, "connected to {}", config.endpoint);
        let (reader, writer) = tokio::io::split(wire);
        let position = sink.position();
        let ask_string_limit = sink.asks_string_limit();
        let opening = Opening {
            credentials: config.credentials.clone(),
            listening_port: config.listening_port,
            role: config.role,
            sync_by: config.sync_by,
            psync_command: config.psync_command.clone(),
            // The writer of the snapshot file is the server itself; of a stream that resumes it may
            // be another one.
            ask_version: position.is_some(),
            ask_string_limit,
            position,
        };
        let session = Session {
            config,
            sink,
            observer,
            state,
            phase: Phase::Opening(Handshake::new(opening)),
            span: Some(PhaseSpan::handshake(config.instance, &config.endpoint)),
            inbox: Inbox::new(reader),
            outbox: Outbox::new(writer),
            timer: Timer::new(),
            ack_owed: false,
            left: false,
            asked_string_limit: ask_string_limit,
            command_bytes_max: config.command_bytes_max,
        };
        let cause = match session.turns().await {
            Ok(never) => match never {},
            Err(cause) => cause,
        };
        let ping = Step::Ping.command();
        let unanswered = matches!(cause, Cause::ClosedInHandshake { command } if command == ping);
        if unanswered && config.tls.is_none() && transport::speaks_tls(&config.endpoint, &limits).await {
            return Cause::Refused(Refusal { kind: RefusalKind::TlsRequired, command: ping, text: String::new() });
        }
        cause
    }

    async fn turns(mut self) -> Result<std::convert::Infallible, Cause> {
        self.advance()?;
        loop {
            match self.event().await {
                Event::Read(Ok(0)) => return Err(self.lost(Cause::Closed)),
                Event::Read(Ok(bytes)) => {
                    self.observer.received(bytes);
                    self.compute()?;
                }
                Event::Ready => self.compute()?,
                Event::Read(Err(error)) | Event::Written(Err(error)) => {
                    return Err(self.lost(Cause::from_io(error)));
                }
                Event::Written(Ok(())) => {
                    if std::mem::take(&mut self.ack_owed) {
                        self.acknowledge();
                    }
                }
                Event::Alarm => self.alarm()?,
            }
        }
    }

    /// Waits for the next event. The alarm comes first: otherwise a primary that sends without a
    /// pause would never get an acknowledgement.
    async fn event(&mut self) -> Event {
        let (due, left) = (self.due(), self.left);
        let Self { sink, inbox, outbox, timer, .. } = self;
        timer.set(due);
        let rings = due.is_some();
        let Timer { alarm, last_received, paused, .. } = timer;
        tokio::select! {
            biased;
            () = alarm.as_mut(), if rings => Event::Alarm,
            written = outbox.flush(), if !outbox.is_empty() => Event::Written(written),
            event = async {
                if !ready_now(&mut **sink).await {
                    *paused = true;
                    sink.ready().await;
                }
                if std::mem::take(paused) {
                    *last_received = Instant::now();
                }
                if left {
                    // The alarm, and a stop of the link, come between two turns of the sink.
                    yield_now().await;
                    return Event::Ready;
                }
                Event::Read(inbox.fill().await)
            } => event,
        }
    }

    /// Hands on the input. The time that the sink takes does not count as the primary's silence.
    fn compute(&mut self) -> Result<(), Cause> {
        self.outbox.compute();
        let done = self.advance();
        self.outbox.computed();
        self.timer.last_received = Instant::now();
        done
    }

    /// Why the connection is over, with the step of the handshake if it came no further.
    fn lost(&self, cause: Cause) -> Cause {
        match &self.phase {
            Phase::Opening(handshake) => cause.in_handshake(handshake.step().words()),
            Phase::Transfer(_) | Phase::Stream { .. } => cause,
        }
    }

    /// Hands on the input, through as many phases as it covers.
    fn advance(&mut self) -> Result<(), Cause> {
        self.left = false;
        loop {
            let goes_on = match &mut self.phase {
                Phase::Opening(_) => self.open()?,
                Phase::Transfer(transfer) => {
                    let whole = transfer.advance(&mut self.inbox.input, |bytes| {
                        let step = self.sink.rdb(bytes);
                        let taken = step.as_ref().map_or(0, |step| consumed(*step, bytes.len()));
                        self.span.iter_mut().for_each(|span| span.loaded(taken));
                        self.left = matches!(step, Ok(RdbStep::Part { .. }));
                        step
                    })?;
                    if whole {
                        self.sink.sync_finished().map_err(Cause::Sink)?;
                        self.start_streaming();
                        self.follow(None, "loaded");
                    }
                    whole
                }
                Phase::Stream { begun } => {
                    // Newlines are keepalives.
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
        let by_disk = handshake.is_by_disk();
        let string_bytes_max = handshake.string_bytes_max();
        if self.asked_string_limit && matches!(action, Action::FullSync { .. } | Action::Continue { .. }) {
            self.sink.string_limit(string_bytes_max);
            self.command_bytes_max = self.command_bytes_max.max(frame_bytes_max(string_bytes_max.unwrap_or(0)));
        }
        match action {
            Action::Wait => return Ok(false),
            Action::Replied => self.enter(LinkState::from(step)),
            Action::Send(bytes) => {
                if step == Step::ListeningPort {
                    role.into_iter().for_each(|role| self.observer.role(role));
                }
                self.outbox.push(&bytes);
                self.enter(LinkState::from(step));
            }
            Action::FullSync { replication_id, offset } => {
                let span = PhaseSpan::full_sync(self.config.instance, by_disk, Some((replication_id.as_str(), offset)));
                self.follow(Some(span), "full sync");
                self.start_transfer(Some(&Position { replication_id, offset }));
            }
            Action::BareSync => {
                let span = PhaseSpan::full_sync(self.config.instance, by_disk, None);
                self.follow(Some(span), "full sync without a position");
                self.start_transfer(None);
            }
            Action::Continue { replication_id } => {
                let span = PhaseSpan::partial_sync(self.config.instance, &replication_id, self.sink.applied());
                self.follow(Some(span), "partial sync");
                server.into_iter().for_each(|server| self.sink.linked_to(server));
                self.sink.continued(&replication_id);
                self.start_streaming();
                self.follow(None, "streaming");
            }
        }
        Ok(true)
    }

    /// A phase is done, and the span of the next one begins.
    fn follow(&mut self, next: Option<PhaseSpan>, outcome: &'static str) {
        std::mem::replace(&mut self.span, next).into_iter().for_each(|span| span.done(outcome));
    }

    fn start_transfer(&mut self, start: Option<&Position>) {
        self.outbox.give_signs();
        self.enter(LinkState::RdbTransfer);
        self.sink.sync_started(start);
        self.phase = Phase::Transfer(Transfer::new());
    }

    fn start_streaming(&mut self) {
        self.outbox.give_signs();
        self.phase = Phase::Stream { begun: false };
        self.enter(LinkState::Streaming);
        self.sink.streaming();
        self.timer.last_sent = Instant::now();
        self.acknowledge();
    }

    fn stream(&mut self) -> Result<(), Cause> {
        let batch = trace_span!("batch", vdr = self.config.instance, bytes = Empty, applied = Empty);
        let input_bytes = self.inbox.input.len();
        let step = self.sink.stream(&mut self.inbox.input);
        if !batch.is_disabled() {
            batch.record("bytes", input_bytes.saturating_sub(self.inbox.input.len()));
            batch.record("applied", self.sink.applied());
        }
        drop(batch);
        let step = step.map_err(Cause::Sink)?;
        self.left = step.left;
        if !step.left && self.inbox.input.len() > self.command_bytes_max {
            return Err(Cause::CommandTooLong { bytes_max: self.command_bytes_max });
        }
        if step.ack_wanted {
            self.acknowledge();
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        if self.outbox.is_empty() {
            let offset = match self.config.ack {
                AckPolicy::Truthful => self.sink.applied(),
                AckPolicy::Lagging => 0,
            };
            self.outbox.push(&command(&[b"REPLCONF", b"ACK", offset.to_string().as_bytes()]));
        } else {
            self.ack_owed = true;
        }
    }

    fn enter(&mut self, state: LinkState) {
        if *self.state != state {
            *self.state = state;
            tracing::debug!(vdr = self.config.instance, state = state.as_str(), "link state");
            self.observer.state(state);
        }
    }

    /// The handshake's deadline holds until PSYNC is sent. Then the primary may prepare the file
    /// for minutes, and sends keepalives meanwhile.
    fn handshake_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Opening(handshake) if handshake.step() != Step::Psync => {
                Some(after(self.timer.connected, self.config.timeouts.handshake))
            }
            _ => None,
        }
    }

    fn read_deadline(&self) -> Option<Instant> {
        (!self.timer.paused).then(|| after(self.timer.last_received, self.config.timeouts.read))
    }

    fn write_deadline(&self) -> Option<Instant> {
        self.outbox.stuck_since().map(|since| after(since, self.config.timeouts.write))
    }

    fn send_at(&self) -> Option<Instant> {
        let interval = match self.phase {
            Phase::Opening(_) => return None,
            Phase::Transfer(_) => SIGN_INTERVAL,
            Phase::Stream { begun: false } => self.config.ack_interval.min(ACK_INTERVAL_UNTIL_BEGUN),
            Phase::Stream { begun: true } => self.config.ack_interval,
        };
        Some(after(self.timer.last_sent, interval.max(ACK_INTERVAL_MIN)))
    }

    fn due(&self) -> Option<Instant> {
        [self.handshake_deadline(), self.read_deadline(), self.write_deadline(), self.send_at()]
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
        if is_past(self.send_at()) {
            self.timer.last_sent = now;
            match self.phase {
                Phase::Stream { .. } => {
                    self.sink.tick();
                    self.acknowledge();
                }
                // While the primary has not accepted the previous keepalive, another one adds
                // nothing.
                _ if self.outbox.is_empty() => self.outbox.push(b"\n"),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn ready_now(sink: &mut dyn Sink) -> bool {
    let mut ready = sink.ready();
    poll_fn(|context| Poll::Ready(ready.as_mut().poll(context).is_ready())).await
}

//! The servers' own fuzzer as a load: `valkey-benchmark --fuzz` against a primary with a replica of
//! its own kind and the mirror attached.
//!
//! Some commands change a primary and are not sent as they are, so even a replica differs now and
//! then. The mirror must not differ where the replica does not.

use crate::attach::{Attached, UNSENT, is_fault};
use crate::command::cmd;
use crate::compare::{Difference, differences, lasting, report};
use crate::crash::last_words;
use crate::generate::DATABASES;
use crate::proof::Proof;
use crate::uptime::Outage;
use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use vdr_data::digest::Dialect;
use vdr_data::value::Kind;
use vdr_link::now_ms;
use vdr_replica::filter::Filter;
use vdr_testkit::{Binary, Client, Reply, Server};

/// The servers that are fuzzed unless others are named.
pub const SERVERS: [&str; 2] = ["valkey-9.1", "redis-8.6"];

/// The part of a round's time for which the link must stream: it is killed some twenty times. On a
/// machine with other work to do, where each answer of the server takes long, it must stream about
/// as long as the server's own replica.
const STREAMING_MIN: f64 = 0.95;
const REPLICA_MARGIN: f64 = 0.02;

/// How often the fuzzer and the replica are looked at during a round. A link that has ended is
/// replaced at once.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a replica says of its link.
const LINK_IS_UP: &str = "master_link_status:up";

/// A sleep of `LOOK_EVERY` that takes longer than this: the machine has stopped this process.
const STOPPED_MIN: Duration = Duration::from_millis(50);

/// A round beyond this time hangs: a client waits for something that never comes.
const ROUND_MAX: Duration = Duration::from_secs(300);

/// How often a difference is looked at again. Only keys that differ at each look count: expired
/// keys are deleted meanwhile.
const LOOKS: usize = 20;

/// What the rounds came to.
#[derive(Default)]
pub struct Outcome {
    pub commands: u64,
    pub rounds: u64,
    /// Rounds that the mirror failed, with what it showed.
    pub failures: Vec<String>,
}

/// A primary with a replica and the mirror.
struct Fuzzed {
    primary: Server,
    replica: Server,
    checker: Client,
    replica_checker: Client,
    attached: Attached,
    dialect: Dialect,
}

/// A look at all keys after a round.
struct Look {
    /// The mirror differs, and the replica does not.
    wrong: Vec<Difference>,
    /// Both differ.
    shared: usize,
    /// Keys whose values the mirror does not keep.
    not_mirrored: usize,
}

/// Runs rounds of so many commands against one server.
pub fn run(binary: &Binary, fuzzer: &Binary, commands: u64, rounds: u64, outcome: &mut Outcome) -> io::Result<()> {
    let mut fuzzed = Fuzzed::start(binary)?;
    for round in 1..=rounds {
        let text = match fuzzed.round(fuzzer, commands) {
            Ok(text) => text,
            Err(error) => match fuzzed.primary.end() {
                // The fuzzer has found a fault of the server's own. The next round has a new one.
                Some(end) => {
                    println!("fuzzer: {} ended with {end}{}", binary.name, last_words(&fuzzed.primary.log()));
                    fuzzed = Fuzzed::start(binary)?;
                    continue;
                }
                None => return Err(error),
            },
        };
        outcome.commands += commands;
        outcome.rounds += 1;
        match text {
            Ok(text) => println!("fuzzer: {} round {round}: {text}", binary.name),
            Err(text) => outcome.failures.push(format!("{} round {round}: {text}", binary.name)),
        }
    }
    Ok(())
}

impl Fuzzed {
    fn start(binary: &Binary) -> io::Result<Self> {
        let databases = ["--databases", &DATABASES.to_string()].map(str::to_owned);
        let primary = Server::start(binary, &databases)?;
        let follow = ["--replicaof", "127.0.0.1", &primary.port.to_string()].map(str::to_owned);
        let replica = Server::start(binary, &[databases.to_vec(), follow.to_vec()].concat())?;
        let (checker, replica_checker) = (primary.client()?, replica.client()?);
        let attached = Attached::new(primary.port, false, &Filter::default(), None)?;
        let dialect = Dialect::of(&primary.kind, &primary.version);
        let mut fuzzed = Fuzzed { primary, replica, checker, replica_checker, attached, dialect };
        let started = Instant::now();
        while !(fuzzed.attached.is_streaming() && fuzzed.replica_is_linked()?) {
            if started.elapsed() > ROUND_MAX {
                return Err(io::Error::other("the replica or the mirror does not follow"));
            }
            fuzzed.attached.ensure_link()?;
            sleep(LOOK_EVERY);
        }
        Ok(fuzzed)
    }

    /// One round. The outer result is about the machinery, the inner one about the mirror.
    fn round(&mut self, fuzzer: &Binary, commands: u64) -> io::Result<Result<String, String>> {
        let full_syncs_before = self.full_syncs();
        let started = Instant::now();
        let streaming = self.load(fuzzer, commands)?;
        let lasted = started.elapsed();
        // The fuzzer kills connections and changes users' rights, ours among them.
        self.checker = self.primary.client()?;
        self.replica_checker = self.replica.client()?;
        let look = self.look()?;
        let outages = self.attached.uptime.outages_since(started);
        let ends = || outages.iter().flat_map(|outage| &outage.ends);
        let unsent = ends().filter(|end| end.ends_with(UNSENT)).count();
        let mut text = format!(
            "{commands} commands in {:.1} s, {} keys differ where the replica does not, {} where it does, {} are not \
             mirrored; streaming for {:.1} %, the replica for {:.1} %; {} times away{}; {} full syncs, {unsent} for what \
             the primary did not send",
            lasted.as_secs_f64(),
            look.wrong.len(),
            look.shared,
            look.not_mirrored,
            streaming.mirror * 100.0,
            streaming.replica * 100.0,
            outages.len(),
            spans(&outages),
            self.full_syncs() - full_syncs_before,
        );
        let is_bad =
            streaming.mirror < STREAMING_MIN.min(streaming.replica - REPLICA_MARGIN) || ends().any(|end| is_fault(end));
        if is_bad {
            outages.iter().for_each(|outage| text += &format!("\n    {outage}"));
        }
        if let Some(unknown) = self.attached.unknown_with_row() {
            return Ok(Err(format!("{text}\n{unknown}")));
        }
        if !look.wrong.is_empty() {
            return Ok(Err(format!("{text}\n{}", report(&look.wrong, &self.attached.history.lock()))));
        }
        Ok(if is_bad { Err(text) } else { Ok(text) })
    }

    fn full_syncs(&self) -> u64 {
        self.attached.shared.status.full_syncs.load(Ordering::Relaxed)
    }

    /// Runs the fuzzer.
    fn load(&mut self, fuzzer: &Binary, commands: u64) -> io::Result<Streaming> {
        let streamed_before = self.attached.uptime.streamed();
        let mut replica = Sampler::start(&self.replica)?;
        let mut load = Load::start(fuzzer, self.primary.port, commands)?;
        let started = Instant::now();
        while load.goes_on()? {
            if started.elapsed() > ROUND_MAX {
                return Err(io::Error::other("the fuzzer does not end"));
            }
            self.attached.ensure_link()?;
            self.attached.uptime.wait_for_an_end(LOOK_EVERY);
        }
        let lasted = started.elapsed();
        let streamed = (self.attached.uptime.streamed() - streamed_before).as_secs_f64();
        let samples = replica.end();
        // The mirror shares this process. Of the time when it is stopped there is no sample of the
        // replica.
        let stopped = stopped_while_away(&self.attached.uptime.outages_since(started), &samples.stops);
        let counted = lasted.saturating_sub(stopped).as_secs_f64().max(f64::MIN_POSITIVE);
        Ok(Streaming { mirror: streamed / counted, replica: samples.up })
    }

    fn replica_is_linked(&mut self) -> io::Result<bool> {
        Ok(self.replica_checker.call(&["INFO", "replication"])?.text().contains(LINK_IS_UP))
    }

    fn look(&mut self) -> io::Result<Look> {
        let mut look = self.look_once()?;
        for _ in 1..LOOKS {
            if look.wrong.is_empty() {
                break;
            }
            sleep(Duration::from_millis(50));
            let next = self.look_once()?;
            look = Look { wrong: lasting(next.wrong, &look.wrong), ..next };
        }
        Ok(look)
    }

    fn look_once(&mut self) -> io::Result<Look> {
        let offset = self.settle()?;
        let Some(snapshot) = self.attached.at(offset)?.or_else(|| self.attached.shared.live.snapshot()) else {
            return Err(io::Error::other("the mirror has no data"));
        };
        let ours = &snapshot.keyspace;
        let mut look = Look { wrong: Vec::new(), shared: 0, not_mirrored: 0 };
        for difference in differences(&mut self.checker, ours, self.dialect, now_ms())? {
            let kind = ours.db(difference.db).get(&difference.key).map(|entry| entry.value().kind());
            if matches!(kind, Some(Kind::Other)) || ours.db(difference.db).is_unknown(&difference.key) {
                look.not_mirrored += 1;
            } else if self.replica_differs(&difference)? {
                look.shared += 1;
            } else {
                look.wrong.push(difference);
            }
        }
        Ok(look)
    }

    /// Waits until the replica and the mirror have everything that the primary has sent.
    fn settle(&mut self) -> io::Result<u64> {
        let started = Instant::now();
        loop {
            let offset = Proof::ask(&mut self.checker)?.offset;
            let mirrored = self.attached.shared.live.snapshot().map_or(0, |snapshot| snapshot.offset);
            let replicated = self.replica_checker.call(&["INFO", "replication"])?.text();
            let replicated =
                replicated.lines().find_map(|line| line.strip_prefix("slave_repl_offset:")?.trim().parse().ok());
            if mirrored >= offset && replicated.is_some_and(|replicated: u64| replicated >= offset) {
                return Ok(offset);
            }
            if started.elapsed() > ROUND_MAX {
                return Err(io::Error::other(format!("at {offset}: the mirror is at {mirrored}, {replicated:?}")));
            }
            self.attached.ensure_link()?;
            sleep(LOOK_EVERY);
        }
    }

    fn replica_differs(&mut self, difference: &Difference) -> io::Result<bool> {
        let shown = |client: &mut Client| -> io::Result<Vec<Reply>> {
            client.call(&["SELECT", &difference.db.to_string()])?;
            let key = &difference.key;
            client.pipeline(&[cmd!["DEBUG", "DIGEST-VALUE", key], cmd!["PEXPIRETIME", key]])
        };
        Ok(shown(&mut self.checker)? != shown(&mut self.replica_checker)?)
    }
}

/// How long a link was away, each time and at most.
fn spans(outages: &[Outage]) -> String {
    let mut spans: Vec<u128> = outages.iter().filter_map(|outage| outage.lasted).map(|span| span.as_millis()).collect();
    spans.sort_unstable();
    let (Some(most), Some(median)) = (spans.last(), spans.get(spans.len() / 2)) else { return String::new() };
    format!(" ({median} ms in the median, {most} at most)")
}

/// The parts of a round's time.
struct Streaming {
    mirror: f64,
    replica: f64,
}

/// How long this process was stopped during outages.
fn stopped_while_away(outages: &[Outage], stops: &[(Instant, Duration)]) -> Duration {
    let shared = |outage: &Outage| -> Duration {
        let end = outage.lasted.map(|lasted| outage.began + lasted);
        let within = |(from, lasted): &(Instant, Duration)| {
            let until = *from + *lasted;
            end.map_or(until, |end| until.min(end)).saturating_duration_since(outage.began.max(*from))
        };
        stops.iter().map(within).sum()
    };
    outages.iter().map(shared).sum()
}

/// Asks the replica again and again whether its link is up, on a thread of its own.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Samples>>,
}

#[derive(Default)]
struct Samples {
    /// The part of the time for which the link was up.
    up: f64,
    /// When this process was stopped, and for how long.
    stops: Vec<(Instant, Duration)>,
}

impl Sampler {
    fn start(replica: &Server) -> io::Result<Self> {
        let (mut client, stop) = (replica.client()?, Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut up, mut all, mut stops) = (0, 0, Vec::new());
            while !stopped.load(Ordering::Relaxed)
                && let Ok(info) = client.call(&["INFO", "replication"])
            {
                all += 1;
                up += usize::from(info.text().contains(LINK_IS_UP));
                let since = Instant::now();
                sleep(LOOK_EVERY);
                if since.elapsed() > STOPPED_MIN {
                    stops.push((since, since.elapsed()));
                }
            }
            Samples { up: up as f64 / all.max(1) as f64, stops }
        });
        Ok(Sampler { stop, thread: Some(thread) })
    }

    fn end(&mut self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

/// The running fuzzer. Dropping this value ends it.
struct Load(Child);

impl Load {
    fn start(fuzzer: &Binary, port: u16, commands: u64) -> io::Result<Self> {
        let (port, commands) = (port.to_string(), commands.to_string());
        let arguments = ["-p", &port, "--fuzz", "-n", &commands, "--fuzz-loglevel", "none"];
        let quiet = || Stdio::null();
        let child =
            Command::new(fuzzer.path()).args(arguments).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn()?;
        Ok(Load(child))
    }

    fn goes_on(&mut self) -> io::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stops_during_an_outage_are_no_fault_of_the_link() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let outage = |began, lasted: Option<u64>| Outage {
            began: start + ms(began),
            lasted: lasted.map(ms),
            ends: Vec::new(),
            states: Vec::new(),
        };
        let outages = [outage(100, Some(100)), outage(1000, None)];
        let stopped = |from, lasted| stopped_while_away(&outages, &[(start + ms(from), ms(lasted))]);
        assert_eq!(stopped(0, 90), ms(0));
        assert_eq!(stopped(50, 100), ms(50));
        assert_eq!(stopped(120, 60), ms(60));
        assert_eq!(stopped(150, 100), ms(50));
        assert_eq!(stopped(50, 1000), ms(150));
    }
}

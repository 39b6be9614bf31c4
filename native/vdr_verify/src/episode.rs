//! One program on one server, with the mirror attached, restarted, cut off, and compared.

use crate::attach::Attached;
use crate::cmd;
use crate::compare::{Difference, differences, report};
use crate::generate::{Generator, Unit};
use fastrand::Rng;
use std::fmt;
use std::io;
use std::sync::Arc;
use vdr_core::digest::{self, Dialect};
use vdr_core::live::Snapshot;
use vdr_testkit::{Binary, Client, Command, Reply, Server, command};

/// Little enough that programs run into it, enough that the server can work.
const EVICTION_HEADROOM_BYTES: u64 = 3_000_000;

/// What all episodes together did.
#[derive(Default)]
pub struct Tally {
    pub commands: u64,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub checks: u64,
    pub divergences: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verify: {} commands, {} full syncs, {} partial syncs, {} digests, {} divergences",
            self.commands, self.full_syncs, self.partial_syncs, self.checks, self.divergences
        )
    }
}

/// The mirror was not the primary.
pub struct Divergence {
    pub report: String,
    pub settings: Vec<String>,
    pub units: Vec<Unit>,
}

pub struct Episode<'a> {
    pub binary: &'a Binary,
    pub seed: u64,
    pub ops: usize,
}

/// A program under way.
pub struct Run {
    pub server: Server,
    pub client: Client,
    /// For checks: the database that it has selected is nobody's business.
    pub checker: Client,
    pub dialect: Dialect,
}

impl Run {
    pub fn start(binary: &Binary, settings: &[String]) -> io::Result<Self> {
        let server = Server::start(binary, settings)?;
        let (client, checker) = (server.client()?, server.client()?);
        let dialect = Dialect::of(&server.kind, &server.version);
        Ok(Run { server, client, checker, dialect })
    }

    pub fn has_field_expiry(&mut self) -> io::Result<bool> {
        Ok(self.client.call(&["COMMAND", "COUNT"]).is_ok()
            && matches!(
                self.client.call(&["COMMAND", "INFO", "HPEXPIREAT"])?.items().first(),
                Some(Reply::Array(Some(_)))
            ))
    }

    /// Lets the server evict: it may use little more than it uses now.
    fn limit_memory(&mut self) -> io::Result<()> {
        let info = self.client.call(&["INFO", "memory"])?.text();
        let used: u64 =
            info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).unwrap_or(0);
        self.client.call(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"])?;
        self.client.call(&["CONFIG", "SET", "maxmemory", &(used + EVICTION_HEADROOM_BYTES).to_string()])?;
        Ok(())
    }

    /// Sends units; what fails on the server fails there and is not in the stream.
    pub fn send(&mut self, units: &[Unit]) -> io::Result<()> {
        let mut batch: Vec<Command> = Vec::new();
        for unit in units {
            match unit {
                Unit::Restore { from, to, options } => {
                    self.client.pipeline(&std::mem::take(&mut batch))?;
                    let dumped = self.client.pipeline(&[cmd!["DUMP", from]])?.pop();
                    if let Some(Reply::Bulk(Some(payload))) = dumped {
                        let mut restore = cmd!["RESTORE", to, "0", payload];
                        restore.extend(options.iter().cloned());
                        batch.push(restore);
                    }
                }
                _ => batch.extend(Generator::commands(unit)),
            }
        }
        self.client.pipeline(&batch)?;
        Ok(())
    }

    /// An offset and the server's digest at exactly that offset.
    pub fn pair(&mut self) -> io::Result<(u64, String)> {
        let ask =
            [command(&["MULTI"]), command(&["INFO", "replication"]), command(&["DEBUG", "DIGEST"]), command(&["EXEC"])];
        let replies = self.checker.pipeline(&ask)?;
        let Some(Reply::Array(Some(answers))) = replies.last() else {
            // Out of memory, a server refuses whatever is queued: what is left to evict was not enough.
            self.checker.call(&["CONFIG", "SET", "maxmemory", "0"])?;
            return self.pair();
        };
        let [info, digest] = answers.as_slice() else { return Err(io::Error::other("no answer to the digest")) };
        let offset = info.text().lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
        let offset = offset.ok_or_else(|| io::Error::other("no offset in INFO replication"))?;
        Ok((offset, digest.text()))
    }

    /// Waits until both sides are at one offset and answers whether they are equal there.
    pub fn equal(&mut self, attached: &mut Attached) -> io::Result<Option<bool>> {
        for _ in 0..50 {
            let (offset, theirs) = self.pair()?;
            if let Some(snapshot) = attached.at(offset)? {
                return Ok(Some(self.digest(&snapshot)? == theirs));
            }
        }
        Ok(None)
    }

    fn digest(&self, snapshot: &Arc<Snapshot>) -> io::Result<String> {
        let digest = digest::digest(&snapshot.keyspace, self.dialect, now_ms());
        digest
            .map(|digest| digest.to_string())
            .map_err(|_| io::Error::other("the mirror holds values without a digest"))
    }
}

impl Episode<'_> {
    pub fn run(&self, tally: &mut Tally) -> io::Result<Option<Divergence>> {
        let mut rng = Rng::with_seed(self.seed ^ 0x5eed);
        let settings = settings(&mut rng);
        let mut run = Run::start(self.binary, &settings)?;
        let mut generator = Generator::new(self.seed, run.has_field_expiry()?);
        let units: Vec<Unit> = (0..self.ops).map(|_| generator.unit()).collect();
        if rng.u8(0..4) == 0 {
            run.limit_memory()?;
        }
        let mut attached = Attached::new(run.server.port, rng.bool())?;
        let mut sent = 0;
        let mut bad = None;
        while sent < units.len() && bad.is_none() {
            let next = (sent + rng.usize(1..200)).min(units.len());
            run.send(&units[sent..next])?;
            sent = next;
            bad = self.disturb_or_check(&mut rng, &mut run, &mut attached, tally)?;
        }
        if bad.is_none() {
            bad = self.check(&mut run, &mut attached, tally, true)?;
        }
        note(tally, &attached);
        Ok(bad.map(|report| Divergence { report, settings, units: units[..sent].to_vec() }))
    }

    fn disturb_or_check(
        &self,
        rng: &mut Rng,
        run: &mut Run,
        attached: &mut Attached,
        tally: &mut Tally,
    ) -> io::Result<Option<String>> {
        match rng.u32(0..10) {
            // A new mirror: a full sync in the middle of everything.
            0 => {
                note(tally, attached);
                *attached = Attached::new(run.server.port, rng.bool())?;
            }
            // Cut off: it goes on by partial resync.
            1 => {
                let _ = run.checker.call(&["CLIENT", "KILL", "TYPE", "replica"])?;
                attached.ensure_link()?;
            }
            2..5 => return self.check(run, attached, tally, false),
            _ => attached.ensure_link()?,
        }
        Ok(None)
    }

    fn check(
        &self,
        run: &mut Run,
        attached: &mut Attached,
        tally: &mut Tally,
        deep: bool,
    ) -> io::Result<Option<String>> {
        let equal = run.equal(attached)?;
        tally.checks += 1;
        if equal == Some(true) && !deep {
            return Ok(None);
        }
        let ends = attached.history.lock().ends.join("\n    ");
        let found = lasting_differences(run, attached)?;
        let broken = ["diverged", "panicked", "protocol"].iter().any(|code| ends.contains(code));
        let unknown = attached.shared.status.unknown_commands.lock().clone();
        if equal == Some(true) && found.is_empty() && !broken && unknown.is_empty() {
            return Ok(None);
        }
        let ends = format!("{ends}\n  unknown commands: {unknown:?}");
        let told = report(&found, &attached.history.lock());
        Ok(Some(format!("  equal at one offset: {equal:?}; links ended:\n    {ends}\n{told}")))
    }
}

/// Servers go on deleting what has expired, and evicting, while they are asked: only what stays different counts.
fn lasting_differences(run: &mut Run, attached: &mut Attached) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for _ in 0..20 {
        let (offset, _) = run.pair()?;
        attached.at(offset)?;
        let Some(snapshot) = attached.shared.live.snapshot() else { return Err(io::Error::other("no full sync")) };
        found = differences(&mut run.checker, &snapshot.keyspace, run.dialect, now_ms())?;
        if found.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn note(tally: &mut Tally, attached: &Attached) {
    use std::sync::atomic::Ordering::Relaxed;
    let status = &attached.shared.status;
    tally.commands += attached.history.lock().commands.max(status.commands_applied.load(Relaxed));
    tally.full_syncs += status.full_syncs.load(Relaxed);
    tally.partial_syncs += status.partial_syncs.load(Relaxed);
}

/// Settings that force one encoding or the other, disk and diskless transfers, eviction.
fn settings(rng: &mut Rng) -> Vec<String> {
    let mut settings = Vec::new();
    let mut set = |name: &str, values: &[&str]| {
        if rng.bool() {
            settings.extend([format!("--{name}"), values[rng.usize(0..values.len())].to_owned()]);
        }
    };
    set("list-max-listpack-size", &["1", "5", "-1"]);
    set("list-compress-depth", &["1", "2"]);
    set("hash-max-listpack-entries", &["0", "4", "1000"]);
    set("hash-max-listpack-value", &["1", "10"]);
    set("set-max-intset-entries", &["0", "4", "1000"]);
    set("stream-node-max-entries", &["1", "3", "10"]);
    set("stream-node-max-bytes", &["40", "300"]);
    set("repl-diskless-sync", &["yes", "no"]);
    set("rdbcompression", &["yes", "no"]);
    set("lazyfree-lazy-expire", &["yes", "no"]);
    settings
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

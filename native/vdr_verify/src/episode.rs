//! One program on one server, with the mirror attached, restarted, cut off, and compared.

use crate::attach::Attached;
use crate::cmd;
use crate::compare::{Difference, differences, report};
use crate::filtered;
use crate::generate::{DATABASES, Generator, Unit};
use crate::settings::{self, Setting};
use fastrand::Rng;
use std::fmt;
use std::io;
use std::thread;
use vdr_core::digest::{self, Dialect};
use vdr_core::live::Snapshot;
use vdr_core::only::Only;
use vdr_testkit::{Binary, Client, Command, Reply, Server, command};

/// Little enough that programs run into it, enough that the server can work.
const EVICTION_HEADROOM_BYTES: u64 = 3_000_000;

/// The shortest limit of a string that a server takes: hostile offsets shall not make strings of half a gigabyte.
const STRING_BYTES_MAX: usize = 1 << 20;

fn fixed_settings() -> [String; 4] {
    ["--proto-max-bulk-len", "1mb", "--databases", &DATABASES.to_string()].map(str::to_owned)
}

/// What all episodes together did.
#[derive(Default)]
pub struct Tally {
    pub commands: u64,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub checks: u64,
    /// Commands that went through a filter, and how many of them asked for a full sync.
    pub filtered: u64,
    pub asked_for: u64,
    /// Servers that died of a program.
    pub crashes: u64,
    pub divergences: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verify: {} commands, {} full syncs, {} digests, {} divergences",
            self.commands, self.full_syncs, self.checks, self.divergences
        )
    }
}

/// The mirror was not the primary.
pub struct Divergence {
    pub report: String,
    pub settings: Vec<Setting>,
    pub only: Only,
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
    pub fn start(binary: &Binary, settings: &[Setting]) -> io::Result<Self> {
        let server = Server::start(binary, &fixed_settings())?;
        let (client, mut checker) = (server.client()?, server.client()?);
        settings::apply(&mut checker, settings)?;
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
        let policy = self.client.call(&["CONFIG", "GET", "maxmemory-policy"])?.items();
        if policy.last().is_none_or(|policy| policy.text() == "noeviction") {
            self.client.call(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"])?;
        }
        self.client.call(&["CONFIG", "SET", "maxmemory", &(used + EVICTION_HEADROOM_BYTES).to_string()])?;
        Ok(())
    }

    /// Sends units; what fails on the server fails there and is not in the stream.
    pub fn send(&mut self, units: &[Unit]) -> io::Result<()> {
        send(&mut self.client, units)
    }

    /// Waits until both sides are at one offset and answers whether they are equal there.
    pub fn equal(&mut self, attached: &mut Attached) -> io::Result<Option<bool>> {
        for _ in 0..50 {
            let (offset, theirs) = pair(&mut self.checker)?;
            if let Some(snapshot) = attached.at(offset)? {
                return Ok(Some(digest_of(&snapshot, self.dialect)? == theirs));
            }
        }
        Ok(None)
    }

    /// Sends units while digests are asked for. Answers how many were compared, and the offset of the first that differed.
    fn under_load(&mut self, units: &[Unit], attached: &mut Attached) -> io::Result<(u64, Option<u64>)> {
        let (client, checker, dialect) = (&mut self.client, &mut self.checker, self.dialect);
        thread::scope(|scope| {
            let writer = scope.spawn(move || send(client, units));
            let (mut checks, mut wrong) = (0, None);
            while !writer.is_finished() && wrong.is_none() {
                let (offset, theirs) = pair(checker)?;
                let Some(snapshot) = attached.at(offset)? else { continue };
                checks += 1;
                wrong = (digest_of(&snapshot, dialect)? != theirs).then_some(offset);
            }
            writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
            Ok((checks, wrong))
        })
    }
}

/// Sends units; what fails on the server fails there and is not in the stream.
fn send(client: &mut Client, units: &[Unit]) -> io::Result<()> {
    let mut batch: Vec<Command> = Vec::new();
    for unit in units {
        match unit {
            Unit::Restore { from, to, options } => {
                client.pipeline(&std::mem::take(&mut batch))?;
                let dumped = client.pipeline(&[cmd!["DUMP", from]])?.pop();
                // A server closes a connection that sends it a longer argument.
                if let Some(Reply::Bulk(Some(payload))) = dumped.filter(is_short) {
                    let (ttl, options) = options.split_at(1);
                    let mut restore = cmd!["RESTORE", to, ttl[0], payload];
                    restore.extend(options.iter().cloned());
                    batch.push(restore);
                }
            }
            _ => batch.extend(Generator::commands(unit)),
        }
    }
    client.pipeline(&batch)?;
    Ok(())
}

fn is_short(reply: &Reply) -> bool {
    matches!(reply, Reply::Bulk(Some(bytes)) if bytes.len() < STRING_BYTES_MAX)
}

/// An offset and the server's digest at exactly that offset.
fn pair(checker: &mut Client) -> io::Result<(u64, String)> {
    let ask =
        [command(&["MULTI"]), command(&["INFO", "replication"]), command(&["DEBUG", "DIGEST"]), command(&["EXEC"])];
    let replies = checker.pipeline(&ask)?;
    let Some(Reply::Array(Some(answers))) = replies.last() else {
        // Out of memory, a server refuses whatever is queued: what is left to evict was not enough.
        checker.call(&["CONFIG", "SET", "maxmemory", "0"])?;
        return pair(checker);
    };
    let [info, digest] = answers.as_slice() else { return Err(io::Error::other("no answer to the digest")) };
    let offset = info.text().lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
    let offset = offset.ok_or_else(|| io::Error::other("no offset in INFO replication"))?;
    Ok((offset, digest.text()))
}

impl Episode<'_> {
    pub fn run(&self, tally: &mut Tally) -> io::Result<Option<Divergence>> {
        let mut rng = Rng::with_seed(self.seed ^ 0x5eed);
        let (settings, negative_zero) = settings::choose(&mut rng);
        let mut run = Run::start(self.binary, &settings)?;
        let only = filtered::choose(&mut rng);
        let mut generator = Generator::new(self.seed, run.has_field_expiry()?, negative_zero);
        let units: Vec<Unit> = (0..self.ops).map(|_| generator.unit()).collect();
        let outcome = self.program(&mut rng, &mut run, &units, &only, tally);
        let (bad, sent) = match outcome {
            Ok(outcome) => outcome,
            // A server may have bugs of its own.
            Err(_) if run.server.is_gone() => {
                tally.crashes += 1;
                let (name, seed, log) = (&self.binary.name, self.seed, run.server.last_words());
                println!("verify: {name} crashed, --seed {seed} --ops {}; its log ends{log}", self.ops);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(bad.map(|report| Divergence { report, settings, only, units: units.into_iter().take(sent).collect() }))
    }

    /// Sends the units, and answers what was wrong after how many of them.
    fn program(
        &self,
        rng: &mut Rng,
        run: &mut Run,
        units: &[Unit],
        only: &Only,
        tally: &mut Tally,
    ) -> io::Result<(Option<String>, usize)> {
        if rng.u8(0..4) == 0 {
            run.limit_memory()?;
        }
        let mut attached = Attached::new(run.server.port, rng.bool(), only)?;
        let mut sent = 0;
        let mut bad = None;
        while sent < units.len() && bad.is_none() {
            let next = (sent + rng.usize(1..200)).min(units.len());
            // Before its first replica a server counts no offsets.
            let attached_once = attached.shared.live.snapshot().is_some();
            if rng.u8(0..4) == 0 && attached_once {
                let (checks, wrong) = run.under_load(&units[sent..next], &mut attached)?;
                tally.checks += checks;
                bad = wrong.map(|offset| attached.history.lock().before(offset));
            } else {
                run.send(&units[sent..next])?;
            }
            sent = next;
            if bad.is_none() {
                bad = self.disturb_or_check(rng, run, &mut attached, only, tally)?;
            }
        }
        if bad.is_none() {
            bad = self.check(run, &mut attached, tally, true)?;
        }
        note(tally, &attached);
        Ok((bad, sent))
    }

    fn disturb_or_check(
        &self,
        rng: &mut Rng,
        run: &mut Run,
        attached: &mut Attached,
        only: &Only,
        tally: &mut Tally,
    ) -> io::Result<Option<String>> {
        match rng.u32(0..11) {
            // A new mirror: a full sync in the middle of everything.
            0 => {
                note(tally, attached);
                *attached = Attached::new(run.server.port, rng.bool(), only)?;
            }
            // Cut off: it goes on by partial resync.
            1 => {
                let _ = run.checker.call(&["CLIENT", "KILL", "TYPE", "replica"])?;
                attached.ensure_link()?;
            }
            // Keys past their time are found by whoever looks for them, or by the server's own search.
            2 => {
                let active = if rng.bool() { "1" } else { "0" };
                run.checker.call(&["DEBUG", "SET-ACTIVE-EXPIRE", active])?;
            }
            3..6 => return self.check(run, attached, tally, false),
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
        if let Some(wrong) = attached.filter_was_wrong() {
            return Ok(Some(wrong));
        }
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

fn digest_of(snapshot: &Snapshot, dialect: Dialect) -> io::Result<String> {
    let digest = digest::digest(&snapshot.keyspace, dialect, now_ms());
    digest.map(|digest| digest.to_string()).map_err(|_| io::Error::other("the mirror holds values without a digest"))
}

/// Servers go on deleting what has expired, and evicting, while they are asked: only what stays different counts.
fn lasting_differences(run: &mut Run, attached: &mut Attached) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for _ in 0..20 {
        let (offset, _) = pair(&mut run.checker)?;
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
    if let Some(filtered) = &attached.history.lock().filtered {
        tally.filtered += filtered.commands;
        tally.asked_for += filtered.full_syncs;
    }
    tally.commands += attached.history.lock().commands.max(status.commands_applied.load(Relaxed));
    tally.full_syncs += status.full_syncs.load(Relaxed);
    tally.partial_syncs += status.partial_syncs.load(Relaxed);
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

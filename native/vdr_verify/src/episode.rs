//! Runs one program on one server, with the mirror attached, restarted, cut off, and compared.

use crate::attach::Attached;
use crate::command::cmd;
use crate::command::show;
use crate::compare::{Difference, differences, lasting, report};
use crate::crash::last_words;
use crate::filtered;
use crate::generate::{Abilities, DATABASES, Generator, Unit};
use crate::proof::Proof;
use crate::settings::{self, Setting};
use crate::wrong::Wrong;
use fastrand::Rng;
use std::fmt;
use std::io;
use std::thread;
use vdr_commands::Rules;
use vdr_data::digest::Dialect;
use vdr_link::now_ms;
use vdr_replica::filter::Filter;
use vdr_testkit::{Binary, Client, Command, Reply, Server};

/// So little that programs reach the limit, and enough for the server to work.
const EVICTION_HEADROOM_BYTES: u64 = 3_000_000;

/// The lowest string limit that a server accepts, so that hostile offsets do not make strings of
/// half a gigabyte.
const STRING_BYTES_MAX: usize = 1 << 20;

/// How many unanswered commands a report shows.
const UNANSWERED_SHOWN: usize = 40;

pub fn fixed_settings() -> [String; 4] {
    ["--proto-max-bulk-len", "1mb", "--databases", &DATABASES.to_string()].map(str::to_owned)
}

/// The totals of all episodes.
#[derive(Default)]
pub struct Tally {
    pub commands: u64,
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub checks: u64,
    /// Commands that went through a filter; then how many of them asked for a full sync.
    pub filtered: u64,
    pub asked_for: u64,
    /// Servers that a program brought down.
    pub crashes: u64,
    pub divergences: u64,
}

impl Tally {
    pub fn count(&mut self, what: What) {
        match what {
            What::Divergence => self.divergences += 1,
            What::Crash => self.crashes += 1,
        }
    }

    pub fn failures(&self) -> u64 {
        self.divergences + self.crashes
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verify: {} commands, {} full syncs, {} digests, {} divergences",
            self.commands, self.full_syncs, self.checks, self.divergences
        )?;
        if self.crashes > 0 { write!(f, ", {} servers crashed", self.crashes) } else { Ok(()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The mirror differed from the primary.
    Divergence,
    /// The server died, perhaps of a bug of its own.
    Crash,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Divergence => "DIVERGENCE on",
            What::Crash => "CRASH of the server",
        })
    }
}

/// The units to send, and the kind of server and mirror.
pub struct Program {
    pub settings: Vec<Setting>,
    pub only: Filter,
    pub units: Vec<Unit>,
}

/// The result of a program that failed.
pub struct Failure {
    pub what: What,
    pub report: String,
    pub program: Program,
}

pub struct Episode<'a> {
    pub binary: &'a Binary,
    pub seed: u64,
    pub ops: usize,
    /// The fault that the mirror commits on purpose.
    pub wrong: Option<&'a Wrong>,
}

/// A running program.
pub struct Run {
    pub server: Server,
    pub client: Client,
    /// A connection for checks only. It may select any database.
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

    pub fn abilities(&mut self, negative_zero: bool) -> io::Result<Abilities> {
        let redis_8_0 = self.server.kind == "redis" && self.server.version.starts_with("8.0.");
        let entries_miscounted = !Rules::of(&self.server.kind, &self.server.version).entries_read_capped;
        Ok(Abilities { field_expiry: self.has_field_expiry()?, negative_zero, redis_8_0, entries_miscounted })
    }

    fn has_field_expiry(&mut self) -> io::Result<bool> {
        Ok(self.client.call(&["COMMAND", "COUNT"]).is_ok()
            && matches!(
                self.client.call(&["COMMAND", "INFO", "HPEXPIREAT"])?.items().first(),
                Some(Reply::Array(Some(_)))
            ))
    }

    /// Makes the server evict: limits its memory to little more than it uses now.
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

    /// Sends units. A command that the server refuses does not reach the stream.
    pub fn send(&mut self, units: &[Unit]) -> io::Result<()> {
        send(&mut self.client, units)
    }

    /// Waits until both sides are at one offset, and returns whether they are equal there.
    pub fn equal(&mut self, attached: &mut Attached) -> io::Result<Option<bool>> {
        for _ in 0..50 {
            // Before its first replica a server counts no offsets, so it may evict without a change
            // of its offset.
            let counts = attached.shared.live.snapshot().is_some();
            let proof = Proof::ask(&mut self.checker)?;
            match attached.at(proof.offset)? {
                Some(snapshot) if counts => return proof.holds(&snapshot, self.dialect).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Sends units while another connection asks for digests. Returns how many digests were
    /// compared, and the offset of the first that differed.
    fn under_load(&mut self, units: &[Unit], attached: &mut Attached) -> io::Result<(u64, Option<u64>)> {
        let (client, checker, dialect) = (&mut self.client, &mut self.checker, self.dialect);
        thread::scope(|scope| {
            let writer = scope.spawn(move || send(client, units));
            let mut compare = || {
                let (mut checks, mut wrong) = (0, None);
                while !writer.is_finished() && wrong.is_none() {
                    let proof = Proof::ask(checker)?;
                    let Some(snapshot) = attached.at(proof.offset)? else { continue };
                    checks += 1;
                    wrong = (!proof.holds(&snapshot, dialect)?).then_some(proof.offset);
                }
                Ok((checks, wrong))
            };
            let compared = compare();
            // If both fail, the writer's error is the better one: it knows the command.
            writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
            compared
        })
    }
}

/// Sends units. A command that the server refuses does not reach the stream.
fn send(client: &mut Client, units: &[Unit]) -> io::Result<()> {
    let mut batch: Vec<Command> = Vec::new();
    for unit in units {
        match unit {
            Unit::Restore { from, to, options } => {
                answered(client, &std::mem::take(&mut batch))?;
                let dumped = client.pipeline(&[cmd!["DUMP", from]])?.pop();
                // A server closes a connection that sends a longer argument.
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
    answered(client, &batch)
}

/// Sends commands that are all answered. The error lists those that were not.
fn answered(client: &mut Client, commands: &[Command]) -> io::Result<()> {
    // Replies from before the server's death can still be read.
    let sent = client.send(commands);
    for at in 0..commands.len() {
        client.reply().map_err(|error| unanswered(&error, &commands[at..]))?;
    }
    sent
}

fn unanswered(error: &io::Error, commands: &[Command]) -> io::Error {
    let lines: String = commands.iter().take(UNANSWERED_SHOWN).map(|one| format!("\n    {}", show(one))).collect();
    io::Error::other(format!("{error}; the last {} commands were not answered, they begin with{lines}", commands.len()))
}

fn is_short(reply: &Reply) -> bool {
    matches!(reply, Reply::Bulk(Some(bytes)) if bytes.len() < STRING_BYTES_MAX)
}

impl Episode<'_> {
    pub fn run(&self, tally: &mut Tally) -> io::Result<Option<Failure>> {
        let mut rng = Rng::with_seed(self.seed ^ 0x5eed);
        let (settings, negative_zero) = settings::choose(&mut rng);
        let mut run = Run::start(self.binary, &settings)?;
        let only = filtered::choose(&mut rng);
        let mut generator = Generator::new(self.seed, run.abilities(negative_zero)?);
        let units = (0..self.ops).map(|_| generator.unit()).collect();
        self.attempt(&mut rng, &mut run, Program { settings, only, units }, tally)
    }

    pub fn attempt(
        &self,
        rng: &mut Rng,
        run: &mut Run,
        mut program: Program,
        tally: &mut Tally,
    ) -> io::Result<Option<Failure>> {
        let (what, report) = match self.program(rng, run, &program.units, &program.only, tally) {
            Ok((None, _)) => return Ok(None),
            Ok((Some(report), sent)) => {
                program.units.truncate(sent);
                (What::Divergence, report)
            }
            Err(error) => {
                let Some(end) = run.server.end() else { return Err(error) };
                (What::Crash, format!("  {end}: {error}\n  its log{}", last_words(&run.server.log())))
            }
        };
        Ok(Some(Failure { what, report, program }))
    }

    fn attach(&self, rng: &mut Rng, run: &Run, only: &Filter) -> io::Result<Attached> {
        Attached::new(run.server.port, rng.bool(), only, self.wrong.cloned())
    }

    /// Sends the units. Returns the failure, and after how many units it happened.
    fn program(
        &self,
        rng: &mut Rng,
        run: &mut Run,
        units: &[Unit],
        only: &Filter,
        tally: &mut Tally,
    ) -> io::Result<(Option<String>, usize)> {
        if rng.u8(0..4) == 0 {
            run.limit_memory()?;
        }
        let mut attached = self.attach(rng, run, only)?;
        let mut sent = 0;
        let mut bad = None;
        while sent < units.len() && bad.is_none() {
            let next = (sent + rng.usize(1..200)).min(units.len());
            // Before its first replica a server counts no offsets.
            let attached_once = attached.shared.live.snapshot().is_some();
            if rng.u8(0..4) == 0 && attached_once {
                let (checks, wrong) = run.under_load(&units[sent..next], &mut attached)?;
                tally.checks += checks;
                bad = match wrong {
                    Some(offset) => Some(digest_report_under_load(offset, run, &mut attached)?),
                    None => None,
                };
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
        only: &Filter,
        tally: &mut Tally,
    ) -> io::Result<Option<String>> {
        match rng.u32(0..11) {
            // A new mirror: a full sync in the middle of the program.
            0 => {
                if let Some(faults) = attached.faults() {
                    return Ok(Some(faults));
                }
                note(tally, attached);
                *attached = self.attach(rng, run, only)?;
            }
            // A cut: the mirror resumes by a partial resync.
            1 => {
                let _ = run.checker.call(&["CLIENT", "KILL", "TYPE", "replica"])?;
                attached.ensure_link()?;
            }
            // Keys past their time are found by a client's access, or by the server's own search.
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
        // What an unknown command names has no digest, so this comes first.
        if let Some(unknown) = attached.unknown_with_row() {
            return Ok(Some(unknown));
        }
        let equal = run.equal(attached)?;
        tally.checks += 1;
        if let Some(wrong) = attached.filter_was_wrong() {
            return Ok(Some(wrong));
        }
        let faults = attached.faults();
        if equal == Some(true) && faults.is_none() && !deep {
            return Ok(None);
        }
        let ends = attached.history.lock().ends.join("\n    ");
        let found = lasting_differences(run, attached)?;
        let unknown = attached.shared.status.unknown_commands.lock().clone();
        if equal == Some(true) && found.is_empty() && faults.is_none() && unknown.is_empty() {
            return Ok(None);
        }
        let ends = format!("{ends}\n  unknown commands: {unknown:?}");
        let report_text = report(&found, &attached.history.lock());
        Ok(Some(format!("  equal at one offset: {equal:?}; links ended:\n    {ends}\n{report_text}")))
    }
}

/// The program is over by now. The state at that offset is gone, but most differences persist.
fn digest_report_under_load(offset: u64, run: &mut Run, attached: &mut Attached) -> io::Result<String> {
    let found = lasting_differences(run, attached)?;
    let history = attached.history.lock();
    let (before, report_text) = (history.before(offset), report(&found, &history));
    Ok(format!("  digests differ at offset {offset}, under load, after{before}\n  and at rest:\n{report_text}"))
}

/// Servers keep deleting expired keys, and evicting, during the comparison. Only keys that differ
/// at each look count.
fn lasting_differences(run: &mut Run, attached: &mut Attached) -> io::Result<Vec<Difference>> {
    let mut found: Option<Vec<Difference>> = None;
    for _ in 0..20 {
        attached.at(Proof::ask(&mut run.checker)?.offset)?;
        let Some(snapshot) = attached.shared.live.snapshot() else { return Err(io::Error::other("no full sync")) };
        let now = differences(&mut run.checker, &snapshot.keyspace, run.dialect, now_ms())?;
        let still = match &found {
            Some(before) => lasting(now, before),
            None => now,
        };
        if still.is_empty() {
            return Ok(still);
        }
        found = Some(still);
    }
    Ok(found.unwrap_or_default())
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

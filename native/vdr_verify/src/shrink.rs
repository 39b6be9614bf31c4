//! Shortens a program that diverges or crashes its server: removes pieces for as long as it still
//! fails.

use crate::attach::Attached;
use crate::command::show;
use crate::episode::{Failure, Program, Run, What};
use crate::generate::{Generator, Unit};
use crate::wrong::Wrong;
use std::io;
use std::time::{Duration, Instant};
use vdr_testkit::Binary;

/// How long to look for a shorter program.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the mirror attaches.
#[derive(Clone, Copy)]
enum Attach {
    /// Before the program: everything arrives by the stream.
    Before,
    /// After the program: everything arrives in a snapshot file.
    After,
}

struct Shrinker<'a> {
    binary: &'a Binary,
    what: What,
    program: &'a Program,
    attach: Attach,
    wrong: Option<&'a Wrong>,
    start: Instant,
}

/// The shortest failing program found, as a text for people. Says so if the failure does not
/// repeat.
pub fn shrink(binary: &Binary, failure: Failure, wrong: Option<&Wrong>) -> String {
    let Failure { what, program, .. } = failure;
    let ways = match what {
        What::Divergence => [(Attach::Before, "as a stream"), (Attach::After, "as a snapshot file")],
        What::Crash => [(Attach::After, "without a replica"), (Attach::Before, "with a replica")],
    };
    let shrinkers = ways
        .map(|(attach, how)| (Shrinker { binary, what, program: &program, attach, wrong, start: Instant::now() }, how));
    let Some((shrinker, how)) = shrinkers.iter().find(|(shrinker, _)| shrinker.fails(&program.units)) else {
        let again = match what {
            What::Divergence => "diverge",
            What::Crash => "crash the server",
        };
        return format!(
            "  the program alone does not {again} again: it takes a cut, an eviction or a time at the right moment"
        );
    };
    let mut units = program.units.clone();
    shrinker.cut(&mut units);
    let parts: Vec<Unit> = units.iter().flat_map(parts).collect();
    if parts.len() > units.len() && shrinker.fails(&parts) {
        units = parts;
        shrinker.cut(&mut units);
    }
    let settings: String =
        program.settings.iter().map(|(name, value)| format!("\n  CONFIG SET {name} {value}")).collect();
    let lines: String = units.iter().take(40).map(line).collect();
    format!("  {} units are enough, {how}:{settings}{lines}", units.len())
}

fn line(unit: &Unit) -> String {
    match unit {
        Unit::Restore { from, to, options } => {
            format!("\n  DUMP {} -> RESTORE {} {}", from.escape_ascii(), to.escape_ascii(), show(options))
        }
        _ => Generator::commands(unit).iter().map(|one| format!("\n  {}", show(one))).collect(),
    }
}

/// The parts of a unit, one by one.
fn parts(unit: &Unit) -> Vec<Unit> {
    match unit {
        Unit::Multi(all) | Unit::Script(all) => all.iter().cloned().map(Unit::One).collect(),
        other => vec![other.clone()],
    }
}

impl Shrinker<'_> {
    fn cut(&self, units: &mut Vec<Unit>) {
        let mut piece = units.len().div_ceil(2);
        while piece > 0 && self.start.elapsed() < PATIENCE {
            let mut at = 0;
            while at < units.len() && self.start.elapsed() < PATIENCE {
                let mut shorter = units.clone();
                shorter.drain(at..(at + piece).min(units.len()));
                if self.fails(&shorter) {
                    *units = shorter;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
    }

    fn fails(&self, units: &[Unit]) -> bool {
        let Ok(mut run) = Run::start(self.binary, &self.program.settings) else { return false };
        let diverged = self.diverges(&mut run, units);
        match self.what {
            What::Divergence => diverged.unwrap_or(false),
            What::Crash => diverged.is_err() && run.server.end().is_some(),
        }
    }

    fn diverges(&self, run: &mut Run, units: &[Unit]) -> io::Result<bool> {
        if let Attach::After = self.attach {
            run.send(units)?;
        }
        let mut attached = Attached::new(run.server.port, true, &self.program.only, self.wrong.cloned())?;
        while attached.shared.live.snapshot().is_none() {
            std::thread::sleep(Duration::from_millis(5));
            attached.ensure_link()?;
            if self.start.elapsed() > 2 * PATIENCE {
                return Ok(true);
            }
        }
        if let Attach::Before = self.attach {
            run.send(units)?;
        }
        let equal = run.equal(&mut attached)?;
        let diverged = attached.history.lock().ends.iter().any(|end| end.contains("diverged"));
        Ok(equal != Some(true) || diverged || attached.filter_was_wrong().is_some())
    }
}

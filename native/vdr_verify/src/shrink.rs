//! Makes a diverging program short: takes pieces out for as long as it still diverges.

use crate::attach::{Attached, show};
use crate::episode::{Divergence, Run};
use crate::generate::{Generator, Unit};
use crate::settings::Setting;
use std::io;
use std::time::{Duration, Instant};
use vdr_core::only::Only;
use vdr_testkit::Binary;

/// How long to look for a shorter program.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the mirror comes to the server.
#[derive(Clone, Copy)]
enum Attach {
    /// Before the program: all of it is stream.
    Before,
    /// After it: all of it is a snapshot file.
    After,
}

struct Shrinker<'a> {
    binary: &'a Binary,
    settings: &'a [Setting],
    only: &'a Only,
    attach: Attach,
    start: Instant,
}

/// The shortest program that was found, for people; says so when the divergence does not come again.
pub fn shrink(binary: &Binary, divergence: Divergence) -> String {
    let Divergence { settings, only, mut units, .. } = divergence;
    let shrinkers = [Attach::Before, Attach::After].map(|attach| Shrinker {
        binary,
        settings: &settings,
        only: &only,
        attach,
        start: Instant::now(),
    });
    let Some(shrinker) = shrinkers.iter().find(|shrinker| shrinker.diverges(&units)) else {
        return "  the program alone does not diverge again: it takes a cut, an eviction or a time at the right moment"
            .to_owned();
    };
    shrinker.cut(&mut units);
    let parts: Vec<Unit> = units.iter().flat_map(parts).collect();
    if parts.len() > units.len() && shrinker.diverges(&parts) {
        units = parts;
        shrinker.cut(&mut units);
    }
    let how = match shrinker.attach {
        Attach::Before => "as a stream",
        Attach::After => "as a snapshot file",
    };
    let settings: String = settings.iter().map(|(name, value)| format!("\n  CONFIG SET {name} {value}")).collect();
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

/// What a unit is made of, one by one.
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
                if self.diverges(&shorter) {
                    *units = shorter;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
    }

    fn diverges(&self, units: &[Unit]) -> bool {
        self.run(units).unwrap_or(false)
    }

    fn run(&self, units: &[Unit]) -> io::Result<bool> {
        let mut run = Run::start(self.binary, self.settings)?;
        if let Attach::After = self.attach {
            run.send(units)?;
        }
        let mut attached = Attached::new(run.server.port, true, self.only)?;
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

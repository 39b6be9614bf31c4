//! Makes a diverging program short: takes pieces out for as long as it still diverges.

use crate::attach::{Attached, show};
use crate::episode::{Divergence, Run};
use crate::generate::{Generator, Unit};
use std::io;
use std::time::{Duration, Instant};
use vdr_testkit::Binary;

/// How long to look for a shorter program.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest program that was found, for people; says so when the divergence does not come again.
pub fn shrink(binary: &Binary, divergence: Divergence) -> String {
    let start = Instant::now();
    let mut units = divergence.units;
    let diverges = |units: &[Unit]| diverges(binary, &divergence.settings, units).unwrap_or(false);
    if !diverges(&units) {
        return "  the program alone does not diverge again: it takes a full sync or a cut at the right moment"
            .to_owned();
    }
    let mut piece = units.len() / 2;
    while piece > 0 && start.elapsed() < PATIENCE {
        let mut at = 0;
        while at < units.len() && start.elapsed() < PATIENCE {
            let mut shorter = units.clone();
            shorter.drain(at..(at + piece).min(units.len()));
            if diverges(&shorter) {
                units = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    let lines = units.iter().take(40).map(|unit| match unit {
        Unit::Restore { from, to, .. } => format!("  DUMP {} -> RESTORE {}", from.escape_ascii(), to.escape_ascii()),
        _ => Generator::commands(unit).iter().map(|one| format!("  {}", show(one))).collect::<Vec<_>>().join("\n"),
    });
    format!("  {} units are enough:\n{}", units.len(), lines.collect::<Vec<_>>().join("\n"))
}

fn diverges(binary: &Binary, settings: &[String], units: &[Unit]) -> io::Result<bool> {
    let mut run = Run::start(binary, settings)?;
    let mut attached = Attached::new(run.server.port, true)?;
    while attached.shared.live.snapshot().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.send(units)?;
    let equal = run.equal(&mut attached)?;
    let diverged = attached.history.lock().ends.iter().any(|end| end.contains("diverged"));
    Ok(equal != Some(true) || diverged)
}

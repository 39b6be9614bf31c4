//! Which keys a write may change.

use crate::cursor::ArgCursor;
use crate::row::{Affected, AffectedKeys, Part, Write};

/// Calls `touch` with everything that a command may change. `args` are without the command's name.
pub fn for_each_affected(row: &Write, db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if let AffectedKeys::Special(special) = row.affected {
        return special(db, args, report);
    }
    let mut words = ArgCursor::new(args);
    for part in row.shape {
        match part {
            Part::Keys => words.rest().iter().for_each(|key| report(Affected::Key { db, key })),
            Part::KeyPairs => words.rest().iter().step_by(2).for_each(|key| report(Affected::Key { db, key })),
            Part::Key => match words.bytes() {
                Ok(key) => report(Affected::Key { db, key }),
                Err(_) => return,
            },
            Part::CountedSources | Part::CountedBins if words.counted().is_err() => return,
            Part::CountedSources | Part::CountedBins => {}
            _ if words.bytes().is_err() => return,
            _ => {}
        }
    }
}

//! The keys that a write may change.

use crate::cursor::ArgCursor;
use crate::row::{Affected, AffectedKeys, Part, Write};

/// Calls `report` with everything that a write may change. `args` do not contain the command's
/// name.
pub fn for_each_affected(row: &Write, db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if let AffectedKeys::Special(special) = row.affected {
        return special(db, args, report);
    }
    let mut args = ArgCursor::new(args);
    for part in row.shape {
        match part {
            Part::Keys => args.rest().iter().for_each(|key| report(Affected::Key { db, key })),
            Part::KeyPairs => args.rest().iter().step_by(2).for_each(|key| report(Affected::Key { db, key })),
            Part::Key => match args.bytes() {
                Ok(key) => report(Affected::Key { db, key }),
                Err(_) => return,
            },
            Part::CountedSources | Part::CountedBins if args.counted().is_err() => return,
            Part::CountedSources | Part::CountedBins => {}
            _ if args.bytes().is_err() => return,
            _ => {}
        }
    }
}

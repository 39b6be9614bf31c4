//! Which keys a write may change.

use crate::cursor::Words;
use crate::row::{Part, Touch, Touches, Write};

/// Calls `touch` with everything that a command may change. `args` are without the command's name.
pub fn touched(row: &Write, db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    if let Touches::Special(special) = row.touches {
        return special(db, args, touch);
    }
    let mut words = Words::new(args);
    for part in row.shape {
        match part {
            Part::Keys => words.rest().iter().for_each(|key| touch(Touch::Key { db, key })),
            Part::KeyPairs => words.rest().iter().step_by(2).for_each(|key| touch(Touch::Key { db, key })),
            Part::Key => match words.bytes() {
                Ok(key) => touch(Touch::Key { db, key }),
                Err(_) => return,
            },
            Part::CountedSources | Part::CountedBins if words.counted().is_err() => return,
            Part::CountedSources | Part::CountedBins => {}
            _ if words.bytes().is_err() => return,
            _ => {}
        }
    }
}

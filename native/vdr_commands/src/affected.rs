//! The keys that a write may change.

use crate::cursor::ArgCursor;
use crate::row::{Affected, AffectedKeys, Part, Write};

/// Whether a write with these arguments may change the key that the first of them names, in the
/// selected database, and nothing else. `args` do not contain the command's name.
pub fn affects_first_only(row: &Write, args: &[&[u8]]) -> bool {
    let names_no_other =
        |rest: &[Part]| !rest.iter().any(|part| matches!(part, Part::Key | Part::Keys | Part::KeyPairs));
    match (row.affected, row.shape) {
        (AffectedKeys::InShape, [Part::Key, rest @ ..]) => names_no_other(rest),
        (AffectedKeys::InShape, [Part::Keys]) => args.len() == 1,
        (AffectedKeys::InShape, [Part::KeyPairs]) => args.len() <= 2,
        _ => false,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{write, writes};

    #[test]
    fn a_write_that_affects_its_first_argument_only_reports_that_and_nothing_else() {
        let args: Vec<&[u8]> = vec![b"1", b"1", b"k", b"4", b"5", b"6"];
        let mut only = 0;
        for (row, count) in writes().flat_map(|row| (1..=args.len()).map(move |count| (row, count))) {
            let args = &args[..count];
            let mut reported = Vec::new();
            for_each_affected(row, 7, args, &mut |touch| reported.push(format!("{touch:?}")));
            if affects_first_only(row, args) {
                only += 1;
                assert_eq!(reported, [format!("{:?}", Affected::Key { db: 7, key: args[0] })], "{} {count}", row.name);
            }
        }
        assert!(only > 300, "{only}");
        let is_only = |name: &[u8], count: usize| affects_first_only(write(name).unwrap(), &args[..count]);
        let with = |count| {
            [&b"set"[..], b"hset", b"del", b"mset", b"rename", b"swapdb", b"sort"].map(|name| is_only(name, count))
        };
        assert_eq!(with(1), [true, true, true, true, false, false, false]);
        assert_eq!(with(2), [true, true, false, true, false, false, false]);
        assert_eq!(with(4), [true, true, false, false, false, false, false]);
    }
}

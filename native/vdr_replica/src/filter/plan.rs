//! What a write is to a keyspace that holds only a part.
//!
//! ```text
//! changes nothing of ours                          -> Pass     SET outside 1
//! changes keys of ours, reads nothing else         -> Run      SET ours 1
//! changes some of ours and others                  -> Strip    MSET ours 1 outside 2: run, then remove what is not ours
//! leaves keys of ours with a type that is not kept -> Drop     SET ours 1, with hashes only: remove
//! reads what we have not, changes a key of ours    -> Missing  RENAME outside ours: only a full sync tells
//! ```

use super::Only;
use vdr_commands::{Part, Touch, Words, Write};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::Kind;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Pass,
    Run,
    Strip,
    Drop,
    /// SMOVE from a set that is not ours: the member joins.
    Join,
    Missing,
}

/// Commands whose effect on one key does not hang on the others that they name.
const EACH_BY_ITSELF: &[&str] = &["del", "unlink", "mset", "msetnx", "msetex", "pfcount"];

/// Commands that take from a first key to a second one, or to the same in another database.
const FROM_TO: &[&str] = &["rename", "renamenx", "lmove", "rpoplpush", "smove", "move", "copy"];

/// Commands that choose one of several keys.
const FIRST_OF: &[&str] = &["lmpop", "zmpop"];

/// Stores of sorted sets that read sets, too.
const SETS_AS_SOURCES: &[&str] = &["zunionstore", "zinterstore", "zdiffstore"];

/// Commands that change a key's expiry and do nothing when there is no such key.
const EXPIRY: &[&str] = &["pexpireat", "expireat", "pexpire", "expire", "persist", "getex"];

/// Commands that put a string in the place of anything, with a word that leaves the expiry of what was there.
const EXPIRY_STAYS: &[&str] = &["set", "msetex"];

/// What a command touches of the kept and of the rest.
#[derive(Default)]
struct Reach {
    ours: bool,
    others: bool,
    /// A kept key that the type does not matter for.
    guard: bool,
    whole: bool,
}

impl Only {
    /// How to apply a write. `args` are without its name.
    pub fn plan(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace) -> Plan {
        let reach = self.reach(row, db, args);
        if reach.whole {
            return self.of_whole(row, args);
        }
        if !reach.ours {
            // A command that touches nothing at all is for its row to judge.
            return if reach.others { Plan::Pass } else { Plan::Run };
        }
        if self.drops_kind_of(row) {
            // One that chooses among keys leaves those that it does not choose as they are, of whatever type.
            return match FIRST_OF.contains(&row.name) {
                true => Plan::Pass,
                false if reach.guard => Plan::Strip,
                false => Plan::Drop,
            };
        }
        let run = if reach.others || self.kinds.is_some() { Plan::Strip } else { Plan::Run };
        let name = row.name;
        if self.kinds.is_some() && EXPIRY_STAYS.contains(&name) && leaves_expiry(args) {
            // Of what it replaces, the expiry is needed and the type is unknown.
            if self.lacks_one(row, db, args, keyspace) { Plan::Missing } else { run }
        } else if EACH_BY_ITSELF.contains(&name) {
            run
        } else if FROM_TO.contains(&name) {
            self.transfer(row, db, args, keyspace, run)
        } else if FIRST_OF.contains(&name) {
            if reach.others { Plan::Missing } else { run }
        } else if EXPIRY.contains(&name) {
            let there = args.first().is_some_and(|key| keyspace.db(db).get(key).is_some());
            if there || self.kinds.is_none() { run } else { Plan::Pass }
        } else if self.reads_elsewhere(row, db, args, keyspace) {
            Plan::Missing
        } else {
            run
        }
    }

    /// Whether a key of ours that a command touches is not there.
    fn lacks_one(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace) -> bool {
        let mut lacks = false;
        vdr_commands::touched(row, db, args, &mut |touch| {
            if let Touch::Key { db, key } = touch {
                lacks |= self.has_place(db, key) && keyspace.db(db).get(key).is_none();
            }
        });
        lacks
    }

    fn reach(&self, row: &Write, db: u32, args: &[&[u8]]) -> Reach {
        let mut reach = Reach::default();
        vdr_commands::touched(row, db, args, &mut |touch| match touch {
            Touch::Key { key, .. } if self.is_always(key) => (reach.ours, reach.guard) = (true, true),
            Touch::Key { db, key } if self.has_place(db, key) => reach.ours = true,
            Touch::Key { .. } => reach.others = true,
            Touch::Db(_) | Touch::All => reach.whole = true,
        });
        reach
    }

    /// Flushing is the same for a part. Swapping a database that is kept with one that is not brings what we have not.
    fn of_whole(&self, row: &Write, args: &[&[u8]]) -> Plan {
        if row.name != "swapdb" {
            return Plan::Run;
        }
        let mut words = Words::new(args);
        let mut kept = || words.int().ok().and_then(|index| u32::try_from(index).ok()).map(|db| self.has_db(db));
        match (kept(), kept()) {
            (Some(false), Some(false)) => Plan::Pass,
            (Some(a), Some(b)) if a != b => Plan::Missing,
            _ => Plan::Run,
        }
    }

    fn transfer(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace, run: Plan) -> Plan {
        let Some(from) = args.first() else { return Plan::Run };
        if self.is_always(from) || self.has_place(db, from) {
            // What is missing here has a type that is not kept, and so has what it becomes.
            let gone = self.kinds.is_some() && keyspace.db(db).get(from).is_none();
            return if gone { Plan::Drop } else { run };
        }
        if row.name == "smove" { Plan::Join } else { Plan::Missing }
    }

    /// Whether a command reads a key that we may not have.
    fn reads_elsewhere(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace) -> bool {
        let patterns = args.iter().any(|arg| arg.contains(&b'*'));
        if row.name == "sort" && (self.kinds.is_some() || self.prefixes.is_some() && patterns) {
            return true;
        }
        let sets_too = SETS_AS_SOURCES.contains(&row.name) && !self.has_kind(Kind::Set);
        let mut elsewhere = false;
        sources(row, args, &mut |key| {
            let absent = sets_too && keyspace.db(db).get(key).is_none();
            elsewhere |= absent || !self.has_place(db, key);
        });
        elsewhere
    }
}

/// The word stands behind keys and values; one of those that looks like it costs a full sync.
fn leaves_expiry(args: &[&[u8]]) -> bool {
    args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(b"keepttl"))
}

/// Calls `source` with each key that a command reads, as its shape tells.
fn sources(row: &Write, args: &[&[u8]], source: &mut dyn FnMut(&[u8])) {
    let mut words = Words::new(args);
    for part in row.shape {
        match part {
            Part::Source => words.bytes().into_iter().for_each(&mut *source),
            Part::Sources => words.rest().iter().for_each(|key| source(key)),
            Part::CountedSources => words.counted().into_iter().flatten().for_each(|key| source(key)),
            Part::Key | Part::Bin | Part::Int | Part::Float | Part::Word => {
                if words.bytes().is_err() {
                    return;
                }
            }
            // Whatever else there is, no key that is read comes behind it.
            _ => return,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

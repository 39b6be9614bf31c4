//! Keys in doubt: a command that is not understood may have changed them. Their values are marked
//! unknown, so that their reads answer an error instead of an old value.
//!
//! A command without a row may change, or make, any key that it names, and any of its arguments may
//! be a name. So all of them are marked, but for the words that options of known commands have. An
//! argument under whose name there is no key may be a value: such marks are bounded, by command and
//! in all ([`Names`]). Beyond the bounds [`Applier::is_complete`](super::Applier::is_complete) says
//! that not everything is followed.
//!
//! A command with an option that its row does not know changes the keys that the row says, and
//! perhaps others that are there.

use crate::filter::Filter;
use vdr_commands::{Affected, ApplyError, Write, is_option};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;

/// Most arguments of one command that are marked although there is no such key.
pub(super) const NAMES_PER_COMMAND_MAX: usize = 16;
/// Most such marks behind one full sync, first arguments aside.
pub(super) const NAMES_MAX: usize = 10_000;
/// The longest argument that is marked although there is no such key: longer ones are values.
const NAME_BYTES_MAX: usize = 1024;

/// How many names may still be marked under which there is no key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    left: usize,
}

impl Default for Names {
    fn default() -> Self {
        Names { left: NAMES_MAX }
    }
}

impl Names {
    /// A command of an unknown name has changed what its arguments name.
    pub fn mark(&mut self, keyspace: &mut Keyspace, db: u32, args: &[&[u8]], filter: Option<&Filter>) {
        let is_kept = |name: &&&[u8]| filter.is_none_or(|filter| filter.may_keep(db, name));
        mark_existing(keyspace, db, args);
        // Nearly all commands name a key first.
        if let Some(first) = args.first().filter(is_kept) {
            keyspace.db_mut(db).make_unknown(first);
        }
        let others = args.iter().skip(1).filter(|name| name.len() <= NAME_BYTES_MAX && !is_option(name));
        for name in others.filter(is_kept).take(NAMES_PER_COMMAND_MAX) {
            if keyspace.db(db).get(name).is_some() {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            keyspace.db_mut(db).make_unknown(name);
        }
    }
}

/// A command of a known name, which could not be applied, has changed what its row says.
pub(super) fn mark_affected(
    keyspace: &mut Keyspace,
    row: &Write,
    db: u32,
    args: &[&[u8]],
    filter: Option<&Filter>,
) -> Result<(), ApplyError> {
    let mut whole = false;
    vdr_commands::for_each_affected(row, db, args, &mut |affected| match affected {
        Affected::Key { db, key } if filter.is_none_or(|filter| filter.may_keep(db, key)) => {
            keyspace.db_mut(db).make_unknown(key);
        }
        Affected::Key { .. } => {}
        Affected::Db(_) | Affected::All => whole = true,
    });
    // Not one value is known then.
    if whole { Err(ApplyError::BadArguments) } else { Ok(()) }
}

/// Marks the keys that are there under the name of an argument.
pub(super) fn mark_existing(keyspace: &mut Keyspace, db: u32, args: &[&[u8]]) {
    for arg in args {
        if keyspace.db(db).get(arg).is_some() {
            keyspace.db_mut(db).make_unknown(arg);
        }
    }
}

/// Whether an error of a write is no contradiction: one of the keys that it names is not followed,
/// or may be there and we do not know it.
pub(super) fn explains(keyspace: &Keyspace, db: u32, args: &[&[u8]], error: ApplyError, is_complete: bool) -> bool {
    let is_unfollowed = |key: &&[u8]| {
        let entry = keyspace.db(db).get(key);
        entry.is_some_and(|entry| matches!(entry.value(), ValueRef::Unknown | ValueRef::Other))
    };
    match error {
        ApplyError::Missing if !is_complete => true,
        ApplyError::WrongType | ApplyError::Missing | ApplyError::NotANumber | ApplyError::OutOfRange => {
            args.iter().any(is_unfollowed)
        }
        ApplyError::BadArguments | ApplyError::BadPayload | ApplyError::NotMirrored => false,
    }
}

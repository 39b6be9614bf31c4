//! Keys in doubt: a command that is not understood may have changed them. Their values are marked
//! unknown, so that their reads answer an error instead of an old value.
//!
//! A command without a row, or with an option that its row does not know, may change any key that
//! it names. Its first argument is taken for a key, as nearly all commands name one there; any
//! other argument is a key if there is such a key. A key that it makes besides is not found this
//! way: for those, [`Applier::is_complete`](super::Applier::is_complete) says that not everything
//! is followed.

use crate::filter::Filter;
use vdr_commands::{Affected, ApplyError, Write};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;

/// A command of an unknown name has changed what its arguments name.
pub(super) fn mark_named(keyspace: &mut Keyspace, db: u32, args: &[&[u8]], filter: Option<&Filter>) {
    if let Some(first) = args.first()
        && filter.is_none_or(|filter| filter.may_keep(db, first))
    {
        keyspace.db_mut(db).make_unknown(first);
    }
    mark_existing(keyspace, db, args);
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

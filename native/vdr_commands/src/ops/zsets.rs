//! Operations on sorted sets that several families share.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use vdr_data::value::{Score, ZSet};

/// Stores a result. An empty one deletes the destination, and a primary only sends that if the
/// destination existed.
pub fn store(apply: &mut Apply<'_>, key: &[u8], zset: ZSet) -> ApplyResult {
    if zset.is_empty() {
        return if apply.remove(key) { Ok(()) } else { Err(ApplyError::Missing) };
    }
    apply.replace(key, zset);
    Ok(())
}

/// The flags of ZADD. They apply to single members, so they hold here as they held on the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddFlags {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    incr: bool,
}

impl AddFlags {
    /// The flags of ZINCRBY.
    pub const INCR: AddFlags = AddFlags { nx: false, xx: false, gt: false, lt: false, incr: true };

    pub fn is_incr(self) -> bool {
        self.incr
    }

    pub fn take(args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut flags = AddFlags::default();
        loop {
            if args.take_word("nx") {
                flags.nx = true;
            } else if args.take_word("xx") {
                flags.xx = true;
            } else if args.take_word("gt") {
                flags.gt = true;
            } else if args.take_word("lt") {
                flags.lt = true;
            } else if args.take_word("incr") {
                flags.incr = true;
            } else if !args.take_word("ch") {
                break;
            }
        }
        let clash = flags.nx && (flags.xx || flags.gt || flags.lt) || flags.gt && flags.lt;
        if clash { Err(ApplyError::BadArguments) } else { Ok(flags) }
    }

    /// Adds or changes one member, as far as the flags allow it.
    pub fn add(self, zset: &mut ZSet, member: &[u8], given: f64) -> ApplyResult {
        let old = if self == AddFlags::default() { None } else { zset.score(member).map(Score::get) };
        let score = match old {
            None if self.xx => return Ok(()),
            None => given,
            Some(_) if self.nx => return Ok(()),
            Some(old) => {
                let new = if self.incr { old + given } else { given };
                if self.gt && new <= old || self.lt && new >= old {
                    return Ok(());
                }
                new
            }
        };
        zset.insert(member, Score::new(score).ok_or(ApplyError::NotANumber)?);
        Ok(())
    }
}

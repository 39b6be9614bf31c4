//! The options of XADD and XTRIM: how far to trim, and what happens to references to deleted
//! entries.

use crate::cursor::ArgCursor;
use crate::error::ApplyError;
use crate::ops::stream_ids::parse_id;
use vdr_data::value::Stream;
use vdr_data::value::stream::Id;

/// How far a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    MaxLen(usize),
    MinId(Id),
}

/// What happens to the groups' pending entries when the entry itself is deleted (Redis 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refs {
    /// They stay pending.
    #[default]
    Keep,
    /// They are pending no more.
    Delete,
    /// An entry stays while some group has not received or not acknowledged it.
    Acked,
}

impl Refs {
    /// Takes the next argument if it is one of the keywords.
    pub fn take(args: &mut ArgCursor<'_>) -> Option<Self> {
        let all = [("keepref", Refs::Keep), ("delref", Refs::Delete), ("acked", Refs::Acked)];
        all.into_iter().find(|(word, _)| args.take_word(word)).map(|(_, refs)| refs)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// The stream must exist.
    pub no_make: bool,
    /// The producer is idempotent: the id `*` marks a duplicate.
    pub idempotent: bool,
    pub trim: Option<Trim>,
    pub refs: Refs,
}

impl AddOptions {
    /// Takes all arguments up to the id.
    pub fn parse(args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut options = AddOptions::default();
        loop {
            if args.take_word("nomkstream") {
                options.no_make = true;
            } else if args.take_word("idmp") {
                args.take(2)?;
                options.idempotent = true;
            } else if args.take_word("idmpauto") {
                args.take(1)?;
                options.idempotent = true;
            } else if let Some(trim) = Trim::take(args)? {
                options.trim = Some(trim);
            } else if let Some(refs) = Refs::take(args) {
                options.refs = refs;
            } else {
                return Ok(options);
            }
        }
    }
}

/// Skips the options of XADD, up to its id.
pub fn skip_add_options(args: &mut ArgCursor<'_>) -> Result<(), ApplyError> {
    AddOptions::parse(args).map(|_| ())
}

impl Trim {
    /// Takes the trimming options, if they come next. A primary's `LIMIT` has no effect.
    pub fn take(args: &mut ArgCursor<'_>) -> Result<Option<Self>, ApplyError> {
        let trim = if args.take_word("maxlen") {
            exact(args)?;
            Trim::MaxLen(args.count()?)
        } else if args.take_word("minid") {
            exact(args)?;
            Trim::MinId(parse_id(args.bytes()?)?)
        } else {
            return Ok(None);
        };
        if args.take_word("limit") {
            args.count()?;
        }
        Ok(Some(trim))
    }

    pub fn apply(self, stream: &mut Stream, refs: Refs) {
        let excess = match self {
            Trim::MaxLen(len) => stream.counted().saturating_sub(len).min(stream.len()),
            Trim::MinId(id) => stream.rank(id),
        };
        match refs {
            Refs::Keep => stream.drop_first(excess),
            Refs::Delete => {
                let ids: Vec<Id> = stream.iter().take(excess).map(|(id, _)| *id).collect();
                ids.into_iter().for_each(|id| stream.forget_pending(id));
                stream.drop_first(excess);
            }
            Refs::Acked => {
                // Newer entries are deleted in place of those that must stay, as long as the stream
                // is too long.
                let reach = if matches!(self, Trim::MinId(_)) { excess } else { stream.len() };
                let free = stream.iter().take(reach).map(|(id, _)| *id).filter(|id| !stream.is_referenced(*id));
                let ids: Vec<Id> = free.take(excess).collect();
                ids.into_iter().for_each(|id| stream.drop_one(id));
            }
        }
    }
}

/// A primary sends the exact bound that it trimmed to, so `~` does not arrive.
fn exact(args: &mut ArgCursor<'_>) -> Result<(), ApplyError> {
    args.take_word("=");
    if args.peek() == Some(b"~") { Err(ApplyError::BadArguments) } else { Ok(()) }
}

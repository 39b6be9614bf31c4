//! Options of XADD and XTRIM: what goes when something comes, and what becomes of those who wait for it.

use crate::cursor::ArgCursor;
use crate::error::ApplyError;
use crate::ops::stream_ids::written;
use vdr_data::value::Stream;
use vdr_data::value::stream::Id;

/// Up to where a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    MaxLen(usize),
    MinId(Id),
}

/// What becomes of groups' pending entries when the entry itself goes (Redis 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refs {
    /// They stay pending.
    #[default]
    Keep,
    /// They are pending no more.
    Delete,
    /// An entry that some group has yet to get or to acknowledge does not go.
    Acked,
}

impl Refs {
    /// Takes the next argument when it is one of the words.
    pub fn take(words: &mut ArgCursor<'_>) -> Option<Self> {
        let all = [("keepref", Refs::Keep), ("delref", Refs::Delete), ("acked", Refs::Acked)];
        all.into_iter().find(|(word, _)| words.take_word(word)).map(|(_, refs)| refs)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// The stream must be there.
    pub no_make: bool,
    /// By an idempotent producer: the id `*` then tells a duplicate.
    pub idempotent: bool,
    pub trim: Option<Trim>,
    pub refs: Refs,
}

impl AddOptions {
    /// Takes all up to the id.
    pub fn parse(words: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut options = AddOptions::default();
        loop {
            if words.take_word("nomkstream") {
                options.no_make = true;
            } else if words.take_word("idmp") {
                words.take(2)?;
                options.idempotent = true;
            } else if words.take_word("idmpauto") {
                words.take(1)?;
                options.idempotent = true;
            } else if let Some(trim) = Trim::take(words)? {
                options.trim = Some(trim);
            } else if let Some(refs) = Refs::take(words) {
                options.refs = refs;
            } else {
                return Ok(options);
            }
        }
    }
}

/// Steps over the options of XADD, up to its id.
pub fn skip_add_options(words: &mut ArgCursor<'_>) -> Result<(), ApplyError> {
    AddOptions::parse(words).map(|_| ())
}

impl Trim {
    /// Takes what to trim by, when that comes next; `LIMIT`, too, which says nothing when a primary sends it.
    pub fn take(words: &mut ArgCursor<'_>) -> Result<Option<Self>, ApplyError> {
        let trim = if words.take_word("maxlen") {
            exact(words)?;
            Trim::MaxLen(words.count()?)
        } else if words.take_word("minid") {
            exact(words)?;
            Trim::MinId(written(words.bytes()?)?)
        } else {
            return Ok(None);
        };
        if words.take_word("limit") {
            words.count()?;
        }
        Ok(Some(trim))
    }

    pub fn apply(self, stream: &mut Stream, refs: Refs) {
        let excess = match self {
            Trim::MaxLen(len) => stream.len().saturating_sub(len),
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
                // Newer ones go in the place of what must stay, as long as the stream is too long.
                let reach = if matches!(self, Trim::MinId(_)) { excess } else { stream.len() };
                let free = stream.iter().take(reach).map(|(id, _)| *id).filter(|id| !stream.is_referenced(*id));
                let ids: Vec<Id> = free.take(excess).collect();
                ids.into_iter().for_each(|id| stream.drop_one(id));
            }
        }
    }
}

/// Primaries say how far they came when they were asked for about as much, so `~` does not come.
fn exact(words: &mut ArgCursor<'_>) -> Result<(), ApplyError> {
    words.take_word("=");
    if words.peek() == Some(b"~") { Err(ApplyError::BadArguments) } else { Ok(()) }
}

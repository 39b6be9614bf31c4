//! The cursor over the arguments of a write.

use crate::error::{ApplyError, ApplyResult};
use crate::number::{parse_float, parse_int};

/// A cursor over the arguments of a write, without the command's name.
pub struct ArgCursor<'a> {
    rest: &'a [&'a [u8]],
}

impl<'a> ArgCursor<'a> {
    pub fn new(args: &'a [&'a [u8]]) -> Self {
        ArgCursor { rest: args }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rest.len()
    }

    pub fn peek(&self) -> Option<&'a [u8]> {
        self.rest.first().copied()
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], ApplyError> {
        let (first, rest) = self.rest.split_first().ok_or(ApplyError::BadArguments)?;
        self.rest = rest;
        Ok(first)
    }

    /// All remaining arguments.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        std::mem::take(&mut self.rest)
    }

    /// All remaining arguments; none is an error.
    pub fn some(&mut self) -> Result<&'a [&'a [u8]], ApplyError> {
        if self.is_empty() { Err(ApplyError::BadArguments) } else { Ok(self.rest()) }
    }

    /// The next `count` arguments.
    pub fn take(&mut self, count: usize) -> Result<&'a [&'a [u8]], ApplyError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(ApplyError::BadArguments)?;
        self.rest = rest;
        Ok(head)
    }

    /// An integer of at least 0.
    pub fn count(&mut self) -> Result<usize, ApplyError> {
        usize::try_from(self.int()?).map_err(|_| ApplyError::BadArguments)
    }

    /// A count, then that many arguments.
    pub fn counted(&mut self) -> Result<&'a [&'a [u8]], ApplyError> {
        let count = self.count()?;
        self.take(count)
    }

    /// All remaining arguments: `FIELDS`, a count, that many groups of `width` arguments, and
    /// options before and after. Returns the options before, the groups, and the options after.
    pub fn fields(&mut self, width: usize) -> Result<[&'a [&'a [u8]]; 3], ApplyError> {
        self.counted_after("fields", width)
    }

    /// As [`ArgCursor::fields`], for another word than `FIELDS`.
    pub fn counted_after(&mut self, word: &str, width: usize) -> Result<[&'a [&'a [u8]]; 3], ApplyError> {
        let before = self.rest.iter().take_while(|next| !next.eq_ignore_ascii_case(word.as_bytes())).count();
        let before = self.take(before)?;
        self.bytes()?;
        let count = self.count()?;
        let groups = self.take(count.checked_mul(width).ok_or(ApplyError::BadArguments)?)?;
        if groups.is_empty() { Err(ApplyError::BadArguments) } else { Ok([before, groups, self.rest()]) }
    }

    /// All remaining arguments in pairs; an odd number is an error.
    pub fn pairs(&mut self) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, ApplyError> {
        pairs(self.rest())
    }

    /// An integer in the server's notation: decimal, no blanks, no plus sign, no leading zero.
    pub fn int(&mut self) -> Result<i64, ApplyError> {
        parse_int(self.bytes()?).ok_or(ApplyError::BadArguments)
    }

    /// A float as the server's strtod reads it; NaN is refused.
    pub fn float(&mut self) -> Result<f64, ApplyError> {
        parse_float(self.bytes()?).ok_or(ApplyError::BadArguments)
    }

    /// Takes the next argument if it is this word, in any case.
    pub fn take_word(&mut self, word: &str) -> bool {
        let taken = self.peek().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        if taken {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        taken
    }

    pub fn finish(&self) -> ApplyResult {
        if self.is_empty() { Ok(()) } else { Err(ApplyError::BadArguments) }
    }
}

/// Arguments in pairs; an odd number is an error.
pub fn pairs<'a>(args: &'a [&'a [u8]]) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, ApplyError> {
    let (pairs, odd) = args.as_chunks::<2>();
    if odd.is_empty() { Ok(pairs.iter().map(|[a, b]| (*a, *b))) } else { Err(ApplyError::BadArguments) }
}

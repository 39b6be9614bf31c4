//! Writes as they come down the stream: their rows, their arguments, what they touch.

use super::Rules;
use crate::blob::Blob;
use crate::keyspace::{Db, Entry, EntryRef, Expiry, Keyspace};
use crate::value::{Hash, List, Set, Stream, Value, ValueRef, ZSet};
use std::sync::Arc;

/// A write: how it changes data, and what its arguments mean to those who watch.
#[derive(Clone, Copy)]
pub struct Write {
    /// The server's word, in lower case.
    pub name: &'static str,
    /// The arguments in the server's order: gives the command tuple of `api.md` §5 and the keys affected.
    pub shape: &'static [Part],
    pub touches: Touches,
    pub run: fn(&mut Apply<'_>, &mut Words<'_>) -> Written,
}

/// What a write function answers.
pub type Written = Result<(), ApplyError>;

/// One argument, or the rest of them, of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A key that the command changes.
    Key,
    /// A key that the command only reads.
    Source,
    /// All that follows: keys that the command changes, as one list.
    Keys,
    /// All that follows: keys that the command only reads, as one list.
    Sources,
    /// A count, then that many keys that are only read, as one list.
    CountedSources,
    /// All that follows: `{key, value}` pairs, as one list; the keys are changed.
    KeyPairs,
    /// Bytes.
    Bin,
    /// All that follows: bytes, as one list.
    Bins,
    /// All that follows: pairs of bytes, as one list.
    Pairs,
    /// A count, then that many bytes, as one list.
    CountedBins,
    /// A count, then that many pairs, as one list.
    CountedPairs,
    /// An integer.
    Int,
    /// A score or increment.
    Float,
    /// A word of the command's own language, as an atom in lower case: `before`, `left` ...
    Word,
    /// ZADD's tail: flags, then score-member pairs. In the tuple: `[{score, member}]`, then the flags as a list of atoms.
    Scored,
    /// All that follows: options, as one list; words as atoms, numbers as numbers, anything else as bytes.
    Options,
    /// All that follows: options, with `FIELDS`, a count and that many fields among them ([`Words::fields`]). In the
    /// tuple: the options as one list, then the fields as one.
    Fields,
    /// As [`Part::Fields`], with `{field, value}` pairs.
    FieldPairs,
    /// All that follows: options, with `IDS`, a count and that many ids among them. In the tuple: the options as one
    /// list, then the ids as one.
    Ids,
    /// What stands before the id of XADD: left out of the tuple.
    AddOptions,
    /// All that follows is left out of the tuple (options of SET).
    Dropped,
}

/// Which keys a write may change.
#[derive(Clone, Copy)]
pub enum Touches {
    /// Those that the shape names, in the selected database.
    Shape,
    /// What this function pushes: for commands that reach other databases or whole ones.
    Special(TouchFn),
}

/// From the selected database and the arguments to what is touched.
pub type TouchFn = fn(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>));

/// Something touched by a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch<'a> {
    Key {
        db: u32,
        key: &'a [u8],
    },
    /// Every key of one database.
    Db(u32),
    /// Every key of every database.
    All,
}

/// Why a command of the stream could not be applied. A real primary validated it before it sent it, so each of these
/// means that our data is not the primary's: the link ends and a full sync follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    WrongType,
    /// Too few, too many, or not what the command takes.
    BadArguments,
    /// A key or element that must be there is not.
    Missing,
    /// A stored value is not the number that the command needs, or the result would not fit.
    NotANumber,
    /// RESTORE's payload is not a value.
    BadPayload,
    /// An index or offset outside of what the server allows.
    OutOfRange,
    /// The command reads a key that is not mirrored, and changes one that is.
    NotMirrored,
}

/// The data that one write works on.
pub struct Apply<'k> {
    pub keyspace: &'k mut Keyspace,
    /// The selected database.
    pub db: u32,
    /// Unix milliseconds, for commands that carry a relative time.
    pub now_ms: i64,
    /// The primary's own ways.
    pub rules: Rules,
}

impl Apply<'_> {
    pub fn db(&mut self) -> &mut Db {
        self.keyspace.db_mut(self.db)
    }

    pub fn get(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.keyspace.db(self.db).get(key)
    }

    /// Puts a fresh value, of whatever type was there; the expiry goes.
    pub fn replace(&mut self, key: &[u8], value: impl Into<Value>) {
        self.db().insert(key, Entry::new(value));
    }

    /// Puts the result of a store command: an empty one deletes the destination.
    pub fn store(&mut self, key: &[u8], value: impl Into<Value>) {
        let value = value.into();
        if value.is_empty() {
            self.db().remove(key);
        } else {
            self.replace(key, value);
        }
    }

    /// `true` when the key was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.db().remove(key)
    }

    /// Changes a string in place, its expiry kept. A missing key starts empty.
    pub fn string(&mut self, key: &[u8], change: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
        let (mut bytes, expiry) = match self.get(key).map(|entry| (entry.value(), entry.expiry())) {
            None => (Vec::new(), Expiry::NEVER),
            Some((ValueRef::String(string), expiry)) => (string.to_vec(), expiry),
            Some(_) => return Err(ApplyError::WrongType),
        };
        change(&mut bytes)?;
        self.db().insert(key, Entry { value: Value::String(Blob::from(bytes)), expiry });
        Ok(())
    }

    /// Changes a list; a missing key starts empty, an empty result deletes the key.
    pub fn list(&mut self, key: &[u8], change: impl FnOnce(&mut List) -> Written) -> Written {
        self.aggregate(
            key,
            |value| match value {
                Value::List(list) => change(list),
                _ => Err(ApplyError::WrongType),
            },
            || List::default().into(),
        )
    }

    /// As [`Apply::list`], for sets.
    pub fn set(&mut self, key: &[u8], change: impl FnOnce(&mut Set) -> Written) -> Written {
        self.aggregate(
            key,
            |value| match value {
                Value::Set(set) => change(set),
                _ => Err(ApplyError::WrongType),
            },
            || Set::default().into(),
        )
    }

    /// As [`Apply::list`], for hashes.
    pub fn hash(&mut self, key: &[u8], change: impl FnOnce(&mut Hash) -> Written) -> Written {
        self.aggregate(
            key,
            |value| match value {
                Value::Hash(hash) => change(hash),
                _ => Err(ApplyError::WrongType),
            },
            || Hash::default().into(),
        )
    }

    /// As [`Apply::list`], for sorted sets.
    pub fn zset(&mut self, key: &[u8], change: impl FnOnce(&mut ZSet) -> Written) -> Written {
        self.aggregate(
            key,
            |value| match value {
                Value::ZSet(zset) => change(zset),
                _ => Err(ApplyError::WrongType),
            },
            || ZSet::default().into(),
        )
    }

    /// Changes a stream, which must be there: a primary has made it before it sends anything else of it.
    pub fn stream(&mut self, key: &[u8], change: impl FnOnce(&mut Stream) -> Written) -> Written {
        if self.get(key).is_none() {
            return Err(ApplyError::Missing);
        }
        let db = self.db();
        let Some(Value::Stream(stream)) = db.aggregate_mut(key) else { return Err(ApplyError::WrongType) };
        let stream = Arc::make_mut(stream);
        let before = stream.len();
        change(stream)?;
        let now = stream.len();
        db.has_grown(key, before, now);
        Ok(())
    }

    /// Changes a stream; a missing key starts empty. An empty one stays.
    pub fn made_stream(&mut self, key: &[u8], change: impl FnOnce(&mut Stream) -> Written) -> Written {
        if self.get(key).is_some() {
            return self.stream(key, change);
        }
        let mut stream = Stream::default();
        change(&mut stream)?;
        self.replace(key, stream);
        Ok(())
    }

    fn aggregate(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> Written,
        empty: impl FnOnce() -> Value,
    ) -> Written {
        let db = self.keyspace.db_mut(self.db);
        if let Some(value) = db.aggregate_mut(key) {
            let before = value.as_ref().len();
            change(value)?;
            let now = value.as_ref().len();
            if value.is_empty() {
                db.remove(key);
            }
            db.has_grown(key, before, now);
            return Ok(());
        }
        if db.get(key).is_some() {
            return Err(ApplyError::WrongType);
        }
        let mut value = empty();
        change(&mut value)?;
        if !value.is_empty() {
            db.insert(key, Entry::new(value));
        }
        Ok(())
    }
}

/// A cursor over the arguments of a write, the name not among them.
pub struct Words<'a> {
    rest: &'a [&'a [u8]],
}

impl<'a> Words<'a> {
    pub fn new(args: &'a [&'a [u8]]) -> Self {
        Words { rest: args }
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

    /// All that is left.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        std::mem::take(&mut self.rest)
    }

    /// All that is left, which must be something.
    pub fn some(&mut self) -> Result<&'a [&'a [u8]], ApplyError> {
        if self.is_empty() { Err(ApplyError::BadArguments) } else { Ok(self.rest()) }
    }

    /// The next `count` arguments.
    pub fn take(&mut self, count: usize) -> Result<&'a [&'a [u8]], ApplyError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(ApplyError::BadArguments)?;
        self.rest = rest;
        Ok(head)
    }

    /// An integer that is not negative.
    pub fn count(&mut self) -> Result<usize, ApplyError> {
        usize::try_from(self.int()?).map_err(|_| ApplyError::BadArguments)
    }

    /// A count, then as many arguments.
    pub fn counted(&mut self) -> Result<&'a [&'a [u8]], ApplyError> {
        let count = self.count()?;
        self.take(count)
    }

    /// All that is left: `FIELDS`, a count, so many groups of `width` arguments, and options on either side. Answers the
    /// options before, the groups, the options after.
    pub fn fields(&mut self, width: usize) -> Result<[&'a [&'a [u8]]; 3], ApplyError> {
        self.counted_after("fields", width)
    }

    /// As [`Words::fields`], behind a word of the caller's.
    pub fn counted_after(&mut self, word: &str, width: usize) -> Result<[&'a [&'a [u8]]; 3], ApplyError> {
        let before = self.rest.iter().take_while(|next| !next.eq_ignore_ascii_case(word.as_bytes())).count();
        let before = self.take(before)?;
        self.bytes()?;
        let count = self.count()?;
        let groups = self.take(count.checked_mul(width).ok_or(ApplyError::BadArguments)?)?;
        if groups.is_empty() { Err(ApplyError::BadArguments) } else { Ok([before, groups, self.rest()]) }
    }

    /// All that is left, two by two; an odd number is an error.
    pub fn pairs(&mut self) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, ApplyError> {
        pairs(self.rest())
    }

    /// An integer as the server reads one: decimal, no blanks, no plus, no leading zero.
    pub fn int(&mut self) -> Result<i64, ApplyError> {
        parse_int(self.bytes()?).ok_or(ApplyError::BadArguments)
    }

    /// A number as the server's strtod reads it, NaN excluded.
    pub fn float(&mut self) -> Result<f64, ApplyError> {
        parse_float(self.bytes()?).ok_or(ApplyError::BadArguments)
    }

    /// Takes the next argument when it is this word, in any case.
    pub fn take_word(&mut self, word: &str) -> bool {
        let taken = self.peek().is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        if taken {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        taken
    }

    pub fn finish(&self) -> Written {
        if self.is_empty() { Ok(()) } else { Err(ApplyError::BadArguments) }
    }
}

/// Arguments two by two; an odd number is an error.
pub fn pairs<'a>(args: &'a [&'a [u8]]) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, ApplyError> {
    let (pairs, odd) = args.as_chunks::<2>();
    if odd.is_empty() { Ok(pairs.iter().map(|[a, b]| (*a, *b))) } else { Err(ApplyError::BadArguments) }
}

/// The server's strict integer: what `INCR` accepts as a value.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        b"0" => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// A float as the server's strtod reads it (decimal or hexadecimal, `inf`, `infinity`, any case), NaN excluded.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let float = parse_hex_float(text).or_else(|| text.parse().ok())?;
    (!float.is_nan()).then_some(float)
}

/// `0x1.8p3`: old servers accept it as a score, and pass it on as it is.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    let (mantissa, exponent) = match digits.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Beyond 64 bits of mantissa rounding would need care. `%a` writes 14 digits, no client more.
    let significant = format!("{whole}{fraction}");
    if significant.is_empty() || significant.len() > 16 {
        return None;
    }
    let value = u64::from_str_radix(&significant, 16).ok()? as f64;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    let float = value * 2f64.powi(scale);
    Some(if negative { -float } else { float })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_strict_as_the_servers() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_int(text.as_bytes()), Some(value));
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "1.0", "0x1"] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_strtod_does() {
        for (text, value) in [("1", 1.0), ("-.5", -0.5), ("5.", 5.0), ("1e3", 1000.0), ("+inf", f64::INFINITY)] {
            assert_eq!(parse_float(text.as_bytes()), Some(value));
        }
        for (text, value) in [
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("0x1.8p1", 3.0),
            ("0x1.999999999999ap-4", 0.1),
            ("-0xA", -10.0),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value));
        }
        for text in ["", "nan", "abc", "1 ", "0x", "1e"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }
}

//! Strings that are numbers.

use super::strings::{overwrite, stored};
use super::write::parse_int;
use super::{Apply, ApplyError, Part, Touches, Words, Write, Written};
use crate::blob::Blob;

pub const WRITES: &[Write] = &[
    Write { name: "incr", shape: &[Part::Key], touches: Touches::Shape, run: incr },
    Write { name: "decr", shape: &[Part::Key], touches: Touches::Shape, run: decr },
    Write { name: "incrby", shape: &[Part::Key, Part::Int], touches: Touches::Shape, run: incrby },
    Write { name: "decrby", shape: &[Part::Key, Part::Int], touches: Touches::Shape, run: decrby },
];

fn incr(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    add(apply, words.bytes()?, 1)
}

fn decr(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    add(apply, words.bytes()?, -1)
}

fn incrby(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    add(apply, words.bytes()?, words.int()?)
}

fn decrby(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, by) = (words.bytes()?, words.int()?);
    add(apply, key, by.checked_neg().ok_or(ApplyError::NotANumber)?)
}

fn add(apply: &mut Apply<'_>, key: &[u8], by: i64) -> Written {
    let old = stored(apply, key)?.map_or(Some(0), |text| parse_int(text));
    let new = old.and_then(|old| old.checked_add(by)).ok_or(ApplyError::NotANumber)?;
    overwrite(apply, key, Blob::from_int(new));
    Ok(())
}

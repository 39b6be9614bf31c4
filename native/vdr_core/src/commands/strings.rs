//! Strings, numbers and bitmaps.

use super::{Apply, ApplyError, Args, Cost, Part, Read, ReadError, Reply, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::keyspace::{Entry, Expiry, View};
use crate::value::Value;

pub const READS: &[Read] = &[
    Read { name: "get", args: &["key"], cost: Cost::Point, run: get },
    Read { name: "strlen", args: &["key"], cost: Cost::Point, run: strlen },
];

fn get<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::blob_or_nil(view.string(args.bytes()?)?))
}

fn strlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.string(args.bytes()?)?.map_or(0, |value| value.len())))
}

pub const WRITES: &[Write] = &[
    Write { name: "set", shape: &[Part::Key, Part::Bin, Part::Dropped], touches: Touches::Shape, run: set },
    Write { name: "incrby", shape: &[Part::Key, Part::Int], touches: Touches::Shape, run: incrby },
];

/// Conditions (NX, XX, IFEQ ...) held on the primary, or the command would not be here.
fn set(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, value) = (words.bytes()?, Blob::new(words.bytes()?));
    let mut expiry = Expiry::NEVER;
    while !words.is_empty() {
        if words.take_word("pxat") {
            expiry = Expiry::at(words.int()?);
        } else if words.take_word("keepttl") {
            expiry = apply.get(key).map_or(Expiry::NEVER, |entry| entry.expiry);
        } else {
            words.bytes()?;
        }
    }
    apply.db().insert(Blob::new(key), Entry { value: Value::String(value), expiry });
    Ok(())
}

fn incrby(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, by) = (words.bytes()?, words.int()?);
    add(apply, key, by)
}

fn add(apply: &mut Apply<'_>, key: &[u8], by: i64) -> Written {
    apply.string(key, |text| {
        let old = if text.is_empty() { Some(0) } else { super::write::parse_int(text) };
        let new = old.and_then(|old| old.checked_add(by)).ok_or(ApplyError::NotANumber)?;
        *text = new.to_string().into_bytes();
        Ok(())
    })
}

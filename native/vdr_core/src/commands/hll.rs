//! HyperLogLogs: strings that the server keeps in a format of its own, see [`super::hll_bytes`].

use super::hll_bytes::{self as bytes, Registers};
use super::strings::{grown, overwrite, stored};
use super::{Apply, ApplyError, Part, Touches, Words, Write, Written};
use crate::blob::Blob;

pub const WRITES: &[Write] = &[
    Write { name: "pfadd", shape: &[Part::Key, Part::Bins], touches: Touches::Shape, run: pfadd },
    Write { name: "pfmerge", shape: &[Part::Key, Part::Sources], touches: Touches::Shape, run: pfmerge },
    Write { name: "pfcount", shape: &[Part::Keys], touches: Touches::Shape, run: pfcount },
    Write { name: "pfdebug", shape: &[Part::Word, Part::Key, Part::Options], touches: Touches::Shape, run: pfdebug },
];

fn pfadd(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, elements) = (words.bytes()?, words.rest());
    let old = stored(apply, key)?;
    let (mut sketch, mut changed) = match old {
        None => (bytes::new(), true),
        Some(blob) => {
            bytes::check(blob)?;
            if bytes::is_dense(blob) {
                return add_dense(grown(apply, key, 0)?, elements);
            }
            (blob.to_vec(), false)
        }
    };
    for element in elements {
        let (index, value) = bytes::place(element);
        changed |= bytes::raise(&mut sketch, index, value)?;
    }
    if changed {
        bytes::invalidate(&mut sketch);
        overwrite(apply, key, Blob::from(sketch));
    }
    Ok(())
}

fn add_dense(sketch: &mut [u8], elements: &[&[u8]]) -> Written {
    let mut changed = false;
    for element in elements {
        let (index, value) = bytes::place(element);
        changed |= bytes::raise_dense(sketch, index, value);
    }
    if changed {
        bytes::invalidate(sketch);
    }
    Ok(())
}

/// The destination is one of the inputs. One dense input makes it dense.
fn pfmerge(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (dest, sources) = (words.bytes()?, words.rest());
    let mut highest: Box<Registers> = Box::new([0; bytes::REGISTERS]);
    let mut dense = false;
    for key in std::iter::once(&dest).chain(sources) {
        if let Some(blob) = stored(apply, key)? {
            bytes::check(blob)?;
            dense |= bytes::is_dense(blob);
            let registers = bytes::registers(blob)?;
            highest.iter_mut().zip(registers.iter()).for_each(|(high, value)| *high = (*high).max(*value));
        }
    }
    let mut sketch = stored(apply, dest)?.map_or_else(bytes::new, |blob| blob.to_vec());
    if dense {
        bytes::promote(&mut sketch)?;
    }
    for (index, value) in highest.iter().enumerate().filter(|(_, value)| **value > 0) {
        bytes::raise(&mut sketch, index, *value)?;
    }
    bytes::invalidate(&mut sketch);
    overwrite(apply, dest, Blob::from(sketch));
    Ok(())
}

/// A read that writes: the count of a single key is kept in its value. The count of several is kept nowhere.
fn pfcount(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let [key] = words.rest() else {
        return Ok(());
    };
    let Some(blob) = stored(apply, key)? else {
        return Ok(());
    };
    bytes::check(blob)?;
    if !bytes::count_is_cached(blob) {
        let count = bytes::estimate(&*bytes::registers(blob)?);
        bytes::cache_count(grown(apply, key, 0)?, count);
    }
    Ok(())
}

/// TODENSE and GETREG turn a sparse one dense; the other subcommands change nothing.
fn pfdebug(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let dense = words.take_word("todense") || words.take_word("getreg");
    if !dense {
        return Ok(());
    }
    let key = words.bytes()?;
    let blob = stored(apply, key)?.ok_or(ApplyError::Missing)?;
    bytes::check(blob)?;
    if !bytes::is_dense(blob) {
        let mut sketch = blob.to_vec();
        bytes::promote(&mut sketch)?;
        overwrite(apply, key, Blob::from(sketch));
    }
    Ok(())
}

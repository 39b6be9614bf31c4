//! HyperLogLogs: strings in a format of the server's own, see [`crate::ops::hll_bytes`].

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::ops::hll_bytes::{self as bytes, Registers};
use crate::ops::strings::{in_place, overwrite, stored};
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::{Each, MergesFrom};
use crate::row::Part::{Bins, Key, Keys, Options, Sources, Word};
use crate::row::{Leaves, Write, row};
use vdr_data::blob::Blob;
use vdr_data::value::Kind;

const STRING: Leaves = Leaves::Kind(Kind::String);

pub const WRITES: &[Write] = &[
    row("pfadd", &[Key, Bins], InShape, STRING, Each, pfadd),
    row("pfmerge", &[Key, Sources], InShape, STRING, MergesFrom(&[Kind::String]), pfmerge),
    row("pfcount", &[Keys], InShape, STRING, Each, pfcount),
    row("pfdebug", &[Word, Key, Options], InShape, STRING, Each, pfdebug),
];

fn pfadd(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, elements) = (args.bytes()?, args.rest());
    let old = stored(apply, key)?;
    let (mut sketch, mut changed) = match old {
        None => (bytes::new(), true),
        Some(blob) => {
            bytes::check(&blob)?;
            if bytes::is_dense(&blob) {
                return add_dense(in_place(apply, key)?, elements);
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

fn add_dense(sketch: &mut [u8], elements: &[&[u8]]) -> ApplyResult {
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

/// The destination is one of the inputs. One dense input makes the result dense.
fn pfmerge(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (dest, sources) = (args.bytes()?, args.rest());
    let mut highest: Box<Registers> = Box::new([0; bytes::REGISTERS]);
    let mut dense = false;
    for key in std::iter::once(&dest).chain(sources) {
        if let Some(blob) = stored(apply, key)? {
            bytes::check(&blob)?;
            dense |= bytes::is_dense(&blob);
            let registers = bytes::registers(&blob)?;
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

/// A read that writes: the value of a single key caches its count. The count of several keys is not
/// cached.
fn pfcount(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let [key] = args.rest() else {
        return Ok(());
    };
    let Some(blob) = stored(apply, key)? else {
        return Ok(());
    };
    bytes::check(&blob)?;
    if !bytes::count_is_cached(&blob) {
        let count = bytes::estimate(&*bytes::registers(&blob)?);
        bytes::cache_count(in_place(apply, key)?, count);
    }
    Ok(())
}

/// TODENSE and GETREG convert a sparse HyperLogLog to a dense one. The other subcommands change
/// nothing.
fn pfdebug(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let dense = args.take_word("todense") || args.take_word("getreg");
    if !dense {
        return Ok(());
    }
    let key = args.bytes()?;
    let blob = stored(apply, key)?.ok_or(ApplyError::Missing)?;
    bytes::check(&blob)?;
    if !bytes::is_dense(&blob) {
        let mut sketch = blob.to_vec();
        bytes::promote(&mut sketch)?;
        overwrite(apply, key, Blob::from(sketch));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;
    use sha1::{Digest, Sha1};

    fn add(mirror: &mut Mirror, key: &str, elements: std::ops::Range<u32>) {
        let elements: Vec<String> = elements.map(|element| element.to_string()).collect();
        let args: Vec<&[u8]> = elements.iter().map(|element| element.as_bytes()).collect();
        mirror.apply(&[&[&b"pfadd"[..], key.as_bytes()], &args[..]].concat()).unwrap();
    }

    fn value(mirror: &Mirror, key: &str) -> Vec<u8> {
        mirror.keyspace.view(0, 0).string(key.as_bytes()).unwrap().unwrap().to_vec()
    }

    fn sha1(mirror: &Mirror, key: &str) -> String {
        Sha1::digest(value(mirror, key)).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Each value is the answer of GET on a real server after the same commands.
    #[test]
    fn sparse_bytes_are_the_servers() {
        let mut mirror = Mirror::new();
        mirror.run(&["pfadd h"]);
        assert_eq!(value(&mirror, "h"), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff");
        mirror.run(&["pfadd h a b c"]);
        assert_eq!(value(&mirror, "h"), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80`\xf3\x80P\xb1\x84K\xfb\x80BZ");
        mirror.run(&["pfcount h", "pfadd h a"]);
        assert_eq!(value(&mirror, "h"), b"HYLL\x01\0\0\0\x03\0\0\0\0\0\0\0`\xf3\x80P\xb1\x84K\xfb\x80BZ");
        mirror.run(&["pfadd m x y", "pfmerge d h m"]);
        let merged = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80`\xf3\x80P\xb1\x84H\xab\x88CN\x80BP\x84\x08";
        assert_eq!(value(&mirror, "d"), merged);
    }

    /// The checksums are those of the values on a real server after the same commands.
    #[test]
    fn larger_ones_dense_and_sparse_are_the_servers_to_the_last_byte() {
        let mut mirror = Mirror::new();
        add(&mut mirror, "big", 0..3000);
        mirror.run(&["pfcount big"]);
        assert_eq!(sha1(&mirror, "big"), "d5a28cac3c17a1ffb2cba6a67f0e4236ce7d985c");
        add(&mut mirror, "some", 0..600);
        mirror.run(&["pfcount some"]);
        assert_eq!(sha1(&mirror, "some"), "193b4bc3b7301605e94f470ba3283d788f73d5c9");
        add(&mut mirror, "other", 500..1000);
        mirror.run(&["pfmerge both some other", "pfcount both"]);
        assert_eq!(sha1(&mirror, "both"), "056844b23674733cdc7948ceec9b35608aef10d1");
        mirror.run(&["pfmerge some big"]);
        assert_eq!(sha1(&mirror, "some"), "9ba544c49891a8b74deab64d73734544840b56e6");
    }

    #[test]
    fn debugging_turns_dense_and_keeps_the_registers() {
        let mut mirror = Mirror::new();
        add(&mut mirror, "h", 0..50);
        mirror.run(&["pexpireat h 5000000", "pfcount h"]);
        let sparse = value(&mirror, "h");
        mirror.run(&["pfdebug encoding h"]);
        assert_eq!(value(&mirror, "h"), sparse);
        mirror.run(&["pfdebug getreg h"]);
        let dense = value(&mirror, "h");
        assert_eq!((dense.len(), &dense[5..16]), (12304, &sparse[5..16]));
        assert_eq!(bytes::registers(&dense), bytes::registers(&sparse));
        assert_eq!(mirror.expires("h"), Some(5_000_000));
    }

    #[test]
    fn a_count_of_nothing_or_of_several_changes_nothing() {
        let mut mirror = Mirror::new();
        mirror.run(&["pfcount none", "pfadd a x", "pfadd b y"]);
        let before = value(&mirror, "a");
        mirror.run(&["pfcount a b"]);
        assert_eq!((value(&mirror, "a"), mirror.has("none")), (before, false));
    }

    #[test]
    fn strings_that_are_no_sketch_or_a_broken_one_are_refused() {
        let mut mirror = Mirror::new();
        let header =
            |encoding: u8, registers: &[u8]| [&b"HYLL"[..], &[encoding], &[0; 10], &[0x80], registers].concat();
        let broken = [
            b"hello".to_vec(),
            b"HYLL".to_vec(),
            header(0, &[0; 12287]),
            header(2, &[0x7f, 0xff]),
            header(1, &[0x7f]),
            header(1, &[0x7f, 0xff, 0]),
            header(1, &[0x7f, 0xfe]),
        ];
        for value in &broken {
            mirror.apply(&[b"set", b"k", value]).unwrap();
            assert_eq!(mirror.attempt("pfcount k"), Err(ApplyError::WrongType), "{value:?}");
            assert_eq!(mirror.attempt("pfmerge d k"), Err(ApplyError::WrongType), "{value:?}");
            assert_eq!(mirror.attempt("pfdebug todense k"), Err(ApplyError::WrongType), "{value:?}");
        }
        assert!(!mirror.has("d"));
        mirror.apply(&[b"set", b"k", &header(1, b"")]).unwrap();
        assert_eq!(mirror.attempt("pfadd k x"), Err(ApplyError::WrongType));
    }
}

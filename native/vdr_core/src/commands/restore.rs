//! RESTORE: a key from a serialised value, as migrations send it.

use super::expiry::after;
use super::{Apply, ApplyError, Part, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::keyspace::{Entry, Expiry};

const SHAPE: &[Part] = &[Part::Key, Part::Int, Part::Bin, Part::Options];

pub const WRITES: &[Write] = &[
    Write { name: "restore", shape: SHAPE, touches: Touches::Shape, run: restore },
    Write { name: "restore-asking", shape: SHAPE, touches: Touches::Shape, run: restore },
];

/// A time in the past is kept like any other: the primary, had it thought so, would have sent a DEL instead.
fn restore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, ttl_ms, payload) = (words.bytes()?, words.int()?, words.bytes()?);
    let mut base_ms = apply.now_ms;
    while !words.is_empty() {
        if words.take_word("absttl") {
            base_ms = 0;
        } else if words.take_word("idletime") || words.take_word("freq") {
            words.int()?;
        } else if !words.take_word("replace") {
            return Err(ApplyError::BadArguments);
        }
    }
    let expiry = if ttl_ms == 0 { Expiry::NEVER } else { after(ttl_ms, 1, base_ms)? };
    let value = crate::rdb::restore(payload).ok().flatten().ok_or(ApplyError::BadArguments)?;
    apply.db().insert(Blob::new(key), Entry { value, expiry });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::harness::Mirror;
    use super::*;

    /// `DUMP` of Redis 7.0.15 for the string `hello`.
    const HELLO: &[u8] = b"\x00\x05hello\n\x00cr\xdfve4 \n";

    #[test]
    fn a_payload_becomes_a_key_with_the_given_time() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a old"]);
        assert_eq!(mirror.apply(&[b"RESTORE", b"a", b"5000000", HELLO, b"REPLACE", b"ABSTTL"]), Ok(()));
        assert_eq!((mirror.ask("get a"), mirror.expires("a")), ("hello".into(), Some(5_000_000)));
        assert_eq!(mirror.apply(&[b"restore-asking", b"a", b"0", HELLO, b"IDLETIME", b"7"]), Ok(()));
        assert_eq!(mirror.expires("a"), None);
        assert_eq!(mirror.apply(&[b"restore", b"b", b"7", HELLO, b"freq", b"1"]), Ok(()));
        assert_eq!(mirror.expires("b"), Some(mirror.now_ms + 7));
    }

    #[test]
    fn a_broken_payload_is_an_error_and_changes_nothing() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a old"]);
        let mut broken = HELLO.to_vec();
        broken[3] ^= 1;
        for payload in [&broken[..], b"", &HELLO[..6]] {
            assert_eq!(mirror.apply(&[b"restore", b"a", b"0", payload]), Err(ApplyError::BadArguments));
        }
        assert_eq!(mirror.ask("get a"), "old");
    }
}

//! Look-ahead: a few commands are decoded before the first of them is executed, so that their keys
//! can be prefetched and the cache misses overlap.

use crate::resp::{Decoder, Frame, ProtocolError};
use std::hash::BuildHasher;
use vdr_data::keyspace::{HashedKey, KeyHasher};

/// See the module.
#[derive(Default)]
pub(super) struct Lookahead<'i> {
    args: Vec<&'i [u8]>,
    /// Each frame with the end of its arguments in `args`.
    frames: Vec<(Frame, usize)>,
    keys: Vec<HashedKey<'i>>,
    hasher: KeyHasher,
}

impl<'i> Lookahead<'i> {
    /// Decodes at most `max` commands of the input from `at` on. Answers the protocol error behind
    /// them, if there is one.
    pub(super) fn fill(
        &mut self,
        decoder: &mut Decoder,
        input: &'i [u8],
        mut at: usize,
        max: usize,
    ) -> Option<ProtocolError> {
        self.args.clear();
        self.frames.clear();
        self.keys.clear();
        while self.frames.len() < max {
            let rest = input.get(at..).unwrap_or_default();
            match decoder.decode(rest) {
                Ok(Some(frame)) => {
                    let key = self.args.len() + 1;
                    self.args.extend(decoder.args(rest));
                    let key = self.args.get(key).copied().unwrap_or_default();
                    self.keys.push(HashedKey { key, hash: self.hasher.hash_one(key) });
                    self.frames.push((frame, self.args.len()));
                    at += frame.skipped + frame.len;
                }
                Ok(None) => break,
                Err(error) => return Some(error),
            }
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = (&[&'i [u8]], Frame)> + Clone {
        let mut from = 0;
        self.frames.iter().map(move |(frame, to)| {
            let args = self.args.get(from..*to).unwrap_or_default();
            from = *to;
            (args, *frame)
        })
    }

    /// The first argument of each command, empty if it has none: nearly always a key. A wrong guess
    /// costs a little time and nothing else.
    pub(super) fn keys(&self) -> &[HashedKey<'i>] {
        &self.keys
    }
}

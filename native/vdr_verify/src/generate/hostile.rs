//! Malformed commands that no client should send: words missing, repeated, swapped, or replaced by
//! words that tend to break parsers.
//!
//! A server refuses most of them, so they do not reach the stream. The mirror must understand those
//! that the server accepts.

use super::draw::Generator;
use vdr_testkit::Command;

/// Words that tend to break parsers. A negative zero is left out, and so are the other words that
/// the module above leaves out.
const WORDS: &[&[u8]] = &[
    b"",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"x",
    b"0",
    b"-1",
    b"+5",
    b" 1",
    b"1 ",
    b"007",
    b"0x1p3",
    b"0x10",
    b"1e3",
    b".5",
    b"5.",
    b"1e400",
    b"1e-400",
    b"nan",
    b"Infinity",
    b"-INF",
    b"3.0",
    b"2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"0.1000000000000000055511151231257827",
    b"NX",
    b"xx",
    b"GT",
    b"COUNT",
    b"LIMIT",
    b"FIELDS",
    b"STORE",
    b"REPLACE",
    b"*",
    b"[",
    b"(",
    b"(1",
];

/// These keys keep one score; see there.
const OF_ONE_SCORE: &[u8] = b"lex:";

/// With a hostile timeout these would block for ever.
const WAITING: &[&[u8]] =
    &[b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP"];

impl Generator {
    /// The command with a fault in it. Three kinds stay as they are: commands that block, commands
    /// on keys that must keep one score, and ZRANGESTORE, whose offset must not be negative (see
    /// the module above).
    pub(super) fn spoiled(&mut self, mut command: Command) -> Command {
        let kept = command[0] == b"ZRANGESTORE" || command.iter().any(|word| word.starts_with(OF_ONE_SCORE));
        if kept || command.len() < 2 || WAITING.contains(&command[0].as_slice()) {
            return command;
        }
        let at = self.rng.usize(1..command.len());
        match self.rng.u32(0..10) {
            0..5 => command[at] = WORDS[self.rng.usize(0..WORDS.len())].to_vec(),
            5 => drop(command.remove(at)),
            6 => command.insert(at, command[at].clone()),
            7 => command.swap(at, 1),
            8 => {
                let kind = self.kind();
                command[at] = self.key(kind);
            }
            _ => command.iter_mut().take(1).for_each(|name| name.make_ascii_lowercase()),
        }
        command
    }
}

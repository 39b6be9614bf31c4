//! RESP, as far as the command stream uses it: arrays of bulk strings, decoded incrementally.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $1\r\nk\r\n $1\r\nv\r\n      every byte of a command counts in the replication offset
//! \n                                               a keepalive between frames: skipped, does not count
//! ```
//!
//! The decoder remembers its place in an unfinished frame, so a frame that arrives in a thousand
//! pieces is read once. Replies to commands are read by [`reply`].

pub mod reply;

use std::fmt;
use std::ops::Range;
use vdr_data::limits::{STRING_BYTES_LIMIT_MAX, STRING_BYTES_MAX};

/// Most arguments of one command: the server's own limit.
pub const MAX_ARGS: usize = i32::MAX as usize;
/// What a [`ProtocolError`] expected that names the limit for strings.
const WITHIN_LIMIT: &str = "an argument within the limit";
/// Most arguments whose memory is kept for the next frame.
const ARGS_KEPT_MAX: usize = 4096;
/// Longest `*<n>` or `$<n>` line.
const MAX_HEADER_BYTES: usize = 24;

/// The peer does not speak the protocol, or we lost our place in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    pub expected: &'static str,
    /// The first bytes of what was received instead.
    pub got: Vec<u8>,
}

impl ProtocolError {
    /// An argument, or a whole command, is longer than the limit for strings allows.
    pub fn is_too_long(&self) -> bool {
        self.expected == WITHIN_LIMIT
    }
}

/// The longest frame: it is held in memory until it is whole and can be applied. Twice the longest
/// argument is by default the servers' own limit for what a client sends, 1 GB.
pub fn frame_bytes_max(string_bytes_max: u64) -> usize {
    usize::try_from(string_bytes_max.saturating_mul(2)).unwrap_or(usize::MAX)
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got \"{}\"", self.expected, self.got.escape_ascii())
    }
}

/// A whole command at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Keepalive newlines before it.
    pub skipped: usize,
    /// Bytes of the frame itself, by which the replication offset grows.
    pub len: usize,
}

/// Decodes frame by frame. After a call that answered `None`, the next input must start at the same
/// byte.
#[derive(Debug)]
pub struct Decoder {
    string_bytes_max: u64,
    skipped: usize,
    /// How far into the input the frame is decoded.
    at: usize,
    /// Arguments still to come; `None` before the array header.
    missing: Option<usize>,
    args: Vec<Range<usize>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::up_to(STRING_BYTES_MAX)
    }
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// With another limit for arguments.
    pub fn up_to(string_bytes_max: u64) -> Self {
        Decoder { string_bytes_max, skipped: 0, at: 0, missing: None, args: Vec::new() }
    }

    /// Decodes a whole command at the front of `input`. After `Some(frame)` the arguments are
    /// [`Decoder::args`] of the same input, and the next call starts `skipped + len` bytes later.
    pub fn decode(&mut self, input: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        if self.missing == Some(0) {
            *self = Decoder { args: std::mem::take(&mut self.args), ..Decoder::up_to(self.string_bytes_max) };
        }
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => {
                self.args.clear();
                if self.args.capacity() > ARGS_KEPT_MAX {
                    self.args = Vec::new();
                }
                match self.header(input)? {
                    Some(count) => count,
                    None => return Ok(None),
                }
            }
        };
        while missing > 0 {
            self.missing = Some(missing);
            if !self.bulk(input)? {
                return Ok(None);
            }
            missing -= 1;
        }
        self.missing = Some(0);
        Ok(Some(Frame { skipped: self.skipped, len: self.at - self.skipped }))
    }

    /// The arguments of the last decoded frame, the command's name first.
    pub fn args<'b>(&self, input: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        self.args.iter().filter_map(move |range| input.get(range.clone()))
    }

    fn header(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        while input.get(self.at) == Some(&b'\n') {
            self.at += 1;
        }
        self.skipped = self.at;
        let Some((count, next)) = number_line(input, self.at, b'*', "a command (`*<count>`)")? else {
            return Ok(None);
        };
        if count == 0 || count > MAX_ARGS {
            return Err(unexpected(input, self.at, "a command with arguments"));
        }
        self.at = next;
        Ok(Some(count))
    }

    fn bulk(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let Some((len, start)) = number_line(input, self.at, b'$', "an argument (`$<length>`)")? else {
            return Ok(false);
        };
        let frame_bytes = (self.at - self.skipped).saturating_add(len);
        if len as u64 > self.string_bytes_max || frame_bytes > frame_bytes_max(self.string_bytes_max) {
            let is_damage = len as u64 > STRING_BYTES_LIMIT_MAX;
            return Err(unexpected(input, self.at, if is_damage { "a length of an argument" } else { WITHIN_LIMIT }));
        }
        let end = start + len;
        match input.get(end..end + 2) {
            None => Ok(false),
            Some(b"\r\n") => {
                self.args.push(start..end);
                self.at = end + 2;
                Ok(true)
            }
            Some(_) => Err(unexpected(input, end, "the end of an argument")),
        }
    }
}

/// Parses `<mark><decimal>\r\n` at `at`: answers the number and the end of the line, or `None` if
/// it is not whole yet.
fn number_line(
    input: &[u8],
    at: usize,
    mark: u8,
    expected: &'static str,
) -> Result<Option<(usize, usize)>, ProtocolError> {
    let rest = input.get(at..).unwrap_or_default();
    match rest.first() {
        None => return Ok(None),
        Some(first) if *first != mark => return Err(unexpected(input, at, expected)),
        Some(_) => {}
    }
    let mut number: usize = 0;
    for (index, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' if index < MAX_HEADER_BYTES => {
                number = number
                    .checked_mul(10)
                    .and_then(|n| n.checked_add(usize::from(byte - b'0')))
                    .ok_or_else(|| unexpected(input, at, expected))?;
            }
            b'\r' if index > 1 => {
                return match rest.get(index + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((number, at + index + 2))),
                    Some(_) => Err(unexpected(input, at, expected)),
                };
            }
            _ => return Err(unexpected(input, at, expected)),
        }
    }
    Ok(None)
}

fn unexpected(input: &[u8], at: usize, expected: &'static str) -> ProtocolError {
    let rest = input.get(at..).unwrap_or_default();
    ProtocolError { expected, got: rest.iter().take(32).copied().collect() }
}

/// Appends a command in the form in which clients and primaries send it.
pub fn encode(args: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Commands = Vec<Vec<Vec<u8>>>;

    fn decode_in_pieces(stream: &[u8], cuts: &[usize]) -> Result<(Commands, usize), ProtocolError> {
        let (mut decoder, mut commands, mut counted) = (Decoder::new(), Vec::new(), 0);
        let (mut buffer, mut fed) = (Vec::new(), 0);
        let ends = cuts.iter().copied().chain([stream.len()]);
        for end in ends {
            buffer.extend_from_slice(&stream[fed..end.max(fed)]);
            fed = end.max(fed);
            while let Some(frame) = decoder.decode(&buffer)? {
                commands.push(decoder.args(&buffer).map(<[u8]>::to_vec).collect());
                counted += frame.len;
                buffer.drain(..frame.skipped + frame.len);
            }
        }
        Ok((commands, counted))
    }

    #[test]
    fn a_command_split_anywhere_is_the_same_command() {
        let mut stream = b"\n\n".to_vec();
        encode(&[b"SET", b"k", b"a\r\nb"], &mut stream);
        let keepalives = stream.len();
        stream.extend_from_slice(b"\n");
        encode(&[b"ping"], &mut stream);
        let whole = decode_in_pieces(&stream, &[]).unwrap();
        assert_eq!(whole.0, vec![vec![b"SET".to_vec(), b"k".to_vec(), b"a\r\nb".to_vec()], vec![b"ping".to_vec()]]);
        assert_eq!(whole.1, stream.len() - 3);
        assert!(keepalives < stream.len());
        for first in 0..stream.len() {
            for second in first..stream.len() {
                assert_eq!(decode_in_pieces(&stream, &[first, second]).unwrap(), whole);
            }
        }
    }

    #[test]
    fn garbage_is_told_apart_from_too_little() {
        for bad in
            [&b"+OK\r\n"[..], b"*\r\n", b"*0\r\n", b"*1\r\n+x", b"*1\r\n$1\r\nabc", b"*-1\r\n", b"*99999999999999\r\n"]
        {
            assert!(decode_in_pieces(bad, &[]).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
        for bad in [&b"*1\r\n$9223372036854775808\r\n"[..], b"*1\r\n$18446744073709551616\r\n", b"*1\rx"] {
            assert!(decode_in_pieces(bad, &[]).is_err());
        }
        for short in [&b""[..], b"*", b"*1", b"*1\r", b"*1\r\n", b"*1\r\n$", b"*1\r\n$3\r\nab"] {
            assert_eq!(decode_in_pieces(short, &[]).unwrap(), (vec![], 0));
        }
    }

    #[test]
    fn a_long_argument_is_refused_at_its_length() {
        for (limit, head, is_refused) in [
            (16, "*1\r\n$17\r\n", true),
            (16, "*1\r\n$16\r\n", false),
            // One argument after the other, beyond twice the limit.
            (16, "*3\r\n$16\r\n0123456789abcdef\r\n$16\r\n", true),
            (STRING_BYTES_MAX, "*1\r\n$700000000\r\n", true),
            (1 << 30, "*1\r\n$700000000\r\n", false),
        ] {
            let decoded = Decoder::up_to(limit).decode(head.as_bytes());
            assert_eq!(decoded.is_err_and(|error| error.is_too_long()), is_refused, "{limit} {head}");
        }
    }

    #[test]
    fn the_memory_of_a_command_with_many_arguments_is_given_back() {
        let (mut decoder, mut stream) = (Decoder::new(), Vec::new());
        encode(&vec![&b"x"[..]; 100 * ARGS_KEPT_MAX], &mut stream);
        let frame = decoder.decode(&stream).unwrap().unwrap();
        assert_eq!(decoder.args(&stream).count(), 100 * ARGS_KEPT_MAX);
        assert_eq!(frame.len, stream.len());
        assert_eq!(decoder.decode(b"").unwrap(), None);
        assert!(decoder.args.capacity() <= ARGS_KEPT_MAX);
    }

    proptest! {
        #[test]
        fn any_commands_survive_any_split(
            commands in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..5), 0..6),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let mut stream = Vec::new();
            for command in &commands {
                let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                encode(&args, &mut stream);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            prop_assert_eq!(decode_in_pieces(&stream, &cuts).unwrap(), (commands, stream.len()));
        }

        #[test]
        fn any_bytes_give_commands_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_in_pieces(&bytes, &[]);
        }
    }
}

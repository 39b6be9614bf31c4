//! An incremental reader of RESP2 replies, sans-IO. It trusts nothing: bytes, depth and elements of
//! a reply have limits, and every byte is looked at once, however the reply is cut.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

/// A reply of a server.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    Simple(Bytes),
    /// An error reply, without the leading `-`.
    Error(Bytes),
    Integer(i64),
    Bulk(Bytes),
    Array(Vec<Reply>),
    Null,
}

/// The limits of one reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyLimits {
    /// All bytes of the reply together.
    pub bytes_max: usize,
    /// How deep arrays may nest.
    pub depth_max: usize,
    /// All elements of all arrays together.
    pub elements_max: usize,
}

/// The longest header of a bulk string, an array or an integer.
const HEADER_BYTES_MAX: usize = 24;

/// Why bytes are no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    NotResp { got: String },
    TooLong { bytes_max: usize },
    TooDeep { depth_max: usize },
    TooManyElements { elements_max: usize },
}

/// Reads one reply after the other.
#[derive(Debug)]
pub struct ReplyReader {
    limits: ReplyLimits,
    /// The arrays around the next element, outermost first.
    open: Vec<OpenArray>,
    /// The length of a bulk string whose header has been consumed.
    bulk: Option<usize>,
    /// How many bytes of an unfinished line hold no line end.
    scanned: usize,
    /// What the current reply has consumed so far.
    bytes: usize,
    elements: usize,
}

#[derive(Debug)]
struct OpenArray {
    missing: usize,
    elements: Vec<Reply>,
}

/// What the next bytes are.
enum Token {
    Value(Reply),
    Array(usize),
}

/// The whole reply at the front of `input`, and its length. `Ok(None)`: it is not whole yet. An
/// error: it is no reply, or beyond the limits.
pub fn parse_front(input: &[u8], limits: ReplyLimits) -> Result<Option<(usize, Reply)>, ReplyError> {
    let mut rest = BytesMut::from(input);
    match ReplyReader::new(limits).read(&mut rest)? {
        Some(reply) => Ok(Some((input.len().saturating_sub(rest.len()), reply))),
        None if input.len() < limits.bytes_max => Ok(None),
        None => Err(ReplyError::TooLong { bytes_max: limits.bytes_max }),
    }
}

impl ReplyReader {
    pub fn new(limits: ReplyLimits) -> Self {
        ReplyReader { limits, open: Vec::new(), bulk: None, scanned: 0, bytes: 0, elements: 0 }
    }

    /// Consumes a reply from the front of `input`, if it is complete. An incomplete one is consumed
    /// in part: the next call continues with the bytes that follow.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        while let Some(token) = self.token(input)? {
            let mut value = match token {
                Token::Value(value) => value,
                Token::Array(count) => {
                    self.admit_array(count)?;
                    if count > 0 {
                        self.open.push(OpenArray { missing: count, elements: Vec::new() });
                        continue;
                    }
                    Reply::Array(Vec::new())
                }
            };
            // A complete element may complete the arrays around it.
            loop {
                let Some(array) = self.open.last_mut() else {
                    (self.bytes, self.elements) = (0, 0);
                    return Ok(Some(value));
                };
                array.elements.push(value);
                array.missing = array.missing.saturating_sub(1);
                if array.missing > 0 {
                    break;
                }
                value = Reply::Array(self.open.pop().map(|array| array.elements).unwrap_or_default());
            }
        }
        Ok(None)
    }

    /// Counts an array of `count` elements, and refuses it beyond the limits. An empty array is a
    /// level of nesting, too.
    fn admit_array(&mut self, count: usize) -> Result<(), ReplyError> {
        let ReplyLimits { depth_max, elements_max, .. } = self.limits;
        if self.open.len() >= depth_max {
            return Err(ReplyError::TooDeep { depth_max });
        }
        self.elements = self.elements.saturating_add(count);
        if self.elements > elements_max {
            return Err(ReplyError::TooManyElements { elements_max });
        }
        Ok(())
    }

    fn token(&mut self, input: &mut BytesMut) -> Result<Option<Token>, ReplyError> {
        if let Some(len) = self.bulk {
            return self.bulk(len, input);
        }
        let Some(&kind) = input.first() else { return Ok(None) };
        if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
            return Err(not_resp(input));
        }
        let Some(line) = self.line(kind, input)? else { return Ok(None) };
        let Some(text) = line.strip_suffix(b"\r\n").and_then(|line| line.get(1..)) else {
            return Err(not_resp(&line));
        };
        let text = line.slice_ref(text);
        match kind {
            b'+' => Ok(Some(Token::Value(Reply::Simple(text)))),
            b'-' => Ok(Some(Token::Value(Reply::Error(text)))),
            _ => self.header(kind, &text, input),
        }
    }

    /// The line at the front of the input, its end included.
    fn line(&mut self, kind: u8, input: &mut BytesMut) -> Result<Option<Bytes>, ReplyError> {
        let rest = input.get(self.scanned..).unwrap_or_default();
        let end =
            rest.iter().position(|byte| *byte == b'\n').map(|at| self.scanned.saturating_add(at).saturating_add(1));
        let len = end.unwrap_or(input.len());
        if len > HEADER_BYTES_MAX && !matches!(kind, b'+' | b'-') {
            return Err(not_resp(input));
        }
        self.fits(len)?;
        match end {
            None => {
                self.scanned = len;
                Ok(None)
            }
            Some(end) => {
                self.scanned = 0;
                self.bytes = self.bytes.saturating_add(end);
                Ok(Some(input.split_to(end).freeze()))
            }
        }
    }

    fn header(&mut self, kind: u8, text: &[u8], input: &mut BytesMut) -> Result<Option<Token>, ReplyError> {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        let number = number.ok_or_else(|| self.not_a_number(kind, text))?;
        if kind == b':' {
            return Ok(Some(Token::Value(Reply::Integer(number))));
        }
        if number == -1 {
            return Ok(Some(Token::Value(Reply::Null)));
        }
        let len = usize::try_from(number).map_err(|_| not_resp(text))?;
        if kind == b'*' {
            return Ok(Some(Token::Array(len)));
        }
        // Nothing is allocated by an announced length; one beyond the limit is refused at once.
        self.fits(len)?;
        self.bulk = Some(len);
        self.bulk(len, input)
    }

    /// A count or a length that no number holds is beyond every limit.
    fn not_a_number(&self, kind: u8, text: &[u8]) -> ReplyError {
        let ReplyLimits { bytes_max, elements_max, .. } = self.limits;
        let is_count = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        match kind {
            b'*' if is_count => ReplyError::TooManyElements { elements_max },
            b'$' if is_count => ReplyError::TooLong { bytes_max },
            _ => not_resp(text),
        }
    }

    fn bulk(&mut self, len: usize, input: &mut BytesMut) -> Result<Option<Token>, ReplyError> {
        let whole = len.saturating_add(2);
        if input.len() < whole {
            return Ok(None);
        }
        if input.get(len..whole) != Some(b"\r\n") {
            return Err(not_resp(input.get(len..).unwrap_or_default()));
        }
        let value = input.split_to(len).freeze();
        input.advance(2);
        self.bulk = None;
        self.bytes = self.bytes.saturating_add(whole);
        Ok(Some(Token::Value(Reply::Bulk(value))))
    }

    fn fits(&self, more: usize) -> Result<(), ReplyError> {
        let bytes_max = self.limits.bytes_max;
        if self.bytes.saturating_add(more) > bytes_max { Err(ReplyError::TooLong { bytes_max }) } else { Ok(()) }
    }
}

fn not_resp(got: &[u8]) -> ReplyError {
    ReplyError::NotResp { got: got.iter().take(32).copied().collect::<Vec<u8>>().escape_ascii().to_string() }
}

impl Reply {
    /// The bytes of a simple or a bulk string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Simple(bytes) | Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a simple or a bulk string.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub fn array(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Values may be secret; their shape is not.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(bytes) => write!(f, "simple({} bytes)", bytes.len()),
            Reply::Error(text) => write!(f, "error({})", text.escape_ascii()),
            Reply::Integer(number) => write!(f, "integer({number})"),
            Reply::Bulk(bytes) => write!(f, "bulk({} bytes)", bytes.len()),
            Reply::Array(elements) => f.debug_list().entries(elements).finish(),
            Reply::Null => f.write_str("null"),
        }
    }
}

impl ReplyError {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ReplyError::NotResp { .. } => "bad_reply",
            ReplyError::TooLong { .. } => "reply_too_long",
            ReplyError::TooDeep { .. } => "reply_too_deep",
            ReplyError::TooManyElements { .. } => "reply_too_many_elements",
        }
    }

    /// The same error without what was received: that may be a value, or what was sent.
    #[must_use]
    pub fn without_words(self) -> Self {
        match self {
            ReplyError::NotResp { .. } => ReplyError::NotResp { got: String::new() },
            other => other,
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::NotResp { got } => write!(f, "the answer is not RESP: \"{got}\""),
            ReplyError::TooLong { bytes_max } => write!(f, "the answer is longer than {bytes_max} bytes"),
            ReplyError::TooDeep { depth_max } => write!(f, "the answer nests deeper than {depth_max}"),
            ReplyError::TooManyElements { elements_max } => {
                write!(f, "the answer has more than {elements_max} elements")
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The framing of a snapshot file on the wire: where the file begins, and that it ends where it
//! must.
//!
//! ```text
//! \n* $<length>\r\n <length bytes>                 from the primary's disk
//! \n* $EOF:<40 bytes>\r\n <file> <the 40 bytes>    straight from its memory
//! ```
//!
//! In the second form only the file itself shows where it ends, so the reader of the file decides
//! in both forms, and the framing has to agree. A length is trusted no further: nothing is
//! allocated by it.

use crate::sink::{RdbStep, SinkError};
use bytes::{Buf, BytesMut};
use std::fmt;

const MARK_BYTES: usize = 40;

/// `$EOF:` and the mark are the longest valid header. The rest is room to show a wrong one.
const MAX_HEADER_BYTES: usize = 128;

type Mark = [u8; MARK_BYTES];

#[derive(Debug)]
pub enum Transfer {
    Header,
    Sized {
        remaining: u64,
    },
    Marked {
        mark: Mark,
    },
    /// The file has ended; the mark must follow.
    ClosingMark {
        mark: Mark,
    },
    Finished,
}

/// A wrong framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// Neither `$<length>` nor `$EOF:<mark>`.
    Header { text: String },
    /// The primary cannot send the file after all, in its own words.
    Aborted { text: String },
    /// The announced bytes are all there and the file has not ended.
    LongerThanAnnounced,
    /// The file ended before the announced bytes did.
    ShorterThanAnnounced { remaining: u64 },
    /// The file is not followed by its mark.
    MarkMissing,
}

/// Why a transfer failed: by its framing, or because the sink refused the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferFault {
    Framing(TransferError),
    Sink(SinkError),
}

impl From<TransferError> for TransferFault {
    fn from(error: TransferError) -> Self {
        TransferFault::Framing(error)
    }
}

impl From<SinkError> for TransferFault {
    fn from(error: SinkError) -> Self {
        TransferFault::Sink(error)
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::Header { text } => write!(f, "header {text}"),
            TransferError::Aborted { text } => write!(f, "the primary says {text}"),
            TransferError::LongerThanAnnounced => f.write_str("file longer than announced"),
            TransferError::ShorterThanAnnounced { remaining } => {
                write!(f, "file ended {remaining} bytes before the announced length")
            }
            TransferError::MarkMissing => f.write_str("no end mark behind the file"),
        }
    }
}

impl Transfer {
    pub fn new() -> Self {
        Transfer::Header
    }

    /// Takes the bytes of the file off the front of `input` and hands them to `rdb`. True: the file
    /// is complete, and the remaining input belongs to the stream.
    pub fn advance(
        &mut self,
        input: &mut BytesMut,
        mut rdb: impl FnMut(&[u8]) -> Result<RdbStep, SinkError>,
    ) -> Result<bool, TransferFault> {
        loop {
            let goes_on = match self {
                Transfer::Header => self.header(input)?,
                Transfer::Sized { remaining } => {
                    let remaining = *remaining;
                    self.sized(remaining, input, &mut rdb)?
                }
                Transfer::Marked { mark } => {
                    let mark = *mark;
                    self.marked(mark, input, &mut rdb)?
                }
                Transfer::ClosingMark { mark } => {
                    let mark = *mark;
                    self.closing_mark(mark, input)?
                }
                Transfer::Finished => return Ok(true),
            };
            if !goes_on {
                return Ok(false);
            }
        }
    }

    fn header(&mut self, input: &mut BytesMut) -> Result<bool, TransferError> {
        let blank = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        input.advance(blank);
        let Some(end) = input.iter().take(MAX_HEADER_BYTES).position(|byte| *byte == b'\n') else {
            let hopeless = input.len() >= MAX_HEADER_BYTES || !matches!(input.first(), None | Some(b'$' | b'-'));
            return if hopeless { Err(bad_header(input)) } else { Ok(false) };
        };
        let line = input.split_to(end.saturating_add(1));
        let line = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(&line);
        *self = parse_header(line).ok_or_else(|| bad_header(line))?;
        Ok(true)
    }

    fn sized(
        &mut self,
        remaining: u64,
        input: &mut BytesMut,
        rdb: &mut impl FnMut(&[u8]) -> Result<RdbStep, SinkError>,
    ) -> Result<bool, TransferFault> {
        let ours = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
        if ours == 0 {
            return Ok(false);
        }
        // The reader never sees a byte beyond the announced end.
        let step = rdb(input.get(..ours).unwrap_or_default())?;
        let consumed = consumed(step, ours);
        input.advance(consumed);
        let remaining = remaining.saturating_sub(consumed as u64);
        match step {
            RdbStep::More if remaining == 0 => Err(TransferError::LongerThanAnnounced.into()),
            RdbStep::Done { .. } if remaining > 0 => Err(TransferError::ShorterThanAnnounced { remaining }.into()),
            RdbStep::More => {
                *self = Transfer::Sized { remaining };
                Ok(true)
            }
            RdbStep::Part { .. } => {
                *self = Transfer::Sized { remaining };
                Ok(false)
            }
            RdbStep::Done { .. } => {
                *self = Transfer::Finished;
                Ok(true)
            }
        }
    }

    fn marked(
        &mut self,
        mark: Mark,
        input: &mut BytesMut,
        rdb: &mut impl FnMut(&[u8]) -> Result<RdbStep, SinkError>,
    ) -> Result<bool, TransferFault> {
        if input.is_empty() {
            return Ok(false);
        }
        let step = rdb(input)?;
        input.advance(consumed(step, input.len()));
        match step {
            RdbStep::More | RdbStep::Part { .. } => Ok(false),
            RdbStep::Done { .. } => {
                *self = Transfer::ClosingMark { mark };
                Ok(true)
            }
        }
    }

    fn closing_mark(&mut self, mark: Mark, input: &mut BytesMut) -> Result<bool, TransferError> {
        let there = input.get(..MARK_BYTES.min(input.len())).unwrap_or_default();
        // A wrong byte ends the transfer at once, not only after all bytes of the mark.
        if !mark.starts_with(there) {
            return Err(TransferError::MarkMissing);
        }
        if there.len() < MARK_BYTES {
            return Ok(false);
        }
        input.advance(MARK_BYTES);
        *self = Transfer::Finished;
        Ok(true)
    }
}

/// How many of the offered bytes a step consumed. A sink cannot consume more than it was offered.
pub fn consumed(step: RdbStep, offered: usize) -> usize {
    match step {
        RdbStep::More => offered,
        RdbStep::Part { consumed } | RdbStep::Done { consumed } => consumed.min(offered),
    }
}

fn parse_header(line: &[u8]) -> Option<Transfer> {
    let text = line.strip_prefix(b"$")?;
    if let Some(mark) = text.strip_prefix(b"EOF:") {
        return Some(Transfer::Marked { mark: Mark::try_from(mark).ok()? });
    }
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // The servers' lengths are signed; no file is empty.
    let length = digits.parse::<i64>().ok().filter(|length| *length > 0)?;
    Some(Transfer::Sized { remaining: length.unsigned_abs() })
}

fn bad_header(line: &[u8]) -> TransferError {
    let shown = line.get(..MAX_HEADER_BYTES).unwrap_or(line);
    let text = shown.trim_ascii_end().escape_ascii().to_string();
    match shown.first() {
        Some(b'-') => TransferError::Aborted { text },
        _ => TransferError::Header { text },
    }
}

#[cfg(test)]
mod tests;

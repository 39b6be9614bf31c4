//! The streaming reader of a snapshot file.
//!
//! ```text
//! feed(bytes) -> [ carry ] -> walk, item by item -> Visit
//!      \-> checksum                \-> unfinished item: back into the carry
//! ```
//!
//! Bytes are read in place. Only an incomplete item (a key, an element, a compact value, a node of
//! a list) is copied into the carry buffer. The walk reports the minimum length of the item, and
//! does not retry before that many bytes have arrived. So a long string in small chunks costs one
//! retry for each of the item's few strings, not one for each chunk.

use crate::checksum::Checksum;
use crate::entry_reader::KEEP_BYTES_MAX;
use crate::error::{Fault, Halt, RdbError};
use crate::visit::Visit;
use crate::walk::Walk;

/// Since this version a file ends with the checksum of what comes before.
const CHECKSUM_VERSION_MIN: u32 = 5;
const CHECKSUM_BYTES: usize = 8;

/// The most bytes of a key that an error keeps: errors may live long in logs and states, and a key
/// may have 512 MiB.
const ERROR_KEY_BYTES_MAX: usize = 1024;

/// The outcome of [`Loader::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were consumed, and the file continues.
    More,
    /// The file is complete. `consumed` bytes of this call belong to it, the rest is the caller's.
    Done { consumed: usize },
}

/// Reads one file.
pub struct Loader {
    walk: Walk,
    phase: Phase,
    /// The bytes of an incomplete item, and its minimum length.
    carry: Vec<u8>,
    need: usize,
    /// The position of the next item in the file.
    offset_bytes: u64,
    checksum: Checksum,
}

enum Phase {
    Body,
    Trailer,
    Done,
    Failed(RdbError),
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    pub fn new() -> Self {
        Loader {
            walk: Walk::new(),
            phase: Phase::Body,
            carry: Vec::new(),
            need: 0,
            offset_bytes: 0,
            checksum: Checksum::new(),
        }
    }

    /// As [`Loader::new`], with another allowance than [`super::FREE_BYTES`] for what the file
    /// unpacks to.
    pub fn with_free_bytes(bytes: u64) -> Self {
        Loader { walk: Walk::with_free_bytes(bytes), ..Loader::new() }
    }

    /// Accepts strings up to this length.
    pub fn with_string_bytes_max(mut self, bytes: u64) -> Self {
        self.walk.string_bytes_max = bytes;
        self
    }

    /// Reads the next bytes of the file. After an error every call returns the same error.
    pub fn feed(&mut self, bytes: &[u8], visit: &mut dyn Visit) -> Result<Progress, RdbError> {
        let result = match &self.phase {
            Phase::Failed(error) => return Err(error.clone()),
            Phase::Done => return Ok(Progress::Done { consumed: 0 }),
            Phase::Trailer => self.trailer(bytes, 0),
            Phase::Body => self.body(bytes, visit),
        };
        if let Err(error) = &result {
            self.phase = Phase::Failed(error.clone());
        }
        result
    }

    /// The input has ended: an error unless the file is complete.
    pub fn finish(&self) -> Result<(), RdbError> {
        match &self.phase {
            Phase::Done => Ok(()),
            Phase::Failed(error) => Err(error.clone()),
            Phase::Body | Phase::Trailer => Err(self.error(Fault::Truncated, self.carry.len())),
        }
    }

    /// The version of the file's format; 0 until it has been read.
    pub fn version(&self) -> u32 {
        self.walk.version()
    }

    /// How many bytes of the file have been consumed.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes.saturating_add(self.carry.len() as u64)
    }

    fn body(&mut self, bytes: &[u8], visit: &mut dyn Visit) -> Result<Progress, RdbError> {
        self.walk.received(bytes.len());
        let mut rest = bytes;
        while !self.walk.is_at_end() {
            if !self.carry.is_empty() {
                self.top_up(&mut rest);
                if self.carry.len() < self.need {
                    break;
                }
            }
            let from_carry = !self.carry.is_empty();
            let mut cursor = self.walk.cursor(if from_carry { &self.carry } else { rest });
            let result = self.walk.step(&mut cursor, visit);
            let taken = cursor.pos();
            match result {
                Ok(()) if from_carry => self.release(taken),
                Ok(()) => rest = rest.get(taken..).unwrap_or_default(),
                Err(Halt::Bad(fault)) => return Err(self.error(fault, taken)),
                Err(Halt::More(need)) => {
                    self.need = need;
                    if !from_carry {
                        self.carry.extend_from_slice(rest);
                        rest = &[];
                        break;
                    }
                    continue;
                }
            }
            visit.item_read(taken);
            self.offset_bytes = self.offset_bytes.saturating_add(taken as u64);
        }
        let taken = bytes.len() - rest.len();
        self.checksum.update(bytes.get(..taken).unwrap_or_default());
        if !self.walk.is_at_end() {
            return Ok(Progress::More);
        }
        if self.walk.version() < CHECKSUM_VERSION_MIN {
            self.phase = Phase::Done;
            return Ok(Progress::Done { consumed: taken });
        }
        self.phase = Phase::Trailer;
        (self.carry, self.need) = (Vec::new(), CHECKSUM_BYTES);
        self.trailer(rest, taken)
    }

    /// Reads the eight bytes behind the EOF opcode. `before` bytes of this call were consumed
    /// already.
    fn trailer(&mut self, bytes: &[u8], before: usize) -> Result<Progress, RdbError> {
        let mut rest = bytes;
        self.top_up(&mut rest);
        let Some(stored) = self.carry.first_chunk() else { return Ok(Progress::More) };
        let (stored, computed) = (u64::from_le_bytes(*stored), self.checksum.value());
        // A server that is configured not to compute a checksum writes 0.
        if stored != 0 && stored != computed {
            return Err(self.error(Fault::Checksum { stored, computed }, 0));
        }
        self.release(CHECKSUM_BYTES);
        self.offset_bytes = self.offset_bytes.saturating_add(CHECKSUM_BYTES as u64);
        self.phase = Phase::Done;
        Ok(Progress::Done { consumed: before + bytes.len() - rest.len() })
    }

    /// Moves the missing bytes of the incomplete item into the carry buffer. Its capacity doubles,
    /// but never exceeds what the item needs: a long string does not take twice its size, and a
    /// length without its bytes reserves little.
    fn top_up(&mut self, rest: &mut &[u8]) {
        let missing = self.need.saturating_sub(self.carry.len());
        let (piece, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
        if self.carry.capacity() - self.carry.len() < piece.len() {
            self.carry.reserve_exact(missing.min(self.carry.len().max(piece.len())));
        }
        self.carry.extend_from_slice(piece);
        *rest = after;
    }

    fn release(&mut self, taken: usize) {
        self.carry.drain(..taken.min(self.carry.len()));
        if self.carry.is_empty() && self.carry.capacity() > KEEP_BYTES_MAX {
            self.carry = Vec::new();
        }
    }

    fn error(&self, fault: Fault, into_item: usize) -> RdbError {
        RdbError {
            fault,
            offset_bytes: self.offset_bytes.saturating_add(into_item as u64),
            key: self.walk.key().map(|key| Box::from(key.get(..ERROR_KEY_BYTES_MAX).unwrap_or(key))),
        }
    }
}

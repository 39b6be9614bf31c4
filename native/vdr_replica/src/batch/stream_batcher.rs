//! The stream as batches of commands: filtered, and each with its database, its offset and its
//! transaction.
//!
//! A MULTI is held back until its EXEC has come, so that its commands are in one batch. A MULTI
//! beyond [`UNIT_BYTES_MAX`] or [`UNIT_COMMANDS_MAX`] is passed on in pieces, whose commands still
//! carry its name.

use super::commands::Batch;
use crate::filter::Filter;
use crate::resp::{Decoder, ProtocolError};
use crate::stream;
use bytes::{Buf, BytesMut};
use std::sync::Arc;
use vdr_commands::Role;
use vdr_data::limits::STRING_BYTES_MAX;

/// Most bytes of a MULTI that is kept in one batch.
pub const UNIT_BYTES_MAX: usize = 1 << 20;
/// Most commands of a MULTI that is kept in one batch.
pub const UNIT_COMMANDS_MAX: usize = 16_384;

/// Where the stream can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    pub offset: u64,
    /// The database that is selected there. The stream names it only when it changes.
    pub db: u32,
}

/// The outcome of [`StreamBatcher::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The primary wants to hear our offset now.
    pub ack_wanted: bool,
    /// The batch is full; whole commands may be left in the input.
    pub left: bool,
}

/// An open MULTI.
struct Unit {
    before: ResumePoint,
    /// Its commands so far; `None` when it was too long to be held back.
    held: Option<Batch>,
}

/// See the module.
pub struct StreamBatcher {
    decoder: Decoder,
    string_bytes_max: u64,
    at: ResumePoint,
    unit: Option<Unit>,
    filter: Option<Arc<Filter>>,
    batch: Batch,
}

impl StreamBatcher {
    pub fn new(at: ResumePoint, filter: Option<Arc<Filter>>) -> Self {
        let string_bytes_max = STRING_BYTES_MAX;
        StreamBatcher {
            decoder: Decoder::up_to(string_bytes_max),
            string_bytes_max,
            at,
            unit: None,
            filter,
            batch: Batch::default(),
        }
    }

    /// Accepts arguments up to this length. To be called between two links.
    pub fn set_string_bytes_max(&mut self, string_bytes_max: u64) {
        self.string_bytes_max = string_bytes_max;
        self.decoder = Decoder::up_to(string_bytes_max);
    }

    /// Takes whole commands off the front of `input` until it has no more or the batch is full.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Taken, ProtocolError> {
        let (mut at, mut taken) = (0, Taken::default());
        let mut args: Vec<&[u8]> = Vec::new();
        loop {
            if self.batch.is_full() {
                taken.left = true;
                break;
            }
            let rest = input.get(at..).unwrap_or_default();
            let Some(frame) = self.decoder.decode(rest)? else { break };
            args.clear();
            args.extend(self.decoder.args(rest));
            at += frame.skipped + frame.len;
            taken.ack_wanted |= self.command(&args, frame.len)?;
        }
        input.advance(at);
        Ok(taken)
    }

    /// The commands that are ready to be passed on. Whoever passes them on clears the batch.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Where the stream resumes after the batch.
    pub fn resume_point(&self) -> ResumePoint {
        match &self.unit {
            Some(Unit { before, held: Some(_) }) => *before,
            _ => self.at,
        }
    }

    /// The link is over: whatever is not whole will be sent again.
    pub fn cut(&mut self) {
        self.at = self.resume_point();
        if self.unit.as_ref().is_some_and(|unit| unit.held.is_some()) {
            self.unit = None;
        }
        self.decoder = Decoder::up_to(self.string_bytes_max);
    }

    /// Answers whether the primary wants to hear our offset now.
    fn command(&mut self, args: &[&[u8]], len: usize) -> Result<bool, ProtocolError> {
        let Some((name, rest)) = args.split_first() else { return Ok(false) };
        let before = self.at;
        self.at.offset = self.at.offset.saturating_add(len as u64);
        match vdr_commands::control(name).map(|row| row.role) {
            Some(Role::Select) => {
                self.at.db = stream::selected(rest).map_err(|_| bad_select(args))?;
                return Ok(false);
            }
            Some(Role::Multi) => {
                self.unit = Some(Unit { before, held: Some(Batch::default()) });
                return Ok(false);
            }
            Some(Role::Exec) => {
                if let Some(Unit { held: Some(held), .. }) = self.unit.take() {
                    self.batch.append(&held);
                }
                return Ok(false);
            }
            Some(Role::Replconf) => return Ok(stream::is_getack(rest)),
            Some(Role::Ping) => return Ok(false),
            Some(Role::Ignored) | None => {}
        }
        if self.filter.as_ref().is_none_or(|filter| filter.wants(self.at.db, args)) {
            self.keep(args);
        }
        Ok(false)
    }

    fn keep(&mut self, args: &[&[u8]]) {
        let (ResumePoint { offset, db }, words) = (self.at, args.iter().copied());
        let Some(unit) = &mut self.unit else { return self.batch.push(db, offset, None, words) };
        let name = Some(unit.before.offset);
        let Some(held) = &mut unit.held else { return self.batch.push(db, offset, name, words) };
        held.push(db, offset, name, words);
        if held.bytes() > UNIT_BYTES_MAX || held.len() > UNIT_COMMANDS_MAX {
            self.batch.append(held);
            unit.held = None;
        }
    }
}

fn bad_select(args: &[&[u8]]) -> ProtocolError {
    let got = args.get(1).copied().unwrap_or_default();
    ProtocolError { expected: "a database number", got: got.iter().take(32).copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::super::commands::text;
    use super::*;
    use crate::resp;

    fn stream(commands: &[&str]) -> BytesMut {
        let mut out = Vec::new();
        for command in commands {
            resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut out);
        }
        BytesMut::from(&out[..])
    }

    fn batcher() -> StreamBatcher {
        StreamBatcher::new(ResumePoint { offset: 100, db: 0 }, None)
    }

    #[test]
    fn commands_carry_their_database_and_the_offset_behind_them() {
        let mut batcher = batcher();
        let mut input = stream(&["SET a 1", "SELECT 3", "PING", "DEL a", "publish c m"]);
        let len = input.len() as u64;
        assert_eq!(batcher.take(&mut input).unwrap(), Taken::default());
        assert_eq!(text(batcher.batch()), ["SET a 1", "DEL a", "publish c m"]);
        let seen: Vec<_> =
            batcher.batch().commands().map(|command| (command.db, command.offset, command.unit)).collect();
        assert_eq!(seen[0], (0, 127, None));
        assert_eq!(seen[2], (3, 100 + len, None));
        assert_eq!(batcher.resume_point(), ResumePoint { offset: 100 + len, db: 3 });
    }

    #[test]
    fn a_unit_stands_in_one_batch_once_it_is_whole() {
        let mut batcher = batcher();
        batcher.take(&mut stream(&["SET a 0", "MULTI", "SELECT 2", "SET a 1"])).unwrap();
        let before = batcher.resume_point();
        assert_eq!((text(batcher.batch()), before.db), (vec!["SET a 0".to_owned()], 0));
        batcher.batch().clear();
        batcher.take(&mut stream(&["SET b 2", "EXEC"])).unwrap();
        assert_eq!(text(batcher.batch()), ["SET a 1", "SET b 2"]);
        assert!(batcher.batch().commands().all(|command| command.unit == Some(before.offset) && command.db == 2));
        assert!(batcher.resume_point().offset > before.offset);
    }

    #[test]
    fn a_unit_that_is_cut_off_comes_again() {
        let mut batcher = batcher();
        batcher.take(&mut stream(&["SET a 0", "MULTI", "SELECT 2", "SET a 1"])).unwrap();
        let before = batcher.resume_point();
        batcher.batch().clear();
        batcher.cut();
        assert_eq!(batcher.resume_point(), before);
        batcher.take(&mut stream(&["MULTI", "SET a 1", "EXEC"])).unwrap();
        assert_eq!((text(batcher.batch()), batcher.resume_point().db), (vec!["SET a 1".to_owned()], 0));
    }

    #[test]
    fn a_unit_beyond_the_limit_comes_in_pieces_under_one_name() {
        let mut batcher = batcher();
        let large = format!("SET k {}", "x".repeat(UNIT_BYTES_MAX));
        batcher.take(&mut stream(&["MULTI", &large, "SET a 1"])).unwrap();
        assert_eq!(batcher.batch().len(), 1);
        batcher.batch().clear();
        batcher.cut();
        batcher.take(&mut stream(&["SET b 1", "EXEC", "SET c 1"])).unwrap();
        let units: Vec<_> = batcher.batch().commands().map(|command| command.unit).collect();
        assert_eq!(units, [Some(100), None]);
    }

    #[test]
    fn a_full_batch_leaves_the_rest_where_it_is() {
        let mut batcher = batcher();
        let mut input = stream(&vec!["SET a 1"; super::super::commands::BATCH_COMMANDS_MAX + 10]);
        assert!(batcher.take(&mut input).unwrap().left);
        assert_eq!(batcher.batch().len(), super::super::commands::BATCH_COMMANDS_MAX);
        assert!(batcher.take(&mut input).unwrap().left);
        batcher.batch().clear();
        assert!(!batcher.take(&mut input).unwrap().left);
        assert_eq!((batcher.batch().len(), input.len()), (10, 0));
    }

    #[test]
    fn a_select_of_no_database_is_a_fault() {
        assert!(batcher().take(&mut stream(&["SELECT x"])).is_err());
        assert!(batcher().take(&mut stream(&["REPLCONF GETACK *"])).unwrap().ack_wanted);
    }
}

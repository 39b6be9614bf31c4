//! The nodes of a stream: entries in a listpack, relative to a master entry.
//!
//! ```text
//! live deleted n field*n 0  ( flags ms seq [ value*n | m (field value)*m ] pieces )*
//! ```
//!
//! With flag 2 an entry has the master's fields, which is the first alternative. Flag 1 marks an
//! entry that was deleted but is still stored. Milliseconds and sequence are relative to the
//! master's.

use crate::error::Fault;
use crate::packed::{Piece, Pieces};
use crate::stream::Totals;
use crate::types::Dialect;
use vdr_data::value::stream::Id;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// The pieces of an entry apart from its fields: flags, milliseconds, sequence.
const HEAD_PIECES: i64 = 3;

/// The fields of one entry with their values, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fields<'a>(&'a [(Piece<'a>, Piece<'a>)]);

impl Fields<'_> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls `each` with every field and its value.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        for (name, value) in self.0 {
            each(name.text().as_bytes(), value.text().as_bytes());
        }
    }
}

/// Checks the entries of a stream while its nodes are read.
#[derive(Default)]
pub(super) struct Entries {
    last: Option<Id>,
    live: u64,
}

impl Entries {
    /// Reports the entries of one node, without the deleted ones.
    pub fn node(
        &mut self,
        master: &[u8],
        listpack: &[u8],
        mut report: impl FnMut(Id, Fields<'_>),
    ) -> Result<(), Fault> {
        let master = master_id(master)?;
        let mut pieces = Pieces::listpack(listpack)?;
        let (live, deleted) = (int(&mut pieces)?, int(&mut pieces)?);
        let names = names(&mut pieces)?;
        let (mut found, mut pairs) = ([0i64; 2], Vec::new());
        while let Some(flags) = pieces.next() {
            let Piece::Int(flags) = flags? else { return Err(NOT_A_NUMBER) };
            let (ms, seq) = (int(&mut pieces)?, int(&mut pieces)?);
            let id = Id::new(master.ms.wrapping_add_signed(ms), master.seq.wrapping_add_signed(seq));
            if self.last.replace(id).is_some_and(|last| last >= id) {
                return Err(Fault::Corrupt("stream entries out of order"));
            }
            let expected = fields(flags & SAME_FIELDS != 0, &names, &mut pieces, &mut pairs)?;
            if int(&mut pieces)? != expected {
                return Err(Fault::Corrupt("stream entry does not have the size that it says"));
            }
            let is_deleted = flags & DELETED != 0;
            let [live, deleted] = &mut found;
            *(if is_deleted { deleted } else { live }) += 1;
            if !is_deleted {
                report(id, Fields(&pairs));
            }
        }
        let [found_live, found_deleted] = found;
        self.live = self.live.saturating_add(found_live.unsigned_abs());
        if (found_live, found_deleted) == (live, deleted) {
            Ok(())
        } else {
            Err(Fault::Corrupt("stream node does not have the entries that it says"))
        }
    }

    /// Checks the totals of the stream against its nodes, and counts its entries. A wrong length is
    /// accepted where the servers' own replicas accept it: those of Redis, if the stream has nodes.
    pub fn check(&self, totals: Totals, dialect: Dialect) -> Result<Totals, Fault> {
        let miscounted = i128::from(totals.length) - i128::from(self.live);
        let is_accepted = dialect == Dialect::Redis && self.last.is_some();
        if miscounted != 0 && !is_accepted {
            Err(Fault::Corrupt("stream does not have the entries that it says"))
        } else if self.live > 0 && self.last.is_some_and(|last| last > totals.last_id) {
            Err(Fault::Corrupt("stream entry above the last id"))
        } else {
            let miscounted = i64::try_from(miscounted).unwrap_or(i64::MAX);
            Ok(Totals { length: self.live, miscounted, ..totals })
        }
    }
}

const NOT_A_NUMBER: Fault = Fault::Corrupt("stream node has a string for a number");
const TOO_SHORT: Fault = Fault::Corrupt("stream node ends inside an entry");

fn master_id(bytes: &[u8]) -> Result<Id, Fault> {
    const BAD: Fault = Fault::Corrupt("stream node without an id of 16 bytes");
    let (ms, rest) = bytes.split_first_chunk().ok_or(BAD)?;
    let seq = rest.try_into().map_err(|_| BAD)?;
    Ok(Id::new(u64::from_be_bytes(*ms), u64::from_be_bytes(seq)))
}

fn piece<'a>(pieces: &mut Pieces<'a>) -> Result<Piece<'a>, Fault> {
    pieces.next().unwrap_or(Err(TOO_SHORT))
}

fn int(pieces: &mut Pieces<'_>) -> Result<i64, Fault> {
    match piece(pieces)? {
        Piece::Int(value) => Ok(value),
        Piece::Bytes(_) => Err(NOT_A_NUMBER),
    }
}

/// Reads the master entry's field names, and the zero behind them.
fn names<'a>(pieces: &mut Pieces<'a>) -> Result<Vec<Piece<'a>>, Fault> {
    let count = int(pieces)?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(piece(pieces)?);
    }
    if count >= 0 && int(pieces)? == 0 { Ok(names) } else { Err(Fault::Corrupt("stream node without a master entry")) }
}

/// Reads an entry's fields into `pairs`. Returns the number of pieces that the entry must claim.
fn fields<'a>(
    same: bool,
    names: &[Piece<'a>],
    pieces: &mut Pieces<'a>,
    pairs: &mut Vec<(Piece<'a>, Piece<'a>)>,
) -> Result<i64, Fault> {
    pairs.clear();
    if same {
        for name in names {
            pairs.push((*name, piece(pieces)?));
        }
        return Ok(HEAD_PIECES.saturating_add(names.len() as i64));
    }
    let count = int(pieces)?;
    for _ in 0..count {
        pairs.push((piece(pieces)?, piece(pieces)?));
    }
    Ok(count.saturating_mul(2).saturating_add(HEAD_PIECES + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listpack of small numbers and short strings.
    fn listpack(pieces: &[Piece<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Int(value) if *value >= 0 => body.extend([*value as u8, 1]),
                Piece::Int(value) => body.extend([0xf1, *value as u8, (*value >> 8) as u8, 3].to_vec()),
                Piece::Bytes(bytes) => {
                    body.push(0x80 | bytes.len() as u8);
                    body.extend(*bytes);
                    body.push(bytes.len() as u8 + 1);
                }
            }
        }
        let mut all = (body.len() as u32 + 7).to_le_bytes().to_vec();
        all.extend((pieces.len() as u16).to_le_bytes());
        all.extend(body);
        all.push(0xff);
        all
    }

    fn node(words: &str) -> Result<String, Fault> {
        let pieces: Vec<Piece<'_>> = words
            .split_whitespace()
            .map(|word| word.parse().map_or(Piece::Bytes(word.as_bytes()), Piece::Int))
            .collect();
        let master = [5u64.to_be_bytes(), 2u64.to_be_bytes()].concat();
        let mut text = String::new();
        Entries::default().node(&master, &listpack(&pieces), |id, fields| {
            text += &format!("{id}");
            let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            fields.for_each(|name, value| text += &format!(" {}={}", show(name), show(value)));
            text += ";";
        })?;
        Ok(text)
    }

    #[test]
    fn fields_are_the_masters_or_the_entrys_own() {
        assert_eq!(node("2 0 2 a b 0  2 0 0 x 7 5  0 1 -2 1 c y 6").unwrap(), "5-2 a=x b=7;6-0 c=y;");
        assert_eq!(node("1 0 0 0  2 0 0 3").unwrap(), "5-2;");
    }

    #[test]
    fn deleted_entries_are_passed_over() {
        assert_eq!(node("1 2 1 a 0  3 0 0 x 4  2 0 1 y 4  1 0 2 1 b z 6").unwrap(), "5-3 a=y;");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (words, what) in [
            ("1 0", TOO_SHORT),
            ("1 0 1 a", TOO_SHORT),
            ("1 0 1 a 1", Fault::Corrupt("stream node without a master entry")),
            ("1 0 -1 0", Fault::Corrupt("stream node without a master entry")),
            ("1 x 1 a 0", NOT_A_NUMBER),
            ("1 0 1 a 0  2 0 0 x", TOO_SHORT),
            ("1 0 1 a 0  2 0 0 x 5", Fault::Corrupt("stream entry does not have the size that it says")),
            ("1 0 1 a 0  0 0 0 -5 4", Fault::Corrupt("stream entry does not have the size that it says")),
            ("2 0 1 a 0  2 0 0 x 4  2 0 0 x 4", Fault::Corrupt("stream entries out of order")),
            ("2 0 1 a 0  2 0 0 x 4", Fault::Corrupt("stream node does not have the entries that it says")),
            ("1 0 1 a 0  3 0 0 x 4", Fault::Corrupt("stream node does not have the entries that it says")),
        ] {
            assert_eq!(node(words), Err(what), "{words}");
        }
        assert!(Entries::default().node(b"short", &listpack(&[]), |_, _| {}).is_err());
    }
}

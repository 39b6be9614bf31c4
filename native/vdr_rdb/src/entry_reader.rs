//! Reads the value of one key and reports its elements.
//!
//! A key is reported together with its first element, so an aggregate without elements is never
//! reported. A server never keeps one, and skips those that old bugs left in files.

use crate::budget::Budget;
use crate::cursor::{Cursor, Raw};
use crate::error::{Fault, Halt};
use crate::packed::{Piece, Pieces};
use crate::stream::Part;
use crate::stream_node::Entries;
use crate::types::{Dialect, PackedForm, PackedOf, Packing, Shape};
use crate::visit::{Element, KeyHeader, Visit, Want};
use foldhash::quality::RandomState;
use std::collections::HashSet;
use std::hash::BuildHasher;
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;

/// Larger buffers are freed after the item that needed them.
pub(super) const KEEP_BYTES_MAX: usize = 1 << 20;

pub(super) struct EntryReader {
    pub db: u32,
    pub key: Vec<u8>,
    pub kind: Kind,
    pub expiry: Expiry,
    pub packed: bool,
    announced: Option<Want>,
    /// Buffers for unpacked strings: an element has two at most.
    buffers: [Vec<u8>; 2],
    distinct: Distinct,
    in_order: InOrder,
    entries: Entries,
    pub budget: Budget,
}

impl EntryReader {
    pub fn new() -> Self {
        EntryReader {
            db: 0,
            key: Vec::new(),
            kind: Kind::String,
            expiry: Expiry::NEVER,
            packed: false,
            announced: None,
            buffers: [Vec::new(), Vec::new()],
            distinct: Distinct::default(),
            in_order: InOrder::default(),
            entries: Entries::default(),
            budget: Budget::default(),
        }
    }

    /// Begins a key. Its expiry was read before.
    pub fn begin(&mut self, key: Raw<'_>, kind: Kind) -> Result<(), Fault> {
        let [buffer, _] = &mut self.buffers;
        self.key.clear();
        self.key.extend_from_slice(key.text(buffer)?.as_bytes());
        (self.kind, self.packed) = (kind, false);
        Ok(())
    }

    /// Reports the key, unless it was reported before.
    pub fn announce(&mut self, visit: &mut dyn Visit) -> Want {
        *self.announced.get_or_insert_with(|| {
            visit.key(&KeyHeader {
                db: self.db,
                key: &self.key,
                kind: self.kind,
                expiry: self.expiry,
                packed: self.packed,
            })
        })
    }

    /// Ends the key and clears its state.
    pub fn end(&mut self, visit: &mut dyn Visit) -> Result<(), Fault> {
        if self.announced.take().is_some() {
            visit.end_key()?;
        }
        self.expiry = Expiry::NEVER;
        for buffer in self.buffers.iter_mut().chain([&mut self.key]) {
            if buffer.capacity() > KEEP_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        Ok(())
    }

    pub fn begin_stream(&mut self) {
        self.entries = Entries::default();
    }

    /// Reports one part of a stream. A stream without entries is a key like any other, so it is
    /// reported at its first part.
    pub fn stream_part(
        &mut self,
        part: Option<Part<'_>>,
        dialect: Dialect,
        visit: &mut dyn Visit,
    ) -> Result<(), Fault> {
        let wanted = self.announce(visit) != Want::Skip;
        match part {
            None => Ok(()),
            Some(Part::Node { master, listpack }) => {
                let [first, second] = &mut self.buffers;
                let (master, listpack) = (master.text(first)?, listpack.text(second)?);
                self.budget.spend(listpack.as_bytes().len())?;
                self.entries.node(master.as_bytes(), listpack.as_bytes(), |id, fields| {
                    if wanted {
                        visit.element(Element::Entry { id, fields });
                    }
                })
            }
            Some(part) => {
                let part = match part {
                    Part::Totals(totals) => Part::Totals(self.entries.check(totals, dialect)?),
                    part => part,
                };
                if wanted { visit.stream_part(part) } else { Ok(()) }
            }
        }
    }

    pub fn text(&mut self, raw: Raw<'_>, visit: &mut dyn Visit) -> Result<(), Fault> {
        if self.announce(visit) != Want::Skip {
            let [buffer, _] = &mut self.buffers;
            let text = raw.text(buffer)?;
            self.budget.spend(text.as_bytes().len())?;
            visit.element(Element::String(text.as_bytes()));
        }
        Ok(())
    }

    /// Reads one element of an aggregate that is encoded element by element.
    pub fn element(&mut self, shape: Shape, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        match shape {
            Shape::Items => {
                let item = cursor.raw()?;
                self.item(item, visit)
            }
            Shape::OldScores => {
                let (member, score) = (cursor.raw()?, old_score(cursor)?);
                self.member(member, score, visit)
            }
            Shape::Scores => {
                let (member, score) = (cursor.raw()?, f64::from_le_bytes(cursor.array()?));
                self.member(member, score, visit)
            }
            Shape::Fields => {
                let (name, value) = (cursor.raw()?, cursor.raw()?);
                self.field(name, value, Expiry::NEVER, visit)
            }
            Shape::FieldsUntil => {
                let (name, value, at_ms) = (cursor.raw()?, cursor.raw()?, cursor.i64_le()?);
                self.field(name, value, expiry_or(-1, at_ms)?, visit)
            }
            Shape::FieldsSince => {
                let (at_ms, name, value) = (cursor.len()?, cursor.raw()?, cursor.raw()?);
                self.field(name, value, expiry_or(0, at_ms.cast_signed())?, visit)
            }
            Shape::FieldsFrom { min_ms } => {
                let (distance, name, value) = (cursor.len()?, cursor.raw()?, cursor.raw()?);
                self.field(name, value, expiry_from(min_ms, distance)?, visit)
            }
            Shape::Ziplists => {
                let blob = cursor.raw()?;
                self.node(blob, PackedForm::Ziplist, visit)
            }
            Shape::Nodes => {
                let (container, content) = (cursor.len()?, cursor.raw()?);
                match container {
                    1 => self.item(content, visit),
                    2 => self.node(content, PackedForm::Listpack, visit),
                    _ => Err(Fault::Corrupt("unknown quicklist container")),
                }
            }
        }?;
        Ok(())
    }

    fn item(&mut self, item: Raw<'_>, visit: &mut dyn Visit) -> Result<(), Fault> {
        if self.announce(visit) != Want::Skip {
            let [buffer, _] = &mut self.buffers;
            let item = item.text(buffer)?;
            self.budget.spend(item.as_bytes().len())?;
            visit.element(Element::Item(item.as_bytes()));
        }
        Ok(())
    }

    fn member(&mut self, member: Raw<'_>, score: f64, visit: &mut dyn Visit) -> Result<(), Fault> {
        let score = not_nan(score)?;
        if self.announce(visit) != Want::Skip {
            let [buffer, _] = &mut self.buffers;
            let member = member.text(buffer)?;
            self.budget.spend(member.as_bytes().len())?;
            visit.element(Element::Member { member: member.as_bytes(), score });
        }
        Ok(())
    }

    pub fn field(&mut self, name: Raw<'_>, value: Raw<'_>, expiry: Expiry, visit: &mut dyn Visit) -> Result<(), Fault> {
        if self.announce(visit) != Want::Skip {
            let [first, second] = &mut self.buffers;
            let (name, value) = (name.text(first)?, value.text(second)?);
            self.budget.spend(name.as_bytes().len())?;
            self.budget.spend(value.as_bytes().len())?;
            visit.element(Element::Field { name: name.as_bytes(), value: value.as_bytes(), expiry });
        }
        Ok(())
    }

    /// Reads a node of a list, which has several elements.
    fn node(&mut self, blob: Raw<'_>, form: PackedForm, visit: &mut dyn Visit) -> Result<(), Fault> {
        self.with_blob(blob, |reader, blob| form.pieces(blob)?.try_for_each(|piece| reader.piece(piece?, visit)))
    }

    /// Reads an aggregate in a compact encoding.
    pub fn packed(&mut self, packing: Packing, blob: Raw<'_>, visit: &mut dyn Visit) -> Result<(), Fault> {
        self.packed = true;
        self.with_blob(blob, |reader, blob| {
            let mut pieces = packing.form.pieces(blob)?;
            let stride = match packing.of {
                PackedOf::List | PackedOf::Set | PackedOf::Integers => 1,
                PackedOf::Hash | PackedOf::ZSet => 2,
                PackedOf::HashExpiring => 3,
            };
            reader.distinct.clear();
            reader.in_order.clear();
            let again = pieces.clone();
            while let Some(first) = pieces.next() {
                reader.packed_element(packing.of, first?, &mut pieces, visit)?;
            }
            if reader.distinct.may_repeat() && repeats(again, stride)? {
                return Err(Fault::Corrupt("duplicate member or field"));
            }
            Ok(())
        })
    }

    fn packed_element(
        &mut self,
        of: PackedOf,
        first: Piece<'_>,
        rest: &mut Pieces<'_>,
        visit: &mut dyn Visit,
    ) -> Result<(), Fault> {
        // A match instead of `ok_or(..)??`: avoids a store-forwarding stall on the result that was
        // just written.
        let mut next = || match rest.next() {
            Some(piece) => Ok(piece?),
            None => Err(Fault::Corrupt("a member or field without its other half")),
        };
        match of {
            PackedOf::List | PackedOf::Integers => self.piece(first, visit),
            PackedOf::Set => {
                self.name(first.text().as_bytes(), visit);
                self.piece(first, visit)
            }
            PackedOf::Hash => self.packed_field(first, next()?, Expiry::NEVER, visit),
            PackedOf::HashExpiring => {
                let (value, at_ms) = (next()?, next()?);
                self.packed_field(first, value, expiry_or(0, int(at_ms)?)?, visit)
            }
            PackedOf::ZSet => self.packed_member(first, not_nan(score(next()?)?)?, visit),
        }
    }

    /// Records a name that must be unique, unless the visitor checks this itself.
    fn name(&mut self, name: &[u8], visit: &mut dyn Visit) {
        if self.announce(visit) != Want::Repeated {
            self.distinct.add(name);
        }
    }

    fn packed_field(
        &mut self,
        name: Piece<'_>,
        value: Piece<'_>,
        expiry: Expiry,
        visit: &mut dyn Visit,
    ) -> Result<(), Fault> {
        let (name, value) = (name.text(), value.text());
        self.name(name.as_bytes(), visit);
        if self.announce(visit) != Want::Skip {
            self.budget.spend(name.as_bytes().len())?;
            self.budget.spend(value.as_bytes().len())?;
            visit.element(Element::Field { name: name.as_bytes(), value: value.as_bytes(), expiry });
        }
        Ok(())
    }

    fn packed_member(&mut self, member: Piece<'_>, score: f64, visit: &mut dyn Visit) -> Result<(), Fault> {
        let member = member.text();
        self.name(member.as_bytes(), visit);
        self.in_order.next(score, member.as_bytes())?;
        if self.announce(visit) != Want::Skip {
            self.budget.spend(member.as_bytes().len())?;
            visit.element(Element::Member { member: member.as_bytes(), score });
        }
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>, visit: &mut dyn Visit) -> Result<(), Fault> {
        if self.announce(visit) != Want::Skip {
            let item = piece.text();
            self.budget.spend(item.as_bytes().len())?;
            visit.element(Element::Item(item.as_bytes()));
        }
        Ok(())
    }

    /// Runs `run` on the unpacked blob. The buffer is moved out of the reader meanwhile, so that
    /// `run` can borrow the reader.
    fn with_blob(
        &mut self,
        blob: Raw<'_>,
        run: impl FnOnce(&mut Self, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let [buffer, _] = &mut self.buffers;
        let mut buffer = std::mem::take(buffer);
        let result = blob.text(&mut buffer).and_then(|blob| run(self, blob.as_bytes()));
        let [slot, _] = &mut self.buffers;
        *slot = buffer;
        result
    }
}

/// One byte with a length or a special value, then text as of `%.17g`.
fn old_score(cursor: &mut Cursor<'_>) -> Result<f64, Halt> {
    match cursor.byte()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        len => Ok(parse_score(cursor.take(usize::from(len))?)?),
    }
}

fn score(piece: Piece<'_>) -> Result<f64, Fault> {
    match piece {
        Piece::Int(value) => Ok(value as f64),
        Piece::Bytes(text) => parse_score(text),
    }
}

fn parse_score(text: &[u8]) -> Result<f64, Fault> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or(Fault::Corrupt("score is not a number"))
}

fn not_nan(score: f64) -> Result<f64, Fault> {
    if score.is_nan() { Err(Fault::Corrupt("score is NaN")) } else { Ok(score) }
}

fn int(piece: Piece<'_>) -> Result<i64, Fault> {
    match piece {
        Piece::Int(value) => Ok(value),
        Piece::Bytes(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Fault::Corrupt("field expiry is not a number")),
    }
}

const BAD_FIELD_EXPIRY: Fault = Fault::Corrupt("field expiry out of range");

/// An absolute field expiry. `none` is the number that means never.
fn expiry_or(none: i64, at_ms: i64) -> Result<Expiry, Fault> {
    if at_ms == none {
        Ok(Expiry::NEVER)
    } else if at_ms < 0 {
        Err(BAD_FIELD_EXPIRY)
    } else {
        Ok(Expiry::at(at_ms))
    }
}

fn expiry_from(min_ms: i64, distance: u64) -> Result<Expiry, Fault> {
    match distance.checked_sub(1) {
        None => Ok(Expiry::NEVER),
        Some(distance) => {
            min_ms.checked_add_unsigned(distance).filter(|at_ms| *at_ms >= 0).map(Expiry::at).ok_or(BAD_FIELD_EXPIRY)
        }
    }
}

/// Detects repeated names in a compact encoding by their hashes: cheap for many small aggregates,
/// and without allocations once its buffer has grown. Equal hashes are only a suspicion, which
/// [`repeats`] checks.
#[derive(Default)]
struct Distinct {
    hashes: Vec<u64>,
    state: RandomState,
}

impl Distinct {
    fn clear(&mut self) {
        self.hashes.clear();
        self.hashes.shrink_to(KEEP_BYTES_MAX / size_of::<u64>());
    }

    fn add(&mut self, name: &[u8]) {
        self.hashes.push(self.state.hash_one(name));
    }

    fn may_repeat(&mut self) -> bool {
        self.hashes.sort_unstable();
        !self.hashes.is_sorted_by(|a, b| a < b)
    }
}

/// The previous member of a sorted set in a compact encoding: a server sorts these by score, then
/// by the bytes of the member.
#[derive(Default)]
struct InOrder {
    score: Option<f64>,
    member: Vec<u8>,
}

impl InOrder {
    fn clear(&mut self) {
        self.score = None;
    }

    fn next(&mut self, score: f64, member: &[u8]) -> Result<(), Fault> {
        let before = self.score.replace(score);
        if before.is_some_and(|before| (score, member) < (before, self.member.as_slice())) {
            return Err(Fault::Corrupt("sorted set out of order"));
        }
        self.member.clear();
        self.member.extend_from_slice(member);
        self.member.shrink_to(KEEP_BYTES_MAX);
        Ok(())
    }
}

fn repeats(pieces: Pieces<'_>, stride: usize) -> Result<bool, Fault> {
    let mut seen = HashSet::new();
    for piece in pieces.step_by(stride) {
        if !seen.insert(piece?.text().as_bytes().to_vec()) {
            return Ok(true);
        }
    }
    Ok(false)
}

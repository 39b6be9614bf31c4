//! The walk over a file: one item per step. One enum holds the state between items.
//!
//! ```text
//! magic -> opcode -+-> expiry, aux, select ...                  -> opcode
//!                  +-> type, key -> text | elements* | blob      -> opcode
//!                  |             -> stream part*                 -> opcode
//!                  |             -> module id -> module item*    -> opcode
//!                  +-> module aux, key meta  -> module item*     -> opcode
//!                  +-> template, function    -> its parts*       -> opcode
//!                  +-> end
//! ```
//!
//! A step either consumes a whole item, or returns [`Halt::More`] without having consumed, changed
//! or reported anything. The caller then retries the same item with more bytes.

use crate::budget::Budget;
use crate::cursor::{Cursor, Raw};
use crate::entry_reader::EntryReader;
use crate::error::{Fault, Halt};
use crate::stream;
use crate::template::{self, Templates};
use crate::types::{Dialect, Layout, Packing, Shape, of_type};
use crate::visit::Visit;
use std::ops::ControlFlow;
use vdr_data::expiry::Expiry;
use vdr_data::limits::STRING_BYTES_MAX;

mod op {
    /// Redis Enterprise: the time of the last access to the key that follows.
    pub const RAM_LRU: u8 = 107;
    /// Redis 8.10.
    pub const HASH_TEMPLATE: u8 = 242;
    /// Valkey: the slots of an import begun. Redis: metadata of the key that follows.
    pub const SLOT_IMPORT_OR_KEY_META: u8 = 243;
    pub const SLOT_INFO: u8 = 244;
    pub const FUNCTION2: u8 = 245;
    /// Release candidates of Redis 7.0: name, engine, perhaps a description, code.
    pub const FUNCTION_OLD: u8 = 246;
    pub const MODULE_AUX: u8 = 247;
    pub const IDLE: u8 = 248;
    pub const FREQ: u8 = 249;
    pub const AUX: u8 = 250;
    pub const RESIZEDB: u8 = 251;
    pub const EXPIRETIME_MS: u8 = 252;
    pub const EXPIRETIME: u8 = 253;
    pub const SELECTDB: u8 = 254;
    pub const EOF: u8 = 255;
}

mod module_op {
    pub const EOF: u64 = 0;
    pub const SINT: u64 = 1;
    pub const UINT: u64 = 2;
    pub const FLOAT: u64 = 3;
    pub const DOUBLE: u64 = 4;
    pub const STRING: u64 = 5;
}

#[derive(Clone, Copy, Debug)]
enum State {
    Magic,
    Opcode,
    /// The type byte of a DUMP payload, which has no key.
    DumpType,
    SlotRanges(u64),
    KeyMeta(u64),
    Module(After),
    Text,
    Count(Shape),
    Elements(Shape, u64),
    Packed(Packing),
    Stream(stream::Walk),
    ModuleId,
    /// The strings left of a function, as release candidates of 7.0 wrote it.
    OldFunction(OldFunction),
    Template(template::At),
    ArrayHead,
    Array(u64),
    Number,
    End,
}

#[derive(Clone, Copy, Debug)]
enum OldFunction {
    Name,
    Engine,
    HasDescription,
    Description,
    Code,
}

/// How an element of an array is written.
mod array_tag {
    pub const STRING: u64 = 0;
    pub const INT: u64 = 1;
    pub const FLOAT: u64 = 2;
    pub const SMALL_STRING: u64 = 3;
}

/// What follows a run of module items.
#[derive(Clone, Copy, Debug)]
enum After {
    Aux,
    KeyMeta(u64),
    Value,
}

pub(super) struct Walk {
    state: State,
    dump: bool,
    dialect: Dialect,
    version: u32,
    entry: EntryReader,
    templates: Templates,
    in_key: bool,
    /// The remaining bytes of a string that is skipped.
    skip_bytes: u64,
    /// The import job whose slot ranges are being read.
    job: Vec<u8>,
    pub string_bytes_max: u64,
}

impl Walk {
    pub fn new() -> Self {
        Walk::from_state(State::Magic, Dialect::Redis)
    }

    pub fn with_free_bytes(bytes: u64) -> Self {
        let mut walk = Walk::new();
        walk.entry.budget = Budget::of(bytes);
        walk
    }

    /// For a DUMP payload without its footer: one value, no key.
    pub fn of_dump(dialect: Dialect) -> Self {
        Walk { dump: true, ..Walk::from_state(State::DumpType, dialect) }
    }

    fn from_state(state: State, dialect: Dialect) -> Self {
        Walk {
            state,
            dump: false,
            dialect,
            version: 0,
            entry: EntryReader::new(),
            templates: Templates::default(),
            in_key: false,
            skip_bytes: 0,
            job: Vec::new(),
            string_bytes_max: STRING_BYTES_MAX,
        }
    }

    /// A cursor over the bytes that have come, with the limit of this file.
    pub fn cursor<'a>(&self, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor::new(bytes).with_string_bytes_max(self.string_bytes_max)
    }

    /// Whether the walk is behind the EOF opcode, or behind the value of a DUMP payload.
    pub fn is_at_end(&self) -> bool {
        matches!(self.state, State::End) && self.skip_bytes == 0
    }

    /// Adds bytes that were received to the budget of the elements.
    pub fn received(&mut self, bytes: usize) {
        self.entry.budget.received(bytes);
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    /// The key whose value is being read.
    pub fn key(&self) -> Option<&[u8]> {
        self.in_key.then_some(&self.entry.key)
    }

    /// Reads one item.
    pub fn step(&mut self, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        if self.skip_bytes > 0 {
            self.skip_bytes -= cursor.skip_some(self.skip_bytes)?;
            return Ok(());
        }
        match self.state {
            State::Elements(_, 0) => self.end_key(visit)?,
            State::Elements(shape, left) => {
                self.entry.element(shape, cursor, visit)?;
                self.state = State::Elements(shape, left - 1);
            }
            State::Opcode => self.opcode(cursor, visit)?,
            State::Text => {
                self.entry.text(cursor.raw()?, visit)?;
                self.end_key(visit)?;
            }
            State::Count(shape) => {
                let (shape, count) = shape.open(cursor)?;
                self.state = State::Elements(shape, count);
            }
            State::Packed(packing) => self.packed(packing, cursor, visit)?,
            State::Stream(_) => self.stream(cursor, visit)?,
            State::ModuleId => {
                cursor.len()?;
                self.entry.announce(visit);
                self.state = State::Module(After::Value);
            }
            State::Module(after) => self.module(after, cursor, visit)?,
            State::KeyMeta(0) => self.state = self.between_values(),
            State::KeyMeta(left) => {
                cursor.array::<4>()?;
                self.state = State::Module(After::KeyMeta(left - 1));
            }
            State::SlotRanges(0) => self.state = State::Opcode,
            State::SlotRanges(left) => {
                let (first, last) = (cursor.len()?, cursor.len()?);
                visit.slot_import(&self.job, first, last);
                self.state = State::SlotRanges(left - 1);
            }
            State::DumpType => self.dump_type(cursor)?,
            State::Template(at) => self.template(at, cursor, visit)?,
            State::ArrayHead => {
                let (count, has_place) = (cursor.len()?, cursor.len()?);
                if has_place > 0 {
                    cursor.len()?;
                }
                self.entry.announce(visit);
                self.state = State::Array(count);
            }
            State::Array(0) => self.end_key(visit)?,
            State::Array(left) => {
                self.array_element(cursor)?;
                self.state = State::Array(left - 1);
            }
            State::Number => {
                cursor.len()?;
                self.entry.announce(visit);
                self.end_key(visit)?;
            }
            State::OldFunction(part) => self.old_function(part, cursor)?,
            State::Magic => {
                (self.dialect, self.version) = Dialect::of_magic(&cursor.array()?)?;
                self.state = State::Opcode;
            }
            State::End => {}
        }
        Ok(())
    }

    /// The state between values.
    fn between_values(&self) -> State {
        if self.dump { State::DumpType } else { State::Opcode }
    }

    fn end_key(&mut self, visit: &mut dyn Visit) -> Result<(), Fault> {
        self.entry.end(visit)?;
        self.in_key = false;
        self.state = if self.dump { State::End } else { State::Opcode };
        Ok(())
    }

    fn opcode(&mut self, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        match cursor.byte()? {
            op::EOF => self.state = State::End,
            op::SELECTDB => {
                let db = cursor.len()?;
                self.entry.db = u32::try_from(db).map_err(|_| Fault::Corrupt("database number out of range"))?;
            }
            op::EXPIRETIME => {
                let at_ms = i64::from(i32::from_le_bytes(cursor.array()?)) * 1000;
                self.entry.expiry = Expiry::at(at_ms);
            }
            op::EXPIRETIME_MS => self.entry.expiry = key_expiry(cursor.i64_le()?),
            op::RESIZEDB => visit.resize_db(self.entry.db, cursor.len()?, cursor.len()?),
            op::AUX => {
                let (name, value) = (cursor.raw()?, cursor.raw()?);
                let (mut first, mut second) = (Vec::new(), Vec::new());
                visit.aux(name.text(&mut first)?.as_bytes(), value.text(&mut second)?.as_bytes());
            }
            op::FREQ => {
                cursor.byte()?;
            }
            op::IDLE => {
                cursor.len()?;
            }
            op::SLOT_INFO => {
                let (_slot, _keys, _expires) = (cursor.len()?, cursor.len()?, cursor.len()?);
            }
            op::FUNCTION2 => self.skip_bytes = cursor.string_head()?,
            op::FUNCTION_OLD => self.state = State::OldFunction(OldFunction::Name),
            op::HASH_TEMPLATE if self.dialect == Dialect::Redis => self.state = State::Template(template::At::Head),
            op::RAM_LRU if self.dialect == Dialect::Redis => {
                cursor.len()?;
            }
            op::MODULE_AUX => {
                let (_module, when_opcode, _when) = (cursor.len()?, cursor.len()?, cursor.len()?);
                if when_opcode != module_op::UINT {
                    return Err(Fault::Corrupt("module data without its time of loading").into());
                }
                self.state = State::Module(After::Aux);
            }
            op::SLOT_IMPORT_OR_KEY_META if self.dialect == Dialect::Valkey => {
                let (job, ranges) = (cursor.raw()?, cursor.len()?);
                let mut buffer = Vec::new();
                self.job = job.text(&mut buffer)?.as_bytes().to_vec();
                self.state = State::SlotRanges(ranges);
            }
            op::SLOT_IMPORT_OR_KEY_META => self.state = State::KeyMeta(cursor.len()?),
            type_byte => {
                let (kind, layout) = of_type(type_byte, self.dialect)?;
                self.entry.begin(cursor.raw()?, kind)?;
                self.begin_value(layout);
            }
        }
        Ok(())
    }

    fn dump_type(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Halt> {
        let type_byte = cursor.byte()?;
        if type_byte == op::SLOT_IMPORT_OR_KEY_META && self.dialect == Dialect::Redis {
            self.state = State::KeyMeta(cursor.len()?);
        } else {
            let (kind, layout) = of_type(type_byte, self.dialect)?;
            self.entry.begin(Raw::Plain(b""), kind)?;
            self.begin_value(layout);
        }
        Ok(())
    }

    fn begin_value(&mut self, layout: Layout) {
        self.in_key = true;
        self.state = match layout {
            Layout::Text => State::Text,
            Layout::Elements(shape) => State::Count(shape),
            Layout::Packed(packing) => State::Packed(packing),
            Layout::Stream(version) => {
                self.entry.begin_stream();
                State::Stream(stream::Walk::new(version))
            }
            Layout::Module => State::ModuleId,
            Layout::Template { values, brings_names } => State::Template(template::At::hash(values, brings_names)),
            Layout::Array => State::ArrayHead,
            Layout::Number => State::Number,
        };
    }

    /// A template of the file, or a hash that has one.
    fn template(&mut self, at: template::At, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        match self.templates.step(at, cursor, &mut self.entry, visit)? {
            ControlFlow::Continue(next) => self.state = State::Template(next),
            ControlFlow::Break(()) if self.in_key => self.end_key(visit)?,
            ControlFlow::Break(()) => self.state = State::Opcode,
        }
        Ok(())
    }

    fn array_element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Halt> {
        let (_place, tag) = (cursor.len()?, cursor.len()?);
        match tag {
            array_tag::STRING | array_tag::SMALL_STRING => self.skip_bytes = cursor.string_head()?,
            array_tag::INT | array_tag::FLOAT => {
                cursor.array::<8>()?;
            }
            _ => return Err(Fault::Corrupt("unknown kind of array element").into()),
        }
        Ok(())
    }

    fn old_function(&mut self, part: OldFunction, cursor: &mut Cursor<'_>) -> Result<(), Halt> {
        let next = match part {
            OldFunction::HasDescription if cursor.len()? == 0 => OldFunction::Code,
            OldFunction::HasDescription => OldFunction::Description,
            OldFunction::Name => OldFunction::Engine,
            OldFunction::Engine => OldFunction::HasDescription,
            OldFunction::Description => OldFunction::Code,
            OldFunction::Code => {
                self.skip_bytes = cursor.string_head()?;
                self.state = State::Opcode;
                return Ok(());
            }
        };
        if !matches!(part, OldFunction::HasDescription) {
            self.skip_bytes = cursor.string_head()?;
        }
        self.state = State::OldFunction(next);
        Ok(())
    }

    fn packed(&mut self, packing: Packing, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        if packing.led {
            cursor.i64_le()?;
        }
        self.entry.packed(packing, cursor.raw()?, visit)?;
        Ok(self.end_key(visit)?)
    }

    fn stream(&mut self, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        let State::Stream(walk) = &mut self.state else { return Ok(()) };
        match walk.step(cursor)? {
            ControlFlow::Continue(part) => self.entry.stream_part(part, self.dialect, visit)?,
            ControlFlow::Break(()) => self.end_key(visit)?,
        }
        Ok(())
    }

    fn module(&mut self, after: After, cursor: &mut Cursor<'_>, visit: &mut dyn Visit) -> Result<(), Halt> {
        match cursor.len()? {
            module_op::SINT | module_op::UINT => {
                cursor.len()?;
            }
            module_op::FLOAT => {
                cursor.array::<4>()?;
            }
            module_op::DOUBLE => {
                cursor.array::<8>()?;
            }
            module_op::STRING => self.skip_bytes = cursor.string_head()?,
            module_op::EOF => match after {
                After::Aux => self.state = State::Opcode,
                After::KeyMeta(left) => self.state = State::KeyMeta(left),
                After::Value => self.end_key(visit)?,
            },
            _ => return Err(Fault::Corrupt("unknown module opcode").into()),
        }
        Ok(())
    }
}

/// The server reads -1 as no expiry at all.
fn key_expiry(at_ms: i64) -> Expiry {
    if at_ms == -1 { Expiry::NEVER } else { Expiry::at(at_ms) }
}

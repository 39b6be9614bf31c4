//! Hash templates (Redis 8.10): field names that many hashes share, written once.
//!
//! ```text
//! opcode 242   id  count name*                 a template of the file
//! type 30      listpack( id value* )           a hash of the file, by the id of its template
//! type 32      id value*
//! type 29      names listpack( id value* )     a hash of a DUMP payload, which brings its names along
//! type 31      names value*
//! names        0 listpack( name* )  |  1 count name*
//! ```
//!
//! Names stand in order of their lengths, and of their bytes among names of one length.

use crate::cursor::{Cursor, Raw};
use crate::entry_reader::EntryReader;
use crate::error::{Fault, Halt};
use crate::packed::Pieces;
use crate::types::TemplateValues;
use crate::visit::Visit;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use vdr_data::expiry::Expiry;

type Names = Arc<[Box<[u8]>]>;

/// What the walk reads next of a template, or of a hash that has one.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// The id and the count of a template of the file.
    Head,
    /// The id of the template that a hash of the file has.
    Id,
    /// How the names are written that a hash brings along.
    Form(TemplateValues),
    /// The names left, and what follows them: values, or nothing more.
    Names { left: u64, then: Option<TemplateValues> },
    /// A listpack of values; `known` if its first element says which names they belong to.
    Packed { known: bool },
    /// The value of the name at this place.
    Value(usize),
}

impl At {
    /// Where a hash of this type begins.
    pub fn hash(values: TemplateValues, brings_names: bool) -> Self {
        match values {
            _ if brings_names => At::Form(values),
            TemplateValues::Listpack => At::Packed { known: true },
            TemplateValues::OneByOne => At::Id,
        }
    }
}

/// The templates of a file, and the names of the template or hash that is being read.
#[derive(Default)]
pub(super) struct Templates {
    known: HashMap<u64, Names, foldhash::fast::RandomState>,
    id: u64,
    reading: Vec<Box<[u8]>>,
    names: Names,
}

const NO_SUCH: Fault = Fault::Corrupt("hash with a template that the file does not have");
const NOT_SORTED: Fault = Fault::Corrupt("template names out of order, or twice");
const WRONG_COUNT: Fault = Fault::Corrupt("hash does not have a value for each name of its template");

impl Templates {
    /// Reads one item; breaks at the end of the template or hash. On [`Halt::More`] nothing has
    /// changed.
    pub fn step(
        &mut self,
        at: At,
        cursor: &mut Cursor<'_>,
        entry: &mut EntryReader,
        visit: &mut dyn Visit,
    ) -> Result<ControlFlow<(), At>, Halt> {
        let next = match at {
            At::Head => {
                let (id, count) = (cursor.len()?, cursor.len()?);
                if count == 0 || self.known.contains_key(&id) {
                    return Err(Fault::Corrupt("template without names, or twice").into());
                }
                (self.id, self.reading) = (id, Vec::new());
                At::Names { left: count, then: None }
            }
            At::Form(then) => self.form(then, cursor, entry)?,
            At::Names { left: 0, then } => return Ok(self.named(then)),
            At::Names { left, then } => {
                let name = cursor.raw()?.to_vec()?;
                self.add(&name, entry)?;
                At::Names { left: left - 1, then }
            }
            At::Id => {
                let id = cursor.len()?;
                self.names = self.known.get(&id).ok_or(NO_SUCH)?.clone();
                At::Value(0)
            }
            At::Value(place) => match self.names.get(place) {
                None => return Ok(ControlFlow::Break(())),
                Some(name) => {
                    entry.field(Raw::Plain(name), cursor.raw()?, Expiry::NEVER, visit)?;
                    At::Value(place + 1)
                }
            },
            At::Packed { known } => {
                self.packed(known, cursor.raw()?, entry, visit)?;
                return Ok(ControlFlow::Break(()));
            }
        };
        Ok(ControlFlow::Continue(next))
    }

    fn form(&mut self, then: TemplateValues, cursor: &mut Cursor<'_>, entry: &mut EntryReader) -> Result<At, Halt> {
        match cursor.len()? {
            0 => {
                let listpack = cursor.raw()?.to_vec()?;
                self.reading = Vec::new();
                for name in Pieces::listpack(&listpack)? {
                    self.add(name?.text().as_bytes(), entry)?;
                }
                Ok(At::Names { left: 0, then: Some(then) })
            }
            1 => {
                let count = cursor.len()?;
                self.reading = Vec::new();
                Ok(At::Names { left: count, then: Some(then) })
            }
            _ => Err(Fault::Corrupt("unknown form of template names").into()),
        }
    }

    fn add(&mut self, name: &[u8], entry: &mut EntryReader) -> Result<(), Fault> {
        let order = |name: &[u8]| (name.len(), name.to_vec());
        if self.reading.last().is_some_and(|last| order(last) >= order(name)) {
            return Err(NOT_SORTED);
        }
        entry.budget.spend(name.len())?;
        self.reading.push(Box::from(name));
        Ok(())
    }

    /// All names are read.
    fn named(&mut self, then: Option<TemplateValues>) -> ControlFlow<(), At> {
        let names = Names::from(std::mem::take(&mut self.reading));
        let Some(values) = then else {
            self.known.insert(self.id, names);
            return ControlFlow::Break(());
        };
        self.names = names;
        ControlFlow::Continue(match values {
            TemplateValues::Listpack => At::Packed { known: false },
            TemplateValues::OneByOne => At::Value(0),
        })
    }

    fn packed(
        &mut self,
        known: bool,
        blob: Raw<'_>,
        entry: &mut EntryReader,
        visit: &mut dyn Visit,
    ) -> Result<(), Fault> {
        let blob = blob.to_vec()?;
        let mut values = Pieces::listpack(&blob)?;
        let id = values.next().ok_or(WRONG_COUNT)??.as_u64().ok_or(NO_SUCH)?;
        if known {
            self.names = self.known.get(&id).ok_or(NO_SUCH)?.clone();
        }
        for name in self.names.iter() {
            let value = values.next().ok_or(WRONG_COUNT)??.text();
            entry.field(Raw::Plain(name), Raw::Plain(value.as_bytes()), Expiry::NEVER, visit)?;
        }
        if values.next().is_some() { Err(WRONG_COUNT) } else { Ok(()) }
    }
}

//! Builds a stream from its parts.

use crate::error::Fault;
use crate::stream::{Part, Totals, Unassigned};
use crate::stream_node::Fields;
use vdr_data::blob::Blob;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Consumer, Group, Id};

/// A stream that is being built.
#[derive(Default)]
pub(super) struct StreamBuilder {
    entries: Vec<(Id, vdr_data::value::stream::Fields)>,
    stream: Stream,
    name: Blob,
    group: Group,
    consumer: Blob,
    unassigned: Unassigned,
}

impl StreamBuilder {
    pub fn entry(&mut self, id: Id, fields: Fields<'_>) {
        let mut pairs = Vec::with_capacity(fields.len());
        fields.for_each(|name, value| pairs.push((Blob::new(name), Blob::new(value))));
        self.entries.push((id, pairs.into()));
    }

    pub fn part(&mut self, part: Part<'_>) -> Result<(), Fault> {
        match part {
            Part::Totals(totals) => self.totals(totals),
            Part::Group { name, last_id, entries_read } => {
                self.name = Blob::new(&name.to_vec()?);
                self.group = Group::new(last_id, entries_read.and_then(|read| u64::try_from(read).ok()));
            }
            Part::Pending { id, delivered_at_ms, deliveries } => {
                self.unassigned.pending(id, delivered_at_ms, deliveries)?;
            }
            Part::Consumer { name, seen_at_ms, active_at_ms } => {
                self.consumer = Blob::new(&name.to_vec()?);
                let active_at_ms = active_at_ms.filter(|at_ms| *at_ms >= 0);
                if !self.group.add_consumer(&self.consumer, Consumer::new(seen_at_ms, active_at_ms)) {
                    return Err(Fault::Corrupt("a group has two consumers of one name"));
                }
            }
            Part::Owned { id } => {
                let (delivered_at_ms, deliveries) = self.unassigned.assign(id)?;
                self.group.assign(id, &self.consumer, delivered_at_ms, deliveries);
            }
            Part::Released { id } => {
                let (delivered_at_ms, deliveries) = self.unassigned.assign(id)?;
                self.group.release(id, delivered_at_ms, deliveries);
            }
            Part::GroupEnd => return self.end_group(),
            // A server's memory of producers does not affect the entries, see `commands/streams`.
            Part::Node { .. } | Part::Producer { .. } | Part::Message { .. } | Part::Messages { .. } => {}
        }
        Ok(())
    }

    fn totals(&mut self, totals: Totals) {
        self.stream = Stream::from_sorted(std::mem::take(&mut self.entries));
        self.stream.last_id = totals.last_id;
        self.stream.miscounted = totals.miscounted;
        if let Some(history) = totals.history {
            self.stream.max_deleted_id = history.max_deleted_id;
            self.stream.entries_added = history.entries_added;
        } else {
            self.stream.entries_added = self.stream.counted() as u64;
        }
    }

    fn end_group(&mut self) -> Result<(), Fault> {
        self.unassigned.end()?;
        let (name, group) = (std::mem::take(&mut self.name), std::mem::take(&mut self.group));
        if self.stream.group(&name).is_some() {
            return Err(Fault::Corrupt("a stream has two groups of one name"));
        }
        self.stream.put_group(name, group);
        Ok(())
    }

    pub fn build(self) -> Stream {
        self.stream
    }
}

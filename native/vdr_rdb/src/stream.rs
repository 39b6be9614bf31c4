//! The parts of a stream value, one at a time. No part holds the whole stream.
//!
//! ```text
//! (node)*  totals  ( group (pending)* ( consumer (owned)* )* [ (released)* ] group-end )*
//!          [ (producer (message)*)* messages ]
//! ```

use crate::cursor::{Cursor, Raw};
use crate::error::{Fault, Halt};
use std::ops::ControlFlow;
use vdr_data::value::stream::{Group, Id};

/// One part of a stream, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Entries, as a listpack relative to the id of its master entry.
    Node {
        master: Raw<'a>,
        listpack: Raw<'a>,
    },
    Totals(Totals),
    Group {
        name: Raw<'a>,
        last_id: Id,
        /// -1 if the server does not know it; `None` in version 1.
        entries_read: Option<i64>,
    },
    /// An entry that the last group delivered and that was not acknowledged.
    Pending {
        id: Id,
        delivered_at_ms: i64,
        deliveries: u64,
    },
    Consumer {
        name: Raw<'a>,
        seen_at_ms: i64,
        /// -1 for never; `None` before version 3.
        active_at_ms: Option<i64>,
    },
    /// A pending entry of the group that belongs to the last consumer.
    Owned {
        id: Id,
    },
    /// One of the group's pending entries that a consumer gave back, so that nobody owns it
    /// (version 5).
    Released {
        id: Id,
    },
    /// The last group is complete.
    GroupEnd,
    /// An idempotent producer (version 4).
    Producer {
        name: Raw<'a>,
    },
    /// A message of the last producer, and the entry that it became.
    Message {
        name: Raw<'a>,
        id: Id,
    },
    /// Counts of idempotent messages: those added, and duplicates.
    Messages {
        added: u64,
        duplicates: u64,
    },
}

/// The metadata of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The entries of the stream.
    pub length: u64,
    /// How many more entries the stream records than it has. Early versions of Redis 5 miscounted,
    /// and such streams live on.
    pub miscounted: i64,
    pub last_id: Id,
    /// Version 2 and later.
    pub history: Option<History>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    pub first_id: Id,
    pub max_deleted_id: Id,
    pub entries_added: u64,
}

/// The pending entries of a group whose consumer was not read yet: when each was delivered, and how
/// often. They are kept as a group keeps what its consumers gave back.
#[derive(Default)]
pub struct Unassigned(Group);

impl Unassigned {
    pub fn pending(&mut self, id: Id, delivered_at_ms: i64, deliveries: u64) -> Result<(), Fault> {
        if self.0.pending_of(id).is_some() {
            return Err(Fault::Corrupt("an entry is pending twice in one group"));
        }
        self.0.release(id, delivered_at_ms, deliveries);
        Ok(())
    }

    pub fn assign(&mut self, id: Id) -> Result<(i64, u64), Fault> {
        let pending = self.0.pending_of(id).map(|pending| (pending.delivered_at_ms, pending.deliveries));
        self.0.acknowledge(id);
        pending.ok_or(Fault::Corrupt("a consumer's entry is not pending in its group"))
    }

    /// Checks at the end of a group that each pending entry has a consumer.
    pub fn end(&self) -> Result<(), Fault> {
        if self.0.pending_len() == 0 { Ok(()) } else { Err(Fault::Corrupt("a pending entry belongs to no consumer")) }
    }
}

/// The version of the layout: types 15, 19, 21, 26, 27.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V1,
    V2,
    V3,
    V4,
    V5,
}

/// The state of the walk over a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    version: Version,
    at: At,
    groups: u64,
    consumers: u64,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Start,
    Nodes(u64),
    Totals,
    Groups,
    Pending(u64),
    ConsumerCount,
    Consumers,
    Owned(u64),
    ReleasedCount,
    Released(u64),
    ProducerCount,
    Producers(u64),
    Messages { left: u64, producers: u64 },
    MessageTotals,
    End,
}

impl Walk {
    pub fn new(version: Version) -> Self {
        Walk { version, at: At::Start, groups: 0, consumers: 0 }
    }

    /// Reads one item; breaks at the end of the stream. Counts and the ends of runs are no parts.
    /// On [`Halt::More`] nothing has changed.
    pub fn step<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<ControlFlow<(), Option<Part<'a>>>, Halt> {
        let (part, next) = match self.at {
            At::Start => (None, At::Nodes(cursor.len()?)),
            At::Nodes(0) => (None, At::Totals),
            At::Nodes(left) => {
                (Some(Part::Node { master: cursor.raw()?, listpack: cursor.raw()? }), At::Nodes(left - 1))
            }
            At::Totals => {
                let totals = self.totals(cursor)?;
                self.groups = cursor.len()?;
                (Some(Part::Totals(totals)), At::Groups)
            }
            At::Groups if self.groups == 0 => {
                (None, if self.version >= Version::V4 { At::ProducerCount } else { At::End })
            }
            At::Groups => {
                let (part, pending) = self.group(cursor)?;
                self.groups -= 1;
                (Some(part), At::Pending(pending))
            }
            At::Pending(0) => (None, At::ConsumerCount),
            At::Pending(left) => (Some(pending(cursor)?), At::Pending(left - 1)),
            At::ConsumerCount => {
                self.consumers = cursor.len()?;
                (None, At::Consumers)
            }
            At::Consumers if self.consumers == 0 && self.version >= Version::V5 => (None, At::ReleasedCount),
            At::Consumers if self.consumers == 0 => (Some(Part::GroupEnd), At::Groups),
            At::ReleasedCount => (None, At::Released(cursor.len()?)),
            At::Released(0) => (Some(Part::GroupEnd), At::Groups),
            At::Released(left) => (Some(Part::Released { id: raw_id(cursor)? }), At::Released(left - 1)),
            At::Consumers => {
                let (part, owned) = self.consumer(cursor)?;
                self.consumers -= 1;
                (Some(part), At::Owned(owned))
            }
            At::Owned(0) => (None, At::Consumers),
            At::Owned(left) => (Some(Part::Owned { id: raw_id(cursor)? }), At::Owned(left - 1)),
            At::ProducerCount => {
                // How long, and for how many messages, a producer is remembered.
                let (_duration, _messages) = (cursor.len()?, cursor.len()?);
                (None, At::Producers(cursor.len()?))
            }
            At::Producers(0) => (None, At::MessageTotals),
            At::Producers(left) => {
                let (name, messages) = (cursor.raw()?, cursor.len()?);
                (Some(Part::Producer { name }), At::Messages { left: messages, producers: left - 1 })
            }
            At::Messages { left: 0, producers } => (None, At::Producers(producers)),
            At::Messages { left, producers } => {
                let part = Part::Message { name: cursor.raw()?, id: len_id(cursor)? };
                (Some(part), At::Messages { left: left - 1, producers })
            }
            At::MessageTotals => (Some(Part::Messages { added: cursor.len()?, duplicates: cursor.len()? }), At::End),
            At::End => return Ok(ControlFlow::Break(())),
        };
        self.at = next;
        Ok(ControlFlow::Continue(part))
    }

    fn totals(&self, cursor: &mut Cursor<'_>) -> Result<Totals, Halt> {
        let (length, last_id) = (cursor.len()?, len_id(cursor)?);
        let history = if self.version >= Version::V2 {
            let (first_id, max_deleted_id) = (len_id(cursor)?, len_id(cursor)?);
            Some(History { first_id, max_deleted_id, entries_added: cursor.len()? })
        } else {
            None
        };
        Ok(Totals { length, miscounted: 0, last_id, history })
    }

    fn group<'a>(&self, cursor: &mut Cursor<'a>) -> Result<(Part<'a>, u64), Halt> {
        let (name, last_id) = (cursor.raw()?, len_id(cursor)?);
        let entries_read = if self.version >= Version::V2 { Some(cursor.len()?.cast_signed()) } else { None };
        Ok((Part::Group { name, last_id, entries_read }, cursor.len()?))
    }

    fn consumer<'a>(&self, cursor: &mut Cursor<'a>) -> Result<(Part<'a>, u64), Halt> {
        let (name, seen_at_ms) = (cursor.raw()?, cursor.i64_le()?);
        let active_at_ms = if self.version >= Version::V3 { Some(cursor.i64_le()?) } else { None };
        Ok((Part::Consumer { name, seen_at_ms, active_at_ms }, cursor.len()?))
    }
}

fn pending<'a>(cursor: &mut Cursor<'a>) -> Result<Part<'a>, Halt> {
    let (id, delivered_at_ms) = (raw_id(cursor)?, cursor.i64_le()?);
    Ok(Part::Pending { id, delivered_at_ms, deliveries: cursor.len()? })
}

fn len_id(cursor: &mut Cursor<'_>) -> Result<Id, Halt> {
    Ok(Id::new(cursor.len()?, cursor.len()?))
}

fn raw_id(cursor: &mut Cursor<'_>) -> Result<Id, Halt> {
    Ok(Id::new(u64::from_be_bytes(cursor.array()?), u64::from_be_bytes(cursor.array()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, bytes: &[u8]) -> Result<(Vec<Part<'_>>, usize), Halt> {
        let (mut walk, mut cursor, mut parts) = (Walk::new(version), Cursor::new(bytes), Vec::new());
        loop {
            match walk.step(&mut cursor)? {
                ControlFlow::Continue(part) => parts.extend(part),
                ControlFlow::Break(()) => return Ok((parts, cursor.pos())),
            }
        }
    }

    fn group(version: Version) -> Vec<u8> {
        let mut bytes = b"\x01\x01g\x05\x00".to_vec();
        if version >= Version::V2 {
            bytes.extend(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff");
        }
        bytes.push(1);
        bytes.extend(5u64.to_be_bytes());
        bytes.extend(0u64.to_be_bytes());
        bytes.extend(77i64.to_le_bytes());
        bytes.extend(b"\x03\x01\x01c");
        bytes.extend(78i64.to_le_bytes());
        if version >= Version::V3 {
            bytes.extend((-1i64).to_le_bytes());
        }
        bytes.push(1);
        bytes.extend(5u64.to_be_bytes());
        bytes.extend(0u64.to_be_bytes());
        if version >= Version::V5 {
            bytes.push(1);
            bytes.extend(4u64.to_be_bytes());
            bytes.extend(0u64.to_be_bytes());
        }
        bytes
    }

    fn stream(version: Version) -> Vec<u8> {
        let mut bytes = b"\x01\x02id\x02lp\x01\x05\x00".to_vec();
        if version >= Version::V2 {
            bytes.extend(b"\x05\x00\x04\x00\x02");
        }
        bytes.extend(group(version));
        if version >= Version::V4 {
            bytes.extend(b"\x0a\x0b\x01\x01p\x01\x01m\x05\x00\x01\x02");
        }
        bytes
    }

    #[test]
    fn every_version_is_walked_to_its_last_byte() {
        let versions = [(Version::V1, 7), (Version::V2, 7), (Version::V3, 7), (Version::V4, 10), (Version::V5, 11)];
        for (version, expected) in versions {
            let bytes = stream(version);
            let (parts, end) = parts(version, &bytes).unwrap();
            assert_eq!((parts.len(), end), (expected, bytes.len()), "{version:?}");
        }
    }

    #[test]
    fn the_parts_of_a_stream_come_in_order() {
        let bytes = stream(Version::V3);
        let (parts, _) = parts(Version::V3, &bytes).unwrap();
        let history = Some(History { first_id: Id::new(5, 0), max_deleted_id: Id::new(4, 0), entries_added: 2 });
        let expected = [
            Part::Node { master: Raw::Plain(b"id"), listpack: Raw::Plain(b"lp") },
            Part::Totals(Totals { length: 1, miscounted: 0, last_id: Id::new(5, 0), history }),
            Part::Group { name: Raw::Plain(b"g"), last_id: Id::new(5, 0), entries_read: Some(-1) },
            Part::Pending { id: Id::new(5, 0), delivered_at_ms: 77, deliveries: 3 },
            Part::Consumer { name: Raw::Plain(b"c"), seen_at_ms: 78, active_at_ms: Some(-1) },
            Part::Owned { id: Id::new(5, 0) },
            Part::GroupEnd,
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_stream_that_is_cut_asks_for_more() {
        let bytes = stream(Version::V5);
        for cut in 0..bytes.len() {
            assert!(matches!(parts(Version::V5, &bytes[..cut]), Err(Halt::More(_))), "cut at {cut}");
        }
    }
}

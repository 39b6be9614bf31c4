//! The metadata of a stream and its consumer groups, as the commands that restore them:
//!
//! ```text
//! XADD k 0-1 "" ""   XTRIM k MAXLEN 0     for a stream without entries: they make the key and leave it empty
//! XSETID k last ENTRIESADDED n MAXDELETEDID id
//! XGROUP CREATE k g last ENTRIESREAD n
//! XGROUP CREATECONSUMER k g c
//! XCLAIM k g c 0 id TIME ms RETRYCOUNT n JUSTID FORCE
//! XNACK k g FAIL IDS 1 id RETRYCOUNT n FORCE
//! ```
//!
//! No command carries the time at which a consumer was last seen, nor what Redis 8.6 keeps about
//! idempotent producers. A pending entry that was deleted from the stream is written as the others
//! are; servers since 7.0 pass over it.

use vdr_rdb::Fault;
use vdr_rdb::stream::{Part, Totals, Unassigned};

/// Takes the arguments of a command, its name first.
pub type Emit<'a> = dyn FnMut(&[&[u8]]) + 'a;

/// The state that the parts of a consumer group share. At most one group's pending entries are
/// held.
#[derive(Default)]
pub struct Groups {
    group: Vec<u8>,
    consumer: Vec<u8>,
    unassigned: Unassigned,
}

impl Groups {
    pub fn part(&mut self, part: Part<'_>, key: &[u8], emit: &mut Emit<'_>) -> Result<(), Fault> {
        match part {
            Part::Totals(totals) => emit_totals(totals, key, emit),
            Part::Group { name, last_id, entries_read } => {
                self.group = name.to_vec()?;
                let (last_id, read) = (last_id.to_string(), entries_read.map(|read| read.to_string()));
                let mut words = vec![&b"XGROUP"[..], b"CREATE", key, &self.group, last_id.as_bytes()];
                words.extend(read.iter().flat_map(|read| [&b"ENTRIESREAD"[..], read.as_bytes()]));
                emit(&words);
            }
            Part::Pending { id, delivered_at_ms, deliveries } => {
                self.unassigned.pending(id, delivered_at_ms, deliveries)?;
            }
            Part::Consumer { name, .. } => {
                self.consumer = name.to_vec()?;
                emit(&[b"XGROUP", b"CREATECONSUMER", key, &self.group, &self.consumer]);
            }
            Part::Owned { id } => {
                let (at_ms, deliveries) = self.unassigned.assign(id)?;
                let [id, at_ms, deliveries] = [id.to_string(), at_ms.to_string(), deliveries.to_string()];
                let head = [&b"XCLAIM"[..], key, &self.group, &self.consumer, b"0", id.as_bytes()];
                let tail = [&b"TIME"[..], at_ms.as_bytes(), b"RETRYCOUNT", deliveries.as_bytes(), b"JUSTID", b"FORCE"];
                emit(&[head, tail].concat());
            }
            Part::Released { id } => {
                let (_, deliveries) = self.unassigned.assign(id)?;
                let [id, deliveries] = [id.to_string(), deliveries.to_string()];
                let head = [&b"XNACK"[..], key, &self.group, b"FAIL", b"IDS", b"1", id.as_bytes()];
                emit(&[&head[..], &[b"RETRYCOUNT", deliveries.as_bytes(), b"FORCE"]].concat());
            }
            Part::GroupEnd => self.unassigned.end()?,
            // Entries come as elements.
            Part::Node { .. } | Part::Producer { .. } | Part::Message { .. } | Part::Messages { .. } => {}
        }
        Ok(())
    }
}

fn emit_totals(totals: Totals, key: &[u8], emit: &mut Emit<'_>) {
    if totals.length == 0 {
        emit(&[b"XADD", key, b"0-1", b"", b""]);
        emit(&[b"XTRIM", key, b"MAXLEN", b"0"]);
    }
    let last_id = totals.last_id.to_string();
    let history = totals.history.map(|history| (history.entries_added.to_string(), history.max_deleted_id.to_string()));
    let mut words = vec![&b"XSETID"[..], key, last_id.as_bytes()];
    words.extend(
        history
            .iter()
            .flat_map(|(added, deleted)| [&b"ENTRIESADDED"[..], added.as_bytes(), b"MAXDELETEDID", deleted.as_bytes()]),
    );
    emit(&words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_data::value::stream::Id;
    use vdr_rdb::Raw;
    use vdr_rdb::stream::History;

    fn emitted(parts: &[Part<'_>]) -> Result<Vec<String>, Fault> {
        let (mut groups, mut commands) = (Groups::default(), Vec::new());
        for part in parts {
            groups.part(*part, b"k", &mut |words| {
                commands.push(words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "));
            })?;
        }
        Ok(commands)
    }

    fn totals(length: u64, history: Option<History>) -> Part<'static> {
        Part::Totals(Totals { length, miscounted: 0, last_id: Id::new(5, 1), history })
    }

    const NAME: Raw<'static> = Raw::Plain(b"g");
    const GROUP: Part<'static> = Part::Group { name: NAME, last_id: Id::MIN, entries_read: Some(-1) };
    const PENDING: Part<'static> = Part::Pending { id: Id::MAX, delivered_at_ms: 7, deliveries: 2 };
    const CONSUMER: Part<'static> = Part::Consumer { name: Raw::Int(9), seen_at_ms: 1, active_at_ms: None };
    const OWNED: Part<'static> = Part::Owned { id: Id::MAX };

    #[test]
    fn a_stream_says_of_itself_what_commands_can_say() {
        let history = History { first_id: Id::new(3, 0), max_deleted_id: Id::new(2, 0), entries_added: 8 };
        let parts = [totals(1, Some(history)), GROUP, PENDING, CONSUMER, OWNED, Part::GroupEnd];
        let expected = [
            "XSETID k 5-1 ENTRIESADDED 8 MAXDELETEDID 2-0",
            "XGROUP CREATE k g 0-0 ENTRIESREAD -1",
            "XGROUP CREATECONSUMER k g 9",
            "XCLAIM k g 9 0 18446744073709551615-18446744073709551615 TIME 7 RETRYCOUNT 2 JUSTID FORCE",
        ];
        assert_eq!(emitted(&parts).unwrap(), expected);
    }

    #[test]
    fn an_entry_that_was_given_back_has_no_consumer() {
        let expected = [
            "XGROUP CREATE k g 0-0",
            "XNACK k g FAIL IDS 1 18446744073709551615-18446744073709551615 \
            RETRYCOUNT 2 FORCE",
        ];
        let group = Part::Group { name: NAME, last_id: Id::MIN, entries_read: None };
        assert_eq!(emitted(&[group, PENDING, Part::Released { id: Id::MAX }, Part::GroupEnd]).unwrap(), expected);
    }

    #[test]
    fn a_stream_without_entries_or_history_comes_to_be() {
        assert_eq!(emitted(&[totals(0, None)]).unwrap(), ["XADD k 0-1  ", "XTRIM k MAXLEN 0", "XSETID k 5-1"]);
        let group = Part::Group { name: NAME, last_id: Id::MIN, entries_read: None };
        assert_eq!(emitted(&[group, Part::GroupEnd]).unwrap(), ["XGROUP CREATE k g 0-0"]);
    }

    #[test]
    fn pending_entries_that_contradict_each_other_are_refused() {
        for parts in [&[GROUP, PENDING, PENDING][..], &[GROUP, CONSUMER, OWNED], &[GROUP, PENDING, Part::GroupEnd]] {
            assert!(emitted(parts).is_err());
        }
    }
}

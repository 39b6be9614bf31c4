//! Applies the commands of the stream, and publishes on the way.

use super::fault::{ACTIVE_REPLICATION, Fault, WRAPPER};
use super::lookahead::Lookahead;
use super::{Mirror, OnUnknown, Turn};
use crate::stream::{Applied, unknown_name};
use crate::watch::Hit;
use crate::watch::finder::Finder;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vdr_commands::Affected;

/// Commands decoded ahead of execution so that their keys' cache lines can be prefetched; more than
/// a core's outstanding misses.
const LOOKAHEAD: usize = 16;

/// Soft cap on commands per published snapshot (a MULTI may exceed it). Small enough that what one
/// publish frees is still in cache when the next one allocates.
pub(super) const COMMANDS_PER_SNAPSHOT: u64 = 256;

/// Publish at least this often while commands are slow, however few have run.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(1);

/// Most time that one call of [`Mirror::stream`] takes, but for what a single command takes: the
/// link acknowledges between two calls.
const TURN_MAX: Duration = Duration::from_millis(50);

/// The first change of a long string copies it, and later ones copy chunks of it. A copy lengthens
/// the interval, by some times what it takes itself: one millisecond for each of these bytes. So
/// many changes share a copy.
const BYTES_COPIED_PER_MS: u64 = 1 << 20;

impl Mirror {
    pub(super) fn apply_and_publish(
        &mut self,
        input: &[u8],
        at: &mut usize,
        turn: &mut Turn,
        now_ms: i64,
    ) -> Result<(), Fault> {
        let begun = (self.clock)();
        let mut more = true;
        while more && !turn.left {
            self.applying = true;
            self.finder.begin();
            let applied = self.apply_some(input, at, &mut turn.ack_wanted, now_ms);
            self.applying = false;
            more = applied?;
            self.publish(now_ms);
            turn.left = more && (self.clock)().saturating_sub(begun) >= TURN_MAX;
        }
        Ok(())
    }

    /// Applies commands until it is time to publish (`true`), or until none is left (`false`).
    fn apply_some(&mut self, input: &[u8], at: &mut usize, ack: &mut bool, now_ms: i64) -> Result<bool, Fault> {
        let Some(applier) = &mut self.applier else { return Err(Fault::protocol("a command before any full sync")) };
        let status = &self.shared.status;
        let mut ahead = Lookahead::default();
        let enough = applier.applied().saturating_add(COMMANDS_PER_SNAPSHOT);
        let begun = (self.clock)();
        let (mut now, copied_before) = (begun, applier.keyspace().copied());
        let mut copied = 0;
        loop {
            let error = ahead.fill(&mut self.decoder, input, *at, if self.slow { 1 } else { LOOKAHEAD });
            self.finder.look_ahead(applier.db(), ahead.keys());
            applier.prefetch(ahead.keys());
            for (nth, (args, frame)) in ahead.commands().enumerate() {
                *at += frame.skipped + frame.len;
                let applied = applier.command(args, frame.len, now_ms).map_err(|divergence| {
                    let fault = Fault::from(&divergence);
                    status.divergences.fetch_add(u64::from(fault.is_divergence()), Ordering::Relaxed);
                    fault
                });
                match applied? {
                    Applied::Write(row) if !self.shared.watches.is_empty() => {
                        let (db, offset) = (applier.db(), applier.offset());
                        let rest = args.get(1..).unwrap_or_default();
                        if !(self.finder.is_unaffected(nth, db) && vdr_commands::affects_first_only(row, rest)) {
                            note_affected(&mut self.finder, row, db, args, offset, &mut self.hits);
                            self.publisher.pending.push(offset, frame.len, &mut self.hits);
                        }
                    }
                    Applied::AckWanted => *ack = true,
                    Applied::Unknown => {
                        let name = unknown_name(args.first().copied().unwrap_or_default());
                        if name == WRAPPER {
                            return Err(Fault { code: ACTIVE_REPLICATION, detail: String::new() });
                        }
                        status.incomplete.store(true, Ordering::Relaxed);
                        if !self.shared.watches.is_empty() {
                            let (db, offset) = (applier.db(), applier.offset());
                            note_in_doubt(&mut self.finder, db, args, offset, &mut self.hits);
                            self.publisher.pending.push(offset, frame.len, &mut self.hits);
                        }
                        status.count_unknown(name.clone());
                        if self.on_unknown == OnUnknown::Stop {
                            return Err(Fault { code: "unknown_command", detail: name });
                        }
                    }
                    Applied::Write(_) | Applied::Control => {}
                }
            }
            error.map_or(Ok(()), |error| Err(Fault::from(&error)))?;
            let since = std::mem::replace(&mut now, (self.clock)());
            let copied_ahead = copied;
            copied = applier.keyspace().copied().wrapping_sub(copied_before);
            self.slow = now.saturating_sub(since) >= publish_interval(copied.wrapping_sub(copied_ahead));
            // The count of commands bounds what one publication frees. Of a copied string that is
            // one string, however many commands changed it.
            let is_enough = copied == 0 && applier.applied() >= enough;
            if ahead.is_empty() || is_enough || now.saturating_sub(begun) >= publish_interval(copied) {
                break;
            }
        }
        status.offset.store(applier.resume_offset(), Ordering::Relaxed);
        status.commands_applied.store(applier.applied(), Ordering::Relaxed);
        Ok(!ahead.is_empty())
    }
}

/// How long commands may run until what they did is published.
fn publish_interval(copied_bytes: u64) -> Duration {
    PUBLISH_INTERVAL + Duration::from_millis(copied_bytes / BYTES_COPIED_PER_MS)
}

/// Notes whom a command affects, to be notified once it is visible.
fn note_affected(
    finder: &mut Finder,
    row: &vdr_commands::Write,
    db: u32,
    args: &[&[u8]],
    offset: u64,
    hits: &mut Vec<Hit>,
) {
    let rest = args.get(1..).unwrap_or_default();
    let touches = |affected: &mut dyn FnMut(Affected<'_>)| vdr_commands::for_each_affected(row, db, rest, affected);
    finder.affected(touches, || vdr_commands::tuple(args), offset, hits);
}

/// As [`note_affected`], for a command that is not understood: any argument may be a key.
fn note_in_doubt(finder: &mut Finder, db: u32, args: &[&[u8]], offset: u64, hits: &mut Vec<Hit>) {
    let rest = args.get(1..).unwrap_or_default();
    let touches =
        |affected: &mut dyn FnMut(Affected<'_>)| rest.iter().for_each(|key| affected(Affected::Key { db, key }));
    finder.affected(touches, || vdr_commands::generic(args), offset, hits);
}

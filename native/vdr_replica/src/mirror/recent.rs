//! The last part of the stream, kept as it came, so that a watcher can ask whether something was
//! written since an offset at which it last looked.
//!
//! It costs one copy of the bytes of the stream, and only once somebody has asked.

use crate::resp::Decoder;
use crate::stream::selected;
use crate::watch::Target;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vdr_commands::{Affected, Command, Role};

/// Most bytes of the stream that are kept.
pub const RECENT_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Default)]
pub struct Recent {
    wanted: AtomicBool,
    kept: Mutex<Kept>,
}

/// Pieces of the stream without a gap between them.
#[derive(Default)]
struct Kept {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

#[derive(Clone)]
struct Piece {
    /// The offsets before its first and after its last command.
    from: u64,
    to: u64,
    /// The database that was selected before it.
    db: u32,
    bytes: Arc<[u8]>,
}

impl Recent {
    /// From now on the stream is kept.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whole commands were applied, and led from offset `from` to offset `to`.
    pub(super) fn push(&self, bytes: &[u8], from: u64, to: u64, db: u32) {
        if !self.wanted.load(Ordering::Relaxed) || from == to {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.pieces.back().is_some_and(|last| last.to != from) || bytes.len() > RECENT_BYTES_MAX {
            *kept = Kept::default();
        }
        if bytes.len() > RECENT_BYTES_MAX {
            return;
        }
        kept.bytes += bytes.len();
        kept.pieces.push_back(Piece { from, to, db, bytes: Arc::from(bytes) });
        while kept.bytes > RECENT_BYTES_MAX
            && let Some(first) = kept.pieces.pop_front()
        {
            kept.bytes -= first.bytes.len();
        }
    }

    /// What was applied is no continuation of what is kept.
    pub(super) fn clear(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// Whether a write since `offset` may have affected the target, up to `now`, an offset that is
    /// applied. `None` if that part of the stream is not kept. O(bytes since then).
    pub fn may_have_written(&self, offset: u64, now: u64, target: &Target) -> Option<bool> {
        self.want();
        if offset >= now {
            return Some(false);
        }
        // Copied, so that the writer does not wait while they are read.
        let pieces: Vec<Piece> = self.kept.lock().pieces.iter().filter(|piece| piece.to > offset).cloned().collect();
        if pieces.first()?.from > offset || pieces.last()?.to < now {
            return None;
        }
        for piece in &pieces {
            if affects(piece, offset, target)? {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// Whether a command of the piece that ends after `offset` affects the target. `None` if the piece
/// cannot be read.
fn affects(piece: &Piece, offset: u64, target: &Target) -> Option<bool> {
    let (mut decoder, mut rest, mut at, mut db) = (Decoder::new(), &piece.bytes[..], piece.from, piece.db);
    while let Some(frame) = decoder.decode(rest).ok()? {
        let args: Vec<&[u8]> = decoder.args(rest).collect();
        at += frame.len as u64;
        rest = rest.get(frame.skipped + frame.len..)?;
        let (name, words) = args.split_first()?;
        let mut hit = false;
        let mut touch = |touch: Affected<'_>| {
            hit |= match touch {
                Affected::Key { db, key } => db == target.db && target.covers(key),
                Affected::Db(db) => db == target.db,
                Affected::All => true,
            };
        };
        match vdr_commands::command(name) {
            Some(Command::Write(row)) => vdr_commands::for_each_affected(row, db, words, &mut touch),
            Some(Command::Control(row)) if row.role == Role::Select => db = selected(words).ok()?,
            Some(Command::Control(_)) => {}
            // Any argument may be a key.
            None => words.iter().for_each(|key| touch(Affected::Key { db, key })),
        }
        if hit && at > offset {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp;
    use crate::watch::Watched;

    fn piece(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
        }
        bytes
    }

    #[test]
    fn what_was_written_since_an_offset_is_known_as_far_as_it_is_kept() {
        let recent = Recent::default();
        let key = |name: &str| Target::new(0, Watched::Key(name.as_bytes()));
        let unwanted = piece(&["SET before 1"]);
        recent.push(&unwanted, 0, 10, 0);
        assert_eq!(recent.may_have_written(0, 10, &key("before")), None, "nobody had asked");
        assert_eq!(recent.may_have_written(10, 10, &key("before")), Some(false));
        let (first, second) = (piece(&["SET a 1", "SELECT 1", "SET b 1"]), piece(&["SET c 1", "FROB x d", "FLUSHDB"]));
        let (middle, end) = (10 + first.len() as u64, (10 + first.len() + second.len()) as u64);
        recent.push(&first, 10, middle, 0);
        recent.push(&second, middle, end, 1);
        let written = |since: u64, target: Target| recent.may_have_written(since, end, &target);
        assert_eq!(written(10, key("a")), Some(true));
        assert_eq!(written(10, key("b")), Some(false), "that was in database 1");
        assert_eq!(written(middle, key("a")), Some(false));
        assert_eq!(written(9, key("a")), None);
        let in_1 = |watched: Watched<&[u8]>| Target::new(1, watched);
        assert_eq!(written(10, in_1(Watched::Pattern(b"?"))), Some(true));
        assert_eq!(written(end - 1, in_1(Watched::Key(b"any"))), Some(true), "the database was emptied");
        assert_eq!(written(end, in_1(Watched::Key(b"any"))), Some(false));
        assert_eq!(recent.may_have_written(10, end + 1, &key("b")), None, "that is not applied yet");
        // A gap, and more than is kept.
        recent.push(&first, end + 5, end + 5 + first.len() as u64, 0);
        assert_eq!(written(10, key("b")), None);
        let long = piece(&[&format!("SET k {}", "x".repeat(RECENT_BYTES_MAX))]);
        recent.push(&long, end, end + long.len() as u64, 0);
        assert_eq!(recent.kept.lock().bytes, 0);
    }

    #[test]
    fn no_more_of_the_stream_is_kept_than_its_bound() {
        let recent = Recent::default();
        recent.want();
        let bytes = piece(&[&format!("SET k {}", "x".repeat(1 << 20))]);
        for n in 0..9 {
            let at = n * bytes.len() as u64;
            recent.push(&bytes, at, at + bytes.len() as u64, 0);
        }
        let kept = recent.kept.lock();
        assert!(kept.bytes <= RECENT_BYTES_MAX && kept.pieces.len() == 3, "{}", kept.pieces.len());
    }
}

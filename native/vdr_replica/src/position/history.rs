//! The replication ids that the data of a mirror went through.
//!
//! A replica that becomes the primary goes on under an id of its own, with continued numbers. Its
//! history and that of its former primary are the same up to the offset at which it was promoted.
//!
//! ```text
//! id A   ------------------+-----> writes that the new primary never received: lost
//! id B                     +--------------------------->
//!                       shared
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

/// Most former ids that are remembered. Each is a failover; positions from before are lost.
pub const FORMER_IDS_MAX: usize = 64;

/// Everything that a primary has done up to an offset of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub replication_id: Arc<str>,
    pub offset: u64,
}

/// What a position means for the data of a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// Its writes are in the data that is visible at this offset of the present id.
    At(u64),
    /// Its writes need not be in the data, now or ever.
    Lost,
    /// It depends on what the primary says of its ids: the mirror may come to follow this one, or
    /// the present one may go back to it.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    present: Arc<str>,
    /// The primary has said which id the present one continues, if any.
    confirmed: bool,
    /// Oldest first; each continues in the next one, and the last one in the present id.
    former: VecDeque<Former>,
    /// Ids that a full sync to another history has ended, oldest first.
    abandoned: VecDeque<Arc<str>>,
    /// What primaries said about their former ids, before the mirror came to follow them.
    hints: VecDeque<Hint>,
}

#[derive(Debug)]
struct Former {
    id: Arc<str>,
    /// Up to here, the next id has the same bytes at the same offsets.
    shared: u64,
    /// Up to here, all writes are in the data: those behind `shared` were keepalives.
    ended: u64,
}

/// A primary's statement: up to `shared`, `id` is a continuation of `former`.
#[derive(Debug)]
struct Hint {
    id: Arc<str>,
    former: Arc<str>,
    shared: u64,
}

impl History {
    /// Empty before the first full sync.
    pub fn present(&self) -> &Arc<str> {
        &self.present
    }

    /// The stream goes on behind `resumed` under another id. Up to `applied`, the mirror has
    /// everything of the id before; what it has behind `resumed` were keepalives.
    pub fn continue_as(&mut self, id: &Arc<str>, applied: u64, resumed: u64) {
        if *id == self.present {
            return;
        }
        let before = std::mem::replace(&mut self.present, id.clone());
        self.confirmed = false;
        self.abandoned.retain(|abandoned| abandoned != id);
        push(&mut self.former, Former { id: before, shared: resumed, ended: applied.max(resumed) });
        self.apply_hints();
    }

    /// A full sync has replaced all data.
    pub fn replace(&mut self, id: &Arc<str>) {
        if *id == self.present {
            return;
        }
        let before = std::mem::replace(&mut self.present, id.clone());
        self.confirmed = false;
        for id in self.former.drain(..).map(|former| former.id).chain([before]) {
            push(&mut self.abandoned, id);
        }
        self.abandoned.retain(|abandoned| abandoned != id && !abandoned.is_empty());
        self.apply_hints();
    }

    /// A primary says that its id continues another one, which it shares up to an offset.
    pub fn learn(&mut self, id: &Arc<str>, former: &Arc<str>, shared: u64) {
        push(&mut self.hints, Hint { id: id.clone(), former: former.clone(), shared });
        self.apply_hints();
    }

    /// The primary has said all about its id. Answers whether that is the present id.
    pub fn confirm(&mut self, id: &str) -> bool {
        let is_present = *id == *self.present;
        self.confirmed |= is_present;
        is_present
    }

    fn apply_hints(&mut self) {
        let hints = std::mem::take(&mut self.hints);
        for hint in hints {
            let next = |at: usize| self.former.get(at.saturating_add(1)).map_or(&self.present, |next| &next.id);
            let known = self.former.iter().position(|former| former.id == hint.former);
            match known {
                Some(at) if *next(at) == hint.id => {
                    if let Some(former) = self.former.get_mut(at) {
                        former.shared = former.shared.max(hint.shared);
                        former.ended = former.ended.max(hint.shared);
                    }
                }
                // The oldest id may go further back than the mirror's data.
                None if *self.former.front().map_or(&self.present, |oldest| &oldest.id) == hint.id
                    && self.former.len() < FORMER_IDS_MAX =>
                {
                    self.abandoned.retain(|abandoned| *abandoned != hint.former);
                    self.former.push_front(Former { id: hint.former, shared: hint.shared, ended: hint.shared });
                }
                _ => self.hints.push_back(hint),
            }
        }
    }

    /// What a position means for the present data.
    pub fn locate(&self, id: &str, offset: u64) -> Located {
        if *id == *self.present {
            return Located::At(offset);
        }
        let Some(from) = self.former.iter().position(|former| *former.id == *id) else {
            let is_abandoned = self.abandoned.iter().any(|abandoned| **abandoned == *id);
            return if is_abandoned { self.beyond() } else { Located::Unknown };
        };
        let mut offset = offset;
        for former in self.former.iter().skip(from) {
            if offset > former.ended {
                return self.beyond();
            }
            offset = offset.min(former.shared);
        }
        Located::At(offset)
    }

    /// The data does not show that it has this position.
    fn beyond(&self) -> Located {
        if self.confirmed { Located::Lost } else { Located::Unknown }
    }
}

/// Appends to a list of the newest [`FORMER_IDS_MAX`].
fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= FORMER_IDS_MAX {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn followed(name: &str) -> History {
        let mut history = History::default();
        history.replace(&id(name));
        history
    }

    #[test]
    fn a_position_of_the_present_id_is_its_offset() {
        let history = followed("A");
        assert_eq!(history.locate("A", 7), Located::At(7));
        assert_eq!(history.locate("B", 7), Located::Unknown);
        assert_eq!(History::default().locate("A", 7), Located::Unknown);
    }

    #[test]
    fn a_former_id_holds_up_to_where_it_ended() {
        let mut history = followed("A");
        history.continue_as(&id("B"), 100, 100);
        assert_eq!(history.locate("A", 100), Located::At(100));
        assert_eq!(history.locate("A", 101), Located::Unknown);
        assert!(history.confirm("B"));
        assert_eq!(history.locate("A", 101), Located::Lost);
        assert_eq!(history.locate("B", 101), Located::At(101));
        history.continue_as(&id("C"), 150, 150);
        assert!(!history.confirm("B"));
        assert!(history.confirm("C"));
        assert_eq!(history.locate("A", 100), Located::At(100));
        assert_eq!(history.locate("A", 140), Located::Lost, "140 of A is not 140 of B");
        assert_eq!(history.locate("B", 150), Located::At(150));
        assert_eq!(history.locate("B", 151), Located::Lost);
        assert_eq!(history.locate("D", 1), Located::Unknown);
    }

    /// The mirror applied keepalives of the old primary, which the new one never received.
    #[test]
    fn keepalives_of_a_former_id_need_not_be_shown_again() {
        let mut history = followed("A");
        history.continue_as(&id("B"), 114, 100);
        history.confirm("B");
        assert_eq!(history.locate("A", 99), Located::At(99));
        assert_eq!(history.locate("A", 114), Located::At(100));
        assert_eq!(history.locate("A", 115), Located::Lost);
    }

    /// The mirror lagged behind when its primary failed: the new primary has more of the old id.
    #[test]
    fn what_the_new_primary_shares_with_the_old_is_not_lost() {
        for first in [true, false] {
            let mut history = followed("A");
            if first {
                history.learn(&id("B"), &id("A"), 130);
                history.continue_as(&id("B"), 100, 100);
            } else {
                history.continue_as(&id("B"), 100, 100);
                history.learn(&id("B"), &id("A"), 130);
            }
            history.confirm("B");
            assert_eq!(history.locate("A", 120), Located::At(120));
            assert_eq!(history.locate("A", 130), Located::At(130));
            assert_eq!(history.locate("A", 131), Located::Lost);
        }
    }

    #[test]
    fn a_full_sync_to_another_history_abandons_all_ids() {
        let mut history = followed("A");
        history.continue_as(&id("B"), 100, 100);
        history.replace(&id("C"));
        for abandoned in ["A", "B"] {
            assert_eq!(history.locate(abandoned, 1), Located::Unknown);
        }
        history.confirm("C");
        for abandoned in ["A", "B"] {
            assert_eq!(history.locate(abandoned, 1), Located::Lost);
        }
        // The primary says that its history includes the one before.
        history.learn(&id("C"), &id("B"), 90);
        assert_eq!(history.locate("B", 90), Located::At(90));
        assert_eq!(history.locate("B", 91), Located::Lost);
        assert_eq!(history.locate("A", 1), Located::Lost);
        history.replace(&id("A"));
        history.confirm("A");
        assert_eq!(history.locate("A", 1), Located::At(1));
        assert_eq!(history.locate("C", 1), Located::Lost);
    }

    #[test]
    fn a_full_sync_of_the_same_id_loses_nothing() {
        let mut history = followed("A");
        history.continue_as(&id("B"), 100, 100);
        history.replace(&id("B"));
        assert_eq!(history.locate("A", 100), Located::At(100));
    }

    #[test]
    fn lists_are_bounded() {
        let mut history = followed("0");
        for turn in 1..1000u64 {
            history.learn(&id("nobody"), &id(&format!("x{turn}")), turn);
            history.continue_as(&id(&turn.to_string()), turn, turn);
        }
        assert_eq!(history.former.len(), FORMER_IDS_MAX);
        assert!(history.hints.len() <= FORMER_IDS_MAX);
        assert_eq!(history.locate("998", 998), Located::At(998));
        assert_eq!(history.locate("1", 1), Located::Unknown);
        history.replace(&id("end"));
        assert_eq!(history.abandoned.len(), FORMER_IDS_MAX);
    }
}

//! Sorted sets: members by name, and the same members by (score, name).

use crate::blob::Blob;
use crate::tree::key::{self, Head};
use crate::tree::{Bytes, Key, Probe, Tree, by};
use std::cmp::Ordering;

/// A score: any f64 but NaN. `-0` and `0` are one place in the order, as on the server.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// `None` for NaN, which no server stores.
    pub fn new(score: f64) -> Option<Self> {
        (!score.is_nan()).then_some(Score(score))
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// A number of the same order.
    fn head(self) -> u64 {
        let bits = self.without_negative_zero().0.to_bits();
        // The greater a negative number, the less its bits.
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    }

    fn without_negative_zero(self) -> Self {
        // `-0.0 + 0.0` is `0.0`; nothing else changes.
        Score(self.0 + 0.0)
    }
}

impl Eq for Score {}

#[expect(clippy::derive_ord_xor_partial_ord, reason = "without NaN the partial order is total")]
impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// Above either of these the server turns a listpack into a skiplist (its defaults; they are not in the stream).
const LISTPACK_MAX_ENTRIES: usize = 128;
const LISTPACK_MAX_MEMBER_BYTES: usize = 64;

fn fits_listpack(entries: usize, member: &[u8]) -> bool {
    entries <= LISTPACK_MAX_ENTRIES && member.len() <= LISTPACK_MAX_MEMBER_BYTES
}

#[derive(Clone, Debug)]
pub struct ZSet {
    scores: Tree<Blob, Score>,
    order: Tree<Place, ()>,
    /// A listpack on the server stores -0 as 0; a skiplist keeps it. Followed so that a score's sign is the server's.
    listpack: bool,
}

impl Default for ZSet {
    fn default() -> Self {
        ZSet { scores: Tree::new(), order: Tree::new(), listpack: true }
    }
}

impl ZSet {
    /// From a snapshot file, which tells the encoding. Of equal members the last counts.
    pub fn from_members(members: impl IntoIterator<Item = (Blob, Score)>, listpack: bool) -> Self {
        let mut members: Vec<(Blob, Score)> = members.into_iter().collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.reverse();
        members.dedup_by(|a, b| a.0 == b.0);
        members.reverse();
        let mut order: Vec<Place> = members.iter().map(|(member, score)| Place(*score, member.clone())).collect();
        order.sort_unstable();
        ZSet {
            scores: Tree::from_sorted(members),
            order: Tree::from_sorted(order.into_iter().map(|key| (key, ()))),
            listpack,
        }
    }

    /// What a store command leaves: a listpack when it is small enough, however its members came together.
    pub fn from_stored(members: Vec<(Blob, Score)>) -> Self {
        let listpack = members.iter().all(|(member, _)| fits_listpack(members.len(), member));
        let kept =
            |(member, score): (Blob, Score)| (member, if listpack { score.without_negative_zero() } else { score });
        Self::from_members(members.into_iter().map(kept), listpack)
    }

    /// Makes ready for so many members at once: more than a listpack holds turn it into a skiplist beforehand, as
    /// servers do since 7.2.
    pub fn expect(&mut self, entries: usize) {
        self.listpack &= entries <= LISTPACK_MAX_ENTRIES;
    }

    /// The server has turned it into a skiplist, whatever its size.
    pub fn become_skiplist(&mut self) {
        self.listpack = false;
    }

    /// Whether the server would hold it as a listpack, as far as can be known.
    pub fn is_listpack(&self) -> bool {
        self.listpack
    }

    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether both have the same members with the same scores. O(difference).
    pub fn equals(&self, other: &ZSet) -> bool {
        self.scores.equals(&other.scores)
    }

    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    pub fn score(&self, member: &[u8]) -> Option<Score> {
        self.scores.get(Bytes(member)).map(|(_, score)| *score)
    }

    /// Puts a member; answers the score that it had. An equal score is left alone, the sign of its zero too, as the
    /// server does.
    pub fn insert(&mut self, member: Blob, score: Score) -> Option<Score> {
        let old = self.scores.insert(member.clone(), score);
        if old.is_none() && self.listpack {
            self.listpack = fits_listpack(self.len(), &member);
        }
        let kept = match old {
            Some(old) if old == score => old,
            _ if self.listpack => score.without_negative_zero(),
            _ => score,
        };
        if kept.get().to_bits() != score.get().to_bits() {
            self.scores.insert(member.clone(), kept);
        }
        if old != Some(kept) {
            if let Some(old) = old {
                self.order.remove((old, member.as_bytes()));
            }
            self.order.insert(Place(kept, member), ());
        }
        old
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<Score> {
        let (_, score) = self.scores.remove(Bytes(member))?;
        self.order.remove((score, member));
        Some(score)
    }

    /// Takes out the members with ranks `from..to` (clipped).
    pub fn remove_range(&mut self, from: usize, to: usize) {
        let members: Vec<Blob> = self.range(from, to).map(|(member, _)| member.clone()).collect();
        for member in members {
            self.remove(&member);
        }
    }

    /// Position of a member in (score, member) order.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        self.order.find((score, member)).ok()
    }

    /// How many members stand before the first for which `before` is false. `before` must be true for a prefix of the
    /// order only: with it every score and lex bound becomes a rank. O(log n).
    pub fn partition(&self, before: impl Fn(Score, &[u8]) -> bool) -> usize {
        let order = |place: &Place| if before(place.0, &place.1) { Ordering::Less } else { Ordering::Greater };
        self.order.find(by(order)).unwrap_or_else(|rank| rank)
    }

    pub fn at(&self, rank: usize) -> Option<(&Blob, Score)> {
        self.order.at(rank).map(|(Place(score, member), ())| (member, *score))
    }

    /// Members with ranks `from..to` (clipped) in (score, member) order.
    pub fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = (&Blob, Score)> + ExactSizeIterator + Clone {
        self.order.range(from, to).map(|(Place(score, member), ())| (member, *score))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Blob, Score)> + ExactSizeIterator + Clone {
        self.range(0, self.len())
    }
}

/// Where a member stands: by score, and by name among equals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Score, Blob);

impl Key for Place {
    fn tag(&self) -> u8 {
        self.1.tag()
    }

    fn head(&self, _skip: usize) -> u64 {
        self.0.head()
    }
}

impl Probe<Place> for (Score, &[u8]) {
    fn order(&self, place: &Place) -> Ordering {
        place.0.cmp(&self.0).then_with(|| place.1.as_bytes().cmp(self.1))
    }

    fn tag(&self) -> Option<u8> {
        Some(key::tag(self.1))
    }

    fn head(&self, _like: &Place, _skip: usize) -> Head {
        Head::At(self.0.head())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f64) -> Score {
        Score::new(value).unwrap()
    }

    fn negative_zero(zset: &ZSet, member: &str) -> bool {
        zset.score(member.as_bytes()).unwrap().get().is_sign_negative()
    }

    #[test]
    fn a_listpack_forgets_the_sign_of_zero_and_a_skiplist_keeps_it() {
        let mut zset = ZSet::default();
        zset.insert("a".into(), score(-0.0));
        assert!(!negative_zero(&zset, "a"));
        zset.insert(Blob::from(vec![b'x'; LISTPACK_MAX_MEMBER_BYTES + 1]), score(1.0));
        assert!(!zset.is_listpack());
        zset.insert("b".into(), score(-0.0));
        assert!(negative_zero(&zset, "b") && !negative_zero(&zset, "a"));
    }

    #[test]
    fn the_129th_member_makes_a_skiplist_and_a_change_of_the_128th_does_not() {
        let mut zset = ZSet::default();
        for n in 0..LISTPACK_MAX_ENTRIES as i64 {
            zset.insert(Blob::from_int(n), score(1.0));
        }
        zset.insert("0".into(), score(2.0));
        assert!(zset.is_listpack());
        zset.insert("more".into(), score(-0.0));
        assert!(!zset.is_listpack() && negative_zero(&zset, "more"));
        zset.remove(b"more");
        assert!(!zset.is_listpack(), "there is no way back");
    }

    #[test]
    fn an_equal_score_leaves_the_sign_of_zero_as_it_was() {
        let mut zset = ZSet::default();
        zset.expect(LISTPACK_MAX_ENTRIES + 1);
        zset.insert("a".into(), score(-0.0));
        assert_eq!(zset.insert("a".into(), score(0.0)), Some(score(0.0)));
        assert!(negative_zero(&zset, "a"));
        assert_eq!((zset.len(), zset.rank(b"a")), (1, Some(0)));
    }

    #[test]
    fn what_is_stored_whole_is_a_listpack_when_it_is_small() {
        let members = |count: i64| (0..count).map(|n| (Blob::from_int(n), score(-0.0))).collect::<Vec<_>>();
        let small = ZSet::from_stored(members(128));
        assert!(small.is_listpack() && !negative_zero(&small, "0"));
        let large = ZSet::from_stored(members(129));
        assert!(!large.is_listpack() && negative_zero(&large, "0"));
        let long = ZSet::from_stored(vec![("a".into(), score(-0.0)), (Blob::from(vec![0; 65]), score(0.0))]);
        assert!(!long.is_listpack() && negative_zero(&long, "a"));
    }

    #[test]
    fn of_equal_members_in_a_file_the_last_counts() {
        let zset =
            ZSet::from_members([("a".into(), score(1.0)), ("b".into(), score(2.0)), ("a".into(), score(3.0))], true);
        let all: Vec<_> = zset.iter().map(|(member, score)| (member.to_vec(), score.get())).collect();
        assert_eq!(all, [(b"b".to_vec(), 2.0), (b"a".to_vec(), 3.0)]);
    }
}

//! Sorted sets: members by name, and the same members by (score, name). A small one is a [`Pack`]
//! in the latter order.

use super::either::{self, Either};
use super::element_builder::ElementBuilder;
use super::pack::{PACK_BYTES_MAX, Pack};
use super::string::StringRef;
use crate::blob::Blob;
use crate::size::{self, Footprint};
use std::cmp::Ordering;
use std::sync::Arc;
use vdr_snapmap::tree::key::{self, Head};
use vdr_snapmap::tree::{Bytes, Key, Probe, Tree, by};

/// A score: any f64 but NaN. `-0` and `0` are equal in the order, as on the server.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);

impl Score {
    /// `None` for NaN, which no server stores.
    pub fn new(score: f64) -> Option<Self> {
        (!score.is_nan()).then_some(Score(score))
    }

    #[inline]
    pub fn get(self) -> f64 {
        self.0
    }

    /// An integer with the same order.
    fn head(self) -> u64 {
        let bits = self.without_negative_zero().0.to_bits();
        // The bits of negative numbers are in descending order.
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    }

    fn without_negative_zero(self) -> Self {
        // `-0.0 + 0.0` is `0.0`. No other number changes.
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

/// Above either of these limits the server converts a listpack into a skiplist. These are its
/// defaults; the stream does not contain them.
const LISTPACK_MAX_ENTRIES: usize = 128;
const LISTPACK_MAX_MEMBER_BYTES: usize = 64;

fn fits_listpack(entries: usize, member: &[u8]) -> bool {
    entries <= LISTPACK_MAX_ENTRIES && member.len() <= LISTPACK_MAX_MEMBER_BYTES
}

#[derive(Clone, Debug, Default)]
pub struct ZSet(Repr);

/// On the server a listpack stores -0 as 0, and a skiplist keeps the sign. The mirror follows the
/// encoding, so that the signs of scores are equal, too.
///
/// A small one is a listpack: each member after the eight bytes of its score, in (score, member)
/// order.
type Repr = either::Repr<Large>;

#[derive(Clone, Debug)]
struct Large {
    scores: Tree<Blob, Score>,
    order: Tree<Place, ()>,
    /// Whether it is a listpack on the server, where listpacks may be longer than our packs.
    listpack: bool,
}

const SCORE: usize = size_of::<f64>();

/// A member of a pack and its score.
#[inline]
fn unpacked(entry: &[u8]) -> (&[u8], Score) {
    let (score, member) = entry.split_first_chunk().unwrap_or((&[0; SCORE], &[]));
    (member, Score(f64::from_ne_bytes(*score)))
}

#[inline]
fn pair(entry: &[u8]) -> (StringRef<'_>, Score) {
    let (member, score) = unpacked(entry);
    (StringRef::Packed(member), score)
}

/// The rank of a member in a pack, and its score.
fn find(pack: &Pack, member: &[u8]) -> Option<(usize, Score)> {
    let at = pack.iter().position(|entry| entry.len() == SCORE + member.len() && entry.ends_with(member))?;
    Some((at, unpacked(pack.get(at)?).1))
}

fn by_score(a: &[u8], b: &[u8]) -> Ordering {
    let ((a, a_score), (b, b_score)) = (unpacked(a), unpacked(b));
    a_score.cmp(&b_score).then_with(|| a.cmp(b))
}

impl Large {
    fn new(members: Vec<(Blob, Score)>, listpack: bool) -> Self {
        let mut order: Vec<Place> = members.iter().map(|(member, score)| Place(*score, member.clone())).collect();
        order.sort_unstable();
        Large {
            scores: Tree::from_sorted(members),
            order: Tree::from_sorted(order.into_iter().map(|key| (key, ()))),
            listpack,
        }
    }

    fn from_pack(pack: &Pack, listpack: bool) -> Self {
        let mut members: Vec<(Blob, Score)> =
            pack.iter().map(unpacked).map(|(member, score)| (Blob::new(member), score)).collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        Large::new(members, listpack)
    }

    #[inline]
    fn score(&self, member: &[u8]) -> Option<Score> {
        self.scores.get(Bytes(member)).map(|(_, score)| *score)
    }

    fn insert(&mut self, member: &[u8], score: Score) -> Option<Score> {
        let member = Blob::new(member);
        let old = self.scores.insert(member.clone(), score);
        if old.is_none() && self.listpack {
            self.listpack = fits_listpack(self.scores.len(), &member);
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

    fn remove(&mut self, member: &[u8]) -> Option<Score> {
        let (_, score) = self.scores.remove(Bytes(member))?;
        self.order.remove((score, member));
        Some(score)
    }
}

impl ZSet {
    /// Builds a sorted set from a snapshot file, which has the encoding. Of equal members the last
    /// counts.
    pub fn from_members<M: AsRef<[u8]>>(members: impl IntoIterator<Item = (M, Score)>, listpack: bool) -> Self {
        let mut builder = ZSetBuilder::new(listpack);
        members.into_iter().for_each(|(member, score)| builder.push(member.as_ref(), score));
        builder.build()
    }

    /// Builds the result of a store command: a listpack if it is small enough, whatever its members
    /// came from.
    pub fn from_stored<M: AsRef<[u8]>>(members: Vec<(M, Score)>) -> Self {
        let listpack = members.iter().all(|(member, _)| fits_listpack(members.len(), member.as_ref()));
        let kept = |(member, score): (M, Score)| (member, if listpack { score.without_negative_zero() } else { score });
        Self::from_members(members.into_iter().map(kept), listpack)
    }

    /// Prepares for a command with so many members: if they, or the longest of them, exceed a
    /// listpack, it is converted to a skiplist first, as servers do since 7.2.
    pub fn expect(&mut self, entries: usize, longest: usize) {
        if entries > LISTPACK_MAX_ENTRIES || longest > LISTPACK_MAX_MEMBER_BYTES {
            self.become_skiplist();
        }
    }

    /// Follows the server's conversion to a skiplist, whatever the size.
    pub fn become_skiplist(&mut self) {
        match &mut self.0 {
            Repr::Small(pack) => {
                let large = Large::from_pack(pack, false);
                self.0 = Repr::Large(Arc::new(large));
            }
            Repr::Large(large) if large.listpack => Arc::make_mut(large).listpack = false,
            Repr::Large(_) => {}
        }
    }

    /// Follows the server when it builds the sorted set anew: a short skiplist becomes a listpack,
    /// a long listpack a skiplist.
    pub fn reencode(&mut self) {
        if self.is_listpack() && self.len() > LISTPACK_MAX_ENTRIES {
            self.become_skiplist();
        } else if !self.is_listpack() && self.len() <= LISTPACK_MAX_ENTRIES {
            *self = Self::from_stored(self.iter().map(|(member, score)| (member.to_blob(), score)).collect());
        }
    }

    /// Whether the server has it as a listpack, as far as can be known.
    pub fn is_listpack(&self) -> bool {
        match &self.0 {
            Repr::Small(_) => true,
            Repr::Large(large) => large.listpack,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(pack) => pack.len(),
            Repr::Large(large) => large.scores.len(),
        }
    }

    /// Whether both have the same members with the same scores. O(difference).
    pub fn equals(&self, other: &ZSet) -> bool {
        match (&self.0, &other.0) {
            (Repr::Large(a), Repr::Large(b)) => Arc::ptr_eq(a, b) || a.scores.equals(&b.scores),
            _ => self.same(other) || self.iter().eq(other.iter()),
        }
    }

    pub fn same(&self, other: &ZSet) -> bool {
        self.0.same(&other.0, |_, _| false)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<Score> {
        match &self.0 {
            Repr::Small(pack) => find(pack, member).map(|(_, score)| score),
            Repr::Large(large) => large.score(member),
        }
    }

    /// Sets the score of a member and returns the score before. An equal score is not replaced, not
    /// even by a zero of the other sign, as on the server.
    pub fn insert(&mut self, member: &[u8], score: Score) -> Option<Score> {
        if let Repr::Small(pack) = &mut self.0 {
            let old = find(pack, member);
            if let Some((_, old)) = old.filter(|(_, old)| *old == score) {
                return Some(old);
            }
            let kept = score.without_negative_zero();
            let bytes = kept.get().to_ne_bytes();
            let parts = [&bytes[..], member];
            let place = |entry: &[u8]| {
                let (name, score) = unpacked(entry);
                score.cmp(&kept).then_with(|| name.cmp(member))
            };
            let to = pack.search(place).unwrap_or_else(|rank| rank);
            let listpack = old.is_some() || fits_listpack(pack.len() + 1, member);
            let done = match old {
                _ if !listpack => false,
                None => pack.insert(to, &parts, PACK_BYTES_MAX),
                Some((at, _)) if to == at || to == at + 1 => pack.replace(at, &parts, PACK_BYTES_MAX),
                Some((at, _)) => {
                    pack.remove(at, at + 1);
                    pack.insert(if to > at { to - 1 } else { to }, &parts, PACK_BYTES_MAX)
                }
            };
            if done {
                return old.map(|(_, old)| old);
            }
            let large = Large::from_pack(pack, listpack);
            self.0 = Repr::Large(Arc::new(large));
        }
        match &mut self.0 {
            Repr::Large(large) => Arc::make_mut(large).insert(member, score),
            Repr::Small(_) => None,
        }
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<Score> {
        match &mut self.0 {
            Repr::Small(pack) => {
                let (at, score) = find(pack, member)?;
                pack.remove(at, at + 1);
                Some(score)
            }
            Repr::Large(large) => Arc::make_mut(large).remove(member),
        }
    }

    /// Removes the members with ranks `from..to`, clipped.
    pub fn remove_range(&mut self, from: usize, to: usize) {
        match &mut self.0 {
            Repr::Small(pack) => pack.remove(from, to),
            Repr::Large(large) => {
                let large = Arc::make_mut(large);
                let members: Vec<Blob> = large.order.range(from, to).map(|(place, ())| place.1.clone()).collect();
                for member in members {
                    large.remove(&member);
                }
            }
        }
    }

    /// The rank of a member in (score, member) order.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Repr::Small(pack) => find(pack, member).map(|(at, _)| at),
            Repr::Large(large) => {
                let score = large.score(member)?;
                large.order.find((score, member)).ok()
            }
        }
    }

    /// The number of members before the first one for which `before` is false. `before` must be
    /// true for a prefix of the order only. Each score or lex bound becomes a rank by it. O(log n).
    pub fn partition(&self, before: impl Fn(Score, &[u8]) -> bool) -> usize {
        let side = |before| if before { Ordering::Less } else { Ordering::Greater };
        let place = match &self.0 {
            Repr::Small(pack) => pack.search(|entry| {
                let (member, score) = unpacked(entry);
                side(before(score, member))
            }),
            Repr::Large(large) => large.order.find(by(|place: &Place| side(before(place.0, &place.1)))),
        };
        place.unwrap_or_else(|rank| rank)
    }

    pub fn at(&self, rank: usize) -> Option<(StringRef<'_>, Score)> {
        self.range(rank, rank.saturating_add(1)).next()
    }

    /// The bytes of the sorted set apart from its elements, for [`estimate`](crate::estimate).
    pub fn overhead_bytes(&self) -> Footprint {
        self.0.overhead_bytes()
    }

    /// The bytes of one member in both orders, with its shares of their nodes. The two shares are
    /// those of the entries at `rank`, which may be two members. `None` for a small sorted set,
    /// which is overhead only.
    pub fn amortized_bytes(&self, rank: usize) -> Option<Footprint> {
        let Repr::Large(large) = &self.0 else { return None };
        let member = Footprint::of(large.scores.at(rank)?.0);
        Some(size::amortized_entry(&large.scores, rank)? + size::amortized_entry(&large.order, rank)? + member)
    }

    /// The members with ranks `from..to`, clipped, in (score, member) order.
    #[inline]
    pub fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = (StringRef<'_>, Score)> + ExactSizeIterator + Clone {
        match &self.0 {
            Repr::Small(pack) => Either::Small(pack.range(from, to).map(pair)),
            Repr::Large(large) => Either::Large(
                large.order.range(from, to).map(|(Place(score, member), ())| (StringRef::Shared(member), *score)),
            ),
        }
    }

    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (StringRef<'_>, Score)> + ExactSizeIterator + Clone {
        self.range(0, self.len())
    }
}

/// A key of the order: the score, and the name among equals.
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

/// Builds a sorted set from members in any order. Of equal members the last counts.
pub struct ZSetBuilder {
    members: ElementBuilder<Score>,
    listpack: bool,
}

impl ZSetBuilder {
    /// `listpack`: whether the server stores it as one.
    pub fn new(listpack: bool) -> Self {
        ZSetBuilder { members: if listpack { ElementBuilder::default() } else { ElementBuilder::large() }, listpack }
    }

    /// How many members were pushed, those that came twice counted twice.
    pub fn count(&self) -> usize {
        self.members.count()
    }

    pub fn push(&mut self, member: &[u8], score: Score) {
        let fits = self.members.count() < LISTPACK_MAX_ENTRIES;
        if !fits || !self.members.push_packed(&[&score.get().to_ne_bytes(), member]) {
            self.members.push_pair((Blob::new(member), score), |entry| {
                let (member, score) = unpacked(entry);
                (Blob::new(member), score)
            });
        }
    }

    pub fn build(mut self) -> ZSet {
        let Some(members) = self.members.take_large() else {
            self.members.small.sort_names(|entry| unpacked(entry).0);
            self.members.small.sort(by_score);
            return ZSet(Repr::Small(self.members.small.take()));
        };
        ZSet(Repr::Large(Arc::new(Large::new(members, self.listpack))))
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
        zset.insert(b"a", score(-0.0));
        assert!(!negative_zero(&zset, "a"));
        zset.insert(&[b'x'; LISTPACK_MAX_MEMBER_BYTES + 1], score(1.0));
        assert!(!zset.is_listpack());
        zset.insert(b"b", score(-0.0));
        assert!(negative_zero(&zset, "b") && !negative_zero(&zset, "a"));
    }

    #[test]
    fn the_129th_member_makes_a_skiplist_and_a_change_of_the_128th_does_not() {
        let mut zset = ZSet::default();
        for n in 0..LISTPACK_MAX_ENTRIES as i64 {
            zset.insert(n.to_string().as_bytes(), score(1.0));
        }
        zset.insert(b"0", score(2.0));
        assert!(zset.is_listpack());
        zset.insert(b"more", score(-0.0));
        assert!(!zset.is_listpack() && negative_zero(&zset, "more"));
        zset.remove(b"more");
        assert!(!zset.is_listpack(), "there is no way back");
    }

    #[test]
    fn a_command_may_make_a_skiplist_before_it_adds() {
        for (entries, longest, listpack) in [(128, 64, true), (129, 0, false), (1, 65, false)] {
            let mut zset = ZSet::default();
            zset.expect(entries, longest);
            zset.insert(b"a", score(-0.0));
            assert_eq!((zset.is_listpack(), negative_zero(&zset, "a")), (listpack, !listpack));
        }
    }

    #[test]
    fn an_equal_score_leaves_the_sign_of_zero_as_it_was() {
        let mut zset = ZSet::default();
        zset.expect(LISTPACK_MAX_ENTRIES + 1, 0);
        zset.insert(b"a", score(-0.0));
        assert_eq!(zset.insert(b"a", score(0.0)), Some(score(0.0)));
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
        let long = ZSet::from_stored(vec![(vec![b'a'], score(-0.0)), (vec![0; 65], score(0.0))]);
        assert!(!long.is_listpack() && negative_zero(&long, "a"));
    }

    #[test]
    fn of_equal_members_in_a_file_the_last_counts() {
        let zset = ZSet::from_members([("a", score(1.0)), ("b", score(2.0)), ("a", score(3.0))], true);
        let all: Vec<_> = zset.iter().map(|(member, score)| (member.to_vec(), score.get())).collect();
        assert_eq!(all, [(b"b".to_vec(), 2.0), (b"a".to_vec(), 3.0)]);
    }
}

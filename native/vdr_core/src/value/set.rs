//! Sets: members in byte order, so that cursors over them are stable.

use crate::blob::Blob;
use crate::tree::{Bytes, Tree};

#[derive(Clone, Debug, Default)]
pub struct Set(Tree<Blob, ()>);

impl Set {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        self.0.get(Bytes(member)).is_some()
    }

    /// `true` when the member is new.
    pub fn insert(&mut self, member: Blob) -> bool {
        self.0.insert(member, ()).is_none()
    }

    /// `true` when the member was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.0.remove(Bytes(member)).is_some()
    }

    /// Position of a member in byte order, or where it would stand.
    pub fn rank(&self, member: &[u8]) -> Result<usize, usize> {
        self.0.find(Bytes(member))
    }

    pub fn at(&self, rank: usize) -> Option<&Blob> {
        self.0.at(rank).map(|(member, ())| member)
    }

    /// Members with ranks `from..to` (clipped), in byte order.
    pub fn range(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = &Blob> + ExactSizeIterator + Clone {
        self.0.range(from, to).map(|(member, ())| member)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Blob> + ExactSizeIterator + Clone {
        self.range(0, self.len())
    }

    /// Whether both have the same members. O(difference), since what they share is not looked at.
    pub fn equals(&self, other: &Set) -> bool {
        self.0.equals(&other.0)
    }

    pub fn same(&self, other: &Set) -> bool {
        self.0.same(&other.0)
    }
}

impl FromIterator<Blob> for Set {
    fn from_iter<I: IntoIterator<Item = Blob>>(members: I) -> Self {
        let mut members: Vec<Blob> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        Set(Tree::from_sorted(members.into_iter().map(|member| (member, ()))))
    }
}

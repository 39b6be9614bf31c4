//! Sets: members in byte order, so that cursors over them are stable. A small set is a [`Pack`] of
//! its members.

use super::either::{self, Either};
use super::element_builder::ElementBuilder;
use super::pack::{PACK_BYTES_MAX, Pack};
use super::string::StringRef;
use crate::blob::Blob;
use crate::size::{self, Footprint};
use std::sync::Arc;
use vdr_snapmap::tree::{Bytes, Tree};

#[derive(Clone, Debug, Default)]
pub struct Set(Repr);

type Repr = either::Repr<Tree<Blob, ()>>;

fn find(pack: &Pack, member: &[u8]) -> Result<usize, usize> {
    pack.search(|entry| entry.cmp(member))
}

impl Set {
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(pack) => pack.len(),
            Repr::Large(tree) => tree.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Small(pack) => find(pack, member).is_ok(),
            Repr::Large(tree) => tree.get(Bytes(member)).is_some(),
        }
    }

    /// Adds a member. `true` if it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        if let Repr::Small(pack) = &mut self.0 {
            let Err(at) = find(pack, member) else { return false };
            if pack.insert(at, &[member], PACK_BYTES_MAX) {
                return true;
            }
            let tree = Tree::from_sorted(pack.iter().map(|member| (Blob::new(member), ())));
            self.0 = Repr::Large(Arc::new(tree));
        }
        match &mut self.0 {
            Repr::Large(tree) => Arc::make_mut(tree).insert(Blob::new(member), ()).is_none(),
            Repr::Small(_) => false,
        }
    }

    /// Removes a member. `true` if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Small(pack) => find(pack, member).map(|at| pack.remove(at, at + 1)).is_ok(),
            Repr::Large(tree) => Arc::make_mut(tree).remove(Bytes(member)).is_some(),
        }
    }

    /// The rank of a member in byte order, or where it would stand.
    pub fn rank(&self, member: &[u8]) -> Result<usize, usize> {
        match &self.0 {
            Repr::Small(pack) => find(pack, member),
            Repr::Large(tree) => tree.find(Bytes(member)),
        }
    }

    pub fn at(&self, rank: usize) -> Option<StringRef<'_>> {
        match &self.0 {
            Repr::Small(pack) => pack.get(rank).map(StringRef::Packed),
            Repr::Large(tree) => tree.at(rank).map(|(member, ())| StringRef::Shared(member)),
        }
    }

    /// The bytes of the set apart from its elements, for [`estimate`](crate::estimate).
    pub fn overhead_bytes(&self) -> Footprint {
        self.0.overhead_bytes()
    }

    /// The bytes of one member with its share of the nodes on its path. `None` for a small set,
    /// which is overhead only.
    pub fn amortized_bytes(&self, rank: usize) -> Option<Footprint> {
        match &self.0 {
            Repr::Small(_) => None,
            Repr::Large(tree) => Some(size::amortized_entry(tree, rank)? + Footprint::of(tree.at(rank)?.0)),
        }
    }

    /// The members with ranks `from..to`, clipped, in byte order.
    #[inline]
    pub fn range(
        &self,
        from: usize,
        to: usize,
    ) -> impl DoubleEndedIterator<Item = StringRef<'_>> + ExactSizeIterator + Clone {
        match &self.0 {
            Repr::Small(pack) => Either::Small(pack.range(from, to).map(StringRef::Packed)),
            Repr::Large(tree) => Either::Large(tree.range(from, to).map(|(member, ())| StringRef::Shared(member))),
        }
    }

    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = StringRef<'_>> + ExactSizeIterator + Clone {
        self.range(0, self.len())
    }

    /// Whether both have the same members. O(difference): what both share is skipped.
    pub fn equals(&self, other: &Set) -> bool {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => a.equals(b),
            (Repr::Large(a), Repr::Large(b)) => a.equals(b),
            _ => self.iter().eq(other.iter()),
        }
    }

    pub fn same(&self, other: &Set) -> bool {
        self.0.same(&other.0, Tree::same)
    }
}

/// Builds sets from members in any order, one set after the other.
#[derive(Default)]
pub struct SetBuilder(ElementBuilder<()>);

impl SetBuilder {
    /// How many members were pushed, those that came twice counted twice.
    pub fn count(&self) -> usize {
        self.0.count()
    }

    pub fn push(&mut self, member: &[u8]) {
        if !self.0.push_packed(&[member]) {
            self.0.push_pair((Blob::new(member), ()), |member| (Blob::new(member), ()));
        }
    }

    /// Builds the set and leaves the builder empty.
    pub fn build(&mut self) -> Set {
        let Some(members) = self.0.take_large() else {
            self.0.small.sort_names(|member| member);
            return Set(Repr::Small(self.0.small.take()));
        };
        Set(Repr::Large(Arc::new(Tree::from_sorted(members))))
    }
}

impl<M: AsRef<[u8]>> FromIterator<M> for Set {
    fn from_iter<I: IntoIterator<Item = M>>(members: I) -> Self {
        let mut builder = SetBuilder::default();
        members.into_iter().for_each(|member| builder.push(member.as_ref()));
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Through both forms, with a copy taken midway that must not change.
        #[test]
        fn a_set_is_an_ordered_set(
            steps in proptest::collection::vec((0u8..4, 0u16..300, prop_oneof![9 => Just(0usize), 1 => 0usize..400]), 1..600),
            share in 0usize..600,
        ) {
            let (mut set, mut model) = (Set::default(), BTreeSet::<Vec<u8>>::new());
            let mut shared = None;
            for (at, (step, number, long)) in steps.into_iter().enumerate() {
                if at == share {
                    shared = Some((set.clone(), model.clone()));
                }
                let member = [number.to_string().into_bytes(), vec![b'x'; long]].concat();
                if step == 0 {
                    prop_assert_eq!(set.remove(&member), model.remove(&member));
                } else {
                    prop_assert_eq!(set.insert(&member), model.insert(member));
                }
            }
            let mut builder = SetBuilder::default();
            model.iter().rev().chain(&model).for_each(|member| builder.push(member));
            let again = builder.build();
            prop_assert!(again.equals(&set) && set.equals(&again));
            prop_assert!(builder.build().is_empty());
            for (set, model) in [(set, model)].into_iter().chain(shared) {
                prop_assert!(set.iter().map(StringRef::as_bytes).eq(model.iter().map(Vec::as_slice)));
                prop_assert!(set.iter().rev().map(StringRef::as_bytes).eq(model.iter().rev().map(Vec::as_slice)));
                for (rank, member) in model.iter().enumerate() {
                    prop_assert!(set.contains(member));
                    prop_assert_eq!((set.rank(member), set.at(rank).unwrap().to_vec()), (Ok(rank), member.clone()));
                }
                prop_assert!(!set.contains(b"y") && set.at(model.len()).is_none());
            }
        }
    }
}

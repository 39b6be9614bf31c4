//! What the builders of sets, hashes and sorted sets share: they collect elements that come in any
//! order, and find the last one of each name.

use super::pack::{PACK_BYTES_MAX, PackBuilder};
use crate::blob::Blob;

/// Collects the elements of an aggregate: the entries of a pack while they fit one, then pairs of a
/// name and a value.
pub struct ElementBuilder<V> {
    count: usize,
    pub small: PackBuilder,
    /// All elements, once they do not fit a pack.
    large: Option<Vec<(Blob, V)>>,
}

impl<V> Default for ElementBuilder<V> {
    fn default() -> Self {
        ElementBuilder { count: 0, small: PackBuilder::default(), large: None }
    }
}

impl<V> ElementBuilder<V> {
    /// For an aggregate that is large whatever its number of elements.
    pub fn large() -> Self {
        ElementBuilder { large: Some(Vec::new()), ..ElementBuilder::default() }
    }

    /// How many elements were pushed, those that came twice counted twice.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds an element to the pack, the concatenation of `parts`. `false`, and nothing added, if it
    /// does not fit one: then [`ElementBuilder::push_pair`] takes it.
    #[inline]
    pub fn push_packed(&mut self, parts: &[&[u8]]) -> bool {
        let fits = self.large.is_none() && self.small.push(parts, PACK_BYTES_MAX);
        self.count += usize::from(fits);
        fits
    }

    /// Adds an element outside of the pack. `unpack` makes pairs of the elements that are in it.
    pub fn push_pair(&mut self, pair: (Blob, V), unpack: impl Fn(&[u8]) -> (Blob, V)) {
        self.count += 1;
        let small = &self.small;
        self.large.get_or_insert_with(|| small.iter().map(unpack).collect()).push(pair);
    }

    /// The elements in the order of their names, of equal names the last one, and leaves the
    /// builder empty. `None` if they fit a pack: then `small` has them, to be sorted and taken.
    pub fn take_large(&mut self) -> Option<Vec<(Blob, V)>> {
        self.count = 0;
        let mut elements = self.large.take()?;
        self.small.clear();
        if size_of::<V>() == 0 {
            // Without values it does not matter which one of equal names stays.
            elements.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            elements.dedup_by(|a, b| a.0 == b.0);
            return Some(elements);
        }
        elements.sort_by(|a, b| a.0.cmp(&b.0));
        elements.dedup_by(|later, earlier| {
            let repeated = later.0 == earlier.0;
            if repeated {
                std::mem::swap(later, earlier);
            }
            repeated
        });
        Some(elements)
    }
}

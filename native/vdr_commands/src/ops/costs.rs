//! The costs of reads: estimates of the number of elements that a call will visit. `None` stands
//! for bad arguments, which cost next to nothing.

use crate::args::Args;
use vdr_data::keyspace::View;
use vdr_data::value::{Aggregate, Hash, Set};

/// A type whose elements a cursor walks.
pub trait Walked: Aggregate {
    /// How many elements a cursor visits to find `count` of them.
    fn reach(&self, count: usize) -> usize {
        count.min(self.elements())
    }
}

impl Walked for Set {}

impl Walked for Hash {
    /// All of them, if the cursor may have to skip expired fields.
    fn reach(&self, count: usize) -> usize {
        if self.has_expiring_fields() { self.len() } else { count.min(self.len()) }
    }
}

/// `key ...`: all elements.
pub fn len<T: Aggregate>(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    view.aggregate::<T>(args.bytes().ok()?).ok()?.map(T::elements)
}

/// `key names`: one element for each name.
pub fn names(_: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.bytes().ok()?;
    Some(args.byte_list().ok()?.len())
}

/// `key count`: up to `count` elements from an end.
pub fn edge_len<T: Walked>(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let value = view.aggregate::<T>(args.bytes().ok()?).ok()??;
    Some(value.reach(args.count().ok()?))
}

/// `key name count`: up to `count` elements from a name on.
pub fn step_len<T: Walked>(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let value = view.aggregate::<T>(args.bytes().ok()?).ok()??;
    args.bytes().ok()?;
    Some(value.reach(args.count().ok()?))
}

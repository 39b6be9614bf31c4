//! Typed access to values that have elements.

use super::hash::Hash;
use super::list::List;
use super::set::Set;
use super::stream::Stream;
use super::variants::{Value, ValueRef};
use super::zset::ZSet;
use std::sync::Arc;

/// A type of value with elements.
pub trait Aggregate: Default + Into<Value> {
    /// The value, if it has this type.
    fn of<'s>(value: ValueRef<'s>) -> Option<&'s Self>;

    /// The value to change in place, if it has this type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// The number of its elements.
    fn elements(&self) -> usize;
}

/// A type that stands in [`Value`] as it is.
macro_rules! aggregate {
    ($($type:ident),*) => {$(
        impl Aggregate for $type {
            fn of<'s>(value: ValueRef<'s>) -> Option<&'s Self> {
                match value {
                    ValueRef::$type(value) => Some(value),
                    _ => None,
                }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$type(value) => Some(value),
                    _ => None,
                }
            }

            fn elements(&self) -> usize {
                self.len()
            }
        }
    )*};
}

aggregate!(List, Set, ZSet, Hash);

/// A stream is shared as a whole, so a change of one that a snapshot shares copies it.
impl Aggregate for Stream {
    fn of<'s>(value: ValueRef<'s>) -> Option<&'s Self> {
        match value {
            ValueRef::Stream(stream) => Some(stream.as_ref()),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::Stream(stream) => Some(Arc::make_mut(stream)),
            _ => None,
        }
    }

    fn elements(&self) -> usize {
        self.len()
    }
}

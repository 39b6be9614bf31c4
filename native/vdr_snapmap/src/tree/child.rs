//! What an inner node knows of the nodes below it.

use std::ptr::NonNull;

/// A node below an inner node, and the number of entries below it. Without the type of the values,
/// so that the compiler makes one inner node for all trees with keys of one type.
#[derive(Clone, Copy)]
pub struct Child {
    pub count: usize,
    pub node: ErasedPtr,
}

/// A child behind its separator.
pub type Separated<K> = (K, Child);

/// The address of a node of some type. All that a tree reaches are of that tree's type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErasedPtr(NonNull<()>);

// SAFETY: an address, which nobody can follow without its type: see `NodePtr`.
unsafe impl Send for ErasedPtr {}
// SAFETY: as above.
unsafe impl Sync for ErasedPtr {}

impl<T> From<NonNull<T>> for ErasedPtr {
    fn from(node: NonNull<T>) -> Self {
        ErasedPtr(node.cast())
    }
}

impl ErasedPtr {
    pub fn cast<T>(self) -> NonNull<T> {
        self.0.cast()
    }
}

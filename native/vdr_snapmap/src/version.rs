//! Generation ownership: one version of a copy-on-write structure, and the proof that its memory is
//! reclaimed soundly. [`crate::map`] and [`crate::tree`] both consist of a root and a [`Version`].
//!
//! A structure consists of *parts*, each in an allocation of its own. A part carries the generation
//! of the version that made it. A fork of the structure is a new version that reaches the very same
//! parts. A version changes only while it is the newest of its chain, and follows these rules:
//!
//! * A part of its own generation changes in place.
//! * A part of an older generation is replaced by a copy of its own generation. The copy shares
//!   what the part leads to, and no reference count is touched there. The replaced part is
//!   *retired*.
//! * A new part is linked only below parts of its own generation.
//!
//! A structure that is to change and is not the newest version first becomes a chain of its own, by
//! a copy of everything. (The mirror never does that: it drops an abandoned branch before it
//! changes the checkpoint again.)
//!
//! # Why this is sound
//!
//! 1. *A part's `born` is at most that of the part that leads to it, and at most the generation of
//!    each version that reaches it.* A part is made or linked only below parts of the newest
//!    generation, and a fork has a greater generation.
//! 2. *Only the newest version reaches a part of its generation.* Older versions reach nothing that
//!    was born after them (1). So nobody else sees a change in place, made through `&mut` of the
//!    newest structure. `is_newest` cannot become false meanwhile: a fork needs `&` of this
//!    structure, and its end needs the structure itself. When it becomes true because a newer
//!    version ended, that version has been walked to its end before the chain says so, and the
//!    chain is read with `Acquire`.
//! 3. *Nobody reaches freed memory.* [`VersionChain`] gives a retired part back when every version
//!    between its birth and its retirement has ended. Only these versions reach it: earlier ones
//!    lack it by (1), later ones descend from the version that replaced it. When the newest of
//!    several versions ends, it frees the parts that were born after the version before it. Nobody
//!    else reaches these (1), and the walk to find them stops at the first older part on each path,
//!    by (1) as well. The last version frees everything.
//! 4. *Nothing is freed twice.* A part is retired when the newest version unlinks it. So either one
//!    bag holds it or the newest version reaches it, never both. When a version becomes the newest
//!    again, the bags of parts that it reaches are emptied and the parts are not freed.
//! 5. *Readers see complete parts.* Parts are written before their structure is shared. The caller
//!    shares it with the usual synchronisation (`Arc`, a channel, an atomic pointer). Shared parts
//!    are never written again (2). A reader's last use of a part precedes the drop of its
//!    structure. The drop takes the chain's lock, and so does whoever frees.
//!
//! The borrow checker does the rest: a reference into a structure lives no longer than the borrow
//! of the structure. The parts in a chain are type-erased. Only versions of one type share a chain,
//! since a fork is all that shares one, so each restores what it, or one like it, has erased. A
//! version counts as the owner of a chain of typed parts. That chain's mutex makes a structure
//! invariant in its types, so nothing short-lived gets into a bag that a longer-lived structure
//! frees.

use crate::version_chain::{FIRST, Retired, VersionChain};
use std::marker::PhantomData;
use std::sync::Arc;

/// An allocation that a structure consists of: the address of one.
pub trait Part: Sized {
    /// What the chain keeps of a part. It is the same for parts of many types, so that the compiler
    /// makes one chain for all of them.
    type Erased;

    fn erase(self) -> Self::Erased;

    /// Undoes `erase`. Of the part of another type it makes an address that leads nowhere.
    fn restore(erased: Self::Erased) -> Self;

    /// The generation of the version that made it.
    ///
    /// # Safety
    /// The part is allocated.
    unsafe fn born(&self) -> u64;

    /// Frees the part, but nothing that other parts hold.
    ///
    /// # Safety
    /// The part is allocated, no version reaches it, and it is not used again.
    unsafe fn free(self);
}

/// The handle that a structure has on its version of the chain. See the module.
pub struct Version<P: Part> {
    generation: u64,
    /// All parts in it have this type.
    chain: Arc<VersionChain<P::Erased>>,
    /// Parts that the current change has unlinked and that older versions may still reach. Empty
    /// between changes.
    retired: Vec<Retired<P::Erased>>,
    /// For the compiler, the chain holds typed parts.
    typed: PhantomData<Arc<VersionChain<P>>>,
}

/// The first version of a new chain.
impl<P: Part> Default for Version<P> {
    fn default() -> Self {
        Version { generation: FIRST, chain: Arc::default(), retired: Vec::new(), typed: PhantomData }
    }
}

impl<P: Part> Version<P> {
    /// New parts carry it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the structure may change.
    pub fn is_newest(&self) -> bool {
        self.chain.is_newest(self.generation)
    }

    #[cfg(test)]
    pub fn census(&self) -> (usize, usize) {
        self.chain.census()
    }

    /// The next version, with room for the parts that its first change retires; `None` when this is
    /// not the newest.
    pub fn fork(&self, retired_capacity: usize) -> Option<Self> {
        let (generation, free) = self.chain.fork(self.generation)?;
        // SAFETY: what the chain gave back.
        unsafe { Self::free(free) };
        let retired = Vec::with_capacity(retired_capacity);
        Some(Version { generation, chain: self.chain.clone(), retired, typed: PhantomData })
    }

    /// # Safety
    /// The chain gave these parts back just now.
    unsafe fn free(parts: Vec<P::Erased>) {
        for erased in parts {
            // SAFETY: points 3 and 4 of the module: no living version reaches what the chain gives
            // back, and it gives each part back once. All of its parts have this type.
            unsafe { P::restore(erased).free() };
        }
    }

    /// Frees a part that only this version reached, at once; retires any other.
    ///
    /// # Safety
    /// This is the newest version of its chain. Its structure reached the part until now and does
    /// not any more.
    pub unsafe fn discard(&mut self, part: P) {
        // SAFETY: the newest version reached the part until now, so it is allocated.
        let born = unsafe { part.born() };
        if born == self.generation {
            // SAFETY: point 2 of the module: nobody else reached it.
            unsafe { part.free() };
        } else {
            self.retired.push(Retired { born, part: part.erase() });
        }
    }

    /// Hands the retired parts to the chain: the end of a change.
    pub fn flush_retired(&mut self) {
        if !self.retired.is_empty() {
            // SAFETY: what the chain gave back.
            unsafe { Self::free(self.chain.retire(&mut self.retired)) };
        }
    }

    /// Ends the version and frees what only it still held. Answers whether it was the last of its
    /// chain: then the caller also frees every part that the structure reaches.
    ///
    /// # Safety
    /// The structure ends: it uses neither its parts nor this handle again, but to free what this
    /// leaves to it. `born_after` answers each part that the structure reaches and that was born
    /// after a generation, once.
    pub unsafe fn end(&mut self, born_after: impl Fn(u64) -> Vec<P>) -> bool {
        self.flush_retired();
        let born_after = |generation| born_after(generation).into_iter().map(P::erase).collect();
        let ended = self.chain.end(self.generation, &born_after);
        // SAFETY: what the chain gave back.
        unsafe { Self::free(ended.free) };
        ended.last
    }
}

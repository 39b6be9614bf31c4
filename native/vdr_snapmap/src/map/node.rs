//! Memory layout of a trie node, and the raw reads and writes that [`crate::map`] is built on.
//!
//! ```text
//! leaf    born | bits = 0 | len | cap | tag .. tag, padded | slot .. slot (items)       `cap` of each, `len` are set
//! inner   born | bits     | len | cap |                      slot .. slot (children)
//! ```
//!
//! The tags come first so that header and tags mostly share a cache line. The lowest bit of a
//! node's address is set for a leaf, so that a look-up knows that it has arrived before the leaf's
//! memory is there.
//!
//! A child stands for a range of six-bit digits. Bit `i` of `bits` is set where a child's range
//! begins, and the range ends before the next set bit. Bit 0 is set in every inner node, and there
//! are as many set bits as children.

use crate::host_alloc::allocated;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The most items in a leaf that is not at the greatest depth.
pub const LEAF_MAX: usize = 16;
/// Capacities are multiples of this.
const STEP: usize = 4;

#[repr(C)]
struct Header {
    born: u64,
    bits: u64,
    len: u32,
    cap: u32,
}

const HEADER: usize = size_of::<Header>();
const SLOT: usize = size_of::<Raw>();
/// The bit of an address that marks a leaf. It is free because headers are aligned.
const LEAF: usize = 1;
const _: () = assert!(align_of::<Header>() > LEAF);

/// An untyped address: of a child in an inner node, of an item in a leaf.
pub type Raw = NonNull<u8>;

/// The address of a node, tagged as leaf or inner node, without ownership: see [`crate::version`].
///
/// Every unsafe method requires that the node is allocated. Methods that write also require that
/// nobody else can reach it meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Node(Raw);

fn round_up(len: usize) -> usize {
    len.max(1).next_multiple_of(STEP)
}

/// The bytes of the tags, padded so that the slots behind them are aligned.
fn tags_bytes(leaf: bool, cap: usize) -> usize {
    if leaf { cap.next_multiple_of(SLOT) } else { 0 }
}

fn layout(leaf: bool, cap: usize) -> Layout {
    let bytes = HEADER + tags_bytes(leaf, cap) + cap * SLOT;
    // Far below isize::MAX since cap items exist.
    Layout::from_size_align(bytes, align_of::<Header>()).unwrap_or(Layout::new::<Header>())
}

impl Node {
    /// The bytes of a full leaf.
    pub const LEAF_BYTES: usize = HEADER + LEAF_MAX + LEAF_MAX * SLOT;

    /// An empty leaf (`bits` = 0) or inner node with room for at least `len` slots.
    pub fn new(born: u64, bits: u64, len: usize) -> Node {
        let cap = round_up(len);
        let layout = layout(bits == 0, cap);
        // SAFETY: the layout is never empty.
        let Some(raw) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: freshly allocated, large enough for a header and aligned for it.
        unsafe { raw.cast::<Header>().write(Header { born, bits, len: 0, cap: cap as u32 }) };
        Node(if bits == 0 { raw.map_addr(|address| address | LEAF) } else { raw })
    }

    /// The bytes that it takes of the allocator.
    ///
    /// # Safety
    /// The node is allocated.
    pub unsafe fn allocated_bytes(self) -> usize {
        // SAFETY: a node begins with its header.
        allocated(layout(self.is_leaf(), unsafe { (*self.header()).cap as usize }).size())
    }

    #[inline]
    pub fn from_raw(raw: Raw) -> Node {
        Node(raw)
    }

    #[inline]
    pub fn raw(self) -> Raw {
        self.0
    }

    /// The address of its memory, without the mark.
    #[inline]
    fn start(self) -> *mut u8 {
        self.0.as_ptr().map_addr(|address| address & !LEAF)
    }

    #[inline]
    fn header(self) -> *mut Header {
        self.start().cast()
    }

    /// # Safety
    /// The node is allocated.
    pub unsafe fn born(self) -> u64 {
        // SAFETY: a node begins with its header.
        unsafe { (*self.header()).born }
    }

    /// # Safety
    /// The node is allocated.
    pub unsafe fn bits(self) -> u64 {
        // SAFETY: a node begins with its header.
        unsafe { (*self.header()).bits }
    }

    #[inline]
    pub fn is_leaf(self) -> bool {
        self.0.as_ptr().addr() & LEAF != 0
    }

    /// # Safety
    /// The node is allocated.
    #[inline]
    pub unsafe fn len(self) -> usize {
        // SAFETY: a node begins with its header.
        unsafe { (*self.header()).len as usize }
    }

    /// # Safety
    /// The node is allocated.
    pub unsafe fn is_full(self) -> bool {
        // SAFETY: a node begins with its header.
        unsafe { (*self.header()).len == (*self.header()).cap }
    }

    /// # Safety
    /// The node is allocated.
    unsafe fn slots(self) -> *mut Raw {
        // SAFETY: a node begins with its header, and has room for as many tags and slots as its
        // capacity says.
        unsafe {
            let tags = tags_bytes(self.is_leaf(), (*self.header()).cap as usize);
            self.start().add(HEADER + tags).cast()
        }
    }

    fn tags(self) -> *mut u8 {
        self.start().wrapping_add(HEADER)
    }

    /// The address of a slot.
    ///
    /// # Safety
    /// The node is allocated and `at` below its length.
    pub unsafe fn slot_at(self, at: usize) -> *mut Raw {
        // SAFETY: within the allocation, which has cap slots.
        unsafe { self.slots().add(at) }
    }

    /// # Safety
    /// The node is allocated and `at` below its length.
    #[inline]
    pub unsafe fn slot(self, at: usize) -> Raw {
        // SAFETY: within the allocation, and written since `at` is below the length.
        unsafe { *self.slots().add(at) }
    }

    /// # Safety
    /// The node is allocated; while the slice lives nobody writes to it.
    #[inline]
    pub unsafe fn all_slots<'a>(self) -> &'a [Raw] {
        // SAFETY: the first `len` slots are written.
        unsafe { std::slice::from_raw_parts(self.slots(), self.len()) }
    }

    /// # Safety
    /// The node is an allocated leaf and `at` below its length.
    pub unsafe fn tag(self, at: usize) -> u8 {
        // SAFETY: within the allocation, and written since `at` is below the length.
        unsafe { *self.tags().add(at) }
    }

    /// # Safety
    /// The node is an allocated leaf; while the slice lives nobody writes to it.
    #[inline]
    pub unsafe fn all_tags<'a>(self) -> &'a [u8] {
        // SAFETY: a leaf has as many tags as slots, and the first `len` are written.
        unsafe { std::slice::from_raw_parts(self.tags(), self.len()) }
    }

    /// Adds an item to a leaf.
    ///
    /// # Safety
    /// The node is an allocated leaf that is not full, and nobody else can reach it.
    pub unsafe fn push(self, tag: u8, item: Raw) {
        // SAFETY: len is below cap, so that both places are within the allocation.
        unsafe {
            let len = self.len();
            self.slots().add(len).write(item);
            self.tags().add(len).write(tag);
            (*self.header()).len += 1;
        }
    }

    /// Takes an item out of a leaf. The last item takes its place.
    ///
    /// # Safety
    /// The node is an allocated leaf, `at` below its length, and nobody else can reach it.
    pub unsafe fn swap_remove(self, at: usize) {
        // SAFETY: both places are below len.
        unsafe {
            let last = self.len() - 1;
            self.slots().add(at).write(self.slot(last));
            self.tags().add(at).write(self.tag(last));
            (*self.header()).len -= 1;
        }
    }

    /// The index of the child for a digit below 64.
    ///
    /// # Safety
    /// The node is an allocated inner node.
    #[inline]
    pub unsafe fn child_of(self, digit: u32) -> usize {
        // SAFETY: as asked of the caller. Bit 0 is set, so that the count is not zero.
        unsafe { (self.bits() << (63 - digit)).count_ones() as usize - 1 }
    }

    /// The range of digits that the child at an index stands for; the end is exclusive.
    ///
    /// # Safety
    /// The node is an allocated inner node, `at` below its length.
    pub unsafe fn digits(self, at: usize) -> (u32, u32) {
        // SAFETY: as asked of the caller.
        let mut bits = unsafe { self.bits() };
        for _ in 0..at {
            bits &= bits - 1;
        }
        let from = bits.trailing_zeros();
        bits &= bits - 1;
        (from, bits.trailing_zeros())
    }

    /// A shallow copy that is born in another generation, with room for `more` further slots.
    ///
    /// # Safety
    /// The node is allocated.
    pub unsafe fn copy(self, born: u64, more: usize) -> Node {
        // SAFETY: the copy has at least as many slots, and tags when it is a leaf; it is a
        // different allocation.
        unsafe {
            let len = self.len();
            let copy = Node::new(born, self.bits(), len + more);
            self.slots().copy_to_nonoverlapping(copy.slots(), len);
            if self.is_leaf() {
                self.tags().copy_to_nonoverlapping(copy.tags(), len);
            }
            (*copy.header()).len = len as u32;
            copy
        }
    }

    /// Links the first child of a new inner node.
    ///
    /// # Safety
    /// The node is an allocated, empty inner node, and nobody else can reach it.
    pub unsafe fn begin(self, child: Raw) {
        // SAFETY: every node has room for a slot.
        unsafe {
            self.slots().write(child);
            (*self.header()).len = 1;
        }
    }

    /// Replaces the child at an index by several, each with the first digit that it stands for. The
    /// node must have room for them.
    ///
    /// # Safety
    /// The node is an allocated inner node with `cap >= len - 1 + children.len()`, `at` below its
    /// length, and nobody else can reach it. `children` is not empty, ascends, and begins with the
    /// digit of the replaced child.
    pub unsafe fn replace_child(self, at: usize, children: &[(u32, Raw)]) {
        // SAFETY: source and destination of the move are within cap, by the room asked for.
        unsafe {
            let behind = self.len() - at - 1;
            let slots = self.slots();
            slots.add(at + 1).copy_to(slots.add(at + children.len()), behind);
            for (index, (digit, child)) in children.iter().enumerate() {
                slots.add(at + index).write(*child);
                (*self.header()).bits |= 1 << digit;
            }
            (*self.header()).len = (at + children.len() + behind) as u32;
        }
    }

    /// Removes the child behind the one at an index. The child at the index takes over its digits.
    ///
    /// # Safety
    /// The node is an allocated inner node, `at + 1` below its length, and nobody else can reach
    /// it.
    pub unsafe fn remove_child_behind(self, at: usize) {
        // SAFETY: the move stays below len.
        unsafe {
            let (digit, _) = self.digits(at + 1);
            let slots = self.slots();
            slots.add(at + 2).copy_to(slots.add(at + 1), self.len() - at - 2);
            (*self.header()).bits &= !(1 << digit);
            (*self.header()).len -= 1;
        }
    }

    /// Frees the node, but nothing that its slots lead to.
    ///
    /// # Safety
    /// The node is allocated, nobody can reach it, and it is not used again.
    pub unsafe fn free(self) {
        // SAFETY: allocated with this layout, by `new`.
        unsafe { dealloc(self.start(), layout(self.is_leaf(), (*self.header()).cap as usize)) }
    }
}

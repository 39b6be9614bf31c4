//! How full nodes are: their limits, and how their vectors grow and split.

/// Most entries of a leaf, and most children of an inner node.
pub const MAX: usize = 32;
/// A node with fewer is merged with a neighbour when both fit into one node.
pub const MIN: usize = MAX / 4;
/// How full the bulk load makes its nodes: nearly, since loaded data is mostly overwritten rather
/// than added to.
pub const FILL: usize = MAX - 2;
/// A node has one more than the most just before it splits.
pub const ROOM: usize = MAX + 1;
/// By how much the capacity of a node grows at a time.
const STEP: usize = 8;

/// Makes room for one more. A vector would double its capacity by itself, more than any node can
/// hold.
pub fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(STEP.min(ROOM.saturating_sub(items.len())).max(1));
    }
}

/// Splits without leaving the capacity of both halves to the left one.
pub fn split_off<T>(items: &mut Vec<T>, at: usize) -> Vec<T> {
    let right = items.split_off(at);
    items.shrink_to(at + STEP);
    right
}

/// Where to split a node that exceeds the limit. After an append the split is uneven, so that
/// ascending keys fill their nodes.
pub fn split_at(len: usize, added_at: usize) -> Option<usize> {
    (len > MAX).then_some(if added_at + 1 == len { FILL } else { len / 2 })
}

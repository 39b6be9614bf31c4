//! The server's partial quicksort.
//!
//! Equal elements have no order of their own, so the algorithm decides which of them end up among
//! the first. If a write keeps only some elements of a sorted list, the algorithm therefore decides
//! the data. It is Bentley and McIlroy's quicksort ("Engineering a sort function", 1993), which
//! leaves parts unsorted that the caller does not need.

use std::cmp::Ordering;
use std::ops::Range;

/// Shorter parts use insertion sort.
const SHORT: usize = 7;
/// Longer parts take a median of nine as their pivot.
const LONG: usize = 40;

/// Sorts the elements of the ranks `0..wanted` into their places; the others follow them in no
/// order.
pub fn partial_sort<T>(items: &mut [T], wanted: usize, order: impl Fn(&T, &T) -> Ordering) {
    // An explicit stack, because the input decides the depth.
    let mut parts: Vec<Range<usize>> = std::iter::once(0..items.len()).collect();
    while let Some(part) = parts.pop() {
        let Some(slice) = items.get_mut(part.clone()) else { continue };
        if slice.len() < SHORT {
            insertion_sort(slice, &order);
            continue;
        }
        let (low, high) = split(slice, &order);
        for half in [high, low] {
            let half = part.start + half.start..part.start + half.end;
            if half.len() > 1 && half.start < wanted {
                parts.push(half);
            }
        }
    }
}

fn insertion_sort<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && compare(items, at - 1, at, order) == Ordering::Greater {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Partitions around a pivot. Returns the end of the smaller elements and the start of the larger
/// ones; between them stand the elements equal to the pivot.
fn split<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) -> (Range<usize>, Range<usize>) {
    let len = items.len();
    items.swap(0, pivot(items, order));
    // Equal elements collect at both ends: `..left_equal` and `right_equal + 1..`. The pivot is the
    // first.
    let (mut left_equal, mut left) = (1, 1);
    let (mut right, mut right_equal) = (len - 1, len - 1);
    loop {
        while left <= right {
            match compare(items, left, 0, order) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(left_equal, left);
                    left_equal += 1;
                }
                Ordering::Less => {}
            }
            left += 1;
        }
        while left <= right {
            match compare(items, right, 0, order) {
                Ordering::Less => break,
                Ordering::Equal => {
                    items.swap(right, right_equal);
                    right_equal -= 1;
                }
                Ordering::Greater => {}
            }
            right -= 1;
        }
        if left > right {
            break;
        }
        items.swap(left, right);
        left += 1;
        right -= 1;
    }
    let (smaller, larger) = (left - left_equal, right_equal - right);
    swap_runs(items, 0, left, left_equal.min(smaller));
    swap_runs(items, left, len, larger.min(len - 1 - right_equal));
    (0..smaller, len - larger..len)
}

/// Swaps the first `count` elements from `start` with the last `count` before `end`.
fn swap_runs<T>(items: &mut [T], start: usize, end: usize, count: usize) {
    for offset in 0..count {
        items.swap(start + offset, end - count + offset);
    }
}

fn pivot<T>(items: &[T], order: &impl Fn(&T, &T) -> Ordering) -> usize {
    let (len, middle) = (items.len(), items.len() / 2);
    if len == SHORT {
        return middle;
    }
    let (mut low, mut mid, mut high) = (0, middle, len - 1);
    if len > LONG {
        let step = len / 8;
        low = median(items, low, low + step, low + 2 * step, order);
        mid = median(items, mid - step, mid, mid + step, order);
        high = median(items, high - 2 * step, high - step, high, order);
    }
    median(items, low, mid, high, order)
}

fn median<T>(items: &[T], a: usize, b: usize, c: usize, order: &impl Fn(&T, &T) -> Ordering) -> usize {
    let less = |x, y| compare(items, x, y, order) == Ordering::Less;
    let greater = |x, y| compare(items, x, y, order) == Ordering::Greater;
    if less(a, b) {
        if less(b, c) {
            b
        } else if less(a, c) {
            c
        } else {
            a
        }
    } else if greater(b, c) {
        b
    } else if less(a, c) {
        a
    } else {
        c
    }
}

fn compare<T>(items: &[T], a: usize, b: usize, order: &impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => order(a, b),
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_wanted_ranks_are_those_of_a_full_sort(
            items in prop::collection::vec(0..40u8, 0..200),
            wanted in 0..220usize,
        ) {
            let (mut partly, mut fully) = (items.clone(), items);
            partial_sort(&mut partly, wanted, u8::cmp);
            fully.sort_unstable();
            let wanted = wanted.min(fully.len());
            prop_assert_eq!(&partly[..wanted], &fully[..wanted]);
            partly.sort_unstable();
            prop_assert_eq!(partly, fully);
        }
    }
}

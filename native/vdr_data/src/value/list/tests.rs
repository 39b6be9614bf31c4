use super::chunk::{CHUNK_BYTES_MAX, Chunk, ELEMENT_BYTES_MAX};
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Step {
    Push(bool, Vec<Vec<u8>>),
    Pop(bool, usize),
    /// Where, in parts of a thousand.
    Insert(usize, Vec<u8>),
    Set(usize, Vec<u8>),
    Remove(usize),
    RemoveAll(usize, usize),
    Keep(usize, usize),
    Share,
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![10 => 0usize..30, 3 => 30usize..300, 1 => ELEMENT_BYTES_MAX - 2..ELEMENT_BYTES_MAX + 3];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), proptest::collection::vec(element(), 1..120)).prop_map(|(front, all)| Step::Push(front, all)),
        3 => (any::<bool>(), 1usize..150).prop_map(|(front, count)| Step::Pop(front, count)),
        6 => (0usize..1000, element()).prop_map(|(at, element)| Step::Insert(at, element)),
        4 => (0usize..1000, element()).prop_map(|(at, element)| Step::Set(at, element)),
        6 => (0usize..1000).prop_map(Step::Remove),
        2 => (0usize..1000, 1usize..40).prop_map(|(from, step)| Step::RemoveAll(from, step)),
        1 => (0usize..1000, 0usize..1000).prop_map(|(from, to)| Step::Keep(from, to)),
        4 => Just(Step::Share),
    ]
}

/// The answers of every read, and what must be true of the structure.
#[track_caller]
fn assert_is(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert!(list.iter().map(StringRef::as_bytes).eq(model.iter().map(Vec::as_slice)));
    assert!(list.iter().rev().map(StringRef::as_bytes).eq(model.iter().rev().map(Vec::as_slice)));
    assert_eq!(list.get(model.len()), None);
    for at in [0, 1, model.len() / 3, model.len() / 2, model.len().saturating_sub(1)] {
        assert_eq!(list.get(at).map(StringRef::as_bytes), model.get(at).map(Vec::as_slice));
    }
    let (from, to) = (model.len() / 5, model.len() / 5 * 4);
    assert!(list.range(from, to).map(StringRef::as_bytes).eq(model.range(from..to).map(Vec::as_slice)));
    let mut ends = list.iter();
    for at in 0..model.len() / 2 {
        assert_eq!(ends.next().map(StringRef::as_bytes), model.get(at).map(Vec::as_slice));
        assert_eq!(ends.next_back().map(StringRef::as_bytes), model.get(model.len() - 1 - at).map(Vec::as_slice));
    }
    // What a loop over the rest sees, after elements were taken at both ends.
    for (taken_front, taken_back) in [(0, 0), (1, 0), (0, 1), (2, 3), (model.len() / 3, model.len() / 4)] {
        let (from, to) = (taken_front.min(model.len()), model.len().saturating_sub(taken_back));
        let mut rest = list.iter();
        let taken = rest.by_ref().take(taken_front).count() + rest.by_ref().rev().take(taken_back).count();
        assert_eq!(taken, (taken_front + taken_back).min(model.len()));
        let mut seen = Vec::new();
        rest.for_each(|element| seen.push(element.as_bytes()));
        assert!(seen.iter().copied().eq(model.range(from.min(to)..to).map(Vec::as_slice)));
    }
    let Repr::Large(large) = &list.0 else { return };
    let mut position = large.first + large.front.len() as i64;
    for (key, chunk) in &large.chunks {
        assert_eq!(*key, position);
        assert!(chunk.len() > 0);
        if let Chunk::Packed(pack) = chunk {
            assert!(pack.used_bytes() <= CHUNK_BYTES_MAX);
        }
        position += chunk.len() as i64;
    }
    assert_eq!(position + large.back.len() as i64, large.position(large.len));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Against a deque, with copies taken on the way that must stay as they were.
    #[test]
    fn a_list_is_a_deque_of_byte_strings(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut list, mut model) = (List::default(), VecDeque::<Vec<u8>>::new());
        let mut shared: Vec<(List, VecDeque<Vec<u8>>)> = Vec::new();
        for step in steps {
            let at = |part: usize| part * (model.len() + 1) / 1000;
            match step {
                Step::Push(true, elements) => elements.into_iter().for_each(|element| {
                    list.push_front(&element);
                    model.push_front(element);
                }),
                Step::Push(false, elements) => elements.into_iter().for_each(|element| {
                    list.push_back(&element);
                    model.push_back(element);
                }),
                Step::Pop(true, count) => (0..count).for_each(|_| assert_eq!(list.pop_front(), model.pop_front().is_some())),
                Step::Pop(false, count) => (0..count).for_each(|_| assert_eq!(list.pop_back(), model.pop_back().is_some())),
                Step::Insert(part, element) => {
                    let at = at(part);
                    list.insert(at, &element);
                    model.insert(at, element);
                }
                Step::Set(part, element) => {
                    let at = at(part);
                    prop_assert_eq!(list.set(at, &element), at < model.len());
                    if let Some(place) = model.get_mut(at) {
                        *place = element;
                    }
                }
                Step::Remove(part) => {
                    let at = at(part);
                    prop_assert_eq!(list.remove(at), model.remove(at).is_some());
                }
                Step::RemoveAll(part, step) => {
                    let indices: Vec<usize> = (at(part)..model.len()).step_by(step).collect();
                    list.remove_all(&indices);
                    indices.iter().rev().for_each(|at| drop(model.remove(*at)));
                }
                Step::Keep(from, to) => {
                    let (from, to) = (at(from), at(to).min(model.len()));
                    list.keep(from, to);
                    model.truncate(to);
                    model.drain(..from.min(model.len()));
                }
                Step::Share => shared.push((list.clone(), model.clone())),
            }
            assert_is(&list, &model);
        }
        shared.iter().for_each(|(list, model)| assert_is(list, model));
        let built: List = model.iter().collect();
        assert_is(&built, &model);
        prop_assert!(built.equals(&list) && list.equals(&built));
    }
}

fn numbers(len: usize) -> List {
    (0..len).map(|n| n.to_string()).collect()
}

#[test]
fn what_grew_is_small_again_when_it_has_shrunk() {
    let mut list = numbers(10_000);
    assert!(list.0.pack().is_none());
    list.keep(5_000, 5_010);
    assert!(list.0.pack().is_some());
    let mut list = numbers(2_000);
    (0..1_990).for_each(|at| assert!(if at % 2 == 0 { list.pop_front() } else { list.pop_back() }));
    assert!(list.0.pack().is_some());
}

/// A long element stands alone, and a clone of the list has it as well.
#[test]
fn a_long_element_is_shared_and_not_copied() {
    let mut list = numbers(3);
    list.insert(1, &[b'x'; 100_000]);
    let mut copy = list.clone();
    copy.push_front(b"new");
    copy.remove(1);
    copy.insert(1, b"between");
    let long = |list: &List, at| match list.get(at) {
        Some(StringRef::Shared(blob)) => Some(blob.as_ptr()),
        _ => None,
    };
    assert!(long(&list, 1).is_some());
    assert_eq!(long(&list, 1), long(&copy, 2));
}

#[test]
fn many_removals_amid_leave_no_crumbs() {
    let mut list = numbers(10_000);
    (0..9_000).for_each(|_| assert!(list.remove(500)));
    let Repr::Large(large) = &list.0 else { panic!("still large") };
    assert!(large.chunks.len() < 12, "{}", large.chunks.len());
}

use super::layout::NARROW_MAX;
use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;
use vdr_snapmap::allocated;

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, Vec<u8>, usize),
    Replace(usize, Vec<u8>, usize),
    Remove(usize, usize),
    /// A clone shares the allocation from now on.
    Share,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![18 => 0usize..40, 1 => NARROW_MAX - 2..NARROW_MAX + 3, 1 => 0usize..1200];
    let entry = || (len.clone(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]);
    prop_oneof![
        6 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Insert(at, entry, cut)),
        3 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Replace(at, entry, cut)),
        3 => (0usize..64, 0usize..8).prop_map(|(at, count)| Step::Remove(at, count)),
        2 => Just(Step::Share),
    ]
}

fn size(model: &[Vec<u8>]) -> usize {
    let wide = model.iter().any(|entry| entry.len() > 255);
    let bytes: usize = model.iter().map(Vec::len).sum();
    2 + model.len() / 8 * 2 + model.len() * if wide { 2 } else { 1 } + bytes
}

#[track_caller]
fn assert_is(pack: &Pack, model: &[Vec<u8>]) {
    assert_eq!(pack.len(), model.len());
    assert!(pack.iter().eq(model.iter().map(Vec::as_slice)), "{model:?}");
    assert!(pack.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
    assert_eq!(pack.get(model.len()), None);
    assert_eq!(pack.used_bytes(), size(model));
    assert!(pack.is_empty() || pack.heap_bytes() >= pack.used_bytes());
    assert_eq!(pack.heap_bytes(), allocated(pack.heap_bytes()));
}

proptest! {
    /// Compares a pack with a vector. Clones taken on the way must not change.
    #[test]
    fn a_pack_is_a_vector_of_byte_strings(steps in proptest::collection::vec(step(), 1..80), max in 200usize..PACK_BYTES_MAX) {
        let (mut pack, mut model) = (Pack::default(), Vec::<Vec<u8>>::new());
        let mut shared: Vec<(Pack, Vec<Vec<u8>>)> = Vec::new();
        for step in steps {
            let before = model.clone();
            let done = match step {
                Step::Insert(at, entry, cut) => {
                    let (a, b) = entry.split_at(cut.min(entry.len()));
                    let done = pack.insert(at, &[a, b], max);
                    model.insert(at.min(model.len()), entry);
                    done
                }
                Step::Replace(at, entry, cut) if at < model.len() => {
                    let (a, b) = entry.split_at(cut.min(entry.len()));
                    let done = pack.replace(at, &[a, b], max);
                    model[at] = entry;
                    done
                }
                Step::Replace(..) => true,
                Step::Remove(at, count) => {
                    pack.remove(at, at + count);
                    let to = (at + count).min(model.len());
                    model.drain(at.min(to)..to);
                    true
                }
                Step::Share => {
                    shared.push((pack.clone(), model.clone()));
                    true
                }
            };
            prop_assert_eq!(done, size(&model) <= max);
            if !done {
                model = before;
            }
            assert_is(&pack, &model);
            let rebuilt = Pack::from_entries(model.iter().map(Vec::as_slice), max).unwrap();
            prop_assert!(pack.equals(&rebuilt));
        }
        shared.iter().for_each(|(pack, model)| assert_is(pack, model));
    }

    #[test]
    fn a_builder_sorts_and_keeps_the_last_of_equals(entries in proptest::collection::vec("[ab]{0,3}[0-9]", 0..60)) {
        let mut builder = PackBuilder::default();
        let mut model = std::collections::BTreeMap::new();
        for entry in &entries {
            prop_assert!(builder.push(&[entry.as_bytes()], PACK_BYTES_MAX));
            model.insert(entry[..entry.len() - 1].to_string(), entry.clone());
        }
        // The last character, a digit, is no part of the name.
        builder.sort_names(|entry| &entry[..entry.len() - 1]);
        prop_assert!(builder.take().iter().eq(model.values().map(|entry| entry.as_bytes())));
        prop_assert!(builder.is_empty());
    }
}

#[test]
fn a_search_tells_where_to_stand() {
    let pack = Pack::from_entries([&b"b"[..], b"d", b"f"].into_iter(), PACK_BYTES_MAX).unwrap();
    let places: Vec<_> =
        ["a", "b", "c", "f", "g"].iter().map(|word| pack.search(|entry| entry.cmp(word.as_bytes()))).collect();
    assert_eq!(places, [Err(0), Ok(0), Err(1), Ok(2), Err(3)]);
    assert_eq!(Pack::default().search(|_| Ordering::Equal), Err(0));
}

#[test]
fn an_allocation_has_one_of_four_sizes_to_a_doubling() {
    let sizes = [1, 16, 17, 128, 129, 160, 161, 256, 257, 320, 321, 1025, 4096];
    assert_eq!(sizes.map(allocated), [16, 16, 32, 128, 160, 160, 192, 256, 320, 320, 384, 1280, 4096]);
}

#[test]
fn a_pack_that_shrinks_gives_memory_back() {
    let mut pack = Pack::default();
    while pack.insert(0, &[&[b'x'; 20]], PACK_BYTES_MAX) {}
    assert!(pack.heap_bytes() > 3800);
    pack.remove(3, usize::MAX);
    assert!(pack.heap_bytes() < 100, "{}", pack.heap_bytes());
    pack.remove(0, 3);
    assert_eq!((pack.heap_bytes(), pack.len()), (0, 0));
}

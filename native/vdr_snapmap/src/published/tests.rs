//! Tests on real threads; `readers` has the loom models.

use super::*;
use crate::testing::Counted;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering as Atomic};
use std::sync::mpsc::channel;
use std::thread;

fn counted(value: u32, living: &Arc<AtomicIsize>) -> Option<Arc<Counted>> {
    Some(Arc::new(Counted::new(value, living)))
}

fn alive(living: &Arc<AtomicIsize>) -> isize {
    living.load(Atomic::SeqCst)
}

/// The value, as soon as no reader uses it. All threads of the process have slots: one of another
/// test may be pinned just now, too.
fn given_back<T>(mut old: Replaced<T>) -> Option<Arc<T>> {
    for _ in 0..10_000_000 {
        match old.try_into_arc() {
            Ok(value) => return Some(value),
            Err(still_read) => old = still_read,
        }
        thread::yield_now();
    }
    // Its drop would wait.
    std::mem::forget(old);
    None
}

#[test]
fn a_replaced_value_is_given_back_when_the_readers_of_its_time_are_done() {
    let living = Arc::default();
    let published = Arc::new(Published::default());
    assert!(published.load().get().is_none() && published.load_full().is_none());
    assert!(published.swap(counted(1, &living)).is_none());
    let (pinned, is_pinned) = channel();
    let (unpin, may_unpin) = channel::<()>();
    let reader = thread::spawn({
        let published = published.clone();
        move || {
            let loaded = published.load();
            pinned.send(loaded.get().unwrap().value).unwrap();
            may_unpin.recv().unwrap();
            assert_eq!(loaded.get().unwrap().value, 1);
        }
    });
    assert_eq!(is_pinned.recv(), Ok(1));
    let old = published.swap(counted(2, &living)).unwrap();
    assert_eq!((old.deref().value, published.load().get().unwrap().value), (1, 2));
    let old = old.try_into_arc().unwrap_err();
    // A reader that comes later delays nothing.
    let later = published.load();
    unpin.send(()).unwrap();
    reader.join().unwrap();
    let old = given_back(old).unwrap();
    drop(later);
    assert_eq!((Arc::strong_count(&old), alive(&living)), (1, 2));
    drop((old, published));
    assert_eq!(alive(&living), 0);
}

#[test]
fn a_value_that_is_kept_outlives_its_replacement() {
    let living = Arc::default();
    let published = Published::default();
    assert!(published.swap(counted(1, &living)).is_none());
    let kept = published.load_full().unwrap();
    drop(published.swap(None));
    assert_eq!((kept.value, Arc::strong_count(&kept), alive(&living)), (1, 1, 1));
    assert!(Replaced::unread(kept).try_into_arc().is_ok());
    assert_eq!(alive(&living), 0);
}

#[test]
fn pins_of_a_thread_nest_in_any_order() {
    let living = Arc::default();
    let published = Published::default();
    assert!(published.swap(counted(1, &living)).is_none());
    let (first, second) = (published.load(), published.load());
    drop(first);
    let old = published.swap(None).unwrap();
    let old = thread::scope(|scope| scope.spawn(|| old.try_into_arc().unwrap_err()).join().unwrap());
    assert_eq!(second.get().unwrap().value, 1);
    drop(second);
    assert_eq!(given_back(old).unwrap().value, 1);
}

#[test]
fn a_thread_that_would_wait_for_itself_leaks_instead() {
    let living = Arc::default();
    let published = Published::default();
    assert!(published.swap(counted(1, &living)).is_none());
    let loaded = published.load();
    drop(published.swap(None));
    assert_eq!((loaded.get().unwrap().value, alive(&living)), (1, 1));
    // Otherwise Miri and the address sanitizer would report the leak.
    let value: *const Counted = loaded.get().unwrap();
    drop(loaded);
    // SAFETY: the leaked reference count, and nobody reads any more.
    drop(unsafe { Arc::from_raw(value) });
    assert_eq!(alive(&living), 0);
}

#[test]
fn the_slot_of_a_thread_that_has_ended_is_used_again() {
    let published = Published::<u32>::default();
    let read = || assert!(published.load().get().is_none());
    // Tests that run beside this one take slots too: far fewer than the threads here.
    let before = readers::count_slots();
    for _ in 0..100 {
        thread::scope(|scope| drop(scope.spawn(read).join()));
    }
    assert!(readers::count_slots() < before + 50);
}

/// Readers check that each value is intact, and hold some; a writer replaces them, and frees what
/// it may.
#[test]
fn readers_on_other_threads_find_living_values() {
    let rounds: u32 = if cfg!(miri) { 100 } else { 50_000 };
    let living = Arc::default();
    let published = Arc::new(Published::default());
    assert!(published.swap(Some(Arc::new((0, Counted::new(0, &living))))).is_none());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (published, done) = (&published, &done);
            scope.spawn(move || {
                let (mut last, mut held) = (0, Vec::new());
                while !done.load(Atomic::Relaxed) {
                    let loaded = published.load();
                    let (number, value) = loaded.get().unwrap();
                    assert!(*number >= last && value.value == *number);
                    last = *number;
                    drop(loaded);
                    if reader == 0 {
                        held.extend(published.load_full());
                        held.truncate(3);
                    }
                }
                assert!(held.iter().all(|value| value.0 == value.1.value));
            });
        }
        let mut replaced = Vec::new();
        for round in 1..=rounds {
            replaced.extend(published.swap(Some(Arc::new((round, Counted::new(round, &living))))));
            replaced = replaced.into_iter().filter_map(|old: Replaced<_>| old.try_into_arc().err()).collect();
        }
        done.store(true, Atomic::Relaxed);
    });
    drop(published);
    assert_eq!(alive(&living), 0);
}

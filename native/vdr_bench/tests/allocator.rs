//! The settings of the library's allocator are in force, and they hold with as many threads as a
//! large machine has.

#![cfg(test)]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use tikv_jemalloc_ctl::{epoch, opt, stats};

#[path = "../../vdr_nif/src/allocator.rs"]
mod allocator;

/// A VM with 64 schedulers has as many dirty ones, and some threads besides.
const THREADS: usize = 130;
const SIZES: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048];
/// Measured: 0.33 MB for each thread, and 2.1 MB with caches that hold four slabs of each size.
const BYTES_PER_THREAD_MAX: usize = 700_000;

fn active() -> usize {
    epoch::advance().unwrap();
    stats::active::read().unwrap()
}

#[test]
fn the_settings_are_those_of_the_library() {
    assert_eq!(opt::narenas::read().unwrap(), 4);
    assert!(opt::background_thread::read().unwrap());
}

#[test]
fn threads_that_read_a_little_keep_little() {
    let before = active();
    let (read, measured) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for size in SIZES {
                    black_box(Vec::<u8>::with_capacity(black_box(size)));
                }
                read.wait();
                measured.wait();
            });
        }
        read.wait();
        let grown = active().saturating_sub(before);
        println!("{} KB for each thread", grown / THREADS / 1000);
        measured.wait();
        assert!(grown / THREADS < BYTES_PER_THREAD_MAX, "{grown} bytes for {THREADS} threads");
    });
    allocator::give_back();
}

//! Shared by the tests of both structures: values that count themselves, and random programs over
//! versions.

pub mod host;

use crate::map::DropCost;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

/// A value that counts itself as living until it is dropped.
pub struct Counted {
    pub value: u32,
    living: Arc<AtomicIsize>,
}

impl Counted {
    pub fn new(value: u32, living: &Arc<AtomicIsize>) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Counted { value, living: living.clone() }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Counted::new(self.value, &self.living)
    }
}

impl DropCost for Counted {
    fn drop_cost(&self) -> usize {
        1
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.value)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    Insert(u16, u32),
    Change(u16, u32),
    Remove(u16),
    RemoveMany(u16),
    Get(u16),
    /// Clone the living version at this index.
    Clone(usize),
    /// Continue with the version at this index.
    Select(usize),
    Drop(usize),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u16..400;
    let step = prop_oneof![
        8 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
        4 => key.clone().prop_map(Step::Remove),
        1 => key.clone().prop_map(Step::RemoveMany),
        1 => key.prop_map(Step::Get),
        2 => any::<usize>().prop_map(Step::Clone),
        1 => any::<usize>().prop_map(Step::Select),
        2 => any::<usize>().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..if cfg!(miri) { 80 } else { 400 })
}

/// The most entries that a structure has before a program begins.
pub const START: u16 = if cfg!(miri) { 100 } else { 400 };

pub fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 400 })
}

/// A small generator for tests that must be the same on every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

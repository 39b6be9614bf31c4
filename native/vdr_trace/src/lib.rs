//! Hears the `tracing` events and spans of the library, and keeps them as lines in a bounded queue
//! for each instance, from which a process of the instance takes them.
//!
//! ```text
//! tracing::debug!(vdr = number, ..) -> Collector -> the instance's level -> its queue
//!                                                                            \-- wake -> process: take
//! ```
//!
//! An event names its instance by the field `vdr`, [`Instance::number`]. A span becomes a line when
//! it ends. The thread of an event formats one line and waits for nobody. An event of a level that
//! no instance wants costs a load and a comparison, and its fields are not evaluated.
//!
//! The modules stand in reading order, from the ground up.

#![forbid(unsafe_code)]

mod level;
mod text;
mod queue;
mod instances;
mod collector;

#[cfg(test)]
mod tests;

pub use collector::Collector;
pub use instances::{Instance, Instances};
pub use queue::{Entry, LINES_MAX, Line};
pub use text::LINE_BYTES_MAX;
pub use tracing::Level;
pub use tracing::level_filters::LevelFilter;

use std::sync::{Arc, LazyLock};

static INSTANCES: LazyLock<Arc<Instances>> = LazyLock::new(Arc::default);

/// The instances of the process. Their events are heard once [`install`] was called.
pub fn instances() -> &'static Arc<Instances> {
    &INSTANCES
}

/// Makes the collector of [`instances`] the process's own. It stays: further calls do nothing.
pub fn install() {
    let _installed_before = tracing::subscriber::set_global_default(Collector::new(INSTANCES.clone()));
}

//! Operations that several families share.

pub mod costs;
pub mod strings;
pub mod expiry;
pub mod databases;
pub mod zsets;
pub mod bounds;
pub mod glob;
pub mod geo_area;
pub mod hll_bytes;
pub mod sample;
pub mod partial_sort;
pub mod stream_ids;
pub mod stream_options;

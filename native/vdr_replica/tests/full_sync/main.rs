//! Snapshot files as a mirror and a handler take them.
//!
//! All of it is test code, and says so: then the lints hold functions that serve tests to the rules
//! of tests.

#![cfg(test)]

mod broken;
mod commands;
#[path = "../../../vdr_rdb/tests/rdb/files.rs"]
mod files;
#[expect(dead_code, reason = "the tests of vdr_rdb share it, and use more of it")]
#[path = "../../../vdr_rdb/tests/rdb/writer.rs"]
mod writer;

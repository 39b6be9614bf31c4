//! What the link does for sinks of all kinds.
//!
//! All of it is test code, and says so: then the lints hold functions that serve tests to the rules of tests.

#![cfg(test)]

mod a_sink_without_room;

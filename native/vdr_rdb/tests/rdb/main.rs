//! Snapshot files: what real servers wrote, what older ones wrote, and what nobody should send.
//!
//! All of it is test code, and says so: then the lints hold functions that serve tests to the rules of tests.

#![cfg(test)]

mod corpus;
mod digests;
mod encodings;
mod files;
mod hostile;
mod keyspaces;
mod support;
mod writer;

//! Snapshot files: what real servers wrote, what older ones wrote, and what nobody should send.
//!
//! All of it is marked as test code, so that the lints treat its helper functions as tests.

#![cfg(test)]

mod corpus;
mod digests;
mod encodings;
mod files;
mod hostile;
mod keyspaces;
mod support;
mod writer;

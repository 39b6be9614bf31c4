//! Tests of links with other sinks.
//!
//! All of it is marked as test code, so that the lints treat its helper functions as tests.

#![cfg(test)]

mod a_busy_sink;

//! Snapshot files: what real servers wrote, what older ones wrote, and what nobody should send.
//!
//! All of it is test code, and says so: then the lints hold functions that serve tests to the rules of tests.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod digests;
#[cfg(test)]
mod encodings;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keyspaces;
#[cfg(test)]
mod support;
#[cfg(test)]
mod writer;

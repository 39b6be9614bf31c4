//! Snapshot files: what real servers wrote, what older ones wrote, and what nobody should send.

mod corpus;
mod encodings;
mod hostile;
mod support;
mod writer;

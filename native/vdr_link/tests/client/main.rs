//! The connections for a user's commands, against a server that answers by a script.

#![cfg(test)]

mod fake_server;
mod pool;

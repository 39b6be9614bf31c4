//! The connections for a user's commands, against a server that answers by a script.

mod fake_server;
mod pool;

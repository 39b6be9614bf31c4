//! The Sentinel monitor with scripted Sentinels. Real ones are in the tests of the Elixir library.

#![cfg(test)]

mod failover;
mod fake;
mod look_up;
mod recorder;

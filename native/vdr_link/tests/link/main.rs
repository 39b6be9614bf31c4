//! Tests of complete links. A scripted primary does what healthy servers do not do on demand; the
//! other tests use the real servers of this machine.

#![cfg(test)]

mod certificates;
mod fake_primary;
mod full_sync;
mod mirrored;
mod opening;
mod real_servers;
mod silence;
mod stopping;
mod stream;
mod tape;
mod tls;
mod traced;
mod unix_sockets;

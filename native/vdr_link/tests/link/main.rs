//! Whole links: against a primary that plays a script for what healthy servers do not do on demand, and against the real
//! servers of this machine.

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod fake_primary;
#[cfg(test)]
mod full_sync;
#[cfg(test)]
mod mirrored;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod real_servers;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod tape;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod unix_sockets;

//! The owner of a monitor: it answers questions that only user code can answer, and is told the
//! results.

use super::config::SentinelConfig;
use super::failure::{Failure, NotFound};
use crate::address::Address;
use crate::client::Answers;

pub trait Owner: Answers {
    /// Whether the owner's link is streaming.
    fn is_streaming(&self) -> bool;

    /// The answer to a look-up.
    fn found(&self, found: Result<&Address, &NotFound>);

    /// The owner should leave its server: this is the primary now.
    fn switched(&self, primary: &Address);
}

/// The address of a server as this machine reaches it.
pub async fn reachable(owner: &dyn Owner, config: &SentinelConfig, named: Address) -> Result<Address, Failure> {
    let mapped = config.host_map.map(owner, named).await?;
    let SentinelConfig { server_host, server_port, .. } = config;
    Ok(Address::new(server_host.clone().unwrap_or(mapped.host), server_port.unwrap_or(mapped.port)))
}

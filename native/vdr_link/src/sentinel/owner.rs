//! The owner of a monitor: it answers questions that only user code can answer, and is told the
//! results.

use super::address::Address;
use super::config::{Access, HostMap, SentinelConfig};
use super::failure::{Failure, FailureKind, NotFound};
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;
use vdr_replica::handshake::{Credentials, Secret};

/// How long user code may take to answer. Other look-ups, and other links, do not wait for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the owner may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    SentinelPassword,
    ServerPassword,
    /// The host by which this machine reaches the host that a Sentinel names.
    Host(String),
}

pub trait Owner: Send + Sync + 'static {
    /// None: the user's function failed.
    fn ask(&self, question: Question) -> impl Future<Output = Option<Vec<u8>>> + Send;

    /// Whether the owner's link is streaming.
    fn is_streaming(&self) -> bool;

    /// The answer to a look-up.
    fn found(&self, found: Result<&Address, &NotFound>);

    /// The owner should leave its server: this is the primary now.
    fn switched(&self, primary: &Address);
}

async fn ask(owner: &impl Owner, question: Question) -> Option<Vec<u8>> {
    timeout(ANSWER_TIMEOUT, owner.ask(question)).await.ok()?
}

/// The credentials for a connection. An error means that the user's function for the password
/// failed.
pub async fn credentials(
    owner: &impl Owner,
    access: &Access,
    question: Question,
) -> Result<Option<Credentials>, Failure> {
    if !access.password {
        return Ok(None);
    }
    let failed = || Failure::new(FailureKind::Refused, "the function for the password failed or took too long");
    let password = ask(owner, question).await.ok_or_else(failed)?;
    Ok(Some(Credentials { username: access.username.clone(), password: Secret::new(password) }))
}

/// The address of a server as this machine reaches it.
pub async fn reachable(owner: &impl Owner, config: &SentinelConfig, named: Address) -> Result<Address, Failure> {
    let mapped = map_host(owner, config, named).await?;
    let SentinelConfig { server_host, server_port, .. } = config;
    Ok(Address::new(server_host.clone().unwrap_or(mapped.host), server_port.unwrap_or(mapped.port)))
}

pub async fn map_host(owner: &impl Owner, config: &SentinelConfig, named: Address) -> Result<Address, Failure> {
    let host = match &config.host_map {
        HostMap::Table(table) => table.get(&named.host).cloned().unwrap_or(named.host),
        HostMap::Ask => {
            let failed = || {
                let text = format!("the host map has no string for \"{}\"", named.host.escape_debug());
                Failure::new(FailureKind::BadHostMap, text)
            };
            let answer = ask(owner, Question::Host(named.host.clone())).await.ok_or_else(failed)?;
            String::from_utf8(answer).ok().filter(|host| !host.is_empty()).ok_or_else(failed)?
        }
    };
    Ok(Address::new(host, named.port))
}

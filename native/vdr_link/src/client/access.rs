//! How a client connects, and as whom. Passwords and hosts may be known to functions of the user
//! only; the owner of the client calls them.

use super::connection::ClientConfig;
use crate::address::Address;
use crate::runtime::BoxFuture;
use crate::tls::TlsConfig;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;
use vdr_replica::handshake::{Credentials, Secret};
use vdr_replica::resp::reply::ReplyLimits;

/// How long user code may take to answer. Other connections do not wait for it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct Access {
    pub tls: Option<TlsConfig>,
    /// For each step: connecting, the TLS handshake, AUTH, and the replies to one set of questions.
    pub timeout: Duration,
    pub username: Option<String>,
    /// Whether there is a password. The owner is asked for it at every connection.
    pub password: bool,
}

/// How hosts that servers name become hosts that this machine reaches.
#[derive(Clone, Debug)]
pub enum HostMap {
    /// Hosts that the table does not name stay as they are.
    Table(HashMap<String, String>),
    /// The owner is asked.
    Ask,
}

/// What the owner may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    SentinelPassword,
    ServerPassword,
    /// The host by which this machine reaches the host that a server names.
    Host(String),
}

/// Answers what only user code can answer.
pub trait Answers: Send + Sync + 'static {
    /// None: the user's function failed.
    fn ask(&self, question: Question) -> BoxFuture<'_, Option<Vec<u8>>>;
}

/// A function of the user's failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    Password,
    Host(String),
}

impl Access {
    pub fn client(&self, limits: ReplyLimits) -> ClientConfig {
        ClientConfig { tls: self.tls.clone(), timeout: self.timeout, limits }
    }

    /// The credentials for a connection.
    pub async fn credentials(
        &self,
        owner: &dyn Answers,
        question: Question,
    ) -> Result<Option<Credentials>, AccessError> {
        if !self.password {
            return Ok(None);
        }
        let password = ask(owner, question).await.ok_or(AccessError::Password)?;
        Ok(Some(Credentials { username: self.username.clone(), password: Secret::new(password) }))
    }
}

impl HostMap {
    /// The address of a server as this machine reaches it.
    pub async fn map(&self, owner: &dyn Answers, named: Address) -> Result<Address, AccessError> {
        let host = match self {
            HostMap::Table(table) => table.get(&named.host).cloned().unwrap_or(named.host),
            HostMap::Ask => {
                let answer = ask(owner, Question::Host(named.host.clone())).await;
                let host = answer.and_then(|answer| String::from_utf8(answer).ok()).filter(|host| !host.is_empty());
                host.ok_or(AccessError::Host(named.host))?
            }
        };
        Ok(Address::new(host, named.port))
    }
}

async fn ask(owner: &dyn Answers, question: Question) -> Option<Vec<u8>> {
    timeout(ANSWER_TIMEOUT, owner.ask(question)).await.ok()?
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::Password => f.write_str("the function for the password failed or took too long"),
            AccessError::Host(host) => write!(f, "the host map has no string for \"{}\"", host.escape_debug()),
        }
    }
}

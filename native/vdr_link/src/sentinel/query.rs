//! Asks one Sentinel about the group, with all questions in one write, so that the answers belong
//! together.

use super::config::{REPLY_LIMITS, SentinelConfig};
use super::failure::{Failure, FailureKind};
use super::owner::{Owner, reachable};
use crate::address::Address;
use crate::client::{Connection, Question};
use std::collections::HashMap;
use vdr_replica::handshake::Role;
use vdr_replica::resp::reply::Reply;

/// How many other Sentinels one answer may name.
const OTHERS_MAX: usize = 32;

/// What a Sentinel knows of the group. Addresses are mapped.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The address that was asked.
    pub sentinel: Address,
    /// The Sentinel's own id. Older ones do not have one.
    pub id: Option<String>,
    pub primary: Address,
    /// The config epoch of the primary: each failover has a higher one than those before. None: the
    /// Sentinel did not say, since its user may not run SENTINEL MASTER.
    pub epoch: Option<u64>,
    /// The other Sentinels, by address and id.
    pub others: Vec<(Address, Option<String>)>,
    /// The replicas in use, if one is wanted.
    pub replicas: Option<Result<Vec<Address>, Failure>>,
}

pub async fn ask(config: &SentinelConfig, owner: &dyn Owner, sentinel: &Address) -> Result<Answer, Failure> {
    let credentials = config.access.credentials(owner, Question::SentinelPassword).await?;
    let client = config.access.client(REPLY_LIMITS);
    let mut connection = Connection::open(&sentinel.endpoint(), &client, credentials.as_ref()).await?;
    let group = config.group.as_bytes();
    let mut questions: Vec<Vec<&[u8]>> = vec![
        vec![b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", group],
        vec![b"SENTINEL", b"MASTER", group],
        vec![b"SENTINEL", b"SENTINELS", group],
        vec![b"SENTINEL", b"MYID"],
    ];
    if config.role == Role::Replica {
        questions.push(vec![b"SENTINEL", b"REPLICAS", group]);
    }
    let replies = connection.commands(&questions).await?;
    drop(connection);
    let mut replies = replies.into_iter();
    let mut next = || replies.next().unwrap_or(Reply::Null);
    let primary = reachable(owner, config, primary(&next(), &config.group)?).await?;
    let epoch = fields(&next()).get("config-epoch").and_then(|epoch| epoch.parse().ok());
    let others = others(config, owner, &next()).await;
    let id = next().text().filter(|id| !id.is_empty()).map(str::to_owned);
    let replicas = match config.role {
        Role::Primary => None,
        Role::Replica => Some(replicas(config, owner, &next()).await),
    };
    Ok(Answer { sentinel: sentinel.clone(), id, primary, epoch, others, replicas })
}

fn primary(reply: &Reply, group: &str) -> Result<Address, Failure> {
    let unknown = || Failure::new(FailureKind::UnknownGroup, format!("does not know the group {group:?}"));
    match reply {
        Reply::Null => Err(unknown()),
        // Sentinels of Redis 2.8 answer like this.
        Reply::Error(text) if text.starts_with(b"IDONTKNOW") => Err(unknown()),
        Reply::Error(text) => Err(Failure::refused(text)),
        reply => match reply.array() {
            Some([host, port]) => Address::from_reply(host, port).ok_or_else(Failure::odd_answer),
            _ => Err(Failure::odd_answer()),
        },
    }
}

/// An older Sentinel, or a user without the right to ask, names no others.
async fn others(config: &SentinelConfig, owner: &dyn Owner, reply: &Reply) -> Vec<(Address, Option<String>)> {
    let mut others = Vec::new();
    for other in reply.array().unwrap_or_default().iter().take(OTHERS_MAX) {
        let fields = fields(other);
        if let Some(address) = address(&fields)
            && let Ok(address) = config.host_map.map(owner, address).await
        {
            others.push((address, fields.get("runid").filter(|id| !id.is_empty()).map(|id| (*id).to_owned())));
        }
    }
    others
}

async fn replicas(config: &SentinelConfig, owner: &dyn Owner, reply: &Reply) -> Result<Vec<Address>, Failure> {
    let listed = match reply {
        Reply::Error(text) => return Err(Failure::refused(text)),
        reply => reply.array().ok_or_else(Failure::odd_answer)?,
    };
    let mut usable = Vec::new();
    for replica in listed {
        let fields = fields(replica);
        if is_usable(&fields)
            && let Some(address) = address(&fields)
        {
            usable.push(reachable(owner, config, address).await?);
        }
    }
    if usable.is_empty() {
        let text = format!("none of its {} replicas is up and linked to its primary", listed.len());
        return Err(Failure::new(FailureKind::NoUsableReplica, text));
    }
    Ok(usable)
}

fn is_usable(fields: &HashMap<&str, &str>) -> bool {
    let is_down = |flags: &&str| flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
    fields.get("flags").is_some_and(|flags| !is_down(flags)) && fields.get("master-link-status") == Some(&"ok")
}

fn address(fields: &HashMap<&str, &str>) -> Option<Address> {
    Address::from_text(fields.get("ip")?, fields.get("port")?)
}

/// Names and values, which alternate in the reply. A reply of another shape has none.
fn fields(reply: &Reply) -> HashMap<&str, &str> {
    let elements = reply.array().unwrap_or_default();
    let pairs = elements.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] => Some((name.text()?, value.text()?)),
        _ => None,
    });
    pairs.collect()
}

//! Asks a server for its own role, on a connection beside the replication link.

use super::address::Address;
use super::config::SentinelConfig;
use super::owner::{Owner, Question, credentials};
use crate::client::Connection;
use vdr_replica::handshake::Role;

/// None: the server cannot be reached, or its user may not ask.
pub async fn role_of(config: &SentinelConfig, owner: &impl Owner, server: &Address) -> Option<Role> {
    let access = &config.server_access;
    let credentials = credentials(owner, access, Question::ServerPassword).await.ok()?;
    let mut connection = Connection::open(&server.endpoint(), &access.client(), credentials.as_ref()).await.ok()?;
    let reply = connection.command(&[b"ROLE"]).await.ok()?;
    match reply.array()?.first()?.bytes()? {
        b"master" => Some(Role::Primary),
        b"slave" => Some(Role::Replica),
        _ => None,
    }
}

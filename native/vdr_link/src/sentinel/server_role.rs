//! Asks a server for its own role, on a connection beside the replication link.

use super::config::{REPLY_LIMITS, SentinelConfig};
use super::owner::Owner;
use crate::address::Address;
use crate::client::{Connection, Question};
use vdr_replica::handshake::Role;

/// None: the server cannot be reached, or its user may not ask.
pub async fn role_of(config: &SentinelConfig, owner: &dyn Owner, server: &Address) -> Option<Role> {
    let access = &config.server_access;
    let credentials = access.credentials(owner, Question::ServerPassword).await.ok()?;
    let client = access.client(REPLY_LIMITS);
    let mut connection = Connection::open(&server.endpoint(), &client, credentials.as_ref()).await.ok()?;
    let reply = connection.command(&[b"ROLE"]).await.ok()?;
    Role::of_reply(&reply)
}

//! Finds the primary, from the server that the link follows, and opens a connection to it.

use super::access::{Access, AccessError, Answers, HostMap, Question};
use super::connection::{ClientError, Connection};
use super::replication::{Standing, standing};
use crate::address::Address;
use crate::endpoint::Endpoint;
use std::fmt;
use std::sync::Arc;
use vdr_replica::resp::reply::{Reply, ReplyLimits};

/// Replicas of replicas of replicas: how many are asked for their primary.
const HOPS_MAX: usize = 4;

/// The longest bulk string of a server has 512 MB by default; an array of them may have more.
pub const REPLY_BYTES_MAX: usize = 1 << 30;
/// A script of the server may nest its reply deeper than any command does.
pub const REPLY_DEPTH_MAX: usize = 64;
pub const REPLY_ELEMENTS_MAX: usize = 8 << 20;

const LIMITS: ReplyLimits =
    ReplyLimits { bytes_max: REPLY_BYTES_MAX, depth_max: REPLY_DEPTH_MAX, elements_max: REPLY_ELEMENTS_MAX };

/// A connection to the primary.
pub struct Opened {
    pub connection: Connection,
    /// The primary's replication id. None: the user may not ask for it or for offsets, so nobody
    /// knows when a write is visible.
    pub id: Option<Arc<str>>,
    /// The id before, and up to where the primary shares its history.
    pub former: Option<(Arc<str>, u64)>,
}

/// Why there is no connection.
#[derive(Debug)]
pub struct NotOpened {
    pub code: &'static str,
    pub detail: String,
    /// Only a person can change it.
    pub is_final: bool,
    /// The server's error, if it refuses the database.
    pub error: Option<Reply>,
}

/// Connects to the primary of `server`, which is `server` itself or upstream of it.
pub async fn open(
    access: &Access,
    host_map: &HostMap,
    owner: &dyn Answers,
    server: Endpoint,
    db: u32,
) -> Result<Opened, NotOpened> {
    let mut server = server;
    for _ in 0..HOPS_MAX {
        let credentials = access.credentials(owner, Question::ServerPassword).await?;
        let mut connection = Connection::open(&server, &access.client(LIMITS), credentials.as_ref()).await?;
        let questions: [&[&[u8]]; 2] = [&[b"INFO", b"replication"], &[b"ROLE"]];
        let replies = connection.commands(&questions).await?;
        let primary = match upstream(&replies)? {
            Ok((id, former)) => {
                select(&mut connection, db).await?;
                return Ok(Opened { connection, id, former });
            }
            Err(primary) => primary,
        };
        server = host_map.map(owner, primary).await?.endpoint();
    }
    Err(NotOpened::soon("no_primary", "the replicas name only replicas as their primary"))
}

type Identity = (Option<Arc<str>>, Option<(Arc<str>, u64)>);

/// What the server says: that it is the primary, or where its primary is.
fn upstream(replies: &[Reply]) -> Result<Result<Identity, Address>, NotOpened> {
    let needs_password = |reply: &Reply| matches!(reply, Reply::Error(text) if text.starts_with(b"NOAUTH"));
    if replies.iter().any(needs_password) {
        let required = NotOpened::soon("password_required", "the server asks for a password");
        return Err(NotOpened { is_final: true, ..required });
    }
    let nonsense = || NotOpened::soon("bad_reply", "the answer to ROLE or INFO makes no sense");
    let [info, role] = replies else { return Err(nonsense()) };
    match (standing(info).ok_or_else(nonsense)?, standing(role).ok_or_else(nonsense)?) {
        (Standing::Replica(first), Standing::Replica(second)) => upstream_of(second.or(first)),
        (Standing::Replica(primary), _) | (_, Standing::Replica(primary)) => upstream_of(primary),
        (Standing::Primary { id, former, .. }, Standing::Primary { .. }) => Ok(Ok((id, former))),
        (Standing::Refused, _) | (_, Standing::Refused) => Ok(Ok((None, None))),
    }
}

fn upstream_of(primary: Option<Address>) -> Result<Result<Identity, Address>, NotOpened> {
    primary.map(Err).ok_or_else(|| NotOpened::soon("no_primary", "a replica does not name its primary"))
}

async fn select(connection: &mut Connection, db: u32) -> Result<(), NotOpened> {
    if db == 0 {
        return Ok(());
    }
    match connection.command(&[b"SELECT", db.to_string().as_bytes()]).await? {
        error @ Reply::Error(_) => {
            let refused = NotOpened::soon("refused", format!("the server refuses database {db}"));
            Err(NotOpened { is_final: true, error: Some(error), ..refused })
        }
        _ => Ok(()),
    }
}

impl NotOpened {
    pub fn soon(code: &'static str, detail: impl fmt::Display) -> Self {
        NotOpened { code, detail: detail.to_string(), is_final: false, error: None }
    }
}

impl From<ClientError> for NotOpened {
    fn from(error: ClientError) -> Self {
        NotOpened { is_final: error.is_final(), ..NotOpened::soon(error.code(), &error) }
    }
}

impl From<AccessError> for NotOpened {
    fn from(error: AccessError) -> Self {
        let code = match error {
            AccessError::Password => "bad_password_function",
            AccessError::Host(_) => "bad_host_map",
        };
        NotOpened { is_final: true, ..NotOpened::soon(code, error) }
    }
}

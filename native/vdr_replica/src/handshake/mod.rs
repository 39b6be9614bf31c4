//! The handshake of a replication link, sans-IO: the primary's replies in, our commands out, until
//! the primary answers PSYNC.
//!
//! ```text
//! PING -> [AUTH] [ROLE] [INFO] [CONFIG GET]
//!      -> REPLCONF listening-port, [REPLCONF capa eof], REPLCONF capa psync2, REPLCONF version
//!      -> PSYNC
//!           +FULLRESYNC id offset | +CONTINUE [id]
//! ```
//!
//! An arrow is a round trip, for each of which a busy server takes its time. Questions are sent
//! together with what precedes them, and options are sent together, as the servers' own replicas do
//! it. Without AUTH, the questions go with PING.
//!
//! Each option has a command of its own: the options of one REPLCONF take effect from left to right
//! up to the first unknown one. A refused option does not end the handshake, as it does not for the
//! servers' own replicas; PSYNC decides. PSYNC is refused while replies are pending.
//!
//! The snapshot file or the stream, which follows the last reply, is not part of this module.

mod step;
mod info;
mod limit;
mod refusal;
mod role;

use info::Info;
pub use refusal::{Refusal, RefusalKind, Retry};
pub use role::{Role, RoleQuery};
pub use step::Step;

use bytes::{Buf, BytesMut};
use std::fmt;
use vdr_rdb::Server;

/// The longest reply line that is accepted. Real servers send error texts of some hundred bytes at
/// most.
pub const MAX_REPLY_BYTES: usize = 8 * 1024;

/// The port that is announced by default. It is no valid port, so that nobody connects to it.
///
/// Sentinel finds replicas in the primary's INFO and would then watch, reconfigure and promote
/// them. It drops entries whose port is above 65535; port 0, what a primary shows of a link that
/// announces nothing, becomes a replica that is forever down, and a real port somebody that
/// Sentinel talks to.
pub const HIDDEN_LISTENING_PORT: u32 = 70_000;

/// The version announced to everybody. Valkey 9 falls back to an old file format for links that
/// announce none, and that fallback fails for good once a hash has a field with an expiry. Valkey
/// 9.2 would write a newer format to who says so. Redis does not know the option and its refusal is
/// harmless.
const VERSION: &[u8] = b"9.1.0";

/// The most data, by the server's own account, that [`SyncBy::Auto`] takes by way of the server's
/// disk. Even a slow disk writes the file of it in a fraction of the server's default delay before
/// a diskless file, which is five seconds.
pub const DISK_BYTES_MAX: u64 = 64 << 20;

/// What KeyDB answers to `REPLCONF capa` when it is an active replica.
const ACTIVE_REPLICA: &[u8] = b"OK active-replica";

/// The first byte that a TLS server answers plain text with.
const TLS_ALERT: u8 = 0x15;

/// Bytes that must appear in no log, no `Debug` output and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into().into_boxed_slice())
    }

    /// The bytes themselves, for the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `text` contains the secret, in any case: servers quote names in their own.
    fn shows_in(&self, text: &[u8]) -> bool {
        !self.0.is_empty() && text.windows(self.0.len()).any(|window| window.eq_ignore_ascii_case(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The arguments of AUTH.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `None` is the default user, and the only form that servers before version 6 know.
    pub username: Option<String>,
    pub password: Secret,
}

/// Where the stream can be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub replication_id: String,
    /// The offset of the last byte of the last whole command applied, outside any transaction.
    pub offset: u64,
}

/// The way of the snapshot file of a full sync. A primary sends the file straight from its memory
/// to a link that announces that it can read one without a length. Before it begins, it waits for
/// others who want the file, too (`repl-diskless-sync-delay`). A link that does not announce it
/// gets the file by way of the primary's disk, at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncBy {
    /// By disk if the server says that its data is small and that its disk can be written to,
    /// otherwise by the socket.
    Auto,
    Disk,
    #[default]
    Socket,
}

/// The parameters of a handshake.
#[derive(Clone, Debug)]
pub struct Opening {
    pub credentials: Option<Credentials>,
    pub listening_port: u32,
    pub role: RoleQuery,
    /// Whether to ask for the server's version. INFO needs a permission that replication does not
    /// need; a server that refuses to answer is followed all the same.
    pub ask_version: bool,
    pub sync_by: SyncBy,
    /// The server's name for PSYNC, if it has another one. Services give it to those who may
    /// replicate, so it is a secret.
    pub psync_command: Option<Secret>,
    /// Whether to ask for the longest string. As with INFO, a refusal is no obstacle.
    pub ask_string_limit: bool,
    /// `None` asks for a full sync.
    pub position: Option<Position>,
}

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes, then call again.
    Send(Vec<u8>),
    /// Read more, then call again.
    Wait,
    /// A reply is consumed, and the next command is sent already: call again.
    Replied,
    /// The handshake is over: a snapshot file follows that holds everything up to `offset`.
    FullSync { replication_id: String, offset: u64 },
    /// The handshake is over: a snapshot file follows, and only the file says where its stream
    /// begins. A server that was configured to call PSYNC by another name answers it like SYNC.
    BareSync,
    /// The handshake is over: the stream resumes at our position, under an id that may be new.
    Continue { replication_id: String },
}

/// One handshake; see the module.
#[derive(Debug)]
pub struct Handshake {
    opening: Opening,
    step: Step,
    asked: bool,
    role: Option<Role>,
    info: Info,
    string_bytes_max: Option<u64>,
}

impl Handshake {
    pub fn new(opening: Opening) -> Self {
        Handshake { opening, step: Step::Ping, asked: false, role: None, info: Info::default(), string_bytes_max: None }
    }

    pub fn step(&self) -> Step {
        self.step
    }

    /// The role that the server reported, once it was asked.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// The server's name and version, once it was asked.
    pub fn server(&self) -> Option<&Server> {
        self.info.server.as_ref()
    }

    /// Whether a full sync is to come by way of the server's disk.
    pub fn is_by_disk(&self) -> bool {
        match self.opening.sync_by {
            SyncBy::Disk => true,
            SyncBy::Socket => false,
            SyncBy::Auto => {
                let is_small = self.info.dataset_bytes.is_some_and(|bytes| bytes <= DISK_BYTES_MAX);
                is_small && !self.info.last_save_failed
            }
        }
    }

    fn asks_info(&self) -> bool {
        self.opening.ask_version || self.opening.sync_by == SyncBy::Auto
    }

    /// The longest string of the server, once it was asked and has answered.
    pub fn string_bytes_max(&self) -> Option<u64> {
        self.string_bytes_max
    }

    /// Consumes replies at the front of `input`. After the last reply, the rest of the input
    /// belongs to the file or the stream.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<Action, Refusal> {
        if !self.asked {
            self.asked = true;
            return Ok(Action::Send(self.batch()));
        }
        if self.step == Step::Role {
            return self.role_reply(input);
        }
        if self.step == Step::Info {
            return self.info_reply(input);
        }
        if self.step == Step::Psync && self.opening.psync_command.is_some() {
            skip_blank(input);
            if input.first() == Some(&b'$') {
                return Ok(Action::BareSync);
            }
        }
        if self.step == Step::StringLimit {
            return self.limit_reply(input);
        }
        match self.take_line(input)? {
            None => Ok(Action::Wait),
            Some(line) => self.reply(&line),
        }
    }

    fn request(&self, step: Step) -> Vec<u8> {
        match step {
            Step::Ping => command(&[b"PING"]),
            Step::Auth => match &self.opening.credentials {
                Some(Credentials { username: Some(user), password }) => {
                    command(&[b"AUTH", user.as_bytes(), &password.0])
                }
                Some(Credentials { username: None, password }) => command(&[b"AUTH", &password.0]),
                None => Vec::new(),
            },
            Step::Role => command(&[b"ROLE"]),
            // Servers before 7.0 take one section at most.
            Step::Info if self.opening.sync_by == SyncBy::Auto => command(&[b"INFO"]),
            Step::Info => command(&[b"INFO", b"server"]),
            Step::StringLimit => command(&[b"CONFIG", b"GET", limit::NAME]),
            Step::ListeningPort => {
                command(&[b"REPLCONF", b"listening-port", self.opening.listening_port.to_string().as_bytes()])
            }
            Step::CapaEof => command(&[b"REPLCONF", b"capa", b"eof"]),
            Step::CapaPsync2 => command(&[b"REPLCONF", b"capa", b"psync2"]),
            Step::Version => command(&[b"REPLCONF", b"version", VERSION]),
            Step::Psync => self.psync(),
        }
    }

    fn psync(&self) -> Vec<u8> {
        let name = self.opening.psync_command.as_ref().map_or(&b"PSYNC"[..], Secret::expose);
        match &self.opening.position {
            // PSYNC takes the offset of the first byte missing, not of the last one received.
            Some(Position { replication_id, offset }) => {
                command(&[name, replication_id.as_bytes(), offset.saturating_add(1).to_string().as_bytes()])
            }
            None => command(&[name, b"?", b"-1"]),
        }
    }

    /// One reply line without its end. Bare newlines are keepalives and skipped.
    fn take_line(&self, input: &mut BytesMut) -> Result<Option<BytesMut>, Refusal> {
        skip_blank(input);
        // A server of another protocol is recognised by its first byte: it may never send a whole
        // line.
        match input.first() {
            None | Some(b'+' | b'-') => {}
            Some(&TLS_ALERT) if self.step == Step::Ping => return Err(self.refusal(RefusalKind::TlsRequired, input)),
            Some(_) if self.step == Step::Ping => return Err(self.refusal(RefusalKind::NotRedis, input)),
            Some(_) => return Err(self.refusal(RefusalKind::BadReply, input)),
        }
        match input.iter().take(MAX_REPLY_BYTES).position(|byte| *byte == b'\n') {
            Some(end) => {
                let mut line = input.split_to(end.saturating_add(1));
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.truncate(line.len().saturating_sub(1));
                }
                Ok(Some(line))
            }
            None if input.len() >= MAX_REPLY_BYTES => Err(self.refusal(RefusalKind::BadReply, input)),
            None => Ok(None),
        }
    }

    fn reply(&mut self, line: &[u8]) -> Result<Action, Refusal> {
        match line.split_first() {
            Some((b'+', text)) if self.step == Step::Psync => self.psync_accepted(text),
            Some((b'+', text)) if text.starts_with(ACTIVE_REPLICA) => {
                Err(self.refusal(RefusalKind::ActiveReplication, text))
            }
            Some((b'+', _)) => Ok(self.next()),
            Some((b'-', text)) => self.error(text),
            _ => Err(self.refusal(RefusalKind::BadReply, line)),
        }
    }

    fn error(&mut self, text: &[u8]) -> Result<Action, Refusal> {
        let kind = refusal::classify(self.step, text);
        let harmless = match self.step {
            // A user without permission to PING, or who is not authenticated yet, still got an
            // answer from a server.
            Step::Ping => match kind {
                RefusalKind::NoPermission => true,
                RefusalKind::PasswordRequired => self.opening.credentials.is_some(),
                _ => false,
            },
            Step::ListeningPort | Step::CapaEof | Step::CapaPsync2 | Step::Version => {
                !matches!(kind, RefusalKind::NoPermission | RefusalKind::PasswordRequired)
            }
            Step::Auth | Step::Role | Step::Info | Step::StringLimit | Step::Psync => false,
        };
        if harmless { Ok(self.next()) } else { Err(self.refusal(kind, text)) }
    }

    fn next(&mut self) -> Action {
        self.step = self.step_after(self.step);
        if self.step.waits() { Action::Send(self.batch()) } else { Action::Replied }
    }

    fn step_after(&self, step: Step) -> Step {
        match step {
            Step::Ping if self.opening.credentials.is_some() => Step::Auth,
            Step::Ping | Step::Auth if self.opening.role != RoleQuery::Skip => Step::Role,
            Step::Ping | Step::Auth | Step::Role if self.asks_info() => Step::Info,
            Step::Ping | Step::Auth | Step::Role | Step::Info if self.opening.ask_string_limit => Step::StringLimit,
            Step::Ping | Step::Auth | Step::Role | Step::Info | Step::StringLimit => Step::ListeningPort,
            Step::ListeningPort if !self.is_by_disk() => Step::CapaEof,
            Step::ListeningPort | Step::CapaEof => Step::CapaPsync2,
            Step::CapaPsync2 => Step::Version,
            Step::Version | Step::Psync => Step::Psync,
        }
    }

    /// The current step's request, and those that are sent with it.
    fn batch(&self) -> Vec<u8> {
        let (mut step, mut requests) = (self.step_after(self.step), self.request(self.step));
        while !step.waits() {
            requests.extend(self.request(step));
            step = self.step_after(step);
        }
        requests
    }

    /// Goes on if the server does not answer or the user may not ask. Another role than the
    /// expected one is refused.
    fn role_reply(&mut self, input: &mut BytesMut) -> Result<Action, Refusal> {
        skip_blank(input);
        let reply = role::parse(input).map_err(|()| self.refusal(RefusalKind::BadReply, input))?;
        let Some(reply) = reply else { return Ok(Action::Wait) };
        let answered = input.split_to(reply.len).first() == Some(&b'*');
        self.role = reply.role;
        match self.opening.role {
            RoleQuery::Expect(expected) if answered && reply.role != Some(expected) => {
                let is = reply.role.map_or("no server with data", Role::as_str);
                Err(self.refusal(RefusalKind::WrongRole, is.as_bytes()))
            }
            _ if reply.is_sentinel => Err(self.refusal(RefusalKind::SentinelPort, b"")),
            _ => Ok(self.next()),
        }
    }

    fn info_reply(&mut self, input: &mut BytesMut) -> Result<Action, Refusal> {
        skip_blank(input);
        let reply = info::parse(input).map_err(|()| self.refusal(RefusalKind::BadReply, input))?;
        let Some(reply) = reply else { return Ok(Action::Wait) };
        input.advance(reply.len);
        self.info = reply.info;
        if self.info.is_sentinel {
            return Err(self.refusal(RefusalKind::SentinelPort, b""));
        }
        Ok(self.next())
    }

    fn limit_reply(&mut self, input: &mut BytesMut) -> Result<Action, Refusal> {
        skip_blank(input);
        let reply = limit::parse(input).map_err(|()| self.refusal(RefusalKind::BadReply, input))?;
        let Some(reply) = reply else { return Ok(Action::Wait) };
        input.advance(reply.len);
        self.string_bytes_max = reply.string_bytes_max;
        Ok(self.next())
    }

    fn psync_accepted(&self, text: &[u8]) -> Result<Action, Refusal> {
        let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        let action = match (words.as_slice(), &self.opening.position) {
            ([b"FULLRESYNC", id, offset], _) => replication_id(id)
                .zip(offset_number(offset))
                .map(|(replication_id, offset)| Action::FullSync { replication_id, offset }),
            ([b"CONTINUE"], Some(position)) => {
                Some(Action::Continue { replication_id: position.replication_id.clone() })
            }
            ([b"CONTINUE", id], Some(_)) => {
                replication_id(id).map(|replication_id| Action::Continue { replication_id })
            }
            // A partial resync that we did not ask for: we have no data that it could continue.
            _ => None,
        };
        action.ok_or_else(|| self.refusal(RefusalKind::BadReply, text))
    }

    fn refusal(&self, kind: RefusalKind, text: &[u8]) -> Refusal {
        let password = self.opening.credentials.as_ref().map(|credentials| &credentials.password);
        let mut secrets = password.into_iter().chain(&self.opening.psync_command);
        // Servers quote the arguments of commands that they do not understand. So only the first
        // word of a reply to AUTH is shown, and no text that contains a secret.
        let text = if self.step == Step::Auth { refusal::error_code(text) } else { text };
        let text = if secrets.any(|secret| secret.shows_in(text)) { &[] } else { text };
        Refusal::new(kind, self.step.command(), text)
    }
}

/// Bare newlines are keepalives.
fn skip_blank(input: &mut BytesMut) {
    let blank = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    input.advance(blank);
}

/// A replication id: 40 hexadecimal digits.
fn replication_id(word: &[u8]) -> Option<String> {
    let valid = word.len() == 40 && word.iter().all(u8::is_ascii_hexdigit);
    valid.then(|| String::from_utf8_lossy(word).into_owned())
}

/// An offset as servers represent it: a signed 64-bit number that is never negative.
fn offset_number(word: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(word).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse::<i64>().ok().and_then(|offset| u64::try_from(offset).ok())
}

/// Encodes a command.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests;

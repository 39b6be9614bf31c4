//! One connection of a client: one command at a time, and every wait has a limit.

use crate::endpoint::Endpoint;
use crate::tls::TlsConfig;
use crate::transport::{self, ConnectError, ConnectLimits, wire_code};
use crate::wire::BoxedWire;
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use vdr_replica::handshake::{Credentials, Retry};
use vdr_replica::resp::encode;
use vdr_replica::resp::reply::{Reply, ReplyError, ReplyLimits, ReplyReader};

/// How many bytes one read may bring.
const READ_BYTES: usize = 4 << 10;

/// How to connect, and how long each step may take.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub tls: Option<TlsConfig>,
    /// For connecting, for the TLS handshake, and for each reply.
    pub timeout: Duration,
    pub limits: ReplyLimits,
}

/// Why a command has no reply.
#[derive(Debug)]
pub enum ClientError {
    Connect(ConnectError),
    Io(io::Error),
    Closed,
    Timeout(Duration),
    Reply(ReplyError),
    /// The server does not accept the username or password. Its words are dropped: they may quote
    /// them.
    BadCredentials,
}

pub struct Connection {
    wire: BoxedWire,
    input: BytesMut,
    reader: ReplyReader,
    timeout: Duration,
}

/// What a connection consists of, for those who send commands before earlier ones are answered.
pub struct Parts {
    pub wire: BoxedWire,
    /// What has arrived and is not read yet.
    pub input: BytesMut,
    pub reader: ReplyReader,
}

impl Connection {
    /// Connects and authenticates.
    pub async fn open(
        endpoint: &Endpoint,
        config: &ClientConfig,
        credentials: Option<&Credentials>,
    ) -> Result<Self, ClientError> {
        let limit = config.timeout;
        let limits = ConnectLimits { connect: limit, tls_handshake: limit, unacknowledged: limit };
        let (wire, _peer) =
            transport::connect(endpoint, config.tls.as_ref(), &limits).await.map_err(ClientError::Connect)?;
        let reader = ReplyReader::new(config.limits);
        let mut connection = Connection { wire, input: BytesMut::new(), reader, timeout: limit };
        if let Some(credentials) = credentials {
            connection.authenticate(credentials).await?;
        }
        Ok(connection)
    }

    pub fn into_parts(self) -> Parts {
        Parts { wire: self.wire, input: self.input, reader: self.reader }
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), ClientError> {
        let Credentials { username, password } = credentials;
        let username = username.as_deref().map(str::as_bytes);
        let words: Vec<&[u8]> = Some(&b"AUTH"[..]).into_iter().chain(username).chain([password.expose()]).collect();
        match self.command(&words).await {
            Ok(Reply::Error(_)) => Err(ClientError::BadCredentials),
            // What is no server may send back what it was sent.
            Err(ClientError::Reply(error)) => Err(ClientError::Reply(error.without_words())),
            other => other.map(drop),
        }
    }

    /// Sends a command and reads its reply. The time limit is for the whole reply, however slowly
    /// it comes.
    pub async fn command(&mut self, words: &[&[u8]]) -> Result<Reply, ClientError> {
        Ok(self.commands(&[words]).await?.pop().unwrap_or(Reply::Null))
    }

    /// Sends commands in one write and reads as many replies. The time limit is for all of them
    /// together.
    pub async fn commands(&mut self, commands: &[impl AsRef<[&[u8]]>]) -> Result<Vec<Reply>, ClientError> {
        let limit = self.timeout;
        let exchange = async {
            self.write(commands).await?;
            let mut replies = Vec::with_capacity(commands.len());
            for _ in commands {
                replies.push(self.next().await?);
            }
            Ok(replies)
        };
        timeout(limit, exchange).await.unwrap_or(Err(ClientError::Timeout(limit)))
    }

    /// Sends a command without reading its reply.
    pub async fn send(&mut self, words: &[&[u8]]) -> Result<(), ClientError> {
        let limit = self.timeout;
        timeout(limit, self.write(&[words])).await.unwrap_or(Err(ClientError::Timeout(limit)))
    }

    async fn write(&mut self, commands: &[impl AsRef<[&[u8]]>]) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| encode(words.as_ref(), &mut bytes));
        self.wire.write_all(&bytes).await.map_err(ClientError::Io)?;
        self.wire.flush().await.map_err(ClientError::Io)
    }

    /// The next reply, without a time limit. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.reader.read(&mut self.input).map_err(ClientError::Reply)? {
                return Ok(reply);
            }
            self.input.reserve(READ_BYTES);
            if self.wire.read_buf(&mut self.input).await.map_err(ClientError::Io)? == 0 {
                return Err(ClientError::Closed);
            }
        }
    }
}

impl ClientError {
    pub fn code(&self) -> &'static str {
        match self {
            ClientError::Connect(error) => error.code(),
            ClientError::Io(error) => wire_code(error.kind()),
            ClientError::Closed => "closed",
            ClientError::Timeout(_) => "handshake_timeout",
            ClientError::Reply(error) => error.code(),
            ClientError::BadCredentials => "wrong_password",
        }
    }

    /// Whether only a person can change it.
    pub fn is_final(&self) -> bool {
        match self {
            ClientError::Connect(error) => error.retry() != Retry::Soon,
            ClientError::BadCredentials => true,
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect(error) => {
                let detail = error.to_string();
                write!(f, "{} ({detail})", error.code())
            }
            ClientError::Io(error) => write!(f, "{} ({error})", wire_code(error.kind())),
            ClientError::Closed => f.write_str("closed the connection"),
            ClientError::Timeout(after) => write!(f, "no answer within {} ms", after.as_millis()),
            ClientError::Reply(error) => error.fmt(f),
            ClientError::BadCredentials => f.write_str("does not accept the username or password"),
        }
    }
}

//! Connecting to a server: name resolution, TCP or a Unix socket, and TLS. No other module knows
//! which kind of connection it uses.

use crate::deadline::{WAIT_MAX, after};
use crate::endpoint::Endpoint;
use crate::runtime::block;
use crate::tls::{TlsClient, TlsConfig, TlsError, TlsErrorKind, Verify};
use crate::wire::BoxedWire;
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use vdr_replica::handshake::Retry;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long each part of the question may take whether a server speaks TLS.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// The question asks for no server in particular; the name is compared with nothing.
const PROBE_NAME: &str = "localhost";

/// How long each part of connecting may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectLimits {
    /// For resolving the name and connecting, all addresses of the name together.
    pub connect: Duration,
    pub tls_handshake: Duration,
    /// How long the kernel keeps sent bytes that the peer does not acknowledge.
    pub unacknowledged: Duration,
}

/// Why connecting failed.
#[derive(Debug)]
pub enum ConnectError {
    /// The name has no address.
    Resolve(io::Error),
    Connect(io::Error),
    Timeout(Duration),
    /// The server accepted the connection and did not finish the TLS handshake in time.
    TlsTimeout(Duration),
    Tls(TlsError),
    /// Another error of the connection during the TLS handshake.
    Wire(io::Error),
}

/// Connects. The answer has the address that was reached, if the transport has one.
pub async fn connect(
    endpoint: &Endpoint,
    tls: Option<&TlsConfig>,
    limits: &ConnectLimits,
) -> Result<(BoxedWire, Option<SocketAddr>), ConnectError> {
    let tls = match tls {
        Some(tls) => Some(tls_client(tls, endpoint, limits.connect).await?),
        None => None,
    };
    let (wire, peer): (BoxedWire, _) = match endpoint {
        Endpoint::Tcp { host, port } => {
            let (stream, peer) = connect_tcp(host, *port, limits.connect).await?;
            tune(&stream, limits.unacknowledged).map_err(ConnectError::Connect)?;
            (Box::new(stream), Some(peer))
        }
        Endpoint::Unix { path } => (connect_unix(path, limits.connect).await?, None),
    };
    let Some(tls) = tls else { return Ok((wire, peer)) };
    match timeout(limits.tls_handshake, tls.wrap(wire)).await {
        Ok(wire) => Ok((wire.map_err(ConnectError::from_tls)?, peer)),
        Err(_) => Err(ConnectError::TlsTimeout(limits.tls_handshake)),
    }
}

/// Whether a server that said nothing to plain text speaks TLS. It is asked on a connection of its
/// own. Servers on OpenSSL close without a word when they are addressed in plain text.
pub async fn speaks_tls(endpoint: &Endpoint, limits: &ConnectLimits) -> bool {
    let tls = TlsConfig { verify: Verify::None, server_name: Some(PROBE_NAME.to_owned()), ..TlsConfig::default() };
    let limits = ConnectLimits {
        connect: limits.connect.min(PROBE_MAX),
        tls_handshake: limits.tls_handshake.min(PROBE_MAX),
        ..*limits
    };
    match connect(endpoint, Some(&tls), &limits).await {
        Ok(_) => true,
        // It answered in TLS that it does not want us, for lack of a certificate, say.
        Err(ConnectError::Tls(error)) => error.kind != TlsErrorKind::NotSpoken,
        Err(_) => false,
    }
}

/// Reads the certificates on a thread that may block.
async fn tls_client(tls: &TlsConfig, endpoint: &Endpoint, limit: Duration) -> Result<TlsClient, ConnectError> {
    let (tls, endpoint) = (tls.clone(), endpoint.clone());
    match timeout(limit, block(move || TlsClient::new(&tls, &endpoint))).await {
        Err(_) => Err(ConnectError::Timeout(limit)),
        Ok(Err(error)) => Err(ConnectError::Connect(error)),
        Ok(Ok(client)) => client.map_err(ConnectError::Tls),
    }
}

#[cfg(unix)]
async fn connect_unix(path: &Path, limit: Duration) -> Result<BoxedWire, ConnectError> {
    match timeout(limit, tokio::net::UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(ConnectError::Connect(error)),
        Err(_) => Err(ConnectError::Timeout(limit)),
    }
}

#[cfg(not(unix))]
async fn connect_unix(_path: &Path, _limit: Duration) -> Result<BoxedWire, ConnectError> {
    Err(ConnectError::Connect(io::ErrorKind::Unsupported.into()))
}

async fn connect_tcp(host: &str, port: u16, limit: Duration) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let deadline = after(Instant::now(), limit);
    let addresses = match timeout_at(deadline, resolve(host, port)).await {
        Err(_) => return Err(ConnectError::Timeout(limit)),
        Ok(addresses) => addresses.map_err(ConnectError::Resolve)?,
    };
    connect_any(addresses, deadline, limit).await
}

/// The addresses of a name, of IPv6 and IPv4.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    block(move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)).await?
}

/// Tries the addresses in turn. Each gets an even share of the remaining time, so that an address
/// that drops all packets does not hide the next.
async fn connect_any(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut last = ConnectError::Resolve(io::Error::new(io::ErrorKind::NotFound, "no address"));
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()).checked_div(left).unwrap_or_default();
        left = left.saturating_sub(1);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = ConnectError::Connect(error),
            Err(_) => last = ConnectError::Timeout(limit),
        }
    }
    Err(last)
}

/// Short writes go out at once, and the kernel notices a dead peer even while nothing is sent.
fn tune(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(unacknowledged.min(WAIT_MAX)))?;
    Ok(())
}

impl ConnectError {
    fn from_tls(error: io::Error) -> Self {
        match TlsError::of_io(&error) {
            Some(tls) => ConnectError::Tls(tls),
            None => ConnectError::Wire(error),
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            ConnectError::Resolve(_) => "host_not_found",
            ConnectError::Timeout(_) => "connect_timeout",
            ConnectError::TlsTimeout(_) => "handshake_timeout",
            ConnectError::Tls(error) => error.kind.code(),
            ConnectError::Wire(error) => wire_code(error.kind()),
            ConnectError::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::HostUnreachable => "host_unreachable",
                io::ErrorKind::NetworkUnreachable => "network_unreachable",
                io::ErrorKind::TimedOut => "connect_timeout",
                // Of a Unix socket's path.
                io::ErrorKind::NotFound => "socket_not_found",
                io::ErrorKind::PermissionDenied => "permission_denied",
                _ => "connect_failed",
            },
        }
    }

    pub fn retry(&self) -> Retry {
        match self {
            ConnectError::Tls(error) => error.kind.retry(),
            _ => Retry::Soon,
        }
    }
}

/// The code of a failed read or write.
pub fn wire_code(kind: io::ErrorKind) -> &'static str {
    match kind {
        // A transport with an end mark of its own reports a missing mark like this.
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "connection_reset"
        }
        io::ErrorKind::TimedOut => "connection_timed_out",
        _ => "io_error",
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Resolve(error) | ConnectError::Connect(error) | ConnectError::Wire(error) => error.fmt(f),
            ConnectError::Timeout(after) | ConnectError::TlsTimeout(after) => write!(f, "{} ms", after.as_millis()),
            ConnectError::Tls(error) => error.fmt(f),
        }
    }
}

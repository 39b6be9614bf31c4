//! The way to the primary. The one place that knows what kind of connection it is.

use crate::config::{Endpoint, LinkConfig};
use crate::end::Cause;
use crate::session::{WAIT_MAX, after};
use crate::tls::TlsClient;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes both ways, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub type BoxedWire = Box<dyn Wire>;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Connects, and says whom it reached, where that has an address.
pub async fn connect(config: &LinkConfig) -> Result<(BoxedWire, Option<SocketAddr>), Cause> {
    let tls = match &config.tls {
        Some(tls) => Some(TlsClient::prepare(config, tls).await?),
        None => None,
    };
    let (wire, peer): (BoxedWire, _) = match &config.endpoint {
        Endpoint::Tcp { host, port } => {
            let (stream, peer) = connect_tcp(host, *port, config.timeouts.connect).await?;
            tune(&stream, config).map_err(Cause::Connect)?;
            (Box::new(stream), Some(peer))
        }
        Endpoint::Unix { path } => (connect_unix(path, config.timeouts.connect).await?, None),
    };
    match tls {
        Some(tls) => Ok((tls.wrap(wire, config).await?, peer)),
        None => Ok((wire, peer)),
    }
}

#[cfg(unix)]
async fn connect_unix(path: &Path, limit: Duration) -> Result<BoxedWire, Cause> {
    match timeout(limit, tokio::net::UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(Cause::Connect(error)),
        Err(_) => Err(Cause::ConnectTimeout(limit)),
    }
}

#[cfg(not(unix))]
async fn connect_unix(_path: &Path, _limit: Duration) -> Result<BoxedWire, Cause> {
    Err(Cause::Connect(io::ErrorKind::Unsupported.into()))
}

/// Tries the addresses of a name in turn. Each gets an even share of the time that is left, so that one that swallows
/// everything does not hide the next.
async fn connect_tcp(host: &str, port: u16, limit: Duration) -> Result<(TcpStream, SocketAddr), Cause> {
    let deadline = after(Instant::now(), limit);
    let addresses: Vec<SocketAddr> = match timeout_at(deadline, lookup_host((host, port))).await {
        Err(_) => return Err(Cause::ConnectTimeout(limit)),
        Ok(Err(error)) => return Err(Cause::Resolve(error)),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut last = Cause::Resolve(io::Error::new(io::ErrorKind::NotFound, "no address"));
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()).checked_div(left).unwrap_or_default();
        left = left.saturating_sub(1);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = Cause::Connect(error),
            Err(_) => last = Cause::ConnectTimeout(limit),
        }
    }
    Err(last)
}

/// Acknowledgements go out at once, and the kernel notices a peer that is gone even where we wait for nothing.
fn tune(stream: &TcpStream, config: &LinkConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(config.timeouts.read.min(WAIT_MAX)))?;
    Ok(())
}

//! A byte stream in both directions, whatever carries it: TCP, a Unix socket, TLS over either.

use tokio::io::{AsyncRead, AsyncWrite};

pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

pub type BoxedWire = Box<dyn Wire>;

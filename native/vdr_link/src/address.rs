//! The address of a server or of a Sentinel.

use crate::endpoint::Endpoint;
use std::fmt;
use vdr_replica::resp::reply::Reply;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Address { host: host.into(), port }
    }

    /// The address in a reply. None: the host is empty, or the port is not one.
    pub fn from_reply(host: &Reply, port: &Reply) -> Option<Self> {
        Self::from_text(host.text()?, port.text()?)
    }

    pub fn from_text(host: &str, port: &str) -> Option<Self> {
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then(|| Address::new(host, port))
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::tcp(self.host.clone(), self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint().fmt(f)
    }
}

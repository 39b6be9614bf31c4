//! TLS in a library that was built without it.

use super::config::TlsConfig;
use super::error::{TlsError, TlsErrorKind};
use crate::endpoint::Endpoint;
use crate::wire::BoxedWire;
use std::convert::Infallible;
use std::io;

/// There is none.
pub struct TlsClient(Infallible);

impl TlsClient {
    pub fn new(_tls: &TlsConfig, _endpoint: &Endpoint) -> Result<Self, TlsError> {
        Err(TlsError::new(TlsErrorKind::NotBuilt, "built without the feature tls"))
    }

    #[expect(clippy::unused_async, reason = "the signature of the client that exists")]
    pub async fn wrap(self, _wire: BoxedWire) -> io::Result<BoxedWire> {
        match self.0 {}
    }
}

impl TlsError {
    /// No error of reading or writing is one of TLS.
    pub fn of_io(_error: &io::Error) -> Option<Self> {
        None
    }
}

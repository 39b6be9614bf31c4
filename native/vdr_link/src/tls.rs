//! TLS: options become a client, and the client wraps a wire in a wire.
//!
//! The certificate files and the system's roots are read anew for every connection: a renewed
//! certificate is in force with the next one. This module does not know what the connection
//! carries.
//!
//! Without the feature `tls` the options and the errors are the same, and each client is refused.

mod config;
mod error;

#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod rustls_error;
#[cfg(feature = "tls")]
mod verify;

#[cfg(not(feature = "tls"))]
mod not_built;

#[cfg(feature = "tls")]
pub use client::TlsClient;
pub use config::{Identity, Pem, Roots, TlsConfig, Verify, Versions};
pub use error::{TlsError, TlsErrorKind};
#[cfg(not(feature = "tls"))]
pub use not_built::TlsClient;

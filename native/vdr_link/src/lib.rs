//! Runs one link to a primary: connecting, the opening, a full or partial sync, the stream, until it ends for whatever
//! reason. Whether there is another link, and when, is decided elsewhere.
//!
//! ```text
//! transport -> handshake (vdr_replica) -> transfer (the file's framing) -> sink.rdb ... -> sink.stream ... -> LinkEnd
//!                                          \__ or straight to the stream after +CONTINUE
//! ```
//!
//! What the bytes mean is the [`Sink`]'s business; who wants to know how things stand is an [`Observer`].

#![forbid(unsafe_code)]

mod clock;
mod config;
mod end;
mod inbox;
mod mirror;
mod observer;
mod outbox;
mod runtime;
mod session;
mod sink;
mod tls;
mod transfer;
mod transport;

pub use clock::now_ms;
pub use config::{AckPolicy, Endpoint, LinkConfig, Timeouts};
pub use end::{Cause, LinkEnd};
pub use mirror::{Company, MirrorSink};
pub use observer::{LinkState, Observer};
pub use runtime::{LinkHandle, spawn};
pub use sink::{RdbStep, Sink, SinkError, StreamStep};
pub use tls::{Identity, Pem, Roots, TlsConfig, TlsError, TlsErrorKind, Verify, Versions};
pub use transfer::TransferError;
pub use vdr_replica::handshake::{
    Credentials, HIDDEN_LISTENING_PORT, Position, Refusal, RefusalKind, Retry, Role, RoleQuery, Secret,
};

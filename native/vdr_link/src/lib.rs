//! Runs one replication link: connecting, the handshake, a full or partial sync, the stream, until
//! it ends for whatever reason. Whether and when the next link starts is decided elsewhere.
//!
//! ```text
//! transport -> handshake (vdr_replica) -> transfer (the file's framing) -> sink.rdb ... -> sink.stream ... -> LinkEnd
//!                                          \__ directly to the stream after +CONTINUE
//! ```
//!
//! A [`Sink`] consumes the bytes; an [`Observer`] is called about the progress.
//!
//! The modules stand in reading order, from the ground up.

#![forbid(unsafe_code)]

mod deadline;
mod clock;
mod wire;
mod runtime;

mod endpoint;
mod address;
mod tls;
mod transport;

mod state;
mod sink;
mod transfer;
mod end;
mod observer;
mod config;
mod session;
mod link_thread;

mod mirror_sink;

mod client;
mod sentinel;

pub use address::Address;
pub use client::{
    Access, Answer, Answers, Busy, Call, Caller, ClientPool, HostMap, Kind, PoolConfig, PoolState, Question, Refused,
    Request, Stage, answer_at,
};
pub use clock::now_ms;
pub use config::{AckPolicy, LinkConfig, Timeouts};
pub use end::{Cause, LinkEnd};
pub use endpoint::Endpoint;
pub use link_thread::{LinkHandle, spawn};
pub use mirror_sink::{MirrorHooks, MirrorSink};
pub use observer::Observer;
pub use runtime::{BoxFuture, run_soon};
pub use sentinel::{NotFound, Owner, SentinelConfig, SentinelHandle, spawn_sentinel};
pub use sink::{RdbStep, Sink, SinkError, StreamStep};
pub use state::LinkState;
pub use tls::{Identity, Pem, Roots, TlsConfig, TlsError, TlsErrorKind, Verify, Versions};
pub use transfer::TransferError;
pub use transport::ConnectError;
pub use vdr_replica::handshake::{
    Credentials, HIDDEN_LISTENING_PORT, Position, Refusal, RefusalKind, Retry, Role, RoleQuery, Secret, SyncBy,
};

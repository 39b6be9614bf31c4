//! Terms of the BEAM to values of the core and back. No other module of this crate knows how values
//! look as terms.

mod primitive;

mod decode;
mod handler_config;
mod link_config;

mod errors;

mod batch;
mod encode;
mod link_message;
mod log_entry;
mod rdb;
#[cfg(feature = "lua")]
mod script;
mod sentinel;
mod client;
mod status;
mod watch_event;

pub use batch::{Commands, commands_message, link_lost, replication_start, streaming_start};
pub use client::{call_answer, call_kind, endpoint, pool_config};
#[cfg(feature = "lua")]
pub use decode::{ArgList, strings};
pub use decode::{args, commands, db, fits, manner, operation, place, plain_arg, watched};
pub use encode::{answer, change, ok_list, portion};
pub use errors::ERROR_CODES;
pub use handler_config::{initial, only};
pub use link_config::{FeedConfig, feed_config, link_config};
pub use link_message::{guard_given_up, link_end, link_state, notices, ready, unknown_command};
pub use log_entry::log_entries;
pub use primitive::{binary, items_of, word};
pub use rdb::{rdb_error, survey};
#[cfg(feature = "lua")]
pub use script::{script_answer, script_error};
pub use sentinel::{found, question, sentinel_config, switched};
pub use status::{handler_status, status};
pub use watch_event::event;

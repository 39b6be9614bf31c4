//! The terms of a Sentinel monitor: its configuration, and the messages to the link's process.
//! Elixir has checked the configuration: a term that does not decode is a bug.

use super::link_config::{Tls, tls};
use super::link_message::retry;
use super::primitive::word;
use rustler::{Encoder, Env, NifMap, NifResult, NifUnitEnum, Term};
use std::collections::HashMap;
use std::time::Duration;
use vdr_link::{Access, Address, HostMap, NotFound, Question, Role, SentinelConfig};

mod words {
    rustler::atoms! { found, not_found, switched, ask, host, sentinel_password, server_password }
}

#[derive(NifMap)]
#[rustler(decode)]
struct Config<'a> {
    sentinels: Vec<(String, u16)>,
    group: String,
    role: RoleTerm,
    access: AccessTerm<'a>,
    server_access: AccessTerm<'a>,
    /// nil: the link's process is asked.
    host_map: Option<HashMap<String, String>>,
    server_host: Option<String>,
    server_port: Option<u16>,
}

#[derive(NifMap)]
#[rustler(decode)]
pub(super) struct AccessTerm<'a> {
    tls: Option<Tls<'a>>,
    timeout_ms: u64,
    username: Option<String>,
    /// Whether there is one; the link's process is asked for it.
    password: bool,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum RoleTerm {
    Primary,
    Replica,
}

/// `instance` names the monitor's instance in events.
pub fn sentinel_config(term: Term<'_>, instance: u64) -> NifResult<SentinelConfig> {
    let config: Config<'_> = term.decode()?;
    Ok(SentinelConfig {
        instance,
        sentinels: config.sentinels.into_iter().map(|(host, port)| Address::new(host, port)).collect(),
        group: config.group,
        role: match config.role {
            RoleTerm::Primary => Role::Primary,
            RoleTerm::Replica => Role::Replica,
        },
        access: access(config.access),
        server_access: access(config.server_access),
        host_map: config.host_map.map_or(HostMap::Ask, HostMap::Table),
        server_host: config.server_host,
        server_port: config.server_port,
    })
}

pub(super) fn access(term: AccessTerm<'_>) -> Access {
    Access {
        tls: term.tls.map(tls),
        timeout: Duration::from_millis(term.timeout_ms),
        username: term.username,
        password: term.password,
    }
}

/// `{:found, {host, port}}` or `{:not_found, code, detail, :soon | :slowly}`.
pub fn found<'a>(env: Env<'a>, found: Result<&Address, &NotFound>) -> Term<'a> {
    match found {
        Ok(server) => (words::found(), address(env, server)).encode(env),
        Err(NotFound { code, detail, retry: again }) => {
            (words::not_found(), word(env, code), detail, retry(*again)).encode(env)
        }
    }
}

/// `{:switched, {host, port}}`.
pub fn switched<'a>(env: Env<'a>, primary: &Address) -> Term<'a> {
    (words::switched(), address(env, primary)).encode(env)
}

/// `{:ask, number, :sentinel_password | :server_password | {:host, host}}`.
pub fn question<'a>(env: Env<'a>, number: u64, question: &Question) -> Term<'a> {
    let question = match question {
        Question::SentinelPassword => words::sentinel_password().to_term(env),
        Question::ServerPassword => words::server_password().to_term(env),
        Question::Host(host) => (words::host(), host).encode(env),
    };
    (words::ask(), number, question).encode(env)
}

fn address<'a>(env: Env<'a>, address: &Address) -> Term<'a> {
    (&address.host, address.port).encode(env)
}

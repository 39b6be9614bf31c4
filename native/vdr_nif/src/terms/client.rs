//! The terms of commands of the user: how to connect, and what a call is answered.

use super::primitive::{binary, list, word};
use super::sentinel::{AccessTerm, access};
use rustler::types::atom;
use rustler::{Encoder, Env, NifMap, NifResult, NifUnitEnum, Term};
use std::collections::HashMap;
use std::time::Duration;
use vdr_link::{Answer, Endpoint, HostMap, Kind, PoolConfig, Stage};
use vdr_replica::resp::reply::Reply;

mod atoms {
    rustler::atoms! { sent, written, __struct__, __exception__, code, message, cause }
}

/// The name of the exception for an error of the server.
const SERVER_ERROR: &str = "Elixir.Veidrodelis.ServerError";

#[derive(NifMap)]
#[rustler(decode)]
struct Config<'a> {
    access: AccessTerm<'a>,
    /// nil: the link's process is asked.
    host_map: Option<HashMap<String, String>>,
    silence_ms: u64,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum KindTerm {
    Command,
    Pipeline,
    Transaction,
}

/// `instance` names the connections' instance in events.
pub fn pool_config(term: Term<'_>, instance: u64) -> NifResult<PoolConfig> {
    let config: Config<'_> = term.decode()?;
    Ok(PoolConfig {
        instance,
        access: access(config.access),
        host_map: config.host_map.map_or(HostMap::Ask, HostMap::Table),
        silence: Duration::from_millis(config.silence_ms),
    })
}

/// `{host, port}`, or `{path, 0}` for a Unix socket.
pub fn endpoint(term: Term<'_>) -> NifResult<Endpoint> {
    let (host, port): (String, u16) = term.decode()?;
    Ok(if port == 0 { Endpoint::Unix { path: host.into() } } else { Endpoint::tcp(host, port) })
}

pub fn call_kind(term: Term<'_>) -> NifResult<Kind> {
    Ok(match term.decode()? {
        KindTerm::Command => Kind::Command,
        KindTerm::Pipeline => Kind::Pipeline,
        KindTerm::Transaction => Kind::Transaction,
    })
}

/// `{:ok, reply}`, `:ok`, `{:error, server_error}` or `{:error, reason}`.
pub fn call_answer<'a>(env: Env<'a>, answer: &Answer) -> Term<'a> {
    match answer {
        Answer::Reply(error @ Reply::Error(_)) => env.error_tuple(reply(env, error)),
        Answer::Reply(value) => (atom::ok(), reply(env, value)).encode(env),
        Answer::Replies(replies) => (atom::ok(), list(env, replies.iter().map(|each| reply(env, each)))).encode(env),
        Answer::Refused { error, cause } => env.error_tuple(server_error(env, error, cause.as_ref())),
        Answer::Visible => atom::ok().to_term(env),
        Answer::Failed { stage, code } => {
            let code = word(env, code);
            match stage {
                Stage::Sent => env.error_tuple((atoms::sent(), code)),
                Stage::Written => env.error_tuple((atoms::written(), code)),
                Stage::Queued | Stage::Done | Stage::Cancelled => env.error_tuple(code),
            }
        }
    }
}

fn reply<'a>(env: Env<'a>, value: &Reply) -> Term<'a> {
    match value {
        Reply::Simple(bytes) | Reply::Bulk(bytes) => binary(env, bytes),
        Reply::Integer(number) => number.encode(env),
        Reply::Null => atom::nil().to_term(env),
        Reply::Array(elements) => list(env, elements.iter().map(|each| reply(env, each))),
        Reply::Error(_) => server_error(env, value, None),
    }
}

/// `%Veidrodelis.ServerError{}`: the code is the first word of the message.
fn server_error<'a>(env: Env<'a>, error: &Reply, cause: Option<&Reply>) -> Term<'a> {
    let message: &[u8] = if let Reply::Error(text) = error { text } else { b"" };
    let code = message.split(|byte| *byte == b' ').next().unwrap_or_default();
    let cause = cause.map_or_else(|| atom::nil().to_term(env), |cause| server_error(env, cause, None));
    let fields = [
        (atoms::__struct__(), word(env, SERVER_ERROR)),
        (atoms::__exception__(), atom::true_().to_term(env)),
        (atoms::code(), binary(env, code)),
        (atoms::message(), binary(env, message)),
        (atoms::cause(), cause),
    ];
    Term::map_from_pairs(env, &fields).unwrap_or_else(|_| atom::nil().to_term(env))
}

//! The configuration of a link, from `Vdr.Link`. Elixir has validated it, so a term that does not
//! decode is a bug.

use rustler::{Binary, NifMap, NifResult, NifUnitEnum, Term};
use std::time::Duration;
use vdr_link::{
    AckPolicy, Credentials, Endpoint, Identity, LinkConfig, Pem, Role, RoleQuery, Roots, Secret, SyncBy, TlsConfig,
    Verify, Versions,
};
use vdr_replica::mirror::OnUnknown;
use vdr_replica::resp::frame_bytes_max;

#[derive(NifMap)]
#[rustler(decode)]
struct Config<'a> {
    host: String,
    port: u16,
    /// Instead of host and port.
    socket: Option<String>,
    tls: Option<Tls<'a>>,
    username: Option<String>,
    password: Option<Binary<'a>>,
    role: RoleTerm,
    sync_by: SyncByTerm,
    psync_command: Option<Binary<'a>>,
    ack: AckTerm,
    announce_port: u32,
    connect_timeout_ms: u64,
    read_timeout_ms: u64,
    ack_interval_ms: u64,
    stop_on_unknown_command: bool,
    max_string_bytes: Option<u64>,
    keep_below: f64,
}

#[derive(NifMap)]
#[rustler(decode)]
pub(super) struct Tls<'a> {
    verify: VerifyTerm,
    cacertfile: Option<String>,
    cacerts: Option<Vec<Binary<'a>>>,
    certfile: Option<String>,
    keyfile: Option<String>,
    server_name: Option<String>,
    versions: VersionsTerm,
}

/// Whether to ask the server for its role, and the role that it must have.
#[derive(NifUnitEnum)]
#[rustler(decode)]
enum RoleTerm {
    Skip,
    Ask,
    Primary,
    Replica,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum SyncByTerm {
    Auto,
    Disk,
    Socket,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum AckTerm {
    Truthful,
    Lagging,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum VerifyTerm {
    Peer,
    Chain,
    None,
}

#[derive(NifUnitEnum)]
#[rustler(decode)]
enum VersionsTerm {
    All,
    Tls12,
    Tls13,
}

/// What a link tells the mirror or the handler that it feeds.
#[derive(Clone, Copy)]
pub struct FeedConfig {
    pub on_unknown: OnUnknown,
    /// `None` is the server's own limit.
    pub string_bytes_max: Option<u64>,
    /// See [`vdr_replica::mirror::Mirror::set_keep_below`].
    pub keep_below: f64,
}

pub fn feed_config(term: Term<'_>) -> NifResult<FeedConfig> {
    let config: Config<'_> = term.decode()?;
    let on_unknown = if config.stop_on_unknown_command { OnUnknown::Stop } else { OnUnknown::Continue };
    Ok(FeedConfig { on_unknown, string_bytes_max: config.max_string_bytes, keep_below: config.keep_below })
}

/// `instance` names the link's instance in events.
pub fn link_config(term: Term<'_>, instance: u64) -> NifResult<LinkConfig> {
    let config: Config<'_> = term.decode()?;
    let mut link = LinkConfig::new(match config.socket {
        Some(path) => Endpoint::Unix { path: path.into() },
        None => Endpoint::Tcp { host: config.host, port: config.port },
    });
    link.instance = instance;
    link.tls = config.tls.map(tls);
    link.credentials = config
        .password
        .map(|password| Credentials { username: config.username, password: Secret::new(password.as_slice()) });
    link.role = match config.role {
        RoleTerm::Skip => RoleQuery::Skip,
        RoleTerm::Ask => RoleQuery::Ask,
        RoleTerm::Primary => RoleQuery::Expect(Role::Primary),
        RoleTerm::Replica => RoleQuery::Expect(Role::Replica),
    };
    link.sync_by = match config.sync_by {
        SyncByTerm::Auto => SyncBy::Auto,
        SyncByTerm::Disk => SyncBy::Disk,
        SyncByTerm::Socket => SyncBy::Socket,
    };
    link.psync_command = config.psync_command.map(|name| Secret::new(name.as_slice()));
    link.ack = match config.ack {
        AckTerm::Truthful => AckPolicy::Truthful,
        AckTerm::Lagging => AckPolicy::Lagging,
    };
    link.listening_port = config.announce_port;
    link.timeouts.connect = Duration::from_millis(config.connect_timeout_ms);
    link.timeouts.read = Duration::from_millis(config.read_timeout_ms);
    link.ack_interval = Duration::from_millis(config.ack_interval_ms);
    if let Some(string_bytes_max) = config.max_string_bytes {
        link.command_bytes_max = frame_bytes_max(string_bytes_max);
    }
    Ok(link)
}

pub(super) fn tls(term: Tls<'_>) -> TlsConfig {
    let file = |path: String| Pem::File(path.into());
    TlsConfig {
        verify: match term.verify {
            VerifyTerm::Peer => Verify::Peer,
            VerifyTerm::Chain => Verify::Chain,
            VerifyTerm::None => Verify::None,
        },
        roots: match (term.cacerts, term.cacertfile) {
            (Some(der), _) => Roots::Der(der.iter().map(|der| der.to_vec()).collect()),
            (None, Some(path)) => Roots::Pem(file(path)),
            (None, None) => Roots::System,
        },
        identity: term
            .certfile
            .zip(term.keyfile)
            .map(|(certificates, key)| Identity { certificates: file(certificates), key: file(key) }),
        server_name: term.server_name,
        versions: match term.versions {
            VersionsTerm::All => Versions::All,
            VersionsTerm::Tls12 => Versions::Only12,
            VersionsTerm::Tls13 => Versions::Only13,
        },
    }
}

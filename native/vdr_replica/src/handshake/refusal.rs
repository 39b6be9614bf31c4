//! Error replies classified: a code for programs, the server's own words for people, and whether a
//! retry may help.

use super::step::Step;
use std::fmt;

/// Most characters of a server's text that are shown.
const MAX_TEXT_BYTES: usize = 160;

/// Whether, and how soon, to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It may pass: retry with the usual backoff.
    Soon,
    /// Only an operator can change it: retry rarely, and report why.
    Slowly,
    /// Do not retry.
    Never,
}

/// A refusal to open a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// The command that was refused.
    pub command: &'static str,
    /// The server's words, escaped, shortened, and free of secrets.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The peer speaks another protocol, such as HTTP or SSH.
    NotRedis,
    /// The peer speaks TLS, and we did not.
    TlsRequired,
    /// The reply does not fit the command.
    BadReply,
    WrongPassword,
    /// The server requires a password, and none is configured.
    PasswordRequired,
    /// A password is configured, and the server has none.
    NoPasswordSet,
    /// The user has no permission to run the command.
    NoPermission,
    ProtectedMode,
    /// PSYNC is unknown or disabled, as managed services do.
    PsyncForbidden,
    /// The command behind PSYNC's name takes other arguments: it is another command.
    NotPsync,
    /// The server has a replication protocol of its own.
    OtherReplication,
    /// The server is an active replica of KeyDB, whose stream wraps every write.
    ActiveReplication,
    /// The server is a Sentinel.
    SentinelPort,
    Loading,
    /// The server is a replica whose own link is down.
    NoMasterLink,
    MasterDown,
    /// A running script blocks the server.
    Busy,
    /// The server's last save failed, and it is configured to stop then.
    Misconf,
    SaveFailed,
    PendingOutput,
    TooManyClients,
    /// The server is a replica where a primary was expected, or the other way round.
    WrongRole,
    /// An error that we do not know.
    Other,
}

impl RefusalKind {
    pub fn code(self) -> &'static str {
        match self {
            RefusalKind::NotRedis => "not_redis",
            RefusalKind::TlsRequired => "tls_required",
            RefusalKind::BadReply => "bad_reply",
            RefusalKind::WrongPassword => "wrong_password",
            RefusalKind::PasswordRequired => "password_required",
            RefusalKind::NoPasswordSet => "no_password_set",
            RefusalKind::NoPermission => "no_permission",
            RefusalKind::ProtectedMode => "protected_mode",
            RefusalKind::PsyncForbidden => "psync_forbidden",
            RefusalKind::NotPsync => "not_psync",
            RefusalKind::OtherReplication => "other_replication",
            RefusalKind::ActiveReplication => "active_replication",
            RefusalKind::SentinelPort => "sentinel_port",
            RefusalKind::Loading => "loading",
            RefusalKind::NoMasterLink => "no_master_link",
            RefusalKind::MasterDown => "master_down",
            RefusalKind::Busy => "busy",
            RefusalKind::Misconf => "misconf",
            RefusalKind::SaveFailed => "bgsave_failed",
            RefusalKind::PendingOutput => "pending_output",
            RefusalKind::TooManyClients => "too_many_clients",
            RefusalKind::WrongRole => "wrong_role",
            RefusalKind::Other => "refused",
        }
    }

    pub fn retry(self) -> Retry {
        match self {
            RefusalKind::NotRedis
            | RefusalKind::TlsRequired
            | RefusalKind::BadReply
            | RefusalKind::WrongPassword
            | RefusalKind::PasswordRequired
            | RefusalKind::NoPasswordSet
            | RefusalKind::NoPermission
            | RefusalKind::ProtectedMode
            | RefusalKind::PsyncForbidden
            | RefusalKind::NotPsync
            | RefusalKind::OtherReplication
            | RefusalKind::ActiveReplication
            | RefusalKind::SentinelPort => Retry::Slowly,
            RefusalKind::Loading
            | RefusalKind::NoMasterLink
            | RefusalKind::MasterDown
            | RefusalKind::Busy
            | RefusalKind::Misconf
            | RefusalKind::SaveFailed
            | RefusalKind::PendingOutput
            | RefusalKind::TooManyClients
            | RefusalKind::WrongRole
            | RefusalKind::Other => Retry::Soon,
        }
    }
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, command: &'static str, text: &[u8]) -> Self {
        let text = first_line(text);
        // The server's words stand before this separator, ours after it.
        let text = find(text, b", with args beginning with").and_then(|at| text.get(..at)).unwrap_or(text);
        let text = text.get(..MAX_TEXT_BYTES).unwrap_or(text);
        Refusal { kind, command, text: escape(text) }
    }

    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    pub fn retry(&self) -> Retry {
        match self.kind {
            // Such as an old server without user names: a retry does not help.
            RefusalKind::Other if self.command == "AUTH" => Retry::Slowly,
            kind => kind.retry(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.text)
    }
}

impl std::error::Error for Refusal {}

/// Classifies an error reply to a step, given its text without the `-`.
pub(super) fn classify(step: Step, text: &[u8]) -> RefusalKind {
    match error_code(text) {
        b"NOAUTH" => RefusalKind::PasswordRequired,
        b"WRONGPASS" => RefusalKind::WrongPassword,
        b"NOPERM" => RefusalKind::NoPermission,
        b"DENIED" => RefusalKind::ProtectedMode,
        b"LOADING" => RefusalKind::Loading,
        b"NOMASTERLINK" => RefusalKind::NoMasterLink,
        b"MASTERDOWN" => RefusalKind::MasterDown,
        b"BUSY" => RefusalKind::Busy,
        b"MISCONF" => RefusalKind::Misconf,
        _ => classify_prose(step, text),
    }
}

/// Errors without a code of their own, among them those of older servers.
fn classify_prose(step: Step, text: &[u8]) -> RefusalKind {
    let text = text.to_ascii_lowercase();
    let says = |words: &str| find(&text, words.as_bytes()).is_some();
    if says("max number of clients") {
        RefusalKind::TooManyClients
    } else if says("operation not permitted") {
        RefusalKind::PasswordRequired
    } else if step == Step::Auth {
        if says("invalid password") || says("invalid username-password") {
            RefusalKind::WrongPassword
        } else if says("without any password configured") || says("no password is set") {
            RefusalKind::NoPasswordSet
        } else {
            RefusalKind::Other
        }
    } else if step == Step::Psync {
        classify_psync_prose(says)
    } else {
        RefusalKind::Other
    }
}

fn classify_psync_prose(says: impl Fn(&str) -> bool) -> RefusalKind {
    // The first three are Kvrocks' answers, the last begins every error of Tendis.
    const OTHER_REPLICATION: [&str; 4] =
        ["not an unsigned long long", "please use fullsync", "replication id of the last log", ",msg:"];
    const FORBIDDEN: [&str; 8] = [
        "unknown command",
        "unsupported",
        "not supported",
        "not allowed",
        "not available",
        "disabled",
        "forbidden",
        "restricted",
    ];
    if says("bgsave failed") || says("unable to perform background save") {
        RefusalKind::SaveFailed
    } else if says("pending output") {
        RefusalKind::PendingOutput
    } else if says("while not connected with my master") {
        RefusalKind::NoMasterLink
    } else if says("wrong number of arguments") {
        RefusalKind::NotPsync
    } else if OTHER_REPLICATION.into_iter().any(&says) {
        RefusalKind::OtherReplication
    } else if FORBIDDEN.into_iter().any(says) {
        RefusalKind::PsyncForbidden
    } else {
        RefusalKind::Other
    }
}

/// The word in capitals at the start of an error reply; empty if there is none.
pub(super) fn error_code(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_uppercase()).unwrap_or(text.len());
    let ends_as_word = matches!(text.get(end), None | Some(b' ' | b'\r' | b'\n'));
    text.get(..end).filter(|_| ends_as_word).unwrap_or_default()
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// Escapes control bytes but keeps quotes: servers put names between them.
fn escape(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\'' | b'"' => shown.push(char::from(*byte)),
            _ => shown.extend(byte.escape_ascii().map(char::from)),
        }
    }
    shown
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    text.windows(words.len()).position(|window| window == words)
}

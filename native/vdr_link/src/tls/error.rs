//! TLS errors: a code for programs, a detail for people, and whether another attempt makes sense.

use rustls::{AlertDescription, CertificateError, Error};
use std::fmt;
use vdr_replica::handshake::Retry;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    pub kind: TlsErrorKind,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsErrorKind {
    /// A file that cannot be read, a key of another certificate, an invalid name.
    BadConfig,
    NoSystemRoots,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    /// The server's chain does not lead to a trusted authority.
    UnknownCa,
    /// The certificate has another name.
    WrongName,
    /// Any other fault of the server's certificate.
    BadCertificate,
    /// The server requires a client certificate.
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    ClientCertificateRefused,
    /// Client and server have no TLS version in common.
    VersionRefused,
    /// The server does not speak TLS.
    NotSpoken,
    HandshakeFailed,
    /// Bytes that no correct peer sends, or that were damaged on their way.
    Protocol,
}

impl TlsErrorKind {
    pub fn code(self) -> &'static str {
        match self {
            TlsErrorKind::BadConfig => "tls_bad_config",
            TlsErrorKind::NoSystemRoots => "tls_no_system_roots",
            TlsErrorKind::CertificateExpired => "tls_certificate_expired",
            TlsErrorKind::CertificateNotYetValid => "tls_certificate_not_yet_valid",
            TlsErrorKind::CertificateRevoked => "tls_certificate_revoked",
            TlsErrorKind::UnknownCa => "tls_unknown_ca",
            TlsErrorKind::WrongName => "tls_wrong_name",
            TlsErrorKind::BadCertificate => "tls_bad_certificate",
            TlsErrorKind::ClientCertificateRequired => "tls_client_certificate_required",
            TlsErrorKind::ClientCertificateRefused => "tls_client_certificate_refused",
            TlsErrorKind::VersionRefused => "tls_version_refused",
            TlsErrorKind::NotSpoken => "tls_not_spoken",
            TlsErrorKind::HandshakeFailed => "tls_handshake_failed",
            TlsErrorKind::Protocol => "tls_protocol",
        }
    }

    /// Everything but damaged bytes needs a person to mend it.
    pub fn retry(self) -> Retry {
        if self == TlsErrorKind::Protocol { Retry::Soon } else { Retry::Slowly }
    }
}

impl TlsError {
    /// The TLS error inside an error of reading or writing, if there is one.
    pub fn of_io(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(TlsError::from)
    }

    pub(crate) fn new(kind: TlsErrorKind, detail: impl Into<String>) -> Self {
        TlsError { kind, detail: detail.into() }
    }

    /// `option` is the name of the option that users set.
    pub(super) fn config(option: &str, what: impl fmt::Display) -> Self {
        TlsError::new(TlsErrorKind::BadConfig, format!("{option}: {what}"))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<&Error> for TlsError {
    fn from(error: &Error) -> Self {
        let kind = match error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::NoCertificatesPresented | Error::UnsupportedNameType => TlsErrorKind::BadCertificate,
            Error::AlertReceived(alert) => alert_kind(*alert),
            Error::PeerIncompatible(rustls::PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
            | Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
                TlsErrorKind::VersionRefused
            }
            // The first bytes were not a TLS record.
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsErrorKind::NotSpoken,
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => TlsErrorKind::Protocol,
            _ => TlsErrorKind::HandshakeFailed,
        };
        TlsError::new(kind, error.to_string())
    }
}

fn certificate(error: &CertificateError) -> TlsErrorKind {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsErrorKind::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsErrorKind::CertificateNotYetValid
        }
        CertificateError::Revoked => TlsErrorKind::CertificateRevoked,
        CertificateError::UnknownIssuer => TlsErrorKind::UnknownCa,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsErrorKind::WrongName,
        _ => TlsErrorKind::BadCertificate,
    }
}

/// The alert by which the server closed the connection. What it says about certificates concerns
/// the client's.
fn alert_kind(alert: AlertDescription) -> TlsErrorKind {
    match alert {
        AlertDescription::CertificateRequired => TlsErrorKind::ClientCertificateRequired,
        AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => TlsErrorKind::ClientCertificateRefused,
        AlertDescription::ProtocolVersion => TlsErrorKind::VersionRefused,
        AlertDescription::BadRecordMac
        | AlertDescription::DecryptError
        | AlertDescription::DecodeError
        | AlertDescription::UnexpectedMessage
        | AlertDescription::RecordOverflow => TlsErrorKind::Protocol,
        _ => TlsErrorKind::HandshakeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_apart() {
        let rows = [
            (Error::InvalidCertificate(CertificateError::Expired), "tls_certificate_expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "tls_certificate_not_yet_valid"),
            (Error::InvalidCertificate(CertificateError::Revoked), "tls_certificate_revoked"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "tls_unknown_ca"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "tls_wrong_name"),
            (Error::InvalidCertificate(CertificateError::BadSignature), "tls_bad_certificate"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "tls_client_certificate_refused"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "tls_client_certificate_required"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "tls_version_refused"),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), "tls_handshake_failed"),
            (Error::DecryptError, "tls_protocol"),
        ];
        for (error, code) in rows {
            let found = TlsError::from(&error).kind;
            assert_eq!(found.code(), code, "{error}");
            assert_eq!(found.retry() == Retry::Soon, code == "tls_protocol", "{error}");
        }
    }
}

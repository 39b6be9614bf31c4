//! TLS errors: a code for programs, a detail for people, and whether another attempt makes sense.

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
    /// The library was built without the feature `tls`.
    NotBuilt,
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
            TlsErrorKind::NotBuilt => "tls_not_built",
        }
    }

    /// Everything but damaged bytes needs a person to mend it.
    pub fn retry(self) -> Retry {
        if self == TlsErrorKind::Protocol { Retry::Soon } else { Retry::Slowly }
    }
}

impl TlsError {
    pub(crate) fn new(kind: TlsErrorKind, detail: impl Into<String>) -> Self {
        TlsError { kind, detail: detail.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

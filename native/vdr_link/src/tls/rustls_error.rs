//! The errors of rustls as ours.

use super::error::{TlsError, TlsErrorKind};
use rustls::{AlertDescription, CertificateError, Error};
use std::io;

impl TlsError {
    /// The TLS error inside an error of reading or writing, if there is one.
    pub fn of_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(TlsError::from)
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
    use vdr_replica::handshake::Retry;

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

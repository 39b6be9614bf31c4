//! The client: rustls with `ring`.

use super::config::{Pem, Roots, TlsConfig, Verify, Versions};
use super::error::{TlsError, TlsErrorKind};
use super::verify::Lenient;
use crate::endpoint::Endpoint;
use crate::wire::{BoxedWire, Wire};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// The longest PEM that is read. The roots of all systems together are less than a megabyte.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// A TLS client for one endpoint.
pub struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Reads the files that the configuration names, which blocks. It runs before anything is
    /// connected: a mistake in the configuration is reported whatever the network is like.
    pub fn new(tls: &TlsConfig, endpoint: &Endpoint) -> Result<Self, TlsError> {
        let name = server_name(tls, endpoint)?;
        Ok(TlsClient { connector: TlsConnector::from(Arc::new(client_config(tls)?)), name })
    }

    /// The TLS handshake.
    pub async fn wrap(self, wire: BoxedWire) -> io::Result<BoxedWire> {
        self.connector.connect(self.name, wire).await.map(boxed)
    }
}

impl TlsError {
    /// `option` is the name of the option that users set.
    fn config(option: &str, what: impl fmt::Display) -> Self {
        TlsError::new(TlsErrorKind::BadConfig, format!("{option}: {what}"))
    }
}

fn boxed(stream: impl Wire + 'static) -> BoxedWire {
    Box::new(stream)
}

/// The name that the certificate must show, and that the client asks for.
fn server_name(tls: &TlsConfig, endpoint: &Endpoint) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.server_name, endpoint) {
        (Some(name), _) => name,
        (None, Endpoint::Tcp { host, .. }) => host,
        // A placeholder: it is compared with nothing, and addresses are not sent.
        (None, Endpoint::Unix { .. }) if tls.verify != Verify::Peer => {
            return Ok(ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
        (None, Endpoint::Unix { .. }) => {
            return Err(TlsError::config("server_name", "a Unix socket needs one, or :disable"));
        }
    };
    ServerName::try_from(name.clone())
        .map_err(|_| TlsError::config("server_name", format!("{name:?} is not a host name")))
}

fn client_config(tls: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(tls, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.versions))
        .map_err(|error| TlsError::config("versions", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(identity) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&identity.certificates, "certfile")?;
    let key = PrivateKeyDer::from_pem_slice(&read(&identity.key, "keyfile")?)
        .map_err(|error| TlsError::config("keyfile", no_pem(&error, "unencrypted private key")))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| TlsError::config("certfile and keyfile", error.to_string()))
}

fn verifier(tls: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if tls.verify == Verify::None {
        return Ok(Arc::new(Lenient::any_certificate(provider)));
    }
    let roots = roots(&tls.roots)?;
    if tls.verify == Verify::Chain {
        return Ok(Arc::new(Lenient::any_name(roots, provider)));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TlsError::config("cacertfile", error.to_string()))?;
    Ok(verifier)
}

fn roots(from: &Roots) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let (option, certificates) = match from {
        Roots::System => return system_roots(),
        Roots::Pem(pem) => ("cacertfile", certificates(pem, "cacertfile")?),
        Roots::Der(der) => ("cacerts", der.iter().map(|der| CertificateDer::from(der.clone())).collect()),
    };
    if certificates.is_empty() {
        return Err(TlsError::config(option, "no certificate"));
    }
    for certificate in certificates {
        store.add(certificate).map_err(|error| TlsError::config(option, error.to_string()))?;
    }
    Ok(store)
}

/// Certificates of the system that rustls does not accept are skipped, as long as there are others.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TlsError::new(TlsErrorKind::NoSystemRoots, why));
    }
    Ok(store)
}

fn certificates(pem: &Pem, option: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(pem, option)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::config(option, "no certificate in PEM form")),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::config(option, no_pem(&error, "certificate"))),
    }
}

fn read(pem: &Pem, option: &'static str) -> Result<Vec<u8>, TlsError> {
    let path = match pem {
        Pem::Bytes(bytes) => return Ok(bytes.clone()),
        Pem::File(path) => path,
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes));
    let read = read.and_then(|bytes| if bytes as u64 > PEM_BYTES_MAX { Err(too_long()) } else { Ok(()) });
    read.map_err(|error| TlsError::config(option, format!("{}: {error}", path.display())))?;
    Ok(bytes)
}

fn too_long() -> io::Error {
    io::Error::other(format!("longer than {PEM_BYTES_MAX} bytes"))
}

/// Describes what is missing and never shows the content, which may be a key.
fn no_pem(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("no {what} in PEM form"),
        _ => "damaged PEM".to_owned(),
    }
}

fn versions(versions: Versions) -> &'static [&'static SupportedProtocolVersion] {
    static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    static TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match versions {
        Versions::All => rustls::ALL_VERSIONS,
        Versions::Only12 => &TLS12,
        Versions::Only13 => &TLS13,
    }
}

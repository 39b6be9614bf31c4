//! TLS by rustls with `ring`: a user's wishes become a client, and the client a wire over a wire.
//!
//! The files and the system's roots are read anew for every link: a certificate that was renewed is in force with the next
//! one. This module knows certificates and nothing of what the connection carries.

mod config;
mod error;
mod verify;

pub use config::{Identity, Pem, Roots, TlsConfig, Verify, Versions};
pub use error::{TlsError, TlsErrorKind};

use crate::config::{Endpoint, LinkConfig};
use crate::end::Cause;
use crate::transport::{BoxedWire, Wire};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest PEM that is read. All roots of all the world's systems together are less than a megabyte.
const PEM_BYTES_MAX: u64 = 16 << 20;

/// What a connection needs to become a TLS one.
pub struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsClient {
    /// Reads what the configuration names, off the runtime's own threads. Nothing is connected yet: a mistake here is told
    /// whatever the network is like.
    pub async fn prepare(link: &LinkConfig, tls: &TlsConfig) -> Result<Self, Cause> {
        let name = server_name(tls, &link.endpoint)?;
        let tls = tls.clone();
        let limit = link.timeouts.connect;
        let config = match timeout(limit, spawn_blocking(move || client_config(&tls))).await {
            Err(_) => return Err(Cause::ConnectTimeout(limit)),
            Ok(Err(_)) => return Err(Cause::Panicked),
            Ok(Ok(config)) => config?,
        };
        Ok(TlsClient { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// The TLS handshake. Its time is the link's handshake time.
    pub async fn wrap(self, wire: BoxedWire, link: &LinkConfig) -> Result<BoxedWire, Cause> {
        let limit = link.timeouts.handshake;
        match timeout(limit, self.connector.connect(self.name, wire)).await {
            Err(_) => Err(Cause::HandshakeTimeout(limit)),
            Ok(Err(error)) => Err(Cause::from_io(error)),
            Ok(Ok(stream)) => Ok(boxed(stream)),
        }
    }
}

fn boxed(stream: impl Wire + 'static) -> BoxedWire {
    Box::new(stream)
}

/// Whose certificate it must be, and who is asked for.
fn server_name(tls: &TlsConfig, endpoint: &Endpoint) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.server_name, endpoint) {
        (Some(name), _) => name,
        (None, Endpoint::Tcp { host, .. }) => host,
        // Nobody compares it, and an address is not sent.
        (None, Endpoint::Unix { .. }) if tls.verify != Verify::Peer => {
            return Ok(ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        }
        (None, Endpoint::Unix { .. }) => return Err(TlsError::config("server_name", "a socket's path is none")),
    };
    ServerName::try_from(name.clone()).map_err(|_| TlsError::config("server_name", format!("{name:?} is none")))
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
        return Ok(Arc::new(verify::Anybody::new(provider)));
    }
    let roots = Arc::new(roots(&tls.roots)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| TlsError::config("cacertfile", error.to_string()))?;
    Ok(if tls.verify == Verify::Chain { Arc::new(verify::AnyName::new(verifier)) } else { verifier })
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

/// A certificate of the system's that rustls does not take is the system's affair, as long as others are there.
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

/// Says what is missing, and never shows what is there: it may be a key.
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

//! The options of TLS.

use std::fmt;
use std::path::PathBuf;

/// The default verifies the server's certificate against the system's roots, and its name against
/// the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    pub verify: Verify,
    pub roots: Roots,
    /// The client certificate, for servers that ask for one.
    pub identity: Option<Identity>,
    /// The name that the certificate must show, where that is not the host of the connection.
    pub server_name: Option<String>,
    pub versions: Versions,
}

/// How much of the server's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// The chain and the name.
    #[default]
    Peer,
    /// The chain, with any name.
    Chain,
    /// Nothing. The connection is only protected against passive eavesdroppers.
    None,
}

/// The certificate authorities that the client trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    #[default]
    System,
    Pem(Pem),
    /// One certificate per element.
    Der(Vec<Vec<u8>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The client's own certificate first, then its issuers up to the root.
    pub certificates: Pem,
    /// PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Pem,
}

/// Text in PEM form, or the path of a file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// The bytes may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::Bytes(_) => f.write_str("[pem]"),
            Pem::File(path) => path.fmt(f),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    All,
    Only12,
    Only13,
}

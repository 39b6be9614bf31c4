//! What users may wish of TLS.

use std::fmt;
use std::path::PathBuf;

/// The default verifies the primary's certificate against the system's roots, and that it is made out to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    pub verify: Verify,
    pub roots: Roots,
    /// Who we are, for primaries that ask.
    pub identity: Option<Identity>,
    /// Whose certificate it must be, where that is not the host that is connected to.
    pub server_name: Option<String>,
    pub versions: Versions,
}

/// How much of the primary's certificate is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// The whole chain, and the name.
    #[default]
    Peer,
    /// The chain; anybody's name will do.
    Chain,
    /// Nothing. The connection is secret towards those who only listen.
    None,
}

/// Whom we trust to say who somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    #[default]
    System,
    Pem(Pem),
    /// One certificate each.
    Der(Vec<Vec<u8>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Ours first, then those up to the root.
    pub certificates: Pem,
    /// PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Pem,
}

/// Text in PEM form, or where it is.
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

//! How to reach a KMIP server, and who does the uses.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::{Error, files};

/// Where the server is, and how this store shows who it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port, such as `kmip.example:5696`.
    pub address: String,
    /// The name that the server's certificate must be for.
    pub server_name: String,
    /// PEM: the authorities that the server's certificate is judged by. No others are trusted.
    pub authorities: PathBuf,
    /// PEM: this client's certificate, and what leads up to the authority that the server trusts.
    pub certificate: PathBuf,
    /// PEM: the private key of the certificate; mode 0600.
    pub key: PathBuf,
    /// User name and password, where the server wants them besides the certificate.
    pub login: Option<Login>,
    /// Who does the uses.
    pub mode: Mode,
    /// The server's access rules for new keys (Operation Policy Name; KMIP 1.4, section 3.18), where they are not its
    /// default: in placed mode, who besides the custodian may use them.
    pub operation_policy: Option<Name>,
    /// How long connecting, and every exchange after it, may take from beginning to end.
    pub patience: Duration,
}

/// A user name and where its password is.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// Where the password is.
    pub password: Password,
}

/// Where a password is; never the password itself.
#[derive(Clone, Debug)]
pub enum Password {
    /// In a file, mode 0600; a line end after it does not count.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
}

/// Who does the uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The custodian, alone: no application has an identity that the server lets at these keys.
    Mediated,
    /// Applications too: they talk to the server themselves, and only Activate, Revoke, Destroy and Modify are the
    /// custodian's alone.
    Placed,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mediated => "mediated",
            Self::Placed => "placed",
        })
    }
}

impl Settings {
    /// The TLS client: these authorities alone, this certificate; TLS 1.3, or 1.2 with the suites that ring has.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        let wrong = |path: &PathBuf| {
            let path = path.clone();
            move |error: rustls::pki_types::pem::Error| Error::tls(&path, format!("can't be read as PEM ({error})"))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.authorities).map_err(wrong(&self.authorities))? {
            let certificate = certificate.map_err(wrong(&self.authorities))?;
            roots.add(certificate).map_err(|error| Error::tls(&self.authorities, error))?;
        }
        if roots.is_empty() {
            return Err(Error::tls(&self.authorities, "has no certificate in it"));
        }
        let chain = CertificateDer::pem_file_iter(&self.certificate).map_err(wrong(&self.certificate))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong(&self.certificate))?;
        let pem = files::read_secret(&self.key, "put the client's private key there")?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Error::tls(&self.key, "has no private key in it"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::tls(&self.certificate, error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| Error::tls(&self.certificate, format!("does not go with its key ({error})")))?;
        Ok(Arc::new(config))
    }

    pub(crate) fn name(&self) -> Result<ServerName<'static>, Error> {
        let name = ServerName::try_from(self.server_name.clone());
        name.map_err(|_| Error::tls(&self.authorities, "can't vouch for a server name that is none"))
    }
}

impl Password {
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, Error> {
        const ADVICE: &str = "put the password there, in UTF-8";
        let wrong = |place: PathBuf, what: &str| Error::Damaged { path: place, what: what.to_owned(), advice: ADVICE };
        match self {
            Self::File(path) => {
                let bytes = files::read_secret(path, ADVICE)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| wrong(path.clone(), "is not UTF-8"))?;
                Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(text).to_owned()))
            }
            Self::Environment(name) => {
                let text = std::env::var(name).map_err(|_| wrong(format!("${name}").into(), "is not set"))?;
                Ok(Zeroizing::new(text))
            }
        }
    }
}

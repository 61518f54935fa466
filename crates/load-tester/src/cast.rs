//! Who takes part: read from a folder that whoever prepares a load test has written.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::command::KeyInHand;
use model::{Fingerprint, Name, TenantId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Error;

/// The file in a cast's folder that says who there is.
pub const FILE: &str = "load.json";

/// The tenants of one platform, and who acts in them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// The server.
    pub url: String,
    /// The platform's root.
    pub root: Fingerprint,
    /// The tenants.
    pub tenants: Vec<Tenant>,
}

/// One tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its id.
    pub tenant: TenantId,
    /// Its name.
    pub name: Name,
    /// Its users' credentials; a path relative to the file's folder.
    pub credentials: PathBuf,
    /// Who acts in it.
    pub principals: Vec<Principal>,
}

/// Somebody who signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The label.
    pub label: Name,
    /// What he or it does here.
    pub part: Part,
    /// The private key, a plain Ed25519 key of OpenSSH; a path relative to the file's folder.
    pub key: PathBuf,
}

/// What somebody does in a load test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Has keys made, and asks for their activation.
    Owner,
    /// Approves in the first stage.
    FirstApprover,
    /// Approves in the second stage.
    SecondApprover,
    /// Suspends and resumes.
    Operator,
    /// Uses keys.
    Workload,
}

impl Part {
    /// The part, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "an owner of keys",
            Self::FirstApprover => "a first approver",
            Self::SecondApprover => "a second approver",
            Self::Operator => "an operator",
            Self::Workload => "a workload",
        }
    }
}

impl Cast {
    /// Reads the cast of a folder; paths in it are made absolute.
    ///
    /// # Errors
    /// [`Error::Cast`].
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let wrong = |what: String| Error::Cast { path: path.clone(), what };
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let mut cast: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if cast.tenants.is_empty() {
            return Err(wrong("it names no tenant".to_owned()));
        }
        for tenant in &mut cast.tenants {
            tenant.credentials = folder.join(&tenant.credentials);
            tenant.principals.iter_mut().for_each(|principal| principal.key = folder.join(&principal.key));
        }
        Ok(cast)
    }
}

/// Reads a private key, which must be its owner's alone.
pub(crate) fn hand(path: &Path) -> Result<Arc<KeyInHand>, Error> {
    let wrong = |what: String| Error::Cast { path: path.to_owned(), what };
    let mode = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!("this private key is open to others than its owner (mode {:04o})", mode & 0o7777)));
    }
    let text = Zeroizing::new(fs::read(path).map_err(|error| wrong(error.to_string()))?);
    let key = ssh_key::PrivateKey::from_openssh(&*text).map_err(|error| wrong(error.to_string()))?;
    let pair = key.key_data().ed25519().ok_or_else(|| wrong("not a plain Ed25519 key".to_owned()))?;
    let seed = Zeroizing::new(pair.private.to_bytes());
    Ok(Arc::new(KeyInHand::new(ed25519_dalek::SigningKey::from_bytes(&seed))))
}

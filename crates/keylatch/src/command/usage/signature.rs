//! Signing files, and verifying signatures.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use keystore::material::PublicKey;
use lifecycle::Key;
use model::command::{UseSign, UseVerify};
use model::key::KeyIdentity;
use model::text::Base64;
use model::{Action, Algorithm, KeyId, Name, ProblemType};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{SignArgs, VerifyArgs, perform, unreadable};
use crate::error::Error;
use crate::layout::{BOLD, GREEN, RED};
use crate::lookup;
use crate::screen::{Progress, Screen, Show};
use crate::session::Session;

/// The longest signature that is read from a file, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4096;

/// A signature that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file with it.
    pub output: PathBuf,
    /// By which key.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// The signature: 64 bytes (Ed25519), or DER (ECDSA).
    pub signature: Vec<u8>,
    /// The digest that was signed.
    pub digest: Vec<u8>,
}

/// A signature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose it should be.
    pub key_id: KeyId,
    /// Its label.
    pub label: Name,
    /// Whether it is.
    pub valid: bool,
    /// Whether the custodian was asked as well.
    pub asked: bool,
}

impl Show for Made {
    fn to_json(&self) -> Value {
        json!({
            "ok": true,
            "output": self.output,
            "key_id": self.key_id,
            "signature": Base64(self.signature.clone()),
            "digest": data_encoding::HEXLOWER.encode(&self.digest),
        })
    }

    fn to_people(&self) -> String {
        let Self { output, label, .. } = self;
        format!("{GREEN}signed{GREEN:#} with {BOLD}{label}{BOLD:#} into {}\n", output.display())
    }
}

impl Show for Checked {
    fn to_json(&self) -> Value {
        json!({ "ok": self.valid, "valid": self.valid, "key_id": self.key_id, "custodian_asked": self.asked })
    }

    fn to_people(&self) -> String {
        let (label, by) = (&self.label, if self.asked { "here and by the custodian" } else { "here" });
        match self.valid {
            true => format!("{GREEN}valid{GREEN:#}: it is the signature of {BOLD}{label}{BOLD:#}, verified {by}\n"),
            false => {
                format!("{RED}not valid{RED:#}: it is not the signature of {BOLD}{label}{BOLD:#} over this file\n")
            }
        }
    }
}

/// Signs a file's digest, and verifies what comes back before it is written.
pub async fn sign(session: &Session, screen: &mut Screen, args: &SignArgs) -> Result<Made, Error> {
    let key = lookup::key(session.state(), &args.key)?;
    let output = args.output.clone().unwrap_or_else(|| {
        let mut name = args.file.as_os_str().to_owned();
        name.push(".sig");
        name.into()
    });
    if output.exists() && !args.force {
        return Err(Error::file(&output, "there is such a file", "take another name with -o, or give --force"));
    }
    let public = public_key(key)?;
    let digest = digest(&args.file, key.spec.algorithm, screen)?;
    let action = |reply_to| Action::UseSign(UseSign { reply_to, digest: Base64(digest.clone()) });
    #[derive(Deserialize)]
    struct Signed {
        signature: Base64,
    }
    let result = perform(session, key.id, action).await?;
    let Signed { signature } = serde_json::from_slice(&result).map_err(|error| unreadable(&error))?;
    if !public.verifies(&digest, &signature.0) {
        return Err(unreadable(&"the signature does not verify under the key's public half"));
    }
    write(&output, &signature.0)?;
    Ok(Made { output, key_id: key.id, label: key.spec.label.clone(), signature: signature.0, digest })
}

/// Verifies a signature over a file's digest. The custodian and the public key must agree.
pub async fn verify(session: &Session, screen: &mut Screen, args: &VerifyArgs) -> Result<Checked, Error> {
    let key = lookup::key(session.state(), &args.key)?;
    let public = public_key(key)?;
    let signature = read_signature(&args.signature)?;
    let digest = digest(&args.file, key.spec.algorithm, screen)?;
    let valid = public.verifies(&digest, &signature);
    if !args.local {
        let action = |reply_to| {
            let (digest, signature) = (Base64(digest.clone()), Base64(signature.clone()));
            Action::UseVerify(UseVerify { reply_to, digest, signature })
        };
        #[derive(Deserialize)]
        struct Verified {
            valid: bool,
        }
        let result = perform(session, key.id, action).await?;
        let verified: Verified = serde_json::from_slice(&result).map_err(|error| unreadable(&error))?;
        if verified.valid != valid {
            return Err(unreadable(&"it says otherwise than the key's public half"));
        }
    }
    Ok(Checked { key_id: key.id, label: key.spec.label.clone(), valid, asked: !args.local })
}

fn public_key(key: &Key) -> Result<PublicKey, Error> {
    let public = match &key.identity {
        KeyIdentity::PublicKey(der) => PublicKey::from_spki(&der.0),
        KeyIdentity::CheckValue(_) | KeyIdentity::PublicKeyDigest(_) | KeyIdentity::Unknown => None,
    };
    public.ok_or_else(|| {
        let detail = format!("`{}` is an {} key, which does not sign", key.spec.label, key.spec.algorithm);
        lifecycle::Rejection::new(ProblemType::OperationNotAllowed, detail).into()
    })
}

/// The digest that this algorithm signs.
fn digest(path: &Path, algorithm: Algorithm, screen: &mut Screen) -> Result<Vec<u8>, Error> {
    match algorithm.digest_bytes() {
        Some(64) => hash(path, Sha512::new(), screen),
        Some(48) => hash(path, Sha384::new(), screen),
        _ => hash(path, Sha256::new(), screen),
    }
}

fn hash<D: sha2::Digest>(path: &Path, mut hash: D, screen: &mut Screen) -> Result<Vec<u8>, Error> {
    let unread = |error: io::Error| Error::file(path, error, "name a file that you can read");
    let file = File::open(path).map_err(unread)?;
    let total = file.metadata().map_err(unread)?.len();
    let mut reader = BufReader::new(file);
    let (mut buffer, mut done, mut progress) = (vec![0; 1 << 16], 0, Progress::default());
    loop {
        let count = reader.read(&mut buffer).map_err(unread)?;
        if count == 0 {
            screen.progress_done(&progress);
            return Ok(hash.finalize().to_vec());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        done += count as u64;
        screen.progress("hashing", done, total, &mut progress);
    }
}

fn read_signature(path: &Path) -> Result<Vec<u8>, Error> {
    let unread = |error: io::Error| Error::file(path, error, "name the signature that `keylatch use sign` wrote");
    let mut signature = Vec::new();
    File::open(path).map_err(unread)?.take(SIGNATURE_BYTES_MAX).read_to_end(&mut signature).map_err(unread)?;
    Ok(signature)
}

/// Writes a signature whole or not at all.
fn write(path: &Path, signature: &[u8]) -> Result<(), Error> {
    use io::Write as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".keylatch-").tempfile_in(folder)?;
        file.write_all(signature)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(|error| Error::file(path, format!("can't be written: {error}"), "see its folder"))
}

//! Keys on disk: OpenSSH private key files, readable by their owner alone.

use std::path::Path;

use ed25519_dalek::SigningKey;
use journal_nats::secret_file;
use ssh_key::private::{KeypairData, PrivateKey};

use zeroize::Zeroizing;

use crate::Error;

/// Reads an unencrypted Ed25519 key in OpenSSH's format, as `ssh-keygen -t ed25519` writes it. A file that others can
/// read is refused.
pub fn read_key(path: &Path) -> Result<SigningKey, Error> {
    let wrong = |error: String| Error::File { path: path.to_owned(), error };
    let text = secret_file::read(path).map_err(|error| wrong(error.to_string()))?;
    let text = text.ok_or_else(|| wrong("there is no such file; name the key's file".into()))?;
    let key = PrivateKey::from_openssh(text.as_str()).map_err(|error| {
        wrong(format!("not an OpenSSH private key ({error}); make one with `ssh-keygen -t ed25519`"))
    })?;
    match key.key_data() {
        KeypairData::Ed25519(pair) => Ok(SigningKey::from_bytes(&pair.private.to_bytes())),
        KeypairData::Encrypted(_) => Err(wrong("the key has a passphrase; a service needs one without".into())),
        _ => Err(wrong(format!("a {} key; services sign with Ed25519", key.algorithm()))),
    }
}

/// Reads a secret in text, such as a PIN. A file that others can read is refused.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let wrong = |error: String| Error::File { path: path.to_owned(), error };
    let text = secret_file::read(path).map_err(|error| wrong(error.to_string()))?;
    Ok(Zeroizing::new(text.ok_or_else(|| wrong("there is no such file".into()))?.to_string()))
}

/// Makes a folder for its owner alone; refuses one that is open to others.
pub fn ensure_folder(path: &Path) -> Result<(), Error> {
    secret_file::ensure_dir(path).map_err(|error| Error::File { path: path.to_owned(), error: error.to_string() })
}

/// Reads the key at `path`, or makes one there.
pub fn read_or_make_key(path: &Path, comment: &str) -> Result<SigningKey, Error> {
    let wrong = |error: String| Error::File { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        ensure_folder(folder)?;
    }
    let make = || new_key(comment).unwrap_or_default();
    secret_file::read_or_create(path, make).map_err(|error| wrong(error.to_string()))?;
    read_key(path)
}

/// A new key in OpenSSH's format, from the operating system's random source.
fn new_key(comment: &str) -> Result<String, ssh_key::Error> {
    let mut key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, ssh_key::Algorithm::Ed25519)?;
    key.set_comment(comment);
    Ok(key.to_openssh(ssh_key::LineEnding::LF)?.to_string())
}

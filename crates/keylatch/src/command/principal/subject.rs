//! Who somebody is at the identity provider, as a keyed hash: the same for every key of one human, and nothing that can be
//! read or guessed without the tenant's key.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac as _};
use model::Digest;
use rand_core::{OsRng, RngCore as _};
use serde_json::json;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::layout::GREEN;
use crate::screen::Shown;

const KEY_BYTES: usize = 32;
/// A key as text, with what may follow.
const FILE_BYTES_MAX: u64 = 1024;

/// Who somebody is at the identity provider.
#[derive(Args, Clone, Debug, Default)]
pub struct SubjectArgs {
    /// The identity provider, as the `iss` of its tokens.
    #[arg(
        long,
        value_name = "URL",
        requires = "subject",
        requires = "subject_key",
        help_heading = "Identity provider"
    )]
    pub subject_issuer: Option<String>,
    /// Who it is there, as the `sub` of its tokens. It is hashed, and goes nowhere else.
    #[arg(long, value_name = "SUB", requires = "subject_issuer", help_heading = "Identity provider")]
    pub subject: Option<String>,
    /// The file with the tenant's key for these hashes, from `keylatch principal subject-key`.
    #[arg(long, value_name = "FILE", requires = "subject_issuer", help_heading = "Identity provider")]
    pub subject_key: Option<PathBuf>,
}

impl SubjectArgs {
    /// The keyed hash, where one is asked for.
    pub fn digest(&self) -> Result<Option<Digest>, Error> {
        match (&self.subject_issuer, &self.subject, &self.subject_key) {
            (None, None, None) => Ok(None),
            (Some(issuer), Some(subject), Some(file)) => {
                let key = read_key(file)?;
                digest(&key, issuer, subject).map(Some)
            }
            _ => Err(Error::usage(
                "who it is at the identity provider is said in part",
                "give --subject-issuer, --subject and --subject-key together",
            )),
        }
    }
}

/// HMAC-SHA-256 over the issuer, a zero byte, and the subject.
pub fn digest(key: &[u8; KEY_BYTES], issuer: &str, subject: &str) -> Result<Digest, Error> {
    if issuer.is_empty() || subject.is_empty() || issuer.contains('\0') || subject.contains('\0') {
        return Err(Error::usage("an issuer and a subject have at least one character, and no NUL", "see the token"));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| Error::usage(error, "make the key anew"))?;
    for part in [issuer.as_bytes(), b"\0", subject.as_bytes()] {
        mac.update(part);
    }
    Ok(Digest::new(mac.finalize().into_bytes().into()))
}

/// Makes a key in a file of its own.
pub fn make_key(file: &Path) -> Result<Shown, Error> {
    let wrong = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AlreadyExists => "take another name: a key that hashes were made with must not be lost",
            _ => "name a file in a folder that you may write to",
        };
        Error::file(file, error, advice)
    };
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    OsRng.fill_bytes(&mut *key);
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(HEXLOWER.encode(&*key))));
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(wrong)?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(wrong)?;
    let people = format!(
        "{GREEN}made{GREEN:#} {}, its owner's alone\n  keep it as a secret, and in a second safe place: whoever enrols \
         people here needs this very file\n",
        file.display()
    );
    Ok(Shown { json: json!({ "ok": true, "file": file }), people })
}

/// Reads a key that is its owner's alone.
pub fn read_key(file: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Error> {
    let wrong = |error: io::Error| Error::file(file, error, "make one with `keylatch principal subject-key FILE`");
    let opened = std::fs::File::open(file).map_err(wrong)?;
    let mode = opened.metadata().map_err(wrong)?.mode();
    if mode & 0o077 != 0 {
        let what = format!("this key is open to others than its owner (mode {:04o})", mode & 0o7777);
        return Err(Error::file(file, what, format!("close it: chmod 600 {}", file.display())));
    }
    let mut text = Zeroizing::new(String::new());
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let text = text.trim().as_bytes();
    match (text.len() == 2 * KEY_BYTES).then(|| HEXLOWER.decode_mut(text, &mut *key)) {
        Some(Ok(_)) => Ok(key),
        _ => Err(Error::file(
            file,
            "it is not a key for identities: 64 hexadecimal digits",
            "name the file that `keylatch principal subject-key` made",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is that of another implementation over the same bytes.
    #[test]
    fn a_subject_is_hashed_with_its_issuer_and_nothing_runs_together() {
        let key = [7; KEY_BYTES];
        let one = digest(&key, "https://a.example", "b").unwrap();
        assert_eq!(one.to_string(), "e4dccfe0e84d2afeae1453d505bbb8f399e7c32bb4ac6501bd5721b386da7e7d");
        assert_ne!(one, digest(&key, "https://a.exampl", "eb").unwrap());
        assert_ne!(one, digest(&[8; KEY_BYTES], "https://a.example", "b").unwrap());
        assert!(digest(&key, "", "b").is_err() && digest(&key, "a\0", "b").is_err());
    }
}

//! Secret sealing keys, and the shares that they open.
//!
//! A sealing key is an X25519 key of its own: hardware SSH keys sign and do not decrypt, and one key for two purposes is one
//! too many. Its secret half lies in a file beside the identity, its owner's alone, named after the public half: so that
//! the secret of an old one is found by the share that was sealed to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use keystore::seal::{self, SecretKey};
use keystore::sealed::{Subject, brought_info};
use keystore::{Share, seal::open};
use lifecycle::{Key, Rejection, sealing};
use model::command::Sealed;
use model::people::SealingKey;
use model::{Digest, EventHash, ProblemType};
use rand_core::OsRng;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::session::Session;

const KEY_BYTES: usize = 32;
/// A key as text, with what may follow.
const FILE_BYTES_MAX: u64 = 1024;

/// Where the secret half of a sealing key lies beside an identity.
pub fn path_beside(identity: &Path, key: &SealingKey) -> PathBuf {
    let whole = identity.to_string_lossy();
    let stem = whole.strip_suffix(".pub").unwrap_or(&whole);
    let print: String =
        Digest::of(key.as_bytes()).to_string().chars().filter(char::is_ascii_hexdigit).take(16).collect();
    PathBuf::from(format!("{stem}.sealing-{print}"))
}

/// Makes a key in a file of its own beside the identity. Answers with its public half and the file.
pub fn make(identity: &Path) -> Result<(SealingKey, PathBuf), Error> {
    let secret = SecretKey::generate(&mut OsRng);
    let odd = || Error::failed("the random source gave a key that nobody can seal to", "try again");
    let key = SealingKey::from_bytes(&secret.public()).ok_or_else(odd)?;
    let file = path_beside(identity, &key);
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(HEXLOWER.encode(&*secret.to_bytes()))));
    let wrong = |error: io::Error| Error::file(&file, error, "have the identity in a folder that you may write to");
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(wrong)?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(wrong)?;
    Ok((key, file))
}

/// Reads the secret half of a key: its owner's alone, and of no other public half.
pub fn read(file: &Path, key: &SealingKey) -> Result<SecretKey, Error> {
    let advice = "name the file that `keylatch principal sealing-key` made, with --sealing-key";
    let wrong = |error: io::Error| Error::file(file, error, advice);
    let opened = File::open(file).map_err(wrong)?;
    let mode = opened.metadata().map_err(wrong)?.mode();
    if mode & 0o077 != 0 {
        let what = format!("this key is open to others than its owner (mode {:04o})", mode & 0o7777);
        return Err(Error::file(file, what, format!("close it: chmod 600 {}", file.display())));
    }
    let mut text = Zeroizing::new(String::new());
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let text = text.trim().as_bytes();
    let decoded = text.len() == 2 * KEY_BYTES && HEXLOWER.decode_mut(text, &mut *bytes).is_ok();
    let secret = decoded.then(|| SecretKey::from_bytes(&bytes)).flatten();
    secret
        .filter(|secret| secret.public() == *key.as_bytes())
        .ok_or_else(|| Error::file(file, "it is not the secret half of the sealing key that is asked for", advice))
}

/// The share of a sealed key that whoever signs holds, for their approval of this request: opened with their sealing key,
/// compared with what the key's birth says of it, and sealed anew, to the key's store. `None` where they hold none.
pub fn share_for(
    session: &Session,
    key: Option<&Key>,
    request: EventHash,
    named: Option<&Path>,
) -> Result<Option<Sealed>, Error> {
    let Some((key, sealing, command)) = key.and_then(|key| Some((key, key.sealing.as_ref()?, key.asked?))) else {
        return Ok(None);
    };
    let by = session.hand()?.public_key().fingerprint();
    let Some((number, held)) = sealing::share_of(session.governance()?, sealing, by) else { return Ok(None) };
    let beside = session.identity_file().map(|identity| path_beside(identity, &held.sealing_key));
    let file = named.map(Path::to_owned).or(beside).ok_or_else(|| {
        let what =
            format!("share {number} of `{}` is yours, and it is not known where your sealing key is", key.spec.label);
        Error::usage(what, "name the file that `keylatch principal sealing-key` made, with --sealing-key")
    })?;
    let secret = read(&file, &held.sealing_key)?;
    let subject = Subject { tenant: session.tenant(), key_id: key.id, command };
    let info = subject.share_info(held.to, number, sealing.threshold);
    let opened = open(&secret, &info, &[], &held.share).ok().and_then(|bytes| Share::new(number, &bytes));
    let share = opened.filter(|share| share.is_of(&subject, sealing)).ok_or_else(|| {
        let what = format!("share {number} of `{}`, which is yours, is not what its birth says", key.spec.label);
        let advice = "the custodian that made the key did it wrong: do not approve it, and tell who runs the platform";
        Error::failed(what, advice)
    })?;
    let info = brought_info(session.tenant(), key.id, request, by);
    let sealed = seal::seal(&key.seal_key.0, &info, &[], share.bytes(), &mut OsRng);
    sealed.map(Some).map_err(|error| Rejection::new(ProblemType::StatementInvalid, error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealing_key_is_its_owners_alone_and_found_by_its_public_half() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("ann");
        let (key, file) = make(&identity).unwrap();
        let (other, elsewhere) = make(&identity).unwrap();
        assert_ne!(key, other);
        assert_eq!(file, path_beside(&folder.path().join("ann.pub"), &key));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file, &key).unwrap().public(), *key.as_bytes());
        assert!(read(&elsewhere, &key).is_err(), "another's");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&file, &key).is_err(), "open to others");
        assert!(read(&folder.path().join("none"), &key).is_err());
    }
}

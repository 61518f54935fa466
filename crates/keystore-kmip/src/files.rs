//! The store's folder: its lock, its seal key, and that nobody else reaches what is secret.
//!
//! ```text
//! store.lock    held while the store is open: one process at a time
//! seal.key      X25519, to which inputs for uses are sealed; the file format of docs/software-store.md
//! index.redb    which key is which object on the server
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use keystore::seal::SecretKey;
use rand_core::OsRng;
use zeroize::Zeroizing;

use crate::Error;

pub(crate) const INDEX: &str = "index.redb";
const LOCK: &str = "store.lock";
const SEAL_KEY: &str = "seal.key";

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const PERMISSIONS: u32 = 0o7777;

/// Secrets in files are shorter than this: keys and passwords.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// Makes the store's folder and seal key. The index is made last, by the caller: a folder without one is no store.
pub(crate) fn create(directory: &Path) -> Result<(), Error> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(directory).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: directory.to_owned() },
        _ => Error::Io { action: "create", path: directory.to_owned(), source },
    })?;
    write_seal_key(&SecretKey::generate(&mut OsRng), &directory.join(SEAL_KEY))
}

/// Makes an empty file of the owner's alone. There must be none.
pub(crate) fn create_file(path: &Path) -> Result<File, Error> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path).map_err(Error::io("create", path))
}

/// Waits until the folder's entries are on the disk, its own in the folder above too.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), Error> {
    let above = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for folder in [directory, above] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))?;
    }
    Ok(())
}

/// Refuses a folder or file that is missing or that others can reach.
fn check(path: &Path, wanted: u32, advice: &'static str) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Damaged { path: path.to_owned(), what: "is missing".to_owned(), advice },
        _ => Error::Io { action: "read", path: path.to_owned(), source },
    })?;
    let mode = metadata.permissions().mode() & PERMISSIONS;
    let plain = if wanted == FILE_MODE { metadata.is_file() } else { metadata.is_dir() };
    match plain {
        false => Err(Error::Damaged { path: path.to_owned(), what: "is no plain file or folder".to_owned(), advice }),
        true if mode & !wanted != 0 => Err(Error::LooseMode { path: path.to_owned(), mode, wanted }),
        true => Ok(()),
    }
}

/// Refuses a folder that is no store, or that others can reach.
pub(crate) fn check_store(directory: &Path) -> Result<(), Error> {
    check(directory, DIRECTORY_MODE, "create the store first, or restore it from a backup")?;
    check(
        &directory.join(INDEX),
        FILE_MODE,
        "put it back from a backup; without it the server's objects can't be told from each other",
    )
}

/// Reads a file of the owner's alone.
pub(crate) fn read_secret(path: &Path, advice: &'static str) -> Result<Zeroizing<Vec<u8>>, Error> {
    check(path, FILE_MODE, advice)?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    // All the room at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
    file.take(SECRET_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

// === The lock ===

/// A store's lock, held until dropped, at the latest until the end of the process.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a process that this one has forked keeps it open until it execs, and with it the
    /// lock. Where unlocking fails, closing is what is left.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

pub(crate) fn lock(directory: &Path) -> Result<Lock, Error> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(&path).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { action: "lock", path, source }),
    }
}

// === The seal key ===

const TITLE: &str = "keylatch seal key v1";
const SEAL_KEY_ADVICE: &str = "put it back from a backup; commands are sealed to it";

fn write_seal_key(secret: &SecretKey, path: &Path) -> Result<(), Error> {
    let key = Zeroizing::new(BASE64_STANDARD.encode(secret.to_bytes().as_ref()));
    let id = BASE64_STANDARD.encode(secret.public());
    let text = Zeroizing::new(format!("{TITLE}\nid {id}\nkey {}\n", *key));
    let mut file = create_file(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}

pub(crate) fn read_seal_key(directory: &Path) -> Result<SecretKey, Error> {
    let path = directory.join(SEAL_KEY);
    let text = read_secret(&path, SEAL_KEY_ADVICE)?;
    parse_seal_key(&text).ok_or_else(|| Error::Damaged { path, what: "is damaged".to_owned(), advice: SEAL_KEY_ADVICE })
}

/// `None` too where the key does not go with its id: damage shows.
fn parse_seal_key(text: &[u8]) -> Option<SecretKey> {
    let rest = std::str::from_utf8(text).ok()?.strip_prefix(TITLE)?.strip_prefix("\nid ")?.strip_suffix('\n')?;
    let (id, key) = rest.split_once("\nkey ")?;
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(key).ok()?);
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?);
    SecretKey::from_bytes(&bytes).filter(|secret| BASE64_STANDARD.encode(secret.public()) == id)
}

//! Directories that belong to one process, and names in them that outlast a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::Error;

/// Only for the user that the service runs as.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Makes a directory that only its owner may enter, durably, or makes one so.
pub(crate) fn private_dir(dir: &Path) -> Result<(), Error> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir).map_err(Error::io(dir))?;
        dir.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), sync_dir)?;
    }
    fs::set_permissions(dir, Permissions::from_mode(PRIVATE_DIR)).map_err(Error::io(dir))
}

/// A directory that is this process's, until dropped.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a process that this one has forked keeps it open until it execs, and with it the
    /// lock. Where unlocking fails, closing is what is left.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the directory for this process.
pub(crate) fn lock(dir: &Path) -> Result<Lock, Error> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(PRIVATE_FILE);
    let file = options.open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(Error::Io { path, source }),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io(dir))
}

/// Puts a whole file in its place: after a crash there is the old one or the new one, and after the return the new one.
pub(crate) fn put_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file =
        options.create(true).truncate(true).write(true).mode(PRIVATE_FILE).open(&new).map_err(Error::io(&new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&new))?;
    fs::rename(&new, path).map_err(Error::io(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

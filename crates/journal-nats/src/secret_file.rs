//! Files that hold a secret: readable by their owner alone, and there whole or not at all.
//!
//! A new file is written under another name, synced, and linked into place, so that a crash leaves nothing half
//! written and two processes that start at once end up with one and the same file.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a secret could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others than the owner can get at it.
    #[error("`{}` is open to others than its owner (mode {mode:04o}): run `chmod {wanted:04o} {}`", path.display(), path.display())]
    Loose {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be at most.
        wanted: u32,
    },
    /// There is one already, and secrets are not overwritten.
    #[error("`{}` exists: move it away first, or choose another name", .0.display())]
    Exists(PathBuf),
    /// The file system refused.
    #[error("can't {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes a directory, and those above it, for its owner alone; refuses one that is open to others.
pub fn ensure_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
    let mode = fs::metadata(path).map_err(failed("look at", path))?.mode();
    refuse_loose(path, mode, 0o700)
}

/// Reads a secret; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("open", path))?,
    };
    // The mode is asked of the open file, so that it is the mode of what is read.
    refuse_loose(path, file.metadata().map_err(failed("look at", path))?.mode(), 0o600)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed("read", path))?;
    Ok(Some(text))
}

/// Keeps a new secret. [`Error::Exists`] where there is such a file, which then stays as it is.
pub fn create(path: &Path, text: &str) -> Result<(), Error> {
    match written_beside(path, text)?.persist_noclobber(path) {
        Ok(_) => sync_dir_of(path),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists(path.to_owned())),
        Err(refused) => Err(failed("create", path)(refused.error)),
    }
}

/// Writes a file that follows from others and may be made anew.
pub fn replace(path: &Path, text: &str) -> Result<(), Error> {
    written_beside(path, text)?.persist(path).map_err(|refused| failed("replace", path)(refused.error))?;
    sync_dir_of(path)
}

/// The secret at this path; where there is none, the one that `make` gives, kept from now on.
pub fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> Result<Zeroizing<String>, Error> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    match create(path, &Zeroizing::new(make())) {
        // Somebody else was first: theirs counts.
        Ok(()) | Err(Error::Exists(_)) => {}
        Err(error) => return Err(error),
    }
    read(path)?.ok_or_else(|| failed("read", path)(io::ErrorKind::NotFound.into()))
}

/// A synced temporary file with mode 0600 in the directory of `path`.
fn written_beside(path: &Path, text: &str) -> Result<tempfile::NamedTempFile, Error> {
    let mut file =
        tempfile::Builder::new().prefix(".new-").tempfile_in(parent(path)).map_err(failed("write beside", path))?;
    file.write_all(text.as_bytes()).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("sync", path))?;
    Ok(file)
}

fn sync_dir_of(path: &Path) -> Result<(), Error> {
    let dir = parent(path);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn refuse_loose(path: &Path, mode: u32, wanted: u32) -> Result<(), Error> {
    let mode = mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Loose { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read(&path).unwrap().is_none());
        assert_eq!(*read_or_create(&path, || "one".to_owned()).unwrap(), "one");
        assert_eq!(*read_or_create(&path, || "two".to_owned()).unwrap(), "one");
        assert!(matches!(create(&path, "three"), Err(Error::Exists(_))));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        replace(&path, "four").unwrap();
        assert_eq!(*read(&path).unwrap().unwrap(), "four");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn rejects_what_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, "secret").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let Err(Error::Loose { mode: found, .. }) = read(&path) else { panic!("took mode {mode:o}") };
            assert_eq!(found, mode);
        }
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(ensure_dir(&open), Err(Error::Loose { wanted: 0o700, .. })));
    }
}

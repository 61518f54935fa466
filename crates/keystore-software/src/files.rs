//! Files and directories: their places, their modes, and that they are really on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::Error;

pub(crate) const LOCK: &str = "store.lock";
pub(crate) const KEYRING: &str = "keyring";
pub(crate) const DATABASE: &str = "keys.redb";

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const PERMISSIONS: u32 = 0o7777;

/// A key file is shorter than this.
const KEY_FILE_BYTES_MAX: usize = 512;

// === Modes ===

/// Refuses a file that is missing, is something else, or that others can reach.
pub(crate) fn check_file(path: &Path, advice: &'static str) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(path).map_err(missing("read", path, advice))?;
    if !metadata.is_file() {
        return Err(Error::NotPlain { path: path.to_owned(), wanted: "file" });
    }
    check_mode(path, &metadata, FILE_MODE)
}

/// Refuses a directory that is missing, is something else, or that others can reach.
pub(crate) fn check_directory(path: &Path, advice: &'static str) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(missing("read", path, advice))?;
    if !metadata.is_dir() {
        return Err(Error::NotPlain { path: path.to_owned(), wanted: "directory" });
    }
    check_mode(path, &metadata, DIRECTORY_MODE)
}

fn check_mode(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), Error> {
    let mode = metadata.permissions().mode() & PERMISSIONS;
    if mode & !wanted != 0 {
        return Err(Error::LooseMode { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

fn missing(action: &'static str, path: &Path, advice: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned(), advice },
        _ => Error::Io { action, path: path.to_owned(), source },
    }
}

// === Making ===

/// Makes a directory of the owner's alone. There must be none.
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Io { action: "create", path: path.to_owned(), source },
    })
}

/// Makes an empty file of the owner's alone. There must be none.
pub(crate) fn create_file(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(FILE_MODE);
    options.open(path).map_err(Error::io("create", path))
}

/// Waits until the directory's entries are on the disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("sync", path))
}

/// Waits until a file that is there is so on the disk.
pub(crate) fn sync_beside(path: &Path) -> Result<(), Error> {
    sync_directory(&parent(path))
}

/// Builds a directory under another name beside `path` and renames it into place when it is complete, so that what is
/// at `path` is whole or not there at all. One process at a time builds in a folder; what an attempt that was cut short has
/// left behind is removed: nobody has used it.
pub(crate) fn build_directory<T>(path: &Path, build: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    let partial = with_partial(path);
    let _alone = lock_folder(&parent(path))?;
    let empty = fs::read_dir(path).map(|mut entries| entries.next().is_none());
    match empty {
        Ok(true) => {}
        Ok(false) => return Err(Error::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Io { action: "look into", path: path.to_owned(), source }),
    }
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", &partial)(error)),
        _ => create_directory(&partial)?,
    }
    let built = build(&partial).and_then(|built| {
        sync_directory(&partial)?;
        fs::rename(&partial, path).map_err(Error::io("rename into place", path))?;
        sync_directory(&parent(path))?;
        Ok(built)
    });
    if built.is_err() {
        // What was made here a moment ago and is of no use; where this fails too, the next attempt says so.
        let _ = fs::remove_dir_all(&partial);
    }
    built
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A step after which a crash must find things in order. In tests, one can be cut short before it or after it.
fn step<T>(take: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    #[cfg(test)]
    tests::strike(crate::writer::tests::Fault::Failed)?;
    let taken = take()?;
    #[cfg(test)]
    tests::strike(crate::writer::tests::Fault::FailedButPersisted)?;
    Ok(taken)
}

/// A whole file of the owner's alone, or none: written under another name, synced, and put into place by `place`.
fn put_whole(path: &Path, bytes: &[u8], place: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let partial = with_random(path)?;
    let mut file = create_file(&partial)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &partial))?;
    let placed = step(|| place(&partial).and_then(|()| sync_directory(&parent(path))));
    // Renamed, it is not there any more; otherwise it is of no use. Where this fails too, the next attempt says so.
    let _ = fs::remove_file(&partial);
    placed
}

/// Makes a whole file. There must be none.
pub(crate) fn create_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    put_whole(path, bytes, |partial| {
        fs::hard_link(partial, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => Error::Io { action: "create", path: path.to_owned(), source },
        })
    })
}

/// Puts a whole file in the place of what is there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    put_whole(path, bytes, |partial| fs::rename(partial, path).map_err(Error::io("replace", path)))
}

/// Renames a file within its directory, to the disk.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    step(|| fs::rename(from, to).map_err(Error::io("rename", from)).and_then(|()| sync_directory(&parent(to))))
}

/// Removes a file, from the disk.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    step(|| fs::remove_file(path).map_err(Error::io("remove", path)).and_then(|()| sync_directory(&parent(path))))
}

/// Removes what writers of a file who were killed have left beside it. Whoever writes it now finds that theirs is gone.
pub(crate) fn remove_partials(path: &Path) -> Result<(), Error> {
    let folder = parent(path);
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let beginning = format!("{name}.partial-");
    for entry in fs::read_dir(&folder).map_err(Error::io("look into", &folder))? {
        let entry = entry.map_err(Error::io("look into", &folder))?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&beginning)) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Writes a file of the owner's alone under another name, and puts it in its place when `write` is through with it. There
/// must be none.
pub(crate) fn build_file<T>(path: &Path, write: impl FnOnce(&Path, File) -> Result<T, Error>) -> Result<T, Error> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let partial = with_partial(path);
    remove_if_there(&partial)?;
    let built = write(&partial, create_file(&partial)?).and_then(|built| {
        fs::rename(&partial, path).map_err(Error::io("rename into place", path))?;
        sync_directory(&parent(path))?;
        Ok(built)
    });
    if built.is_err() {
        // What was made here a moment ago and is of no use; where this fails too, the next attempt says so.
        let _ = fs::remove_file(&partial);
    }
    built
}

/// A name that no other process or thread writes to.
fn with_random(path: &Path) -> Result<PathBuf, Error> {
    let mut random = [0; 8];
    OsRng.try_fill_bytes(&mut random).map_err(Error::Random)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{}", data_encoding::HEXLOWER.encode(&random)));
    Ok(name.into())
}

fn with_partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial.into()
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

/// Takes a folder for as long as something is made in it.
fn lock_folder(folder: &Path) -> Result<Lock, Error> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { action: "lock", path: folder.to_owned(), source }),
    }
}

/// Takes the store's lock.
pub(crate) fn lock(directory: &Path) -> Result<Lock, Error> {
    let path = directory.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(&path).map_err(Error::io("open", &path))?;
    check_file(&path, "open the store again")?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::Io { action: "lock", path, source }),
    }
}

// === Key files ===

/// A key file: three lines, so that a person can tell what it is without being shown a key by accident.
///
/// ```text
/// keylatch <kind> v1
/// id <id>
/// key <base64 of 32 bytes>
/// ```
pub(crate) struct KeyFile {
    /// By what the key is known; computed from the key, so that a damaged file shows.
    pub(crate) id: String,
    pub(crate) key: Zeroizing<[u8; 32]>,
}

/// The kinds of key file.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Master,
    /// As stores had it before they had a keyring.
    Wrapping,
    /// Likewise.
    Seal,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Master => "keylatch master key v1",
            Self::Wrapping => "keylatch wrapping key v1",
            Self::Seal => "keylatch seal key v1",
        }
    }
}

impl KeyFile {
    /// Its text.
    pub(crate) fn text(&self, kind: Kind) -> Zeroizing<Vec<u8>> {
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(self.key.as_ref()));
        // All the room at once: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
        for part in [kind.title(), "\nid ", &self.id, "\nkey ", &encoded, "\n"] {
            text.extend_from_slice(part.as_bytes());
        }
        text
    }

    /// Reads it.
    pub(crate) fn read(kind: Kind, path: &Path, advice: &'static str) -> Result<Self, Error> {
        check_file(path, advice)?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        // All the room at once: a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
        file.take(KEY_FILE_BYTES_MAX as u64).read_to_end(&mut text).map_err(Error::io("read", path))?;
        Self::parse(kind, &text).ok_or_else(|| Error::damaged(path, format!("not a `{}` file", kind.title())))
    }

    /// Reads its text.
    pub(crate) fn parse(kind: Kind, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        let (title, id, key, rest) = (lines.next()?, lines.next()?, lines.next()?, lines.next());
        let mut bytes = Zeroizing::new([0; 33]);
        let length = BASE64_STANDARD.decode_slice(key.strip_prefix("key ")?, bytes.as_mut()).ok()?;
        if title != kind.title() || rest.is_some() || length != 32 {
            return None;
        }
        let key = Zeroizing::new(*bytes.first_chunk::<32>()?);
        Some(Self { id: id.strip_prefix("id ")?.to_owned(), key })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::writer::tests::Fault;

    thread_local! {
        /// The fault that waits for this thread's steps, and how many of them pass before.
        static WAITING: Cell<Option<(u32, Fault)>> = const { Cell::new(None) };
    }

    /// Has this thread's step number `after` (from 0 on) cut short.
    pub(crate) fn set_fault(fault: Option<(u32, Fault)>) {
        WAITING.set(fault);
    }

    /// Whether it is still waiting.
    pub(crate) fn fault_waits() -> bool {
        WAITING.get().is_some()
    }

    pub(super) fn strike(now: Fault) -> Result<(), Error> {
        match WAITING.get() {
            Some((0, fault)) if fault == now => {
                WAITING.set(None);
                Err(Error::Io { action: "test", path: PathBuf::new(), source: io::Error::other("fault injected") })
            }
            // A step is over with what comes after it.
            Some((left, fault)) if left > 0 && now == Fault::FailedButPersisted => {
                WAITING.set(Some((left - 1, fault)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A process that forks has, until it execs, a second descriptor of every open file; the lock is let go all the same.
    #[test]
    fn a_lock_is_let_go_though_a_fork_still_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let held = lock(directory.path()).unwrap();
        assert!(matches!(lock(directory.path()), Err(Error::InUse { .. })));
        let forks = held.0.try_clone().unwrap();
        drop(held);
        lock(directory.path()).unwrap();
        drop(forks);
    }
}

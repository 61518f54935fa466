//! One file lock a token: who changes it is alone, who uses it is among users.
//!
//! Tokens in files (SoftHSM) fail under each other's feet: of two processes on one, even one that only looks makes the
//! other's changes fail. The operating system's advisory locks on a file are let go when a process dies, however it dies.
//!
//! Every taking opens the file anew, because such a lock belongs to what was opened: so threads exclude each other as
//! processes do. Linux lets those who share go on sharing while somebody waits to be alone; so whoever waits to be alone
//! holds a second file, the turnstile, through which all others pass.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::Error;

/// How a token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Beside others: nothing on the token changes.
    Shared,
    /// Alone: objects of the token are made or destroyed.
    Alone,
}

/// A token's lock.
pub(crate) struct Lock {
    path: PathBuf,
    turnstile: PathBuf,
}

/// The lock, taken. Let go when dropped.
pub(crate) struct Taken {
    _file: File,
}

impl Lock {
    /// The lock of the token of this label.
    pub(crate) fn new(folder: &Path, label: &str) -> Result<Self, Error> {
        if !folder.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(Error::io("create", folder))?;
        }
        let name = data_encoding::HEXLOWER.encode(label.as_bytes());
        Ok(Self {
            path: folder.join(format!("token-{name}.lock")),
            turnstile: folder.join(format!("token-{name}.turnstile")),
        })
    }

    /// Waits for it.
    pub(crate) fn take(&self, mode: Mode) -> Result<Taken, Error> {
        let turnstile = open(&self.turnstile)?;
        wait(&turnstile, &self.turnstile, mode)?;
        let file = open(&self.path)?;
        wait(&file, &self.path, mode)?;
        Ok(Taken { _file: file })
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => options.create(true).open(path),
        opened => opened,
    }
    .map_err(Error::io("open", path))
}

fn wait(file: &File, path: &Path, mode: Mode) -> Result<(), Error> {
    let taken = match mode {
        Mode::Shared => file.lock_shared(),
        Mode::Alone => file.lock(),
    };
    taken.map_err(Error::io("lock", path))
}

/// Makes a folder of the owner's alone. There must be none, or an empty one.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(source) => return Err(Error::Io { action: "create", path: path.to_owned(), source }),
    }
    match fs::read_dir(path).map_err(Error::io("read", path))?.next() {
        None => Ok(()),
        Some(_) => Err(Error::Exists { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_is_alone_is_alone_and_who_waits_for_it_is_let_in_before_those_who_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::new(folder.path(), "token").unwrap();
        let first = lock.take(Mode::Shared).unwrap();
        let second = lock.take(Mode::Shared).unwrap();
        let (said, heard) = channel();
        std::thread::scope(|scope| {
            let (lock, said) = (&lock, said);
            scope.spawn(move || {
                let _alone = lock.take(Mode::Alone).unwrap();
                said.send(()).unwrap();
            });
            // It has the turnstile: from here on nobody passes it.
            while open(&lock.turnstile).unwrap().try_lock_shared().is_ok() {
                std::thread::yield_now();
            }
            assert!(heard.try_recv().is_err(), "alone beside others");
            drop((first, second));
            let _later = lock.take(Mode::Shared).unwrap();
            heard.try_recv().expect("who came later went first");
        });
    }
}

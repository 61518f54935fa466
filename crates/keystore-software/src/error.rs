use std::io;
use std::path::{Path, PathBuf};

use crate::master::MasterKeyId;

/// What is wrong with a software store, and what to do about it. Never shows a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A file or directory can be read or written by others than its owner.
    #[error("{} has mode {mode:04o}: others can reach it. Look at who had access, then run: chmod {wanted:o} {}", path.display(), path.display())]
    LooseMode {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// Something of the store is no plain file or directory.
    #[error("{} is not a plain {wanted}: put the store's own {wanted} there", path.display())]
    NotPlain {
        /// Which.
        path: PathBuf,
        /// `file` or `directory`.
        wanted: &'static str,
    },
    /// Another process has the store open, or this one has already.
    #[error("{} is in use: one process at a time opens a store. End the other one first", path.display())]
    InUse {
        /// The store or the file.
        path: PathBuf,
    },
    /// There is something where a new store or a backup was to go.
    #[error("{} is there already: take another place, or remove it if it was left by an attempt that was cut short", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A part of the store is missing. Nothing is ever made anew in its place: keys would be lost for good.
    #[error("{} is missing: {advice}", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// A part of the store is not what it was when it was written.
    #[error("{} is damaged ({what}): stop using this store and restore it from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Parts of different stores, or of different inventories, have been put together.
    #[error("{} does not belong here ({what}): put back the one that does, from the same backup as its neighbours", path.display())]
    Misplaced {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The database failed. Whether the change was made shows when the store has been opened again.
    #[error("the database {} failed ({what}): look at the disk's space and health, then restart", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// A master key can't be had from where it was said to be.
    #[error("no master key from {from}: {what}")]
    MasterKey {
        /// From where.
        from: String,
        /// Why not.
        what: String,
    },
    /// None of the master keys at hand is the one that the store is under. Nothing was changed.
    #[error("{} is under the master key {wanted}, and that is not among those at hand ({tried}): put it back, or name where it is. Nothing was changed", keyring.display())]
    NoMasterKey {
        /// The keyring, or the backup.
        keyring: PathBuf,
        /// The master key that it is under.
        wanted: MasterKeyId,
        /// Which were tried, and what they are.
        tried: String,
    },
    /// AES-GCM refused to wrap: it takes 64 GiB and more to come here.
    #[error("a key could not be wrapped")]
    Wrapping,
    /// The operating system's random source failed.
    #[error("no random bytes from the operating system: {0}")]
    Random(rand_core::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }

    pub(crate) fn misplaced(path: &Path, what: impl ToString) -> Self {
        Self::Misplaced { path: path.to_owned(), what: what.to_string() }
    }

    pub(crate) fn database(path: &Path) -> impl FnOnce(redb::Error) -> Self {
        move |error| match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            redb::Error::Corrupted(what) => Self::Damaged { path: path.to_owned(), what },
            // What redb says of a file that is not its own.
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => Self::damaged(path, source),
            redb::Error::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => Self::damaged(path, source),
            error => Self::Database { path: path.to_owned(), what: error.to_string() },
        }
    }
}

impl From<Error> for keystore::Error {
    fn from(error: Error) -> Self {
        Self::Storage(Box::new(error))
    }
}

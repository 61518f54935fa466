use std::io;
use std::path::{Path, PathBuf};

use cryptoki::error::{Error as Pkcs11Error, RvError};

/// What is wrong with a PKCS#11 store, and what to do about it. Never shows a key or a PIN.
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
    /// A file or folder can be read or written by others than its owner.
    #[error("{} has mode {mode:04o}: others can reach it. Look at who had access, then run: chmod {wanted:o} {}", path.display(), path.display())]
    LooseMode {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// No PIN where it should be.
    #[error("there is no PIN in {place}: {advice}")]
    NoPin {
        /// The file or the environment variable.
        place: String,
        /// What to do.
        advice: &'static str,
    },
    /// The token refused the PIN. It is not tried again until there is another one: tokens lock after a few wrong ones.
    #[error(
        "the token `{label}` refused the PIN from {place}: put the right one there; the wrong one is not tried again"
    )]
    PinRefused {
        /// The token.
        label: String,
        /// The file or the environment variable.
        place: String,
    },
    /// The module can't be loaded.
    #[error("cannot load the PKCS#11 module {}: {what}. Install it, or name the right path", path.display())]
    Module {
        /// Which.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// There is no token of this label, or there are several.
    #[error("there are {found} tokens with the label `{label}`{serial}: exactly one is wanted. {advice}", serial = serial.as_ref().map(|serial| format!(" and the serial number {serial}")).unwrap_or_default())]
    NoToken {
        /// The label.
        label: String,
        /// The serial number, where it is known.
        serial: Option<String>,
        /// How many.
        found: usize,
        /// What to do.
        advice: &'static str,
    },
    /// The two inventories would be one.
    #[error("both inventories are the token `{0}`: take two, with two PINs")]
    SameToken(String),
    /// Whether there is an application's token was decided when the store was created.
    #[error("{what}: name the tokens that the store was created with")]
    Placed {
        /// What does not go together.
        what: &'static str,
    },
    /// A token does not do what the store needs.
    #[error("the token `{label}` {what}: take another token")]
    Unfit {
        /// Which.
        label: String,
        /// What is wrong.
        what: &'static str,
    },
    /// What the index says is on a token is not there, or is there more than once.
    #[error(
        "the token `{label}` has {found} objects where it should have one ({object}): compare the store with the tokens (`survey`), and restore the token from its backup"
    )]
    Missing {
        /// The token.
        label: String,
        /// The object's `CKA_ID`.
        object: String,
        /// How many.
        found: usize,
    },
    /// A key on a token is not the one that the index says.
    #[error(
        "the token `{label}` has another key under the name of {object}: somebody has exchanged it. Stop, and find out who has that token's PIN"
    )]
    Exchanged {
        /// The token.
        label: String,
        /// The object's `CKA_ID`.
        object: String,
    },
    /// A token said no, or failed.
    #[error("the token `{label}`: {what}: {source}")]
    Token {
        /// Which.
        label: String,
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: Pkcs11Error,
    },
    /// There is something where a new store was to go.
    #[error("{} is there already: take another place, or remove it if it was left by an attempt that was cut short", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The index is missing. It is never made anew: without it nobody knows which keys are which.
    #[error("{} is missing: create the store first, or put the index back from a backup", path.display())]
    NoIndex {
        /// Which.
        path: PathBuf,
    },
    /// Another process has the store open, or this one has already.
    #[error("{} is in use: one process at a time opens a store. End the other one first", path.display())]
    InUse {
        /// The index.
        path: PathBuf,
    },
    /// The index is not what it was when it was written.
    #[error("the index {} is damaged ({what}): stop using this store and put the index back from a backup", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The index failed. Whether the change was made shows when the store has been opened again.
    #[error("the index {} failed ({what}): look at the disk's space and health, then restart", path.display())]
    Index {
        /// Which.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// The operating system's random source failed.
    #[error("no random bytes from the operating system: {0}")]
    Random(rand_core::Error),
    /// A fault that a test asked for.
    #[cfg(test)]
    #[error("fault injected")]
    Fault,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }

    pub(crate) fn index(path: &Path) -> impl FnOnce(redb::Error) -> Self {
        move |error| match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            redb::Error::Corrupted(what) => Self::Damaged { path: path.to_owned(), what },
            // What redb says of a file that is not its own, or was cut.
            redb::Error::Io(source)
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::damaged(path, source)
            }
            error => Self::Index { path: path.to_owned(), what: error.to_string() },
        }
    }

    /// What the token answered, where it was the token.
    pub(crate) fn answer(&self) -> Option<&RvError> {
        match self {
            Self::Token { source: Pkcs11Error::Pkcs11(answer, _), .. } => Some(answer),
            _ => None,
        }
    }
}

impl From<Error> for keystore::Error {
    fn from(error: Error) -> Self {
        Self::Storage(Box::new(error))
    }
}

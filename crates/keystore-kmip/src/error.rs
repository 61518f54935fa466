use std::io;
use std::path::{Path, PathBuf};

use model::{KeyId, KeyState};

use crate::protocol::{Operation, Reason, ServerState};
use crate::settings::Mode;

/// What is wrong with a KMIP store or its server, and what to do about it. Never shows a key, a password, or bytes that
/// a server sent.
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
    /// A part of the store is missing, or not what it was when it was written.
    #[error("{} {what}: {advice}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// There is something where a new store was to go.
    #[error("{} is there already: take another place", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Another process has the store open, or this one has already.
    #[error("{} is in use: one process at a time opens a store. End the other one first", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The index failed. Whether the change was made shows when the store has been opened again.
    #[error("the index {} failed ({what}): look at the disk's space and health, then restart", path.display())]
    Index {
        /// Which.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// The certificates or the key do not make a TLS client.
    #[error("{} {what}: see docs/kmip-store.md, Set-up", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The server could not be reached.
    #[error("the KMIP server {address} can't be reached: {source}. Look at whether it runs, and at its name and port")]
    Unreachable {
        /// Its address.
        address: String,
        /// What was said.
        source: io::Error,
    },
    /// The exchange broke off, or took too long. Whether the server did what was asked is not known.
    #[error("the KMIP server {address} did not answer {operation}: {source}. Look at its log; asking again is safe")]
    Broken {
        /// Its address.
        address: String,
        /// What was asked.
        operation: Operation,
        /// What was said.
        source: io::Error,
    },
    /// The server answered what is no KMIP, or no answer to what was asked.
    #[error("the KMIP server's answer to {operation} is none: {what}. Look at what listens there")]
    Garbage {
        /// What was asked.
        operation: Operation,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server refused.
    #[error("the KMIP server refused {operation} ({reason}): {said}")]
    Refused {
        /// What was asked.
        operation: Operation,
        /// Its reason.
        reason: Reason,
        /// Its words, without control characters, cut at 200.
        said: String,
    },
    /// The server's state of a key does not let it be brought to where the chain has it.
    #[error(
        "object `{object}` is {found} on the KMIP server and can't be made {wanted} there: somebody changed it. Compare it with the chain (survey), and deactivate or destroy its key"
    )]
    Astray {
        /// The server's identifier of the key.
        object: String,
        /// The server's state; `None` where it has no such object.
        found: Found,
        /// Where it should go.
        wanted: KeyState,
    },
    /// KMIP has no suspended state, and in placed mode applications ask the server.
    #[error(
        "key `{0}` can't be suspended in {mode} mode: KMIP 1.x has no such state, and applications would go on using the key. Deactivate it, or stop them at the server",
        mode = Mode::Placed
    )]
    NoSuspension(KeyId),
    /// The server does not hand out the key's bytes.
    #[error(
        "the KMIP server does not give the bytes of key `{key_id}`, and KMIP lets nobody compute with a key in this state: {source}. Allow Get to this client (docs/kmip-store.md, Identity)"
    )]
    NoBytes {
        /// The key.
        key_id: KeyId,
        /// What it said.
        source: Box<Error>,
    },
    /// The server has another key under the identifier than the one that was generated.
    #[error(
        "the KMIP server has another key than `{0}` under its identifier: stop using it, and compare the server with a backup"
    )]
    AnotherKey(KeyId),
    /// Only what this store made and has no record of is discarded, and only while nobody could use it.
    #[error("object `{0}` is no pre-active orphan of this store: nothing was destroyed")]
    NoOrphan(String),
    /// The operating system's random source failed.
    #[error("no random bytes from the operating system: {0}")]
    Random(rand_core::Error),
}

/// A server's state in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(pub Option<ServerState>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(state) => state.fmt(f),
            None => f.write_str("missing"),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn tls(path: &Path, what: impl ToString) -> Self {
        Self::Tls { path: path.to_owned(), what: what.to_string() }
    }

    /// Whether the server says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { reason: Reason::ItemNotFound, .. })
    }
}

impl From<Error> for keystore::Error {
    fn from(error: Error) -> Self {
        Self::Storage(Box::new(error))
    }
}

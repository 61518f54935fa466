//! The work that all roles share: follow the log and verify it, keep a replica, decide and append, answer commands, do
//! what is due.
//!
//! A process is made of a [`Node`] (its replica, its lanes into the log) and, for each role it plays, an endpoint for
//! commands and a loop over what is due. [`Node::record`] is the only place where a decision meets the journal.

mod archiver;
pub mod clock;
pub mod command;
pub mod config;
pub mod duty;
mod fair_queue;
mod follow;
pub mod health;
mod incoming;
mod lane;
pub mod lists;
mod lock;
mod node;
mod overlay;
pub mod process;
pub mod replay;
pub mod requests;
pub mod secret;

pub use clock::Clock;
pub use config::Config;
pub use lock::lock;
pub use node::{Node, NodeConfig, Recorded, Wanted};
pub use process::{Ports, Shutdown, Stopper};

/// Why a process can't go on as it is. Refusals are not errors: those are [`lifecycle::Rejection`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The replica's store.
    #[error("the replica: {0}")]
    Replica(#[from] journal_sled::Error),
    /// The archive.
    #[error("the archive: {0}")]
    Archive(String),
    /// The log.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The bus.
    #[error("the bus: {0}")]
    Bus(String),
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What was wrong with it, and what would be right.
        error: String,
    },
    /// A part of the process is gone, and the rest does not go on without it.
    #[error("the {part} has ended: {error}")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why.
        error: Box<Error>,
    },
    /// It was asked to stop before it had started.
    #[error("stopped before it had started")]
    Stopped,
    /// Something that must not be: a mistake in this program. Nothing was written.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// What is behind it.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Ended { error, .. } => error.cause(),
            other => other,
        }
    }
}

//! Why a store gives no answer.

use std::io;
use std::path::{Path, PathBuf};

use model::{Sequence, TenantId};

/// Why a store gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has the directory open; two writers would spoil it.
    #[error("{} is in use by another process, or twice in this one", .0.display())]
    Locked(PathBuf),
    /// The operating system refuses: no space, no permission, no such disk.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The sled store is not to be believed any more. It answers nothing from here on; opened again, it is set aside (a
    /// replica) or made anew (an archive's index), and nothing is lost that isn't elsewhere.
    #[error("the store in {} is broken and must be opened anew: {why}", .path.display())]
    Broken {
        /// The store.
        path: PathBuf,
        /// What was seen.
        why: String,
    },

    // === Replica ===
    /// The change was made on another head than the one that stands. Look again, judge again.
    #[error("tenant {tenant} stands at {}, and the change was made at {}", stands.0, given.0)]
    Moved {
        /// Whose.
        tenant: TenantId,
        /// The head in the store.
        stands: Sequence,
        /// The head before the change.
        given: Sequence,
    },
    /// The change does not end in the event that it brings: a mistake of the caller.
    #[error("the change of tenant {tenant} does not take in the event {} that it brings", sequence.0)]
    Misfit {
        /// Whose.
        tenant: TenantId,
        /// The head after the change.
        sequence: Sequence,
    },

    // === Archive ===
    /// The archive was written by another version.
    #[error("{} is not a segment of this version: {found}", .file.display())]
    Format {
        /// The segment.
        file: PathBuf,
        /// What it says it is.
        found: String,
    },
    /// Bytes that were written and synced are not there any more, or others are.
    #[error("{} is damaged at offset {offset}: {why}", .file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was seen.
        why: String,
    },
    /// Other bytes are archived for this event.
    #[error("event {} of tenant {tenant} is archived with other bytes", sequence.0)]
    Differs {
        /// Whose.
        tenant: TenantId,
        /// Which.
        sequence: Sequence,
    },
    /// An event between is missing.
    #[error("tenant {tenant} has archived up to {}, and event {} came next", last.0, given.0)]
    Gap {
        /// Whose.
        tenant: TenantId,
        /// The last that is archived.
        last: Sequence,
        /// The one given.
        given: Sequence,
    },
    /// A proof was asked for that goes further than what there is.
    #[error("tenant {tenant} has {} events there, and number {} was asked for", last.0, asked.0)]
    Beyond {
        /// Whose.
        tenant: TenantId,
        /// The last that there is.
        last: Sequence,
        /// The one asked for.
        asked: Sequence,
    },
    /// The archived events have another tree root than the one that a proof was asked for: one of them is not what was
    /// signed for.
    #[error("the first {size} events of tenant {tenant} have another root than was asked for")]
    OtherRoot {
        /// Whose.
        tenant: TenantId,
        /// How many events.
        size: u64,
    },
    /// Larger than any event can be.
    #[error("event {} of tenant {tenant} has {bytes} bytes", sequence.0)]
    TooLarge {
        /// Whose.
        tenant: TenantId,
        /// Which.
        sequence: Sequence,
        /// Its size.
        bytes: usize,
    },
    /// A write or sync failed before, and what is on disk is not known: nothing more is written until it is opened anew.
    #[error("{} could not be written before and must be opened anew", .0.display())]
    Failed(PathBuf),
}

impl Error {
    /// Names the path that an operating system's error is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

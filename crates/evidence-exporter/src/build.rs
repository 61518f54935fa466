//! Making a bundle: a replay from the first event on, verified as anybody would verify it, written as it goes. Memory does
//! not grow with the number of events, but with that of keys, requests and commands. For a thread that may block.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use evidence::bundle::{self, Bundle, CHECKPOINTS, EVENTS, LINES, MANIFEST, Statement};
use journal::note::Note;
use journal::{Record, ServiceKey};
use lifecycle::Rejection;
use lifecycle::decide::Exported;
use lifecycle::state::Checkpointed;
use model::history::BundleFile;
use model::{Digest, Fingerprint, Problem, ProblemType, Sequence, TenantId};

use crate::shelf::{Export, New, Trouble};

/// How many events are read at a time.
const PAGE: usize = 512;

/// How far a bundle is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    of: AtomicU64,
}

impl Progress {
    /// So many events, of so many. None of none where it waits for its turn.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed))
    }
}

/// What is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) root: Fingerprint,
    /// The first event of the period under test.
    pub(crate) from: u64,
    /// The checkpoint over the events that it is to hold.
    pub(crate) checkpoint: Checkpointed,
    /// That checkpoint's note, and what cosignatures there are of it and of those before.
    pub(crate) notes: Vec<Note>,
    /// The exporter's key.
    pub(crate) key: &'a ServiceKey,
    pub(crate) progress: &'a Progress,
    /// Set where everything is to stop.
    pub(crate) stop: &'a AtomicBool,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the exporter stops")]
    Stopped,
    #[error("{0}")]
    Disk(#[from] Trouble),
    #[error("{0}")]
    History(Problem),
    #[error("{0}")]
    Bundle(#[from] bundle::Error),
}

impl From<Failure> for Rejection {
    /// What a tenant is told. Paths are for the log.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disk(trouble) if trouble.is_for_want_of_room() => {
                Self::new(ProblemType::NoRoom, "there is no room for another bundle on the exporter's disk")
            }
            Failure::Disk(_) => Self::new(ProblemType::Unavailable, "the exporter's disk does not take the bundle"),
            other => Self::new(ProblemType::Unavailable, other),
        }
    }
}

/// Makes the files. `read` gives the events from one on, some at a time. Answers with what the bundle is, and with what is
/// to be recorded of it.
pub(crate) fn build(
    plan: &Plan<'_>,
    new: &New,
    read: impl Fn(Sequence, usize) -> Result<Vec<Record>, Problem>,
) -> Result<(Export, Exported), Failure> {
    let size = plan.checkpoint.size;
    plan.progress.of.store(size, Ordering::Relaxed);
    let mut bundle = Bundle::new(plan.tenant, plan.root, Sequence(plan.from));
    let (mut events, mut ocsf) = (new.create(EVENTS)?, new.create(LINES)?);
    let mut done = 0;
    while done < size {
        if plan.stop.load(Ordering::Relaxed) {
            return Err(Failure::Stopped);
        }
        let wanted = usize::try_from(size - done).unwrap_or(PAGE).min(PAGE);
        let records = read(Sequence(done + 1), wanted).map_err(Failure::History)?;
        if records.is_empty() {
            return Err(Failure::History(Problem::new(
                ProblemType::Unavailable,
                format!("event {} is missing", done + 1),
            )));
        }
        done += records.len() as u64;
        bundle.take(records, &mut events, &mut ocsf).map_err(|error| new.trouble(error))?;
        plan.progress.done.store(done, Ordering::Relaxed);
    }
    events.flush().and_then(|()| ocsf.flush()).map_err(|error| new.trouble(error))?;
    drop((events, ocsf));
    let made = bundle.finish(&plan.notes)?;
    let create = |name: &str| new.create(name).map_err(io::Error::from);
    let statement = made.write(plan.key, create).map_err(|error| new.trouble(error))?;
    let manifest = statement.sign(plan.key);
    let mut file = new.create(MANIFEST)?;
    file.write_all(&manifest).and_then(|()| file.flush()).map_err(|error| new.trouble(error))?;
    let files = files(new, &statement, &manifest).map_err(Failure::Disk)?;
    let of_name = |name: &str| files.iter().find(|file| file.name == name).map(|file| file.sha256);
    let missing = || Failure::History(Problem::new(ProblemType::Unavailable, "the bundle has no checkpoints"));
    let checkpoints = of_name(CHECKPOINTS).ok_or_else(missing)?;
    let Checkpointed { root, hash: checkpoint, .. } = plan.checkpoint.clone();
    let (from, manifest) = (plan.from, Digest::of(&statement.payload()));
    Ok((Export { manifest, from, size, files }, Exported { from, size, checkpoint, root, manifest, checkpoints }))
}

/// Every file, with its length and its digest.
fn files(new: &New, statement: &Statement, manifest: &[u8]) -> Result<Vec<BundleFile>, Trouble> {
    let named = statement.subject.iter().map(|subject| (subject.name.clone(), subject.digest.sha256));
    let all = named.chain([(MANIFEST.to_owned(), Digest::of(manifest))]);
    all.map(|(name, sha256)| Ok(BundleFile { bytes: new.length(&name)?, name, sha256 })).collect()
}

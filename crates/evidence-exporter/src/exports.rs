//! Bundles, on command and on schedule: one at a time a tenant, few at once, the others in turn.
//!
//! Making one takes longer than whoever asks for it waits. So `evidence.export` is answered `in-progress` for as long as it
//! is under way, with how far it is, and its repeats are too; once it is recorded they get its record, as with any command.
//! A bundle that failed is told to the next repeat, and the one after that tries again.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::command::SignedCommand;
use journal::note::Note;
use journal::{Body, Journal};
use lifecycle::decide::{Exported, may_export};
use lifecycle::{Footprint, Input, Rejection};
use model::event::EvidenceExported;
use model::history::{BundleChunk, BundleFilesAnswer, BundleRequest, BundlesAnswer, CHUNK_BYTES_MAX};
use model::text::Base64;
use model::{CommandId, Digest, EventType, Problem, ProblemType, Sequence, TenantId};
use serde_json::json;
use service::command::{self, Answer};
use service::{Error, Node, Recorded, Shutdown, Wanted, lock};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::build::{Failure, Plan, Progress, build};
use crate::checkpoints;
use crate::shelf::{Export, Held, Shelf, Trouble};
use crate::witnessed::Witnessed;
use crate::{ROLE, archive, read_on};

/// How many bundles are made at once.
const AT_ONCE: usize = 2;
/// How many wait for their turn, each of another tenant.
const WAITING_MAX: usize = 256;
/// How many bundles an answer lists.
const LISTED_MAX: usize = 256;
/// How many events are read at a time to see whether one names a bundle.
const PAGE: usize = 512;

/// The bundles of a process, and those that it makes.
pub(crate) struct Exports<J> {
    node: Node<J>,
    witnessed: Arc<Witnessed>,
    shelf: Shelf,
    keep: Option<NonZeroUsize>,
    queue: mpsc::Sender<Job>,
    under_way: std::sync::Mutex<HashMap<TenantId, UnderWay>>,
    stop: AtomicBool,
}

/// By what a command is known.
type Identity = (CommandId, Digest);

/// A tenant's bundle that is being made, waits for its turn, or has failed and nobody was told.
struct UnderWay {
    /// The command; none where it is made by itself.
    asked: Option<Identity>,
    progress: Arc<Progress>,
    failed: Option<Rejection>,
}

/// A bundle to be made.
pub(crate) struct Job {
    tenant: TenantId,
    command: Option<Arc<SignedCommand>>,
    from: u64,
    progress: Arc<Progress>,
    /// Who waits for it, where somebody does.
    waits: Option<oneshot::Sender<Result<Recorded, Rejection>>>,
}

impl<J: Journal> Exports<J> {
    /// The bundles in a folder, and the jobs that [`Exports::work`] is to be given.
    pub(crate) fn open(
        node: Node<J>,
        witnessed: Arc<Witnessed>,
        dir: &Path,
        keep: Option<NonZeroUsize>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Job>), Error> {
        let wrong = |trouble: Trouble| Error::File { path: dir.to_owned(), error: trouble.to_string() };
        let (shelf, (queue, jobs)) = (Shelf::open(dir).map_err(wrong)?, mpsc::channel(WAITING_MAX));
        let (under_way, stop) = (std::sync::Mutex::default(), AtomicBool::new(false));
        Ok((Arc::new(Self { node, witnessed, shelf, keep, queue, under_way, stop }), jobs))
    }

    // === Asking for one ===

    /// Answers `evidence.export`.
    pub(crate) async fn command(&self, tenant: TenantId, signed: Arc<SignedCommand>) -> Answer {
        let identity = (signed.command.id, signed.digest);
        if let Some(refused) = self.refuse_while_under_way(tenant, identity) {
            return Err(refused);
        }
        let input = Input::Command(signed.clone());
        let view = self.node.view(tenant, input.footprint()).map_err(unavailable)?;
        if let Some(recorded) = Recorded::before(&view, &input) {
            return Ok(command::recorded(recorded));
        }
        self.cover(tenant).await?;
        let look = |view: &lifecycle::View| match Recorded::before(view, &input) {
            None => may_export(view, &signed, self.node.clock().now()).map(Asked::From),
            Some(recorded) => Ok(Asked::Recorded(recorded)),
        };
        match self.node.check(tenant, input.footprint(), look).await? {
            Asked::Recorded(recorded) => Ok(command::recorded(recorded)),
            Asked::From(from) => {
                self.begin(tenant, Some(signed.clone()), from, None)?;
                Err(self.refuse_while_under_way(tenant, identity).unwrap_or_else(|| in_progress("it begins", (0, 0))))
            }
        }
    }

    /// Has a checkpoint signed over what has none yet: a bundle is to have in it what was done until now.
    async fn cover(&self, tenant: TenantId) -> Result<(), Rejection> {
        if self.node.replica().progress(tenant).map_err(unavailable)?.uncovered_since.is_none() {
            return Ok(());
        }
        match self.node.record(tenant, ROLE, Wanted::Checkpoint).await {
            // Another was faster.
            Err(Rejection { problem: ProblemType::NothingDue | ProblemType::NotYetDue, .. }) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Makes the bundle that is due.
    pub(crate) async fn due(&self, tenant: TenantId) -> Result<Recorded, Rejection> {
        // Those that fall due at once come one after the other: what waits here would be in the way of checkpoints.
        if WAITING_MAX - self.queue.capacity() >= AT_ONCE {
            return Rejection::new(ProblemType::Busy, "other bundles are made first").err();
        }
        self.cover(tenant).await?;
        let (waits, made) = oneshot::channel();
        self.begin(tenant, None, 1, Some(waits))?;
        made.await.unwrap_or_else(|_| Rejection::from(Failure::Stopped).err())
    }

    /// What a command is told that is under way, has failed, or has to wait for another of its tenant.
    fn refuse_while_under_way(&self, tenant: TenantId, identity: Identity) -> Option<Problem> {
        let mut under_way = lock(&self.under_way);
        let UnderWay { asked, progress, failed } = under_way.get(&tenant)?;
        let ours = *asked == Some(identity);
        match failed.clone() {
            Some(failed) => {
                // Told once; asked again, it is tried again.
                under_way.remove(&tenant);
                ours.then(|| failed.into())
            }
            None if ours => Some(in_progress("the bundle is being made", progress.get())),
            None => Some(in_progress("another bundle of this tenant is made first", progress.get())),
        }
    }

    fn begin(
        &self,
        tenant: TenantId,
        command: Option<Arc<SignedCommand>>,
        from: u64,
        waits: Option<oneshot::Sender<Result<Recorded, Rejection>>>,
    ) -> Result<(), Rejection> {
        let mut under_way = lock(&self.under_way);
        if under_way.get(&tenant).is_some_and(|under_way| under_way.failed.is_none()) {
            return Rejection::new(ProblemType::InProgress, "another bundle of this tenant is made first").err();
        }
        let (asked, progress) = (command.as_ref().map(|signed| (signed.command.id, signed.digest)), Arc::default());
        let job = Job { tenant, command, from, progress: Arc::clone(&progress), waits };
        match self.queue.try_send(job) {
            Ok(()) => {
                under_way.insert(tenant, UnderWay { asked, progress, failed: None });
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                Rejection::new(ProblemType::Busy, "many bundles of others wait already").err()
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Rejection::from(Failure::Stopped).err(),
        }
    }

    // === Making them ===

    /// Makes what is asked for until `shutdown`; what is under way then is given up, and nothing of it is left.
    pub(crate) async fn work(self: Arc<Self>, mut jobs: mpsc::Receiver<Job>, shutdown: Shutdown) -> Result<(), Error> {
        self.clone().recover().await;
        let mut shutdown = std::pin::pin!(shutdown.requested());
        let mut at_work = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = at_work.join_next() => {}
                Some(job) = jobs.recv(), if at_work.len() < AT_ONCE => {
                    at_work.spawn(self.clone().carry_out(job));
                }
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        while at_work.join_next().await.is_some() {}
        Ok(())
    }

    async fn carry_out(self: Arc<Self>, job: Job) {
        let Job { tenant, command, from, progress, waits } = job;
        let outcome = self.clone().make(tenant, command.clone(), from, progress.clone()).await;
        match &outcome {
            Ok(Recorded { sequence, .. }) => info!(%tenant, sequence = sequence.0, "a bundle was made"),
            Err(rejection) => warn!(%tenant, %rejection, "no bundle was made"),
        }
        let asked = command.map(|signed| (signed.command.id, signed.digest));
        let mut under_way = lock(&self.under_way);
        match (&outcome, asked) {
            (Err(rejection), Some(_)) => {
                under_way.insert(tenant, UnderWay { asked, progress, failed: Some(rejection.clone()) });
            }
            _ => drop(under_way.remove(&tenant)),
        }
        if let Some(waits) = waits {
            // Whoever waited may have gone.
            let _ = waits.send(outcome);
        }
    }

    /// From nothing to a recorded bundle: see `shelf` for the steps, and what a crash after each of them means.
    async fn make(
        self: Arc<Self>,
        tenant: TenantId,
        command: Option<Arc<SignedCommand>>,
        from: u64,
        progress: Arc<Progress>,
    ) -> Result<Recorded, Rejection> {
        let exports = self.clone();
        let building = move || exports.put(tenant, from, &progress);
        let (held, export, exported) = blocking(building).await?;
        let recorded = self.node.record(tenant, ROLE, Input::Exported { command, exported }).await;
        let exports = self.clone();
        let done = recorded.clone();
        blocking(move || {
            exports.settle(&held, &export, &done);
            Ok(())
        })
        .await?;
        recorded
    }

    /// Builds a bundle and puts it under its name. Blocking.
    fn put(&self, tenant: TenantId, from: u64, progress: &Progress) -> Result<(Held, Export, Exported), Rejection> {
        let failed = |failure: Failure| {
            error!(%tenant, %failure, "a bundle can't be made");
            Rejection::from(failure)
        };
        let held = self.shelf.hold(tenant).map_err(|trouble| failed(trouble.into()))?;
        let Some(held) = held else {
            return Rejection::new(ProblemType::InProgress, "another exporter makes a bundle of this tenant").err();
        };
        self.collect(tenant, &held).map_err(|trouble| failed(trouble.into()))?;
        let size = self.node.replica().progress(tenant).map_err(unavailable)?.covered;
        let footprint = Footprint { checkpoint: Some(size), ..Footprint::default() };
        let view = self.node.view(tenant, footprint).map_err(unavailable)?;
        let Some(checkpoint) = view.checkpoint else {
            return Rejection::new(ProblemType::Unavailable, "there is no checkpoint yet").err();
        };
        let notes = self.notes(tenant, size)?;
        let plan = Plan {
            tenant,
            root: self.node.root(),
            from,
            checkpoint,
            notes,
            key: self.node.key(ROLE).map_err(unavailable)?,
            progress,
            stop: &self.stop,
        };
        let read = |from, max| read_on(&self.node, archive(&self.node)?, tenant, from, max);
        let new = held.begin().map_err(|trouble| failed(trouble.into()))?;
        let (export, exported) = build(&plan, &new, read).map_err(failed)?;
        held.put(new, &export).map_err(|trouble| failed(trouble.into()))?;
        Ok((held, export, exported))
    }

    /// The checkpoint over so many events, as it stands in the log behind them, and those before it that witnesses have
    /// cosigned, each with what they said.
    fn notes(&self, tenant: TenantId, size: u64) -> Result<Vec<Note>, Rejection> {
        let mut sizes: BTreeSet<u64> =
            self.witnessed.sizes_cosigned(tenant, size).map_err(unavailable)?.into_iter().collect();
        sizes.insert(size);
        let mut notes = Vec::with_capacity(sizes.len());
        for size in sizes {
            let recorded = checkpoints::at(&self.node, tenant, size).map_err(unavailable)?;
            let missing = || unavailable(format!("there is no checkpoint over {size} events"));
            let mut note = recorded.ok_or_else(missing)?.note;
            for lines in self.witnessed.cosignatures(tenant, size).map_err(unavailable)? {
                note.add(&lines).map_err(unavailable)?;
            }
            notes.push(note);
        }
        Ok(notes)
    }

    /// What follows when it is known whether a bundle is recorded. Blocking.
    fn settle(&self, held: &Held, export: &Export, recorded: &Result<Recorded, Rejection>) {
        let settled = match recorded {
            Ok(event) => self.mark(held, export.manifest, *event),
            // Perhaps it is recorded, and nobody has told us: the log is looked at the next time.
            Err(rejection) if rejection.problem.is_passing() || rejection.problem == ProblemType::Stopped => Ok(()),
            Err(_) => held.unmarked().and_then(|unmarked| {
                let orphan = unmarked.iter().any(|other| other.manifest == export.manifest);
                if orphan { held.remove(export.manifest) } else { Ok(()) }
            }),
        };
        if let Err(trouble) = settled {
            error!(%trouble, "the folder of bundles could not be put in order; the next bundle of this tenant tries again");
        }
    }

    fn mark(&self, held: &Held, manifest: Digest, event: Recorded) -> Result<(), Trouble> {
        held.mark(manifest, event)?;
        match self.keep {
            Some(keep) => held.prune(keep).map(|_| ()),
            None => Ok(()),
        }
    }

    // === After a crash ===

    /// Puts every tenant's folder in order that a crash may have left otherwise.
    async fn recover(self: Arc<Self>) {
        let recovered = tokio::task::spawn_blocking(move || {
            let tenants = self.shelf.tenants().unwrap_or_else(|trouble| {
                error!(%trouble, "the folder of bundles can't be read");
                Vec::new()
            });
            for tenant in tenants {
                // Whoever holds it puts it in order.
                let held = self.shelf.hold(tenant);
                let collected = held.and_then(|held| held.map_or(Ok(()), |held| self.collect(tenant, &held)));
                if let Err(trouble) = collected {
                    error!(%tenant, %trouble, "the folder of bundles can't be put in order");
                }
            }
        });
        if let Err(error) = recovered.await {
            error!(%error, "the folder of bundles was not put in order");
        }
    }

    /// Removes what was begun, marks what was recorded and not marked, and removes what was never recorded. Blocking.
    fn collect(&self, tenant: TenantId, held: &Held) -> Result<(), Trouble> {
        held.clean()?;
        for export in held.unmarked()? {
            match self.named_by(tenant, &export) {
                Ok(Some(event)) => self.mark(held, export.manifest, event)?,
                Ok(None) => {
                    info!(%tenant, manifest = %export.manifest, "a bundle that no event names is removed");
                    held.remove(export.manifest)?;
                }
                // It stays until the log can be looked at.
                Err(problem) => warn!(%tenant, %problem, "it is not known whether a bundle was recorded"),
            }
        }
        Ok(())
    }

    /// The event that names a bundle. It stands behind those that the bundle holds.
    fn named_by(&self, tenant: TenantId, export: &Export) -> Result<Option<Recorded>, Problem> {
        let archive = archive(&self.node)?;
        let mut next = Sequence(export.size + 1);
        loop {
            let records = read_on(&self.node, archive, tenant, next, PAGE)?;
            if records.is_empty() {
                return Ok(None);
            }
            for record in &records {
                if names(record, export.manifest) {
                    return Ok(Some(Recorded { sequence: next, hash: record.hash() }));
                }
                next = next.next();
            }
        }
    }

    // === Handing them out ===

    /// Answers `hist.bundle`. Blocking.
    pub(crate) fn answer(&self, tenant: TenantId, asked: &BundleRequest) -> Answer {
        let failed = |trouble: Trouble| {
            error!(%tenant, %trouble, "bundles can't be read");
            Problem::new(ProblemType::Unavailable, "the exporter can't read its bundles")
        };
        let unknown = |what: &str| Problem::new(ProblemType::UnknownExport, what);
        let answer = match (asked.manifest, &asked.file, asked.offset, asked.before) {
            (None, None, None, before) => {
                let mut bundles = self.shelf.recorded(tenant).map_err(failed)?;
                bundles.retain(|bundle| before.is_none_or(|before| bundle.sequence < before));
                bundles.truncate(LISTED_MAX);
                json!(BundlesAnswer { bundles })
            }
            (Some(manifest), None, None, None) => {
                let export = self.shelf.export(tenant, manifest).map_err(failed)?;
                let export = export.ok_or_else(|| unknown(&format!("there is no bundle {manifest}")))?;
                json!(BundleFilesAnswer { manifest, files: export.files })
            }
            (Some(manifest), Some(file), Some(offset), None) => {
                let chunk = self.shelf.chunk(tenant, manifest, file, offset, CHUNK_BYTES_MAX).map_err(failed)?;
                let data = chunk.ok_or_else(|| unknown(&format!("bundle {manifest} has no `{file}`")))?;
                json!(BundleChunk { offset, data: Base64(data) })
            }
            _ => {
                let detail = "ask with nothing, `before`, `manifest`, or `manifest`, `file` and `offset`";
                return Err(Problem::new(ProblemType::Malformed, detail));
            }
        };
        Ok(answer)
    }
}

enum Asked {
    Recorded(Recorded),
    From(u64),
}

/// Whether an event names this bundle. One that is void does so as well, and keeps what need not be kept: nothing worse.
fn names(record: &journal::Record, manifest: Digest) -> bool {
    let Ok(body) = Body::parse(&record.payload) else { return false };
    body.event_type == EventType::EvidenceExported.full_name()
        && serde_json::from_str::<EvidenceExported>(&body.data).is_ok_and(|event| event.manifest == manifest)
}

fn in_progress(detail: &str, (done, of): (u64, u64)) -> Problem {
    Problem::new(ProblemType::InProgress, format!("{detail}: {done} of {of} events")).with("done", done).with("of", of)
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Rejection> + Send + 'static,
) -> Result<T, Rejection> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| unavailable(error).err())
}

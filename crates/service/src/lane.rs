//! The lane of a tenant: the only place where a decision meets the journal.
//!
//! Jobs queue here while an append is in flight, and the next batch is whatever has gathered. The steps of a batch, and
//! what a crash after each means:
//!
//! 1. *Decide and sign* each job on top of those before it. A crash: nothing happened.
//! 2. *Append* to the log, behind the head that was decided on. **This is the commit point.** A crash before the log has
//!    it: nothing happened, and whoever asked hears nothing and asks again. A crash after: it is recorded; the replica
//!    finds it in the log, and the same command asked again is answered with it.
//! 3. *Apply* to the replica, and hand on to the archive. A crash: as above; both are synced later, and read from the log
//!    what they lack.
//! 4. *Answer*.
//!
//! An append that is refused means that somebody else wrote first: the lane catches up, and decides the rest again. If
//! the outcome of an append is not known, the log is read before anything else is done.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use journal::note::Checkpoint;
use journal::{Append, Head, Journal, Outgoing};
use journal_sled::Change;
use lifecycle::{Footprint, Input, Judgement, Prepared, Rejection, View, decide, judge};
use model::event::PAYLOAD_BYTES_MAX;
use model::{ProblemType, ServiceRole, TenantId};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use tracing::{debug, error, warn};

use crate::Error;
use crate::clock;
use crate::follow::Inbox;
use crate::lock;
use crate::node::{Node, Recorded, Wanted, unavailable};
use crate::overlay::Overlay;

/// How many events go into the log at once.
const BATCH: usize = 128;
/// How often a job is decided again because somebody else wrote first.
const ATTEMPTS_MAX: u32 = 64;

/// Something to record.
pub(crate) struct Job {
    pub(crate) role: ServiceRole,
    pub(crate) wanted: Wanted,
    pub(crate) answer: oneshot::Sender<Result<Recorded, Rejection>>,
    pub(crate) attempts: u32,
}

/// One tenant's queue into the log, and the lock on its replica.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    /// The events that the follower has for this tenant.
    pub(crate) inbox: Mutex<Inbox>,
    replica: Arc<AsyncMutex<()>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    driven: bool,
}

/// A job that was decided: what it waits for is the append.
struct Decided {
    job: Job,
    change: Change,
    outgoing: Outgoing,
}

/// A batch as it was decided, before it is appended.
struct Batch {
    head: Head,
    decided: Vec<Decided>,
    /// Jobs that ask for what one of the batch records, by its place: the same command sent twice.
    repeats: Vec<(usize, Job)>,
}

impl Lane {
    /// Queues a job, and says whether nobody drives the lane: then the caller must.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        !std::mem::replace(&mut queue.driven, true)
    }

    /// Takes the lock on the tenant's replica: whoever holds it is the only one to move its head.
    pub(crate) async fn hold(&self) -> OwnedMutexGuard<()> {
        self.replica.clone().lock_owned().await
    }

    /// Records batch after batch until the queue is empty.
    pub(crate) async fn drive<J: Journal>(&self, node: &Node<J>, tenant: TenantId) {
        loop {
            let jobs = {
                let mut queue = lock(&self.queue);
                let count = queue.jobs.len().min(BATCH);
                if count == 0 {
                    queue.driven = false;
                    return;
                }
                queue.jobs.drain(..count).collect::<Vec<Job>>()
            };
            let _held = self.hold().await;
            // A panic is this batch's misfortune, not the lane's: those who asked are told that it is not known.
            match AssertUnwindSafe(batch(node, tenant, jobs)).catch_unwind().await {
                Ok(again) => lock(&self.queue).jobs.extend(again),
                Err(_) => error!(%tenant, "a batch panicked; the lane goes on"),
            }
        }
    }
}

/// Records what it can of these jobs and answers them. Those to be decided again come back.
async fn batch<J: Journal>(node: &Node<J>, tenant: TenantId, mut jobs: Vec<Job>) -> Vec<Job> {
    if let Err(rejection) = node.check_alarm(tenant) {
        answer_all(jobs, &rejection);
        return Vec::new();
    }
    // A checkpoint covers what the archive has on its disk: everything before this batch, nothing of it.
    if jobs.iter().any(|job| matches!(job.wanted, Wanted::Checkpoint)) {
        let flushed = node.archive_everything(tenant).await;
        let (mut checkpoints, others): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| matches!(job.wanted, Wanted::Checkpoint));
        jobs = match flushed {
            Ok(()) => {
                checkpoints.extend(others);
                checkpoints
            }
            Err(error) => {
                answer_all(checkpoints, &unavailable(error));
                others
            }
        };
    }
    let mut refused = Vec::new();
    let Batch { head, decided, repeats } = match decide_all(node, tenant, jobs, &mut refused) {
        Ok(batch) => batch,
        Err((error, jobs)) => {
            answer_all(jobs, &unavailable(error));
            return Vec::new();
        }
    };
    if decided.is_empty() {
        return refuse(node, tenant, head, refused).await;
    }
    // Refusals come last: they may rest on what the batch records, and are good only once that stands.
    match append(node, tenant, head, decided, repeats).await {
        Appended::Stands => {
            refuse_at_once(refused);
            Vec::new()
        }
        Appended::Again(mut jobs) => {
            jobs.extend(again(refused.into_iter().map(|(job, _)| job)));
            jobs
        }
        Appended::Unknown(rejection) => {
            answer_all(refused.into_iter().map(|(job, _)| job), &rejection);
            Vec::new()
        }
    }
}

/// What became of a batch.
enum Appended {
    /// All of it stands.
    Stands,
    /// Some of it does not, and these jobs are to be decided again.
    Again(Vec<Job>),
    /// It is not known, or the log refuses: whoever is not answered is told so.
    Unknown(Rejection),
}

/// Answers refusals that rest on what stands at the end of the log.
fn refuse_at_once(refused: Vec<(Job, Rejection)>) {
    refused.into_iter().for_each(|(job, rejection)| answer(job, Err(rejection)));
}

fn answer_all(jobs: impl IntoIterator<Item = Job>, rejection: &Rejection) {
    jobs.into_iter().for_each(|job| answer(job, Err(rejection.clone())));
}

/// Answers a job. The asker may have gone away; what was recorded stays recorded.
fn answer(job: Job, outcome: Result<Recorded, Rejection>) {
    let _ = job.answer.send(outcome);
}

/// Decides each job on top of those before it. Jobs that were recorded before are answered at once; refusals are kept for
/// [`refuse`].
fn decide_all<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    jobs: Vec<Job>,
    refused: &mut Vec<(Job, Rejection)>,
) -> Result<Batch, (Error, Vec<Job>)> {
    let mut overlay = Overlay::new(node.replica(), tenant);
    let head = match overlay.view(Footprint::default()) {
        Ok(view) => view.chain.head(),
        Err(error) => return Err((error, jobs)),
    };
    let mut batch = Batch { head, decided: Vec::new(), repeats: Vec::new() };
    for job in jobs {
        if let Some(place) = repeated(&batch.decided, &job) {
            batch.repeats.push((place, job));
            continue;
        }
        match decide_one(node, &overlay, &job) {
            Ok(Step::Recorded(recorded)) => answer(job, Ok(recorded)),
            Ok(Step::Decided(change, outgoing)) => {
                overlay.put(&change.after);
                batch.decided.push(Decided { job, change: *change, outgoing });
            }
            Ok(Step::Refused(rejection)) => refused.push((job, rejection)),
            Err(error) => answer(job, Err(unavailable(error))),
        }
    }
    Ok(batch)
}

/// The place in the batch of the same command, byte for byte.
fn repeated(decided: &[Decided], job: &Job) -> Option<usize> {
    let identity = |job: &Job| match &job.wanted {
        Wanted::Input(input) => input.identity(),
        Wanted::Checkpoint => None,
    };
    let wanted = identity(job)?;
    decided.iter().position(|decided| identity(&decided.job) == Some(wanted))
}

enum Step {
    /// It was recorded before.
    Recorded(Recorded),
    /// It is to be appended.
    Decided(Box<Change>, Outgoing),
    /// It is not to be done.
    Refused(Rejection),
}

fn decide_one<J: Journal>(node: &Node<J>, overlay: &Overlay<'_>, job: &Job) -> Result<Step, Error> {
    let footprint = match &job.wanted {
        Wanted::Input(input) => input.footprint(),
        Wanted::Checkpoint => Footprint::default(),
    };
    let before = overlay.view(footprint)?;
    let input = match &job.wanted {
        Wanted::Input(input) => (**input).clone(),
        Wanted::Checkpoint => checkpoint(node, &before)?,
    };
    if let Some(recorded) = Recorded::before(&before, &input) {
        return Ok(Step::Recorded(recorded));
    }
    let time = match node.check_clock(&before) {
        Ok(time) => time,
        Err(rejection) => return Ok(Step::Refused(rejection)),
    };
    let event = match decide(&before, &input, time) {
        Ok(event) => event,
        Err(rejection) => return Ok(Step::Refused(rejection)),
    };
    let event_type = event.event_type();
    let (record, authentic) = node.key(job.role)?.sign_event(&before.chain, clock::event_id(), time, &event);
    if record.payload.len() > PAYLOAD_BYTES_MAX {
        let detail = format!("the event would have {} bytes; {PAYLOAD_BYTES_MAX} fit", record.payload.len());
        return Ok(Step::Refused(Rejection::new(ProblemType::TooLarge, detail)));
    }
    // Judged like anybody else's, with nothing left out but the signature that was made a moment ago.
    let mut after = before.clone();
    match judge(&mut after, &Prepared::own(record.clone(), authentic, event, input)) {
        Ok(Judgement::Lawful) => {}
        other => return Err(Error::Internal(format!("our own {event_type} is not lawful: {other:?}"))),
    }
    let change = Change { before, after, record: record.clone() };
    Ok(Step::Decided(Box::new(change), Outgoing { event_type, record }))
}

fn checkpoint<J: Journal>(node: &Node<J>, view: &View) -> Result<Input, Error> {
    let checkpoint = Checkpoint::of(view.chain.tenant(), view.chain.tree());
    Ok(Input::Checkpoint(checkpoint.sign(node.key(ServiceRole::EvidenceExporter)?.signing_key())))
}

/// Answers refusals, unless the log has more than they were decided on: then they are decided again. A service that lags
/// behind must not tell somebody that what was just done has not been done; one that can't tell says so.
async fn refuse<J: Journal>(node: &Node<J>, tenant: TenantId, head: Head, refused: Vec<(Job, Rejection)>) -> Vec<Job> {
    if refused.is_empty() {
        return Vec::new();
    }
    let jobs = |refused: Vec<(Job, Rejection)>| refused.into_iter().map(|(job, _)| job);
    match behind(node, tenant, head).await {
        Ok(false) => {
            refuse_at_once(refused);
            Vec::new()
        }
        Ok(true) => again(jobs(refused)),
        Err(error) => {
            debug!(%tenant, %error, "could not look into the log before a refusal");
            answer_all(jobs(refused), &unavailable(error));
            Vec::new()
        }
    }
}

/// Whether the log had more than this head. Then the replica has it now.
async fn behind<J: Journal>(node: &Node<J>, tenant: TenantId, head: Head) -> Result<bool, Error> {
    let last = match node.journal().last(tenant).await {
        Ok(last) => last,
        Err(journal::Error::NoTenant(_)) if head == Head::EMPTY => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if last <= head.sequence {
        return Ok(false);
    }
    node.catch_up_held(tenant).await?;
    Ok(node.replica().head(tenant)?.sequence > head.sequence)
}

/// Appends a batch and applies what stands.
async fn append<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    head: Head,
    mut decided: Vec<Decided>,
    repeats: Vec<(usize, Job)>,
) -> Appended {
    let outgoing: Vec<Outgoing> = decided.iter().map(|decided| decided.outgoing.clone()).collect();
    // COMMIT POINT: what the log has acknowledged is done, whatever happens to us from here on.
    let recorded = match node.journal().append(tenant, head, &outgoing).await {
        Ok(Append::Recorded) => decided.len(),
        Ok(Append::HeadMoved { recorded }) => recorded.min(decided.len()),
        Err(error) => return doubt(node, tenant, decided, repeats, &error).await,
    };
    let rest = decided.split_off(recorded);
    let changes: Vec<Change> = decided.iter().map(|decided| decided.change.clone()).collect();
    if let Err(error) = node.apply(changes).await {
        warn!(%tenant, %error, "recorded, but not applied yet; it is read back from the log");
    }
    let places: Vec<Recorded> = decided.iter().map(|decided| place(&decided.change)).collect();
    decided.into_iter().zip(&places).for_each(|(decided, recorded)| answer(decided.job, Ok(*recorded)));
    let mut unanswered: Vec<Job> = rest.into_iter().map(|decided| decided.job).collect();
    for (place, job) in repeats {
        match places.get(place) {
            Some(recorded) => answer(job, Ok(*recorded)),
            None => unanswered.push(job),
        }
    }
    if unanswered.is_empty() {
        return Appended::Stands;
    }
    let stood = places.last().map_or(head, |last| Head { sequence: last.sequence, hash: last.hash });
    match behind(node, tenant, stood).await {
        Ok(true) => Appended::Again(again(unanswered)),
        // Nobody wrote first, and still it was refused: a full disk at the server, say.
        Ok(false) => unknown(unanswered, unavailable("the log refuses to record; see the server's log")),
        Err(error) => unknown(unanswered, unavailable(error)),
    }
}

fn unknown(unanswered: Vec<Job>, rejection: Rejection) -> Appended {
    answer_all(unanswered, &rejection);
    Appended::Unknown(rejection)
}

fn place(change: &Change) -> Recorded {
    let head = change.after.chain.head();
    Recorded { sequence: head.sequence, hash: head.hash }
}

/// Jobs to be decided again, but not for ever.
fn again(jobs: impl IntoIterator<Item = Job>) -> Vec<Job> {
    let (again, given_up): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.attempts < ATTEMPTS_MAX);
    let contended = Rejection::new(ProblemType::Contended, format!("{ATTEMPTS_MAX} times somebody else wrote first"));
    answer_all(given_up, &contended);
    again.into_iter().map(|job| Job { attempts: job.attempts + 1, ..job }).collect()
}

/// The append's outcome is not known: the log is read, and what stands there is what happened. A command that stands is
/// answered with its place; whatever else is decided again, and finds out whether it was done.
async fn doubt<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    decided: Vec<Decided>,
    repeats: Vec<(usize, Job)>,
    error: &journal::Error,
) -> Appended {
    warn!(%tenant, %error, "the outcome of an append is not known; reading back");
    let wanted: Vec<Recorded> = decided.iter().map(|decided| place(&decided.change)).collect();
    let mut jobs: Vec<Job> = decided.into_iter().map(|decided| decided.job).collect();
    if let Err(error) = node.catch_up_held(tenant).await {
        jobs.extend(repeats.into_iter().map(|(_, job)| job));
        return unknown(jobs, unavailable(error));
    }
    let mut unanswered = Vec::new();
    let mut stands = Vec::new();
    for (job, wanted) in jobs.into_iter().zip(wanted) {
        let found = node.replica().tail(tenant, wanted.sequence, 1).ok().and_then(|tail| tail.into_iter().next());
        let stood = found.is_some_and(|(sequence, record)| sequence == wanted.sequence && record.hash() == wanted.hash);
        stands.push(stood.then_some(wanted));
        if stood { answer(job, Ok(wanted)) } else { unanswered.push(job) }
    }
    for (place, job) in repeats {
        match stands.get(place).copied().flatten() {
            Some(recorded) => answer(job, Ok(recorded)),
            None => unanswered.push(job),
        }
    }
    Appended::Again(again(unanswered))
}

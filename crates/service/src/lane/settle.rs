//! A batch is seen through: what the log says of it, what is applied, what is answered.

use journal::{Append, Head, Journal};
use journal_sled::Change;
use lifecycle::Rejection;
use model::{ProblemType, TenantId};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::{Batch, Decided, Job, UnderWay};
use crate::Error;
use crate::node::{Node, Recorded, unavailable};

/// How often a job is decided again because somebody else wrote first.
const ATTEMPTS_MAX: u32 = 64;

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

pub(super) fn answer_all(jobs: impl IntoIterator<Item = Job>, rejection: &Rejection) {
    jobs.into_iter().for_each(|job| answer(job, Err(rejection.clone())));
}

/// Answers a job. The asker may have gone away; what was recorded stays recorded.
pub(super) fn answer(job: Job, outcome: Result<Recorded, Rejection>) {
    let _ = job.answer.send(outcome);
}

/// Answers refusals, unless the log has more than they were decided on: then they are decided again. A service that lags
/// behind must not tell somebody that what was just done has not been done; one that can't tell says so.
pub(super) async fn refuse<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    head: Head,
    refused: Vec<(Job, Rejection)>,
) -> Vec<Job> {
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

/// Waits for what the log says of a batch, and applies and answers what stands. Says whether all of it stands, and which
/// jobs are to be decided again. Where it is not so, nothing that was sent behind it is on its way any more.
pub(super) async fn settle<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    last: UnderWay,
    behind: &mut Option<UnderWay>,
) -> (bool, Vec<Job>) {
    let UnderWay { batch, append } = last;
    let Some(append) = append else {
        // Nothing is to be recorded, and everything that it rests on stands.
        batch.before.into_iter().for_each(|(recorded, job)| answer(job, Ok(recorded)));
        refuse_at_once(batch.refused);
        return (true, Vec::new());
    };
    let said = landed(append).await;
    let whole = matches!(said, Ok(Append::Recorded));
    if !whole && let Some(behind) = behind {
        // What it says of itself is looked up later: it counts that no record of ours is on its way when the log is read.
        if let Some(append) = behind.append.take() {
            let _ = landed(append).await;
        }
    }
    // What was decided on top of batches that stand is answered like the batch itself.
    let Batch { head, decided, repeats, before, refused } = batch;
    before.into_iter().for_each(|(recorded, job)| answer(job, Ok(recorded)));
    match stand(node, tenant, head, decided, repeats, said).await {
        Appended::Stands => {
            refuse_at_once(refused);
            (whole, Vec::new())
        }
        Appended::Again(mut jobs) => {
            jobs.extend(again(refused.into_iter().map(|(job, _)| job)));
            (false, jobs)
        }
        Appended::Unknown(rejection) => {
            answer_all(refused.into_iter().map(|(job, _)| job), &rejection);
            (false, Vec::new())
        }
    }
}

/// What an append came to. One that panicked came to nothing that is known.
async fn landed(append: JoinHandle<Result<Append, journal::Error>>) -> Result<Append, journal::Error> {
    append.await.unwrap_or_else(|error| Err(journal::Error::Unavailable(error.to_string())))
}

/// Gives up a batch that was sent behind one that does not stand as it was decided, and whose append has ended: what stands
/// of it all the same is answered, the rest is decided again.
pub(super) async fn abandon<J: Journal>(node: &Node<J>, tenant: TenantId, batch: Batch) -> Vec<Job> {
    let Batch { decided, repeats, before, refused, .. } = batch;
    let mut jobs = again(refused.into_iter().map(|(job, _)| job).chain(before.into_iter().map(|(_, job)| job)));
    let error = journal::Error::Unavailable("what it was sent behind does not stand".to_owned());
    if let Appended::Again(rest) = doubt(node, tenant, decided, repeats, &error).await {
        jobs.extend(rest);
    }
    jobs
}

/// Applies what stands of a batch, and answers it.
async fn stand<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    head: Head,
    mut decided: Vec<Decided>,
    repeats: Vec<(usize, Job)>,
    said: Result<Append, journal::Error>,
) -> Appended {
    let recorded = match said {
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

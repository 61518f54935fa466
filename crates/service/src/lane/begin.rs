//! A batch begins: decided, signed, and sent.

use journal::note::Checkpoint;
use journal::{Head, Journal, Outgoing};
use journal_sled::Change;
use lifecycle::{Footprint, Input, Judgement, Prepared, Rejection, View, decide, judge};
use model::event::PAYLOAD_BYTES_MAX;
use model::{ProblemType, Sequence, ServiceRole, TenantId};
use tokio::task::JoinHandle;

use super::settle::{answer, answer_all, refuse};
use super::{Batch, Decided, Job, UnderWay};
use crate::Error;
use crate::clock;
use crate::node::{Node, Recorded, Wanted, unavailable};
use crate::overlay::Overlay;

/// What became of jobs that were taken from the queue.
pub(super) enum Begun {
    /// They are under way.
    UnderWay(Box<UnderWay>),
    /// All are answered, but those that come back, to be decided again.
    Done(Vec<Job>),
}

/// Decides these jobs on the overlay and sends what is to be recorded, behind what is under way where something is.
pub(super) async fn begin<J: Journal>(
    node: &Node<J>,
    overlay: &mut Overlay<'_>,
    mut jobs: Vec<Job>,
    behind: bool,
) -> Begun {
    let tenant = overlay.tenant();
    if let Err(rejection) = node.check_alarm(tenant) {
        answer_all(jobs, &rejection);
        return Begun::Done(Vec::new());
    }
    // A checkpoint covers what the archive has on its disk: everything before this batch, nothing of it.
    if jobs.iter().any(|job| matches!(job.wanted, Wanted::Checkpoint)) {
        jobs = archived(node, tenant, jobs).await;
    }
    let batch = match decide_all(node, overlay, jobs) {
        Ok(batch) => batch,
        Err((error, jobs)) => {
            answer_all(jobs, &unavailable(error));
            return Begun::Done(Vec::new());
        }
    };
    if batch.decided.is_empty() && !behind {
        return Begun::Done(refuse(node, tenant, batch.head, batch.refused).await);
    }
    let append = (!batch.decided.is_empty()).then(|| send(node, tenant, &batch, behind));
    Begun::UnderWay(Box::new(UnderWay { batch, append }))
}

/// Sees to it that the archive has everything that checkpoints among the jobs will cover. Where it has not, they are
/// refused, and the others come back.
async fn archived<J: Journal>(node: &Node<J>, tenant: TenantId, jobs: Vec<Job>) -> Vec<Job> {
    let flushed = node.archive_everything(tenant).await;
    let (mut checkpoints, others): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| matches!(job.wanted, Wanted::Checkpoint));
    match flushed {
        Ok(()) => {
            checkpoints.extend(others);
            checkpoints
        }
        Err(error) => {
            answer_all(checkpoints, &unavailable(error));
            others
        }
    }
}

/// Begins the append.
///
/// COMMIT POINT: what the log acknowledges is done, whatever happens to us from here on.
fn send<J: Journal>(
    node: &Node<J>,
    tenant: TenantId,
    batch: &Batch,
    behind: bool,
) -> JoinHandle<Result<journal::Append, journal::Error>> {
    let outgoing: Vec<Outgoing> = batch.decided.iter().map(|decided| decided.outgoing.clone()).collect();
    let (node, head) = (node.clone(), batch.head);
    let mut append = Box::pin(async move {
        match behind {
            true => node.journal().append_behind(tenant, head, &outgoing).await,
            false => node.journal().append(tenant, head, &outgoing).await,
        }
    });
    // Looked at once here, so that it is begun before whatever is sent behind it.
    match futures_util::FutureExt::now_or_never(futures_util::future::poll_immediate(&mut append)).flatten() {
        Some(done) => tokio::spawn(std::future::ready(done)),
        None => tokio::spawn(append),
    }
}

/// Decides each job on top of those before it. Jobs that were recorded before, and stand, are answered at once.
fn decide_all<J: Journal>(
    node: &Node<J>,
    overlay: &mut Overlay<'_>,
    jobs: Vec<Job>,
) -> Result<Batch, (Error, Vec<Job>)> {
    let (head, stands) = match heads(node, overlay) {
        Ok(heads) => heads,
        Err(error) => return Err((error, jobs)),
    };
    let (decided, repeats, before, refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut batch = Batch { head, decided, repeats, before, refused };
    for job in jobs {
        if let Some(place) = repeated(&batch.decided, &job) {
            batch.repeats.push((place, job));
            continue;
        }
        match decide_one(node, overlay, &job) {
            Ok(Step::Recorded(recorded)) if recorded.sequence > stands => batch.before.push((recorded, job)),
            Ok(Step::Recorded(recorded)) => answer(job, Ok(recorded)),
            Ok(Step::Decided(change, outgoing)) => {
                overlay.put(&change.after);
                batch.decided.push(Decided { job, change: *change, outgoing });
            }
            Ok(Step::Refused(rejection)) => batch.refused.push((job, rejection)),
            Err(error) => answer(job, Err(unavailable(error))),
        }
    }
    Ok(batch)
}

/// The head that is decided on, which may be under way, and how far the replica is: to there everything stands.
fn heads<J: Journal>(node: &Node<J>, overlay: &Overlay<'_>) -> Result<(Head, Sequence), Error> {
    let head = overlay.view(Footprint::default())?.chain.head();
    Ok((head, node.replica().head(overlay.tenant())?.sequence))
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

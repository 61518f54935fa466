//! The evidence-exporter: keeps every event's bytes, answers tenants' questions for their history, signs checkpoints, and
//! gives custodians its word on where a chain stands.

mod replay;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use journal::{Journal, Record, strict};
use journal_sled::Archive;
use lifecycle::{Duty, Rejection};
use model::history::{ANSWER_BYTES_MAX, AsOfRequest, HistoryAnswer, HistoryEvent, HistoryRequest};
use model::statement::{Lease, LeaseRequest};
use model::text::Base64;
use model::{Problem, ProblemType, Sequence, ServiceRole, TenantId, dsse, subject};
use service::command::{self, Answer};
use service::{Error, Node, Ports, Shutdown, Wanted, duty, health, requests};
use tracing::debug;

use crate::replay::Replays;

const ROLE: ServiceRole = ServiceRole::EvidenceExporter;

/// The most events that one history answer carries.
const EVENTS_MAX: usize = 1_000;
/// How long the log has to say whether there is more.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many events that are not in the archive yet are added to an answer at most.
const TAIL_MAX: usize = 128;
/// What an event takes in a history answer beside its payload and its signature: names, hash, sequence.
const EVENT_OVERHEAD: usize = 200;

/// Runs until `shutdown`. The node must keep an archive.
pub async fn run<J: Journal>(ports: Ports<J>, shutdown: Shutdown) -> Result<(), Error> {
    let service = health::announce(&ports, ROLE).await?;
    let node = ports.node.clone();
    let replays = Arc::new(Replays::new(node.root()));
    let handle = move |tenant, rest: String, payload: Bytes| {
        let (node, replays) = (node.clone(), replays.clone());
        async move { command::to_bytes(answer(&node, &replays, tenant, &rest, &payload).await) }
    };
    let subjects = ["get", "at"].map(|question| subject::every_tenant("hist", question));
    let subjects = [subjects.as_slice(), &[subject::every_tenant("lease", "get")]].concat();
    let asked = requests::serve(&ports, service, ROLE, &subjects, handle, shutdown.clone().requested());
    let node = ports.node.clone();
    let perform = move |tenant, duty: Duty| {
        let node = node.clone();
        async move {
            match duty {
                Duty::Checkpoint => node.record(tenant, ROLE, Wanted::Checkpoint).await,
                other => Rejection::new(ProblemType::NothingDue, format!("{other:?} is not the exporter's")).err(),
            }
        }
    };
    let due = duty::run(ports.node.clone(), ROLE, perform, shutdown.requested());
    tokio::try_join!(asked, due)?;
    Ok(())
}

async fn answer<J: Journal>(
    node: &Node<J>,
    replays: &Arc<Replays>,
    tenant: TenantId,
    rest: &str,
    payload: &Bytes,
) -> Answer {
    match rest {
        "hist.get" => {
            let request: HistoryRequest = read(payload)?;
            match tokio::time::timeout(PATIENCE, keep_up(node, tenant, &request)).await {
                Ok(Ok(())) => {}
                // History is what we have of the log.
                Ok(Err(error)) => debug!(%tenant, %error, "the log does not say whether there is more"),
                Err(_) => debug!(%tenant, "the log does not answer whether there is more"),
            }
            let node = node.clone();
            let answered = tokio::task::spawn_blocking(move || history(&node, tenant, &request)).await;
            answered.map_err(|error| Problem::new(ProblemType::Unavailable, error))?
        }
        "hist.at" => as_of(node, replays, tenant, read(payload)?).await,
        "lease.get" => lease(node, tenant, &read(payload)?).await,
        other => Err(Problem::new(ProblemType::UnknownAction, format!("there is no `{other}`"))),
    }
}

fn read<T: serde::de::DeserializeOwned + serde::Serialize>(payload: &Bytes) -> Result<T, Problem> {
    let malformed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Malformed, error);
    strict::check_object(payload).map_err(|error| malformed(&error))?;
    model::json::read(payload).map_err(|error| malformed(&error))
}

// === History ===

/// Brings us to the end of the log where more may be asked for than we have: whoever was told by another service that
/// something is recorded finds it in the history.
async fn keep_up<J: Journal>(node: &Node<J>, tenant: TenantId, request: &HistoryRequest) -> Result<(), Error> {
    let head = node.replica().head(tenant)?.sequence;
    let asked = Sequence(request.from.saturating_add(u64::from(request.max)));
    if asked > head.next() && node.journal().last(tenant).await? > head {
        node.catch_up(tenant).await?;
    }
    Ok(())
}

fn history<J: Journal>(node: &Node<J>, tenant: TenantId, request: &HistoryRequest) -> Answer {
    let failed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Unavailable, error);
    if request.from == 0 || request.max == 0 {
        return Err(Problem::new(ProblemType::Malformed, "`from` and `max` start at 1"));
    }
    let archive = archive(node)?;
    let max = usize::try_from(request.max).unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
    let from = Sequence(request.from);
    let records = read_on(node, archive, tenant, from, max)?;
    let last = last(node, archive, tenant)?;
    let checkpoint = newest_checkpoint(node, archive, tenant)?;
    let answer = HistoryAnswer { events: fitting(request.from, records), last: last.0, checkpoint };
    serde_json::to_value(answer).map_err(|error| failed(&error))
}

/// A tenant's events from this one on. What is on its way into the archive stands in the replica's tail: nobody who was
/// just told of an event is told that there is none.
fn read_on<J: Journal>(
    node: &Node<J>,
    archive: &Archive,
    tenant: TenantId,
    from: Sequence,
    max: usize,
) -> Result<Vec<Record>, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Unavailable, error);
    let mut records = archive.read(tenant, from, max, ANSWER_BYTES_MAX).map_err(|error| failed(&error))?;
    let next = Sequence(from.0 + records.len() as u64);
    let room = TAIL_MAX.min(max - records.len());
    let tail = node.replica().tail(tenant, next, room).map_err(|error| failed(&error))?;
    records.extend(
        (next.0..).zip(tail).take_while(|(wanted, (place, _))| *wanted == place.0).map(|(_, (_, record))| record),
    );
    Ok(records)
}

/// The newest event that we have.
fn last<J: Journal>(node: &Node<J>, archive: &Archive, tenant: TenantId) -> Result<Sequence, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Unavailable, error);
    let head = node.replica().head(tenant).map_err(|error| failed(&error))?;
    Ok(archive.last(tenant).map_err(|error| failed(&error))?.max(head.sequence))
}

/// How things stood at a point of the history.
async fn as_of<J: Journal>(node: &Node<J>, replays: &Arc<Replays>, tenant: TenantId, asked: AsOfRequest) -> Answer {
    let _place = replays.place().await?;
    let (node, replays) = (node.clone(), replays.clone());
    let answered = tokio::task::spawn_blocking(move || {
        let archive = archive(&node)?;
        let (now, last) = (node.clock().now(), last(&node, archive, tenant)?);
        let read = |from| read_on(&node, archive, tenant, from, replay::PAGE);
        replays.answer(tenant, replay::point(&asked, last, now)?, asked.key_id, read)
    });
    answered.await.map_err(|error| Problem::new(ProblemType::Unavailable, error))?
}

fn archive<J: Journal>(node: &Node<J>) -> Result<&Archive, Problem> {
    let missing = || Problem::new(ProblemType::Unavailable, "this process keeps no archive");
    node.archive().map(|archive| &**archive).ok_or_else(missing)
}

/// As many events as fit into an answer, at least one.
fn fitting(from: u64, records: Vec<Record>) -> Vec<HistoryEvent> {
    let mut room = ANSWER_BYTES_MAX - 4096;
    let mut events = Vec::with_capacity(records.len());
    for (sequence, record) in (from..).zip(records) {
        let size = size_of(&record);
        if size > room && !events.is_empty() {
            break;
        }
        room = room.saturating_sub(size);
        let (hash, signature) = (record.hash(), record.signature);
        events.push(HistoryEvent { sequence, payload: Base64(record.payload.to_vec()), signature, hash });
    }
    events
}

/// How many bytes an event takes in an answer. A void one may have any signature, of any length.
fn size_of(record: &Record) -> usize {
    let signature = serde_json::to_string(&record.signature).map_or(0, |text| text.len());
    record.payload.len().div_ceil(3) * 4 + signature + EVENT_OVERHEAD
}

/// The note of the newest checkpoint in the chain: it stands in the event right behind those that it covers.
fn newest_checkpoint<J: Journal>(
    node: &Node<J>,
    archive: &Archive,
    tenant: TenantId,
) -> Result<Option<String>, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Unavailable, error);
    let view = node.view(tenant, lifecycle::Footprint::default()).map_err(|error| failed(&error))?;
    if view.progress.covered == 0 {
        return Ok(None);
    }
    let at = Sequence(view.progress.covered).next();
    let records = archive.read(tenant, at, 1, ANSWER_BYTES_MAX).map_err(|error| failed(&error))?;
    #[derive(serde::Deserialize)]
    struct Noted {
        note: String,
    }
    let body = records.first().and_then(|record| journal::Body::parse(&record.payload).ok());
    Ok(body.and_then(|body| serde_json::from_str::<Noted>(&body.data).ok()).map(|noted| noted.note))
}

// === Leases ===

/// Our word on where the chain stands: on the log's own word, not on what we last heard.
async fn lease<J: Journal>(node: &Node<J>, tenant: TenantId, request: &LeaseRequest) -> Answer {
    let failed = |error: &dyn std::fmt::Display| Problem::new(ProblemType::Unavailable, error);
    node.check_alarm(tenant).map_err(Problem::from)?;
    let last = node.journal().last(tenant).await.map_err(|error| failed(&error))?;
    let mut head = node.replica().head(tenant).map_err(|error| failed(&error))?;
    if last > head.sequence {
        node.catch_up(tenant).await.map_err(|error| failed(&error))?;
        head = node.replica().head(tenant).map_err(|error| failed(&error))?;
    }
    let lease =
        Lease { tenant, sequence: head.sequence.0, head: head.hash, nonce: request.nonce, time: node.clock().now() };
    let key = node.key(ROLE).map_err(|error| failed(&error))?;
    let envelope = key.sign_statement(dsse::LEASE, &lease);
    Ok(serde_json::json!({ "ok": true, "lease": envelope }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(signature: &str, payload: usize, count: usize) -> (usize, usize) {
        let record = Record { signature: signature.to_owned(), payload: vec![b'x'; payload].into() };
        let events = fitting(1, vec![record; count]);
        let answer = HistoryAnswer { events, last: count as u64, checkpoint: Some("n".repeat(400)) };
        (answer.events.len(), serde_json::to_vec(&answer).unwrap().len())
    }

    /// Whatever stands in a log, an answer fits a message, and goes on.
    #[test]
    fn answers_are_bounded_whatever_the_events_are() {
        for signature in ["", &"s".repeat(50_000), &"\u{1}".repeat(60_000), &"\\".repeat(60_000)] {
            for payload in [0, 1_400, 60_000] {
                let (events, bytes) = answer(signature, payload, 1_000);
                assert!(events > 0 && bytes <= ANSWER_BYTES_MAX, "{events} events in {bytes} bytes");
            }
        }
        assert_eq!(answer("s", 100, 1_000).0, 1_000, "small ones all fit");
    }
}

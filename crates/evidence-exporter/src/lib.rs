//! The evidence-exporter: keeps every event's bytes, answers tenants' questions for their history, signs checkpoints and
//! has others vouch for them, proves events, makes bundles of evidence and hands them out, tries what must be refused, and
//! gives custodians its word on where a chain stands.

mod build;
mod checkpoints;
mod commands;
mod exports;
mod http;
pub mod outside;
mod probes;
mod queue;
mod replay;
mod shelf;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
pub mod witnessed;
#[cfg(test)]
mod world;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use journal::{Journal, Record, strict};
use journal_sled::Archive;
use lifecycle::Duty;
use model::history::{ANSWER_BYTES_MAX, AsOfRequest, HistoryAnswer, HistoryEvent, HistoryRequest};
use model::statement::{Lease, LeaseRequest};
use model::text::Base64;
use model::{Problem, ProblemType, Sequence, ServiceRole, TenantId, dsse, subject};
use service::command::{self, Answer};
use service::{Error, Node, Ports, Shutdown, config, duty, health, process, requests};
use tracing::debug;

use crate::checkpoints::Checkpoints;
use crate::exports::Exports;
use crate::outside::Outside;
use crate::probes::Prober;
use crate::replay::Replays;
use crate::witnessed::Witnessed;

const ROLE: ServiceRole = ServiceRole::EvidenceExporter;

/// The most events that one history answer carries.
const EVENTS_MAX: usize = 1_000;
/// How long the log has to say whether there is more.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many events that are not in the archive yet are added to an answer at most.
const TAIL_MAX: usize = 128;
/// What an event takes in a history answer beside its payload and its signature: names, hash, sequence.
const EVENT_OVERHEAD: usize = 200;

/// What the exporter is told beside what every role is.
pub struct Options {
    /// The folder for its state: what others have said of checkpoints is kept there, in `witnessed.redb`.
    pub state: PathBuf,
    /// Who outside the platform vouches for checkpoints.
    pub outside: config::Outside,
    /// The folder of the bundles.
    pub exports: PathBuf,
    /// How many bundles of a tenant are kept, the newest; `None` for all.
    pub keep_exports: Option<NonZeroUsize>,
    /// The key that it probes with; `None` where it is to probe nothing.
    pub probe_key: Option<ed25519_dalek::SigningKey>,
}

/// Runs until `shutdown`. The node must keep an archive.
pub async fn run<J: Journal>(mut ports: Ports<J>, options: Options, shutdown: Shutdown) -> Result<(), Error> {
    let Options { state, outside, exports, keep_exports, probe_key } = options;
    let path = state.join("witnessed.redb");
    let opened = tokio::task::spawn_blocking(move || Witnessed::open(&path)).await;
    let witnessed = Arc::new(opened.map_err(|error| Error::Internal(error.to_string()))??);
    let outside = Outside::new(&outside);
    let how = outside.clone();
    ports.outsiders = Some(Arc::new(move || how.health()));
    let service = health::announce(&ports, ROLE).await?;
    let node = ports.node.clone();
    let (exports, jobs) = Exports::open(node.clone(), witnessed.clone(), &exports, keep_exports)?;
    let prober = Arc::new(Prober::new(ports.clone(), probe_key));
    let replays = Arc::new(Replays::new(node.root()));
    let answering = Answering { node, witnessed: witnessed.clone(), replays, exports, prober, outside };
    let asked = answering.clone();
    let handle = move |tenant, rest: String, payload: Bytes| {
        let answering = asked.clone();
        async move {
            if rest.starts_with("cmd.") {
                let recorded = |signed| commands::answer(&answering, tenant, signed);
                return command::answer(tenant, rest, payload, recorded).await;
            }
            command::to_bytes(answer(&answering, tenant, &rest, &payload).await)
        }
    };
    let subjects = subjects();
    let asked = requests::serve(&ports, service, ROLE, &subjects, handle, shutdown.clone().requested());
    let performing = answering.clone();
    let perform = move |tenant, duty: Duty| {
        let answering = performing.clone();
        async move { commands::perform(&answering, tenant, duty).await }
    };
    let due = duty::run(ports.node.clone(), ROLE, perform, shutdown.clone().requested());
    let made = answering.exports.clone().work(jobs, shutdown.clone());
    let vouched = answering.outside.clone().run(ports.node.clone(), witnessed, shutdown);
    let vouched = async {
        vouched.await;
        Ok(())
    };
    tokio::try_join!(asked, due, made, vouched)?;
    Ok(())
}

/// What it is asked: for history, for its word, and by commands.
fn subjects() -> Vec<String> {
    let words = ["get", "at", "checkpoint", "prove", "consistency", "bundle", "prober"];
    let hist = words.map(|word| subject::every_tenant("hist", word));
    [hist.as_slice(), &[subject::every_tenant("lease", "get")], &process::command_subjects(ROLE)].concat()
}

/// What questions are answered from.
struct Answering<J> {
    node: Node<J>,
    witnessed: Arc<Witnessed>,
    replays: Arc<Replays>,
    exports: Arc<Exports<J>>,
    prober: Arc<Prober<J>>,
    outside: Arc<Outside>,
}

impl<J> Clone for Answering<J> {
    fn clone(&self) -> Self {
        let Self { node, witnessed, replays, exports, prober, outside } = self;
        let (exports, prober, outside) = (exports.clone(), prober.clone(), outside.clone());
        Self { node: node.clone(), witnessed: witnessed.clone(), replays: replays.clone(), exports, prober, outside }
    }
}

async fn answer<J: Journal>(answering: &Answering<J>, tenant: TenantId, rest: &str, payload: &Bytes) -> Answer {
    let node = &answering.node;
    let checkpoints = |ask: fn(&Checkpoints<'_, J>, &Bytes) -> Answer| {
        let (answering, payload) = (answering.clone(), payload.clone());
        off_the_async_threads(move || {
            let Answering { node, witnessed, .. } = &answering;
            ask(&Checkpoints { node, witnessed, tenant }, &payload)
        })
    };
    match rest {
        "hist.checkpoint" => checkpoints(|checkpoints, payload| checkpoints.checkpoint(&read(payload)?)).await,
        "hist.prove" => checkpoints(|checkpoints, payload| checkpoints.prove(&read(payload)?)).await,
        "hist.consistency" => checkpoints(|checkpoints, payload| checkpoints.consistency(&read(payload)?)).await,
        "hist.get" => {
            let request: HistoryRequest = read(payload)?;
            match tokio::time::timeout(PATIENCE, keep_up(node, tenant, &request)).await {
                Ok(Ok(())) => {}
                // History is what we have of the log.
                Ok(Err(error)) => debug!(%tenant, %error, "the log does not say whether there is more"),
                Err(_) => debug!(%tenant, "the log does not answer whether there is more"),
            }
            let node = node.clone();
            off_the_async_threads(move || history(&node, tenant, &request)).await
        }
        "hist.at" => as_of(answering, tenant, read(payload)?).await,
        "hist.bundle" => {
            let (exports, request) = (answering.exports.clone(), read(payload)?);
            off_the_async_threads(move || exports.answer(tenant, &request)).await
        }
        "hist.prober" => commands::prober(&answering.prober, &read(payload)?),
        "lease.get" => lease(node, tenant, &read(payload)?).await,
        other => Err(Problem::new(ProblemType::UnknownAction, format!("there is no `{other}`"))),
    }
}

async fn off_the_async_threads(answer: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    let answered = tokio::task::spawn_blocking(answer).await;
    answered.map_err(|error| Problem::new(ProblemType::Unavailable, error))?
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
    let newest = checkpoints::newest(node, tenant).map_err(|error| failed(&error))?;
    let checkpoint = newest.map(|newest| newest.note.to_string());
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
async fn as_of<J: Journal>(answering: &Answering<J>, tenant: TenantId, asked: AsOfRequest) -> Answer {
    let _place = answering.replays.place().await?;
    let Answering { node, replays, .. } = answering.clone();
    off_the_async_threads(move || {
        let archive = archive(&node)?;
        let (now, last) = (node.clock().now(), last(&node, archive, tenant)?);
        let read = |from| read_on(&node, archive, tenant, from, replay::PAGE);
        replays.answer(tenant, replay::point(&asked, last, now)?, asked.key_id, read)
    })
    .await
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

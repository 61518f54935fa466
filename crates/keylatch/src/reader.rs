//! Reading a tenant's history: page by page from the history service, live from the events, every event verified in form
//! and in law under the pinned root. Nothing here believes a service.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use evidence::{Point, Verifier, take_until};
use futures_util::stream::{BoxStream, StreamExt as _};
use journal::port::News;
use journal::{Authentic, Record};
use lifecycle::manifest::List;
use lifecycle::state::Request;
use lifecycle::{Judgement, Prepared, Tenant};
use model::event::ActivationRequested;
use model::history::{HistoryAnswer, HistoryRequest};
use model::key::Reason;
use model::text::Text;
use model::{
    Action, Digest, Event, EventHash, Fingerprint, KeyId, Name, Problem, Sequence, TenantId, Timestamp, subject,
};
use serde::Deserialize;

use crate::bus::{Bus, NoAnswer};
use crate::error::Error;

/// How many events one question asks for. The service gives fewer where its answer is full.
const PAGE: u32 = 1_000;
/// How long the history service has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited before each further try.
const AGAIN_AFTER: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// How often the history is asked while nothing comes: live events come at most once.
const COMPARE_EVERY: Duration = Duration::from_secs(15);
/// The same, where something is known to be missing.
const FILL_EVERY: Duration = Duration::from_millis(300);

/// What is known of a tenant: verified, and nothing else. What a cache on disk would keep.
pub struct Known {
    verifier: Verifier,
    /// What open requests say beyond what the rules need.
    asked: HashMap<EventHash, Asked>,
    /// The parts of documents in the log.
    documents: HashMap<Digest, BTreeMap<u16, String>>,
}

/// What an open request says beyond what the rules need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The key, where it is for one.
    pub key_id: Option<KeyId>,
    /// Why.
    pub reason: Reason,
    /// The policy's rule for the key.
    pub rule: Name,
    /// The approvals, in order.
    pub approvals: Vec<Said>,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its event.
    pub hash: EventHash,
    /// Who.
    pub by: Fingerprint,
    /// When.
    pub at: Timestamp,
    /// What the approver said beyond yes.
    pub note: Option<Text>,
}

/// An event that was read, and what became of it.
pub struct Seen {
    /// Its place.
    pub sequence: Sequence,
    /// The event, checked.
    pub prepared: Prepared,
    /// Whether it stands.
    pub judgement: Judgement,
}

impl Seen {
    /// The event, where it stands.
    pub fn event(&self) -> Option<&Event> {
        self.prepared.event().filter(|_| self.judgement == Judgement::Lawful)
    }

    /// The time it carries, where it could be read.
    pub fn time(&self) -> Option<Timestamp> {
        self.prepared.body().map(|body| body.time)
    }

    /// The key it is about.
    pub fn key_id(&self) -> Option<KeyId> {
        self.prepared.event().and_then(Event::key_id)
    }
}

impl Known {
    /// Nothing yet.
    pub fn new(tenant: TenantId, root: Fingerprint) -> Self {
        Self { verifier: Verifier::new(tenant, root), asked: HashMap::new(), documents: HashMap::new() }
    }

    /// The verified state.
    pub fn state(&self) -> &Tenant {
        self.verifier.state()
    }

    /// The verification so far.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What an open request says beyond the state.
    pub fn asked(&self, request: EventHash) -> Option<&Asked> {
        self.asked.get(&request)
    }

    /// A document, where all of its parts are in the log and they are what its digest says.
    pub fn document(&self, digest: Digest) -> Option<String> {
        self.state().documents.get(&digest).filter(|document| document.is_complete())?;
        let text: String = self.documents.get(&digest)?.values().map(String::as_str).collect();
        (Digest::of(text.as_bytes()) == digest).then_some(text)
    }

    /// The list of a request for many keys, where the log has it and it is the one that the request stands on: the digest,
    /// the count and the root are computed from it here.
    pub fn list(&self, request: &Request) -> Option<List> {
        let manifest = request.manifest?;
        let list = List::parse(&self.document(manifest.document)?).ok()?;
        (list.manifest() == manifest).then_some(list)
    }

    /// Takes the records that follow.
    ///
    /// # Errors
    /// [`Error::Failed`] where the chain comes under rules that this program does not know.
    pub fn take(&mut self, records: Vec<Record>) -> Result<Vec<Seen>, Error> {
        let count = records.len();
        let judged = self.verifier.take(records);
        self.judged(judged, count)
    }

    /// Takes the records that follow, none beyond the point; says as well whether the point was reached.
    ///
    /// # Errors
    /// As of [`Known::take`].
    pub fn take_until(&mut self, records: Vec<Record>, until: Point) -> Result<(Vec<Seen>, bool), Error> {
        let (judged, reached) = take_until(&mut self.verifier, records, until);
        let count = judged.len();
        Ok((self.judged(judged, count)?, reached))
    }

    fn judged(&mut self, judged: Vec<(Sequence, Prepared, Judgement)>, given: usize) -> Result<Vec<Seen>, Error> {
        if judged.len() < given
            && let Some(stopped) = self.verifier.report().stopped
        {
            return Err(Error::failed(stopped, "install a newer keylatch"));
        }
        let seen: Vec<Seen> =
            judged.into_iter().map(|(sequence, prepared, judgement)| Seen { sequence, prepared, judgement }).collect();
        seen.iter().for_each(|seen| self.remember(seen));
        let state = self.verifier.state();
        self.asked.retain(|hash, _| state.requests.get(hash).is_some_and(|request| request.closed.is_none()));
        Ok(seen)
    }

    fn remember(&mut self, seen: &Seen) {
        match seen.event() {
            Some(Event::ActivationRequested(ActivationRequested { key_id, reason, rule, .. })) => {
                let asked =
                    Asked { key_id: *key_id, reason: reason.clone(), rule: rule.clone(), approvals: Vec::new() };
                self.asked.insert(seen.prepared.hash, asked);
            }
            Some(Event::ActivationApproved(approved)) => {
                let note = seen.prepared.command().and_then(|signed| match &signed.command.action {
                    Action::ActivationApprove(params) => params.note.clone(),
                    _ => None,
                });
                let (hash, by, at) = (seen.prepared.hash, approved.approved_by, seen.time().unwrap_or(Timestamp::MIN));
                if let Some(asked) = self.asked.get_mut(&approved.request) {
                    asked.approvals.push(Said { hash, by, at, note });
                }
            }
            Some(Event::DocumentStored(_)) => {
                if let Some(Action::DocumentStore(store)) = seen.prepared.command().map(|signed| &signed.command.action)
                {
                    self.documents.entry(store.document).or_default().insert(store.part, store.text.clone());
                }
            }
            _ => {}
        }
    }
}

/// What is told of a page that was read: the state after it, its events, and the newest sequence that the service has.
pub type OnPage<'a> = &'a mut (dyn FnMut(&Known, &[Seen], u64) -> Result<(), Error> + Send);

/// What came of waiting.
pub enum Heard {
    /// Events, in order.
    Events(Vec<Seen>),
    /// Nothing: the history does not answer. Waiting goes on.
    Silence(NoAnswer),
}

/// Reads on from what is known.
pub struct Reader {
    bus: Arc<dyn Bus>,
    known: Known,
    /// The newest sequence that somebody has spoken of.
    heard_of: Sequence,
    /// In a mutex for the sake of sharing alone: a stream can go to another thread, but not be looked at from two.
    live: Option<Mutex<BoxStream<'static, News>>>,
}

impl Reader {
    /// Reads on from here.
    pub fn new(bus: Arc<dyn Bus>, known: Known) -> Self {
        Self { bus, known, heard_of: Sequence::NONE, live: None }
    }

    /// What is known.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The verified state.
    pub fn state(&self) -> &Tenant {
        self.known.state()
    }

    /// The last event known.
    pub fn head(&self) -> Sequence {
        self.state().chain.head().sequence
    }

    /// The newest sequence that the history service has spoken of, or that came live.
    pub fn heard_of(&self) -> Sequence {
        self.heard_of
    }

    /// Reads everything there is, page by page.
    pub async fn catch_up(&mut self, on_page: OnPage<'_>) -> Result<(), Error> {
        self.read_to(u64::MAX, on_page).await
    }

    /// Reads at least as far as `wanted`, where there is as much, and no page further.
    pub async fn read_to(&mut self, wanted: u64, on_page: OnPage<'_>) -> Result<(), Error> {
        loop {
            let page = self.page(self.head().next(), PAGE).await?;
            let last = page.last;
            let seen = self.take_page(page)?;
            on_page(&self.known, &seen, last)?;
            if seen.is_empty() || self.head().0 >= last.min(wanted) {
                return Ok(());
            }
        }
    }

    /// Reads up to a point in the history and no further: what is known then is how things stood there.
    pub async fn read_until(&mut self, until: Point, on_page: OnPage<'_>) -> Result<(), Error> {
        loop {
            let page = self.page(self.head().next(), PAGE).await?;
            let last = page.last;
            let records = self.records_of(page)?;
            let (seen, reached) = self.known.take_until(records, until)?;
            on_page(&self.known, &seen, last)?;
            if reached || seen.is_empty() || self.head().0 >= last {
                return Ok(());
            }
        }
    }

    /// The events from one on, as many as fit an answer, as the service gives them: nothing is known of them, and nothing
    /// becomes known by it.
    pub async fn records(&self, from: Sequence) -> Result<Vec<Record>, Error> {
        Ok(self.records_and_last(from).await?.0)
    }

    /// The same, with the newest sequence that the service has.
    pub async fn records_and_last(&self, from: Sequence) -> Result<(Vec<Record>, Sequence), Error> {
        let page = self.page(from, PAGE).await?;
        let last = Sequence(page.last);
        Ok((records_of(page, from)?, last))
    }

    /// The event at a place, as the service gives it; none where there is none.
    pub async fn record(&self, sequence: Sequence) -> Result<Option<Record>, Error> {
        Ok(records_of(self.page(sequence, 1).await?, sequence)?.into_iter().next())
    }

    /// Listens from now on. To miss nothing, call it before the last [`Reader::catch_up`].
    pub async fn listen(&mut self) -> Result<(), Error> {
        if self.live.is_none() {
            let events = self.bus.events().await;
            let events = events.map_err(|error| Error::unreachable(error, "see with `keylatch doctor`"))?;
            self.live = Some(Mutex::new(events));
        }
        Ok(())
    }

    /// Waits for further events; [`Reader::listen`] must have been called.
    pub async fn next(&mut self) -> Result<Heard, Error> {
        loop {
            let patience = if self.heard_of > self.head() { FILL_EVERY } else { COMPARE_EVERY };
            let Some(live) = &mut self.live else {
                return Err(Error::usage("nobody listens", "call `listen` before `next`"));
            };
            let live = live.get_mut().unwrap_or_else(PoisonError::into_inner);
            match tokio::time::timeout(patience, live.next()).await {
                Ok(None) => return Err(Error::unreachable("the connection closed", "see with `keylatch doctor`")),
                Ok(Some(News::Event(arrived))) => {
                    self.heard_of = self.heard_of.max(arrived.sequence);
                    if self.has_its_place(&arrived.record) {
                        return Ok(Heard::Events(self.known.take(vec![arrived.record])?));
                    }
                    if arrived.sequence <= self.head() {
                        continue;
                    }
                }
                Ok(Some(News::Reconnected)) | Err(_) => {}
            }
            match self.ask_page(self.head().next(), PAGE).await {
                Ok(page) => {
                    let seen = self.take_page(page?)?;
                    if !seen.is_empty() {
                        return Ok(Heard::Events(seen));
                    }
                }
                Err(no_answer) => return Ok(Heard::Silence(no_answer)),
            }
        }
    }

    /// Whether a live record is authentic and follows what is known. One that does not is read from the history, which
    /// says what really stands in its place.
    fn has_its_place(&self, record: &Record) -> bool {
        let opened = Authentic::open(record, &self.state().ring());
        self.state().chain.check(opened.as_ref()).is_ok()
    }

    /// A page, asked for again where no answer comes.
    async fn page(&self, from: Sequence, max: u32) -> Result<HistoryAnswer, Error> {
        let mut waits = AGAIN_AFTER.iter();
        loop {
            match (self.ask_page(from, max).await, waits.next()) {
                (Ok(page), _) => return page,
                (Err(_), Some(wait)) => tokio::time::sleep(*wait).await,
                (Err(no_answer), None) => {
                    let what = format!("the history service (evidence-exporter) does not answer: {no_answer}");
                    return Err(Error::unreachable(what, "see that the platform runs; `keylatch doctor` says more"));
                }
            }
        }
    }

    async fn ask_page(&self, from: Sequence, max: u32) -> Result<Result<HistoryAnswer, Error>, NoAnswer> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Answer {
            History(HistoryAnswer),
            Problem(Problem),
        }
        let request = HistoryRequest { from: from.0, max };
        let payload = serde_json::to_vec(&request).unwrap_or_default();
        let answer = self.bus.request(subject::tenant::HISTORY_GET.to_owned(), payload.into(), PATIENCE).await?;
        Ok(match serde_json::from_slice(&answer) {
            Ok(Answer::History(page)) => Ok(page),
            Ok(Answer::Problem(problem)) => Err(problem.into()),
            Err(error) => Err(contradiction(format!("it does not read: {error}"))),
        })
    }

    fn take_page(&mut self, page: HistoryAnswer) -> Result<Vec<Seen>, Error> {
        let records = self.records_of(page)?;
        self.known.take(records)
    }

    /// The records of a page, which must be those that follow.
    fn records_of(&mut self, page: HistoryAnswer) -> Result<Vec<Record>, Error> {
        self.heard_of = self.heard_of.max(Sequence(page.last));
        records_of(page, self.head().next())
    }
}

/// The records of a page, which must be those from here on.
fn records_of(page: HistoryAnswer, from: Sequence) -> Result<Vec<Record>, Error> {
    let mut records = Vec::with_capacity(page.events.len());
    for (wanted, event) in (from.0..).zip(page.events) {
        let record = Record { signature: event.signature, payload: Bytes::from(event.payload.0) };
        if event.sequence != wanted || record.hash() != event.hash {
            return Err(contradiction(format!("event {} is not what it says", event.sequence)));
        }
        records.push(record);
    }
    if records.is_empty() && from.0 <= page.last {
        return Err(contradiction(format!("it has {} events, and gives none from {} on", page.last, from.0)));
    }
    Ok(records)
}

fn contradiction(what: String) -> Error {
    Error::failed(
        format!("the history service's answer contradicts itself: {what}"),
        "tell who runs the platform; nothing of the answer was taken",
    )
}

//! The control tests: each of the sixteen points of CEK-15 as a test over the replayed history, with its population, what
//! passed, the exceptions with the events behind them, or why there is nothing to say.
//!
//! A test never says "pass". It says how many of how many had nothing against them.

use model::evidence::DispositionKind;
use model::{Digest, EventHash, Fingerprint, KeyId, Name, Sequence, Span, TenantId, Text, Timestamp};
use serde::{Deserialize, Serialize};

use crate::history::{At, Attempt, History, KeyLife};

mod activation;
mod adopted;
mod ai;
mod birth;
mod coordination;
mod documents;
mod law;
pub mod never_active;
mod scope;
mod stores;
mod usage;
mod waiting;

pub(crate) use documents::is_about_generation;
pub use model::evidence::ControlOutcome as Outcome;
pub(crate) use scope::{Scope, wrapping_keys, yes_no};

/// The part of a history that a test is about: from this event on, to the last one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The first event, from 1.
    pub from: Sequence,
    /// The last event: the whole history up to it was replayed.
    pub to: Sequence,
    /// The last event's time.
    pub until: Timestamp,
}

/// `controls.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Controls {
    /// `keylatch.dev/controls/v1`.
    pub format: &'static str,
    /// Whose.
    pub tenant: TenantId,
    /// The root that the history was checked under.
    pub root: Fingerprint,
    /// What was looked at.
    pub period: Period,
    /// The last event's hash.
    pub head: EventHash,
    /// The sixteen points, in order, and then what else is claimed.
    pub controls: Vec<ControlTest>,
    /// Keys for AI workloads beside all others.
    pub comparison: Vec<Comparison>,
    /// What the tests rest on and can't see.
    pub limits: Vec<String>,
}

/// The value of [`Controls::format`].
pub const FORMAT: &str = "keylatch.dev/controls/v1";

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlTest {
    /// `CEK-15.01` to `CEK-15.16` for the sixteen points, else a name of its own.
    pub id: String,
    /// The point in few words.
    pub title: &'static str,
    /// What is claimed, as a statement that can be false.
    pub statement: &'static str,
    /// Where the point comes from.
    pub source: &'static str,
    /// How it was tested.
    pub method: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// What was looked at.
    pub population: Population,
    /// How many items had nothing against them.
    pub passed: u64,
    /// What there is against the others.
    pub exceptions: Vec<Exception>,
    /// Why there is nothing to say, and what a reader should know beside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What a test looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Population {
    /// What the items are.
    pub of: &'static str,
    /// How many.
    pub count: u64,
    /// The file and the column values that list them all.
    pub listed_in: &'static str,
}

/// Something against an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The same for the same item and reason, however often evidence is made: what a disposition names.
    pub id: Name,
    /// What is wrong, in a word that stays the same.
    pub reason: &'static str,
    /// What is wrong.
    pub what: String,
    /// The key, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The key's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// The events behind it.
    pub events: Vec<At>,
    /// Who answers for it: who disposed of it, else the key's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What was signed about it, where somebody has.
    pub disposition: Option<Disposed>,
}

/// What the control's owner signed about an exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disposed {
    /// What was decided.
    pub disposition: DispositionKind,
    /// By when.
    pub due: Timestamp,
    /// Why.
    pub note: Text,
    /// The `control.evaluated`.
    pub event: At,
}

/// One figure for keys of AI workloads and for all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub figure: &'static str,
    /// For AI workloads.
    pub ai: String,
    /// For all others.
    pub general: String,
}

/// Tests a history.
pub fn test(history: &History, of: Tested) -> Controls {
    let scope = Scope { history, period: of.period };
    let mut controls = tests(scope);
    let comparison = ai::comparison(scope, &controls);
    let dispositions = history.dispositions();
    for exception in controls.iter_mut().flat_map(|test| &mut test.exceptions) {
        if let Some((decided, event)) = dispositions.get(&exception.id) {
            exception.owner = Some(history.label(decided.owner));
            let (disposition, due, note) = (decided.disposition, decided.due, decided.note.clone());
            exception.disposition = Some(Disposed { disposition, due, note, event: *event });
        }
    }
    Controls {
        format: FORMAT,
        tenant: of.tenant,
        root: of.root,
        period: of.period,
        head: of.head,
        controls,
        comparison,
        limits: LIMITS.iter().map(|limit| (*limit).to_owned()).collect(),
    }
}

/// The sixteen points in order, and then what else is claimed.
fn tests(scope: Scope<'_>) -> Vec<ControlTest> {
    let mut controls = vec![
        birth::pre_active(scope),
        birth::kept_apart(scope),
        activation::authorised(scope),
        activation::by_whom(scope),
        stores::consistent(scope),
        activation::recorded(scope),
        law::considered(scope),
        waiting::ends(scope),
        coordination::coordinated(scope),
        documents::procedures(scope),
        birth::creators(scope),
        stores::identified(scope),
        birth::attributes(scope),
        activation::confirmed(scope),
        waiting::reviewed(scope),
        usage::only_when_active(scope),
        usage::separation(scope),
    ];
    controls.push(documents::probes(scope));
    controls.push(stores::reconciled(scope));
    controls.push(adopted::settled(scope));
    controls.push(ai::alike(scope, &controls));
    controls.push(documents::evaluation(scope, &controls));
    controls.sort_by_key(|test| (!test.id.starts_with("CEK-"), test.id.clone()));
    controls
}

/// What was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Whose history.
    pub tenant: TenantId,
    /// Under which root.
    pub root: Fingerprint,
    /// Which part of it.
    pub period: Period,
    /// The last event.
    pub head: EventHash,
}

const LIMITS: [&str; 6] = [
    "What a key store really holds, and what was really done with a key, is the custodian's word (custody events).",
    "Times are those of the services that signed, which never go back within a chain unless the root says so.",
    "What fell due after the last event is not seen: a log in which nothing is recorded any more looks as it did at its last event.",
    "Keys that were never in Keylatch, and stores that it does not reach, are not in the populations. What a baseline says of the keys that were there before is the word of the admins who signed it.",
    "That a fact asserted by a person is true is for the reader of its evidence to judge; that it was asserted, by whom and for how long, is in the events.",
    "People are known by their keys: who holds a key is for the tenant's own records to show.",
];

/// How long what follows by itself may take before it is an exception: the store's confirmation of a change, the end of a
/// wait that is over.
pub(crate) const FOLLOWS_WITHIN: Span = Span::from_secs(5 * 60);

/// A test under way: items come, and what there is against each.
struct Test {
    test: ControlTest,
    number: String,
}

/// What there is against an item.
struct Fault<'a> {
    /// A word for the reason: part of the exception's id.
    reason: &'static str,
    /// What it is about, as it stays the same from export to export: the other part.
    subject: String,
    what: String,
    key: Option<&'a KeyLife>,
    owner: Option<String>,
    events: Vec<At>,
}

impl<'a> Fault<'a> {
    /// Something that a key is.
    fn of_key(reason: &'static str, key: &'a KeyLife, events: Vec<At>, what: impl Into<String>) -> Self {
        let owner = key.spec.owner.as_ref().map(ToString::to_string);
        Self { reason, subject: key.id.to_string(), what: what.into(), key: Some(key), owner, events }
    }

    /// Something that happened, to a key where one is named.
    fn of_event(reason: &'static str, key: Option<&'a KeyLife>, at: At, what: impl Into<String>) -> Self {
        let owner = key.and_then(|key| key.spec.owner.as_ref()).map(ToString::to_string);
        Self { reason, subject: at.hash.to_string(), what: what.into(), key, owner, events: vec![at] }
    }

    /// Something that is neither: a store, a pack, by its name.
    fn of_name(reason: &'static str, name: impl ToString, events: Vec<At>, what: impl Into<String>) -> Self {
        Self { reason, subject: name.to_string(), what: what.into(), key: None, owner: None, events }
    }

    /// An event that does not stand.
    fn of_attempt(history: &'a History, attempt: &Attempt) -> Self {
        let key = attempt.key_id.and_then(|key| history.keys.get(&key));
        let of = attempt.event_type.map_or("an event".to_owned(), |event_type| event_type.to_string());
        let by = attempt.signer.map(|signer| format!(", signed by {signer}")).unwrap_or_default();
        Self::of_event("void", key, attempt.at, format!("{of}{by}, does not stand: {}", attempt.reason))
    }

    /// With further events behind it.
    fn with(mut self, events: impl IntoIterator<Item = At>) -> Self {
        self.events.extend(events);
        self
    }
}

/// What a test says of itself.
struct About {
    title: &'static str,
    statement: &'static str,
    source: &'static str,
    method: &'static str,
    of: &'static str,
    listed_in: &'static str,
}

impl Test {
    fn new(id: &str, about: About) -> Self {
        let population = Population { of: about.of, count: 0, listed_in: about.listed_in };
        let test = ControlTest {
            id: id.to_owned(),
            title: about.title,
            statement: about.statement,
            source: about.source,
            method: about.method,
            outcome: Outcome::NotApplicable,
            population,
            passed: 0,
            exceptions: Vec::new(),
            remarks: Vec::new(),
        };
        Self { test, number: id.to_lowercase().replace('.', "-") }
    }

    /// An item of the population, and what there is against it.
    fn item<'a>(&mut self, faults: impl IntoIterator<Item = Fault<'a>>) {
        self.items(1, faults);
    }

    /// So many items, and what there is against all of them together.
    fn items<'a>(&mut self, count: u64, faults: impl IntoIterator<Item = Fault<'a>>) {
        self.test.population.count += count;
        let before = self.test.exceptions.len();
        self.against(faults);
        if self.test.exceptions.len() == before {
            self.test.passed += count;
        }
    }

    /// Exceptions that are no item of the population.
    fn against<'a>(&mut self, faults: impl IntoIterator<Item = Fault<'a>>) {
        for fault in faults {
            let exception = self.exception(fault);
            self.test.exceptions.extend(exception);
        }
    }

    /// `None` where its id could not be made, which no fault of ours can bring about.
    fn exception(&self, fault: Fault<'_>) -> Option<Exception> {
        let Fault { reason, subject, what, key, owner, events } = fault;
        let digest = Digest::of(format!("{}\n{reason}\n{subject}", self.number).as_bytes());
        let id = format!("{}-{}", self.number, digest.to_string().get(..12)?).parse().ok()?;
        let (key_id, key) = (key.map(|key| key.id), key.map(|key| key.spec.label.clone()));
        Some(Exception { id, reason, what, key_id, key, events, owner, disposition: None })
    }

    fn remark(&mut self, remark: impl Into<String>) {
        self.test.remarks.push(remark.into());
    }

    /// What there is does not answer the question. Exceptions that were found all the same go first.
    fn insufficient(self, why: &str) -> ControlTest {
        let outcome = if self.test.exceptions.is_empty() { Outcome::InsufficientEvidence } else { Outcome::Exceptions };
        self.with(outcome, why)
    }

    fn with(mut self, outcome: Outcome, why: &str) -> ControlTest {
        self.test.outcome = outcome;
        self.test.remarks.insert(0, why.to_owned());
        self.test
    }

    /// What it came to; where there was nothing to look at, `why` it does not apply.
    fn done(mut self, why: &str) -> ControlTest {
        if !self.test.exceptions.is_empty() {
            self.test.outcome = Outcome::Exceptions;
            return self.test;
        }
        if self.test.population.count == 0 {
            return self.with(Outcome::NotApplicable, why);
        }
        self.test.outcome = Outcome::NoExceptions;
        self.test
    }
}

/// `1 key`, `2 keys`.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

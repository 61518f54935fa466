//! The verdict's form, and what closes it.

use model::{EventHash, Fingerprint, TenantId, Timestamp};
use serde::Serialize;

use super::Given;
use crate::controls::Period;
use crate::deployment::{self, Instance};
use crate::replay::Replay;
use crate::verify::VOIDS_MAX;

/// What a bundle came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether nothing was found against it.
    pub holds: bool,
    /// Whose history.
    pub tenant: TenantId,
    /// The root that it was checked under.
    pub root: Fingerprint,
    /// How many events were read, and how many of them are void.
    pub events: u64,
    /// How many of them are void.
    pub void: u64,
    /// The last event's hash.
    pub head: EventHash,
    /// The RFC 6962 root over all hashes.
    pub tree_root: EventHash,
    /// The last event's time.
    pub time: Timestamp,
    /// The part of the history that the bundle's control tests are about.
    pub period: Period,
    /// Links, places, the tree, checkpoints: whether anything was added, taken away or moved.
    pub integrity: Section,
    /// Signatures: whether everything was said by who it says.
    pub authenticity: Section,
    /// Decisions, decided again.
    pub lawfulness: Section,
    /// What there is of what, and whether the files beside the events are what the events come to.
    pub completeness: Section,
    /// The deployment's shape: facts to weigh, not faults.
    pub deployment: Section,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// A part of the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What was found against it, in order; at most [`VOIDS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
    /// What was checked.
    pub figures: Vec<Figure>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind, in a word that stays the same.
    pub kind: &'static str,
    /// What does not hold.
    pub what: String,
    /// The event's place, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The event's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<EventHash>,
    /// The file, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Something that was counted or looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// What.
    pub what: &'static str,
    /// How much, or which.
    pub value: String,
}

impl Finding {
    pub(super) fn new(kind: &'static str, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), sequence: None, hash: None, file: None }
    }

    pub(super) fn of_file(kind: &'static str, file: &str, what: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), ..Self::new(kind, what) }
    }
}

impl Section {
    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if self.findings.len() < VOIDS_MAX {
                self.findings.push(finding);
            } else {
                self.more += 1;
            }
        }
    }

    pub(super) fn figure(&mut self, what: &'static str, value: impl Into<String>) {
        self.figures.push(Figure { what, value: value.into() });
    }
}

impl Verdict {
    pub(super) fn new(replay: &Replay) -> Self {
        let report = replay.verifier().report();
        Self {
            holds: false,
            tenant: report.tenant,
            root: report.root,
            events: report.events,
            void: report.void,
            head: report.head,
            tree_root: report.merkle_root,
            time: report.time,
            period: replay.period(),
            integrity: Section::default(),
            authenticity: Section::default(),
            lawfulness: Section::default(),
            completeness: Section::default(),
            deployment: Section::default(),
            not_checked: Vec::new(),
        }
    }

    /// The sections by their names, in order.
    pub fn sections(&self) -> [(&'static str, &Section); 5] {
        [
            ("integrity", &self.integrity),
            ("authenticity", &self.authenticity),
            ("lawfulness", &self.lawfulness),
            ("completeness", &self.completeness),
            ("deployment", &self.deployment),
        ]
    }

    /// Everything that was found against it, in order.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections().into_iter().flat_map(|(_, section)| &section.findings)
    }
}

/// Compares the head with the one that was expected.
pub(super) fn head(replay: &Replay, given: &Given, verdict: &mut Verdict) {
    match given.head {
        Some(head) if head != verdict.head => {
            let what = format!(
                "the last event's hash is {}, and {head} was expected: events are missing or were added",
                verdict.head
            );
            verdict.integrity.extend([Finding::new("head", what)]);
        }
        Some(_) => verdict.integrity.figure("head as expected", "yes"),
        None => {}
    }
    if replay.period().to.0 == 0 {
        verdict.integrity.extend([Finding::new("empty", "there are no events")]);
    }
}

/// Counts, the deployment, what was not checked, and the verdict itself.
pub(super) fn close(replay: &Replay, given: &Given, verdict: &mut Verdict) {
    counts(replay, verdict);
    shape(&deployment::instances(replay.history()), verdict);
    not_checked(given, verdict);
    let holds = verdict.findings().next().is_none();
    verdict.holds = holds;
}

fn counts(replay: &Replay, verdict: &mut Verdict) {
    let (report, history) = (replay.verifier().report(), replay.history());
    let completeness = &mut verdict.completeness;
    let states: Vec<String> = report.keys.iter().map(|(state, count)| format!("{count} {state}")).collect();
    completeness.figure("keys", format!("{} ({})", history.keys.len(), states.join(", ")));
    for (event_type, count) in &history.counts {
        completeness.figure("events by type", format!("{count} {event_type}"));
    }
    let of_keys: u64 = history.keys.values().map(|key| key.events).sum();
    completeness.figure("events about keys, counted key by key in keys.csv", of_keys.to_string());
    let begun = history.begun.map(|begun| begun.to_string()).unwrap_or_default();
    completeness.figure("from", begun);
    completeness.figure("to", report.time.to_string());
}

fn shape(instances: &[Instance], verdict: &mut Verdict) {
    let deployment = &mut verdict.deployment;
    for instance in instances {
        let roles: Vec<&str> = instance.roles.iter().map(|role| role.name()).collect();
        let keys = instance.keys.len();
        deployment.figure("instance", format!("{} signs as {} with {keys} keys", instance.name, roles.join(", ")));
    }
    for instance in instances.iter().filter(|instance| instance.holds_several()) {
        let what = "to weigh";
        let value = format!(
            "`{}` holds the keys of several roles that should be apart: whoever has that machine can sign as each of them. \
             People's signatures are needed all the same",
            instance.name
        );
        deployment.figure(what, value);
    }
}

/// What can't be checked from these bytes, or was not asked for.
fn not_checked(given: &Given, verdict: &mut Verdict) {
    let mut list: Vec<String> = Vec::new();
    let mut add = |item: &str| list.push(item.to_owned());
    add("that the root's fingerprint is the right one: have it from somebody you trust");
    if given.kept.is_empty() && given.head.is_none() {
        add(
            "that this is the whole history: an end that was cut off leaves a good shorter one, and an older bundle looks \
             like this. Give a checkpoint that you or somebody else has kept, or the head",
        );
    }
    if given.tenant.is_none() {
        add("that it is the tenant you mean: it was taken from the bundle");
    }
    if given.witnesses.is_empty() {
        add("cosignatures of witnesses: name the witnesses whose word counts for you");
    }
    add("what happened after the last event");
    add("what key stores really hold, and what was done with keys there: custody events are the custodian's word");
    add(
        "uses that a custodian had counted and not yet reported, and the uses of keys in stores that applications reach themselves",
    );
    add("that facts asserted by people are true, and that their evidence says so");
    add("who holds the keys of the people enrolled, and who runs the instances");
    add("keys that were never in Keylatch");
    list.extend(std::mem::take(&mut verdict.not_checked));
    verdict.not_checked = list;
}

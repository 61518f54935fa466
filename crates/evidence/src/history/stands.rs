//! What a tenant stands by, as events say: documents adopted, stores registered and compared, probes made, the control evaluated, bundles
//! made.

use std::collections::BTreeMap;

use model::command::ControlEvaluate;
use model::event::{
    ControlEvaluated, CustodyDrifted, CustodyReconciled, DocumentAdopted, EvidenceExported, ProbeRecorded,
};
use model::evidence::{ControlPoint, ControlResult, Disposition, DocumentKind, Drift, Probe, ProbeOutcome, Store};
use model::{Action, Digest, Event, Fingerprint, KeyId, Name, Text, Timestamp};

use super::{At, History};

/// A document that was adopted.
#[derive(Clone, Debug)]
pub struct AdoptedDocument {
    /// Its `document.adopted`.
    pub at: At,
    /// Its name, the same in all of its versions.
    pub name: Name,
    /// Counts these from 1.
    pub version: u32,
    /// What it is.
    pub kind: DocumentKind,
    /// Its title.
    pub title: Text,
    /// The SHA-256 of its text.
    pub document: Digest,
    /// The points of the control that it is about.
    pub covers: Vec<ControlPoint>,
    /// Who answers for it.
    pub owner: Fingerprint,
    /// Until when it must be looked at again.
    pub review_by: Timestamp,
    /// Whether its text is in the log.
    pub in_log: bool,
}

/// A store that was registered.
#[derive(Clone, Debug)]
pub struct RegisteredStore {
    /// Its `store.registered`.
    pub at: At,
    /// What was said of it.
    pub store: Store,
}

/// A probe that was made.
#[derive(Clone, Debug)]
pub struct RecordedProbe {
    /// Its `probe.recorded`.
    pub at: At,
    /// What was tried.
    pub probe: Probe,
    /// On which key.
    pub key_id: KeyId,
    /// What was answered.
    pub outcome: ProbeOutcome,
    /// Where it was refused: why.
    pub problem: Option<Name>,
}

/// An evaluation of the control.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Its `control.evaluated`.
    pub at: At,
    /// Who signed it, or the first of them.
    pub by: Fingerprint,
    /// When the next one was due.
    pub next_by: Timestamp,
    /// The SHA-256 of the `controls.json` that was looked at.
    pub controls: Digest,
    /// How many events were replayed for it.
    pub size: u64,
    /// What each test came to.
    pub results: Vec<ControlResult>,
    /// What was decided about exceptions.
    pub dispositions: Vec<Disposition>,
}

/// A comparison of a store with the chain.
#[derive(Clone, Debug)]
pub struct RecordedComparison {
    /// Its `custody.reconciled`.
    pub at: At,
    /// The store.
    pub store: Name,
    /// How many keys it listed.
    pub seen: u64,
    /// How many of them as the chain says.
    pub matched: u64,
    /// How many otherwise.
    pub drifted: u64,
    /// How many that the chain does not know.
    pub unknown: u64,
    /// How many that it should have and did not list.
    pub missing: u64,
}

/// A key that its store had otherwise than the chain says.
#[derive(Clone, Debug)]
pub struct RecordedDrift {
    /// Its `custody.drifted`.
    pub at: At,
    /// The key.
    pub key_id: KeyId,
    /// The store.
    pub store: Name,
    /// In what it differed.
    pub drift: Drift,
    /// What the store had.
    pub found: Text,
    /// Whether it was set back.
    pub set_back: bool,
}

/// A bundle that was made.
#[derive(Clone, Debug)]
pub struct RecordedExport {
    /// Its `evidence.exported`.
    pub at: At,
    /// The first event of its period.
    pub from: u64,
    /// How many events it holds.
    pub size: u64,
    /// The SHA-256 of what its manifest says.
    pub manifest: Digest,
}

impl History {
    /// The newest version of each document.
    pub fn documents_in_force(&self) -> impl Iterator<Item = &AdoptedDocument> {
        let last = self.documents.iter().map(|document| (&document.name, document)).collect::<BTreeMap<_, _>>();
        last.into_values()
    }

    /// A store as it was registered last.
    pub fn registered(&self, store: &Name) -> Option<&RegisteredStore> {
        self.stores.iter().rev().find(|registered| registered.store.name == *store)
    }

    /// What was last decided about each exception, with the evaluation in which it was.
    pub fn dispositions(&self) -> BTreeMap<&Name, (&Disposition, At)> {
        let all = self.evaluations.iter().flat_map(|of| of.dispositions.iter().map(move |one| (one, of.at)));
        all.map(|(one, at)| (&one.exception, (one, at))).collect()
    }

    pub(super) fn of_stands(&mut self, at: At, event: &Event, action: Option<&Action>) {
        match (event, action) {
            (Event::DocumentAdopted(adopted), _) => self.documents.push(document(at, adopted)),
            (Event::StoreRegistered(registered), _) => {
                self.stores.push(RegisteredStore { at, store: registered.store.clone() });
            }
            (Event::ProbeRecorded(probed), _) => self.probes.push(probe(at, probed)),
            (Event::CustodyReconciled(compared), _) => self.comparisons.push(comparison(at, compared)),
            (Event::CustodyDrifted(drifted), _) => self.drifts.push(drift(at, drifted)),
            (Event::EvidenceExported(exported), _) => self.exports.push(export(at, exported)),
            (Event::ControlEvaluated(evaluated), Some(Action::ControlEvaluate(params))) => {
                self.evaluations.push(evaluation(at, evaluated, params));
            }
            _ => {}
        }
    }
}

fn document(at: At, adopted: &DocumentAdopted) -> AdoptedDocument {
    AdoptedDocument {
        at,
        name: adopted.name.clone(),
        version: adopted.version,
        kind: adopted.kind,
        title: adopted.title.clone(),
        document: adopted.document,
        covers: adopted.covers.iter().copied().collect(),
        owner: adopted.owner,
        review_by: adopted.review_by,
        in_log: adopted.in_log,
    }
}

fn probe(at: At, probed: &ProbeRecorded) -> RecordedProbe {
    let ProbeRecorded { probe, key_id, outcome, problem, .. } = probed;
    RecordedProbe { at, probe: *probe, key_id: *key_id, outcome: *outcome, problem: problem.clone() }
}

fn comparison(at: At, compared: &CustodyReconciled) -> RecordedComparison {
    let CustodyReconciled { seen, matched, drifted, unknown, missing, .. } = *compared;
    RecordedComparison { at, store: compared.store.clone(), seen, matched, drifted, unknown, missing }
}

fn drift(at: At, drifted: &CustodyDrifted) -> RecordedDrift {
    let CustodyDrifted { key_id, drift, set_back, .. } = *drifted;
    RecordedDrift { at, key_id, store: drifted.store.clone(), drift, found: drifted.found.clone(), set_back }
}

fn export(at: At, exported: &EvidenceExported) -> RecordedExport {
    RecordedExport { at, from: exported.from, size: exported.size, manifest: exported.manifest }
}

fn evaluation(at: At, evaluated: &ControlEvaluated, params: &ControlEvaluate) -> Evaluation {
    Evaluation {
        at,
        by: evaluated.evaluated_by,
        next_by: evaluated.next_by,
        controls: evaluated.controls,
        size: evaluated.size,
        results: params.results.clone(),
        dispositions: params.dispositions.clone(),
    }
}

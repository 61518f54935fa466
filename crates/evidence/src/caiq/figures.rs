//! What a history comes to, in figures that the answers need.

use std::collections::BTreeMap;

use model::evidence::ProbeOutcome;
use model::{EventType, KeyState, Timestamp};

use crate::controls::{Controls, Outcome};
use crate::history::{History, KeyLife};

/// The figures.
pub(super) struct Figures {
    pub(super) generated: u64,
    pub(super) activated: u64,
    pub(super) expired: u64,
    pub(super) states: BTreeMap<KeyState, u64>,
    pub(super) suspensions: u64,
    /// Of these, those that nobody commanded.
    pub(super) suspensions_by_themselves: u64,
    pub(super) resumptions: u64,
    pub(super) deactivations: u64,
    /// Of these, those that nobody commanded.
    pub(super) deactivations_by_themselves: u64,
    /// Keys in use beyond the end of their use.
    pub(super) overdue: Vec<String>,
    pub(super) uses: u64,
    pub(super) refused: u64,
    /// Keys whose last change of state the custodian has not confirmed.
    pub(super) unconfirmed: u64,
    /// Exceptions that nobody has disposed of.
    pub(super) open_exceptions: u64,
    pub(super) exceptions: u64,
    /// Tests that the history can't answer.
    pub(super) unanswered: Vec<String>,
    pub(super) packs_applied: u64,
    pub(super) packs_declared: u64,
    /// Whether the evaluation that was due is not there.
    pub(super) evaluation_late: bool,
    pub(super) probes: u64,
    pub(super) probes_refused: u64,
    /// Documents in force, by name and version.
    pub(super) documents: Vec<String>,
}

pub(super) fn figures(history: &History, controls: &Controls) -> Figures {
    let keys = || history.keys.values();
    let count = |event: EventType| history.counts.get(&event).copied().unwrap_or_default();
    let by_themselves = |state: KeyState| {
        let steps = keys().flat_map(|key| &key.steps);
        steps.filter(|step| step.state == state && step.by.is_none()).count() as u64
    };
    let mut states = BTreeMap::new();
    keys().for_each(|key| *states.entry(key.state()).or_default() += 1);
    let exceptions = || controls.controls.iter().flat_map(|test| &test.exceptions);
    let unanswered = controls.controls.iter().filter(|test| test.outcome == Outcome::InsufficientEvidence);
    let packs: BTreeMap<_, bool> = history.packs.iter().map(|declared| (&declared.pack, declared.applied)).collect();
    let overdue = keys().filter(|key| is_overdue(key, controls.period.until));
    Figures {
        generated: history.keys.len() as u64,
        activated: keys().filter(|key| !key.activations.is_empty()).count() as u64,
        expired: count(EventType::KeyExpired),
        states,
        suspensions: count(EventType::KeySuspended),
        suspensions_by_themselves: by_themselves(KeyState::Suspended),
        resumptions: count(EventType::KeyResumed),
        deactivations: count(EventType::KeyDeactivated),
        deactivations_by_themselves: by_themselves(KeyState::Deactivated),
        overdue: overdue.map(|key| key.spec.label.to_string()).collect(),
        uses: keys().flat_map(|key| key.uses.values()).flat_map(|uses| uses.counts.values()).sum(),
        refused: keys().flat_map(|key| key.refused.values()).sum(),
        unconfirmed: keys().filter(|key| !is_confirmed(key)).count() as u64,
        open_exceptions: exceptions().filter(|exception| exception.disposition.is_none()).count() as u64,
        exceptions: exceptions().count() as u64,
        unanswered: unanswered.map(|test| test.id.clone()).collect(),
        packs_applied: packs.values().filter(|applied| **applied).count() as u64,
        packs_declared: packs.len() as u64,
        evaluation_late: history.evaluations.last().is_some_and(|last| last.next_by < controls.period.until),
        probes: history.probes.len() as u64,
        probes_refused: history.probes.iter().filter(|probe| probe.outcome == ProbeOutcome::Refused).count() as u64,
        documents: history.documents_in_force().map(|one| format!("`{}` version {}", one.name, one.version)).collect(),
    }
}

/// Whether its use goes on after it was to end.
fn is_overdue(key: &KeyLife, now: Timestamp) -> bool {
    let ends = key.activations.last().map(|activation| activation.deactivate_at);
    matches!(key.state(), KeyState::Active | KeyState::Suspended) && ends.is_some_and(|ends| ends < now)
}

/// Whether the custodian has said that the store has its state.
fn is_confirmed(key: &KeyLife) -> bool {
    key.custody.last().is_some_and(|custody| custody.state == key.state())
}

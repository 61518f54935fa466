//! Evidence: the documents and stores that a tenant stands by, bundles, probes, the evaluation of the control.

use std::collections::BTreeSet;

use journal::command::SignedCommand;
use model::command::{
    CONTROL_RESULTS_MAX, ControlEvaluate, DISPOSITION_NOTE_BYTES_MAX, DISPOSITIONS_MAX, DocumentAdopt, LIFETIME_MAX,
    LIFETIME_MAX_QUORUM, LIFETIME_MAX_USE, PRIVILEGED_ACCOUNTS_MAX, StoreRegister,
};
use model::event::{ControlEvaluated, DocumentAdopted, EvidenceExported, ProbeRecorded, StoreRegistered};
use model::evidence::{Probe, ProbeOutcome};
use model::people::PrincipalKind;
use model::{Action, Event, Name, ProblemType, Span, Timestamp};

use super::people::governed;
use super::usage::may_use;
use super::{Exported, Probed, activation, new_command, not_yet, nothing_due};
use crate::clearance::waiting;
use crate::state::{Checkpointed, Governance, STORES_MAX, View};
use crate::{Rejection, standing};

/// The most documents that a tenant has adopted: they are part of what every decision sees.
const DOCUMENTS_MAX: usize = 128;

// === What the tenant stands by ===

pub(super) fn adopt_document(
    view: &View,
    signed: &SignedCommand,
    params: &DocumentAdopt,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    if params.covers.is_empty() {
        return malformed("it is about no point of the control").err();
    }
    standing::person(governance.member(params.owner)?)?;
    if params.review_by <= now {
        let detail = format!("it was to be looked at again by {}", params.review_by);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    let before = governance.documents.get(&params.name);
    if before.is_none() {
        room(governance.documents.len(), DOCUMENTS_MAX, "documents")?;
    }
    let stored = view.document.as_ref().filter(|stored| stored.digest == params.document);
    Ok(Event::DocumentAdopted(DocumentAdopted {
        name: params.name.clone(),
        version: before.map_or(1, |held| held.version.saturating_add(1)),
        kind: params.kind,
        title: params.title.clone(),
        document: params.document,
        covers: params.covers.clone(),
        owner: params.owner,
        review_by: params.review_by,
        in_log: stored.is_some_and(|stored| stored.is_complete()),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn register_store(
    view: &View,
    signed: &SignedCommand,
    params: &StoreRegister,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    let accounts = params.store.privileged_accounts.len();
    if accounts > PRIVILEGED_ACCOUNTS_MAX {
        return malformed(format!("{accounts} privileged accounts; at most {PRIVILEGED_ACCOUNTS_MAX} are named")).err();
    }
    if !governance.stores.contains_key(&params.store.name) {
        room(governance.stores.len(), STORES_MAX, "stores")?;
    }
    Ok(Event::StoreRegistered(StoreRegistered { store: params.store.clone(), command: signed.envelope.clone() }))
}

fn room(there: usize, most: usize, what: &str) -> Result<(), Rejection> {
    if there < most {
        return Ok(());
    }
    Rejection::new(ProblemType::TooMany, format!("there are {there} {what}; at most {most} are kept")).err()
}

fn malformed(detail: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Malformed, detail)
}

// === Bundles ===

/// Whether this `evidence.export` may be answered with a bundle at `now`, and from which event on its period runs. For the
/// exporter, before it makes one.
pub fn may_export(view: &View, signed: &SignedCommand, now: Timestamp) -> Result<u64, Rejection> {
    let governance = view.governance()?;
    let Action::EvidenceExport(params) = &signed.command.action else {
        let detail = format!("`{}` asks for no bundle", signed.command.action.name());
        return Rejection::new(ProblemType::UnknownAction, detail).err();
    };
    new_command(view, signed)?;
    // The bundle of a long history takes its time.
    standing::times(signed, now, LIFETIME_MAX_QUORUM)?;
    let (_, principal) = standing::sole(governance, signed)?;
    let Some(rule) = &governance.policy()?.policy.evidence.export else {
        return Rejection::new(ProblemType::RoleMissing, "the policy lets nobody have bundles made").err();
    };
    standing::role(principal, &rule.roles)?;
    match params.from {
        0 => malformed("events are counted from 1").err(),
        from if from > view.progress.covered => {
            let covered = view.progress.covered;
            let detail = format!("the period begins at event {from}; a checkpoint commits to {covered}");
            Rejection::new(ProblemType::TimesInvalid, detail).with("covered", covered).err()
        }
        from => Ok(from),
    }
}

/// A bundle that is made by itself is over the whole history.
fn scheduled(governance: &Governance, now: Timestamp) -> Result<u64, Rejection> {
    match governance.next_export() {
        Some(at) if at <= now => Ok(1),
        Some(at) => not_yet(at).err(),
        None => nothing_due("the policy asks for no bundles").err(),
    }
}

/// The exporter's report of a bundle: over the events of a checkpoint in the log, for the period that was asked for.
pub(super) fn export(
    view: &View,
    signed: Option<&SignedCommand>,
    exported: &Exported,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let from = match signed {
        Some(signed) => may_export(view, signed, now)?,
        None => scheduled(view.governance()?, now)?,
    };
    let Exported { size, checkpoint, ref root, manifest, checkpoints, .. } = *exported;
    let is_of = |held: &&Checkpointed| held.size == size && held.hash == checkpoint && held.root == *root;
    if view.checkpoint.as_ref().filter(is_of).is_none() {
        let detail = format!("no checkpoint in the log is {} over {size} events with that root", checkpoint.short());
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    if exported.from != from || size < from {
        let detail = format!("the bundle is of events {} to {size}, from {from} on was asked for", exported.from);
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    let command = signed.map(|signed| signed.envelope.clone());
    let (root, cause) = (root.clone(), signed.is_none().then_some(checkpoint));
    Ok(Event::EvidenceExported(EvidenceExported {
        from,
        size,
        checkpoint,
        root,
        manifest,
        checkpoints,
        command,
        cause,
    }))
}

// === Probes ===

/// The exporter's report of a probe: a program tried what must be refused, on a key that waits with nothing to authorise it.
/// That it was refused is decided again, and for the same reason; what else was answered is the exporter's word.
pub(super) fn probe(view: &View, signed: &SignedCommand, probed: &Probed, now: Timestamp) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    new_command(view, signed)?;
    if governance.policy()?.policy.evidence.probes.is_none() {
        return nothing_due("the policy asks for no probes").err();
    }
    let (_, principal) = standing::sole(governance, signed)?;
    if principal.kind != PrincipalKind::Workload {
        let detail = format!("`{}` is a person; a probe is a workload's", principal.label);
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    let refused = tried(view, signed, probed.probe, now)?.name();
    let fits = match (probed.outcome, &probed.problem) {
        (ProbeOutcome::Refused, Some(problem)) => problem.as_str() == refused,
        (ProbeOutcome::Accepted | ProbeOutcome::Unanswered, None) => true,
        _ => false,
    };
    if !fits {
        let said = probed.problem.as_ref().map_or("none", Name::as_str);
        let detail = format!("the problem recorded is `{said}`; deciding again gives `{refused}`, where it is refused");
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    Ok(Event::ProbeRecorded(ProbeRecorded {
        probe: probed.probe,
        key_id: waiting(view)?.id,
        outcome: probed.outcome,
        problem: probed.problem.clone(),
        command: signed.envelope.clone(),
    }))
}

/// Why what a probe tries is refused: for what the key lacks, and nothing else. A command that is no such try, or would be
/// refused for its times or for who signs it, shows nothing.
fn tried(view: &View, signed: &SignedCommand, probe: Probe, now: Timestamp) -> Result<ProblemType, Rejection> {
    waiting(view)?;
    let decided = match (probe, &signed.command.action) {
        (Probe::ActivateUnapproved, Action::KeyActivate(params)) if params.standing.is_none() => {
            standing::times(signed, now, LIFETIME_MAX)?;
            activation::activate_on_command(view, signed, params, now).map(|_| ())
        }
        (Probe::UsePreActive, action) if action.operation().is_some() => {
            standing::times(signed, now, LIFETIME_MAX_USE)?;
            may_use(view, signed, now, Some(Span::ZERO)).map(|_| ())
        }
        (probe, action) => return malformed(format!("`{}` is no probe `{probe}`", action.name())).err(),
    };
    let shows: &[ProblemType] = match probe {
        Probe::ActivateUnapproved => &[ProblemType::UnknownRequest, ProblemType::NotAuthorized],
        Probe::UsePreActive => &[ProblemType::KeyNotActive],
    };
    match decided {
        Err(refused) if shows.contains(&refused.problem) => Ok(refused.problem),
        Err(refused) => {
            let detail = format!("it shows nothing of the key: it is refused for another reason: {refused}");
            Rejection::new(ProblemType::StateChanged, detail).err()
        }
        Ok(()) => Rejection::new(ProblemType::StateChanged, "it would not be refused").err(),
    }
}

// === The evaluation of the control ===

pub(super) fn evaluate(
    view: &View,
    signed: &SignedCommand,
    params: &ControlEvaluate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let Some(rule) = &governance.policy()?.policy.evidence.evaluation else {
        return nothing_due("the policy asks for no evaluation of the control").err();
    };
    standing::times(signed, now, standing::lifetime(rule.by.quorum))?;
    let evaluated_by = standing::quorum(governance, signed, &rule.by)?;
    results(params)?;
    dispositions(governance, params, now)?;
    let events = view.chain.tree().size();
    if !(1..=events).contains(&params.size) {
        return malformed(format!("{} events were replayed, of {events}", params.size)).err();
    }
    Ok(Event::ControlEvaluated(ControlEvaluated {
        controls: params.controls,
        size: params.size,
        evaluated_by,
        next_by: now + rule.every,
        command: signed.envelope.clone(),
    }))
}

fn results(params: &ControlEvaluate) -> Result<(), Rejection> {
    let count = params.results.len();
    let distinct: BTreeSet<&Name> = params.results.iter().map(|result| &result.id).collect();
    if (1..=CONTROL_RESULTS_MAX).contains(&count) && distinct.len() == count {
        return Ok(());
    }
    malformed(format!("{count} results; name 1 to {CONTROL_RESULTS_MAX}, each test once")).err()
}

fn dispositions(governance: &Governance, params: &ControlEvaluate, now: Timestamp) -> Result<(), Rejection> {
    let count = params.dispositions.len();
    let distinct: BTreeSet<&Name> = params.dispositions.iter().map(|disposition| &disposition.exception).collect();
    if count > DISPOSITIONS_MAX || distinct.len() != count {
        let detail = format!("{count} dispositions; at most {DISPOSITIONS_MAX}, each exception once");
        return malformed(detail).err();
    }
    for disposition in &params.dispositions {
        standing::person(governance.member(disposition.owner)?)?;
        let (exception, due) = (&disposition.exception, disposition.due);
        if due <= now {
            return Rejection::new(ProblemType::TimesInvalid, format!("`{exception}` was due at {due}")).err();
        }
        let bytes = disposition.note.as_str().len();
        if bytes > DISPOSITION_NOTE_BYTES_MAX {
            let detail = format!("the note on `{exception}` has {bytes} bytes; {DISPOSITION_NOTE_BYTES_MAX} are taken");
            return malformed(detail).err();
        }
    }
    Ok(())
}

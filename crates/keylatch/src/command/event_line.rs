//! One event in one line.

use lifecycle::{Judgement, Tenant};
use model::event::ActivationMode;
use model::evidence::ProbeOutcome;
use model::{Event, Timestamp};
use serde_json::{Value, json};

use crate::layout::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, safe, styled, time};
use crate::lookup;
use crate::reader::{Known, Seen};
use crate::screen::Shown;
use crate::words::{counted, name_of};

/// The line of an event, with the names that the state has for what it is about.
pub fn event_line(seen: &Seen, known: &Known) -> Shown {
    let state = known.state();
    Shown { json: to_json(seen, state), people: to_people(seen, state) }
}

/// Who is behind an event: those who signed its command, or the service that recorded it by itself.
fn who(seen: &Seen, state: &Tenant) -> Vec<String> {
    match (seen.prepared.command(), seen.prepared.body()) {
        (Some(signed), _) => {
            signed.signers.iter().map(|signer| lookup::name(state, signer.key.fingerprint())).collect()
        }
        (None, Some(body)) => vec![format!("the {}", body.source_role())],
        (None, None) => vec!["nobody known".to_owned()],
    }
}

fn type_name(seen: &Seen) -> String {
    let body = seen.prepared.body();
    let name = body.map(|body| body.event_type.trim_start_matches("dev.keylatch.").trim_end_matches(".v1").to_owned());
    name.unwrap_or_else(|| "unreadable".to_owned())
}

fn label(seen: &Seen, state: &Tenant) -> Option<String> {
    let key = seen.key_id()?;
    Some(state.keys.get(&key).map_or_else(|| key.to_string(), |key| key.spec.label.to_string()))
}

fn void_reason(seen: &Seen) -> Option<String> {
    match &seen.judgement {
        Judgement::Lawful => None,
        Judgement::Void(void) => Some(void.to_string()),
    }
}

fn to_json(seen: &Seen, state: &Tenant) -> Value {
    let data = seen.prepared.body().and_then(|body| serde_json::from_str::<Value>(&body.data).ok());
    json!({
        "sequence": seen.sequence.0,
        "hash": seen.prepared.hash,
        "time": seen.time(),
        "type": type_name(seen),
        "key_id": seen.key_id(),
        "key": label(seen, state),
        "by": who(seen, state),
        "void": void_reason(seen),
        "data": data,
    })
}

fn to_people(seen: &Seen, state: &Tenant) -> String {
    let at = seen.time().map_or_else(|| "at no known time   ".to_owned(), time);
    let name = type_name(seen);
    let about = label(seen, state).map(|label| format!("  {BOLD}{}{BOLD:#}", safe(&label))).unwrap_or_default();
    let by = safe(&who(seen, state).join(", "));
    let number = seen.sequence.0;
    match void_reason(seen) {
        Some(reason) => format!(
            "{DIM}{number:>6}{DIM:#} {at} {RED}VOID {}{RED:#}{about}  {DIM}by{DIM:#} {by}  {RED}{}{RED:#}\n",
            safe(&name),
            safe(&reason)
        ),
        None => {
            let detail = seen.event().map(|event| detail(event, state)).unwrap_or_default();
            let detail = if detail.is_empty() { detail } else { format!("  {DIM}{}{DIM:#}", safe(&detail)) };
            let name = styled(style(seen.event()), &format!("{name:<22}"));
            format!("{DIM}{number:>6}{DIM:#} {at} {name}{about}  {DIM}by{DIM:#} {by}{detail}\n")
        }
    }
}

fn style(event: Option<&Event>) -> anstyle::Style {
    match event {
        Some(Event::KeyActivated(_) | Event::KeyResumed(_) | Event::ActivationAuthorized(_)) => GREEN,
        Some(Event::KeyCompromised(_) | Event::ActivationRejected(_) | Event::DeadlineMissed(_)) => RED,
        Some(Event::ProbeRecorded(data)) => match data.outcome {
            ProbeOutcome::Refused => DIM,
            ProbeOutcome::Accepted => RED,
            ProbeOutcome::Unanswered => YELLOW,
        },
        Some(
            Event::KeySuspended(_)
            | Event::KeyExpired(_)
            | Event::ActivationLapsed(_)
            | Event::ActivationHeld(_)
            | Event::DeadlineWarned(_)
            | Event::CustodyRefused(_),
        ) => YELLOW,
        Some(Event::CustodyDrifted(_)) => RED,
        Some(
            Event::CheckpointSigned(_) | Event::CustodyApplied(_) | Event::CustodyUsed(_) | Event::CustodyReconciled(_),
        ) => DIM,
        _ => CYAN,
    }
}

/// What is worth saying of it beyond its type, its key and who did it.
fn detail(event: &Event, state: &Tenant) -> String {
    let until = |at: Timestamp| format!("until {}", time(at));
    let by = |at: Timestamp| format!("by {}", time(at));
    match event {
        Event::TenantCreated(data) => format!("`{}`, {} admins of {}", data.name, data.admin_quorum, data.admins.len()),
        Event::AuthorityChanged(data) => format!("epoch {}", data.epoch),
        Event::PrincipalEnrolled(data) => format!("{}: {}", data.principal.label, roles(&data.principal.roles)),
        Event::PrincipalChanged(data) => format!("{}: {}", lookup::name(state, data.principal), roles(&data.roles)),
        Event::PrincipalRevoked(data) => format!("{}: {}", lookup::name(state, data.principal), data.reason.text),
        Event::PolicyAdopted(data) => format!("{}, version {}", data.name, data.version),
        Event::KeyGenerated(data) => {
            format!("{}, pre-active {}", data.spec.algorithm, until(data.pre_active_until))
        }
        Event::KeyActivated(data) => {
            let mode = match data.mode {
                ActivationMode::Manual => "on command",
                ActivationMode::Scheduled => "by itself",
                ActivationMode::Standing => "under a standing authorisation",
            };
            format!("{mode}, {}, {}", counted(data.approvals.len(), "approval"), until(data.deactivate_at))
        }
        Event::KeySuspended(data) => {
            let own = is_own_activation(data.key_id, data.cause, state);
            let otherwise =
                if own { "its emergency was not reviewed in time" } else { "the key that wraps it was halted" };
            reason(data.reason.as_ref(), otherwise)
        }
        Event::KeyResumed(data) => data.reason.text.to_string(),
        Event::KeyCompromised(data) => format!("was {}: {}", data.was, data.reason.text),
        Event::KeyDeactivated(data) => {
            let own = is_own_activation(data.key_id, data.cause, state);
            reason(data.reason.as_ref(), if own { "its time was over" } else { "its algorithm has ended" })
        }
        Event::KeyDestroyed(data) => reason(data.reason.as_ref(), "it had expired"),
        Event::KeyExpired(data) => match data.revalidate_by {
            Some(_) => "nobody said in time that it is still wanted".to_owned(),
            None => "never activated in time".to_owned(),
        },
        Event::ActivationRequested(data) => format!("{} ({})", data.reason.text, name_of(&data.reason.kind)),
        Event::ActivationApproved(data) => format!("good {}", until(data.expires_at)),
        Event::ActivationRejected(data) => data.reason.text.to_string(),
        Event::ActivationCancelled(data) => data.reason.text.to_string(),
        Event::ActivationAuthorized(data) => counted(data.approvals.len(), "approval"),
        Event::ActivationLapsed(data) => {
            if data.approval.is_some() { "an approval ran out" } else { "the request ran out" }.to_owned()
        }
        Event::PrincipalRotated(data) => {
            let by = if data.vouched { "the old key vouches" } else { "an admin quorum" };
            format!("{}: {by}", lookup::name(state, data.fingerprint))
        }
        Event::PrincipalEquipped(data) => format!("{}: {}", lookup::name(state, data.principal), data.sealing_key),
        Event::DelegationGranted(data) => {
            let (from, to) = (lookup::name(state, data.from), lookup::name(state, data.to));
            format!("{from} to {to}, as {}, {}", roles(&data.roles), until(data.not_after))
        }
        Event::DelegationEnded(data) => format!("by {}", lookup::name(state, data.ended_by)),
        Event::AccessReviewed(data) => format!("the next {}", by(data.next_by)),
        Event::PackDeclared(data) => {
            let what = if data.applied { "applied" } else { "not applicable" };
            format!("{} {}: {what}, to be looked at again {}", data.pack, data.version, by(data.review_by))
        }
        Event::FactAsserted(data) => format!("{}, {}", data.fact, until(data.valid_until)),
        Event::FactWithdrawn(data) => data.fact.to_string(),
        Event::DocumentStored(data) => format!("part {} of {}", data.part + 1, data.parts),
        Event::DeadlineWarned(data) => {
            let named = of(data.pack.as_ref().or(data.document.as_ref()));
            let about = data.algorithm.map_or(named, |algorithm| format!(" of {algorithm}"));
            format!("{}{about} {}", name_of(&data.deadline), by(data.at))
        }
        Event::AlgorithmEnded(data) => format!("{}, {}", data.algorithm, by(data.at)),
        Event::DeadlineMissed(data) => {
            let about = of(data.pack.as_ref().or(data.document.as_ref()));
            format!("{}{about} {}", name_of(&data.deadline), by(data.at))
        }
        Event::KeyRevalidated(data) => format!("{}, the next {}", counted(data.keys.len(), "key"), by(data.next_by)),
        Event::ActivationHeld(data) => {
            let what = if data.request.is_some() { "a request" } else { "every activation" };
            format!("{what}: {}, {}", name_of(&data.kind), data.reference)
        }
        Event::ActivationReleased(data) => format!("by {}", lookup::name(state, data.released_by)),
        Event::ActivationReviewed(data) => data.findings.to_string(),
        Event::ConsumerAcknowledged(data) => {
            format!("{}: {}", lookup::name(state, data.acknowledged_by), name_of(&data.readiness))
        }
        Event::ParentAttested(data) => format!("in {}, {}", data.activation.tenant, until(data.deactivate_at)),
        Event::CustodyApplied(data) => format!("the store `{}` has it {}", data.store, data.state),
        Event::CustodyUsed(data) => counts(&data.uses),
        Event::CustodyRefused(data) => format!("{}: {}", data.reason, counts(&data.refusals)),
        Event::CustodyReconciled(data) => format!(
            "`{}` lists {}: {} as the chain says, {} otherwise, {} unknown; {} missing",
            data.store,
            counted(usize::try_from(data.seen).unwrap_or(usize::MAX), "key"),
            data.matched,
            data.drifted,
            data.unknown,
            data.missing
        ),
        Event::CustodyDrifted(data) => {
            let after = if data.set_back { "; set back" } else { "" };
            format!("`{}` has it otherwise ({}): {}{after}", data.store, data.drift, data.found)
        }
        Event::CheckpointSigned(data) => format!("over {} events", data.size),
        Event::DocumentAdopted(data) => {
            let text = if data.in_log { "" } else { ", its text kept elsewhere" };
            let (owner, review) = (lookup::name(state, data.owner), by(data.review_by));
            let kind = name_of(&data.kind);
            format!(
                "{kind} {} {}: {}, {owner}'s, to be looked at again {review}{text}",
                data.name, data.version, data.title
            )
        }
        Event::StoreRegistered(data) => format!("{} ({}): {}", data.store.name, data.store.kind, data.store.server),
        Event::BaselineAdopted(data) => {
            let due = by(data.rotate_by);
            format!(
                "{} keys of `{}`, as of {}; to be rotated or authorised anew {due}",
                data.manifest.count,
                data.store,
                time(data.taken_at)
            )
        }
        Event::KeyAdopted(data) => {
            format!(
                "{} {}, {}: activation not evidenced, due {}",
                data.label,
                data.algorithm,
                data.identity,
                by(data.rotate_by)
            )
        }
        Event::EvidenceExported(data) => {
            let asked = if data.command.is_some() { "" } else { ", by itself" };
            format!("events 1 to {}, the period from {} on{asked}", data.size, data.from)
        }
        Event::ProbeRecorded(data) => {
            let problem = data.problem.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
            format!("{}, {}{problem}", data.probe, name_of(&data.outcome))
        }
        Event::ControlEvaluated(data) => format!("over {} events, the next {}", data.size, by(data.next_by)),
    }
}

/// Whether what came by itself followed from the key's own activation.
fn is_own_activation(key: model::KeyId, cause: Option<model::EventHash>, state: &Tenant) -> bool {
    let activation = state.keys.get(&key).and_then(|key| key.activation);
    activation.is_some_and(|activation| Some(activation.hash) == cause)
}

fn of(name: Option<&model::Name>) -> String {
    name.map_or_else(String::new, |name| format!(" of {name}"))
}

fn roles(roles: &std::collections::BTreeSet<model::Role>) -> String {
    roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn reason(reason: Option<&model::key::Reason>, otherwise: &str) -> String {
    reason.map_or_else(|| otherwise.to_owned(), |reason| reason.text.to_string())
}

fn counts(counts: &std::collections::BTreeMap<model::key::Operation, u64>) -> String {
    counts.iter().map(|(operation, count)| format!("{count} × {operation}")).collect::<Vec<_>>().join(", ")
}

/// Whether an event is about the key that is meant: by its id, the beginning of it, or its label.
pub fn is_about(seen: &Seen, known: &Known, named: &str) -> bool {
    let Some(key_id) = seen.key_id() else { return false };
    let id = key_id.to_string();
    let labelled = known.state().keys.get(&key_id).is_some_and(|key| key.spec.label.as_str() == named);
    labelled || id == named || (named.len() >= 8 && id.starts_with(named))
}

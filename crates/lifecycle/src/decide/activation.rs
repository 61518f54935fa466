//! From request to activation: what the control is about.
//!
//! INVARIANT (no unapproved activation): [`activate`] is the only place that makes `key.activated`, and it assesses the
//! quorum anew, under the policy and the standing of people at that moment.

use journal::command::SignedCommand;
use model::command::{ActivationCancel, ActivationReject, ActivationRequest, KeyActivate};
use model::event::{
    ActivationApproved, ActivationAuthorized, ActivationCancelled, ActivationLapsed, ActivationMode,
    ActivationRejected, ActivationRequested, KeyActivated,
};
use model::policy::{Permission, Rule};
use model::{Event, EventHash, Fingerprint, KeyState, Name, ProblemType, Role, Timestamp, command};

use super::{not_yet, nothing_due, unchanged};
use crate::quorum::{self, Assessment};
use crate::state::{Governance, InForce, Key, Mark, Request, View};
use crate::{Rejection, standing, transition};

/// A key that waits for its activation.
fn pre_active(view: &View) -> Result<&Key, Rejection> {
    let key = view.key()?;
    if key.state == KeyState::PreActive && key.expired.is_none() {
        return Ok(key);
    }
    let state = if key.expired.is_some() { "expired" } else { key.state.name() };
    Rejection::new(ProblemType::KeyNotPreActive, format!("the key is {state}")).with("state", state).err()
}

/// The policy and its rule for the key.
fn rule<'a>(governance: &'a Governance, key: &Key) -> Result<(&'a InForce, &'a Rule), Rejection> {
    let policy = governance.policy()?;
    Ok((policy, policy.rule_for(&key.spec)?))
}

pub(super) fn request(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationRequest,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, pre_active(view)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    if params.manifest.is_some() {
        return Rejection::new(ProblemType::NotSupported, "requests over a manifest are not taken yet").err();
    }
    if let Some(open) = key.open_request {
        let detail = format!("request {} is open", open.short());
        return Rejection::new(ProblemType::RequestOpen, detail).with("request", open.to_string()).err();
    }
    let (policy, rule) = rule(governance, key)?;
    let (requested_by, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    standing::role(principal, &rule.requesters)?;
    if params.identity != key.identity {
        let detail = format!("the request describes {}, the key is {}", params.identity, key.identity);
        return Rejection::new(ProblemType::IdentityMismatch, detail).err();
    }
    let not_before = params.not_before.map_or(now, |time| time.max(now));
    if not_before >= key.pre_active_until {
        let detail = format!("the key expires at {}, before it could be activated", key.pre_active_until);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    deactivate_at(policy, key, params.deactivate_at, not_before)?;
    Ok(Event::ActivationRequested(ActivationRequested {
        key_id: key.id,
        requested_by,
        identity: key.identity.clone(),
        reason: params.reason.clone(),
        change_ref: params.change_ref.clone(),
        legal_basis: params.legal_basis.clone(),
        affected_systems: params.affected_systems.clone(),
        policy: policy.hash,
        rule: rule.name.clone(),
        not_before,
        deactivate_at: params.deactivate_at,
        expires_at: now + rule.request_valid_for,
        command: signed.envelope.clone(),
    }))
}

/// When a key that is activated at `from` ends: when it was asked to, at the latest when its crypto period is over.
fn deactivate_at(
    policy: &InForce,
    key: &Key,
    wanted: Option<Timestamp>,
    from: Timestamp,
) -> Result<Timestamp, Rejection> {
    let Some(algorithm) = policy.policy.algorithm(key.spec.algorithm) else {
        let detail = format!("`{}` is not listed any more", key.spec.algorithm);
        return Rejection::new(ProblemType::AlgorithmNotAllowed, detail).err();
    };
    let latest = from + algorithm.crypto_period;
    match wanted {
        None => Ok(latest),
        Some(end) if end <= from => {
            let detail = format!("it is to end at {end}, and would begin at {from}");
            Rejection::new(ProblemType::TimesInvalid, detail).err()
        }
        Some(end) if end > latest => {
            let detail = format!("`{}` keys may be active for {}", key.spec.algorithm, algorithm.crypto_period);
            Rejection::new(ProblemType::PeriodTooLong, detail).with("latest", latest.to_string()).err()
        }
        Some(end) => Ok(end),
    }
}

/// What the approvals of a request come to now, under the policy and with the standing of people now.
fn assess(governance: &Governance, rule: &Rule, request: &Request, now: Timestamp) -> Assessment {
    quorum::assess(rule, &quorum::votes(governance, rule, request, now))
}

/// The assessment, or what is missing.
fn quorum_met(
    governance: &Governance,
    rule: &Rule,
    request: &Request,
    now: Timestamp,
) -> Result<Vec<EventHash>, Rejection> {
    let assessment = assess(governance, rule, request, now);
    if assessment.is_met() {
        return Ok(assessment.counted);
    }
    let missing: Vec<String> =
        assessment.missing.iter().map(|missing| format!("{} of `{}`", missing.count, missing.role)).collect();
    let detail = format!("still to approve: {}", missing.join(", "));
    Rejection::new(ProblemType::QuorumNotMet, detail).with("missing", missing).err()
}

pub(super) fn approve(view: &View, signed: &SignedCommand, now: Timestamp) -> Result<Event, Rejection> {
    let (governance, key, request) = (view.governance()?, pre_active(view)?, open_of_this_key(view)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (_, rule) = rule(governance, key)?;
    let (approved_by, person) = approver(governance, signed, rule)?;
    if is_requester(governance, request, person) {
        let detail = format!("`{person}` asked for this activation");
        return Rejection::new(ProblemType::SelfApproval, detail).err();
    }
    if request.authorized.is_some() && assess(governance, rule, request, now).is_met() {
        return nothing_due("the request is authorised already").err();
    }
    if quorum::votes(governance, rule, request, now).iter().any(|vote| vote.person == *person) {
        return Rejection::new(ProblemType::AlreadyVoted, format!("`{person}` has approved already")).err();
    }
    Ok(Event::ActivationApproved(ActivationApproved {
        key_id: key.id,
        request: request.hash,
        approved_by,
        expires_at: now + rule.approval_valid_for,
        command: signed.envelope.clone(),
    }))
}

/// The request that the command names, open, and of the key that it names.
fn open_of_this_key(view: &View) -> Result<&Request, Rejection> {
    let (key, request) = (view.key()?, view.open_request()?);
    if request.key_id == key.id {
        return Ok(request);
    }
    Rejection::new(ProblemType::UnknownRequest, "the request is for another key").err()
}

/// The one who signed: a person who holds a role of one of the rule's stages.
fn approver<'a>(
    governance: &'a Governance,
    signed: &SignedCommand,
    rule: &Rule,
) -> Result<(Fingerprint, &'a Name), Rejection> {
    let (fingerprint, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    standing::role(principal, &rule.stages.iter().map(|stage| stage.role.clone()).collect())?;
    Ok((fingerprint, &principal.person))
}

/// Whether this is who asked, by whichever of their keys.
fn is_requester(governance: &Governance, request: &Request, person: &Name) -> bool {
    governance.people.get(&request.requested_by).is_some_and(|member| member.principal.person == *person)
}

pub(super) fn reject(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationReject,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key, request) = (view.governance()?, pre_active(view)?, open_of_this_key(view)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (_, rule) = rule(governance, key)?;
    let (rejected_by, _) = approver(governance, signed, rule)?;
    Ok(Event::ActivationRejected(ActivationRejected {
        key_id: key.id,
        request: request.hash,
        rejected_by,
        reason: params.reason.clone(),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn cancel(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationCancel,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key, request) = (view.governance()?, pre_active(view)?, open_of_this_key(view)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (cancelled_by, principal) = standing::sole(governance, signed)?;
    if !is_requester(governance, request, &principal.person) && !principal.roles.iter().any(Role::is_admin) {
        let detail = format!("`{}` neither asked for this activation nor is an admin", principal.label);
        return Rejection::new(ProblemType::RoleMissing, detail).err();
    }
    Ok(Event::ActivationCancelled(ActivationCancelled {
        key_id: key.id,
        request: request.hash,
        cancelled_by,
        reason: params.reason.clone(),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn authorize(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let (governance, key, request) = (view.governance()?, pre_active(view)?, view.open_request()?);
    let (None, Some(complete)) = (request.authorized, request.complete) else {
        return nothing_due("the request is authorised, or nobody completed its quorum").err();
    };
    let (policy, rule) = rule(governance, key)?;
    if request.expires_at <= now {
        return Rejection::new(ProblemType::RequestClosed, format!("the request ran out at {}", request.expires_at))
            .err();
    }
    Ok(Event::ActivationAuthorized(ActivationAuthorized {
        key_id: key.id,
        request: request.hash,
        approvals: quorum_met(governance, rule, request, now)?,
        policy: policy.hash,
        not_before: request.not_before,
        cause: complete.hash,
    }))
}

pub(super) fn activate_when_due(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    pre_active(view)?;
    let request = view.open_request()?;
    let cause = authorized(request)?;
    let initiated_by = request.requested_by;
    let activated = activate(view, now)?;
    Ok(Event::KeyActivated(KeyActivated {
        mode: ActivationMode::Scheduled,
        initiated_by,
        cause: Some(cause.hash),
        ..activated
    }))
}

pub(super) fn activate_on_command(
    view: &View,
    signed: &SignedCommand,
    params: &KeyActivate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, pre_active(view)?);
    let permission: &Permission = &governance.policy()?.policy.operations.activate;
    standing::times(signed, now, standing::lifetime(permission.quorum))?;
    let initiated_by = standing::quorum(governance, signed, permission)?;
    unchanged(params.against, key.head)?;
    let activated = activate(view, now)?;
    let command = Some(signed.envelope.clone());
    Ok(Event::KeyActivated(KeyActivated { mode: ActivationMode::Manual, initiated_by, command, ..activated }))
}

/// That the quorum was complete once is not enough: it must be complete now.
fn authorized(request: &Request) -> Result<Mark, Rejection> {
    let missing = || Rejection::new(ProblemType::NotAuthorized, "its approvals are not complete");
    request.authorized.ok_or_else(missing)
}

/// The one way into `active` from pre-activation.
fn activate(view: &View, now: Timestamp) -> Result<KeyActivated, Rejection> {
    let (governance, key) = (view.governance()?, pre_active(view)?);
    let request = view.open_request()?;
    authorized(request)?;
    transition::check(key.state, KeyState::Active)?;
    if now < request.not_before {
        return not_yet(request.not_before).err();
    }
    if now >= key.pre_active_until {
        let detail = format!("the key could be activated until {}", key.pre_active_until);
        return Rejection::new(ProblemType::KeyNotPreActive, detail).err();
    }
    let (policy, rule) = rule(governance, key)?;
    // Whoever asked must still be one who may: people and policy are looked at as they are now.
    let requester = governance.member(request.requested_by)?;
    standing::person(requester)?;
    standing::role(requester, &rule.requesters)?;
    let approvals = quorum_met(governance, rule, request, now)?;
    Ok(KeyActivated {
        key_id: key.id,
        activated_at: now,
        mode: ActivationMode::Scheduled,
        initiated_by: request.requested_by,
        request: request.hash,
        approvals,
        policy: policy.hash,
        legal_basis: request.legal_basis.clone(),
        affected_systems: request.affected_systems.clone(),
        change_ref: request.change_ref.clone(),
        deactivate_at: deactivate_at(policy, key, request.deactivate_at, now)?,
        command: None,
        cause: None,
    })
}

/// What ran out first: an approval, or the request itself while nobody authorised it.
pub(super) fn lapse(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let (key, request) = (view.key()?, view.open_request()?);
    let lapsed = |approval, cause| {
        Event::ActivationLapsed(ActivationLapsed { key_id: key.id, request: request.hash, approval, cause })
    };
    if request.authorized.is_none() && request.expires_at <= now {
        return Ok(lapsed(None, request.hash));
    }
    let oldest = request.approvals.iter().min_by_key(|approval| approval.expires_at);
    match oldest {
        Some(approval) if approval.expires_at <= now => Ok(lapsed(Some(approval.hash), approval.hash)),
        Some(approval) => not_yet(approval.expires_at).err(),
        None => nothing_due("there is no approval that could run out").err(),
    }
}

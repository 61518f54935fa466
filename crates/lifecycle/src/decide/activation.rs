//! From request to activation: what the control is about.
//!
//! INVARIANT (no unapproved activation): [`activated`] is the only place that makes `key.activated`, and it takes a
//! [`Clearance`], which [`clear`] alone gives.

use std::collections::BTreeSet;

use journal::command::SignedCommand;
use journal::sshsig::Signed;
use model::command::{
    ActivationApprove, ActivationCancel, ActivationReject, ActivationRequest, ActivationReview, KeyActivate,
};
use model::event::{
    ActivationApproved, ActivationAuthorized, ActivationCancelled, ActivationLapsed, ActivationMode,
    ActivationRejected, ActivationRequested, ActivationReviewed, Assurance, KeyActivated, Membership,
};
use model::policy::{MANIFEST_MAX, Permission, Rule};
use model::{Digest, Event, EventHash, Fingerprint, Name, ProblemType, Role, Timestamp, command};

use super::{not_yet, nothing_due, unchanged};
use crate::clearance::{self, Clearance, Way, activatable, clear, ends, not_held, quorum_met};
use crate::quorum::{self, Vote};
use crate::state::{Approval, Governance, InForce, Key, Mark, Request, View};
use crate::{Rejection, sealing, standing};

// === Asking ===

pub(super) fn request(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationRequest,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let key = signed.command.key_id.map(|_| free(view)).transpose()?;
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let policy = governance.policy()?;
    let (requested_by, principal) = standing::sole(governance, signed)?;
    let asked = Request { break_glass: params.break_glass, ..asked(params, signed, requested_by, now) };
    let rule = policy.rule_of(&asked, key)?;
    standing::person(principal)?;
    standing::role(principal, &rule.requesters)?;
    let not_before = asked.not_before;
    match key {
        Some(key) => one(policy, rule, key, params, not_before)?,
        None => many(view, policy, rule, &asked, params, now)?,
    }
    clearance::says(&rule.requires, &asked)?;
    Ok(Event::ActivationRequested(ActivationRequested {
        key_id: key.map(|key| key.id),
        requested_by,
        identity: params.identity.clone(),
        attestation: params.attestation,
        template: params.template.clone(),
        manifest: params.manifest,
        standing: params.standing,
        break_glass: params.break_glass,
        consumers: params.consumers.clone(),
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

/// A key whose activation can be asked for, and that has no open request.
fn free(view: &View) -> Result<&Key, Rejection> {
    let key = activatable(view)?;
    clearance::free(key).map(|()| key)
}

/// The request that a command would make.
fn asked(params: &ActivationRequest, signed: &SignedCommand, requested_by: Fingerprint, now: Timestamp) -> Request {
    let not_before = params.not_before.map_or(now, |time| time.max(now));
    Request::asked(EventHash::ZERO, signed.command.key_id, params, requested_by, not_before, now)
}

/// A request for one key: it describes that key, and the times fit.
fn one(
    policy: &InForce,
    rule: &Rule,
    key: &Key,
    params: &ActivationRequest,
    not_before: Timestamp,
) -> Result<(), Rejection> {
    if params.template.is_some() || params.manifest.is_some() || params.standing.is_some() {
        return malformed("a request that names a key is for that key alone");
    }
    if params.identity.as_ref() != Some(&key.identity) {
        let described = params.identity.as_ref().map_or("none".to_owned(), ToString::to_string);
        let detail = format!("the request describes {described}, the key is {}", key.identity);
        return Rejection::new(ProblemType::IdentityMismatch, detail).err();
    }
    // Of an adopted key no custodian has stated anything.
    let is_its_own = |attestation: &Digest| key.adopted.is_none() && *attestation == key.attestation;
    if let Some(attestation) = params.attestation.filter(|attestation| !is_its_own(attestation)) {
        let detail = format!("the request names {attestation}, the key came with {}", key.attestation);
        return Rejection::new(ProblemType::IdentityMismatch, detail).err();
    }
    if not_before >= key.pre_active_until {
        let detail = format!("the key expires at {}, before it could be activated", key.pre_active_until);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    clearance::anew(rule, key)?;
    clearance::attributes(&policy.policy, &key.spec)?;
    sealing::is_sealed_enough(rule, key)?;
    let (algorithm, operations) = (key.spec.algorithm, key.spec.operations());
    ends(&policy.policy, rule, algorithm, &operations, params.deactivate_at, not_before).map(|_| ())
}

/// A request for many keys: a list that is in the log, or a number of keys that are still to come.
fn many(
    view: &View,
    policy: &InForce,
    rule: &Rule,
    asked: &Request,
    params: &ActivationRequest,
    now: Timestamp,
) -> Result<(), Rejection> {
    if params.identity.is_some() || params.attestation.is_some() || params.break_glass {
        return malformed("a request for many keys has a template, and neither identity, attestation nor emergency");
    }
    // Nobody is to sign for what could never be activated: at the longest, as long as a key of that algorithm may be active.
    if let Some(template) = &params.template {
        let (algorithm, wanted) = (template.algorithm, clearance::wanted_end(asked, asked.not_before));
        ends(&policy.policy, rule, algorithm, &BTreeSet::new(), wanted, asked.not_before)?;
    }
    let at_most = |most: u32| {
        let detail = format!("rule `{}` takes requests for at most {most} keys", rule.name);
        Rejection::new(ProblemType::RequestIncomplete, detail).with("most", most).err()
    };
    match (&params.template, params.manifest, params.standing) {
        (Some(_), Some(manifest), None) => {
            let most = rule.manifest_max.unwrap_or(1).min(MANIFEST_MAX);
            if manifest.count == 0 || manifest.count > most {
                return at_most(most);
            }
            match view.document.as_ref().filter(|document| document.is_complete()) {
                Some(document) if document.digest == manifest.document => Ok(()),
                _ => Rejection::new(ProblemType::RequestIncomplete, "its list is not in the log, or not whole").err(),
            }
        }
        (Some(_), None, Some(standing)) => {
            let Some(rules) = &rule.standing else {
                let detail = format!("rule `{}` has no standing authorisations", rule.name);
                return Rejection::new(ProblemType::RequestIncomplete, detail).err();
            };
            if standing.count == 0 || standing.count > rules.count_max {
                return at_most(rules.count_max);
            }
            if standing.until <= asked.not_before || standing.until > now + rules.window_max {
                let latest = now + rules.window_max;
                let detail = format!("it is to last until {}; at most until {latest}", standing.until);
                return Rejection::new(ProblemType::TimesInvalid, detail).with("latest", latest.to_string()).err();
            }
            Ok(())
        }
        _ => malformed("it names neither a key, nor a template with a manifest or a standing authorisation"),
    }
}

fn malformed<T>(detail: &str) -> Result<T, Rejection> {
    Rejection::new(ProblemType::Malformed, detail).err()
}

// === Approving ===

pub(super) fn approve(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationApprove,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, request) = (view.governance()?, open_as_named(view, signed)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let rule = governance.policy()?.rule_of(request, view.key.as_ref())?;
    let (approved_by, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    let expires_at = now + rule.approval_valid_for;
    let assurance = signed.signers.first().and_then(assurance).filter(|_| governance.authority.rules >= 2);
    let on_behalf_of = params.on_behalf_of;
    let approval = Approval { hash: EventHash::ZERO, by: approved_by, at: now, expires_at, on_behalf_of, assurance };
    may_approve(view, &approval, now)?;
    sealing::brings(governance, view.key.as_ref(), approved_by, params)?;
    Ok(Event::ActivationApproved(ActivationApproved {
        key_id: request.key_id,
        request: request.hash,
        approved_by,
        on_behalf_of,
        assurance,
        expires_at,
        command: signed.envelope.clone(),
    }))
}

/// Whether an approval would be taken now, and which vote it is. The one place that says so: for the decision, and for whoever
/// wants to know beforehand.
pub(crate) fn may_approve(view: &View, approval: &Approval, now: Timestamp) -> Result<Vote, Rejection> {
    let (governance, request) = (view.governance()?, view.open_request()?);
    let rule = governance.policy()?.rule_of(request, view.key.as_ref())?;
    let held = view.key.as_ref().and_then(|key| sealing::share_of(governance, key.sealing.as_ref()?, approval.by));
    let share = held.is_some() && approval.on_behalf_of.is_none();
    let vote = Vote { share, ..vote(governance, rule, approval, now)? };
    not_the_askers(governance, request, &vote, approval, now)?;
    not_held(governance, request)?;
    let votes = quorum::votes(governance, rule, request, now);
    if request.authorized.is_some() && quorum::assess_with_shares(rule, request, &votes).is_met() {
        return nothing_due("the request is authorised already").err();
    }
    is_new(rule, request, &votes, &vote)?;
    Ok(vote)
}

/// What a hardware key said of whoever signed with it.
fn assurance(signed: &Signed) -> Option<Assurance> {
    let flags = signed.token.as_ref()?;
    Some(if flags.user_verified { Assurance::Verified } else { Assurance::Touched })
}

/// The request that the command names: open, of the key that the command names (or of none), and that key waiting.
fn open_as_named<'a>(view: &'a View, signed: &SignedCommand) -> Result<&'a Request, Rejection> {
    if signed.command.key_id.is_some() {
        activatable(view)?;
    }
    let request = view.open_request()?;
    if request.key_id == signed.command.key_id {
        return Ok(request);
    }
    Rejection::new(ProblemType::UnknownRequest, "the request is for another key").err()
}

/// The vote that an approval would be, where it could take a place in some stage.
fn vote(governance: &Governance, rule: &Rule, approval: &Approval, now: Timestamp) -> Result<Vote, Rejection> {
    let signer = governance.member(approval.by)?;
    let Some(vote) = quorum::vote(governance, approval, now) else {
        let detail = format!("`{}` has no delegation from whom it names that holds now", signer.label);
        return Rejection::new(ProblemType::DelegationInvalid, detail).err();
    };
    if rule.stages.iter().any(|stage| vote.fits(stage)) {
        return Ok(vote);
    }
    if rule.stages.iter().any(|stage| stage.roles().any(|role| vote.roles.contains(role)) && !vote.assures(stage)) {
        let lacks = if vote.assurance.is_some() {
            "was touched, and did not verify who they are"
        } else {
            "is no hardware key"
        };
        let detail = format!("`{}` signed with a key that {lacks}", signer.label);
        return Rejection::new(ProblemType::AssuranceMissing, detail).err();
    }
    let wanted: Vec<String> = rule.stages.iter().flat_map(|stage| stage.roles()).map(Role::to_string).collect();
    let detail = format!("`{}` holds none of: {}, or acts for another party", signer.label, wanted.join(", "));
    Rejection::new(ProblemType::RoleMissing, detail).with("roles", wanted).err()
}

/// INVARIANT (no self-approval): by whichever key, in whichever role, through whomever.
fn not_the_askers(
    governance: &Governance,
    request: &Request,
    vote: &Vote,
    approval: &Approval,
    now: Timestamp,
) -> Result<(), Rejection> {
    match quorum::is_the_askers(governance, request, vote, approval, now) {
        false => Ok(()),
        true => {
            let detail = format!("`{}` asked for this activation, or votes for who did", vote.given_by);
            Rejection::new(ProblemType::SelfApproval, detail).err()
        }
    }
}

/// Whether the vote adds to those that are there.
fn is_new(rule: &Rule, request: &Request, votes: &[Vote], vote: &Vote) -> Result<(), Rejection> {
    let mut others = votes.iter().filter(|other| other.involves(&vote.person) || other.involves(&vote.given_by));
    let counted = quorum::assess(rule, votes).counted;
    if others.any(|other| !rule.in_order || counted.contains(&other.approval)) {
        let detail = match vote.person == vote.given_by {
            true => format!("`{}` has approved already", vote.person),
            false => format!("`{}` or `{}` has approved already", vote.person, vote.given_by),
        };
        return Rejection::new(ProblemType::AlreadyVoted, detail).err();
    }
    if rule.in_order && !quorum::would_count(rule, request, votes, vote) {
        let detail = format!("first: {}", quorum::assess_with_shares(rule, request, votes).missing_text());
        return Rejection::new(ProblemType::NotYourTurn, detail).err();
    }
    Ok(())
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
    let (governance, request) = (view.governance()?, open_as_named(view, signed)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let rule = governance.policy()?.rule_of(request, view.key.as_ref())?;
    let (rejected_by, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    standing::role(principal, &rule.stages.iter().flat_map(|stage| stage.roles()).cloned().collect())?;
    not_held(governance, request)?;
    Ok(Event::ActivationRejected(ActivationRejected {
        key_id: request.key_id,
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
    let (governance, request) = (view.governance()?, open_as_named(view, signed)?);
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (cancelled_by, principal) = standing::sole(governance, signed)?;
    if !is_requester(governance, request, &principal.person) && !principal.roles.iter().any(Role::is_admin) {
        let detail = format!("`{}` neither asked for this activation nor is an admin", principal.label);
        return Rejection::new(ProblemType::RoleMissing, detail).err();
    }
    not_held(governance, request)?;
    Ok(Event::ActivationCancelled(ActivationCancelled {
        key_id: request.key_id,
        request: request.hash,
        cancelled_by,
        reason: params.reason.clone(),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn authorize(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let (governance, request) = (view.governance()?, view.open_request()?);
    if request.key_id.is_some() {
        activatable(view)?;
    }
    let (None, Some(complete)) = (request.authorized, request.complete) else {
        return nothing_due("the request is authorised, or nobody completed its quorum").err();
    };
    let policy = governance.policy()?;
    let rule = policy.rule_of(request, view.key.as_ref())?;
    if request.expires_at <= now {
        return Rejection::new(ProblemType::RequestClosed, format!("the request ran out at {}", request.expires_at))
            .err();
    }
    not_held(governance, request)?;
    Ok(Event::ActivationAuthorized(ActivationAuthorized {
        key_id: request.key_id,
        request: request.hash,
        approvals: quorum_met(governance, rule, request, now)?,
        policy: policy.hash,
        not_before: request.not_before,
        cause: complete.hash,
    }))
}

// === Activating ===

pub(super) fn activate_when_due(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    activatable(view)?;
    by_itself(view, Way::Own, now)
}

/// One of many: the activator brings the proof that the key is in the list.
pub(super) fn activate_member(view: &View, membership: &Membership, now: Timestamp) -> Result<Event, Rejection> {
    activatable(view)?;
    let activated = by_itself(view, Way::Member(membership), now)?;
    Ok(match activated {
        Event::KeyActivated(event) => {
            Event::KeyActivated(KeyActivated { membership: Some(membership.clone()), ..event })
        }
        other => other,
    })
}

/// An activation that follows from its authorisation.
fn by_itself(view: &View, way: Way<'_>, now: Timestamp) -> Result<Event, Rejection> {
    let request = view.open_request()?;
    let cause = authorized(request)?;
    let clearance = clear(view, way, now)?;
    Ok(activated(view.key()?, request, clearance, now, |event| KeyActivated {
        mode: ActivationMode::Scheduled,
        cause: Some(cause.hash),
        ..event
    }))
}

pub(super) fn activate_on_command(
    view: &View,
    signed: &SignedCommand,
    params: &KeyActivate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, activatable(view)?);
    // What the key lacks comes first: it can't be activated, whoever asks. So a program that may activate nothing shows that
    // an approval is asked for.
    if params.standing.is_none() && view.open_request()?.authorized.is_none() {
        clear(view, Way::Own, now)?;
    }
    let initiated_by = match params.standing {
        None => by_operators(governance, signed, now)?,
        Some(_) => by_user_of_standing(governance, view.open_request()?, signed, now)?,
    };
    unchanged(params.against, key.head)?;
    let (way, mode) = match params.standing {
        None => (Way::Own, ActivationMode::Manual),
        Some(_) => (Way::Standing, ActivationMode::Standing),
    };
    let clearance = clear(view, way, now)?;
    let command = Some(signed.envelope.clone());
    Ok(activated(key, view.open_request()?, clearance, now, |event| KeyActivated {
        mode,
        initiated_by,
        command,
        ..event
    }))
}

fn by_operators(governance: &Governance, signed: &SignedCommand, now: Timestamp) -> Result<Fingerprint, Rejection> {
    let permission: &Permission = &governance.policy()?.policy.operations.activate;
    standing::times(signed, now, standing::lifetime(permission.quorum))?;
    standing::quorum(governance, signed, permission)
}

/// Who draws on a standing authorisation may be a program.
fn by_user_of_standing(
    governance: &Governance,
    request: &Request,
    signed: &SignedCommand,
    now: Timestamp,
) -> Result<Fingerprint, Rejection> {
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (fingerprint, principal) = standing::sole(governance, signed)?;
    let rule = governance.policy()?.rule_of(request, None)?;
    let Some(standing) = &rule.standing else {
        let detail = format!("rule `{}` has no standing authorisations any more", rule.name);
        return Rejection::new(ProblemType::NotAuthorized, detail).err();
    };
    standing::role(principal, &standing.users)?;
    Ok(fingerprint)
}

/// That the quorum was complete once is not enough: it must be complete now.
fn authorized(request: &Request) -> Result<Mark, Rejection> {
    let missing = || Rejection::new(ProblemType::NotAuthorized, "its approvals are not complete");
    request.authorized.ok_or_else(missing)
}

/// The one way into `active` from pre-activation, and the one by which an adopted key's activation comes to be evidenced.
fn activated(
    key: &Key,
    request: &Request,
    clearance: Clearance,
    now: Timestamp,
    with: impl FnOnce(KeyActivated) -> KeyActivated,
) -> Event {
    Event::KeyActivated(with(KeyActivated {
        key_id: key.id,
        activated_at: now,
        mode: ActivationMode::Scheduled,
        initiated_by: request.requested_by,
        request: request.hash,
        approvals: clearance.approvals,
        policy: clearance.policy,
        legal_basis: request.legal_basis.clone(),
        affected_systems: request.affected_systems.clone(),
        change_ref: request.change_ref.clone(),
        deactivate_at: clearance.deactivate_at,
        conditions: clearance.conditions,
        facts: clearance.facts,
        acknowledgements: clearance.acknowledgements,
        parent: clearance.parent,
        membership: None,
        review_by: clearance.review_by,
        command: None,
        cause: None,
    }))
}

// === Afterwards ===

/// The review that must follow an emergency: by people who neither asked nor approved.
pub(super) fn review(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationReview,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    let activation =
        key.activation.filter(|activation| activation.hash == params.activation && key.review_by.is_some());
    let Some(activation) = activation else {
        return nothing_due("the key has no such activation that waits for its review").err();
    };
    let request = view.request.as_ref().filter(|request| request.hash == activation.request);
    let request = request.ok_or_else(|| Rejection::new(ProblemType::UnknownRequest, "its request is not known"))?;
    let policy = governance.policy()?;
    let Some(break_glass) = &policy.rule_of(request, Some(key))?.break_glass else {
        return nothing_due("the policy has no rule for emergencies any more").err();
    };
    standing::times(signed, now, standing::lifetime(break_glass.reviewers.quorum))?;
    let reviewed_by = standing::quorum(governance, signed, &break_glass.reviewers)?;
    let person = |who: &Fingerprint| governance.people.get(who).map(|member| &member.principal.person);
    let all = request.approvals.iter().chain(&request.lapsed);
    let involved: Vec<Fingerprint> = std::iter::once(request.requested_by)
        .chain(all.flat_map(|approval| std::iter::once(approval.by).chain(approval.on_behalf_of)))
        .collect();
    let signers: Vec<Fingerprint> = signed.signers.iter().map(|signer| signer.key.fingerprint()).collect();
    if let Some(own) = signers.iter().find(|who| involved.iter().any(|other| person(other) == person(who))) {
        let detail = format!("{own} asked for this activation or approved it");
        return Rejection::new(ProblemType::SelfApproval, detail).err();
    }
    Ok(Event::ActivationReviewed(ActivationReviewed {
        key_id: key.id,
        activation: activation.hash,
        reviewed_by,
        findings: params.findings.clone(),
        command: signed.envelope.clone(),
    }))
}

/// What ran out first: an approval, or the request itself while nobody authorised it, or what it stood for.
pub(super) fn lapse(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let request = view.open_request()?;
    let lapsed = |approval, cause| {
        let (key_id, request) = (request.key_id, request.hash);
        Event::ActivationLapsed(ActivationLapsed { key_id, request, approval, cause })
    };
    if request.ends_at().is_some_and(|ends| ends <= now) {
        return Ok(lapsed(None, request.hash));
    }
    let oldest =
        request.approvals.iter().map(|approval| (request.runs_out(approval), approval.hash)).min_by_key(|(at, _)| *at);
    match oldest {
        Some((at, approval)) if at <= now => Ok(lapsed(Some(approval), approval)),
        Some((at, _)) => not_yet(at).err(),
        None => nothing_due("there is no approval that could run out").err(),
    }
}

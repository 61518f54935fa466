//! Governing: people and policy, by a quorum of admins who signed against the governance as it stands.

use std::collections::BTreeSet;

use journal::command::SignedCommand;
use model::command::{
    AccessReview, Applicability, DelegationEnd, DelegationGrant, PackDeclare, PolicyAdopt, PrincipalChange,
    PrincipalEnroll, PrincipalEquip, PrincipalRevoke, PrincipalRotate,
};
use model::event::{
    AccessReviewed, DelegationEnded, DelegationGranted, PackDeclared, PolicyAdopted, PrincipalChanged,
    PrincipalEnrolled, PrincipalEquipped, PrincipalRevoked, PrincipalRotated,
};
use model::people::{PrincipalKind, PublicKey};
use model::{Event, EventHash, Fingerprint, Name, Principal, ProblemType, Role, Span, Timestamp};

use super::unchanged;
use crate::state::{Delegation, Governance, Member, View};
use crate::{Rejection, policy, standing};

/// The governance, where an admin quorum signed against it as it stands.
pub(super) fn governed<'a>(
    view: &'a View,
    signed: &SignedCommand,
    against: EventHash,
    now: Timestamp,
) -> Result<&'a Governance, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, standing::lifetime(governance.admin_quorum))?;
    standing::quorum(governance, signed, &standing::admins(governance.admin_quorum)?)?;
    unchanged(against, governance.head)?;
    Ok(governance)
}

pub(super) fn enroll(
    view: &View,
    signed: &SignedCommand,
    params: &PrincipalEnroll,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    let (principal, fingerprint) = (&params.principal, params.principal.fingerprint());
    new_key(governance, &principal.key)?;
    admins_are_people(principal.kind, &principal.roles)?;
    let everyone: Vec<&Principal> = governance.people.values().map(|member| &member.principal).collect();
    let required = governance.policy.as_ref().is_some_and(|held| held.policy.people.subject_required);
    one_human_one_name(&everyone, principal, required)?;
    if let Some(other) =
        governance.members().find(|other| other.person == principal.person && other.kind != principal.kind)
    {
        let detail = format!("`{}` is a {:?} already, as `{}`", principal.person, other.kind, other.label);
        return Rejection::new(ProblemType::PrincipalExists, detail).err();
    }
    Ok(Event::PrincipalEnrolled(PrincipalEnrolled {
        principal: principal.clone(),
        fingerprint,
        command: signed.envelope.clone(),
    }))
}

/// INVARIANT (one human, one name): the hash of who somebody is at the identity provider belongs to one person, and a
/// person to one hash, revoked or not.
pub(super) fn one_human_one_name(
    everyone: &[&Principal],
    principal: &Principal,
    required: bool,
) -> Result<(), Rejection> {
    let Some(subject) = principal.subject else {
        let known = everyone.iter().any(|other| other.person == principal.person && other.subject.is_some());
        if principal.kind == PrincipalKind::Person && (required || known) {
            let detail = format!("nothing says who `{}` is at the identity provider", principal.person);
            return Rejection::new(ProblemType::SubjectMissing, detail).err();
        }
        return Ok(());
    };
    let differs = |other: &&&Principal| {
        (other.subject == Some(subject)) != (other.person == principal.person) && other.subject.is_some()
    };
    match everyone.iter().find(differs) {
        None => Ok(()),
        Some(other) => {
            let detail = format!("`{}` is enrolled as `{}`, `{}`", principal.person, other.label, other.person);
            Rejection::new(ProblemType::SubjectTaken, detail).err()
        }
    }
}

/// A new key in the place of an old one. Whoever has the new key signs with it, so that it is theirs; and the old key
/// vouches, or an admin quorum does where it is lost.
pub(super) fn rotate(
    view: &View,
    signed: &SignedCommand,
    params: &PrincipalRotate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let fingerprint = params.key.fingerprint();
    governance.member(params.principal)?;
    let signers: BTreeSet<Fingerprint> = signed.signers.iter().map(|signer| signer.key.fingerprint()).collect();
    if !signers.contains(&fingerprint) {
        let detail = format!("the new key {fingerprint} has not signed");
        return Rejection::new(ProblemType::QuorumNotMet, detail).err();
    }
    let others = SignedCommand {
        signers: signed.signers.iter().filter(|signer| signer.key != params.key).cloned().collect(),
        ..signed.clone()
    };
    let vouched = signers.contains(&params.principal);
    if vouched {
        standing::times(signed, now, standing::lifetime(2))?;
        if others.signers.len() > 1 {
            return Rejection::new(ProblemType::QuorumNotMet, "the old key and the new one sign, and nobody else")
                .err();
        }
        not_too_many_keys(governance, params.principal)?;
    } else {
        standing::times(signed, now, standing::lifetime(governance.admin_quorum))?;
        standing::quorum(governance, &others, &standing::admins(governance.admin_quorum)?)?;
    }
    unchanged(params.against, governance.head)?;
    new_key(governance, &params.key)?;
    Ok(Event::PrincipalRotated(PrincipalRotated {
        principal: params.principal,
        key: params.key.clone(),
        fingerprint,
        vouched,
        command: signed.envelope.clone(),
    }))
}

/// To which key one's shares of sealed keys are sealed from now on. Each has one at a time, and nobody else's word is asked:
/// shares that were sealed before stay with the key before.
pub(super) fn equip(
    view: &View,
    signed: &SignedCommand,
    params: &PrincipalEquip,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, model::command::LIFETIME_MAX)?;
    let (fingerprint, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    let has = |member: &Member| member.sealing_key == Some(params.sealing_key);
    if let Some(other) = governance.people.values().find(|member| has(member)) {
        let detail = format!("it is the sealing key of `{}`", other.principal.label);
        return Rejection::new(ProblemType::SealingKeyTaken, detail).err();
    }
    Ok(Event::PrincipalEquipped(PrincipalEquipped {
        principal: fingerprint,
        sealing_key: params.sealing_key,
        command: signed.envelope.clone(),
    }))
}

/// The most keys that one human has had when one of them can still vouch for another.
const KEYS_MAX: usize = 64;

/// Refuses a key that vouches once more where a human has had many. Each stays part of what every decision sees, and each
/// new one is in the way of what admins are about to sign: nobody who is enrolled is to keep them from governing.
fn not_too_many_keys(governance: &Governance, whose: Fingerprint) -> Result<(), Rejection> {
    let person = &governance.member(whose)?.person;
    let had = governance.people.values().filter(|member| member.principal.person == *person).count();
    if governance.authority.rules < 3 || had < KEYS_MAX {
        return Ok(());
    }
    let detail = format!("`{person}` has had {had} keys: an admin quorum vouches for another");
    Rejection::new(ProblemType::QuorumNotMet, detail).with("quorum", governance.admin_quorum).err()
}

/// A key that nobody here has or had, nor the platform.
fn new_key(governance: &Governance, key: &PublicKey) -> Result<(), Rejection> {
    let fingerprint = key.fingerprint();
    if let Some(known) = governance.people.get(&fingerprint) {
        let detail = format!("{fingerprint}, as `{}`", known.principal.label);
        return Rejection::new(ProblemType::PrincipalExists, detail).err();
    }
    standing::own_key(key, &governance.authority.ring, governance.authority.root)?;
    match governance.people.values().find(|member| member.principal.key.point() == key.point()) {
        None => Ok(()),
        Some(other) => {
            let detail = format!("it is the key of `{}`, as another kind", other.principal.label);
            Rejection::new(ProblemType::PrincipalExists, detail).err()
        }
    }
}

/// The most delegations of one key that have not run out, ended or not: they are part of what every decision sees.
const DELEGATIONS_MAX: usize = 32;
/// How long one counts as not run out, however short it was: else there would be as many as somebody likes.
const DELEGATION_COUNTS_FOR: Span = Span::from_secs(3600);

/// One's own vote for another to give, for a while. INVARIANT (delegation adds no vote) is [`crate::quorum::votes`]'s.
pub(super) fn delegate(
    view: &View,
    signed: &SignedCommand,
    params: &DelegationGrant,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, model::command::LIFETIME_MAX)?;
    let (from, principal) = standing::sole(governance, signed)?;
    standing::person(principal)?;
    let to = governance.member(params.to)?;
    standing::person(to)?;
    let invalid = |detail: String| Rejection::new(ProblemType::DelegationInvalid, detail).err();
    let Some(max) = governance.policy()?.policy.people.delegation_max else {
        return invalid("the policy lets nobody delegate".to_owned());
    };
    if to.person == principal.person {
        return invalid(format!("`{}` can't delegate to themselves", principal.person));
    }
    if params.roles.is_empty() || !params.roles.is_subset(&principal.roles) || params.roles.iter().any(Role::is_admin) {
        return invalid(format!("`{}` can delegate roles that they hold, and not `admin`", principal.label));
    }
    let begins = params.not_before.max(now);
    if params.not_after <= begins || params.not_after > begins + max {
        return invalid(format!("from {begins} to {}: it may last for {max}", params.not_after));
    }
    let least = if governance.authority.rules >= 3 { DELEGATION_COUNTS_FOR } else { Span::ZERO };
    let counts = |held: &&Delegation| held.from == from && now < held.not_after.max(held.not_before + least);
    let standing = governance.delegations.values().filter(counts).count();
    if standing >= DELEGATIONS_MAX {
        return invalid(format!("`{}` has granted {standing} that have not run out", principal.label));
    }
    unchanged(params.against, governance.head)?;
    Ok(Event::DelegationGranted(DelegationGranted {
        from,
        to: params.to,
        roles: params.roles.clone(),
        not_before: begins,
        not_after: params.not_after,
        command: signed.envelope.clone(),
    }))
}

pub(super) fn end_delegation(
    view: &View,
    signed: &SignedCommand,
    params: &DelegationEnd,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, model::command::LIFETIME_MAX)?;
    let (ended_by, principal) = standing::sole(governance, signed)?;
    let Some(delegation) = governance.delegations.get(&params.delegation).filter(|held| held.ended.is_none()) else {
        return Rejection::new(ProblemType::DelegationInvalid, "there is no such delegation, or it has ended").err();
    };
    let person = |who: Fingerprint| governance.people.get(&who).map(|member| &member.principal.person);
    let is_ones_own = [delegation.from, delegation.to].iter().any(|who| person(*who) == Some(&principal.person));
    if !is_ones_own && !principal.roles.iter().any(Role::is_admin) {
        let detail = format!("`{}` neither granted it, nor has it, nor is an admin", principal.label);
        return Rejection::new(ProblemType::RoleMissing, detail).err();
    }
    let (delegation, command) = (params.delegation, signed.envelope.clone());
    Ok(Event::DelegationEnded(DelegationEnded { delegation, ended_by, command }))
}

pub(super) fn review_access(
    view: &View,
    signed: &SignedCommand,
    params: &AccessReview,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let Some(review) = &governance.policy()?.policy.people.access_review else {
        return super::nothing_due("the policy asks for no access review").err();
    };
    standing::times(signed, now, standing::lifetime(review.by.quorum))?;
    let reviewed_by = standing::quorum(governance, signed, &review.by)?;
    unchanged(params.against, governance.head)?;
    let (next_by, command) = (now + review.every, signed.envelope.clone());
    Ok(Event::AccessReviewed(AccessReviewed { reviewed_by, next_by, command }))
}

pub(super) fn declare_pack(
    view: &View,
    signed: &SignedCommand,
    params: &PackDeclare,
    now: Timestamp,
) -> Result<Event, Rejection> {
    governed(view, signed, params.against, now)?;
    let faults = crate::gate::check(&params.pack);
    if let Some(first) = faults.first() {
        let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Rejection::new(ProblemType::PackRefused, first).with("faults", all).err();
    }
    if params.review_by <= now {
        let detail = format!("it was to be looked at again by {}", params.review_by);
        return Rejection::new(ProblemType::TimesInvalid, detail).err();
    }
    Ok(Event::PackDeclared(PackDeclared {
        pack: params.pack.name.clone(),
        version: params.pack.version,
        applied: matches!(params.applicability, Applicability::Applied(_)),
        review_by: params.review_by,
        command: signed.envelope.clone(),
    }))
}

pub(super) fn change(
    view: &View,
    signed: &SignedCommand,
    params: &PrincipalChange,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    let principal = governance.member(params.principal)?;
    admins_are_people(principal.kind, &params.roles)?;
    if !params.roles.iter().any(Role::is_admin) {
        enough_admins(governance, Some(params.principal), governance.admin_quorum)?;
    }
    Ok(Event::PrincipalChanged(PrincipalChanged {
        principal: params.principal,
        roles: params.roles.clone(),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn revoke(
    view: &View,
    signed: &SignedCommand,
    params: &PrincipalRevoke,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    governance.member(params.principal)?;
    enough_admins(governance, Some(params.principal), governance.admin_quorum)?;
    Ok(Event::PrincipalRevoked(PrincipalRevoked {
        principal: params.principal,
        reason: params.reason.clone(),
        command: signed.envelope.clone(),
    }))
}

pub(super) fn adopt_policy(
    view: &View,
    signed: &SignedCommand,
    params: &PolicyAdopt,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = governed(view, signed, params.against, now)?;
    let faults = policy::check(&params.policy);
    if let Some(first) = faults.first() {
        let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Rejection::new(ProblemType::PolicyRefused, first).with("faults", all).err();
    }
    enough_admins(governance, None, params.policy.admin_quorum)?;
    let holes = policy::holes(&params.policy, governance);
    if let Some(first) = holes.first().filter(|_| params.policy.schema >= 2) {
        let all: Vec<String> = holes.iter().map(ToString::to_string).collect();
        return Rejection::new(ProblemType::PolicyRefused, first).with("faults", all).err();
    }
    Ok(Event::PolicyAdopted(PolicyAdopted {
        name: params.policy.name.clone(),
        version: governance.policy.as_ref().map_or(1, |held| held.version.saturating_add(1)),
        command: signed.envelope.clone(),
    }))
}

/// A program does not govern.
fn admins_are_people(kind: PrincipalKind, roles: &BTreeSet<Role>) -> Result<(), Rejection> {
    if kind == PrincipalKind::Workload && roles.iter().any(Role::is_admin) {
        return Rejection::new(ProblemType::NotAPerson, "a workload can't be an admin").err();
    }
    Ok(())
}

/// INVARIANT (a tenant can be governed): without `leaving`, there are as many admins as the quorum takes.
fn enough_admins(governance: &Governance, leaving: Option<Fingerprint>, quorum: u8) -> Result<(), Rejection> {
    let stays = |principal: &&Principal| Some(principal.fingerprint()) != leaving;
    let admins = governance.members().filter(stays).filter(|principal| principal.roles.iter().any(Role::is_admin));
    let people: BTreeSet<&Name> = admins.map(|principal| &principal.person).collect();
    if people.len() >= usize::from(quorum) {
        return Ok(());
    }
    let detail = format!("{} admins would be left for a quorum of {quorum}", people.len());
    Rejection::new(ProblemType::LastAdmins, detail).err()
}

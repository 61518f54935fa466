//! Governing: people and policy, by a quorum of admins who signed against the governance as it stands.

use std::collections::BTreeSet;

use journal::command::SignedCommand;
use model::command::{PolicyAdopt, PrincipalChange, PrincipalEnroll, PrincipalRevoke};
use model::event::{PolicyAdopted, PrincipalChanged, PrincipalEnrolled, PrincipalRevoked};
use model::people::PrincipalKind;
use model::{Event, EventHash, Fingerprint, Name, Principal, ProblemType, Role, Timestamp};

use super::unchanged;
use crate::state::{Governance, View};
use crate::{Rejection, policy, standing};

/// The governance, where an admin quorum signed against it as it stands.
fn governed<'a>(
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
    if governance.people.contains_key(&fingerprint) {
        return Rejection::new(ProblemType::PrincipalExists, format!("{fingerprint} is or was enrolled")).err();
    }
    standing::own_key(&principal.key, &governance.authority.ring, governance.authority.root)?;
    if let Some(other) = governance.people.values().find(|member| member.principal.key.point() == principal.key.point())
    {
        let detail = format!("it is the key of `{}`, as another kind", other.principal.label);
        return Rejection::new(ProblemType::PrincipalExists, detail).err();
    }
    admins_are_people(principal.kind, &principal.roles)?;
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

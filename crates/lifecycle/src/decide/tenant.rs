//! A tenant's beginning, and newer words of the root.

use std::collections::BTreeSet;

use journal::Ring;
use journal::command::SignedCommand;
use model::event::{AuthorityChanged, TenantCreated};
use model::people::PrincipalKind;
use model::{Action, Event, Fingerprint, Name, Principal, ProblemType, Role, Timestamp, command};

use super::Authorised;
use super::people::one_human_one_name;
use crate::state::View;
use crate::{Rejection, standing};

/// Event 1: named by people who will govern together, each of whom signed.
pub(super) fn create(
    view: &View,
    signed: &SignedCommand,
    authority: &Authorised,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let Action::TenantCreate(params) = &signed.command.action else {
        return Rejection::new(ProblemType::UnknownAction, "a tenant begins with `tenant.create`").err();
    };
    // Not before the first event: whatever was put into the log before is void, and keeps nobody from beginning.
    if view.governance.is_some() {
        return Rejection::new(ProblemType::StateChanged, "the tenant has a history already").err();
    }
    standing::times(signed, now, command::LIFETIME_MAX_QUORUM)?;
    if params.admin_quorum < 2 {
        return Rejection::new(ProblemType::QuorumNotMet, "at least 2 admins govern together").with("quorum", 2).err();
    }
    params.admins.iter().try_for_each(first_admin)?;
    let all: Vec<&Principal> = params.admins.iter().collect();
    all.iter().try_for_each(|admin| one_human_one_name(&all, admin, false))?;
    let ring = ring(authority)?;
    params.admins.iter().try_for_each(|admin| standing::own_key(&admin.key, &ring, authority.statement.root))?;
    let keys: BTreeSet<Fingerprint> = params.admins.iter().map(Principal::fingerprint).collect();
    let points: BTreeSet<&[u8]> = params.admins.iter().map(|admin| admin.key.point()).collect();
    let people: BTreeSet<&Name> = params.admins.iter().map(|admin| &admin.person).collect();
    if points.len() != params.admins.len() || people.len() < usize::from(params.admin_quorum) {
        let detail = format!("{} distinct people for a quorum of {}", people.len(), params.admin_quorum);
        return Rejection::new(ProblemType::LastAdmins, detail).err();
    }
    let signers: BTreeSet<Fingerprint> = signed.signers.iter().map(|signer| signer.key.fingerprint()).collect();
    if signers != keys {
        let missing: Vec<String> = keys.difference(&signers).map(Fingerprint::to_string).collect();
        let detail = format!("every first admin signs, and nobody else; missing: {}", missing.join(", "));
        return Rejection::new(ProblemType::QuorumNotMet, detail).with("missing", missing).err();
    }
    Ok(Event::TenantCreated(TenantCreated {
        name: params.name.clone(),
        class: params.class,
        admins: params.admins.clone(),
        admin_quorum: params.admin_quorum,
        authority: authority.envelope.clone(),
        command: signed.envelope.clone(),
    }))
}

fn first_admin(principal: &Principal) -> Result<(), Rejection> {
    if principal.kind == PrincipalKind::Person && principal.roles.iter().any(Role::is_admin) {
        return Ok(());
    }
    let detail = format!("`{}` is not a person with the role `admin`", principal.label);
    Rejection::new(ProblemType::RoleMissing, detail).err()
}

/// A newer statement: its epoch rises, its rules never fall. Its event may be dated back, but not to before it was made.
pub(super) fn change_authority(view: &View, authority: &Authorised, now: Timestamp) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let (held, newer) = (&governance.authority, &authority.statement);
    if newer.epoch <= held.ring.epoch() || newer.rules < held.rules {
        let (epoch, rules) = (held.ring.epoch(), held.rules);
        let detail = format!("epoch {} with rules {} does not follow {epoch} with {rules}", newer.epoch, newer.rules);
        return Rejection::new(ProblemType::StateChanged, detail).with("epoch", epoch).err();
    }
    if newer.issued_at > now + standing::SIGNER_CLOCK_AHEAD_MAX {
        let detail = format!("it says it was made at {}, and it is {now}", newer.issued_at);
        return Rejection::new(ProblemType::NotYetIssued, detail).err();
    }
    let ring = ring(authority)?;
    let everyone = governance.people.values();
    everyone.map(|member| &member.principal.key).try_for_each(|key| standing::own_key(key, &ring, newer.root))?;
    Ok(Event::AuthorityChanged(AuthorityChanged {
        epoch: newer.epoch,
        rules: newer.rules,
        authority: authority.envelope.clone(),
    }))
}

fn ring(authority: &Authorised) -> Result<Ring, Rejection> {
    Ring::new(&authority.statement).map_err(|error| Rejection::new(ProblemType::StatementInvalid, error))
}

//! A tenant's beginning, and newer words of the root.

use std::collections::BTreeSet;

use journal::Head;
use journal::command::SignedCommand;
use model::event::{AuthorityChanged, TenantCreated};
use model::people::PrincipalKind;
use model::{Action, Event, Fingerprint, Name, Principal, ProblemType, Role, Timestamp, command};

use super::Authorised;
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
    if view.chain.head() != Head::EMPTY {
        return Rejection::new(ProblemType::StateChanged, "the tenant has a history already").err();
    }
    standing::times(signed, now, command::LIFETIME_MAX_QUORUM)?;
    if params.admin_quorum < 2 {
        return Rejection::new(ProblemType::QuorumNotMet, "at least 2 admins govern together").with("quorum", 2).err();
    }
    params.admins.iter().try_for_each(first_admin)?;
    let keys: BTreeSet<Fingerprint> = params.admins.iter().map(Principal::fingerprint).collect();
    let people: BTreeSet<&Name> = params.admins.iter().map(|admin| &admin.person).collect();
    if keys.len() != params.admins.len() || people.len() < usize::from(params.admin_quorum) {
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

/// A newer statement: its epoch rises, its rules never fall.
pub(super) fn change_authority(view: &View, authority: &Authorised) -> Result<Event, Rejection> {
    let (held, newer) = (&view.governance()?.authority, &authority.statement);
    if newer.epoch <= held.epoch || newer.rules < held.rules {
        let detail = format!(
            "epoch {} with rules {} does not follow {} with {}",
            newer.epoch, newer.rules, held.epoch, held.rules
        );
        return Rejection::new(ProblemType::StateChanged, detail).with("epoch", held.epoch).err();
    }
    Ok(Event::AuthorityChanged(AuthorityChanged {
        epoch: newer.epoch,
        rules: newer.rules,
        authority: authority.envelope.clone(),
    }))
}

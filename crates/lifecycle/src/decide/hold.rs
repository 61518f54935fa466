//! Holds: a request, or every activation of the tenant, is frozen, and only those whom the policy names can lift that.
//!
//! A hold stops no clock: requests and approvals run out under it as they would have. It takes nothing away that is active,
//! and it stops no report of a compromise.

use journal::command::SignedCommand;
use model::command::{ActivationHold, ActivationRelease};
use model::event::{ActivationHeld, ActivationReleased};
use model::policy::HoldRules;
use model::{Event, ProblemType, Timestamp};

use crate::state::{Governance, Request, View};
use crate::{Rejection, standing};

fn rules(governance: &Governance) -> Result<&HoldRules, Rejection> {
    let none = || Rejection::new(ProblemType::RoleMissing, "the policy names nobody who may place or lift holds");
    governance.policy()?.policy.holds.as_ref().ok_or_else(none)
}

/// The request that is meant, of the key that the command names.
fn meant<'a>(view: &'a View, signed: &SignedCommand) -> Result<&'a Request, Rejection> {
    let request = view.open_request()?;
    if request.key_id == signed.command.key_id {
        return Ok(request);
    }
    Rejection::new(ProblemType::UnknownRequest, "the request is for another key").err()
}

pub(super) fn place(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationHold,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let permission = &rules(governance)?.place;
    standing::times(signed, now, standing::lifetime(permission.quorum))?;
    let held_by = standing::quorum(governance, signed, permission)?;
    let request = params.request.map(|_| meant(view, signed)).transpose()?;
    if request.is_none() && signed.command.key_id.is_some() {
        return Rejection::new(ProblemType::UnknownRequest, "a hold is on a request, or on the tenant").err();
    }
    Ok(Event::ActivationHeld(ActivationHeld {
        key_id: request.and_then(|request| request.key_id),
        request: params.request,
        kind: params.kind,
        reference: params.reference.clone(),
        held_by,
        command: signed.envelope.clone(),
    }))
}

pub(super) fn lift(
    view: &View,
    signed: &SignedCommand,
    params: &ActivationRelease,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let governance = view.governance()?;
    let permission = &rules(governance)?.lift;
    standing::times(signed, now, standing::lifetime(permission.quorum))?;
    let released_by = standing::quorum(governance, signed, permission)?;
    let request = params.request.map(|_| meant(view, signed)).transpose()?;
    let stands = match request {
        Some(request) => request.holds.contains_key(&params.hold),
        None => governance.holds.contains_key(&params.hold),
    };
    if !stands {
        return super::nothing_due("there is no such hold here, or it was lifted").err();
    }
    Ok(Event::ActivationReleased(ActivationReleased {
        key_id: request.and_then(|request| request.key_id),
        hold: params.hold,
        request: params.request,
        released_by,
        command: signed.envelope.clone(),
    }))
}

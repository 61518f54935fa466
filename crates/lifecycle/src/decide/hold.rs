//! Holds: a request, or every activation of the tenant, is frozen, and only those whom the policy names can lift that.
//!
//! A hold stops no clock: requests and approvals run out under it as they would have. It takes nothing away that is active,
//! and it stops no report of a compromise.

use journal::command::SignedCommand;
use model::command::{ActivationHold, ActivationRelease};
use model::event::{ActivationHeld, ActivationReleased};
use model::policy::HoldRules;
use model::{Event, EventHash, ProblemType, Timestamp};

use crate::state::{Governance, Request, View};
use crate::{Rejection, standing};

/// The most holds on one request, or on the tenant.
const HOLDS_MAX: usize = 64;

fn rules(governance: &Governance) -> Result<&HoldRules, Rejection> {
    let none = || Rejection::new(ProblemType::RoleMissing, "the policy names nobody who may place or lift holds");
    governance.policy()?.policy.holds.as_deref().ok_or_else(none)
}

/// The request that is meant, of the key that the command names; none where it is the tenant.
fn meant<'a>(
    view: &'a View,
    signed: &SignedCommand,
    named: Option<EventHash>,
) -> Result<Option<&'a Request>, Rejection> {
    let unknown = |detail: &str| Rejection::new(ProblemType::UnknownRequest, detail).err();
    match (named, signed.command.key_id) {
        (None, None) => Ok(None),
        (None, Some(_)) => unknown("a hold is on a request, or on the tenant"),
        (Some(_), key) => match view.open_request()? {
            request if request.key_id == key => Ok(Some(request)),
            _ => unknown("the request is for another key"),
        },
    }
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
    let request = meant(view, signed, params.request)?;
    let standing = request.map_or(governance.holds.len(), |request| request.holds.len());
    if standing >= HOLDS_MAX {
        return Rejection::new(ProblemType::Held, format!("{standing} holds stand there already")).err();
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
    let request = meant(view, signed, params.request)?;
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

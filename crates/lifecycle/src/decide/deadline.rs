//! Deadlines: warnings ahead of them, and the record of those that were missed.

use model::event::{AlgorithmEnded, Deadline, DeadlineMissed, DeadlineWarned};
use model::{Event, Timestamp};

use super::{not_yet, nothing_due};
use crate::Rejection;
use crate::state::{Governance, TenantDeadline, View};

/// A key's next deadline comes near.
pub(super) fn warn_of_key(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let key = view.key()?;
    let Some((warn_at, deadline, at, cause)) = key.next_warning() else {
        return nothing_due("the key has no deadline that nobody was warned of").err();
    };
    if now < warn_at {
        return not_yet(warn_at).err();
    }
    let (key_id, pack, algorithm, document, request) = (Some(key.id), None, None, None, None);
    Ok(Event::DeadlineWarned(DeadlineWarned { key_id, deadline, pack, algorithm, document, request, at, cause }))
}

/// An adopted key was neither rotated nor authorised anew by its time.
pub(super) fn missed_of_key(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let key = view.key()?;
    let Some((at, cause)) = key.rotation_to_come() else {
        return nothing_due("the key is not one that was adopted and is still to be rotated, or is known to be late")
            .err();
    };
    if now < at {
        return not_yet(at).err();
    }
    let (key_id, deadline, pack, document) = (Some(key.id), Deadline::Rotation, None, None);
    Ok(Event::DeadlineMissed(DeadlineMissed { key_id, deadline, pack, document, at, cause }))
}

/// A request, or one of its approvals, comes near to its end.
pub(super) fn warn_of_request(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let request = view.open_request()?;
    let Some((warn_at, deadline, at, cause)) = request.next_warning() else {
        return nothing_due("the request has no deadline that nobody was warned of").err();
    };
    if now < warn_at {
        return not_yet(warn_at).err();
    }
    let (key_id, request, pack, algorithm, document) = (request.key_id, Some(request.hash), None, None, None);
    Ok(Event::DeadlineWarned(DeadlineWarned { key_id, deadline, pack, algorithm, document, request, at, cause }))
}

/// The tenant's deadline that has passed and is not recorded yet.
pub fn next_passed(governance: &Governance, now: Timestamp) -> Option<&TenantDeadline> {
    governance.deadlines.iter().find(|deadline| !deadline.missed && deadline.at <= now)
}

/// The tenant's own: first what was missed, then what comes near.
pub(super) fn of_tenant(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let deadlines = &view.governance()?.deadlines;
    if let Some(missed) = next_passed(view.governance()?, now) {
        if let Some(algorithm) = missed.algorithm {
            let (at, cause) = (missed.at, missed.cause);
            return Ok(Event::AlgorithmEnded(AlgorithmEnded { algorithm, at, cause }));
        }
        let TenantDeadline { deadline, pack, document, at, cause, .. } = missed.clone();
        return Ok(Event::DeadlineMissed(DeadlineMissed { key_id: None, deadline, pack, document, at, cause }));
    }
    if let Some(near) = deadlines.iter().find(|deadline| deadline.warn_at.is_some_and(|warn_at| warn_at <= now)) {
        let TenantDeadline { deadline, pack, algorithm, document, at, cause, .. } = near.clone();
        let (key_id, request) = (None, None);
        let warned = DeadlineWarned { key_id, deadline, pack, algorithm, document, request, at, cause };
        return Ok(Event::DeadlineWarned(warned));
    }
    match deadlines.iter().filter_map(|deadline| deadline.next()).min() {
        Some(at) => not_yet(at).err(),
        None => nothing_due("the tenant has no deadline").err(),
    }
}

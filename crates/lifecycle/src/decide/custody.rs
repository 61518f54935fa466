//! What the custodian says of its stores, as far as the chain can check it.

use model::event::{CustodyApplied, CustodyDrifted, CustodyReconciled, CustodyRefused, CustodyUsed, Inventory};
use model::evidence::Drift;
use model::{Event, KeyState, ProblemType, Timestamp};

use super::adopt::in_custody;
use super::{Applied, new_id, nothing_due};
use crate::Rejection;
use crate::state::{Key, View};

/// The most principals that one count names.
const NAMED_MAX: usize = 32;

pub(super) fn applied(view: &View, applied: &Applied) -> Result<Event, Rejection> {
    let key = view.key()?;
    in_custody(key)?;
    if key.is_applied() {
        return nothing_due("the store is known to have this state").err();
    }
    if applied.state != key.state || applied.cause != key.transition || applied.store != key.store {
        let detail = format!(
            "`{}` has {} for {}, the chain says {} since {} in `{}`",
            applied.store,
            applied.state,
            applied.cause.short(),
            key.state,
            key.transition.short(),
            key.store
        );
        return Rejection::new(ProblemType::StateChanged, detail).err();
    }
    if !place_fits(key, applied) {
        return Rejection::new(ProblemType::StatementInvalid, "that is not where a key of this state is kept").err();
    }
    let Applied { key_id, state, store, before, after, cause } = applied.clone();
    Ok(Event::CustodyApplied(CustodyApplied { key_id, state, store, before, after, cause }))
}

/// INVARIANT (apart until active): a key that was never activated is in the pre-active inventory or nowhere; one that is
/// usable is in the active one; one that is destroyed is nowhere.
fn place_fits(key: &Key, applied: &Applied) -> bool {
    let after = applied.after.as_ref().map(|place| place.inventory);
    match applied.state {
        KeyState::PreActive => after == Some(Inventory::PreActive),
        KeyState::Active | KeyState::Suspended | KeyState::Deactivated => after == Some(Inventory::Active),
        KeyState::Compromised if key.activation.is_none() => after == Some(Inventory::PreActive),
        KeyState::Compromised => after == Some(Inventory::Active),
        KeyState::Destroyed | KeyState::DestroyedCompromised => after.is_none(),
    }
}

pub(super) fn used(view: &View, used: &CustodyUsed, now: Timestamp) -> Result<Event, Rejection> {
    new_id(view, used.report)?;
    let key = view.key()?;
    in_custody(key)?;
    if key.activation.is_none_or(|activation| activation.hash != used.activation) {
        return Rejection::new(ProblemType::KeyNotActive, "the key was not activated by that event").err();
    }
    let counts = used.uses.values().all(|count| *count > 0) && !used.uses.is_empty();
    gathered(counts, used.from, used.to, used.used_by.len(), now)?;
    Ok(Event::CustodyUsed(used.clone()))
}

pub(super) fn refused(view: &View, refused: &CustodyRefused, now: Timestamp) -> Result<Event, Rejection> {
    new_id(view, refused.report)?;
    view.key()?;
    if !ProblemType::ALL.iter().any(|problem| problem.name() == refused.reason.as_str()) {
        return Rejection::new(ProblemType::Malformed, format!("there is no problem `{}`", refused.reason)).err();
    }
    let counts = refused.refusals.values().all(|count| *count > 0) && !refused.refusals.is_empty();
    gathered(counts, refused.from, refused.to, refused.asked_by.len(), now)?;
    Ok(Event::CustodyRefused(refused.clone()))
}

/// What a store's own listing came to. Whether it is true is the custodian's word; that it adds up is checked.
pub(super) fn reconciled(view: &View, reconciled: &CustodyReconciled, now: Timestamp) -> Result<Event, Rejection> {
    new_id(view, reconciled.report)?;
    let CustodyReconciled { seen, matched, drifted, unknown, from, to, .. } = *reconciled;
    let adds_up = matched.checked_add(drifted).and_then(|sum| sum.checked_add(unknown)) == Some(seen);
    gathered(adds_up, from, to, 0, now)?;
    Ok(Event::CustodyReconciled(reconciled.clone()))
}

pub(super) fn drifted(view: &View, drifted: &CustodyDrifted, now: Timestamp) -> Result<Event, Rejection> {
    new_id(view, drifted.report)?;
    let key = view.key()?;
    in_custody(key)?;
    if drifted.store != key.store || drifted.cause != key.transition {
        let detail = format!("the key is {} in `{}` since {}", key.state, key.store, key.transition.short());
        return Rejection::new(ProblemType::StateChanged, detail).err();
    }
    // It can be used there: that is no shadow where the chain says so as well.
    let plausible = drifted.drift != Drift::ShadowActivation || key.state != KeyState::Active;
    gathered(plausible, drifted.seen_at, drifted.seen_at, 0, now)?;
    Ok(Event::CustodyDrifted(drifted.clone()))
}

/// A count of something, over a time that has passed.
fn gathered(counts: bool, from: Timestamp, to: Timestamp, named: usize, now: Timestamp) -> Result<(), Rejection> {
    if counts && from <= to && to <= now && named <= NAMED_MAX {
        return Ok(());
    }
    Rejection::new(ProblemType::Malformed, "not a count over a time that has passed").err()
}

//! What happens to a key outside approval: suspension, its end, its destruction.

use journal::command::SignedCommand;
use model::command::{KeyCompromise, KeyDeactivate, KeyDestroy, KeyResume, KeySuspend};
use model::event::{KeyCompromised, KeyDeactivated, KeyDestroyed, KeyExpired, KeyResumed, KeySuspended};
use model::policy::{Operations, Permission};
use model::{Event, EventHash, KeyState, ProblemType, Timestamp};

use super::{not_yet, nothing_due, unchanged};
use crate::state::{Key, View};
use crate::{Rejection, clearance, standing, transition};

/// The key, where those who signed may do this to it, and its state has a way there.
fn operated<'a>(
    view: &'a View,
    signed: &SignedCommand,
    permission: impl Fn(&Operations) -> &Permission,
    to: impl Fn(KeyState) -> KeyState,
    now: Timestamp,
) -> Result<&'a Key, Rejection> {
    let (governance, key) = (view.governance()?, view.key()?);
    let permission = permission(&governance.policy()?.policy.operations);
    standing::times(signed, now, standing::lifetime(permission.quorum))?;
    standing::quorum(governance, signed, permission)?;
    transition::check(key.state, to(key.state))?;
    Ok(key)
}

pub(super) fn suspend(
    view: &View,
    signed: &SignedCommand,
    params: &KeySuspend,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let key = operated(view, signed, |operations| &operations.suspend, |_| KeyState::Suspended, now)?;
    let (reason, command) = (Some(params.reason.clone()), Some(signed.envelope.clone()));
    let affected = key.children.iter().copied().collect();
    Ok(Event::KeySuspended(KeySuspended { key_id: key.id, reason, affected, command, cause: None }))
}

/// Suspension that follows from something else: the key's emergency activation was not reviewed in time, the key that wraps
/// it is in trouble and the policy says what then, or its store has it otherwise than the chain says and the policy says so.
pub(super) fn suspend_by_itself(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let key = view.key()?;
    if key.state != KeyState::Active {
        return nothing_due("the key is not active").err();
    }
    let unreviewed = key.review_by.filter(|by| *by <= now).and(key.activation).map(|activation| activation.hash);
    let in_trouble = view.parent().filter(|parent| parent.to_suspend.contains(&key.id));
    let Some(cause) = unreviewed.or(in_trouble.map(|parent| parent.transition)).or(key.drifted) else {
        return match key.review_by {
            Some(by) => not_yet(by).err(),
            None => nothing_due("nothing calls for the key's suspension").err(),
        };
    };
    let affected = key.children.iter().copied().collect();
    Ok(Event::KeySuspended(KeySuspended { key_id: key.id, reason: None, affected, command: None, cause: Some(cause) }))
}

pub(super) fn resume(
    view: &View,
    signed: &SignedCommand,
    params: &KeyResume,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let key = operated(view, signed, |operations| &operations.resume, |_| KeyState::Active, now)?;
    unchanged(params.against, key.head)?;
    // A pre-active key has a way to `active` in the table, but only through approval.
    if key.state != KeyState::Suspended {
        let detail = format!("a key that is {} has no suspension to lift", key.state);
        return Rejection::new(ProblemType::ForbiddenTransition, detail).with("state", key.state.name()).err();
    }
    if let Some(activation) = key.activation.filter(|activation| activation.deactivate_at <= now) {
        let detail = format!("its use ended at {}", activation.deactivate_at);
        return Rejection::new(ProblemType::ForbiddenTransition, detail).err();
    }
    if let Some(by) = key.review_by.filter(|by| *by <= now) {
        let detail = format!("its emergency activation was to be reviewed by {by}");
        return Rejection::new(ProblemType::ReviewMissing, detail).err();
    }
    if let Some(parent) = view.parent().filter(|parent| parent.state != KeyState::Active) {
        let detail = format!("`{}`, which wraps it, is {}", parent.spec.label, parent.state);
        return Rejection::new(ProblemType::ParentNotActive, detail).err();
    }
    view.parent().map_or(Ok(()), clearance::has_room)?;
    let (reason, command) = (params.reason.clone(), signed.envelope.clone());
    Ok(Event::KeyResumed(KeyResumed { key_id: key.id, reason, command }))
}

pub(super) fn deactivate(
    view: &View,
    signed: &SignedCommand,
    params: &KeyDeactivate,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let key = operated(view, signed, |operations| &operations.deactivate, |_| KeyState::Deactivated, now)?;
    unchanged(params.against, key.head)?;
    let (reason, command) = (Some(params.reason.clone()), Some(signed.envelope.clone()));
    Ok(Event::KeyDeactivated(KeyDeactivated { key_id: key.id, reason, command, cause: None }))
}

pub(super) fn compromise(
    view: &View,
    signed: &SignedCommand,
    params: &KeyCompromise,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let key = operated(view, signed, |operations| &operations.compromise, transition::compromised_from, now)?;
    let (reason, command) = (params.reason.clone(), signed.envelope.clone());
    let affected = key.children.iter().copied().collect();
    Ok(Event::KeyCompromised(KeyCompromised { key_id: key.id, reason, was: key.state, affected, command }))
}

pub(super) fn destroy(
    view: &View,
    signed: &SignedCommand,
    params: &KeyDestroy,
    now: Timestamp,
) -> Result<Event, Rejection> {
    let key = operated(view, signed, |operations| &operations.destroy, transition::destroyed_from, now)?;
    unchanged(params.against, key.head)?;
    if key.spec.attributes.as_ref().is_some_and(|attributes| !attributes.deletable) {
        return Rejection::new(ProblemType::AttributeNotAllowed, "the key was made to be kept: not deletable").err();
    }
    let (reason, command) = (Some(params.reason.clone()), Some(signed.envelope.clone()));
    Ok(Event::KeyDestroyed(KeyDestroyed { key_id: key.id, reason, command, cause: None }))
}

/// Never activated in time, or not said to be wanted any more.
pub(super) fn expire(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let key = view.key()?;
    if !key.is_waiting() {
        return nothing_due("the key is not waiting for its activation").err();
    }
    if now < key.expires_at() {
        return not_yet(key.expires_at()).err();
    }
    let missed = key.revalidate_by.filter(|by| *by < key.pre_active_until);
    let cause = if missed.is_some() { key.revalidated } else { key.generated };
    let (key_id, pre_active_until) = (key.id, key.pre_active_until);
    Ok(Event::KeyExpired(KeyExpired { key_id, pre_active_until, revalidate_by: missed, cause }))
}

/// Destruction follows expiry.
pub(super) fn destroy_expired(view: &View) -> Result<Event, Rejection> {
    let key = view.key()?;
    match key.expired {
        Some(expired) if key.state == KeyState::PreActive => {
            let (reason, command, cause) = (None, None, Some(expired));
            Ok(Event::KeyDestroyed(KeyDestroyed { key_id: key.id, reason, command, cause }))
        }
        _ => nothing_due("the key did not expire, or is gone").err(),
    }
}

/// The policy in force, where it no longer allows the key's algorithm: it may have brought the end forward since the key was
/// activated.
fn algorithm_ended(view: &View, key: &Key, now: Timestamp) -> Option<EventHash> {
    let policy = view.governance.as_ref()?.policy.as_ref()?;
    let until = policy.policy.algorithm(key.spec.algorithm)?.allowed_until?;
    (until <= now).then_some(policy.hash)
}

/// The crypto period is over, its algorithm has ended, or the end that was asked for has come.
pub(super) fn end_crypto_period(view: &View, now: Timestamp) -> Result<Event, Rejection> {
    let key = view.key()?;
    let in_use = matches!(key.state, KeyState::Active | KeyState::Suspended);
    let Some(activation) = key.activation.filter(|_| in_use) else {
        return nothing_due("the key is not in use").err();
    };
    let cause = match algorithm_ended(view, key, now) {
        _ if activation.deactivate_at <= now => activation.hash,
        Some(policy) => policy,
        None => return not_yet(activation.deactivate_at).err(),
    };
    let (reason, command, cause) = (None, None, Some(cause));
    Ok(Event::KeyDeactivated(KeyDeactivated { key_id: key.id, reason, command, cause }))
}

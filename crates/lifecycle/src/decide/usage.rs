//! Whether a key may be used now. The custodian asks before every use.
//!
//! INVARIANT (no use without activation): [`may_use`] says yes only to a key that the verified chain calls active, or to
//! undo and check with a deactivated one where policy says so.

use journal::command::SignedCommand;
use model::command::{LIFETIME_MAX, LIFETIME_MAX_USE};
use model::key::Operation;
use model::policy::Children;
use model::{Fingerprint, KeyState, Policy, ProblemType, Span, Timestamp};

use super::adopt::in_custody;
use crate::clearance::listed;
use crate::state::{Key, View};
use crate::{Rejection, standing};

/// A use that is allowed: what of, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit<'a> {
    /// The key.
    pub key: &'a Key,
    /// What is done with it.
    pub operation: Operation,
    /// Who asks.
    pub by: Fingerprint,
    /// Whether it is allowed although the key is deactivated.
    pub deactivated: bool,
    /// How old the custodian's word on the chain may be.
    pub max_staleness: Span,
}

/// Whether this `use` command may be carried out at `now`. `fresh` is how old the custodian's knowledge of the chain is,
/// or `None` where it has no word on it at all.
pub fn may_use<'a>(
    view: &'a View,
    signed: &SignedCommand,
    now: Timestamp,
    fresh: Option<Span>,
) -> Result<Permit<'a>, Rejection> {
    let governance = view.governance()?;
    let Some(operation) = signed.command.action.operation() else {
        let detail = format!("`{}` is not a use", signed.command.action.name());
        return Rejection::new(ProblemType::UnknownAction, detail).err();
    };
    standing::times(signed, now, LIFETIME_MAX_USE)?;
    let (by, principal) = standing::sole(governance, signed)?;
    let key = view.key()?;
    in_custody(key)?;
    let policy = governance.policy()?;
    let rule = policy.rule_in_use(key, view.request.as_ref())?;
    does(key, operation)?;
    // The state comes before who asks: a program that may use nothing shows that a key which waits is used by nobody.
    let deactivated = usable(key, operation, rule.process_when_deactivated, now)?;
    standing::role(principal, &rule.users)?;
    if !deactivated {
        not_ended(view, &policy.policy, key, now)?;
    }
    custody(key)?;
    let max_staleness = policy.policy.max_staleness;
    if fresh.is_none_or(|age| age > max_staleness) {
        let detail = format!("the last word on the chain must be younger than {max_staleness}");
        return Rejection::new(ProblemType::CustodyStale, detail).err();
    }
    Ok(Permit { key, operation, by, deactivated, max_staleness })
}

/// Whether somebody may have the custodian prove that it has the key: anybody enrolled, whatever the key's state, as long
/// as there is a key.
pub fn may_prove<'a>(view: &'a View, signed: &SignedCommand, now: Timestamp) -> Result<&'a Key, Rejection> {
    let governance = view.governance()?;
    standing::times(signed, now, LIFETIME_MAX)?;
    standing::sole(governance, signed)?;
    let key = view.key()?;
    in_custody(key)?;
    if matches!(key.state, KeyState::Destroyed | KeyState::DestroyedCompromised) {
        return Rejection::new(ProblemType::ForbiddenTransition, "the key is destroyed").err();
    }
    if key.sealing.is_some() && key.activation.is_none() {
        let detail =
            "the key is sealed: before its approvers bring their shares not even its custodian can compute with it";
        return Rejection::new(ProblemType::KeyNotActive, detail).with("state", key.state.name()).err();
    }
    Ok(key)
}

/// Each algorithm has its operations, and a key may be for fewer.
fn does(key: &Key, operation: Operation) -> Result<(), Rejection> {
    let (spec, algorithm) = (&key.spec, key.spec.algorithm);
    if !algorithm.operations().contains(&operation) {
        let detail = format!("`{algorithm}` keys do not {operation}");
        return Rejection::new(ProblemType::OperationNotAllowed, detail).err();
    }
    if !spec.operations().contains(&operation) {
        let detail = format!("`{}` is not for that: it may {}", spec.label, listed(&spec.usage));
        return Rejection::new(ProblemType::OperationNotAllowed, detail).err();
    }
    Ok(())
}

/// What the policy in force says of active keys whose time others set: their algorithm's end, which it may have brought
/// forward since, and trouble with the key that wraps them. The custodian heeds both before anybody has recorded it.
fn not_ended(view: &View, policy: &Policy, key: &Key, now: Timestamp) -> Result<(), Rejection> {
    let until = policy.algorithm(key.spec.algorithm).and_then(|rule| rule.allowed_until);
    if let Some(until) = until.filter(|until| *until <= now) {
        let detail = format!("`{}` is allowed until {until}", key.spec.algorithm);
        return Rejection::new(ProblemType::AlgorithmNotAllowed, detail).err();
    }
    let Some(parent) = view.parent() else { return Ok(()) };
    let halts = match parent.state {
        KeyState::Suspended => policy.parents.when_suspended == Children::Suspend,
        KeyState::Compromised | KeyState::DestroyedCompromised => policy.parents.when_compromised == Children::Suspend,
        _ => false,
    };
    if halts {
        let detail = format!("`{}`, which wraps it, is {}", parent.spec.label, parent.state);
        return Rejection::new(ProblemType::ParentNotActive, detail).err();
    }
    Ok(())
}

/// Whether the state allows it; `true` where that is in spite of deactivation. A key whose end has come is not used, even
/// before the expirer has recorded it: the custodian is stricter than the chain, never laxer.
fn usable(key: &Key, operation: Operation, process_when_deactivated: bool, now: Timestamp) -> Result<bool, Rejection> {
    let ended = key.activation.is_some_and(|activation| activation.deactivate_at <= now);
    let state = match key.state {
        KeyState::Active if ended => KeyState::Deactivated,
        state => state,
    };
    match state {
        // Others' clocks may be ahead of the custodian's; a key whose time has not come here is not used here.
        KeyState::Active if key.activation.is_some_and(|activation| now < activation.at) => {
            Rejection::new(ProblemType::CustodyPending, format!("the activation's time has not come: it is {now}"))
                .err()
        }
        KeyState::Active => Ok(false),
        KeyState::Deactivated if operation.processes_only() && process_when_deactivated => Ok(true),
        state => {
            let detail = format!("the key is {state}");
            Rejection::new(ProblemType::KeyNotActive, detail).with("state", state.name()).err()
        }
    }
}

/// The store must have what the chain says.
fn custody(key: &Key) -> Result<(), Rejection> {
    if key.is_applied() {
        return Ok(());
    }
    Rejection::new(ProblemType::CustodyPending, "the key store is being brought to the chain's state").err()
}

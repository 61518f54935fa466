//! A key's birth: pre-active, by the custodian, on the command of somebody who may.

use journal::command::SignedCommand;
use journal::statement::Stated;
use model::command::KeyGenerate;
use model::event::KeyGenerated;
use model::key::Operation;
use model::policy::Rule;
use model::statement::Generated;
use model::{Action, Event, Fingerprint, KeyId, KeySpec, ProblemType, ServiceRole, Timestamp, command};

use super::new_command;
use crate::sealing::{self, Plan};
use crate::state::{InForce, View};
use crate::{Rejection, clearance, policy, standing};

/// What a command to generate comes to, where it is allowed.
struct Allowed<'a> {
    key_id: KeyId,
    params: &'a KeyGenerate,
    created_by: Fingerprint,
    policy: &'a InForce,
    sealed: Option<Plan>,
}

/// Whether the custodian may generate a key on this command, and to whom it is to be sealed, where the rule asks for that:
/// asked before, as `record` asks after.
pub fn may_generate(view: &View, signed: &SignedCommand, now: Timestamp) -> Result<Option<Plan>, Rejection> {
    new_command(view, signed)?;
    allowed(view, signed, now).map(|allowed| allowed.sealed)
}

fn allowed<'a>(view: &'a View, signed: &'a SignedCommand, now: Timestamp) -> Result<Allowed<'a>, Rejection> {
    let (Action::KeyGenerate(params), Some(key_id)) = (&signed.command.action, signed.command.key_id) else {
        return Rejection::new(ProblemType::UnknownAction, "a key begins with `key.generate`").err();
    };
    let governance = view.governance()?;
    standing::times(signed, now, command::LIFETIME_MAX)?;
    let (created_by, principal) = standing::sole(governance, signed)?;
    let policy = governance.policy()?;
    standing::role(principal, &policy.policy.keys.creators)?;
    if let Some(key) = &view.key {
        return Rejection::new(ProblemType::KeyExists, format!("{} is `{}`", key.id, key.spec.label)).err();
    }
    let rule = policy.rule_for(&params.spec.traits())?;
    let Some(algorithm) = policy.policy.algorithm(params.spec.algorithm) else {
        return Rejection::new(ProblemType::AlgorithmNotAllowed, format!("`{}` is not listed", params.spec.algorithm))
            .err();
    };
    if let Some(until) = algorithm.allowed_until.filter(|until| *until <= now) {
        let detail = format!("`{}` was allowed until {until}", params.spec.algorithm);
        return Rejection::new(ProblemType::AlgorithmNotAllowed, detail).err();
    }
    clearance::attributes(&policy.policy, &params.spec)?;
    parties(policy, rule, &params.spec)?;
    parent_is_known(view, &params.spec)?;
    let sealed = sealing::plan(governance, rule, &principal.person)?;
    Ok(Allowed { key_id, params, created_by, policy, sealed })
}

/// A key whose duty several parties share needs a stage of each (AICM: ownership of orchestrated keys). The policy's own
/// check sees to it; a rule that came in without is not gone by.
fn parties(policy: &InForce, rule: &Rule, spec: &KeySpec) -> Result<(), Rejection> {
    let missing = policy::parties_missing(&policy.policy, rule, spec.responsibility);
    match missing.first() {
        None => Ok(()),
        Some(party) => {
            let detail = format!("rule `{}` has no stage of the {party}, whose duty such a key is too", rule.name);
            Rejection::new(ProblemType::NoRule, detail).err()
        }
    }
}

/// The key that is to wrap it is one that wraps.
fn parent_is_known(view: &View, spec: &KeySpec) -> Result<(), Rejection> {
    let Some(named) = spec.parent_here() else { return Ok(()) };
    let refuse = |detail: String| Rejection::new(ProblemType::ParentNotActive, detail).err();
    match view.others.get(&named) {
        None => refuse(format!("{named}, which is to wrap it, is not known here")),
        Some(parent) if !parent.spec.operations().contains(&Operation::Wrap) => {
            refuse(format!("`{}` is no key that wraps", parent.spec.label))
        }
        Some(_) => Ok(()),
    }
}

pub(super) fn record(
    view: &View,
    signed: &SignedCommand,
    stated: &Stated<Generated>,
    now: Timestamp,
) -> Result<Event, Rejection> {
    new_command(view, signed)?;
    let Allowed { key_id, params, created_by, policy, sealed } = allowed(view, signed, now)?;
    // It was opened earlier: what counts is that the custodian may speak at the time of the event.
    let ring = &view.governance()?.authority.ring;
    if ring.role(stated.signer, view.chain.tenant(), now) != Some(ServiceRole::Custodian) {
        let detail = format!("{} is no custodian's key at this time", stated.signer);
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    let statement = &stated.statement;
    let is_for_this = statement.tenant == view.chain.tenant()
        && statement.key_id == key_id
        && statement.command == signed.digest
        && statement.algorithm == params.spec.algorithm
        && statement.store == params.spec.backend;
    if !is_for_this {
        return Rejection::new(ProblemType::StatementInvalid, "the custodian's statement is for another command").err();
    }
    if !describes_a_key(statement) {
        let detail = format!("what it says of the key does not fit `{}`", statement.algorithm);
        return Rejection::new(ProblemType::StatementInvalid, detail).err();
    }
    sealing::follows(sealed.as_ref(), statement.sealing.as_ref())?;
    Ok(Event::KeyGenerated(KeyGenerated {
        key_id,
        spec: params.spec.clone(),
        identity: statement.identity.clone(),
        store: statement.store.clone(),
        seal_key: statement.seal_key.clone(),
        sealing: statement.sealing.clone(),
        created_by,
        policy: policy.hash,
        pre_active_until: now + policy.policy.keys.pre_active_for,
        revalidate_by: policy.policy.keys.revalidation.as_ref().map(|revalidation| now + revalidation.every),
        warn_before: policy.policy.keys.warn_before,
        statement: stated.envelope.clone(),
        command: signed.envelope.clone(),
    }))
}

const X25519_BYTES: usize = 32;

/// Whether a statement's bytes have the form that its algorithm, and the store's own key, give them.
fn describes_a_key(statement: &Generated) -> bool {
    statement.identity.fits(statement.algorithm) && statement.seal_key.0.len() == X25519_BYTES
}

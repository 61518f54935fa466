//! A key's birth: pre-active, by the custodian, on the command of somebody who may.

use journal::command::SignedCommand;
use journal::statement::Stated;
use model::command::KeyGenerate;
use model::event::KeyGenerated;
use model::statement::Generated;
use model::{Action, Event, Fingerprint, KeyId, ProblemType, Timestamp, command};

use super::new_command;
use crate::state::{InForce, View};
use crate::{Rejection, standing};

/// What a command to generate comes to, where it is allowed.
struct Allowed<'a> {
    key_id: KeyId,
    params: &'a KeyGenerate,
    created_by: Fingerprint,
    policy: &'a InForce,
}

/// Whether the custodian may generate a key on this command: asked before, as `record` asks after.
pub fn may_generate(view: &View, signed: &SignedCommand, now: Timestamp) -> Result<(), Rejection> {
    new_command(view, signed)?;
    allowed(view, signed, now).map(|_| ())
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
    policy.rule_for(&params.spec)?;
    if policy.policy.algorithm(params.spec.algorithm).is_none() {
        return Rejection::new(ProblemType::AlgorithmNotAllowed, format!("`{}` is not listed", params.spec.algorithm))
            .err();
    }
    Ok(Allowed { key_id, params, created_by, policy })
}

pub(super) fn record(
    view: &View,
    signed: &SignedCommand,
    stated: &Stated<Generated>,
    now: Timestamp,
) -> Result<Event, Rejection> {
    new_command(view, signed)?;
    let Allowed { key_id, params, created_by, policy } = allowed(view, signed, now)?;
    let statement = &stated.statement;
    let is_for_this = statement.tenant == view.chain.tenant()
        && statement.key_id == key_id
        && statement.command == signed.digest
        && statement.algorithm == params.spec.algorithm
        && statement.store == params.spec.backend;
    if !is_for_this {
        return Rejection::new(ProblemType::StatementInvalid, "the custodian's statement is for another command").err();
    }
    Ok(Event::KeyGenerated(KeyGenerated {
        key_id,
        spec: params.spec.clone(),
        identity: statement.identity.clone(),
        store: statement.store.clone(),
        seal_key: statement.seal_key.clone(),
        created_by,
        policy: policy.hash,
        pre_active_until: now + policy.policy.keys.pre_active_for,
        statement: stated.envelope.clone(),
        command: signed.envelope.clone(),
    }))
}

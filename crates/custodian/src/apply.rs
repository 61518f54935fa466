//! Bringing the store to the chain's state, and saying so.
//!
//! The effect follows the recorded fact and is repeatable: a crash after the store has changed and before
//! `custody.applied` stands is made good by applying again, which changes nothing and gives the same answer.

use journal::Journal;
use lifecycle::decide::Applied;
use lifecycle::{Footprint, Input, Rejection, transition};
use model::{KeyId, ProblemType, TenantId};
use service::Recorded;

use crate::sealed::{self, Opened};
use crate::{Custodian, ROLE, blocking};

/// Applies the state that the verified chain gives the key.
pub(crate) async fn apply<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    key_id: KeyId,
) -> Result<Recorded, Rejection> {
    let node = &custodian.ports.node;
    let _changing = custodian.changing.key(key_id).await;
    // With the request that it was activated under: its approvals bring a sealed key's shares.
    let footprint = Footprint { activation: true, ..Footprint::of_key(key_id) };
    let view = node.view(tenant, footprint).map_err(|error| Rejection::new(ProblemType::Unavailable, error))?;
    let key = view.key()?;
    if !custodian.stores.has(&key.store) {
        return Rejection::new(ProblemType::NothingDue, format!("`{}` is another custodian's", key.store)).err();
    }
    let store = custodian.stores.of(key)?;
    // Before anything is changed: a chain that is stopped, or that is ahead of the time, does not move keys.
    node.check_alarm(tenant)?;
    node.check_clock(&view)?;
    let (state, cause, activated) = (key.state, key.transition, key.activation.is_some());
    let name = store.name().clone();
    let brought = sealed::brought(&view, tenant)?;
    let of = store.clone();
    let applied = blocking(move || {
        // The store goes through the states one by one.
        let held = of.get(tenant, key_id)?.map(|held| held.state);
        let path = transition::path(held, activated, state);
        if let Some(brought) = brought.filter(|_| sealed::is_to_open(held, &path)) {
            match brought.unseal(&*of)? {
                Opened::Open => {}
                Opened::Shut(found) => return Ok(Err(found)),
            }
        }
        path.into_iter().map(|step| of.apply(tenant, key_id, step)).collect::<Result<Vec<_>, _>>().map(Ok)
    })
    .await
    .map_err(|problem| Rejection::new(problem.kind().unwrap_or(ProblemType::Unavailable), problem.detail))?;
    let applied = match applied {
        Ok(applied) => applied,
        Err(found) => return sealed::stays_shut(custodian, tenant, key, &name, found).await,
    };
    let before = applied.first().and_then(|step| step.before.clone());
    let after = applied.last().and_then(|step| step.after.clone());
    let applied = Applied { key_id, state, store: name, before, after, cause };
    node.record(tenant, ROLE, Input::Applied(applied)).await
}

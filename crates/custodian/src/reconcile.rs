//! No side doors: what each store really has is compared with the verified chain, as often as the policy says.
//!
//! A store lists its own keys, and says what stands behind it that is not as it left it (somebody turned a key on, moved a
//! date, removed it). A key that differs is looked at again before it is reported, for the chain goes on meanwhile; where the
//! store can be brought back it is, and what was seen is recorded either way. The same finding is reported once, until it is
//! another or this process ends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use journal::Journal;
use keystore::{Entry, Found};
use lifecycle::state::Key;
use lifecycle::{Footprint, Input, Rejection, transition};
use model::event::{CustodyDrifted, CustodyReconciled};
use model::evidence::Drift;
use model::{Digest, KeyId, KeyState, Name, Problem, ProblemType, TenantId, Text};
use service::{Node, Recorded, clock};
use tracing::{error, warn};

use crate::stores::Store;
use crate::{Custodian, ROLE, blocking};

/// How many keys are read from the replica at once.
const PAGE: usize = 1024;

/// What was found last of each key that differed.
#[derive(Default)]
pub(crate) struct Drifts(Mutex<BTreeMap<(TenantId, KeyId), (Drift, String)>>);

impl Drifts {
    /// Whether it was not found before.
    fn is_news(&self, tenant: TenantId, found: &Found) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (found.drift, found.what.clone());
        match known.entry((tenant, found.key_id)) {
            Occupied(mut before) => before.insert(now.clone()) != now,
            Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }

    /// The key is as it should be, or was not recorded.
    fn forget(&self, tenant: TenantId, key: KeyId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, key));
    }
}

/// Compares the store whose time has come, of those that are here, and records what it came to.
pub(crate) async fn reconcile<J: Journal>(custodian: &Custodian<J>, tenant: TenantId) -> Result<Recorded, Rejection> {
    let node = &custodian.ports.node;
    node.check_alarm(tenant)?;
    let view = node.view(tenant, Footprint::default()).map_err(unavailable)?;
    let now = node.check_clock(&view)?;
    let governance = view.governance()?;
    let here = governance.reconciliations().filter(|(_, store)| custodian.stores.has(store));
    let Some((_, name)) = here.filter(|(at, _)| *at <= now).min() else {
        return Rejection::new(ProblemType::NothingDue, "no store that is here is to be compared yet").err();
    };
    let store = custodian.stores.named(name).map_err(|problem| refusal(&problem))?.clone();
    let seen = look(&store, tenant).await.map_err(|problem| refusal(&problem))?;
    let mut report = CustodyReconciled {
        report: clock::command_id(),
        store: name.clone(),
        seen: seen.states.len() as u64,
        matched: 0,
        drifted: 0,
        unknown: 0,
        missing: 0,
        listing: seen.digest(),
        from: now,
        to: now,
    };
    let mut known = 0;
    let mut after = None;
    loop {
        let reader = node.clone();
        let page = tokio::task::spawn_blocking(move || reader.replica().keys(tenant, after, PAGE)).await;
        let page = page.map_err(unavailable)?.map_err(unavailable)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for key in page.iter().filter(|key| key.store == *name && is_of(key, &store)) {
            let listed = seen.states.contains_key(&key.id);
            known += u64::from(listed);
            let differs = differs(key, &seen) && is_otherwise(custodian, &store, tenant, key.id).await?;
            match (listed, differs) {
                (true, true) => report.drifted += 1,
                (true, false) => report.matched += 1,
                (false, true) => report.missing += 1,
                (false, false) => {}
            }
            if !differs {
                custodian.drifts.forget(tenant, key.id);
            }
        }
    }
    report.unknown = report.seen.saturating_sub(known);
    report.to = node.clock().now().max(now);
    node.record(tenant, ROLE, Input::Reconciled(report)).await
}

/// What a store shows of a tenant's keys; those that are destroyed aside.
struct Seen {
    states: BTreeMap<KeyId, KeyState>,
    behind: BTreeMap<KeyId, Found>,
}

impl Seen {
    /// Of the listing, as `custody.reconciled` defines it.
    fn digest(&self) -> Digest {
        let lines: String = self.states.iter().map(|(key, state)| format!("{key} {state}\n")).collect();
        Digest::of(lines.as_bytes())
    }
}

/// Has the store list, and look behind itself. The listing comes last: what came to be known on the chain before it is in it.
async fn look(store: &Store, tenant: TenantId) -> Result<Seen, Problem> {
    let store = store.clone();
    blocking(move || {
        let mut seen = Seen { states: BTreeMap::new(), behind: BTreeMap::new() };
        store.survey(tenant, None, &mut |found| drop(seen.behind.insert(found.key_id, found)))?;
        store.list(Some(tenant), &mut |Entry { key_id, held, .. }| {
            if !keystore::transition::is_destroyed(held.state) {
                seen.states.insert(key_id, held.state);
            }
            ControlFlow::Continue(())
        })?;
        Ok(seen)
    })
    .await
}

/// A store of the same name elsewhere has its own keys.
fn is_of(key: &Key, store: &Store) -> bool {
    key.seal_key.0 == store.seal_key()
}

/// Whether the listing has it otherwise than the chain, or something behind the store is otherwise.
fn differs(key: &Key, seen: &Seen) -> bool {
    let wanted = (!keystore::transition::is_destroyed(key.state)).then_some(key.state);
    seen.states.get(&key.id).copied() != wanted || seen.behind.contains_key(&key.id)
}

/// Looks again at a key that seemed otherwise, brings it back where that can be done, and records what was found.
async fn is_otherwise<J: Journal>(
    custodian: &Custodian<J>,
    store: &Store,
    tenant: TenantId,
    key_id: KeyId,
) -> Result<bool, Rejection> {
    let node = &custodian.ports.node;
    let view = node.view(tenant, Footprint::of_key(key_id)).map_err(unavailable)?;
    let key = view.key()?;
    // What the store is still being brought to is no drift.
    if !key.is_applied() {
        return Ok(false);
    }
    let (of, state, activated) = (store.clone(), key.state, key.activation.is_some());
    let found = blocking(move || again(&of, tenant, key_id, state)).await.map_err(|problem| refusal(&problem))?;
    let Some(found) = found else { return Ok(false) };
    let of = store.clone();
    let set_back = blocking(move || bring_back(&of, tenant, key_id, state, activated)).await.unwrap_or(false);
    error!(%tenant, %key_id, drift = %found.drift, set_back, "ALARM: the key store has a key otherwise: {}", found.what);
    if custodian.drifts.is_news(tenant, &found) {
        let recorded = record(node, store.name(), tenant, key, &found, set_back).await;
        if let Err(rejection) = &recorded {
            custodian.drifts.forget(tenant, key_id);
            warn!(%tenant, %key_id, %rejection, "that a store has a key otherwise is not recorded");
        }
        recorded?;
    }
    Ok(true)
}

/// What is otherwise, in the store's own record or behind it.
fn again(store: &Store, tenant: TenantId, key_id: KeyId, wanted: KeyState) -> Result<Option<Found>, keystore::Error> {
    let held = store.get(tenant, key_id)?.map(|held| held.state);
    if held != Some(wanted) {
        return Ok(Some(in_record(key_id, held, wanted)));
    }
    let mut found = None;
    store.survey(tenant, Some(key_id), &mut |one| found = (one.key_id == key_id).then_some(one).or(found.take()))?;
    // It can be used behind the store: no shadow, where the chain has it active.
    let shadow = |found: &Found| found.drift == Drift::ShadowActivation && wanted == KeyState::Active;
    Ok(found.map(|found| if shadow(&found) { Found { drift: Drift::State, ..found } } else { found }))
}

fn in_record(key_id: KeyId, held: Option<KeyState>, wanted: KeyState) -> Found {
    let (drift, what) = match held {
        None => (Drift::Missing, "the store does not know it".to_owned()),
        Some(KeyState::Active) => (Drift::ShadowActivation, format!("the store has it active; it is {wanted}")),
        Some(held) if keystore::transition::is_destroyed(held) => (Drift::Missing, format!("the store has it {held}")),
        Some(held) => (Drift::State, format!("the store has it {held}; it is {wanted}")),
    };
    Found { key_id, drift, what }
}

/// Brings the store back to the chain's state, as far as SP 800-57's transitions lead there, and what is behind it. Answers
/// whether nothing is otherwise any more.
fn bring_back(
    store: &Store,
    tenant: TenantId,
    key_id: KeyId,
    wanted: KeyState,
    activated: bool,
) -> Result<bool, keystore::Error> {
    let held = store.get(tenant, key_id)?.map(|held| held.state);
    if held.is_some() && held != Some(wanted) {
        for step in transition::path(held, activated, wanted) {
            store.apply(tenant, key_id, step)?;
        }
    }
    store.set_back(tenant, key_id)?;
    Ok(again(store, tenant, key_id, wanted)?.is_none())
}

async fn record<J: Journal>(
    node: &Node<J>,
    store: &Name,
    tenant: TenantId,
    key: &Key,
    found: &Found,
    set_back: bool,
) -> Result<Recorded, Rejection> {
    let said = found.what.parse::<Text>().or_else(|_| "more than can be said here".parse());
    let drifted = CustodyDrifted {
        report: clock::command_id(),
        key_id: key.id,
        store: store.clone(),
        drift: found.drift,
        found: said.map_err(unavailable)?,
        set_back,
        seen_at: node.clock().now(),
        cause: key.transition,
    };
    node.record(tenant, ROLE, Input::Drifted(drifted)).await
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}

fn refusal(problem: &Problem) -> Rejection {
    Rejection::new(problem.kind().unwrap_or(ProblemType::Unavailable), &problem.detail)
}

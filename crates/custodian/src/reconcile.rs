//! No side doors: what each store really has is compared with the verified chain, as often as the policy says.
//!
//! A store lists its own keys, and says what stands behind it that is not as it left it (somebody turned a key on, moved a
//! date, removed it). A key that differs is looked at again before it is reported, for the chain goes on meanwhile, and while
//! it is looked at nothing else changes it; where the store can be brought back it is, and what was seen is recorded either
//! way. What the chain already has as the key's last drift is not recorded again, unless it was as it should be in between.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use journal::Journal;
use keystore::{Entry, Found};
use lifecycle::state::Key;
use lifecycle::{Footprint, Input, Rejection, transition};
use model::event::{CustodyDrifted, CustodyReconciled};
use model::evidence::Drift;
use model::{Digest, KeyId, KeyState, Name, Problem, ProblemType, Span, TenantId, Text, Timestamp};
use service::{Recorded, clock};
use tracing::{error, warn};

use crate::stores::Store;
use crate::{Custodian, ROLE, blocking};

/// How many keys are read from the replica at once.
const PAGE: usize = 1024;
/// How many keys that seem otherwise are looked at again in one comparison: a second look may go through a whole token. The
/// others are counted, and looked at when these are known.
const SECOND_LOOKS: u32 = 64;
/// How old a key must be to count as unknown to the chain: its birth is recorded a moment after the store has it.
const NEWBORN_FOR: Span = Span::from_secs(600);

/// The keys that were as they should be, after a drift of theirs was recorded.
#[derive(Default)]
pub(crate) struct Drifts(Mutex<BTreeSet<(TenantId, KeyId)>>);

impl Drifts {
    /// The key is as it should be.
    fn is_well(&self, tenant: TenantId, key: &Key) {
        if key.last_drift.is_some() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((tenant, key.id));
        }
    }

    /// Whether what was found is not what the chain has of the key already.
    fn is_news(&self, tenant: TenantId, key: &Key, drift: Drift, found: &Text) -> bool {
        let was_well = self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(tenant, key.id));
        // Being usable is a shadow activation or another state by what the chain says, which changes with it.
        let same = |one: Drift, other: Drift| {
            let usable = |drift| matches!(drift, Drift::ShadowActivation | Drift::State);
            one == other || (usable(one) && usable(other))
        };
        was_well || !key.last_drift.as_ref().is_some_and(|last| same(last.drift, drift) && last.found == *found)
    }

    fn recorded(&self, tenant: TenantId, key: KeyId, set_back: bool) {
        let mut well = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if set_back {
            well.insert((tenant, key));
        } else {
            well.remove(&(tenant, key));
        }
    }
}

/// Compares the stores whose time has come, of those that are here, the one that waits longest first, and records what the
/// first that could be compared came to. One that is away holds up no other.
pub(crate) async fn reconcile<J: Journal>(custodian: &Custodian<J>, tenant: TenantId) -> Result<Recorded, Rejection> {
    let node = &custodian.ports.node;
    node.check_alarm(tenant)?;
    node.catch_up(tenant).await.map_err(unavailable)?;
    let view = node.view(tenant, Footprint::default()).map_err(unavailable)?;
    let now = node.check_clock(&view)?;
    let here = view.governance()?.reconciliations().filter(|(_, store)| custodian.stores.has(store));
    let mut due: Vec<(Timestamp, &Name)> = here.filter(|(at, _)| *at <= now).collect();
    due.sort();
    let mut refused = Rejection::new(ProblemType::NothingDue, "no store that is here is to be compared yet");
    for (_, name) in due {
        match compare(custodian, tenant, name, now).await {
            Ok(report) => return node.record(tenant, ROLE, Input::Reconciled(report)).await,
            Err(rejection) => {
                warn!(%tenant, store = %name, %rejection, "the store can't be compared with the chain");
                refused = rejection;
            }
        }
    }
    refused.err()
}

async fn compare<J: Journal>(
    custodian: &Custodian<J>,
    tenant: TenantId,
    name: &Name,
    now: Timestamp,
) -> Result<CustodyReconciled, Rejection> {
    let node = &custodian.ports.node;
    let store = custodian.stores.named(name).map_err(|problem| refusal(&problem))?;
    let mut seen = look(&store, tenant).await.map_err(|problem| refusal(&problem))?;
    let mut report = CustodyReconciled {
        report: clock::command_id(),
        store: name.clone(),
        seen: 0,
        matched: 0,
        drifted: 0,
        unknown: 0,
        missing: 0,
        listing: Digest::of(b""),
        from: now,
        to: now,
    };
    let (mut known, mut after, mut looks, mut failed) = (BTreeSet::new(), None, 0, None);
    loop {
        let reader = node.clone();
        let page = tokio::task::spawn_blocking(move || reader.replica().keys(tenant, after, PAGE)).await;
        let page = page.map_err(unavailable)?.map_err(unavailable)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for key in page.iter().filter(|key| key.store == *name && is_of(key, &store)) {
            let listed = seen.states.contains_key(&key.id);
            if listed {
                known.insert(key.id);
            }
            let mut otherwise = differs(key, &seen);
            if otherwise && seen.finds_what_is_known(custodian, tenant, key) {
                // It is on the chain, and as it was.
            } else if otherwise && looks < SECOND_LOOKS {
                looks += 1;
                match is_otherwise(custodian, &store, tenant, key.id).await {
                    Ok(is_so) => otherwise = is_so,
                    // The others are compared all the same; the store then counts as not compared.
                    Err(rejection) => failed = Some(rejection),
                }
            } else if !otherwise {
                custodian.drifts.is_well(tenant, key);
            }
            match (listed, otherwise) {
                (true, true) => report.drifted += 1,
                (true, false) => report.matched += 1,
                (false, true) => report.missing += 1,
                (false, false) => {}
            }
        }
    }
    if let Some(rejection) = failed {
        return rejection.err();
    }
    seen.leave_out_newborn(&known, now);
    report.seen = seen.states.len() as u64;
    report.unknown = report.seen.saturating_sub(known.len() as u64);
    report.listing = seen.digest();
    report.to = node.clock().now().max(now);
    Ok(report)
}

/// What a store shows of a tenant's keys; those that are destroyed aside.
struct Seen {
    states: BTreeMap<KeyId, KeyState>,
    /// The worst of what was found of each key.
    behind: BTreeMap<KeyId, Found>,
}

impl Seen {
    /// Of the listing, as `custody.reconciled` defines it.
    fn digest(&self) -> Digest {
        let lines: String = self.states.iter().map(|(key, state)| format!("{key} {state}\n")).collect();
        Digest::of(lines.as_bytes())
    }

    fn take(&mut self, found: Found) {
        if self.behind.get(&found.key_id).is_none_or(|worst| found.drift < worst.drift) {
            self.behind.insert(found.key_id, found);
        }
    }

    /// Whether what was found behind the store is what the chain has of the key already: it needs no second look.
    fn finds_what_is_known<J: Journal>(&self, custodian: &Custodian<J>, tenant: TenantId, key: &Key) -> bool {
        let as_listed = self.states.get(&key.id) == Some(&key.state);
        let found = self.behind.get(&key.id).filter(|_| as_listed && key.is_applied());
        let said = found.and_then(|found| Some((found.drift, found.what.parse::<Text>().ok()?)));
        said.is_some_and(|(drift, said)| !custodian.drifts.is_news(tenant, key, drift, &said))
    }

    /// Leaves out what the chain does not know and may just be being born.
    fn leave_out_newborn(&mut self, known: &BTreeSet<KeyId>, now: Timestamp) {
        self.states.retain(|key, _| known.contains(key) || now - made_at(*key) >= NEWBORN_FOR);
    }
}

/// Has the store list, and look behind itself. The listing comes last: what came to be known on the chain before it is in it.
async fn look(store: &Store, tenant: TenantId) -> Result<Seen, Problem> {
    let store = store.clone();
    blocking(move || {
        let mut seen = Seen { states: BTreeMap::new(), behind: BTreeMap::new() };
        store.survey(tenant, None, &mut |found| seen.take(found))?;
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

/// Looks again at a key that seemed otherwise, while nothing else changes it; brings it back where that can be done, and
/// records what was found. Where the chain has gone on meanwhile, it is for the next comparison.
async fn is_otherwise<J: Journal>(
    custodian: &Custodian<J>,
    store: &Store,
    tenant: TenantId,
    key_id: KeyId,
) -> Result<bool, Rejection> {
    let node = &custodian.ports.node;
    let _changing = custodian.changing.key(key_id).await;
    let Some(key) = settled(custodian, tenant, key_id)? else { return Ok(false) };
    let (of, state, activated) = (store.clone(), key.state, key.activation.is_some());
    let found = blocking(move || again(&of, tenant, key_id, state)).await.map_err(|problem| refusal(&problem))?;
    let Some(found) = found else {
        custodian.drifts.is_well(tenant, &key);
        return Ok(false);
    };
    node.catch_up(tenant).await.map_err(unavailable)?;
    if settled(custodian, tenant, key_id)?.is_none_or(|now| now.transition != key.transition) {
        return Ok(false);
    }
    let of = store.clone();
    let set_back = blocking(move || bring_back(&of, tenant, key_id, state, activated)).await.unwrap_or(false);
    let said = found.what.parse::<Text>().or_else(|_| "more than can be said here".parse()).map_err(unavailable)?;
    if !custodian.drifts.is_news(tenant, &key, found.drift, &said) {
        return Ok(true);
    }
    error!(%tenant, %key_id, drift = %found.drift, set_back, "ALARM: the key store has a key otherwise: {}", found.what);
    let drifted = CustodyDrifted {
        report: clock::command_id(),
        key_id,
        store: store.name().clone(),
        drift: found.drift,
        found: said,
        set_back,
        seen_at: node.clock().now(),
        cause: key.transition,
    };
    match node.record(tenant, ROLE, Input::Drifted(drifted)).await {
        // Brought back, it is as it should be: found again, it is news.
        Ok(_) => custodian.drifts.recorded(tenant, key_id, set_back),
        // The key has another state by now: it is for the next comparison.
        Err(rejection) if rejection.problem == ProblemType::StateChanged => return Ok(false),
        Err(rejection) => return Err(rejection),
    }
    Ok(true)
}

/// A key as the chain has it; `None` where the store is still being brought there, which is no drift.
fn settled<J: Journal>(custodian: &Custodian<J>, tenant: TenantId, key: KeyId) -> Result<Option<Key>, Rejection> {
    let view = custodian.ports.node.view(tenant, Footprint::of_key(key)).map_err(unavailable)?;
    Ok(Some(view.key()?.clone()).filter(Key::is_applied))
}

/// What is otherwise, in the store's own record or behind it.
fn again(store: &Store, tenant: TenantId, key_id: KeyId, wanted: KeyState) -> Result<Option<Found>, keystore::Error> {
    let held = store.get(tenant, key_id)?.map(|held| held.state);
    if held != Some(wanted) {
        return Ok(Some(in_record(key_id, held, wanted)));
    }
    let mut all = Vec::new();
    store.survey(tenant, Some(key_id), &mut |one| all.extend((one.key_id == key_id).then_some(one)))?;
    // The worst of them: that it can be used.
    let found = all.into_iter().min_by_key(|found| found.drift);
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

/// When a key's id was made, as a UUIDv7 says (RFC 9562, 5.7).
fn made_at(key: KeyId) -> Timestamp {
    let millis = key.as_bytes().iter().take(6).fold(0_i64, |millis, byte| (millis << 8) | i64::from(*byte));
    Timestamp::from_unix_millis(millis)
}

fn unavailable(error: impl std::fmt::Display) -> Rejection {
    Rejection::new(ProblemType::Unavailable, error)
}

fn refusal(problem: &Problem) -> Rejection {
    Rejection::new(problem.kind().unwrap_or(ProblemType::Unavailable), &problem.detail)
}

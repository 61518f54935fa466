//! Key stores: that all of them do what the chain says, and which they are (points 5, 13).

use std::collections::BTreeMap;

use model::{Digest, EventType, Name};

use super::activation::unfollowed;
use super::{About, ControlTest, FOLLOWS_WITHIN, Fault, Scope, Test, counted};
use crate::history::{At, KeyLife, RecordedComparison, RegisteredStore};

const NO_STORES: &str = "No key store had a key in the period.";
const STORES: &str = "key stores that had keys in the period";
const LISTED: &str = "stores.csv where used_in_period is yes";

/// Point 5.
pub(super) fn consistent(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.05",
        About {
            title: "All key stores are under the same control",
            statement: "In every key store that had keys in the period, each change of a key's state followed the chain, \
                        and the custodian confirmed it in time.",
            source: "AICM auditing guideline 5",
            method: "Every change of state in the period is joined with the custody.applied that follows it, store by \
                     store; one that is late or not there is an exception of its store. A custodian's word that does not \
                     stand is one, too: a store has something else than the chain says.",
            of: STORES,
            listed_in: LISTED,
        },
    );
    for keys in scope.stores().into_values() {
        let changes = keys.into_iter().flat_map(|key| key.steps.iter().map(move |step| (key, step)));
        let changes = changes.filter(|(_, step)| scope.has(&step.at));
        test.item(changes.filter_map(|(key, step)| unfollowed(scope, key, &step.at)));
    }
    let void = scope.attempts().filter(|attempt| attempt.event_type == Some(EventType::CustodyApplied));
    test.against(void.map(|attempt| Fault::of_attempt(scope.history, attempt)));
    let lags = scope.existed().flat_map(|key| {
        let followed = |at: &At| key.custody_after(at).map(|custody| custody.at.time - at.time);
        let steps = key.steps.iter().filter(|step| scope.has(&step.at));
        steps.filter_map(move |step| Some((followed(&step.at)?, key)))
    });
    if let Some((lag, key)) = lags.max_by_key(|(lag, _)| *lag) {
        test.remark(format!("The slowest confirmation took {lag} (`{}`, key `{}`).", key.store, key.spec.label));
    }
    for gap in scope.history.policies.last().iter().flat_map(|policy| &policy.gaps) {
        test.remark(format!("By the policy in force {gap}: such keys can be neither generated nor activated."));
    }
    test.done(NO_STORES)
}

/// Point 13.
pub(super) fn identified(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.13",
        About {
            title: "Key management servers and key databases are identified",
            statement: "Every key store that had keys in the period is one store, and its server and database are \
                        registered.",
            source: "CCM CEK-15, the key management server and the key storage database are identified",
            method: "Each store that keys name is looked up among the stores that an admin quorum registered \
                     (store.registered); where none is registered at all, there is no evidence. The keys to which stores \
                     have input sealed tell one store from another of the same name.",
            of: STORES,
            listed_in: LISTED,
        },
    );
    let any = !scope.history.stores.is_empty();
    for (store, keys) in scope.stores() {
        let registered = scope.history.registered(store);
        let unknown = keys.iter().map(|key| key.created).min().filter(|_| any && registered.is_none());
        let unknown = unknown.map(|first| {
            let what = format!("`{store}` is not registered: neither its server nor its database is known");
            Fault::of_name("not-registered", store, vec![first], what)
        });
        test.item(unknown.into_iter().chain(two_in_one(&keys)));
        if let Some(RegisteredStore { store: known, .. }) = registered {
            let accounts = known.privileged_accounts.len();
            test.remark(format!(
                "`{store}` ({}) is {}, with its keys in {}; {} could reach them past Keylatch.",
                known.kind,
                known.server,
                known.database,
                counted(accounts, "named account", "named accounts")
            ));
        }
    }
    test.remark("What stands behind a name is the admins' word, signed when they registered it.");
    if test.test.population.count > 0 && !any {
        return test.insufficient("No key store is registered.");
    }
    test.done(NO_STORES)
}

/// Stores hold what the chain says, as they list it themselves.
pub(super) fn reconciled(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "custody",
        About {
            title: "Key stores hold what the chain says",
            statement: "Every comparison of a key store with the chain in the period found its keys as the chain has them, \
                        and each store that had keys was compared as often as the policy asks.",
            source: "CEK-15, technical measures are evaluated; design, no side doors",
            method: "The comparisons that custodians report (custody.reconciled) are counted; one that found keys otherwise, missing or \
                     unknown to the chain is an exception, and so is each key that a store had otherwise \
                     (custody.drifted), set back or not, and a comparison that came late or is overdue. What a store lists is the \
                     custodian's word.",
            of: "comparisons of key stores in the period",
            listed_in: "governance.csv where type is custody.reconciled and in_period is yes",
        },
    );
    for compared in scope.history.comparisons.iter().filter(|compared| scope.has(&compared.at)) {
        test.item(otherwise(compared));
    }
    test.against(scope.history.drifts.iter().filter(|drifted| scope.has(&drifted.at)).map(|drifted| {
        let after = if drifted.set_back { "; it was set back" } else { "" };
        let what = format!("`{}` had it otherwise ({}): {}{after}", drifted.store, drifted.drift, drifted.found);
        Fault::of_event(drifted.drift.name(), scope.history.keys.get(&drifted.key_id), drifted.at, what)
    }));
    test.against(uncompared(scope));
    let asked = scope.history.policies.last().is_some_and(|policy| policy.reconciles_every.is_some());
    if test.test.population.count == 0 && !asked {
        return test.insufficient("The policy asks for no comparison of stores with the chain, and none was made.");
    }
    test.done("No comparison was due in the period.")
}

/// What a comparison has against its store: a difference that was recorded before its period is one all the same.
fn otherwise(compared: &RecordedComparison) -> Vec<Fault<'_>> {
    let RecordedComparison { at, store, drifted, unknown, missing, .. } = compared;
    let fault = |reason, what: String| Fault::of_name(reason, store, vec![*at], format!("`{store}` {what}"));
    let mut faults = Vec::new();
    if *unknown > 0 {
        faults.push(fault("unknown-keys", format!("has {} that the chain does not know", keys(*unknown))));
    }
    if drifted.saturating_add(*missing) > 0 {
        faults.push(fault("differs", format!("has {} otherwise, and {} not at all", keys(*drifted), keys(*missing))));
    }
    faults
}

fn keys(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "key", "keys")
}

/// Stores with keys whose comparison was late, or is overdue, since the policy in force has asked for it.
fn uncompared(scope: Scope<'_>) -> Vec<Fault<'_>> {
    let Some(policy) = scope.history.policies.last() else { return Vec::new() };
    let Some(every) = policy.reconciles_every else { return Vec::new() };
    // Since the policy has asked for it without a break.
    let asking = scope.history.policies.iter().rev().take_while(|policy| policy.reconciles_every.is_some());
    let asked = asking.last().map_or(policy.at, |policy| policy.at);
    let of_store = |(store, keys): (&Name, Vec<&KeyLife>)| {
        let Some(known) = keys.iter().map(|key| key.created).min() else { return Vec::new() };
        let mut since = known.max(asked);
        let mut faults = Vec::new();
        for compared in scope.history.comparisons.iter().filter(|compared| compared.store == *store) {
            let due = since.time + every;
            if compared.at.time > due + FOLLOWS_WITHIN && scope.has(&compared.at) {
                let what = format!("`{store}` was to be compared with the chain by {due}");
                faults.push(Fault::of_name("late", format!("{store} {due}"), vec![since, compared.at], what));
            }
            since = since.max(compared.at);
        }
        let due = since.time + every;
        let what = format!("`{store}` was to be compared with the chain by {due}");
        let overdue =
            scope.is_over(due).then(|| Fault::of_name("overdue", format!("{store} {due}"), vec![since], what));
        faults.into_iter().chain(overdue).collect()
    };
    scope.stores().into_iter().flat_map(of_store).collect()
}

/// Stores that go by one name.
fn two_in_one<'a>(keys: &[&'a KeyLife]) -> Option<Fault<'a>> {
    let mut first: BTreeMap<Digest, &KeyLife> = BTreeMap::new();
    for key in keys {
        let held = first.entry(key.seal_key).or_insert(key);
        if key.created.sequence < held.created.sequence {
            *held = key;
        }
    }
    let store = &keys.first()?.store;
    let mut events: Vec<At> = first.values().map(|key| key.created).collect();
    events.sort();
    let what = format!("{} stores go by the name `{store}`: it was replaced, or there are several", first.len());
    (first.len() > 1).then(|| Fault::of_name("several", store, events, what))
}

//! How keys come into being: pre-active, kept apart, on whose word, with which attributes (points 1, 2, 12, 14).

use std::collections::{BTreeMap, BTreeSet};

use model::event::{Deadline, Inventory};
use model::{EventType, KeyState, Name};

use super::scope::wrapping_keys;
use super::{About, ControlTest, FOLLOWS_WITHIN, Fault, Scope, Test, counted};
use crate::history::{At, KeyLife};

const NONE_GENERATED: &str = "No key was generated in the period.";

/// Point 1.
pub(super) fn pre_active(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.01",
        About {
            title: "Keys are born pre-active",
            statement: "Every key that was generated in the period was pre-active at its birth, and came into use by an \
                        activation that people had approved, or not at all.",
            source: "AICM auditing guideline 1",
            method: "Each key's states are followed from its key.generated on. The first must be pre-active; the first \
                     active one must be a key.activated with approvals. A key.generated that does not stand is an \
                     exception: a key that the rules do not accept was to be brought in.",
            of: "keys generated in the period",
            listed_in: "keys.csv where generated_in_period is yes",
        },
    );
    for key in scope.generated() {
        test.item(came_into_use(key));
    }
    let void = scope.attempts().filter(|attempt| attempt.event_type == Some(EventType::KeyGenerated));
    test.against(void.map(|attempt| Fault::of_attempt(scope.history, attempt)));
    let standing = scope.generated().flat_map(|key| &key.activations);
    let standing = standing.filter(|activation| activation.mode == model::event::ActivationMode::Standing).count();
    if standing > 0 {
        let keys = counted(standing, "key was", "keys were");
        test.remark(format!(
            "{keys} activated under a standing authorisation: people had approved the kind, not the key."
        ));
    }
    test.done(NONE_GENERATED)
}

fn came_into_use(key: &KeyLife) -> Vec<Fault<'_>> {
    let mut faults = Vec::new();
    if key.steps.first().is_none_or(|step| step.state != KeyState::PreActive) {
        faults.push(Fault::of_key("born-otherwise", key, vec![key.created], "it was not pre-active at its birth"));
    }
    let first_use = key.steps.iter().find(|step| step.state == KeyState::Active);
    let activation = key.activations.first();
    if let Some(step) = first_use.filter(|step| activation.is_none_or(|activation| activation.at != step.at)) {
        faults.push(Fault::of_key("not-activated", key, vec![step.at], "it became active by no activation"));
    }
    if let Some(activation) = activation.filter(|activation| activation.approvals.is_empty()) {
        faults.push(Fault::of_key("not-approved", key, vec![activation.at], "nobody had approved its activation"));
    }
    faults
}

/// Point 2.
pub(super) fn kept_apart(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.02",
        About {
            title: "Pre-active keys are kept apart",
            statement: "Every key that waited in the period was in its store's pre-active inventory, under a wrapping key \
                        that guards no active key, and nowhere else until its activation.",
            source: "AICM auditing guideline 2",
            method: "The custodian's custody.applied say in which inventory, under which wrapping key, a key was before \
                     and after each change. Each key that waited must have been confirmed in the pre-active inventory, \
                     and must not have been in the active one before its activation; and no wrapping key may stand for \
                     both inventories of a store.",
            of: "keys that were pre-active at some time of the period",
            listed_in: "keys.csv where waited_in_period is yes",
        },
    );
    let mut stores: BTreeMap<&Name, Vec<&KeyLife>> = BTreeMap::new();
    scope.history.keys.values().for_each(|key| stores.entry(&key.store).or_default().push(key));
    let active: BTreeMap<&Name, BTreeSet<&Name>> =
        stores.iter().map(|(store, keys)| (*store, wrapping_keys(keys, Inventory::Active))).collect();
    for key in scope.waited() {
        test.item(apart(scope, key, active.get(&key.store)));
    }
    test.remark("Where a key lies is the custodian's word: nobody else can see into its store.");
    let confirmed = scope.history.keys.values().any(|key| !key.custody.is_empty());
    match test.test.population.count {
        count if count > 0 && !confirmed => test.insufficient("No custodian has said where any key is."),
        _ => test.done("No key was pre-active in the period."),
    }
}

fn apart<'a>(scope: Scope<'a>, key: &'a KeyLife, active: Option<&BTreeSet<&Name>>) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let left = key.left_pre_activation().map(|step| step.at);
    let waiting = key.custody.iter().filter(|custody| left.is_none_or(|left| custody.at.sequence < left.sequence));
    let places: Vec<(At, Inventory, &Name)> =
        waiting.filter_map(|custody| custody.after.as_ref().map(|(place, name)| (custody.at, *place, name))).collect();
    if let Some((at, ..)) = places.iter().find(|(_, place, _)| *place == Inventory::Active) {
        faults.push(Fault::of_key("in-active-inventory", key, vec![key.created, *at], "it waited among active keys"));
    }
    let known_by = left.map_or(scope.period.until, |left| left.time);
    if places.is_empty() && key.created.time + FOLLOWS_WITHIN <= known_by {
        let what = "no custodian has confirmed where it was kept while it waited";
        faults.push(Fault::of_key("unconfirmed", key, vec![key.created], what));
    }
    let told = places.iter().find(|(_, _, name)| active.is_some_and(|active| active.contains(name)));
    let born = key.born_under.as_ref().filter(|name| active.is_some_and(|active| active.contains(name)));
    let shared = told.map(|(at, _, name)| (*at, *name)).or(born.map(|name| (key.created, name)));
    if let Some((at, name)) = shared {
        let what = format!("it waited under `{name}`, which guards active keys of `{}` as well", key.store);
        faults.push(Fault::of_key("same-wrapping-key", key, vec![at], what));
    }
    faults
}

/// Point 12.
pub(super) fn creators(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.12",
        About {
            title: "Who may have keys generated",
            statement: "Every key that was generated in the period was asked for by somebody enrolled in a role that the \
                        policy then in force lets create keys, and who holds such roles was reviewed in time.",
            source: "CCM CEK-15, access and permissions around key creation",
            method: "The signer of each key.generate is looked up among the people enrolled at that moment, and their \
                     roles in the policy. Access reviews that were missed (deadline.missed) or are overdue are exceptions. \
                     Where none is asked for and none was signed, whether the right people hold the roles is not in \
                     evidence.",
            of: "keys generated in the period",
            listed_in: "keys.csv where generated_in_period is yes",
        },
    );
    for key in scope.generated() {
        let what = format!("{} held no role that may create keys", scope.history.label(key.created_by));
        let fault = Fault::of_key("not-a-creator", key, vec![key.created], what);
        test.item(key.creator_role.is_none().then_some(fault));
    }
    let missed = scope.history.missed.iter().filter(|missed| missed.what.deadline == Deadline::AccessReview);
    test.against(missed.filter(|missed| scope.has(&missed.at)).map(|missed| {
        let what = format!("the access review due by {} was missed", missed.what.at);
        Fault::of_event("access-review-missed", None, missed.at, what)
    }));
    let workloads = scope.generated().filter(|key| !scope.history.is_person(key.created_by)).count();
    if workloads > 0 {
        test.remark(format!("{} asked for by a workload.", counted(workloads, "key was", "keys were")));
    }
    let asked = scope.history.policies.last().is_some_and(|policy| policy.reviews_access);
    if test.test.population.count > 0 && !asked && scope.history.access_reviews.is_empty() {
        return test.insufficient(
            "The policy asks for no access review, and none was signed: that the right people hold the roles is not in \
             evidence.",
        );
    }
    test.done(NONE_GENERATED)
}

/// Point 14.
pub(super) fn attributes(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.14",
        About {
            title: "Key attributes are appropriate",
            statement: "Every key that there was in the period names who answers for it, is used no longer than its \
                        algorithm's crypto period and its own end, and has taken over from the key that it replaces.",
            source: "CCM CEK-15, key attributes: activation data, instance, deletion ability, rollover",
            method: "Attributes are read from key.generated, dates from key.activated. A key that is active past its end, \
                     or beside its successor, at the end of the period is an exception, and so is one that names nobody.",
            of: "keys that were not destroyed before the period",
            listed_in: "keys.csv where existed_in_period is yes",
        },
    );
    for key in scope.existed() {
        test.item(unfit(scope, key));
    }
    let with = |which: fn(&model::key::Attributes) -> bool| {
        scope.existed().filter(|key| key.spec.attributes.as_ref().is_some_and(which)).count()
    };
    let exportable = with(|attributes| attributes.exportable);
    let kept = with(|attributes| !attributes.deletable);
    if exportable + kept > 0 {
        let keys = counted(exportable, "key is", "keys are");
        test.remark(format!("{keys} exportable, and {kept} can't be deleted by people: the policy allows it."));
    }
    test.done("There was no key in the period.")
}

fn unfit<'a>(scope: Scope<'a>, key: &'a KeyLife) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    if key.spec.owner.is_none() {
        faults.push(Fault::of_key("no-owner", key, vec![key.created], "it names nobody who answers for it"));
    }
    for activation in &key.activations {
        if !activation.within_crypto_period {
            let what = format!("it may be used until {}, past its crypto period", activation.deactivate_at);
            faults.push(Fault::of_key("crypto-period", key, vec![activation.at], what));
        }
        if matches!(key.state(), KeyState::Active | KeyState::Suspended) && scope.is_over(activation.deactivate_at) {
            let what = format!("its use was to end at {}, and nobody has ended it", activation.deactivate_at);
            faults.push(Fault::of_key("past-its-end", key, vec![activation.at], what));
        }
    }
    let replaced = key.spec.attributes.as_ref().and_then(|attributes| attributes.replaces);
    let replaced = replaced.and_then(|id| scope.history.keys.get(&id));
    if let Some(old) = replaced.filter(|old| old.state() == KeyState::Active && key.state() == KeyState::Active) {
        let what = format!("`{}`, which it replaces, is still active beside it", old.spec.label);
        let events = key.activations.iter().chain(&old.activations).map(|activation| activation.at).collect();
        faults.push(Fault::of_key("predecessor-active", key, events, what));
    }
    faults
}

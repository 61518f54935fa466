//! Those upstream and downstream of a key (point 10).

use std::collections::BTreeSet;

use model::KeyState;
use model::key::Party;

use super::{About, ControlTest, Fault, Scope, Test, counted};
use crate::history::{Activation, At, KeyLife};

/// Point 10.
pub(super) fn coordinated(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.10",
        About {
            title: "Activation is coordinated with those upstream and downstream",
            statement: "Every activation in the period of a key that another wraps, that others consume, or whose duty \
                        several parties share, rests on the activation of the one above, on the word of each consumer, \
                        and on the approval of each party; and no such key is active under one that is not.",
            source: "AICM auditing guideline 10",
            method: "Each such key.activated is read for its parent's activation and the consumers' acknowledgements, and \
                     its approvals for the parties that the approvers act for. At the end of the period the states of \
                     parents and their keys are compared.",
            of: "activations in the period of keys with parents, consumers or several parties",
            listed_in: "activations.csv where in_period is yes and coordinated is yes",
        },
    );
    for (key, activation) in scope.activations().filter(|(key, activation)| scope.is_coordinated(key, activation)) {
        test.item(uncoordinated(scope, key, activation));
    }
    let unattested = scope
        .activations()
        .filter(|(_, activation)| scope.request(activation).is_some_and(|request| !request.attested));
    let unattested = unattested.count();
    if unattested > 0 {
        let activations = counted(unattested, "activation was", "activations were");
        test.remark(format!("{activations} asked for without naming the custodian's attestation of the store."));
    }
    test.remark("Keys that wrap or consumers that nobody named can't be seen.");
    test.done(
        "No key that was activated in the period names a key that wraps it or a consumer, or is shared by parties.",
    )
}

fn uncoordinated<'a>(scope: Scope<'a>, key: &'a KeyLife, activation: &'a Activation) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let mut against = |reason, events: Vec<At>, what: String| faults.push(Fault::of_key(reason, key, events, what));
    if key.spec.wrapped_by.is_some() && activation.parent.is_none() {
        against("no-parent", vec![activation.at], "it rests on no activation of the key that wraps it".into());
    }
    let consumers = scope.request(activation).map_or(0, |request| request.consumers.len());
    if activation.acknowledged < consumers {
        let what = format!("{} of {consumers} consumers had acknowledged it", activation.acknowledged);
        against("not-acknowledged", vec![activation.at], what);
    }
    for party in missing_parties(scope, key, activation) {
        against("party-missing", vec![activation.at], format!("nobody of the {party} approved it"));
    }
    let parent = key.spec.parent_here().and_then(|parent| scope.history.keys.get(&parent));
    if let Some(parent) = parent.filter(|parent| key.state() == KeyState::Active && parent.state() != KeyState::Active)
    {
        let since = parent.steps.last().map(|step| step.at);
        let what = format!("it is active, and `{}`, which wraps it, is {}", parent.spec.label, parent.state());
        against("parent-not-active", since.into_iter().chain([activation.at]).collect(), what);
    }
    faults
}

/// The parties whose duty a shared key is too, and of whom nobody approved.
fn missing_parties(scope: Scope<'_>, key: &KeyLife, activation: &Activation) -> Vec<Party> {
    let parties = key.spec.responsibility.parties();
    if parties.len() < 2 {
        return Vec::new();
    }
    let whose = activation.approvals.iter().map(|approval| approval.on_behalf_of.unwrap_or(approval.by));
    let people = whose.filter_map(|who| scope.history.people.get(&who));
    let present: BTreeSet<Party> = people.filter_map(|person| person.principal.party).collect();
    parties.iter().filter(|party| !present.contains(party)).copied().collect()
}

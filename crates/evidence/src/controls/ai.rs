//! Keys for AI workloads beside all others (point 9).

use std::collections::BTreeMap;

use model::{KeyId, KeyState};

use super::{About, Comparison, ControlTest, Fault, Outcome, Scope, Test};
use crate::history::{Activation, At, KeyLife};

/// The tests whose exceptions about a key show that it did not follow the same controls.
const SAME: [&str; 8] =
    ["CEK-15.01", "CEK-15.02", "CEK-15.03", "CEK-15.04", "CEK-15.06", "CEK-15.07", "CEK-15.08", "CEK-15.15"];

/// Point 9. `others` are the tests that were made.
pub(super) fn alike(scope: Scope<'_>, others: &[ControlTest]) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.09",
        About {
            title: "Keys for AI workloads are under the same controls",
            statement: "Every key for an AI workload that there was in the period went the same way as all others: none is \
                        an exception of the tests of that way, and none was activated on fewer approvals than the least \
                        that general keys needed.",
            source: "AICM auditing guideline 9",
            method: "A key is for an AI workload by its layer (model, orchestrated) or its kind of work (model-storage, \
                     inference-protection, prompt-handling). Such keys are looked up among the exceptions of points 1 to \
                     4, 6 to 8 and 15, and their activations are compared with those of general keys in the period.",
            of: "keys for AI workloads that were not destroyed before the period",
            listed_in: "keys.csv where ai is yes and existed_in_period is yes",
        },
    );
    let mut found: BTreeMap<KeyId, (Vec<&str>, Vec<At>)> = BTreeMap::new();
    for other in others.iter().filter(|other| SAME.contains(&other.id.as_str())) {
        for exception in &other.exceptions {
            let Some(key) = exception.key_id else { continue };
            let (ids, events) = found.entry(key).or_default();
            ids.push(&other.id);
            events.extend(&exception.events);
        }
    }
    let general = scope.activations().filter(|(key, _)| !key.spec.is_for_ai());
    let least = general.map(|(_, activation)| activation.needed).min();
    for key in scope.existed().filter(|key| key.spec.is_for_ai()) {
        let elsewhere = found.remove(&key.id).map(|(mut ids, events)| {
            ids.dedup();
            Fault::of_key("exception", key, events, format!("it is an exception of {}", ids.join(", ")))
        });
        let weaker = key.activations.iter().filter(|activation| scope.has(&activation.at));
        let weaker = weaker.filter_map(|activation| fewer(key, activation, least?));
        test.item(elsewhere.into_iter().chain(weaker));
    }
    test.remark(
        "What a key is for is its creator's word: one that protects a model and does not say so counts as general.",
    );
    let general = scope.existed().any(|key| !key.spec.is_for_ai());
    if test.test.population.count > 0 && !general {
        return test.insufficient("There was no general key in the period to compare them with.");
    }
    test.done("There was no key for an AI workload in the period.")
}

fn fewer<'a>(key: &'a KeyLife, activation: &Activation, least: u32) -> Option<Fault<'a>> {
    let needed = activation.needed;
    let what = format!("its rule asked for {needed} approvals, where general keys needed {least} at least");
    (needed < least).then(|| Fault::of_key("fewer-approvals", key, vec![activation.at], what))
}

/// A figure of some keys.
type Figure = fn(Scope<'_>, &[&KeyLife]) -> String;

const FIGURES: [(&str, Figure); 9] = [
    ("keys that there were in the period", |_, keys| keys.len().to_string()),
    ("generated in the period", |scope, keys| count(keys, |key| scope.has(&key.created))),
    ("pre-active at its end", |_, keys| count(keys, |key| key.state() == KeyState::PreActive)),
    ("expired unused in the period", |scope, keys| {
        count(keys, |key| key.expired.is_some_and(|expiry| scope.has(&expiry.at)))
    }),
    ("activations in the period", |scope, keys| activations(scope, keys).count().to_string()),
    ("of these, emergencies", |scope, keys| {
        activations(scope, keys).filter(|activation| activation.review_by.is_some()).count().to_string()
    }),
    ("fewest approvals that a rule asked for", |scope, keys| {
        let fewest = activations(scope, keys).map(|activation| activation.needed).min();
        fewest.map_or("none".to_owned(), |fewest| fewest.to_string())
    }),
    ("fewest approvals that were given", |scope, keys| {
        let fewest = activations(scope, keys).map(|activation| activation.approvals.len()).min();
        fewest.map_or("none".to_owned(), |fewest| fewest.to_string())
    }),
    ("uses that were refused", |_, keys| keys.iter().flat_map(|key| key.refused.values()).sum::<u64>().to_string()),
];

/// The figures, side by side.
pub(super) fn comparison(scope: Scope<'_>, tests: &[ControlTest]) -> Vec<Comparison> {
    let (ai, general): (Vec<&KeyLife>, Vec<&KeyLife>) = scope.existed().partition(|key| key.spec.is_for_ai());
    let mut figures: Vec<Comparison> = FIGURES
        .iter()
        .map(|(figure, of)| Comparison { figure, ai: of(scope, &ai), general: of(scope, &general) })
        .collect();
    // Point 9 repeats what others found.
    let tests = tests.iter().filter(|test| test.outcome == Outcome::Exceptions && test.id != "CEK-15.09");
    let exceptions: Vec<KeyId> =
        tests.flat_map(|test| &test.exceptions).filter_map(|exception| exception.key_id).collect();
    let of = |ai: bool| {
        let is = |key: &&KeyId| scope.history.keys.get(key).is_some_and(|key| key.spec.is_for_ai() == ai);
        exceptions.iter().filter(is).count().to_string()
    };
    figures.push(Comparison { figure: "exceptions about them", ai: of(true), general: of(false) });
    figures
}

fn count(keys: &[&KeyLife], which: impl Fn(&KeyLife) -> bool) -> String {
    keys.iter().filter(|key| which(key)).count().to_string()
}

fn activations<'a>(scope: Scope<'a>, keys: &'a [&'a KeyLife]) -> impl Iterator<Item = &'a Activation> {
    keys.iter().flat_map(|key| &key.activations).filter(move |activation| scope.has(&activation.at))
}

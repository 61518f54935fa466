//! Simulation is the deciding code: what it says of a key is what then becomes of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use lifecycle::scenario::{Scenario, key_id, public_key};
use lifecycle::simulate::{self, Lapsing, Simulation};
use model::{EventHash, Fingerprint, KeyState, ProblemType};

const WIDE: &str = r#"adopt {"rule": {"when": {"responsibility": ["application"]}},
    "people": {"delegation_max": "7d"},
    "holds": {"place": {"roles": ["security"], "quorum": 1}, "lift": {"roles": ["privacy"], "quorum": 1}}} by ann,bob"#;

fn wide() -> Scenario {
    let mut scenario = Scenario::new();
    assert_eq!(scenario.perform(WIDE), "policy.adopted");
    assert_eq!(scenario.perform(r#"generate k1 {"asset": "weights"} by kim"#), "key.generated");
    scenario
}

fn print(who: &str) -> Fingerprint {
    public_key(who).fingerprint()
}

fn simulated(scenario: &Scenario) -> Simulation {
    simulate::of_key(&scenario.tenant, key_id("k1"), print("rae"), scenario.now).unwrap()
}

fn enough(simulation: &Simulation) -> Vec<&'static str> {
    let people = ["rae", "ray", "kim", "sam", "sue", "lou", "dee", "opa", "bot"];
    let prints = simulation.enough.clone().unwrap();
    let mut names: Vec<&str> = people.into_iter().filter(|who| prints.contains(&print(who))).collect();
    assert_eq!(names.len(), prints.len());
    names.sort_unstable();
    names
}

#[test]
fn nobody_is_named_who_asked_or_votes_for_who_asked() {
    let mut scenario = wide();
    // A program that was given the role, and the asker by another key, are none of them.
    let before = enough(&simulated(&scenario));
    assert!(before.len() == 2 && !before.iter().any(|who| ["rae", "ray", "bot"].contains(who)), "{before:?}");
    let grant = |to: &str| {
        format!(
            r#"do delegation.grant {{"against": "$head", "to": "$who:{to}", "roles": ["security"],
            "not_before": "$now+0s", "not_after": "$now+1d", "reason": $why}} by rae"#
        )
    };
    for to in ["sam", "lou"] {
        assert_eq!(scenario.perform(&grant(to)), "delegation.granted");
    }
    assert_eq!(enough(&simulated(&scenario)), ["dee", "sue"]);
    assert_eq!(scenario.perform(&grant("sue")), "delegation.granted");
    // Dee has two roles and one vote: nobody is left for the other place.
    assert_eq!(simulated(&scenario).enough, None);
    assert!(!simulated(&scenario).is_clear_but_for_approvals());
}

/// At every step on a key's way: nothing in the way now if and only if the platform activates it now.
#[test]
fn nothing_is_in_the_way_exactly_when_it_becomes_active() {
    let hold = r#"do activation.hold {"kind": "incident", "reference": "INC-1"} by sue"#;
    let lift = r#"do activation.release {"hold": "$event:activation.held", "reason": $why} by lou"#;
    let mut scenario = wide();
    for step in
        ["request k1 after 5m by rae", "approve k1 by sam", hold, lift, "approve k1 by lou", "due", hold, "wait 5m"]
    {
        scenario.perform(step);
        let simulation = simulated(&scenario);
        assert!(!simulation.blocked.is_empty(), "{step}");
        scenario.perform("due");
        assert_eq!(scenario.state("k1"), KeyState::PreActive, "{step}");
    }
    scenario.perform(lift);
    assert_eq!(simulated(&scenario).blocked, []);
    scenario.perform("due");
    assert_eq!(scenario.state("k1"), KeyState::Active);
}

#[test]
fn every_block_is_listed_and_what_only_signatures_lack_is_apart() {
    let mut scenario = wide();
    scenario.perform("request k1 after 5m by rae");
    scenario.perform(r#"do activation.hold {"kind": "incident", "reference": "INC-1"} by sue"#);
    let simulation = simulated(&scenario);
    let kinds =
        |blocks: &[lifecycle::Rejection]| blocks.iter().map(|block| block.problem).collect::<Vec<ProblemType>>();
    assert_eq!(kinds(&simulation.blocked), [ProblemType::NotYetDue, ProblemType::QuorumNotMet, ProblemType::Held]);
    assert_eq!(kinds(&simulation.besides), [ProblemType::Held]);
    assert_eq!(simulation.at.to_string(), "2026-01-01T00:05:00.000Z");
    let lapses: Vec<&Lapsing> = simulation.lapses.iter().map(|lapse| &lapse.what).collect();
    assert_eq!(lapses[0], &Lapsing::Request);
}

#[test]
fn a_draft_is_judged_as_if_it_were_in_force_and_nothing_changes() {
    let mut scenario = wide();
    scenario.perform("request k1 by rae");
    let before = (scenario.tenant.keys.clone(), scenario.tenant.governance.clone());
    let draft = serde_json::json!({"rule": {"when": {"responsibility": ["application"]}, "stage": [
        {"role": "security", "quorum": 2}, {"role": "privacy", "quorum": 1}]}});
    let policy = lifecycle::scenario::patched_policy(&draft);
    let drafted = simulate::with_policy(&scenario.tenant, policy).unwrap();
    let after = simulate::of_key(&drafted, key_id("k1"), print("rae"), scenario.now).unwrap();
    assert_eq!(enough(&after).len(), 3);
    assert_eq!((scenario.tenant.keys.clone(), scenario.tenant.governance.clone()), before);
    assert_eq!(enough(&simulated(&scenario)).len(), 2);
}

/// A vote that would be refused, or that no place is left for, is no vote that counts.
#[test]
fn a_vote_counts_exactly_when_it_would_be_taken_and_fill_a_place() {
    let mut scenario = wide();
    scenario.perform("request k1 by rae");
    let request: EventHash = *scenario.tenant.requests.keys().next().unwrap();
    let counts = |scenario: &Scenario, who: &str| {
        !simulate::votes_that_count(&scenario.tenant, request, print(who), scenario.now).is_empty()
    };
    for (who, wanted) in [("sam", true), ("lou", true), ("dee", true), ("rae", false), ("ray", false), ("bot", false)] {
        assert_eq!(counts(&scenario, who), wanted, "{who}");
    }
    scenario.perform("approve k1 by sam");
    for (who, wanted) in [("sam", false), ("sue", false), ("lou", true), ("dee", true)] {
        assert_eq!(counts(&scenario, who), wanted, "{who}");
    }
    scenario.perform("approve k1 by lou");
    assert!(["sam", "sue", "lou", "dee"].iter().all(|who| !counts(&scenario, who)));
}

//! Holds and emergencies.

use lifecycle::scenario::{Scenario, key_id};
use model::KeyState;

use super::check;

const HOLDS: &str = r#"{"holds":{"place":{"roles":["security","operator"]},"lift":{"roles":["privacy"],"quorum":2}}}"#;
const HOLD: &str = r#"do activation.hold k1 {"request":"$request","kind":"court-order","reference":"CASE-1"}"#;
const RELEASE: &str =
    r#"do activation.release k1 {"hold":"$event:activation.held","request":"$request","reason":$why}"#;
const HOLD_ALL: &str = r#"do activation.hold {"kind":"incident","reference":"INC-1"}"#;
const RELEASE_ALL: &str = r#"do activation.release {"hold":"$event:activation.held","reason":$why}"#;

#[test]
fn a_hold_freezes_a_request_until_those_lift_it_whom_policy_names() {
    let mut s = check(HOLDS, "request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    for (by, problem) in [("lou", "role-missing"), ("app", "role-missing"), ("zoe", "unknown-principal")] {
        s.run(&format!("{HOLD} by {by} => refused {problem}"));
    }
    s.run(&format!("{HOLD} by opa => activation.held"));
    s.run("approve k1 by lou => refused held\nreject k1 by lou => refused held\ncancel k1 by kim => refused held");
    for (by, problem) in [("opa", "role-missing"), ("ann,bob", "role-missing"), ("lou", "quorum-not-met")] {
        s.run(&format!("{RELEASE} by {by} => refused {problem}"));
    }
    s.run(&format!("{RELEASE_ALL} by lou,dee => refused nothing-due"));
    s.run(&format!("{RELEASE} by lou,dee => activation.released\n{RELEASE} by lou,dee => refused nothing-due"));
    s.run("approve k1 by lou => activation.approved\ndue => activation.authorized, key.activated");
}

#[test]
fn nothing_is_activated_under_a_hold_whatever_was_authorised() {
    for (hold, release) in [(HOLD, RELEASE), (HOLD_ALL, RELEASE_ALL)] {
        let mut s = check(HOLDS, "request k1 after 5m by kim => activation.requested");
        s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
        s.run(&format!("due => activation.authorized\n{hold} by sam => activation.held\nwait 5m"));
        s.run("duty activate k1 => refused held\nactivate k1 by opa => refused held");
        s.run(&format!("{release} by lou,dee => activation.released\ndue => key.activated"));
    }
}

#[test]
fn each_hold_is_lifted_by_itself() {
    let mut s = check(HOLDS, "request k1 by kim => activation.requested");
    s.run(&format!("{HOLD} by sam => activation.held\n{HOLD} by opa => activation.held"));
    s.run(&format!("{RELEASE} by lou,dee => activation.released\napprove k1 by sam => refused held"));
    s.run(&format!("{HOLD_ALL} by sam => activation.held"));
    s.run(&format!("{RELEASE} by lou,dee => refused nothing-due"));
    let odd = r#"do activation.release k1 {"hold":"$event:activation.held","reason":$why}"#;
    s.run(&format!("{odd} by lou,dee => refused unknown-request"));
    s.run(&format!("{RELEASE_ALL} by lou,dee => activation.released\napprove k1 by sam => refused held"));
}

/// A hold stops no clock, and no report of a compromise.
#[test]
fn requests_run_out_under_a_hold_and_reports_get_through() {
    let mut s = check(HOLDS, "request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run(&format!("{HOLD} by sam => activation.held\n{HOLD_ALL} by sam => activation.held"));
    s.run("wait 20m\ndue => activation.lapsed\nwait 10m\ndue => activation.lapsed\ndue => nothing");
    s.run(&format!("{RELEASE} by lou,dee => refused request-closed"));
    s.run("request k1 by kim => activation.requested\napprove k1 by sam => refused held");
    s.run("compromise k1 by opa => key.compromised");
}

/// A request that no rule is for any more can still be held, released and taken back.
#[test]
fn a_request_whose_rule_is_gone_is_held_and_released_all_the_same() {
    let gone = HOLDS.replacen('{', r#"{"rule":{"when":{"responsibility":["model"]}},"#, 1);
    let mut s = check(HOLDS, "request k1 by kim => activation.requested");
    s.run(&format!("adopt {gone} by ann,bob => policy.adopted\napprove k1 by sam => refused no-rule"));
    s.run(&format!("{HOLD} by sam => activation.held\n{RELEASE} by lou,dee => activation.released"));
    s.run("reject k1 by sam => refused no-rule\ncancel k1 by kim => activation.cancelled");
}

/// Without anybody named, nobody holds; and what is held stays so until a policy names again who may lift it.
#[test]
fn a_hold_outlives_the_policy_it_was_placed_under() {
    let mut s = check("{}", "request k1 by kim => activation.requested");
    s.run(&format!("{HOLD_ALL} by sam => refused role-missing\nadopt {HOLDS} by ann,bob => policy.adopted"));
    s.run(&format!("{HOLD_ALL} by sam => activation.held\nadopt {{}} by ann,bob => policy.adopted"));
    s.run(&format!("{RELEASE_ALL} by lou,dee => refused role-missing\napprove k1 by sam => refused held"));
    s.run(&format!("adopt {HOLDS} by ann,bob => policy.adopted\n{RELEASE_ALL} by lou,dee => activation.released"));
    s.run("approve k1 by sam => activation.approved");
}

// === Emergencies ===

pub(crate) const GLASS: &str = r#"{"rule":[
    {"name":"everyday","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
     "approval_valid_for":"20m","stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}],"users":["app"]},
    {"name":"emergency","when":{"responsibility":["application"]},"requesters":["operator"],"request_valid_for":"30m",
     "approval_valid_for":"20m","requires":{"reasons":["incident"]},"stage":[{"role":"security","quorum":1}],"users":["app"],
     "break_glass":{"life":"4h","review_within":"1h","reviewers":{"roles":["privacy","security","operator"],"quorum":2}}}]}"#;
pub(crate) const ALARM: &str = r#"do activation.request k1 {"identity":$identity,"break_glass":true,"reason":{"kind":"incident","text":"the model is down"},"legal_basis":[],"affected_systems":[]}"#;
const REVIEW: &str = r#"do activation.review k1 {"activation":"$event:key.activated","findings":"it was needed"}"#;

fn glass(script: &str) -> lifecycle::scenario::Scenario {
    check(&GLASS.replace('\n', " "), script)
}

#[test]
fn an_emergency_has_its_own_quorum_a_short_life_and_a_reason() {
    let mut s = glass("");
    s.run(&format!("{ALARM} by kim => refused role-missing"));
    s.run(&format!("{} by opa => refused reason-not-accepted", ALARM.replace(r#""incident""#, r#""test""#)));
    let long = ALARM.replace(r#""legal"#, r#""deactivate_at":"$now+5h","legal"#);
    s.run(&format!("{long} by opa => refused period-too-long"));
    s.run("request k1 by opa => refused role-missing"); // not without saying that it is one
    s.run(&format!("{ALARM} by opa => activation.requested\napprove k1 by opa => refused role-missing"));
    s.run("due => nothing\napprove k1 by lou => refused role-missing\napprove k1 by sam => activation.approved");
    s.run("due => activation.authorized, key.activated\nwait 30m");
    let key = &s.tenant.keys[&key_id("k1")];
    let activation = key.activation.unwrap();
    assert_eq!(activation.deactivate_at - activation.at, "4h".parse().unwrap());
    assert_eq!(key.review_by, Some(activation.at + "1h".parse().unwrap()));
    s.run(&format!("{REVIEW} by lou,oto => activation.reviewed\n{REVIEW} by lou,oto => refused nothing-due"));
    s.run("wait 30m\ndue => nothing\nwait 3h\ndue => key.deactivated");
}

#[test]
fn an_emergency_that_nobody_reviews_suspends_the_key_until_somebody_does() {
    let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
    s.run("due => activation.authorized, key.activated\nwait 59m\ndue => nothing\nwait 1m\ndue => key.suspended");
    assert_eq!(s.state("k1"), KeyState::Suspended);
    s.run("due => nothing\nresume k1 by oto => refused review-missing");
    // Nobody who asked or approved, by whichever key, and enough of the others.
    for (by, problem) in [
        ("opa,lou", "self-approval"),
        ("sam,lou", "self-approval"),
        ("lou", "lifetime"),
        ("lou,kim", "quorum-not-met"),
        ("ann,bob", "role-missing"),
    ] {
        let outcome = s.perform(&format!("{REVIEW} by {by}"));
        assert!(
            outcome == format!("refused {problem}") || problem == "lifetime" && outcome == "refused quorum-not-met",
            "{by}: {outcome}"
        );
    }
    s.run(&format!(
        "{REVIEW} by lou,oto => activation.reviewed\nresume k1 by oto => key.resumed\nwait 1h\ndue => nothing"
    ));
}

/// It opens nothing that another rule closes: law, holds and what the key is are asked as ever.
#[test]
fn an_emergency_is_no_way_around() {
    let pack = GLASS.replace('\n', " ").replacen('{', r#"{"packs":["gdpr"],"#, 1);
    let mut s =
        check(&pack, &format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
    s.run("due => activation.authorized, refused pack-undeclared");
    let holds = GLASS.replace('\n', " ").replacen(
        '{',
        r#"{"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}},"#,
        1,
    );
    let mut s = check(&holds, &format!("{HOLD_ALL} by sam => activation.held\n{ALARM} by opa => activation.requested"));
    s.run("approve k1 by sam => refused held\nwait 30m\ndue => activation.lapsed");
    // A request that is open stands in its way: what people have said of it is not gone around.
    let mut s = glass("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run(&format!("{ALARM} by opa => refused request-open\nreject k1 by lou => activation.rejected"));
    s.run(&format!("{ALARM} by opa => activation.requested\ndue => nothing"));
    // The rule is gone: so is what was asked under it.
    let everyday = r#"{"rule":{"stage":[{"role":"security","quorum":1}]}}"#;
    s.run("approve k1 by sue => activation.approved");
    s.run(&format!("adopt {everyday} by ann,bob => policy.adopted\ndue => refused no-rule"));
    check("{}", &format!("{ALARM} by opa => refused no-rule"));
}

/// Whoever the rule for emergencies names uses what was activated under it, and the rule of every day says nothing to that.
#[test]
fn an_emergencys_rule_says_who_uses_its_key() {
    let glass = GLASS.replace('\n', " ").replacen(r#""users":["app"],"#, r#""users":["operator"],"#, 1);
    let mut s =
        check(&glass, &format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
    s.run("due => activation.authorized, key.activated\napply k1 => custody.applied");
    s.run("use k1 encrypt by app => refused role-missing\nuse k1 encrypt by oto => allowed");
    let users = |s: &Scenario| lifecycle::simulate::of_active(&s.tenant, key_id("k1"), s.now).unwrap().users;
    assert_eq!(users(&s).len(), 2, "simulation says the same");
    // The emergency's rule is gone: the key goes on under that of every day.
    let everyday = r#"{"rule":{"stage":[{"role":"security","quorum":1}]}}"#;
    s.run(&format!("adopt {everyday} by ann,bob => policy.adopted"));
    s.run("use k1 encrypt by app => allowed\nuse k1 encrypt by oto => refused role-missing");
    assert_eq!(users(&s).len(), 1);
}

/// The people who approve an emergency are not let vote by what was approved before, nor the other way round.
#[test]
fn approvals_of_an_emergency_are_for_it_alone() {
    let mut s = glass(&format!("{ALARM} by opa => activation.requested\napprove k1 by sam => activation.approved"));
    s.run("cancel k1 by opa => activation.cancelled\nrequest k1 by kim => activation.requested");
    s.run("approve k1 by lou => activation.approved\ndue => nothing\napprove k1 by sam => activation.approved");
    s.run("due => activation.authorized, key.activated");
    assert_eq!(s.tenant.keys[&key_id("k1")].review_by, None);
}

#[test]
fn a_policy_of_emergencies_alone_does_not_load() {
    let mut all: serde_json::Value = serde_json::from_str(GLASS).unwrap();
    let emergency = all["rule"][1].clone();
    all["rule"] = serde_json::json!([emergency]);
    let faults = lifecycle::policy::check(&lifecycle::scenario::patched_policy(&all));
    assert!(faults.iter().any(|fault| fault.at == "rule"), "{faults:?}");
    all["rule"][0]["stage"] = serde_json::json!([]);
    let faults = lifecycle::policy::check(&lifecycle::scenario::patched_policy(&all));
    assert!(faults.iter().any(|fault| fault.at == "rule.emergency.stage"), "{faults:?}");
}

#[test]
fn so_many_holds_stand_in_a_place_and_no_more() {
    let mut s = check(HOLDS, "request k1 by kim => activation.requested");
    for hold in [HOLD, HOLD_ALL] {
        for _ in 0..64 {
            s.run(&format!("{hold} by opa => activation.held"));
        }
        s.run(&format!("{hold} by opa => refused held"));
    }
    s.run(&format!("{RELEASE_ALL} by lou,dee => activation.released\n{HOLD_ALL} by opa => activation.held"));
}

//! Time: warnings, revalidation, ends, and services that were down when something fell due.

use lifecycle::scenario::{Scenario, key_id};
use model::KeyState;

use super::check;

const WATCHED: &str = r#"{"keys":{"revalidation":{"roles":["owner"],"every":"20m"},"warn_before":"5m"}}"#;

fn revalidate(keys: &str) -> String {
    let keys: Vec<String> = keys.split(',').map(|key| format!(r#""$key:{key}""#)).collect();
    format!(r#"do key.revalidate {{"keys":[{}]}}"#, keys.join(","))
}

#[test]
fn keys_that_wait_are_revalidated_or_they_expire() {
    let mut s = check(WATCHED, "due => nothing\nwait 15m\ndue => deadline.warned\ndue => nothing");
    for (step, outcome) in [
        (format!("{} by sam", revalidate("k1")), "refused role-missing"),
        (format!("{} by app", revalidate("k1")), "refused not-a-person"),
        (format!("{} by kim", revalidate("k1,k1")), "refused malformed"),
        (format!("{} by kim", revalidate("k1,k2")), "refused key-not-pre-active"),
        (r#"do key.revalidate {"keys":[]} by kim"#.to_owned(), "refused malformed"),
        (format!("{} by kim", revalidate("k1")), "key.revalidated"),
    ] {
        s.run(&format!("{step} => {outcome}"));
    }
    s.run("due => nothing\nwait 14m\ndue => nothing\nwait 1m\ndue => deadline.warned\nwait 4m\ndue => nothing");
    s.run("wait 1m\nduty expire k1 => key.expired\ndue => key.destroyed");
    s.run(&format!("{} by kim => refused key-not-pre-active", revalidate("k1")));
}

/// However often it is said that a key is wanted, it does not wait for longer than keys may.
#[test]
fn revalidation_does_not_put_off_the_expiry() {
    let mut s = check(WATCHED, "");
    for _ in 0..3 {
        s.run(&format!("wait 19m\n{} by kim => key.revalidated", revalidate("k1")));
    }
    assert_eq!(s.perform("due"), "deadline.warned", "of the expiry at 60m");
    s.run("wait 3m\ndue => key.expired, key.destroyed");
}

#[test]
fn a_listing_names_at_most_500_keys() {
    let mut s = check(WATCHED, "");
    let many: Vec<String> = (1..=501).map(|at| format!("k{at}")).collect();
    s.run(&format!("{} by kim => refused malformed", revalidate(&many.join(","))));
    s.run(&format!("{} by kim => refused key-not-pre-active", revalidate(&many[..500].join(","))));
}

/// A request that is signed against the key's old head after it was revalidated is not lost, and the activation is in time.
#[test]
fn a_key_that_was_not_revalidated_in_time_is_not_activated() {
    let mut s = check(WATCHED, "request k1 after 19m by kim => activation.requested\nwait 10m");
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized\nwait 10m\nduty activate k1 => refused key-not-pre-active");
    s.run("activate k1 by opa => refused key-not-pre-active");
    assert!(s.perform("due").contains("key.expired"));
    assert_eq!(s.state("k1"), KeyState::Destroyed);
}

#[test]
fn warnings_come_ahead_of_every_deadline_and_once() {
    let mut s = check(r#"{"keys":{"warn_before":"10m"}}"#, "wait 50m\ndue => deadline.warned\ndue => nothing");
    s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run("approve k1 by lou => activation.approved\ndue => activation.authorized, key.activated\nwait 23h");
    s.run("due => nothing\nwait 50m\ndue => deadline.warned\ndue => nothing\nsuspend k1 by opa => key.suspended");
    s.run("due => nothing\nwait 10m\ndue => key.deactivated\ndue => nothing");
    assert_eq!(s.tenant.keys[&key_id("k1")].warned.len(), 2);
    // Not before its time.
    check(r#"{"keys":{"warn_before":"10m"}}"#, "wait 49m\ndue => nothing");
    for late in [
        r#"{"keys":{"warn_before":"60m"}}"#,
        r#"{"keys":{"warn_before":"30m","revalidation":{"roles":["owner"],"every":"30m"}}}"#,
    ] {
        let faults =
            lifecycle::policy::check(&lifecycle::scenario::patched_policy(&serde_json::from_str(late).unwrap()));
        assert_eq!(faults.len(), 1, "{late}: a warning that says nothing");
    }
}

/// Everything that fell due while nobody was there is done when somebody is, in the order of its time.
#[test]
fn what_fell_due_while_the_services_were_down_is_done() {
    let script = "request k1 by kim => activation.requested\napprove k1 by sam => activation.approved";
    let mut s = check(WATCHED, &format!("{script}\nwait 10d"));
    let came = s.perform("due");
    assert!(came.ends_with("key.destroyed") && came.contains("key.expired"), "{came}");
    s.run("due => nothing");
    let mut s: Scenario = check("{}", &format!("{script}\napprove k1 by lou => activation.approved\nwait 40m"));
    assert!(!s.perform("due").contains("key.activated"), "its approvals ran out while nobody was there");
    s.run("due => nothing\nrequest k1 by kim => activation.requested");
}

#[test]
fn an_algorithm_that_ends_within_the_period_is_refused_at_activation() {
    let until = |time: &str| {
        format!(
            r#"{{"algorithm":[{{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"2026-01-{time}.000Z"}}]}}"#
        )
    };
    let mut s = check(
        &until("01T12:00:00"),
        "request k1 by kim => refused algorithm-ends\nrequest k1 until 12h by kim => activation.requested",
    );
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized, key.activated\napply k1 => custody.applied\nuse k1 encrypt by app => allowed");
    s.run(&format!("adopt {} by ann,bob => policy.adopted", until("01T01:00:00")));
    s.run("use k1 encrypt by app => allowed\nwait 1h\nuse k1 encrypt by app => refused algorithm-not-allowed");
    s.run(r#"generate k2 {"asset":"w"} by kim => refused algorithm-not-allowed"#);
}

#[test]
fn crypto_periods_are_by_algorithm_and_use() {
    let policy = r#"{"algorithm":[{"name":"aes-256-gcm","crypto_period":"10h","use":[{"operations":["wrap"],"crypto_period":"5h"}]}]}"#;
    let mut s = check(
        policy,
        "request k1 until 6h by kim => refused period-too-long\nrequest k1 until 5h by kim => activation.requested",
    );
    s.run(r#"generate k2 {"asset":"w","usage":["encrypt","decrypt"]} by kim => key.generated"#);
    s.run(
        "request k2 until 11h by kim => refused period-too-long\nrequest k2 until 10h by kim => activation.requested",
    );
    s.run("approve k2 by sam => activation.approved\napprove k2 by lou => activation.approved");
    s.run("due => activation.authorized, key.activated\napply k2 => custody.applied\nuse k2 encrypt by app => allowed");
}

/// A warning, an expiry, an end: what is on record stays, whatever the clock says then.
#[test]
fn a_clock_set_back_takes_nothing_back() {
    let mut s = check(WATCHED, "wait 15m\ndue => deadline.warned");
    s.set_back("2026-01-01T00:00:00.000Z".parse().unwrap());
    s.run("due => nothing\nwait 15m\ndue => nothing\nwait 5m\ndue => key.expired, key.destroyed");
    let mut s = check("{}", "request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run("approve k1 by lou => activation.approved\ndue => activation.authorized, key.activated\nwait 24h");
    s.run("due => key.deactivated\napply k1 => custody.applied");
    s.set_back("2026-01-01T01:00:00.000Z".parse().unwrap());
    s.run("use k1 encrypt by app => refused key-not-active\nresume k1 by opa => refused forbidden-transition");
}

/// A policy brings an algorithm's end forward: warned of, then every key of it ends, then the end is recorded, once.
#[test]
fn keys_end_with_their_algorithm_though_their_own_period_goes_on() {
    let ends = |at: &str| {
        format!(
            r#"{{"keys":{{"warn_before":"10m"}},"algorithm":[{{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"{at}"}}]}}"#
        )
    };
    let late = ends("2027-01-01T00:00:00.000Z");
    let mut s = check(
        &late,
        "request k1 by rae => activation.requested
        approve k1 by sam => activation.approved
        approve k1 by lou => activation.approved
        due => activation.authorized, key.activated
        apply k1 => custody.applied",
    );
    s.run(&format!("adopt {} by ann,bob => policy.adopted", ends("2026-01-01T02:00:00.000Z")));
    s.run("wait 110m\ndue => deadline.warned");
    // The custodian does not wait for anybody to record it.
    s.run("use k1 encrypt by app => allowed\nwait 10m\nuse k1 encrypt by app => refused algorithm-not-allowed");
    s.run("due => key.deactivated, algorithm.ended\ndue => nothing");
    // Nothing is activated beyond an end, and nothing of it generated.
    s.run("generate k2 by kim => refused algorithm-not-allowed");
}

/// Whoever is to sign, or to see to it that the key is activated, hears of it while there is time.
#[test]
fn requests_and_approvals_are_warned_of_before_they_lapse() {
    let warned = r#"{"keys":{"warn_before":"5m"}}"#;
    let mut s = check(warned, "request k1 by rae => activation.requested\ndue => nothing\nwait 24m\ndue => nothing");
    let head = s.tenant.keys[&key_id("k1")].head;
    s.run("wait 1m\ndue => deadline.warned\ndue => nothing");
    assert_eq!(s.tenant.keys[&key_id("k1")].head, head, "nothing that people sign against has changed");
    s.run("approve k1 by sam => activation.approved\nwait 5m\ndue => activation.lapsed\ndue => nothing");
    let mut s =
        check(warned, "request k1 after 25m by rae => activation.requested\napprove k1 by sam => activation.approved");
    s.run(
        "wait 14m\ndue => nothing\nwait 1m\ndue => deadline.warned\ndue => nothing\nwait 5m\ndue => activation.lapsed",
    );
    s.run("approve k1 by sam => activation.approved\nwait 5m\ndue => deadline.warned\ndue => nothing");
    // What is short is not warned of as soon as it begins, but half of its time before it ends.
    let mut s = check(r#"{"keys":{"warn_before":"50m"}}"#, "request k1 by rae => activation.requested");
    s.run("wait 10m\ndue => deadline.warned\nwait 4m\ndue => nothing\nwait 1m\ndue => deadline.warned\ndue => nothing");
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized, key.activated\ndue => nothing");
    let request = s.tenant.requests.values().next().unwrap();
    assert_eq!(request.next_warning(), None, "what is over calls for no warning");
}

#[test]
fn requests_for_many_are_warned_of_as_well() {
    let policy = r#"{"keys":{"warn_before":"5m"},"rule":{"manifest_max":3,"standing":{"count_max":2,"window_max":"50m","users":["app"]}}}"#;
    let mut s = super::many::with_keys(policy, 2);
    s.run("store k1,k2 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested", super::many::list("k1+k2")));
    s.run("wait 25m\ndue => deadline.warned\ndue => nothing\nwait 5m\ndue => activation.lapsed");
    // A standing authorisation is warned of at its end.
    s.run(&format!("{} by kim => activation.requested", super::many::STANDING));
    s.run(super::many::APPROVE);
    s.run("due => activation.authorized\ndue => nothing\nwait 25m");
    assert!(s.perform("due").starts_with("deadline.warned"), "of the keys");
    s.run("wait 20m");
    let mut last = String::new();
    while s.dues().iter().any(|due| due.at <= s.now) && last != "nothing" {
        last = s.perform("due");
    }
    let warned = s.tenant.requests.values().filter(|request| !request.warned.is_empty()).count();
    assert_eq!(warned, 2, "the list, and the authorisation");
}

/// Chains under epoch 2 go on as they were.
#[test]
fn epoch_2_warns_of_no_request() {
    let warned = r#"{"keys":{"warn_before":"5m"}}"#;
    let script =
        "request k1 by rae => activation.requested\nwait 25m\ndue => nothing\nwait 5m\ndue => activation.lapsed";
    super::at_epoch(2, || check(warned, script));
}

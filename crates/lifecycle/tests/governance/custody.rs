//! What stores really hold, beside what the chain says: comparisons, what differs, and what follows.

use lifecycle::scenario::Scenario;
use lifecycle::{Due, Duty, Input};
use model::event::{CustodyDrifted, KeySuspended};
use model::evidence::Drift;
use model::{Event, KeyState, ProblemType, ServiceRole, Span, Timestamp};

use super::under;

/// Stores are compared every hour, and a key that differs is suspended.
const STRICT: &str = r#"{"schema":3,"stores":{"reconcile_every":"1h","when_drifted":"suspend"}}"#;
const MILD: &str = r#"{"schema":3,"stores":{"reconcile_every":"1h"}}"#;

const ACTIVATE: &str = "request k1 by kim => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved
    due => activation.authorized, key.activated
    apply k1 => custody.applied";

fn next(s: &Scenario, duty: Duty) -> Option<Timestamp> {
    s.dues().into_iter().find(|due| due.duty == duty).map(|due: Due| due.at)
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

/// Everything about stores that is lawful.
pub(super) fn life() -> Scenario {
    let mut s = under(STRICT);
    s.run("reconcile software 1,1,0,0,0 => custody.reconciled\ndrift k1 shadow-activation => custody.drifted");
    s.run(ACTIVATE);
    s.run(
        "drift k1 attributes => custody.drifted
        due => key.suspended
        apply k1 => custody.applied
        drift k1 dates => custody.drifted
        resume k1 by opa => key.resumed
        apply k1 => custody.applied
        wait 1h
        reconcile software 3,0,1,2,0 => custody.reconciled
        reconcile another 0,0,0,0,4 => custody.reconciled",
    );
    s
}

#[test]
fn a_report_adds_up() {
    let mut s = under(MILD);
    s.run(
        "reconcile software 3,1,1,1,7 => custody.reconciled
        reconcile software 0,0,0,0,0 => custody.reconciled
        reconcile software 3,1,1,2,0 => refused malformed
        reconcile software 2,3,0,0,0 => refused malformed
        reconcile software 0,18446744073709551615,1,0,0 => refused malformed",
    );
}

/// Each store in which there are keys is compared, as often as the policy says, whatever becomes of the others.
#[test]
fn every_store_with_keys_is_compared() {
    let mut s = under(MILD);
    let begun = s.now;
    assert_eq!(next(&s, Duty::Reconcile), Some(begun + span("1h")));
    assert_eq!(Duty::Reconcile.role(), ServiceRole::Custodian);
    s.run("wait 10m\nreconcile software 1,1,0,0,0 => custody.reconciled");
    assert_eq!(next(&s, Duty::Reconcile), Some(begun + span("70m")));
    s.run("reconcile nowhere 0,0,0,0,0 => custody.reconciled");
    let registered = super::evidence::STORE.replace("software", "hsm");
    s.run(&format!("{registered} by ann,bob => store.registered\nwait 5m"));
    s.run("reconcile software 1,1,0,0,0 => custody.reconciled");
    let stores = &s.tenant.governance.as_ref().unwrap().schedule.stores;
    assert_eq!(stores.keys().map(ToString::to_string).collect::<Vec<_>>(), ["hsm", "software"]);
    assert_eq!(next(&s, Duty::Reconcile), Some(begun + span("70m")), "the registered one");
    let mut s = under(r#"{"schema":3}"#);
    assert_eq!(next(&s, Duty::Reconcile), None, "no policy asks for it");
    s.run(&format!("adopt {MILD} by ann,bob => policy.adopted"));
    assert_eq!(next(&s, Duty::Reconcile), Some(s.now + span("1h")));
}

#[test]
fn an_active_key_that_differs_is_suspended_where_the_policy_says_so() {
    for (policy, suspends) in [(STRICT, true), (MILD, false), (r#"{"schema":3}"#, false)] {
        let mut s = under(policy);
        s.run(ACTIVATE);
        s.run("drift k1 attributes => custody.drifted");
        s.run(if suspends { "due => key.suspended" } else { "due => nothing" });
        let last = journal::Body::parse(&s.records.last().unwrap().payload).unwrap();
        if suspends {
            let KeySuspended { cause, command, .. } = serde_json::from_str(&last.data).unwrap();
            let drifted = s.records[s.records.len() - 2].hash();
            assert_eq!((cause, command), (Some(drifted), None));
            s.run("apply k1 => custody.applied\nresume k1 by opa => key.resumed\napply k1 => custody.applied");
            s.run("due => nothing");
        }
        assert_eq!(s.state("k1"), KeyState::Active, "{policy}");
    }
}

/// A key that is not active is not suspended; when it is activated later, what was seen before calls for nothing.
#[test]
fn what_was_seen_before_activation_does_not_suspend() {
    let mut s = under(STRICT);
    s.run("drift k1 shadow-activation => custody.drifted\ndue => nothing");
    s.run(ACTIVATE);
    s.run("due => nothing");
}

#[test]
fn a_drift_is_of_the_key_as_the_chain_has_it() {
    let mut s = under(STRICT);
    s.run(ACTIVATE);
    s.run("drift k1 shadow-activation => refused malformed");
    let good = s.drifted("k1", "attributes");
    let activation = s.tenant.keys[&good.key_id].transition;
    assert_eq!(good.cause, activation);
    let later = s.now + span("1s");
    let wrong: [(CustodyDrifted, ProblemType); 3] = [
        (CustodyDrifted { store: "another".parse().unwrap(), ..good.clone() }, ProblemType::StateChanged),
        (CustodyDrifted { cause: s.tenant.keys[&good.key_id].generated, ..good.clone() }, ProblemType::StateChanged),
        (CustodyDrifted { seen_at: later, ..good.clone() }, ProblemType::Malformed),
    ];
    for (report, problem) in wrong {
        let refused = s.submit(ServiceRole::Custodian, Input::Drifted(report)).unwrap_err();
        assert_eq!(refused.problem, problem);
    }
    // Sent again, it is recorded once.
    assert!(s.submit(ServiceRole::Custodian, Input::Drifted(good.clone())).is_ok());
    let again =
        s.submit(ServiceRole::Custodian, Input::Drifted(CustodyDrifted { drift: Drift::Dates, ..good.clone() }));
    assert_eq!(again.unwrap_err().problem, ProblemType::CommandIdReused);
    let forged = s.forge(ServiceRole::Activator, &Event::CustodyDrifted(good));
    assert!(matches!(forged, lifecycle::Judgement::Void(_)), "{forged:?}");
}

#[test]
fn the_policy_says_how_often_within_bounds() {
    let mut s = under(r#"{"schema":3}"#);
    s.run(r#"adopt {"schema":3,"stores":{"reconcile_every":"59s"}} by ann,bob => refused policy-refused"#);
    s.run(r#"adopt {"schema":3,"stores":{"reconcile_every":"1m"}} by ann,bob => policy.adopted"#);
}

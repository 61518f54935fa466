//! How long keys wait, and who looks at them while they do (points 8, 16).

use model::KeyState;

use super::{About, ControlTest, FOLLOWS_WITHIN, Fault, Scope, Test, counted};
use crate::history::{Custody, KeyLife};

const NONE_WAITED: &str = "No key was pre-active in the period.";
const WAITED: &str = "keys that were pre-active at some time of the period";
const LISTED: &str = "keys.csv where waited_in_period is yes";

/// Point 8.
pub(super) fn ends(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.08",
        About {
            title: "Waiting has an end",
            statement: "Every key that waited in the period had an end set to its wait at its birth, and was activated, \
                        destroyed or expired by then; what expired was destroyed, and the custodian confirmed it.",
            source: "AICM auditing guideline 8",
            method: "Each key's time (pre_active_until, or its revalidation where that comes first) is compared with the \
                     event that ended its wait, or with the end of the period. Expiry, destruction and its confirmation \
                     must follow within five minutes each.",
            of: WAITED,
            listed_in: LISTED,
        },
    );
    for key in scope.waited() {
        test.item(overdue(scope, key));
    }
    let expired = scope.waited().filter(|key| key.expired.is_some_and(|expiry| scope.has(&expiry.at))).count();
    if expired > 0 {
        test.remark(format!("{} in the period.", counted(expired, "key expired", "keys expired")));
    }
    test.done(NONE_WAITED)
}

fn overdue<'a>(scope: Scope<'a>, key: &'a KeyLife) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let Some(expiry) = key.expired else {
        if key.state() == KeyState::PreActive && scope.is_over(key.waits_until()) {
            let what = format!("it was to expire at {}, and waits still", key.waits_until());
            faults.push(Fault::of_key("overdue", key, vec![key.created], what));
        }
        return faults;
    };
    if expiry.at.time > expiry.due + FOLLOWS_WITHIN {
        let what = format!("it was to expire at {}, and expired at {}", expiry.due, expiry.at.time);
        faults.push(Fault::of_key("expired-late", key, vec![key.created, expiry.at], what));
    }
    let gone = |state| matches!(state, KeyState::Destroyed | KeyState::DestroyedCompromised);
    let destroyed = key.steps.iter().find(|step| gone(step.state));
    let proof = key.custody.iter().find(|custody: &&Custody| custody.after.is_none() && gone(custody.state));
    match (destroyed, proof) {
        (None, _) if scope.is_over(expiry.at.time) => {
            faults.push(Fault::of_key("not-destroyed", key, vec![expiry.at], "it expired, and was not destroyed"));
        }
        (Some(step), None) if scope.is_over(step.at.time) => {
            let what = "no custodian has confirmed its destruction";
            faults.push(Fault::of_key("destruction-unconfirmed", key, vec![expiry.at, step.at], what));
        }
        _ => {}
    }
    faults
}

/// Point 16.
pub(super) fn reviewed(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.16",
        About {
            title: "Keys that wait are reviewed",
            statement: "Every key that waited in the period was said to be still wanted as often as the policy asks, until \
                        people looked at it for its activation, or was destroyed.",
            source: "CCM CEK-15, the pre-activated keys are reviewed",
            method: "Each key's key.revalidated are followed. A key that expired for want of one, or is overdue for one at \
                     the end of the period, is an exception. So is one that waits while the policy asks for no review of \
                     it, where others were under one; where none was, there is no evidence.",
            of: WAITED,
            listed_in: LISTED,
        },
    );
    let under_review = |key: &KeyLife| key.revalidate_by.is_some();
    let any = scope.waited().any(under_review);
    for key in scope.waited() {
        let mut faults = Vec::new();
        let waits = key.state() == KeyState::PreActive && key.expired.is_none();
        if let Some(expiry) = key.expired.filter(|expiry| expiry.unreviewed && scope.has(&expiry.at)) {
            let what = format!("nobody had said by {} that it was still wanted: it expired", expiry.due);
            faults.push(Fault::of_key("review-missed", key, vec![expiry.at], what));
        }
        match key.revalidate_by {
            Some(by) if waits && scope.is_over(by) => {
                let what = format!("somebody was to say by {by} that it is still wanted");
                faults.push(Fault::of_key("review-overdue", key, vec![key.created], what));
            }
            None if waits && any => {
                let what = "it waits, and the policy that it was generated under asks for no review";
                faults.push(Fault::of_key("no-review", key, vec![key.created], what));
            }
            _ => {}
        }
        test.item(faults);
    }
    let waiting = scope.waited().filter(|key| key.state() == KeyState::PreActive && key.expired.is_none()).count();
    if waiting > 0 && !any {
        return test.insufficient(
            "The policy asks for no review of keys that wait: that anybody looked at them is not in evidence.",
        );
    }
    test.done(NONE_WAITED)
}

//! Use: only while active; and that no one process can do everything.

use std::collections::{BTreeMap, BTreeSet};

use model::{EventType, Name, ServiceRole};

use super::{About, ControlTest, Fault, Scope, Test, counted};
use crate::deployment::APART;
use crate::history::{At, Doubtful, KeyLife, Signer};

/// The kind of store whose every use the custodian performs.
const MEDIATED: &str = "software";

/// No key was used before its activation, nor after its end.
pub(super) fn only_when_active(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "usage",
        About {
            title: "No key was used before its activation",
            statement: "Every use of a key that was recorded in the period was under its activation: not before it, and \
                        not after its use had ended or was halted.",
            source: "CEK-15, keys in a pre-activated state are not authorised for use",
            method: "The counts of uses that custodians report (custody.used) are joined with the chain: each names the \
                     key.activated it was under, and when its first and its last use were. A count whose first use lies \
                     before the activation, or whose last lies after the key was suspended, deactivated, compromised or \
                     destroyed, is an exception (clocks may differ by 5 s; a deactivated key may still decrypt, verify \
                     and unwrap). So is one that does not stand.",
            of: "keys with a use recorded in the period",
            listed_in: "keys.csv where used_in_period is yes",
        },
    );
    for key in scope.existed().filter(|key| scope.was_used(key)) {
        let doubts = key.doubts.iter().filter(|doubt| scope.has(&doubt.at));
        test.item(doubts.map(|doubt| {
            let what = match doubt.what {
                Doubtful::Early => format!("it was used at {}, before its activation", doubt.used),
                Doubtful::Late => format!("it was used at {}, when it was not active", doubt.used),
            };
            let bound = key.steps.iter().rev().map(|step| step.at).find(|at| at.sequence < doubt.at.sequence);
            Fault::of_event("outside", Some(key), doubt.at, what).with(bound)
        }));
    }
    let reports = |of: EventType| matches!(of, EventType::CustodyUsed | EventType::CustodyRefused);
    let void = scope.attempts().filter(|attempt| attempt.event_type.is_some_and(reports));
    test.against(void.map(|attempt| Fault::of_attempt(scope.history, attempt)));
    let refused: u64 = scope.existed().flat_map(|key| key.refused.values()).sum();
    test.remark(format!(
        "{refused} attempts to use a key were refused so far. Uses are counted by the custodian, and what it had not yet \
         reported when it was killed is not here: a missing report is no evidence."
    ));
    let mediated = |store: &Name| {
        let registered = scope.history.registered(store).map(|registered| &registered.store.kind);
        registered.unwrap_or(store).as_str() == MEDIATED
    };
    let placed = |key: &KeyLife| !mediated(&key.store) && !key.activations.is_empty();
    let placed = scope.existed().filter(|key| placed(key)).count();
    if placed > 0 {
        let keys = counted(placed, "activated key is", "activated keys are");
        return test.insufficient(&format!(
            "{keys} in stores that applications reach without the custodian: their uses are in those stores' own logs, \
             which are not joined here."
        ));
    }
    test.done("No use of a key was recorded in the period.")
}

/// No one process holds the keys of several roles.
pub(super) fn separation(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "separation",
        About {
            title: "No one process can carry a key from birth to use",
            statement: "No process signed as more than one of issuer, approver, activator and custodian.",
            source: "AICM auditing guideline 4, no service alone",
            method: "The instances that events name in their source are put together by name. A name under which several \
                     of these roles signed is an exception: one process, by its own account, or processes that can't be \
                     told apart. People's signatures are needed either way.",
            of: "service keys that have signed",
            listed_in: "people.csv where kind is service",
        },
    );
    let apart = BTreeSet::from(APART);
    let mut instances: BTreeMap<&String, Vec<&Signer>> = BTreeMap::new();
    for signer in scope.history.signers.values() {
        signer.instances.iter().for_each(|instance| instances.entry(instance).or_default().push(signer));
    }
    for (instance, signers) in instances {
        // A key that goes by several names is counted under the first.
        let keys = signers.iter().filter(|signer| signer.instances.first() == Some(instance));
        let (steps, others): (Vec<&Signer>, Vec<&Signer>) = keys.partition(|signer| !signer.roles.is_disjoint(&apart));
        let roles: BTreeMap<ServiceRole, At> = signers
            .iter()
            .flat_map(|signer| signer.roles.intersection(&apart).map(|role| (*role, signer.first)))
            .collect();
        let names: Vec<&str> = roles.keys().map(|role| role.name()).collect();
        let what = format!("`{instance}` signs as {}", names.join(", "));
        let fault = Fault::of_name("several-roles", instance, roles.values().copied().collect(), what);
        test.items(steps.len() as u64, (roles.len() > 1).then_some(fault));
        test.items(others.len() as u64, None);
    }
    test.remark(
        "Instances name themselves: processes on one machine, or under one operator, can't be told from these.",
    );
    test.done("No service has signed anything.")
}

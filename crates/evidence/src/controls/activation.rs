//! How keys come into use: authorised, by whom, on record, confirmed (points 3, 4, 6, 15).

use std::collections::{BTreeMap, BTreeSet};

use model::event::ActivationMode;
use model::{EventType, Fingerprint, Name};

use super::{About, ControlTest, FOLLOWS_WITHIN, Fault, Scope, Test, adopted, counted};
use crate::history::{Activation, At, KeyLife};

const NONE_ACTIVATED: &str = "No key was activated in the period.";
const ACTIVATIONS: &str = "activations in the period";
const LISTED: &str = "activations.csv where in_period is yes";

/// What the events of an activation's own steps would be, were they false.
const STEPS: [EventType; 2] = [EventType::ActivationAuthorized, EventType::KeyActivated];

/// Point 3.
pub(super) fn authorised(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.03",
        About {
            title: "Authorisation comes before use",
            statement: "Every activation in the period was asked for, approved and authorised on record before it took \
                        effect; and every emergency activation was reviewed in time.",
            source: "AICM auditing guideline 3",
            method: "For each key.activated: its request, its approvals and its activation.authorized must stand before \
                     it in the chain. An emergency whose review is overdue is an exception. A key.activated or \
                     activation.authorized that does not stand is one, too: somebody tried.",
            of: ACTIVATIONS,
            listed_in: LISTED,
        },
    );
    for (key, activation) in scope.activations() {
        test.item(unauthorised(scope, key, activation));
    }
    let void = scope.attempts().filter(|attempt| attempt.event_type.is_some_and(|of| STEPS.contains(&of)));
    test.against(void.map(|attempt| Fault::of_attempt(scope.history, attempt)));
    let emergencies = scope.activations().filter(|(_, activation)| activation.review_by.is_some());
    let (all, open) = emergencies
        .fold((0, 0), |(all, open), (_, activation)| (all + 1, open + usize::from(activation.reviewed.is_none())));
    if all > 0 {
        let activations = counted(all, "emergency activation", "emergency activations");
        test.remark(format!("{activations} in the period; the review of {open} is not signed yet."));
    }
    adopted::remark(scope).into_iter().for_each(|remark| test.remark(remark));
    test.done(NONE_ACTIVATED)
}

fn unauthorised<'a>(scope: Scope<'a>, key: &'a KeyLife, activation: &'a Activation) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    let mut against = |reason, events: Vec<At>, what: &str| faults.push(Fault::of_key(reason, key, events, what));
    let before = |at: &At| at.sequence < activation.at.sequence;
    if activation.approvals.is_empty() {
        against("not-approved", vec![activation.at], "it was activated with no approval");
    }
    let late: Vec<At> = activation.approvals.iter().map(|approval| approval.at).filter(|at| !before(at)).collect();
    if !late.is_empty() {
        against("approved-afterwards", late, "an approval was given after the activation");
    }
    let request = scope.request(activation);
    if request.and_then(|request| request.authorized.as_ref()).is_none_or(|at| !before(at)) {
        against("not-authorised", vec![activation.at], "it was activated before it was authorised");
    }
    if let Some(by) = activation.review_by {
        let in_time = activation.reviewed.map_or(by >= scope.period.until, |reviewed| reviewed.time <= by);
        if !in_time {
            let events = std::iter::once(activation.at).chain(activation.reviewed).collect();
            against("unreviewed", events, &format!("its emergency activation was not reviewed by {by}"));
        }
    }
    faults
}

/// Point 4.
pub(super) fn by_whom(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.04",
        About {
            title: "Activation is for authorised people, several together",
            statement: "Every activation in the period rests on as many distinct people as the rule in force asks for, \
                        all of them enrolled, none of them who asked; and nobody else has written to the log.",
            source: "AICM auditing guideline 4",
            method: "The approvals that a key.activated names are counted by human being, apart from the rules that let \
                     it in: one person is one vote, by whatever keys and through whomever, and the requester has none. \
                     Events that do not stand are exceptions where no other test has them.",
            of: ACTIVATIONS,
            listed_in: LISTED,
        },
    );
    for (key, activation) in scope.activations() {
        test.item(not_by_them(scope, key, activation));
    }
    let elsewhere = |of: EventType| STEPS.contains(&of) || of == EventType::KeyGenerated || is_custody(of);
    let void = scope.attempts().filter(|attempt| !attempt.event_type.is_some_and(elsewhere));
    test.against(void.map(|attempt| Fault::of_attempt(scope.history, attempt)));
    if scope.history.attempts_more > 0 {
        let more = scope.history.attempts_more;
        test.remark(format!("{more} more events do not stand; `keylatch verify` counts them all."));
    }
    remarks(scope, &mut test);
    test.done(NONE_ACTIVATED)
}

/// Whether other tests have the attempts at it.
pub(super) fn is_custody(of: EventType) -> bool {
    matches!(of, EventType::CustodyApplied | EventType::CustodyUsed | EventType::CustodyRefused)
}

fn remarks(scope: Scope<'_>, test: &mut Test) {
    let single: BTreeMap<&Name, usize> = scope
        .activations()
        .filter(|(_, activation)| activation.approvals.len() == 1)
        .filter_map(|(_, activation)| activation.rule.as_ref())
        .fold(BTreeMap::new(), |mut counts, rule| {
            *counts.entry(rule).or_default() += 1;
            counts
        });
    for (rule, count) in single {
        let activations = counted(count, "activation rests", "activations rest");
        test.remark(format!("{activations} on one approval: rule `{rule}` asks for no more."));
    }
    let approvals = scope.activations().flat_map(|(_, activation)| &activation.approvals);
    let delegated = approvals.filter(|approval| approval.on_behalf_of.is_some()).count();
    if delegated > 0 {
        test.remark(format!("{} given under a delegation.", counted(delegated, "approval was", "approvals were")));
    }
    let people =
        || scope.history.people.values().filter(|person| scope.history.is_person(person.principal.fingerprint()));
    let unbound = people().filter(|person| person.principal.subject.is_none() && person.revoked.is_none()).count();
    if unbound > 0 {
        let keys = counted(unbound, "enrolled key is", "enrolled keys are");
        test.remark(format!(
            "{keys} not bound to an identity provider's subject: that two labels are two human beings is the admins' word."
        ));
    }
}

fn not_by_them<'a>(scope: Scope<'a>, key: &'a KeyLife, activation: &'a Activation) -> Vec<Fault<'a>> {
    let history = scope.history;
    let person = |who: Fingerprint| history.people.get(&who).map(|person| &person.principal.person);
    let asker = scope.request(activation).and_then(|request| person(request.by));
    let (mut faults, mut voters) = (Vec::new(), BTreeSet::new());
    for approval in &activation.approvals {
        let mut against =
            |reason, what| faults.push(Fault::of_key(reason, key, vec![approval.at, activation.at], what));
        let (by, whose) = (person(approval.by), person(approval.on_behalf_of.unwrap_or(approval.by)));
        if by.is_none() || whose.is_none() {
            against("not-enrolled", format!("{} was never enrolled", approval.by));
        }
        if !history.is_person(approval.by) {
            against("not-a-person", format!("`{}` approved, and is no person", history.label(approval.by)));
        }
        let left = history.people.get(&approval.by).and_then(|person| person.revoked);
        if left.is_some_and(|left| left.sequence < activation.at.sequence) {
            against("revoked", format!("`{}` had been revoked before", history.label(approval.by)));
        }
        if asker.is_some() && (asker == by || asker == whose) {
            against("self-approval", format!("`{}` asked for it and approved it", history.label(approval.by)));
        }
        voters.extend(whose);
    }
    if u32::try_from(voters.len()).is_ok_and(|count| count < activation.needed) {
        let what = format!("{} of the {} that the rule asks for had approved", voters.len(), activation.needed);
        faults.push(Fault::of_key("too-few", key, vec![activation.at], what));
    }
    faults
}

/// Point 6.
pub(super) fn recorded(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.06",
        About {
            title: "Activations are on record",
            statement: "Every activation in the period is one record that names the key, the time, who set it off, the \
                        approvals it rests on, and the systems that it affects.",
            source: "AICM auditing guideline 6",
            method: "Each key.activated is read for these members. The key and the time are always there; a record \
                     without an initiator who was enrolled, without approvals, or without affected systems is an \
                     exception.",
            of: ACTIVATIONS,
            listed_in: LISTED,
        },
    );
    for (key, activation) in scope.activations() {
        let mut faults = Vec::new();
        let mut against = |reason, what| faults.push(Fault::of_key(reason, key, vec![activation.at], what));
        if !scope.history.people.contains_key(&activation.initiated_by) {
            against("no-initiator", "who set it off was never enrolled");
        }
        if activation.approvals.is_empty() {
            against("no-approvals", "it refers to no approval");
        }
        if activation.affected_systems.is_empty() {
            against("no-affected-systems", "it names no system that it affects");
        }
        test.item(faults);
    }
    let unlinked = scope.activations().filter(|(_, activation)| activation.change_ref.is_none()).count();
    if unlinked > 0 {
        test.remark(format!(
            "{} no change that it belongs to.",
            counted(unlinked, "activation names", "activations name")
        ));
    }
    test.done(NONE_ACTIVATED)
}

/// Point 15.
pub(super) fn confirmed(scope: Scope<'_>) -> ControlTest {
    let mut test = Test::new(
        "CEK-15.15",
        About {
            title: "How activation happens is confirmed",
            statement: "Every activation in the period says how it came about (on command, at its time, or under a \
                        standing authorisation), and the custodian confirmed in time that the store followed.",
            source: "CCM CEK-15, the activation process: manual, on creation, at a future time",
            method: "Each key.activated has its mode. The custody.applied that follows it confirms that the store has \
                     been brought to it, or to what came after. One that is late or not there is an exception.",
            of: ACTIVATIONS,
            listed_in: LISTED,
        },
    );
    let (mut modes, mut anew) = (BTreeMap::<ActivationMode, usize>::new(), 0);
    for (key, activation) in scope.activations() {
        *modes.entry(activation.mode).or_default() += 1;
        // No custodian has an adopted key.
        let here = scope.history.keys.contains_key(&key.id);
        anew += usize::from(!here);
        test.item(unfollowed(scope, key, &activation.at).filter(|_| here));
    }
    if anew > 0 {
        let activations = counted(anew, "activation is of an adopted key", "activations are of adopted keys");
        test.remark(format!(
            "{activations}, which no custodian holds: whether the store follows is not confirmed here."
        ));
    }
    let of = |mode| modes.get(&mode).copied().unwrap_or_default();
    if test.test.population.count > 0 {
        test.remark(format!(
            "On command: {}. By itself, when it was authorised and its time had come: {}. Under a standing authorisation: \
             {}. No key can be activated by being created.",
            of(ActivationMode::Manual),
            of(ActivationMode::Scheduled),
            of(ActivationMode::Standing)
        ));
    }
    test.done(NONE_ACTIVATED)
}

/// What there is against a change of state that the custodian did not confirm in time.
pub(super) fn unfollowed<'a>(scope: Scope<'a>, key: &'a KeyLife, change: &At) -> Option<Fault<'a>> {
    match key.custody_after(change) {
        Some(custody) if custody.at.time <= change.time + FOLLOWS_WITHIN => None,
        Some(custody) => {
            let what = format!("its store followed after {}", custody.at.time - change.time);
            Some(Fault::of_event("late", Some(key), *change, what).with([custody.at]))
        }
        None if scope.is_over(change.time) => Some(Fault::of_event(
            "unconfirmed",
            Some(key),
            *change,
            "no custodian has confirmed that its store followed",
        )),
        None => None,
    }
}

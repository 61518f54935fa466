//! Lawful lives under rules epoch 4, and what services and people get who break its rules: void events. Each case is also a
//! published vector: see `vectors`. A feature adds its rows here, made in its own module.

use lifecycle::decide::Adopting;
use lifecycle::scenario::{Scenario, inventory, key_id, line_of};
use lifecycle::{Duty, Input};
use model::event::*;
use model::{Event, KeyState};

use super::adoption::{self, ANEW, POLICY, adopted, baseline_of};
use super::sealed_vectors;
use super::vectors::{Made, Suite, asks, decided, decided_at, forge, late};
use super::{at_epoch, under};

const EPOCH_4: Suite = Suite {
    epoch: 4,
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/vectors/law-v4.json"),
    lives: &[LIVES, sealed_vectors::LIVES],
    misdeeds: &[MISDEEDS, sealed_vectors::MISDEEDS],
};

/// Lives in which every event stands.
const LIVES: &[(&str, Made)] =
    &[("keys that were there before: authorised anew, rotated, late, and ended", adoption::life)];

/// A baseline of k7 and k8 as it would lawfully be recorded, changed.
fn baseline(change: impl FnOnce(BaselineAdopted) -> BaselineAdopted) -> Scenario {
    let mut s = under(POLICY);
    s.run("inventory k7,k8 by ann => document.stored");
    let signed = baseline_asked(&mut s);
    let Event::BaselineAdopted(made) = decided(&s, &signed) else { panic!() };
    forge(&mut s, &Event::BaselineAdopted(change(made)));
    s
}

fn baseline_asked(s: &mut Scenario) -> Input {
    let step = baseline_of("k7+k8");
    let params = step.split_once("baseline.adopt ").unwrap().1;
    asks(s, "baseline.adopt", None, params, "ann,bob")
}

/// A key of a baseline as it would lawfully be recorded, changed.
fn taken(change: impl FnOnce(KeyAdopted) -> KeyAdopted) -> Scenario {
    let mut s = under(POLICY);
    s.run("inventory k7,k8 by ann => document.stored");
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7+k8")));
    let Event::KeyAdopted(made) = decided(&s, &k7(&s)) else { panic!() };
    forge(&mut s, &Event::KeyAdopted(change(made)));
    s
}

fn k7(s: &Scenario) -> Input {
    let baseline = s.tenant.governance.as_ref().unwrap().baselines.values().next().unwrap().hash;
    let (_, membership) = inventory("k7,k8").memberships().next().unwrap();
    Input::Adopted(Adopting { baseline, line: line_of("k7"), membership })
}

/// Cases whose last event is void.
const MISDEEDS: &[(&str, Made)] = &[
    ("a second baseline of a store", || {
        let mut s = under(POLICY);
        s.run("inventory k7,k8 by ann => document.stored\ninventory k9 by ann => document.stored");
        let Event::BaselineAdopted(made) = ({
            let signed = baseline_asked(&mut s);
            decided(&s, &signed)
        }) else {
            panic!()
        };
        s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k9")));
        forge(&mut s, &Event::BaselineAdopted(made));
        s
    }),
    ("a baseline with a later date than was signed", || {
        baseline(|made| BaselineAdopted { rotate_by: made.rotate_by + "1d".parse().unwrap(), ..made })
    }),
    ("a baseline over another list than was signed", || {
        baseline(|made| BaselineAdopted { manifest: inventory("k7,k9").manifest(), ..made })
    }),
    ("a key of no baseline", || taken(|made| KeyAdopted { cause: model::EventHash::ZERO, ..made })),
    ("a key that is not in the list", || taken(|made| KeyAdopted { key_id: key_id("k9"), ..made })),
    ("a key at another place of the list", || {
        taken(|made| KeyAdopted { membership: Membership { index: 1, ..made.membership.clone() }, ..made })
    }),
    ("a key with more time than its baseline gives", || {
        taken(|made| KeyAdopted { rotate_by: made.rotate_by + "1d".parse().unwrap(), ..made })
    }),
    ("a key adopted twice", || {
        let mut s = under(POLICY);
        s.run("inventory k7,k8 by ann => document.stored");
        s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7+k8")));
        let input = k7(&s);
        late(s, &input, "take k7 of k7,k8 => key.adopted")
    }),
    ("a custodian that says it applied something to an adopted key", || {
        let mut s = adopted();
        let k7 = &s.tenant.keys[&key_id("k7")];
        let after = Some(Place { inventory: Inventory::Active, wrapping_key: "w1".parse().unwrap() });
        let (key_id, state, store, cause) = (k7.id, KeyState::Active, k7.store.clone(), k7.transition);
        forge(&mut s, &Event::CustodyApplied(CustodyApplied { key_id, state, store, before: None, after, cause }));
        s
    }),
    ("a custodian that says it set an adopted key back", || {
        let mut s = adopted();
        let drifted = s.drifted("k7", "attributes");
        forge(&mut s, &Event::CustodyDrifted(CustodyDrifted { set_back: true, ..drifted }));
        s
    }),
    ("an adopted key that is activated without its approvals", || {
        let mut s = adopted();
        s.run(ANEW.rsplit_once('\n').unwrap().0);
        s.run("duty authorize k7 => activation.authorized");
        late(s, &Input::Due(Duty::Activate(key_id("k7"))), "revoke lou by ann,bob => principal.revoked")
    }),
    ("a date that is said to be missed although the key was authorised anew", || {
        let mut s = adopted();
        let event = decided_at(&s, &Input::Due(Duty::Miss(key_id("k7"))), s.now + "90d".parse().unwrap());
        s.run(ANEW);
        s.run("wait 90d");
        forge(&mut s, &event);
        s
    }),
    ("what came with epoch 4 in a chain under epoch 3", || {
        let mut made = baseline(|made| made);
        let lawful = made.records.pop().unwrap();
        let body = journal::Body::parse(&lawful.payload).unwrap();
        let event = Event::parse(body.event_type.parse().unwrap(), &body.data).unwrap();
        let mut s = at_epoch(3, || under(POLICY));
        s.run("inventory k7,k8 by ann => document.stored");
        forge(&mut s, &event);
        s
    }),
];

#[test]
fn lives_under_epoch_4_stand_in_every_event() {
    EPOCH_4.lives_stand_in_every_event();
}

#[test]
fn services_and_people_that_break_the_rules_of_epoch_4_change_nothing() {
    EPOCH_4.misdeeds_change_nothing();
}

#[test]
fn the_published_law_vectors_of_epoch_4_come_out_as_they_say() {
    EPOCH_4.the_published_vectors_come_out_as_they_say();
}

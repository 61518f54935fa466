//! Histories for these tests, and what they add up to.

use std::collections::BTreeMap;

use evidence::Verifier;
use evidence::controls::{self, ControlTest, Controls, Period, Tested};
use evidence::history::History;
use journal::Record;
use lifecycle::Input;
use lifecycle::decide::Applied;
use lifecycle::scenario::{Scenario, key_id};
use model::event::{Inventory, Place};
use model::{KeyState, Sequence, ServiceRole};

/// A store that keeps its inventories apart: the script's `place k1`, as its `apply k1`, says where the key was and is.
pub(crate) fn place(scenario: &mut Scenario, key: &str) {
    let key = scenario.tenant.keys[&key_id(key)].clone();
    let at = |inventory| {
        let name = if inventory == Inventory::PreActive { "waiting" } else { "working" };
        Some(Place { inventory, wrapping_key: name.parse().unwrap() })
    };
    let unused = key.activation.is_none();
    let after = match key.state {
        KeyState::Destroyed | KeyState::DestroyedCompromised => None,
        _ if unused => at(Inventory::PreActive),
        _ => at(Inventory::Active),
    };
    let first = key.custody.is_none();
    let before = if first { None } else { at(if unused { Inventory::PreActive } else { Inventory::Active }) };
    let (store, cause) = (key.store.clone(), key.transition);
    let applied = Applied { key_id: key.id, state: key.state, store, before, after, cause };
    scenario.submit(ServiceRole::Custodian, Input::Applied(applied)).unwrap();
}

/// Runs a script that also knows `place <key>`.
#[track_caller]
pub(crate) fn run(scenario: &mut Scenario, script: &str) {
    for line in script.lines().map(str::trim) {
        match line.strip_prefix("place ") {
            Some(key) => place(scenario, key),
            None => scenario.run(line),
        }
    }
}

/// What a history adds up to, read so many events at a time.
pub(crate) fn replay(scenario: &Scenario, records: &[Record], at_once: usize) -> (Verifier, History) {
    let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    let mut history = History::default();
    for records in records.chunks(at_once) {
        verifier.take_each(records.to_vec(), &mut |state, (sequence, prepared, judgement)| {
            history.take(state, sequence, &prepared, &judgement);
        });
    }
    (verifier, history)
}

/// The control tests over a scenario's events from this one on.
pub(crate) fn tests(scenario: &Scenario, from: u64) -> Controls {
    let (verifier, history) = replay(scenario, &scenario.records, 64);
    let report = verifier.report();
    let period = Period { from: Sequence(from), to: Sequence(report.events), until: report.time };
    let of = Tested { tenant: report.tenant, root: report.root, period, head: report.head };
    controls::test(&history, of, &BTreeMap::new())
}

/// One of them.
pub(crate) fn test(controls: &Controls, id: &str) -> ControlTest {
    let test = controls.controls.iter().find(|test| test.id == id);
    test.unwrap_or_else(|| panic!("there is no test {id}")).clone()
}

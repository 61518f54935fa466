//! Histories for these tests, and what they add up to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use evidence::controls::{ControlTest, Controls};
use evidence::{Bundle, Replay, bundle};
use journal::Record;
use journal::note::{Checkpoint, Note};
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
pub(crate) fn replay(scenario: &Scenario, records: &[Record], from: u64, at_once: usize) -> Replay {
    let mut replay = Replay::new(scenario.tenant.chain.tenant(), scenario.tenant.root, Sequence(from));
    records.chunks(at_once).for_each(|records| replay.take(records.to_vec()));
    replay
}

/// The control tests over a scenario's events from this one on.
pub(crate) fn tests(scenario: &Scenario, from: u64) -> Controls {
    replay(scenario, &scenario.records, from, 64).controls()
}

/// One of them.
pub(crate) fn test(controls: &Controls, id: &str) -> ControlTest {
    let test = controls.controls.iter().find(|test| test.id == id);
    test.unwrap_or_else(|| panic!("there is no test {id}")).clone()
}

/// A folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The exporter's word on where a scenario stands.
pub(crate) fn checkpoint(scenario: &Scenario) -> Note {
    let checkpoint = Checkpoint::of(scenario.tenant.chain.tenant(), scenario.tenant.chain.tree());
    Note::parse(&checkpoint.sign(scenario.service(ServiceRole::EvidenceExporter).signing_key())).unwrap()
}

/// A scenario's bundle, made so many events at a time.
pub(crate) fn bundle(scenario: &Scenario, from: u64, at_once: usize) -> Files {
    bundle_with(scenario, from, at_once, &[checkpoint(scenario)])
}

/// The same with these checkpoints.
pub(crate) fn bundle_with(scenario: &Scenario, from: u64, at_once: usize, notes: &[Note]) -> Files {
    let mut files = Files::new();
    let mut bundle = Bundle::new(scenario.tenant.chain.tenant(), scenario.tenant.root, Sequence(from));
    let (mut events, mut lines) = (Vec::new(), Vec::new());
    let mut take = |records: &[Record]| bundle.take(records.to_vec(), &mut events, &mut lines).unwrap();
    scenario.records.chunks(at_once).for_each(&mut take);
    files.extend([(bundle::EVENTS.to_owned(), events), (bundle::LINES.to_owned(), lines)]);
    let made = bundle.finish(notes).unwrap();
    let written = RefCell::new(files);
    let exporter = scenario.service(ServiceRole::EvidenceExporter);
    let open = |name: &str| Ok(Entry { name: name.to_owned(), files: &written });
    let statement = made.write(exporter, open).unwrap();
    let mut files = written.into_inner();
    files.insert(bundle::MANIFEST.to_owned(), statement.sign(exporter));
    files
}

/// A file being written.
struct Entry<'a> {
    name: String,
    files: &'a RefCell<Files>,
}

impl Write for Entry<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.borrow_mut().entry(self.name.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! What it costs to ask what is due, among a hundred keys and among a hundred thousand, in one run.
//!
//! `cargo run --release -p journal-sled --example deadlines`. Nothing is looked through: both are one read of the index.
#![allow(clippy::unwrap_used, reason = "an example that measures")]

use std::time::Instant;

use journal::Record;
use journal_sled::replica::{Change, Replica};
use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Key, View};
use model::{ServiceRole, Span, Timestamp};

const ASKED: u32 = 2_000;
const GROUP: usize = 1_000;

fn main() {
    let few = measure(100);
    let many = measure(100_000);
    for (what, few, many) in [("nothing is due", few.0, many.0), ("256 keys are due", few.1, many.1)] {
        println!("{what:<20} 100 keys {few:>8.1} µs, 100,000 keys {many:>8.1} µs: {:.2} times", many / few);
    }
}

/// Microseconds to ask while nothing is due, and while at least 100 keys are.
fn measure(keys: usize) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let mut scenario = Scenario::new();
    scenario.run("generate k1 by kim => key.generated\napply k1 => custody.applied");
    let key = scenario.tenant.keys.get(&key_id("k1")).unwrap();
    let replica = Replica::open(dir.path(), scenario.tenant.root).unwrap().replica;
    let changes = history(scenario.tenant.chain.tenant(), key, keys, scenario.now);
    changes.chunks(GROUP).for_each(|group| replica.commit(group).unwrap());
    let ask = |until: Timestamp| {
        let start = Instant::now();
        for _ in 0..ASKED {
            replica.due(ServiceRole::Expirer, until, 256).unwrap();
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(ASKED)
    };
    (ask(scenario.now), ask(scenario.now + Span::from_secs(1_000_000)))
}

/// So many keys, each of which waits for a time of its own. A store does not look at signatures, so the events are empty.
fn history(tenant: model::TenantId, like: &Key, keys: usize, now: Timestamp) -> Vec<Change> {
    let mut before = View::empty(tenant);
    let mut changes = Vec::with_capacity(keys);
    for number in 0..keys {
        let record = Record { signature: String::new(), payload: vec![1].into() };
        let id = key_id(&format!("k{number}"));
        let until = now + Span::from_secs(3_600 + u32::try_from(number).unwrap());
        let mut after = View { key: Some(Key { id, pre_active_until: until, ..like.clone() }), ..before.clone() };
        let _ = after.chain.admit(&record, Err(&journal::Void::Header));
        let next = View { key: None, ..after.clone() };
        changes.push(Change { before: std::mem::replace(&mut before, next), after, record });
    }
    changes
}

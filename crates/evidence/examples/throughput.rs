//! What verifying a history costs on this machine, beside what its signatures cost alone, in one run on one core.
//!
//! `cargo run --release -p evidence --example throughput`
#![allow(clippy::unwrap_used, reason = "an example that measures")]

use std::time::Instant;

use evidence::Verifier;
use journal::command::SignedCommand;
use journal::{Authentic, Record, Ring};
use lifecycle::scenario::Scenario;
use model::{Event, EventType};

const KEYS: usize = 150;

fn main() {
    let scenario = history();
    let (records, ring) = (&scenario.records, scenario.tenant.ring());
    let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
    println!("{} events of {} bytes on average", records.len(), bytes / records.len());
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();

    let events = rate(records.len(), || records.iter().for_each(|record| drop(opened(record, &ring))));
    let commands: Vec<_> = records.iter().filter_map(|record| command(record, &ring)).collect();
    let whole = rate(records.len(), || {
        let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        let judged = one_core.install(|| verifier.take(records.clone()));
        assert!(verifier.report().is_clean() && judged.len() == records.len());
    });
    let signed = rate(commands.len(), || {
        for command in &commands {
            SignedCommand::open(command.clone()).unwrap();
        }
    });
    println!("form of events (signature, JSON)      {events:>9.0} /s");
    println!("commands (signatures, JSON)           {signed:>9.0} /s");
    println!("form and law, everything              {whole:>9.0} events/s, {:.2} of form alone", whole / events);
}

fn history() -> Scenario {
    let mut scenario = Scenario::new();
    for at in 0..KEYS {
        scenario.run(&format!(
            "generate k{at} by kim => key.generated
             apply k{at} => custody.applied
             request k{at} by rae => activation.requested
             approve k{at} by sam => activation.approved
             approve k{at} by lou => activation.approved
             due => activation.authorized, key.activated
             apply k{at} => custody.applied
             suspend k{at} by opa => key.suspended
             apply k{at} => custody.applied"
        ));
    }
    scenario
}

fn opened(record: &Record, ring: &Ring) -> Option<Authentic> {
    Authentic::open(record, ring).ok()
}

fn command(record: &Record, ring: &Ring) -> Option<model::Envelope> {
    let body = opened(record, ring)?.body;
    let event_type: EventType = body.event_type.parse().ok()?;
    Event::parse(event_type, &body.data).ok()?.command().cloned()
}

/// How many a second: the best of five.
fn rate(count: usize, run: impl Fn()) -> f64 {
    let seconds = (0..5).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    });
    count as f64 / seconds.fold(f64::INFINITY, f64::min)
}

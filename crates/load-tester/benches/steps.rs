//! What each step of an event costs: signed, verified, hashed, decided, judged, applied to a replica; and whole histories
//! verified, beside the same signatures alone on the same cores.
//!
//! `cargo xtask bench steps [NAME]`
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "measures")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use evidence::Verifier;
use journal::command::SignedCommand;
use journal::{Authentic, Record, Ring};
use journal_sled::{Change, Replica};
use lifecycle::scenario::Scenario;
use lifecycle::{Input, Tenant, View, decide, judge, prepare};
use model::Event;

/// So many keys, each from birth to use: eight events.
fn history(keys: usize) -> Scenario {
    let mut scenario = Scenario::new();
    scenario.compares = false;
    for number in 0..keys {
        let k = format!("k{number}");
        scenario.run(&format!(
            "generate {k} by kim => key.generated\napply {k} => custody.applied\nrequest {k} by rae => activation.requested
             approve {k} by sam => activation.approved\napprove {k} by lou => activation.approved
             duty authorize {k} => activation.authorized\nduty activate {k} => key.activated\napply {k} => custody.applied"
        ));
    }
    scenario
}

/// An event, and what stood before it.
fn approval(scenario: &Scenario) -> (View, Record) {
    let mut tenant = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    for record in &scenario.records {
        let prepared = prepare(record.clone(), &tenant.ring(), tenant.root);
        let view = tenant.view(prepared.footprint());
        if matches!(prepared.event(), Some(Event::ActivationApproved(_))) {
            return (view, record.clone());
        }
        tenant.take(&prepared).unwrap();
    }
    panic!("the history has no approval")
}

fn steps(bench: &mut Criterion) {
    let scenario = history(20);
    let ring = scenario.tenant.ring();
    let (before, record) = approval(&scenario);
    let prepared = prepare(record.clone(), &ring, scenario.tenant.root);
    let input = Input::Command(Arc::new(prepared.command().unwrap().clone()));
    let at = prepared.body().unwrap().time;
    let envelope = prepared.command().unwrap().envelope.clone();
    let mut steps = bench.benchmark_group("an approval");
    steps.bench_function("hash", |b| b.iter(|| black_box(&record).hash()));
    steps.bench_function("open the command: signature and JSON", |b| {
        b.iter_batched(|| envelope.clone(), |envelope| SignedCommand::open(envelope).unwrap(), BatchSize::SmallInput);
    });
    steps.bench_function("decide", |b| b.iter(|| decide(&before, &input, at).unwrap()));
    let event = decide(&before, &input, at).unwrap();
    let key = scenario.service(model::ServiceRole::Approver);
    steps.bench_function("sign and chain", |b| {
        b.iter(|| key.sign_event(&before.chain, service::clock::event_id(), at, &event));
    });
    steps.bench_function("verify the event: signature and JSON", |b| {
        b.iter(|| Authentic::open(black_box(&record), &ring).unwrap());
    });
    steps.bench_function("judge: decide again, compare, evolve", |b| {
        b.iter_batched(|| before.clone(), |mut view| judge(&mut view, &prepared).unwrap(), BatchSize::SmallInput);
    });
    steps.finish();
}

fn replica(bench: &mut Criterion) {
    let scenario = history(100);
    let mut tenant = Tenant::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    let mut changes = Vec::new();
    for record in &scenario.records {
        let prepared = prepare(record.clone(), &tenant.ring(), tenant.root);
        let before = tenant.view(prepared.footprint());
        tenant.take(&prepared).unwrap();
        let mut after = before.clone();
        judge(&mut after, &prepared).unwrap();
        changes.push(Change { before, after, record: record.clone() });
    }
    let mut group = bench.benchmark_group("replica");
    group.throughput(Throughput::Elements(changes.len() as u64)).sample_size(10);
    group.bench_function("apply in groups of 128", |b| {
        b.iter_batched(
            || {
                let dir = tempfile::tempdir().unwrap();
                let opened = Replica::open(&dir.path().join("replica"), scenario.tenant.root).unwrap();
                (dir, opened.replica)
            },
            |(dir, replica)| {
                changes.chunks(128).for_each(|group| replica.apply(group).unwrap());
                (dir, replica)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Whole histories of growing length, and the same signatures alone, by every core.
fn verify(bench: &mut Criterion) {
    let _ = bench;
    println!("\nverifying: events a second on {} cores", rayon::current_num_threads());
    println!("{:>9}  {:>12}  {:>14}  {:>6}", "events", "verified", "signatures*", "ratio");
    for keys in [125, 1_250, 6_250] {
        let scenario = history(keys);
        let ring = scenario.tenant.ring();
        let signatures = signatures(&scenario, &ring);
        let begin = Instant::now();
        let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
        for records in scenario.records.chunks(512) {
            verifier.take(records.to_vec());
        }
        assert!(verifier.report().is_clean());
        let ours = scenario.records.len() as f64 / begin.elapsed().as_secs_f64();
        let bare = bare(signatures, scenario.records.len());
        println!("{:>9}  {ours:>12.0}  {bare:>14.0}  {:>6.2}", scenario.records.len(), ours / bare);
    }
    println!("* as many strict Ed25519 verifications as the history has signatures, of messages of the same lengths");
}

/// The lengths of the messages that were signed: of events, commands and statements.
fn signatures(scenario: &Scenario, ring: &Ring) -> Vec<usize> {
    let mut lengths = Vec::new();
    for record in &scenario.records {
        lengths.push(record.payload.len());
        let prepared = prepare(record.clone(), ring, scenario.tenant.root);
        if let Some(command) = prepared.command() {
            lengths.extend(command.envelope.signatures.iter().map(|_| command.envelope.payload.0.len()));
        }
        if let Some(Event::KeyGenerated(event)) = prepared.event() {
            lengths.push(event.statement.payload.0.len());
        }
    }
    lengths
}

fn bare(lengths: Vec<usize>, events: usize) -> f64 {
    use rayon::prelude::*;
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key();
    let signed: Vec<(Vec<u8>, Signature)> = lengths
        .into_par_iter()
        .map(|length| {
            let message = vec![9; length];
            let signature = key.sign(&message);
            (message, signature)
        })
        .collect();
    let begin = Instant::now();
    assert!(signed.par_iter().all(|(message, signature)| public.verify_strict(message, signature).is_ok()));
    events as f64 / begin.elapsed().as_secs_f64()
}

criterion_group!(all, steps, replica, verify);
criterion_main!(all);

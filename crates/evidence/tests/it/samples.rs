//! Samples from whole histories: what they are drawn from, and that their proofs hold.

use evidence::sample::{self, Asked, Error, Of, Sample, Unproved, checkpoints, population};
use journal::merkle::Hash;
use journal::note::{Note, NoteKey};
use lifecycle::scenario::Scenario;
use model::{Sequence, ServiceRole};

use super::stage::{checkpoint, replay, run};

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    run(
        &mut scenario,
        "generate k1 by rae => key.generated
         generate k2 by kim => key.generated
         generate k3 by kim => key.generated
         request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated
         checkpoint => checkpoint.signed
         generate k4 by kim => key.generated
         checkpoint => checkpoint.signed",
    );
    scenario
}

fn asked(of: Of, count: u64) -> Asked {
    Asked { of, from: Sequence(1), size: None, count, nonce: None }
}

fn draw(scenario: &Scenario, asked: &Asked) -> Result<Sample, Error> {
    let replay = replay(scenario, &scenario.records, 1, 64);
    Sample::draw(&replay, &checkpoints(&replay, &[]), asked).map(|(sample, _)| sample)
}

#[test]
fn a_population_is_the_events_of_a_kind_in_their_order() {
    let scenario = scenario();
    let replay = replay(&scenario, &scenario.records, 1, 64);
    for (of, count) in [(Of::Keys, 4), (Of::Activations, 1), (Of::Approvals, 2), (Of::People, 14)] {
        let items = population(replay.history(), of, Sequence(1), Sequence(u64::MAX));
        assert_eq!(items.len(), count, "{of}: {items:?}");
        assert!(items.is_sorted(), "{of}");
        for item in &items {
            let record = &scenario.records[item.sequence.0 as usize - 1];
            assert_eq!(record.hash(), item.hash, "{of}");
        }
    }
    // Three admins by one event, in the order of their fingerprints.
    let founders = population(replay.history(), Of::People, Sequence(1), Sequence(1));
    assert_eq!(founders.len(), 3);
    let first_key = population(replay.history(), Of::Keys, Sequence(1), Sequence(u64::MAX))[0].sequence;
    assert_eq!(population(replay.history(), Of::Keys, first_key.next(), Sequence(u64::MAX)).len(), 3);
}

#[test]
fn a_sample_ends_with_its_checkpoint_and_every_item_is_proved_in_it() {
    let scenario = scenario();
    let newest = draw(&scenario, &asked(Of::Keys, 25)).unwrap();
    assert_eq!((newest.population.count, newest.items.len()), (4, 4));
    let size = newest.checkpoint.size;
    let older = newest.checkpoint.size - 2;
    let older = draw(&scenario, &Asked { size: Some(older), ..asked(Of::Keys, 2) }).unwrap();
    assert_eq!((older.population.count, older.items.len(), older.checkpoint.size), (3, 2, size - 2));

    let known = checkpoints(&replay(&scenario, &scenario.records, 1, 64), &[]);
    let leaves: Vec<Hash> = scenario.records.iter().map(|record| *record.hash().as_bytes()).collect();
    let tenant = scenario.tenant.chain.tenant();
    let exporter = scenario.service(ServiceRole::EvidenceExporter).signing_key().verifying_key();
    let (origin, log) = (journal::note::origin(tenant), [NoteKey::of_log(tenant, exporter)]);
    for sample in [newest, older] {
        let proofs = sample::proofs(&sample, &known, leaves.clone()).unwrap();
        assert_eq!(proofs.len(), sample.items.len());
        for (drawn, proof) in sample.items.iter().zip(proofs) {
            let opened = proof.verify(drawn.item.hash.as_bytes(), &origin, &log, &[]).unwrap();
            assert_eq!(opened.checkpoint.size, sample.checkpoint.size);
            let text = proof.to_string();
            assert_eq!(sample.proves(&known, drawn, &text), Ok(()));
            let next = format!("index {}\n", proof.index + 1);
            let moved = text.replace(&format!("index {}\n", proof.index), &next);
            assert!(matches!(sample.proves(&known, drawn, &moved), Err(Unproved::Place { .. })));
            let other = text.replace(&format!("\n{}\n", sample.checkpoint.size), "\n7\n");
            assert!(matches!(sample.proves(&known, drawn, &other), Err(Unproved::Checkpoint(_))));
            let mut longer = proof;
            longer.path.push([0; 32]);
            let said = sample.proves(&known, drawn, &longer.to_string());
            assert!(matches!(said, Err(Unproved::Proof(_))), "{said:?}");
        }
    }
}

#[test]
fn there_is_no_sample_without_a_checkpoint_or_of_nothing() {
    let scenario = scenario();
    let none = Error::NoSuchCheckpoint(3);
    assert_eq!(draw(&scenario, &Asked { size: Some(3), ..asked(Of::Keys, 1) }), Err(none));
    assert_eq!(draw(&scenario, &asked(Of::Keys, 1_001)), Err(Error::TooMany(1_001)));
    let late = Asked { from: Sequence(1_000), ..asked(Of::Keys, 1) };
    assert!(matches!(draw(&scenario, &late), Err(Error::Empty { of: Of::Keys, from: 1_000, .. })));
    assert_eq!(draw(&Scenario::new(), &asked(Of::People, 1)), Err(Error::NoCheckpoint));
}

/// A bundle ends with the events that a checkpoint is over: that checkpoint's own event comes after them.
#[test]
fn the_checkpoint_over_all_events_will_do_where_an_exporter_signed_it() {
    let mut scenario = scenario();
    run(&mut scenario, "generate k5 by kim => key.generated");
    let (one, bundled) = (checkpoint(&scenario), scenario.records.clone());
    run(&mut scenario, "checkpoint => checkpoint.signed");
    let newest = draw(&scenario, &asked(Of::Keys, 2)).unwrap();
    let short = replay(&scenario, &bundled, 1, 64);
    let again =
        |notes: &[Note]| Sample::draw(&short, &checkpoints(&short, notes), &newest.asked()).map(|(again, _)| again);
    assert_eq!(again(std::slice::from_ref(&one)), Ok(newest.clone()));
    let unknown = Error::NoSuchCheckpoint(newest.checkpoint.size);
    assert_eq!(again(&[]), Err(unknown.clone()));
    let older = Note::parse(&short.history().checkpoints[0].note).unwrap();
    assert_eq!(again(&[older]), Err(unknown.clone()));
    let checkpoint = one.checkpoint().unwrap();
    let by_another = checkpoint.sign(scenario.service(ServiceRole::Approver).signing_key());
    assert_eq!(again(&[Note::parse(&by_another).unwrap()]), Err(unknown));
}

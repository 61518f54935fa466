//! Recording: batches, repeats, contention, and every step failed or failed but persisted.

use std::collections::BTreeSet;

use evidence::Verifier;
use journal::Journal as _;
use journal::memory::Fault;
use lifecycle::scenario::key_id;
use lifecycle::{Duty, Input};
use model::{KeyState, ProblemType, ServiceRole, Span};
use service::Clock;

use crate::world::{World, log, node, scenario};

/// Everything in the log, verified by somebody who has only its bytes.
fn verify(world: &World) -> evidence::Report {
    let mut verifier = Verifier::new(world.tenant, world.scenario.tenant.root);
    verifier.take(world.node.journal().records(world.tenant));
    let report = verifier.report();
    assert!(report.is_clean(), "{:?}", report.voids);
    report
}

#[tokio::test]
async fn commands_sent_together_go_in_together_each_seeing_those_before_it() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    let (_, other) = world.signed("request", &["k1"], "kim");
    let (_, enroll) = world.signed("enroll", &["zoe", "security"], "ann,bob");
    let answers = tokio::join!(
        world.record(role, &request),
        world.record(role, &other),
        world.record(role, &enroll),
        world.record(role, &request),
    );
    let first = answers.0.unwrap();
    assert_eq!(answers.1.unwrap_err().problem, ProblemType::RequestOpen);
    assert!(answers.2.is_ok());
    assert_eq!(answers.3.unwrap(), first, "the same command is answered alike");
    verify(&world);
}

#[tokio::test]
async fn the_same_command_gives_the_same_answer_for_ever() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    let first = world.record(role, &request).await.unwrap();
    assert_eq!(world.record(role, &request).await, Ok(first));
    world.wait(Span::from_secs(7 * 24 * 3600));
    assert_eq!(world.record(role, &request).await, Ok(first), "also long after it expired");
    // A service that restarts, and one whose replica is gone.
    let World { node: old, scenario, clock, tenant, dir } = world;
    drop(old);
    for replica in ["replica", "another"] {
        let node = node(&scenario, journal.clone(), &dir.path().join(replica), &clock);
        node.catch_up(tenant).await.unwrap();
        assert_eq!(node.record(tenant, role, Input::Command(request.clone())).await, Ok(first));
    }
}

#[tokio::test]
async fn a_command_id_with_other_bytes_is_refused() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    world.record(role, &request).await.unwrap();
    let mut other = request.command.clone();
    other.expires_at = other.expires_at + Span::from_millis(1);
    let hand =
        journal::command::KeyInHand::new(ed25519_dalek::SigningKey::from_bytes(model::Digest::of(b"rae").as_bytes()));
    let envelope = journal::command::SignedCommand::sign(&other, &[&hand]).unwrap();
    let other = std::sync::Arc::new(journal::command::SignedCommand::open(envelope).unwrap());
    assert_eq!(world.record(role, &other).await.unwrap_err().problem, ProblemType::CommandIdReused);
}

/// The fault matrix: at the commit point, failed, and failed but persisted, whole or in part. Whoever asked is told that
/// it is not known or gets the true answer; asking again gives the true answer; nothing is recorded twice.
#[tokio::test]
async fn an_append_that_fails_is_found_out_whether_it_persisted_or_not() {
    for fault in
        [Fault::Failed, Fault::FailedButPersisted(0), Fault::FailedButPersisted(1), Fault::FailedButPersisted(2)]
    {
        let scenario = scenario();
        let journal = log(&scenario);
        let mut world = World::new(scenario, journal.clone()).await;
        let (role, request) = world.signed("request", &["k1"], "rae");
        let (_, enroll) = world.signed("enroll", &["zoe", "security"], "ann,bob");
        let before = journal.records(world.tenant).len();
        journal.set_fault(Some(fault));
        let (one, two) = tokio::join!(world.record(role, &request), world.record(role, &enroll));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(world.record(role, &request).await, Ok(one), "{fault:?}");
        assert_eq!(world.record(role, &enroll).await, Ok(two), "{fault:?}");
        assert_eq!(journal.records(world.tenant).len(), before + 2, "{fault:?}");
        verify(&world);
    }
}

/// A crash between the commit point and the answer: the process is gone, the next one answers with what stands.
#[tokio::test]
async fn a_crash_after_the_commit_point_loses_nothing() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    let recorded = world.record(role, &request).await.unwrap();
    // A process that has the replica from before, as if it had crashed after the log acknowledged.
    let fresh = world.dir.path().join("as-of-before");
    let clock = Clock::set_at(world.scenario.now);
    let next = node(&world.scenario, journal, &fresh, &clock);
    assert_eq!(next.record(world.tenant, role, Input::Command(request)).await, Ok(recorded));
}

/// Reads fail while the outcome of an append is unknown: nobody is told anything that is not so.
#[tokio::test]
async fn silence_is_answered_as_unavailable() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let (role, request) = world.signed("request", &["k1"], "rae");
    journal.set_fault(Some(Fault::FailedAndUnreadable));
    assert_eq!(world.record(role, &request).await.unwrap_err().problem, ProblemType::Unavailable);
    journal.set_fault(None);
    assert!(world.record(role, &request).await.is_ok());
    verify(&world);
}

/// Several processes on one log: whoever is behind catches up and decides again.
#[tokio::test(flavor = "multi_thread")]
async fn writers_that_race_all_get_their_turn() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal.clone()).await;
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let nodes: Vec<_> = (0..3)
        .map(|n| node(&world.scenario, journal.clone(), &world.dir.path().join(format!("r{n}")), &world.clock))
        .collect();
    // Commands that do not depend on the state: each on a key of its own kind of trouble would be refused, so keys.
    let mut tasks = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let (node, tenant) = (nodes[n % 3].clone(), world.tenant);
        let key = format!("k{}", n + 100);
        let action = model::Action::KeyGenerate(model::command::KeyGenerate {
            spec: world.scenario.spec(&key, model::Algorithm::Aes256Gcm),
        });
        let signed = world.scenario.signed(action, Some(key_id(&key)), "kim", model::command::LIFETIME_MAX);
        let envelope = world.scenario.statement(&signed, ServiceRole::Custodian);
        let ring = world.scenario.tenant.ring();
        let (role, now) = (ServiceRole::Custodian, world.scenario.now);
        let statement = journal::statement::open(&envelope, model::dsse::GENERATED, role, &ring, tenant, now).unwrap();
        let name = name.clone();
        tasks.push(tokio::spawn(async move {
            let input = Input::Generated { command: signed, statement };
            (name, node.record(tenant, ServiceRole::Issuer, input).await.unwrap().sequence)
        }));
    }
    let mut places = BTreeSet::new();
    for task in tasks {
        assert!(places.insert(task.await.unwrap().1));
    }
    assert_eq!(places.len(), names.len());
    verify(&world);
}

#[tokio::test]
async fn duties_are_done_once_by_however_many() {
    let mut scenario = scenario();
    scenario.run(
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved",
    );
    let journal = log(&scenario);
    let world = World::new(scenario, journal.clone()).await;
    let second = node(&world.scenario, journal, &world.dir.path().join("second"), &world.clock);
    second.catch_up(world.tenant).await.unwrap();
    let due = |role| world.node.replica().due(role, world.clock.now(), 10).unwrap();
    assert_eq!(due(ServiceRole::Approver).len(), 1);
    let authorize = || Input::Due(Duty::Authorize(key_id("k1")));
    let (one, two) = tokio::join!(
        world.node.record(world.tenant, ServiceRole::Approver, authorize()),
        second.record(world.tenant, ServiceRole::Approver, authorize()),
    );
    assert_eq!([&one, &two].iter().filter(|done| done.is_ok()).count(), 1, "{one:?} {two:?}");
    world.node.catch_up(world.tenant).await.unwrap();
    assert_eq!(due(ServiceRole::Approver), []);
    let activate = Input::Due(Duty::Activate(key_id("k1")));
    world.node.record(world.tenant, ServiceRole::Activator, activate).await.unwrap();
    assert_eq!(verify(&world).keys[&KeyState::Active], 1);
}

#[tokio::test]
async fn a_clock_that_is_behind_stops_writing_and_one_that_is_ahead_does_not_go_back() {
    let scenario = scenario();
    let journal = log(&scenario);
    let mut world = World::new(scenario, journal).await;
    world.wait(Span::from_secs(60));
    let (role, enroll) = world.signed("enroll", &["zoe", "security"], "ann,bob");
    world.record(role, &enroll).await.unwrap();
    // Four seconds back: within what clocks may differ, so the event gets the time of the one before.
    world.clock.turn(model::Timestamp::from_unix_millis(world.scenario.now.unix_millis() - 4_000));
    let (role, request) = world.signed("request", &["k1"], "rae");
    let recorded = world.record(role, &request).await.unwrap();
    let tail = world.node.replica().tail(world.tenant, recorded.sequence, 1).unwrap();
    assert_eq!(journal::Body::parse(&tail[0].1.payload).unwrap().time, world.scenario.now);
    // Six seconds back: one of the clocks is wrong.
    world.clock.turn(model::Timestamp::from_unix_millis(world.scenario.now.unix_millis() - 6_000));
    let (role, cancel) = world.signed("adopt", &[], "ann,bob");
    assert_eq!(world.record(role, &cancel).await.unwrap_err().problem, ProblemType::ClockBehind);
    assert_eq!(world.node.journal().last(world.tenant).await.unwrap(), recorded.sequence);
}

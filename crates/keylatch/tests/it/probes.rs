//! Live probes on the real platform, and beside a custodian that does what it must not.

use std::collections::BTreeSet;

use evidence::controls::Outcome;
use futures_util::StreamExt as _;
use journal::{Body, Record};
use journal_nats::permission::PlatformUser;
use journal_nats::server::{Server, Settings, SyncInterval, find};
use keylatch::platform::{Deployment, Options};
use model::command::{self, Action};
use model::event::ProbeRecorded;
use model::evidence::{Probe, ProbeOutcome};
use model::history::ProberAnswer;
use model::people::PrincipalKind;
use model::policy::{EvidenceRules, ProbeRule};
use model::{Algorithm, EventType, KeyId, Principal, Sequence, ServiceRole, Timestamp};
use service::Shutdown;
use service::process::{self, StartOptions};

use crate::bundles::{Time, adopt, generate};
use crate::world::{self, Member, World, founded};

async fn probes(tenant: &mut Member) {
    let every = "1d".parse().unwrap();
    adopt(tenant, EvidenceRules { probes: Some(ProbeRule { every }), ..EvidenceRules::default() }).await;
}

/// Enrols whoever the exporter says that it probes as.
async fn enrol_prober(tenant: &mut Member) {
    let answer = tenant.ask("keylatch.hist.prober", b"{}".to_vec()).await;
    let ProberAnswer { public_key } = serde_json::from_value(answer).unwrap();
    let label: model::Name = "prober".parse().unwrap();
    let (kind, against) = (PrincipalKind::Workload, tenant.governance().await);
    let principal = Principal::new(public_key.unwrap(), label.clone(), kind, label, BTreeSet::new());
    tenant.done(Action::PrincipalEnroll(command::PrincipalEnroll { against, principal }), None, "ann,bob").await;
}

/// Lets a day pass, until both probes were made.
async fn a_day_passes(tenant: &mut Member, time: &Time) {
    both_are_made(tenant, time.pass("25h")).await;
}

/// Waits until both probes were made, not before this time.
async fn both_are_made(tenant: &mut Member, since: Timestamp) {
    let made = |state: &lifecycle::Tenant| {
        let schedule = &state.governance.as_ref().unwrap().schedule.probes;
        schedule.len() == 2 && schedule.values().all(|at| *at >= since)
    };
    tenant.until(made).await;
}

/// What was tried on what, and what came of it.
async fn recorded(tenant: &Member) -> Vec<(Probe, KeyId, ProbeOutcome, Option<String>)> {
    let recorded = tenant.whole_history().await.into_iter().filter_map(|event| {
        let body = Body::parse(&event.payload.0).unwrap();
        let is_probe = body.event_type == EventType::ProbeRecorded.full_name();
        is_probe.then(|| serde_json::from_str::<ProbeRecorded>(&body.data).unwrap())
    });
    let told =
        recorded.map(|event| (event.probe, event.key_id, event.outcome, event.problem.map(|name| name.to_string())));
    told.collect()
}

/// Where the events of a type are.
async fn place(tenant: &Member, event_type: EventType) -> Vec<u64> {
    let events = tenant.whole_history().await.into_iter();
    let of_type = events.filter(|event| Body::parse(&event.payload.0).unwrap().event_type == event_type.full_name());
    of_type.map(|event| event.sequence).collect()
}

/// What the control test says of it.
async fn control(root: model::Fingerprint, tenant: &Member) -> Outcome {
    let mut replay = evidence::Replay::new(tenant.tenant, root, Sequence(1));
    let records = tenant.whole_history().await.into_iter();
    let records = records.map(|event| Record { signature: event.signature, payload: event.payload.0.into() });
    replay.take(records.collect());
    assert_eq!(replay.verifier().report().void, 0);
    let controls = replay.controls();
    controls.controls.iter().find(|test| test.id == "probes").unwrap().outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_refused_is_tried_day_by_day_and_its_refusal_is_recorded() {
    let time = Time::now();
    let world = World::start_as(|options| Options { clock: time.0.clone(), ..options }).await;
    let root = world.platform.deployment().root;
    let mut tenant = world.tenant("acme").await;
    time.rule(&mut tenant);
    probes(&mut tenant).await;
    let active = generate(&mut tenant, Algorithm::Aes256Gcm).await;
    tenant.activate(active).await;
    let asked_for = generate(&mut tenant, Algorithm::Aes256Gcm).await;
    tenant.request(asked_for).await;
    let waits = generate(&mut tenant, Algorithm::Ed25519).await;
    assert_eq!(control(root, &tenant).await, Outcome::NotApplicable, "nobody could make one");

    // The first are made at once.
    let since = time.pass("0s");
    enrol_prober(&mut tenant).await;
    both_are_made(&mut tenant, since).await;
    let mut told = recorded(&tenant).await;
    told.sort();
    let refused = |probe, problem: &str| (probe, waits, ProbeOutcome::Refused, Some(problem.to_owned()));
    let wanted =
        vec![refused(Probe::ActivateUnapproved, "unknown-request"), refused(Probe::UsePreActive, "key-not-active")];
    assert_eq!(told, wanted, "on the key that waits and that nobody has asked for");
    assert_eq!(control(root, &tenant).await, Outcome::NoExceptions);

    a_day_passes(&mut tenant, &time).await;
    assert_eq!(recorded(&tenant).await.len(), 4);
}

/// Nothing is recorded that was not tried: without the prober enrolled as it must be there is no probe.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_probed_as_long_as_the_prober_is_not_enrolled() {
    let time = Time::now();
    let world = World::start_as(|options| Options { clock: time.0.clone(), ..options }).await;
    let mut tenant = world.tenant("acme").await;
    time.rule(&mut tenant);
    probes(&mut tenant).await;
    let key = generate(&mut tenant, Algorithm::Aes256Gcm).await;
    // What follows is done when it was due.
    time.pass("25h");
    enrol_prober(&mut tenant).await;
    a_day_passes(&mut tenant, &time).await;
    let told = recorded(&tenant).await;
    assert!(told.iter().all(|(_, tried, ..)| *tried == key), "{told:?}");
    let enrolled = place(&tenant, EventType::PrincipalEnrolled).await.pop();
    assert!(place(&tenant, EventType::ProbeRecorded).await.first().copied() > enrolled, "none before");
}

/// A custodian that uses any key for anybody, in place of the one that made the keys: the probe finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_custodian_that_uses_what_it_must_not_is_found() {
    let (dir, time) = (tempfile::tempdir().unwrap(), Time::now());
    let deployment = Deployment::open(&dir.path().join("platform"), &time.0).unwrap();
    let settings = Settings {
        binary: find(world::cache().as_deref()).unwrap().path,
        dir: deployment.dir().join("nats"),
        port: Some(deployment.port().unwrap()),
        sync: SyncInterval::Always,
        accounts: deployment.operator.accounts(),
    };
    let server = Server::start(settings).await.unwrap();
    let credentials = deployment.operator.credentials_path(PlatformUser::AllInOne);
    let options = StartOptions {
        connection: journal_nats::connect::watched(&server.url(), &credentials, "all").await.unwrap(),
        instance: "all".parse().unwrap(),
        keys: ServiceRole::SERVICES.map(|role| deployment.service_key(role).unwrap()).to_vec(),
        root: deployment.root,
        state: deployment.dir().join("state"),
        keeps_archive: true,
        clock: time.0.clone(),
    };
    let (stopper, shutdown) = Shutdown::new();
    let (custodian_stopper, custodian_shutdown) = Shutdown::new();
    let (ports, _following) = process::start(options, shutdown.clone()).await.unwrap();
    let place = keylatch::platform::custody_place(deployment.dir(), &[]).unwrap();
    let (its_ports, uses) = (ports.clone(), place.keys().join("uses"));
    let stores = custodian::open_software_store(&ports.node, place, shutdown.clone()).await.unwrap().stores();
    let custodian = tokio::spawn(async move { custodian::run(its_ports, stores, &uses, custodian_shutdown).await });
    let exporter = evidence_exporter::Options {
        state: deployment.dir().join("state"),
        outside: service::config::Outside::default(),
        exports: deployment.dir().join("exports"),
        keep_exports: None,
        probe_key: Some(deployment.probe_key().unwrap()),
    };
    let others = [
        tokio::spawn(evidence_exporter::run(ports.clone(), exporter, shutdown.clone())),
        tokio::spawn(issuer::run(ports.clone(), shutdown.clone())),
        tokio::spawn(approver::run(ports.clone(), shutdown.clone())),
        tokio::spawn(activator::run(ports.clone(), shutdown.clone())),
    ];
    ports.ready.subscribe().wait_for(|ready| *ready == 5).await.unwrap();

    let mut tenant = founded(&deployment, &server.url(), "acme").await;
    time.rule(&mut tenant);
    probes(&mut tenant).await;
    let key = generate(&mut tenant, Algorithm::Aes256Gcm).await;
    custodian_stopper.stop();
    custodian.await.unwrap().unwrap();
    let client = ports.client.clone();
    let mut uses = client.subscribe("kl.*.cmd.use.>").await.unwrap();
    let broken = tokio::spawn(async move {
        while let Some(asked) = uses.next().await {
            client.publish(asked.reply.unwrap(), br#"{"ok":true,"result":{}}"#.as_slice().into()).await.unwrap();
        }
    });

    let since = time.pass("0s");
    enrol_prober(&mut tenant).await;
    both_are_made(&mut tenant, since).await;
    let mut told = recorded(&tenant).await;
    told.sort();
    let refused = (Probe::ActivateUnapproved, key, ProbeOutcome::Refused, Some("unknown-request".to_owned()));
    assert_eq!(told, [refused, (Probe::UsePreActive, key, ProbeOutcome::Accepted, None)]);
    assert_eq!(control(deployment.root, &tenant).await, Outcome::Exceptions);
    broken.abort();
    stopper.stop();
    for other in others {
        other.await.unwrap().unwrap();
    }
    ports.node.close().await;
    server.stop().await;
}

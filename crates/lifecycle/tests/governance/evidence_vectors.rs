//! Lawful lives under rules epoch 3, and what services and people get who break its rules: void events. Each case is also a
//! published vector: see `vectors`.

use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Duty, Input};
use model::event::*;
use model::evidence::ProbeOutcome;
use model::text::Base64;
use model::{Digest, Event, ServiceRole, Span};

use super::evidence::{STORE, document, evaluation, evidenced, life};
use super::under;
use super::vectors::{Made, Suite, asks, decided, decided_at, forge, late};

const EPOCH_3: Suite = Suite {
    epoch: 3,
    path: concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/vectors/law-v3.json"),
    lives: &[LIVES],
    misdeeds: &[MISDEEDS],
};

/// Lives in which every event stands.
const LIVES: &[(&str, Made)] = &[
    ("a life in which everything of epoch 3 happens", life),
    ("a heartbeat that no policy speaks of", || {
        let mut s = Scenario::bare_under(3);
        s.run("checkpoint => checkpoint.signed\nwait 24h\ncheckpoint => checkpoint.signed");
        s
    }),
    ("a bundle over an older checkpoint", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed\nenroll zoe security by ann,bob => principal.enrolled");
        let signed = s.command_of("evidence.export", None, r#"{"from":2}"#, "lou");
        let made = s.exported(Some(signed), 2);
        s.run("checkpoint => checkpoint.signed");
        assert!(s.submit(ServiceRole::EvidenceExporter, made).is_ok());
        s
    }),
    ("probes that were refused, accepted and not answered", || {
        let mut s = evidenced();
        s.run(
            "probe k1 activate refused unknown-request by bot => probe.recorded
            probe k1 use refused key-not-active by app => probe.recorded
            probe k1 use accepted by bot => probe.recorded
            probe k1 activate unanswered by bot => probe.recorded
            request k1 by kim => activation.requested
            probe k1 activate refused not-authorized by bot => probe.recorded
            approve k1 by sam => activation.approved
            approve k1 by lou => activation.approved
            due => activation.authorized, key.activated",
        );
        s
    }),
    ("what is done every so often, after the time was set back", || {
        let mut s = evidenced();
        s.run("wait 400d\ncheckpoint => checkpoint.signed\nexport => evidence.exported\nback 400d");
        s.run("checkpoint => checkpoint.signed\nwait 2h\ncheckpoint => checkpoint.signed\nwait 30d\nexport => evidence.exported");
        s
    }),
    ("a request and an approval, warned of before they lapse", || {
        let mut s = under(r#"{"keys":{"warn_before":"5m"}}"#);
        s.run(
            "request k1 after 25m by kim => activation.requested
            approve k1 by sam => activation.approved
            wait 15m
            due => deadline.warned
            wait 5m
            due => activation.lapsed
            wait 5m
            due => deadline.warned
            wait 5m
            due => activation.lapsed",
        );
        s
    }),
    ("stores compared with the chain, and keys that differ", super::custody::life),
    ("a chain that was begun under epoch 2", || {
        let mut s = super::at_epoch(2, || under("{}"));
        s.run("checkpoint => checkpoint.signed\nwait 24h");
        let authority = s.authority(2, 3).envelope;
        forge(&mut s, &Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: 3, authority }));
        s.run("checkpoint => checkpoint.signed\nwait 24h\ncheckpoint => checkpoint.signed");
        s.run(&format!("{STORE} by ann,bob => store.registered"));
        s
    }),
];

/// A bundle as it would lawfully be recorded for lou, changed.
fn bundle(change: impl FnOnce(EvidenceExported) -> EvidenceExported) -> Scenario {
    let mut s = evidenced();
    s.run("checkpoint => checkpoint.signed\nenroll zoe security by ann,bob => principal.enrolled");
    s.run("checkpoint => checkpoint.signed");
    let signed = s.command_of("evidence.export", None, "{}", "lou");
    let Event::EvidenceExported(made) = decided(&s, &s.exported(Some(signed), 1)) else { panic!() };
    forge(&mut s, &Event::EvidenceExported(change(made)));
    s
}

/// A bundle as it would lawfully be recorded by itself, changed.
fn scheduled(change: impl FnOnce(EvidenceExported) -> EvidenceExported) -> Scenario {
    let mut s = evidenced();
    s.run("wait 30d\ncheckpoint => checkpoint.signed");
    let Event::EvidenceExported(made) = decided(&s, &s.exported(None, 1)) else { panic!() };
    forge(&mut s, &Event::EvidenceExported(change(made)));
    s
}

/// A probe as it would lawfully be recorded, changed.
fn probe(what: &str, change: impl FnOnce(ProbeRecorded) -> ProbeRecorded) -> Scenario {
    let mut s = evidenced();
    let input = s.probed("k1", what, &[], "bot");
    let Event::ProbeRecorded(made) = decided(&s, &input) else { panic!() };
    forge(&mut s, &Event::ProbeRecorded(change(made)));
    s
}

/// The last event of a type.
fn last_of(s: &Scenario, event_type: &str) -> Event {
    let mut bodies = s.records.iter().rev().map(|record| journal::Body::parse(&record.payload).unwrap());
    let body = bodies.find(|body| body.event_type == event_type).unwrap();
    Event::parse(body.event_type.parse().unwrap(), &body.data).unwrap()
}

/// What would lawfully be recorded of a step's command, changed.
fn changed(step: &str, by: &str, change: impl FnOnce(Event) -> Event) -> Scenario {
    let mut s = evidenced();
    let input = command(&mut s, step, by);
    let event = change(decided(&s, &input));
    forge(&mut s, &event);
    s
}

/// The command of a step `do <action> {…}`.
fn command(s: &mut Scenario, step: &str, by: &str) -> Input {
    let (action, params) = step.strip_prefix("do ").unwrap().split_once(' ').unwrap();
    asks(s, action, None, params, by)
}

fn adopted(change: impl FnOnce(DocumentAdopted) -> DocumentAdopted) -> Scenario {
    changed(&document(""), "ann,bob", |event| match event {
        Event::DocumentAdopted(made) => Event::DocumentAdopted(change(made)),
        other => other,
    })
}

fn evaluated(change: impl FnOnce(ControlEvaluated) -> ControlEvaluated) -> Scenario {
    changed(&evaluation("", ""), "sam,sue", |event| match event {
        Event::ControlEvaluated(made) => Event::ControlEvaluated(change(made)),
        other => other,
    })
}

/// Cases whose last event is void.
const MISDEEDS: &[(&str, Made)] = &[
    ("a checkpoint over what is covered, before the heartbeat is due", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed\nwait 119m");
        let tree = s.tenant.chain.tree();
        let newest = journal::note::Checkpoint::of(s.tenant.chain.tenant(), tree);
        let note = newest.sign(s.service(ServiceRole::EvidenceExporter).signing_key());
        let (root, cause) = (Base64(newest.root.to_vec()), s.tenant.chain.head().hash);
        forge(&mut s, &Event::CheckpointSigned(CheckpointSigned { size: newest.size, root, note, cause }));
        s
    }),
    ("a comparison of a store that does not add up", || {
        let mut s = super::custody::life();
        let Event::CustodyReconciled(made) = last_of(&s, "dev.keylatch.custody.reconciled.v1") else { panic!() };
        let report = "01930000-0000-7000-8000-00000000ffff".parse().unwrap();
        forge(&mut s, &Event::CustodyReconciled(CustodyReconciled { report, matched: made.matched + 1, ..made }));
        s
    }),
    ("a drift of a key as it no longer is", || {
        let mut s = super::custody::life();
        let Event::CustodyDrifted(made) = last_of(&s, "dev.keylatch.custody.drifted.v1") else { panic!() };
        let report = "01930000-0000-7000-8000-00000000fffe".parse().unwrap();
        forge(&mut s, &Event::CustodyDrifted(CustodyDrifted { report, ..made }));
        s
    }),
    ("a comparison of a store by the exporter", || {
        let mut s = super::custody::life();
        let Event::CustodyReconciled(made) = last_of(&s, "dev.keylatch.custody.reconciled.v1") else { panic!() };
        let report = "01930000-0000-7000-8000-00000000fffd".parse().unwrap();
        let event = Event::CustodyReconciled(CustodyReconciled { report, ..made });
        let judged = s.forge(ServiceRole::EvidenceExporter, &event);
        assert!(matches!(judged, lifecycle::Judgement::Void(_)), "{judged:?}");
        s
    }),
    ("a bundle of more events than its checkpoint commits to", || {
        bundle(|made| EvidenceExported { size: made.size + 1, ..made })
    }),
    ("a bundle that names an event that is no checkpoint", || {
        let policy = |s: &Scenario| s.tenant.governance.as_ref().unwrap().policy.as_ref().unwrap().hash;
        let other = policy(&evidenced());
        bundle(|made| EvidenceExported { checkpoint: other, ..made })
    }),
    ("a bundle with another root", || bundle(|made| EvidenceExported { root: Base64(vec![7; 32]), ..made })),
    ("a bundle of a part of what was asked for", || bundle(|made| EvidenceExported { from: 2, ..made })),
    ("a bundle that was asked for and came by itself as well", || {
        bundle(|made| EvidenceExported { cause: Some(made.checkpoint), ..made })
    }),
    ("a bundle that was asked for, recorded as one that came by itself", || {
        bundle(|made| EvidenceExported { command: None, cause: Some(made.checkpoint), ..made })
    }),
    ("a bundle for somebody whose role was taken away", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed");
        let signed = s.command_of("evidence.export", None, "{}", "lou");
        let input = s.exported(Some(signed), 1);
        late(s, &input, "roles lou owner by ann,bob => principal.changed")
    }),
    ("a second bundle for one command", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed");
        let signed = s.command_of("evidence.export", None, "{}", "lou");
        let input = s.exported(Some(signed), 1);
        assert!(s.submit(ServiceRole::EvidenceExporter, input.clone()).is_ok());
        let Input::Exported { command: Some(signed), exported } = input else { panic!() };
        let lifecycle::decide::Exported { from, size, checkpoint, root, manifest, .. } = exported;
        let (checkpoints, command) = (Digest::of(b"others"), Some(signed.envelope.clone()));
        let again = EvidenceExported { from, size, checkpoint, root, manifest, checkpoints, command, cause: None };
        forge(&mut s, &Event::EvidenceExported(again));
        s
    }),
    ("a bundle by itself before its time", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed\nwait 29d");
        let mut later = s.tenant.view(s.exported(None, 1).footprint());
        later.chain = s.tenant.chain.clone();
        let at = s.now + "1d".parse::<Span>().unwrap();
        let event = lifecycle::decide(&later, &s.exported(None, 1), at).unwrap();
        forge(&mut s, &event);
        s
    }),
    ("a bundle by itself over a part of the history", || scheduled(|made| EvidenceExported { from: 2, ..made })),
    ("a bundle by itself that names no cause", || scheduled(|made| EvidenceExported { cause: None, ..made })),
    ("a bundle that the approver recorded", || {
        let mut s = evidenced();
        s.run("checkpoint => checkpoint.signed");
        let signed = s.command_of("evidence.export", None, "{}", "lou");
        let event = decided(&s, &s.exported(Some(signed), 1));
        let _ = s.forge(ServiceRole::Approver, &event);
        s
    }),
    ("a probe refused for another reason", || {
        probe("activate", |made| ProbeRecorded { problem: Some("role-missing".parse().unwrap()), ..made })
    }),
    ("a refusal of a probe that names no reason", || probe("use", |made| ProbeRecorded { problem: None, ..made })),
    ("a probe that was accepted, with a reason to refuse it", || {
        probe("use", |made| ProbeRecorded { outcome: ProbeOutcome::Accepted, ..made })
    }),
    ("a use recorded as an attempt to activate", || {
        let probe_of = |made| ProbeRecorded { probe: model::evidence::Probe::ActivateUnapproved, ..made };
        probe("use", probe_of)
    }),
    ("a probe on a key that is authorised", || {
        let mut s = evidenced();
        s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
        s.run("approve k1 by lou => activation.approved");
        let input = s.probed("k1", "activate", &[], "bot");
        late(s, &input, "duty authorize k1 => activation.authorized")
    }),
    ("a probe on a key that is active", || {
        let mut s = evidenced();
        s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
        s.run("approve k1 by lou => activation.approved\nduty authorize k1 => activation.authorized");
        let input = s.probed("k1", "use", &[], "bot");
        late(s, &input, "duty activate k1 => key.activated")
    }),
    ("a probe by a program that was revoked", || {
        let mut s = evidenced();
        let input = s.probed("k1", "use", &[], "bot");
        late(s, &input, "revoke bot by ann,bob => principal.revoked")
    }),
    ("a probe whose command has run out", || {
        let mut s = evidenced();
        let input = s.probed("k1", "use", &[], "bot");
        late(s, &input, "wait 30s")
    }),
    ("a probe recorded twice", || {
        let mut s = evidenced();
        let input = s.probed("k1", "activate", &[], "bot");
        let event = decided(&s, &input);
        assert!(s.submit(ServiceRole::EvidenceExporter, input).is_ok());
        forge(&mut s, &event);
        s
    }),
    ("an activation by the command of a probe", || {
        let mut s = evidenced();
        let input = s.probed("k1", "activate", &[], "bot");
        let signed = input.command().cloned().unwrap();
        assert!(s.submit(ServiceRole::EvidenceExporter, input).is_ok());
        s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
        s.run("approve k1 by lou => activation.approved\nduty authorize k1 => activation.authorized");
        let due = Input::Due(Duty::Activate(key_id("k1")));
        let Event::KeyActivated(made) = decided(&s, &due) else { panic!() };
        let (mode, initiated_by) = (ActivationMode::Manual, s.principal("bot", "x").fingerprint());
        let (command, cause) = (Some(signed.envelope), None);
        forge(&mut s, &Event::KeyActivated(KeyActivated { mode, initiated_by, command, cause, ..made }));
        s
    }),
    ("a document of another version", || adopted(|made| DocumentAdopted { version: 2, ..made })),
    ("a document that is said to be in the log", || adopted(|made| DocumentAdopted { in_log: true, ..made })),
    ("a document with another owner than the admins signed", || {
        let owner = evidenced().principal("sam", "x").fingerprint();
        adopted(|made| DocumentAdopted { owner, ..made })
    }),
    ("a document whose owner was revoked", || {
        let mut s = evidenced();
        let input = command(&mut s, &document(""), "ann,bob");
        late(s, &input, "revoke lou by ann,bob => principal.revoked")
    }),
    ("a document that the exporter recorded", || {
        let mut s = evidenced();
        let input = command(&mut s, &document(""), "ann,bob");
        let event = decided(&s, &input);
        let _ = s.forge(ServiceRole::EvidenceExporter, &event);
        s
    }),
    ("a document's review that was missed, recorded twice", || {
        let mut s = under("{}");
        s.run(&format!("{} by ann,bob => document.adopted", document("")));
        s.run("wait 1h\ndue => key.expired, key.destroyed\nwait 60d");
        late(s, &Input::Due(Duty::Deadlines), "due => deadline.missed")
    }),
    ("a store registered with one admin's word", || {
        let mut s = evidenced();
        let both = command(&mut s, STORE, "ann,bob");
        let Event::StoreRegistered(made) = decided(&s, &both) else { panic!() };
        let alone = command(&mut s, STORE, "ann").command().unwrap().envelope.clone();
        forge(&mut s, &Event::StoreRegistered(StoreRegistered { command: alone, ..made }));
        s
    }),
    ("a store that is another than the admins signed", || {
        changed(STORE, "ann,bob", |event| match event {
            Event::StoreRegistered(mut made) => {
                made.store.server = "another".parse().unwrap();
                Event::StoreRegistered(made)
            }
            other => other,
        })
    }),
    ("an evaluation with too few signatures", || {
        let mut s = evidenced();
        let both = command(&mut s, &evaluation("", ""), "sam,sue");
        let Event::ControlEvaluated(made) = decided(&s, &both) else { panic!() };
        let alone = command(&mut s, &evaluation("", ""), "sam").command().unwrap().envelope.clone();
        forge(&mut s, &Event::ControlEvaluated(ControlEvaluated { command: alone, ..made }));
        s
    }),
    ("an evaluation that puts off the next", || {
        evaluated(|made| {
            let next_by = made.next_by + "1d".parse::<Span>().unwrap();
            ControlEvaluated { next_by, ..made }
        })
    }),
    ("an evaluation of other results", || {
        evaluated(|made| ControlEvaluated { controls: Digest::of(b"others"), ..made })
    }),
    ("an evaluation that the policy no longer asks for", || {
        let mut s = evidenced();
        let input = command(&mut s, &evaluation("", ""), "sam,sue");
        late(s, &input, r#"adopt {"schema":3} by ann,bob => policy.adopted"#)
    }),
    ("a warning of a request, before its time", || {
        let mut s = under(r#"{"keys":{"warn_before":"5m"}}"#);
        s.run("request k1 by kim => activation.requested");
        let at = s.now + "25m".parse::<Span>().unwrap();
        let event = decided_at(&s, &Input::Due(Duty::WarnLapse(key_id("k1"))), at);
        forge(&mut s, &event);
        s
    }),
    ("what came with epoch 3 in a chain under epoch 2", || {
        let mut s = super::at_epoch(2, || under("{}"));
        let store: model::evidence::Store = serde_json::from_str(
            r#"{"name":"software","kind":"software","server":"kms-1","database":"files on kms-1"}"#,
        )
        .unwrap();
        let step = r#"do store.register {"against":"$head","store":{"name":"software","kind":"software","server":"kms-1","database":"files on kms-1"}}"#;
        let command = command(&mut s, step, "ann,bob").command().unwrap().envelope.clone();
        forge(&mut s, &Event::StoreRegistered(StoreRegistered { store, command }));
        s
    }),
];

#[test]
fn lives_under_epoch_3_stand_in_every_event() {
    EPOCH_3.lives_stand_in_every_event();
}

#[test]
fn services_and_people_that_break_the_rules_of_epoch_3_change_nothing() {
    EPOCH_3.misdeeds_change_nothing();
}

#[test]
fn the_published_law_vectors_of_epoch_3_come_out_as_they_say() {
    EPOCH_3.the_published_vectors_come_out_as_they_say();
}

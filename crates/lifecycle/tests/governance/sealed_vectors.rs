//! Lawful lives of sealed keys under rules epoch 4, and what services and people get who break its rules: void events. Each
//! case is also a published vector: see `vectors`.

use std::sync::Arc;

use journal::command::SignedCommand;
use lifecycle::scenario::{Scenario, key_id, sealing_key};
use lifecycle::{Duty, Input};
use model::event::*;
use model::statement::{Generated, Sealing};
use model::{Event, ServiceRole, dsse};

use super::sealed::{EQUIP, SEALED, life, sealed_under};
use super::vectors::{Made, asks, decided, forge, late};

/// Lives in which every event stands.
pub(super) const LIVES: &[(&str, Made)] = &[
    ("a life in which everything of sealed keys happens", life),
    ("a sealed key, its quorum and its shares", || {
        let mut s = sealed_under(SEALED);
        s.run(
            "request k1 by kim => activation.requested
            approve k1 by sue => activation.approved
            approve k1 share by lou => activation.approved
            approve k1 share by sam => activation.approved
            due => activation.authorized, key.activated
            apply k1 => custody.applied",
        );
        s
    }),
    ("a chain that was begun under epoch 3", || {
        let mut s = super::at_epoch(3, || super::under("{}"));
        let authority = s.authority(2, 4).envelope;
        forge(&mut s, &Event::AuthorityChanged(AuthorityChanged { epoch: 2, rules: 4, authority }));
        s.run(EQUIP);
        s.run(&format!("adopt {SEALED} by ann,bob => policy.adopted"));
        s.run(r#"generate k2 {"asset":"weights"} by kim => key.generated"#);
        s
    }),
];

fn generate(s: &mut Scenario) -> Arc<SignedCommand> {
    let spec = model::KeySpec { asset: Some("weights".parse().unwrap()), ..s.spec("k2", model::Algorithm::Aes256Gcm) };
    let params = serde_json::json!({ "spec": spec }).to_string();
    s.command_of("key.generate", Some("k2"), &params, "kim")
}

/// A key as it would lawfully be recorded, but that the custodian has said something else of it.
fn stated(mut s: Scenario, change: impl FnOnce(&mut Generated)) -> Scenario {
    let signed = generate(&mut s);
    let envelope = s.statement(&signed, ServiceRole::Custodian);
    let mut said: Generated = serde_json::from_slice(&envelope.payload.0).unwrap();
    let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
    let opened = journal::statement::open(&envelope, dsse::GENERATED, ServiceRole::Custodian, &ring, tenant, s.now);
    let input = Input::Generated { command: signed, statement: opened.unwrap() };
    let Event::KeyGenerated(made) = decided(&s, &input) else { panic!() };
    change(&mut said);
    let statement = s.service(ServiceRole::Custodian).sign_statement(dsse::GENERATED, &said);
    let event = Event::KeyGenerated(KeyGenerated { sealing: said.sealing, statement, ..made });
    forge(&mut s, &event);
    s
}

fn sealed(change: impl FnOnce(&mut Sealing)) -> Scenario {
    stated(sealed_under(SEALED), |said| change(said.sealing.as_mut().unwrap()))
}

/// An approval as it would lawfully be recorded of `lawful`, in answer to the command `sent` instead.
fn approved(lawful: (&str, &str), sent: (&str, &str)) -> Scenario {
    let mut s = sealed_under(SEALED);
    s.run("request k1 by kim => activation.requested");
    let good = asks(&mut s, "activation.approve", Some("k1"), lawful.0, lawful.1);
    let Event::ActivationApproved(made) = decided(&s, &good) else { panic!() };
    let command = asks(&mut s, "activation.approve", Some("k1"), sent.0, sent.1).command().unwrap().envelope.clone();
    forge(&mut s, &Event::ActivationApproved(ActivationApproved { command, ..made }));
    s
}

const WITH: &str = r#"{"request":"$request","share":$share}"#;
const WITHOUT: &str = r#"{"request":"$request"}"#;

/// Cases whose last event is void.
pub(super) const MISDEEDS: &[(&str, Made)] = &[
    ("a key that the rule wants sealed, and the custodian did not seal", || {
        stated(sealed_under(SEALED), |said| said.sealing = None)
    }),
    ("a key that the rule does not want sealed, and the custodian sealed", || {
        let mut s = sealed_under(SEALED);
        let sealing = s.tenant.keys[&key_id("k1")].sealing.clone();
        s.run(r#"adopt {"schema":4} by ann,bob => policy.adopted"#);
        stated(s, |said| said.sealing = sealing)
    }),
    ("a key that fewer shares open than the rule says", || sealed(|sealing| sealing.threshold = 1)),
    ("a key that more shares open than the rule says", || sealed(|sealing| sealing.threshold = 3)),
    ("a key with a share for somebody who could not approve", || {
        sealed(|sealing| sealing.shares[0].to = lifecycle::scenario::public_key("opa").fingerprint())
    }),
    ("a key with a share sealed to another key than the holder's", || {
        sealed(|sealing| sealing.shares[0].sealing_key = sealing_key("mallory"))
    }),
    ("a key without a share for somebody who could approve", || sealed(|sealing| drop(sealing.shares.pop()))),
    ("a key with two shares for one person", || {
        sealed(|sealing| {
            let again = sealing.shares[0].clone();
            sealing.shares.push(again);
        })
    }),
    ("a key whose shares are in another order", || sealed(|sealing| sealing.shares.reverse())),
    ("a key with a share that is no share", || sealed(|sealing| sealing.shares[0].share.ciphertext.0.truncate(47))),
    ("a key whose record says other shares than its statement", || {
        let mut s = sealed_under(SEALED);
        let signed = generate(&mut s);
        let statement = s.statement(&signed, ServiceRole::Custodian);
        let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
        let role = ServiceRole::Custodian;
        let opened = journal::statement::open(&statement, dsse::GENERATED, role, &ring, tenant, s.now).unwrap();
        let Event::KeyGenerated(mut made) = decided(&s, &Input::Generated { command: signed, statement: opened })
        else {
            panic!()
        };
        made.sealing.as_mut().unwrap().shares[0].commitment = model::Digest::of(b"others");
        forge(&mut s, &Event::KeyGenerated(made));
        s
    }),
    ("a key whose holders have changed since the custodian sealed it", || {
        let mut s = sealed_under(SEALED);
        let signed = generate(&mut s);
        let statement = s.statement(&signed, ServiceRole::Custodian);
        let (ring, tenant) = (s.tenant.ring(), s.tenant.chain.tenant());
        let role = ServiceRole::Custodian;
        let opened = journal::statement::open(&statement, dsse::GENERATED, role, &ring, tenant, s.now).unwrap();
        let input = Input::Generated { command: signed, statement: opened };
        late(s, &input, r#"do principal.equip {"sealing_key":"$seal:sue"} by sue => principal.equipped"#)
    }),
    ("an approval without the share that its approver holds", || approved((WITH, "sam"), (WITHOUT, "sam"))),
    ("an approval with a share that its approver does not hold", || approved((WITHOUT, "sue"), (WITH, "sue"))),
    ("an approval with a share that is too short", || {
        let short = r#"{"request":"$request","share":{"enc":"AA==","ciphertext":"AA=="}}"#;
        approved((WITH, "sam"), (short, "sam"))
    }),
    ("an authorisation with a quorum and too few shares", || {
        let run = |s: &mut Scenario, last: &str| {
            s.run("request k1 by kim => activation.requested\napprove k1 by sue => activation.approved");
            s.run("approve k1 share by lou => activation.approved");
            s.run(last);
        };
        let (mut good, mut s) = (sealed_under(SEALED), sealed_under(SEALED));
        run(&mut good, "approve k1 share by sam => activation.approved");
        run(&mut s, "");
        let Event::ActivationAuthorized(made) = decided(&good, &Input::Due(Duty::Authorize(key_id("k1")))) else {
            panic!()
        };
        let cause = s.tenant.chain.head().hash;
        forge(&mut s, &Event::ActivationAuthorized(ActivationAuthorized { cause, ..made }));
        s
    }),
    ("an activation whose holder of a share was revoked", || {
        let mut s = sealed_under(SEALED);
        s.run(
            "request k1 by kim => activation.requested
            approve k1 by sue => activation.approved
            approve k1 share by lou => activation.approved
            approve k1 share by sam => activation.approved
            duty authorize k1 => activation.authorized",
        );
        late(s, &Input::Due(Duty::Activate(key_id("k1"))), "revoke sam by ann,bob => principal.revoked")
    }),
    ("an activation of a key that the rule wants sealed by now", || {
        let mut s = super::under("{}");
        s.run(EQUIP);
        s.run(
            "request k1 by kim => activation.requested
            approve k1 by sam => activation.approved
            approve k1 by lou => activation.approved
            duty authorize k1 => activation.authorized",
        );
        late(s, &Input::Due(Duty::Activate(key_id("k1"))), &format!("adopt {SEALED} by ann,bob => policy.adopted"))
    }),
    ("a sealing key that is another than was signed for", || {
        let mut s = super::under("{}");
        let params = r#"{"sealing_key":"$seal:sam"}"#;
        let good = asks(&mut s, "principal.equip", None, params, "sam");
        let Event::PrincipalEquipped(made) = decided(&s, &good) else { panic!() };
        forge(&mut s, &Event::PrincipalEquipped(PrincipalEquipped { sealing_key: sealing_key("mallory"), ..made }));
        s
    }),
    ("a sealing key put down for somebody else", || {
        let mut s = super::under("{}");
        let good = asks(&mut s, "principal.equip", None, r#"{"sealing_key":"$seal:sam"}"#, "sam");
        let Event::PrincipalEquipped(made) = decided(&s, &good) else { panic!() };
        let principal = lifecycle::scenario::public_key("sue").fingerprint();
        forge(&mut s, &Event::PrincipalEquipped(PrincipalEquipped { principal, ..made }));
        s
    }),
    ("a sealing key that is somebody else's already", || {
        let mut s = super::under("{}");
        let params = r#"{"sealing_key":"$seal:sam"}"#;
        let input = asks(&mut s, "principal.equip", None, params, "sue");
        late(s, &input, r#"do principal.equip {"sealing_key":"$seal:sam"} by sam => principal.equipped"#)
    }),
    ("what came with epoch 4 in a chain under epoch 3", || {
        let params = r#"{"sealing_key":"$seal:sam"}"#;
        let mut s = super::at_epoch(3, || super::under("{}"));
        let command = asks(&mut s, "principal.equip", None, params, "sam").command().unwrap().envelope.clone();
        let (principal, sealing_key) = (lifecycle::scenario::public_key("sam").fingerprint(), sealing_key("sam"));
        forge(&mut s, &Event::PrincipalEquipped(PrincipalEquipped { principal, sealing_key, command }));
        s
    }),
];

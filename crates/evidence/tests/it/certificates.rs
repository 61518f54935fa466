//! A certificate proves a key's activation on its own, and nothing that was touched passes for one.

use evidence::Verifier;
use evidence::certificate::{Certificate, Collector, NoCertificate, check};
use journal::note::{Kind, Note, NoteKey};
use lifecycle::scenario::{Scenario, key_id};
use model::text::Base64;

const STORY: &str = "generate k1 by kim => key.generated
     apply k1 => custody.applied
     generate k2 by kim => key.generated
     apply k2 => custody.applied
     request k1 by rae => activation.requested
     approve k1 by sam => activation.approved
     approve k1 by lou => activation.approved
     due => activation.authorized, key.activated
     apply k1 => custody.applied";

fn history() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(STORY);
    scenario.run("checkpoint => checkpoint.signed");
    scenario
}

fn certificate(scenario: &Scenario, key: &str, cosigned: Option<Note>) -> Result<Certificate, NoCertificate> {
    let mut collector = Collector::new(&scenario.tenant, key_id(key))?;
    let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    for (sequence, prepared, judgement) in verifier.take(scenario.records.clone()) {
        collector.take(sequence, &prepared, &judgement);
    }
    collector.finish(cosigned)
}

/// What is wrong with a certificate that was changed: the first claim that does not hold, and why.
#[track_caller]
fn found(change: impl FnOnce(&mut Certificate), wanted: &str) {
    let scenario = history();
    let mut certificate = certificate(&scenario, "k1", None).unwrap();
    change(&mut certificate);
    let report = check(&certificate, scenario.tenant.root, &[]);
    let said = report.first_wrong().map(|check| format!("{}: {}", check.claim, check.wrong.clone().unwrap()));
    assert_eq!(report.holds(), wanted.is_empty(), "{said:?}");
    let said = said.unwrap_or_default();
    assert!(said.contains(wanted), "{wanted} is not in: {said}");
}

/// The event of this type in a certificate.
fn event<'a>(certificate: &'a mut Certificate, name: &str) -> &'a mut evidence::certificate::Proved {
    let is_it = |proved: &&mut evidence::certificate::Proved| {
        String::from_utf8_lossy(&proved.event.payload.0).contains(&format!("dev.keylatch.{name}.v1"))
    };
    certificate.events.iter_mut().find(is_it).unwrap()
}

fn without(certificate: &mut Certificate, name: &str) {
    let at = event(certificate, name).index;
    certificate.events.retain(|proved| proved.index != at);
}

#[test]
fn a_certificate_proves_an_activation_and_nothing_touched_does() {
    found(|_| {}, "");
    found(|certificate| certificate.format.push('0'), "its format is");
    found(|certificate| certificate.events.swap(2, 3), "not in order");
    found(|certificate| without(certificate, "tenant.created"), "does not begin with the tenant's first event");
    found(|certificate| without(certificate, "activation.approved"), "approval");
    found(|certificate| without(certificate, "policy.adopted"), "there is no policy.adopted");
    found(|certificate| without(certificate, "activation.requested"), "there is no activation.requested");
    found(|certificate| without(certificate, "key.generated"), "there is no key.generated");
    found(|certificate| without(certificate, "key.activated"), "there is no key.activated");
    found(|certificate| without(certificate, "activation.authorized"), "there is no activation.authorized");
    found(|certificate| certificate.label = "other".parse().unwrap(), "another one");
    found(|certificate| certificate.key_id = key_id("k2"), "another key");
    found(|certificate| event(certificate, "key.activated").event.payload.0[400] ^= 1, "every event is signed");
    found(|certificate| event(certificate, "activation.approved").event.signatures[0].sig.0[9] ^= 1, "signature");
    found(|certificate| certificate.events.last_mut().unwrap().index += 1, "it is the tenant's event");
    found(|certificate| event(certificate, "key.activated").path[0] = Base64(vec![7; 32]), "is not proved to be in it");
    found(|certificate| event(certificate, "key.activated").path[0] = Base64(vec![7; 31]), "is not proved to be in it");
    found(|certificate| certificate.checkpoint = certificate.checkpoint.replace('8', "9"), "checkpoint");
    found(|certificate| certificate.checkpoint.clear(), "it is no signed note");
}

#[test]
fn a_certificate_of_another_root_or_tenant_is_none() {
    let scenario = history();
    let certificate = certificate(&scenario, "k1", None).unwrap();
    let strange = lifecycle::scenario::public_key("somebody").fingerprint();
    assert!(!check(&certificate, strange, &[]).holds());
    assert!(certificate.events.len() < 20, "it is small: {} events", certificate.events.len());
    let again = Certificate { tenant: scenario.tenant.chain.tenant(), ..certificate.clone() };
    assert_eq!(again.to_json(), certificate.to_json());
    let read: Certificate = serde_json::from_str(&certificate.to_json()).unwrap();
    assert_eq!(read, certificate);
}

#[test]
fn roles_that_do_not_fill_the_stages_are_found() {
    let mut scenario = history();
    // Sam's role is gone before the activation is: an enrolment that shows another role shows it.
    let certificate = certificate(&scenario, "k1", None).unwrap();
    assert!(check(&certificate, scenario.tenant.root, &[]).holds());
    let mut touched = certificate;
    touched.events.retain(|proved| {
        let text = String::from_utf8_lossy(&proved.event.payload.0).into_owned();
        !(text.contains("principal.enrolled") && text.contains("\"sam\""))
    });
    let report = check(&touched, scenario.tenant.root, &[]);
    assert!(report.first_wrong().unwrap().claim.contains("stages"), "{report:#?}");
    scenario.run("suspend k1 by opa => key.suspended");
}

#[test]
fn there_is_none_before_activation_or_before_a_checkpoint() {
    let mut scenario = Scenario::new();
    scenario.run(STORY);
    assert_eq!(certificate(&scenario, "k1", None).unwrap_err(), NoCertificate::NotCovered);
    assert_eq!(certificate(&scenario, "k2", None).unwrap_err(), NoCertificate::NeverActivated);
    scenario.run("checkpoint => checkpoint.signed");
    assert!(certificate(&scenario, "k1", None).is_ok());
}

#[test]
fn witnesses_are_counted_where_they_are_named() {
    let scenario = history();
    let plain = certificate(&scenario, "k1", None).unwrap();
    let witness = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let mut note = Note::parse(&plain.checkpoint).unwrap();
    let line = note.cosignature("witness.example/w1", 1_767_225_600, &witness).to_string();
    note.add(&line).unwrap();
    let cosigned = certificate(&scenario, "k1", Some(note)).unwrap();
    let key = NoteKey::new("witness.example/w1", Kind::Cosignature, witness.verifying_key()).unwrap();
    let report = check(&cosigned, scenario.tenant.root, std::slice::from_ref(&key));
    assert!(report.holds());
    assert_eq!(report.cosigned_by, ["witness.example/w1"]);
    assert!(check(&cosigned, scenario.tenant.root, &[]).cosigned_by.is_empty(), "nobody is believed unasked");
    let false_one = Certificate { checkpoint: cosigned.checkpoint.replace("AAAA", "AAAB"), ..cosigned };
    assert!(!check(&false_one, scenario.tenant.root, &[key]).holds());
}

/// Keys that people signed for once, as a list, and one that came after.
#[test]
fn a_member_of_a_list_has_a_certificate_of_its_own() {
    let mut scenario = Scenario::new();
    let list = r#"do activation.request {"template":$template,"manifest":$list:k1+k2,"reason":$why,"legal_basis":[],"affected_systems":[]}"#;
    scenario.run(
        r#"adopt {"rule":{"manifest_max":3}} by ann,bob => policy.adopted
           generate k1 {"asset":"weights"} by kim => key.generated
           generate k2 {"asset":"weights"} by kim => key.generated
           store k1,k2 by kim => document.stored"#,
    );
    scenario.run(&format!("{list} by kim => activation.requested"));
    scenario.run(
        r#"do activation.approve {"request":"$many"} by sam => activation.approved
           do activation.approve {"request":"$many"} by lou => activation.approved
           due => activation.authorized, key.activated, key.activated
           checkpoint => checkpoint.signed"#,
    );
    for key in ["k1", "k2"] {
        let certificate = certificate(&scenario, key, None).unwrap();
        let report = check(&certificate, scenario.tenant.root, &[]);
        assert!(report.holds(), "{report:#?}");
        assert_eq!(report.approvals.len(), 2);
    }
    let (mut first, second) =
        (certificate(&scenario, "k1", None).unwrap(), certificate(&scenario, "k2", None).unwrap());
    let of_second = event(&mut second.clone(), "key.generated").clone();
    *event(&mut first, "key.generated") = of_second;
    (first.key_id, first.label) = (key_id("k2"), second.label);
    first.events.sort_by_key(|proved| proved.index);
    let report = check(&first, scenario.tenant.root, &[]);
    assert!(!report.holds(), "the first key's place is not the second's");
}

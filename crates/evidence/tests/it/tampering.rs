//! A history that was touched is found out, and the first event that does not stand is named.

use evidence::{Trust, Verifier, export};
use journal::Record;
use lifecycle::scenario::Scenario;

fn history() -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(
        "generate k1 by kim => key.generated
         apply k1 => custody.applied
         request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated
         apply k1 => custody.applied
         checkpoint => checkpoint.signed
         suspend k1 by opa => key.suspended",
    );
    scenario
}

fn verify(scenario: &Scenario, records: Vec<Record>) -> evidence::Report {
    let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    for chunk in records.chunks(7) {
        verifier.take(chunk.to_vec());
    }
    verifier.report()
}

/// Changes the history, and says at which place (from 1) that must be found; 0 where it stays good.
#[track_caller]
fn check(found_at: u64, change: impl FnOnce(&mut Vec<Record>)) {
    let scenario = history();
    let mut records = scenario.records.clone();
    change(&mut records);
    let report = verify(&scenario, records);
    assert_eq!(report.first_bad().map_or(0, |bad| bad.sequence), found_at, "{:#?}", report.first_bad());
    assert_eq!(report.is_clean(), found_at == 0);
}

fn flip(record: &mut Record, at: usize) {
    let mut bytes = record.payload.to_vec();
    bytes[at] ^= 1;
    record.payload = bytes.into();
}

#[test]
fn every_way_of_touching_a_history_is_found_and_named() {
    check(0, |_| {});
    check(20, |records| flip(&mut records[19], 300));
    check(1, |records| flip(&mut records[0], 0));
    check(9, |records| drop(records.remove(8)));
    check(5, |records| records.swap(4, 5));
    check(3, |records| records.insert(2, records[1].clone()));
    check(12, |records| records[11].signature = records[12].signature.clone());
    check(12, |records| records[11].signature.clear());
}

/// Cutting off the end leaves a good shorter history: only a checkpoint that somebody kept can show that.
#[test]
fn a_cut_history_is_good_and_has_another_head() {
    let scenario = history();
    let whole = verify(&scenario, scenario.records.clone());
    let cut = verify(&scenario, scenario.records[..scenario.records.len() - 1].to_vec());
    assert!(cut.is_clean());
    assert_ne!((cut.head, cut.merkle_root), (whole.head, whole.merkle_root));
    assert!(!verify(&scenario, vec![]).is_clean(), "nothing at all is not a good history");
}

#[test]
fn an_export_reads_back_to_the_same_history() {
    let scenario = history();
    let lines: Vec<String> = scenario.records.iter().map(export::to_line).collect();
    let read: Vec<Record> = lines.iter().map(|line| export::from_line(line.as_bytes()).unwrap()).collect();
    assert_eq!(read, scenario.records);
    let mut verifier = Verifier::new(scenario.tenant.chain.tenant(), scenario.tenant.root);
    verifier.take(read);
    let trust = Trust::of(verifier.state(), verifier.authority().to_vec());
    assert_eq!(trust.authority.len(), 1);
    assert_eq!(trust.principals.len(), 14);
    assert!(trust.allowed_signers().contains("sam namespaces=\"keylatch-command\" ssh-ed25519 "));
}

#[test]
fn allowed_signers_do_not_name_the_revoked() {
    let mut scenario = Scenario::new();
    let sam = scenario.principal("sam", "security").key.to_string();
    assert!(Trust::of(&scenario.tenant, vec![]).allowed_signers().contains(&sam));
    scenario.run("revoke sam by ann,bob => principal.revoked");
    assert!(!Trust::of(&scenario.tenant, vec![]).allowed_signers().contains(&sam));
}

/// Whatever of a line is changed: it does not read, or the event is found.
#[test]
fn a_line_whose_signature_says_something_else_does_not_read() {
    let scenario = history();
    for (place, record) in scenario.records.iter().enumerate() {
        let line = export::to_line(record);
        let (before, _) = line.split_once(r#""signatures":"#).unwrap();
        let other = r#""signatures":[{"keyid":"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","sig":"AAAA"}]"#;
        let forged = format!(r#"{before}{other},"header":"{}"}}"#, record.signature);
        assert!(export::from_line(forged.as_bytes()).is_err(), "{}", place + 1);
    }
}

/// Copies of an event that brings authority, which anybody can put into a log who can write to it, bring none again: what
/// follows is not checked anew because of them.
#[test]
fn copies_of_an_authority_event_are_void_and_change_nothing() {
    check(2, |records| {
        let copies = std::iter::repeat_n(records[0].clone(), 50);
        records.splice(1..1, copies);
    });
}

//! Evidence: documents and stores that a tenant stands by, the heartbeat, bundles, probes, the evaluation of the control.

use std::collections::BTreeSet;

use lifecycle::decide::{Exported, Probed};
use lifecycle::scenario::Scenario;
use lifecycle::{Due, Duty, Input};
use model::command::{CONTROL_RESULTS_MAX, DISPOSITION_NOTE_BYTES_MAX, DISPOSITIONS_MAX, PAYLOAD_BYTES_MAX};
use model::event::Deadline;
use model::evidence::{Probe, ProbeOutcome};
use model::{EventHash, ProblemType, ServiceRole, Span, Timestamp};

use super::under;

/// A policy that asks for every kind of evidence: `lou` and `dee` may have bundles made, `sam`, `sue`, `rae` and `dee`
/// evaluate, two of them.
pub(super) const EVIDENCE: &str = r#"{"schema":3,"evidence":{"heartbeat":"2h","export":{"roles":["privacy"],"every":"30d"},
    "probes":{"every":"1d"},"evaluation":{"by":{"roles":["security"],"quorum":2},"every":"90d","warn_before":"14d"}}}"#;

/// A tenant under this section of the policy, with the pre-active key k1.
#[track_caller]
fn with(section: &str) -> Scenario {
    under(&format!(r#"{{"schema":3,"evidence":{section}}}"#))
}

#[track_caller]
pub(super) fn evidenced() -> Scenario {
    under(&EVIDENCE.replace('\n', " "))
}

/// When what is due of a kind is due next.
fn next(s: &Scenario, duty: Duty) -> Option<Timestamp> {
    s.dues().into_iter().find(|due| due.duty == duty).map(|due: Due| due.at)
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

// === Documents and stores ===

/// `document.adopt` of the document `activating`, with some members in the place of others.
pub(super) fn document(member: &str) -> String {
    let members = [
        r#""name":"activating""#,
        r#""kind":"procedure""#,
        r#""title":"How keys are activated""#,
        r#""document":"$hash:text""#,
        r#""covers":[3,4]"#,
        r#""owner":"$who:lou""#,
        r#""review_by":"$now+60d""#,
    ];
    replaced("document.adopt", r#""against":"$head""#, &members, member)
}

/// A step whose JSON has these members, one of them in the place of another of its name.
fn replaced(action: &str, before: &str, members: &[&str], member: &str) -> String {
    let name = |member: &str| member.split_once(':').map(|(name, _)| name.to_owned());
    let kept = members.iter().filter(|other| name(other) != name(member)).copied();
    let all: Vec<&str> =
        std::iter::once(before).chain(kept).chain(Some(member).filter(|one| !one.is_empty())).collect();
    format!("do {action} {{{}}}", all.join(","))
}

#[test]
fn a_document_is_adopted_by_admins_and_counts_its_versions() {
    let mut s = under("{}");
    s.run(&format!("{} by ann,bob => document.adopted", document("")));
    let first = s.tenant.governance.as_ref().unwrap().documents[&"activating".parse().unwrap()].clone();
    assert_eq!((first.version, first.in_log), (1, false));
    assert_eq!(first.covers.iter().map(|point| point.get()).collect::<Vec<u8>>(), [3, 4]);
    s.run(&format!("{} by ann,bob => document.adopted", document(r#""document":"$hash:other""#)));
    s.run(&format!("{} by ann,bob => document.adopted", document(r#""name":"other""#)));
    let versions: Vec<u32> =
        s.tenant.governance.as_ref().unwrap().documents.values().map(|document| document.version).collect();
    assert_eq!(versions, [2, 1]);
}

#[test]
fn a_document_that_is_in_the_log_is_known_to_be_there() {
    let mut s = under("{}");
    let mut adopted = |document: &str| {
        s.run(&format!("{document} by ann,bob => document.adopted"));
        s.tenant.governance.as_ref().unwrap().documents[&"activating".parse().unwrap()].in_log
    };
    assert!(!adopted(&document("")));
    let mut s = under("{}");
    s.run(r#"do document.store {"document":"$hash:text","part":0,"parts":2,"text":"te"} by kim => document.stored"#);
    s.run(&format!("{} by ann,bob => document.adopted", document("")));
    let in_log = |s: &Scenario| s.tenant.governance.as_ref().unwrap().documents[&"activating".parse().unwrap()].in_log;
    assert!(!in_log(&s), "half of it is");
    s.run(r#"do document.store {"document":"$hash:text","part":1,"parts":2,"text":"xt"} by kim => document.stored"#);
    s.run(&format!("{} by ann,bob => document.adopted", document("")));
    assert!(in_log(&s));
}

#[test]
fn admins_put_documents_into_the_log_since_epoch_3() {
    let store = r#"do document.store {"document":"$hash:text","part":0,"parts":1,"text":"text"}"#;
    under("{}").run(&format!("{store} by ann => document.stored\n{store} by lou => refused role-missing"));
    let mut s = super::at_epoch(2, || under("{}"));
    s.run(&format!("{store} by ann => refused role-missing\n{store} by kim => document.stored"));
}

#[test]
fn a_document_is_not_adopted_otherwise() {
    let refused = |member: &str, who: &str, problem: &str| {
        let mut s = under("{}");
        s.run(&format!("{} by {who} => refused {problem}", document(member)));
    };
    refused("", "ann", "quorum-not-met");
    refused("", "sam,lou", "role-missing");
    refused(r#""covers":[]"#, "ann,bob", "malformed");
    refused(r#""owner":"$who:zoe""#, "ann,bob", "unknown-principal");
    refused(r#""owner":"$who:app""#, "ann,bob", "not-a-person");
    refused(r#""review_by":"$now+0s""#, "ann,bob", "times-invalid");
    let mut s = under("{}");
    let params = document("").replace("do document.adopt ", "");
    let signed = s.command_of("document.adopt", None, &params, "ann,bob");
    s.run("enroll zoe security by ann,bob => principal.enrolled");
    let refused = s.submit(ServiceRole::Approver, Input::Command(signed)).unwrap_err();
    assert_eq!(refused.problem, ProblemType::StateChanged, "things have changed");
    s.run("revoke lou by ann,bob => principal.revoked");
    s.run(&format!("{} by ann,bob => refused principal-revoked", document("")));
}

#[test]
fn a_documents_review_is_warned_of_and_its_missing_recorded() {
    let mut s = under("{}");
    s.run(&format!("{} by ann,bob => document.adopted", document("")));
    s.run("wait 29d\nduty expire k1 => key.expired\ndue => key.destroyed\nwait 1d\ndue => deadline.warned\nwait 30d");
    s.run("due => deadline.missed\ndue => nothing");
    let deadlines = &s.tenant.governance.as_ref().unwrap().deadlines;
    let [missed] = deadlines.as_slice() else { panic!("{deadlines:?}") };
    assert_eq!(missed.deadline, Deadline::DocumentReview);
    assert_eq!(missed.document, Some("activating".parse().unwrap()));
    // Its next version is looked at anew, and another document has a date of its own.
    s.run(&format!("{} by ann,bob => document.adopted", document(r#""review_by":"$now+40d""#)));
    s.run(&format!("{} by ann,bob => document.adopted", document(r#""name":"other""#)));
    s.run("wait 10d\ndue => deadline.warned\nwait 20d\ndue => deadline.warned\nwait 10d\ndue => deadline.missed");
}

pub(super) const STORE: &str = r#"do store.register {"against":"$head","store":{"name":"software","kind":"software","server":"kms-1","database":"files on kms-1","region":"EU","privileged_accounts":["root on kms-1"]}}"#;

#[test]
fn a_store_is_registered_by_admins_and_a_later_word_takes_its_place() {
    let mut s = under("{}");
    s.run(&format!("{STORE} by ann,bob => store.registered"));
    s.run(&format!("{} by ann,bob => store.registered", STORE.replace("kms-1", "kms-2")));
    let stores = &s.tenant.governance.as_ref().unwrap().stores;
    let servers: Vec<&str> = stores.values().map(|held| held.store.server.as_str()).collect();
    assert_eq!(servers, ["kms-2"]);
    assert_eq!(stores.values().next().unwrap().hash, s.records.last().unwrap().hash());
    s.run(&format!("{STORE} by ann => refused quorum-not-met\n{STORE} by sam,lou => refused role-missing"));
    let accounts: Vec<String> = (0..33).map(|account| format!("\"account {account}\"")).collect();
    let many = STORE.replace(r#""root on kms-1""#, &accounts.join(","));
    s.run(&format!("{many} by ann,bob => refused malformed"));
    s.run(&format!("{} by ann,bob => store.registered", many.replace(r#","account 32""#, "")));
}

#[test]
fn there_is_room_for_so_many_stores_and_documents() {
    let mut s = under("{}");
    for place in 0..64 {
        let other = STORE.replacen("software", &format!("store-{place}"), 1);
        s.run(&format!("{other} by ann,bob => store.registered"));
    }
    s.run(&format!("{STORE} by ann,bob => refused too-many"));
    s.run(&format!("{} by ann,bob => store.registered", STORE.replacen("software", "store-7", 1)));
    for place in 0..128 {
        s.run(&format!("{} by ann,bob => document.adopted", document(&format!(r#""name":"doc-{place}""#))));
    }
    s.run(&format!("{} by ann,bob => refused too-many", document("")));
    s.run(&format!("{} by ann,bob => document.adopted", document(r#""name":"doc-7""#)));
}

// === The heartbeat ===

#[test]
fn a_checkpoint_is_signed_even_where_nothing_happened() {
    let mut s = with(r#"{"heartbeat":"2h"}"#);
    s.run("wait 1h\nduty expire k1 => key.expired\nduty destroy k1 => key.destroyed\napply k1 => custody.applied");
    s.run("checkpoint => checkpoint.signed\ncheckpoint => refused not-yet-due");
    assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("2h")));
    s.run("wait 119m\ncheckpoint => refused not-yet-due\nwait 1m\ncheckpoint => checkpoint.signed");
    assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("2h")));
    // What happens is covered at once, as ever.
    s.run("enroll zoe security by ann,bob => principal.enrolled");
    assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("2s")));
    s.run("checkpoint => checkpoint.signed");
    let sizes: Vec<u64> = s.tenant.checkpoints.keys().copied().collect();
    assert_eq!(sizes.len(), 3, "no two checkpoints are over as many events: {sizes:?}");
}

/// The heartbeat is daily where the policy does not say, or where there is none yet.
#[test]
fn the_heartbeat_is_daily_by_itself() {
    for mut s in [under("{}"), Scenario::bare()] {
        s.run("checkpoint => checkpoint.signed");
        assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("24h")));
        s.run("wait 24h\ncheckpoint => checkpoint.signed");
    }
}

#[test]
fn before_epoch_3_there_is_no_heartbeat() {
    for rules in [1, 2] {
        let mut s = Scenario::under(rules);
        s.run("checkpoint => checkpoint.signed");
        assert_eq!(next(&s, Duty::Checkpoint), None);
        s.run("wait 30d\ncheckpoint => refused nothing-due");
    }
}

/// The root sets the time back where a clock was wrong. What is done every so often goes by the right time then.
#[test]
fn a_time_that_was_wrong_puts_nothing_off() {
    let mut s = evidenced();
    s.run("wait 400d\ncheckpoint => checkpoint.signed\nexport => evidence.exported");
    s.run("probe k1 activate by bot => probe.recorded\nprobe k1 use by bot => probe.recorded");
    s.set_back(lifecycle::scenario::BEGINNING.parse().unwrap());
    assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("2s")));
    assert_eq!(next(&s, Duty::Export), Some(s.now + span("30d")));
    s.run("checkpoint => checkpoint.signed");
    assert_eq!(next(&s, Duty::Checkpoint), Some(s.now + span("2h")));
    assert_eq!(next(&s, Duty::Probe), Some(s.now + span("1d")));
}

// === Bundles ===

#[test]
fn a_bundle_is_made_for_whoever_the_policy_names() {
    let mut s = evidenced();
    s.run(
        "export by lou => refused times-invalid\ncheckpoint => checkpoint.signed\nexport by lou => evidence.exported",
    );
    s.run("export 5 by dee => evidence.exported\nexport by sam => refused role-missing\nexport 0 by lou => refused malformed");
    s.run("export by zoe => refused unknown-principal\nexport 9999 by lou => refused times-invalid");
    s.run("export by lou,dee => refused quorum-not-met");
    with("{}").run("checkpoint => checkpoint.signed\nexport by lou => refused role-missing");
    // A program may hold the role.
    let mut s = with(r#"{"export":{"roles":["app"]}}"#);
    s.run("checkpoint => checkpoint.signed\nexport by app => evidence.exported\nexport => refused nothing-due");
}

#[test]
fn a_bundle_is_over_the_events_of_a_checkpoint_in_the_log() {
    let mut s = evidenced();
    s.run("checkpoint => checkpoint.signed\nwait 1m\nenroll zoe security by ann,bob => principal.enrolled");
    let (older, at) = (s.exported(None, 1), s.tenant.chain.tree().size());
    s.run("checkpoint => checkpoint.signed");
    let newest = s.exported(None, 1);
    let Input::Exported { exported: newest, .. } = newest else { panic!() };
    let Input::Exported { exported: older, .. } = older else { panic!() };
    assert_eq!((newest.size, older.size < at), (at, true));
    let mut made = |exported: Exported| {
        let signed = s.command_of("evidence.export", None, "{}", "lou");
        let made = s.submit(ServiceRole::EvidenceExporter, Input::Exported { command: Some(signed), exported });
        made.map(|event| event.name()).map_err(|refused| refused.problem)
    };
    let wrong = Err(ProblemType::StatementInvalid);
    assert_eq!(made(Exported { from: 2, ..newest.clone() }), wrong, "another period than was asked for");
    assert_eq!(made(Exported { size: older.size, ..newest.clone() }), wrong, "another checkpoint's size");
    assert_eq!(made(Exported { size: newest.size - 1, ..newest.clone() }), wrong, "no checkpoint's size");
    assert_eq!(made(Exported { checkpoint: older.checkpoint, ..newest.clone() }), wrong, "another checkpoint");
    assert_eq!(made(Exported { checkpoint: EventHash::ZERO, ..newest.clone() }), wrong, "no checkpoint");
    assert_eq!(made(Exported { root: older.root.clone(), ..newest }), wrong, "another root");
    // While it was made, a newer checkpoint was signed.
    assert_eq!(made(older), Ok("evidence.exported"));
    assert_eq!(made(newest), Ok("evidence.exported"));
}

#[test]
fn the_same_command_has_one_bundle_made() {
    let mut s = evidenced();
    s.run("checkpoint => checkpoint.signed");
    let signed = s.command_of("evidence.export", None, "{}", "lou");
    let input = s.exported(Some(signed.clone()), 1);
    assert!(s.submit(ServiceRole::EvidenceExporter, input.clone()).is_ok());
    let again = s.submit(ServiceRole::EvidenceExporter, input).unwrap_err();
    assert_eq!(again.problem, ProblemType::CommandIdReused);
    let view = s.tenant.view(Input::Command(signed.clone()).footprint());
    assert_eq!(lifecycle::decide::may_export(&view, &signed, s.now).unwrap_err().problem, ProblemType::CommandIdReused);
    // It is asked for, and recorded with the bundle that answers it.
    let signed = s.command_of("evidence.export", None, "{}", "lou");
    let alone = s.submit(ServiceRole::Approver, Input::Command(signed)).unwrap_err();
    assert_eq!(alone.problem, ProblemType::UnknownAction);
}

#[test]
fn bundles_are_made_by_themselves_as_often_as_the_policy_says() {
    let mut s = evidenced();
    let begun = s.now;
    s.run("checkpoint => checkpoint.signed\nexport => refused not-yet-due");
    assert_eq!(next(&s, Duty::Export), Some(begun + span("30d")));
    // What is asked for puts nothing off, and neither does the same policy again.
    s.run("wait 29d\ncheckpoint => checkpoint.signed\nexport by lou => evidence.exported");
    s.run(&format!("adopt {} by ann,bob => policy.adopted", EVIDENCE.replace('\n', " ")));
    assert_eq!(next(&s, Duty::Export), Some(begun + span("30d")));
    s.run(
        "wait 23h\nexport => refused not-yet-due\nwait 1h\nexport => evidence.exported\nexport => refused not-yet-due",
    );
    assert_eq!(next(&s, Duty::Export), Some(begun + span("60d")));
    s.run(
        r#"adopt {"schema":3,"evidence":{"export":{"roles":["privacy"],"every":"7d"}}} by ann,bob => policy.adopted"#,
    );
    assert_eq!(next(&s, Duty::Export), Some(begun + span("37d")));
    s.run("wait 7d\nexport => evidence.exported");
    s.run(r#"adopt {"schema":3,"evidence":{"export":{"roles":["privacy"]}}} by ann,bob => policy.adopted"#);
    assert_eq!(next(&s, Duty::Export), None);
    s.run("wait 90d\nexport => refused nothing-due");
}

/// A bundle that nobody asked for is over the whole history: there is no part that it leaves out.
#[test]
fn a_bundle_made_by_itself_is_over_the_whole_history() {
    let mut s = evidenced();
    s.run("wait 30d\ncheckpoint => checkpoint.signed");
    let part = s.exported(None, 2);
    assert_eq!(s.submit(ServiceRole::EvidenceExporter, part).unwrap_err().problem, ProblemType::StatementInvalid);
    s.run("export => evidence.exported");
}

// === Probes ===

#[test]
fn a_probe_shows_that_a_waiting_key_is_neither_activated_nor_used() {
    let mut s = evidenced();
    s.run("probe k1 activate by bot => probe.recorded\nprobe k1 use by app => probe.recorded");
    s.run("probe k1 activate refused unknown-request by bot => probe.recorded");
    s.run("probe k1 use refused key-not-active by bot => probe.recorded");
    // What came of it is not made up.
    s.run("probe k1 activate refused role-missing by bot => refused statement-invalid");
    s.run("probe k1 use refused role-missing by bot => refused statement-invalid");
    // Nothing of it takes effect.
    assert_eq!(s.state("k1"), model::KeyState::PreActive);
    s.run(
        "request k1 by kim => activation.requested\nprobe k1 activate refused not-authorized by bot => probe.recorded",
    );
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("probe k1 activate refused not-authorized by bot => probe.recorded");
}

/// What is not an attempt on a key that must refuse it shows nothing.
#[test]
fn a_probe_is_of_what_must_be_refused() {
    let mut s = evidenced();
    s.run("probe k1 activate by sam => refused statement-invalid"); // a person's
    s.run("probe k1 use by kim => refused statement-invalid");
    s.run("probe k9 activate by bot => refused unknown-key");
    s.run("probe k1 activate by bat => refused unknown-principal");
    s.run(
        "request k1 by kim => activation.requested
        approve k1 by sam => activation.approved
        approve k1 by lou => activation.approved
        duty authorize k1 => activation.authorized
        probe k1 activate by bot => refused state-changed
        probe k1 use by bot => probe.recorded
        due => key.activated
        probe k1 activate by bot => refused key-not-pre-active
        probe k1 use by bot => refused key-not-pre-active",
    );
    with("{}").run("probe k1 use by bot => refused nothing-due"); // the policy asks for none
    // A key that encrypts does not sign in any state.
    let mut s = evidenced();
    let sign = r#"{"reply_to":"","digest":""}"#;
    let signed = s.command_of("use.sign", Some("k1"), sign, "bot");
    let (probe, problem) = (Probe::UsePreActive, Some("operation-not-allowed".parse().unwrap()));
    let probed = Probed { probe, outcome: ProbeOutcome::Refused, problem };
    let refused = s.submit(ServiceRole::EvidenceExporter, Input::Probed { command: signed, probed }).unwrap_err();
    assert_eq!(refused.problem, ProblemType::StateChanged);
    let mut s = evidenced();
    let Input::Probed { command, probed } = s.probed("k1", "use", &[], "bot") else { panic!() };
    let other = Input::Probed { command, probed: Probed { probe: Probe::ActivateUnapproved, ..probed } };
    assert_eq!(s.submit(ServiceRole::EvidenceExporter, other).unwrap_err().problem, ProblemType::Malformed);
}

#[test]
fn a_probe_is_recorded_while_its_command_lives() {
    for (what, nearly) in [("use", "wait 29s"), ("activate", "wait 59s")] {
        let mut s = evidenced();
        let [early, late] = [(); 2].map(|()| s.probed("k1", what, &[], "bot"));
        s.run(nearly);
        assert!(s.submit(ServiceRole::EvidenceExporter, early).is_ok());
        s.run("wait 1s");
        assert_eq!(s.submit(ServiceRole::EvidenceExporter, late).unwrap_err().problem, ProblemType::Expired);
    }
}

/// That something else than a refusal came is the exporter's word, and there for all to see.
#[test]
fn a_probe_that_was_not_refused_is_recorded_as_such() {
    let mut s = evidenced();
    s.run("probe k1 use accepted by bot => probe.recorded\nprobe k1 activate unanswered by bot => probe.recorded");
    let Input::Probed { command, probed } = s.probed("k1", "use", &["accepted"], "bot") else { panic!() };
    let both = Probed { problem: Some("key-not-active".parse().unwrap()), ..probed };
    let neither = Probed { outcome: ProbeOutcome::Refused, problem: None, ..probed };
    for probed in [both, neither] {
        let input = Input::Probed { command: command.clone(), probed };
        assert_eq!(s.submit(ServiceRole::EvidenceExporter, input).unwrap_err().problem, ProblemType::StatementInvalid);
    }
}

/// The command that a probe carries is spent: it is never carried out, and never answered as if it had been.
#[test]
fn what_a_probe_tried_is_spent() {
    let mut s = evidenced();
    s.run("roles bot operator,security by ann,bob => principal.changed");
    let input = s.probed("k1", "activate", &[], "bot");
    let signed = input.command().cloned().unwrap();
    assert!(s.submit(ServiceRole::EvidenceExporter, input.clone()).is_ok());
    let again = s.submit(ServiceRole::EvidenceExporter, input.clone()).unwrap_err();
    assert_eq!(again.problem, ProblemType::CommandIdReused);
    let tried = Input::Command(std::sync::Arc::new(signed));
    let later = s.submit(ServiceRole::Activator, tried.clone()).unwrap_err();
    assert_eq!(later.problem, ProblemType::CommandIdReused);
    assert_ne!(tried.identity(), input.identity(), "else a service would answer it with the probe's place");
}

#[test]
fn probes_are_due_each_while_a_key_waits() {
    let mut s = evidenced();
    let begun = s.now;
    assert_eq!(next(&s, Duty::Probe), Some(begun), "the first at once");
    assert_eq!(Duty::Probe.role(), ServiceRole::EvidenceExporter);
    s.run(
        r#"wait 20m
        generate k2 {"asset":"a"} by kim => key.generated
        probe k2 use by bot => probe.recorded"#,
    );
    assert_eq!(next(&s, Duty::Probe), Some(begun), "the other one");
    s.run("probe k1 activate by bot => probe.recorded");
    assert_eq!(next(&s, Duty::Probe), Some(begun + span("20m") + span("1d")));
    assert_eq!(s.tenant.progress.waiting, 2);
    s.run("wait 40m\ndue => key.expired, key.destroyed");
    assert_eq!((s.tenant.progress.waiting, next(&s, Duty::Probe).is_some()), (1, true));
    s.run("compromise k2 by opa => key.compromised");
    assert_eq!((s.tenant.progress.waiting, next(&s, Duty::Probe)), (0, None));
    s.run(r#"generate k3 {"asset":"a"} by kim => key.generated"#);
    assert_eq!(next(&s, Duty::Probe), Some(begun + span("20m") + span("1d")));
    s.run(r#"adopt {"schema":3} by ann,bob => policy.adopted"#);
    assert_eq!(next(&s, Duty::Probe), None);
}

/// What waits is counted as the chain goes on, whatever becomes of it.
#[test]
fn waiting_keys_are_counted() {
    let mut s = evidenced();
    s.run(
        r#"generate k2 {"asset":"a"} by kim => key.generated
        generate k3 {"asset":"a"} by kim => key.generated
        request k1 by kim => activation.requested
        approve k1 by sam => activation.approved
        approve k1 by lou => activation.approved
        due => activation.authorized, key.activated
        suspend k1 by opa => key.suspended
        resume k1 by opa => key.resumed
        destroy k2 by opa,sam => key.destroyed"#,
    );
    let waiting = s.tenant.keys.values().filter(|key| key.is_waiting()).count();
    assert_eq!((s.tenant.progress.waiting, waiting), (1, 1));
}

// === The evaluation of the control ===

const RESULTS: &str = r#"[{"id":"CEK-15.01","outcome":"no-exceptions","population":3,"exceptions":0},{"id":"CEK-15.03","outcome":"exceptions","population":3,"exceptions":1}]"#;

/// `control.evaluate` with these dispositions, and some members in the place of others.
pub(super) fn evaluation(dispositions: &str, member: &str) -> String {
    let (results, dispositions) = (format!(r#""results":{RESULTS}"#), format!(r#""dispositions":[{dispositions}]"#));
    let dispositions = if dispositions.ends_with("[]") { "" } else { &dispositions };
    let members = [r#""size":5"#, &results, dispositions];
    let members: Vec<&str> = members.into_iter().filter(|member| !member.is_empty()).collect();
    replaced("control.evaluate", r#""controls":"$hash:controls""#, &members, member)
}

const ACCEPTED: &str = r#"{"exception":"cek-15-03-1","disposition":"accepted","owner":"$who:kim","due":"$now+30d","note":"it is being looked into"}"#;

#[test]
fn the_control_is_evaluated_by_a_quorum_of_who_the_policy_names() {
    let mut s = evidenced();
    let evaluated = evaluation(ACCEPTED, "");
    s.run(&format!("{evaluated} by sam => refused quorum-not-met\n{evaluated} by lou,kim => refused role-missing"));
    s.run(&format!("{evaluated} by sam,bot => refused quorum-not-met")); // a program does not count
    s.run(&format!("{evaluated} by sam,sue => control.evaluated"));
    s.run(&format!("{} by sam,sue => control.evaluated", evaluation("", "")));
    with("{}").run(&format!("{evaluated} by sam,sue => refused nothing-due"));
}

#[test]
fn an_evaluation_says_what_it_is_about_and_who_answers_for_it() {
    let refused = |dispositions: &str, member: &str, problem: &str| {
        let mut s = evidenced();
        s.run(&format!("{} by sam,sue => refused {problem}", evaluation(dispositions, member)));
    };
    refused("", r#""size":0"#, "malformed");
    refused("", r#""size":9999"#, "malformed");
    refused("", r#""results":[]"#, "malformed");
    let result = |at: usize| format!(r#"{{"id":"t-{at}","outcome":"not-applicable","population":0,"exceptions":0}}"#);
    let results = |count: usize| (0..count).map(result).collect::<Vec<String>>().join(",");
    refused("", &format!(r#""results":[{}]"#, results(CONTROL_RESULTS_MAX + 1)), "malformed");
    refused("", &format!(r#""results":[{0},{0}]"#, result(1)), "malformed");
    refused(&format!("{ACCEPTED},{ACCEPTED}"), "", "malformed");
    refused(&ACCEPTED.replace("$who:kim", "$who:zoe"), "", "unknown-principal");
    refused(&ACCEPTED.replace("$who:kim", "$who:app"), "", "not-a-person");
    refused(&ACCEPTED.replace("$now+30d", "$now+0s"), "", "times-invalid");
    let long = "n".repeat(DISPOSITION_NOTE_BYTES_MAX + 1);
    refused(&ACCEPTED.replace("it is being looked into", &long), "", "malformed");
    let many = |count: usize| {
        (0..count).map(|at| ACCEPTED.replace("03-1", &at.to_string())).collect::<Vec<String>>().join(",")
    };
    refused(&many(DISPOSITIONS_MAX + 1), "", "malformed");
    let mut s = evidenced();
    let most = evaluation(&many(DISPOSITIONS_MAX), &format!(r#""results":[{}]"#, results(CONTROL_RESULTS_MAX)));
    s.run(&format!("{most} by sam,sue => control.evaluated"));
}

/// An evaluation as large as its bounds allow fits a command.
#[test]
fn the_largest_evaluation_fits() {
    let name = |at: usize| format!("{at:0>64}");
    let most = 9_007_199_254_740_991_u64;
    let result = |at: usize| {
        format!(r#"{{"id":"{}","outcome":"insufficient-evidence","population":{most},"exceptions":{most}}}"#, name(at))
    };
    let note = "\\\"".repeat(DISPOSITION_NOTE_BYTES_MAX);
    let disposition = |at: usize| {
        format!(
            r#"{{"exception":"{}","disposition":"not-an-exception","owner":"$who:kim","due":"$now+30d","note":"{note}"}}"#,
            name(at)
        )
    };
    let all = |one: &dyn Fn(usize) -> String, count: usize| (0..count).map(one).collect::<Vec<String>>().join(",");
    let params = format!(
        r#"{{"controls":"$hash:controls","size":{most},"results":[{}],"dispositions":[{}]}}"#,
        all(&result, CONTROL_RESULTS_MAX),
        all(&disposition, DISPOSITIONS_MAX)
    );
    let mut s = evidenced();
    let signed = s.command_of("control.evaluate", None, &params, "sam,sue");
    let size = signed.envelope.payload.0.len();
    assert!((PAYLOAD_BYTES_MAX - 3_000..=PAYLOAD_BYTES_MAX).contains(&size), "{size} bytes");
}

#[test]
fn an_evaluation_is_due_warned_of_and_missed() {
    let mut s = evidenced();
    let begun = s.now;
    let due_at = |s: &Scenario| {
        let deadlines = &s.tenant.governance.as_ref().unwrap().deadlines;
        deadlines.iter().find(|one| one.deadline == Deadline::ControlEvaluation).map(|one| one.at)
    };
    assert_eq!(due_at(&s), Some(begun + span("90d")));
    assert_eq!(next(&s, Duty::Deadlines), Some(begun + span("76d")));
    s.run("wait 1h\ndue => key.expired, key.destroyed\nwait 75d\ncheckpoint => checkpoint.signed\nexport => evidence.exported");
    s.run(&format!("{} by sam,sue => control.evaluated", evaluation("", "")));
    assert_eq!(due_at(&s), Some(s.now + span("90d")));
    s.run("wait 76d\ncheckpoint => checkpoint.signed\ndue => evidence.exported, deadline.warned\nwait 14d\ndue => deadline.missed");
    // It is still to be done, and once it is, the next is due a whole period later.
    s.run(&format!("{} by sam,sue => control.evaluated", evaluation("", "")));
    assert_eq!(due_at(&s), Some(s.now + span("90d")));
    s.run(r#"adopt {"schema":3} by ann,bob => policy.adopted"#);
    assert_eq!(due_at(&s), None);
}

// === Policy ===

#[test]
fn loading_finds_every_hole_in_the_section() {
    let faults = |section: &str, expected: &str| {
        super::policy::faults(&format!(r#"{{"schema":3,"evidence":{section}}}"#), expected)
    };
    faults("{}", "");
    faults(r#"{"heartbeat":"59s"}"#, "evidence.heartbeat");
    faults(r#"{"heartbeat":"1m"}"#, "");
    faults(r#"{"export":{"roles":[],"every":"59m"}}"#, "evidence.export.roles evidence.export.every");
    faults(r#"{"export":{"roles":["a"],"every":"1h"}}"#, "");
    faults(r#"{"probes":{"every":"59m"}}"#, "evidence.probes.every");
    faults(r#"{"probes":{"every":"1h"}}"#, "");
    faults(
        r#"{"evaluation":{"by":{"roles":[],"quorum":0},"every":"23h","warn_before":"23h"}}"#,
        "evidence.evaluation.by.roles evidence.evaluation.by.quorum evidence.evaluation.every evidence.evaluation.warn_before",
    );
    faults(r#"{"evaluation":{"by":{"roles":["a"],"quorum":33},"every":"1d"}}"#, "evidence.evaluation.by.quorum");
    faults(r#"{"evaluation":{"by":{"roles":["a"]},"every":"1d","warn_before":"23h"}}"#, "");
    // Version 2 of the form has no such section.
    super::policy::faults(r#"{"evidence":{"heartbeat":"1h"}}"#, "schema");
    super::policy::faults(r#"{"schema":1,"evidence":{"heartbeat":"1h"}}"#, "schema");
    for section in [
        r#"{"export":{"roles":["nobody"]}}"#,
        r#"{"evaluation":{"by":{"roles":["nobody"]},"every":"1d"}}"#,
        r#"{"evaluation":{"by":{"roles":["privacy"],"quorum":3},"every":"1d"}}"#,
    ] {
        let mut s = super::tenant();
        s.run(&format!(r#"adopt {{"schema":3,"evidence":{section}}} by ann,bob => refused policy-refused"#));
    }
}

/// A life under epoch 3 in which everything new happens.
pub(super) fn life() -> Scenario {
    let mut s = evidenced();
    let steps = [
        r#"do document.store {"document":"$hash:text","part":0,"parts":1,"text":"text"} by kim => document.stored"#
            .to_owned(),
        format!("{} by ann,bob => document.adopted", document("")),
        format!(
            "{} by ann,bob => document.adopted",
            document(r#""name":"undertaking""#).replace("procedure", "statement")
        ),
        format!("{STORE} by ann,bob => store.registered"),
        "probe k1 activate by bot => probe.recorded\nprobe k1 use by bot => probe.recorded".to_owned(),
        "checkpoint => checkpoint.signed\nexport 3 by lou => evidence.exported".to_owned(),
        "checkpoint => checkpoint.signed\nwait 2h\ndue => key.expired, key.destroyed\ncheckpoint => checkpoint.signed"
            .to_owned(),
        r#"wait 2h
        checkpoint => checkpoint.signed
        wait 30d
        due => evidence.exported, deadline.warned, deadline.warned
        probe k1 use by bot => refused key-not-pre-active"#
            .to_owned(),
        format!("{} by sam,sue => control.evaluated", evaluation(ACCEPTED, "")),
        "wait 30d\ndue => deadline.missed, deadline.missed, evidence.exported\nwait 46d".to_owned(),
        "due => evidence.exported, deadline.warned\nwait 14d\ndue => deadline.missed".to_owned(),
    ];
    steps.iter().for_each(|step| s.run(step));
    s
}

#[test]
fn everything_new_happens() {
    let s = life();
    let type_of = |record: &journal::Record| journal::Body::parse(&record.payload).unwrap().event_type;
    let happened: BTreeSet<String> = s.records.iter().map(type_of).collect();
    for new in ["document.adopted", "store.registered", "evidence.exported", "probe.recorded", "control.evaluated"] {
        assert!(happened.contains(&format!("dev.keylatch.{new}.v1")), "{new}");
    }
}

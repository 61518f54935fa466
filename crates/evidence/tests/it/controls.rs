//! The control tests: each with a history that has something against it, one that has nothing, and, where it can be, one
//! that it is not about and one that does not answer it.

use evidence::controls::never_active::{Bound, never_active};
use journal::Body;
use lifecycle::decide::Probed;
use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Input, Judgement};
use model::event::CustodyUsed;
use model::evidence::{Probe, ProbeOutcome};
use model::key::Operation;
use model::{CommandId, Event, ServiceRole, Timestamp};

use super::stage::{replay, run, test, tests};

/// What a test came to, in a line: how many of how many had nothing against them, the outcome, and the exceptions' reasons.
fn line(scenario: &Scenario, id: &str, from: u64) -> String {
    let controls = tests(scenario, from);
    let test = test(&controls, id);
    let mut reasons: Vec<&str> = test.exceptions.iter().map(|exception| exception.reason).collect();
    reasons.sort_unstable();
    assert!(test.exceptions.iter().all(|exception| !exception.events.is_empty()), "exceptions name their events");
    let outcome = serde_json::to_value(test.outcome).unwrap();
    let reasons: String = reasons.iter().map(|reason| format!(" {reason}")).collect();
    format!("{}/{} {}{reasons}", test.passed, test.population.count, outcome.as_str().unwrap())
}

/// Runs a script in a tenant under this policy, and compares what a test comes to.
#[track_caller]
fn check(id: &str, policy: &str, script: &str, comes_to: &str) -> Scenario {
    let mut scenario = Scenario::new();
    scenario.run(&format!("adopt {policy} by ann,bob => policy.adopted"));
    run(&mut scenario, script);
    assert_eq!(line(&scenario, id, 1), comes_to, "{id}: {script}");
    scenario
}

/// A key that nobody has anything against.
const KEY: &str = r#"generate k1 {"asset":"weights","owner":"team-a"} by kim => key.generated
    place k1"#;
/// The same, for no AI workload.
const GENERAL: &str = r#"generate k2 {"workload":"general","owner":"team-b"} by kim => key.generated
    place k2"#;

/// A key on its whole way.
fn active(key: &str) -> String {
    let first = if key == "k1" { KEY } else { GENERAL };
    format!(
        "{first}
         request {key} by rae => activation.requested
         approve {key} by sam => activation.approved
         approve {key} by lou => activation.approved
         due => activation.authorized, key.activated
         place {key}"
    )
}

/// An event copied to the end of the log, where it does not stand.
fn copied(scenario: &mut Scenario, of: &str) {
    let of = format!("\"dev.keylatch.{of}.v1\"");
    let has = |record: &&journal::Record| String::from_utf8_lossy(&record.payload).contains(&of);
    let record = scenario.records.iter().rev().find(has).unwrap();
    let body = Body::parse(&record.payload).unwrap();
    let event = Event::parse(body.event_type.parse().unwrap(), &body.data).unwrap();
    let role = body.source_role().parse().unwrap();
    assert!(matches!(scenario.forge(role, &event), Judgement::Void(_)));
}

/// What copying an event to where it does not belong brings into a test.
#[track_caller]
fn check_copied(id: &str, of: &str, comes_to: &str) {
    let mut scenario = check(id, "{}", &active("k1"), &line_without(comes_to));
    copied(&mut scenario, of);
    assert_eq!(line(&scenario, id, 1), comes_to, "{id}");
}

/// What it would have come to without the exception.
fn line_without(comes_to: &str) -> String {
    comes_to.replace("exceptions void", "no-exceptions")
}

// === Birth ===

#[test]
fn keys_are_born_pre_active() {
    check("CEK-15.01", "{}", "", "0/0 not-applicable");
    check("CEK-15.01", "{}", KEY, "1/1 no-exceptions");
    check("CEK-15.01", "{}", &active("k1"), "1/1 no-exceptions");
    check_copied("CEK-15.01", "key.generated", "1/1 exceptions void");
}

#[test]
fn pre_active_keys_are_kept_apart() {
    check("CEK-15.02", "{}", "", "0/0 not-applicable");
    check("CEK-15.02", "{}", &active("k1"), "1/1 no-exceptions");
    let generate = "generate k1 {\"asset\":\"weights\"} by kim => key.generated";
    check("CEK-15.02", "{}", generate, "1/1 insufficient-evidence");
    // The custodian speaks of one, and not of the other.
    let silent = format!(
        "{KEY}\ngenerate k2 {{\"asset\":\"w\"}} by kim => key.generated\nwait 6m\ndue => nothing\ncheckpoint => checkpoint.signed"
    );
    check("CEK-15.02", "{}", &silent, "1/2 exceptions unconfirmed");
    // One wrapping key for both inventories.
    let shared = active("k1").replace("place k1", "apply k1 => custody.applied");
    check("CEK-15.02", "{}", &shared, "0/1 exceptions same-wrapping-key");
}

const REVIEWED: &str =
    r#"{"people":{"access_review":{"by":{"roles":["admin"],"quorum":2},"every":"30d","warn_before":"5d"}}}"#;

#[test]
fn only_the_enrolled_have_keys_generated() {
    check("CEK-15.12", REVIEWED, "", "0/0 not-applicable");
    check("CEK-15.12", REVIEWED, KEY, "1/1 no-exceptions");
    check("CEK-15.12", "{}", KEY, "1/1 insufficient-evidence");
    let missed = format!("{KEY}\nwait 31d\nduty expire k1 => key.expired\ndue => key.destroyed, deadline.missed");
    check("CEK-15.12", REVIEWED, &missed, "1/1 exceptions access-review-missed");
}

#[test]
fn keys_have_the_attributes_they_should() {
    check("CEK-15.14", "{}", "", "0/0 not-applicable");
    check("CEK-15.14", "{}", &active("k1"), "1/1 no-exceptions");
    check("CEK-15.14", "{}", "generate k1 {\"asset\":\"w\"} by kim => key.generated", "0/1 exceptions no-owner");
    let late = format!("{}\nwait 2d\ncheckpoint => checkpoint.signed", active("k1"));
    check("CEK-15.14", "{}", &late, "0/1 exceptions past-its-end");
    let allow = r#"{"keys":{"allow":{"successor":true}}}"#;
    let successor = format!(
        "{}\n{}",
        active("k1"),
        active("k2").replace(
            r#""owner""#,
            r#""attributes":{"exportable":false,"deletable":true,"replaces":"$key:k1"},"owner""#
        )
    );
    check("CEK-15.14", allow, &successor, "1/2 exceptions predecessor-active");
}

// === Activation ===

#[test]
fn authorisation_comes_before_use() {
    check("CEK-15.03", "{}", KEY, "0/0 not-applicable");
    check("CEK-15.03", "{}", &active("k1"), "1/1 no-exceptions");
    check_copied("CEK-15.03", "key.activated", "1/1 exceptions void");
}

const EMERGENCY: &str = r#"{"rule":[
    {"name":"every-key","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
     "approval_valid_for":"20m","stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}],"users":["app"]},
    {"name":"emergency","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
     "approval_valid_for":"20m","stage":[{"role":"security","quorum":2}],"users":["app"],
     "break_glass":{"life":"2h","review_within":"1h","reviewers":{"roles":["privacy"],"quorum":1}}}]}"#;

#[test]
fn emergencies_are_reviewed_in_time() {
    let emergency = format!(
        "{KEY}
         do activation.request k1 {{\"identity\":$identity,\"break_glass\":true,\"reason\":{{\"kind\":\"incident\",\"text\":\"x\"}},\"legal_basis\":[],\"affected_systems\":[]}} by rae => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by sue => activation.approved
         due => activation.authorized, key.activated
         place k1"
    );
    let policy = EMERGENCY.replace('\n', " ");
    check("CEK-15.03", &policy, &emergency, "1/1 no-exceptions");
    let late = format!("{emergency}\nwait 90m\ndue => key.suspended\nplace k1");
    check("CEK-15.03", &policy, &late, "0/1 exceptions unreviewed");
    let review = r#"do activation.review k1 {"activation":"$event:key.activated","findings":"it was needed"} by lou => activation.reviewed"#;
    check(
        "CEK-15.03",
        &policy,
        &format!("{emergency}\n{review}\nwait 90m\ncheckpoint => checkpoint.signed"),
        "1/1 no-exceptions",
    );
}

#[test]
fn activation_is_for_the_authorised_several_together() {
    check("CEK-15.04", "{}", KEY, "0/0 not-applicable");
    check("CEK-15.04", "{}", &active("k1"), "1/1 no-exceptions");
    check_copied("CEK-15.04", "activation.approved", "1/1 exceptions void");
}

#[test]
fn activations_are_on_record() {
    check("CEK-15.06", "{}", KEY, "0/0 not-applicable");
    check("CEK-15.06", "{}", &active("k1"), "1/1 no-exceptions");
    let bare = active("k1").replace(
        "request k1 by rae",
        r#"do activation.request k1 {"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":[]} by rae"#,
    );
    check("CEK-15.06", "{}", &bare, "0/1 exceptions no-affected-systems");
}

#[test]
fn how_activation_happens_is_confirmed() {
    check("CEK-15.15", "{}", KEY, "0/0 not-applicable");
    check("CEK-15.15", "{}", &active("k1"), "1/1 no-exceptions");
    let (silent, _) =
        active("k1").rsplit_once("place k1").map(|(before, after)| (before.to_owned(), after.to_owned())).unwrap();
    check("CEK-15.15", "{}", &silent, "1/1 no-exceptions"); // it has had no time yet
    check(
        "CEK-15.15",
        "{}",
        &format!("{silent}\nwait 6m\ncheckpoint => checkpoint.signed"),
        "0/1 exceptions unconfirmed",
    );
    check("CEK-15.15", "{}", &format!("{silent}\nwait 6m\nplace k1"), "0/1 exceptions late");
}

// === Law ===

const PACK: &str = r#"{"schema":1,"name":"gdpr","version":1,"title":"Residency","about":["test"],
    "effective_from":"2025-01-01T00:00:00.000Z","reviewer":"privacy","review_due":"2027-01-01T00:00:00.000Z",
    "evidence":["fact.residency"],"source":[{"citation":"GDPR art. 44"}],
    "fact":[{"name":"residency","kind":"text","scope":"tenant","about":"where the data is"}],
    "gate":[{"name":"in-the-union","clause":"GDPR art. 44","says":"the data stays in the Union","needs":["residency"],
    "require":"context.facts[\"residency\"] == \"EU\""}]}"#;
const LAW: &str = r#"{"packs":["gdpr"],"fact":[{"name":"residency","roles":["privacy"],"valid_max":"2h"}]}"#;

fn declared(how: &str) -> String {
    let pack = PACK.replace('\n', " ");
    format!(
        r#"do pack.declare {{"against":"$head","pack":{pack},"applicability":{{"{how}":"counsel said so"}},"review_by":"$now+60d"}} by ann,bob => pack.declared
        do fact.assert {{"fact":"residency","value":{{"text":"EU"}},"valid_until":"$now+1h","evidence":"DOC-1"}} by lou => fact.asserted"#
    )
}

#[test]
fn the_law_is_considered_and_enforced() {
    let (applied, waived) = (declared("applied"), declared("not_applicable"));
    check("CEK-15.07", LAW, &applied, "0/0 not-applicable");
    check("CEK-15.07", LAW, &format!("{applied}\n{}", active("k1")), "1/1 no-exceptions");
    check("CEK-15.07", LAW, &format!("{waived}\n{}", active("k1")), "1/1 insufficient-evidence");
    let unsaid = active("k1").replace(
        "request k1 by rae",
        r#"do activation.request k1 {"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":["x"]} by rae"#,
    );
    check("CEK-15.07", LAW, &format!("{applied}\n{unsaid}"), "0/1 exceptions no-legal-basis");
    let overdue = format!("{applied}\n{}\nwait 61d\ncheckpoint => checkpoint.signed", active("k1"));
    let mut scenario = check("CEK-15.07", LAW, &overdue, "1/1 exceptions review-overdue");
    while scenario.perform("due").contains("deadline.missed") {}
    assert_eq!(line(&scenario, "CEK-15.07", 1), "1/1 exceptions review-missed");
}

// === Waiting ===

const WATCHED: &str = r#"{"keys":{"revalidation":{"roles":["owner"],"every":"20m"}}}"#;

#[test]
fn waiting_has_an_end() {
    check("CEK-15.08", "{}", "", "0/0 not-applicable");
    check("CEK-15.08", "{}", &active("k1"), "1/1 no-exceptions");
    let expired = "wait 1h\ndue => key.expired, key.destroyed\nplace k1";
    check("CEK-15.08", "{}", &format!("{KEY}\n{expired}"), "1/1 no-exceptions");
    check("CEK-15.08", "{}", &format!("{KEY}\nwait 1h\ncheckpoint => checkpoint.signed"), "1/1 no-exceptions");
    check("CEK-15.08", "{}", &format!("{KEY}\nwait 70m\ncheckpoint => checkpoint.signed"), "0/1 exceptions overdue");
    let late = format!("{KEY}\n{}", expired.replace("1h", "70m"));
    check("CEK-15.08", "{}", &late, "0/1 exceptions expired-late");
    let kept = "wait 1h\nduty expire k1 => key.expired\nwait 6m\ncheckpoint => checkpoint.signed";
    check("CEK-15.08", "{}", &format!("{KEY}\n{kept}"), "0/1 exceptions not-destroyed");
    let unproved = "wait 1h\ndue => key.expired, key.destroyed\nwait 6m\ncheckpoint => checkpoint.signed";
    check("CEK-15.08", "{}", &format!("{KEY}\n{unproved}"), "0/1 exceptions destruction-unconfirmed");
    // What was over before the period is none of its business.
    let mut scenario = check("CEK-15.08", "{}", &format!("{KEY}\n{expired}"), "1/1 no-exceptions");
    assert_eq!(line(&scenario, "CEK-15.08", scenario.records.len() as u64), "0/0 not-applicable");
    scenario.run("generate k2 {\"asset\":\"w\"} by kim => key.generated");
    assert_eq!(line(&scenario, "CEK-15.08", scenario.records.len() as u64), "1/1 no-exceptions");
}

#[test]
fn keys_that_wait_are_reviewed() {
    let revalidated = r#"do key.revalidate {"keys":["$key:k1"]} by kim => key.revalidated"#;
    check("CEK-15.16", WATCHED, "", "0/0 not-applicable");
    check("CEK-15.16", "{}", KEY, "1/1 insufficient-evidence");
    check(
        "CEK-15.16",
        WATCHED,
        &format!("{KEY}\nwait 15m\n{revalidated}\nwait 15m\ndue => nothing"),
        "1/1 no-exceptions",
    );
    check("CEK-15.16", WATCHED, &active("k1"), "1/1 no-exceptions");
    let missed = format!("{KEY}\nwait 20m\ndue => key.expired, key.destroyed");
    check("CEK-15.16", WATCHED, &missed, "0/1 exceptions review-missed");
    let overdue = format!("{KEY}\nwait 26m\ncheckpoint => checkpoint.signed");
    check("CEK-15.16", WATCHED, &overdue, "0/1 exceptions review-overdue");
    let some = format!("{KEY}\nadopt {WATCHED} by ann,bob => policy.adopted\n{GENERAL}");
    check("CEK-15.16", "{}", &some, "1/2 exceptions no-review");
}

// === Stores ===

#[test]
fn all_stores_follow_the_chain() {
    check("CEK-15.05", "{}", "", "0/0 not-applicable");
    check("CEK-15.05", "{}", &active("k1"), "1/1 no-exceptions");
    let halted = format!("{}\nsuspend k1 by opa => key.suspended\nwait 6m\n", active("k1"));
    check("CEK-15.05", "{}", &format!("{halted}checkpoint => checkpoint.signed"), "0/1 exceptions unconfirmed");
    check("CEK-15.05", "{}", &format!("{halted}place k1"), "0/1 exceptions late");
    check_copied("CEK-15.05", "custody.applied", "1/1 exceptions void");
}

// === AI ===

#[test]
fn keys_for_ai_workloads_are_under_the_same_controls() {
    check("CEK-15.09", "{}", GENERAL, "0/0 not-applicable");
    check("CEK-15.09", "{}", &active("k1"), "1/1 insufficient-evidence");
    let both = format!("{}\n{}", active("k1"), active("k2"));
    check("CEK-15.09", LAW, &format!("{}\n{both}", declared("applied")), "1/1 no-exceptions");
    let bare = both.replacen(
        "request k1 by rae",
        r#"do activation.request k1 {"identity":$identity,"reason":$why,"legal_basis":["x"],"affected_systems":[]} by rae"#,
        1,
    );
    check("CEK-15.09", "{}", &bare, "0/1 exceptions exception");
    let weaker = r#"{"rule":[
        {"name":"ai","when":{"workload":["model-storage"],"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"security","quorum":1}],"users":["app"]},
        {"name":"others","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}],"users":["app"]}]}"#;
    let once = both.replacen("approve k1 by lou => activation.approved", "", 1);
    check("CEK-15.09", &weaker.replace('\n', " "), &once, "0/1 exceptions fewer-approvals");
}

// === Upstream and downstream ===

#[test]
fn activation_is_coordinated() {
    check("CEK-15.10", "{}", &active("k1"), "0/0 not-applicable");
    let child = active("k2").replace(r#""owner""#, r#""wrapped_by":{"key_id":"$key:k1"},"owner""#);
    let both = format!("{}\n{child}", active("k1"));
    check("CEK-15.10", "{}", &both, "1/1 no-exceptions");
    let halted = format!("{both}\nsuspend k1 by opa => key.suspended");
    check("CEK-15.10", "{}", &halted, "0/1 exceptions parent-not-active");
}

// === Use ===

/// A custodian's count of one use, this long after the beginning and until then.
fn used(scenario: &mut Scenario, from: Timestamp, to: Timestamp, operation: Operation) {
    let key = scenario.tenant.keys[&key_id("k1")].clone();
    let number = scenario.records.len() as u8;
    let report = CommandId::from_bytes([1, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 1, number]).unwrap();
    let used = CustodyUsed {
        report,
        key_id: key.id,
        activation: key.activation.unwrap().hash,
        uses: [(operation, 1)].into(),
        used_by: vec![scenario.principal("app", "app").fingerprint()],
        from,
        to,
        cause: key.transition,
    };
    scenario.submit(ServiceRole::Custodian, Input::Used(used)).unwrap();
}

/// Uses the active k1 as told, then compares what `usage` comes to.
#[track_caller]
fn check_use(script: &str, uses: impl FnOnce(&mut Scenario, Timestamp), comes_to: &str) {
    let before = format!("wait 10m\n{}", active("k1"));
    let mut scenario = check("usage", "{}", &before, "0/0 not-applicable");
    let activated = scenario.now;
    run(&mut scenario, script);
    uses(&mut scenario, activated);
    assert_eq!(line(&scenario, "usage", 1), comes_to);
}

#[test]
fn keys_are_used_while_they_are_active() {
    let secs = model::Span::from_secs;
    check_use("wait 1m", |s, at| used(s, at, at + secs(9), Operation::Encrypt), "1/1 no-exceptions");
    check_use("wait 1m", |s, at| used(s, at.before(secs(4)), at, Operation::Encrypt), "1/1 no-exceptions");
    check_use("wait 1m", |s, at| used(s, at.before(secs(6)), at, Operation::Encrypt), "0/1 exceptions outside");
    let ended = "deactivate k1 by opa => key.deactivated\nplace k1\nwait 1m";
    check_use(ended, |s, at| used(s, at, at + secs(6), Operation::Encrypt), "0/1 exceptions outside");
    check_use(ended, |s, at| used(s, at, at + secs(6), Operation::Decrypt), "1/1 no-exceptions");
    let halted = "suspend k1 by opa => key.suspended\nplace k1\nwait 1m";
    check_use(halted, |s, at| used(s, at, at + secs(6), Operation::Decrypt), "0/1 exceptions outside");
}

#[test]
fn a_count_of_uses_that_does_not_stand_is_an_exception() {
    let twice = |s: &mut Scenario, at| {
        used(s, at, at, Operation::Encrypt);
        copied(s, "custody.used");
    };
    check_use("", twice, "1/1 exceptions void");
}

#[test]
fn who_signs_as_several_services_is_named() {
    let few = Scenario::bare();
    assert_eq!(line(&few, "separation", 1), "1/1 no-exceptions");
    check("separation", "{}", &active("k1"), "1/5 exceptions several-roles");
}

// === All of them ===

#[test]
fn the_sixteen_points_stand_in_order_and_say_what_they_are() {
    let scenario = check("CEK-15.01", "{}", &active("k1"), "1/1 no-exceptions");
    let controls = tests(&scenario, 1);
    let points: Vec<&str> = controls.controls.iter().take(16).map(|test| test.id.as_str()).collect();
    let wanted: Vec<String> = (1..=16).map(|point| format!("CEK-15.{point:02}")).collect();
    assert_eq!(points, wanted);
    for test in &controls.controls {
        assert!(test.statement.ends_with('.') && !test.method.is_empty() && !test.source.is_empty(), "{}", test.id);
        assert!(test.passed <= test.population.count);
    }
}

/// What a disposition names stays the same, whatever else happens.
#[test]
fn exceptions_keep_their_ids() {
    let mut scenario =
        check("CEK-15.14", "{}", &active("k1").replace(r#","owner":"team-a""#, ""), "0/1 exceptions no-owner");
    let id = |scenario: &Scenario, from| test(&tests(scenario, from), "CEK-15.14").exceptions[0].id.clone();
    let first = id(&scenario, 1);
    scenario.run("suspend k1 by opa => key.suspended\ncheckpoint => checkpoint.signed");
    assert_eq!(id(&scenario, 1), first);
    assert_eq!(id(&scenario, 5), first);
}

// === Define and evaluate ===

const ASKS: &str = r#"{"schema":3,"keys":{"pre_active_for":"9d"},"evidence":{"probes":{"every":"1h"},
    "evaluation":{"by":{"roles":["privacy"],"quorum":1},"every":"1d"}}}"#;

/// Under a policy that asks for evidence.
#[track_caller]
fn check_asked(id: &str, script: &str, comes_to: &str) -> Scenario {
    check(id, &ASKS.replace('\n', " "), script, comes_to)
}

fn adopted(kind: &str, covers: &str) -> String {
    format!(
        r#"do document.adopt {{"against":"$head","name":"key-procedure","kind":"{kind}","title":"How keys are made","document":"$hash:text","covers":[{covers}],"owner":"$who:lou","review_by":"$now+60d"}} by ann,bob => document.adopted"#
    )
}

#[test]
fn procedures_for_generating_keys_are_adopted_and_kept() {
    check_asked("CEK-15.11", "", "0/0 insufficient-evidence");
    check_asked("CEK-15.11", &adopted("statement", "11"), "0/0 insufficient-evidence");
    check_asked("CEK-15.11", &adopted("procedure", "1,2"), "0/0 insufficient-evidence");
    let procedure = adopted("procedure", "1,11");
    check_asked("CEK-15.11", &procedure, "1/1 no-exceptions");
    check_asked("CEK-15.11", &format!("{procedure}\n{procedure}"), "1/1 no-exceptions");
    let left = format!("{procedure}\nrevoke lou by ann,bob => principal.revoked");
    check_asked("CEK-15.11", &left, "0/1 exceptions owner-left");
    let overdue = format!("{procedure}\nwait 61d\ncheckpoint => checkpoint.signed");
    let mut scenario = check_asked("CEK-15.11", &overdue, "0/1 exceptions review-overdue");
    while scenario.perform("due").contains("deadline") {}
    assert_eq!(line(&scenario, "CEK-15.11", 1), "0/1 exceptions review-overdue");
    // A new version is a review.
    scenario.run(&procedure);
    assert_eq!(line(&scenario, "CEK-15.11", 1), "1/1 no-exceptions");
}

fn registered(name: &str, kind: &str) -> String {
    format!(
        r#"do store.register {{"against":"$head","store":{{"name":"{name}","kind":"{kind}","server":"kms-1","database":"keys.redb"}}}} by ann,bob => store.registered"#
    )
}

#[test]
fn key_servers_and_databases_are_identified() {
    check_asked("CEK-15.13", "", "0/0 not-applicable");
    check_asked("CEK-15.13", KEY, "1/1 insufficient-evidence");
    check_asked("CEK-15.13", &format!("{KEY}\n{}", registered("software", "software")), "1/1 no-exceptions");
    check_asked("CEK-15.13", &format!("{KEY}\n{}", registered("other", "software")), "0/1 exceptions not-registered");
}

/// Where applications reach a store without the custodian, nobody here knows what they do.
#[test]
fn the_use_of_placed_keys_is_not_in_evidence() {
    let placed = format!("{}\n{}", active("k1"), registered("software", "pkcs11"));
    check_asked("usage", &placed, "0/0 insufficient-evidence");
}

/// A probe that the exporter records, as what it tried was answered.
fn probed(scenario: &mut Scenario, outcome: ProbeOutcome) {
    let command = scenario.command_of("key.activate", Some("k1"), r#"{"against":"$at"}"#, "app");
    let problem = (outcome == ProbeOutcome::Refused).then(|| "unknown-request".parse().unwrap());
    let probed = Probed { probe: Probe::ActivateUnapproved, outcome, problem };
    scenario.submit(ServiceRole::EvidenceExporter, Input::Probed { command, probed }).unwrap();
}

#[test]
fn probes_are_made_and_refused() {
    check("probes", "{}", KEY, "0/0 insufficient-evidence");
    check_asked("probes", "", "0/0 not-applicable");
    let mut scenario = check_asked("probes", KEY, "0/0 not-applicable");
    probed(&mut scenario, ProbeOutcome::Refused);
    assert_eq!(line(&scenario, "probes", 1), "1/1 no-exceptions");
    probed(&mut scenario, ProbeOutcome::Accepted);
    assert_eq!(line(&scenario, "probes", 1), "1/2 exceptions accepted");
    probed(&mut scenario, ProbeOutcome::Unanswered);
    assert_eq!(line(&scenario, "probes", 1), "1/3 exceptions accepted unanswered");
    check_asked(
        "probes",
        &format!("{KEY}\nwait 66m\ncheckpoint => checkpoint.signed"),
        "0/0 exceptions overdue overdue",
    );
}

/// The evaluation that lou signs, with a disposition of every exception that the test has.
fn evaluated(scenario: &mut Scenario, id: &str, due: &str) {
    let exceptions = test(&tests(scenario, 1), id).exceptions;
    let dispositions: Vec<String> = exceptions
        .iter()
        .map(|exception| {
            format!(
                r#"{{"exception":"{}","disposition":"remediate","owner":"$who:kim","due":"$now+{due}","note":"soon"}}"#,
                exception.id
            )
        })
        .collect();
    let params = format!(
        r#"{{"controls":"$hash:controls","size":1,"results":[{{"id":"{id}","outcome":"exceptions","population":1,"exceptions":1}}],"dispositions":[{}]}}"#,
        dispositions.join(",")
    );
    let command = scenario.command_of("control.evaluate", None, &params, "lou");
    scenario.submit(ServiceRole::EvidenceExporter, Input::Command(command)).unwrap();
}

#[test]
fn the_control_is_evaluated_and_what_was_decided_is_done() {
    check("evaluation", "{}", KEY, "0/0 insufficient-evidence");
    let mut scenario = check_asked("evaluation", &KEY.replace(r#","owner":"team-a""#, ""), "0/0 not-applicable");
    evaluated(&mut scenario, "CEK-15.14", "1h");
    assert_eq!(line(&scenario, "evaluation", 1), "1/1 no-exceptions");
    let disposed = test(&tests(&scenario, 1), "CEK-15.14").exceptions.remove(0);
    assert_eq!(disposed.owner.as_deref(), Some("kim"));
    assert_eq!(disposed.disposition.unwrap().note.as_str(), "soon");
    run(&mut scenario, "wait 66m\ncheckpoint => checkpoint.signed");
    assert_eq!(line(&scenario, "evaluation", 1), "1/1 exceptions disposition-overdue");
    run(&mut scenario, "wait 1d\ncheckpoint => checkpoint.signed");
    assert_eq!(line(&scenario, "evaluation", 1), "1/1 exceptions disposition-overdue overdue");
    scenario.perform("due");
    assert_eq!(line(&scenario, "evaluation", 1), "1/1 exceptions disposition-overdue missed");
    // Signed anew, with a later date.
    evaluated(&mut scenario, "CEK-15.14", "3h");
    assert_eq!(line(&scenario, "evaluation", scenario.records.len() as u64), "1/1 no-exceptions");
}

// === Never active ===

/// Between which minutes k1 was never active, and by what that is bounded: states before, within, after.
#[track_caller]
fn check_never(script: &str, from: u32, to: u32, comes_to: &str) {
    let scenario = check("CEK-15.01", "{}", script, "1/1 no-exceptions");
    let replay = replay(&scenario, &scenario.records, 1, 64);
    let begun = replay.history().begun.unwrap();
    let minute = |minute: u32| begun + model::Span::from_secs(minute * 60);
    let never = never_active(replay.history(), replay.period().until, key_id("k1"), minute(from), minute(to)).unwrap();
    let states = |bounds: &[Bound]| bounds.iter().map(|bound| bound.state.name()).collect::<Vec<_>>().join(",");
    let bound = |one: Option<Bound>| states(&one.into_iter().collect::<Vec<_>>());
    let verdict = serde_json::to_value(never.verdict).unwrap();
    let line = format!(
        "{} {}|{}|{}",
        verdict.as_str().unwrap(),
        bound(never.before),
        states(&never.within),
        bound(never.after)
    );
    assert_eq!(line, comes_to, "{from} to {to}");
}

#[test]
fn that_a_key_was_never_active_is_a_statement_with_bounds() {
    // Pre-active from minute 10, active from 20 to 30, suspended, and read until 40.
    let (born, used) =
        active("k1").split_once("place k1").map(|(born, used)| (born.to_owned(), used.to_owned())).unwrap();
    let life = format!(
        "wait 10m\n{born}place k1\nwait 10m{used}\nwait 10m\nsuspend k1 by opa => key.suspended\nplace k1\nwait 10m\ncheckpoint => checkpoint.signed"
    );
    check_never(&life, 0, 20, "holds |pre-active|active");
    check_never(&life, 12, 20, "holds pre-active||active");
    check_never(&life, 12, 21, "fails pre-active|active|suspended");
    check_never(&life, 25, 26, "fails active||suspended");
    check_never(&life, 30, 40, "holds suspended||");
    check_never(&life, 29, 40, "fails active|suspended|");
    check_never(&life, 30, 41, "open suspended||");
}

// === Keys that were there before ===

/// A baseline of the store `hsm`, to be settled within two hours.
const BASELINE: &str = r#"inventory k7,k8,k9 by ann
    do baseline.adopt {"against":"$head","store":"hsm","taken_at":"$now+0s","common":{"workload":"general","responsibility":"application","jurisdiction":"EU","classification":"secret","environment":"production"},"manifest":$inventory:k7+k8+k9,"rotate_by":"$now+2h","reason":$why} by ann,bob
    due"#;
const ANEW: &str = "request k7 by kim => activation.requested
    approve k7 by sam => activation.approved
    approve k7 by lou => activation.approved
    due => activation.authorized, key.activated";
const REPLACED: &str = r#"generate k2 {"workload":"general","attributes":{"exportable":false,"deletable":true,"replaces":"$key:k8"}} by kim => key.generated
    request k2 by kim => activation.requested
    approve k2 by sam => activation.approved
    approve k2 by lou => activation.approved
    due => activation.authorized, key.activated"#;

fn estate(script: &str) -> Scenario {
    let mut s = Scenario::new();
    s.run(r#"adopt {"keys":{"allow":{"successor":true}}} by ann,bob => policy.adopted"#);
    for step in BASELINE.lines().map(str::trim) {
        s.perform(step);
    }
    s.run(script);
    s
}

#[test]
fn adopted_keys_are_settled_in_time_or_are_exceptions() {
    let settled = format!("{ANEW}\n{REPLACED}\ndeactivate k9 by opa => key.deactivated");
    for script in ["", settled.as_str()] {
        assert_eq!(line(&estate(script), "adopted", 1), "3/3 no-exceptions", "{script}");
    }
    let mut s = estate("wait 2h");
    s.perform("due");
    assert_eq!(line(&s, "adopted", 1), "0/3 exceptions overdue overdue overdue");
    assert_eq!(line(&Scenario::new(), "adopted", 1), "0/0 not-applicable");
}

/// Late is better than never, and stays an exception.
#[test]
fn what_was_settled_late_stays_an_exception() {
    let mut s = estate("");
    s.perform("wait 3h");
    s.perform("due");
    s.run(ANEW);
    assert_eq!(line(&s, "adopted", 1), "0/3 exceptions late overdue overdue");
}

/// What is authorised anew is an activation like any other; only that no custodian can confirm it.
#[test]
fn an_activation_anew_is_in_the_populations_and_adopted_keys_are_in_no_other() {
    let s = estate(ANEW);
    for (id, comes_to) in [
        ("CEK-15.01", "0/0 not-applicable"),
        ("CEK-15.03", "1/1 no-exceptions"),
        ("CEK-15.04", "1/1 no-exceptions"),
        ("CEK-15.05", "0/0 not-applicable"),
        ("CEK-15.15", "1/1 no-exceptions"),
        ("CEK-15.02", "0/0 not-applicable"),
        ("CEK-15.12", "0/0 not-applicable"),
    ] {
        assert_eq!(line(&s, id, 1), comes_to, "{id}");
    }
    let controls = tests(&s, 1);
    let remarks = test(&controls, "CEK-15.03").remarks;
    assert!(remarks.iter().any(|remark| remark.contains("2 adopted keys are in use by baseline")), "{remarks:?}");
    let files = super::stage::bundle(&s, 1, 64);
    let governance = String::from_utf8(files["governance.csv"].clone()).unwrap();
    for said in [
        "baseline.adopted",
        "3 keys, as of",
        "activation not evidenced; open",
        "activation not evidenced; authorised anew",
    ] {
        assert!(governance.contains(said), "{said}: {governance}");
    }
    let report = String::from_utf8(files["report.html"].clone()).unwrap();
    assert!(report.contains("Keys that were there before") && report.contains("authorised anew: 1"));
    let activations = String::from_utf8(files["activations.csv"].clone()).unwrap();
    assert!(activations.contains(&key_id("k7").to_string()));
    let ocsf = String::from_utf8(files["ocsf.jsonl"].clone()).unwrap();
    assert!(ocsf.contains("its activation not evidenced") && ocsf.contains("has its keys adopted by a baseline"));
}

//! Keys that were there before: one baseline a store, every key by its own proof, and what becomes of them.

use lifecycle::baseline::{self, Line};
use lifecycle::decide::Adopting;
use lifecycle::scenario::{Scenario, inventory, key_id, line_of};
use lifecycle::{Due, Duty, Input, Key};
use model::event::{Deadline, DeadlineMissed, DeadlineWarned};
use model::key::KeyIdentity;
use model::{Algorithm, Event, KeyState, ProblemType, ServiceRole, Span, Timestamp};

use super::many::{APPROVE, STANDING, draw};
use super::{tenant, under};

/// Successors are allowed, and lists.
pub(super) const POLICY: &str = r#"{"keys":{"allow":{"successor":true}},"rule":{"manifest_max":3,"standing":{"count_max":2,"window_max":"50m","users":["app"]}}}"#;

/// The baseline of these keys.
pub(super) fn baseline_of(keys: &str) -> String {
    format!(
        r#"do baseline.adopt {{"against":"$head","store":"hsm","taken_at":"$now+0s","common":{{"workload":"model-storage","responsibility":"application","jurisdiction":"EU","classification":"secret","environment":"production","asset":"weights"}},"manifest":$inventory:{keys},"rotate_by":"$now+90d","reason":$why}}"#
    )
}

/// A tenant that has adopted k7, k8 and k9.
pub(super) fn adopted() -> Scenario {
    let mut s = under(POLICY);
    s.run("inventory k7,k8,k9 by ann => document.stored");
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7+k8+k9")));
    s.run("due => key.adopted, key.adopted, key.adopted\ndestroy k1 by opa,oto => key.destroyed");
    s
}

/// Everything about adoption that is lawful.
pub(super) fn life() -> Scenario {
    let mut s = adopted();
    s.run(ANEW);
    s.run(&rotate("k8"));
    s.run("suspend k9 by opa => key.suspended\nresume k9 by opa => key.resumed");
    s.run("wait 80d\ndue => key.deactivated, key.deactivated, deadline.warned");
    s.run("wait 10d\ndue => deadline.missed\ndeactivate k9 by opa => key.deactivated\ndestroy k9 by opa,oto => key.destroyed");
    s
}

/// k7 is authorised anew.
pub(super) const ANEW: &str = "request k7 by kim => activation.requested
    approve k7 by sam => activation.approved
    approve k7 by lou => activation.approved
    due => activation.authorized, key.activated";

/// A new key in the place of this one.
fn rotate(old: &str) -> String {
    format!(
        r#"generate k2 {{"asset":"weights","attributes":{{"exportable":false,"deletable":true,"replaces":"$key:{old}"}}}} by kim => key.generated
        request k2 by kim => activation.requested
        approve k2 by sam => activation.approved
        approve k2 by lou => activation.approved
        due => activation.authorized, key.activated"#
    )
}

fn key<'a>(s: &'a Scenario, key: &str) -> &'a Key {
    &s.tenant.keys[&key_id(key)]
}

fn dues_of(s: &Scenario, id: &str) -> Vec<Due> {
    s.dues().into_iter().filter(|due| due.duty.key() == Some(key_id(id))).collect()
}

fn days(count: u64) -> Span {
    format!("{count}d").parse().unwrap()
}

#[test]
fn adopted_keys_are_active_and_not_evidenced() {
    let s = adopted();
    let k7 = key(&s, "k7");
    assert_eq!((k7.state, k7.activation, k7.custody), (KeyState::Active, None, None));
    assert!(k7.is_unevidenced() && k7.can_be_activated() && !k7.is_waiting());
    assert_eq!((k7.store.as_str(), k7.spec.backend.as_str()), ("hsm", "hsm"));
    assert_eq!(k7.spec.label.as_str(), "k7");
    assert_eq!(k7.attestation, line_of("k7").digest());
    assert_eq!(k7.rotation().map(|(at, _)| at), Some(s.now + days(90)));
    assert_eq!(s.tenant.progress.to_adopt, 0);
    let duties: Vec<Duty> = dues_of(&s, "k7").into_iter().map(|due| due.duty).collect();
    assert_eq!(duties, [Duty::Warn(key_id("k7")), Duty::Miss(key_id("k7"))], "the custodian has nothing to apply");
    assert_eq!(Duty::Adopt.role(), ServiceRole::Issuer);
    let known = &s.tenant.governance.as_ref().unwrap().schedule.stores;
    assert!(!known.keys().any(|store| store.as_str() == "hsm"), "nothing of ours is there to be compared");
}

/// A baseline is a quorum's, whole in the log, of the past, and has an end.
#[test]
fn a_baseline_is_signed_for_once() {
    let mut s = under(POLICY);
    let good = baseline_of("k7+k8");
    s.run(&format!("{good} by ann,bob => refused request-incomplete"));
    s.run("inventory k7,k8 by ann => document.stored");
    for (from, to, problem) in [
        (r#""taken_at":"$now+0s""#, r#""taken_at":"$now+1s""#, "times-invalid"),
        ("$now+90d", "$now+0s", "times-invalid"),
        ("$now+90d", "$now+731d", "times-invalid"),
        (r#""against":"$head""#, r#""against":"$event:tenant.created""#, "state-changed"),
        ("k7+k8", "k7+k9", "request-incomplete"),
    ] {
        s.run(&format!("{} by ann,bob => refused {problem}", good.replacen(from, to, 1)));
    }
    s.run(&format!("{good} by ann => refused quorum-not-met\n{good} by kim,sam => refused role-missing"));
    s.run(&format!("{} by ann,bob => baseline.adopted", good.replacen("$now+90d", "$now+730d", 1)));
    assert_eq!(s.tenant.progress.to_adopt, 2);
    s.run("inventory k9 by ann => document.stored");
    s.run(&format!("{} by ann,bob => refused baseline-exists", baseline_of("k9")));
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k9").replacen("hsm", "kmip", 1)));
}

#[test]
fn a_key_is_adopted_by_its_own_line_alone() {
    let mut s = under(POLICY);
    s.run("inventory k7,k8 by ann => document.stored\ntake k7 of k7,k8 => refused not-in-manifest");
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7+k8")));
    s.run(
        "take k9 of k7,k8 => refused not-in-manifest
        take k9 of k7,k8,k9 => refused not-in-manifest
        take k7 of k7,k8,k9 => refused not-in-manifest
        take k7 of k7,k8 => key.adopted
        take k7 of k7,k8 => refused key-exists",
    );
    let wrong: [fn(Line) -> Line; 4] = [
        |line| Line { algorithm: "rsa-2048".parse().unwrap(), ..line },
        |line| Line { identity: KeyIdentity::Unknown, ..line },
        |line| Line { label: "another".parse().unwrap(), ..line },
        |line| Line { made_at: None, ..line },
    ];
    for change in wrong {
        let taken = take(&mut s, &inventory("k7,k8"), 1, change(line_of("k8")));
        assert_eq!(taken, Err(ProblemType::NotInManifest));
    }
    s.run("take k8 of k7,k8 => key.adopted\ndue => nothing");
}

/// Brings a line, with the proof that stands at this place of the list.
fn take(s: &mut Scenario, list: &lifecycle::manifest::List, at: usize, line: Line) -> Result<(), ProblemType> {
    let baseline = s.tenant.governance.as_ref().unwrap().baselines.values().next().unwrap().hash;
    let (_, membership) = list.memberships().nth(at).unwrap();
    let input = Input::Adopted(Adopting { baseline, line, membership });
    s.submit(ServiceRole::Issuer, input).map(drop).map_err(|rejection| rejection.problem)
}

/// A tenant with a baseline of these lines, none of them taken in yet.
fn with_lines(lines: Vec<Line>) -> (Scenario, lifecycle::manifest::List) {
    let mut s = under(POLICY);
    let list = baseline::list(lines);
    s.store(list.clone(), "ann").unwrap();
    let manifest = serde_json::to_string(&list.manifest()).unwrap();
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7").replace("$inventory:k7", &manifest)));
    (s, list)
}

#[test]
fn what_was_made_after_the_baseline_is_not_adopted() {
    let now: Timestamp = lifecycle::scenario::BEGINNING.parse().unwrap();
    let made = |key: &str, made_at| Line { made_at: Some(made_at), ..line_of(key) };
    let (mut s, list) = with_lines(vec![made("k7", now), made("k8", now + "1s".parse().unwrap())]);
    assert_eq!(take(&mut s, &list, 0, made("k7", now)), Ok(()));
    assert_eq!(take(&mut s, &list, 1, made("k8", now + "1s".parse().unwrap())), Err(ProblemType::TimesInvalid));
    assert_eq!(s.tenant.progress.to_adopt, 1, "it is seen that one of the list is missing");
}

#[test]
fn what_the_chain_did_not_generate_is_out_of_the_custodians_reach() {
    let mut s = adopted();
    for anew in [false, true] {
        if anew {
            s.run(ANEW);
        }
        s.run(
            "use k7 encrypt by app => refused not-in-custody
            use k7 decrypt by app => refused not-in-custody
            apply k7 => refused not-in-custody
            drift k7 attributes => refused not-in-custody",
        );
    }
}

#[test]
fn a_key_is_authorised_anew_by_the_people_that_the_rule_names() {
    let mut s = adopted();
    s.run("request k7 by sam => refused role-missing\nrequest k7 other by kim => refused identity-mismatch");
    s.run("duty activate k7 => refused unknown-request\nresume k7 by opa => refused forbidden-transition");
    s.run("request k7 by kim => activation.requested\nactivate k7 by opa => refused not-authorized");
    s.run("approve k7 by sam => activation.approved\nduty activate k7 => refused not-authorized");
    s.run("approve k7 by lou => activation.approved\ndue => activation.authorized, key.activated");
    let k7 = key(&s, "k7");
    assert_eq!(k7.state, KeyState::Active);
    assert!(!k7.is_unevidenced() && k7.rotation().is_none());
    // From here on its crypto period runs.
    let ends = k7.activation.unwrap().deactivate_at;
    s.run("request k7 by kim => refused key-not-pre-active");
    assert!(dues_of(&s, "k7").contains(&Due { at: ends, duty: Duty::Deactivate(key_id("k7")) }));
}

#[test]
fn many_are_authorised_anew_under_one_list() {
    let mut s = adopted();
    let list = r#"do activation.request {"template":TEMPLATE,"manifest":$list:k7+k8,"reason":$why,"legal_basis":[],"affected_systems":[]}"#;
    let template = s.filled("$template", None).replace(r#""software""#, r#""hsm""#);
    s.run("store k7,k8 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested\n{APPROVE}", list.replace("TEMPLATE", &template)));
    s.run("due => activation.authorized\nmember k7 of k7,k8 => key.activated\nmember k8 of k7,k8 => key.activated");
    assert!(!key(&s, "k7").is_unevidenced() && !key(&s, "k8").is_unevidenced() && key(&s, "k9").is_unevidenced());
}

/// What is still to come, an emergency, and a custodian's statement are no way in.
#[test]
fn some_rules_are_not_for_adopted_keys() {
    let mut s = adopted();
    let template = s.filled("$template", None).replace(r#""software""#, r#""hsm""#);
    s.run(&format!("{} by kim => activation.requested\n{APPROVE}", STANDING.replace("$template", &template)));
    s.run(&format!("due => activation.authorized\n{} by app => refused not-in-manifest", draw("k7")));
    let asks = r#"{"rule":{"requires":{"attestation":true}}}"#;
    s.run(&format!("adopt {asks} by ann,bob => policy.adopted"));
    s.run("request k7 by kim => refused not-in-custody");
    let unknown = Line { identity: KeyIdentity::Unknown, ..line_of("k7") };
    let (mut s, list) = with_lines(vec![unknown.clone()]);
    assert_eq!(take(&mut s, &list, 0, unknown), Ok(()));
    let asks = r#"do activation.request k7 {"identity":"unknown","reason":$why,"legal_basis":[],"affected_systems":[]} by kim"#;
    s.run(&format!("{asks} => refused identity-mismatch"));
}

/// An algorithm that Keylatch does not know is no obstacle to adoption, and no policy allows it.
#[test]
fn a_key_of_another_algorithm_can_only_be_rotated() {
    let digest = model::Digest::of(b"spki");
    let rsa = Line {
        algorithm: "rsa-3072".parse().unwrap(),
        identity: KeyIdentity::PublicKeyDigest(digest),
        ..line_of("k7")
    };
    let (mut s, list) = with_lines(vec![rsa.clone()]);
    assert_eq!(take(&mut s, &list, 0, rsa), Ok(()));
    assert_eq!(key(&s, "k7").spec.algorithm, Algorithm::Other);
    assert_eq!(key(&s, "k7").adopted.as_ref().unwrap().algorithm.as_str(), "rsa-3072");
    let asks = format!(
        r#"do activation.request k7 {{"identity":{{"public_key_digest":"{digest}"}},"reason":$why,"legal_basis":[],"affected_systems":[]}} by kim"#
    );
    s.run(&format!("{asks} => refused algorithm-not-allowed"));
    s.run(r#"adopt {"algorithm":[{"name":"other","crypto_period":"1d"}]} by ann,bob => refused policy-refused"#);
    s.run(r#"generate k3 {"algorithm":"other","asset":"weights"} by kim => refused algorithm-not-allowed"#);
    s.run(&rotate("k7"));
    assert_eq!(key(&s, "k7").rotation(), None);
}

#[test]
fn a_key_is_rotated_where_its_successor_is_activated() {
    let mut s = adopted();
    let script = rotate("k8");
    let (before, last) = script.rsplit_once('\n').unwrap();
    s.run(before);
    assert!(key(&s, "k8").rotation().is_some(), "a successor that nobody has authorised is none");
    s.run(last);
    let activated = key(&s, "k2").activation.unwrap().hash;
    assert_eq!(key(&s, "k8").adopted.as_ref().unwrap().replaced, Some(activated));
    assert!(key(&s, "k8").is_unevidenced() && key(&s, "k8").rotation().is_none());
    for (step, ends) in [("deactivate", true), ("destroy", true), ("compromise", true), ("suspend", false)] {
        let mut s = adopted();
        let by = if step == "destroy" { "opa,oto" } else { "opa" };
        let came = s.perform(&format!("{step} k7 by {by}"));
        assert!(came.starts_with("key."), "{step}: {came}");
        assert_eq!(key(&s, "k7").rotation().is_none(), ends, "{step}");
    }
}

#[test]
fn what_is_late_is_warned_of_and_then_recorded_once() {
    let mut s = adopted();
    s.run(ANEW);
    s.run("wait 59d\ndue => key.deactivated\nwait 1d");
    s.run("due => deadline.warned, deadline.warned");
    let Some(Event::DeadlineWarned(DeadlineWarned { deadline, key_id: Some(_), .. })) = last(&s) else { panic!() };
    assert_eq!(deadline, Deadline::Rotation);
    s.run("deactivate k8 by opa => key.deactivated\nwait 30d\ndue => deadline.missed\ndue => nothing");
    let Some(Event::DeadlineMissed(DeadlineMissed { deadline, key_id: id, at, .. })) = last(&s) else { panic!() };
    assert_eq!((deadline, id), (Deadline::Rotation, Some(key_id("k9"))));
    assert_eq!(at, key(&s, "k9").adopted.as_ref().unwrap().rotate_by);
    // Late is better than never.
    s.run(&ANEW.replace("k7", "k9"));
    assert!(!key(&s, "k9").is_unevidenced());
}

fn last(s: &Scenario) -> Option<Event> {
    let body = journal::Body::parse(&s.records.last()?.payload).ok()?;
    Event::parse(body.event_type.parse().ok()?, &body.data).ok()
}

/// A key of the chain is not wrapped by one of which nobody knows whether it may be used.
#[test]
fn a_parent_that_was_adopted_is_one_when_it_is_authorised() {
    let mut s = adopted();
    s.run(r#"generate k2 {"asset":"w","wrapped_by":{"key_id":"$key:k7"}} by kim => key.generated"#);
    s.run("request k2 by kim => activation.requested\napprove k2 by sam => activation.approved");
    s.run("approve k2 by lou => activation.approved\ndue => activation.authorized, refused parent-not-active");
    s.run(ANEW.rsplit_once('\n').unwrap().0);
    s.run("due => activation.authorized, refused parent-not-active, key.activated\ndue => key.activated");
    assert_eq!(s.state("k2"), KeyState::Active);
}

/// What the chain never authorised is not ended by an algorithm's end: the store goes on with it, and that stays visible.
#[test]
fn the_end_of_an_algorithm_does_not_hide_what_is_not_evidenced() {
    let mut s = adopted();
    s.run(r#"adopt {"algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"$now+2d"}]} by ann,bob => policy.adopted"#);
    s.run("wait 2d");
    let came = s.perform("due");
    assert!(came.contains("algorithm.ended") && !came.contains("key.deactivated"), "{came}");
    assert!(key(&s, "k7").rotation().is_some());
}

#[test]
fn thousands_are_adopted_under_one_signature_a_person() {
    const KEYS: u32 = 3_000;
    let id = |at: u32| format!("01930000-0000-7000-9000-{at:012x}").parse().unwrap();
    let line = |at: u32| Line { key_id: id(at), label: format!("key {at}").parse().unwrap(), ..line_of("k7") };
    let mut s = tenant();
    s.compares = false;
    let list = baseline::list((0..KEYS).map(line));
    assert!(list.parts().len() > 1);
    s.store(list.clone(), "ann").unwrap();
    let manifest = serde_json::to_string(&list.manifest()).unwrap();
    s.run(&format!("{} by ann,bob => baseline.adopted", baseline_of("k7").replace("$inventory:k7", &manifest)));
    let baseline = s.tenant.governance.as_ref().unwrap().baselines.values().next().unwrap().hash;
    for ((_, membership), at) in list.memberships().zip(0..) {
        let input = Input::Adopted(Adopting { baseline, line: line(at), membership });
        s.submit(ServiceRole::Issuer, input).unwrap();
    }
    assert_eq!(s.tenant.progress.to_adopt, 0);
    assert_eq!(s.tenant.keys.values().filter(|key| key.is_unevidenced()).count(), KEYS as usize);
    let widest = s.records.iter().map(|record| record.payload.len()).max().unwrap();
    assert!(widest < model::event::PAYLOAD_BYTES_MAX);
}

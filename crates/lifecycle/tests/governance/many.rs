//! Requests for many keys: lists with proofs, and standing authorisations.

use lifecycle::scenario::{Scenario, key_id, patched_policy};
use lifecycle::state::Outcome;
use model::{KeyState, ServiceRole};

use super::under;

pub(crate) const LISTS: &str =
    r#"{"rule":{"manifest_max":3,"standing":{"count_max":2,"window_max":"50m","users":["app"]}}}"#;
pub(crate) const STANDING: &str = r#"do activation.request {"template":$template,"standing":{"count":2,"until":"$now+50m"},"reason":$why,"legal_basis":[],"affected_systems":[]}"#;

pub(crate) fn with_keys(policy: &str, count: u32) -> Scenario {
    let mut s = under(policy);
    for key in 2..=count {
        s.run(&format!(r#"generate k{key} {{"asset":"weights"}} by kim => key.generated"#));
    }
    s
}

pub(crate) fn list(keys: &str) -> String {
    format!(
        r#"do activation.request {{"template":$template,"manifest":$list:{keys},"reason":$why,"legal_basis":[],"affected_systems":[]}}"#
    )
}

pub(crate) fn draw(key: &str) -> String {
    format!(r#"do key.activate {key} {{"against":"$at","standing":"$many"}}"#)
}

pub(crate) const APPROVE: &str = r#"do activation.approve {"request":"$many"} by sam => activation.approved
    do activation.approve {"request":"$many"} by lou => activation.approved"#;

#[test]
fn one_signature_a_person_activates_every_key_of_a_list() {
    let mut s = with_keys(LISTS, 4);
    s.run(&format!("{} by kim => refused request-incomplete", list("k1+k2+k3")));
    s.run("store k1,k2,k3 by sue => refused role-missing\nstore k1,k2,k3 by bot => refused not-a-person");
    s.run("store k1,k2,k3 by kim => document.stored\nstore k1,k2,k3 by kim => refused nothing-due");
    s.run("store k1,k2,k3,k4 by kim => document.stored");
    s.run(&format!("{} by kim => refused request-incomplete", list("k1+k2+k3+k4")));
    s.run(&format!("{} by app => refused not-a-person", list("k1+k2+k3")));
    s.run(&format!("{} by sam => refused role-missing", list("k1+k2+k3")));
    s.run(&format!("{} by kim => activation.requested", list("k1+k2+k3")));
    s.run("member k1 of k1,k2,k3 => refused not-authorized");
    s.run(APPROVE);
    s.run("member k1 of k1,k2,k3 => refused not-authorized");
    let request = s.tenant.requests.values().next().unwrap().hash;
    s.run("due => activation.authorized, key.activated, key.activated, key.activated");
    assert_eq!(s.tenant.requests[&request].closed.unwrap().how, Outcome::Activated);
    assert_eq!(s.state("k4"), KeyState::PreActive);
    s.run("member k4 of k1,k2,k3 => refused request-closed\nmember k1 of k1,k2,k3 => refused key-not-pre-active");
}

#[test]
fn admins_store_documents_too_since_epoch_3() {
    let store = r#"do document.store {"document":"$hash:a","part":0,"parts":1,"text":"a"} by ann"#;
    assert_eq!(Scenario::under(2).perform(store), "refused role-missing");
    assert_eq!(Scenario::under(3).perform(store), "document.stored");
}

#[test]
fn a_key_comes_under_a_list_by_its_own_proof_alone() {
    let mut s = with_keys(LISTS, 4);
    s.run(r#"generate k5 {"asset":"weights","jurisdiction":"US"} by kim => key.generated"#);
    s.run("store k1,k2,k5 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested", list("k1+k2+k5")));
    s.run(APPROVE);
    s.run(
        "due => activation.authorized, key.activated, key.activated, refused not-in-manifest
         member k4 of k1,k2,k5 => refused not-in-manifest
         member k4 of k1,k2,k4 => refused not-in-manifest
         member k5 of k1,k2,k5 => refused not-in-manifest",
    );
    assert_eq!(s.state("k5"), KeyState::PreActive, "it is in the list, and not of the kind that people signed for");
}

/// A key whose own request is open is decided on there: a hold on it, say, is not gone around by a list.
#[test]
fn a_key_with_a_request_of_its_own_is_not_activated_under_another() {
    let policy = r#"{"rule":{"manifest_max":3,"standing":{"count_max":2,"window_max":"50m","users":["app"]}},
        "holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"]}}}"#;
    let mut s = with_keys(&policy.replace('\n', " "), 2);
    s.run("store k1,k2 by kim => document.stored\nrequest k1 by kim => activation.requested");
    s.run(r#"do activation.hold k1 {"request":"$request","kind":"legal-hold","reference":"CASE-1"} by sam => activation.held"#);
    s.run(&format!("{} by kim => activation.requested", list("k1+k2")));
    s.run(APPROVE);
    s.run("due => activation.authorized, refused request-open\nmember k2 of k1,k2 => key.activated");
    s.run(&format!("{STANDING} by kim => activation.requested"));
    s.run(APPROVE);
    s.run("due => activation.authorized, refused request-open");
    s.run(&format!("{} by app => refused request-open", draw("k1")));
    assert_eq!(s.state("k1"), KeyState::PreActive);
}

#[test]
fn a_standing_authorisation_is_for_so_many_keys_until_then() {
    let mut s = with_keys(LISTS, 4);
    for (from, to, problem) in [
        (r#""count":2"#, r#""count":3"#, "request-incomplete"),
        (r#""count":2"#, r#""count":0"#, "request-incomplete"),
        ("$now+50m", "$now+51m", "times-invalid"),
        ("$now+50m", "$now+0s", "times-invalid"),
        (r#","reason""#, r#","not_before":"$now+50m","reason""#, "times-invalid"),
        (r#"$now+50m""#, r#"$now+50m","active_for":"2d""#, "period-too-long"),
        (r#"{"template":$template,"#, "{", "unknown-key"),
    ] {
        s.run(&format!("{} by kim => refused {problem}", STANDING.replacen(from, to, 1)));
    }
    s.run(&format!("{STANDING} by kim => activation.requested"));
    s.run(&format!("{} by app => refused not-authorized", draw("k1")));
    s.run(APPROVE);
    s.run("due => activation.authorized");
    s.run(&format!("{} by opa => refused role-missing", draw("k1")));
    s.run(&format!("{} by zoe => refused unknown-principal", draw("k1")));
    s.run("activate k1 by opa => refused unknown-request\nduty activate k1 => refused unknown-request");
    s.run(&format!("{} by app => key.activated\nwait 45m", draw("k1")));
    s.run(&format!("{} by app => key.activated\n{} by app => refused request-closed", draw("k2"), draw("k3")));
    s.run("due => nothing");
}

#[test]
fn a_standing_authorisation_ends_with_its_window_and_can_be_taken_back() {
    let mut s = with_keys(LISTS, 2);
    s.run(&format!("{STANDING} by kim => activation.requested"));
    s.run(APPROVE);
    s.run("due => activation.authorized\nwait 50m");
    s.run(&format!("{} by app => refused authorization-spent", draw("k1")));
    s.run("due => activation.lapsed\ndue => nothing");
    s.run(&format!("{} by app => refused request-closed", draw("k1")));
    for end in [
        r#"do activation.cancel {"request":"$many","reason":$why} by kim => activation.cancelled"#,
        r#"do activation.cancel {"request":"$many","reason":$why} by ann => activation.cancelled"#,
        r#"do activation.reject {"request":"$many","reason":$why} by sue => activation.rejected"#,
    ] {
        let mut s = with_keys(LISTS, 2);
        s.run(&format!("{STANDING} by kim => activation.requested"));
        s.run(APPROVE);
        s.run(&format!("due => activation.authorized\n{end}\n{} by app => refused request-closed", draw("k1")));
    }
}

/// People, roles and bounds are looked at whenever it is drawn on.
#[test]
fn a_standing_authorisation_stands_as_long_as_those_who_gave_it() {
    let window = r#"adopt {"rule":{"standing":{"count_max":2,"window_max":"10m","users":["app"]}}} by ann,bob => policy.adopted"#;
    let count = r#"adopt {"rule":{"standing":{"count_max":1,"window_max":"50m","users":["app"]}}} by ann,bob => policy.adopted"#;
    let users = r#"adopt {"rule":{"standing":{"count_max":2,"window_max":"50m","users":["operator"]}}} by ann,bob => policy.adopted"#;
    let two = r#"adopt {"rule":{"standing":{"count_max":2,"window_max":"50m","users":["app"]},"stage":[{"role":"security","quorum":2}]}} by ann,bob => policy.adopted"#;
    for (change, problem) in [
        ("revoke sam by ann,bob => principal.revoked", "quorum-not-met"),
        ("roles lou owner by ann,bob => principal.changed", "quorum-not-met"),
        ("revoke kim by ann,bob => principal.revoked", "principal-revoked"),
        ("roles kim app by ann,bob => principal.changed", "role-missing"),
        ("revoke app by ann,bob => principal.revoked", "principal-revoked"),
        (window, "quorum-not-met"),
        (count, "authorization-spent"),
        (users, "role-missing"),
        (two, "quorum-not-met"),
        ("adopt {} by ann,bob => policy.adopted", "not-authorized"),
    ] {
        let mut s = with_keys(LISTS, 2);
        s.run(&format!("{STANDING} by kim => activation.requested"));
        s.run(APPROVE);
        s.run(&format!("due => activation.authorized\n{} by app => key.activated\nwait 10m", draw("k1")));
        s.run(change);
        s.run(&format!("{} by app => refused {problem}", draw("k2")));
        if change.starts_with("revoke sam") {
            s.run(r#"do activation.approve {"request":"$many"} by sue => activation.approved"#);
            s.run(&format!("wait 30m\n{} by app => key.activated", draw("k2")));
        }
    }
}

/// An approval that ran out while others were still to approve does not come back when they have.
#[test]
fn what_ran_out_in_collection_does_not_count_for_the_window() {
    let mut s = with_keys(LISTS, 2);
    let approve = |who: &str| format!(r#"do activation.approve {{"request":"$many"}} by {who} => activation.approved"#);
    s.run(&format!("{STANDING} by kim => activation.requested\n{}\nwait 20m", approve("sam")));
    s.run(&format!("{}\n{}", approve("lou"), approve("sue")));
    // Whether or not anybody has recorded the lapse.
    s.run("revoke sue by ann,bob => principal.revoked");
    s.run(&format!("{} by app => refused not-authorized", draw("k1")));
    assert!(s.perform("due").contains("activation.lapsed"));
    s.run(&format!("{} by app => refused not-authorized", draw("k1")));
    s.run(&format!(
        "{}\ndue => activation.authorized\nwait 25m\ndue => nothing\n{} by app => key.activated",
        approve("sam"),
        draw("k1")
    ));
}

#[test]
fn what_ran_out_before_the_authorisation_lapses_and_a_shorter_collection_is_honoured() {
    use lifecycle::{Duty, Input};
    let approve = |who: &str| format!(r#"do activation.approve {{"request":"$many"}} by {who} => activation.approved"#);
    let mut s = with_keys(LISTS, 2);
    s.run(&format!("{STANDING} by kim => activation.requested\n{}\nwait 20m", approve("sam")));
    s.run(&format!("{}\n{}", approve("lou"), approve("sue")));
    let request = s.tenant.requests.values().next().unwrap().hash;
    assert!(s.submit(ServiceRole::Approver, Input::Due(Duty::AuthorizeRequest(request))).is_ok());
    s.run("due => activation.lapsed\nrevoke sue by ann,bob => principal.revoked");
    s.run(&format!("{} by app => refused quorum-not-met", draw("k1")));
    let mut s = with_keys(LISTS, 2);
    s.run(&format!("{STANDING} by kim => activation.requested\n{}\nwait 5m\n{}", approve("sam"), approve("lou")));
    let short = LISTS.replacen(r#"{"rule":{"#, r#"{"rule":{"approval_valid_for":"1m","#, 1);
    s.run(&format!("due => activation.authorized\nadopt {short} by ann,bob => policy.adopted"));
    s.run(&format!("{} by app => refused quorum-not-met", draw("k1")));
}

#[test]
fn a_list_is_within_what_the_rule_allows_now() {
    let mut s = with_keys(LISTS, 3);
    s.run("store k1,k2,k3 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested", list("k1+k2+k3")));
    s.run(APPROVE);
    s.run(r#"adopt {"rule":{"manifest_max":2}} by ann,bob => policy.adopted"#);
    s.run("due => activation.authorized, refused authorization-spent");
}

/// A list is approved within the time in which approvals are good, and so are its keys activated.
#[test]
fn a_list_lapses_with_its_approvals() {
    let mut s = with_keys(LISTS, 3);
    s.run("store k1,k2,k3 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested", list("k1+k2+k3")));
    s.run(APPROVE);
    s.run("due => activation.authorized, key.activated, key.activated, key.activated");
    s.run("store k1,k2 by kim => document.stored");
    s.run(&format!("{} by kim => activation.requested", list("k1+k2")));
    s.run("wait 30m");
    s.run("due => activation.lapsed\ndue => nothing");
}

#[test]
fn what_names_a_key_names_no_others() {
    let mut s = with_keys(LISTS, 2);
    s.run(
        r#"do activation.request k1 {"identity":$identity,"template":$template,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => refused malformed
        do activation.request {"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => refused unknown-key
        do activation.request {"template":$template,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => refused malformed
        do activation.request {"template":$template,"standing":{"count":1,"until":"$now+5m"},"break_glass":true,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => refused no-rule
        request k1 by kim => activation.requested
        request k2 by kim => activation.requested
        do activation.approve k2 {"request":"$event:activation.requested"} by sam => activation.approved
        do activation.approve k1 {"request":"$event:activation.requested"} by sam => refused unknown-request
        do activation.approve {"request":"$event:activation.requested"} by sam => refused unknown-request
        do activation.cancel k1 {"request":"$event:activation.requested","reason":$why} by kim => refused unknown-request
        do key.activate k1 {"against":"$at","standing":"$event:activation.requested"} by app => refused unknown-key"#,
    );
}

#[test]
fn documents_come_in_parts_that_fit() {
    let mut s = under(LISTS);
    let part = |part: u16, parts: u16, text: &str| {
        format!(r#"do document.store {{"document":"$hash:doc","part":{part},"parts":{parts},"text":"{text}"}} by kim"#)
    };
    for (step, outcome) in [
        (part(0, 0, "a"), "refused too-large"),
        (part(2, 2, "a"), "refused too-large"),
        (part(0, 129, "a"), "refused too-large"),
        (part(0, 2, ""), "refused too-large"),
        (part(0, 2, &"a".repeat(16 * 1024 + 1)), "refused too-large"),
        (part(1, 2, &"a".repeat(16 * 1024)), "document.stored"),
        (part(1, 2, "a"), "refused nothing-due"),
        (part(0, 3, "a"), "refused state-changed"),
        (part(0, 2, "a"), "document.stored"),
    ] {
        assert_eq!(s.perform(&step), outcome, "{}", step.chars().take(120).collect::<String>());
    }
    let document = s.tenant.documents.values().next().unwrap();
    assert!(document.is_complete());
}

/// The widest request there is: 10,000 keys, each with its proof.
#[test]
fn ten_thousand_keys_have_each_their_proof() {
    use lifecycle::manifest::List;
    use model::key::KeyIdentity;
    use model::text::Base64;
    let identity = KeyIdentity::CheckValue(Base64(vec![1, 2, 3]));
    let keys: Vec<_> = (1..=10_000).map(|at| key_id(&format!("k{at}"))).collect();
    let s = under("{}");
    let known = s.tenant.keys[&key_id("k1")].clone();
    let list = List::new(keys.iter().map(|key| (*key, &identity, known.attestation)));
    assert_eq!(List::parse(&list.text()).unwrap(), list);
    assert!(list.parts().len() <= usize::from(model::command::DOCUMENT_PARTS_MAX));
    assert_eq!(list.parts().concat(), list.text());
    let manifest = list.manifest();
    let proofs: Vec<_> = list.memberships().collect();
    for (at, (id, proof)) in proofs.iter().enumerate().step_by(97) {
        let key = lifecycle::Key { id: *id, ..known.clone() };
        assert!(lifecycle::manifest::includes(&manifest, &key, proof));
        let other = &proofs[(at + 1) % proofs.len()].1;
        assert!(!lifecycle::manifest::includes(&manifest, &key, other));
        let elsewhere = lifecycle::Key { attestation: model::Digest::of(b"another store"), ..key.clone() };
        assert!(!lifecycle::manifest::includes(&manifest, &elsewhere, proof), "the same key, in another store");
        let stranger = lifecycle::Key { identity: KeyIdentity::CheckValue(Base64(vec![9, 9, 9])), ..key };
        assert!(!lifecycle::manifest::includes(&manifest, &stranger, proof), "the same id, another key");
    }
}

#[test]
fn an_emergency_and_an_attestation_are_one_keys() {
    let faults = |policy: &str| lifecycle::policy::check(&patched_policy(&serde_json::from_str(policy).unwrap())).len();
    assert_eq!(faults(r#"{"rule":{"manifest_max":2}}"#), 0);
    assert_eq!(faults(r#"{"rule":{"manifest_max":2,"requires":{"attestation":true}}}"#), 0);
    assert_eq!(faults(r#"{"rule":{"manifest_max":10001}}"#), 1);
    assert_eq!(faults(r#"{"rule":{"manifest_max":0}}"#), 1);
    assert_eq!(faults(r#"{"rule":{"standing":{"count_max":0,"window_max":"1d","users":["app"]}}}"#), 1);
    assert_eq!(faults(r#"{"rule":{"standing":{"count_max":1,"window_max":"1d","users":[]}}}"#), 1);
}

/// One of a list is activated by the activator alone, and by no other service.
#[test]
fn members_are_the_activators_to_activate() {
    assert_eq!(lifecycle::Duty::ActivateMembers(model::EventHash::ZERO).role(), ServiceRole::Activator);
    assert_eq!(model::EventType::KeyActivated.signers(), [ServiceRole::Activator]);
}

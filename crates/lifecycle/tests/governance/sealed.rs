//! Sealed keys: who gets a share, who must bring it, and what waits for them.

use lifecycle::decide::usage::may_prove;
use lifecycle::scenario::{Scenario, key_id, patched_policy};
use lifecycle::{Footprint, simulate};
use model::{KeyState, ProblemType};

use super::policy::faults;
use super::tenant;

/// Two stages, one person each, and both bring a share.
pub(super) const SEALED: &str = r#"{"schema":4,"rule":{"sealed":2}}"#;

pub(super) const EQUIP: &str = r#"do principal.equip {"sealing_key":"$seal:sam"} by sam => principal.equipped
    do principal.equip {"sealing_key":"$seal:lou"} by lou => principal.equipped
    do principal.equip {"sealing_key":"$seal:dee"} by dee => principal.equipped"#;

/// A tenant under a policy, in which sam, lou and dee hold the shares of the pre-active key k1.
#[track_caller]
pub(super) fn sealed_under(policy: &str) -> Scenario {
    let mut s = tenant();
    s.run(EQUIP);
    s.run(&format!("adopt {policy} by ann,bob => policy.adopted"));
    s.run(
        r#"generate k1 {"asset":"weights"} by kim => key.generated
        apply k1 => custody.applied"#,
    );
    s
}

#[track_caller]
fn check(script: &str) -> Scenario {
    let mut s = sealed_under(SEALED);
    s.run(script);
    s
}

/// Everything about sealed keys that is lawful.
pub(super) fn life() -> Scenario {
    let mut s = check(
        r#"request k1 by kim => activation.requested
        approve k1 by sue => activation.approved
        approve k1 share by lou => activation.approved
        due => nothing
        approve k1 share by dee => activation.approved
        due => activation.authorized, key.activated
        apply k1 => custody.applied
        do principal.equip {"sealing_key":"$seal:sam2"} by sam => principal.equipped
        do principal.rotate {"against":"$head","principal":"$who:dee","key":"$pub:dee2","reason":$why} by dee,dee2 => principal.rotated
        generate k2 {"asset":"weights"} by kim => key.generated
        apply k2 => custody.applied
        destroy k2 by opa,sue => key.destroyed
        apply k2 => custody.applied
        generate k3 {"asset":"weights"} by kim => key.generated
        compromise k3 by opa => key.compromised"#,
    );
    s.run(r#"adopt {"schema":4} by ann,bob => policy.adopted"#);
    s.run(r#"generate k4 {"asset":"weights"} by kim => key.generated"#);
    s
}

#[test]
fn an_activation_waits_for_its_quorum_and_for_its_shares() {
    let s = check(
        "request k1 by kim => activation.requested
        approve k1 share by sam => activation.approved
        due => nothing
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated",
    );
    assert_eq!(s.state("k1"), KeyState::Active);
    // A quorum with one share is complete, and waits for another.
    let s = check(
        "request k1 by kim => activation.requested
        approve k1 by sue => activation.approved
        approve k1 share by lou => activation.approved
        due => nothing
        activate k1 by opa => refused not-authorized
        approve k1 share by sam => activation.approved
        due => activation.authorized, key.activated",
    );
    assert_eq!(s.state("k1"), KeyState::Active);
    // As many shares as it takes, and no quorum yet.
    let policy =
        r#"{"schema":4,"rule":{"sealed":2,"stage":[{"role":"security","quorum":2},{"role":"privacy","quorum":1}]}}"#;
    sealed_under(policy).run(
        "request k1 by kim => activation.requested
        approve k1 share by sam => activation.approved
        approve k1 share by dee => activation.approved
        due => nothing
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated",
    );
}

#[test]
fn who_holds_a_share_brings_it_and_nobody_else_brings_one() {
    check(
        r#"request k1 by kim => activation.requested
        approve k1 by sam => refused share-missing
        approve k1 share by sue => refused share-refused
        approve k1 share by kim => refused role-missing
        do activation.approve k1 {"request":"$request","share":{"enc":"AA==","ciphertext":"AA=="}} by sam => refused share-refused
        approve k1 share by sam => activation.approved
        approve k1 share by sam => refused already-voted"#,
    );
    let mut plain = super::under("{}");
    plain.run("request k1 by kim => activation.requested\napprove k1 share by sam => refused share-refused");
    let many = r#"do activation.request {"template":$template,"standing":{"count":1,"until":"$now+1h"},"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => activation.requested
        do activation.approve {"request":"$many","share":$share} by sam => refused share-refused"#;
    super::under(r#"{"rule":{"standing":{"count_max":1,"window_max":"1d","users":["app"]}}}"#).run(many);
}

/// One's share can't be opened by whom one has asked to vote: such a vote comes without a share.
#[test]
fn a_delegated_vote_brings_no_share() {
    let mut s = sealed_under(r#"{"schema":4,"people":{"delegation_max":"2h"},"rule":{"sealed":2}}"#);
    s.run(
        r#"do delegation.grant {"against":"$head","to":"$who:opa","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam => delegation.granted
        request k1 by kim => activation.requested
        do activation.approve k1 {"request":"$request","on_behalf_of":"$who:sam","share":$share} by opa => refused share-refused
        do activation.approve k1 {"request":"$request","on_behalf_of":"$who:sam"} by opa => activation.approved
        approve k1 share by lou => activation.approved
        due => nothing
        approve k1 share by dee => activation.approved
        due => activation.authorized, key.activated"#,
    );
}

/// A share is a human being's: whoever has another signing key by now still has it, and whoever was revoked has not.
#[test]
fn shares_stay_with_people_through_rotations() {
    let mut s = check(
        r#"do principal.rotate {"against":"$head","principal":"$who:sam","key":"$pub:sam2","reason":$why} by sam,sam2 => principal.rotated
        request k1 by kim => activation.requested
        approve k1 by sam2 => refused share-missing
        approve k1 share by sam2 => activation.approved
        revoke dee by ann,bob => principal.revoked
        approve k1 share by dee => refused principal-revoked
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated"#,
    );
    // The sealing key goes along: the new signing key gets shares of what is sealed from then on.
    s.run(r#"do principal.equip {"sealing_key":"$seal:dan"} by sue => principal.equipped"#);
    s.run(r#"generate k2 {"asset":"weights"} by kim => key.generated"#);
    let sealing = s.tenant.keys[&key_id("k2")].sealing.as_ref().unwrap();
    let holders: Vec<_> = sealing.shares.iter().map(|share| share.to).collect();
    let wanted = ["lou", "sam2", "sue"].map(|who| lifecycle::scenario::public_key(who).fingerprint());
    assert_eq!(holders, wanted);
}

#[test]
fn a_sealing_key_is_ones_own() {
    let mut s = check(
        r#"do principal.equip {"sealing_key":"$seal:sam"} by sue => refused sealing-key-taken
        do principal.equip {"sealing_key":"$seal:sam"} by sam => refused sealing-key-taken
        do principal.equip {"sealing_key":"$seal:bot"} by bot => refused not-a-person
        do principal.equip {"sealing_key":"$seal:zoe"} by zoe => refused unknown-principal
        do principal.equip {"sealing_key":"$seal:sue"} by sue,sam => refused lifetime-too-long"#,
    );
    // What admins are signing is not in vain for it.
    let head = s.tenant.governance.as_ref().unwrap().head;
    s.run(r#"do principal.equip {"sealing_key":"$seal:sue"} by sue => principal.equipped"#);
    assert_eq!(s.tenant.governance.as_ref().unwrap().head, head);
}

/// Each human being gets one share, whoever had the key generated none; too few sealing keys are said by name.
#[test]
fn shares_go_to_those_who_could_approve() {
    let mut s = sealed_under(SEALED);
    s.run(
        r#"do principal.equip {"sealing_key":"$seal:rae"} by rae => principal.equipped
        do principal.equip {"sealing_key":"$seal:ray"} by ray => principal.equipped
        do principal.equip {"sealing_key":"$seal:opa"} by opa => principal.equipped
        generate k2 {"asset":"weights"} by kim => key.generated
        generate k3 {"asset":"weights"} by rae => key.generated"#,
    );
    let people = |key: &str| {
        let sealing = s.tenant.keys[&key_id(key)].sealing.as_ref().unwrap();
        let person = |to| s.tenant.governance.as_ref().unwrap().people[to].principal.person.to_string();
        sealing.shares.iter().map(|share| person(&share.to)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(people("k2"), "dee lou rae sam", "ray is rae");
    assert_eq!(people("k3"), "dee lou sam");

    let mut s = sealed_under(SEALED);
    s.run("revoke dee by ann,bob => principal.revoked\nrevoke sam by ann,bob => principal.revoked");
    s.run(r#"generate k2 {"asset":"weights"} by kim => refused sealing-keys-missing"#);
    let signed = s.command_of("key.generate", Some("k2"), &spec(&s), "kim");
    let view = s.tenant.view(lifecycle::Input::Command(signed.clone()).footprint());
    let refused = lifecycle::decide::may_generate(&view, &signed, s.now).unwrap_err();
    assert_eq!(refused.members["lacking"], serde_json::json!(["rae", "sue"]));
}

fn spec(s: &Scenario) -> String {
    let spec = s.spec("k2", model::Algorithm::Aes256Gcm);
    serde_json::json!({ "spec": model::KeySpec { asset: Some("weights".parse().unwrap()), ..spec } }).to_string()
}

/// A rule under which keys are sealed takes no others, whenever they were made; and a sealed key stays one under any rule.
#[test]
fn the_rule_and_the_key_are_looked_at_as_they_are_now() {
    let mut s = super::under("{}");
    s.run(EQUIP);
    s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run(&format!("adopt {SEALED} by ann,bob => policy.adopted"));
    s.run(
        "approve k1 by lou => activation.approved
        duty authorize k1 => activation.authorized
        duty activate k1 => refused not-sealed
        cancel k1 by kim => activation.cancelled
        request k1 by kim => refused not-sealed",
    );
    let s = check(
        r#"adopt {"schema":4} by ann,bob => policy.adopted
        request k1 by kim => activation.requested
        approve k1 by sam => refused share-missing
        approve k1 share by sam => activation.approved
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated"#,
    );
    assert_eq!(s.state("k1"), KeyState::Active);
    let more =
        r#"{"schema":4,"rule":{"sealed":3,"stage":[{"role":"security","quorum":2},{"role":"privacy","quorum":1}]}}"#;
    check(&format!("adopt {more} by ann,bob => policy.adopted\nrequest k1 by kim => refused not-sealed"));
}

/// Shares come with the approvals of one key: no list and no standing authorisation takes a sealed one along.
#[test]
fn a_sealed_key_is_activated_by_a_request_of_its_own() {
    let mut s = sealed_under(SEALED);
    s.run(r#"adopt {"schema":4,"rule":{"manifest_max":3,"standing":{"count_max":2,"window_max":"1d","users":["app"]}}} by ann,bob => policy.adopted"#);
    s.run(
        r#"generate k2 {"asset":"weights"} by kim => key.generated
        store k1,k2 by kim => document.stored
        do activation.request {"template":$template,"manifest":$list:k1+k2,"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => activation.requested
        do activation.approve {"request":"$many"} by sam => activation.approved
        do activation.approve {"request":"$many"} by lou => activation.approved
        due => activation.authorized, refused not-in-manifest
        member k2 of k1,k2 => key.activated"#,
    );
    assert_eq!((s.state("k1"), s.state("k2")), (KeyState::PreActive, KeyState::Active));
    s.run("member k1 of k1,k2 => refused not-in-manifest");
    s.run(
        r#"do activation.request {"template":$template,"standing":{"count":1,"until":"$now+1h"},"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => activation.requested
        do activation.approve {"request":"$many"} by sam => activation.approved
        do activation.approve {"request":"$many"} by lou => activation.approved
        due => activation.authorized, refused not-in-manifest
        do key.activate k1 {"against":"$at","standing":"$many"} by app => refused not-in-manifest"#,
    );
}

#[test]
fn stages_in_order_still_let_the_missing_share_in() {
    let mut s = sealed_under(r#"{"schema":4,"rule":{"in_order":true,"sealed":2}}"#);
    s.run(
        "request k1 by kim => activation.requested
        approve k1 share by lou => refused not-your-turn
        approve k1 by sue => activation.approved
        approve k1 share by dee => activation.approved
        due => nothing
        approve k1 share by sam => activation.approved
        due => activation.authorized, key.activated",
    );
}

/// An approval that runs out takes its share along, and so does the standing of whoever brought it.
#[test]
fn shares_count_as_long_as_their_approvals() {
    check(
        "request k1 by kim => activation.requested
        approve k1 share by sam => activation.approved
        wait 20m
        due => activation.lapsed
        approve k1 share by lou => activation.approved
        due => nothing
        approve k1 share by sam => activation.approved
        due => activation.authorized, key.activated",
    );
    check(
        "request k1 after 10m by kim => activation.requested
        approve k1 share by sam => activation.approved
        approve k1 share by lou => activation.approved
        due => activation.authorized
        revoke sam by ann,bob => principal.revoked
        wait 10m
        duty activate k1 => refused quorum-not-met
        approve k1 by sue => activation.approved
        duty activate k1 => refused quorum-not-met
        approve k1 share by dee => activation.approved
        duty activate k1 => key.activated",
    );
}

/// The simulation names people whose approvals and shares are enough; what people read says that shares are missing.
#[test]
fn simulation_counts_shares() {
    let mut s = check("request k1 by kim => activation.requested");
    let request = s.tenant.keys[&key_id("k1")].open_request.unwrap();
    let enough = |s: &Scenario| {
        let found = simulate::of_request(&s.tenant, request, s.now).unwrap();
        let label = |who| s.tenant.governance.as_ref().unwrap().people[who].principal.label.to_string();
        let mut people: Vec<String> = found.enough.iter().flatten().map(label).collect();
        people.sort();
        assert!(found.is_clear_but_for_approvals(), "{:?}", found.besides);
        (people.join(" "), found.quorum.unwrap().missing_text())
    };
    let (people, missing) = enough(&s);
    assert_eq!(people.split(' ').count(), 2);
    assert_eq!(missing, "1 of `security`, 1 of `privacy`; and 2 of those who hold a share of the sealed key");
    s.run("approve k1 by sue => activation.approved\napprove k1 share by lou => activation.approved");
    let (people, missing) = enough(&s);
    assert!(["sam", "dee"].contains(&people.as_str()), "{people}");
    assert_eq!(missing, "1 of those who hold a share of the sealed key");
    let by = |who: &str| lifecycle::scenario::public_key(who).fingerprint();
    for (who, counts) in [("sam", true), ("dee", true), ("rae", false), ("lou", false)] {
        let votes = simulate::votes_that_count(&s.tenant, request, by(who), s.now);
        assert_eq!(!votes.is_empty(), counts, "{who}");
    }
    s.run("revoke sam by ann,bob => principal.revoked\nrevoke dee by ann,bob => principal.revoked");
    let found = simulate::of_request(&s.tenant, request, s.now).unwrap();
    assert_eq!(found.enough, None, "whoever is left holds no share");
}

#[test]
fn nothing_is_proved_of_a_key_that_is_sealed() {
    let mut s = check("request k1 by kim => activation.requested");
    let params = r#"{"challenge":"AAAAAAAAAAAAAAAAAAAAAA=="}"#;
    let signed = s.command_of("key.prove", Some("k1"), params, "sam");
    let prove = |s: &Scenario| {
        let view = s.tenant.view(Footprint::of_key(key_id("k1")));
        may_prove(&view, &signed, s.now).map(|_| ())
    };
    assert_eq!(prove(&s).unwrap_err().problem, ProblemType::KeyNotActive);
    s.run(
        "approve k1 share by sam => activation.approved
        approve k1 share by lou => activation.approved
        due => activation.authorized, key.activated",
    );
    assert_eq!(prove(&s), Ok(()));
}

#[test]
fn loading_finds_every_hole_of_sealed() {
    let rule = |rest: &str| format!(r#"{{"schema":4,"rule":{{{rest}}}}}"#);
    let at = "rule.every-key.sealed";
    let standing = r#""sealed":2,"standing":{"count_max":1,"window_max":"1d","users":["app"]}"#;
    let emergency = r#""sealed":2,"break_glass":{"life":"1h","review_within":"1h","reviewers":{"roles":["privacy"]}}"#;
    for (policy, places) in [
        (rule(r#""sealed":2"#), String::new()),
        (rule(r#""sealed":0"#), at.to_owned()),
        (rule(r#""sealed":1"#), at.to_owned()),
        (rule(r#""sealed":3"#), at.to_owned()),
        (rule(r#""sealed":3,"stage":[{"role":"security","quorum":3}]"#), String::new()),
        (rule(r#""sealed":17,"stage":[{"role":"security","quorum":20}]"#), at.to_owned()),
        (rule(r#""sealed":2,"need":"any""#), at.to_owned()),
        (rule(r#""sealed":2,"manifest_max":5"#), at.to_owned()),
        (rule(standing), at.to_owned()),
        (rule(emergency), format!("{at} rule")),
        (r#"{"schema":3,"rule":{"sealed":2}}"#.to_owned(), "schema".to_owned()),
        (r#"{"schema":2,"rule":{"sealed":2}}"#.to_owned(), "schema".to_owned()),
        (r#"{"schema":1,"rule":{"sealed":2}}"#.to_owned(), "schema".to_owned()),
    ] {
        faults(&policy, &places);
    }
    // Who is there, and has a sealing key.
    let mut s = tenant();
    s.run(&format!("adopt {SEALED} by ann,bob => refused policy-refused"));
    s.run(r#"do principal.equip {"sealing_key":"$seal:sam"} by sam => principal.equipped"#);
    s.run(r#"do principal.equip {"sealing_key":"$seal:kim"} by kim => principal.equipped"#);
    let holes = |s: &Scenario| {
        let policy = patched_policy(&serde_json::from_str(SEALED).unwrap());
        let found = lifecycle::policy::holes(&policy, s.tenant.governance.as_ref().unwrap());
        found.into_iter().map(|fault| fault.at).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(holes(&s), at, "kim approves nothing");
    s.run(r#"do principal.equip {"sealing_key":"$seal:lou"} by lou => principal.equipped"#);
    assert_eq!(holes(&s), "");
}

#[test]
fn epochs_1_to_3_refuse_what_came_with_epoch_4() {
    for epoch in [1, 2, 3] {
        let mut s = Scenario::under(epoch);
        s.run("generate k1 by kim => key.generated\nrequest k1 by kim => activation.requested");
        let before = s.records.len();
        for step in [
            r#"do principal.equip {"sealing_key":"$seal:sam"} by sam"#,
            r#"do activation.approve k1 {"request":"$request","share":$share} by sam"#,
            r#"adopt {"schema":4} by ann,bob"#,
            r#"adopt {"schema":3,"rule":{"sealed":2}} by ann,bob"#,
            r#"adopt {"schema":1,"rule":{"sealed":2}} by ann,bob"#,
        ] {
            assert_eq!(s.perform(step), "refused not-supported", "{step}");
        }
        assert_eq!(s.records.len(), before);
    }
}

//! The policy's language: what loads, what fits the people there are, what requests must say, what keys may be.

use lifecycle::scenario::{Scenario, patched_policy};

use super::{check, under};

#[track_caller]
pub(super) fn faults(policy: &str, expected: &str) {
    let found = lifecycle::policy::check(&patched_policy(&serde_json::from_str(policy).unwrap()));
    let at: Vec<&str> = found.iter().map(|fault| fault.at.as_str()).collect();
    assert_eq!(at.join(" "), expected, "{policy}");
    assert!(found.iter().all(|fault| !fault.advice.is_empty()));
}

#[test]
fn loading_finds_every_hole() {
    faults("{}", "");
    faults(r#"{"schema":3}"#, "");
    faults(r#"{"schema":4}"#, "");
    faults(r#"{"schema":5}"#, "schema");
    faults(r#"{"schema":0}"#, "schema");
    faults(r#"{"schema":1,"packs":["gdpr"]}"#, "schema");
    faults(r#"{"rule":{"in_order":true,"need":"any"}}"#, "rule.every-key.in_order");
    faults(r#"{"rule":{"stage":[{"role":"security","quorum":33}]}}"#, "rule.every-key.stage");
    faults(
        r#"{"holds":{"place":{"roles":[]},"lift":{"roles":["a"],"quorum":0}}}"#,
        "holds.place.roles holds.lift.quorum",
    );
    faults(r#"{"people":{"delegation_max":"0s"}}"#, "people.delegation_max");
    faults(r#"{"keys":{"revalidation":{"roles":[],"every":"2h"}}}"#, "keys.revalidation.roles keys.revalidation.every");
    faults(r#"{"fact":[{"name":"a","roles":[],"valid_max":"0s"}]}"#, "fact.a.roles fact.a.valid_max");
    let twice = r#"{"name":"a","roles":["x"],"valid_max":"1d"}"#;
    faults(&format!(r#"{{"fact":[{twice},{twice}]}}"#), "fact.a");
    faults(
        r#"{"algorithm":[{"name":"ed25519","crypto_period":"1d","use":[{"operations":["wrap"],"crypto_period":"2d"}]}]}"#,
        "algorithm.ed25519.use.1.operations algorithm.ed25519.use.1.crypto_period",
    );
    faults(
        r#"{"algorithm":[{"name":"ed25519","crypto_period":"1d","allowed_from":"2026-01-02T00:00:00.000Z","allowed_until":"2026-01-02T00:00:00.000Z"}]}"#,
        "algorithm.ed25519.allowed_until",
    );
}

/// Keys that no rule is for are shown where the policy is looked at, and can't be made.
#[test]
fn keys_that_match_no_rule_are_found() {
    let gaps = |when: &str| {
        let policy = format!(r#"{{"rule":{{"when":{when}}}}}"#);
        lifecycle::policy::gaps(&patched_policy(&serde_json::from_str(&policy).unwrap())).len()
    };
    assert_eq!(gaps(r#"{"responsibility":[]}"#), 0);
    assert_eq!(gaps(r#"{"responsibility":["application"]}"#), 3);
    assert_eq!(gaps(r#"{"responsibility":["application","model","infrastructure","orchestrated"]}"#), 0);
    assert_eq!(gaps(r#"{"responsibility":[],"environment":["production"]}"#), 4);
    check(
        r#"{"rule":{"when":{"environment":["production"]}}}"#,
        r#"generate k2 {"asset":"w","environment":"test"} by kim => refused no-rule
        generate k3 {"asset":"w","responsibility":"model"} by kim => refused no-rule"#,
    );
}

#[test]
fn a_policy_that_the_people_cannot_fill_is_not_adopted() {
    let refused = |policy: &str| {
        let mut s = Scenario::new();
        s.run(&format!("adopt {policy} by ann,bob => refused policy-refused"));
    };
    refused(r#"{"rule":{"stage":[{"role":"counsel","quorum":1}]}}"#);
    refused(r#"{"rule":{"stage":[{"role":"privacy","quorum":3}]}}"#);
    // dee is one person, and needed twice.
    refused(r#"{"rule":{"stage":[{"role":"privacy","quorum":2},{"role":"security","quorum":4}]}}"#);
    refused(r#"{"rule":{"requesters":["nobody"]}}"#);
    refused(r#"{"rule":{"users":["nobody"]}}"#);
    refused(r#"{"keys":{"creators":["nobody"]}}"#);
    refused(r#"{"holds":{"place":{"roles":["security"]},"lift":{"roles":["privacy"],"quorum":3}}}"#);
    refused(r#"{"operations":{"activate":{"roles":["operator"],"quorum":3}}}"#);
    // bot holds the role, and is no person; rae is also ray.
    refused(r#"{"rule":{"stage":[{"role":"security","quorum":5}]}}"#);
    // Whoever may ask is needed to approve.
    refused(r#"{"rule":{"requesters":["privacy"],"stage":[{"role":"privacy","quorum":2}]}}"#);
    let mut s = Scenario::new();
    s.run(r#"adopt {"rule":{"stage":[{"role":"security","quorum":4}]}} by ann,bob => policy.adopted"#);
}

/// What the policy leaves to nobody, and holds up no adoption: it is shown where the policy is looked at.
#[test]
fn what_nobody_here_could_do_is_found() {
    let found = |s: &Scenario, policy: &str| {
        let policy = patched_policy(&serde_json::from_str(policy).unwrap());
        let governance = s.tenant.governance.as_ref().unwrap();
        let faults = lifecycle::policy::holes(&policy, governance).into_iter();
        faults.chain(lifecycle::policy::idle(&policy, governance)).map(|fault| fault.at).collect::<Vec<_>>().join(" ")
    };
    let s = Scenario::new();
    for (policy, places) in [
        ("{}", ""),
        (r#"{"admin_quorum":4}"#, "admin_quorum"),
        (r#"{"fact":[{"name":"residency","roles":["counsel"],"valid_max":"1d"}]}"#, "fact.residency.roles"),
        (r#"{"fact":[{"name":"residency","roles":["app"],"valid_max":"1d"}]}"#, "fact.residency.roles"),
        (r#"{"keys":{"revalidation":{"roles":["counsel"],"every":"20m"}}}"#, "keys.revalidation.roles"),
        (
            r#"{"rule":{"standing":{"count_max":1,"window_max":"1d","users":["counsel"]}}}"#,
            "rule.every-key.standing.users",
        ),
        (r#"{"rule":{"standing":{"count_max":1,"window_max":"1d","users":["app"]}}}"#, ""),
    ] {
        assert_eq!(found(&s, policy), places, "{policy}");
    }
    let applied = super::law::with_pack();
    assert_eq!(found(&applied, "{}"), "fact", "a pack in force needs a fact that the policy lists for nobody");
    assert_eq!(found(&applied, r#"{"fact":[{"name":"residency","roles":["privacy"],"valid_max":"1d"}]}"#), "");
}

#[test]
fn the_first_rule_that_matches_is_the_one() {
    let policy = r#"{"rule":[
        {"name":"secret","when":{"responsibility":["application"],"classification":["secret"]},"requesters":["owner"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"security","quorum":2}],"users":["app"]},
        {"name":"rest","when":{"responsibility":["application"]},"requesters":["owner"],"request_valid_for":"30m",
         "approval_valid_for":"20m","stage":[{"role":"privacy","quorum":1}],"users":["app"]}]}"#;
    let mut s = under(&policy.replace('\n', " "));
    s.run(r#"generate k2 {"asset":"w","classification":"public"} by kim => key.generated"#);
    s.run(
        "request k1 by kim => activation.requested
         approve k1 by lou => refused role-missing
         approve k1 by sam => activation.approved
         due => nothing
         request k2 by kim => activation.requested
         approve k2 by sam => refused role-missing
         approve k2 by lou => activation.approved
         due => activation.authorized, key.activated",
    );
}

#[test]
fn requests_say_what_the_rule_asks_for() {
    let base = r#"{"identity":$identity,"reason":$why,"legal_basis":[],"affected_systems":[]}"#;
    for (asks, says, problem) in [
        (r#""change_ref":true"#, base.replace(r#""reason"#, r#""change_ref":"CHG-1","reason"#), "request-incomplete"),
        (
            r#""legal_basis":true"#,
            base.replace(r#""legal_basis":[]"#, r#""legal_basis":["GDPR art. 32"]"#),
            "request-incomplete",
        ),
        (r#""affected_systems":true"#, base.replace(r#"systems":[]"#, r#"systems":["chat"]"#), "request-incomplete"),
        (
            r#""deactivate_at":true"#,
            base.replace(r#""reason"#, r#""deactivate_at":"$now+2h","reason"#),
            "request-incomplete",
        ),
        (
            r#""attestation":true"#,
            base.replace(r#""reason"#, r#""attestation":"$attestation","reason"#),
            "request-incomplete",
        ),
        (r#""reasons":["incident"]"#, base.replace("$why", r#"{"kind":"incident","text":"x"}"#), "reason-not-accepted"),
    ] {
        let policy = format!(r#"{{"rule":{{"requires":{{{asks}}}}}}}"#);
        check(
            &policy,
            &format!(
                "do activation.request k1 {base} by kim => refused {problem}
                 do activation.request k1 {says} by kim => activation.requested"
            ),
        );
    }
    let wrong = base.replace(r#""reason"#, r#""attestation":"$hash:other","reason"#);
    check("{}", &format!("do activation.request k1 {wrong} by kim => refused identity-mismatch"));
}

#[test]
fn keys_have_the_attributes_that_the_policy_allows() {
    let attributes = |more: &str| format!(r#"{{"asset":"w","attributes":{{{more}}}}}"#);
    for (allow, more) in [
        ("exportable", r#""exportable":true,"deletable":true"#),
        ("undeletable", r#""exportable":false,"deletable":false"#),
        ("successor", r#""exportable":false,"deletable":true,"replaces":"$key:k1""#),
        ("instance", r#""exportable":false,"deletable":true,"instance":"eu-1""#),
    ] {
        let key = attributes(more);
        let mut s = check("{}", &format!("generate k2 {key} by kim => refused attribute-not-allowed"));
        // Nor under a policy of the first form, which knows of none.
        s.run(&format!(
            "adopt by ann,bob => policy.adopted\ngenerate k2 {key} by kim => refused attribute-not-allowed"
        ));
        s.run(&format!(r#"adopt {{"keys":{{"allow":{{"{allow}":true}}}}}} by ann,bob => policy.adopted"#));
        s.run(&format!("generate k2 {key} by kim => key.generated\nadopt {{}} by ann,bob => policy.adopted"));
        // What is not allowed any more is not activated.
        s.run("request k2 by kim => refused attribute-not-allowed");
    }
    let mut s = check(
        r#"{"keys":{"allow":{"undeletable":true}}}"#,
        &format!("generate k2 {} by kim => key.generated", attributes(r#""exportable":false,"deletable":false"#)),
    );
    s.run("destroy k2 by opa,oto => refused attribute-not-allowed\nwait 1h");
    assert!(s.perform("due").contains("key.destroyed"), "one that expires is destroyed all the same");
}

#[test]
fn a_key_does_what_it_was_made_for_and_ai_keys_name_their_asset() {
    let mut s = check(
        "{}",
        r#"generate k2 {"asset":"w","usage":["sign"]} by kim => refused attribute-not-allowed
        generate k2 {} by kim => refused asset-missing
        generate k2 {"workload":"general"} by kim => key.generated
        generate k3 {"model_digest":"$hash:model"} by kim => key.generated
        generate k4 {"endpoint":"https://infer.example"} by kim => key.generated
        generate k5 {"workload":"general","usage":["encrypt"]} by kim => key.generated"#,
    );
    s.run("request k5 by kim => activation.requested\napprove k5 by sam => activation.approved");
    s.run("approve k5 by lou => activation.approved\ndue => activation.authorized, key.activated\napply k5 => custody.applied");
    s.run("use k5 encrypt by app => allowed\nuse k5 decrypt by app => refused operation-not-allowed");
}

/// A refused activation says all that is missing, and not only what was found first.
#[test]
fn a_refusal_names_everything_in_the_way() {
    use lifecycle::{Duty, Input};
    let mut s = check(r#"{"packs":["gdpr","nis2"]}"#, "request k1 after 5m by kim => activation.requested");
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved\ndue => activation.authorized");
    s.run("revoke sam by ann,bob => principal.revoked\nroles kim app by ann,bob => principal.changed\nwait 5m");
    let duty = Input::Due(Duty::Activate(lifecycle::scenario::key_id("k1")));
    let refused = s.submit(model::ServiceRole::Activator, duty).unwrap_err();
    let types: Vec<&str> =
        refused.members["blocks"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    let wanted = ["role-missing", "quorum-not-met", "pack-undeclared", "pack-undeclared"];
    assert_eq!(types, wanted.map(|name| format!("urn:keylatch:problem:{name}")));
    let quorum = &refused.members["blocks"][1];
    assert_eq!(quorum["members"]["missing"][0], "1 of `security`");
    // Nor does a command to activate what nobody has authorised, whoever gives it.
    let mut s = check(r#"{"packs":["gdpr","nis2"]}"#, "request k1 by kim => activation.requested");
    for who in ["opa", "app"] {
        let (role, key, action) = s.action("activate", &["k1"]);
        let signed = s.signed(action, key, who, model::command::LIFETIME_MAX);
        let refused = s.submit(role, Input::Command(signed)).unwrap_err();
        assert_eq!(refused.problem, model::ProblemType::NotAuthorized);
        assert_eq!(refused.members["blocks"].as_array().unwrap().len(), 4, "{refused:?}");
    }
}

//! People: who they are, with which key, for which party; delegation; the access review.

use lifecycle::scenario::key_id;

use super::{check, under};

const ONE: &str = r#"{"people":{"delegation_max":"2h"},"rule":{"stage":[{"role":"security","quorum":2}]}}"#;

fn grant(from: &str, to: &str, role: &str, times: &str) -> String {
    let (begins, ends) = times.split_once("..").unwrap();
    format!(
        r#"do delegation.grant {{"against":"$head","to":"$who:{to}","roles":["{role}"],"not_before":"$now+{begins}","not_after":"$now+{ends}","reason":$why}} by {from}"#
    )
}

fn behalf(of: &str, by: &str) -> String {
    format!(r#"do activation.approve k1 {{"request":"$request","on_behalf_of":"$who:{of}"}} by {by}"#)
}

fn enrolled(who: &str, person: &str, more: &str) -> String {
    format!(
        r#"do principal.enroll {{"against":"$head","principal":{{"key":"$pub:{who}","label":"{who}","kind":"person","person":"{person}"{more}}}}} by ann,bob"#
    )
}

#[test]
fn delegation_is_in_the_log_for_a_while_and_never_adds_a_vote() {
    let mut s = check(ONE, "request k1 by kim => activation.requested");
    s.run(&format!("{} => refused delegation-invalid", behalf("sam", "opa")));
    s.run(&format!("{} => delegation.granted", grant("sam", "opa", "security", "0s..1h")));
    s.run("approve k1 by opa => refused role-missing");
    s.run(&format!("{} => activation.approved", behalf("sam", "opa")));
    // It was sam's vote. Neither of the two has another, whoever gives it.
    s.run("approve k1 by sam => refused already-voted");
    s.run(&format!("{} => refused already-voted", behalf("sam", "opa")));
    s.run(&format!("{} => delegation.granted", grant("sue", "opa", "security", "0s..1h")));
    s.run(&format!("{} => refused already-voted", behalf("sue", "opa")));
    s.run(&format!("{} => delegation.granted", grant("sam", "sue", "security", "0s..1h")));
    s.run(&format!("{} => refused already-voted", behalf("sam", "sue")));
    s.run("due => nothing\napprove k1 by sue => activation.approved\ndue => activation.authorized, key.activated");
}

#[test]
fn who_votes_for_others_has_one_vote_with_their_own() {
    let mut s = check(ONE, "request k1 by kim => activation.requested");
    s.run(&format!("{} => delegation.granted", grant("sam", "sue", "security", "0s..1h")));
    s.run("approve k1 by sue => activation.approved");
    s.run(&format!("{} => refused already-voted\ndue => nothing", behalf("sam", "sue")));
    s.run("approve k1 by sam => activation.approved\ndue => activation.authorized, key.activated");
}

#[test]
fn a_delegation_is_ones_own_roles_to_a_person_for_as_long_as_policy_lets_it() {
    let mut s = under(ONE);
    for (step, problem) in [
        (grant("sam", "sam", "security", "0s..1h"), "delegation-invalid"),
        (grant("ray", "rae", "security", "0s..1h"), "delegation-invalid"),
        (grant("sam", "opa", "privacy", "0s..1h"), "delegation-invalid"),
        (grant("ann", "opa", "admin", "0s..1h"), "delegation-invalid"),
        (grant("sam", "opa", "security", "0s..3h"), "delegation-invalid"),
        (grant("sam", "opa", "security", "1h..1h"), "delegation-invalid"),
        (grant("sam", "bot", "security", "0s..1h"), "not-a-person"),
        (grant("bot", "opa", "security", "0s..1h"), "not-a-person"),
        (grant("sam", "zoe", "security", "0s..1h"), "unknown-principal"),
    ] {
        s.run(&format!("{step} => refused {problem}"));
    }
    check("{}", &format!("{} => refused delegation-invalid", grant("sam", "opa", "security", "0s..1h")));
}

#[test]
fn a_delegated_vote_ends_with_its_delegation() {
    let ended = r#"do delegation.end {"delegation":"$event:delegation.granted","reason":$why}"#;
    for end in [
        format!("{ended} by sam => delegation.ended"),
        format!("{ended} by opa => delegation.ended"),
        format!("{ended} by ann => delegation.ended"),
        "wait 10m".to_owned(),
        "revoke sam by ann,bob => principal.revoked".to_owned(),
        "roles sam owner by ann,bob => principal.changed".to_owned(),
        r#"adopt {"rule":{"stage":[{"role":"security","quorum":2}]}} by ann,bob => policy.adopted"#.to_owned(),
        format!("adopt {} by ann,bob => policy.adopted", ONE.replace("2h", "4m")),
        "revoke opa by ann,bob => principal.revoked".to_owned(),
    ] {
        let mut s = check(ONE, "request k1 after 5m by kim => activation.requested");
        s.run(&format!("{} => delegation.granted", grant("sam", "opa", "security", "0s..10m")));
        s.run(&format!("{} => activation.approved", behalf("sam", "opa")));
        s.run("approve k1 by sue => activation.approved\ndue => activation.authorized");
        s.run(&format!("{ended} by sue => refused role-missing"));
        s.run(&end);
        s.run("wait 5m\nduty activate k1 => refused quorum-not-met");
        assert!(!s.perform(&behalf("sam", "opa")).starts_with("activation"), "{end}");
        s.run("approve k1 by rae => activation.approved\ndue => key.activated");
    }
}

/// A vote that was given under a delegation which has ended does not come back with another.
#[test]
fn a_later_delegation_does_not_revive_a_vote() {
    let mut s = check(ONE, "request k1 by kim => activation.requested");
    s.run(&format!("{} => delegation.granted", grant("sam", "opa", "security", "0s..5m")));
    s.run(&format!("{} => activation.approved\nwait 5m", behalf("sam", "opa")));
    s.run(&format!("{} => delegation.granted", grant("sam", "opa", "security", "0s..1h")));
    s.run("approve k1 by sue => activation.approved\ndue => nothing");
    s.run(&format!("{} => activation.approved\ndue => activation.authorized, key.activated", behalf("sam", "opa")));
}

/// Whatever comes and goes in between, one hand gives one vote: here a policy under which the first had run out for a while.
#[test]
fn one_hand_gives_one_vote_whichever_policies_have_come_and_gone() {
    let mut s = check(ONE, "request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run(&format!("{} => delegation.granted", grant("sue", "sam", "security", "0s..1h")));
    let short = ONE.replace(r#""rule":{"#, r#""rule":{"approval_valid_for":"1m","#);
    s.run(&format!("adopt {short} by ann,bob => policy.adopted\nwait 2m"));
    s.run(&format!("{} => activation.approved", behalf("sue", "sam")));
    s.run(&format!("adopt {} by ann,bob => policy.adopted", ONE.replace(r#""quorum":2"#, r#""quorum":3"#)));
    s.run("approve k1 by rae => activation.approved\ndue => nothing");
    s.run("approve k1 by dee => activation.approved\ndue => activation.authorized, key.activated");
}

#[test]
fn a_delegation_for_later_is_not_one_now() {
    let mut s = check(ONE, "request k1 by kim => activation.requested");
    s.run(&format!("{} => delegation.granted", grant("sam", "opa", "security", "5m..1h")));
    s.run(&format!("{} => refused delegation-invalid\nwait 5m", behalf("sam", "opa")));
    s.run(&format!("{} => activation.approved", behalf("sam", "opa")));
}

#[test]
fn a_new_key_is_vouched_for_by_the_old_one_or_by_the_admins() {
    let rotate = |who: &str, new: &str, by: &str| {
        format!(
            r#"do principal.rotate {{"against":"$head","principal":"$who:{who}","key":"$pub:{new}","reason":$why}} by {by}"#
        )
    };
    let mut s = check("{}", "request k1 after 5m by kim => activation.requested");
    for (step, problem) in [
        (rotate("sam", "sam2", "sam"), "quorum-not-met"),
        (rotate("sam", "sam2", "ann,bob"), "quorum-not-met"),
        (rotate("sam", "sam2", "ann,sam2"), "quorum-not-met"),
        (rotate("sam", "sam2", "sue,sam2"), "role-missing"),
        (rotate("sam", "sam2", "sam,sam2,sue"), "quorum-not-met"),
        (rotate("sam", "sue", "sam,sue"), "principal-exists"),
        (rotate("sam", "sam", "sam"), "principal-exists"),
        (rotate("zoe", "zoe2", "ann,bob,zoe2"), "unknown-principal"),
        (rotate("sam", "activator", "sam,activator"), "principal-exists"),
    ] {
        s.run(&format!("{step} => refused {problem}"));
    }
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized");
    s.run(&format!("{} => principal.rotated", rotate("sam", "sam2", "sam,sam2")));
    s.run("approve k1 by sam => refused principal-revoked\nwait 5m\ndue => refused quorum-not-met");
    // The new key is the same person, and gives the vote again: once.
    s.run("approve k1 by sam2 => activation.approved\ndue => key.activated");
    s.run(&format!("{} => refused principal-revoked", rotate("sam", "sam3", "sam,sam3")));
    s.run(&format!("{} => principal.rotated", rotate("sue", "sue2", "ann,bob,sue2")));
    s.run(&format!("{} => principal.rotated", rotate("ann", "ann2", "bob,cid,ann2")));
    s.run("enroll zoe security by ann,bob => refused principal-revoked\nenroll zoe security by ann2,bob => principal.enrolled");
}

#[test]
fn an_old_key_and_a_new_one_are_one_vote_and_one_asker() {
    let mut s =
        check(r#"{"rule":{"stage":[{"role":"security","quorum":2}]}}"#, "request k1 by rae => activation.requested");
    s.run(r#"do principal.rotate {"against":"$head","principal":"$who:ray","key":"$pub:ray2","reason":$why} by ray,ray2 => principal.rotated"#);
    s.run("approve k1 by ray2 => refused self-approval\napprove k1 by sam => activation.approved\ndue => nothing");
}

#[test]
fn hardware_keys_touched_and_verified_where_a_stage_asks() {
    for (asks, refused, taken) in [("touch", "rae", "tokio"), ("verified", "tokio", "tokio!")] {
        let policy = r#"{"rule":{"stage":[{"role":"security","quorum":1,"ASKS":true}]}}"#.replace("ASKS", asks);
        let mut s = under("{}");
        s.run(&format!(
            "adopt {policy} by ann,bob => refused policy-refused
             {} => principal.enrolled
             adopt {policy} by ann,bob => policy.adopted
             request k1 by kim => activation.requested
             approve k1 by sam => refused assurance-missing
             approve k1 by {refused} => refused assurance-missing
             approve k1 by lou => refused role-missing
             approve k1 by {taken} => activation.approved
             due => activation.authorized, key.activated",
            enrolled("tokio", "tia", r#","roles":["security"]"#)
        ));
    }
}

/// A touch that was enough when the vote was given is not, where the policy has come to ask for verification.
#[test]
fn assurance_is_looked_at_again_at_activation() {
    let stage = |asks: &str| format!(r#"{{"rule":{{"stage":[{{"role":"security","quorum":1,"{asks}":true}}]}}}}"#);
    let mut s = under("{}");
    s.run(&format!("{} => principal.enrolled", enrolled("tokio", "tia", r#","roles":["security"]"#)));
    s.run(&format!("adopt {} by ann,bob => policy.adopted", stage("touch")));
    s.run("request k1 after 5m by kim => activation.requested\napprove k1 by tokio => activation.approved");
    s.run("due => activation.authorized");
    s.run(&format!("adopt {} by ann,bob => policy.adopted\nwait 5m", stage("verified")));
    s.run("due => refused quorum-not-met");
}

#[test]
fn a_stage_of_a_party_is_filled_by_its_people() {
    let policy = r#"{"rule":{"when":{"responsibility":["orchestrated"]},"stage":[
        {"role":"security","quorum":1,"party":"csp"},{"role":"security","quorum":1,"party":"mp"}]}}"#;
    let mut s = under("{}");
    for (who, party) in [("cora", "csp"), ("carl", "csp"), ("mia", "mp")] {
        let more = format!(r#","roles":["security"],"party":"{party}""#);
        s.run(&format!("{} => principal.enrolled", enrolled(who, who, &more)));
    }
    s.run(&format!("adopt {} by ann,bob => policy.adopted", policy.replace('\n', " ")));
    s.run(r#"generate k2 {"asset":"weights","responsibility":"orchestrated"} by kim => key.generated"#);
    s.run(
        "request k2 by kim => activation.requested
         approve k2 by sam => refused role-missing
         approve k2 by cora => activation.approved
         approve k2 by carl => activation.approved
         due => nothing
         approve k2 by mia => activation.approved
         due => activation.authorized, key.activated",
    );
}

#[test]
fn shared_keys_need_a_stage_of_each_party() {
    for stages in [
        r#"[{"role":"security","quorum":1}]"#,
        r#"[{"role":"security","quorum":1,"party":"csp"}]"#,
        r#"[{"role":"security","quorum":1,"party":"csp"},{"role":"security","quorum":1,"party":"ap"}]"#,
    ] {
        for layers in ["[]", r#"["orchestrated"]"#] {
            let policy = format!(r#"{{"rule":{{"when":{{"responsibility":{layers}}},"stage":{stages}}}}}"#);
            let found =
                lifecycle::policy::check(&lifecycle::scenario::patched_policy(&serde_json::from_str(&policy).unwrap()));
            assert!(found.iter().any(|fault| fault.what.contains("mp's duty")), "{policy}: {found:?}");
        }
    }
}

#[test]
fn one_human_is_enrolled_under_one_name() {
    let subject = |of: &str| format!(r#","roles":["security"],"subject":"$hash:{of}""#);
    let none = r#","roles":["security"]"#;
    let mut s = under(r#"{"people":{"subject_required":true}}"#);
    s.run(&format!(
        "{} => refused subject-missing
         {} => principal.enrolled
         {} => refused subject-taken
         {} => refused subject-taken
         {} => refused subject-missing
         {} => principal.enrolled
         revoke zoe by ann,bob => principal.revoked
         {} => refused subject-taken
         {} => principal.enrolled",
        enrolled("zoe", "zoe", none),
        enrolled("zoe", "zoe", &subject("issuer-1")),
        enrolled("zed", "zed", &subject("issuer-1")),
        enrolled("zoe2", "zoe", &subject("issuer-2")),
        enrolled("zoe2", "zoe", none),
        enrolled("zoe2", "zoe", &subject("issuer-1")),
        enrolled("zed", "zed", &subject("issuer-1")),
        enrolled("zed", "zed", &subject("issuer-2")),
    ));
}

#[test]
fn the_first_admins_are_as_many_humans_as_names() {
    use lifecycle::{Input, Tenant, decide};
    use model::{Action, command};
    let mut s = lifecycle::scenario::Scenario::bare();
    let subject = model::Digest::of(b"one human");
    let admin = |who: &str, subject| model::Principal { subject: Some(subject), ..s.principal(who, "admin") };
    let admins = vec![admin("xan", subject), admin("yan", subject)];
    let name = "acme".parse().unwrap();
    let class = model::key::TenantClass::Ap;
    let action = Action::TenantCreate(command::TenantCreate { name, class, admins, admin_quorum: 2 });
    let command = s.signed(action, None, "xan,yan", command::LIFETIME_MAX);
    let input = Input::Founding { command, authority: s.authority(1, lifecycle::RULES) };
    let empty = Tenant::new(s.tenant.chain.tenant(), s.tenant.root);
    let refused = decide(&empty.view(input.footprint()), &input, s.now).unwrap_err();
    assert_eq!(refused.problem, model::ProblemType::SubjectTaken);
}

const REVIEWED: &str =
    r#"{"people":{"access_review":{"by":{"roles":["privacy"],"quorum":2},"every":"90d","warn_before":"10d"}}}"#;

#[test]
fn the_access_review_is_signed_and_a_missed_one_is_an_exception() {
    let review = r#"do access.review {"against":"$head","findings":"two accounts are to go"}"#;
    let mut s = lifecycle::scenario::Scenario::new();
    s.run(&format!("{review} by lou,dee => refused nothing-due\nadopt {REVIEWED} by ann,bob => policy.adopted"));
    s.run(&format!("{review} by lou => refused quorum-not-met\n{review} by sam,sue => refused role-missing"));
    s.run("due => nothing\nwait 80d\ndue => deadline.warned\ndue => nothing\nwait 10d\ndue => deadline.missed");
    s.run("due => nothing\nwait 10d\ndue => nothing");
    s.run(&format!("{review} by lou,dee => access.reviewed\ndue => nothing"));
    s.run("wait 80d\ndue => deadline.warned");
    s.run(&format!(
        "{review} by lou,dee => access.reviewed\nwait 79d\ndue => nothing\nwait 1d\ndue => deadline.warned"
    ));
    // Signed for other people than there are now, it is no review of these.
    let (_, _, action) = (
        0,
        0,
        model::Action::AccessReview(model::command::AccessReview {
            against: s.tenant.governance.as_ref().unwrap().head,
            findings: "fine".parse().unwrap(),
        }),
    );
    let stale = s.signed(action, None, "lou,dee", model::command::LIFETIME_MAX_QUORUM);
    s.run("enroll zoe privacy by ann,bob => principal.enrolled");
    let refused = s.submit(model::ServiceRole::Approver, lifecycle::Input::Command(stale)).unwrap_err();
    assert_eq!(refused.problem, model::ProblemType::StateChanged);
}

/// A policy brings the review forward, and does not put it off.
#[test]
fn a_stricter_access_review_is_due_sooner() {
    let every = |span: &str| format!("adopt {} by ann,bob => policy.adopted", REVIEWED.replace("90d", span));
    let mut s = lifecycle::scenario::Scenario::new();
    s.run(&every("90d"));
    s.run(&every("900d"));
    let at = |s: &lifecycle::scenario::Scenario| s.tenant.governance.as_ref().unwrap().deadlines[0].at - s.now;
    assert_eq!(at(&s), "90d".parse().unwrap());
    s.run(&every("30d"));
    assert_eq!(at(&s), "30d".parse().unwrap());
    s.run("adopt {} by ann,bob => policy.adopted");
    assert!(s.tenant.governance.as_ref().unwrap().deadlines.is_empty());
}

/// Whoever was out of turn, and votes again by themselves where others voted for them before, has one vote, and it counts.
#[test]
fn a_vote_that_came_out_of_turn_is_given_again() {
    let stages = r#""stage":[{"role":"privacy","quorum":1},{"role":"security","quorum":1}]"#;
    let delegates = r#""people":{"delegation_max":"2h"}"#;
    let mut s = check(&format!(r#"{{{delegates},"rule":{{{stages}}}}}"#), "request k1 by kim => activation.requested");
    s.run(&format!("{} => delegation.granted", grant("sue", "sam", "security", "0s..1h")));
    s.run(&format!("{} => activation.approved", behalf("sue", "sam")));
    s.run(&format!(r#"adopt {{{delegates},"rule":{{"in_order":true,{stages}}}}} by ann,bob => policy.adopted"#));
    s.run("approve k1 by lou => activation.approved\ndue => nothing\napprove k1 by sam => activation.approved");
    s.run("due => activation.authorized, key.activated");
    assert_eq!(s.tenant.keys[&key_id("k1")].activation.map(|_| ()), Some(()));
}

/// What every decision sees does not grow as somebody likes.
#[test]
fn one_key_grants_so_many_delegations_and_no_more() {
    let mut s = under(ONE);
    let one = grant("sam", "opa", "security", "0s..1h");
    for _ in 0..32 {
        s.run(&format!("{one} => delegation.granted"));
    }
    s.run(r#"do delegation.end {"delegation":"$event:delegation.granted","reason":$why} by sam => delegation.ended"#);
    s.run(&format!("{one} => refused delegation-invalid"));
    s.run(&format!("{} => delegation.granted", grant("sue", "opa", "security", "0s..1h")));
    s.run(&format!("wait 1h\n{one} => delegation.granted"));
}

/// Nor by many that are short: under epoch 3 each counts for an hour. Under epoch 2 it stays as it was.
#[test]
fn short_delegations_are_not_without_number() {
    let grants = |rules: u32| {
        let mut s = lifecycle::scenario::Scenario::under(rules);
        s.run(&format!("adopt {ONE} by ann,bob => policy.adopted"));
        let one = grant("sam", "opa", "security", "0s..1s");
        for _ in 0..32 {
            s.run(&format!("{one} => delegation.granted\nwait 1s"));
        }
        let more = s.perform(&one);
        s.run(&format!("wait 1h\n{one} => delegation.granted"));
        more
    };
    assert_eq!([grants(2), grants(3)], ["delegation.granted", "refused delegation-invalid"]);
}

/// A new key moves what admins sign against, and stays in the state for good: a key vouches for so many, and then admins do.
#[test]
fn a_key_vouches_for_so_many_others_and_no_more() {
    let rotate = |from: usize, to: usize, by: &str| {
        let name = |at: usize| if at == 0 { "app".to_owned() } else { format!("app{at}") };
        let (old, new) = (name(from), name(to));
        let by = if by.is_empty() { old.clone() } else { by.to_owned() };
        format!(
            r#"do principal.rotate {{"against":"$head","principal":"$who:{old}","key":"$pub:{new}","reason":$why}} by {by},{new}"#
        )
    };
    for (rules, outcome) in [(2, "principal.rotated"), (3, "refused quorum-not-met")] {
        let mut s = lifecycle::scenario::Scenario::under(rules);
        for key in 0..63 {
            s.run(&format!("{} => principal.rotated", rotate(key, key + 1, "")));
        }
        assert_eq!(s.perform(&rotate(63, 64, "")), outcome, "rules epoch {rules}");
        let at = if rules == 2 { 64 } else { 63 };
        s.run(&format!("{} => principal.rotated", rotate(at, 65, "ann,bob")));
    }
}

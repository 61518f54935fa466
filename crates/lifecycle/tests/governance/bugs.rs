//! From other people's bugs, each a named test.

use lifecycle::policy::check as faults;
use lifecycle::scenario::{Scenario, key_id, patched_policy, policy};
use lifecycle::{Footprint, Input, decide};
use model::event::EventType;
use model::{Action, KeyState, ProblemType, ServiceRole, command};

use super::{check, under};

const APPROVED: &str = "request k1 by rae => activation.requested
    approve k1 by sam => activation.approved
    approve k1 by lou => activation.approved";

#[test]
fn zero_or_omitted_approvals_are_a_load_error() {
    let at = |policy: &str| {
        let found = faults(&patched_policy(&serde_json::from_str(policy).unwrap()));
        found.into_iter().map(|fault| fault.at).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(at("{}"), "");
    assert_eq!(at(r#"{"rule":{"stage":[]}}"#), "rule.every-key.stage");
    assert_eq!(at(r#"{"rule":{"stage":[{"role":"security","quorum":0}]}}"#), "rule.every-key.stage.1");
    assert_eq!(at(r#"{"operations":{"activate":{"roles":["operator"],"quorum":0}}}"#), "operations.activate.quorum");
    let text = serde_json::to_string(&policy()).unwrap();
    let omitted = text.replacen(r#""role":"security","quorum":1"#, r#""role":"security""#, 1);
    assert_ne!(text, omitted);
    assert!(serde_json::from_str::<model::Policy>(&omitted).is_err(), "a stage without its quorum is read");
    check("{}", r#"adopt {"rule":{"stage":[]}} by ann,bob => refused policy-refused"#);
}

/// Somebody enrolled under an approver's label, in this tenant or in another, is somebody else.
#[test]
fn approvers_are_known_by_key_and_tenant_never_by_name() {
    let mut s = check("{}", "request k1 by rae => activation.requested");
    let request = s.tenant.keys[&key_id("k1")].open_request.unwrap();
    let approve = Action::ActivationApprove(command::ActivationApprove::new(request));
    // Another key that says it is sam.
    let step = r#"do principal.enroll {"against":"$head","principal":{"key":"$pub:other-sam","label":"sam","kind":"person",
        "person":"other","roles":["owner"]}} by ann,bob => principal.enrolled"#;
    s.run(&step.replace('\n', " "));
    s.run("approve k1 by other-sam => refused role-missing\napprove k1 by stranger => refused unknown-principal");
    // Sam's own signature, for another tenant.
    let elsewhere = s.signed(approve, Some(key_id("k1")), "sam", command::LIFETIME_MAX);
    let mut of_other = elsewhere.command.clone();
    of_other.tenant = model::TenantId::from_bytes([9; 32]);
    let hand = journal::command::KeyInHand::new(signing_key("sam"));
    let envelope = journal::command::SignedCommand::sign(&of_other, &[&hand]).unwrap();
    let signed = std::sync::Arc::new(journal::command::SignedCommand::open(envelope).unwrap());
    let refused = s.submit(ServiceRole::Approver, Input::Command(signed)).unwrap_err();
    assert_eq!(refused.problem, ProblemType::WrongTenant);
    s.run("approve k1 by sam => activation.approved");
}

fn signing_key(name: &str) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(model::Digest::of(name.as_bytes()).as_bytes())
}

const DELEGATES: &str = r#"{"people":{"delegation_max":"30d"}}"#;

#[test]
fn requester_or_the_requesters_delegate_never_counts() {
    // Whoever asked, by another key, and on behalf of another.
    check(
        DELEGATES,
        r#"request k1 by rae => activation.requested
        approve k1 by rae => refused self-approval
        approve k1 by ray => refused self-approval
        do delegation.grant {"against":"$head","to":"$who:rae","roles":["privacy"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by lou => delegation.granted
        do activation.approve k1 {"request":"$request","on_behalf_of":"$who:lou"} by rae => refused self-approval
        do delegation.grant {"against":"$head","to":"$who:sam","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by rae => delegation.granted
        do activation.approve k1 {"request":"$request","on_behalf_of":"$who:rae"} by sam => refused self-approval
        approve k1 by sam => refused self-approval
        approve k1 by sue => activation.approved"#,
    );
    // Nor the delegate's own delegate, nor one who becomes a delegate after the vote.
    check(
        DELEGATES,
        r#"request k1 by kim => activation.requested
        do delegation.grant {"against":"$head","to":"$who:sam","roles":["owner"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by kim => delegation.granted
        do delegation.grant {"against":"$head","to":"$who:sue","roles":["security"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by sam => delegation.granted
        do activation.approve k1 {"request":"$request","on_behalf_of":"$who:sam"} by sue => refused self-approval
        approve k1 by lou => activation.approved
        approve k1 by sue => activation.approved
        do delegation.grant {"against":"$head","to":"$who:sue","roles":["owner"],"not_before":"$now+0s","not_after":"$now+1h","reason":$why} by kim => delegation.granted
        due => refused quorum-not-met
        approve k1 by rae => activation.approved
        due => activation.authorized, key.activated"#,
    );
}

#[test]
fn one_key_is_one_vote_in_several_roles_too() {
    check(
        "{}",
        "request k1 by kim => activation.requested
         approve k1 by dee => activation.approved
         approve k1 by dee => refused already-voted
         due => nothing
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated",
    );
}

#[test]
fn votes_are_deduplicated_by_person_not_by_signature() {
    check(
        r#"{"rule":{"stage":[{"role":"security","quorum":2}]}}"#,
        "request k1 by kim => activation.requested
         approve k1 by rae => activation.approved
         approve k1 by ray => refused already-voted
         due => nothing
         approve k1 by sam,sue => refused quorum-not-met
         approve k1 by sam => activation.approved
         due => activation.authorized, key.activated",
    );
}

/// Whatever a request says, said otherwise it is another request: approvals of the one are worth nothing for the other.
#[test]
fn an_approval_binds_the_meaning_so_any_change_voids_it() {
    let base = r#"{"identity":$identity,"reason":$why,"legal_basis":["a"],"affected_systems":["b"]}"#;
    for other in [
        base.to_owned(),
        base.replace(r#"["a"]"#, r#"["c"]"#),
        base.replace(r#"["b"]"#, r#"["b","c"]"#),
        base.replace(r#""legal"#, r#""change_ref":"CHG-2","legal"#),
        base.replace(r#""legal"#, r#""deactivate_at":"$now+2h","legal"#),
        base.replace(r#""legal"#, r#""attestation":"$attestation","legal"#),
        base.replace(r#""legal"#, r#""consumers":["$who:app"],"legal"#),
    ] {
        let mut s = check("{}", &format!("do activation.request k1 {base} by kim => activation.requested"));
        let request = s.tenant.keys[&key_id("k1")].open_request.unwrap();
        let approve = Action::ActivationApprove(command::ActivationApprove::new(request));
        let early = s.signed(approve.clone(), Some(key_id("k1")), "sam", command::LIFETIME_MAX);
        s.run("approve k1 by lou => activation.approved\ncancel k1 by kim => activation.cancelled");
        s.run(&format!("do activation.request k1 {other} by kim => activation.requested"));
        assert_ne!(s.tenant.keys[&key_id("k1")].open_request, Some(request));
        let refused = s.submit(ServiceRole::Approver, Input::Command(early)).unwrap_err();
        assert_eq!(refused.problem, ProblemType::RequestClosed, "{other}");
        s.run("approve k1 by sam => activation.approved\ndue => nothing");
    }
}

#[test]
fn the_permission_to_activate_is_its_own() {
    check(
        "{}",
        "request k1 by rae => activation.requested
         approve k1 by sam => activation.approved
         activate k1 by opa => refused not-authorized
         approve k1 by lou => activation.approved
         duty authorize k1 => activation.authorized
         activate k1 by rae => refused role-missing
         activate k1 by sam => refused role-missing
         activate k1 by ann => refused role-missing
         activate k1 by app => refused role-missing
         activate k1 by opa => key.activated",
    );
}

#[test]
fn activation_does_not_touch_key_bytes() {
    let mut s = check("{}", APPROVED);
    let before = s.tenant.keys[&key_id("k1")].clone();
    s.run("due => activation.authorized, key.activated\napply k1 => custody.applied");
    let after = &s.tenant.keys[&key_id("k1")];
    let bytes = |key: &lifecycle::Key| {
        let lifecycle::Key { spec, identity, store, seal_key, attestation, generated, .. } = key.clone();
        (spec, identity, store, seal_key, attestation, generated)
    };
    assert_eq!(bytes(&before), bytes(after));
}

/// The one event that makes a key active says all of it: no state in between is ever recorded, or read.
#[test]
fn state_and_attributes_change_in_one_append() {
    let mut s = check("{}", APPROVED);
    s.run("duty authorize k1 => activation.authorized");
    let before = s.tenant.keys[&key_id("k1")].clone();
    assert_eq!((before.state, before.activation, before.open_request.is_some()), (KeyState::PreActive, None, true));
    let events = s.records.len();
    s.run("duty activate k1 => key.activated");
    assert_eq!(s.records.len(), events + 1);
    let after = &s.tenant.keys[&key_id("k1")];
    let activation = after.activation.unwrap();
    assert_eq!((after.state, after.open_request), (KeyState::Active, None));
    assert_eq!((activation.hash, after.transition, after.head), (after.head, after.head, s.tenant.chain.head().hash));
    assert!(s.tenant.requests[&activation.request].closed.is_some());
}

#[test]
fn every_operation_checks_state_decrypt_included() {
    let mut s = under("{}");
    let all = |s: &mut Scenario, outcome: &str| {
        for operation in ["encrypt", "decrypt"] {
            s.run(&format!("use k1 {operation} by app => {outcome}"));
        }
    };
    all(&mut s, "refused key-not-active");
    s.run(APPROVED);
    s.run("due => activation.authorized, key.activated");
    all(&mut s, "refused custody-pending");
    s.run("apply k1 => custody.applied");
    all(&mut s, "allowed");
    s.run("suspend k1 by opa => key.suspended");
    all(&mut s, "refused key-not-active");
    s.run("resume k1 by opa => key.resumed\ncompromise k1 by opa => key.compromised\napply k1 => custody.applied");
    all(&mut s, "refused key-not-active");
    s.run("destroy k1 by opa,oto => key.destroyed\napply k1 => custody.applied");
    all(&mut s, "refused key-not-active");
}

/// Facts, acknowledgements, reviews, warnings, roles, policies: whatever is written about a key leaves its state as it was.
#[test]
fn no_attribute_write_changes_state() {
    let policy = r#"{"keys":{"revalidation":{"roles":["owner"],"every":"40m"},"warn_before":"10m"},
        "fact":[{"name":"residency","roles":["privacy"],"valid_max":"1d"}]}"#;
    let mut s = under(&policy.replace('\n', " "));
    let steps = r#"do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou
        do fact.withdraw k1 {"fact":"residency","reason":$why} by lou
        do consumer.acknowledge k1 {"identity":$identity,"readiness":"adopted"} by app
        do key.revalidate {"keys":["$key:k1"]} by kim
        adopt {} by ann,bob
        roles sue owner by ann,bob
        request k1 by kim
        approve k1 by sam
        wait 51m
        cancel k1 by kim"#;
    for step in steps.lines().map(str::trim) {
        let outcome = s.perform(step);
        assert!(!outcome.starts_with("refused"), "{step}: {outcome}");
        assert_eq!(s.state("k1"), KeyState::PreActive, "{step}");
    }
}

#[test]
fn lapsed_requests_stay_queryable_and_their_lapse_is_an_event() {
    let mut s = check("{}", "request k1 by rae => activation.requested\napprove k1 by sam => activation.approved");
    let request = s.tenant.keys[&key_id("k1")].open_request.unwrap();
    s.run("wait 20m\ndue => activation.lapsed");
    let held = s.tenant.requests[&request].clone();
    assert_eq!((held.approvals.len(), held.lapsed.len(), held.closed), (0, 1, None));
    s.run("wait 10m\ndue => activation.lapsed");
    let held = &s.tenant.requests[&request];
    assert_eq!(held.closed.unwrap().how, lifecycle::state::Outcome::Lapsed);
    assert_eq!(held.closed.unwrap().hash, s.tenant.chain.head().hash);
    assert_eq!(held.lapsed.len(), 1);
    s.run("approve k1 by lou => refused request-closed\nrequest k1 by rae => activation.requested");
}

/// A command that was recorded is answered with what it led to, and makes no second event, whoever sends it again.
#[test]
fn the_same_command_id_gives_the_same_answer() {
    let mut s = under("{}");
    let (role, key, action) = s.action("request", &["k1"]);
    let signed = s.signed(action, key, "rae", command::LIFETIME_MAX);
    let input = Input::Command(signed);
    assert_eq!(s.submit(role, input.clone()), Ok(EventType::ActivationRequested));
    let recorded = s.tenant.chain.head().hash.to_string();
    for span in ["1s", "1h"] {
        let refused = s.submit(role, input.clone()).unwrap_err();
        assert_eq!(refused.problem, ProblemType::CommandIdReused);
        assert_eq!(refused.members["recorded_by"], recorded);
        s.run(&format!("wait {span}"));
    }
}

#[test]
fn and_or_and_sequences_of_stages() {
    let stages = r#""stage":[{"role":"security","quorum":1},{"role":"privacy","quorum":1}]"#;
    // AND
    check(
        &format!(r#"{{"rule":{{{stages}}}}}"#),
        "request k1 by kim => activation.requested
         approve k1 by lou => activation.approved
         due => nothing
         approve k1 by sam => activation.approved
         due => activation.authorized, key.activated",
    );
    // OR, of stages and of roles
    for who in ["sam", "lou"] {
        check(
            &format!(r#"{{"rule":{{"need":"any",{stages}}}}}"#),
            &format!(
                "request k1 by kim => activation.requested
                 approve k1 by opa => refused role-missing
                 approve k1 by {who} => activation.approved
                 due => activation.authorized, key.activated"
            ),
        );
        check(
            r#"{"rule":{"stage":[{"role":"security","or":["privacy"],"quorum":1}]}}"#,
            &format!(
                "request k1 by kim => activation.requested
                 approve k1 by {who} => activation.approved
                 due => activation.authorized, key.activated"
            ),
        );
    }
    check(
        r#"{"rule":{"need":"any","stage":[{"role":"security","quorum":2},{"role":"privacy","quorum":2}]}}"#,
        "request k1 by kim => activation.requested
         approve k1 by sam => activation.approved
         approve k1 by lou => activation.approved
         due => nothing
         approve k1 by dee => activation.approved
         due => activation.authorized, key.activated",
    );
    // One after the other
    check(
        &format!(r#"{{"rule":{{"in_order":true,{stages}}}}}"#),
        "request k1 by kim => activation.requested
         approve k1 by lou => refused not-your-turn
         approve k1 by sam => activation.approved
         approve k1 by sam => refused already-voted
         approve k1 by sue => refused not-your-turn
         approve k1 by lou => activation.approved
         due => activation.authorized, key.activated",
    );
}

/// A program asks for nothing, approves nothing, governs nothing, and no service's duty stands in for a vote.
#[test]
fn automation_cannot_skip_the_quorum() {
    check(
        r#"{"rule":{"standing":{"count_max":3,"window_max":"1d","users":["app"]}}}"#,
        r#"roles bot owner,security,privacy,operator by ann,bob => principal.changed
        request k1 by bot => refused not-a-person
        request k1 by rae => activation.requested
        approve k1 by bot => refused not-a-person
        approve k1 by sam => activation.approved
        duty authorize k1 => refused nothing-due
        duty activate k1 => refused not-authorized
        activate k1 by bot => refused not-authorized
        activate k1 by opa => refused not-authorized
        approve k1 by lou => activation.approved
        duty authorize k1 => activation.authorized
        activate k1 by bot => refused role-missing
        roles bot admin by ann,bob => refused not-a-person
        cancel k1 by rae => activation.cancelled
        do activation.request {"template":$template,"standing":{"count":2,"until":"$now+5h"},"reason":$why,"legal_basis":[],"affected_systems":[]} by bot => refused not-a-person
        do activation.request {"template":$template,"standing":{"count":2,"until":"$now+5h"},"reason":$why,"legal_basis":[],"affected_systems":[]} by kim => activation.requested
        do key.activate k1 {"against":"$at","standing":"$many"} by app => refused not-authorized
        do activation.approve {"request":"$many"} by app => refused not-a-person
        do activation.approve {"request":"$many"} by sam => activation.approved
        do key.activate k1 {"against":"$at","standing":"$many"} by app => refused not-authorized"#,
    );
}

#[test]
fn an_unknown_legal_fact_blocks() {
    let mut s = super::law::with_pack();
    s.run(APPROVED);
    s.run(
        r#"due => activation.authorized, refused gate-unknown
        activate k1 by opa => refused gate-unknown
        do fact.assert k1 {"fact":"residency","value":{"flag":true},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted
        due => refused gate-unknown
        do fact.assert k1 {"fact":"residency","value":{"text":"US"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted
        due => refused gate-not-satisfied
        do fact.assert k1 {"fact":"residency","value":{"text":"EU"},"valid_until":"$now+1h","evidence":"DOC-1"} by lou => fact.asserted
        due => key.activated"#,
    );
}

#[test]
fn revoking_a_person_between_approval_and_activation_voids_the_approval() {
    for gone in ["revoke sam by ann,bob => principal.revoked", "roles sam owner by ann,bob => principal.changed"] {
        let mut s = check("{}", &APPROVED.replace("request k1", "request k1 after 5m"));
        s.run("due => activation.authorized");
        s.run(gone);
        s.run(
            "wait 5m
             duty activate k1 => refused quorum-not-met
             activate k1 by opa => refused quorum-not-met
             approve k1 by sue => activation.approved
             due => key.activated",
        );
    }
}

#[test]
fn adopting_a_stricter_policy_between_approval_and_activation_is_honoured() {
    for (stricter, problem) in [
        (r#"{"rule":{"stage":[{"role":"security","quorum":2},{"role":"privacy","quorum":1}]}}"#, "quorum-not-met"),
        (r#"{"rule":{"stage":[{"role":"operator","quorum":1}]}}"#, "quorum-not-met"),
        (
            r#"{"rule":{"in_order":true,"stage":[{"role":"privacy","quorum":1},{"role":"security","quorum":1}]}}"#,
            "quorum-not-met",
        ),
        (r#"{"rule":{"stage":[{"role":"security","quorum":1,"party":"ap"}]}}"#, "policy"),
        (r#"{"rule":{"approval_valid_for":"1m"}}"#, "quorum-not-met"),
        (r#"{"rule":{"requesters":["operator"]}}"#, "role-missing"),
        (r#"{"rule":{"requires":{"deactivate_at":true}}}"#, "request-incomplete"),
        (r#"{"rule":{"requires":{"attestation":true}}}"#, "request-incomplete"),
        (r#"{"rule":{"requires":{"reasons":["incident"]}}}"#, "reason-not-accepted"),
        (r#"{"rule":{"when":{"responsibility":["model"]}}}"#, "no-rule"),
        (r#"{"packs":["gdpr"]}"#, "pack-undeclared"),
        (r#"{"algorithm":[{"name":"ed25519","crypto_period":"1d"}]}"#, "algorithm-not-allowed"),
        (
            r#"{"algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_until":"2026-01-01T12:00:00.000Z"}]}"#,
            "algorithm-ends",
        ),
        (
            r#"{"algorithm":[{"name":"aes-256-gcm","crypto_period":"1d","allowed_from":"2026-01-01T12:00:00.000Z"}]}"#,
            "algorithm-not-allowed",
        ),
    ] {
        let mut s = check("{}", &APPROVED.replace("request k1", "request k1 after 5m"));
        s.run("due => activation.authorized");
        let adopted = s.perform(&format!("adopt {stricter} by ann,bob"));
        if problem == "policy" {
            assert_eq!(adopted, "refused policy-refused", "nobody acts for that party");
            continue;
        }
        assert_eq!(adopted, "policy.adopted", "{stricter}");
        s.run(&format!("wait 5m\nduty activate k1 => refused {problem}\nactivate k1 by opa => refused {problem}"));
        assert_eq!(s.state("k1"), KeyState::PreActive);
    }
}

#[test]
fn a_clock_set_back_does_not_revive_a_lapse() {
    // An approval
    let mut s =
        check("{}", "request k1 after 25m by rae => activation.requested\napprove k1 by sam => activation.approved");
    s.run("wait 20m\ndue => activation.lapsed");
    s.set_back("2026-01-01T00:10:00.000Z".parse().unwrap());
    s.run("approve k1 by lou => activation.approved\ndue => nothing\napprove k1 by sam => activation.approved");
    // A request, and a key
    let mut s = check("{}", APPROVED);
    s.run("wait 30m");
    assert!(s.perform("due").contains("activation.lapsed"));
    s.set_back("2026-01-01T00:01:00.000Z".parse().unwrap());
    s.run("approve k1 by sue => refused request-closed\nduty authorize k1 => refused unknown-request");
    s.run("wait 60m\ndue => key.expired, key.destroyed");
    s.set_back("2026-01-01T00:01:00.000Z".parse().unwrap());
    s.run("request k1 by rae => refused key-not-pre-active\ndue => nothing");
    // The services themselves never date an event before the one before it.
    let mut s = check("{}", "wait 20m\nrequest k1 by rae => activation.requested");
    let before = s.tenant.chain.time();
    s.now = "2026-01-01T00:00:00.000Z".parse().unwrap();
    let view = s.tenant.view(Footprint::of_key(key_id("k1")));
    assert!(decide(&view, &Input::Due(lifecycle::Duty::Lapse(key_id("k1"))), s.now).is_err());
    s.run(r#"do activation.hold {"kind":"incident","reference":"INC-1"} by sam => refused role-missing"#);
    s.run("checkpoint => checkpoint.signed");
    assert_eq!(s.tenant.chain.time(), before);
}

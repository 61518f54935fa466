//! Upstream and downstream: the key that wraps another, here or in another tenant, and the consumers.

use journal::note::Checkpoint;
use journal::{Record, merkle};
use lifecycle::scenario::{Scenario, key_id};
use lifecycle::{Duty, Input};
use model::text::Base64;
use model::{Action, KeyState, ServiceRole, command};

use super::{check, under};

/// Under a policy with these words for parents: the active k1 wraps the active k2 and k3.
pub(crate) fn family(parents: &str) -> Scenario {
    let mut s = under(&format!(r#"{{"parents":{parents}}}"#));
    for child in ["k2", "k3"] {
        let parent = r#"{"asset":"weights","wrapped_by":{"key_id":"$key:k1"}}"#;
        s.run(&format!("generate {child} {parent} by kim => key.generated"));
    }
    for key in ["k1", "k2", "k3"] {
        activate(&mut s, key);
    }
    s
}

pub(crate) fn activate(s: &mut Scenario, key: &str) {
    s.run(&format!(
        "request {key} by kim => activation.requested
         approve {key} by sam => activation.approved
         approve {key} by lou => activation.approved
         due => activation.authorized, key.activated
         apply {key} => custody.applied"
    ));
}

pub(crate) const SUSPEND: &str = r#"{"when_suspended":"suspend","when_compromised":"suspend"}"#;

fn states(s: &Scenario) -> String {
    ["k1", "k2", "k3"].map(|key| s.state(key).name().to_owned()).join(" ")
}

#[test]
fn a_key_names_a_parent_that_is_known_and_wraps_and_is_active_by_then() {
    let mut s = check("{}", r#"generate k2 {"asset":"w","wrapped_by":{"key_id":"$key:k1"}} by kim => key.generated"#);
    s.run(r#"generate k3 {"asset":"w","wrapped_by":{"key_id":"$key:k9"}} by kim => refused parent-not-active"#);
    s.run(r#"generate k4 {"asset":"w","usage":["encrypt","decrypt"]} by kim => key.generated"#);
    s.run(r#"generate k5 {"asset":"w","wrapped_by":{"key_id":"$key:k4"}} by kim => refused parent-not-active"#);
    s.run("request k2 by kim => activation.requested\napprove k2 by sam => activation.approved");
    s.run("approve k2 by lou => activation.approved\ndue => activation.authorized, refused parent-not-active");
    s.run("request k1 by kim => activation.requested\napprove k1 by sam => activation.approved");
    s.run("approve k1 by lou => activation.approved");
    assert!(s.perform("due").contains("key.activated"));
    s.perform("due");
    assert_eq!((s.state("k1"), s.state("k2")), (KeyState::Active, KeyState::Active));
    assert_eq!(s.tenant.keys[&key_id("k1")].children, [key_id("k2")].into());
}

#[test]
fn children_are_named_and_left_or_suspended_as_the_policy_says() {
    for (parents, verb, then) in [
        ("{}", "suspend", "suspended active active"),
        ("{}", "compromise", "compromised active active"),
        (SUSPEND, "suspend", "suspended suspended suspended"),
        (SUSPEND, "compromise", "compromised suspended suspended"),
        (r#"{"when_compromised":"suspend"}"#, "suspend", "suspended active active"),
        (r#"{"when_suspended":"suspend"}"#, "compromise", "compromised active active"),
    ] {
        let mut s = family(parents);
        s.perform(&format!("{verb} k1 by opa"));
        let payload = String::from_utf8(s.records.last().unwrap().payload.to_vec()).unwrap();
        assert!(["k2", "k3"].iter().all(|child| payload.contains(&key_id(child).to_string())), "{payload}");
        // The custodian heeds it before anybody has recorded it.
        let usable = if then.ends_with("active") { "allowed" } else { "refused parent-not-active" };
        s.run(&format!("use k2 encrypt by app => {usable}"));
        s.perform("due");
        assert_eq!(states(&s), then, "{parents} {verb}");
        s.run("due => nothing");
    }
}

#[test]
fn a_key_is_not_suspended_or_resumed_without_cause() {
    let mut s = family(SUSPEND);
    s.run("due => nothing");
    let suspend =
        |s: &mut Scenario, key: &str| s.submit(ServiceRole::Activator, Input::Due(Duty::Suspend(key_id(key))));
    assert!(suspend(&mut s, "k1").is_err() && suspend(&mut s, "k2").is_err());
    s.run("suspend k1 by opa => key.suspended\nresume k2 by opa => refused forbidden-transition");
    assert!(suspend(&mut s, "k2").is_ok() && suspend(&mut s, "k2").is_err());
    s.run("resume k2 by opa => refused parent-not-active");
    // Its trouble over, it calls for nothing any more: k3 was not reached, and stays as it is.
    s.run("resume k1 by opa => key.resumed\ndue => nothing\nresume k2 by opa => key.resumed");
    assert_eq!(states(&s), "active active active");
}

/// However a child leaves, nothing is left to be done for it.
#[test]
fn children_that_are_gone_are_not_waited_for() {
    for leave in [
        "suspend k2 by opa => key.suspended",
        "deactivate k2 by opa => key.deactivated",
        "compromise k2 by opa => key.compromised",
        "destroy k2 by opa,oto => key.destroyed",
    ] {
        for before in [true, false] {
            let mut s = family(SUSPEND);
            let halt = "suspend k1 by opa => key.suspended";
            s.run(&if before { format!("{leave}\n{halt}") } else { format!("{halt}\n{leave}") });
            s.run("due => key.suspended\ndue => nothing");
            let parent = &s.tenant.keys[&key_id("k1")];
            assert!(parent.to_suspend.is_empty() && parent.children.is_empty(), "{leave}");
            assert_eq!(s.state("k3"), KeyState::Suspended);
        }
    }
}

/// A parent that is suspended and then found compromised: what was to be done is done, once.
#[test]
fn trouble_upon_trouble() {
    let mut s = family(SUSPEND);
    s.run("suspend k1 by opa => key.suspended\ncompromise k1 by opa => key.compromised");
    s.run(
        "due => key.suspended, key.suspended\ndue => nothing\ndestroy k1 by opa,oto => key.destroyed\ndue => nothing",
    );
}

/// The policy speaks of suspension and compromise. A parent whose use has ended leaves its children to their own ends, and
/// takes on no new ones.
#[test]
fn children_of_a_parent_that_has_ended_go_on_and_no_new_ones_begin() {
    for end in ["deactivate k1 by opa => key.deactivated", "destroy k1 by opa,oto => key.destroyed"] {
        let mut s = family(SUSPEND);
        s.run(r#"generate k4 {"asset":"w","wrapped_by":{"key_id":"$key:k1"}} by kim => key.generated"#);
        s.run(&format!("{end}\ndue => nothing\nuse k2 encrypt by app => allowed"));
        s.run("suspend k2 by opa => key.suspended\nresume k2 by opa => refused parent-not-active");
        s.run("request k4 by kim => activation.requested\napprove k4 by sam => activation.approved");
        s.run("approve k4 by lou => activation.approved\ndue => activation.authorized, refused parent-not-active");
    }
}

/// The ids of the children stand in the event that halts their parent: there are never more than fit, however they came.
#[test]
fn a_parent_has_no_more_active_children_than_fit_into_an_event() {
    let mut s = family("{}");
    s.run("suspend k2 by opa => key.suspended");
    let full: std::collections::BTreeSet<_> =
        (0..lifecycle::clearance::CHILDREN_MAX).map(|at| key_id(&format!("k{}", 1_000 + at))).collect();
    for tenant in [&mut s.tenant, &mut s.reader] {
        tenant.keys.get_mut(&key_id("k1")).unwrap().children.clone_from(&full);
    }
    s.run("resume k2 by opa => refused parent-not-active\nsuspend k1 by opa => key.suspended");
    assert!(s.records.last().unwrap().payload.len() <= model::event::PAYLOAD_BYTES_MAX);
}

#[test]
fn session_keys_are_the_inherited_scope_of_an_active_key() {
    let mut s = check(
        "{}",
        r#"generate k2 {"asset":"w","inherited_scope":"one data key a chat session"} by kim => key.generated"#,
    );
    activate(&mut s, "k2");
    s.run("use k2 encrypt by app => allowed");
}

// === Consumers ===

#[test]
fn consumers_that_a_request_names_acknowledge_the_key_first() {
    let ready = |identity: &str, by: &str| {
        format!(r#"do consumer.acknowledge k1 {{"identity":{identity},"readiness":"ready"}} by {by}"#)
    };
    let request = r#"do activation.request k1 {"identity":$identity,"consumers":["$who:app","$who:opa"],"reason":$why,"legal_basis":[],"affected_systems":[]}"#;
    let mut s = check("{}", &format!("{request} by kim => activation.requested"));
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run("due => activation.authorized, refused consumers-missing");
    s.run(&format!("{} => refused identity-mismatch", ready(r#"{"check_value":"CQkJ"}"#, "app")));
    s.run(&format!("{} => refused unknown-principal", ready("$identity", "zoe")));
    s.run(&format!("{} => consumer.acknowledged\ndue => refused consumers-missing", ready("$identity", "app")));
    s.run(&format!("{} => consumer.acknowledged", ready("$identity", "opa")));
    s.run("revoke app by ann,bob => principal.revoked\ndue => refused consumers-missing");
    let mut s = check(
        "{}",
        &format!("{request} by kim => activation.requested\n{} => consumer.acknowledged", ready("$identity", "app")),
    );
    s.run("approve k1 by sam => activation.approved\napprove k1 by lou => activation.approved");
    s.run(&format!(
        "{} => consumer.acknowledged\ndue => activation.authorized, key.activated",
        ready("$identity", "opa")
    ));
    s.run(r#"do consumer.acknowledge k1 {"identity":$identity,"readiness":"adopted"} by app => consumer.acknowledged"#);
}

// === Parents elsewhere ===

/// The proof that k1 of another chain was activated (another platform's, which here has the same tenant's name).
pub(crate) fn proof() -> (Scenario, command::ParentAttest) {
    let mut other = under("{}");
    activate(&mut other, "k1");
    let index = other.records.iter().position(is_activation).unwrap();
    let leaves: Vec<merkle::Hash> = other.records.iter().map(|record| *record.hash().as_bytes()).collect();
    let path = merkle::path_in(&merkle::levels(leaves), index).into_iter().map(model::Digest::new).collect();
    let checkpoint = Checkpoint::of(other.tenant.chain.tenant(), other.tenant.chain.tree());
    let record = other.records[index].clone();
    let attest = command::ParentAttest {
        event: Base64(record.payload.to_vec()),
        signature: record.signature,
        authority: other.authority(1, super::EPOCH.get()).envelope,
        checkpoint: checkpoint.sign(other.service(ServiceRole::EvidenceExporter).signing_key()),
        index: index as u64,
        path,
    };
    (other, attest)
}

fn is_activation(record: &Record) -> bool {
    String::from_utf8_lossy(&record.payload).contains("dev.keylatch.key.activated.v1")
}

pub(crate) fn attest(s: &mut Scenario, proof: &command::ParentAttest, who: &str) -> String {
    let action = Action::ParentAttest(proof.clone());
    let signed = s.signed(action, Some(key_id("k2")), who, command::LIFETIME_MAX);
    match s.submit(ServiceRole::Approver, Input::Command(signed)) {
        Ok(event) => event.name().to_owned(),
        Err(rejection) => format!("refused {}", rejection.problem),
    }
}

/// A tenant with k2, whose parent is elsewhere, and which trusts that root for ten minutes.
pub(crate) fn with_child(trust: &str) -> Scenario {
    let mut s = super::tenant();
    let trust = s.filled(trust, None);
    s.run(&format!(r#"adopt {{"parents":{trust}}} by ann,bob => policy.adopted"#));
    let tenant = s.tenant.chain.tenant();
    let parent = format!(r#"{{"asset":"w","wrapped_by":{{"tenant":"{tenant}","key_id":"$key:k1"}}}}"#);
    s.run(&format!("generate k2 {parent} by kim => key.generated\nrequest k2 after 5m by kim => activation.requested"));
    s.run("approve k2 by sam => activation.approved\napprove k2 by lou => activation.approved");
    s.run("due => activation.authorized\nwait 5m");
    s
}

pub(crate) const TRUST: &str = r#"{"trusted_roots":["$who:root"],"proof_max_age":"10m"}"#;

#[test]
fn a_parent_elsewhere_is_accepted_by_proof_under_a_pinned_root() {
    let (_, proof) = proof();
    let mut s = with_child(TRUST);
    s.run("due => refused parent-not-active");
    assert_eq!(attest(&mut s, &proof, "sam"), "refused role-missing");
    assert_eq!(attest(&mut s, &proof, "kim"), "parent.attested");
    s.run("due => key.activated");
    let activated = String::from_utf8(s.records.last().unwrap().payload.to_vec()).unwrap();
    let attested = s.tenant.keys[&key_id("k2")].parent_proof.unwrap();
    assert!(activated.contains(&attested.hash.to_string()), "each side records the other's event");
    assert_eq!(attested.activation.event, Record { signature: proof.signature, payload: proof.event.0.into() }.hash());
}

#[test]
fn a_proof_that_is_not_whole_is_none() {
    let (other, proof) = proof();
    let last = other.records.last().unwrap();
    let changes: [fn(&mut command::ParentAttest); 5] = [
        |proof| proof.index += 1,
        |proof| proof.path.truncate(1),
        |proof| proof.checkpoint = proof.checkpoint.replacen('1', "2", 1),
        |proof| proof.event.0.push(b' '),
        |proof| proof.authority.signatures.clear(),
    ];
    let mut s = with_child(TRUST);
    for (at, change) in changes.iter().enumerate() {
        let mut broken = proof.clone();
        change(&mut broken);
        assert_eq!(attest(&mut s, &broken, "kim"), "refused proof-invalid", "change {at}");
    }
    let not_it = command::ParentAttest {
        event: Base64(last.payload.to_vec()),
        signature: last.signature.clone(),
        index: other.records.len() as u64 - 1,
        ..proof.clone()
    };
    assert_eq!(attest(&mut s, &not_it, "kim"), "refused proof-invalid", "another event");
    let mut s = with_child(r#"{"trusted_roots":["$who:ann"],"proof_max_age":"10m"}"#);
    assert_eq!(attest(&mut s, &proof, "kim"), "refused proof-invalid", "a root that nobody trusts");
}

#[test]
fn a_proof_grows_old_and_trust_is_looked_at_again() {
    let (_, proof) = proof();
    let mut s = with_child(TRUST);
    assert_eq!(attest(&mut s, &proof, "kim"), "parent.attested");
    s.run("wait 10m\nduty activate k2 => refused parent-not-active");
    for change in ["{}", r#"{"parents":{"trusted_roots":["$who:ann"],"proof_max_age":"10m"}}"#] {
        let mut s = with_child(TRUST);
        assert_eq!(attest(&mut s, &proof, "kim"), "parent.attested");
        s.run(&format!("adopt {change} by ann,bob => policy.adopted\ndue => refused parent-not-active"));
    }
    let faults = |policy: &str| {
        lifecycle::policy::check(&lifecycle::scenario::patched_policy(&serde_json::from_str(policy).unwrap())).len()
    };
    assert_eq!(faults(r#"{"parents":{"proof_max_age":"10m"}}"#), 1);
}

//! Governance on everything real: lists of keys, facts and packs, parents and children, deadlines that fall due while
//! nobody runs, and authority that is renewed.

use futures_util::future::join_all;
use lifecycle::manifest::List;
use model::command::{self, Action};
use model::key::{Parent, Template};
use model::pack::{FactValue, Pack};
use model::*;
use serde_json::{Value, json};
use service::clock;

use crate::world::{Member, World, reason, spec};

/// The scenario's policy in version 2, changed by a merge patch.
async fn adopt(tenant: &mut Member, change: Value) {
    let (against, policy) = (tenant.governance().await, lifecycle::scenario::patched_policy(&change));
    // Two operators are needed for what takes two.
    let adopt = Action::PolicyAdopt(command::PolicyAdopt { against, policy });
    tenant.done(adopt, None, "ann,bob").await;
}

/// A policy that this world's few people can live by.
fn few(mut change: Value) -> Value {
    change["rule"]["when"] = json!({ "responsibility": ["application"] });
    change["operations"] = json!({ "destroy": { "roles": ["operator", "security"], "quorum": 1 } });
    change
}

async fn generate(tenant: &mut Member, change: impl FnOnce(&mut KeySpec)) -> KeyId {
    let mut spec = KeySpec { endpoint: Some("inference".parse().unwrap()), ..spec(Algorithm::Aes256Gcm) };
    change(&mut spec);
    let key = clock::key_id();
    tenant.done(Action::KeyGenerate(command::KeyGenerate { spec }), Some(key), "rae").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    key
}

/// So many keys, and the request for all of them, signed by everybody who must.
async fn ask_for_many(tenant: &mut Member, count: usize) -> (Vec<KeyId>, EventHash) {
    let spec = KeySpec { endpoint: Some("inference".parse().unwrap()), ..spec(Algorithm::Aes256Gcm) };
    let keys: Vec<KeyId> = (0..count).map(|_| clock::key_id()).collect();
    for some in keys.chunks(200) {
        let asked = some.iter().map(|key| {
            let action = Action::KeyGenerate(command::KeyGenerate { spec: spec.clone() });
            tenant.command(action, Some(*key), "rae")
        });
        assert!(join_all(asked).await.iter().all(|answer| answer["ok"] == true));
    }
    tenant.until(|state| state.keys.len() == count).await;
    let list = List::of(tenant.state.keys.values());
    let (manifest, parts) = (list.manifest(), list.parts());
    for (part, text) in parts.iter().enumerate() {
        let (part, parts) = (u16::try_from(part).unwrap(), u16::try_from(parts.len()).unwrap());
        let store = command::DocumentStore { document: manifest.document, part, parts, text: text.clone() };
        tenant.done(Action::DocumentStore(store), None, "rae").await;
    }
    let request = command::ActivationRequest::of_list(Template::of(&spec), manifest, reason());
    let request = tenant.done(Action::ActivationRequest(request), None, "rae").await;
    for who in ["sam", "lou"] {
        tenant.done(Action::ActivationApprove(command::ActivationApprove::new(request)), None, who).await;
    }
    (keys, request)
}

/// One signature a person, one `key.activated` a key; cut short in the middle, it goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_keys_is_activated_one_by_one_with_proof_also_over_a_restart() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    adopt(&mut tenant, few(json!({ "rule": { "manifest_max": 100 } }))).await;
    let (keys, request) = ask_for_many(&mut tenant, 60).await;
    tenant.until(|state| state.requests[&request].activated > 0).await;
    let world = world.restart().await;
    let mut tenant = Member::connect(world.platform.deployment(), tenant.tenant, &world.platform.url()).await;
    tenant.until(|state| state.requests.get(&request).is_some_and(|request| request.closed.is_some())).await;
    assert!(keys.iter().all(|key| tenant.key(*key).state == KeyState::Active));
    assert_eq!(tenant.state.requests[&request].approvals.len(), 2, "each person signed once");
}

/// `cargo test --release -p keylatch --test it ten_thousand -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn ten_thousand_keys_under_one_request() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    adopt(&mut tenant, few(json!({ "rule": { "manifest_max": 10_000, "approval_valid_for": "1d" } }))).await;
    let began = std::time::Instant::now();
    let (keys, request) = ask_for_many(&mut tenant, 10_000).await;
    let (asked, began) = (began.elapsed(), std::time::Instant::now());
    tenant.until(|state| state.requests[&request].closed.is_some()).await;
    let activated = began.elapsed();
    assert!(keys.iter().all(|key| tenant.key(*key).state == KeyState::Active));
    println!("10,000 keys generated, listed, asked for: {asked:.1?}; activated and verified: {activated:.1?}");
}

/// A small pack: a key is activated where its data is said to stay in the EU.
fn pack() -> Pack {
    serde_json::from_value(json!({
        "schema": 1, "name": "residency", "version": 1, "title": "Residency", "about": ["A test."],
        "effective_from": "2020-01-01T00:00:00.000Z", "reviewer": "legal", "review_due": "2099-01-01T00:00:00.000Z",
        "evidence": ["fact.residency"], "source": [{ "citation": "A test." }],
        "fact": [{ "name": "residency", "kind": "text", "scope": "key", "about": "Where the data is." }],
        "gate": [{ "name": "in-the-eu", "clause": "A test", "says": "The data stays in the EU.", "needs": ["residency"],
            "require": "context.facts[\"residency\"] == \"EU\"" }],
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_fact_holds_an_activation_up_until_it_is_asserted() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    let fact = json!([{ "name": "residency", "roles": ["privacy"], "valid_max": "30d" }]);
    adopt(&mut tenant, few(json!({ "packs": ["residency"], "fact": fact }))).await;
    let declare = Action::PackDeclare(command::PackDeclare {
        against: tenant.governance().await,
        pack: pack(),
        applicability: command::Applicability::Applied("personal data".parse().unwrap()),
        review_by: "2098-01-01T00:00:00.000Z".parse().unwrap(),
    });
    tenant.done(declare, None, "ann,bob").await;
    let key = generate(&mut tenant, |_| ()).await;
    let request = tenant.request(key).await;
    tenant.approve(key, request, "sam").await;
    tenant.approve(key, request, "lou").await;
    tenant.until(|state| state.requests[&request].authorized.is_some()).await;

    // Authorised, and the one thing in the way is named: on command as for the activator.
    let against = tenant.key(key).head;
    let answer = tenant.command(Action::KeyActivate(command::KeyActivate::new(against)), Some(key), "opa").await;
    assert_eq!(answer["type"], ProblemType::GateUnknown.urn(), "{answer:#}");
    assert_eq!(answer["facts"], json!(["residency"]));
    let assert = Action::FactAssert(command::FactAssert {
        fact: "residency".parse().unwrap(),
        value: FactValue::Text("EU".parse().unwrap()),
        valid_until: service::Clock::default().now() + Span::from_secs(3600),
        evidence: "the provider's attestation".parse().unwrap(),
        evidence_digest: None,
    });
    tenant.done(assert, Some(key), "lou").await;
    tenant.until(|state| state.keys[&key].state == KeyState::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_suspended_key_wraps_is_suspended_with_it() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    adopt(&mut tenant, few(json!({ "parents": { "when_suspended": "suspend" } }))).await;
    let parent = generate(&mut tenant, |_| ()).await;
    let wrapped_by = Some(Parent { tenant: None, key_id: parent });
    let child = generate(&mut tenant, |spec| spec.wrapped_by = wrapped_by).await;
    tenant.activate(parent).await;
    tenant.activate(child).await;
    assert!(tenant.wrap(child).await.is_ok());
    tenant.done(Action::KeySuspend(command::KeySuspend { reason: reason() }), Some(parent), "opa").await;
    tenant.until(|state| state.keys[&child].state == KeyState::Suspended).await;
    tenant.until(|state| state.keys[&child].is_applied()).await;
    assert!(tenant.key(parent).to_suspend.is_empty());
    assert!(tenant.wrap(child).await.is_err());
}

/// Nobody ran when the time came: the first thing that happens when they run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expired_while_nobody_ran_is_destroyed_with_proof() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    adopt(&mut tenant, few(json!({ "keys": { "pre_active_for": "2s" } }))).await;
    let key = clock::key_id();
    let spec = KeySpec { endpoint: Some("inference".parse().unwrap()), ..spec(Algorithm::Aes256Gcm) };
    tenant.done(Action::KeyGenerate(command::KeyGenerate { spec }), Some(key), "rae").await;
    let world = world.restart().await;
    let mut tenant = Member::connect(world.platform.deployment(), tenant.tenant, &world.platform.url()).await;
    tenant
        .until(|state| state.keys.get(&key).is_some_and(|key| key.state == KeyState::Destroyed && key.is_applied()))
        .await;
    assert_eq!(tenant.key(key).custody.unwrap().state, KeyState::Destroyed, "the custodian's proof");
    assert!(tenant.key(key).expired.is_some());
}

/// A service's key is replaced: the root's newer word is brought into every chain before the service speaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_key_is_brought_into_every_chain() {
    let world = World::start().await;
    let mut tenants = vec![world.tenant("one").await, world.tenant("two").await];
    let forget = |folder: &std::path::Path| std::fs::remove_file(folder.join("services/approver/key")).unwrap();
    let world = world.restart_after(forget).await;
    for tenant in &mut tenants {
        let mut tenant = Member::connect(world.platform.deployment(), tenant.tenant, &world.platform.url()).await;
        let key = tenant.generate(Algorithm::Aes256Gcm).await;
        tenant.activate(key).await;
        assert_eq!(tenant.state.governance.as_ref().unwrap().authority.ring.epoch(), 2);
    }
}

/// A policy brings an algorithm's end forward: keys that are active end with it, though their own period goes on.
#[tokio::test(flavor = "multi_thread")]
async fn keys_end_with_their_algorithm() {
    let world = World::start().await;
    let mut tenant = world.tenant("one").await;
    adopt(&mut tenant, few(json!({}))).await;
    let keys = [generate(&mut tenant, |_| ()).await, generate(&mut tenant, |_| ()).await];
    for key in keys {
        tenant.activate(key).await;
    }
    let until = service::Clock::default().now() + Span::from_secs(1);
    let algorithms = json!([
        { "name": "aes-256-gcm", "crypto_period": "1d", "allowed_until": until },
        { "name": "ed25519", "crypto_period": "1d" },
    ]);
    adopt(&mut tenant, few(json!({ "algorithm": algorithms }))).await;
    tenant.until(|state| keys.iter().all(|key| state.keys[key].state == KeyState::Deactivated)).await;
    tenant.until(|state| state.governance.as_ref().unwrap().deadlines.iter().all(|deadline| deadline.missed)).await;
}

/// The example in the documentation is a policy: it reads, has no fault, and says everything that the language has.
#[test]
fn the_policy_in_the_documentation_holds_together() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    let page = std::fs::read_to_string(path).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let policy: Policy = toml::from_str(example).unwrap();
    assert_eq!(lifecycle::policy::check(&policy), []);
    assert!(policy.is_beyond_v1());
    assert_eq!(toml::from_str::<Policy>(&toml::to_string(&policy).unwrap()).unwrap(), policy);
}

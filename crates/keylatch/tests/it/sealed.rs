//! Sealed keys on the real platform: by the program as people run it, and with approvers who bring something else.

use std::os::unix::fs::PermissionsExt as _;

use keystore::seal;
use keystore::sealed::brought_info;
use model::command::{self, Action, Sealed};
use model::*;
use rand_core::{OsRng, RngCore as _};
use serde_json::json;

use crate::keylatch;
use crate::program::People;
use crate::quorums::key_file;
use crate::world::{Member, World, principal, reason};

const WHY: &str = "--reason-kind test --reason because";
const SPEC: &str = "--workload general --responsibility application --jurisdiction EU --classification secret \
                    --environment production";

/// A policy under which two shares open a key, and one person of each of two roles approves.
fn sealed_policy() -> Policy {
    lifecycle::scenario::patched_policy(&json!({ "schema": 4, "rule": { "sealed": 2 } }))
}

/// Sue is there as well; sam, lou and sue have sealing keys; and keys are sealed.
async fn sealed_tenant(world: &World, people: &People<'_>) -> Member {
    let mut tenant = world.tenant("acme").await;
    for (who, roles) in [("sue", "security"), ("dee", "security")] {
        let against = tenant.governance().await;
        let action = command::PrincipalEnroll { against, principal: principal(who, roles) };
        tenant.done(Action::PrincipalEnroll(action), None, "ann,bob").await;
    }
    for who in ["rae", "sam", "lou", "sue", "dee", "app"] {
        key_file(people.home, who);
    }
    let platform = world.platform.deployment().dir().display().to_string();
    let made = keylatch(people.home, &["tenant", "user", "acme", "--dir", &platform, "--context", "acme"]);
    assert!(made.status.success(), "{made:?}");
    for who in ["sam", "lou", "sue"] {
        assert_eq!(people.done(who, "principal sealing-key --yes")["action"], "principal.equip");
    }
    let (against, policy) = (tenant.governance().await, sealed_policy());
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
    tenant
}

/// Two of three: one approval does not authorise, two do, and the key is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_who_hold_shares_open_a_key_by_the_program_alone() {
    let (world, home) = (World::start().await, tempfile::tempdir().unwrap());
    let people = People { home: home.path() };
    let mut tenant = sealed_tenant(&world, &people).await;
    let at = |name: &str| home.path().join(name).display().to_string();

    let again = people.done("sam", "principal sealing-key --yes");
    let file = again["file"].as_str().expect("there is one, and no other was made").to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = people.done("rae", "principal show sam");
    assert_eq!(shown["principal"]["sealing_key"], again["sealing_key"]);

    assert_eq!(people.done("rae", &format!("key generate weights {SPEC}"))["state"], "pre-active");
    let key = people.done("rae", "key show weights");
    let sealing = &key["key"]["sealing"];
    let holders: Vec<&str> =
        sealing["shares"].as_array().unwrap().iter().map(|share| share["to"]["label"].as_str().unwrap()).collect();
    assert_eq!((&sealing["threshold"], holders), (&json!(2), vec!["lou", "sam", "sue"]));
    people.refused("sam", "key prove weights", "key-not-active");

    people.done("rae", &format!("request weights {WHY} --system endpoint --legal-basis law"));
    std::fs::rename(&file, at("elsewhere")).unwrap();
    let lost = people.run("sam", "approve weights --yes");
    assert!(!lost.status.success() && format!("{lost:?}").contains("--sealing-key"), "{lost:?}");
    people.done("sam", &format!("approve weights --yes --sealing-key {}", at("elsewhere")));
    let missing = |people: &People<'_>| people.done("rae", "requests")["requests"][0]["missing"].clone();
    assert_eq!(missing(&people), json!(["1 of `privacy`", "1 of those who hold a share of the sealed key"]));
    std::fs::write(at("in"), "what is to be kept").unwrap();
    let encrypt = format!("use encrypt {} -o {} --key weights", at("in"), at("sealed"));
    people.refused("app", &encrypt, "key-not-active");
    people.done("lou", "approve weights --yes");
    let key_id = key["key"]["key_id"].as_str().unwrap().parse().unwrap();
    tenant.until(|state| state.keys[&key_id].state == KeyState::Active && state.keys[&key_id].is_applied()).await;
    people.done("app", &encrypt);
    people.done("app", &format!("use decrypt {} -o {}", at("sealed"), at("out")));
    assert_eq!(std::fs::read(at("out")).unwrap(), std::fs::read(at("in")).unwrap());
    assert_eq!(people.done("sam", "key prove weights")["ok"], true);

    // Who holds no share approves as ever, and is not enough.
    people.done("rae", &format!("key generate second {SPEC}"));
    people.done("rae", &format!("request second {WHY} --system endpoint --legal-basis law"));
    people.done("dee", "approve second --yes");
    people.done("lou", "approve second --yes");
    assert_eq!(missing(&people), json!(["1 of those who hold a share of the sealed key"]));
    let world = world.restart().await;
    people.done("sue", "approve second --yes");
    let mut tenant = Member::connect(world.platform.deployment(), tenant.tenant, &world.platform.url()).await;
    tenant
        .until(|state| {
            let second = state.keys.values().find(|key| key.spec.label.as_str() == "second");
            second.is_some_and(|key| key.state == KeyState::Active && key.is_applied())
        })
        .await;
    world.platform.stop().await.unwrap();
}

/// Bytes like a share, sealed to the key's store for this approval: whatever it is, the chain can't tell.
fn some_share(tenant: &Member, key: KeyId, request: EventHash, who: &str) -> Sealed {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    let by = principal(who, "x").fingerprint();
    let info = brought_info(tenant.tenant, key, request, by);
    seal::seal(&tenant.key(key).seal_key.0, &info, &[], &bytes, &mut OsRng).unwrap()
}

/// Somebody brings what is not their share. Where enough others do, the key opens; else it stays shut, which is recorded with
/// the name, and it can be destroyed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_none_opens_nothing_and_is_named() {
    let (world, home) = (World::start().await, tempfile::tempdir().unwrap());
    let people = People { home: home.path() };
    let mut tenant = sealed_tenant(&world, &people).await;
    for (label, enough) in [("enough", true), ("few", false)] {
        people.done("rae", &format!("key generate {label} {SPEC}"));
        people.done("rae", &format!("request {label} {WHY} --system endpoint --legal-basis law"));
        tenant
            .until(|state| {
                state.keys.values().any(|key| key.spec.label.as_str() == label && key.open_request.is_some())
            })
            .await;
        let found = tenant.state.keys.values().find(|key| key.spec.label.as_str() == label).unwrap();
        let (key, request) = (found.id, found.open_request.unwrap());
        let share = Some(some_share(&tenant, key, request, "sam"));
        let approve = command::ActivationApprove { share, ..command::ActivationApprove::new(request) };
        tenant.done(Action::ActivationApprove(approve), Some(key), "sam").await;
        if enough {
            people.done("sue", &format!("approve {label} --yes"));
        }
        people.done("lou", &format!("approve {label} --yes"));
        tenant.until(|state| state.keys[&key].state == KeyState::Active).await;
        if enough {
            tenant.until(|state| state.keys[&key].is_applied()).await;
            assert!(tenant.wrap(key).await.is_ok());
            continue;
        }
        tenant.until(|state| state.keys[&key].last_drift.is_some()).await;
        let found = tenant.key(key).last_drift.as_ref().unwrap().found.to_string();
        assert_eq!(found, "sealed: 1 of 2 shares are its own; not from `sam`");
        assert_eq!(tenant.wrap(key).await.unwrap_err(), ProblemType::CustodyPending.urn());
        let destroy = command::KeyDestroy { against: tenant.key(key).head, reason: reason() };
        tenant.done(Action::KeyDestroy(destroy), Some(key), "opa,sue").await;
        tenant.until(|state| state.keys[&key].is_applied()).await;
    }
    world.platform.stop().await.unwrap();
}

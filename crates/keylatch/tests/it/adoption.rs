//! An estate that was there before: a token full of keys is looked at, adopted by a quorum, and settled key by key; and
//! nothing on the token is touched.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lifecycle::baseline;
use model::command::{self, Action};
use model::event::{Deadline, DeadlineMissed};
use model::key::{Attributes, Common, KeyIdentity, Responsibility};
use model::{Algorithm, Event, EventType, KeyState, ProblemType, Span};
use serde_json::Value;
use service::clock;

use crate::bundles::Time;
use crate::governing::{cosigned, run, shows};
use crate::memory::Platform;
use crate::stores::{generate, module, name_the_store, recorded, secret, tokens};
use crate::world::{Member, World, reason, spec};

const LEGACY_PIN: &str = "pin of the legacy token";

/// Somebody else's tool, at somebody else's token.
fn pkcs11_tool(arguments: &[&str]) -> String {
    let mut tool = Command::new("pkcs11-tool");
    tool.arg("--module").arg(module()).args(["--token-label", "legacy", "--login", "--pin", LEGACY_PIN]);
    let ran = tool.args(arguments).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// What the token has, line by line; in which order it lists its objects is its own affair.
fn objects() -> Vec<String> {
    let mut lines: Vec<String> = pkcs11_tool(&["--list-objects"]).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn estate() {
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "legacy", "--pin", LEGACY_PIN, "--so-pin", "officer's"])
        .output();
    assert!(made.unwrap().status.success());
    pkcs11_tool(&["--keygen", "--key-type", "AES:32", "--label", "billing data", "--id", "01"]);
    pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "signer", "--id", "02"]);
    pkcs11_tool(&["--keypairgen", "--key-type", "rsa:2048", "--label", "old_rsa", "--id", "03"]);
}

/// `keylatch …`, on the host of the tokens.
fn keylatch(arguments: &[&str]) -> (bool, Value) {
    let home = tempfile::tempdir().unwrap();
    let came = crate::keylatch(home.path(), &[&["--json"], arguments].concat());
    let text = crate::stdout(&came);
    (came.status.success(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {came:?}")))
}

fn inventory(folder: &Path, file: Option<&Path>) -> Value {
    let (module, pin) = (module().display().to_string(), format!("file:{}", folder.join("legacy.pin").display()));
    let mut arguments =
        vec!["store", "inventory", "--module", &module, "--token", "legacy", "--pin", &pin, "--store", "legacy"];
    let file = file.map(|file| file.display().to_string());
    file.iter().for_each(|file| arguments.extend(["--baseline", file]));
    let (done, said) = keylatch(&arguments);
    assert!(done, "{said:#}");
    said
}

/// Successors are allowed; everything else is the scenario's.
async fn policy(tenant: &mut Member) {
    let against = tenant.governance().await;
    let mut policy = model::Policy { schema: 3, ..lifecycle::scenario::policy() };
    policy.keys.pre_active_for = "30d".parse().unwrap();
    policy.keys.allow.successor = true;
    policy.rules[0].when.responsibility = [Responsibility::Application].into();
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
}

async fn adopt(tenant: &mut Member, text: &str, store: &str) -> Action {
    let (list, _) = baseline::parse(text).unwrap();
    let (texts, manifest) = (list.parts(), list.manifest());
    let parts = u16::try_from(texts.len()).unwrap();
    for (part, text) in (0..).zip(texts) {
        let action = command::DocumentStore { document: manifest.document, part, parts, text };
        tenant.done(Action::DocumentStore(action), None, "ann").await;
    }
    let common = Common {
        workload: "model-storage".parse().unwrap(),
        responsibility: Responsibility::Application,
        jurisdiction: "EU".parse().unwrap(),
        classification: "secret".parse().unwrap(),
        environment: "test".parse().unwrap(),
        asset: Some("billing".parse().unwrap()),
    };
    let (against, now) = (tenant.governance().await, tenant.clock.now());
    let (store, rotate_by) = (store.parse().unwrap(), now + "2d".parse::<Span>().unwrap());
    let reason = reason();
    Action::BaselineAdopt(command::BaselineAdopt { against, store, taken_at: now, common, manifest, rotate_by, reason })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estate_on_a_token_is_taken_over_and_not_touched() {
    let test = "adoption::an_estate_on_a_token_is_taken_over_and_not_touched";
    let Some(folder) = tokens(test) else { return };
    estate();
    secret(&folder.join("legacy.pin"), LEGACY_PIN);
    let before = objects();

    // It is looked at from outside, by whoever has the PIN.
    let file = folder.join("legacy.baseline");
    let said = inventory(&folder, Some(&file));
    let keys = said["stores"][0]["places"][0]["keys"].as_array().unwrap();
    let mut seen: Vec<(&str, &str)> =
        keys.iter().map(|key| (key["label"].as_str().unwrap(), key["algorithm"].as_str().unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("billing data", "aes-256-gcm"), ("old_rsa", "rsa-2048"), ("signer", "ecdsa-p256")], "{said:#}");
    assert!(keys.iter().all(|key| key["ours"] == false));
    assert_eq!(said["baseline"]["keys"], 3);
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, lines) = baseline::parse(&text).unwrap();
    let line = |label: &str| lines.iter().find(|line| line.label.as_str() == label).unwrap();
    assert!(matches!(line("signer").identity, KeyIdentity::PublicKeyDigest(_)));
    assert!(matches!(line("old_rsa").identity, KeyIdentity::PublicKeyDigest(_)));

    let time = Time::now();
    let world = World::start_as(|options| {
        name_the_store(&options.dir);
        keylatch::platform::Options { clock: time.0.clone(), ..options }
    })
    .await;
    let mut tenant = world.tenant("acme").await;
    time.rule(&mut tenant);
    policy(&mut tenant).await;

    // Adopted by a quorum, key by key by itself.
    let action = adopt(&mut tenant, &text, "hsm").await;
    tenant.refused(action.clone(), None, "ann", ProblemType::QuorumNotMet).await;
    tenant.done(action, None, "ann,bob").await;
    tenant.until(|state| state.keys.len() == 3).await;
    let adopted: Vec<_> = tenant.state.keys.values().cloned().collect();
    assert!(
        adopted.iter().all(|key| key.state == KeyState::Active && key.is_unevidenced() && key.store.as_str() == "hsm")
    );
    let signer = line("signer").key_id;
    assert_eq!(tenant.wrap(line("billing data").key_id).await, Err(ProblemType::NotInCustody.urn()));

    // What is made afterwards is seen, and can't be adopted.
    pkcs11_tool(&["--keygen", "--key-type", "AES:32", "--label", "late", "--id", "04"]);
    let later = folder.join("later.baseline");
    assert_eq!(inventory(&folder, Some(&later))["baseline"]["keys"], 4);
    let action = adopt(&mut tenant, &std::fs::read_to_string(&later).unwrap(), "hsm").await;
    tenant.refused(action, None, "ann,bob", ProblemType::BaselineExists).await;
    pkcs11_tool(&["--delete-object", "--type", "secrkey", "--id", "04"]);

    // One is authorised anew by the people whom the rule names.
    let request = tenant.request(signer).await;
    tenant.approve(signer, request, "sam").await;
    tenant.approve(signer, request, "lou").await;
    tenant.until(|state| !state.keys[&signer].is_unevidenced()).await;

    // One is replaced by a key that the custodian holds.
    let (successor, old) = (clock::key_id(), line("old_rsa").key_id);
    let attributes = Some(Attributes { replaces: Some(old), ..Attributes::default() });
    let asset = Some("billing".parse().unwrap());
    let spec = model::KeySpec { attributes, asset, ..spec(Algorithm::Aes256Gcm) };
    tenant.done(Action::KeyGenerate(command::KeyGenerate { spec }), Some(successor), "rae").await;
    tenant.until(|state| state.keys[&successor].is_applied()).await;
    tenant.activate(successor).await;
    assert!(tenant.key(old).rotation().is_none() && tenant.key(old).is_unevidenced());

    // The store says of it what the chain says, to whoever asks its custodian.
    let place = keylatch::platform::custody_place(world.path(), &[]).unwrap();
    let (store, tenant_id) = ("software".parse().unwrap(), tenant.tenant);
    let asked = custodian::custody::Request::Attest { store, tenant: tenant_id, key_id: successor };
    let said = custodian::custody::ask(&place, asked).await.unwrap().said;
    let has = |name: &str, text: &str| said.iter().any(|(known, said)| known == name && said == text);
    assert!(has("state", "active") && has("identity", &tenant.key(successor).identity.to_string()), "{said:?}");

    // The stores that are configured answer; what should be otherwise is said.
    let dir = world.path().display().to_string();
    let (well, said) = keylatch(&["store", "check", "--dir", &dir, "--store", "hsm"]);
    assert!(!well, "the officer's PIN still lies there: {said:#}");
    assert_eq!(
        (&said["stores"][0]["mode"], said["stores"][0]["places"].as_array().unwrap().len()),
        (&"mediated".into(), 2)
    );
    std::fs::remove_file(world.path().join("officer.pin")).unwrap();
    let (well, said) = keylatch(&["store", "check", "--dir", &dir]);
    assert!(well, "{said:#}");
    let (_, said) = keylatch(&["store", "inventory", "--dir", &dir, "--store", "hsm"]);
    let of_ours = said["stores"][0]["places"][0]["keys"].as_array().unwrap();
    assert!(!of_ours.is_empty() && of_ours.iter().all(|key| key["ours"] == true), "its transport keys: {said:#}");

    // The third is late: an exception, once.
    time.pass("49h");
    let late = line("billing data").key_id;
    tenant.until(|state| state.keys[&late].adopted.as_ref().unwrap().missed).await;
    let missed = recorded(&tenant, EventType::DeadlineMissed).await;
    let [Event::DeadlineMissed(DeadlineMissed { key_id, deadline: Deadline::Rotation, .. })] = missed.as_slice() else {
        panic!("{missed:?}")
    };
    assert_eq!(*key_id, Some(late));

    // What bears the name of a store of ours and was there before keeps that store from nothing.
    let (world, id) = (world.restart().await, tenant.tenant);
    let mut tenant = Member::connect(world.platform.deployment(), id, &world.platform.url()).await;
    tenant.clock = time.0.clone();
    tenant.until(|state| state.keys.len() == 4).await;
    let key = clock::key_id();
    tenant.done(generate("hsm", Algorithm::Aes256Gcm), Some(key), "rae").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    assert_eq!(objects(), before, "nothing on the token was touched");
}

/// The words for it, on the platform in memory.
#[tokio::test]
async fn a_baseline_is_adopted_by_the_words_of_the_command_line() {
    let platform: Arc<Platform> = Platform::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("legacy.baseline");
    let text: String = lifecycle::scenario::inventory("k7,k8").text();
    std::fs::write(&file, &text).unwrap();
    let bob = cosigned(folder.path(), "bob");
    let adopt = format!(
        "store adopt {} --store legacy --rotate-by +90d --workload model-storage --responsibility application \
         --jurisdiction EU --classification secret --environment production --asset 'the billing database' \
         --reason-kind migration --reason 'taking over the estate' {bob}",
        file.display()
    );
    let came = run(&platform, "ann", &adopt).await;
    shows(&came.err, &["baseline.adopt", "2, as active", "not evidenced", "in the log, whole"]);
    came.said();
    shows(&run(&platform, "ann", &adopt).await.said(), &["adopted already"]);
    let listed = run(&platform, "kim", "key list").await.said();
    shows(&listed, &["k7", "adopted, activation not evidenced, due"]);
    let shown = run(&platform, "kim", "key show k7").await.said();
    shows(&shown, &["active", "adopted", "activation not evidenced, due", "no custodian reaches it"]);
    shows(&run(&platform, "kim", "inbox").await.said(), &["2 keys of legacy: adopted, activation not evidenced"]);
    std::fs::write(&file, text.replace("kcv:", "kcx:")).unwrap();
    shows(&run(&platform, "ann", &adopt).await.refusal(), &["line 1", "store inventory --baseline"]);
}

//! Stores beside the software one, on the running platform: keys on tokens are latched as all others are, every store is
//! compared with the chain, and what was done behind our back is found.

use std::path::{Path, PathBuf};
use std::process::Command;

use journal::Body;
use model::command::{self, Action};
use model::event::{CustodyDrifted, CustodyReconciled, KeySuspended};
use model::evidence::Drift;
use model::policy::{Drifted, StoreRules};
use model::{Algorithm, Event, EventType, KeyId, KeyState, ProblemType};
use service::clock;

use crate::bundles::Time;
use crate::world::{Member, World, reason, spec};

/// A policy under which stores are compared every hour, and a key that differs is suspended.
async fn compared(tenant: &mut Member) {
    let against = tenant.governance().await;
    let stores = Box::new(StoreRules { reconcile_every: Some("1h".parse().unwrap()), when_drifted: Drifted::Suspend });
    let mut policy = model::Policy { schema: 3, stores, ..lifecycle::scenario::policy() };
    policy.keys.pre_active_for = "30d".parse().unwrap();
    policy.rules[0].when.responsibility = [model::key::Responsibility::Application].into();
    tenant.done(Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob").await;
}

/// The data of every event of a type.
async fn recorded(tenant: &Member, event_type: EventType) -> Vec<Event> {
    let bodies = tenant.whole_history().await.into_iter().map(|event| Body::parse(&event.payload.0).unwrap());
    let of_type = bodies.filter(|body| body.event_type == event_type.full_name());
    of_type.map(|body| Event::parse(event_type, &body.data).unwrap()).collect()
}

async fn comparisons(tenant: &Member) -> Vec<CustodyReconciled> {
    let all = recorded(tenant, EventType::CustodyReconciled).await.into_iter();
    all.map(|event| if let Event::CustodyReconciled(data) = event { data } else { panic!() }).collect()
}

async fn drifts(tenant: &Member) -> Vec<CustodyDrifted> {
    let all = recorded(tenant, EventType::CustodyDrifted).await.into_iter();
    all.map(|event| if let Event::CustodyDrifted(data) = event { data } else { panic!() }).collect()
}

/// Lets an hour pass, until each of so many stores was compared.
async fn an_hour_passes(tenant: &mut Member, time: &Time, stores: usize) {
    let now = time.pass("61m");
    let done = |state: &lifecycle::Tenant| {
        let last = &state.governance.as_ref().unwrap().schedule.stores;
        last.len() == stores && last.values().all(|at| *at >= now)
    };
    tenant.until(done).await;
}

/// Has a key generated in a store.
fn generate(store: &str, algorithm: Algorithm) -> Action {
    let (backend, asset) = (store.parse().unwrap(), Some("weights".parse().unwrap()));
    Action::KeyGenerate(command::KeyGenerate { spec: model::KeySpec { backend, asset, ..spec(algorithm) } })
}

async fn generate_in(tenant: &mut Member, store: &str) -> KeyId {
    let key = clock::key_id();
    tenant.done(generate(store, Algorithm::Aes256Gcm), Some(key), "rae").await;
    tenant.until(|state| state.keys[&key].is_applied()).await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn the_software_store_is_compared_with_the_chain() {
    let time = Time::now();
    let world = World::start_as(|options| keylatch::platform::Options { clock: time.0.clone(), ..options }).await;
    let mut tenant = world.tenant("acme").await;
    time.rule(&mut tenant);
    compared(&mut tenant).await;
    let active = generate_in(&mut tenant, "software").await;
    generate_in(&mut tenant, "software").await;
    let gone = generate_in(&mut tenant, "software").await;
    tenant.activate(active).await;
    let against = tenant.key(gone).head;
    tenant.done(Action::KeyDestroy(command::KeyDestroy { against, reason: reason() }), Some(gone), "opa,sam").await;
    tenant.until(|state| state.keys[&gone].is_applied()).await;
    an_hour_passes(&mut tenant, &time, 1).await;
    let compared = comparisons(&tenant).await;
    let [report] = compared.as_slice() else { panic!("{compared:?}") };
    let counts = (report.seen, report.matched, report.drifted, report.unknown, report.missing);
    assert_eq!((report.store.as_str(), counts), ("software", (2, 2, 0, 0, 0)), "destroyed ones are nowhere");
    assert!(drifts(&tenant).await.is_empty());
    let mut states: Vec<(KeyId, KeyState)> = tenant.state.keys.values().map(|key| (key.id, key.state)).collect();
    states.sort_unstable_by_key(|(key, _)| *key);
    let listed = states.iter().filter(|(_, state)| *state != KeyState::Destroyed);
    let lines: String = listed.map(|(key, state)| format!("{key} {state}\n")).collect();
    assert_eq!(report.listing, model::Digest::of(lines.as_bytes()), "anybody who has the listing can check it");
}

// === On tokens ===

/// Where this test's process finds its tokens.
const FOLDER: &str = "KEYLATCH_TEST_TOKENS";
const PIN: &str = "pin of the active token";

/// SoftHSM reads where its tokens are once a process, from the environment: so a test that has some runs in a process of its
/// own. `None` in the one that started it.
fn tokens(test: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tokens")).unwrap();
    let (tokens, configuration) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
    std::fs::write(&configuration, format!("directories.tokendir = {}\n", tokens.display())).unwrap();
    for (label, pin) in [("waiting", "pin of the waiting token"), ("working", PIN)] {
        let mut made = Command::new("softhsm2-util");
        made.args(["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "officer's"]);
        let made = made.env("SOFTHSM2_CONF", &configuration).output();
        let made =
            made.unwrap_or_else(|error| panic!("can't run softhsm2-util ({error}); on Debian, install softhsm2"));
        assert!(made.status.success(), "{made:?}");
    }
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args([test, "--exact", "--nocapture"]).env(FOLDER, folder.path()).env("SOFTHSM2_CONF", &configuration);
    let ran = run.output().unwrap();
    let said = || String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said().contains("1 passed"), "{}", said());
    None
}

/// The module, as `cargo xtask test` names it, or where Debian has it.
pub(crate) fn module() -> PathBuf {
    let named = std::env::var_os("KEYLATCH_SOFTHSM2").map(PathBuf::from);
    let module = named.unwrap_or_else(|| "/usr/lib/softhsm/libsofthsm2.so".into());
    assert!(
        module.exists(),
        "there is no SoftHSM: on Debian, install softhsm2, or name its module in KEYLATCH_SOFTHSM2"
    );
    module
}

pub(crate) fn secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// `stores.toml` and the PINs that it names.
fn name_the_store(dir: &Path) {
    service::secret::ensure_folder(dir).unwrap();
    secret(&dir.join("waiting.pin"), "pin of the waiting token\n");
    secret(&dir.join("working.pin"), PIN);
    secret(&dir.join("officer.pin"), "officer's\n");
    let module = module().display().to_string();
    let text = format!(
        "[[store]]\nname = \"hsm\"\nkind = \"pkcs11\"\nmodule = \"{module}\"\n\
         pre_active = {{ label = \"waiting\", pin_file = \"waiting.pin\", officer_pin_file = \"officer.pin\" }}\n\
         active = {{ label = \"working\", pin_file = \"working.pin\" }}\n"
    );
    std::fs::write(dir.join("stores.toml"), text).unwrap();
}

/// `pkcs11-tool` at the active token, as somebody who has its PIN.
fn pkcs11_tool(arguments: &[&str]) -> String {
    let mut tool = Command::new("pkcs11-tool");
    tool.arg("--module").arg(module()).args(["--token-label", "working", "--login", "--pin", PIN]).args(arguments);
    let ran =
        tool.output().unwrap_or_else(|error| panic!("can't run pkcs11-tool ({error}); on Debian, install opensc"));
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_tokens_are_latched_and_what_is_done_behind_our_back_is_found() {
    let test = "stores::keys_on_tokens_are_latched_and_what_is_done_behind_our_back_is_found";
    if tokens(test).is_none() {
        return;
    }
    let time = Time::now();
    let world = World::start_as(|options| {
        name_the_store(&options.dir);
        keylatch::platform::Options { clock: time.0.clone(), ..options }
    })
    .await;
    let mut tenant = world.tenant("acme").await;
    time.rule(&mut tenant);
    compared(&mut tenant).await;

    // A tenant's keys spread over several stores; each is used in its own.
    let (on_token, in_files) = (generate_in(&mut tenant, "hsm").await, generate_in(&mut tenant, "software").await);
    for (store, algorithm) in [("vault", Algorithm::Aes256Gcm), ("hsm", Algorithm::Ed25519)] {
        let nowhere = generate(store, algorithm);
        tenant.refused(nowhere, Some(clock::key_id()), "rae", ProblemType::NotSupported).await;
    }
    assert_eq!(tenant.wrap(on_token).await, Err(ProblemType::KeyNotActive.urn()));
    for key in [on_token, in_files] {
        tenant.activate(key).await;
        assert!(tenant.wrap(key).await.is_ok());
    }
    an_hour_passes(&mut tenant, &time, 2).await;
    let compared = comparisons(&tenant).await;
    let stores: Vec<(&str, u64)> = compared.iter().map(|report| (report.store.as_str(), report.matched)).collect();
    assert!(stores.contains(&("hsm", 1)) && stores.contains(&("software", 1)), "{compared:?}");

    // Somebody with the PIN of the active token destroys its keys there.
    let listed = pkcs11_tool(&["--list-objects", "--type", "secrkey"]);
    let ids = listed.lines().filter_map(|line| line.trim().strip_prefix("ID:")).map(str::trim);
    let label = listed.lines().find(|line| line.contains(&on_token.to_string()));
    assert!(label.is_some(), "the key is on the token under its id: {listed}");
    let key_line = listed.split("Secret Key Object").find(|object| object.contains(&on_token.to_string())).unwrap();
    let id = ids.clone().find(|id| key_line.contains(id)).unwrap();
    pkcs11_tool(&["--delete-object", "--type", "secrkey", "--id", id]);
    time.pass("61m");
    tenant.until(|state| state.keys[&on_token].state == KeyState::Suspended).await;
    let found = drifts(&tenant).await;
    let [drift] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((drift.key_id, drift.drift, drift.set_back), (on_token, Drift::Missing, false), "{drift:?}");
    let suspended = recorded(&tenant, EventType::KeySuspended).await;
    let [Event::KeySuspended(KeySuspended { key_id, command: None, cause: Some(_), .. })] = suspended.as_slice() else {
        panic!("{suspended:?}")
    };
    assert_eq!(*key_id, on_token);
    assert_eq!(tenant.key(in_files).state, KeyState::Active, "another store's key is left alone");
}

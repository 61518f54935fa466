//! The key store in the hands of whoever runs the platform: its master key, backups, rotation, on a platform that runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keylatch::platform::Deployment;
use model::command::{self, Action};
use model::text::Base64;
use model::{Algorithm, KeyId};
use serde_json::Value;
use service::Clock;
use tokio::process::Command;

use crate::up::Up;
use crate::world::{Member, cache, founded, reason};
use crate::{json, keylatch, stderr};

/// 32 random bytes, as an administrator makes them.
const KEY: &str = "mO7m7P0h8X5eN6sWm3b0M9vM1xkQzvO8eXo2g0oY1kE=";

/// `keylatch custody … --dir`, off the threads that others need.
async fn custody(dir: &Path, arguments: &[&str]) -> std::process::Output {
    let mut all = vec!["--json", "custody"];
    all.extend(arguments);
    all.extend(["--dir", dir.to_str().unwrap()]);
    let (dir, all): (_, Vec<String>) = (dir.to_owned(), all.into_iter().map(str::to_owned).collect());
    let run = move || keylatch(&dir, &all.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What it says when it has done it.
async fn done(dir: &Path, arguments: &[&str]) -> Value {
    let output = custody(dir, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    json(&output)
}

async fn unwraps(member: &Member, key: KeyId, wrapped: &Value) {
    let bytes: Base64 = wrapped["wrapped"].as_str().unwrap().parse().unwrap();
    let unwrap = |reply_to| Action::UseUnwrap(command::UseUnwrap { reply_to, wrapped: bytes.clone() });
    assert_eq!(member.use_key(key, "app", unwrap).await.unwrap()["data_key"], wrapped["data_key"]);
}

async fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().await.unwrap().success());
}

/// What `keylatch up` says where it does not start.
async fn refused_up(dir: &Path, arguments: &[&str]) -> String {
    let mut up = Command::new(env!("CARGO_BIN_EXE_keylatch"));
    let output = up.args(["up", "--dir"]).arg(dir).args(arguments).env("KEYLATCH_CACHE", cache().unwrap());
    let output = output.output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    stderr(&output)
}

/// Checked, backed up and rotated while uses run; restored into a new folder, which then works.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_backed_up_rotated_and_restored_while_uses_run() {
    let dir = tempfile::tempdir().unwrap();
    // Deep enough that the socket's path is longer than the kernel takes.
    let path = dir.path().join("a-folder-whose-name-is-long".repeat(4)).join("platform");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let up = Up::start(&path).await;
    let master = path.join("services/custodian/master-key");
    assert!(master.is_file(), "the platform's own, beside its other secrets");
    let deployment = Deployment::open(&path, &Clock::default()).unwrap();
    let mut tenant = founded(&deployment, &up.url, "one").await;
    let used = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(used).await;
    let waiting = tenant.generate(Algorithm::Ed25519).await;
    let doomed = tenant.generate(Algorithm::Aes256Gcm).await;
    let wrapped = tenant.wrap(used).await.unwrap();

    let checked = done(&path, &["check"]).await;
    assert_eq!((&checked["pre_active"], &checked["active"]), (&2.into(), &1.into()), "{checked:#}");
    let stop = Arc::new(AtomicBool::new(false));
    let uses = tokio::spawn({
        let (mut member, stop) = (Member::connect(&deployment, tenant.tenant, &up.url).await, stop.clone());
        member.until(|state| state.keys.len() == 3).await;
        let wrapped = wrapped.clone();
        async move {
            let mut uses = 0;
            while !stop.load(Ordering::Relaxed) || uses == 0 {
                unwraps(&member, used, &wrapped).await;
                uses += 1;
            }
            uses
        }
    });
    let backup = dir.path().join("backup");
    let backed_up = done(&path, &["backup", backup.to_str().unwrap()]).await;
    assert_eq!((&backed_up["pre_active"], &backed_up["active"]), (&2.into(), &1.into()), "{backed_up:#}");
    let again = custody(&path, &["backup", backup.to_str().unwrap()]).await;
    assert_eq!(again.status.code(), Some(1), "a backup is not written over: {again:?}");
    let rewrapped = done(&path, &["rewrap"]).await;
    assert_eq!((&rewrapped["rewrapped"], &rewrapped["rewrapping"]), (&3.into(), &false.into()), "{rewrapped:#}");
    let rekeyed = done(&path, &["rekey"]).await;
    assert_eq!(rekeyed["master_key_before"], checked["master_key"], "{rekeyed:#}");
    assert_ne!(rekeyed["master_key"], checked["master_key"], "{rekeyed:#}");
    stop.store(true, Ordering::Relaxed);
    assert!(uses.await.unwrap() > 0);
    tenant.activate(waiting).await;
    let against = tenant.key(doomed).head;
    let destroy = command::KeyDestroy { against, reason: reason() };
    tenant.done(Action::KeyDestroy(destroy), Some(doomed), "opa,sam").await;
    tenant.until(|state| state.keys[&doomed].is_applied()).await;
    assert_eq!(up.stop().await, Some(0));

    // Where no custodian runs, it is done here.
    assert_eq!(done(&path, &["check"]).await["active"], 2);
    let up = Up::start(&path).await;
    unwraps(&Member::connect(&deployment, tenant.tenant, &up.url).await, used, &wrapped).await;
    assert_eq!(up.stop().await, Some(0));

    // A new folder, which has everything but the key store: the backup is under the retired master key.
    let new = dir.path().join("restored");
    copy(&path, &new).await;
    std::fs::remove_dir_all(new.join("keys")).unwrap();
    assert!(refused_up(&new, &[]).await.contains("put it back from a backup"));
    let file = backup.to_str().unwrap();
    let refused = custody(&new, &["restore", file]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!new.join("keys/store").exists());
    let retired = std::fs::read_dir(new.join("services/custodian")).unwrap().map(|entry| entry.unwrap().path());
    let retired = retired.filter(|path| path.to_string_lossy().contains("retired")).collect::<Vec<_>>();
    let [retired] = &retired[..] else { panic!("{retired:?}") };
    let retired = format!("file:{}", retired.display());
    let restored = done(&new, &["restore", file, "--backup-key", &retired]).await;
    assert_eq!((&restored["pre_active"], &restored["active"]), (&2.into(), &1.into()), "{restored:#}");
    let up = Up::start(&new).await;
    let deployment = Deployment::open(&new, &Clock::default()).unwrap();
    let mut again = Member::connect(&deployment, tenant.tenant, &up.url).await;
    unwraps(&again, used, &wrapped).await;
    // What was activated after the backup was brought to the state of the chain.
    again.until(|state| state.keys.contains_key(&waiting)).await;
    let sign = |reply_to| Action::UseSign(command::UseSign { reply_to, digest: Base64(vec![7; 64]) });
    assert!(again.use_key(waiting, "app", sign).await.is_ok());
    let checked = done(&new, &["check"]).await;
    assert_eq!((&checked["pre_active"], &checked["destroyed"]), (&0.into(), &1.into()), "{checked:#}");
    let born = again.generate(Algorithm::Aes256Gcm).await;
    again.activate(born).await;
    assert!(again.wrap(born).await.is_ok());
    assert_eq!(up.stop().await, Some(0));
}

/// A master key that the operator keeps: from the environment, which nobody else gets to see; then from a file.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_comes_from_where_the_operator_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let environment = [("KEYLATCH_MASTER", KEY)];
    let from_environment = ["--master-key", "env:KEYLATCH_MASTER"];
    let up = Up::start_with(&path, &from_environment, &environment).await;
    assert!(!path.join("services/custodian/master-key").exists());
    let children = format!("/proc/{0}/task/{0}/children", up.pid());
    for process in std::fs::read_to_string(children).unwrap().split_whitespace() {
        let environ = std::fs::read(format!("/proc/{process}/environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environ).contains(KEY), "the server's supervisor has the master key");
    }
    let log = std::fs::read_to_string(path.join("nats/nats.log")).unwrap();
    assert!(!log.contains(KEY));

    let file = dir.path().join("master");
    std::fs::write(&file, KEY.replace("mO7", "mO8")).unwrap();
    let to = format!("file:{}", file.display());
    let refused = custody(&path, &["rekey", "--to", &to]).await;
    assert!(stderr(&refused).is_empty() && json(&refused).to_string().contains("chmod 600"), "{refused:?}");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let rekeyed = done(&path, &["rekey", "--to", &to]).await;
    assert_ne!(rekeyed["master_key"], rekeyed["master_key_before"]);
    let again = done(&path, &["rekey", "--to", &to]).await;
    assert_eq!(again["master_key"], again["master_key_before"], "it is under it already");
    assert_eq!(up.stop().await, Some(0));

    let said = refused_up(&path, &[]).await;
    assert!(said.contains("keyring is under the master key master-"), "{said}");
    assert!(!path.join("services/custodian/master-key").exists(), "none is made for a store that has one");
    // Both may be named: the store knows which it is under.
    let both = ["--master-key", "env:KEYLATCH_MASTER", "--master-key", &to];
    assert_eq!(Up::start_with(&path, &both, &environment).await.stop().await, Some(0));
}

/// A process that comes to hold keys leaves no core.
#[tokio::test(flavor = "multi_thread")]
async fn up_leaves_no_core_dump() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(&dir.path().join("platform")).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", up.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert_eq!(up.stop().await, Some(0));
}

/// A token of SoftHSM's with AES keys of these labels, and its configuration.
async fn token_with_keys(folder: &Path, labels: &[&str]) -> std::path::PathBuf {
    let configuration = folder.join("softhsm2.conf");
    std::fs::create_dir(folder.join("tokens")).unwrap();
    std::fs::write(&configuration, format!("directories.tokendir = {}\n", folder.join("tokens").display())).unwrap();
    let run = async |program: &str, arguments: &[&str]| {
        let ran = Command::new(program).args(arguments).env("SOFTHSM2_CONF", &configuration).output().await;
        let ran = ran.unwrap_or_else(|error| panic!("can't run {program} ({error}); install softhsm2 and opensc"));
        assert!(ran.status.success(), "{ran:?}");
    };
    run("softhsm2-util", &["--init-token", "--free", "--label", "my token", "--pin", "1234", "--so-pin", "12345678"])
        .await;
    for (number, label) in labels.iter().enumerate() {
        let (id, module) = (format!("{:02x}", number + 1), crate::stores::module().display().to_string());
        let mut arguments = vec!["--module", &module, "--token-label", "my token", "--login", "--pin", "1234"];
        arguments.extend(["--keygen", "--key-type", "AES:32", "--sensitive", "--label", label, "--id", &id]);
        run("pkcs11-tool", &arguments).await;
    }
    crate::stores::secret(&folder.join("pin"), "1234\n");
    configuration
}

/// The store goes under a key that is on a token and stays there, while the platform runs; from then on it opens with that
/// token alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_a_key_on_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let configuration = token_with_keys(dir.path(), &["one", "two"]).await.display().to_string();
    let environment = [("SOFTHSM2_CONF", configuration.as_str())];
    let uri = |object: &str| {
        let (module, pin) =
            (crate::stores::module().display().to_string(), dir.path().join("pin").display().to_string());
        format!("pkcs11:token=my%20token;object={object}?module-path={module}&pin-source=file:{pin}")
    };
    let up = Up::start_with(&path, &[], &environment).await;
    let deployment = Deployment::open(&path, &Clock::default()).unwrap();
    let mut tenant = founded(&deployment, &up.url, "one").await;
    let used = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(used).await;
    let wrapped = tenant.wrap(used).await.unwrap();
    let refused = custody(&path, &["rekey", "--to", &uri("three")]).await;
    assert!(json(&refused).to_string().contains("has 0 objects"), "{refused:?}");
    let rekeyed = done(&path, &["rekey", "--to", &uri("one")]).await;
    assert!(rekeyed["master_key"].as_str().unwrap().starts_with("token-"), "{rekeyed:#}");
    let backup = dir.path().join("backup");
    done(&path, &["backup", backup.to_str().unwrap()]).await;
    unwraps(&tenant, used, &wrapped).await;
    assert_eq!(up.stop().await, Some(0));

    for file in std::fs::read_dir(path.join("services/custodian")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("master-key") {
            std::fs::remove_file(file).unwrap();
        }
    }
    assert!(refused_up(&path, &[]).await.contains("keyring is under the master key token-"));
    let one = ["--master-key", &uri("one")];
    let up = Up::start_with(&path, &one, &environment).await;
    let tenant = Member::connect(&deployment, tenant.tenant, &up.url).await;
    unwraps(&tenant, used, &wrapped).await;
    // And on to another key of the token, and back to a file.
    let two = done(&path, &["rekey", "--to", &uri("two")]).await;
    assert_ne!(two["master_key"], rekeyed["master_key"]);
    assert_eq!(done(&path, &["check"]).await["active"], 1);
    assert_eq!(up.stop().await, Some(0));
    let both = ["--master-key", &uri("one"), "--master-key", &uri("two")];
    let up = Up::start_with(&path, &both, &environment).await;
    unwraps(&Member::connect(&deployment, tenant.tenant, &up.url).await, used, &wrapped).await;
    assert_eq!(up.stop().await, Some(0));
}

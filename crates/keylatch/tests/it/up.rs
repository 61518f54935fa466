//! `keylatch up` as people run it: a process, a folder, a stop, a kill.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use keylatch::platform::Deployment;
use model::command::{self, Action};
use model::{Algorithm, ProblemType, ServiceRole};
use serde_json::Value;
use service::{Clock, Error};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::world::{Member, World, cache, founded, reason};
use crate::{json, keylatch, stdout};

/// A running `keylatch up`.
pub struct Up {
    child: Child,
    pub url: String,
}

impl Up {
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[], &[]).await
    }

    /// With further arguments, and in a further environment.
    pub async fn start_with(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keylatch"))
            .args(["--json", "up", "--dir"])
            .arg(dir)
            .args(arguments)
            .envs(environment.iter().copied())
            .env("KEYLATCH_CACHE", cache().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.expect("it is up within a minute").unwrap().expect("it says so");
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ok"], true, "{ready:#}");
        Self { child, url: ready["url"].as_str().unwrap().to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("it stops").unwrap().code()
    }
}

/// Everything goes on where it was: after a stop, after a kill with a use, an approval and a suspension behind it.
#[tokio::test(flavor = "multi_thread")]
async fn up_goes_on_where_it_was_after_a_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let up = Up::start(&path).await;
    let deployment = Deployment::open(&path, &Clock::default()).unwrap();
    let mut tenant = founded(&deployment, &up.url, "one").await;
    let (used, waiting) = (tenant.generate(Algorithm::Aes256Gcm).await, tenant.generate(Algorithm::Ed25519).await);
    tenant.activate(used).await;
    let wrapped = tenant.wrap(used).await.unwrap();
    let request = tenant.request(waiting).await;
    tenant.approve(waiting, request, "sam").await;
    tenant.done(Action::KeySuspend(command::KeySuspend { reason: reason() }), Some(used), "opa").await;
    let url = up.url.clone();
    up.kill().await;

    let up = Up::start(&path).await;
    assert_eq!(up.url, url, "contexts stay good");
    let mut again = Member::connect(&deployment, tenant.tenant, &up.url).await;
    again.until(|state| state.keys.len() == 2).await;
    assert!(again.state.chain.head().sequence >= tenant.state.chain.head().sequence, "nothing acknowledged is lost");
    assert_eq!(again.wrap(used).await, Err(ProblemType::KeyNotActive.urn()));
    again.approve(waiting, request, "lou").await;
    again.until(|state| state.keys[&waiting].activation.is_some()).await;
    assert_eq!(up.stop().await, Some(0));

    let up = Up::start(&path).await;
    let mut again = Member::connect(&deployment, tenant.tenant, &up.url).await;
    again.until(|state| state.keys.len() == 2).await;
    let against = again.key(used).head;
    again.done(Action::KeyResume(command::KeyResume { against, reason: reason() }), Some(used), "opa").await;
    again.until(|state| state.keys[&used].is_applied()).await;
    let bytes: model::text::Base64 = wrapped["wrapped"].as_str().unwrap().parse().unwrap();
    let unwrap = |reply_to| Action::UseUnwrap(command::UseUnwrap { reply_to, wrapped: bytes.clone() });
    assert_eq!(again.use_key(used, "app", unwrap).await.unwrap()["data_key"], wrapped["data_key"]);
    assert_eq!(up.stop().await, Some(0));
    // Nothing is left running: the port is free.
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "something still listens on {port}");
}

/// Asked to stop while it starts, it stops; and starts the next time.
#[tokio::test(flavor = "multi_thread")]
async fn up_stops_while_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let mut child = Command::new(env!("CARGO_BIN_EXE_keylatch"))
        .args(["up", "--dir"])
        .arg(&path)
        .env("KEYLATCH_CACHE", cache().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("it says that it starts").contains("root key") {}
    let starting = Up { child, url: String::new() };
    assert_eq!(starting.stop().await, Some(0));
    assert_eq!(Up::start(&path).await.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_others_can_read_is_refused_with_the_mend() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_keylatch")).args(["up", "--dir"]).arg(&path).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("chmod 0700") && said.contains("platform"), "{said}");
}

/// A platform that loses a part of itself says which, and does not go on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_ends_ends_the_platform_and_is_named() {
    let mut world = World::start().await;
    // All of them lose their subscriptions; any may be the first to say so.
    world.platform.ports().client.drain().await.unwrap();
    let failed = tokio::time::timeout(Duration::from_secs(60), world.platform.failed()).await;
    let failed = failed.expect("it is noticed");
    let Error::Ended { part, .. } = &failed else { panic!("{failed}") };
    assert!(failed.to_string().contains(part), "{failed}");
    assert!(world.platform.stop().await.is_err(), "the others have lost theirs too");
}

/// The same as people see it: an exit code, and a reason.
#[tokio::test(flavor = "multi_thread")]
async fn up_ends_with_a_reason_where_a_part_can_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let up = Up::start(&path).await;
    assert_eq!(up.stop().await, Some(0));
    std::fs::remove_dir_all(path.join("keys/uses")).unwrap();
    std::fs::write(path.join("keys/uses"), "a file where a folder should be").unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_keylatch"));
    let output = up.args(["up", "--dir"]).arg(&path).env("KEYLATCH_CACHE", cache().unwrap()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the custodian has ended") && said.contains("keys/uses"), "{said}");
}

/// What `keylatch doctor --dir` says of a platform, and its exit code.
fn doctor(dir: &Path) -> (Option<i32>, Value) {
    let output = keylatch(dir, &["--json", "doctor", "--dir", dir.to_str().unwrap()]);
    (output.status.code(), json(&output))
}

fn checks<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    report["checks"].as_array().unwrap().iter().filter(|check| check["check"] == name).collect()
}

/// A platform that is well, whose secrets are open, whose server has lost events, that does not run.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_of_a_platform_names_what_needs_attention() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let up = Up::start(&path).await;
    let deployment = Deployment::open(&path, &Clock::default()).unwrap();
    let mut tenant = founded(&deployment, &up.url, "one").await;
    let (code, report) = doctor(&path);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    let services = report["services"].as_array().unwrap();
    assert_eq!(services.len(), ServiceRole::SERVICES.len(), "{report:#}");
    assert!(services.iter().all(|service| service["tenants"] == 1 && service["instance"] == "all-in-one"));

    let key = path.join("root/key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&path);
    let secrets = checks(&report, "secrets")[0];
    assert!(code == Some(1) && secrets["found"].as_str().unwrap().contains("root/key (mode 0644)"), "{report:#}");
    assert!(secrets["advice"].as_str().unwrap().contains("chmod"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    // The server's store is put back as of before a key was generated.
    assert_eq!(up.stop().await, Some(0));
    let (store, backup) = (path.join("nats"), dir.path().join("backup"));
    let copy = |from: &Path, to: &Path| Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copy(&store, &backup).await.unwrap().success());
    let up = Up::start(&path).await;
    tenant = Member::connect(&deployment, tenant.tenant, &up.url).await;
    tenant.generate(Algorithm::Aes256Gcm).await;
    assert_eq!(up.stop().await, Some(0));
    std::fs::remove_dir_all(&store).unwrap();
    assert!(copy(&backup, &store).await.unwrap().success());
    let up = Up::start(&path).await;
    let (code, report) = doctor(&path);
    assert_eq!(code, Some(1), "{report:#}");
    let [alarm] = checks(&report, "alarm")[..] else { panic!("{report:#}") };
    let found = alarm["found"].as_str().unwrap();
    assert!(found.contains(&tenant.tenant.to_string()) && found.contains("`behind`"), "{found}");
    assert!(!alarm["advice"].as_str().unwrap().is_empty());
    let people = keylatch(&path, &["doctor", "--dir", path.to_str().unwrap()]);
    assert!(stdout(&people).contains(&tenant.tenant.to_string()) && stdout(&people).contains("behind"));

    assert_eq!(up.stop().await, Some(0));
    let (code, report) = doctor(&path);
    assert_eq!((code, &checks(&report, "server")[0]["verdict"]), (Some(3), &"bad".into()), "{report:#}");
    assert_eq!(keylatch(&path, &["doctor", "--dir", dir.path().to_str().unwrap()]).status.code(), Some(2));
}

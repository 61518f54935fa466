//! The six roles as six processes against one server: side by side, killed at any moment, started anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use journal_nats::permission::PlatformUser;
use journal_nats::server::{Server, Settings, SyncInterval, find};
use keylatch::platform::Deployment;
use model::command::{self, Action};
use model::{Algorithm, KeyState, ServiceRole};
use service::{Clock, clock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::world::{self, Member, founded, reason, signed, spec};

/// The folder with the roles' binaries, built once.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        for role in ServiceRole::SERVICES {
            build.args(["--package", role.name()]);
        }
        assert!(build.status().unwrap().success());
        // …/deps/it-0123: the binaries stand beside `deps`.
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
    })
}

/// A role's process, killed when it is dropped.
struct Process {
    child: Child,
    config: PathBuf,
    role: ServiceRole,
}

impl Process {
    /// Starts it and waits until it answers.
    async fn start(role: ServiceRole, config: PathBuf) -> Self {
        let mut child = Command::new(binaries().join(role.name()))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
            match line.expect("it answers").unwrap() {
                Some(line) if line.contains("answering") => break,
                Some(line) => said.push(line),
                None => panic!("the {role} ended: {said:#?}"),
            }
        }
        // What it says from here on is read, so that it can go on saying it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, config, role }
    }

    /// Kills it without a word and starts it anew on the same state.
    async fn kill_and_restart(mut self) -> Self {
        self.child.kill().await.unwrap();
        Self::start(self.role, self.config.clone()).await
    }

    /// Asks it to stop, and gives its exit code.
    async fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("it stops").unwrap().code()
    }
}

/// A server and a process for each role.
struct Cluster {
    deployment: Deployment,
    server: Server,
    processes: BTreeMap<(ServiceRole, &'static str), Process>,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start(instances: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let deployment = Deployment::open(&dir.path().join("platform"), &Clock::default()).unwrap();
        let settings = Settings {
            binary: find(world::cache().as_deref()).unwrap().path,
            dir: deployment.dir().join("nats"),
            port: Some(deployment.port().unwrap()),
            sync: SyncInterval::Always,
            accounts: deployment.operator.accounts(),
        };
        let server = Server::start(settings).await.unwrap();
        let mut cluster = Self { deployment, server, processes: BTreeMap::new(), dir };
        for role in ServiceRole::SERVICES {
            for (number, instance) in instances.iter().enumerate() {
                // One store, one custodian; it locks the store.
                if role != ServiceRole::Custodian || number == 0 {
                    cluster.add(role, instance).await;
                }
            }
        }
        cluster
    }

    async fn add(&mut self, role: ServiceRole, instance: &'static str) {
        let config = self.dir.path().join(format!("{role}-{instance}.toml"));
        let text = format!(
            "root = \"{}\"\nurl = \"{}\"\ncredentials = {:?}\nkey = {:?}\ninstance = \"{instance}\"\nstate = \"{role}-{instance}\"\n",
            self.deployment.root,
            self.server.url(),
            self.deployment.operator.credentials_path(PlatformUser::Service(role)),
            self.deployment.service_key_path(role),
        );
        std::fs::write(&config, text).unwrap();
        self.processes.insert((role, instance), Process::start(role, config).await);
    }

    async fn restart(&mut self, role: ServiceRole, instance: &'static str) {
        let process = self.processes.remove(&(role, instance)).unwrap();
        self.processes.insert((role, instance), process.kill_and_restart().await);
    }

    async fn tenant(&self, name: &str) -> Member {
        founded(&self.deployment, &self.server.url(), name).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn six_processes_carry_a_key_from_issue_to_use_and_stop_cleanly() {
    let cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    assert!(tenant.wrap(key).await.is_ok());
    tenant.done(Action::KeySuspend(command::KeySuspend { reason: reason() }), Some(key), "opa").await;
    let refused = tenant.wrap(key).await;
    assert_eq!(refused, Err(model::ProblemType::KeyNotActive.urn()), "a suspension takes effect at once");
    for ((role, _), process) in cluster.processes {
        assert_eq!(process.stop().await, Some(0), "{role}");
    }
    cluster.server.stop().await;
}

/// Two instances of each role share the work, and killing any process at any moment loses nothing: every command that was
/// acknowledged stands in the log with the answer that was given, once.
#[tokio::test(flavor = "multi_thread")]
async fn processes_killed_at_any_moment_lose_nothing_acknowledged() {
    let mut cluster = Cluster::start(&["1", "2"]).await;
    let mut tenant = cluster.tenant("one").await;
    let (id, client) = (tenant.tenant, tenant.client.clone());
    let storm = tokio::spawn(storm(id, client));
    for (round, role) in ServiceRole::SERVICES.into_iter().chain(ServiceRole::SERVICES).enumerate() {
        let instance = if round % 2 == 0 || role == ServiceRole::Custodian { "1" } else { "2" };
        cluster.restart(role, instance).await;
    }
    let answers = storm.await.unwrap();
    let history = tenant.whole_history().await;
    for (command, answer) in &answers {
        let at = answer["sequence"].as_u64().unwrap();
        let event = &history[at as usize - 1];
        assert_eq!(event.hash.to_string(), answer["hash"].as_str().unwrap());
        let text = String::from_utf8(event.payload.0.clone()).unwrap();
        assert!(text.contains(&model::text::Base64(command.clone()).to_string()), "{at} carries another command");
    }
    let keys = answers.len();
    tenant.until(|state| state.keys.values().filter(|key| key.is_applied()).count() >= keys).await;
    assert!(tenant.state.keys.values().all(|key| key.state == KeyState::PreActive));
    // And the life goes on.
    let key = tenant.generate(Algorithm::Ed25519).await;
    tenant.activate(key).await;
}

/// Generates keys one after another, sending each command until it is answered, for as long as processes are killed.
/// Gives each command's payload with the answer that was given.
async fn storm(tenant: model::TenantId, client: async_nats::Client) -> Vec<(Vec<u8>, serde_json::Value)> {
    let mut answers = Vec::new();
    for _ in 0..60 {
        let action = Action::KeyGenerate(command::KeyGenerate { spec: spec(Algorithm::Aes256Gcm) });
        let command = signed(tenant, action, Some(clock::key_id()), "rae");
        let payload: bytes::Bytes = serde_json::to_vec(&command.envelope).unwrap().into();
        let answer = loop {
            let asked = client.request("keylatch.cmd.key.generate", payload.clone());
            if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(5), asked).await {
                let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
                if answer["ok"] == true {
                    break answer;
                }
                assert_eq!(answer["status"], 503, "{answer:#}");
            }
            tokio::task::yield_now().await;
        };
        answers.push((command.envelope.payload.0.clone(), answer));
    }
    answers
}

/// A service whose store is gone rebuilds it; one whose store will not open sets it aside and rebuilds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_store_is_gone_or_broken_rebuilds_it() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    let (gone, broken) = (ServiceRole::Approver, ServiceRole::Activator);
    for role in [gone, broken] {
        let process = cluster.processes.remove(&(role, "1")).unwrap();
        let config = process.config.clone();
        process.stop().await;
        let replica = cluster.dir.path().join(format!("{role}-1/replica"));
        if role == gone {
            std::fs::remove_dir_all(&replica).unwrap();
        } else {
            let database = replica.join("store/db");
            let length = std::fs::metadata(&database).unwrap().len() as usize;
            std::fs::write(&database, vec![0xA5; length]).unwrap();
        }
        cluster.processes.insert((role, "1"), Process::start(role, config).await);
    }
    let folder = cluster.dir.path().join(format!("{broken}-1/replica"));
    let aside = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("set-aside"));
    assert_eq!(aside.count(), 1, "the broken store is kept for people to look at");
    tenant.activate(key).await;
}

//! The six roles as six processes against one server: side by side, killed at any moment, started anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use journal::command::SignedCommand;
use journal_nats::permission::PlatformUser;
use journal_nats::server::{Server, Settings, SyncInterval, find};
use keylatch::platform::Deployment;
use model::command::{self, Action};
use model::{Algorithm, KeyState, ProblemType, ServiceRole};
use service::{Clock, clock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use crate::bundles;
use crate::world::{self, Member, founded, reason, signed, spec, use_wrap};

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
    /// What it says and nobody has read yet. It is taken from it at once, so that it can go on saying it.
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    /// Starts it and waits until it answers.
    async fn start(role: ServiceRole, config: PathBuf) -> Self {
        let mut process = Self::spawn(role, config, "info");
        process.says("answering").await;
        process
    }

    fn spawn(role: ServiceRole, config: PathBuf, log: &str) -> Self {
        let mut child = Command::new(binaries().join(role.name()))
            .arg("--config")
            .arg(&config)
            .env("KEYLATCH_LOG", log)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = said.next_line().await {
                // Whoever read may have gone.
                let _ = sender.send(line);
            }
        });
        Self { child, config, role, lines }
    }

    /// Waits until it says this. Gives what it said up to then.
    async fn says(&mut self, wanted: &str) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("the {} never said `{wanted}`: {said:#?}", self.role));
            said.push(line.unwrap_or_else(|| panic!("the {} ended: {said:#?}", self.role)));
            if said.last().unwrap().contains(wanted) {
                return said;
            }
        }
    }

    /// Waits until it ends by itself. Gives its exit code and what it said.
    async fn ends(mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        let code = ended.expect("it ends").unwrap().code();
        let mut said = String::new();
        while let Some(line) = self.lines.recv().await {
            said.push_str(&line);
            said.push('\n');
        }
        (code, said)
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Kills it without a word and starts it anew on the same state.
    async fn kill_and_restart(self) -> Self {
        let (role, config) = (self.role, self.config.clone());
        self.kill().await;
        Self::start(role, config).await
    }

    /// Asks it to stop, and gives its exit code.
    async fn stop(self) -> Option<i32> {
        self.signal("-TERM").await;
        self.ends().await.0
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
        let config = self.configure(role, instance, "");
        self.processes.insert((role, instance), Process::start(role, config).await);
    }

    /// Writes the configuration of an instance, with these lines more.
    fn configure(&self, role: ServiceRole, instance: &str, more: &str) -> PathBuf {
        let config = self.dir.path().join(format!("{role}-{instance}.toml"));
        let text = format!(
            "root = \"{}\"\nurl = \"{}\"\ncredentials = {:?}\nkey = {:?}\ninstance = \"{instance}\"\nstate = \"{role}-{instance}\"\n{more}",
            self.deployment.root,
            self.server.url(),
            self.deployment.operator.credentials_path(PlatformUser::Service(role)),
            self.deployment.service_key_path(role),
        );
        std::fs::write(&config, text).unwrap();
        config
    }

    /// Takes a process out, to do something with it.
    fn take(&mut self, role: ServiceRole, instance: &'static str) -> Process {
        self.processes.remove(&(role, instance)).unwrap()
    }

    async fn restart(&mut self, role: ServiceRole, instance: &'static str) {
        let process = self.take(role, instance);
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
        let answer = until_answered(&client, &command).await;
        answers.push((command.envelope.payload.0.clone(), answer));
    }
    answers
}

/// Two exporters on one folder of bundles, killed at any moment: each command is answered with one event, whose bundle is
/// there, whoever made it, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn exporters_killed_at_any_moment_have_every_bundle_that_is_recorded() {
    let (mut cluster, role) = (Cluster::start(&["1"]).await, ServiceRole::EvidenceExporter);
    for instance in ["1", "2"] {
        if let Some(process) = cluster.processes.remove(&(role, instance)) {
            process.stop().await;
        }
        let config = cluster.configure(role, instance, "exports = \"exports\"\n");
        cluster.processes.insert((role, instance), Process::start(role, config).await);
    }
    let mut tenant = cluster.tenant("one").await;
    bundles::adopt(&mut tenant, bundles::exports(None)).await;
    let mut recorded = Vec::new();
    // How often it was said that the bundle is being made before both are killed.
    for (from, told) in (1..).zip([0, 1, 4, 16, 64, 256]) {
        let command = bundles::asked(tenant.tenant, from);
        for _ in 0..told {
            let answer = asked_once(&tenant.client, &command).await;
            if answer.is_some_and(|answer| answer["ok"] == true) {
                break;
            }
        }
        cluster.restart(role, "1").await;
        cluster.restart(role, "2").await;
        recorded.push(until_answered(&tenant.client, &command).await["sequence"].as_u64().unwrap());
    }
    let mut listed = bundles::list(&tenant).await;
    // Whoever did not make it answers from the log, perhaps before it is listed.
    while listed.len() < recorded.len() {
        listed = bundles::list(&tenant).await;
    }
    let mut sequences: Vec<u64> = listed.iter().map(|bundle| bundle.sequence).collect();
    sequences.reverse();
    assert_eq!(sequences, recorded);
    for bundle in &listed {
        assert!(!bundles::download(&tenant, bundle.manifest).await.is_empty());
    }
    let folder = cluster.dir.path().join("exports").join(tenant.tenant.to_string());
    assert_eq!(bundles::names(&folder).len(), listed.len() + 1, "a folder a bundle, and the lock");
}

/// Sends a command until it is answered with its record.
async fn until_answered(client: &async_nats::Client, command: &SignedCommand) -> serde_json::Value {
    loop {
        if let Some(answer) = asked_once(client, command).await {
            if answer["ok"] == true {
                return answer;
            }
            assert_eq!(answer["status"], 503, "{answer:#}");
        }
        tokio::task::yield_now().await;
    }
}

/// Sends a command once; the answer, where one comes.
async fn asked_once(client: &async_nats::Client, command: &SignedCommand) -> Option<serde_json::Value> {
    let payload: bytes::Bytes = serde_json::to_vec(&command.envelope).unwrap().into();
    let asked = client.request(model::subject::tenant::command(command.command.action.name()), payload);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
    Some(serde_json::from_slice(&answer.payload).unwrap())
}

/// A service whose store is gone rebuilds it; one whose store will not open sets it aside and rebuilds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_store_is_gone_or_broken_rebuilds_it() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    let (gone, broken) = (ServiceRole::Approver, ServiceRole::Activator);
    for role in [gone, broken] {
        let process = cluster.take(role, "1");
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

// === The custodian's store ===

/// Two custodians on one store: the second follows the log and waits. When the first is killed it takes over, and a use that
/// the first has carried out is not carried out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_custodian_takes_over_and_repeats_no_use() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let config = cluster.configure(ServiceRole::Custodian, "2", "keys = \"custodian-1/keys\"\n");
    let mut standby = Process::spawn(ServiceRole::Custodian, config, "info");
    standby.says("waiting to take over").await;
    let once = use_wrap(tenant.tenant, key, "app");
    assert_eq!(tenant.send(&once).await["ok"], true);

    cluster.take(ServiceRole::Custodian, "1").kill().await;
    standby.says("answering").await;
    assert!(Clock::default().now() < once.command.expires_at, "it took over too late for this test");
    assert_eq!(tenant.send(&once).await["type"], ProblemType::UseRepeated.urn());
    assert!(tenant.wrap(key).await.is_ok());
    let born = tenant.generate(Algorithm::Ed25519).await;
    tenant.activate(born).await;
    assert_eq!(standby.stop().await, Some(0));
}

/// A standby that is asked to stop while it waits stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_custodian_that_waits_stops_when_it_is_asked_to() {
    let cluster = Cluster::start(&["1"]).await;
    let config = cluster.configure(ServiceRole::Custodian, "2", "keys = \"custodian-1/keys\"\n");
    let mut standby = Process::spawn(ServiceRole::Custodian, config, "info");
    standby.says("waiting to take over").await;
    assert_eq!(standby.stop().await, Some(0));
}

/// A custodian that does not have the keys which the chain knows (a folder of its own, a volume that is not mounted)
/// does not make a new store in their place.
#[tokio::test(flavor = "multi_thread")]
async fn a_custodian_without_the_chains_keys_refuses_to_start() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let config = cluster.configure(ServiceRole::Custodian, "2", "");
    let (code, said) = Process::spawn(ServiceRole::Custodian, config, "info").ends().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("custodian-2/keys/store") && said.contains("put it back from a backup"), "{said}");
    assert!(tenant.wrap(key).await.is_ok(), "and the one that has them goes on");

    let first = cluster.take(ServiceRole::Custodian, "1");
    let config = first.config.clone();
    assert_eq!(first.stop().await, Some(0));
    let folder = cluster.dir.path().join("custodian-1");
    std::fs::rename(folder.join("keys"), folder.join("unmounted")).unwrap();
    let (code, said) = Process::spawn(ServiceRole::Custodian, config.clone(), "info").ends().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(!folder.join("keys/store").exists(), "nothing was made in its place");
    std::fs::rename(folder.join("unmounted"), folder.join("keys")).unwrap();
    let _custodian = Process::start(ServiceRole::Custodian, config).await;
    assert!(tenant.wrap(key).await.is_ok());
}

/// What was used is reported, also where the bus was away when it was to be recorded. Only a kill may lose it.
#[tokio::test(flavor = "multi_thread")]
async fn counts_of_uses_outlast_an_outage_of_the_bus() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    // The first is recorded at once, the second when a window ends: so another window has just begun.
    for wanted in 1..=2 {
        assert!(tenant.wrap(key).await.is_ok());
        uses_are(&mut tenant, wanted).await;
    }
    for _ in 0..4 {
        assert!(tenant.wrap(key).await.is_ok());
    }
    let mut custodian = cluster.take(ServiceRole::Custodian, "1");
    let settings = cluster.server.settings();
    cluster.server.stop().await;
    custodian.says("the outcome of an append is not known").await;
    let server = Server::start(settings).await.unwrap();
    for process in cluster.processes.values_mut() {
        process.says("the bus is back").await;
    }
    let mut tenant = Member::connect(&cluster.deployment, tenant.tenant, &server.url()).await;
    uses_are(&mut tenant, 6).await;
}

/// Waits until the log tells of so many uses.
async fn uses_are(tenant: &mut Member, wanted: u64) {
    loop {
        let uses = |event: &model::history::HistoryEvent| {
            let event: serde_json::Value = serde_json::from_slice(&event.payload.0).unwrap();
            let used = event["type"] == "dev.keylatch.custody.used.v1";
            let counts = event["data"]["uses"].as_object().filter(|_| used);
            counts.map_or(0, |counts| counts.values().map(|count| count.as_u64().unwrap()).sum::<u64>())
        };
        let history = tenant.whole_history().await;
        let found: u64 = history.iter().map(uses).sum();
        assert!(found <= wanted, "{found} are told of");
        if found == wanted {
            return;
        }
        tenant.until(|state| state.chain.head().sequence.0 > history.len() as u64).await;
    }
}

/// Strangers with a tenant's bus credentials and no standing in it hold nobody else up while the exporter, whose word a use
/// needs, does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_strangers_uses_holds_up_no_other_tenant() {
    let cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let other = cluster.tenant("two").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    let exporter = &cluster.processes[&(ServiceRole::EvidenceExporter, "1")];
    exporter.signal("-STOP").await;
    for _ in 0..4_000 {
        let payload = serde_json::to_vec(&use_wrap(other.tenant, clock::key_id(), "nobody").envelope).unwrap();
        let reply = other.client.new_inbox();
        other.client.publish_with_reply("keylatch.cmd.use.wrap", reply, payload.into()).await.unwrap();
    }
    other.client.flush().await.unwrap();
    let challenge = model::text::Base64(vec![7; 32]);
    let proof = tenant.command(Action::KeyProve(command::KeyProve { challenge }), Some(key), "rae").await;
    assert_eq!(proof["ok"], true, "{proof:#}");
    exporter.signal("-CONT").await;
}

// === Stopping ===

/// A service that is asked to stop while the bus is away stops.
#[tokio::test(flavor = "multi_thread")]
async fn services_stop_cleanly_while_the_bus_is_away() {
    let cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    tenant.generate(Algorithm::Aes256Gcm).await;
    cluster.server.stop().await;
    let mut stopping = tokio::task::JoinSet::new();
    for ((role, _), process) in cluster.processes {
        stopping.spawn(async move { (role, process.stop().await) });
    }
    for (role, code) in stopping.join_all().await {
        assert_eq!(code, Some(0), "{role}");
    }
}

/// Of two instances one is asked to stop: nobody who asks goes without an answer.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_one_of_two_instances_leaves_no_request_unanswered() {
    let mut cluster = Cluster::start(&["1", "2"]).await;
    let tenant = cluster.tenant("one").await;
    let (against, policy) = (model::EventHash::ZERO, lifecycle::scenario::policy());
    let refused = signed(tenant.tenant, Action::PolicyAdopt(command::PolicyAdopt { against, policy }), None, "ann,bob");
    let payload: bytes::Bytes = serde_json::to_vec(&refused.envelope).unwrap().into();
    let (answered, mut count) = watch::channel(0_usize);
    let (stop, stopped) = watch::channel(false);
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (client, payload, answered, stopped) =
            (tenant.client.clone(), payload.clone(), answered.clone(), stopped.clone());
        askers.spawn(async move {
            while !*stopped.borrow() {
                let asked = client.request("keylatch.cmd.policy.adopt", payload.clone());
                tokio::time::timeout(Duration::from_secs(20), asked).await.expect("an answer").unwrap();
                answered.send_modify(|count| *count += 1);
            }
        });
    }
    count.wait_for(|count| *count > 500).await.unwrap();
    assert_eq!(cluster.take(ServiceRole::Approver, "1").stop().await, Some(0));
    let so_far = *count.borrow();
    count.wait_for(|count| *count > so_far + 500).await.unwrap();
    stop.send_replace(true);
    askers.join_all().await;
}

// === History ===

/// Who was told that something is recorded finds it in the history.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_history() {
    let cluster = Cluster::start(&["1"]).await;
    let tenant = cluster.tenant("one").await;
    for _ in 0..30 {
        let action = Action::KeyGenerate(command::KeyGenerate { spec: spec(Algorithm::Aes256Gcm) });
        let answer = tenant.command(action, Some(clock::key_id()), "rae").await;
        let sequence = answer["sequence"].as_u64().unwrap();
        assert_eq!(tenant.history(sequence, 1).await.events.len(), 1, "event {sequence}");
    }
}

/// A subscriber has its history also after the archive was put back as of some time ago.
#[tokio::test(flavor = "multi_thread")]
async fn history_is_whole_after_an_older_archive_was_put_back() {
    let mut cluster = Cluster::start(&["1"]).await;
    let mut tenant = cluster.tenant("one").await;
    let (exporter, archive) = (ServiceRole::EvidenceExporter, cluster.dir.path().join("evidence-exporter-1/archive"));
    let backup = cluster.dir.path().join("backup");
    let copy = |from: &Path, to: &Path| Command::new("cp").arg("-a").arg(from).arg(to).status();
    let process = cluster.take(exporter, "1");
    let config = process.config.clone();
    assert_eq!(process.stop().await, Some(0));
    assert!(copy(&archive, &backup).await.unwrap().success());

    let process = Process::start(exporter, config.clone()).await;
    tenant.generate(Algorithm::Aes256Gcm).await;
    let had = tenant.whole_history().await;
    assert_eq!(process.stop().await, Some(0));
    std::fs::remove_dir_all(&archive).unwrap();
    assert!(copy(&backup, &archive).await.unwrap().success());

    let _process = Process::start(exporter, config).await;
    let has = tenant.whole_history().await;
    assert!(has.len() >= had.len(), "{} of {} events", has.len(), had.len());
}

// === Secrets ===

/// Nothing secret is logged, whatever is asked to be logged.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged_at_trace() {
    let roles = [ServiceRole::Custodian, ServiceRole::Issuer];
    let mut cluster = Cluster::start(&["1"]).await;
    for role in roles {
        let process = cluster.take(role, "1");
        let config = process.config.clone();
        process.stop().await;
        let mut process = Process::spawn(role, config, "trace");
        process.says("answering").await;
        cluster.processes.insert((role, "1"), process);
    }
    let mut tenant = cluster.tenant("one").await;
    let key = tenant.generate(Algorithm::Aes256Gcm).await;
    tenant.activate(key).await;
    let data_key = tenant.wrap(key).await.unwrap()["data_key"].as_str().unwrap().to_owned();
    for role in roles {
        let process = cluster.take(role, "1");
        process.signal("-TERM").await;
        let (code, said) = process.ends().await;
        assert_eq!(code, Some(0));
        assert!(said.contains("TRACE"), "the test itself");
        let credentials = cluster.deployment.operator.credentials_path(PlatformUser::Service(role));
        let credentials = std::fs::read_to_string(credentials).unwrap();
        let seed = credentials.lines().find(|line| line.starts_with("SU")).unwrap();
        let private = std::fs::read_to_string(cluster.deployment.service_key_path(role)).unwrap();
        for secret in [&data_key, seed, private.lines().nth(3).unwrap()] {
            assert!(!said.contains(secret), "the {role} logs a secret");
        }
    }
}

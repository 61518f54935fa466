//! One writer, eight, and three processes on one tenant: nodes as the services have them, with the log on NATS and a replica
//! on the disk. Commands are verified, decided, signed, chained, appended and applied before they count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use journal::Record;
use journal::command::{KeyInHand, SignedCommand};
use journal_nats::NatsJournal;
use keylatch::platform::{Options, Platform};
use lifecycle::Input;
use load_tester::cast::{Cast, Part};
use model::command::{DocumentStore, LIFETIME_MAX};
use model::{Action, Digest, Envelope, ServiceRole, TenantId};
use service::{Clock, Node, clock};

use crate::{Mode, ratio, raw};

/// How many commands are under way at once for a tenant.
const AT_ONCE: usize = 512;
/// How long is measured.
const LASTS: Duration = Duration::from_secs(8);

/// The platform in this process, with tenants.
struct Writers {
    _dir: tempfile::TempDir,
    path: PathBuf,
    platform: Platform,
    cast: Cast,
}

async fn start(mode: Mode, tenants: u32) -> Writers {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("platform");
    let options = Options {
        dir: path.clone(),
        cache: Some(crate::cache()),
        sync: mode.sync(),
        keep_exports: None,
        master_key: Vec::new(),
        clock: Clock::default(),
    };
    let platform = Platform::start(options).await.unwrap();
    let out = dir.path().join("cast");
    let mut prepare = crate::keylatch();
    prepare.args(["load", "prepare", "--tenants", &tenants.to_string(), "--out"]).arg(&out).arg("--dir").arg(&path);
    let made = tokio::task::spawn_blocking(move || prepare.stdout(Stdio::null()).stderr(Stdio::null()).status());
    assert!(made.await.unwrap().unwrap().success());
    Writers { _dir: dir, path, platform, cast: Cast::load(&out).unwrap() }
}

/// Commands that lead to an event and need nothing: parts of documents, of about the size that requests have.
fn commands(hand: &KeyInHand, tenant: TenantId, count: usize) -> Vec<Envelope> {
    let now = Clock::default().now();
    let one = |number: usize| {
        let text = format!("{number:0>400}");
        let document = Digest::of(text.as_bytes());
        let action = Action::DocumentStore(DocumentStore { document, part: 0, parts: 1, text: text.parse().unwrap() });
        let command = model::Command {
            id: clock::command_id(),
            tenant,
            key_id: None,
            issued_at: now,
            expires_at: now + LIFETIME_MAX,
            action,
        };
        SignedCommand::sign(&command, &[hand]).unwrap()
    };
    (0..count).map(one).collect()
}

fn owner(cast: &Cast, tenant: usize) -> (TenantId, KeyInHand) {
    let tenant = &cast.tenants[tenant];
    let owner = tenant.principals.iter().find(|principal| principal.part == Part::Owner).unwrap();
    let key = service::secret::read_key(&owner.key).unwrap();
    (tenant.tenant, KeyInHand::new(key))
}

/// Records as many of the commands as it can: each is verified first, off the async threads, as a service does.
async fn write(node: &Node<NatsJournal>, tenant: TenantId, commands: Vec<Envelope>, until: Instant) -> u64 {
    let recorded = stream::iter(commands).map(|envelope| {
        let node = node.clone();
        async move {
            if Instant::now() >= until {
                return 0;
            }
            let (opened, open) = tokio::sync::oneshot::channel();
            rayon::spawn(move || drop(opened.send(SignedCommand::open(envelope))));
            let signed = Arc::new(open.await.unwrap().unwrap());
            node.record(tenant, ServiceRole::Approver, Input::Command(signed)).await.unwrap();
            1
        }
    });
    let done = recorded.buffer_unordered(AT_ONCE).fold(0, |sum, one| async move { sum + one });
    done.await
}

/// Enough for as long as is measured.
fn many(mode: Mode) -> usize {
    match mode {
        Mode::Always => 40_000,
        Mode::Default => 200_000,
    }
}

/// One writer on one tenant.
pub(crate) async fn one(mode: Mode) {
    let writers = start(mode, 1).await;
    let (tenant, hand) = owner(&writers.cast, 0);
    let commands = commands(&hand, tenant, many(mode));
    let node = writers.platform.ports().node.clone();
    let begin = Instant::now();
    let count = write(&node, tenant, commands, begin + LASTS).await;
    let ours = count as f64 / begin.elapsed().as_secs_f64();
    let records = stored(&writers.cast).await;
    writers.platform.stop().await.unwrap();
    ratio("one writer on one tenant", mode, ours, raw::rate(mode, &records, 1).await, 0.7);
}

/// Eight tenants in one process.
pub(crate) async fn eight(mode: Mode) {
    let writers = start(mode, 8).await;
    let node = writers.platform.ports().node.clone();
    let all: Vec<(TenantId, Vec<Envelope>)> = (0..8)
        .map(|number| {
            let (tenant, hand) = owner(&writers.cast, number);
            (tenant, commands(&hand, tenant, many(mode) / 8))
        })
        .collect();
    let begin = Instant::now();
    let writing = all.into_iter().map(|(tenant, commands)| write(&node, tenant, commands, begin + LASTS));
    let count: u64 = futures_util::future::join_all(writing).await.iter().sum();
    let ours = count as f64 / begin.elapsed().as_secs_f64();
    let records = stored(&writers.cast).await;
    writers.platform.stop().await.unwrap();
    ratio("eight tenants in one process", mode, ours, raw::rate(mode, &records, 8).await, 0.6);
}

async fn stored(cast: &Cast) -> Vec<Record> {
    let records = raw::events(cast).await;
    records[records.len() / 2..].to_vec()
}

/// Three processes on one tenant, each with a replica and a connection of its own, beside one.
pub(crate) async fn three_processes(mode: Mode) {
    let writers = start(mode, 1).await;
    let mut rates = Vec::new();
    for count in [1, 3] {
        let mut processes = Vec::new();
        for number in 0..count {
            let mut process = Command::new(std::env::current_exe().unwrap());
            let state = writers.path.parent().unwrap().join(format!("writer-{count}-{number}"));
            process.args(["writer-process", mode.name(), &number.to_string()]).arg(&writers.path).arg(state);
            process.arg(writers.path.parent().unwrap().join("cast"));
            processes.push(process.stdout(Stdio::piped()).spawn().unwrap());
        }
        let outputs = processes.into_iter().map(|process| process.wait_with_output().unwrap());
        let rate: f64 = outputs.map(|out| String::from_utf8(out.stdout).unwrap().trim().parse::<f64>().unwrap()).sum();
        rates.push(rate);
    }
    writers.platform.stop().await.unwrap();
    ratio("three processes on one tenant", mode, rates[1], rates[0], 0.5);
}

/// What one of them does: prints how many it recorded a second.
pub(crate) async fn process(arguments: &[String]) {
    let [mode, _, platform, state, cast] = arguments else { panic!("what the bench itself says") };
    let mode = if mode == "always" { Mode::Always } else { Mode::Default };
    let (platform, state) = (Path::new(platform), Path::new(state));
    let cast = Cast::load(Path::new(cast)).unwrap();
    let deployment = keylatch::platform::Deployment::open(platform, &Clock::default()).unwrap();
    let credentials = deployment.operator.credentials_path(journal_nats::permission::PlatformUser::AllInOne);
    let connection = journal_nats::connect::watched(&cast.url, &credentials, "writer").await.unwrap();
    let (stopper, shutdown) = service::Shutdown::new();
    let options = service::process::StartOptions {
        connection,
        instance: deployment.instance().unwrap(),
        keys: vec![deployment.service_key(ServiceRole::Approver).unwrap()],
        root: deployment.root,
        state: state.to_owned(),
        keeps_archive: false,
        clock: Clock::default(),
    };
    let (ports, following) = service::process::start(options, shutdown).await.unwrap();
    let (tenant, hand) = owner(&cast, 0);
    let commands = commands(&hand, tenant, many(mode) / 2);
    let begin = Instant::now();
    let count = write(&ports.node, tenant, commands, begin + LASTS).await;
    println!("{:.1}", count as f64 / begin.elapsed().as_secs_f64());
    stopper.stop();
    let _ = following.await;
    ports.node.close().await;
}

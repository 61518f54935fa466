//! The parts of a process that all roles have in common: starting, running, stopping.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use journal::command::SignedCommand;
use journal::{Journal, ServiceKey};
use journal_nats::log::NatsJournal;
use journal_nats::permission;
use journal_sled::archive::{self, Archive};
use journal_sled::replica::{Opened, Replica, Start};
use lifecycle::{Duty, Input, Rejection};
use model::{Fingerprint, Name, Problem, ServiceRole, TenantId, subject};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::command::{self, Answer};
use crate::health::Outsiders;
use crate::node::{Node, NodeConfig, Recorded};
use crate::{Clock, Config, Error, duty, health, requests, secret};

/// What a role works with.
pub struct Ports<J> {
    /// Its share of the system.
    pub node: Node<J>,
    /// The bus, as this role's user.
    pub client: async_nats::Client,
    /// This instance's name.
    pub instance: Name,
    /// Counts the roles of this process that answer.
    pub ready: Arc<watch::Sender<usize>>,
    /// Of a role that asks others outside the platform: how they fare.
    pub outsiders: Outsiders,
}

impl<J> Clone for Ports<J> {
    fn clone(&self) -> Self {
        let Self { node, client, instance, ready, outsiders } = self;
        let (node, client, instance) = (node.clone(), client.clone(), instance.clone());
        Self { node, client, instance, ready: ready.clone(), outsiders: outsiders.clone() }
    }
}

/// The request that everything should stop. Cheap to clone; once made, it stands for good.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Makes the request to stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Shutdown {
    /// A request that was not made yet, and the stopper that makes it. Dropping the stopper makes it too.
    pub fn new() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Self(receiver))
    }

    /// Waits until it is made.
    pub async fn requested(mut self) {
        // An error means that the stopper is gone, which is a request as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

impl Stopper {
    /// Makes the request.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// The subjects of a role's commands, in every tenant.
pub fn command_subjects(role: ServiceRole) -> Vec<String> {
    permission::commands(role).iter().map(|command| subject::every_tenant("cmd", command)).collect()
}

/// Runs a role that records what it is asked and what is due, and nothing else.
pub async fn run_recording<J: Journal>(ports: Ports<J>, role: ServiceRole, shutdown: Shutdown) -> Result<(), Error> {
    let node = ports.node.clone();
    let handle = move |tenant, signed| {
        let node = node.clone();
        async move { answered(node.record(tenant, role, Input::Command(signed)).await) }
    };
    let node = ports.node.clone();
    let perform = move |tenant, duty: Duty| {
        let node = node.clone();
        async move { node.record(tenant, role, Input::Due(duty)).await }
    };
    run(ports, role, handle, perform, shutdown).await
}

/// Runs a role: its commands go to `handle`, what is due to it goes to `perform`.
pub async fn run<J, H, HF, P, PF>(
    ports: Ports<J>,
    role: ServiceRole,
    handle: H,
    perform: P,
    shutdown: Shutdown,
) -> Result<(), Error>
where
    J: Journal,
    H: Fn(TenantId, Arc<SignedCommand>) -> HF + Clone + Send + 'static,
    HF: Future<Output = Answer> + Send + 'static,
    P: Fn(TenantId, Duty) -> PF,
    PF: Future<Output = Result<Recorded, Rejection>> + Send + 'static,
{
    let service = health::announce(&ports, role).await?;
    let on_command = move |tenant, rest, payload: Bytes| {
        let handle = handle.clone();
        command::answer(tenant, rest, payload, move |signed| handle(tenant, signed))
    };
    let subjects = command_subjects(role);
    let commands = requests::serve(&ports, service, role, &subjects, on_command, shutdown.clone().requested());
    let duties = duty::run(ports.node.clone(), role, perform, shutdown.requested());
    tokio::try_join!(commands, duties)?;
    Ok(())
}

/// The answer to something that was recorded or refused.
pub fn answered(outcome: Result<Recorded, Rejection>) -> Answer {
    outcome.map(command::recorded).map_err(Problem::from)
}

// === Starting ===

const AFTER_HELP: &str = "\
The configuration (paths are relative to its folder):
  root = \"SHA256:…\"           the root's fingerprint, which everything is verified under
  url = \"nats://host:4222\"    the bus
  credentials = \"role.creds\"  this role's user of the bus
  key = \"role.key\"            this role's Ed25519 key, in OpenSSH's format, no passphrase
  instance = \"eu-1\"           a name for this instance, which its events carry
  state = \"state\"             the folder for its replica and, of the exporter, the archive
  keys = \"keys\"               the custodian alone: the folder of its key store and of the uses
                              it has carried out; left out, `keys` in `state`. A second custodian
                              on the same folder follows the log, waits, and takes over when the
                              first is gone
  master_key = [\"file:master\"]
                              the custodian alone: the master keys that its key store may be under,
                              file:PATH, env:KEYLATCH_NAME, credential:NAME (systemd's), or a
                              pkcs11: URI of an AES key on a token; left out,
                              a file of its own, `master-key` beside its key
  exports = \"exports\"         the exporter alone: the folder of the bundles; left out, `exports` in
                              `state`. Exporters that run side by side share one
  keep_exports = 12           the exporter alone: so many bundles of a tenant are kept, the newest;
                              left out, all are
  probe_key = \"probe.key\"     the exporter alone: the key that it probes with, the same for all
                              exporters; left out, it probes nothing
  [[witness]]                 the exporter alone: who is asked to cosign checkpoints; any number up to 15
  url = \"https://…\"           where (checkpoints are posted to <url>/add-checkpoint)
  vkey = \"name+hex+base64\"    the key that it cosigns with
  every = \"1m\"                for a tenant no more often; left out, once a minute
  [timestamp]                 the exporter alone: who is asked for time stamps (RFC 3161)
  url = \"https://…\"           where
  every = \"1h\"                for a tenant no more often; left out, once an hour

Exit codes:
  0  it was asked to stop, by SIGINT or SIGTERM, and has stopped
  1  it can't go on
  2  the configuration, or a file that it names, won't do

Environment:
  KEYLATCH_LOG         what is logged to stderr, such as `debug`; else `info`
  KEYLATCH_LOG_FORMAT  `json` for lines of JSON";

/// A role of Keylatch, as a process of its own.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    /// The service's configuration: a TOML file.
    #[arg(long, env = "KEYLATCH_CONFIG")]
    config: PathBuf,
}

/// The whole of a service's `main`: reads the configuration, opens the ports, follows the log, runs, and stops cleanly on
/// SIGINT or SIGTERM. Exit code 2 for a configuration that won't do, 1 for a failure later.
pub fn main<F, Fut>(role: ServiceRole, keeps_archive: bool, run: F) -> ExitCode
where
    F: FnOnce(Ports<NatsJournal>, Config, Shutdown) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let arguments = Arguments::parse();
    init_tracing();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            error!(%error, "the configuration won't do");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(role, keeps_archive, config, run)) {
        Ok(()) | Err(Error::Stopped) => ExitCode::SUCCESS,
        Err(error @ Error::File { .. }) => {
            error!(%error, "the configuration won't do");
            ExitCode::from(2)
        }
        Err(error) => {
            error!(%error, "the {role} stops");
            ExitCode::FAILURE
        }
    }
}

/// Logs as lines for people, or as JSON with `KEYLATCH_LOG_FORMAT=json`; what is logged, by `KEYLATCH_LOG`.
pub fn init_tracing() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KEYLATCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(on_colour()).with_writer(std::io::stderr);
    if std::env::var("KEYLATCH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().init();
    } else {
        lines.init();
    }
}

/// Whether what is logged may be coloured: a terminal reads it, and nobody said no (`NO_COLOR`).
pub fn on_colour() -> bool {
    let said_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !said_no && std::io::IsTerminal::is_terminal(&std::io::stderr())
}

async fn serve<F, Fut>(role: ServiceRole, keeps_archive: bool, config: Config, run: F) -> Result<(), Error>
where
    F: FnOnce(Ports<NatsJournal>, Config, Shutdown) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let (stopper, shutdown) = Shutdown::new();
    let stopper = Arc::new(stopper);
    let (on_signal, signal) = (stopper.clone(), stop_signal());
    let signals = tokio::spawn(async move {
        signal.await;
        info!("stopping");
        on_signal.stop();
    });
    let key = ServiceKey::new(secret::read_key(&config.key)?, role, &config.instance);
    let name = format!("keylatch-{role}-{}", config.instance);
    let bus = |error: journal_nats::connect::Error| Error::Bus(error.to_string());
    let connection = tokio::select! {
        connection = journal_nats::connect::watched(&config.url, &config.credentials, &name) => connection.map_err(bus)?,
        () = shutdown.clone().requested() => return Err(Error::Stopped),
    };
    let options = StartOptions {
        connection,
        instance: config.instance.clone(),
        keys: vec![key],
        root: config.root,
        state: config.state.clone(),
        keeps_archive,
        clock: Clock::default(),
    };
    let (ports, mut following) = tokio::select! {
        started = start(options, shutdown.clone()) => started?,
        () = shutdown.clone().requested() => return Err(Error::Stopped),
    };
    let node = ports.node.clone();
    let outcome = tokio::select! {
        outcome = run(ports, config, shutdown.clone()) => outcome,
        error = ended(&mut following, shutdown) => Err(error),
    };
    stopper.stop();
    if !following.is_finished() {
        let _ = following.await;
    }
    node.close().await;
    signals.abort();
    outcome
}

/// Waits until the follower of the log ends unasked: without it a service would go on, and see nothing.
async fn ended(following: &mut tokio::task::JoinHandle<()>, shutdown: Shutdown) -> Error {
    let why = tokio::select! {
        biased;
        () = shutdown.requested() => std::future::pending().await,
        ended = following => ended.err().map_or_else(|| "nobody asked it to".to_owned(), |error| error.to_string()),
    };
    Error::Ended { part: "follower of the log", error: Box::new(Error::Internal(why)) }
}

/// What a process is started from.
pub struct StartOptions {
    /// The bus.
    pub connection: journal_nats::connect::Connection,
    /// This instance's name.
    pub instance: Name,
    /// The keys of the roles that it plays.
    pub keys: Vec<ServiceKey>,
    /// The pinned root.
    pub root: Fingerprint,
    /// The folder for replica and archive.
    pub state: PathBuf,
    /// Whether it keeps every event's bytes: the exporter's part.
    pub keeps_archive: bool,
    /// The clock.
    pub clock: Clock,
}

/// Opens replica and archive, brings them to the end of the log and goes on following, in a task that ends with
/// `shutdown`.
pub async fn start(
    options: StartOptions,
    shutdown: Shutdown,
) -> Result<(Ports<NatsJournal>, tokio::task::JoinHandle<()>), Error> {
    let journal = NatsJournal::new(&options.connection);
    // Subscribed before the first comparison, so that nothing falls between.
    let news = journal.follow().await?;
    let (state, root, keeps_archive) = (options.state.clone(), options.root, options.keeps_archive);
    let opened = tokio::task::spawn_blocking(move || open_stores(&state, root, keeps_archive)).await;
    let (replica, archive) = opened.map_err(|error| Error::Internal(error.to_string()))??;
    let StartOptions { keys, root, clock, connection, instance, .. } = options;
    let node = Node::new(NodeConfig { journal, replica, archive, keys, root, clock });
    node.forget_unknown_rules();
    node.synchronise().await?;
    node.log_start();
    let following = {
        let node = node.clone();
        tokio::spawn(async move { node.follow(news, shutdown.requested()).await })
    };
    let ports = Ports { node, client: connection.client, instance, ready: Arc::default(), outsiders: None };
    Ok((ports, following))
}

fn open_stores(
    state: &std::path::Path,
    root: Fingerprint,
    keeps_archive: bool,
) -> Result<(Replica, Option<Archive>), Error> {
    let Opened { replica, start } = Replica::open(&state.join("replica"), root)?;
    match start {
        Start::New => info!("the replica is new; it is built from the log"),
        Start::Kept => {}
        Start::SetAside { to, why } => {
            warn!(why, moved_to = %to.display(), "the replica was set aside; it is rebuilt from the log");
        }
    }
    let archive = if keeps_archive { Some(open_archive(&state.join("archive"))?) } else { None };
    Ok((replica, archive))
}

fn open_archive(path: &std::path::Path) -> Result<Archive, Error> {
    let progress = |read: archive::Progress| info!(segment = read.segment, of = read.of, "reading the archive");
    let archive::Opened { archive, cut, reindexed } = Archive::open(path, archive::Options::default(), progress)?;
    if let Some(cut) = cut {
        warn!(file = %cut.file.display(), bytes = cut.bytes, why = cut.why, "an append that was cut short was removed");
    }
    if let Some(why) = reindexed {
        warn!(why, "the archive's index was made anew");
    }
    Ok(archive)
}

/// Takes SIGINT and SIGTERM from now on, and waits for one of them.
pub fn stop_signal() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            error!("no signals can be had; stop with SIGKILL, nothing is lost by it");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

//! Everything in one process, and the server as its child.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use custodian::FurtherStores;
use custodian::custody::Place;
use journal_nats::connect;
use journal_nats::permission::PlatformUser;
use journal_nats::server::{Server, Settings, SyncInterval, find};
use journal_nats::{NatsJournal, Provisioner};
use model::ServiceRole;
use service::process::{self, start};
use service::{Clock, Error, Ports, Shutdown, Stopper, config};
use tracing::{info, warn};

use super::deployment::service_key_path;
use super::parts::Parts;
use super::{Deployment, registrar};

/// How the platform is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for everything.
    pub dir: PathBuf,
    /// The folder in which a downloaded `nats-server` may stand.
    pub cache: Option<PathBuf>,
    /// When the server brings what it has acknowledged to the disk.
    pub sync: SyncInterval,
    /// How many bundles of evidence of a tenant are kept, the newest; `None` for all.
    pub keep_exports: Option<NonZeroUsize>,
    /// The master keys that the key store may be under; none, for one of the platform's own.
    pub master_key: Vec<String>,
    /// The clock that every role goes by.
    pub clock: Clock,
}

/// The platform, running.
pub struct Platform {
    deployment: Deployment,
    server: Server,
    ports: Ports<NatsJournal>,
    stopper: Stopper,
    /// The roles, and what follows the log for them.
    parts: Parts,
}

impl Platform {
    /// Starts the server and all roles, where they left off. Returns when every role is ready to answer.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let clock = options.clock.clone();
        let deployment = Deployment::open(&options.dir, &clock)?;
        warn!(
            "the root key is a file, {}: for trying out. In production it is a hardware key, kept offline, and signs \
             authority statements only",
            deployment.dir().join("root/key").display()
        );
        let place = custody_place(deployment.dir(), &options.master_key)?;
        let exporter = exporter(&deployment, options.keep_exports)?;
        let further = FurtherStores::load(&deployment.dir().join("stores.toml"))?;
        let server = start_server(&deployment, &options).await?;
        provision(&deployment, &server).await?;
        let (stopper, shutdown) = Shutdown::new();
        let credentials = deployment.operator.credentials_path(PlatformUser::AllInOne);
        let connection = connect::watched(&server.url(), &credentials, "keylatch up")
            .await
            .map_err(|error| Error::Bus(error.to_string()))?;
        let keys = ServiceRole::SERVICES.into_iter().map(|role| deployment.service_key(role));
        let process = process::StartOptions {
            connection,
            instance: deployment.instance()?,
            keys: keys.collect::<Result<_, Error>>()?,
            root: deployment.root,
            state: deployment.dir().join("state"),
            keeps_archive: true,
            clock,
        };
        let (ports, following) = start(process, shutdown.clone()).await?;
        let brought = registrar::bring_authority(&deployment, &ports.node).await;
        match brought.map_err(|error| Error::Internal(format!("the new authority could not be recorded: {error}")))? {
            0 => {}
            tenants => info!(tenants, "the newest authority statement was recorded in their chains"),
        }
        let mut parts = start_roles(&ports, place, further, exporter, &shutdown).await?;
        parts.spawn("follower of the log", async {
            following.await.map_err(|error| Error::Internal(error.to_string()))
        });
        let mut ready = ports.ready.subscribe();
        tokio::select! {
            error = parts.failed() => return Err(error),
            answering = ready.wait_for(|ready| *ready == ServiceRole::SERVICES.len()) => {
                answering.map_err(|error| Error::Internal(error.to_string()))?;
            }
        }
        info!(url = server.url(), dir = %deployment.dir().display(), "up");
        Ok(Self { deployment, server, ports, stopper, parts })
    }

    /// The deployment.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The server's address.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What the roles work with.
    pub fn ports(&self) -> &Ports<NatsJournal> {
        &self.ports
    }

    /// Waits until something ends that should not.
    pub async fn failed(&mut self) -> Error {
        tokio::select! {
            lines = self.server.ended() => Error::Bus(format!("nats-server has ended: {}", lines.join(" | "))),
            error = self.parts.failed() => error,
        }
    }

    /// Stops: roles finish what they are at, replica and archive are synced, then the server stops.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stopper.stop();
        let outcome = self.parts.stopped().await;
        self.ports.node.close().await;
        self.server.stop().await;
        info!("stopped");
        outcome
    }
}

async fn start_server(deployment: &Deployment, options: &Options) -> Result<Server, Error> {
    let found = find(options.cache.as_deref()).map_err(|error| Error::Bus(error.to_string()))?;
    let settings = Settings {
        binary: found.path,
        dir: deployment.dir().join("nats"),
        port: Some(deployment.port()?),
        sync: options.sync,
        accounts: deployment.operator.accounts(),
    };
    if options.sync != SyncInterval::Always {
        warn!(
            "the server acknowledges before it has written to the disk: what was acknowledged last is lost when the machine stops"
        );
    }
    Server::start(settings).await.map_err(|error| Error::Bus(error.to_string()))
}

/// Brings every tenant's account and stream to the server, which does not sync what it was told of accounts.
async fn provision(deployment: &Deployment, server: &Server) -> Result<(), Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Bus(error.to_string());
    let provisioner = Provisioner::connect(&deployment.operator, &server.url()).await.map_err(|error| wrong(&error))?;
    for id in deployment.operator.tenants().map_err(|error| wrong(&error))? {
        let tenant = deployment.operator.tenant(id).map_err(|error| wrong(&error))?;
        provisioner.provision(&tenant).await.map_err(|error| wrong(&error))?;
    }
    Ok(())
}

/// Where the key store of the platform in a folder is, and its master keys.
pub fn custody_place(dir: &Path, named: &[String]) -> Result<Place, Error> {
    let key = service_key_path(dir, ServiceRole::Custodian);
    if !key.exists() {
        return Err(Error::File { path: dir.to_owned(), error: "there is no platform in it".to_owned() });
    }
    Place::new(dir.join("keys"), named, Path::new(""), &key)
}

/// What the exporter is told.
fn exporter(deployment: &Deployment, keep_exports: Option<NonZeroUsize>) -> Result<evidence_exporter::Options, Error> {
    let state = deployment.dir().join("state");
    Ok(evidence_exporter::Options {
        exports: state.join("exports"),
        state,
        outside: config::Outside::load(&deployment.dir().join("exporter.toml"))?,
        keep_exports,
        probe_key: Some(deployment.probe_key()?),
    })
}

/// Starts the six roles. The key store is opened first: without it nothing runs.
async fn start_roles(
    ports: &Ports<NatsJournal>,
    place: Place,
    further: FurtherStores,
    exporter: evidence_exporter::Options,
    shutdown: &Shutdown,
) -> Result<Parts, Error> {
    let (keys, uses) = (place.keys().to_owned(), place.keys().join("uses"));
    let software = custodian::open_software_store(&ports.node, place, shutdown.clone()).await?;
    let stores = software.stores();
    further.open(&stores, &ports.node, &keys, shutdown).await;
    let mut parts = Parts::default();
    let (ports_of_custodian, until) = (ports.clone(), shutdown.clone());
    let custodian = async move { custodian::run(ports_of_custodian, stores, &uses, until).await };
    parts.spawn(ServiceRole::Custodian.name(), custodian);
    parts.spawn("custody", software.tend(shutdown.clone()));
    let exporter = evidence_exporter::run(ports.clone(), exporter, shutdown.clone());
    parts.spawn(ServiceRole::EvidenceExporter.name(), exporter);
    parts.spawn(ServiceRole::Issuer.name(), issuer::run(ports.clone(), shutdown.clone()));
    parts.spawn(ServiceRole::Approver.name(), approver::run(ports.clone(), shutdown.clone()));
    parts.spawn(ServiceRole::Activator.name(), activator::run(ports.clone(), shutdown.clone()));
    parts.spawn(ServiceRole::Expirer.name(), expirer::run(ports.clone(), shutdown.clone()));
    Ok(parts)
}

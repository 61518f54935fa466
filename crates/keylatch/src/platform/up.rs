//! Everything in one process, and the server as its child.

use std::path::{Path, PathBuf};

use journal_nats::connect;
use journal_nats::permission::PlatformUser;
use journal_nats::server::{Server, Settings, SyncInterval, find};
use journal_nats::{NatsJournal, Provisioner};
use model::ServiceRole;
use service::process::{Parts, start};
use service::{Clock, Error, Ports, Shutdown, Stopper};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use super::Deployment;

/// How the platform is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for everything.
    pub dir: PathBuf,
    /// The folder in which a downloaded `nats-server` may stand.
    pub cache: Option<PathBuf>,
    /// When the server brings what it has acknowledged to the disk.
    pub sync: SyncInterval,
}

/// The platform, running.
pub struct Platform {
    deployment: Deployment,
    server: Server,
    ports: Ports<NatsJournal>,
    stopper: Stopper,
    roles: JoinSet<Result<(), Error>>,
    following: JoinHandle<()>,
}

impl Platform {
    /// Starts the server and all roles, where they left off. Returns when every role is ready to answer.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let clock = Clock::default();
        let deployment = Deployment::open(&options.dir, &clock)?;
        warn!(
            "the root key is a file, {}: for trying out. In production it is a hardware key, kept offline, and signs \
             authority statements only",
            deployment.dir().join("root/key").display()
        );
        let server = start_server(&deployment, &options).await?;
        provision(&deployment, &server).await?;
        let (stopper, shutdown) = Shutdown::new();
        let credentials = deployment.operator.credentials_path(PlatformUser::AllInOne);
        let connection = connect::watched(&server.url(), &credentials, "keylatch up")
            .await
            .map_err(|error| Error::Bus(error.to_string()))?;
        let keys = ServiceRole::SERVICES.into_iter().map(|role| deployment.service_key(role));
        let parts = Parts {
            connection,
            keys: keys.collect::<Result<_, Error>>()?,
            root: deployment.root,
            state: deployment.dir().join("state"),
            keeps_archive: true,
            clock,
        };
        let (ports, following) = start(parts, shutdown.clone()).await?;
        let mut roles = start_roles(&ports, deployment.dir(), &shutdown).await?;
        let mut ready = ports.ready.subscribe();
        tokio::select! {
            // A role that ends now has failed to start.
            Some(ended) = roles.join_next() => match ended {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(())) => return Err(Error::Internal("a role has ended by itself".into())),
                Err(error) => return Err(Error::Internal(error.to_string())),
            },
            answering = ready.wait_for(|ready| *ready == ServiceRole::SERVICES.len()) => {
                answering.map_err(|error| Error::Internal(error.to_string()))?;
            }
        }
        info!(url = server.url(), dir = %deployment.dir().display(), "up");
        Ok(Self { deployment, server, ports, stopper, roles, following })
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
            Some(ended) = self.roles.join_next() => match ended {
                Ok(Ok(())) => Error::Internal("a role has ended by itself".into()),
                Ok(Err(error)) => error,
                Err(error) => Error::Internal(error.to_string()),
            },
        }
    }

    /// Stops: roles finish what they are at, replica and archive are synced, then the server stops.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stopper.stop();
        let mut outcome = Ok(());
        while let Some(ended) = self.roles.join_next().await {
            if let Ok(Err(error)) = ended {
                outcome = Err(error);
            }
        }
        let _ = self.following.await;
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

/// Starts the six roles. The key store is opened first: without it nothing runs.
async fn start_roles(
    ports: &Ports<NatsJournal>,
    dir: &Path,
    shutdown: &Shutdown,
) -> Result<JoinSet<Result<(), Error>>, Error> {
    let folder = dir.join("keys");
    let store = custodian::open_software_store(&ports.node, &folder.join("store"), shutdown.clone()).await?;
    let mut roles = JoinSet::new();
    let (ports_of_custodian, uses, until) = (ports.clone(), folder.join("uses"), shutdown.clone());
    roles.spawn(async move { custodian::run(ports_of_custodian, store, &uses, until).await });
    roles.spawn(evidence_exporter::run(ports.clone(), shutdown.clone()));
    roles.spawn(issuer::run(ports.clone(), shutdown.clone()));
    roles.spawn(approver::run(ports.clone(), shutdown.clone()));
    roles.spawn(activator::run(ports.clone(), shutdown.clone()));
    roles.spawn(expirer::run(ports.clone(), shutdown.clone()));
    Ok(roles)
}

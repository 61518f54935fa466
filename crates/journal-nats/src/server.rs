//! A `nats-server` of our own: found, configured, run as a child process, and never left behind.

mod find;
mod hold;
mod supervisor;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

pub use self::find::{Found, Look, NotFound, OLDEST, Refused, VARIABLE, Version, find};
use self::supervisor::{Ended, Supervisor};
use crate::secret_file;

/// How long a server may take until it is ready. It reads its streams first, which takes its time where there is much.
const START_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a server that was asked to stop may take, before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// How to run a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program, as [`find`] finds it.
    pub binary: PathBuf,
    /// Where it keeps everything: streams, accounts, configuration, log.
    pub dir: PathBuf,
    /// The port on 127.0.0.1; `None` for a free one, which the server chooses.
    pub port: Option<u16>,
    /// When what was acknowledged is on the disk.
    pub sync: SyncInterval,
    /// Whom it trusts.
    pub accounts: Accounts,
}

/// When the server syncs acknowledged messages to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before it acknowledges.
    Always,
    /// So often. Messages that were acknowledged in between are lost when the machine stops.
    Every(Duration),
}

/// Whom a server trusts: what [`crate::Operator::accounts`] says.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The operator's JWT.
    pub operator: String,
    /// The system account.
    pub system: String,
    /// Accounts and their JWTs that the server must know from the start.
    pub preload: Vec<(String, String)>,
}

/// A server that runs. Dropped, it is killed; [`Server::stop`] is the gentle way. It does not outlive this process
/// either, whatever ends that.
pub struct Server {
    settings: Settings,
    port: u16,
    supervisor: Supervisor,
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory is open to others.
    #[error(transparent)]
    Directory(#[from] secret_file::Error),
    /// The file system or the process could not be had.
    #[error("can't {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process runs a server in this directory.
    #[error("process {owner} runs a nats-server in `{}`: stop it first, or use another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process.
        owner: u32,
    },
    /// Something holds the directory, and it is not clear what.
    #[error("something still holds `{}`: see who has it open (`fuser {}`), and end that", lock.display(), lock.display())]
    Held {
        /// The file that is locked.
        lock: PathBuf,
    },
    /// The server ended before it was ready.
    #[error("nats-server ended before it was ready ({}); the last it said:\n{}", status.map_or("no exit status".to_owned(), |status| status.to_string()), lines.join("\n"))]
    Ended {
        /// Its exit status.
        status: Option<std::process::ExitStatus>,
        /// The last lines of its log.
        lines: Vec<String>,
    },
    /// The server was not ready in time.
    #[error("nats-server was not ready after {} s: see `{}`", START_TIME_MAX.as_secs(), log.display())]
    NotReady {
        /// Its log.
        log: PathBuf,
    },
}

impl Error {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl Server {
    /// Starts a server and waits until it says that it is ready. One that an earlier run left behind in the same
    /// directory is ended first; one that another process runs there is an error.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        secret_file::ensure_dir(&settings.dir)?;
        // Absolute, because a server that was left behind is known by it.
        let dir = settings.dir.canonicalize().map_err(Error::io("find", &settings.dir))?;
        let (config, log) = (dir.join("nats.conf"), dir.join("nats.log"));
        let hold = hold::take(&dir, &config).await?;
        secret_file::replace(&config, &settings.render(&dir))?;
        let (supervisor, ready) = Supervisor::spawn(&settings.binary, &config, &hold::pid_file(&dir), &log, hold)
            .map_err(Error::io("run a shell for", &settings.binary))?;
        match tokio::time::timeout(START_TIME_MAX, ready).await {
            Ok(Ok(port)) => Ok(Self { settings: Settings { dir, ..settings }, port, supervisor }),
            Ok(Err(_)) => {
                let Ended { status, lines } = supervisor.ended().await;
                Err(Error::Ended { status, lines })
            }
            Err(_) => Err(Error::NotReady { log }),
        }
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it was started, with the port that it listens on: the same again starts it on the same streams and port.
    pub fn settings(&self) -> Settings {
        Settings { port: Some(self.port), ..self.settings.clone() }
    }

    /// Waits until it has ended, although nobody stopped it, and gives the last lines of its log.
    pub async fn ended(&self) -> Vec<String> {
        self.supervisor.ended().await.lines
    }

    /// Stops it: it closes its streams and its connections. One that does not end in time is killed.
    pub async fn stop(self) {
        self.supervisor.signal("TERM");
        if tokio::time::timeout(STOP_TIME_MAX, self.supervisor.ended()).await.is_err() {
            tracing::warn!("nats-server did not stop in time and is killed");
            self.kill().await;
        }
    }

    /// Kills it, as a crash would, and waits until it is gone.
    pub async fn kill(self) {
        self.supervisor.signal("KILL");
        self.supervisor.ended().await;
    }
}

impl Settings {
    /// The configuration file. JSON, which is a subset of what the server reads, so that no path can mean more than it
    /// says.
    fn render(&self, dir: &Path) -> String {
        let sync = match self.sync {
            SyncInterval::Always => "always".to_owned(),
            SyncInterval::Every(interval) => format!("{}ms", interval.as_millis()),
        };
        let preload: serde_json::Map<_, _> =
            self.accounts.preload.iter().map(|(id, jwt)| (id.clone(), jwt.clone().into())).collect();
        let config = json!({
            "server_name": "keylatch",
            "host": "127.0.0.1",
            "port": self.port.map_or(-1, i32::from),
            "jetstream": { "store_dir": dir.join("streams"), "sync_interval": sync },
            "operator": self.accounts.operator,
            "system_account": self.accounts.system,
            "resolver": { "type": "full", "dir": dir.join("accounts"), "allow_delete": false },
            "resolver_preload": preload,
        });
        format!("{config:#}\n")
    }
}

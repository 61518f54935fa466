//! `keylatch up`: the whole platform on this machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use journal_nats::server::SyncInterval;
use serde_json::json;

use crate::Clock;
use crate::error::Error;
use crate::layout::{BOLD, DIM, GREEN};
use crate::platform::{Options, Platform};
use crate::screen::{Screen, Shown};

/// Where, and how safely.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// The folder for everything: keys, streams, replicas, archive. Made where it is not there; readable by you alone.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// When the server brings what it has acknowledged to the disk.
    #[arg(long, value_enum, default_value = "always")]
    pub sync: Sync,
    /// Keep only so many bundles of evidence of each tenant, the newest; left out, all.
    #[arg(long, value_name = "N")]
    pub keep_exports: Option<NonZeroUsize>,
    /// The master key of the key store, in place of one of the platform's own: file:PATH, env:KEYLATCH_NAME or
    /// credential:NAME (systemd's), or a pkcs11: URI of an AES key on a token. Repeat it: the store knows which it is under,
    /// and a new one is under the first.
    #[arg(long, value_name = "SOURCE")]
    pub master_key: Vec<String>,
    /// A folder in which a downloaded `nats-server` may stand, beside KEYLATCH_NATS_SERVER, the path and the usual places.
    #[arg(long, env = "KEYLATCH_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// When the server brings what it has acknowledged to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    /// Before it acknowledges: nothing acknowledged is lost when the machine stops.
    Always,
    /// Every two minutes, as the server does by itself: faster, and what was acknowledged last can be lost.
    Default,
}

impl From<Sync> for SyncInterval {
    fn from(sync: Sync) -> Self {
        match sync {
            Sync::Always => Self::Always,
            Sync::Default => Self::Every(Duration::from_secs(120)),
        }
    }
}

/// Runs the platform until it is told to stop, by Ctrl-C or SIGTERM.
pub async fn run(args: UpArgs, screen: &mut Screen) -> Result<(), Error> {
    custodian::guard_memory();
    let UpArgs { dir, sync, keep_exports, master_key, cache } = args;
    let options = Options { dir, cache, sync: sync.into(), keep_exports, master_key, clock: Clock::default() };
    let mut signal = std::pin::pin!(service::process::stop_signal());
    let mut platform = tokio::select! {
        started = Platform::start(options) => started.map_err(of_platform)?,
        // What has begun ends with this process, the server too; nothing was acknowledged yet.
        () = &mut signal => return Ok(()),
    };
    screen.show(&ready(&platform))?;
    let failed = tokio::select! {
        () = &mut signal => None,
        failed = platform.failed() => Some(failed),
    };
    let stopped = platform.stop().await;
    match failed {
        Some(error) => Err(of_platform(error)),
        None => stopped.map_err(of_platform),
    }
}

fn ready(platform: &Platform) -> Shown {
    let (url, deployment) = (platform.url(), platform.deployment());
    let dir = deployment.dir().display();
    let people = format!(
        "{GREEN}up{GREEN:#} at {BOLD}{url}{BOLD:#}\n  root {}\n{DIM}  the root key is a file, for trying out; in \
         production it is a hardware key, kept offline\n  make a tenant: keylatch tenant propose NAME --dir {dir} \
         --admin LABEL=KEY.pub --admin LABEL=KEY.pub --out FILE{DIM:#}\n",
        deployment.root
    );
    Shown { json: json!({ "ok": true, "url": url, "root": deployment.root, "dir": deployment.dir() }), people }
}

/// What the platform can't do, as an error of the command line.
pub fn of_platform(error: service::Error) -> Error {
    match error.cause() {
        service::Error::File { .. } => Error::usage(error, "mend the file, or take another folder with --dir"),
        service::Error::Replica(_) => {
            Error::usage(error, "see that no other `keylatch up` runs on this folder, and that the disk has room")
        }
        _ => Error::unreachable(error, "see the log above; for the server's own, nats/nats.log in the folder"),
    }
}

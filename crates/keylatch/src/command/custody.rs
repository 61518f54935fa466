//! `keylatch custody`: the software key store, for whoever runs the platform. Where a custodian runs, it does what is asked,
//! and goes on meanwhile; where none does, it is done here.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use custodian::custody::{self, Done, Place, Request};
use serde_json::json;
use service::Config;

use crate::error::Error;
use crate::layout::{BOLD, DIM, GREEN, YELLOW};
use crate::platform;
use crate::screen::{Screen, Shown};

/// What to do with the key store.
#[derive(Subcommand, Debug)]
pub enum CustodyCommand {
    /// Go through the whole store: every record is authenticated, every key unwrapped and recognised.
    Check(PlaceArgs),
    /// Write a backup, as of one moment, to a new file, and check it. Of no use without the master key.
    #[command(
        after_long_help = "Example:\n  keylatch custody backup /backup/keys-2026-11-27 --dir my-platform\n\nKeep the master key apart from it: a file `services/custodian/master-key` of the platform's own, or where\n--master-key says. Keys that are generated later are not in it."
    )]
    Backup {
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        /// Of which store.
        place: PlaceArgs,
    },
    /// Make the store anew of a backup, where there is none. No custodian may run.
    #[command(
        after_long_help = "Example:\n  keylatch custody restore /backup/keys-2026-11-27 --dir my-platform\n\nA backup from before a rotation of the master key names the retired one:\n  keylatch custody restore FILE --dir my-platform \\\n    --backup-key file:my-platform/services/custodian/master-key.retired-master-6f1c90aa52d307be"
    )]
    Restore {
        /// The backup.
        file: PathBuf,
        /// The master key that the backup is under, where it is not the platform's any more. Repeat it for several.
        #[arg(long, value_name = "SOURCE")]
        backup_key: Vec<String>,
        #[command(flatten)]
        /// Of which store.
        place: PlaceArgs,
    },
    /// Put the store under another master key. Keys stay as they are; uses go on.
    #[command(
        after_long_help = "Left to itself, the platform's own master key file is replaced, and the old one kept beside it, for\nolder backups are under it:\n  keylatch custody rekey --dir my-platform\n\nTo a key that you have made (a file, or a credential that the custodian was started with):\n  keylatch custody rekey --to file:/etc/keylatch/master-2027 --dir my-platform\n\nName it with --master-key at the next start of `keylatch up`, or in the custodian's configuration. Several\nmay be named there: the store knows which it is under."
    )]
    Rekey {
        /// The other master key: file:PATH, env:KEYLATCH_NAME, credential:NAME, or a pkcs11: URI of an AES key on a token. A
        /// custodian that runs reads it itself.
        #[arg(long, value_name = "SOURCE")]
        to: Option<String>,
        #[command(flatten)]
        /// Of which store.
        place: PlaceArgs,
    },
    /// Wrap every key under new wrapping keys, one for each inventory. Uses go on. Cut short, it goes on the next time.
    Rewrap(PlaceArgs),
}

/// Which store.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// The platform's folder.
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    pub dir: Option<PathBuf>,
    /// The configuration of a custodian that runs as a process of its own.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// With --dir, the master key that `keylatch up` was started with, where it is not the platform's own. Repeat it for
    /// several.
    #[arg(long, value_name = "SOURCE", conflicts_with = "config")]
    pub master_key: Vec<String>,
}

impl PlaceArgs {
    /// The software store.
    pub fn place(&self) -> Result<Place, Error> {
        let place = match (&self.dir, &self.config) {
            (Some(dir), _) => platform::custody_place(dir, &self.master_key),
            (None, Some(file)) => Config::load(file)
                .and_then(|config| Place::new(config.keys(), &config.master_key, &config.folder, &config.key)),
            (None, None) => return Err(Error::usage("no store is named", "name the platform's folder with --dir")),
        };
        place.map_err(|error| Error::usage(error, "name the folder of `keylatch up`, or a custodian's configuration"))
    }
}

impl PlaceArgs {
    /// The file that lists the stores beside it.
    pub fn stores(&self) -> Result<PathBuf, Error> {
        match (&self.dir, &self.config) {
            (Some(dir), _) => Ok(dir.join("stores.toml")),
            (None, Some(file)) => match Config::load(file) {
                Ok(config) => Ok(config.stores()),
                Err(error) => Err(Error::usage(error, "name a custodian's configuration")),
            },
            (None, None) => Err(Error::usage("no store is named", "name the platform's folder with --dir")),
        }
    }
}

/// Runs `keylatch custody`.
pub async fn run(command: CustodyCommand, screen: &mut Screen) -> Result<(), Error> {
    custodian::guard_memory();
    let shown = match command {
        CustodyCommand::Check(place) => {
            let done = ask(&place, Request::Check {}).await?;
            shown(&done, format!("{GREEN}whole:{GREEN:#} {}\n", keys_of(&done)))
        }
        CustodyCommand::Backup { file, place } => {
            let to = std::path::absolute(&file).map_err(|error| Error::file(&file, error, "name another file"))?;
            let done = ask(&place, Request::Backup { to }).await?;
            let note = format!("{DIM}of no use without the master key, which is to be kept apart from it{DIM:#}");
            let people = format!("{GREEN}backed up:{GREEN:#} {}, in {}\n  {note}\n", keys_of(&done), file.display());
            shown(&done, people)
        }
        CustodyCommand::Restore { file, backup_key, place } => return restore(&file, backup_key, &place, screen).await,
        CustodyCommand::Rekey { to, place } => rekey(to, &place).await?,
        CustodyCommand::Rewrap(place) => {
            let done = ask(&place, Request::Rewrap {}).await?;
            let count = done.rewrapped.unwrap_or_default();
            shown(&done, format!("{GREEN}wrapped anew:{GREEN:#} records of {count} keys, under new wrapping keys\n"))
        }
    };
    screen.show(&shown)
}

async fn ask(place: &PlaceArgs, request: Request) -> Result<Done, Error> {
    custody::ask(&place.place()?, request).await.map_err(|error| not_done(&error))
}

pub(crate) fn not_done(error: &service::Error) -> Error {
    Error::failed(error, "mend what it names, and do it again: repeating does no harm")
}

async fn rekey(to: Option<String>, place: &PlaceArgs) -> Result<Shown, Error> {
    let here = std::env::current_dir()?;
    let to = to.map(|to| custody::named(&to, &here)).transpose();
    let to = to
        .map_err(|error| Error::usage(error, "name it as file:PATH, env:KEYLATCH_NAME, credential:NAME or pkcs11:…"))?;
    let done = ask(place, Request::Rekey { to: to.clone() }).await?;
    let before = done.master_key_before.as_deref().unwrap_or_default();
    if before == done.master_key {
        return Ok(shown(&done, format!("{YELLOW}as it was:{YELLOW:#} the store is under that master key already\n")));
    }
    let note = match to {
        Some(to) => format!("at the next start, name it: --master-key {to}, or `master_key` in the configuration"),
        None => "the old one is kept beside it, as ….retired-…: backups made before are under it".to_owned(),
    };
    let people = format!(
        "{GREEN}done:{GREEN:#} the store is under {BOLD}{}{BOLD:#}\n  before: {before}\n  {DIM}{note}{DIM:#}\n",
        done.master_key
    );
    Ok(shown(&done, people))
}

async fn restore(file: &Path, named: Vec<String>, place: &PlaceArgs, screen: &mut Screen) -> Result<(), Error> {
    let (from, place) = (file.to_owned(), place.place()?);
    let here = std::env::current_dir()?;
    let restored = tokio::task::spawn_blocking(move || custody::restore(&place, &from, &named, &here)).await;
    let checked =
        restored.map_err(|error| Error::failed(error, "look at the log"))?.map_err(|error| not_done(&error))?;
    let (pre_active, active, destroyed) = (checked.pre_active, checked.active, checked.destroyed);
    let json = json!({ "ok": true, "pre_active": pre_active, "active": active, "destroyed": destroyed });
    let keys = found(pre_active, active, destroyed);
    let note = "keys that were generated after the backup are not in it; states are brought up to date from the log";
    screen.show(&Shown { json, people: format!("{GREEN}restored:{GREEN:#} {keys}\n  {DIM}{note}{DIM:#}\n") })
}

fn keys_of(done: &Done) -> String {
    let number = |count: Option<u64>| count.unwrap_or_default();
    found(number(done.pre_active), number(done.active), number(done.destroyed))
}

fn found(pre_active: u64, active: u64, destroyed: u64) -> String {
    format!("{pre_active} keys in the pre-active inventory, {active} in the active one, {destroyed} destroyed")
}

fn shown(done: &Done, mut people: String) -> Shown {
    let mut json = serde_json::to_value(done).unwrap_or_default();
    if let Some(members) = json.as_object_mut() {
        members.insert("ok".to_owned(), true.into());
    }
    if done.rewrapping {
        people +=
            &format!("  {YELLOW}a rotation of the wrapping keys is under way:{YELLOW:#} keylatch custody rewrap\n");
    }
    Shown { json, people }
}

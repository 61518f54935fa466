//! Taking the keys that a store had before into the inventory, by one baseline that admins sign.

use std::path::{Path, PathBuf};

use clap::Args;
use lifecycle::baseline::{self, Line};
use lifecycle::manifest::List;
use model::command::{BaselineAdopt, ROTATION_MAX};
use model::key::{Common, Responsibility};
use model::policy::MANIFEST_MAX;
use model::{Action, Name, Text, Timestamp};

use crate::command::delegation::already;
use crate::command::{ReasonArgs, SigningArgs, principal};
use crate::documents;
use crate::error::Error;
use crate::layout::{YELLOW, time};
use crate::screen::Screen;
use crate::session::Session;
use crate::words::{self, When, counted};

/// Which keys, what they have in common, and by when they are settled.
#[derive(Args, Clone, Debug)]
pub struct AdoptArgs {
    /// The list that `keylatch store inventory --baseline` wrote.
    pub file: PathBuf,
    /// The store that has them. It has one baseline, for ever.
    #[arg(long)]
    pub store: Name,
    /// By when each of them is to be rotated or authorised anew, such as 2027-12-01 or +365d; at most two years on.
    #[arg(long, value_name = "TIME")]
    pub rotate_by: When,
    /// When the inventory was taken; left out, when the file was last written.
    #[arg(long, value_name = "TIME")]
    pub taken_at: Option<When>,
    /// The kind of work.
    #[arg(long)]
    pub workload: Name,
    /// The layer they belong to.
    #[arg(long, value_parser = words::responsibility())]
    pub responsibility: Responsibility,
    /// Where their data lives in law.
    #[arg(long)]
    pub jurisdiction: Name,
    /// How sensitive their data is.
    #[arg(long)]
    pub classification: Name,
    /// Such as `production`.
    #[arg(long)]
    pub environment: Name,
    /// What they protect, in words.
    #[arg(long, value_name = "TEXT")]
    pub asset: Option<Text>,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Puts the list into the log, where it is not there yet, and has the baseline signed.
pub async fn run(args: AdoptArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let (list, lines) = read(&args.file)?;
    let now = session.now();
    let taken_at = args.taken_at.map_or_else(|| written(&args.file), |when| Ok(when.from(now)))?.min(now);
    let rotate_by = args.rotate_by.from(now);
    if rotate_by <= now || rotate_by > now + ROTATION_MAX {
        let what = format!("the keys are to be rotated by {}", time(rotate_by));
        return Err(Error::usage(what, "name a time that is to come, at most two years on"));
    }
    let governance = session.governance()?;
    if let Some(held) = governance.baselines.get(&args.store) {
        if held.manifest == list.manifest() {
            return screen.show(&already("these keys are adopted already", held.hash));
        }
        let what = format!("`{}` has its baseline, of {}", args.store, time(held.taken_at));
        let advice = "what was made in it since can't be adopted: have keys generated that replace them";
        return Err(Error::failed(what, advice));
    }
    check(&lines, taken_at, session)?;
    let unknown = lines.iter().filter(|line| line.identity == model::key::KeyIdentity::Unknown).count();
    if unknown > 0 {
        let keys = counted(unknown, "key");
        screen.note(&format!(
            "{YELLOW}{keys} without an identity{YELLOW:#}: they can be rotated, and not authorised anew"
        ));
    }
    documents::store(session, screen, &list.text(), list.parts()).await?;
    let AdoptArgs { store, workload, responsibility, jurisdiction, classification, environment, asset, .. } = args;
    let common = Common { workload, responsibility, jurisdiction, classification, environment, asset };
    let (against, manifest, reason) = (session.governance()?.head, list.manifest(), args.reason.into());
    let params = BaselineAdopt { against, store, taken_at, common, manifest, rotate_by, reason };
    let outcome = principal::govern(session, screen, Action::BaselineAdopt(params), &args.signing.into()).await?;
    screen.show(&outcome)
}

fn read(path: &Path) -> Result<(List, Vec<Line>), Error> {
    let advice = "name a list that `keylatch store inventory --baseline` wrote";
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, advice))?;
    let (list, lines) = baseline::parse(&text).map_err(|error| Error::file(path, error, advice))?;
    let most = usize::try_from(MANIFEST_MAX).unwrap_or(usize::MAX);
    match lines.len() {
        0 => Err(Error::file(path, "it lists no key", advice)),
        count if count > most => {
            let what = format!("it lists {count} keys, and a baseline is for at most {most}");
            Err(Error::file(path, what, "give each part of the store a name of its own, and adopt part by part"))
        }
        _ => Ok((list, lines)),
    }
}

fn written(path: &Path) -> Result<Timestamp, Error> {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(|error| Error::file(path, error, "say when it was taken: --taken-at"))?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or_default()))
}

/// What no service would take in: admins are not to sign for it.
fn check(lines: &[Line], taken_at: Timestamp, session: &Session) -> Result<(), Error> {
    if let Some(late) = lines.iter().find(|line| line.made_at.is_some_and(|made_at| made_at > taken_at)) {
        let what = format!("`{}` was made after {}, when the inventory was taken", late.label, time(taken_at));
        return Err(Error::failed(what, "take it out of the list, or take the inventory again"));
    }
    let known = lines.iter().find(|line| session.state().keys.contains_key(&line.key_id));
    match known {
        None => Ok(()),
        Some(line) => {
            let what = format!("there is a key {} already", line.key_id);
            Err(Error::failed(what, "take the inventory again: it gives every key an id of its own"))
        }
    }
}

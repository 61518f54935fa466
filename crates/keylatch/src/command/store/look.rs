//! Looking at stores, on the custodian's host: what is in them, and whether they are as they should be.

use std::path::PathBuf;

use clap::Args;
use custodian::FurtherStores;
use custodian::custody::Place;
use custodian::onlook::{self, PlaceSeen, StoreSeen};
use keystore::inventory::Item;
use lifecycle::baseline::{self, Line};
use model::{Name, Text};
use serde_json::{Value, json};
use service::clock;

use crate::command::custody::PlaceArgs;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, Cell, DIM, GREEN, RED, Table, YELLOW, safe};
use crate::screen::{Screen, Shown};
use crate::words::counted;

/// Which stores.
#[derive(Args, Clone, Debug)]
pub struct InventoryArgs {
    /// The folder of `keylatch up`, whose stores are looked at.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["config", "module"], conflicts_with_all = ["config", "module"])]
    pub dir: Option<PathBuf>,
    /// The configuration of a custodian that runs as a process of its own.
    #[arg(long, value_name = "FILE", conflicts_with = "module")]
    pub config: Option<PathBuf>,
    /// A PKCS#11 module, for a token that no store has.
    #[arg(long, value_name = "FILE", requires_all = ["token", "pin", "store"])]
    pub module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", requires = "module")]
    pub token: Option<String>,
    /// Where its user PIN is: file:PATH or env:NAME.
    #[arg(long, value_name = "SOURCE", requires = "module")]
    pub pin: Option<String>,
    /// Only this store; with --module, the name that the token's keys get as a store.
    #[arg(long)]
    pub store: Option<Name>,
    /// Write what is not Keylatch's to this new file, as a list for `keylatch store adopt`.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
}

/// Which stores, and what is tried on them.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    /// Of which custodian.
    pub place: PlaceArgs,
    /// Only this store.
    #[arg(long)]
    pub store: Option<Name>,
    /// Also try the side doors of this KMIP store, with keys made for it and destroyed at once. No custodian may run.
    #[arg(long, value_name = "STORE")]
    pub doors: Option<Name>,
}

fn places(args: &InventoryArgs) -> PlaceArgs {
    PlaceArgs { dir: args.dir.clone(), config: args.config.clone(), master_key: Vec::new() }
}

fn load(place: &PlaceArgs) -> Result<(FurtherStores, Place), Error> {
    let path = place.stores()?;
    let stores = FurtherStores::load(&path).map_err(|error| Error::file(&path, error, "mend the file"))?;
    Ok((stores, place.place()?))
}

/// Looks off the async threads.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::failed(error, "do it again"))
}

async fn seen(stores: FurtherStores, place: Place, only: Option<Name>) -> Result<Vec<StoreSeen>, Error> {
    let mut all = off(move || {
        let software = onlook::look_at_software(&place).filter(|_| place.store().exists());
        software.into_iter().chain(onlook::look(&stores)).collect::<Vec<_>>()
    })
    .await?;
    if let Some(only) = only {
        all.retain(|store| store.name == only);
        if all.is_empty() {
            return Err(Error::usage(format!("no store `{only}` is configured"), "see stores.toml"));
        }
    }
    Ok(all)
}

// === Inventory ===

/// Lists what is there.
pub async fn inventory(args: InventoryArgs, screen: &mut Screen) -> Result<(), Error> {
    custodian::guard_memory();
    let all = match (&args.module, &args.token, &args.pin, &args.store) {
        (Some(module), Some(label), Some(pin), Some(store)) => {
            let pin = onlook::pin(pin).map_err(|error| Error::usage(error, "put it in a file that only you read"))?;
            let token = onlook::TokenConfig { label: label.clone(), pin };
            let (store, module) = (store.clone(), module.clone());
            vec![off(move || onlook::look_at_token(store, &module, token)).await?]
        }
        _ => {
            let (stores, place) = load(&places(&args))?;
            seen(stores, place, args.store.clone()).await?
        }
    };
    let mut people = table(&all);
    let mut written = Value::Null;
    if let Some(path) = &args.baseline {
        let lines = lines(&all)?;
        let count = lines.len();
        let text = baseline::list(lines).text();
        std::fs::File::create_new(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| Error::file(path, error, "name a file that is not there yet"))?;
        let keys = counted(count, "key");
        people.push_str(&format!("{GREEN}written:{GREEN:#} {keys} that are not Keylatch's, in {}\n", path.display()));
        written = json!({ "file": path, "keys": count });
    }
    let json = json!({ "ok": true, "stores": all.iter().map(to_json).collect::<Vec<_>>(), "baseline": written });
    screen.show(&Shown { json, people })
}

/// The lines of what is not ours. One store, all of it seen: a baseline is made once.
fn lines(all: &[StoreSeen]) -> Result<Vec<Line>, Error> {
    let [store] = all else {
        let what = format!("a baseline is of one store, and {} were looked at", all.len());
        return Err(Error::usage(what, "name the one with --store"));
    };
    let mut lines = Vec::new();
    for place in &store.places {
        let items = place.items.as_ref().map_err(|error| {
            Error::failed(
                format!("{} could not be seen: {error}", place.place),
                "a store has one baseline, of all of it",
            )
        })?;
        for item in items.iter().filter(|item| !item.ours) {
            let other = || format!("`{}` can't be written in a list", item.object);
            let line = line(item).ok_or_else(|| Error::failed(other(), "give it another label in its store"))?;
            lines.push(line);
        }
    }
    Ok(lines)
}

fn line(item: &Item) -> Option<Line> {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let algorithm: String = item.algorithm.chars().map(letter).take(64).collect();
    let label: String = item.label.chars().filter(|c| !c.is_control()).take(500).collect();
    let label = label.parse::<Text>().or_else(|_| format!("object {}", item.object).parse()).ok()?;
    let (algorithm, identity) = (algorithm.parse().ok()?, identity(item));
    Some(Line { key_id: clock::key_id(), algorithm, identity, label, made_at: item.made_at })
}

/// As a list has it: of a key pair the digest.
fn identity(item: &Item) -> model::key::KeyIdentity {
    match &item.identity {
        model::key::KeyIdentity::PublicKey(der) => model::key::KeyIdentity::PublicKeyDigest(model::Digest::of(&der.0)),
        other => other.clone(),
    }
}

fn table(all: &[StoreSeen]) -> String {
    let mut people = String::new();
    for store in all {
        for PlaceSeen { place, said, items } in &store.places {
            let said = said.as_ref().map_or_else(String::new, |said| format!("  {DIM}{}{DIM:#}", safe(said)));
            people.push_str(&format!("{BOLD}{}{BOLD:#}, {}{said}\n", store.name, safe(place)));
            match items {
                Err(error) => people.push_str(&format!("  {RED}can't be seen:{RED:#} {}\n", safe(error))),
                Ok(items) => people.push_str(&rows(items)),
            }
        }
    }
    if people.is_empty() { "no store is configured\n".to_owned() } else { people }
}

fn rows(items: &[Item]) -> String {
    let mut table = Table::new(&["LABEL", "ALGORITHM", "STATE", "MAY", "IDENTITY", "MADE", "WHOSE"]);
    for item in items {
        let usages: Vec<&str> = item.usages.iter().map(String::as_str).collect();
        let label = if item.label.is_empty() { &item.object } else { &item.label };
        table.row([
            Cell::styled(BOLD, label),
            item.algorithm.as_str().into(),
            item.state.clone().unwrap_or_else(|| "-".to_owned()).into(),
            if usages.is_empty() { "nothing".to_owned() } else { usages.join(",") }.into(),
            item.identity.to_string().chars().take(21).collect::<String>().into(),
            item.made_at.map_or_else(|| "-".to_owned(), |at| at.to_string()).into(),
            if item.ours { "Keylatch's" } else { "not ours" }.into(),
        ]);
    }
    table.to_people("no key is there")
}

fn to_json(store: &StoreSeen) -> Value {
    let place = |place: &PlaceSeen| match &place.items {
        Ok(items) => json!({ "place": place.place, "said": place.said, "keys": items }),
        Err(error) => json!({ "place": place.place, "said": place.said, "error": error }),
    };
    let algorithms: Vec<&str> = store.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    json!({
        "store": store.name,
        "kind": store.kind,
        "mode": store.mode,
        "algorithms": algorithms,
        "doubts": store.doubts,
        "places": store.places.iter().map(place).collect::<Vec<_>>(),
    })
}

// === Check ===

/// Says whether each store is as it should be.
pub async fn check(args: CheckArgs, screen: &mut Screen) -> Result<Exit, Error> {
    custodian::guard_memory();
    let (stores, place) = load(&args.place)?;
    let (folder, of_doors) = (place.keys().to_owned(), stores.clone());
    let all = seen(stores, place, args.store.clone()).await?;
    let mut well = true;
    let mut people = String::new();
    for store in &all {
        let mode = store.mode.map_or_else(String::new, |mode| format!(", {mode}"));
        people.push_str(&format!("{BOLD}{}{BOLD:#} ({}{mode})\n", store.name, store.kind));
        let algorithms: Vec<&str> = store.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        if !algorithms.is_empty() {
            people.push_str(&format!("  makes keys of {}\n", algorithms.join(", ")));
        }
        for PlaceSeen { place, said, items } in &store.places {
            let said = said.as_ref().map_or_else(String::new, |said| format!(" {DIM}({}){DIM:#}", safe(said)));
            // One that a custodian has open is at work.
            let at_work = items.as_ref().is_err_and(|error| error.starts_with("a custodian has it open"));
            match items {
                Ok(items) => {
                    let ours = items.iter().filter(|item| item.ours).count();
                    let others = items.len() - ours;
                    people.push_str(&format!(
                        "  {GREEN}answers:{GREEN:#} {}{said}: {} of ours, {others} of others\n",
                        safe(place),
                        counted(ours, "key")
                    ));
                }
                Err(error) if at_work => people.push_str(&format!("  {GREEN}at work:{GREEN:#} {}\n", safe(error))),
                Err(error) => {
                    well = false;
                    people.push_str(&format!(
                        "  {RED}does not answer:{RED:#} {}{said}: {}\n",
                        safe(place),
                        safe(error)
                    ));
                }
            }
        }
        for doubt in &store.doubts {
            well = false;
            people.push_str(&format!("  {YELLOW}doubtful:{YELLOW:#} {}\n", safe(doubt)));
        }
    }
    let mut doors = Vec::new();
    if let Some(name) = args.doors.clone() {
        let tried = off(move || onlook::doors(&of_doors, &name, &folder)).await?;
        let tried = tried.map_err(|error| Error::failed(error, "stop the custodian, and name a KMIP store"))?;
        people.push_str(&format!("{BOLD}side doors{BOLD:#}\n"));
        for finding in &tried {
            let open = finding.verdict == onlook::Verdict::Open;
            well &= !open;
            let (style, verdict) = if open { (RED, "open") } else { (GREEN, onlook::verdict(finding.verdict)) };
            people.push_str(&format!("  {style}{verdict}{style:#} {}: {}\n", finding.door, safe(&finding.said)));
            doors.push(json!({ "door": finding.door.to_string(), "verdict": verdict, "said": finding.said }));
        }
    }
    let json = json!({ "ok": well, "stores": all.iter().map(to_json).collect::<Vec<_>>(), "doors": doors });
    screen.show(&Shown { json, people })?;
    Ok(if well { Exit::Ok } else { Exit::Refused })
}

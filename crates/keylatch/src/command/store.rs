//! `keylatch store`: which server and which database a key store is, and who could reach into it.

pub mod adopt;
pub mod attest;
pub mod look;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lifecycle::Tenant;
use lifecycle::state::RegisteredStore;
use model::command::{PRIVILEGED_ACCOUNTS_MAX, StoreRegister};
use model::evidence::Store;
use model::{Action, KeyState, Name, Text};
use serde_json::{Value, json};

use crate::command::delegation::already;
use crate::command::{SigningArgs, principal};
use crate::error::{Error, Exit};
use crate::layout::{BOLD, Cell, DIM, Fields, RED, Table, YELLOW, safe};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::toml_text;
use crate::words::counted;

/// What to do with stores.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Register a key store: its server, its database, its module, who runs it. Takes a quorum of admins.
    ///
    /// The name is the one that custodians give the store, as `keylatch key show` has it. What is said here is the admins'
    /// word; registered again under the same name, it takes the place of what was said before.
    #[command(
        after_long_help = "Example, from a file:\n  cat > software.toml <<'END'\n  name = \"software\"\n  kind = \"software\"\n  server = \"kms-1, rack 12, Frankfurt\"\n  database = \"redb file /var/lib/keylatch/custodian\"\n  region = \"EU\"\n  operator = \"platform operations\"\n  privileged_accounts = [\"root on kms-1\", \"backup operator\"]\n  END\n  keylatch store register software.toml --out store.json\n  keylatch sign store.json         (another admin)\n  keylatch submit store.json\n\nThe same without a file:\n  keylatch store register --name hsm-1 --kind pkcs11 --server 'HSM 1' --database 'token 0' \\\n    --serial 5712 --firmware 7.4 --module-certificate 'CMVP 4321' --out store.json"
    )]
    Register(Box<RegisterArgs>),
    /// List every key in the stores that a custodian is configured for, or on a token, without touching any.
    ///
    /// Run on the custodian's host, beside it or before there is one. Tokens are looked at in a session that can't change
    /// anything, servers by Locate and Get Attributes. What a key is called, what it may be used for, and when it was made is
    /// the store's own word.
    #[command(
        after_long_help = "Examples:\n  keylatch store inventory --dir my-platform\n  keylatch store inventory --module /usr/lib/softhsm/libsofthsm2.so --token legacy --pin file:legacy.pin \\\n    --store legacy --baseline legacy.baseline\n\nWith --baseline, what is not Keylatch's is written as the list that `keylatch store adopt` takes in."
    )]
    Inventory(look::InventoryArgs),
    /// Take the keys that a store had before into the inventory, as active, activation not evidenced. Takes a quorum of
    /// admins, once for each store.
    #[command(
        after_long_help = "Example:\n  keylatch store adopt legacy.baseline --store legacy --rotate-by +365d --workload model-storage \\\n    --responsibility application --jurisdiction EU --classification secret --environment production \\\n    --asset 'billing database' --reason-kind migration --reason 'taking over the estate' --out adopt.json\n  keylatch sign adopt.json         (another admin)\n  keylatch submit adopt.json"
    )]
    Adopt(Box<adopt::AdoptArgs>),
    /// See whether each configured store is there and answers, and what should be otherwise. Exit code 1 where something
    /// should.
    Check(look::CheckArgs),
    /// Have a key's store say what it has, beside what the chain says. Asks the custodian that has the store open, on its
    /// host.
    Attest(attest::AttestArgs),
    /// List the stores registered, and those that keys name and nobody has registered: an exception.
    List,
    /// Show a store: what was registered of it, and its keys.
    Show {
        /// Its name.
        name: Name,
    },
}

/// Which store, and who signs.
#[derive(Args, Clone, Debug)]
pub struct RegisterArgs {
    /// The TOML file that describes it, in place of the options.
    pub file: Option<PathBuf>,
    #[command(flatten)]
    /// What is said of it.
    pub said: SaidArgs,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// What is said of a store.
#[derive(Args, Clone, Debug)]
pub struct SaidArgs {
    /// The store, as custodians name it.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<Name>,
    /// What kind of store it is, such as software or pkcs11.
    #[arg(long, required_unless_present = "file", conflicts_with = "file")]
    pub kind: Option<Name>,
    /// The key management server.
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    pub server: Option<Text>,
    /// Where it keeps keys.
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    pub database: Option<Text>,
    /// The module's serial number.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub serial: Option<Text>,
    /// The module's firmware.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub firmware: Option<Text>,
    /// The module's certificate, such as a CMVP number.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub module_certificate: Option<Text>,
    /// Where it stands.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub region: Option<Text>,
    /// Who runs it.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub operator: Option<Text>,
    /// An account that could reach its keys past Keylatch. Repeat it for further ones. No personal data.
    #[arg(long = "privileged-account", value_name = "TEXT", conflicts_with = "file")]
    pub privileged_accounts: Vec<Text>,
}

impl SaidArgs {
    /// The store; `None` where it is not said what must be said.
    fn store(self) -> Option<Store> {
        Some(Store {
            name: self.name?,
            kind: self.kind?,
            server: self.server?,
            database: self.database?,
            serial: self.serial,
            firmware: self.firmware,
            module_certificate: self.module_certificate,
            region: self.region,
            operator: self.operator,
            privileged_accounts: self.privileged_accounts.into_iter().collect(),
        })
    }
}

/// Runs what needs no session; `None` for the rest.
pub async fn run_here(command: &StoreCommand, screen: &mut Screen) -> Option<Result<Exit, Error>> {
    match command {
        StoreCommand::Inventory(args) => Some(look::inventory(args.clone(), screen).await.map(|()| Exit::Ok)),
        StoreCommand::Check(args) => Some(look::check(args.clone(), screen).await),
        _ => None,
    }
}

/// Runs `keylatch store`.
pub async fn run(command: StoreCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match command {
        StoreCommand::Register(args) => register(*args, session, screen).await,
        StoreCommand::Adopt(args) => adopt::run(*args, session, screen).await,
        StoreCommand::Attest(args) => attest::run(&args, session, screen).await,
        StoreCommand::Inventory(_) | StoreCommand::Check(_) => {
            Err(Error::usage("this is done on the custodian's host", "run it there, without a session"))
        }
        StoreCommand::List => screen.show(&list(session)?),
        StoreCommand::Show { name } => screen.show(&show(session, &name)?),
    }
}

/// Registers one.
pub async fn register(args: RegisterArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let store = match args.file {
        Some(file) => read(&file)?,
        None => args.said.store().ok_or_else(|| {
            Error::usage("the store is not described", "give a file, or --name, --kind, --server and --database")
        })?,
    };
    let accounts = store.privileged_accounts.len();
    if accounts > PRIVILEGED_ACCOUNTS_MAX {
        let what = format!("{accounts} privileged accounts: at most {PRIVILEGED_ACCOUNTS_MAX} are named");
        return Err(Error::usage(what, "name groups of them"));
    }
    let governance = session.governance()?;
    if let Some(held) = governance.stores.get(&store.name).filter(|held| held.store == store) {
        return screen.show(&already("it is registered so already", held.hash));
    }
    if !session.state().keys.values().any(|key| key.store == store.name) {
        screen.note(&format!(
            "{YELLOW}no key is in a store `{}`{YELLOW:#}: see that the name is the one that custodians give it",
            safe(store.name.as_str())
        ));
    }
    let params = StoreRegister { against: governance.head, store };
    let outcome = principal::govern(session, screen, Action::StoreRegister(params), &args.signing.into()).await?;
    screen.show(&outcome)
}

fn read(path: &Path) -> Result<Store, Error> {
    let advice = "see `keylatch store register --help` for one";
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error, advice))?;
    toml::from_str(&text).map_err(|error| Error::file(path, toml_text::explain(&text, &error), advice))
}

/// The stores that keys are in, with how many are in which state.
fn with_keys(state: &Tenant) -> BTreeMap<&Name, BTreeMap<KeyState, u64>> {
    let mut stores: BTreeMap<&Name, BTreeMap<KeyState, u64>> = BTreeMap::new();
    for key in state.keys.values() {
        *stores.entry(&key.store).or_default().entry(key.state).or_default() += 1;
    }
    stores
}

/// The stores that keys are in and nobody has registered.
pub(crate) fn unregistered(state: &Tenant) -> Vec<&Name> {
    let registered =
        |name: &Name| state.governance.as_ref().is_some_and(|governance| governance.stores.contains_key(name));
    with_keys(state).into_keys().filter(|name| !registered(name)).collect()
}

/// Those registered, and those that are not.
pub fn list(session: &Session) -> Result<Shown, Error> {
    let (state, governance) = (session.state(), session.governance()?);
    let keys = with_keys(state);
    let count = |name: &Name| keys.get(name).map_or(0, |states| states.values().sum::<u64>());
    let mut table = Table::new(&["STORE", "KIND", "SERVER", "DATABASE", "REGION", "OPERATOR", "KEYS"]);
    let text = |text: &Option<Text>| text.as_ref().map_or("-", Text::as_str).to_owned();
    for (name, RegisteredStore { store, .. }) in &governance.stores {
        table.row([
            Cell::styled(BOLD, name.as_str()),
            store.kind.as_str().into(),
            store.server.as_str().into(),
            store.database.as_str().into(),
            text(&store.region).into(),
            text(&store.operator).into(),
            count(name).to_string().into(),
        ]);
    }
    let missing = unregistered(state);
    let mut people = table.to_people("no store is registered");
    for name in &missing {
        let keys = counted(usize::try_from(count(name)).unwrap_or(usize::MAX), "key");
        let name = safe(name.as_str());
        people.push_str(&format!(
            "{RED}`{name}` has {keys} and is not registered{RED:#}: keylatch store register --name {name} …\n"
        ));
    }
    let stores: Vec<Value> = governance.stores.iter().map(|(name, held)| to_json(held, keys.get(name))).collect();
    Ok(Shown { json: json!({ "ok": true, "stores": stores, "not_registered": missing }), people })
}

fn to_json(held: &RegisteredStore, keys: Option<&BTreeMap<KeyState, u64>>) -> Value {
    json!({ "store": held.store, "event": held.hash, "keys": keys.cloned().unwrap_or_default() })
}

/// One of them.
pub fn show(session: &Session, name: &Name) -> Result<Shown, Error> {
    let (state, governance) = (session.state(), session.governance()?);
    let keys = with_keys(state).remove(name).unwrap_or_default();
    let Some(held) = governance.stores.get(name) else {
        let what = match keys.is_empty() {
            true => format!("there is no store `{name}`: it is not registered, and no key is in it"),
            false => format!("`{name}` is not registered, and {} keys are in it", keys.values().sum::<u64>()),
        };
        return Err(Error::usage(what, "see `keylatch store list`; `keylatch store register` registers one"));
    };
    let store = &held.store;
    let mut fields = Fields::default();
    fields.text("kind", store.kind.as_str());
    fields.text("server", store.server.as_str());
    fields.text("database", store.database.as_str());
    for (what, said) in [
        ("serial", &store.serial),
        ("firmware", &store.firmware),
        ("certificate", &store.module_certificate),
        ("region", &store.region),
        ("operator", &store.operator),
    ] {
        fields.text(what, said.as_ref().map_or("not said", Text::as_str));
    }
    let accounts: Vec<&str> = store.privileged_accounts.iter().map(Text::as_str).collect();
    fields.text("privileged", if accounts.is_empty() { "nobody is named".to_owned() } else { accounts.join("\n") });
    let states: Vec<String> = keys.iter().map(|(state, count)| format!("{count} {state}")).collect();
    fields.text("keys", if states.is_empty() { "none".to_owned() } else { states.join(", ") });
    fields.text("registered", lookup::short(held.hash));
    let note = "what stands behind the name is the admins' word, signed when they registered it";
    let people = format!("{BOLD}{}{BOLD:#}\n{}  {DIM}{note}{DIM:#}\n", safe(name.as_str()), fields.to_people(2));
    Ok(Shown { json: json!({ "ok": true, "store": to_json(held, Some(&keys)) }), people })
}

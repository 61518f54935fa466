//! `keylatch tenant`: making tenants, and users of theirs. For whoever runs the platform: it works on the platform's
//! folder, and with the server that runs on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use journal::command::SignedCommand;
use journal_nats::permission::TenantUser;
use model::key::TenantClass;
use model::people::{PrincipalKind, PublicKey};
use model::text::Base64;
use model::{Action, Command, Envelope, Name, Principal, Role, TenantId, command, dsse};
use serde_json::json;
use service::Clock;

use crate::cli::Global;
use crate::command::up::of_platform;
use crate::context::{Context, Contexts};
use crate::error::Error;
use crate::identity::{Identity, read_public_key};
use crate::layout::{BOLD, CYAN, Cell, GREEN, Table};
use crate::platform::{Deployment, registrar};
use crate::screen::{Screen, Shown};
use crate::submit;

/// What to do with tenants.
#[derive(Subcommand, Debug)]
pub enum TenantCommand {
    /// Propose a tenant: give it its id, and write the founding command for its first admins to sign.
    ///
    /// A tenant is an account of its own on the bus, and a history of its own. Its first admins govern it together from
    /// its first event on; every one of them signs the founding.
    #[command(
        after_long_help = "Example:\n  keylatch tenant propose acme --dir my-platform --class ap \\\n    --admin ann=ann.pub --admin bob=bob.pub --out acme.json\n  keylatch sign acme.json --offline --identity ann      (each admin)\n  keylatch tenant create acme.json --dir my-platform"
    )]
    Propose(ProposeArgs),
    /// Create a tenant from its founding command, when every first admin has signed. The platform must be up.
    Create(CreateArgs),
    /// Make a user of a tenant: credentials for the bus, which say nothing of what somebody may sign.
    #[command(
        after_long_help = "Example, for yourself on this machine:\n  keylatch tenant user acme --dir my-platform --context acme --identity ~/.ssh/id_ed25519\n\nFor somebody else, or a program that only follows:\n  keylatch tenant user acme --dir my-platform --kind reader --name follower --out follower.creds"
    )]
    User(UserArgs),
    /// List the tenants of a platform.
    List {
        /// The platform's folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Who founds it.
#[derive(Args, Debug)]
pub struct ProposeArgs {
    /// A name for people.
    pub name: Name,
    /// The platform's folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Which party of the AI supply chain it is: csp, mp, ap or shared-csp-mp.
    #[arg(long, default_value = "ap", value_parser = class)]
    pub class: TenantClass,
    /// A first admin: the label that people see, and the file with the SSH public key. Repeat it; at least two.
    #[arg(long, required = true, value_name = "LABEL=FILE", value_parser = admin)]
    pub admin: Vec<Admin>,
    /// How many admins govern together.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..))]
    pub quorum: u8,
    /// Sign with this admin's SSH key now. Repeat it for further ones.
    #[arg(long, value_name = "KEYFILE")]
    pub cosign: Vec<PathBuf>,
    /// The file for the founding command.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Which founding.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The founding command, signed by every first admin.
    pub file: PathBuf,
    /// The platform's folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// Whose user, of which kind.
#[derive(Args, Debug)]
pub struct UserArgs {
    /// The tenant: its id, or its name where one tenant has it.
    pub tenant: String,
    /// The platform's folder.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// What it may do on the bus.
    #[arg(long, value_enum, default_value = "member")]
    pub kind: Kind,
    /// A name that the server's lists show; left out, the context's or the kind's.
    #[arg(long)]
    pub name: Option<Name>,
    /// The file for the credentials; left out, a file beside the context.
    #[arg(long, value_name = "FILE", required_unless_present = "context")]
    pub out: Option<PathBuf>,
}

/// What a user may do on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Send commands, ask for history, follow events.
    Member,
    /// Ask for history and follow events.
    Reader,
}

/// A first admin.
#[derive(Clone, Debug)]
pub struct Admin {
    label: Name,
    key: PublicKey,
}

fn admin(text: &str) -> Result<Admin, String> {
    let (label, path) = text.split_once('=').ok_or("write it as LABEL=FILE, with the file of an SSH public key")?;
    let key = read_public_key(Path::new(path)).map_err(|error| format!("{error}; {}", error.advice()))?;
    Ok(Admin { label: label.parse().map_err(|error: model::id::Malformed| error.to_string())?, key })
}

fn class(text: &str) -> Result<TenantClass, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("`{text}` is not csp, mp, ap or shared-csp-mp"))
}

/// Runs `keylatch tenant`.
pub async fn run(command: TenantCommand, global: &Global, screen: &mut Screen) -> Result<(), Error> {
    let shown = match command {
        TenantCommand::Propose(args) => propose(&args)?,
        TenantCommand::Create(args) => create(&args).await?,
        TenantCommand::User(args) => user(&args, global)?,
        TenantCommand::List { dir } => list(&dir).await?,
    };
    screen.show(&shown)
}

fn open(dir: &Path) -> Result<Deployment, Error> {
    if !dir.join("root").is_dir() {
        let advice = "name the folder that `keylatch up --dir` runs on";
        return Err(Error::file(dir, "there is no platform in it", advice));
    }
    Deployment::open(dir, &Clock::default()).map_err(of_platform)
}

// === Propose ===

fn propose(args: &ProposeArgs) -> Result<Shown, Error> {
    let deployment = open(&args.dir)?;
    let tenant = registrar::reserve(&deployment, &args.name).map_err(of_registrar)?;
    let mut envelope = founding(args, tenant)?;
    for path in &args.cosign {
        submit::add_signature(&mut envelope, &Identity::load(path)?)?;
    }
    submit::write_envelope(&args.out, &envelope)?;
    let path = args.out.display();
    let people = format!(
        "{CYAN}proposed{CYAN:#} {BOLD}{}{BOLD:#} {tenant}\n  every first admin signs: keylatch sign {path} --offline \
         --identity KEYFILE\n  then: keylatch tenant create {path} --dir {}\n",
        args.name,
        args.dir.display()
    );
    Ok(Shown { json: json!({ "ok": true, "tenant": tenant, "saved": args.out }), people })
}

/// The founding command, not signed yet.
fn founding(args: &ProposeArgs, tenant: TenantId) -> Result<Envelope, Error> {
    let admins = Role::ADMIN.parse::<Role>().map_err(|error| Error::usage(error, "tell the authors"))?;
    let principal = |admin: &Admin| Principal {
        key: admin.key.clone(),
        label: admin.label.clone(),
        kind: PrincipalKind::Person,
        person: admin.label.clone(),
        roles: [admins.clone()].into(),
        subject: None,
        party: None,
    };
    let action = Action::TenantCreate(command::TenantCreate {
        name: args.name.clone(),
        class: args.class,
        admins: args.admin.iter().map(principal).collect(),
        admin_quorum: args.quorum,
    });
    let issued_at = Clock::default().now();
    let expires_at = issued_at + command::LIFETIME_MAX_QUORUM;
    let command = Command { id: service::clock::command_id(), tenant, key_id: None, issued_at, expires_at, action };
    let payload = Base64(command.to_json());
    Ok(Envelope { payload, payload_type: dsse::COMMAND.to_owned(), signatures: Vec::new() })
}

// === Create ===

async fn create(args: &CreateArgs) -> Result<Shown, Error> {
    let deployment = open(&args.dir)?;
    let signed: SignedCommand = submit::open(submit::read_envelope(&args.file)?)?;
    let tenant = signed.command.tenant;
    let hash = registrar::create(&deployment, Arc::new(signed)).await.map_err(of_registrar)?;
    let people = format!(
        "{GREEN}created{GREEN:#} {tenant}\n  its history begins with {}\n  a user of it: keylatch tenant user {tenant} \
         --dir {} --context NAME --identity KEYFILE\n",
        hash.short(),
        args.dir.display()
    );
    let json = json!({ "ok": true, "tenant": tenant, "sequence": 1, "hash": hash, "root": deployment.root });
    Ok(Shown { json, people })
}

pub(crate) fn of_registrar(error: registrar::Error) -> Error {
    match error {
        registrar::Error::Refused(problem) => Error::Refused(problem),
        registrar::Error::Platform(error) => of_platform(error),
        registrar::Error::Operator(error) => Error::usage(error, "name the platform's folder with --dir"),
        error => Error::unreachable(error, "see that `keylatch up` runs on this folder"),
    }
}

// === User ===

fn user(args: &UserArgs, global: &Global) -> Result<Shown, Error> {
    let deployment = open(&args.dir)?;
    let tenant = find(&deployment, &args.tenant)?;
    let kind = match args.kind {
        Kind::Member => TenantUser::Member,
        Kind::Reader => TenantUser::Reader,
    };
    let name = args.name.clone().or_else(|| global.context.clone());
    let name = name.map_or_else(|| kind.name().parse().map_err(|error| Error::usage(error, "give a --name")), Ok)?;
    let of_operator =
        |error: journal_nats::operator::Error| Error::usage(error, "name the platform's folder with --dir");
    let account = deployment.operator.tenant(tenant).map_err(of_operator)?;
    let credentials = account.user(kind, &name).map_err(of_operator)?;
    let contexts = Contexts::from_environment()?;
    let path = match (&args.out, &global.context) {
        (Some(path), _) => path.clone(),
        (None, Some(context)) => contexts.home().join("credentials").join(format!("{context}.creds")),
        (None, None) => return Err(Error::usage("there is no place for the credentials", "give --out or --context")),
    };
    if let Some(folder) = path.parent().filter(|_| args.out.is_none()) {
        service::secret::ensure_folder(folder).map_err(of_platform)?;
    }
    let advice = "name another file with --out, or remove that one";
    credentials.save(&path).map_err(|error| Error::usage(error, advice))?;
    let mut people = format!("{GREEN}made{GREEN:#} {} `{name}` of {tenant}: {}\n", kind.name(), path.display());
    if let Some(context) = &global.context {
        keep_context(&deployment, context, tenant, &path, global, &contexts)?;
        people += &format!("  in use: context {BOLD}{context}{BOLD:#}; try `keylatch doctor`\n");
    }
    let json =
        json!({ "ok": true, "tenant": tenant, "kind": kind.name(), "credentials": path, "root": deployment.root });
    Ok(Shown { json, people })
}

fn keep_context(
    deployment: &Deployment,
    name: &Name,
    tenant: TenantId,
    credentials: &Path,
    global: &Global,
    contexts: &Contexts,
) -> Result<(), Error> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Error::file(path, error, "name a file that is there"));
    let context = Context {
        url: deployment.url().map_err(of_platform)?,
        credentials: absolute(credentials)?,
        tenant,
        root: deployment.root,
        identity: global.identity.as_deref().map(absolute).transpose()?,
    };
    contexts.add(name, &context, false)?;
    contexts.use_from_now_on(name)
}

/// The tenant that is meant: by id, or by the name of its account.
fn find(deployment: &Deployment, named: &str) -> Result<TenantId, Error> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let all = tenants(deployment)?;
    let matching: Vec<TenantId> = all.into_iter().filter(|(_, name)| name == named).map(|(id, _)| id).collect();
    match matching.as_slice() {
        [id] => Ok(*id),
        [] => Err(Error::usage(format!("there is no tenant `{named}`"), "see `keylatch tenant list`")),
        _ => Err(Error::usage(
            format!("several tenants are called `{named}`"),
            "name its id, from `keylatch tenant list`",
        )),
    }
}

fn tenants(deployment: &Deployment) -> Result<Vec<(TenantId, String)>, Error> {
    let of_operator = |error: journal_nats::operator::Error| Error::usage(error, "mend the file");
    let ids = deployment.operator.tenants().map_err(of_operator)?;
    ids.into_iter().map(|id| Ok((id, deployment.operator.tenant(id).map_err(of_operator)?.name().to_owned()))).collect()
}

// === List ===

async fn list(dir: &Path) -> Result<Shown, Error> {
    let tenants = tenants(&open(dir)?)?;
    let mut table = Table::new(&["TENANT", "NAME"]);
    for (id, name) in &tenants {
        table.row([Cell::from(id.to_string()), Cell::from(name.clone())]);
    }
    let rows: Vec<_> = tenants.iter().map(|(id, name)| json!({ "tenant": id, "name": name })).collect();
    Ok(Shown { json: json!({ "ok": true, "tenants": rows }), people: table.to_people("no tenant yet\n") })
}

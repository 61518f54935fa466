//! `keylatch context`: which platform, which tenant, under which root, as whom.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use journal_nats::Credentials;
use model::{Fingerprint, Name, TenantId};
use serde_json::json;

use crate::context::{Context, Contexts};
use crate::error::Error;
use crate::layout::{BOLD, Cell, Fields, GREEN, Table};
use crate::screen::{Screen, Shown};

/// What to do with contexts.
#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// Add a context.
    ///
    /// The tenant is read from the credentials. With --identity, the context names the SSH key that signs your commands: a
    /// private key, or a public one whose private half your agent or token has. The root's fingerprint you must have from somebody you trust, not from
    /// the platform: everything is verified under it.
    #[command(
        after_long_help = "Example:\n  keylatch context add prod --url nats://bus.example:4222 \\\n    --credentials ~/keylatch/me.creds --root SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w \\\n    --identity ~/.ssh/id_ed25519 --use"
    )]
    Add(AddArgs),
    /// List the contexts.
    List,
    /// Use a context from now on.
    Use {
        /// Its name.
        name: Name,
    },
    /// Show a context: the one in use, or the one named.
    Show {
        /// Its name.
        name: Option<Name>,
    },
    /// Remove a context. Credentials and keys that it names stay where they are.
    Remove {
        /// Its name.
        name: Name,
    },
}

/// What a context says.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// A name for it.
    pub name: Name,
    /// The bus, such as `nats://127.0.0.1:4222` or `tls://bus.example:4222`.
    #[arg(long)]
    pub url: String,
    /// The NATS credentials (.creds) of a user of the tenant's account.
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
    /// The root's fingerprint, `SHA256:…`: what everything is verified under.
    #[arg(long, value_name = "FINGERPRINT")]
    pub root: Fingerprint,
    /// The tenant; left out, the account of the credentials.
    #[arg(long)]
    pub tenant: Option<TenantId>,
    /// Use it from now on.
    #[arg(long = "use")]
    pub use_it: bool,
    /// Replace a context of this name.
    #[arg(long)]
    pub replace: bool,
}

/// Runs `keylatch context`.
pub fn run(
    command: ContextCommand,
    contexts: &Contexts,
    named: Option<&Name>,
    identity: Option<PathBuf>,
    screen: &mut Screen,
) -> Result<(), Error> {
    match command {
        ContextCommand::Add(args) => screen.show(&add(args, identity, contexts)?),
        ContextCommand::List => screen.show(&list(contexts)?),
        ContextCommand::Use { name } => {
            contexts.use_from_now_on(&name)?;
            let people = format!("{GREEN}in use:{GREEN:#} {name}\n");
            screen.show(&Shown { json: json!({ "ok": true, "context": name }), people })
        }
        ContextCommand::Show { name } => {
            let name = contexts.choose(name.as_ref().or(named))?;
            screen.show(&show(&name, contexts)?)
        }
        ContextCommand::Remove { name } => {
            contexts.remove(&name)?;
            let people = format!("removed: {name}\n");
            screen.show(&Shown { json: json!({ "ok": true, "removed": name }), people })
        }
    }
}

/// Keeps a context, with this identity.
pub fn add(args: AddArgs, identity: Option<PathBuf>, contexts: &Contexts) -> Result<Shown, Error> {
    if !["nats://", "tls://", "ws://", "wss://"].iter().any(|scheme| args.url.starts_with(scheme)) {
        let what = format!("`{}` is not the address of a bus", args.url);
        return Err(Error::usage(what, "write it as nats://HOST:4222 or tls://HOST:4222"));
    }
    let tenant = tenant(&args)?;
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| Error::file(&path, error, "name a file that is there"))
    };
    let context = Context {
        url: args.url,
        credentials: absolute(args.credentials)?,
        tenant,
        root: args.root,
        identity: identity.map(absolute).transpose()?,
    };
    let path = contexts.add(&args.name, &context, args.replace)?;
    if args.use_it {
        contexts.use_from_now_on(&args.name)?;
    }
    let people = format!("{GREEN}added:{GREEN:#} {} ({})\n", args.name, path.display());
    Ok(Shown { json: json!({ "ok": true, "context": args.name, "file": path, "tenant": tenant }), people })
}

/// The tenant: the credentials' account, which must be the one named where one is.
fn tenant(args: &AddArgs) -> Result<TenantId, Error> {
    let advice = "name the .creds file that your admin gave you";
    let credentials = Credentials::load(&args.credentials).map_err(|error| Error::usage(error, advice))?;
    let account = credentials.account().parse().map_err(|error| Error::file(&args.credentials, error, advice))?;
    match args.tenant {
        Some(tenant) if tenant != account => {
            let what = format!("the credentials are for {account}, not for {tenant}");
            Err(Error::file(&args.credentials, what, "leave --tenant out, or name the tenant's own credentials"))
        }
        _ => Ok(account),
    }
}

fn list(contexts: &Contexts) -> Result<Shown, Error> {
    let current = contexts.choose(None).ok();
    let mut table = Table::new(&["", "CONTEXT", "URL", "TENANT", "SIGNS WITH"]);
    let mut json = Vec::new();
    for name in contexts.names()? {
        let in_use = current.as_ref() == Some(&name);
        let mark = if in_use { Cell::styled(GREEN, "*") } else { "".into() };
        // A broken one is listed with what is wrong, so that it does not hide the others.
        match contexts.load(&name) {
            Ok(context) => {
                let identity = context.identity.as_ref().map(|path| path.display().to_string());
                let (url, tenant) = (context.url.clone(), context.tenant.to_string());
                let cells = [mark, Cell::styled(BOLD, name.as_str()), url.into(), tenant.into()];
                table.row(cells.into_iter().chain([identity.clone().unwrap_or_else(|| "-".to_owned()).into()]));
                json.push(json!({ "name": name, "current": in_use, "context": context }));
            }
            Err(error) => {
                table.row([mark, Cell::styled(BOLD, name.as_str()), error.to_string().into()]);
                json.push(json!({ "name": name, "current": in_use, "error": error.to_string() }));
            }
        }
    }
    let people = table.to_people("no contexts yet: see `keylatch context add --help`");
    Ok(Shown { json: json!({ "ok": true, "contexts": json }), people })
}

fn show(name: &Name, contexts: &Contexts) -> Result<Shown, Error> {
    let context = contexts.load(name)?;
    let mut fields = Fields::default();
    fields.text("context", name.as_str());
    fields.text("file", contexts.path(name).display().to_string());
    fields.text("url", &context.url);
    fields.text("credentials", context.credentials.display().to_string());
    fields.text("tenant", context.tenant.to_string());
    fields.text("root", context.root.to_string());
    let identity = context.identity.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    fields.text("identity", identity);
    let json = json!({ "ok": true, "name": name, "file": contexts.path(name), "context": context });
    Ok(Shown { json, people: fields.to_people(0) })
}

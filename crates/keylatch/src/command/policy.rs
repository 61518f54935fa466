//! `keylatch policy`: the document that says what it takes to create, activate and use a key.

pub mod check;
pub mod diff;
pub mod history;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::command::PolicyAdopt;
use model::{Action, Policy};
use serde_json::json;

pub use self::check::{Checked, Finding, check, load, run_check};
use crate::command::delegation::already;
use crate::command::{SigningArgs, principal};
use crate::error::{Error, Exit};
use crate::layout::DIM;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::{Outcome, Signing};

/// What to do with policies.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Check a policy file: that it reads, that it holds together, and that your people and keys can live with it.
    ///
    /// A policy under which any key could be activated with no approval does not pass, and can't be adopted. With a
    /// context, the file is also held against the tenant: a role that nobody holds, a quorum larger than the people
    /// enrolled, a key that matches no rule. Without one (or with --offline) that is not looked at, and said so. Exit
    /// code 1 where there is anything to mend.
    #[command(
        after_long_help = "Example:\n  keylatch policy check policy.toml\n  policy.toml:41: rule.model-storage.stage.2: a quorum of nobody for `security`; ask for at least 1, or remove the stage"
    )]
    Check(check::CheckArgs),
    /// Show the policy in force, or an earlier one, as the TOML that it can be adopted from.
    Show {
        /// This version, from `keylatch policy history`; left out, the one in force.
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// Say what a file changes, member by member: what gets stricter, what gets laxer.
    #[command(
        after_long_help = "Examples:\n  keylatch policy diff policy.toml             the file against the policy in force\n  keylatch policy diff policy.toml --from 3    the file against version 3\n  keylatch policy diff --from 3 --to 4         two versions that were adopted"
    )]
    Diff(diff::DiffArgs),
    /// Adopt a policy. Takes a quorum of admins.
    #[command(
        after_long_help = "Example:\n  keylatch policy check policy.toml\n  keylatch policy diff policy.toml\n  keylatch policy adopt policy.toml --out adopt.json\n  keylatch sign adopt.json         (another admin)\n  keylatch submit adopt.json"
    )]
    Adopt(AdoptArgs),
    /// List every policy that was adopted: when, by whom.
    #[command(after_long_help = "Example:\n  keylatch policy history\n  keylatch policy show --version 2")]
    History,
}

/// Which policy, and who signs.
#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// The TOML file.
    pub file: PathBuf,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Runs what needs the platform.
pub async fn run(command: PolicyCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    match command {
        PolicyCommand::Check(args) => {
            session.refresh(screen).await?;
            return check::report(check::check_for(&args.file, session.state())?, screen);
        }
        PolicyCommand::Show { version: None } => {
            session.refresh(screen).await?;
            screen.show(&show(session)?)?;
        }
        PolicyCommand::Show { version: Some(version) } => {
            let all = history::adopted(session, screen).await?;
            screen.show(&history::show(&all, version)?)?;
        }
        PolicyCommand::Diff(args) => {
            let diff = diff::run(&args, session, screen).await?;
            screen.show(&diff)?;
        }
        PolicyCommand::History => {
            let all = history::adopted(session, screen).await?;
            screen.show(&history::list(&all, session))?;
        }
        PolicyCommand::Adopt(args) => run_adopt(args, session, screen).await?,
    }
    Ok(Exit::Ok)
}

async fn run_adopt(args: AdoptArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let policy = load(&args.file)?;
    session.refresh(screen).await?;
    if let Some(held) = session.governance()?.policy.as_ref().filter(|held| held.policy == policy) {
        return screen.show(&already(&format!("it is in force already, as version {}", held.version), held.hash));
    }
    let outcome = adopt(session, screen, policy, &args.signing.into()).await?;
    screen.show(&outcome)
}

/// Adopts a policy.
pub async fn adopt(
    session: &mut Session,
    screen: &mut Screen,
    policy: Policy,
    signing: &Signing,
) -> Result<Outcome, Error> {
    let against = session.governance()?.head;
    principal::govern(session, screen, Action::PolicyAdopt(PolicyAdopt { against, policy }), signing).await
}

/// The policy in force.
pub fn show(session: &Session) -> Result<Shown, Error> {
    let governance = session.governance()?;
    let held = governance.policy()?;
    let text = to_toml(&held.policy)?;
    let people = format!(
        "{DIM}# version {} of {}, adopted by event {}{DIM:#}\n{text}",
        held.version, governance.name, held.hash
    );
    let json = json!({ "ok": true, "version": held.version, "event": held.hash, "policy": held.policy });
    Ok(Shown { json, people })
}

/// A policy as the TOML that it can be adopted from.
pub(crate) fn to_toml(policy: &Policy) -> Result<String, Error> {
    toml::to_string(policy)
        .map_err(|error| Error::failed(format!("the policy can't be written as TOML: {error}"), "use --json"))
}

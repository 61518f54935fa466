//! `keylatch pack`: legal packs, and whether the tenant applies them.

pub mod check;
pub mod list;
pub mod shipped;
pub mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifecycle::state::DeclaredPack;
use model::command::{Applicability, PackDeclare};
use model::{Action, Text};

use crate::command::delegation::already;
use crate::command::{SigningArgs, principal};
use crate::error::{Error, Exit};
use crate::layout::{YELLOW, time};
use crate::screen::Screen;
use crate::session::Session;
use crate::words::When;

/// What to do with packs.
#[derive(Subcommand, Debug)]
pub enum PackCommand {
    /// List the shipped packs and those declared: applied, not applicable, or neither, and when each is to be reviewed.
    ///
    /// A shipped pack that is declared neither applied nor not applicable is an exception; where the policy names it, it
    /// holds up every activation.
    List,
    /// Show a pack: its gates, the facts that they need, its sources. Needs no platform.
    Show {
        /// A shipped pack's name, or a file.
        pack: String,
    },
    /// Check a pack file; or, with --key, say gate by gate what a pack comes to for a key now.
    ///
    /// A pack says which declared conditions hold, and nothing more. A gate is satisfied, not satisfied, unknown (with the
    /// facts that it wants) or not applicable; not satisfied and unknown hold an activation up. Exit code 1 where the file
    /// has faults, or a gate holds up.
    #[command(
        after_long_help = "Examples:\n  keylatch pack check our-pack.toml\n  keylatch pack check fips-140-3 --key weights-2026"
    )]
    Check(check::CheckArgs),
    /// Declare that a pack applies, or that it does not and why. Takes a quorum of admins.
    #[command(
        after_long_help = "Examples:\n  keylatch pack declare fips-140-3 --applied 'contract with the agency' \\\n    --review-by 2027-06-01 --out fips.json\n  keylatch pack declare ear-740-17 --not-applicable 'nothing leaves the United States' \\\n    --review-by +180d --out ear.json\n  keylatch sign fips.json          (another admin)\n  keylatch submit fips.json"
    )]
    Declare(DeclareArgs),
}

/// Which pack, whether it applies, and who signs.
#[derive(Args, Debug)]
pub struct DeclareArgs {
    /// A shipped pack's name, or a file.
    pub pack: String,
    #[command(flatten)]
    /// Whether it applies.
    pub applies: AppliesArgs,
    /// Until when this declaration must be looked at again, such as 2027-06-01 or +180d. A missed date is an exception.
    #[arg(long, value_name = "WHEN")]
    pub review_by: When,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Whether a pack applies.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct AppliesArgs {
    /// Its gates hold up activations, because of this.
    #[arg(long, value_name = "WHY")]
    pub applied: Option<Text>,
    /// It is not applied, because of this.
    #[arg(long, value_name = "WHY")]
    pub not_applicable: Option<Text>,
}

impl AppliesArgs {
    fn applicability(self) -> Result<Applicability, Error> {
        match (self.applied, self.not_applicable) {
            (Some(why), None) => Ok(Applicability::Applied(why)),
            (None, Some(why)) => Ok(Applicability::NotApplicable(why)),
            _ => Err(Error::usage("whether it applies is not said", "give --applied WHY or --not-applicable WHY")),
        }
    }
}

/// Runs what needs no platform; `None` where the command needs it.
pub fn run_offline(command: &PackCommand, screen: &mut Screen) -> Option<Result<Exit, Error>> {
    match command {
        PackCommand::Show { pack } => {
            let shown = shipped::find(pack).and_then(|found| screen.show(&show::show(&found)));
            Some(shown.map(|()| Exit::Ok))
        }
        PackCommand::Check(args) if args.key.is_none() => Some(check::run_file(&args.pack, screen)),
        _ => None,
    }
}

/// Runs `keylatch pack`.
pub async fn run(command: PackCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    if let Some(done) = run_offline(&command, screen) {
        return done;
    }
    session.refresh(screen).await?;
    match command {
        PackCommand::List => screen.show(&list::list(session)?)?,
        PackCommand::Check(args) => return check::run_key(&args, session, screen),
        PackCommand::Declare(args) => declare(args, session, screen).await?,
        PackCommand::Show { .. } => {}
    }
    Ok(Exit::Ok)
}

/// Declares one.
pub async fn declare(args: DeclareArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let now = session.now();
    let (applicability, review_by) = (args.applies.applicability()?, args.review_by.from(now));
    let pack = shipped::find(&args.pack)?.whole()?;
    if review_by <= now {
        let what = format!("it is to be looked at again by {}, which has passed", time(review_by));
        return Err(Error::usage(what, "give a time to come, such as --review-by +180d"));
    }
    let governance = session.governance()?;
    let same =
        |held: &&DeclaredPack| held.pack == pack && held.applicability == applicability && held.review_by == review_by;
    if let Some(held) = governance.packs.get(&pack.name).filter(same) {
        return screen.show(&already("it is declared so already", held.hash));
    }
    if pack.is_review_late(now) {
        let due = time(pack.review_due);
        screen.note(&format!(
            "{YELLOW}the pack's own review was due {due}{YELLOW:#}: what it says of the law may be out of date"
        ));
    }
    let params = PackDeclare { against: governance.head, pack, applicability, review_by };
    let outcome = principal::govern(session, screen, Action::PackDeclare(params), &args.signing.into()).await?;
    screen.show(&outcome)
}

/// A file, as what people give for a pack.
fn is_path(named: &str) -> bool {
    named.contains(['/', '\\']) || named.ends_with(".toml") || PathBuf::from(named).is_file()
}

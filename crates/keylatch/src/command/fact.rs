//! `keylatch fact`: what people assert, with evidence, for the gates of legal packs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};
use model::command::{FactAssert, FactWithdraw, LIFETIME_MAX};
use model::id::Malformed;
use model::pack::{FactValue, Number};
use model::{Action, Digest, KeyId, Name, Text, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::command::{ConsentArgs, ReasonArgs};
use crate::error::Error;
use crate::layout::time;
use crate::lookup;
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::Needs;
use crate::words::When;

pub mod list;

/// What to do with facts.
#[derive(Subcommand, Debug)]
pub enum FactCommand {
    /// Assert a fact, of a key or of the tenant, with a reference to the evidence and a time until which it holds.
    ///
    /// Gates of legal packs rest on facts; one that is missing, expired or of the wrong kind leaves its gate unknown, and
    /// unknown blocks. Policy says who may assert which fact, and for how long at most. Asserting it anew replaces it.
    #[command(
        after_long_help = "Examples:\n  keylatch fact list --key weights-2026\n  keylatch fact assert residency --names DE,FR --key weights-2026 --until +90d \\\n    --evidence DC-REG-12\n  keylatch fact assert module-certificate --text 4999 --until 2027-01-01 \\\n    --evidence CMVP-4999 --evidence-file 4999.pdf\n  keylatch fact assert screening-clear --flag true --until +24h --evidence SCR-2026-331"
    )]
    Assert(AssertArgs),
    /// Withdraw a fact. Gates that need it are unknown from then on.
    Withdraw(WithdrawArgs),
    /// List the facts that the applied packs need: which stand, until when, and who may assert them.
    List {
        /// As they are for this key: label, id, or the beginning of an id.
        #[arg(long)]
        key: Option<String>,
    },
}

/// Which fact, and on what evidence.
#[derive(Args, Debug)]
pub struct AssertArgs {
    /// The fact, by the name that packs give it.
    pub name: Name,
    #[command(flatten)]
    /// What is so.
    pub value: ValueArgs,
    /// The key it is about: label, id, or the beginning of an id. Left out, it is a fact of the tenant.
    #[arg(long)]
    pub key: Option<String>,
    /// Until when it holds without being asserted anew, such as 2027-01-01 or +90d.
    #[arg(long, value_name = "WHEN")]
    pub until: When,
    /// Where the evidence is: a reference. It is recorded for good: no personal data.
    #[arg(long, value_name = "REF")]
    pub evidence: Text,
    /// The evidence itself, whose SHA-256 is recorded. The file goes nowhere.
    #[arg(long, value_name = "FILE")]
    pub evidence_file: Option<PathBuf>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// What is so.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = false)]
pub struct ValueArgs {
    /// A sentence or a reference.
    #[arg(long)]
    pub text: Option<Text>,
    /// Yes or no: true or false.
    #[arg(long, value_name = "true|false")]
    pub flag: Option<bool>,
    /// A whole number.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub number: Option<i64>,
    /// An instant, such as 2027-01-01T00:00Z or +90d.
    #[arg(long, value_name = "WHEN")]
    pub time: Option<When>,
    /// Names, with commas between them, such as DE,FR; '' for none.
    #[arg(long, value_name = "NAME,…")]
    pub names: Option<Names>,
}

/// Names with commas between them, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeSet<Name>);

impl FromStr for Names {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let names = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        names.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl ValueArgs {
    fn value(self, now: Timestamp) -> Result<FactValue, Error> {
        let Self { text, flag, number, time, names } = self;
        let number = number.map(Number::try_from).transpose();
        let number = number.map_err(|error| Error::usage(error, "give a number that every reader of JSON can hold"))?;
        text.map(FactValue::Text)
            .or(flag.map(FactValue::Flag))
            .or(number.map(FactValue::Number))
            .or(time.map(|time| FactValue::Time(time.from(now))))
            .or(names.map(|Names(names)| FactValue::Names(names)))
            .ok_or_else(|| Error::usage("no value is given", "give one of --text, --flag, --number, --time, --names"))
    }
}

/// Which fact, and why.
#[derive(Args, Debug)]
pub struct WithdrawArgs {
    /// The fact.
    pub name: Name,
    /// The key it is about. Left out, it is a fact of the tenant.
    #[arg(long)]
    pub key: Option<String>,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Runs `keylatch fact`.
pub async fn run(command: FactCommand, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    match command {
        FactCommand::Assert(args) => assert(args, session, screen).await,
        FactCommand::Withdraw(args) => withdraw(args, session, screen).await,
        FactCommand::List { key } => screen.show(&list::list(session, key.as_deref())?),
    }
}

/// Asserts one.
pub async fn assert(args: AssertArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let now = session.now();
    let key = key_named(session, args.key.as_deref())?;
    let value = args.value.value(now)?;
    let valid_until = args.until.from(now);
    may_be_asserted(session, &args.name, valid_until)?;
    fits_packs(session, &args.name, &value)?;
    let evidence_digest = args.evidence_file.as_deref().map(digest).transpose()?;
    let params = FactAssert { fact: args.name, value, valid_until, evidence: args.evidence, evidence_digest };
    carry_out(Action::FactAssert(params), key, args.consent, session, screen).await
}

/// Withdraws one.
pub async fn withdraw(args: WithdrawArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    let key = key_named(session, args.key.as_deref())?;
    let params = FactWithdraw { fact: args.name, reason: args.reason.into() };
    carry_out(Action::FactWithdraw(params), key, args.consent, session, screen).await
}

async fn carry_out(
    action: Action,
    key: Option<KeyId>,
    consent: ConsentArgs,
    session: &mut Session,
    screen: &mut Screen,
) -> Result<(), Error> {
    let command = session.command(action, key, LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: true };
    let outcome = session.carry_out(screen, &command, &consent.into(), needs).await?;
    screen.show(&outcome)
}

fn key_named(session: &Session, named: Option<&str>) -> Result<Option<KeyId>, Error> {
    named.map(|named| lookup::key(session.state(), named).map(|key| key.id)).transpose()
}

/// Whether the policy lists the fact, and for so long: said before anybody signs.
fn may_be_asserted(session: &Session, name: &Name, until: Timestamp) -> Result<(), Error> {
    let policy = &session.governance()?.policy()?.policy;
    let Some(rule) = policy.fact(name) else {
        let listed: Vec<&str> = policy.facts.iter().map(|fact| fact.name.as_str()).collect();
        let listed =
            if listed.is_empty() { "it lists none".to_owned() } else { format!("it lists {}", listed.join(", ")) };
        let what = format!("the policy lists no fact `{name}`; {listed}");
        return Err(Error::usage(what, "add a [[fact]] with its roles and `valid_max` to the policy"));
    };
    let latest = session.now() + rule.valid_max;
    if until > latest {
        let what = format!("`{name}` may hold for {} at most, and {} is later", rule.valid_max, time(until));
        return Err(Error::usage(what, format!("give --until +{} or less", rule.valid_max)));
    }
    Ok(())
}

/// Whether the value is what the applied packs take it for: another kind would leave their gates unknown.
fn fits_packs(session: &Session, name: &Name, value: &FactValue) -> Result<(), Error> {
    let applied = session.governance()?.packs.values().filter(|pack| pack.is_applied());
    for pack in applied {
        let Some(need) = pack.pack.fact(name).filter(|need| need.kind != value.kind()) else { continue };
        let what = format!("`{name}` is a {} in {}, and this is a {}", need.kind, pack.pack.name, value.kind());
        return Err(Error::usage(what, format!("give it with --{}: {}", need.kind, need.about)));
    }
    Ok(())
}

/// The SHA-256 of a file.
fn digest(path: &Path) -> Result<Digest, Error> {
    let mut hasher = Sha256::new();
    let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    read.map_err(|error| Error::file(path, error, "name the evidence's file, or leave out --evidence-file"))?;
    Ok(Digest::new(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_between_commas() {
        let count = |text: &str| text.parse::<Names>().map(|Names(names)| names.len()).ok();
        assert_eq!((count("DE,FR"), count("DE, FR, DE"), count(""), count(" ")), (Some(2), Some(2), Some(0), Some(0)));
        assert_eq!((count("DE,,FR"), count("a b")), (None, None));
    }
}

//! `keylatch policy`: the document that says what it takes to create, activate and use a key.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use model::command::PolicyAdopt;
use model::{Action, Policy};
use serde_json::{Value, json};

use crate::command::{SigningArgs, principal};
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, safe};
use crate::screen::{Screen, Show, Shown};
use crate::session::Session;
use crate::submit::{Outcome, Signing};
use crate::toml_text::{line_at, line_of};

/// What to do with policies.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Check a policy file: that it reads, and that it holds together. Needs no platform.
    ///
    /// A policy under which any key could be activated with no approval does not pass, and can't be adopted. Exit code 1
    /// where there is anything to mend.
    #[command(
        after_long_help = "Example:\n  keylatch policy check policy.toml\n  policy.toml:41: rule.model-storage.stage: a quorum of nobody for `security`; ask for at least 1, or remove the stage"
    )]
    Check {
        /// The TOML file.
        file: PathBuf,
    },
    /// Show the policy in force, as the TOML that it can be adopted from.
    Show,
    /// Adopt a policy. Takes a quorum of admins.
    #[command(
        after_long_help = "Example:\n  keylatch policy check policy.toml\n  keylatch policy adopt policy.toml --out adopt.json\n  keylatch sign adopt.json         (another admin)\n  keylatch submit adopt.json"
    )]
    Adopt(AdoptArgs),
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

/// Runs `keylatch policy check`.
pub fn run_check(file: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let checked = check(file)?;
    screen.show(&checked)?;
    Ok(if checked.findings.is_empty() { Exit::Ok } else { Exit::Refused })
}

/// Runs what needs the platform.
pub async fn run(command: PolicyCommand, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    match command {
        PolicyCommand::Check { file } => return run_check(&file, screen),
        PolicyCommand::Show => {
            session.refresh(screen).await?;
            screen.show(&show(session)?)?;
        }
        PolicyCommand::Adopt(args) => {
            let policy = load(&args.file)?;
            session.refresh(screen).await?;
            let outcome = adopt(session, screen, policy, &args.signing.into()).await?;
            screen.show(&outcome)?;
        }
    }
    Ok(Exit::Ok)
}

/// Something in a policy file to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The place in the document, such as `rule.model-storage.stage`; left out where the file does not read.
    pub at: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub advice: String,
}

/// A policy file, looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The file.
    pub file: PathBuf,
    /// The policy, where the file reads.
    pub policy: Option<Policy>,
    /// What there is to mend.
    pub findings: Vec<Finding>,
}

impl Show for Checked {
    fn to_json(&self) -> Value {
        let finding = |finding: &Finding| json!({ "line": finding.line, "at": finding.at, "what": finding.what, "advice": finding.advice });
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        json!({ "ok": findings.is_empty(), "file": self.file, "findings": findings })
    }

    fn to_people(&self) -> String {
        if self.findings.is_empty() {
            let name = self.policy.as_ref().map_or(String::new(), |policy| format!(" (`{}`)", policy.name));
            return format!("{GREEN}good:{GREEN:#} {}{name} holds together\n", self.file.display());
        }
        self.findings.iter().map(|finding| self.line(finding)).collect()
    }
}

impl Checked {
    /// `file:line: place: what; advice`, as editors read it.
    fn line(&self, finding: &Finding) -> String {
        let place = match finding.line {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        };
        let at = finding.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
        let (what, advice) = (safe(&finding.what), safe(&finding.advice));
        format!("{BOLD}{place}{BOLD:#}: {RED}{}{what}{RED:#}; {advice}\n", safe(&at))
    }
}

/// Looks a policy file through.
pub fn check(file: &Path) -> Result<Checked, Error> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::file(file, error, "name the policy's TOML file; `keylatch policy show` prints one"))?;
    let (policy, findings) = match toml::from_str::<Policy>(&text) {
        Ok(policy) => {
            let finding = |fault: lifecycle::policy::Fault| Finding {
                line: line_of(&text, &fault.at),
                at: Some(fault.at),
                what: fault.what,
                advice: fault.advice.to_owned(),
            };
            let findings = lifecycle::policy::check(&policy).into_iter().map(finding).collect();
            (Some(policy), findings)
        }
        Err(error) => {
            let line = error.span().map(|span| line_at(&text, span.start));
            let what = error.message().replace('\n', ", ");
            let advice = "see the policy's schema for what may stand there".to_owned();
            (None, vec![Finding { line, at: None, what, advice }])
        }
    };
    Ok(Checked { file: file.to_owned(), policy, findings })
}

/// Reads a policy that holds together.
pub fn load(file: &Path) -> Result<Policy, Error> {
    let checked = check(file)?;
    match (checked.policy, checked.findings.first()) {
        (Some(policy), None) => Ok(policy),
        (_, Some(first)) => {
            let more = checked.findings.len() - 1;
            let line = first.line.map(|line| format!(":{line}")).unwrap_or_default();
            let what = format!("{}{line}: {} (and {more} more)", file.display(), first.what);
            Err(Error::failed(what, "mend what `keylatch policy check` names"))
        }
        (None, None) => Err(Error::file(file, "it does not read", "see `keylatch policy check`")),
    }
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
    let text = toml::to_string(&held.policy)
        .map_err(|error| Error::failed(format!("the policy can't be written as TOML: {error}"), "use --json"))?;
    let people = format!(
        "{DIM}# version {} of {}, adopted by event {}{DIM:#}\n{text}",
        held.version, governance.name, held.hash
    );
    let json = json!({ "ok": true, "version": held.version, "event": held.hash, "policy": held.policy });
    Ok(Shown { json, people })
}

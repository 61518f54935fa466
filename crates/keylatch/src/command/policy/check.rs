//! `keylatch policy check`: every hole of a policy file, with its line and what would be right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use lifecycle::{Key, Tenant, policy as rules};
use model::key::Template;
use model::{Algorithm, KeyState, Policy};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::context::Contexts;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe};
use crate::screen::{Screen, Show};
use crate::toml_text::{line_at, line_of};

/// Which file.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The TOML file.
    pub file: PathBuf,
    /// Look at the file alone, and at no tenant's people and keys.
    #[arg(long)]
    pub offline: bool,
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
    /// Whether the policy can't be adopted because of it.
    pub blocks: bool,
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
    /// What may be meant, and is to be known: the keys that no rule is for.
    pub notes: Vec<Finding>,
    /// What was not looked at, and why.
    pub not_checked: Option<String>,
}

impl Show for Checked {
    fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "line": finding.line, "at": finding.at, "what": finding.what, "advice": finding.advice,
                "blocks_adoption": finding.blocks,
            })
        };
        let findings: Vec<Value> = self.findings.iter().map(finding).collect();
        json!({
            "ok": findings.is_empty(), "file": self.file, "findings": findings,
            "notes": self.notes.iter().map(finding).collect::<Vec<Value>>(), "not_checked": self.not_checked,
        })
    }

    fn to_people(&self) -> String {
        let mut text: String = self.findings.iter().map(|finding| finding_line(&self.file, finding)).collect();
        if self.findings.is_empty() {
            let name = self.policy.as_ref().map_or(String::new(), |policy| format!(" (`{}`)", policy.name));
            text = format!("{GREEN}good:{GREEN:#} {}{name} holds together\n", self.file.display());
        }
        for Finding { what, advice, .. } in &self.notes {
            text.push_str(&format!("{YELLOW}note:{YELLOW:#} {}; {}\n", safe(what), safe(advice)));
        }
        if let Some(not_checked) = &self.not_checked {
            text.push_str(&format!("{DIM}not checked:{DIM:#} {}\n", safe(not_checked)));
        }
        text
    }
}

/// `file:line: place: what; advice`, as editors read it.
pub(crate) fn finding_line(file: &Path, finding: &Finding) -> String {
    let place = match finding.line {
        Some(line) => format!("{}:{line}", file.display()),
        None => file.display().to_string(),
    };
    let at = finding.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
    let (what, advice) = (safe(&finding.what), safe(&finding.advice));
    let style = if finding.blocks { RED } else { YELLOW };
    let still = if finding.blocks { "" } else { " (it can be adopted all the same)" };
    format!("{BOLD}{place}{BOLD:#}: {style}{}{what}{style:#}; {advice}{still}\n", safe(&at))
}

/// Runs `keylatch policy check`: against the tenant of the context that is meant, where there is one and it answers.
pub async fn run_check(args: &CheckArgs, global: &Global, screen: &mut Screen) -> Result<Exit, Error> {
    const WHAT: &str = "whether people hold the roles that it names, and whether every key matches a rule";
    let mut checked = check(&args.file)?;
    // What does not hold together is mended first.
    if !checked.findings.is_empty() {
        return report(checked, screen);
    }
    if args.offline {
        checked.not_checked = Some(format!("{WHAT} (--offline)"));
        return report(checked, screen);
    }
    match of_tenant(&args.file, global, screen).await {
        Ok(checked) => report(checked, screen),
        Err(error) => {
            checked.not_checked = Some(format!("{WHAT}: {error}"));
            report(checked, screen)
        }
    }
}

async fn of_tenant(file: &Path, global: &Global, screen: &mut Screen) -> Result<Checked, Error> {
    // Without a context nothing is connected to.
    Contexts::from_environment()?.choose(global.context.as_ref())?;
    let mut session = global.session().await?;
    session.refresh(screen).await?;
    check_for(file, session.state())
}

/// Shows what was found, as the exit code says it.
pub(super) fn report(checked: Checked, screen: &mut Screen) -> Result<Exit, Error> {
    screen.show(&checked)?;
    Ok(if checked.findings.is_empty() { Exit::Ok } else { Exit::Refused })
}

/// Looks a policy file through, by itself.
pub fn check(file: &Path) -> Result<Checked, Error> {
    let text = read(file)?;
    let file = file.to_owned();
    Ok(match toml::from_str::<Policy>(&text) {
        Ok(policy) => {
            let findings = rules::check(&policy).into_iter().map(|fault| found(&text, fault)).collect();
            let notes = rules::gaps(&policy).into_iter().map(|fault| passing(&text, fault)).collect();
            Checked { file, policy: Some(policy), findings, notes, not_checked: None }
        }
        Err(error) => {
            let findings = vec![unreadable(&text, &error)];
            Checked { file, policy: None, findings, notes: Vec::new(), not_checked: None }
        }
    })
}

/// Looks a policy file through, and holds it against a tenant's people and keys.
pub fn check_for(file: &Path, state: &Tenant) -> Result<Checked, Error> {
    let mut checked = check(file)?;
    if let (Some(policy), Some(governance)) = (&checked.policy, &state.governance) {
        let text = read(file)?;
        checked.findings.extend(rules::holes(policy, governance).into_iter().map(|fault| found(&text, fault)));
        checked.findings.extend(rules::idle(policy, governance).into_iter().map(|fault| passing(&text, fault)));
        checked.findings.extend(of_keys(policy, state, &text));
        checked.findings.sort_by_key(|finding| (!finding.blocks, finding.line));
    }
    Ok(checked)
}

fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file)
        .map_err(|error| Error::file(file, error, "name the policy's TOML file; `keylatch policy show` prints one"))
}

fn found(text: &str, fault: rules::Fault) -> Finding {
    let line = line_of(text, &fault.at);
    Finding { line, at: Some(fault.at), what: fault.what, advice: fault.advice.to_owned(), blocks: true }
}

/// What keeps nobody from adopting the policy.
fn passing(text: &str, fault: rules::Fault) -> Finding {
    Finding { blocks: false, ..found(text, fault) }
}

/// Why a file is no policy, with its line.
pub(crate) fn unreadable(text: &str, error: &toml::de::Error) -> Finding {
    let line = error.span().map(|span| line_at(text, span.start));
    let what = error.message().replace('\n', ", ");
    let advice = match what.as_str() {
        what if what.starts_with("unknown field") => "spell it as one of those, or leave it out",
        what if what.starts_with("missing field") => "add it",
        what if what.starts_with("unknown variant") => "write one of those",
        what if what.starts_with("duplicate key") => "keep one of the two",
        _ => "mend this line",
    };
    Finding { line, at: None, what, advice: advice.to_owned(), blocks: true }
}

/// Keys that the policy says nothing of, those alike together.
fn of_keys(policy: &Policy, state: &Tenant, text: &str) -> Vec<Finding> {
    let lives = |key: &&Key| matches!(key.state, KeyState::PreActive | KeyState::Active | KeyState::Suspended);
    let keys = || state.keys.values().filter(lives).filter(|key| key.expired.is_none());
    let mut without_rule: BTreeMap<String, Vec<&Key>> = BTreeMap::new();
    let mut not_listed: BTreeMap<Algorithm, Vec<&Key>> = BTreeMap::new();
    for key in keys() {
        if policy.rule_for(&key.spec.traits()).is_none() {
            without_rule.entry(kind(&Template::of(&key.spec))).or_default().push(key);
        }
        // What no policy can allow is an adopted key's, which is to be replaced.
        if key.spec.algorithm != Algorithm::Other && policy.algorithm(key.spec.algorithm).is_none() {
            not_listed.entry(key.spec.algorithm).or_default().push(key);
        }
    }
    let finding = |at: &str, what: String, advice: &str| {
        let (line, at, advice) = (line_of(text, at), Some(at.to_owned()), advice.to_owned());
        Finding { line, at, what, advice, blocks: false }
    };
    let rule = without_rule.into_iter().map(|(kind, keys)| {
        let advice = "add a [[rule]] for such keys, or they can be neither activated nor used";
        finding("rule", format!("no rule for {kind}: {}", some_of(&keys)), advice)
    });
    let algorithm = not_listed.into_iter().map(|(algorithm, keys)| {
        let advice = "add an [[algorithm]] for it, or deactivate those keys first";
        finding(
            "algorithm",
            format!("`{algorithm}` is not listed, and there are keys of it: {}", some_of(&keys)),
            advice,
        )
    });
    rule.chain(algorithm).collect()
}

fn kind(template: &Template) -> String {
    let Template { workload, responsibility, jurisdiction, classification, environment, backend, .. } = template;
    format!(
        "workload `{workload}`, layer `{responsibility}`, jurisdiction `{jurisdiction}`, classification \
         `{classification}`, environment `{environment}`, backend `{backend}`"
    )
}

/// How many keys, and a few of them.
fn some_of(keys: &[&Key]) -> String {
    let named: Vec<String> = keys.iter().take(5).map(|key| format!("`{}` ({})", key.spec.label, key.state)).collect();
    let more = keys.len().saturating_sub(named.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", named.join(", "))
}

/// Reads a policy that holds together.
pub fn load(file: &Path) -> Result<Policy, Error> {
    let checked = check(file)?;
    match (checked.policy, checked.findings.first()) {
        (Some(policy), None) => Ok(policy),
        (_, Some(first)) => {
            let more = match checked.findings.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let line = first.line.map(|line| format!(":{line}")).unwrap_or_default();
            let what = format!("{}{line}: {}{more}", file.display(), first.what);
            Err(Error::failed(what, "mend what `keylatch policy check` names"))
        }
        (None, None) => Err(Error::file(file, "it does not read", "see `keylatch policy check`")),
    }
}

//! `keylatch controls evaluate`: signing what the control tests came to, and what is done about the exceptions.

use std::path::PathBuf;

use clap::Args;
use evidence::controls::Outcome;
use evidence::history::Evaluation;
use lifecycle::state::TenantDeadline;
use lifecycle::{Governance, Tenant};
use model::command::{ControlEvaluate, DISPOSITIONS_MAX};
use model::event::Deadline;
use model::evidence::{ControlResult, Disposition};
use model::policy::EvaluationRule;
use model::{Action, Digest, Timestamp};

use super::dispositions::{KINDS, Open, Said, decide, open, read};
use super::{Tested, at_checkpoint, document, show};
use crate::command::SigningArgs;
use crate::command::delegation::already;
use crate::command::inbox::half;
use crate::error::{Error, Exit};
use crate::layout::{DIM, YELLOW, safe};
use crate::screen::Screen;
use crate::session::Session;
use crate::submit::{Needs, lifetime};
use crate::words::{counted, name_of};

/// What the long help says after the options.
pub(super) const HELP: &str = "\
Where you are not asked (no terminal, --yes), exceptions that no file decides about stay open, and the
results are signed as they are. Signed again with nothing new to say, nothing is recorded before the next
evaluation comes near.

Examples:
  keylatch controls evaluate
  keylatch controls dispositions > decided.toml
  keylatch controls evaluate --dispositions decided.toml --out evaluation.json
  keylatch sign evaluation.json    (another one of those whom the policy names)
  keylatch submit evaluation.json";

/// What was decided, and who signs.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// The file that says what is done about each exception; left out, you are asked.
    #[arg(long, value_name = "FILE")]
    pub dispositions: Option<PathBuf>,
    #[command(flatten)]
    /// Who signs.
    pub signing: SigningArgs,
}

/// Runs `keylatch controls evaluate`.
pub(super) async fn run(args: EvaluateArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    let tested = at_checkpoint(session, screen).await?;
    tested.back.warn_of_voids(screen);
    let (rule, now) = (rule(session.governance()?)?.clone(), session.now());
    let asks = args.dispositions.is_none() && !args.signing.yes && screen.can_ask();
    if asks {
        screen.review(&results_in_words(&tested));
    }
    let mut decided = match &args.dispositions {
        Some(path) => read(path, &tested.controls, session.state(), now)?,
        None if asks => ask(&tested, session.state(), now, screen)?,
        None => Vec::new(),
    };
    let further = decided.split_off(decided.len().min(DISPOSITIONS_MAX));
    let results = results(&tested)?;
    if let Some(last) = same(&tested, &results, &decided).filter(|_| !is_near(session.governance().ok(), &rule, now)) {
        let what = "it is evaluated already, with the same results and nothing new decided";
        screen.show(&already(what, last.at.hash))?;
        return Ok(Exit::Ok);
    }
    // A program that said yes beforehand knows what it signs.
    let knows = screen.is_json() && args.signing.yes;
    if !(asks || knows) {
        screen.review(&results_in_words(&tested));
    }
    say_what_stays_open(&tested, &decided, &further, now, screen);
    let params = ControlEvaluate {
        controls: Digest::of(&document(&tested.controls)),
        size: tested.controls.period.to.0,
        results,
        dispositions: decided,
    };
    let (signing, signatures) = (args.signing.into(), rule.by.quorum);
    let command = session.command(Action::ControlEvaluate(params), None, lifetime(&signing, signatures));
    let outcome = session.carry_out(screen, &command, &signing, Needs { signatures, review: true }).await?;
    screen.show(&outcome)?;
    Ok(Exit::Ok)
}

fn rule(governance: &Governance) -> Result<&EvaluationRule, Error> {
    governance.policy()?.policy.evidence.evaluation.as_ref().ok_or_else(|| {
        let advice = "add [evidence.evaluation] to the policy (who signs, how often), or look with `keylatch controls`";
        Error::usage("the policy asks for no evaluation of the control", advice)
    })
}

/// What each test came to, as it is signed.
fn results(tested: &Tested) -> Result<Vec<ControlResult>, Error> {
    let result = |test: &evidence::controls::ControlTest| {
        let id = test.id.parse().map_err(|error| Error::failed(error, "tell the authors"))?;
        let (population, exceptions) = (test.population.count, test.exceptions.len() as u64);
        Ok(ControlResult { id, outcome: test.outcome, population, exceptions })
    };
    tested.controls.controls.iter().map(result).collect()
}

/// The last evaluation, where this one would say the same.
fn same<'a>(tested: &'a Tested, results: &[ControlResult], decided: &[Disposition]) -> Option<&'a Evaluation> {
    let history = tested.back.replay.history();
    let last = history.evaluations.last().filter(|last| last.results == results)?;
    let known = history.dispositions();
    decided.iter().all(|one| known.get(&one.exception).is_some_and(|(held, _)| *held == one)).then_some(last)
}

/// Whether the next evaluation comes near: it is warned of, or, where no warning is wanted, its time is half over.
pub(crate) fn is_near(governance: Option<&Governance>, rule: &EvaluationRule, now: Timestamp) -> bool {
    let before = rule.warn_before.unwrap_or_else(|| half(rule.every));
    let is_near = |deadline: &TenantDeadline| {
        deadline.deadline == Deadline::ControlEvaluation && deadline.at.before(before) <= now
    };
    governance.is_some_and(|governance| governance.deadlines.iter().any(is_near))
}

fn results_in_words(tested: &Tested) -> String {
    let controls = &tested.controls;
    let mut text = format!("{DIM}the control tests over events 1 to {}:{DIM:#}\n", controls.period.to.0);
    let order = [Outcome::Exceptions, Outcome::InsufficientEvidence, Outcome::NotApplicable, Outcome::NoExceptions];
    for outcome in order {
        let tests = controls.controls.iter().filter(|test| test.outcome == outcome);
        tests.for_each(|test| text.push_str(&show::in_short(test)));
    }
    text.push('\n');
    text
}

/// Asks for what is done about each open exception. An empty answer leaves it open.
fn ask(tested: &Tested, state: &Tenant, now: Timestamp, screen: &mut Screen) -> Result<Vec<Disposition>, Error> {
    let mut decided = Vec::new();
    for open in open(tested, now) {
        while decided.len() < DISPOSITIONS_MAX {
            let Some(answer) = ask_one(&open, screen)? else { break };
            match decide(&tested.controls, state, now, &open.exception.id, &answer.said()) {
                Ok(one) => {
                    decided.push(one);
                    break;
                }
                Err((what, advice)) => screen.note(&format!("{YELLOW}{}{YELLOW:#}; {}", safe(&what), safe(&advice))),
            }
        }
    }
    Ok(decided)
}

/// What somebody answered.
struct Answer {
    disposition: String,
    owner: String,
    due: String,
    note: String,
}

impl Answer {
    fn said(&self) -> Said<'_> {
        Said { disposition: &self.disposition, owner: &self.owner, due: &self.due, note: &self.note }
    }
}

fn ask_one(open: &Open<'_>, screen: &mut Screen) -> Result<Option<Answer>, Error> {
    let Open { test, exception } = open;
    screen.review(&format!("\n{} {}\n{}", test.id, test.title, show::line(exception)));
    let kinds: Vec<String> = KINDS.iter().map(name_of).collect();
    let disposition = screen.ask(&format!("  disposition ({}; empty: it stays open):", kinds.join(", ")))?;
    if disposition.is_empty() {
        return Ok(None);
    }
    let usual = exception.owner.clone().unwrap_or_default();
    let owner = screen.ask(&format!("  who answers for it [{}]:", safe(&usual)))?;
    let due = screen.ask("  by when (such as 2027-03-31 or +90d):")?;
    let note = screen.ask("  why, in one line without personal data:")?;
    let owner = if owner.is_empty() { usual } else { owner };
    Ok(Some(Answer { disposition, owner, due, note }))
}

fn say_what_stays_open(
    tested: &Tested,
    decided: &[Disposition],
    further: &[Disposition],
    now: Timestamp,
    screen: &mut Screen,
) {
    if !further.is_empty() {
        let rest = counted(further.len(), "disposition");
        screen.warn(&format!("one evaluation has {DISPOSITIONS_MAX} dispositions: run it again for {rest} more"));
    }
    let is_decided = |open: &Open<'_>| decided.iter().any(|one| one.exception == open.exception.id);
    let open = open(tested, now).into_iter().filter(|open| !is_decided(open)).count();
    if open > 0 {
        screen.warn(&format!("no disposition is in force for {}", counted(open, "exception")));
    }
}

//! `keylatch controls`: the control tests, computed here from the verified history; their evaluation, which is signed.

mod dispositions;
mod evaluate;
mod show;

use clap::{Args, Subcommand};
use evidence::Point;
use evidence::controls::{ControlTest, Controls, Outcome};
use model::Sequence;

use crate::command::as_of::PointArgs;
use crate::error::{Error, Exit};
use crate::look_back::{LookBack, Source, SourceArgs, Wanted, no_export};
use crate::screen::{Screen, Shown};
use crate::session::Session;

pub use evaluate::EvaluateArgs;
pub(crate) use evaluate::is_near;

/// What the long help says after the options.
pub const HELP: &str = "\
The tests are those of an evidence bundle: with --json this is its controls.json, byte for byte, where the
history ends with the same event (--seq). Exit code 1 where there are exceptions.

Examples:
  keylatch controls
  keylatch controls --control 8
  keylatch controls --from 1200 --at 2026-12-31T23:59Z
  keylatch --json controls | jq -r '.controls[] | [.id, .outcome] | @tsv'
  keylatch controls --export evidence-2026-q4 --root SHA256:…";

/// What to do with the control tests.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ControlsArgs {
    /// What to do; left out, they are shown.
    #[command(subcommand)]
    pub command: Option<ControlsCommand>,
    #[command(flatten)]
    /// Which, of what.
    pub test: TestArgs,
}

/// What to do with the control tests.
#[derive(Subcommand, Clone, Debug)]
pub enum ControlsCommand {
    /// Sign what the tests came to, and what is done about each exception. Policy says who does so, and how often.
    ///
    /// The tests are over the whole history up to the newest checkpoint, so that the bundle over it has the very
    /// controls.json whose SHA-256 is signed. For each exception that nobody has decided about, or whose date has passed,
    /// you are asked for a disposition, who answers for it, by when, and why; or they stand in a file. An evaluation that is
    /// missed is itself an exception, and so is an exception that still stands after its date.
    #[command(after_long_help = evaluate::HELP)]
    Evaluate(Box<EvaluateArgs>),
    /// Print a TOML file for `controls evaluate --dispositions`: the exceptions that are open, to be filled in.
    #[command(
        after_long_help = "Example:\n  keylatch controls dispositions > decided.toml\n  $EDITOR decided.toml\n  keylatch controls evaluate --dispositions decided.toml"
    )]
    Dispositions,
}

/// Which tests, of what.
#[derive(Args, Clone, Debug, Default)]
pub struct TestArgs {
    /// The first event of the period under test; what was before is replayed, and counts for nothing.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    pub from: u64,
    #[command(flatten)]
    /// Where it ends; left out, with the last event.
    pub point: PointArgs,
    /// One test in full, by its number (8) or its name (usage).
    #[arg(long, value_name = "CONTROL")]
    pub control: Option<String>,
    #[command(flatten)]
    /// Where the history comes from.
    pub source: SourceArgs,
}

impl ControlsArgs {
    /// The export that is meant; `None` where the platform is asked.
    pub fn offline(&self) -> Option<Source<'_>> {
        self.test.source.offline().filter(|_| self.command.is_none())
    }
}

/// Runs `keylatch controls`.
pub async fn run(args: ControlsArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    match args.command {
        Some(ControlsCommand::Evaluate(evaluate)) => evaluate::run(*evaluate, session, screen).await,
        Some(ControlsCommand::Dispositions) => dispositions::print(session, screen).await,
        None => {
            let point = args.test.point.point(session.now())?;
            run_with(&args.test, point, Source::Platform(session), screen).await
        }
    }
}

/// The same of the export that is meant.
pub async fn run_offline(args: &ControlsArgs, screen: &mut Screen) -> Result<Exit, Error> {
    let point = args.test.point.point(crate::Clock::default().now())?;
    let source = args.offline().ok_or_else(no_export)?;
    run_with(&args.test, point, source, screen).await
}

async fn run_with(
    args: &TestArgs,
    point: Option<Point>,
    mut source: Source<'_>,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    let until = match point {
        Some(point) => Some(source.place_of(point, screen).await?),
        None => None,
    };
    let wanted = Wanted { from: Sequence(args.from), until, leaves: false };
    let back = source.look_back(wanted, screen).await?;
    back.warn_of_voids(screen);
    let controls = back.replay.controls();
    let exceptions = match &args.control {
        Some(named) => {
            let test = named_test(&controls, named)?;
            let json = serde_json::to_value(test).unwrap_or_default();
            screen.show(&Shown { json, people: show::in_full(test) })?;
            test.outcome == Outcome::Exceptions
        }
        None if screen.is_json() => {
            screen.document(&document(&controls))?;
            has_exceptions(&controls)
        }
        None => {
            let people = show::all(&controls, &back);
            screen.show(&Shown { json: serde_json::Value::Null, people })?;
            has_exceptions(&controls)
        }
    };
    Ok(if exceptions { Exit::Refused } else { Exit::Ok })
}

fn has_exceptions(controls: &Controls) -> bool {
    controls.controls.iter().any(|test| test.outcome == Outcome::Exceptions)
}

/// `controls.json`, as a bundle has it.
fn document(controls: &Controls) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(controls).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The test that is meant: `8`, `CEK-15.08`, `usage`.
fn named_test<'a>(controls: &'a Controls, named: &str) -> Result<&'a ControlTest, Error> {
    let id = match named.parse::<u8>() {
        Ok(number) => format!("CEK-15.{number:02}"),
        Err(_) => named.to_owned(),
    };
    let found = controls.controls.iter().find(|test| test.id.eq_ignore_ascii_case(&id));
    found.ok_or_else(|| {
        let others: Vec<&str> =
            controls.controls.iter().map(|test| test.id.as_str()).filter(|id| !id.starts_with("CEK-")).collect();
        let advice = format!("give 1 to 16, or {}", others.join(", "));
        Error::usage(format!("there is no control test `{named}`"), advice)
    })
}

/// The tests over the whole history up to the newest checkpoint: what an evaluation is about.
struct Tested {
    /// The tests.
    controls: Controls,
    /// The whole history, with what came after the checkpoint.
    back: LookBack,
}

async fn at_checkpoint(session: &mut Session, screen: &mut Screen) -> Result<Tested, Error> {
    session.refresh(screen).await?;
    let size = session.state().progress.covered;
    if size == 0 {
        let what = "no checkpoint is in the log yet, and an evaluation is over the events of one";
        return Err(Error::failed(what, "wait for the exporter: it signs one within seconds of an event"));
    }
    let wanted = Wanted { from: Sequence(1), until: Some(Sequence(size)), leaves: false };
    let mut back = Source::Platform(session).look_back(wanted, screen).await?;
    let controls = back.replay.controls();
    back.go_on(session, screen).await?;
    Ok(Tested { controls, back })
}

//! `keylatch evidence sample`: samples that nobody picks, with the proof of each item; and checking one.

mod check;
mod folder;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use evidence::sample::{self, Asked, Error as NoSample, Item, Of, SAMPLE_MAX, Sample, Signed};
use model::{Sequence, Text};
use serde_json::json;

use crate::error::{Error, Exit};
use crate::layout::{BOLD, Cell, DIM, Fields, GREEN, Table, safe, time};
use crate::look_back::{LookBack, Source, SourceArgs, Wanted, no_export};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::words;

/// What the long help says after the options.
pub const HELP: &str = "\
Which items are drawn follows from the root of a checkpoint in the log: neither who samples nor who is
sampled picks them, and anybody draws the same again (docs/evidence-sampling.md says how, by hand too).
A larger sample begins with the smaller one. Whoever can hold back a checkpoint until its root suits them
could steer a sample: let the auditor say a nonce after the checkpoint is in the log.

Examples:
  keylatch evidence sample --n 25 --of activations --out sample-2026-q4
  keylatch evidence sample --n 25 --of keys --size 1200 --nonce 'audit 2026, 4711' --out sample-keys
  keylatch evidence sample check sample-2026-q4 --export evidence-2026-q4 --root SHA256:…";

/// What to do with samples.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SampleArgs {
    /// What to do; left out, one is drawn.
    #[command(subcommand)]
    pub command: Option<SampleCommand>,
    #[command(flatten)]
    /// What is drawn.
    pub draw: DrawArgs,
}

/// What to do with a sample.
#[derive(Subcommand, Clone, Debug)]
pub enum SampleCommand {
    /// Draw a sample again from the history, and compare: the population, the items, each event and its proof.
    #[command(
        after_long_help = "Exit code 1 where anything differs.\n\nExample, offline:\n  keylatch evidence sample check sample-2026-q4 --export evidence-2026-q4 \\\n    --root SHA256:Lh3dROe7Nd1LdqHkUIaKfHPHm9H6u0lNtGPoa4Cc1+w"
    )]
    Check(CheckArgs),
}

/// What is drawn.
#[derive(Args, Clone, Debug)]
pub struct DrawArgs {
    /// How many items, at most 1000; where there are no more, all are taken.
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=SAMPLE_MAX))]
    pub n: u64,
    /// What is sampled.
    #[arg(long, value_name = "WHAT", default_value = "keys", value_parser = words::sampled())]
    pub of: Of,
    /// The first event of the period that is sampled; it ends with the checkpoint.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 1)]
    pub from: u64,
    /// Draw from the checkpoint over so many events; left out, from the newest in the log.
    #[arg(long, value_name = "EVENTS")]
    pub size: Option<u64>,
    /// A word of whoever samples, said after the checkpoint was in the log. It is part of what is drawn from.
    #[arg(long, value_name = "TEXT")]
    pub nonce: Option<Text>,
    /// Write the sample into this folder, with the events and their proofs. It must not be there yet.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    /// Where the history comes from.
    pub source: SourceArgs,
}

/// Which sample.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The folder that `keylatch evidence sample --out` made.
    pub folder: PathBuf,
    #[command(flatten)]
    /// Where the history comes from.
    pub source: SourceArgs,
}

impl SampleArgs {
    /// The export that is meant; `None` where the platform is asked.
    pub fn offline(&self) -> Option<Source<'_>> {
        match &self.command {
            Some(SampleCommand::Check(args)) => args.source.offline(),
            None => self.draw.source.offline(),
        }
    }
}

/// Runs `keylatch evidence sample`.
pub async fn run(args: &SampleArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    run_with(args, Source::Platform(session), screen).await
}

/// The same of the export that is meant.
pub async fn run_offline(args: &SampleArgs, screen: &mut Screen) -> Result<Exit, Error> {
    run_with(args, args.offline().ok_or_else(no_export)?, screen).await
}

async fn run_with(args: &SampleArgs, source: Source<'_>, screen: &mut Screen) -> Result<Exit, Error> {
    match &args.command {
        Some(SampleCommand::Check(args)) => check::check(&args.folder, source, screen).await,
        None => draw(&args.draw, source, screen).await.map(|()| Exit::Ok),
    }
}

async fn draw(args: &DrawArgs, mut source: Source<'_>, screen: &mut Screen) -> Result<(), Error> {
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        return Err(Error::file(out, "there is such a folder", "name one that is not there yet"));
    }
    let wanted = Wanted { leaves: args.out.is_some(), ..Wanted::default() };
    let mut back = source.look_back(wanted, screen).await?;
    back.warn_of_voids(screen);
    let from = Sequence(args.from.max(1));
    let asked = Asked { of: args.of, from, size: args.size, count: args.n, nonce: args.nonce.clone() };
    let known = sample::checkpoints(&back.replay, &back.notes);
    let drawn = Sample::draw(&back.replay, &known, &asked);
    let (sample, population) = drawn.map_err(|error| no_sample(&known, &error))?;
    if let Some(out) = &args.out {
        let leaves = std::mem::take(&mut back.leaves);
        let proofs = sample::proofs(&sample, &known, leaves).map_err(|error| no_sample(&known, &error))?;
        let places: BTreeMap<_, _> = sample.items.iter().map(|drawn| (drawn.item.sequence, drawn.item.hash)).collect();
        let records = source.records(&places).await?;
        folder::write(out, &sample, &population, &proofs, &records)?;
    }
    screen.show(&shown(&back, &sample, args.out.as_ref()))
}

fn no_sample(known: &[Signed], error: &NoSample) -> Error {
    let sizes: Vec<String> = known.iter().rev().take(5).map(|checkpoint| checkpoint.size.to_string()).collect();
    let advice = match error {
        NoSample::NoCheckpoint => "wait for the exporter: it signs one within seconds of an event".to_owned(),
        NoSample::NoSuchCheckpoint(_) => format!("the newest are over {} events", sizes.join(", ")),
        NoSample::Empty { .. } => "sample something else (--of), or a longer period (--from, --size)".to_owned(),
        NoSample::TooMany(_) => "ask for fewer".to_owned(),
    };
    Error::failed(error, advice)
}

fn shown(back: &LookBack, sample: &Sample, out: Option<&PathBuf>) -> Shown {
    let mut table = Table::new(&["N", "EVENT", "LINE", "WHAT", "HASH"]);
    for (place, drawn) in sample.items.iter().enumerate() {
        table.row([
            (place + 1).to_string().into(),
            drawn.item.sequence.0.to_string().into(),
            (drawn.index + 1).to_string().into(),
            Cell::styled(BOLD, label(back, sample.population.of, &drawn.item)),
            drawn.item.hash.to_string().into(),
        ]);
    }
    let mut fields = Fields::default();
    let (population, seed) = (&sample.population, &sample.checkpoint);
    let period = format!("events {} to {}", population.from.0, seed.size);
    fields.text("drawn from", format!("{} {} of {period}", population.count, population.of));
    fields.text("checkpoint", format!("over {} events", seed.size));
    fields.text("root", seed.root.to_string());
    if let Some(nonce) = &sample.nonce {
        fields.text("nonce", nonce.as_str());
    }
    fields.text("read until", time(back.last().time));
    let mut people = format!("{}{}", table.to_people("nothing"), fields.to_people(2));
    if let Some(out) = out {
        let out = safe(&out.display().to_string());
        people.push_str(&format!(
            "{GREEN}written{GREEN:#} to {BOLD}{out}{BOLD:#}\n{DIM}check it with: keylatch evidence sample check {out} --export \
             EXPORT --root {}{DIM:#}\n",
            sample.trust_root
        ));
    }
    Shown { json: json!({ "ok": true, "folder": out, "sample": sample }), people }
}

/// What an item is called: a key's label, somebody's label.
fn label(back: &LookBack, of: Of, item: &Item) -> String {
    let history = back.replay.history();
    let known = match of {
        Of::Keys | Of::Activations => {
            let key = item.id.parse().ok().and_then(|id| history.keys.get(&id));
            key.map(|key| key.spec.label.to_string())
        }
        Of::Approvals | Of::People => item.id.parse().ok().map(|who| history.label(who)),
    };
    known.unwrap_or_else(|| item.id.clone())
}

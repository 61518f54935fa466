//! `keylatch policy diff`: what one policy changes against another, member by member, and whether that is stricter or laxer
//! where that can be said.

use std::path::PathBuf;

use clap::Args;
use model::Policy;
use serde_json::{Value, json};

use self::sense::Effect;
use self::walk::Change;
use crate::command::policy::{check, history};
use crate::error::Error;
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe, styled};
use crate::screen::{Screen, Show, Shown};
use crate::session::Session;

mod about;
mod sense;
mod walk;

/// Which two policies.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The TOML file of the newer one; left out, the version that --to names.
    #[arg(required_unless_present = "to")]
    pub file: Option<PathBuf>,
    /// The version it is held against; left out, the one in force.
    #[arg(long, value_name = "N")]
    pub from: Option<u32>,
    /// The newer version.
    #[arg(long, value_name = "N", conflicts_with = "file", requires = "from")]
    pub to: Option<u32>,
}

/// What changes from one policy to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// What the older is called.
    pub old: String,
    /// What the newer is called.
    pub new: String,
    changes: Vec<Change>,
}

impl Diff {
    /// What changes between two policies of these names.
    pub fn between(names: (String, String), old: &Policy, new: &Policy) -> Self {
        let json = |policy: &Policy| serde_json::to_value(policy).unwrap_or_default();
        Self { old: names.0, new: names.1, changes: walk::changes(&json(old), &json(new)) }
    }

    fn count(&self, effect: Effect) -> usize {
        self.changes.iter().filter(|change| change.effect == effect).count()
    }
}

impl Show for Diff {
    fn to_json(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "at": change.at, "effect": change.effect.name(), "old": change.old, "new": change.new,
                "about": about::about(&change.pattern),
            })
        };
        let changes: Vec<Value> = self.changes.iter().map(change).collect();
        json!({
            "ok": true, "from": self.old, "to": self.new, "changes": changes,
            "stricter": self.count(Effect::Stricter), "laxer": self.count(Effect::Laxer),
        })
    }

    fn to_people(&self) -> String {
        let (old, new) = (safe(&self.old), safe(&self.new));
        if self.changes.is_empty() {
            return format!("{GREEN}the same:{GREEN:#} {new} and {old} say the same\n");
        }
        let mut text = format!("{BOLD}{new}{BOLD:#} against {BOLD}{old}{BOLD:#}\n");
        self.changes.iter().for_each(|change| text.push_str(&line(change)));
        let (stricter, laxer) = (self.count(Effect::Stricter), self.count(Effect::Laxer));
        let others = self.changes.len() - stricter - laxer;
        text.push_str(&format!("{stricter} stricter, {laxer} laxer, {others} neither or both\n"));
        text
    }
}

fn line(change: &Change) -> String {
    let effect = match change.effect {
        Effect::Stricter => styled(GREEN, "stricter"),
        Effect::Laxer => styled(RED, "laxer   "),
        Effect::Other => styled(YELLOW, "changed "),
    };
    let about = about::about(&change.pattern).map(|about| format!("            {DIM}{}{DIM:#}\n", safe(&about)));
    let what = safe(&walk::in_words(change));
    format!("  {effect}  {BOLD}{}{BOLD:#}: {what}\n{}", safe(&change.at), about.unwrap_or_default())
}

/// Runs `keylatch policy diff`.
pub async fn run(args: &DiffArgs, session: &mut Session, screen: &mut Screen) -> Result<Shown, Error> {
    let new = args.file.as_ref().map(|file| check::load(file).map(|policy| (file.display().to_string(), policy)));
    let new = new.transpose()?;
    let all = history::adopted(session, screen).await?;
    let named = |version: u32| {
        history::version(&all, version).map(|adopted| (format!("version {version}"), adopted.policy.clone()))
    };
    let old = match (args.from, all.last()) {
        (Some(version), _) => named(version)?,
        (None, Some(last)) => (format!("version {}, in force", last.version), last.policy.clone()),
        (None, None) => return Err(Error::usage("no policy was adopted yet", "see `keylatch policy check`")),
    };
    let new = match (new, args.to) {
        (Some(new), _) => new,
        (None, Some(version)) => named(version)?,
        (None, None) => return Err(Error::usage("there is nothing to hold against it", "name a file, or --to N")),
    };
    let diff = Diff::between((old.0, new.0), &old.1, &new.1);
    Ok(Shown { json: diff.to_json(), people: diff.to_people() })
}

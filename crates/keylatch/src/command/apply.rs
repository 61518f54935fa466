//! `keylatch apply`: keys and requests as a file says. A plan first, then what is not there yet; again, and nothing happens.

pub mod file;
pub mod plan;

use std::path::PathBuf;

use clap::Args;
use model::command::KeyGenerate;
use model::{Action, KeyId, ProblemType};
use serde_json::{Value, json};

use self::file::{Wanted, WantedKey, WantedRequest};
use self::plan::{Plan, Step};
use crate::bulk::{self, Wanted as Command};
use crate::command::request;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, safe};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::Recorded;
use crate::words::counted;

/// What the long help says after the options.
pub const HELP: &str = "\
The file (docs/apply.md says all of it):
  schema = 1

  [defaults.key]
  workload = \"model-storage\"
  responsibility = \"model\"
  jurisdiction = \"EU\"
  classification = \"secret\"
  environment = \"production\"

  [[key]]
  label = \"weights\"          # weights-1, weights-2, weights-3
  count = 3
  asset = \"weights of model M, release 4\"

  [[request]]
  groups = [\"weights\"]       # a group is called as its key's label, or by `group`
  reason_kind = \"new-service\"
  reason = \"release 4 goes live\"
  systems = [\"inference endpoint EU\"]

A key is known by its label. One that is there is left as it is; one that is there with another
description, or is gone, is a conflict, and nothing is done. Keys that wait and that nobody has
asked for are asked for, as many in one request as the policy's rule takes. After a crash, or an
answer that got lost, run it again.

Example:
  keylatch apply -f keys.toml --dry-run
  keylatch apply -f keys.toml";

/// Which file, and how.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// The file.
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    pub file: PathBuf,
    /// Show the plan, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without being asked.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Runs `keylatch apply`. Exit code 1 where something can't be as the file says.
pub async fn run(args: ApplyArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    session.refresh(screen).await?;
    let (shown, good) = apply(session, screen, &args).await?;
    screen.show(&shown)?;
    Ok(if good { Exit::Ok } else { Exit::Refused })
}

/// Plans, asks, and does. Whether all is as the file says afterwards, or would be.
pub async fn apply(session: &mut Session, screen: &mut Screen, args: &ApplyArgs) -> Result<(Shown, bool), Error> {
    let wanted: Wanted = file::read(&args.file, session.state())?;
    let plan = plan::plan(session.known(), wanted);
    let conflicts = plan.has_conflicts();
    if args.dry_run || conflicts || !plan.has_work() {
        return Ok((plan_shown(&plan), !conflicts));
    }
    if !(args.yes && screen.is_json()) {
        screen.review(&plan_shown(&plan).people);
    }
    screen.confirm("Do this?", args.yes)?;
    let mut done = Done::default();
    create(session, screen, &plan, &mut done).await?;
    for (request, step) in &plan.requests {
        if matches!(step, Step::Request { .. }) {
            ask(session, screen, request, &mut done).await?;
        }
    }
    let good = done.failed.is_empty();
    Ok((done.shown(&plan), good))
}

/// What was done.
#[derive(Default)]
struct Done {
    created: usize,
    /// Somebody, or an earlier run, was first.
    there: usize,
    requests: Vec<(Recorded, usize)>,
    failed: Vec<(String, Error)>,
}

/// Makes the keys that are not there: those that wrap others before these.
async fn create(session: &mut Session, screen: &mut Screen, plan: &Plan, done: &mut Done) -> Result<(), Error> {
    let mut left: Vec<&WantedKey> =
        plan.keys.iter().filter(|(_, step)| *step == Step::Create).map(|(key, _)| key).collect();
    while !left.is_empty() {
        let waits_for = |key: &WantedKey| {
            let parent = key.spec.parent_here();
            parent.is_some_and(|parent| left.iter().any(|other| other.id == parent && other.id != key.id))
        };
        let (later, mut now): (Vec<&WantedKey>, Vec<&WantedKey>) = left.iter().partition(|key| waits_for(key));
        left = later;
        if now.is_empty() {
            // They wrap each other: the platform says what it thinks of that.
            now = std::mem::take(&mut left);
        }
        let commands = now.iter().map(|key| Command {
            action: Action::KeyGenerate(KeyGenerate { spec: key.spec.clone() }),
            key_id: Some(key.id),
        });
        let results = bulk::send_all(session, screen, "generating keys", commands.collect()).await?;
        session.refresh(screen).await?;
        for (key, result) in now.into_iter().zip(results) {
            match result {
                Ok(_) => done.created += 1,
                Err(error) if is_there(session, key, &error) => done.there += 1,
                Err(error) => done.failed.push((key.spec.label.to_string(), error)),
            }
        }
    }
    Ok(())
}

/// Whether a key could not be made because it is there, as it is wanted.
fn is_there(session: &Session, wanted: &WantedKey, error: &Error) -> bool {
    let exists = matches!(error, Error::Refused(problem) if problem.kind() == Some(ProblemType::KeyExists));
    let key = session.state().keys.get(&wanted.id);
    exists && key.is_some_and(|key| plan::differences(&key.spec, &wanted.spec).is_empty())
}

/// Asks for the keys of a request that wait and that nobody has asked for.
async fn ask(session: &mut Session, screen: &mut Screen, wanted: &WantedRequest, done: &mut Done) -> Result<(), Error> {
    let free = plan::free(session.known(), wanted);
    let batches = plan::batches(session.state(), free.into_iter(), wanted.each);
    let (single, many): (Vec<Vec<KeyId>>, Vec<Vec<KeyId>>) = batches.into_iter().partition(|batch| batch.len() == 1);
    let single: Vec<KeyId> = single.into_iter().flatten().collect();
    let mut commands = Vec::with_capacity(single.len());
    for key in &single {
        let params = request::for_one(session.state(), *key, &wanted.said, session.now())?;
        commands.push(Command { action: Action::ActivationRequest(params), key_id: Some(*key) });
    }
    let results = bulk::send_all(session, screen, "asking for activation", commands).await?;
    for (key, result) in single.into_iter().zip(results) {
        done.asked(session, &[key], result)?;
    }
    for keys in many {
        let result = request::ask_for_many(session, screen, &keys, &wanted.said).await;
        done.asked(session, &keys, result)?;
    }
    Ok(())
}

impl Done {
    /// Takes what became of a request. Somebody who asked at the same moment is no failure.
    fn asked(&mut self, session: &Session, keys: &[KeyId], result: Result<Recorded, Error>) -> Result<(), Error> {
        match result {
            Ok(recorded) => self.requests.push((recorded, keys.len())),
            Err(error @ (Error::Unreachable { .. } | Error::Unanswered { .. })) => return Err(error),
            Err(Error::Refused(problem)) if problem.kind() == Some(ProblemType::RequestOpen) => {}
            Err(error) => {
                let key = keys.first().and_then(|key| session.state().keys.get(key));
                let more = if keys.len() > 1 { format!(" and {} more", keys.len() - 1) } else { String::new() };
                let label = key.map_or_else(String::new, |key| key.spec.label.to_string());
                self.failed.push((format!("request for {label}{more}"), error));
            }
        }
        Ok(())
    }

    fn shown(&self, plan: &Plan) -> Shown {
        let mut people = format!("{GREEN}done:{GREEN:#} {} generated", counted(self.created, "key"));
        if self.there > 0 {
            people.push_str(&format!(", {} were there by now", self.there));
        }
        let asked: usize = self.requests.iter().map(|(_, keys)| keys).sum();
        let requests = counted(self.requests.len(), "request");
        people.push_str(&format!(", {asked} asked for in {requests}\n"));
        for (what, error) in &self.failed {
            people.push_str(&format!("{BOLD}{}{BOLD:#} {}", safe(what), error.to_people()));
        }
        let failed = |(what, error): &(String, Error)| json!({ "what": what, "problem": error.to_problem() });
        let request = |(recorded, keys): &(Recorded, usize)| json!({ "request": recorded.hash, "key_id": recorded.key_id, "keys": keys, "sequence": recorded.sequence.0 });
        let json = json!({
            "ok": self.failed.is_empty(),
            "plan": plan_json(plan),
            "created": self.created,
            "there": self.there,
            "requests": self.requests.iter().map(request).collect::<Vec<Value>>(),
            "failed": self.failed.iter().map(failed).collect::<Vec<Value>>(),
        });
        Shown { json, people }
    }
}

// === The plan ===

/// How many of one kind of step are named.
const NAMED_MAX: usize = 10;

fn plan_json(plan: &Plan) -> Value {
    let key = |(key, step): &(WantedKey, Step)| json!({ "label": key.spec.label, "key_id": key.id, "do": step });
    let request = |(request, step): &(WantedRequest, Step)| json!({ "keys": request.labels, "reason": request.said.reason, "do": step });
    json!({
        "keys": plan.keys.iter().map(key).collect::<Vec<Value>>(),
        "requests": plan.requests.iter().map(request).collect::<Vec<Value>>(),
    })
}

/// The plan, for people: how much of what, and each conflict.
pub fn plan_shown(plan: &Plan) -> Shown {
    let labels = |wanted: fn(&Step) -> bool| -> Vec<&str> {
        plan.keys.iter().filter(|(_, step)| wanted(step)).map(|(key, _)| key.spec.label.as_str()).collect()
    };
    let create = labels(|step| *step == Step::Create);
    let same = labels(|step| matches!(step, Step::Unchanged { .. }));
    let mut people = String::new();
    if !create.is_empty() {
        people.push_str(&format!(
            "  {GREEN}+{GREEN:#} generate {}: {}\n",
            counted(create.len(), "key"),
            first(&create)
        ));
    }
    if !same.is_empty() {
        people.push_str(&format!("  {DIM}={DIM:#} there: {}: {}\n", counted(same.len(), "key"), first(&same)));
    }
    for (request, step) in &plan.requests {
        let reason = safe(request.said.reason.text.as_str());
        match step {
            Step::Request { keys, requests } => {
                let (keys, requests) = (counted(*keys, "key"), counted(*requests, "request"));
                people.push_str(&format!("  {GREEN}+{GREEN:#} ask for {keys} in {requests}: {reason}\n"));
            }
            Step::Unchanged { how } => people.push_str(&format!("  {DIM}={DIM:#} {how}: {reason}\n")),
            _ => {}
        }
    }
    let of_keys = plan.keys.iter().map(|(key, step)| (key.spec.label.as_str(), step));
    let of_requests = plan.requests.iter().map(|(request, step)| (request.said.reason.text.as_str(), step));
    for (what, step) in of_keys.chain(of_requests) {
        if let Step::Conflict { why } = step {
            people.push_str(&format!("  {RED}✗{RED:#} {BOLD}{}{BOLD:#}: {}\n", safe(what), safe(why)));
        }
    }
    if plan.has_conflicts() {
        people.push_str(&format!("{RED}nothing is done before the conflicts are gone{RED:#}\n"));
    } else if !plan.has_work() {
        people.push_str(&format!("{GREEN}nothing to do{GREEN:#}\n"));
    }
    Shown { json: json!({ "ok": !plan.has_conflicts(), "plan": plan_json(plan) }), people }
}

fn first(labels: &[&str]) -> String {
    let named: Vec<&str> = labels.iter().take(NAMED_MAX).copied().collect();
    let more = labels.len() - named.len();
    safe(&named.join(", ")) + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

//! `keylatch key revalidate`: keys that wait for their activation are still wanted.

use clap::Args;
use lifecycle::Key;
use model::command::{KeyRevalidate, LIFETIME_MAX, REVALIDATED_MAX};
use model::{Action, Command, KeyId, Text};
use serde_json::{Value, json};

use crate::command::ConsentArgs;
use crate::error::Error;
use crate::layout::{BOLD, Cell, DIM, RED, Table, relative, time};
use crate::lookup;
use crate::review::review;
use crate::screen::{Screen, Show as _, Shown};
use crate::session::Session;
use crate::submit::{Needs, Signing};

/// Which keys.
#[derive(Args, Clone, Debug)]
pub struct RevalidateArgs {
    /// The keys: labels, ids, or the beginnings of ids.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub keys: Vec<String>,
    /// Every key that waits for its activation.
    #[arg(long)]
    pub all: bool,
    /// What was looked at, in one line. It is recorded for good: no personal data.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<Text>,
    #[command(flatten)]
    /// Whether to ask.
    pub consent: ConsentArgs,
}

/// Shows the keys, asks once, and signs a command for each 500 of them.
pub async fn revalidate(args: RevalidateArgs, session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    if session.governance()?.policy()?.policy.keys.revalidation.is_none() {
        let advice =
            "add [keys.revalidation] to the policy; without it keys wait as long as `keys.pre_active_for` says";
        return Err(Error::usage("the policy asks for no revalidation", advice));
    }
    let keys: Vec<Key> = waiting(session, &args)?.into_iter().cloned().collect();
    if keys.is_empty() {
        let json = json!({ "ok": true, "keys": 0, "events": [] });
        return screen.show(&Shown { json, people: format!("{DIM}no key waits for its activation{DIM:#}\n") });
    }
    let commands = commands(session, &keys, args.note.as_ref());
    let signing: Signing = args.consent.into();
    look(&keys, &commands, &signing, session, screen);
    let question = format!("Sign that {} still wanted ({} commands)?", counted(keys.len()), commands.len());
    screen.confirm(&question, signing.yes)?;
    let mut events: Vec<Value> = Vec::new();
    for command in &commands {
        let outcome = session.carry_out(screen, command, &signing, Needs { signatures: 1, review: false }).await?;
        events.push(outcome.to_json());
        if !screen.is_json() {
            screen.show(&outcome)?;
        }
    }
    let next = keys.first().and_then(|key| session.state().keys.get(&key.id)?.revalidate_by);
    let json = json!({ "ok": true, "keys": keys.len(), "events": events, "next_by": next });
    let next = next.map_or(String::new(), |next| format!("; again by {}", time(next)));
    screen.show(&Shown { json, people: format!("{BOLD}{}{BOLD:#} still wanted{next}\n", counted(keys.len())) })
}

fn counted(keys: usize) -> String {
    if keys == 1 { "1 key is".to_owned() } else { format!("{keys} keys are") }
}

/// The keys that are meant, each once. All of them wait.
fn waiting<'a>(session: &'a Session, args: &RevalidateArgs) -> Result<Vec<&'a Key>, Error> {
    let (state, now) = (session.state(), session.now());
    let waits = |key: &Key| key.is_waiting() && now < key.expires_at();
    if args.all {
        return Ok(state.keys.values().filter(|key| waits(key)).collect());
    }
    let mut found: Vec<&Key> = Vec::new();
    for named in &args.keys {
        let key = lookup::key(state, named)?;
        if !waits(key) {
            let how = if key.expired.is_some() { "expired" } else { key.state.name() };
            let what = format!("key `{}` is {how}, and does not wait for its activation", key.spec.label);
            return Err(Error::usage(what, "leave it out; `keylatch key list` shows those that wait"));
        }
        if found.iter().all(|other| other.id != key.id) {
            found.push(key);
        }
    }
    Ok(found)
}

fn commands(session: &Session, keys: &[Key], note: Option<&Text>) -> Vec<Command> {
    let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
    let command = |keys: &[KeyId]| {
        let params = KeyRevalidate { keys: keys.to_vec(), note: note.cloned() };
        session.command(Action::KeyRevalidate(params), None, LIFETIME_MAX)
    };
    ids.chunks(REVALIDATED_MAX).map(command).collect()
}

/// Shows what is looked at, and what is signed.
fn look(keys: &[Key], commands: &[Command], signing: &Signing, session: &Session, screen: &mut Screen) {
    // A program that said yes beforehand knows what it signs.
    if signing.yes && screen.is_json() {
        return;
    }
    screen.review(&table(keys, session));
    for command in commands {
        screen.review(&review(command, &command.to_json(), &[], Some(session.known()), session.now()));
    }
}

fn table(keys: &[Key], session: &Session) -> String {
    let now = session.now();
    let mut table = Table::new(&["KEY", "FOR", "OWNER", "MADE", "BY", "EXPIRES", "REQUEST", "ID"]);
    for key in keys {
        let spec = &key.spec;
        let ends = key.expires_at();
        let soon = ends.unix_millis() - now.unix_millis() < 24 * 3_600_000;
        let expires = relative(ends, now);
        table.row([
            Cell::styled(BOLD, spec.label.as_str()),
            format!("{}, {}", spec.workload, spec.environment).into(),
            spec.owner.as_ref().map_or("none", |owner| owner.as_str()).into(),
            relative(key.created_at, now).into(),
            lookup::name(session.state(), key.created_by).into(),
            if soon { Cell::styled(RED, expires) } else { expires.into() },
            key.open_request.map_or_else(|| "none".to_owned(), lookup::short).into(),
            key.id.to_string().into(),
        ]);
    }
    format!("\n{BOLD}Keys that wait for their activation{BOLD:#}\n{}", table.to_people("none"))
}

//! `keylatch never-active`: whether a key was never active between two times, with the events that bound it.

use clap::Args;
use evidence::controls::never_active::{Bound, NeverActive, Verdict, never_active};
use evidence::history::{At, History, KeyLife};
use model::{EventHash, Fingerprint, KeyId, Name, Sequence, TenantId, Timestamp};
use serde::Serialize;

use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, Fields, GREEN, RED, YELLOW, safe, styled, time};
use crate::look_back::{Source, SourceArgs, Wanted, no_export};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::words::When;

/// Which key, between which times.
#[derive(Args, Clone, Debug)]
pub struct NeverActiveArgs {
    /// The key: label, id, or the beginning of an id. Keys that are gone count too.
    pub key: String,
    /// From when (included) until when (not included), such as 2026-01-01 2026-07-01.
    #[arg(long, value_names = ["FROM", "UNTIL"], num_args = 2, required = true)]
    pub between: Vec<When>,
    #[command(flatten)]
    /// Where the history comes from.
    pub source: SourceArgs,
}

/// What a program gets: the statement, and whose history it was put to.
#[derive(Serialize)]
struct Statement<'a> {
    /// Whether it holds.
    ok: bool,
    format: &'static str,
    tenant: TenantId,
    root: Fingerprint,
    statement: String,
    label: &'a Name,
    #[serde(flatten)]
    never_active: &'a NeverActive,
    /// The last event that was read.
    head: Head,
}

#[derive(Serialize)]
struct Head {
    sequence: Sequence,
    hash: EventHash,
}

/// Runs `keylatch never-active`. Exit code 1 where it was active, or the history does not reach that far.
pub async fn run(args: NeverActiveArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    let now = session.now();
    ask(&args, Source::Platform(session), now, screen).await
}

impl NeverActiveArgs {
    /// The export that is meant; `None` where the platform is asked.
    pub fn offline(&self) -> Option<Source<'_>> {
        self.source.offline()
    }
}

/// The same of the export that is meant.
pub async fn run_offline(args: &NeverActiveArgs, screen: &mut Screen) -> Result<Exit, Error> {
    ask(args, args.offline().ok_or_else(no_export)?, crate::Clock::default().now(), screen).await
}

async fn ask(
    args: &NeverActiveArgs,
    mut source: Source<'_>,
    now: Timestamp,
    screen: &mut Screen,
) -> Result<Exit, Error> {
    let [from, to] = args.between.as_slice() else {
        return Err(Error::usage("two times are wanted", "give --between FROM UNTIL"));
    };
    let (from, to) = (from.from(now), to.from(now));
    if from >= to {
        let what = format!("{} does not come before {}", time(from), time(to));
        return Err(Error::usage(what, "give the earlier time first: --between FROM UNTIL"));
    }
    let back = source.look_back(Wanted::default(), screen).await?;
    back.warn_of_voids(screen);
    let (replay, last) = (&back.replay, back.last());
    let key = key(replay.history(), &args.key)?;
    let said = never_active(replay.history(), last.time, key.id, from, to);
    let said = said.ok_or_else(|| Error::failed("there is no such key", "see `keylatch key list`"))?;
    let (tenant, root) = (replay.state().chain.tenant(), replay.state().root);
    let statement = Statement {
        ok: said.verdict == Verdict::Holds,
        format: "keylatch.dev/never-active/v1",
        tenant,
        root,
        statement: format!("key {} was never active from {from} until {to}", key.id),
        label: &key.spec.label,
        never_active: &said,
        head: Head { sequence: last.sequence, hash: last.hash },
    };
    let json = serde_json::to_value(&statement).unwrap_or_default();
    screen.show(&Shown { json, people: to_people(&said, key, last) })?;
    Ok(if said.verdict == Verdict::Holds { Exit::Ok } else { Exit::Refused })
}

/// The key that is meant, among all that there ever were.
fn key<'a>(history: &'a History, named: &str) -> Result<&'a KeyLife, Error> {
    if let Some(key) = named.parse::<KeyId>().ok().and_then(|id| history.keys.get(&id)) {
        return Ok(key);
    }
    let fits = |key: &&KeyLife| {
        key.spec.label.as_str() == named || (named.len() >= 8 && key.id.to_string().starts_with(named))
    };
    let found: Vec<&KeyLife> = history.keys.values().filter(fits).collect();
    match found.as_slice() {
        [key] => Ok(key),
        [] => Err(Error::usage(format!("there was never a key `{named}`"), "see `keylatch key list`")),
        several => {
            let ids: Vec<String> = several.iter().take(10).map(|key| key.id.to_string()).collect();
            Err(Error::usage(format!("`{named}` stands for several keys"), format!("give one id: {}", ids.join(", "))))
        }
    }
}

fn to_people(said: &NeverActive, key: &KeyLife, last: At) -> String {
    let verdict = match said.verdict {
        Verdict::Holds => styled(GREEN, "it holds: the key was never active then"),
        Verdict::Fails => styled(RED, "it does not hold: the key was active then"),
        Verdict::Open => {
            let end = format!("it can't be said yet: the history ends {}", time(last.time));
            format!("{}; so far nothing is against it", styled(YELLOW, &end))
        }
    };
    let mut fields = Fields::default();
    fields.text("key", format!("{} {}", key.id, key.identity));
    fields.text("from", time(said.from));
    fields.text("until", time(said.to));
    match &said.before {
        Some(bound) => fields.text("before", in_words(bound)),
        None => fields.text("before", "there was no such key yet"),
    }
    if let Some(at) = said.store_followed {
        fields.text("its store", format!("followed by event {}, {}", at.sequence.0, time(at.time)));
    }
    said.within.iter().for_each(|bound| fields.text("between", in_words(bound)));
    if let Some(bound) = &said.after {
        fields.text("after", in_words(bound));
    }
    fields.text("read until", format!("event {}, {}", last.sequence.0, time(last.time)));
    let label = safe(key.spec.label.as_str());
    let note = "nothing else changed its state in this history; what the store did beside it is the custodian's word";
    format!("{BOLD}{label}{BOLD:#}  {verdict}\n{}  {DIM}{note}{DIM:#}\n", fields.to_people(2))
}

fn in_words(bound: &Bound) -> String {
    let Bound { event, state } = bound;
    format!("{state} by event {} of {} ({})", event.sequence.0, time(event.time), event.hash)
}

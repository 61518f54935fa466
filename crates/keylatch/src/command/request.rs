//! `keylatch request`: asking for a key's activation, and waiting for what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use lifecycle::Tenant;
use lifecycle::manifest::List;
use lifecycle::state::Outcome as End;
use model::command::{ActivationRequest, LIFETIME_MAX, Standing};
use model::key::{Reason, Responsibility, Template};
use model::{Action, Algorithm, Event, EventHash, Fingerprint, KeyId, Name, Span, Text, Timestamp};
use serde_json::{Value, json};

use crate::command::ReasonArgs;
use crate::command::event_line::event_line;
use crate::documents;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe, styled, time_from};
use crate::lookup;
use crate::reader::{Heard, Seen};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::{Needs, Outcome, Recorded, Signing};
use crate::words::{self, When, name_of};

/// What is asked for, and why.
#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    /// The key: label, id, or the beginning of an id.
    #[arg(required_unless_present_any = ["manifest", "keys", "all_matching", "standing"])]
    pub key: Option<String>,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    #[command(flatten)]
    /// What else is said.
    pub said: SaidArgs,
    #[command(flatten)]
    /// Many keys at once.
    pub many: ManyArgs,
    #[command(flatten)]
    /// Keys that are still to come.
    pub standing: StandingArgs,
    /// Wait until it is activated, rejected, cancelled or run out, and show each step. Exit code 1 where it was not
    /// activated.
    #[arg(long)]
    pub wait: bool,
}

/// What a request says beyond its reason.
#[derive(Args, Clone, Debug, Default)]
pub struct SaidArgs {
    /// The change that this belongs to, such as a ticket.
    #[arg(long, value_name = "REF")]
    pub change_ref: Option<Text>,
    /// A provision that it rests on. Repeat it for further ones.
    #[arg(long, value_name = "TEXT")]
    pub legal_basis: Vec<Text>,
    /// A system or service that will use the key. Repeat it for further ones.
    #[arg(long = "system", value_name = "TEXT")]
    pub systems: Vec<Text>,
    /// Somebody who must have acknowledged the key's identity before it is activated. Repeat it for further ones.
    #[arg(long = "consumer", value_name = "LABEL")]
    pub consumers: Vec<String>,
    /// Not to be activated before this time (UTC), such as 2026-12-01T08:00Z or +2h.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<When>,
    /// To be deactivated at this time (UTC), such as 2027-12-01 or +365d; left out, when the crypto period ends.
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// This is an emergency, under the policy's rule for those: short-lived, and reviewed afterwards.
    #[arg(long, conflicts_with_all = ["manifest", "keys", "all_matching", "standing"])]
    pub break_glass: bool,
    /// Do not name the custodian's statement of where the key is kept. It is named by default, and signed for.
    #[arg(long)]
    pub no_attestation: bool,
}

/// Many keys at once: one request, one signature a person.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Many keys")]
pub struct ManyArgs {
    /// The keys that this file names: a label or id a line; blank lines and # comments are passed over.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "keys", "all_matching", "standing"])]
    pub manifest: Option<PathBuf>,
    /// These keys.
    #[arg(long, value_name = "KEY", num_args = 1.., conflicts_with_all = ["key", "all_matching", "standing"])]
    pub keys: Vec<String>,
    /// Every key that waits, has no open request, and whose label is like this; `*` stands for anything.
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["key", "standing"])]
    pub all_matching: Option<String>,
}

/// A standing authorisation, for keys that are still to come.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Standing authorisation")]
pub struct StandingArgs {
    /// So many keys, to be activated as they are needed.
    #[arg(long, value_name = "COUNT", requires = "lasting", conflicts_with = "key")]
    pub standing: Option<u32>,
    /// How long it is to stand, such as 8h.
    #[arg(long = "for", id = "lasting", value_name = "SPAN", requires = "standing")]
    pub lasting: Option<Span>,
    /// How long each of the keys is to be active; left out, for its crypto period.
    #[arg(long, value_name = "SPAN", requires = "standing")]
    pub active_for: Option<Span>,
    /// Keys of the same kind as this one, where the options below don't say otherwise.
    #[arg(long, value_name = "KEY", requires = "standing")]
    pub like: Option<String>,
    /// What they compute.
    #[arg(long, requires = "standing", value_parser = words::algorithm())]
    pub algorithm: Option<Algorithm>,
    /// The kind of work.
    #[arg(long, requires = "standing")]
    pub workload: Option<Name>,
    /// The layer they belong to.
    #[arg(long, requires = "standing", value_parser = words::responsibility())]
    pub responsibility: Option<Responsibility>,
    /// Where their data lives in law.
    #[arg(long, requires = "standing")]
    pub jurisdiction: Option<Name>,
    /// How sensitive their data is.
    #[arg(long, requires = "standing")]
    pub classification: Option<Name>,
    /// Such as `production`.
    #[arg(long, requires = "standing")]
    pub environment: Option<Name>,
    /// The key store that holds them.
    #[arg(long, requires = "standing")]
    pub backend: Option<Name>,
}

/// Runs `keylatch request`.
pub async fn run(args: RequestArgs, session: &mut Session, screen: &mut Screen) -> Result<Exit, Error> {
    if args.wait {
        session.reader_mut().listen().await?;
    }
    session.refresh(screen).await?;
    let wait = args.wait;
    let recorded = request(session, screen, args).await?;
    screen.show(&recorded)?;
    if !wait {
        screen.note(&format!("{DIM}approvers see it with `keylatch requests`{DIM:#}"));
        return Ok(Exit::Ok);
    }
    let ended = wait_for(session, screen, recorded.hash).await?;
    screen.show(&ended.shown(session))?;
    Ok(if ended.how == End::Activated { Exit::Ok } else { Exit::Refused })
}

/// Asks for what the options say, of keys as the verified history knows them.
pub async fn request(session: &mut Session, screen: &mut Screen, args: RequestArgs) -> Result<Recorded, Error> {
    let said = Said::new(args.reason.into(), args.said, session.state())?;
    let state = session.state();
    match (args.key, args.standing.standing) {
        (Some(named), None) => {
            let key = lookup::key(state, &named)?.id;
            ask_for_one(session, screen, key, &said).await
        }
        (None, Some(count)) => {
            let until = session.now() + args.standing.lasting.unwrap_or(Span::ZERO);
            let standing = Standing { count, until, active_for: args.standing.active_for };
            let params = ActivationRequest::standing(template(state, &args.standing)?, standing, said.reason.clone());
            send(session, screen, said.fill(params, session.now()), None).await
        }
        _ => {
            let keys = named_keys(state, &args.many)?;
            ask_for_many(session, screen, &keys, &said).await
        }
    }
}

/// What a request says beside what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Why.
    pub reason: Reason,
    /// The change that it belongs to.
    pub change_ref: Option<Text>,
    /// The provisions that it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems that will use the keys.
    pub systems: Vec<Text>,
    /// Who must have acknowledged the keys.
    pub consumers: BTreeSet<Fingerprint>,
    /// Not before.
    pub not_before: Option<When>,
    /// Until.
    pub until: Option<When>,
    /// Whether it is an emergency.
    pub break_glass: bool,
    /// Whether it names the custodian's statement.
    pub attestation: bool,
}

impl Said {
    /// As options say it, with consumers looked up.
    pub fn new(reason: Reason, args: SaidArgs, state: &Tenant) -> Result<Self, Error> {
        let consumer = |named: &String| Ok(lookup::principal(state, named)?.principal.fingerprint());
        let consumers = args.consumers.iter().map(consumer).collect::<Result<_, Error>>()?;
        let SaidArgs { change_ref, legal_basis, systems, not_before, until, break_glass, no_attestation, .. } = args;
        let attestation = !no_attestation;
        Ok(Self { reason, change_ref, legal_basis, systems, consumers, not_before, until, break_glass, attestation })
    }

    fn fill(&self, params: ActivationRequest, now: Timestamp) -> ActivationRequest {
        ActivationRequest {
            change_ref: self.change_ref.clone(),
            legal_basis: self.legal_basis.clone(),
            affected_systems: self.systems.clone(),
            consumers: self.consumers.clone(),
            not_before: self.not_before.map(|when| when.from(now)),
            deactivate_at: self.until.map(|when| when.from(now)),
            break_glass: self.break_glass,
            ..params
        }
    }
}

/// The parameters of a request for one key.
pub fn for_one(state: &Tenant, key: KeyId, said: &Said, now: Timestamp) -> Result<ActivationRequest, Error> {
    let key = lookup::key(state, &key.to_string())?;
    let params = ActivationRequest::of_key(key.identity.clone(), said.reason.clone());
    // No custodian has stated anything of a key that was there before.
    let attestation = (said.attestation && key.adopted.is_none()).then_some(key.attestation);
    Ok(said.fill(ActivationRequest { attestation, ..params }, now))
}

/// Asks for one key.
pub async fn ask_for_one(
    session: &mut Session,
    screen: &mut Screen,
    key: KeyId,
    said: &Said,
) -> Result<Recorded, Error> {
    let params = for_one(session.state(), key, said, session.now())?;
    send(session, screen, params, Some(key)).await
}

/// Asks for many keys at once: puts their list into the log, where it is not there yet, and asks for what stands for it.
pub async fn ask_for_many(
    session: &mut Session,
    screen: &mut Screen,
    keys: &[KeyId],
    said: &Said,
) -> Result<Recorded, Error> {
    let (template, list) = list_of(session.state(), keys)?;
    documents::store(session, screen, &list.text(), list.parts()).await?;
    let params = ActivationRequest::of_list(template, list.manifest(), said.reason.clone());
    send(session, screen, said.fill(params, session.now()), None).await
}

/// The list of these keys, which must be alike and wait.
pub fn list_of(state: &Tenant, keys: &[KeyId]) -> Result<(Template, List), Error> {
    let mut kinds: Vec<(Template, &str)> = Vec::new();
    let mut entries = Vec::with_capacity(keys.len());
    for id in keys {
        let key = lookup::key(state, &id.to_string())?;
        if !key.can_be_activated() || key.open_request.is_some() {
            let how = if key.can_be_activated() { "has an open request" } else { key.state.name() };
            let what = format!("`{}` {how}", key.spec.label);
            return Err(Error::failed(what, "name keys that wait for their activation, and have no open request"));
        }
        let kind = Template::of(&key.spec);
        if !kinds.iter().any(|(known, _)| *known == kind) {
            kinds.push((kind, key.spec.label.as_str()));
        }
        entries.push(key);
    }
    match kinds.as_slice() {
        [(template, _)] => Ok((template.clone(), List::of(entries))),
        [] => Err(Error::usage("no key is named", "name keys with --keys, --manifest or --all-matching")),
        [(_, first), (_, other), ..] => {
            let what = format!("`{first}` and `{other}` are of different kinds");
            Err(Error::usage(what, "ask for keys that are alike in all that rules match on, one request a kind"))
        }
    }
}

async fn send(
    session: &mut Session,
    screen: &mut Screen,
    params: ActivationRequest,
    key: Option<KeyId>,
) -> Result<Recorded, Error> {
    let command = session.command(Action::ActivationRequest(params), key, LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: false };
    match session.carry_out(screen, &command, &Signing::default(), needs).await? {
        Outcome::Recorded(recorded) => Ok(recorded),
        Outcome::Saved(saved) => Err(Error::file(&saved.path, "it was kept, not sent", "send it: keylatch submit")),
    }
}

/// The keys that are named for a list.
fn named_keys(state: &Tenant, args: &ManyArgs) -> Result<Vec<KeyId>, Error> {
    if let Some(pattern) = &args.all_matching {
        let free = state.keys.values().filter(|key| key.can_be_activated() && key.open_request.is_none());
        let keys: Vec<KeyId> = free.filter(|key| is_like(key.spec.label.as_str(), pattern)).map(|key| key.id).collect();
        if keys.is_empty() {
            let what = format!("no key that waits without a request is like `{pattern}`");
            return Err(Error::failed(what, "see `keylatch key list --state pre-active`"));
        }
        return Ok(keys);
    }
    let from_file = match &args.manifest {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Error::file(path, error, "name a file with a label or id a line"))?,
        None => String::new(),
    };
    let lines = from_file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let named = lines.chain(args.keys.iter().map(String::as_str));
    // Looked up by label at once: a list may be long.
    let mut labels: BTreeMap<&str, Vec<KeyId>> = BTreeMap::new();
    for key in state.keys.values().filter(|key| key.can_be_activated()) {
        labels.entry(key.spec.label.as_str()).or_default().push(key.id);
    }
    let keys = named.map(|named| match labels.get(named).map(Vec::as_slice) {
        Some([key]) => Ok(*key),
        _ => lookup::key(state, named).map(|key| key.id),
    });
    let mut seen = BTreeSet::new();
    let keys: Vec<KeyId> = keys.collect::<Result<_, Error>>()?;
    Ok(keys.into_iter().filter(|key| seen.insert(*key)).collect())
}

/// Whether a label is like a pattern, in which `*` stands for anything.
fn is_like(label: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => label == pattern,
        Some((start, rest)) => label.strip_prefix(start).is_some_and(|label| {
            let ends = label.char_indices().map(|(at, _)| at).chain([label.len()]);
            ends.filter_map(|at| label.get(at..)).any(|tail| is_like(tail, rest))
        }),
    }
}

/// The kind of key that a standing authorisation is for.
fn template(state: &Tenant, args: &StandingArgs) -> Result<Template, Error> {
    let like = args.like.as_deref().map(|named| lookup::key(state, named)).transpose()?;
    let like = like.map(|key| Template::of(&key.spec));
    let missing = |option: &str| {
        Error::usage(format!("--{option} is not given"), "say what kind of keys they are, or name one with --like KEY")
    };
    macro_rules! take {
        ($member:ident) => {
            args.$member
                .clone()
                .or(like.as_ref().map(|like| like.$member.clone()))
                .ok_or_else(|| missing(stringify!($member)))
        };
    }
    Ok(Template {
        algorithm: take!(algorithm)?,
        workload: take!(workload)?,
        responsibility: take!(responsibility)?,
        jurisdiction: take!(jurisdiction)?,
        classification: take!(classification)?,
        environment: take!(environment)?,
        backend: take!(backend)?,
    })
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The request.
    pub request: EventHash,
    /// The key, where it was for one.
    pub key_id: Option<KeyId>,
    /// In what.
    pub how: End,
    /// The event that ended it.
    pub event: EventHash,
}

impl Ended {
    fn key<'a>(&self, state: &'a lifecycle::Tenant) -> Option<&'a lifecycle::Key> {
        state.keys.get(&self.key_id?)
    }

    /// In words; a key that is gone may have expired.
    fn word(&self, session: &Session) -> String {
        let expired = self.key(session.state()).is_some_and(|key| key.expired.is_some());
        if self.how == End::KeyGone && expired { "expired".to_owned() } else { name_of(&self.how) }
    }

    fn shown(&self, session: &Session) -> Shown {
        let (state, word) = (session.state(), self.word(session));
        let key = self.key(state);
        let label = state.requests.get(&self.request).map_or(String::new(), |request| lookup::what(state, request));
        let style = if self.how == End::Activated { GREEN } else { RED };
        let until = key.and_then(|key| key.activation).filter(|_| self.how == End::Activated);
        let until = until.map(|activation| format!(" until {}", time_from(activation.deactivate_at, session.now())));
        let people = format!("{} {BOLD}{}{BOLD:#}{}\n", styled(style, &word), safe(&label), until.unwrap_or_default());
        let json = json!({
            "ok": self.how == End::Activated, "request": self.request, "key_id": self.key_id, "outcome": word,
            "event": self.event, "state": key.map(|key| key.state),
        });
        Shown { json, people }
    }
}

/// Follows a request to its end, and shows each step on the way.
pub async fn wait_for(session: &mut Session, screen: &mut Screen, request: EventHash) -> Result<Ended, Error> {
    session.reader_mut().listen().await?;
    waiting(session, screen, request);
    let mut silent = false;
    loop {
        if let Some(ended) = ended(session, request)? {
            return Ok(ended);
        }
        match session.reader_mut().next().await? {
            Heard::Events(seen) => {
                silent = false;
                show_steps(session, screen, request, &seen)?;
            }
            Heard::Silence(no_answer) => {
                if !std::mem::replace(&mut silent, true) {
                    screen.note(&format!("{YELLOW}waiting for the platform:{YELLOW:#} {no_answer}"));
                }
            }
        }
    }
}

fn ended(session: &Session, hash: EventHash) -> Result<Option<Ended>, Error> {
    let request = session.state().requests.get(&hash).ok_or_else(|| {
        Error::failed(format!("there is no request {hash} in the verified history"), "see `keylatch requests`")
    })?;
    let key_id = request.key_id;
    let (closed, gone) = (request.closed, key_id.and_then(|key| session.state().keys.get(&key)?.expired));
    Ok(match (closed, gone) {
        (Some(closed), _) => Some(Ended { request: hash, key_id, how: closed.how, event: closed.hash }),
        (None, Some(event)) => Some(Ended { request: hash, key_id, how: End::KeyGone, event }),
        (None, None) => None,
    })
}

/// Shows the events about the request's key.
fn show_steps(session: &Session, screen: &mut Screen, hash: EventHash, seen: &[Seen]) -> Result<(), Error> {
    let Some(request) = session.state().requests.get(&hash) else { return Ok(()) };
    let mut voted = false;
    for seen in seen.iter().filter(|seen| is_about(seen, request)) {
        screen.show(&event_line(seen, session.known()))?;
        voted |= matches!(seen.event(), Some(Event::ActivationApproved(_) | Event::ActivationLapsed(_)));
    }
    if voted {
        waiting(session, screen, hash);
    }
    Ok(())
}

/// Whether an event is about the request: about its key, or, where it is for many, about itself.
fn is_about(seen: &Seen, request: &lifecycle::state::Request) -> bool {
    if request.key_id.is_some() {
        return seen.key_id() == request.key_id;
    }
    let data = seen.prepared.body().and_then(|body| serde_json::from_str::<Value>(&body.data).ok());
    let named = data.as_ref().and_then(|data| data.get("request")).and_then(Value::as_str);
    seen.prepared.hash == request.hash || named == Some(request.hash.to_string().as_str())
}

/// Says what is waited for.
fn waiting(session: &Session, screen: &mut Screen, hash: EventHash) {
    let Some(request) = session.state().requests.get(&hash).filter(|request| request.closed.is_none()) else { return };
    let missing = lookup::missing(session.state(), request, session.now());
    let what = match (missing.is_empty(), request.not_before > session.now()) {
        (false, _) => missing.join(", "),
        (true, true) => format!("its time, {}", time_from(request.not_before, session.now())),
        (true, false) => "the platform to activate it".to_owned(),
    };
    screen.note(&format!("       {DIM}waiting for{DIM:#} {YELLOW}{}{YELLOW:#}", safe(&what)));
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_stands_for_anything() {
        for (label, pattern, like) in [
            ("weights-1", "weights-*", true),
            ("weights-1", "*", true),
            ("weights-1", "w*-1", true),
            ("weights-12", "w*-1", false),
            ("weights", "weights", true),
            ("weights", "weight", false),
            ("a-b-b", "*b", true),
            ("", "*", true),
        ] {
            assert_eq!(is_like(label, pattern), like, "{label} {pattern}");
        }
    }
}

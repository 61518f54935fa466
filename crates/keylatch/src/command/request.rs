//! `keylatch request`: asking for a key's activation, and waiting for what comes of it.

use clap::Args;
use lifecycle::state::Outcome as End;
use model::command::{ActivationRequest, LIFETIME_MAX};
use model::{Action, Event, EventHash, KeyId, Text};
use serde_json::json;

use crate::command::ReasonArgs;
use crate::command::event_line::event_line;
use crate::error::{Error, Exit};
use crate::layout::{BOLD, DIM, GREEN, RED, YELLOW, safe, styled, time_from};
use crate::lookup;
use crate::reader::{Heard, Seen};
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::submit::{Needs, Outcome, Recorded, Signing};
use crate::words::{When, name_of};

/// What is asked for, and why.
#[derive(Args, Clone, Debug)]
pub struct RequestArgs {
    /// The key: label, id, or the beginning of an id.
    pub key: String,
    #[command(flatten)]
    /// Why.
    pub reason: ReasonArgs,
    /// The change that this belongs to, such as a ticket.
    #[arg(long, value_name = "REF")]
    pub change_ref: Option<Text>,
    /// A provision that it rests on. Repeat it for further ones.
    #[arg(long, value_name = "TEXT")]
    pub legal_basis: Vec<Text>,
    /// A system or service that will use the key. Repeat it for further ones.
    #[arg(long = "system", value_name = "TEXT")]
    pub systems: Vec<Text>,
    /// Not to be activated before this time (UTC), such as 2026-12-01T08:00Z or +2h.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<When>,
    /// To be deactivated at this time (UTC), such as 2027-12-01 or +365d; left out, when the crypto period ends.
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Wait until it is activated, rejected, cancelled or run out, and show each step. Exit code 1 where it was not
    /// activated.
    #[arg(long)]
    pub wait: bool,
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

/// Asks for the activation of the key as the verified history knows it.
pub async fn request(session: &mut Session, screen: &mut Screen, args: RequestArgs) -> Result<Recorded, Error> {
    let (key, now) = (lookup::key(session.state(), &args.key)?, session.now());
    let (key_id, identity) = (key.id, key.identity.clone());
    let action = Action::ActivationRequest(ActivationRequest {
        change_ref: args.change_ref,
        legal_basis: args.legal_basis,
        affected_systems: args.systems,
        not_before: args.not_before.map(|when| when.from(now)),
        deactivate_at: args.until.map(|when| when.from(now)),
        ..ActivationRequest::of_key(identity, args.reason.into())
    });
    let command = session.command(action, Some(key_id), LIFETIME_MAX);
    let needs = Needs { signatures: 1, review: false };
    match session.carry_out(screen, &command, &Signing::default(), needs).await? {
        Outcome::Recorded(recorded) => Ok(recorded),
        Outcome::Saved(saved) => Err(Error::file(&saved.path, "it was kept, not sent", "send it: keylatch submit")),
    }
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
    for seen in seen.iter().filter(|seen| seen.key_id() == request.key_id) {
        screen.show(&event_line(seen, session.known()))?;
        voted |= matches!(seen.event(), Some(Event::ActivationApproved(_) | Event::ActivationLapsed(_)));
    }
    if voted {
        waiting(session, screen, hash);
    }
    Ok(())
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

//! How things stood at a point in the history: `keylatch history --at` and `--seq`, `keylatch key show --at`.

use clap::Args;
use evidence::Point;
use model::history::{AsOf, RuleAsOf, StageAsOf};
use model::{KeyId, Sequence, Timestamp};
use serde_json::json;

use crate::error::Error;
use crate::layout::{BOLD, DIM, Fields, YELLOW, safe, state_style, styled, time};
use crate::lookup;
use crate::screen::{Screen, Shown};
use crate::session::Session;
use crate::words::When;

/// A point in the history.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PointArgs {
    /// As things stood at this time: after the last event that is not later.
    #[arg(long, value_name = "TIME", conflicts_with = "seq")]
    pub at: Option<When>,
    /// As things stood after the event with this sequence.
    #[arg(long, value_name = "SEQUENCE")]
    pub seq: Option<u64>,
}

impl PointArgs {
    /// The point that is meant, and the time to look at it from; `None` where none is given.
    ///
    /// # Errors
    /// Where it lies ahead: nobody knows how things will stand.
    pub fn point(&self, now: Timestamp) -> Result<Option<Point>, Error> {
        match (self.at.map(|at| at.from(now)), self.seq) {
            (Some(at), _) if at > now => Err(Error::usage(
                format!("{at} is still to come"),
                "give a time that has passed; `simulate` looks ahead",
            )),
            (Some(at), _) => Ok(Some(Point::Time(at))),
            (None, Some(sequence)) => Ok(Some(Point::Sequence(Sequence(sequence)))),
            (None, None) => Ok(None),
        }
    }
}

/// Reads up to the point, and gives the time at which things are looked at there: the one asked for, else that of the last
/// event.
///
/// # Errors
/// Where the history does not reach that far, or had not begun.
pub async fn read(session: &mut Session, point: Point, screen: &mut Screen) -> Result<Timestamp, Error> {
    session.read_until(point, screen).await?;
    let (head, last) = (session.reader().head(), session.reader().heard_of());
    match point {
        Point::Sequence(sequence) if head < sequence => {
            let what = format!("there is no event {} yet: the history has {}", sequence.0, last.0);
            Err(Error::usage(what, "give a sequence that is there; `keylatch history` lists them"))
        }
        Point::Time(at) if head == Sequence::NONE => {
            Err(Error::usage(format!("the history had not begun at {at}"), "see `keylatch history --from 1 --max 1`"))
        }
        Point::Time(at) => Ok(at),
        Point::Sequence(_) => Ok(session.state().chain.time()),
    }
}

/// How things stand in a session that has read up to there.
///
/// # Errors
/// Where a key is named that was not there.
pub fn show(session: &Session, key: Option<&str>, now: Timestamp) -> Result<Shown, Error> {
    let state = session.state();
    let key: Option<KeyId> = key.map(|named| lookup::key(state, named)).transpose()?.map(|key| key.id);
    let as_of = evidence::as_of(state, key, now);
    let people = to_people(&as_of, now, session.reader().heard_of());
    Ok(Shown { json: json!({ "ok": true, "at": now, "as_of": as_of }), people })
}

fn to_people(as_of: &AsOf, at: Timestamp, last: Sequence) -> String {
    let (AsOf { sequence, hash, .. }, last) = (as_of, last.0);
    let mut fields = Fields::default();
    fields.text("last event", format!("{sequence} of {last}, of {}", time(as_of.time)));
    fields.text("head", hash.to_string());
    let keys: Vec<String> = as_of.keys.iter().map(|(state, count)| format!("{count} {state}")).collect();
    fields.text("keys", if keys.is_empty() { "none".to_owned() } else { keys.join(", ") });
    fields.text("open requests", as_of.open_requests.to_string());
    match &as_of.policy {
        Some(policy) => {
            fields.text("policy", format!("{}, version {} ({})", policy.name, policy.version, policy.event))
        }
        None => fields.add("policy", styled(YELLOW, "none: nothing could be made or activated")),
    }
    for pack in &as_of.packs {
        let what = if pack.applied { "applied" } else { "not applicable" };
        let until = format!("to be looked at again by {}", time(pack.review_by));
        fields.text("legal pack", format!("{} {}: {what}, {until}", pack.name, pack.version));
    }
    as_of.holds.iter().for_each(|hold| fields.text("held by", hold.to_string()));
    let mut text = format!("{BOLD}as it stood at {}{BOLD:#}\n{}", time(at), fields.to_people(2));
    match &as_of.key {
        Some(key) => text.push_str(&key_to_people(key)),
        None if as_of.rules.is_empty() => {}
        None => {
            text.push_str(&format!("\n{BOLD}who could have approved{BOLD:#}\n"));
            as_of.rules.iter().for_each(|rule| text.push_str(&rule_to_people(rule, &[])));
        }
    }
    text
}

fn key_to_people(key: &model::history::KeyAsOf) -> String {
    let mut fields = Fields::default();
    fields.text("id", key.key_id.to_string());
    fields.text("since", format!("event {}", key.transition));
    if let (Some(activation), Some(until)) = (key.activation, key.deactivate_at) {
        fields.text("activated", format!("event {activation}, until {}", time(until)));
    }
    if let Some(request) = key.request {
        fields.text("open request", request.to_string());
    }
    let state = styled(state_style(key.state), key.state.name());
    let mut text = format!("\n{BOLD}{}{BOLD:#}  {state}\n{}", safe(key.label.as_str()), fields.to_people(2));
    match &key.rule {
        Some(rule) => {
            text.push_str(&format!("\n{BOLD}who could have approved it{BOLD:#}\n"));
            text.push_str(&rule_to_people(rule, &key.approved_by));
        }
        None => text.push_str(&format!("  {YELLOW}no rule was for it: it could not be activated{YELLOW:#}\n")),
    }
    text
}

fn rule_to_people(rule: &RuleAsOf, approved: &[model::Fingerprint]) -> String {
    let mut text = format!("  {} {DIM}(rule){DIM:#}\n", safe(rule.name.as_str()));
    for StageAsOf { roles, party, quorum, people } in &rule.stages {
        let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
        let party = party.map(|party| format!(" of the {party}")).unwrap_or_default();
        let name = |person: &model::history::PersonAsOf| {
            let voted = if approved.contains(&person.fingerprint) { " (had approved)" } else { "" };
            format!("{}{voted}", safe(person.label.as_str()))
        };
        let names: Vec<String> = people.iter().map(name).collect();
        let names = if names.is_empty() { styled(YELLOW, "nobody") } else { names.join(", ") };
        text.push_str(&format!("    {quorum} × {}{party}: {names}\n", safe(&roles.join(" or "))));
    }
    text
}

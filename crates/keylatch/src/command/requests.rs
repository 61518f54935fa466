//! `keylatch requests`: what waits for approval.

use lifecycle::state::Request;
use model::Timestamp;
use serde_json::json;

use crate::command::key::show::request_json;
use crate::error::Error;
use crate::layout::{BOLD, Cell, GREEN, Table, YELLOW, relative};
use crate::lookup;
use crate::reader::Known;
use crate::screen::{Screen, Shown};
use crate::session::Session;

/// Runs `keylatch requests`.
pub async fn run(session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    screen.show(&list(session.known(), session.now()))
}

/// The open requests, those that lapse first before the others.
pub fn list(known: &Known, now: Timestamp) -> Shown {
    let state = known.state();
    let mut open: Vec<&Request> = state.requests.values().filter(|request| request.closed.is_none()).collect();
    open.sort_by_key(|request| (request.expires_at, request.hash));
    let mut table = Table::new(&["KEY", "REQUEST", "ASKED BY", "ASKED", "MISSING", "LAPSES", "REASON"]);
    for request in &open {
        let label = lookup::what(state, request);
        let missing = lookup::missing(state, request, now);
        let missing = match (request.authorized, missing.is_empty()) {
            (Some(_), true) => Cell::styled(GREEN, "authorised"),
            (None, true) => Cell::styled(GREEN, "nothing"),
            _ => Cell::styled(YELLOW, missing.join(", ")),
        };
        let lapses = if request.authorized.is_some() { "-".to_owned() } else { relative(request.expires_at, now) };
        let reason = known.asked(request.hash).map_or(String::new(), |asked| asked.reason.text.to_string());
        table.row([
            Cell::styled(BOLD, label),
            lookup::short(request.hash).into(),
            lookup::name(state, request.requested_by).into(),
            relative(request.requested_at, now).into(),
            missing,
            lapses.into(),
            reason.into(),
        ]);
    }
    let json: Vec<_> = open.iter().map(|request| request_json(known, request, now)).collect();
    Shown { json: json!({ "ok": true, "requests": json }), people: table.to_people("no open requests") }
}

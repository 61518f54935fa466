//! `keylatch requests`: what waits for approval.

use lifecycle::simulate;
use lifecycle::state::Request;
use model::Timestamp;
use serde_json::{Value, json};

use crate::command::key::show::request_json;
use crate::error::Error;
use crate::explain::{self, Block};
use crate::layout::{BOLD, Cell, GREEN, Table, YELLOW, relative, safe};
use crate::lookup;
use crate::reader::Known;
use crate::screen::{Screen, Shown};
use crate::session::Session;

/// Runs `keylatch requests`.
pub async fn run(session: &mut Session, screen: &mut Screen) -> Result<(), Error> {
    session.refresh(screen).await?;
    screen.show(&list(session.known(), session.now()))
}

/// The open requests, those that lapse first before the others; and what is in the way of each beside signatures.
pub fn list(known: &Known, now: Timestamp) -> Shown {
    let state = known.state();
    let mut open: Vec<&Request> = state.requests.values().filter(|request| request.closed.is_none()).collect();
    open.sort_by_key(|request| (request.expires_at, request.hash));
    let mut table = Table::new(&["KEY", "REQUEST", "ASKED BY", "ASKED", "MISSING", "LAPSES", "REASON"]);
    let mut blocked = String::new();
    let mut json = Vec::with_capacity(open.len());
    for request in &open {
        table.row(row(known, request, now));
        let simulation = simulate::of_request(state, request.hash, now).ok();
        let blocks = simulation.as_ref().map(|simulation| explain::besides(simulation, state)).unwrap_or_default();
        if !blocks.is_empty() {
            let lines: Vec<String> = blocks.iter().map(Block::line).collect();
            let what = safe(&lookup::what(state, request));
            blocked.push_str(&format!("\n{BOLD}{what}{BOLD:#} has in its way\n  {}\n", lines.join("\n  ")));
        }
        json.push(for_programs(known, request, &blocks, now));
    }
    let people = table.to_people("no open requests") + &blocked;
    Shown { json: json!({ "ok": true, "requests": json }), people }
}

fn row(known: &Known, request: &Request, now: Timestamp) -> [Cell; 7] {
    let state = known.state();
    let missing = lookup::missing(state, request, now);
    let progress = request.template.as_ref().map(|_| format!("{} of {} activated", request.activated, request.keys()));
    let missing = match (request.authorized, missing.is_empty()) {
        (Some(_), true) => Cell::styled(GREEN, progress.unwrap_or_else(|| "authorised".to_owned())),
        (None, true) => Cell::styled(GREEN, "nothing"),
        _ => Cell::styled(YELLOW, missing.join(", ")),
    };
    let lapses = request.ends_at().map_or("-".to_owned(), |at| relative(at, now));
    let reason = known.asked(request.hash).map_or(String::new(), |asked| asked.reason.text.to_string());
    let emergency = if request.break_glass { "! " } else { "" };
    [
        Cell::styled(BOLD, format!("{emergency}{}", lookup::what(state, request))),
        lookup::short(request.hash).into(),
        lookup::name(state, request.requested_by).into(),
        relative(request.requested_at, now).into(),
        missing,
        lapses.into(),
        reason.into(),
    ]
}

fn for_programs(known: &Known, request: &Request, blocks: &[Block], now: Timestamp) -> Value {
    let mut json = request_json(known, request, now);
    if let Some(members) = json.as_object_mut() {
        members.insert("blocked".to_owned(), blocks.iter().map(Block::to_json).collect());
        members.insert("break_glass".to_owned(), request.break_glass.into());
        members.insert("keys".to_owned(), request.keys().into());
        members.insert("activated".to_owned(), request.activated.into());
        members.insert("template".to_owned(), json!(request.template));
        members.insert("manifest".to_owned(), json!(request.manifest));
        members.insert("standing".to_owned(), json!(request.standing));
        members.insert("consumers".to_owned(), json!(request.consumers));
    }
    json
}

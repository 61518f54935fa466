//! `keylatch pack list`: every pack that is shipped or declared, and how it stands.

use lifecycle::state::DeclaredPack;
use lifecycle::{Governance, conditions};
use model::command::Applicability;
use model::pack::Pack;
use model::{Name, Timestamp};
use serde_json::{Value, json};

use super::shipped;
use crate::error::Error;
use crate::layout::{BOLD, Cell, DIM, GREEN, RED, Table, YELLOW, relative, safe, time};
use crate::screen::Shown;
use crate::session::Session;

/// A pack, shipped or declared or both.
struct Row<'a> {
    name: Name,
    shipped: Option<Pack>,
    declared: Option<&'a DeclaredPack>,
    /// Whether the policy wants it declared before any key is activated.
    wanted: bool,
}

/// Every pack that is shipped or declared.
pub fn list(session: &Session) -> Result<Shown, Error> {
    let (governance, now) = (session.governance()?, session.now());
    let rows = rows(governance);
    let mut table = Table::new(&["PACK", "VERSION", "DECLARED", "LOOK AGAIN BY", "PACK'S OWN REVIEW"]);
    for row in &rows {
        table.row([
            Cell::styled(BOLD, row.name.as_str()),
            row.version(),
            row.declaration(),
            row.declared.map_or_else(|| "".into(), |declared| date(declared.review_by, now)),
            row.pack().map_or_else(|| "".into(), |pack| date(pack.review_due, now)),
        ]);
    }
    let mut people = table.to_people("no pack");
    for row in &rows {
        let Some(declared) = row.declared else { continue };
        let why = safe(why(&declared.applicability));
        people.push_str(&format!("  {DIM}{}:{DIM:#} {why}\n", safe(row.name.as_str())));
    }
    for name in conditions::undeclared(governance) {
        let name = safe(name.as_str());
        people.push_str(&format!("{RED}no key can be activated:{RED:#} the policy wants {name} declared\n"));
    }
    let json: Vec<Value> = rows.iter().map(|row| row.to_json(now)).collect();
    Ok(Shown { json: json!({ "ok": true, "packs": json }), people })
}

fn rows(governance: &Governance) -> Vec<Row<'_>> {
    let wanted = |name: &Name| governance.policy.as_ref().is_some_and(|held| held.policy.packs.contains(name));
    let shipped = shipped::all().map(|pack| Row {
        declared: governance.packs.get(&pack.name),
        wanted: wanted(&pack.name),
        name: pack.name.clone(),
        shipped: Some(pack),
    });
    let mut rows: Vec<Row<'_>> = shipped.collect();
    let policy = governance.policy.iter().flat_map(|held| &held.policy.packs);
    for name in governance.packs.keys().chain(policy) {
        if rows.iter().all(|row| row.name != *name) {
            let declared = governance.packs.get(name);
            rows.push(Row { name: name.clone(), shipped: None, declared, wanted: wanted(name) });
        }
    }
    rows
}

fn why(applicability: &Applicability) -> &str {
    let (Applicability::Applied(why) | Applicability::NotApplicable(why)) = applicability;
    why.as_str()
}

/// A day by which something is to be done.
fn date(at: Timestamp, now: Timestamp) -> Cell {
    let day = time(at).split(' ').next().unwrap_or_default().to_owned();
    if at <= now {
        return Cell::styled(RED, format!("{day}: overdue since {}", relative(at, now).trim_end_matches(" ago")));
    }
    format!("{day} ({})", relative(at, now)).into()
}

impl Row<'_> {
    /// As declared, else as shipped.
    fn pack(&self) -> Option<&Pack> {
        self.declared.map(|declared| &declared.pack).or(self.shipped.as_ref())
    }

    fn version(&self) -> Cell {
        let shipped = self.shipped.as_ref().map(|pack| pack.version);
        match (self.declared.map(|declared| declared.pack.version), shipped) {
            (Some(declared), Some(shipped)) if shipped > declared => {
                Cell::styled(YELLOW, format!("{declared} ({shipped} is shipped)"))
            }
            (Some(version), _) | (None, Some(version)) => version.to_string().into(),
            (None, None) => Cell::styled(RED, "not known here"),
        }
    }

    fn declaration(&self) -> Cell {
        match self.declared {
            Some(declared) if declared.is_applied() => Cell::styled(GREEN, "applied"),
            Some(_) => "not applicable".into(),
            None if self.wanted => Cell::styled(RED, "undeclared: holds up every activation"),
            None => Cell::styled(RED, "undeclared: an exception"),
        }
    }

    fn to_json(&self, now: Timestamp) -> Value {
        let declared = self.declared.map(|declared| {
            json!({
                "applied": declared.is_applied(), "why": why(&declared.applicability), "event": declared.hash,
                "version": declared.pack.version, "review_by": declared.review_by,
                "review_overdue": declared.review_by <= now,
            })
        });
        json!({
            "pack": self.name, "title": self.pack().map(|pack| &pack.title),
            "shipped_version": self.shipped.as_ref().map(|pack| pack.version), "declared": declared,
            "exception": self.declared.is_none(), "wanted_by_policy": self.wanted,
            "review_due": self.pack().map(|pack| pack.review_due),
            "review_late": self.pack().is_some_and(|pack| pack.is_review_late(now)),
        })
    }
}

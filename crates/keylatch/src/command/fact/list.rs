//! `keylatch fact list`: what the applied packs need to know, and what is known.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::state::HeldFact;
use lifecycle::{Governance, Key};
use model::pack::{FactKind, FactNeed, FactScope, FactValue};
use model::{Name, Span, Timestamp};
use serde_json::{Value, json};

use crate::error::Error;
use crate::layout::{BOLD, Cell, DIM, GREEN, RED, Table, YELLOW, relative, safe, time};
use crate::lookup;
use crate::screen::Shown;
use crate::session::Session;
use crate::words::name_of;

/// What ends within this time is said to end soon.
const SOON: Span = Span::from_secs(7 * 24 * 3600);

/// A fact: who needs it, and what is known.
struct Row<'a> {
    name: &'a Name,
    needed_by: BTreeSet<&'a Name>,
    need: Option<&'a FactNeed>,
    held: Option<&'a HeldFact>,
    /// Whether what stands is the key's own.
    of_key: bool,
}

/// How a fact stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    PerKey,
    Ended,
    TooOld,
    OtherKind,
    EndsSoon,
    Stands,
}

/// Facts that are needed or stand: of the tenant, or as a key has them.
pub fn list(session: &Session, key: Option<&str>) -> Result<Shown, Error> {
    let governance = session.governance()?;
    let key = key.map(|named| lookup::key(session.state(), named)).transpose()?;
    let rows = rows(governance, key);
    let now = session.now();
    let mut table = Table::new(&["FACT", "STANDS", "VALUE", "UNTIL", "SAID BY", "NEEDED BY", "MAY BE ASSERTED BY"]);
    for row in &rows {
        let (word, style) = word(row.standing(key, now));
        let held = row.held.map(|held| &held.fact);
        table.row([
            Cell::styled(BOLD, row.name.as_str()),
            Cell::styled(style, word),
            held.map_or_else(String::new, |fact| in_words(&fact.value)).into(),
            held.map_or_else(String::new, |fact| relative(row.ends(fact.valid_until), now)).into(),
            row.held.map_or_else(String::new, |held| lookup::name(session.state(), held.asserted_by)).into(),
            row.needed_by.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ").into(),
            asserters(governance, row.name),
        ]);
    }
    let json: Vec<Value> = rows.iter().map(|row| row.to_json(session, key, now)).collect();
    let whose = key.map_or_else(|| "the tenant".to_owned(), |key| format!("key `{}`", key.spec.label));
    let mut people = table.to_people("no applied pack needs a fact, and none stands");
    if !rows.is_empty() {
        people.push_str(&format!("{DIM}as they are for {}{DIM:#}\n", safe(&whose)));
        rows.iter().for_each(|row| people.push_str(&row.about()));
    }
    Ok(Shown { json: json!({ "ok": true, "key_id": key.map(|key| key.id), "facts": json }), people })
}

fn asserters(governance: &Governance, name: &Name) -> Cell {
    let rule = governance.policy.as_ref().and_then(|held| held.policy.fact(name));
    match rule {
        Some(rule) => {
            let roles: Vec<String> = rule.roles.iter().map(ToString::to_string).collect();
            format!("{}, for {}", roles.join(", "), rule.valid_max).into()
        }
        None => Cell::styled(RED, "nobody: the policy does not list it"),
    }
}

fn rows<'a>(governance: &'a Governance, key: Option<&'a Key>) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<&Name, Row<'_>> = BTreeMap::new();
    for pack in governance.packs.values().filter(|pack| pack.is_applied()) {
        for need in &pack.pack.facts {
            let row = rows.entry(&need.name).or_insert_with(|| Row::of(&need.name));
            row.needed_by.insert(&pack.pack.name);
            row.need = Some(need);
        }
    }
    let of_key = key.iter().flat_map(|key| key.facts.keys());
    for name in governance.facts.keys().chain(of_key) {
        rows.entry(name).or_insert_with(|| Row::of(name));
    }
    for (name, row) in &mut rows {
        let of_key = key.and_then(|key| key.facts.get(*name)).filter(|_| row.may_be(FactScope::Key));
        let of_tenant = governance.facts.get(*name).filter(|_| row.may_be(FactScope::Tenant));
        (row.held, row.of_key) = (of_key.or(of_tenant), of_key.is_some());
    }
    rows.into_values().collect()
}

impl<'a> Row<'a> {
    fn of(name: &'a Name) -> Self {
        Self { name, needed_by: BTreeSet::new(), need: None, held: None, of_key: false }
    }

    /// Whether packs look for it there.
    fn may_be(&self, scope: FactScope) -> bool {
        self.need.is_none_or(|need| need.scope == scope || need.scope == FactScope::Either)
    }

    fn kind(&self) -> Option<FactKind> {
        self.need.map(|need| need.kind)
    }

    /// When it is no longer relied upon: by itself, or because the pack wants it newer.
    fn ends(&self, valid_until: Timestamp) -> Timestamp {
        let oldest = self.need.and_then(|need| need.max_age).zip(self.held);
        oldest.map_or(valid_until, |(age, held)| (held.fact.asserted_at + age).min(valid_until))
    }

    fn standing(&self, key: Option<&Key>, now: Timestamp) -> Standing {
        let Some(held) = self.held else {
            let per_key = key.is_none() && self.need.is_some_and(|need| need.scope == FactScope::Key);
            return if per_key { Standing::PerKey } else { Standing::Missing };
        };
        let ends = self.ends(held.fact.valid_until);
        match () {
            () if self.kind().is_some_and(|kind| kind != held.fact.value.kind()) => Standing::OtherKind,
            () if !held.fact.is_valid(now) => Standing::Ended,
            () if ends < now => Standing::TooOld,
            () if ends <= now + SOON => Standing::EndsSoon,
            () => Standing::Stands,
        }
    }

    fn to_json(&self, session: &Session, key: Option<&Key>, now: Timestamp) -> Value {
        let rule = session.governance().ok().and_then(|governance| governance.policy.as_ref()?.policy.fact(self.name));
        let who = |who| json!({ "fingerprint": who, "label": lookup::name(session.state(), who) });
        json!({
            "fact": self.name, "kind": self.kind(), "scope": self.need.map(|need| need.scope),
            "about": self.need.map(|need| &need.about), "needed_by": self.needed_by,
            "standing": word(self.standing(key, now)).0,
            "value": self.held.map(|held| &held.fact.value), "of_key": self.of_key,
            "asserted_at": self.held.map(|held| held.fact.asserted_at),
            "valid_until": self.held.map(|held| self.ends(held.fact.valid_until)),
            "asserted_by": self.held.map(|held| who(held.asserted_by)),
            "event": self.held.map(|held| held.hash),
            "roles": rule.map(|rule| &rule.roles), "valid_max": rule.map(|rule| rule.valid_max),
        })
    }

    fn about(&self) -> String {
        let Some(need) = self.need else { return String::new() };
        let scope = match need.scope {
            FactScope::Key => "of each key",
            FactScope::Tenant => "of the tenant",
            FactScope::Either => "of the key or the tenant",
        };
        let age = need.max_age.map_or(String::new(), |age| format!(", at most {age} old"));
        let (name, about) = (safe(self.name.as_str()), safe(need.about.as_str()));
        format!("  {BOLD}{name}{BOLD:#} {DIM}({}, {scope}{age}){DIM:#} {about}\n", need.kind)
    }
}

fn word(standing: Standing) -> (&'static str, anstyle::Style) {
    match standing {
        Standing::Missing => ("missing", RED),
        Standing::PerKey => ("see --key", DIM),
        Standing::Ended => ("has ended", RED),
        Standing::TooOld => ("too old", RED),
        Standing::OtherKind => ("of the wrong kind", RED),
        Standing::EndsSoon => ("ends soon", YELLOW),
        Standing::Stands => ("stands", GREEN),
    }
}

/// A value as people read it.
pub(crate) fn in_words(value: &FactValue) -> String {
    match value {
        FactValue::Text(text) => text.to_string(),
        FactValue::Flag(true) => "yes".to_owned(),
        FactValue::Flag(false) => "no".to_owned(),
        FactValue::Number(number) => number.to_string(),
        FactValue::Time(at) => time(*at),
        FactValue::Names(names) => names.iter().map(name_of).collect::<Vec<_>>().join(", "),
    }
}

//! `keylatch pack show`: a pack as its reviewer reads it.

use model::pack::{FactNeed, FactScope, Gate, Pack};
use serde_json::json;

use super::shipped::Found;
use crate::layout::{BOLD, CYAN, DIM, Fields, RED, safe, time};
use crate::screen::Shown;

/// The pack, or why it does not read.
pub fn show(found: &Found) -> Shown {
    let Some(pack) = &found.pack else {
        let what = found.findings.first().map_or(String::new(), |finding| finding.what.clone());
        let people = format!("{RED}it does not read:{RED:#} {}\n", safe(&what));
        return Shown { json: json!({ "ok": false, "detail": what }), people };
    };
    let json = json!({ "ok": found.findings.is_empty(), "shipped": found.shipped, "pack": pack });
    Shown { json, people: to_people(pack) }
}

fn to_people(pack: &Pack) -> String {
    let mut fields = Fields::default();
    fields.text("version", pack.version.to_string());
    let until = pack.effective_until.map(|until| format!(", until {}", time(until))).unwrap_or_default();
    fields.text("in effect", format!("from {}{until}", time(pack.effective_from)));
    fields.text("reviewed by", format!("{}, the next time by {}", pack.reviewer, time(pack.review_due)));
    let evidence: Vec<&str> = pack.evidence.iter().map(|name| name.as_str()).collect();
    fields.text("evidence", evidence.join("\n"));
    let (name, title) = (safe(pack.name.as_str()), safe(pack.title.as_str()));
    let mut text = format!("{BOLD}{name}{BOLD:#}  {title}\n{}", fields.to_people(2));
    pack.about.iter().for_each(|about| text.push_str(&format!("  {DIM}-{DIM:#} {}\n", safe(about.as_str()))));
    text.push_str(&format!("\n{BOLD}Gates{BOLD:#}\n"));
    pack.gates.iter().for_each(|gate| text.push_str(&of_gate(gate)));
    if !pack.facts.is_empty() {
        text.push_str(&format!("\n{BOLD}Facts that they need{BOLD:#}\n"));
        pack.facts.iter().for_each(|fact| text.push_str(&of_fact(fact)));
    }
    text.push_str(&format!("\n{BOLD}Sources{BOLD:#}\n"));
    for source in &pack.sources {
        let url = source.url.as_ref().map(|url| format!("\n    {DIM}{}{DIM:#}", safe(url.as_str())));
        text.push_str(&format!("  {}{}\n", safe(source.citation.as_str()), url.unwrap_or_default()));
    }
    text
}

fn of_gate(gate: &Gate) -> String {
    let mut fields = Fields::default();
    fields.text("clause", gate.clause.as_str());
    if !gate.needs.is_empty() {
        fields.text("needs", gate.needs.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "));
    }
    if let Some(when) = &gate.when {
        fields.text("for keys", when.trim());
    }
    fields.text("requires", gate.require.trim());
    let (name, says) = (safe(gate.name.as_str()), safe(gate.says.as_str()));
    format!("  {CYAN}{name}{CYAN:#}  {says}\n{}", fields.to_people(4))
}

fn of_fact(fact: &FactNeed) -> String {
    let scope = match fact.scope {
        FactScope::Key => "of each key",
        FactScope::Tenant => "of the tenant",
        FactScope::Either => "of the key or the tenant",
    };
    let age = fact.max_age.map_or(String::new(), |age| format!(", at most {age} old"));
    let (name, about) = (safe(fact.name.as_str()), safe(fact.about.as_str()));
    format!("  {CYAN}{name}{CYAN:#} {DIM}({}, {scope}{age}){DIM:#} {about}\n", fact.kind)
}

//! Whether a pack holds together: what could not be evaluated later, or would say nothing, does not load.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Authorizer, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use model::pack::{Gate, Pack};
use model::{EventType, Name, Span, Text};

use super::condition::{self, Condition, reading};
use super::{Asked, Inner, Plan, attributes, subject};
use crate::policy::Fault;

/// The most sources, facts or gates that a pack may have.
const PARTS_MAX: usize = 64;

/// Every fault of a pack. Only one without faults can be used.
pub fn check(pack: &Pack) -> Vec<Fault> {
    reading(|| read(pack)).err().unwrap_or_default()
}

/// Reads a pack, or says everything that is wrong with it.
pub(super) fn read(pack: &Pack) -> Result<Inner, Vec<Fault>> {
    let mut faults = Faults::default();
    form(pack, &mut faults);
    facts(pack, &mut faults);
    evidence(pack, &mut faults);
    gates(pack, &mut faults);
    words(pack, &mut faults);
    // Conditions of a pack too large to be one are not worth the work.
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    let mut conditions = PolicySet::new();
    let plans = pack.gates.iter().filter_map(|gate| plan(gate, &mut conditions, &mut faults)).collect();
    types(pack, &conditions, &mut faults);
    match subject() {
        Some(subject) if faults.0.is_empty() => {
            Ok(Inner { pack: pack.clone(), authorizer: Authorizer::new(), conditions, gates: plans, subject })
        }
        _ => Err(faults.0),
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, at: &str, what: impl Into<String>, advice: &'static str) {
        self.0.push(Fault { at: at.to_owned(), what: what.into(), advice });
    }

    fn parts(&mut self, at: &str, count: usize, least: usize) {
        if !(least..=PARTS_MAX).contains(&count) {
            self.add(at, format!("{count} of them"), if count == 0 { "name at least one" } else { "name at most 64" });
        }
    }

    /// Names that stand more than once.
    fn twice<'a>(&mut self, at: &str, names: impl Iterator<Item = &'a Name>) {
        let mut seen = BTreeSet::new();
        for name in names.filter(|name| !seen.insert(*name)).collect::<BTreeSet<_>>() {
            self.add(&format!("{at}.{name}"), "it stands twice", "keep one");
        }
    }
}

fn form(pack: &Pack, faults: &mut Faults) {
    if pack.schema != Pack::SCHEMA {
        faults.add("schema", format!("version {} is not known", pack.schema), "write `schema = 1`");
    }
    if pack.version == 0 {
        faults.add("version", "version 0", "count from 1");
    }
    let bytes = serde_json::to_vec(pack).map_or(usize::MAX, |json| json.len());
    if bytes > Pack::BYTES_MAX {
        faults.add("pack", format!("{bytes} bytes as JSON"), "keep it within 20000; make two packs of it");
    }
    if pack.effective_until.is_some_and(|until| until <= pack.effective_from) {
        faults.add("effective_until", "not after effective_from", "let it be in effect for some time");
    }
    if pack.review_due <= pack.effective_from && pack.effective_until.is_none() {
        faults.add("review_due", "not after effective_from", "name a time at which it is to be reviewed");
    }
    faults.parts("source", pack.sources.len(), 1);
    faults.parts("about", pack.about.len(), 1);
    faults.parts("evidence", pack.evidence.len(), 1);
    faults.parts("gate", pack.gates.len(), 1);
    faults.parts("fact", pack.facts.len(), 0);
}

fn facts(pack: &Pack, faults: &mut Faults) {
    faults.twice("fact", pack.facts.iter().map(|fact| &fact.name));
    for fact in &pack.facts {
        let at = format!("fact.{}", fact.name);
        if fact.max_age == Some(Span::ZERO) {
            faults.add(&format!("{at}.max_age"), "no time at all", "allow some time, such as `24h`, or leave it out");
        }
        if !pack.gates.iter().any(|gate| gate.needs.contains(&fact.name)) {
            faults.add(&at, "no gate needs it", "name it in a gate's `needs`, or leave it out");
        }
    }
}

/// Evidence is a declared fact, or a member of an event that exists.
fn evidence(pack: &Pack, faults: &mut Faults) {
    for name in &pack.evidence {
        let fact = name.as_str().strip_prefix("fact.").and_then(|fact| fact.parse().ok());
        let event = || name.as_str().rsplit_once('.').is_some_and(|(event, _)| is_event(event));
        if !fact.map_or_else(event, |fact| pack.fact(&fact).is_some()) {
            let advice = "name `fact.<name>` or `<event>.<member>`, such as `key.activated.approvals`";
            faults.add("evidence", format!("`{name}` is not in the record"), advice);
        }
    }
}

fn is_event(name: &str) -> bool {
    EventType::ALL.iter().any(|event| event.name() == name)
}

fn gates(pack: &Pack, faults: &mut Faults) {
    faults.twice("gate", pack.gates.iter().map(|gate| &gate.name));
    for gate in &pack.gates {
        for name in gate.needs.iter().filter(|name| pack.fact(name).is_none()) {
            faults.add(
                &format!("gate.{}.needs", gate.name),
                format!("there is no fact `{name}`"),
                "declare it as a [[fact]]",
            );
        }
    }
}

/// A pack says which conditions held. That somebody abides by a law is for others to say.
fn words(pack: &Pack, faults: &mut Faults) {
    let gates = pack.gates.iter().flat_map(|gate| [&gate.clause, &gate.says]);
    let facts = pack.facts.iter().map(|fact| &fact.about);
    let texts: Vec<&Text> = [&pack.title].into_iter().chain(&pack.about).chain(gates).chain(facts).collect();
    if let Some(text) = texts.iter().find(|text| text.as_str().to_lowercase().contains("compliant")) {
        faults.add("pack", format!("`{text}`"), "say which condition holds, not that anybody is compliant");
    }
}

fn plan(gate: &Gate, conditions: &mut PolicySet, faults: &mut Faults) -> Option<Plan> {
    let mut read = |member: &str, text: &str| {
        let at = format!("gate.{}.{member}", gate.name);
        let condition = condition::read(PolicyId::new(&at), text);
        let Condition { policy, reads } = condition.map_err(|(what, advice)| faults.add(&at, what, advice)).ok()?;
        for name in reads.difference(&gate.needs) {
            faults.add(&at, format!("it reads the fact `{name}`"), "name it in the gate's `needs`");
        }
        let asked = Asked { id: policy.id().clone(), reads };
        conditions.add(policy).map_err(|error| faults.add(&at, error.to_string(), "keep one")).ok()?;
        Some(asked)
    };
    let when = gate.when.as_ref().map(|when| read("when", when));
    let require = read("require", &gate.require);
    match when {
        None => Some(Plan { when: None, require: require? }),
        Some(when) => Some(Plan { when: Some(when?), require: require? }),
    }
}

/// Whether the conditions fit the schema. Warnings count too: a condition that can never hold, text that looks like other
/// text.
fn types(pack: &Pack, conditions: &PolicySet, faults: &mut Faults) {
    let schema = match Schema::from_json_value(attributes::schema(pack)) {
        Ok(schema) => schema,
        Err(error) => return faults.add("fact", error.to_string(), "give the facts other names"),
    };
    let result = Validator::new(schema).validate(conditions, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id().to_string(), error.to_string()));
    let warnings = result.validation_warnings().map(|warning| (warning.policy_id().to_string(), warning.to_string()));
    // In an order of our own: Cedar's is not promised.
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (at, what) in errors.chain(warnings) {
        found.entry(at).or_default().insert(what);
    }
    for (at, what) in found.iter().flat_map(|(at, whats)| whats.iter().map(move |what| (at, what))) {
        faults.add(at, what, "use the attributes that docs/packs.md lists, as what they are");
    }
}

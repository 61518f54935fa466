//! What a condition sees: the schema that conditions are checked against, and the values that they are asked with.

use std::collections::BTreeMap;

use cedar_policy::{Context, RestrictedExpression as Cedar};
use model::pack::{Fact, FactKind, FactValue, Pack};
use model::{Name, Text, Timestamp};
use serde_json::{Map, Value, json};

use super::Circumstances;

/// Something of `context` that is the same for every pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its path, such as `key.label` for `context.key.label`.
    pub path: &'static str,
    /// What it is.
    pub kind: FactKind,
    /// Whether it is always there. One that isn't is asked for with `has` before it is read.
    pub always: bool,
}

const fn always(path: &'static str, kind: FactKind) -> Attribute {
    Attribute { path, kind, always: true }
}

const fn at_times(path: &'static str, kind: FactKind) -> Attribute {
    Attribute { path, kind, always: false }
}

/// Everything of `context` that is the same for every pack.
pub const ATTRIBUTES: [Attribute; 19] = [
    always("now", FactKind::Time),
    always("key.label", FactKind::Text),
    always("key.algorithm", FactKind::Text),
    always("key.pair", FactKind::Flag),
    always("key.workload", FactKind::Text),
    always("key.responsibility", FactKind::Text),
    always("key.jurisdiction", FactKind::Text),
    always("key.classification", FactKind::Text),
    always("key.environment", FactKind::Text),
    always("key.backend", FactKind::Text),
    at_times("key.asset", FactKind::Text),
    at_times("key.owner", FactKind::Text),
    always("key.created_at", FactKind::Time),
    always("key.activate_at", FactKind::Time),
    always("key.deactivate_at", FactKind::Time),
    always("request.legal_basis", FactKind::Names),
    always("request.affected_systems", FactKind::Names),
    at_times("request.change_ref", FactKind::Text),
    always("request.approvers", FactKind::Number),
];

/// The schema for a pack, in Cedar's JSON form. Every fact is required: what is not there is an error, not a `has`.
pub(super) fn schema(pack: &Pack) -> Value {
    let mut context = Map::new();
    for Attribute { path, kind, always } in ATTRIBUTES {
        let mut one = cedar_type(kind);
        one.insert("required".to_owned(), always.into());
        match path.split_once('.') {
            None => context.insert(path.to_owned(), one.into()),
            Some((group, name)) => {
                let group = context.entry(group).or_insert_with(|| record(Map::new()));
                group
                    .get_mut("attributes")
                    .and_then(|members| members.as_object_mut()?.insert(name.to_owned(), one.into()))
            }
        };
    }
    let facts = pack.facts.iter().map(|fact| (fact.name.to_string(), cedar_type(fact.kind).into()));
    context.insert("facts".to_owned(), record(facts.collect()));
    let ages =
        pack.facts.iter().map(|fact| (fact.name.to_string(), json!({ "type": "Extension", "name": "duration" })));
    context.insert("ages".to_owned(), record(ages.collect()));
    let applies = json!({ "principalTypes": ["Person"], "resourceTypes": ["Key"], "context": record(context) });
    json!({ "": { "entityTypes": { "Person": {}, "Key": {} }, "actions": { "activate": { "appliesTo": applies } } } })
}

fn record(attributes: Map<String, Value>) -> Value {
    json!({ "type": "Record", "attributes": attributes })
}

fn cedar_type(kind: FactKind) -> Map<String, Value> {
    let members = match kind {
        FactKind::Text => vec![("type", "String".into())],
        FactKind::Flag => vec![("type", "Boolean".into())],
        FactKind::Number => vec![("type", "Long".into())],
        FactKind::Time => vec![("type", "Extension".into()), ("name", "datetime".into())],
        FactKind::Names => vec![("type", "Set".into()), ("element", json!({ "type": "String" }))],
    };
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The facts that the pack's conditions may see: declared, of the declared kind, valid, and not too old.
pub(super) fn usable<'a>(pack: &'a Pack, circumstances: &Circumstances<'a>) -> BTreeMap<&'a Name, &'a Fact> {
    let now = circumstances.now;
    let found = pack.facts.iter().filter_map(|need| Some((need, circumstances.facts.get(&need.name)?)));
    let usable = found.filter(|(need, fact)| {
        let fresh = need.max_age.is_none_or(|max| now - fact.asserted_at <= max);
        fact.value.kind() == need.kind && fact.is_valid(now) && fresh
    });
    usable.map(|(need, fact)| (&need.name, fact)).collect()
}

/// What the conditions are asked with. `None` if Cedar refuses a value, which then leaves every gate unknown.
pub(super) fn context(circumstances: &Circumstances<'_>, facts: &BTreeMap<&Name, &Fact>) -> Option<Context> {
    let age = |fact: &Fact| Cedar::new_duration(format!("{}ms", (circumstances.now - fact.asserted_at).as_millis()));
    let values = facts.iter().map(|(name, fact)| (name.to_string(), value(&fact.value)));
    let ages = facts.iter().map(|(name, fact)| (name.to_string(), age(fact)));
    let parts = [
        ("now", time(circumstances.now)),
        ("key", Cedar::new_record(key(circumstances)).ok()?),
        ("request", Cedar::new_record(request(circumstances)).ok()?),
        ("facts", Cedar::new_record(values).ok()?),
        ("ages", Cedar::new_record(ages).ok()?),
    ];
    Context::from_pairs(parts.map(|(name, value)| (name.to_owned(), value))).ok()
}

fn key(circumstances: &Circumstances<'_>) -> Vec<(String, Cedar)> {
    let spec = circumstances.spec;
    let members = [
        ("label", Some(text(&spec.label))),
        ("algorithm", Some(text(spec.algorithm.name()))),
        ("pair", Some(Cedar::new_bool(circumstances.key_pair))),
        ("workload", Some(text(&spec.workload))),
        ("responsibility", Some(text(spec.responsibility.name()))),
        ("jurisdiction", Some(text(&spec.jurisdiction))),
        ("classification", Some(text(&spec.classification))),
        ("environment", Some(text(&spec.environment))),
        ("backend", Some(text(&spec.backend))),
        ("asset", spec.asset.as_ref().map(text)),
        ("owner", circumstances.owner.map(text)),
        ("created_at", Some(time(circumstances.created_at))),
        ("activate_at", Some(time(circumstances.activate_at))),
        ("deactivate_at", Some(time(circumstances.deactivate_at))),
    ];
    present(members)
}

fn request(circumstances: &Circumstances<'_>) -> Vec<(String, Cedar)> {
    let texts = |texts: &[Text]| Cedar::new_set(texts.iter().map(text));
    let members = [
        ("legal_basis", Some(texts(circumstances.legal_basis))),
        ("affected_systems", Some(texts(circumstances.affected_systems))),
        ("change_ref", circumstances.change_ref.map(text)),
        ("approvers", Some(Cedar::new_long(circumstances.approvers.into()))),
    ];
    present(members)
}

fn present<const N: usize>(members: [(&str, Option<Cedar>); N]) -> Vec<(String, Cedar)> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn value(value: &FactValue) -> Cedar {
    match value {
        FactValue::Text(value) => text(value),
        FactValue::Flag(value) => Cedar::new_bool(*value),
        FactValue::Number(value) => Cedar::new_long(value.get()),
        FactValue::Time(value) => time(*value),
        FactValue::Names(names) => Cedar::new_set(names.iter().map(text)),
    }
}

fn text(text: impl ToString) -> Cedar {
    Cedar::new_string(text.to_string())
}

/// Both have one text form for an instant, and it is the same.
fn time(time: Timestamp) -> Cedar {
    Cedar::new_datetime(time.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cedar_policy::{Request, Schema};
    use model::key::Template;
    use model::pack::Number;
    use model::{Algorithm, KeySpec, key::Responsibility};

    use super::*;

    fn pack() -> Pack {
        toml::from_str(
            r#"
            schema = 1
            name = "kinds"
            version = 1
            title = "One fact of each kind"
            about = ["For this test"]
            effective_from = "2024-01-01T00:00:00.000Z"
            reviewer = "legal-review"
            review_due = "2027-05-31T00:00:00.000Z"
            evidence = ["key.activated.approvals"]
            source = [{ citation = "None" }]
            fact = [
                { name = "a-text", kind = "text", scope = "key", about = "a" },
                { name = "a-flag", kind = "flag", scope = "key", about = "a" },
                { name = "a-number", kind = "number", scope = "key", about = "a" },
                { name = "a-time", kind = "time", scope = "key", about = "a" },
                { name = "names.1", kind = "names", scope = "key", about = "a" },
            ]
            gate = []
            "#,
        )
        .unwrap()
    }

    fn facts(now: Timestamp) -> BTreeMap<Name, Fact> {
        let values = [
            ("a-text", FactValue::Text("\"é\\\"".parse().unwrap())),
            ("a-flag", FactValue::Flag(true)),
            ("a-number", FactValue::Number(Number::try_from(-Number::MAX).unwrap())),
            ("a-time", FactValue::Time(Timestamp::MIN)),
            ("names.1", FactValue::Names(BTreeSet::new())),
        ];
        let fact = |value| Fact { value, asserted_at: Timestamp::MIN, valid_until: now + model::Span::from_secs(1) };
        values.into_iter().map(|(name, value)| (name.parse().unwrap(), fact(value))).collect()
    }

    /// What conditions are checked against is what they are asked with, for values at the ends of their ranges too.
    #[test]
    fn the_values_fit_the_schema() {
        let pack = pack();
        let text: Text = "words".parse().unwrap();
        let name: Name = "name".parse().unwrap();
        for (full, now) in [(true, "9999-12-31T23:59:59.998Z"), (false, "2026-11-23T17:00:01.000Z")] {
            let now: Timestamp = now.parse().unwrap();
            let spec = KeySpec {
                asset: full.then(|| text.clone()),
                ..KeySpec::new(
                    name.clone(),
                    Template {
                        algorithm: Algorithm::Aes256Gcm,
                        workload: name.clone(),
                        responsibility: Responsibility::Model,
                        jurisdiction: name.clone(),
                        classification: name.clone(),
                        environment: name.clone(),
                        backend: name.clone(),
                    },
                )
            };
            let facts = facts(now);
            let circumstances = Circumstances {
                now,
                spec: &spec,
                owner: full.then_some(&name),
                key_pair: false,
                created_at: Timestamp::MIN,
                activate_at: now,
                deactivate_at: Timestamp::MAX,
                legal_basis: &[],
                affected_systems: std::slice::from_ref(&text),
                change_ref: full.then_some(&text),
                approvers: u32::MAX,
                facts: &facts,
            };
            let usable = usable(&pack, &circumstances);
            assert_eq!(usable.len(), 5);
            let context = context(&circumstances, &usable).unwrap();
            let schema = Schema::from_json_value(schema(&pack)).unwrap();
            let [principal, action, resource] = super::super::subject().unwrap();
            Request::new(principal, action, resource, context, Some(&schema)).unwrap();
        }
    }
}

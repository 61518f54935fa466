//! Two documents side by side: where they differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::sense::{Effect, effect, names};

/// Something that is otherwise in the newer document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// Where, such as `rule.model-storage.stage.security.quorum`.
    pub(super) at: String,
    /// The same with `*` for the items of lists.
    pub(super) pattern: String,
    /// What stood there; nothing where it is new.
    pub(super) old: Option<Value>,
    /// What stands there; nothing where it is gone.
    pub(super) new: Option<Value>,
    /// What that does.
    pub(super) effect: Effect,
}

/// A place in both documents.
#[derive(Clone, Default)]
struct Place {
    at: String,
    pattern: String,
    /// Whether one of the stages here will do.
    any_stage: bool,
}

impl Place {
    fn member(&self, name: &str) -> Self {
        let join = |path: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        Self { at: join(&self.at), pattern: join(&self.pattern), any_stage: self.any_stage }
    }

    fn item(&self, name: &str) -> Self {
        let (at, pattern) = (format!("{}.{name}", self.at), format!("{}.*", self.pattern));
        Self { at, pattern, any_stage: self.any_stage }
    }
}

/// Everything that is otherwise in the newer document.
pub(super) fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(&Place::default(), Some(old), Some(new), &mut changes);
    changes
}

fn walk(place: &Place, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => members(place, old, new, changes),
        // What is left out because it says nothing is looked into member by member.
        (Some(Value::Object(old)), None) if says_nothing(place) => members(place, old, &Map::new(), changes),
        (None, Some(Value::Object(new))) if says_nothing(place) => members(place, &Map::new(), new, changes),
        (old, new) if is_list(old) || is_list(new) => items(place, &list(old), &list(new), changes),
        (old, new) => changes.push(change(place, old, new)),
    }
}

/// Whether leaving out this table is the same as an empty one.
fn says_nothing(place: &Place) -> bool {
    matches!(place.pattern.as_str(), "people" | "parents" | "keys.allow" | "rule.*.requires" | "rule.*.when")
}

fn change(place: &Place, old: Option<&Value>, new: Option<&Value>) -> Change {
    let effect = match (place.pattern.as_str(), old, new) {
        // Another stage is more to ask for, unless one of them will do.
        ("rule.*.stage.*", None, Some(_)) if place.any_stage => Effect::Laxer,
        ("rule.*.stage.*", None, Some(_)) => Effect::Stricter,
        ("rule.*.stage.*", Some(_), None) if place.any_stage => Effect::Stricter,
        ("rule.*.stage.*", Some(_), None) => Effect::Laxer,
        (pattern, old, new) => effect(pattern, old, new),
    };
    Change { at: place.at.clone(), pattern: place.pattern.clone(), old: old.cloned(), new: new.cloned(), effect }
}

fn members(place: &Place, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    let any = |rule: &Map<String, Value>| rule.get("need").is_some_and(|need| need == "any");
    let place = Place { any_stage: any(old) && any(new), ..place.clone() };
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    // An item's name is where it stands, not what changes.
    let named = place.pattern.ends_with('*');
    for name in all.into_iter().filter(|name| !(named && *name == "name")) {
        walk(&place.member(name), old.get(name), new.get(name), changes);
    }
}

fn is_list(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|items| items.iter().any(Value::is_object))
}

/// A list's items by what they are called.
fn list(value: Option<&Value>) -> Vec<(String, &Value)> {
    let items: Vec<&Value> = value.and_then(Value::as_array).into_iter().flatten().collect();
    let mut seen = BTreeSet::new();
    let name = |(place, item): (usize, &Value)| {
        let word = |member: &str| item.get(member).and_then(Value::as_str).map(str::to_owned);
        let name = word("name").or_else(|| word("role")).unwrap_or_default();
        let party = word("party").map(|party| format!(" of the {party}")).unwrap_or_default();
        let name = format!("{name}{party}");
        if name.is_empty() || !seen.insert(name.clone()) { (place + 1).to_string() } else { name }
    };
    let names: Vec<String> = items.iter().copied().enumerate().map(name).collect();
    names.into_iter().zip(items).collect()
}

fn items(place: &Place, old: &[(String, &Value)], new: &[(String, &Value)], changes: &mut Vec<Change>) {
    let of = |list: &[(String, &'_ Value)], name: &str| list.iter().position(|(other, _)| other == name);
    let value = |list: &[(String, &Value)], name: &str| {
        of(list, name).and_then(|at| list.get(at)).map(|(_, item)| (*item).clone())
    };
    let gone = old.iter().filter(|(name, _)| of(new, name).is_none());
    for (name, _) in new.iter().chain(gone) {
        walk(&place.item(name), value(old, name).as_ref(), value(new, name).as_ref(), changes);
    }
    let common = |list: &[(String, &Value)], other: &[(String, &Value)]| -> Vec<Value> {
        list.iter().filter(|(name, _)| of(other, name).is_some()).map(|(name, _)| name.as_str().into()).collect()
    };
    // The first rule that matches is the one, and stages may be in order: that says something else.
    let (before, after) = (common(old, new), common(new, old));
    if before != after && matches!(place.pattern.as_str(), "rule" | "rule.*.stage") {
        let (old, new) = (Some(Value::Array(before)), Some(Value::Array(after)));
        let (at, pattern) = (format!("{} (their order)", place.at), place.pattern.clone());
        changes.push(Change { at, pattern, old, new, effect: Effect::Other });
    }
}

/// What changed, in words.
pub(super) fn in_words(change: &Change) -> String {
    let is_set = |value: &Option<Value>| {
        value.as_ref().and_then(Value::as_array).is_some_and(|items| items.iter().all(Value::is_string))
    };
    if (is_set(&change.old) || is_set(&change.new)) && !change.at.ends_with("(their order)") {
        let (old, new) = (names(change.old.as_ref()), names(change.new.as_ref()));
        let added = new.difference(&old).map(|name| format!("+{name}"));
        let gone = old.difference(&new).map(|name| format!("-{name}"));
        return added.chain(gone).collect::<Vec<_>>().join(" ");
    }
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{} → {}", words(old), words(new)),
        (None, Some(new)) => format!("new: {}", words(new)),
        (Some(old), None) => format!("gone: {}", words(old)),
        (None, None) => String::new(),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name} ({})", words(value)),
                Value::Array(items) if items.iter().any(Value::is_object) => format!("{name} ({})", words(value)),
                _ => format!("{name} {}", words(value)),
            };
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_by_key(|(name, _)| (!matches!(name.as_str(), "name" | "role"), *name));
            members.into_iter().map(member).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(old: Value, new: Value, wanted: &[(&str, Effect, &str)]) {
        let found = changes(&old, &new);
        let found: Vec<(&str, Effect, String)> =
            found.iter().map(|change| (change.at.as_str(), change.effect, in_words(change))).collect();
        let found: Vec<(&str, Effect, &str)> =
            found.iter().map(|(at, effect, words)| (*at, *effect, words.as_str())).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_changes_is_named_with_what_it_does() {
        use Effect::{Laxer, Other, Stricter};
        check(json!({"admin_quorum": 2}), json!({"admin_quorum": 3}), &[("admin_quorum", Stricter, "2 → 3")]);
        let waits = |span: &str| json!({"keys": {"pre_active_for": span}});
        check(waits("30d"), waits("7d"), &[("keys.pre_active_for", Stricter, "30d → 7d")]);
        check(waits("90m"), waits("2h"), &[("keys.pre_active_for", Laxer, "90m → 2h")]);
        check(json!({"packs": ["a"]}), json!({"packs": ["a", "b"]}), &[("packs", Stricter, "+b")]);
        check(
            json!({}),
            json!({"people": {"subject_required": true}}),
            &[("people.subject_required", Stricter, "new: true")],
        );
        let created = |roles: &[&str]| json!({"keys": {"creators": roles}});
        check(created(&["a", "b"]), created(&["b"]), &[("keys.creators", Stricter, "-a")]);
        check(created(&["a"]), created(&["b"]), &[("keys.creators", Other, "+b -a")]);
    }

    #[test]
    fn stages_and_rules_are_known_by_their_names() {
        use Effect::{Laxer, Other, Stricter};
        let rule = |stages: Value| json!({"rule": [{"name": "r", "stage": stages}]});
        let one = json!([{"role": "a", "quorum": 1}]);
        let two = json!([{"role": "b", "quorum": 1}, {"role": "a", "quorum": 2}]);
        check(
            rule(one.clone()),
            rule(two.clone()),
            &[("rule.r.stage.b", Stricter, "new: role b; quorum 1"), ("rule.r.stage.a.quorum", Stricter, "1 → 2")],
        );
        check(
            rule(two),
            rule(one),
            &[("rule.r.stage.a.quorum", Laxer, "2 → 1"), ("rule.r.stage.b", Laxer, "gone: role b; quorum 1")],
        );
        let rules =
            |names: &[&str]| json!({"rule": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
        check(rules(&["a", "b"]), rules(&["b", "a"]), &[("rule (their order)", Other, "a, b → b, a")]);
    }
}

//! What a member of the policy is, in the words of the policy's own documentation.

use std::sync::OnceLock;

use model::Policy;
use serde_json::Value;

/// What the member is that a pattern such as `rule.*.stage.*.quorum` stands for.
pub(super) fn about(pattern: &str) -> Option<String> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    let root = SCHEMA.get_or_init(|| schemars::schema_for!(Policy).to_value());
    let (mut schema, mut said) = (root, None);
    for word in pattern.split('.') {
        schema = resolved(root, schema)?;
        schema = match word {
            "*" => schema.get("items")?,
            word => schema.get("properties")?.get(word)?,
        };
        said = text(schema).or_else(|| text(resolved(root, schema)?)).or(said);
    }
    said
}

fn text(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split("\n\n").next().unwrap_or(text).replace('\n', " "))
}

/// A schema, with what it refers to in its place: directly, or as something that may be left out.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let refers = |schema: &'a Value| {
        let path = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        root.pointer(path)
    };
    if let Some(found) = refers(schema) {
        return Some(found);
    }
    let ways = schema.get("anyOf").and_then(Value::as_array);
    Some(ways.and_then(|ways| ways.iter().find_map(refers)).unwrap_or(schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_explained_in_the_policys_own_words() {
        let says = |pattern: &str| about(pattern).unwrap_or_default();
        assert!(says("keys.pre_active_for").starts_with("How long a key may wait"));
        assert!(says("keys.revalidation.every").starts_with("How often"));
        assert!(says("rule.*.stage.*.quorum").starts_with("How many distinct people"));
        assert!(says("algorithm.*.use.*.crypto_period").starts_with("How long such a key"));
        assert!(says("people.access_review").starts_with("The periodic look"));
    }
}

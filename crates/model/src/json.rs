//! Reading JSON as the schemas have it.
//!
//! Derived readers take more than a schema says: an array for an object, an object of one member for a plain word, null
//! for a member that is left out. Somebody who reads with the schema would refuse what we took, and two readers of one
//! chain would part ways. So what was read is written again, and must have the shape of what came.

use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Error, Value};

/// Reads a value whose every object, array and plain value stands where its type writes one. Members that the type fills
/// in itself may be left out, and the items of a set may come in any order, but once.
pub fn read<T: DeserializeOwned + Serialize>(json: &[u8]) -> Result<T, Error> {
    let value: T = serde_json::from_slice(json)?;
    let (came, written) = (serde_json::from_slice(json)?, serde_json::to_value(&value)?);
    match difference(&came, &written) {
        None => Ok(value),
        Some(difference) => Err(Error::custom(difference)),
    }
}

/// The lists that may stand there empty as well as be left out: those of a rule's `when`, from the first version of the
/// policy on. Every other list that is empty is either always there or never.
const MAY_BE_EMPTY: [&str; 6] =
    ["workload", "jurisdiction", "classification", "environment", "backend", "responsibility"];

/// Where the shapes differ first.
fn difference(came: &Value, written: &Value) -> Option<String> {
    match (came, written) {
        (Value::Object(came), Value::Object(written)) => came.iter().find_map(|(name, came)| {
            let inside = |text: String| format!("`{name}`: {text}");
            match written.get(name) {
                Some(written) => difference(came, written).map(inside),
                None if *came == Value::Array(Vec::new()) && MAY_BE_EMPTY.contains(&name.as_str()) => None,
                None => Some(inside("it must be left out here".to_owned())),
            }
        }),
        (Value::Array(came), Value::Array(written)) if came.len() == written.len() => {
            came.iter().zip(written).find_map(|(came, written)| difference(came, written))
        }
        (Value::Array(_), Value::Array(_)) => Some("an item stands twice".to_owned()),
        _ if kind(came) == kind(written) => None,
        _ => Some(format!("{} where {} is wanted", kind(came), kind(written))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        #[serde(default)]
        count: u8,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        workload: BTreeSet<Word>,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        others: BTreeSet<Word>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        text: String,
    }

    #[derive(Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        One,
        Two,
    }

    #[track_caller]
    fn check(json: &str, refused: Option<&str>) {
        let error = read::<Outer>(json.as_bytes()).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), refused, "{json}");
        assert!(serde_json::from_str::<Outer>(json).is_ok(), "the derived reader takes it: {json}");
    }

    #[test]
    fn what_the_schema_allows_reads() {
        check(r#"{"inner":{"text":"a"}}"#, None);
        check(r#"{"inner":{"text":"a"},"workload":[]}"#, None);
        check(r#"{"workload":["two","one"],"count":3,"note":"b","inner":{"text":"a"}}"#, None);
    }

    #[test]
    fn what_only_the_derived_reader_takes_is_refused() {
        check(r#"{"inner":["a"]}"#, Some("`inner`: an array where an object is wanted"));
        check(r#"[{"text":"a"},null,0,[],[]]"#, Some("an array where an object is wanted"));
        check(r#"{"inner":{"text":"a"},"others":[]}"#, Some("`others`: it must be left out here"));
        check(r#"{"inner":{"text":"a"},"note":null}"#, Some("`note`: it must be left out here"));
        check(r#"{"inner":{"text":"a"},"workload":["one","one"]}"#, Some("`workload`: an item stands twice"));
        check(
            r#"{"inner":{"text":"a"},"workload":[{"one":null}]}"#,
            Some("`workload`: an object where text is wanted"),
        );
        check(r#"{"inner":{"text":"a","more":1}}"#, Some("`inner`: `more`: it must be left out here"));
    }
}

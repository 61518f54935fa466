//! Legal packs: provisions of law as dated, sourced, versioned conditions on a key's activation; and the facts that the
//! conditions are about.
//!
//! TOML for people, JSON where a pack is stored, one shape for both. A pack says which declared conditions held, never
//! that anybody abides by a law. Whether a pack holds together, and what its gates come to, is judged by
//! `lifecycle::gate`.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Name, Text};
use crate::time::{Span, Timestamp};

/// A pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// The version of this form: 1.
    pub schema: u32,
    /// The pack's name, the same in all of its versions.
    pub name: Name,
    /// Counts the versions of this pack from 1. What was published under a version never changes.
    pub version: u32,
    /// What it is, in a line.
    pub title: Text,
    /// What is gated and what is not, and what a reviewer is still to confirm.
    pub about: Vec<Text>,
    /// From when on its gates apply.
    pub effective_from: Timestamp,
    /// From when on they no longer do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_until: Option<Timestamp>,
    /// Whose task it is to review it: a role, not a person.
    pub reviewer: Name,
    /// By when it is to be reviewed again. A review that is late is shown; it opens and closes no gate.
    pub review_due: Timestamp,
    /// Members of the record that evidence the conditions: `<event>.<member>`, such as `key.activated.approvals`, or
    /// `fact.<name>`.
    pub evidence: BTreeSet<Name>,
    /// Where it comes from.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// The facts that its gates need.
    #[serde(default, rename = "fact", skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactNeed>,
    /// The conditions.
    #[serde(rename = "gate")]
    pub gates: Vec<Gate>,
}

impl Pack {
    /// The version of the form that this program writes and reads.
    pub const SCHEMA: u32 = 1;
    /// The longest that a pack may be as JSON: what fits into one event.
    pub const BYTES_MAX: usize = 20_000;

    /// The fact of this name, as the pack declares it.
    pub fn fact(&self, name: &Name) -> Option<&FactNeed> {
        self.facts.iter().find(|fact| fact.name == *name)
    }

    /// Whether its gates apply at this time.
    pub fn is_effective(&self, now: Timestamp) -> bool {
        self.effective_from <= now && self.effective_until.is_none_or(|until| now < until)
    }

    /// Whether its review is late.
    pub fn is_review_late(&self, now: Timestamp) -> bool {
        self.review_due <= now
    }
}

/// A provision that a pack is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Which, exactly: instrument, article or requirement, edition.
    pub citation: Text,
    /// Where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
}

/// A fact that gates need: somebody who may asserts it, with evidence and a time until which it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactNeed {
    /// Its name. Conditions call it `context.facts["<name>"]`.
    pub name: Name,
    /// What its value must be.
    pub kind: FactKind,
    /// What it is a fact about.
    pub scope: FactScope,
    /// What it says, and what is to evidence it.
    pub about: Text,
    /// How long after it was asserted it may be relied upon, whatever it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

/// The kinds of value that a fact can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactKind {
    /// A sentence or a reference.
    Text,
    /// Yes or no.
    Flag,
    /// A whole number.
    Number,
    /// An instant.
    Time,
    /// A set of names, such as places.
    Names,
}

impl FactKind {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Flag => "flag",
            Self::Number => "number",
            Self::Time => "time",
            Self::Names => "names",
        }
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactScope {
    /// One key.
    Key,
    /// The tenant, and so each of its keys.
    Tenant,
    /// The tenant, or one key: the key's own stands before the tenant's.
    Either,
}

/// One condition on activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Its name.
    pub name: Name,
    /// The provision that it comes from, exactly.
    pub clause: Text,
    /// What holds when it is satisfied, in words.
    pub says: Text,
    /// The facts that it needs. Where it applies and one of them is missing, it is unknown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<Name>,
    /// A Cedar condition: to which keys it applies. Left out, to every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// A Cedar condition: what must hold.
    pub require: String,
}

/// What somebody says is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactValue {
    /// A sentence or a reference.
    Text(Text),
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(Number),
    /// An instant.
    Time(Timestamp),
    /// A set of names.
    Names(BTreeSet<Name>),
}

impl FactValue {
    /// Its kind.
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Text(_) => FactKind::Text,
            Self::Flag(_) => FactKind::Flag,
            Self::Number(_) => FactKind::Number,
            Self::Time(_) => FactKind::Time,
            Self::Names(_) => FactKind::Names,
        }
    }
}

/// A fact as asserted: what, when, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// What is so.
    pub value: FactValue,
    /// When it was asserted: the time of the event.
    pub asserted_at: Timestamp,
    /// From when on it is no longer relied upon.
    pub valid_until: Timestamp,
}

impl Fact {
    /// Whether it is relied upon at this time.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.asserted_at <= now && now < self.valid_until
    }
}

/// A whole number that every reader of JSON can hold (RFC 8259, 6): from -(2^53-1) to 2^53-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schemars(with = "i64", extend("minimum" = -Number::MAX, "maximum" = Number::MAX))]
pub struct Number(i64);

/// A number that is too large or too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not within ±(2^53-1)")]
pub struct TooLarge(i64);

impl Number {
    /// 2^53-1.
    pub const MAX: i64 = (1 << 53) - 1;

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Number {
    type Error = TooLarge;

    fn try_from(number: i64) -> Result<Self, TooLarge> {
        if (-Self::MAX..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(TooLarge(number)) }
    }
}

impl From<Number> for i64 {
    fn from(number: Number) -> i64 {
        number.0
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `written` is how the value is written again; `None` where it is refused.
    #[track_caller]
    fn check(json: &str, written: Option<&str>) {
        let value = crate::json::read::<FactValue>(json.as_bytes()).ok();
        assert_eq!(value.map(|value| serde_json::to_string(&value).unwrap()).as_deref(), written, "{json}");
    }

    #[test]
    fn values_have_one_form() {
        for good in [
            r#"{"text":"TIA-7"}"#,
            r#"{"flag":true}"#,
            r#"{"number":5}"#,
            r#"{"number":9007199254740991}"#,
            r#"{"number":-9007199254740991}"#,
            r#"{"time":"2026-11-23T17:00:01.000Z"}"#,
            r#"{"names":["DE","FR"]}"#,
            r#"{"names":[]}"#,
        ] {
            check(good, Some(good));
        }
        check(r#"{"names":["FR","DE"]}"#, Some(r#"{"names":["DE","FR"]}"#));
        for bad in [
            r#"{"number":9007199254740992}"#,
            r#"{"number":-9007199254740992}"#,
            r#"{"number":1.5}"#,
            r#"{"number":"5"}"#,
            r#"{"flag":"yes"}"#,
            r#"{"text":""}"#,
            r#"{"time":"2026-11-23"}"#,
            r#"{"names":["a","a"]}"#,
            r#"{"names":["a b"]}"#,
            r#"{"text":"a","flag":true}"#,
            r#"{"Text":"a"}"#,
            r#""text""#,
            "{}",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_fact_holds_from_when_it_is_asserted_until_it_ends() {
        let at = Timestamp::from_unix_millis;
        let fact = Fact { value: FactValue::Flag(true), asserted_at: at(10), valid_until: at(20) };
        let valid: Vec<i64> = (8..22).filter(|now| fact.is_valid(at(*now))).collect();
        assert_eq!(valid, (10..20).collect::<Vec<i64>>());
    }
}

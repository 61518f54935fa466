//! Words on the command line, as the types they stand for.

use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use evidence::sample::Of;
use model::command::HoldKind;
use model::evidence::{ControlPoint, DocumentKind};
use model::key::{Operation, Party, ReasonKind, Responsibility};
use model::people::PrincipalKind;
use model::{Algorithm, Span, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many of something: `1 request`, `3 requests`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The name that a value has in documents.
pub fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// Takes the names that these values have in documents, and offers them in help and in errors.
fn one_of<T>(values: &[T]) -> impl TypedValueParser<Value = T>
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    let names: Vec<String> = values.iter().map(name_of).collect();
    PossibleValuesParser::new(names).try_map(|name| serde_json::from_value(serde_json::Value::String(name)))
}

/// An algorithm.
pub fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    one_of(&Algorithm::ALL)
}

/// What a key can be asked to do.
pub fn operation() -> impl TypedValueParser<Value = Operation> {
    use Operation::{Decrypt, Encrypt, Sign, Unwrap, Verify, Wrap};
    one_of(&[Encrypt, Decrypt, Sign, Verify, Wrap, Unwrap])
}

/// A layer.
pub fn responsibility() -> impl TypedValueParser<Value = Responsibility> {
    use Responsibility::{Application, Infrastructure, Model, Orchestrated};
    one_of(&[Infrastructure, Model, Orchestrated, Application])
}

/// A kind of reason.
pub fn reason_kind() -> impl TypedValueParser<Value = ReasonKind> {
    one_of(&ReasonKind::ALL)
}

/// Person or workload.
pub fn principal_kind() -> impl TypedValueParser<Value = PrincipalKind> {
    one_of(&[PrincipalKind::Person, PrincipalKind::Workload])
}

/// A party of the AI supply chain.
pub fn party() -> impl TypedValueParser<Value = Party> {
    one_of(&[Party::Csp, Party::Mp, Party::Ap])
}

/// A kind of hold.
pub fn hold_kind() -> impl TypedValueParser<Value = HoldKind> {
    one_of(&[HoldKind::LegalHold, HoldKind::CourtOrder, HoldKind::Incident])
}

/// What a document is.
pub fn document_kind() -> impl TypedValueParser<Value = DocumentKind> {
    one_of(&[DocumentKind::Procedure, DocumentKind::Process, DocumentKind::Statement])
}

/// A point of the control, by its number.
pub fn control_point(text: &str) -> Result<ControlPoint, String> {
    let point = text.trim().parse().ok().and_then(|number: u8| ControlPoint::try_from(number).ok());
    point.ok_or_else(|| format!("`{text}` is not a point of the control: write 1 to {}", ControlPoint::LAST))
}

/// What is sampled.
pub fn sampled() -> impl TypedValueParser<Value = Of> {
    one_of(&Of::ALL)
}

/// A time as people give it: an instant, a day, or so long from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This instant.
    At(Timestamp),
    /// So long from now.
    In(Span),
}

impl When {
    /// The instant, where it is `now`.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(span) => now + span,
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(span) = text.strip_prefix('+') {
            return span.parse().map(Self::In).map_err(|error: model::id::Malformed| error.to_string());
        }
        let shorter = ["", ".000Z", ":00.000Z", "T00:00:00.000Z"];
        let zulu = text.strip_suffix('Z').unwrap_or(text);
        let forms = shorter.iter().map(|end| if end.is_empty() { text.to_owned() } else { format!("{zulu}{end}") });
        forms.into_iter().find_map(|form| form.parse().ok()).map(Self::At).ok_or_else(|| {
            format!("`{text}` is not a time: write 2026-11-23, 2026-11-23T17:00Z (UTC), or +30d for 30 days from now")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn when(text: &str, wanted: Option<&str>) {
        let now: Timestamp = "2026-01-01T00:00:00.000Z".parse().unwrap();
        assert_eq!(text.parse::<When>().ok().map(|when| when.from(now).to_string()).as_deref(), wanted, "{text}");
    }

    #[test]
    fn times_are_given_as_people_write_them() {
        when("2026-11-23T17:00:01.500Z", Some("2026-11-23T17:00:01.500Z"));
        when("2026-11-23T17:00:01Z", Some("2026-11-23T17:00:01.000Z"));
        when("2026-11-23T17:00Z", Some("2026-11-23T17:00:00.000Z"));
        when("2026-11-23", Some("2026-11-23T00:00:00.000Z"));
        when("+90m", Some("2026-01-01T01:30:00.000Z"));
        when("tomorrow", None);
        when("2026-02-30", None);
        when("", None);
        when("+", None);
    }
}

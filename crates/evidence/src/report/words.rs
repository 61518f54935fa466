//! Words for what the model names, for people who do not know it.

use std::fmt;

use journal::note::{self, Note};
use model::key::TenantClass;
use model::text::Base64;
use model::{EventType, KeyState, TenantId, Timestamp};

use crate::controls::Outcome;

/// How many of something.
pub(super) struct Counted(pub(super) u64, pub(super) &'static str, pub(super) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Number(self.0), if self.0 == 1 { self.1 } else { self.2 })
    }
}

/// A number with its thousands apart.
pub(super) struct Number(pub(super) u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (0, rest) => write!(f, "{rest}"),
            (thousands, rest) => write!(f, "{},{rest:03}", Number(thousands)),
        }
    }
}

/// `2026-01-01 00:05:00`: a time to the second.
pub(super) struct Clock(pub(super) Timestamp);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let second = text.split('.').next().unwrap_or_default();
        f.write_str(&second.replace('T', " "))
    }
}

/// A length of time in its two largest units.
pub(super) fn duration(millis: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let largest = UNITS.iter().position(|(unit, _)| millis >= *unit);
    let Some(largest) = largest else { return "under 1 s".to_owned() };
    let mut rest = millis;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(largest).take(2) {
        if rest >= *unit {
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// `activation.requested` is `activation requested`.
pub(super) fn event(event_type: EventType) -> String {
    event_type.name().replace(['.', '-'], " ")
}

/// A state in words.
pub(super) fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::DestroyedCompromised => "destroyed, was compromised",
        other => other.name(),
    }
}

/// What a test came to, in words. Never a bare "pass".
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Exceptions => "exceptions",
        Outcome::InsufficientEvidence => "insufficient evidence",
        Outcome::NoExceptions => "no exceptions",
        Outcome::NotApplicable => "not applicable",
    }
}

/// The id of an outcome's shape.
pub(super) fn outcome_id(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Exceptions => "exceptions",
        Outcome::InsufficientEvidence => "insufficient-evidence",
        Outcome::NoExceptions => "no-exceptions",
        Outcome::NotApplicable => "not-applicable",
    }
}

/// The name that a value has in documents, its words apart.
pub(super) fn named<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.replace('-', " "),
        _ => String::new(),
    }
}

/// Which party of the AI supply chain.
pub(super) fn class(class: TenantClass) -> &'static str {
    match class {
        TenantClass::Csp => "cloud service provider",
        TenantClass::Mp => "model provider",
        TenantClass::Ap => "application provider",
        TenantClass::SharedCspMp => "cloud service and model provider in one",
    }
}

/// Roles, one after the other.
pub(super) fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// The names under a checkpoint beside its log's, and when they signed by their own word, where that is in the signature.
pub(super) fn cosigners(tenant: TenantId, note: &Note) -> Vec<(String, Option<Timestamp>)> {
    let own = note::origin(tenant);
    let others = note.signatures().iter().filter(|signature| signature.name() != own);
    others.map(|signature| (signature.name().to_owned(), cosigned_at(&signature.to_string()))).collect()
}

/// The time in the line of a cosignature: four bytes of key id, eight of seconds, a signature.
fn cosigned_at(line: &str) -> Option<Timestamp> {
    let blob: Base64 = line.trim_end().rsplit_once(' ')?.1.parse().ok()?;
    let seconds: [u8; 8] = blob.0.get(4..12)?.try_into().ok()?;
    let millis = i64::try_from(u64::from_be_bytes(seconds)).ok()?.checked_mul(1_000)?;
    (blob.0.len() == 76).then(|| Timestamp::from_unix_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Number(number).to_string(), text);
        }
        let text = |days: i64, rest: i64| duration(days * 86_400_000 + rest);
        assert_eq!(text(0, 0), "under 1 s");
        assert_eq!(text(0, 61_000), "1 min 1 s");
        assert_eq!(text(3, 3_600_000), "3 d 1 h");
        assert_eq!(text(3, 5_000), "3 d");
        assert_eq!(Counted(1, "key", "keys").to_string(), "1 key");
        assert_eq!(Clock("2026-01-01T00:05:00.123Z".parse().unwrap()).to_string(), "2026-01-01 00:05:00");
    }
}

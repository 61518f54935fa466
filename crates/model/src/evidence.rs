//! The words of evidence: what a control covers, how it was tested, what was found and what is done about it; documents,
//! stores, probes.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Fingerprint;
use crate::text::{Name, Text};
use crate::time::Timestamp;

/// A point of the control (CEK-15), from 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(with = "u8", extend("minimum" = 1, "maximum" = ControlPoint::LAST))]
pub struct ControlPoint(u8);

/// A number that is no point of the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a point of the control: 1 to {last}", last = ControlPoint::LAST)]
pub struct NoSuchPoint(u8);

impl ControlPoint {
    /// The last one.
    pub const LAST: u8 = 16;

    /// Its number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for ControlPoint {
    type Error = NoSuchPoint;

    fn try_from(point: u8) -> Result<Self, NoSuchPoint> {
        if (1..=Self::LAST).contains(&point) { Ok(Self(point)) } else { Err(NoSuchPoint(point)) }
    }
}

impl From<ControlPoint> for u8 {
    fn from(point: ControlPoint) -> u8 {
        point.0
    }
}

impl fmt::Display for ControlPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// How something is done, step by step.
    Procedure,
    /// Who does what, in which order.
    Process,
    /// What somebody stands by.
    Statement,
}

/// The server and the database behind a key store (CCM CEK-15: they are identified), and who could reach into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The store, as custodians name it.
    pub name: Name,
    /// What kind of store it is, such as `software` or `pkcs11`.
    pub kind: Name,
    /// The key management server.
    pub server: Text,
    /// Where it keeps keys.
    pub database: Text,
    /// The module's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Text>,
    /// The module's firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Text>,
    /// The module's certificate, such as a CMVP number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_certificate: Option<Text>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Text>,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Text>,
    /// The accounts that could reach its keys past Keylatch, at most 32. Labels, no personal data.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub privileged_accounts: BTreeSet<Text>,
}

/// In what a key store differs from the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// The key can be used in the store, and is not active in the chain: somebody turned it on behind our back.
    ShadowActivation,
    /// The store has it in another state than the chain.
    State,
    /// Its attributes are others than those that we gave it, such as usage flags or extractability.
    Attributes,
    /// Its dates are others than those that we gave it.
    Dates,
    /// The store no longer has it.
    Missing,
}

impl Drift {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::ShadowActivation, Self::State, Self::Attributes, Self::Dates, Self::Missing];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShadowActivation => "shadow-activation",
            Self::State => "state",
            Self::Attributes => "attributes",
            Self::Dates => "dates",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is tried on a key that waits for its activation, to see it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// To activate it with nobody's approval.
    ActivateUnapproved,
    /// To use it.
    UsePreActive,
}

impl Probe {
    /// Every probe.
    pub const ALL: [Self; 2] = [Self::ActivateUnapproved, Self::UsePreActive];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActivateUnapproved => "activate-unapproved",
            Self::UsePreActive => "use-pre-active",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the platform answered a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// It refused, as it must.
    Refused,
    /// It did what was asked.
    Accepted,
    /// Nothing.
    Unanswered,
}

/// What a control test came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ControlOutcome {
    /// There are exceptions.
    Exceptions,
    /// The history can't answer it.
    InsufficientEvidence,
    /// Of all items, none had anything against it.
    NoExceptions,
    /// There is nothing that it is about.
    NotApplicable,
}

/// What a control test came to, as whoever evaluates the control signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlResult {
    /// The test, by its id in `controls.json`.
    pub id: Name,
    /// What it came to.
    pub outcome: ControlOutcome,
    /// How many items were looked at.
    pub population: u64,
    /// How many exceptions there are.
    pub exceptions: u64,
}

/// What is done about an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DispositionKind {
    /// It is lived with, until it is looked at again.
    Accepted,
    /// It is mended.
    Remediate,
    /// It is none, on a closer look.
    NotAnException,
    /// Somebody else answers for it.
    Transferred,
}

/// What was decided about an exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disposition {
    /// The exception, by its id in `controls.json`.
    pub exception: Name,
    /// What is done about it.
    pub disposition: DispositionKind,
    /// Who answers for that: an enrolled person.
    pub owner: Fingerprint,
    /// By when.
    pub due: Timestamp,
    /// Why, in at most 160 bytes.
    pub note: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_has_sixteen_points() {
        let points: Vec<u8> = (0..=u8::MAX).filter(|point| ControlPoint::try_from(*point).is_ok()).collect();
        assert_eq!(points, (1..=16).collect::<Vec<u8>>());
    }

    #[test]
    fn a_probe_has_one_name() {
        for probe in Probe::ALL {
            assert_eq!(serde_json::to_value(probe).unwrap(), probe.name());
        }
    }
}

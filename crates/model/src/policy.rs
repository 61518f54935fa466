//! A tenant's policy: the document that says what it takes to create, activate and use a key.
//!
//! TOML for people, JSON in the event that adopts it, one shape for both. Whether a policy makes sense (no key that
//! could be activated with no approval, no quorum of nobody) is judged by `lifecycle::policy`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::{Algorithm, KeySpec, Responsibility};
use crate::people::Role;
use crate::text::Name;
use crate::time::Span;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The version of this form: 1.
    pub schema: u32,
    /// A name for people.
    pub name: Name,
    /// How many admins govern: people, policy. At least two.
    pub admin_quorum: u8,
    /// How old a custodian's knowledge of the chain may be when a key is used.
    #[serde(default = "default_max_staleness")]
    pub max_staleness: Span,
    /// Creation and the wait for activation.
    pub keys: KeyRules,
    /// The algorithms that keys may have. One that is not listed is not allowed.
    #[serde(rename = "algorithm")]
    pub algorithms: Vec<AlgorithmRule>,
    /// Who may do what to a key outside approval.
    pub operations: Operations,
    /// What approval takes. The first rule that matches a key is the one.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

fn default_max_staleness() -> Span {
    Span::from_secs(30)
}

/// Creation and the wait for activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRules {
    /// Who may have keys generated.
    pub creators: BTreeSet<Role>,
    /// How long a key may wait for its activation before it expires.
    pub pre_active_for: Span,
}

/// An allowed algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmRule {
    /// Which.
    pub name: Algorithm,
    /// How long a key of it may be active (SP 800-57 part 1, 5.3).
    pub crypto_period: Span,
}

/// Who may do what to a key outside approval. Each needs a quorum of distinct people who hold one of the roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// Activate what is authorised, on command. The activator does it by itself when the time comes.
    pub activate: Permission,
    /// Halt use.
    pub suspend: Permission,
    /// Lift a suspension.
    pub resume: Permission,
    /// End use for good.
    pub deactivate: Permission,
    /// Report a compromise.
    pub compromise: Permission,
    /// Destroy.
    pub destroy: Permission,
}

/// A quorum of people who hold one of some roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// Any of these roles will do.
    pub roles: BTreeSet<Role>,
    /// How many distinct people. At least one.
    #[serde(default = "default_quorum")]
    pub quorum: u8,
}

fn default_quorum() -> u8 {
    1
}

/// What approval takes for the keys it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name for people.
    pub name: Name,
    /// Which keys. Left out, every key.
    #[serde(default)]
    pub when: Match,
    /// Who may ask for activation.
    pub requesters: BTreeSet<Role>,
    /// How long a request waits for its approvals.
    pub request_valid_for: Span,
    /// How long an approval is good. Activation must fall within it.
    pub approval_valid_for: Span,
    /// Quorums, each by role. All must be met, each person counting once in all of them together.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// Who may use the key once it is active.
    pub users: BTreeSet<Role>,
    /// Whether a deactivated key may still decrypt, verify and unwrap.
    #[serde(default)]
    pub process_when_deactivated: bool,
}

/// One quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The role that approves.
    pub role: Role,
    /// How many distinct people of it. At least one.
    pub quorum: u8,
}

/// Which keys a rule is for. A list left out or empty matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Kinds of work.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub workload: BTreeSet<Name>,
    /// Jurisdictions.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub jurisdiction: BTreeSet<Name>,
    /// Classifications.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub classification: BTreeSet<Name>,
    /// Environments.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub environment: BTreeSet<Name>,
    /// Key stores.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub backend: BTreeSet<Name>,
    /// Layers.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub responsibility: BTreeSet<Responsibility>,
}

impl Match {
    /// Whether `key` is one of them.
    pub fn covers(&self, key: &KeySpec) -> bool {
        fn among<T: Ord>(listed: &BTreeSet<T>, value: &T) -> bool {
            listed.is_empty() || listed.contains(value)
        }
        among(&self.workload, &key.workload)
            && among(&self.jurisdiction, &key.jurisdiction)
            && among(&self.classification, &key.classification)
            && among(&self.environment, &key.environment)
            && among(&self.backend, &key.backend)
            && among(&self.responsibility, &key.responsibility)
    }

    /// Whether it matches every key that `other` matches.
    pub fn includes(&self, other: &Self) -> bool {
        fn among<T: Ord>(wider: &BTreeSet<T>, narrower: &BTreeSet<T>) -> bool {
            wider.is_empty() || (!narrower.is_empty() && narrower.is_subset(wider))
        }
        among(&self.workload, &other.workload)
            && among(&self.jurisdiction, &other.jurisdiction)
            && among(&self.classification, &other.classification)
            && among(&self.environment, &other.environment)
            && among(&self.backend, &other.backend)
            && among(&self.responsibility, &other.responsibility)
    }
}

impl Policy {
    /// The version of the form that this program writes and reads.
    pub const SCHEMA: u32 = 1;

    /// The rule for this key: the first that matches.
    pub fn rule_for(&self, key: &KeySpec) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.covers(key))
    }

    /// The rule for this algorithm.
    pub fn algorithm(&self, algorithm: Algorithm) -> Option<&AlgorithmRule> {
        self.algorithms.iter().find(|rule| rule.name == algorithm)
    }
}

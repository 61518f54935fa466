//! A tenant's policy: the document that says what it takes to create, activate and use a key.
//!
//! TOML for people, JSON in the event that adopts it, one shape for both. Whether a policy makes sense (no key that
//! could be activated with no approval, no quorum of nobody) is judged by `lifecycle::policy`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::Fingerprint;
use crate::key::{Algorithm, Operation, Party, ReasonKind, Responsibility, Traits};
use crate::people::Role;
use crate::text::Name;
use crate::time::{Span, Timestamp};

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The version of this form: 4. Earlier versions know less: a rules epoch takes its own version and those before it.
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
    /// People: enrolment, delegation, the access review.
    #[serde(default, skip_serializing_if = "is_default")]
    pub people: PeopleRules,
    /// Who may place holds, and who may lift them. Left out, nobody can hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Box<HoldRules>>,
    /// What follows for keys whose parent is in trouble, and whose word counts about parents elsewhere.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parents: ParentRules,
    /// Key stores: how often they are compared with the chain, and what follows where they differ.
    // In a box, because every action is as large as a policy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stores: Box<StoreRules>,
    /// Evidence: the heartbeat, bundles, probes, the evaluation of the control.
    // In a box, as well.
    #[serde(default, skip_serializing_if = "is_default")]
    pub evidence: Box<EvidenceRules>,
    /// The legal packs that must be declared, applied or not applicable, before any key is activated.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub packs: BTreeSet<Name>,
    /// Who may assert which facts. A fact that is not listed can't be asserted.
    #[serde(rename = "fact", default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactRule>,
    /// What approval takes. The first rule that matches a key is the one.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// People: enrolment, delegation, the access review.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PeopleRules {
    /// Whether a person is enrolled only with a keyed hash of the identity provider's issuer and subject.
    #[serde(skip_serializing_if = "is_false")]
    pub subject_required: bool,
    /// How long a delegation may last. Left out, nobody can delegate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation_max: Option<Span>,
    /// The periodic look at who may create keys and who may approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_review: Option<AccessReview>,
}

/// The periodic look at who may create keys and who may approve. A missed one is an exception, and is recorded as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessReview {
    /// Who signs it.
    pub by: Permission,
    /// How often.
    pub every: Span,
    /// How long before it is due a warning is recorded. Left out, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_before: Option<Span>,
}

/// Who may place holds, and who may lift them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRules {
    /// Who may place one.
    pub place: Permission,
    /// Who may lift one. Nobody else can.
    pub lift: Permission,
}

/// Key stores: how often they are compared with the chain, and what follows where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreRules {
    /// How often each store is compared with the chain. Left out, none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile_every: Option<Span>,
    /// What follows for an active key that its store has otherwise than the chain says.
    #[serde(skip_serializing_if = "is_default")]
    pub when_drifted: Drifted,
}

/// What follows for an active key that its store has otherwise than the chain says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Drifted {
    /// It is recorded, and the key left as it is.
    #[default]
    Leave,
    /// The key is suspended, until somebody has looked at it and resumes it.
    Suspend,
}

/// Evidence: the heartbeat, bundles, probes, the evaluation of the control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceRules {
    /// How often a checkpoint is signed even where nothing happened, so that silence is not suppression. Left out, daily.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Span>,
    /// Who may have bundles made, and how often one is made by itself. Left out, nobody may, and none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportRule>,
    /// Live probes of the controls. Left out, none are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbeRule>,
    /// The periodic evaluation of the control tests. Left out, nobody can sign one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationRule>,
}

/// Who may have bundles made, and how often one is made by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRule {
    /// Any of these roles will do. Workloads may hold them.
    pub roles: BTreeSet<Role>,
    /// How often one over the whole history is made by itself. Left out, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

/// Live probes of the controls: what must be refused is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRule {
    /// How often each is made.
    pub every: Span,
}

/// The periodic evaluation of the control tests. A missed one is an exception, and is recorded as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRule {
    /// Who signs it.
    pub by: Permission,
    /// How often.
    pub every: Span,
    /// How long before it is due a warning is recorded. Left out, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_before: Option<Span>,
}

/// What follows for keys whose parent is in trouble, and whose word counts about parents elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParentRules {
    /// When the parent is suspended.
    #[serde(skip_serializing_if = "is_default")]
    pub when_suspended: Children,
    /// When the parent is compromised.
    #[serde(skip_serializing_if = "is_default")]
    pub when_compromised: Children,
    /// The roots of other platforms whose chains count as proof that a parent there is active.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted_roots: BTreeSet<Fingerprint>,
    /// How old such a proof may be at activation. Left out, parents elsewhere are not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_max_age: Option<Span>,
}

/// What happens to active keys when the key that wraps them is in trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Children {
    /// They are named, and left as they are.
    #[default]
    Leave,
    /// They are suspended.
    Suspend,
}

/// Who may assert a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactRule {
    /// The fact.
    pub name: Name,
    /// Any of these roles may assert and withdraw it.
    pub roles: BTreeSet<Role>,
    /// How long an assertion may be good.
    pub valid_max: Span,
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
    /// How often somebody must say that a key which waits is still wanted. Left out, nobody needs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revalidation: Option<Revalidation>,
    /// How long before a key's deadline a warning is recorded. Left out, none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_before: Option<Span>,
    /// The attributes that keys may have beyond the plain ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow: AllowedAttributes,
}

/// The look at the pre-active keys (CCM CEK-15: they are reviewed). A missed one expires the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revalidation {
    /// Who may say so.
    pub roles: BTreeSet<Role>,
    /// How often.
    pub every: Span,
}

/// The attributes that keys may have beyond the plain ones: not exportable, deletable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedAttributes {
    /// Keys that may leave their store, wrapped.
    #[serde(skip_serializing_if = "is_false")]
    pub exportable: bool,
    /// Keys that nobody may destroy.
    #[serde(skip_serializing_if = "is_false")]
    pub undeletable: bool,
    /// Keys that take the place of another.
    #[serde(skip_serializing_if = "is_false")]
    pub successor: bool,
    /// Keys that name their instance.
    #[serde(skip_serializing_if = "is_false")]
    pub instance: bool,
}

/// An allowed algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmRule {
    /// Which.
    pub name: Algorithm,
    /// How long a key of it may be active (SP 800-57 part 1, 5.3).
    pub crypto_period: Span,
    /// Shorter periods for keys that do certain things. The shortest that fits a key is its own.
    #[serde(rename = "use", default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<UsePeriod>,
    /// No key of it is active before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_from: Option<Timestamp>,
    /// No key of it is active from this time on (SP 800-131A, such dates; SP 800-57 part 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_until: Option<Timestamp>,
}

/// The crypto period of keys that do one of these things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsePeriod {
    /// What they do.
    pub operations: BTreeSet<Operation>,
    /// How long such a key may be active.
    pub crypto_period: Span,
}

impl AlgorithmRule {
    /// How long a key that does these things may be active: the shortest period that is for it.
    pub fn period(&self, operations: &BTreeSet<Operation>) -> Span {
        let fitting = self.uses.iter().filter(|period| !period.operations.is_disjoint(operations));
        fitting.map(|period| period.crypto_period).min().unwrap_or(self.crypto_period).min(self.crypto_period)
    }
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
    /// Whether all stages must be met, or any one of them will do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub need: Need,
    /// Whether the stages must be met one after the other, in the order in which they stand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_order: bool,
    /// What a request must say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Requires,
    /// Whether this is the rule for emergencies: what such a request asks for, and what must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
    /// Whether keys may be activated under a standing authorisation, and within which bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingRule>,
    /// How many keys one request may be for, at most 10,000. Left out, one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_max: Option<u32>,
    /// Whether keys are sealed until they are activated, and by how many approvers' shares they are opened: at least two, and
    /// no more than the stages take people. Left out, they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<u8>,
    /// Quorums, each by role. Each person counts once in all of them together.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// Who may use the key once it is active.
    pub users: BTreeSet<Role>,
    /// Whether a deactivated key may still decrypt, verify and unwrap.
    #[serde(default)]
    pub process_when_deactivated: bool,
}

/// How stages go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Every stage must be met.
    #[default]
    All,
    /// One stage will do.
    Any,
}

/// What a request must say, beyond a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Requires {
    /// The kinds of reason that will do. Left out, any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub reasons: BTreeSet<ReasonKind>,
    /// The change it belongs to.
    #[serde(skip_serializing_if = "is_false")]
    pub change_ref: bool,
    /// At least one provision that it rests on.
    #[serde(skip_serializing_if = "is_false")]
    pub legal_basis: bool,
    /// At least one system that will use the key.
    #[serde(skip_serializing_if = "is_false")]
    pub affected_systems: bool,
    /// When the key's use is to end.
    #[serde(skip_serializing_if = "is_false")]
    pub deactivate_at: bool,
    /// The custodian's attestation of where the key is kept: what people sign for is that store.
    #[serde(skip_serializing_if = "is_false")]
    pub attestation: bool,
}

/// The rule for emergencies: approved by its own quorum, short-lived, and looked at afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// How long the key may be active.
    pub life: Span,
    /// Until when after activation the review must be signed. Else the key is suspended.
    pub review_within: Span,
    /// Who signs the review: nobody who asked or approved.
    pub reviewers: Permission,
}

/// The bounds of a standing authorisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StandingRule {
    /// The most keys that one may be for.
    pub count_max: u32,
    /// How long one may last.
    pub window_max: Span,
    /// Who may draw on it. Workloads may hold these roles.
    pub users: BTreeSet<Role>,
}

/// One quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The role that approves.
    pub role: Role,
    /// Other roles that will do as well.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub or: BTreeSet<Role>,
    /// How many distinct people. At least one.
    pub quorum: u8,
    /// The party whose people they must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// Whether they must sign with a hardware key, touched for this signature (FIDO user presence).
    #[serde(default, skip_serializing_if = "is_false")]
    pub touch: bool,
    /// Whether the hardware key must also have verified who touched it, by PIN or body (FIDO user verification).
    #[serde(default, skip_serializing_if = "is_false")]
    pub verified: bool,
}

impl Rule {
    /// Of these people and times, for every key, and nothing else asked.
    pub fn new(name: Name, requesters: BTreeSet<Role>, stages: Vec<Stage>, users: BTreeSet<Role>) -> Self {
        Self {
            name,
            when: Match::default(),
            requesters,
            request_valid_for: Span::from_secs(24 * 3600),
            approval_valid_for: Span::from_secs(24 * 3600),
            need: Need::All,
            in_order: false,
            requires: Requires::default(),
            break_glass: None,
            standing: None,
            manifest_max: None,
            sealed: None,
            stages,
            users,
            process_when_deactivated: false,
        }
    }
}

impl AlgorithmRule {
    /// Allowed without end, for one period whatever its keys do.
    pub fn new(name: Algorithm, crypto_period: Span) -> Self {
        Self { name, crypto_period, uses: Vec::new(), allowed_from: None, allowed_until: None }
    }
}

impl KeyRules {
    /// Generated by these, waiting for so long, and nothing else asked.
    pub fn new(creators: BTreeSet<Role>, pre_active_for: Span) -> Self {
        let (revalidation, warn_before, allow) = (None, None, AllowedAttributes::default());
        Self { creators, pre_active_for, revalidation, warn_before, allow }
    }
}

impl Stage {
    /// So many people of a role, and nothing else asked.
    pub fn of(role: Role, quorum: u8) -> Self {
        Self { role, or: BTreeSet::new(), quorum, party: None, touch: false, verified: false }
    }

    /// Every role that will do.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        std::iter::once(&self.role).chain(&self.or)
    }
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

/// The most keys that one request may be for.
pub const MANIFEST_MAX: u32 = 10_000;

impl Match {
    /// Whether `key` is one of them.
    pub fn covers(&self, key: &Traits<'_>) -> bool {
        fn among<T: Ord>(listed: &BTreeSet<T>, value: &T) -> bool {
            listed.is_empty() || listed.contains(value)
        }
        among(&self.workload, key.workload)
            && among(&self.jurisdiction, key.jurisdiction)
            && among(&self.classification, key.classification)
            && among(&self.environment, key.environment)
            && among(&self.backend, key.backend)
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
    /// The newest version of the form that this program writes and reads.
    pub const SCHEMA: u32 = 4;

    /// The rule for keys of these traits: the first that matches. Rules for emergencies are asked for by name of the
    /// thing, and match no other request.
    pub fn rule_for(&self, key: &Traits<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.break_glass.is_none() && rule.when.covers(key))
    }

    /// The rule for emergencies with keys of these traits: the first that matches.
    pub fn break_glass_for(&self, key: &Traits<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.break_glass.is_some() && rule.when.covers(key))
    }

    /// The rule for this algorithm.
    pub fn algorithm(&self, algorithm: Algorithm) -> Option<&AlgorithmRule> {
        self.algorithms.iter().find(|rule| rule.name == algorithm)
    }

    /// Who may assert this fact.
    pub fn fact(&self, name: &Name) -> Option<&FactRule> {
        self.facts.iter().find(|rule| rule.name == *name)
    }

    /// Whether it says anything that version 1 of the form can't.
    pub fn is_beyond_v1(&self) -> bool {
        let KeyRules { revalidation, warn_before, allow, .. } = &self.keys;
        let stage = |stage: &Stage| *stage != Stage::of(stage.role.clone(), stage.quorum);
        let rule = |rule: &Rule| {
            rule.need != Need::All
                || rule.in_order
                || !is_default(&rule.requires)
                || rule.break_glass.is_some()
                || rule.standing.is_some()
                || rule.manifest_max.is_some()
                || rule.stages.iter().any(stage)
        };
        let algorithm =
            |rule: &AlgorithmRule| !rule.uses.is_empty() || rule.allowed_from.is_some() || rule.allowed_until.is_some();
        self.schema != 1
            || revalidation.is_some()
            || warn_before.is_some()
            || !is_default(allow)
            || !is_default(&self.people)
            || self.holds.is_some()
            || !is_default(&self.parents)
            || !is_default(&self.evidence)
            || !self.packs.is_empty()
            || !self.facts.is_empty()
            || self.algorithms.iter().any(algorithm)
            || self.rules.iter().any(rule)
    }

    /// Whether it says anything that version 2 of the form can't.
    pub fn is_beyond_v2(&self) -> bool {
        self.schema > 2 || !is_default(&self.evidence) || !is_default(&self.stores) || self.is_beyond_v3()
    }

    /// Whether it says anything that version 3 of the form can't.
    pub fn is_beyond_v3(&self) -> bool {
        self.schema > 3
            || self.algorithms.iter().any(|rule| rule.name.is_beyond_v3())
            || self.rules.iter().any(|rule| rule.sealed.is_some())
    }
}

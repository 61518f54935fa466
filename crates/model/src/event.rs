//! Events: what has happened. The `data` of a CloudEvents object in a tenant's signed, hash-chained stream.
//!
//! An event that a person caused carries the signed command under `command`; one that follows from an earlier event
//! carries that event's hash under `cause`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Counterpart, HoldKind, Manifest, Readiness, Standing};
use crate::dsse::Envelope;
use crate::evidence::{ControlPoint, DocumentKind, Drift, Probe, ProbeOutcome, Store};
use crate::id::{CommandId, Digest, EventHash, Fingerprint, KeyId, Malformed};
use crate::key::{Algorithm, Common, KeyIdentity, KeySpec, KeyState, Operation, Reason, Template, TenantClass};
use crate::people::{Principal, PublicKey, Role, SealingKey, ServiceRole};
use crate::statement::Sealing;
use crate::text::{Base64, Name, Text};
use crate::time::{Span, Timestamp};

/// The largest event payload in bytes. With headers it stays below the stream's 64 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 60_000;

/// Defines the table of events: name, the roles that may sign it, data. One row an event, so that the name, the parser,
/// the schema and the signers can't come apart.
macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, [$($signer:ident),*];)*) => {
        /// The type of an event: `dev.keylatch.<noun>.<verb>.v1`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $variant,)*
        }

        impl EventType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// `<noun>.<verb>`, which is also the end of the event's subject.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The roles that may sign it.
            pub fn signers(self) -> &'static [ServiceRole] {
                match self {
                    $(Self::$variant => &[$(ServiceRole::$signer),*],)*
                }
            }

            /// The JSON Schema of its data.
            pub fn schema(self) -> schemars::Schema {
                match self {
                    $(Self::$variant => schemars::schema_for!($variant),)*
                }
            }
        }

        /// An event's type and data.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $variant($variant),)*
        }

        impl Event {
            /// Its type.
            pub fn event_type(&self) -> EventType {
                match self {
                    $(Self::$variant(_) => EventType::$variant,)*
                }
            }

            /// Reads data that has passed the strict JSON check of `journal`.
            pub fn parse(event_type: EventType, data: &str) -> Result<Self, serde_json::Error> {
                match event_type {
                    $(EventType::$variant => crate::json::read(data.as_bytes()).map(Self::$variant),)*
                }
            }

            /// The data as JSON.
            pub fn to_json(&self) -> String {
                match self {
                    $(Self::$variant(data) => serde_json::to_string(data),)*
                }
                .unwrap_or_default()
            }
        }
    };
}

events! {
    /// A tenant begins: event 1 of its chain.
    TenantCreated = "tenant.created", [Registrar];
    /// A newer authority statement holds.
    AuthorityChanged = "authority.changed", [Registrar];
    /// A person or workload is enrolled.
    PrincipalEnrolled = "principal.enrolled", [Approver];
    /// A principal's roles changed.
    PrincipalChanged = "principal.changed", [Approver];
    /// A principal is revoked, for good.
    PrincipalRevoked = "principal.revoked", [Approver];
    /// A principal's key was replaced by another.
    PrincipalRotated = "principal.rotated", [Approver];
    /// A principal's shares of sealed keys are sealed to this key from now on.
    PrincipalEquipped = "principal.equipped", [Approver];
    /// Somebody may vote in another's place for a while.
    DelegationGranted = "delegation.granted", [Approver];
    /// A delegation has ended before its time.
    DelegationEnded = "delegation.ended", [Approver];
    /// Who may create and who may approve was looked at.
    AccessReviewed = "access.reviewed", [Approver];
    /// A policy is in force.
    PolicyAdopted = "policy.adopted", [Approver];
    /// A legal pack is declared: applied, or not applicable.
    PackDeclared = "pack.declared", [Approver];
    /// A fact is asserted, of a key or of the tenant.
    FactAsserted = "fact.asserted", [Approver];
    /// A fact is withdrawn.
    FactWithdrawn = "fact.withdrawn", [Approver];
    /// A part of a document is in the log.
    DocumentStored = "document.stored", [Approver];
    /// A document is adopted: a procedure, a process, a statement.
    DocumentAdopted = "document.adopted", [Approver];
    /// The server and the database behind a key store are known.
    StoreRegistered = "store.registered", [Approver];
    /// The keys that a store had before are to be taken into the inventory.
    BaselineAdopted = "baseline.adopted", [Approver];
    /// A deadline comes near.
    DeadlineWarned = "deadline.warned", [Expirer];
    /// A deadline has passed, and what was due was not done: an exception.
    DeadlineMissed = "deadline.missed", [Expirer];
    /// An algorithm is no longer allowed, and no key of it that was activated here is active any more.
    AlgorithmEnded = "algorithm.ended", [Expirer];
    /// Keys that wait for their activation are still wanted.
    KeyRevalidated = "key.revalidated", [Issuer];
    /// A key exists, pre-active.
    KeyGenerated = "key.generated", [Issuer];
    /// A key that was there before is in the inventory: active, and its activation not evidenced.
    KeyAdopted = "key.adopted", [Issuer];
    /// A key may be used.
    KeyActivated = "key.activated", [Activator];
    /// A key's use is halted.
    KeySuspended = "key.suspended", [Activator];
    /// A suspension is lifted.
    KeyResumed = "key.resumed", [Activator];
    /// A key's use has ended.
    KeyDeactivated = "key.deactivated", [Activator, Expirer];
    /// A key is compromised.
    KeyCompromised = "key.compromised", [Activator];
    /// A key is to be destroyed; the custodian's `custody.applied` proves that it was.
    KeyDestroyed = "key.destroyed", [Activator];
    /// A key was never activated in time. Destruction follows.
    KeyExpired = "key.expired", [Expirer];
    /// Activation is asked for.
    ActivationRequested = "activation.requested", [Approver];
    /// A person approves.
    ActivationApproved = "activation.approved", [Approver];
    /// A person rejects, which closes the request.
    ActivationRejected = "activation.rejected", [Approver];
    /// The request is taken back.
    ActivationCancelled = "activation.cancelled", [Approver];
    /// The quorum is complete: the key may be activated when its time comes.
    ActivationAuthorized = "activation.authorized", [Approver];
    /// A request, or all activations of the tenant, are frozen.
    ActivationHeld = "activation.held", [Approver];
    /// A hold is lifted.
    ActivationReleased = "activation.released", [Approver];
    /// An emergency activation was looked at afterwards.
    ActivationReviewed = "activation.reviewed", [Approver];
    /// A consumer knows the key's identity, or uses it.
    ConsumerAcknowledged = "consumer.acknowledged", [Approver];
    /// The key that wraps this one, in another tenant, was proved to be activated.
    ParentAttested = "parent.attested", [Approver];
    /// A request or one of its approvals ran out.
    ActivationLapsed = "activation.lapsed", [Expirer];
    /// The store now has this state.
    CustodyApplied = "custody.applied", [Custodian];
    /// Uses, gathered.
    CustodyUsed = "custody.used", [Custodian];
    /// Refused uses, gathered.
    CustodyRefused = "custody.refused", [Custodian];
    /// A key store was compared with the chain.
    CustodyReconciled = "custody.reconciled", [Custodian];
    /// A key store has a key otherwise than the chain says.
    CustodyDrifted = "custody.drifted", [Custodian];
    /// The exporter signed a checkpoint over every event before this one.
    CheckpointSigned = "checkpoint.signed", [EvidenceExporter];
    /// A bundle of evidence was made.
    EvidenceExported = "evidence.exported", [EvidenceExporter];
    /// Something that must be refused was tried.
    ProbeRecorded = "probe.recorded", [EvidenceExporter];
    /// Whoever answers for the control has signed what its tests came to.
    ControlEvaluated = "control.evaluated", [EvidenceExporter];
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EventType {
    type Err = Malformed;

    /// Reads the full CloudEvents type.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("dev.keylatch.")
            .and_then(|rest| rest.strip_suffix(".v1"))
            .and_then(|name| Self::ALL.iter().find(|event_type| event_type.name() == name))
            .copied()
            .ok_or_else(|| Malformed::new(text, "an event type: dev.keylatch.<noun>.<verb>.v1"))
    }
}

impl EventType {
    /// The CloudEvents `type`.
    pub fn full_name(self) -> String {
        format!("dev.keylatch.{}.v1", self.name())
    }
}

impl Event {
    /// The key it is about: the CloudEvents `subject`. `None` where it is about the tenant.
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::TenantCreated(_)
            | Self::AuthorityChanged(_)
            | Self::PrincipalEnrolled(_)
            | Self::PrincipalChanged(_)
            | Self::PrincipalRevoked(_)
            | Self::PrincipalRotated(_)
            | Self::PrincipalEquipped(_)
            | Self::DelegationGranted(_)
            | Self::DelegationEnded(_)
            | Self::AccessReviewed(_)
            | Self::PolicyAdopted(_)
            | Self::PackDeclared(_)
            | Self::DocumentStored(_)
            | Self::AlgorithmEnded(_)
            | Self::KeyRevalidated(_)
            | Self::DocumentAdopted(_)
            | Self::StoreRegistered(_)
            | Self::BaselineAdopted(_)
            | Self::EvidenceExported(_)
            | Self::ControlEvaluated(_)
            | Self::CustodyReconciled(_)
            | Self::CheckpointSigned(_) => None,
            Self::KeyGenerated(KeyGenerated { key_id, .. })
            | Self::KeyAdopted(KeyAdopted { key_id, .. })
            | Self::KeyActivated(KeyActivated { key_id, .. })
            | Self::KeySuspended(KeySuspended { key_id, .. })
            | Self::KeyResumed(KeyResumed { key_id, .. })
            | Self::KeyDeactivated(KeyDeactivated { key_id, .. })
            | Self::KeyCompromised(KeyCompromised { key_id, .. })
            | Self::KeyDestroyed(KeyDestroyed { key_id, .. })
            | Self::KeyExpired(KeyExpired { key_id, .. })
            | Self::CustodyApplied(CustodyApplied { key_id, .. })
            | Self::CustodyUsed(CustodyUsed { key_id, .. })
            | Self::CustodyRefused(CustodyRefused { key_id, .. })
            | Self::CustodyDrifted(CustodyDrifted { key_id, .. })
            | Self::ActivationReviewed(ActivationReviewed { key_id, .. })
            | Self::ConsumerAcknowledged(ConsumerAcknowledged { key_id, .. })
            | Self::ParentAttested(ParentAttested { key_id, .. })
            | Self::ProbeRecorded(ProbeRecorded { key_id, .. }) => Some(*key_id),
            Self::ActivationRequested(ActivationRequested { key_id, .. })
            | Self::ActivationApproved(ActivationApproved { key_id, .. })
            | Self::ActivationRejected(ActivationRejected { key_id, .. })
            | Self::ActivationCancelled(ActivationCancelled { key_id, .. })
            | Self::ActivationAuthorized(ActivationAuthorized { key_id, .. })
            | Self::ActivationLapsed(ActivationLapsed { key_id, .. })
            | Self::ActivationHeld(ActivationHeld { key_id, .. })
            | Self::ActivationReleased(ActivationReleased { key_id, .. })
            | Self::FactAsserted(FactAsserted { key_id, .. })
            | Self::FactWithdrawn(FactWithdrawn { key_id, .. })
            | Self::DeadlineWarned(DeadlineWarned { key_id, .. })
            | Self::DeadlineMissed(DeadlineMissed { key_id, .. }) => *key_id,
        }
    }

    /// The signed command that it carries: the one that caused it, or, in a probe's record, the one that was tried.
    pub fn command(&self) -> Option<&Envelope> {
        match self {
            Self::TenantCreated(TenantCreated { command, .. })
            | Self::PrincipalEnrolled(PrincipalEnrolled { command, .. })
            | Self::PrincipalChanged(PrincipalChanged { command, .. })
            | Self::PrincipalRevoked(PrincipalRevoked { command, .. })
            | Self::PolicyAdopted(PolicyAdopted { command, .. })
            | Self::KeyGenerated(KeyGenerated { command, .. })
            | Self::KeyResumed(KeyResumed { command, .. })
            | Self::KeyCompromised(KeyCompromised { command, .. })
            | Self::ActivationRequested(ActivationRequested { command, .. })
            | Self::ActivationApproved(ActivationApproved { command, .. })
            | Self::ActivationRejected(ActivationRejected { command, .. })
            | Self::ActivationCancelled(ActivationCancelled { command, .. })
            | Self::PrincipalRotated(PrincipalRotated { command, .. })
            | Self::PrincipalEquipped(PrincipalEquipped { command, .. })
            | Self::DelegationGranted(DelegationGranted { command, .. })
            | Self::DelegationEnded(DelegationEnded { command, .. })
            | Self::AccessReviewed(AccessReviewed { command, .. })
            | Self::PackDeclared(PackDeclared { command, .. })
            | Self::FactAsserted(FactAsserted { command, .. })
            | Self::FactWithdrawn(FactWithdrawn { command, .. })
            | Self::DocumentStored(DocumentStored { command, .. })
            | Self::KeyRevalidated(KeyRevalidated { command, .. })
            | Self::ActivationHeld(ActivationHeld { command, .. })
            | Self::ActivationReleased(ActivationReleased { command, .. })
            | Self::ActivationReviewed(ActivationReviewed { command, .. })
            | Self::ConsumerAcknowledged(ConsumerAcknowledged { command, .. })
            | Self::ParentAttested(ParentAttested { command, .. })
            | Self::DocumentAdopted(DocumentAdopted { command, .. })
            | Self::StoreRegistered(StoreRegistered { command, .. })
            | Self::BaselineAdopted(BaselineAdopted { command, .. })
            | Self::ProbeRecorded(ProbeRecorded { command, .. })
            | Self::ControlEvaluated(ControlEvaluated { command, .. }) => Some(command),
            Self::EvidenceExported(EvidenceExported { command, .. })
            | Self::KeySuspended(KeySuspended { command, .. })
            | Self::KeyActivated(KeyActivated { command, .. })
            | Self::KeyDeactivated(KeyDeactivated { command, .. })
            | Self::KeyDestroyed(KeyDestroyed { command, .. }) => command.as_ref(),
            Self::AuthorityChanged(_)
            | Self::KeyAdopted(_)
            | Self::KeyExpired(_)
            | Self::DeadlineWarned(_)
            | Self::DeadlineMissed(_)
            | Self::AlgorithmEnded(_)
            | Self::ActivationAuthorized(_)
            | Self::ActivationLapsed(_)
            | Self::CustodyApplied(_)
            | Self::CustodyUsed(_)
            | Self::CustodyRefused(_)
            | Self::CustodyReconciled(_)
            | Self::CustodyDrifted(_)
            | Self::CheckpointSigned(_) => None,
        }
    }

    /// The authority statement that it carries.
    pub fn authority(&self) -> Option<&Envelope> {
        match self {
            Self::TenantCreated(TenantCreated { authority, .. })
            | Self::AuthorityChanged(AuthorityChanged { authority, .. }) => Some(authority),
            _ => None,
        }
    }
}

// === Tenant ===

/// Data of `tenant.created`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantCreated {
    /// A name for people.
    pub name: Name,
    /// Which party of the AI supply chain it is.
    pub class: TenantClass,
    /// The first admins.
    pub admins: Vec<Principal>,
    /// How many of them govern together.
    pub admin_quorum: u8,
    /// The authority statement in force, signed by the root.
    pub authority: Envelope,
    /// `tenant.create`, signed by every first admin.
    pub command: Envelope,
}

/// Data of `authority.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorityChanged {
    /// The statement's epoch.
    pub epoch: u64,
    /// The statement's rules epoch.
    pub rules: u32,
    /// The newer statement, signed by the root.
    pub authority: Envelope,
}

/// Data of `principal.enrolled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalEnrolled {
    /// Who.
    pub principal: Principal,
    /// Its key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `principal.changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalChanged {
    /// Who.
    pub principal: Fingerprint,
    /// The roles it holds from now on.
    pub roles: std::collections::BTreeSet<Role>,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `principal.revoked`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRevoked {
    /// Who.
    pub principal: Fingerprint,
    /// Why.
    pub reason: Reason,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `policy.adopted`. The policy itself stands in the command, as its people signed it; events that rest on it
/// name this event's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyAdopted {
    /// The policy's name.
    pub name: Name,
    /// Counts the tenant's policies from 1.
    pub version: u32,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `principal.rotated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRotated {
    /// The old key, which is revoked.
    pub principal: Fingerprint,
    /// The new key.
    pub key: PublicKey,
    /// The new key's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether the old key vouched; else an admin quorum did.
    pub vouched: bool,
    /// The command.
    pub command: Envelope,
}

/// Data of `principal.equipped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalEquipped {
    /// Whose key it is.
    pub principal: Fingerprint,
    /// The key to which shares are sealed from now on.
    pub sealing_key: SealingKey,
    /// The principal's command.
    pub command: Envelope,
}

/// Data of `delegation.granted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationGranted {
    /// Whose vote.
    pub from: Fingerprint,
    /// Who may give it.
    pub to: Fingerprint,
    /// In which roles.
    pub roles: BTreeSet<Role>,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// The command.
    pub command: Envelope,
}

/// Data of `delegation.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationEnded {
    /// Its `delegation.granted`.
    pub delegation: EventHash,
    /// Who ended it.
    pub ended_by: Fingerprint,
    /// The command.
    pub command: Envelope,
}

/// Data of `access.reviewed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessReviewed {
    /// Who, or the first of them.
    pub reviewed_by: Fingerprint,
    /// When the next one is due.
    pub next_by: Timestamp,
    /// The command.
    pub command: Envelope,
}

/// Data of `pack.declared`. The pack itself stands in the command, as its people signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackDeclared {
    /// The pack's name.
    pub pack: Name,
    /// Its version.
    pub version: u32,
    /// Whether its gates hold up activations.
    pub applied: bool,
    /// Until when the declaration must be looked at again.
    pub review_by: Timestamp,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `fact.asserted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactAsserted {
    /// The key; left out, it is a fact of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Which fact.
    pub fact: Name,
    /// Who says so.
    pub asserted_by: Fingerprint,
    /// Until when it holds.
    pub valid_until: Timestamp,
    /// The command, with the value and the evidence.
    pub command: Envelope,
}

/// Data of `fact.withdrawn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactWithdrawn {
    /// The key; left out, it was a fact of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Which fact.
    pub fact: Name,
    /// Its `fact.asserted`.
    pub assertion: EventHash,
    /// Who says so.
    pub withdrawn_by: Fingerprint,
    /// The command.
    pub command: Envelope,
}

/// Data of `document.stored`. The text stands in the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentStored {
    /// The SHA-256 of the whole document.
    pub document: Digest,
    /// Which part, from 0.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// The command.
    pub command: Envelope,
}

/// Data of `document.adopted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentAdopted {
    /// The document's name.
    pub name: Name,
    /// Counts the versions of this name from 1.
    pub version: u32,
    /// What it is.
    pub kind: DocumentKind,
    /// Its title.
    pub title: Text,
    /// The SHA-256 of its text.
    pub document: Digest,
    /// The points of the control that it is about.
    pub covers: BTreeSet<ControlPoint>,
    /// Who answers for it.
    pub owner: Fingerprint,
    /// Until when it must be looked at again.
    pub review_by: Timestamp,
    /// Whether its whole text is in the log, by `document.stored`.
    pub in_log: bool,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `store.registered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreRegistered {
    /// The store.
    pub store: Store,
    /// The admins' command.
    pub command: Envelope,
}

/// Data of `baseline.adopted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaselineAdopted {
    /// The store that has the keys.
    pub store: Name,
    /// When the inventory was taken.
    pub taken_at: Timestamp,
    /// What all of the keys have in common.
    pub common: Common,
    /// What stands for their list.
    pub manifest: Manifest,
    /// By when each of them is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// Who, or the first of them.
    pub adopted_by: Fingerprint,
    /// The admins' command.
    pub command: Envelope,
}

/// The deadlines that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deadline {
    /// A key that waits for its activation expires.
    Expiry,
    /// A key that waits must be revalidated, or it expires.
    Revalidation,
    /// A key's use ends.
    Deactivation,
    /// An emergency activation must be reviewed, or the key is suspended.
    ActivationReview,
    /// Who may create and who may approve must be looked at.
    AccessReview,
    /// The declaration of a legal pack must be looked at again.
    PackReview,
    /// A legal pack's own review is due: what it says of the law may be out of date.
    PackSource,
    /// An algorithm is no longer allowed.
    AlgorithmEnd,
    /// A document must be looked at again.
    DocumentReview,
    /// The control tests must be evaluated.
    ControlEvaluation,
    /// A request lapses unless it is authorised before; a standing authorisation ends.
    Request,
    /// An approval runs out.
    Approval,
    /// An adopted key must be rotated or authorised anew.
    Rotation,
}

/// Data of `deadline.warned`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadlineWarned {
    /// The key; left out, it is the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// What comes near.
    pub deadline: Deadline,
    /// The legal pack, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<Name>,
    /// The algorithm, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// The document, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Name>,
    /// The request, where it, or one of its approvals, runs out: hash of its `activation.requested`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// When.
    pub at: Timestamp,
    /// The event that set that time.
    pub cause: EventHash,
}

/// Data of `algorithm.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlgorithmEnded {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// From when on it is not allowed.
    pub at: Timestamp,
    /// The `policy.adopted` that says so.
    pub cause: EventHash,
}

/// Data of `deadline.missed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadlineMissed {
    /// The key; left out, it is the tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// What was not done.
    pub deadline: Deadline,
    /// The legal pack, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<Name>,
    /// The document, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Name>,
    /// By when it was to be done.
    pub at: Timestamp,
    /// The event that set that time.
    pub cause: EventHash,
}

// === Key ===

/// Data of `key.adopted`: a line of its baseline's list, and the proof that it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAdopted {
    /// The key.
    pub key_id: KeyId,
    /// What it computes, such as `aes-256-gcm` or `rsa-3072`: by its store's word.
    pub algorithm: Name,
    /// By what it is recognised, as far as its store shows that.
    pub identity: KeyIdentity,
    /// What its store calls it.
    pub label: Text,
    /// When it was made, where its store says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Timestamp>,
    /// By when it is to be rotated or authorised anew.
    pub rotate_by: Timestamp,
    /// Its place in the list.
    pub membership: Membership,
    /// The `baseline.adopted`.
    pub cause: EventHash,
}

/// Data of `key.revalidated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRevalidated {
    /// The keys that are still wanted.
    pub keys: Vec<KeyId>,
    /// Who says so.
    pub revalidated_by: Fingerprint,
    /// By when somebody must say so again.
    pub next_by: Timestamp,
    /// The command.
    pub command: Envelope,
}

/// Data of `key.generated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyGenerated {
    /// The key.
    pub key_id: KeyId,
    /// What it is for.
    pub spec: KeySpec,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// The key store that has it.
    pub store: Name,
    /// The store's X25519 key: input for this key's uses is sealed to it (HPKE).
    pub seal_key: Base64,
    /// Where it is sealed: how many shares open it, and each share, sealed to its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
    /// Who had it generated.
    pub created_by: Fingerprint,
    /// The policy in force: hash of its `policy.adopted`.
    pub policy: EventHash,
    /// When it expires unless it was activated before.
    pub pre_active_until: Timestamp,
    /// By when somebody must say that it is still wanted, else it expires before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revalidate_by: Option<Timestamp>,
    /// How long before its deadlines a warning is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_before: Option<Span>,
    /// The custodian's statement, a DSSE envelope over [`crate::statement::Generated`].
    pub statement: Envelope,
    /// The person's command.
    pub command: Envelope,
}

/// How an activation came about (CCM CEK-15: manual, on creation, at a future time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationMode {
    /// A person gave the command.
    Manual,
    /// By itself, when it was authorised and its time had come.
    Scheduled,
    /// Under a standing authorisation.
    Standing,
}

/// What became of one gate of a legal pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionHeld {
    /// The pack.
    pub pack: Name,
    /// Its declaration: hash of its `pack.declared`.
    pub declared: EventHash,
    /// The gates that were satisfied.
    pub satisfied: Vec<Name>,
    /// The gates that were not for this key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_applicable: Vec<Name>,
}

/// A key's place in the list that a request was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Its place, from 0.
    pub index: u32,
    /// RFC 6962 inclusion proof: the hashes from the leaf's sibling to the root's.
    pub path: Vec<Digest>,
}

/// Data of `key.activated`: what the sixth auditing guideline asks to find in one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyActivated {
    /// The key.
    pub key_id: KeyId,
    /// When: the event's time.
    pub activated_at: Timestamp,
    /// How.
    pub mode: ActivationMode,
    /// Who set it off: the one who gave the command, else the one who asked for activation.
    pub initiated_by: Fingerprint,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// The approvals that count: hashes of their `activation.approved`, in order.
    pub approvals: Vec<EventHash>,
    /// The policy in force: hash of its `policy.adopted`.
    pub policy: EventHash,
    /// The provisions it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems and services that will use the key.
    pub affected_systems: Vec<Text>,
    /// The change it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_ref: Option<Text>,
    /// When its use ends.
    pub deactivate_at: Timestamp,
    /// Which declared legal conditions held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionHeld>,
    /// The facts that they rest on: hashes of their `fact.asserted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<EventHash>,
    /// The consumers' acknowledgements: hashes of their `consumer.acknowledged`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledgements: Vec<EventHash>,
    /// The activation of the key that wraps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<EventHash>,
    /// Where the request was for many keys: the proof that this is one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<Membership>,
    /// Where it was an emergency: until when the review must be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_by: Option<Timestamp>,
    /// The command, where a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Envelope>,
    /// The `activation.authorized` it follows from, where it came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventHash>,
}

/// Data of `key.suspended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySuspended {
    /// The key.
    pub key_id: KeyId,
    /// Why, where a person said so; left out where it follows from an earlier event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The active keys that it wraps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<KeyId>,
    /// The command, where a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Envelope>,
    /// What it follows from: its parent's trouble, its own emergency activation that nobody reviewed, or that its store has
    /// it otherwise than the chain says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventHash>,
}

/// Data of `key.resumed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyResumed {
    /// The key.
    pub key_id: KeyId,
    /// Why.
    pub reason: Reason,
    /// The command.
    pub command: Envelope,
}

/// Data of `key.deactivated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDeactivated {
    /// The key.
    pub key_id: KeyId,
    /// Why, where a person said so; left out where its crypto period ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The command, where a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Envelope>,
    /// The `key.activated` that set the end, where it came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventHash>,
}

/// Data of `key.compromised`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCompromised {
    /// The key.
    pub key_id: KeyId,
    /// Why.
    pub reason: Reason,
    /// The state it was in: a destroyed key becomes destroyed-compromised.
    pub was: KeyState,
    /// The active keys that it wraps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<KeyId>,
    /// The command.
    pub command: Envelope,
}

/// Data of `key.destroyed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDestroyed {
    /// The key.
    pub key_id: KeyId,
    /// Why, where a person said so; left out where it expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The command, where a person gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Envelope>,
    /// The `key.expired` it follows from, where it came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventHash>,
}

/// Data of `key.expired`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyExpired {
    /// The key.
    pub key_id: KeyId,
    /// Until when it could have been activated.
    pub pre_active_until: Timestamp,
    /// By when it was to be revalidated, where that was missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revalidate_by: Option<Timestamp>,
    /// The `key.generated` or `key.revalidated` that set that time.
    pub cause: EventHash,
}

// === Activation ===

/// Data of `activation.requested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationRequested {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// Who asks. Never counts among the approvers.
    pub requested_by: Fingerprint,
    /// The key's identity: what people sign for is this key and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<KeyIdentity>,
    /// The custodian's statement that the key was generated with, where the request names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Digest>,
    /// Where it is for many keys: what they have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// What stands for their list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// How many keys that are still to come, until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Whether it is an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// The consumers that must have acknowledged the key.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub consumers: BTreeSet<Fingerprint>,
    /// Why.
    pub reason: Reason,
    /// The change it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_ref: Option<Text>,
    /// The provisions it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems and services that will use the key.
    pub affected_systems: Vec<Text>,
    /// The policy in force: hash of its `policy.adopted`.
    pub policy: EventHash,
    /// The policy's rule for this key.
    pub rule: Name,
    /// Not to be activated before this time.
    pub not_before: Timestamp,
    /// To be deactivated at this time; left out, when the crypto period ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivate_at: Option<Timestamp>,
    /// When the request lapses unless it was authorised before.
    pub expires_at: Timestamp,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.approved`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationApproved {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// Who.
    pub approved_by: Fingerprint,
    /// Whose vote it is, where it was delegated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Fingerprint>,
    /// What a hardware key said of whoever signed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assurance: Option<Assurance>,
    /// When the approval runs out.
    pub expires_at: Timestamp,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.rejected`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationRejected {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// Who.
    pub rejected_by: Fingerprint,
    /// Why.
    pub reason: Reason,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationCancelled {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// Who.
    pub cancelled_by: Fingerprint,
    /// Why.
    pub reason: Reason,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.authorized`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationAuthorized {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// The approvals that count, in order.
    pub approvals: Vec<EventHash>,
    /// The policy in force: hash of its `policy.adopted`.
    pub policy: EventHash,
    /// Not to be activated before this time.
    pub not_before: Timestamp,
    /// The `activation.approved` that completed the quorum.
    pub cause: EventHash,
}

/// Data of `activation.lapsed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationLapsed {
    /// The key, where it is a request for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request: hash of its `activation.requested`.
    pub request: EventHash,
    /// Where one approval ran out and not the request: hash of its `activation.approved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<EventHash>,
    /// The event that set the time that has passed.
    pub cause: EventHash,
}

/// What a hardware key said of whoever signed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// It was touched (FIDO user presence).
    Touched,
    /// It was touched, and knew by whom (FIDO user verification).
    Verified,
}

/// Data of `activation.held`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationHeld {
    /// The key, where it is a request for one that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The request; left out, all activations of the tenant are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// What kind.
    pub kind: HoldKind,
    /// Where the order or the case is kept.
    pub reference: Text,
    /// Who, or the first of them.
    pub held_by: Fingerprint,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.released`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationReleased {
    /// The key, where it is a request for one that was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The `activation.held`.
    pub hold: EventHash,
    /// The request, where it is one that was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// Who, or the first of them.
    pub released_by: Fingerprint,
    /// The command.
    pub command: Envelope,
}

/// Data of `activation.reviewed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationReviewed {
    /// The key.
    pub key_id: KeyId,
    /// Its `key.activated`.
    pub activation: EventHash,
    /// Who, or the first of them.
    pub reviewed_by: Fingerprint,
    /// What was found.
    pub findings: Text,
    /// The command.
    pub command: Envelope,
}

/// Data of `consumer.acknowledged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerAcknowledged {
    /// The key.
    pub key_id: KeyId,
    /// The consumer, by its key.
    pub acknowledged_by: Fingerprint,
    /// How far it is.
    pub readiness: Readiness,
    /// What stands for this in the consumer's own chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<Counterpart>,
    /// The command.
    pub command: Envelope,
}

/// Data of `parent.attested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentAttested {
    /// The key.
    pub key_id: KeyId,
    /// The root under which the proof holds.
    pub root: Fingerprint,
    /// The parent's `key.activated` in its tenant's chain.
    pub activation: Counterpart,
    /// Until when the parent may be active, by that event.
    pub deactivate_at: Timestamp,
    /// How many events the other chain's checkpoint commits to.
    pub size: u64,
    /// Who brought it.
    pub attested_by: Fingerprint,
    /// The command.
    pub command: Envelope,
}

// === Custody ===

/// Where in its store a key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The inventory: pre-active keys are kept apart from the others.
    pub inventory: Inventory,
    /// The wrapping key (or token) that guards it there.
    pub wrapping_key: Name,
}

/// The two inventories, apart in storage and under wrapping keys of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Inventory {
    /// Keys not yet authorised.
    PreActive,
    /// Keys that are or were active.
    Active,
}

/// Data of `custody.applied`: the custodian judged the whole story, and the store now has this state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyApplied {
    /// The key.
    pub key_id: KeyId,
    /// The state that the store now has.
    pub state: KeyState,
    /// The key store.
    pub store: Name,
    /// Where the custodian found the key; left out where it was nowhere. After a crash that may be a step on the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Place>,
    /// Where it is now; left out where it is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
    /// The event that was applied.
    pub cause: EventHash,
}

/// Data of `custody.used`: the first use after each activation at once, later ones gathered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyUsed {
    /// The count's own id, made by the custodian: a count that is sent again is recorded once.
    pub report: CommandId,
    /// The key.
    pub key_id: KeyId,
    /// The `key.activated` under which it was used.
    pub activation: EventHash,
    /// How often, by operation.
    pub uses: BTreeMap<Operation, u64>,
    /// By whom, at most 32.
    pub used_by: Vec<Fingerprint>,
    /// The first of them, by the custodian's clock.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// The event that the key's state rested on at the last of them.
    pub cause: EventHash,
}

/// Data of `custody.refused`: the first refusal of a kind at once, later ones gathered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyRefused {
    /// The count's own id, made by the custodian: a count that is sent again is recorded once.
    pub report: CommandId,
    /// The key.
    pub key_id: KeyId,
    /// Why: the end of the problem's type, such as `key-not-active`.
    pub reason: Name,
    /// The state the key was in.
    pub state: KeyState,
    /// How often, by operation.
    pub refusals: BTreeMap<Operation, u64>,
    /// Who asked, at most 32.
    pub asked_by: Vec<Fingerprint>,
    /// The SHA-256 of the payload of the first command refused.
    pub first_command: Digest,
    /// The first of them, by the custodian's clock.
    pub from: Timestamp,
    /// The last.
    pub to: Timestamp,
    /// The key's event that the refusal rests on.
    pub cause: EventHash,
}

/// Data of `custody.reconciled`: a tenant's keys in a store, as the custodian's record of the store lists them, compared with
/// the chain; and with what stands behind the store (a token, a server), as far as it says whose key an object is. Destroyed
/// keys, which are nowhere, are not counted.
///
/// INVARIANT: `seen = matched + drifted + unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyReconciled {
    /// The report's own id, made by the custodian: a report that is sent again is recorded once.
    pub report: CommandId,
    /// The key store.
    pub store: Name,
    /// How many of the tenant's keys the store listed.
    pub seen: u64,
    /// How many of them it has as the chain says.
    pub matched: u64,
    /// How many it has otherwise. What each differed in was recorded by a `custody.drifted` when it was first found.
    pub drifted: u64,
    /// How many the chain does not know: generated, and never recorded.
    pub unknown: u64,
    /// How many the chain says it has, and it does not; recorded in the same way.
    pub missing: u64,
    /// The SHA-256 of the listing: a line a key, in the order of their ids, `<key id> <state>\n`.
    pub listing: Digest,
    /// When the comparison began, by the custodian's clock.
    pub from: Timestamp,
    /// When it was done.
    pub to: Timestamp,
}

/// Data of `custody.drifted`: the store has a key otherwise than the chain says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyDrifted {
    /// The report's own id, made by the custodian: a report that is sent again is recorded once.
    pub report: CommandId,
    /// The key.
    pub key_id: KeyId,
    /// The key store.
    pub store: Name,
    /// In what it differs.
    pub drift: Drift,
    /// What the store has, in words; no secret.
    pub found: Text,
    /// Whether the store was brought back to what the chain says.
    pub set_back: bool,
    /// When it was seen, by the custodian's clock.
    pub seen_at: Timestamp,
    /// The transition that the store should have.
    pub cause: EventHash,
}

// === Evidence ===

/// Data of `checkpoint.signed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSigned {
    /// How many events it commits to: all before this one.
    pub size: u64,
    /// The RFC 6962 root over their hashes.
    pub root: Base64,
    /// The C2SP signed note.
    pub note: String,
    /// The last event it covers.
    pub cause: EventHash,
}

/// Data of `evidence.exported`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceExported {
    /// The first event of the period under test, from 1.
    pub from: u64,
    /// How many events the bundle holds, from the first: those that a checkpoint commits to.
    pub size: u64,
    /// That checkpoint: hash of its `checkpoint.signed`.
    pub checkpoint: EventHash,
    /// The RFC 6962 root over the events' hashes.
    pub root: Base64,
    /// The SHA-256 of what the bundle's manifest says.
    pub manifest: Digest,
    /// The SHA-256 of the bundle's `checkpoints.txt`, which has the cosignatures.
    pub checkpoints: Digest,
    /// The command, where somebody gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Envelope>,
    /// The checkpoint that it follows from, where it came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventHash>,
}

/// Data of `probe.recorded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRecorded {
    /// What was tried.
    pub probe: Probe,
    /// The key that it was tried on.
    pub key_id: KeyId,
    /// What the platform answered.
    pub outcome: ProbeOutcome,
    /// Where it refused: the end of the problem's type, such as `key-not-active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Name>,
    /// The command that was tried. Nothing of it takes effect, and its id is spent.
    pub command: Envelope,
}

/// Data of `control.evaluated`. The results and what is done about exceptions stand in the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlEvaluated {
    /// The SHA-256 of the `controls.json` that was looked at.
    pub controls: Digest,
    /// How many events were replayed for it.
    pub size: u64,
    /// Who, or the first of them.
    pub evaluated_by: Fingerprint,
    /// When the next one is due.
    pub next_by: Timestamp,
    /// The command.
    pub command: Envelope,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_read_back_and_need_their_version() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.full_name().parse(), Ok(*event_type));
            assert!(!event_type.signers().is_empty());
        }
        for bad in ["key.generated", "dev.keylatch.key.generated", "dev.keylatch.key.generated.v2", "dev.keylatch..v1"]
        {
            assert!(bad.parse::<EventType>().is_err(), "{bad}");
        }
    }

    /// INVARIANT (no single service): the roles that record a request, an approval and an activation differ from the one
    /// that generates keys, and the one that activates can't approve.
    #[test]
    fn no_role_can_carry_a_key_from_birth_to_use() {
        for role in ServiceRole::ALL {
            let signs = |event_type: EventType| event_type.signers().contains(&role);
            let steps = [EventType::KeyGenerated, EventType::ActivationApproved, EventType::KeyActivated];
            assert!(steps.into_iter().filter(|step| signs(*step)).count() <= 1, "{role}");
        }
    }
}

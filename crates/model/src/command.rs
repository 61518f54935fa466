//! Commands: what people and workloads ask for. The payload of a DSSE envelope, signed with the asker's own key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::evidence::{ControlPoint, ControlResult, Disposition, DocumentKind, Store};
use crate::id::{CommandId, Digest, EventHash, Fingerprint, KeyId, TenantId};
use crate::key::{Common, KeyIdentity, KeySpec, Operation, Reason, Template, TenantClass};
use crate::pack::{FactValue, Pack};
use crate::people::{Principal, PublicKey, Role, SealingKey};
use crate::policy::Policy;
use crate::text::{Base64, Name, Text};
use crate::time::{Span, Timestamp};

/// The SSHSIG namespace of a command's signature.
pub const NAMESPACE: &str = "keylatch-command";
/// The largest command payload that an event can carry.
pub const PAYLOAD_BYTES_MAX: usize = 24 * 1024;
/// How long a command may live that one person signs.
pub const LIFETIME_MAX: Span = Span::from_secs(15 * 60);
/// How long a command may live that several people must sign.
pub const LIFETIME_MAX_QUORUM: Span = Span::from_secs(7 * 24 * 3600);
/// How long a `use` command may live.
pub const LIFETIME_MAX_USE: Span = Span::from_secs(30);
/// The most data that a `use` command may carry, in bytes.
pub const USE_BYTES_MAX: usize = 4 * 1024;

/// A command as signed. The same id with the same bytes gives the same answer once it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Made by who asks; UUIDv7.
    pub id: CommandId,
    /// In which tenant.
    pub tenant: TenantId,
    /// The key it is about, where it is about one.
    pub key_id: Option<KeyId>,
    /// When it was signed, by the signer's clock.
    pub issued_at: Timestamp,
    /// From when on it is void, judged at the event's time.
    pub expires_at: Timestamp,
    /// What is asked.
    pub action: Action,
}

/// A command's payload, member by member.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    id: CommandId,
    tenant: TenantId,
    #[serde(borrow)]
    action: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<KeyId>,
    #[serde(borrow)]
    params: &'a RawValue,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// A payload that is not a command: what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not a JSON object of the right members.
    #[error("not a command: {0}")]
    Json(#[from] serde_json::Error),
    /// An action that does not exist.
    #[error("there is no action `{0}`")]
    Action(String),
    /// `key_id` missing where the action needs one, or there where it must not be.
    #[error("`{action}` {}", if *.wanted { "needs a `key_id`" } else { "takes no `key_id`" })]
    KeyId {
        /// The action.
        action: &'static str,
        /// Whether it takes a key id.
        wanted: bool,
    },
}

impl Command {
    /// Reads a payload that has passed the strict JSON check of `journal`.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let wire: Wire<'_> = serde_json::from_slice(payload)?;
        let action = Action::parse(&wire.action, wire.params.get())?;
        match (action.takes_key(), wire.key_id) {
            (Takes::Key, None) => return Err(Malformed::KeyId { action: action.name(), wanted: true }),
            (Takes::NoKey, Some(_)) => return Err(Malformed::KeyId { action: action.name(), wanted: false }),
            _ => {}
        }
        let Wire { id, tenant, key_id, issued_at, expires_at, .. } = wire;
        Ok(Self { id, tenant, key_id, issued_at, expires_at, action })
    }

    /// The payload bytes to sign.
    pub fn to_json(&self) -> Vec<u8> {
        let params = self.action.params_json();
        let wire = Wire {
            id: self.id,
            tenant: self.tenant,
            action: self.action.name().into(),
            key_id: self.key_id,
            params: &params,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// Whether a command names a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is about one key.
    Key,
    /// It is about the tenant.
    NoKey,
    /// It is about one key where it names one, else about the tenant or many keys.
    KeyOrNot,
}

/// Defines the table of actions: name, whether it is about a key, parameters. One row an action, so that the name, the
/// parser and the schema can't come apart.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, key: $key:ident;)*) => {
        /// What a command asks for, with its parameters.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $variant($variant),)*
        }

        impl Action {
            /// Every action's name.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name, which is also the end of the command's subject.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// Whether the command names a key.
            pub fn takes_key(&self) -> Takes {
                match self {
                    $(Self::$variant(_) => Takes::$key,)*
                }
            }

            fn parse(name: &str, params: &str) -> Result<Self, Malformed> {
                match name {
                    $($name => Ok(Self::$variant(crate::json::read(params.as_bytes())?)),)*
                    other => Err(Malformed::Action(other.chars().take(80).collect())),
                }
            }

            fn params_json(&self) -> Box<RawValue> {
                match self {
                    $(Self::$variant(params) => serde_json::value::to_raw_value(params),)*
                }
                .unwrap_or_else(|_| RawValue::NULL.to_owned())
            }

            /// The JSON Schema of each action's parameters.
            pub fn schemas() -> Vec<(&'static str, Takes, schemars::Schema)> {
                vec![$(($name, Takes::$key, schemars::schema_for!($variant)),)*]
            }
        }
    };
}

actions! {
    /// Found a tenant: signed by every first admin, recorded by the registrar.
    TenantCreate = "tenant.create", key: NoKey;
    /// Enrol a person or workload. An admin quorum.
    PrincipalEnroll = "principal.enroll", key: NoKey;
    /// Change a principal's roles. An admin quorum.
    PrincipalChange = "principal.change", key: NoKey;
    /// Revoke a principal. An admin quorum.
    PrincipalRevoke = "principal.revoke", key: NoKey;
    /// Put a new key of a principal in the place of an old one. The old key vouches, or an admin quorum.
    PrincipalRotate = "principal.rotate", key: NoKey;
    /// Say to which key one's shares of sealed keys are sealed.
    PrincipalEquip = "principal.equip", key: NoKey;
    /// Let somebody else vote in one's place for a while.
    DelegationGrant = "delegation.grant", key: NoKey;
    /// End a delegation. Who granted it, or an admin.
    DelegationEnd = "delegation.end", key: NoKey;
    /// Sign that who may create and who may approve was looked at.
    AccessReview = "access.review", key: NoKey;
    /// Adopt a policy. An admin quorum.
    PolicyAdopt = "policy.adopt", key: NoKey;
    /// Declare that a legal pack applies, or that it does not and why. An admin quorum.
    PackDeclare = "pack.declare", key: NoKey;
    /// Assert a fact, of a key or of the tenant.
    FactAssert = "fact.assert", key: KeyOrNot;
    /// Withdraw a fact.
    FactWithdraw = "fact.withdraw", key: KeyOrNot;
    /// Put a part of a document into the log.
    DocumentStore = "document.store", key: NoKey;
    /// Adopt a document: a procedure, a process, a statement. An admin quorum.
    DocumentAdopt = "document.adopt", key: NoKey;
    /// Say which server and database a key store is. An admin quorum.
    StoreRegister = "store.register", key: NoKey;
    /// Take the keys that a store had before Keylatch into the inventory. An admin quorum, once for each store.
    BaselineAdopt = "baseline.adopt", key: NoKey;
    /// Have a bundle of evidence made.
    EvidenceExport = "evidence.export", key: NoKey;
    /// Sign what the control tests came to, and what is done about it.
    ControlEvaluate = "control.evaluate", key: NoKey;
    /// Have a key generated, pre-active.
    KeyGenerate = "key.generate", key: Key;
    /// Say that keys which wait for their activation are still wanted.
    KeyRevalidate = "key.revalidate", key: NoKey;
    /// Ask for the activation of a key, of many, or of keys that are still to come.
    ActivationRequest = "activation.request", key: KeyOrNot;
    /// Approve a request.
    ActivationApprove = "activation.approve", key: KeyOrNot;
    /// Reject a request.
    ActivationReject = "activation.reject", key: KeyOrNot;
    /// Take a request back; also one that was authorised and still goes on.
    ActivationCancel = "activation.cancel", key: KeyOrNot;
    /// Freeze a request, or all activations of the tenant.
    ActivationHold = "activation.hold", key: KeyOrNot;
    /// Lift a hold.
    ActivationRelease = "activation.release", key: KeyOrNot;
    /// Sign the review that must follow an emergency activation.
    ActivationReview = "activation.review", key: Key;
    /// Say, as one who will use the key, that its identity is known, or that it was taken up.
    ConsumerAcknowledge = "consumer.acknowledge", key: Key;
    /// Bring the proof that the key which wraps this one, in another tenant, was activated.
    ParentAttest = "parent.attest", key: Key;
    /// Activate what is authorised, now.
    KeyActivate = "key.activate", key: Key;
    /// Halt a key's use.
    KeySuspend = "key.suspend", key: Key;
    /// Lift a suspension.
    KeyResume = "key.resume", key: Key;
    /// End a key's use for good.
    KeyDeactivate = "key.deactivate", key: Key;
    /// Report a key's compromise.
    KeyCompromise = "key.compromise", key: Key;
    /// Destroy a key.
    KeyDestroy = "key.destroy", key: Key;
    /// Prove that the custodian has the key. The one thing a pre-active key can be asked.
    KeyProve = "key.prove", key: Key;
    /// Encrypt up to 4 KiB.
    UseEncrypt = "use.encrypt", key: Key;
    /// Decrypt what `use.encrypt` gave.
    UseDecrypt = "use.decrypt", key: Key;
    /// Sign a digest.
    UseSign = "use.sign", key: Key;
    /// Verify a digest's signature.
    UseVerify = "use.verify", key: Key;
    /// Make a data key, and wrap it.
    UseWrap = "use.wrap", key: Key;
    /// Unwrap a data key.
    UseUnwrap = "use.unwrap", key: Key;
}

impl Action {
    /// What a `use` command does with its key, or nothing where it is another kind of command.
    pub fn operation(&self) -> Option<Operation> {
        match self {
            Self::UseEncrypt(_) => Some(Operation::Encrypt),
            Self::UseDecrypt(_) => Some(Operation::Decrypt),
            Self::UseSign(_) => Some(Operation::Sign),
            Self::UseVerify(_) => Some(Operation::Verify),
            Self::UseWrap(_) => Some(Operation::Wrap),
            Self::UseUnwrap(_) => Some(Operation::Unwrap),
            _ => None,
        }
    }

    /// The one-time X25519 key to which a `use` command's result is sealed.
    pub fn reply_to(&self) -> Option<&Base64> {
        match self {
            Self::UseEncrypt(UseEncrypt { reply_to, .. })
            | Self::UseDecrypt(UseDecrypt { reply_to, .. })
            | Self::UseSign(UseSign { reply_to, .. })
            | Self::UseVerify(UseVerify { reply_to, .. })
            | Self::UseWrap(UseWrap { reply_to })
            | Self::UseUnwrap(UseUnwrap { reply_to, .. }) => Some(reply_to),
            _ => None,
        }
    }
}

/// Parameters of `tenant.create`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantCreate {
    /// A name for people.
    pub name: Name,
    /// Which party of the AI supply chain it is.
    pub class: TenantClass,
    /// Its first admins, each of whom signs this command.
    pub admins: Vec<Principal>,
    /// How many of them govern together. At least two.
    pub admin_quorum: u8,
}

/// Parameters of `principal.enroll`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalEnroll {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// Who.
    pub principal: Principal,
}

/// Parameters of `principal.change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalChange {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// Who.
    pub principal: Fingerprint,
    /// The roles it holds from now on.
    pub roles: std::collections::BTreeSet<Role>,
}

/// Parameters of `principal.revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRevoke {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// Who.
    pub principal: Fingerprint,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `principal.rotate`. Signed with the new key, and with the old one or by an admin quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalRotate {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The old key.
    pub principal: Fingerprint,
    /// The new key.
    pub key: PublicKey,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `principal.equip`. Signed by the one whose key it is. Bound to no state: it changes nothing that others
/// sign against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrincipalEquip {
    /// The key to which shares are sealed from now on. It is for nothing else.
    pub sealing_key: SealingKey,
}

/// Parameters of `delegation.grant`. Signed by the one who delegates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationGrant {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// Who may vote instead.
    pub to: Fingerprint,
    /// In which of one's own roles.
    pub roles: std::collections::BTreeSet<Role>,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `delegation.end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationEnd {
    /// Its `delegation.granted`.
    pub delegation: EventHash,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `access.review`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessReview {
    /// The governance's last event when this was signed: what was looked at.
    pub against: EventHash,
    /// What was found, and what will be done about it.
    pub findings: Text,
}

/// Parameters of `pack.declare`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackDeclare {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The whole pack.
    pub pack: Pack,
    /// Whether it applies.
    pub applicability: Applicability,
    /// Until when this declaration must be looked at again. A missed date is an exception.
    pub review_by: Timestamp,
}

/// Whether a legal pack applies to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applicability {
    /// Its gates hold up activations.
    Applied(Text),
    /// It is not applied, because of this.
    NotApplicable(Text),
}

/// Parameters of `fact.assert`. With a `key_id` the fact is of that key, else of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactAssert {
    /// Which fact.
    pub fact: Name,
    /// What is asserted.
    pub value: FactValue,
    /// Until when it holds without being asserted anew.
    pub valid_until: Timestamp,
    /// Where the evidence is.
    pub evidence: Text,
    /// The evidence's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_digest: Option<Digest>,
}

/// Parameters of `fact.withdraw`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FactWithdraw {
    /// Which fact.
    pub fact: Name,
    /// Why.
    pub reason: Reason,
}

/// The largest part of a document, in bytes of its text.
pub const DOCUMENT_PART_BYTES_MAX: usize = 16 * 1024;
/// The most parts that a document has: enough for a list of 10,000 keys.
pub const DOCUMENT_PARTS_MAX: u16 = 128;

/// Parameters of `document.store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentStore {
    /// The SHA-256 of the whole document.
    pub document: Digest,
    /// Which part, from 0.
    pub part: u16,
    /// How many parts there are, at most 128.
    pub parts: u16,
    /// The part's text, at most 16 KiB.
    pub text: String,
}

/// Parameters of `document.adopt`. A later one of the same name is its next version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentAdopt {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The document's name, the same in all of its versions.
    pub name: Name,
    /// What it is.
    pub kind: DocumentKind,
    /// Its title.
    pub title: Text,
    /// The SHA-256 of its text.
    pub document: Digest,
    /// The points of the control that it is about, at least one.
    pub covers: std::collections::BTreeSet<ControlPoint>,
    /// Who answers for it: an enrolled person.
    pub owner: Fingerprint,
    /// Until when it must be looked at again. A missed date is an exception.
    pub review_by: Timestamp,
}

/// The most accounts that a store is registered with.
pub const PRIVILEGED_ACCOUNTS_MAX: usize = 32;

/// Parameters of `store.register`. A later one of the same name takes the place of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreRegister {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The store.
    pub store: Store,
}

/// How long after its baseline an adopted key may be without evidence of its activation.
pub const ROTATION_MAX: Span = Span::from_secs(2 * 365 * 24 * 3600);

/// Parameters of `baseline.adopt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaselineAdopt {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The store that has the keys. It has one baseline, for ever: what is made in it later can't be adopted.
    pub store: Name,
    /// When the inventory was taken, by the clock of whoever took it.
    pub taken_at: Timestamp,
    /// What all of the keys have in common: what policy rules match on.
    pub common: Common,
    /// What stands for their list: lines of `<key id> <algorithm> <identity> <label> <made at>`.
    pub manifest: Manifest,
    /// By when each of them is to be rotated or authorised anew, at most two years on.
    pub rotate_by: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `evidence.export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceExport {
    /// The first event of the period under test, from 1. The bundle holds those before it as well: without them nobody
    /// could decide again.
    #[serde(default = "first")]
    pub from: u64,
}

fn first() -> u64 {
    1
}

/// The most results that one `control.evaluate` has: those of every control test.
pub const CONTROL_RESULTS_MAX: usize = 24;
/// The most dispositions that one `control.evaluate` has. What is decided about further exceptions is signed in another.
pub const DISPOSITIONS_MAX: usize = 32;
/// The longest note on a disposition, in bytes.
pub const DISPOSITION_NOTE_BYTES_MAX: usize = 160;

/// What a result takes in JSON at most: names of 64 bytes, numbers of 16 digits.
const CONTROL_RESULT_JSON_MAX: usize = 192;
/// What a disposition takes in JSON at most, without its note. In a note, each byte may be written as two.
const DISPOSITION_JSON_MAX: usize = 256;
/// What else a command says: its ids, times, and the rest of its parameters.
const COMMAND_JSON_MAX: usize = 1024;

const _: () = assert!(
    CONTROL_RESULTS_MAX * CONTROL_RESULT_JSON_MAX
        + DISPOSITIONS_MAX * (DISPOSITION_JSON_MAX + 2 * DISPOSITION_NOTE_BYTES_MAX)
        + COMMAND_JSON_MAX
        <= PAYLOAD_BYTES_MAX,
    "an evaluation within its bounds fits a command"
);

/// Parameters of `control.evaluate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlEvaluate {
    /// The SHA-256 of the `controls.json` that was looked at.
    pub controls: Digest,
    /// How many events were replayed for it.
    pub size: u64,
    /// What each test came to, each once, at most 24.
    pub results: Vec<ControlResult>,
    /// What was decided about exceptions, each once, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispositions: Vec<Disposition>,
}

/// The most keys that one `key.revalidate` names.
pub const REVALIDATED_MAX: usize = 500;

/// Parameters of `key.revalidate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRevalidate {
    /// The keys that are still wanted, each once, at most 500.
    pub keys: Vec<KeyId>,
    /// What was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
}

/// Parameters of `policy.adopt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyAdopt {
    /// The governance's last event when this was signed.
    pub against: EventHash,
    /// The whole document.
    pub policy: Policy,
}

/// Parameters of `key.generate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyGenerate {
    /// What the key is for.
    pub spec: KeySpec,
}

/// Parameters of `activation.request`: for one key (`key_id` and `identity`), for a list of keys (`template` and
/// `manifest`), or for keys that are still to come (`template` and `standing`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationRequest {
    /// The key's identity as the asker saw it: what people sign for is this key and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<KeyIdentity>,
    /// The SHA-256 of the custodian's statement that the key was generated with: which store has it, under which wrapping
    /// key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Digest>,
    /// Where many keys are asked for at once: what they have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// What stands for their list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// How many keys, until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Whether this is an emergency, under the policy's rule for those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// Why.
    pub reason: Reason,
    /// The change that this belongs to, such as a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_ref: Option<Text>,
    /// The provisions that it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems and services that will use the key.
    pub affected_systems: Vec<Text>,
    /// The consumers, by their keys, that must have acknowledged the key's identity before it is activated.
    #[serde(default, skip_serializing_if = "std::collections::BTreeSet::is_empty")]
    pub consumers: std::collections::BTreeSet<Fingerprint>,
    /// Not to be activated before this time. Left out: as soon as it is authorised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// To be deactivated at this time. Left out: when the policy's crypto period ends, which is also the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivate_at: Option<Timestamp>,
}

impl ActivationRequest {
    /// For one key, now, and nothing more said.
    pub fn of_key(identity: KeyIdentity, reason: Reason) -> Self {
        Self { identity: Some(identity), ..Self::because(reason) }
    }

    /// For every key of a list.
    pub fn of_list(template: Template, manifest: Manifest, reason: Reason) -> Self {
        Self { template: Some(template), manifest: Some(manifest), ..Self::because(reason) }
    }

    /// For keys that are still to come.
    pub fn standing(template: Template, standing: Standing, reason: Reason) -> Self {
        Self { template: Some(template), standing: Some(standing), ..Self::because(reason) }
    }

    fn because(reason: Reason) -> Self {
        Self {
            identity: None,
            attestation: None,
            template: None,
            manifest: None,
            standing: None,
            break_glass: false,
            reason,
            change_ref: None,
            legal_basis: Vec::new(),
            affected_systems: Vec::new(),
            consumers: std::collections::BTreeSet::new(),
            not_before: None,
            deactivate_at: None,
        }
    }
}

/// What stands for a list of keys: lines of `<key id> <identity> <attestation>`, each ended by a line feed, sorted by
/// key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// RFC 6962 root over the lines (without their line feeds), in order.
    pub root: Digest,
    /// How many, at most 10,000.
    pub count: u32,
    /// The SHA-256 of the whole list, which was put into the log with `document.store`.
    pub document: Digest,
}

/// A standing authorisation: for keys that a program needs often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// How many keys.
    pub count: u32,
    /// Until when.
    pub until: Timestamp,
    /// How long each of them may be active. Left out, for the policy's crypto period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_for: Option<Span>,
}

/// Parameters of `activation.approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationApprove {
    /// The hash of the request's event. Any change to what is asked is another request.
    pub request: EventHash,
    /// What the approver says beyond yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
    /// The one whose vote this is, where it was delegated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Fingerprint>,
    /// The approver's share of a sealed key, sealed anew: to the key store's `seal_key`, for this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Sealed>,
}

impl ActivationApprove {
    /// One's own vote, without a word.
    pub fn new(request: EventHash) -> Self {
        Self { request, note: None, on_behalf_of: None, share: None }
    }
}

/// Parameters of `activation.reject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationReject {
    /// The hash of the request's event.
    pub request: EventHash,
    /// Why not.
    pub reason: Reason,
}

/// Parameters of `activation.cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationCancel {
    /// The hash of the request's event.
    pub request: EventHash,
    /// Why no longer.
    pub reason: Reason,
}

/// Why activations are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// Something must stay as it is for a proceeding.
    LegalHold,
    /// A court or an authority said so.
    CourtOrder,
    /// A security incident is being looked into.
    Incident,
}

impl std::fmt::Display for HoldKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::LegalHold => "legal-hold",
            Self::CourtOrder => "court-order",
            Self::Incident => "incident",
        })
    }
}

/// Parameters of `activation.hold`. Bound to no state: a halt must get through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationHold {
    /// The hash of the request's event. Left out, all activations of the tenant are frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// What kind.
    pub kind: HoldKind,
    /// Where the order or the case is kept: a reference, not its words.
    pub reference: Text,
}

/// Parameters of `activation.release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationRelease {
    /// The hash of the hold's event.
    pub hold: EventHash,
    /// The hash of the request's event, where it is a request that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EventHash>,
    /// Why no longer.
    pub reason: Reason,
}

/// Parameters of `activation.review`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationReview {
    /// The key's `key.activated`.
    pub activation: EventHash,
    /// What was found.
    pub findings: Text,
}

/// How far a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// It knows the key's identity, and is ready for it.
    Ready,
    /// It uses the key.
    Adopted,
}

/// An event in another tenant's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counterpart {
    /// Whose chain.
    pub tenant: TenantId,
    /// The event's hash.
    pub event: EventHash,
}

/// Parameters of `consumer.acknowledge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerAcknowledge {
    /// The key's identity as the consumer knows it.
    pub identity: KeyIdentity,
    /// How far it is.
    pub readiness: Readiness,
    /// What stands for this in the consumer's own chain, where it is another tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<Counterpart>,
}

/// Parameters of `parent.attest`: the parent's `key.activated`, as it stands in its tenant's chain, and the proof of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentAttest {
    /// The exact bytes of the parent's `key.activated`.
    pub event: Base64,
    /// Its signature header.
    pub signature: String,
    /// The other platform's authority statement, signed by a root that the policy trusts.
    pub authority: crate::Envelope,
    /// A checkpoint of the other chain, as its exporter signed it.
    pub checkpoint: String,
    /// The event's place in that chain, from 0.
    pub index: u64,
    /// RFC 6962 inclusion proof: the hashes from the leaf's sibling to the root's.
    pub path: Vec<Digest>,
}

/// Parameters of `key.activate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyActivate {
    /// The key's last event when this was signed.
    pub against: EventHash,
    /// The standing authorisation that is drawn on: hash of its `activation.requested`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<EventHash>,
}

impl KeyActivate {
    /// Under the key's own request.
    pub fn new(against: EventHash) -> Self {
        Self { against, standing: None }
    }
}

/// Parameters of `key.suspend`. Bound to no state: a halt must get through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySuspend {
    /// Why.
    pub reason: Reason,
}

/// Parameters of `key.resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyResume {
    /// The key's last event when this was signed.
    pub against: EventHash,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `key.deactivate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDeactivate {
    /// The key's last event when this was signed.
    pub against: EventHash,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `key.compromise`. Bound to no state: the report must get through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyCompromise {
    /// Why.
    pub reason: Reason,
}

/// Parameters of `key.destroy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDestroy {
    /// The key's last event when this was signed.
    pub against: EventHash,
    /// Why.
    pub reason: Reason,
}

/// Parameters of `key.prove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyProve {
    /// Random, 16 to 64 bytes: the proof can't be an old one.
    pub challenge: Base64,
}

/// Bytes sealed with HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// The encapsulated key, 32 bytes.
    pub enc: Base64,
    /// The ciphertext with its tag.
    pub ciphertext: Base64,
}

/// Parameters of `use.encrypt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseEncrypt {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
    /// The plaintext, sealed to the custodian's `seal_key` (in the key's `key.generated`).
    pub plaintext: Sealed,
    /// Data that is authenticated with it.
    #[serde(default = "empty")]
    pub aad: Base64,
}

/// Parameters of `use.decrypt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseDecrypt {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
    /// What `use.encrypt` gave.
    pub ciphertext: Base64,
    /// Data that was authenticated with it.
    #[serde(default = "empty")]
    pub aad: Base64,
}

/// Parameters of `use.sign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseSign {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
    /// SHA-256 for `ecdsa-p256`, SHA-512 for `ed25519`.
    pub digest: Base64,
}

/// Parameters of `use.verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseVerify {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
    /// SHA-256 for `ecdsa-p256`, SHA-512 for `ed25519`.
    pub digest: Base64,
    /// What `use.sign` gave.
    pub signature: Base64,
}

/// Parameters of `use.wrap`: the result is a new 32-byte data key and its wrapped form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseWrap {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
}

/// Parameters of `use.unwrap`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseUnwrap {
    /// The one-time X25519 key for the result.
    pub reply_to: Base64,
    /// What `use.wrap` gave.
    pub wrapped: Base64,
}

fn empty() -> Base64 {
    Base64(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPROVE: &str = r#"{"id":"01930000-0000-7000-8000-0000000000aa","tenant":"ADVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZW22","action":"activation.approve","key_id":"01930000-0000-7000-8000-000000000001","params":{"request":"f3e559a86a9286c1990c49a0e382abb7fe63f0517e886f4070d47f1f8c2f392b"},"issued_at":"2026-11-23T17:00:00.000Z","expires_at":"2026-11-23T17:15:00.000Z"}"#;

    #[test]
    fn a_command_reads_back_to_the_same_bytes() {
        let command = Command::parse(APPROVE.as_bytes()).unwrap();
        assert_eq!(command.action.name(), "activation.approve");
        assert_eq!(String::from_utf8(command.to_json()).unwrap(), APPROVE);
    }

    #[track_caller]
    fn rejects(change: impl Fn(&str) -> String) {
        let text = change(APPROVE);
        assert_ne!(text, APPROVE);
        assert!(Command::parse(text.as_bytes()).is_err(), "took {text}");
    }

    #[test]
    fn rejects_what_is_not_exactly_a_command() {
        rejects(|text| text.replace("activation.approve", "activation.bless"));
        rejects(|text| text.replace("key_id", "keyId"));
        rejects(|text| text.replace(r#""request":"#, r#""also":1,"request":"#));
        rejects(|text| text.replace("17:00:00.000Z", "17:00:00Z"));
        rejects(|text| text.replace("activation.approve", "policy.adopt"));
        rejects(|text| format!("{text}{text}"));
    }

    #[test]
    fn what_is_about_one_key_names_it() {
        let without = |text: &str| text.replace(r#""key_id":"01930000-0000-7000-8000-000000000001","#, "");
        let prove = APPROVE.replace("activation.approve", "key.prove");
        let params = r#""params":{"request":"f3e559a86a9286c1990c49a0e382abb7fe63f0517e886f4070d47f1f8c2f392b"}"#;
        let prove = prove.replace(params, r#""params":{"challenge":"AAAA"}"#);
        assert!(Command::parse(prove.as_bytes()).is_ok());
        assert!(Command::parse(without(&prove).as_bytes()).is_err());
        // An approval may be of a request for many keys.
        assert!(Command::parse(without(APPROVE).as_bytes()).is_ok());
    }
}

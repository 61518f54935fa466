//! Commands: what people and workloads ask for. The payload of a DSSE envelope, signed with the asker's own key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{CommandId, Digest, EventHash, Fingerprint, KeyId, TenantId};
use crate::key::{KeyIdentity, KeySpec, Operation, Reason, TenantClass};
use crate::people::{Principal, Role};
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
        if wire.key_id.is_some() != action.takes_key() {
            return Err(Malformed::KeyId { action: action.name(), wanted: action.takes_key() });
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

/// Defines the table of actions: name, whether it is about a key, parameters. One row an action, so that the name, the
/// parser and the schema can't come apart.
macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, key: $key:literal;)*) => {
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
            pub fn takes_key(&self) -> bool {
                match self {
                    $(Self::$variant(_) => $key,)*
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
            pub fn schemas() -> Vec<(&'static str, bool, schemars::Schema)> {
                vec![$(($name, $key, schemars::schema_for!($variant)),)*]
            }
        }
    };
}

actions! {
    /// Found a tenant: signed by every first admin, recorded by the registrar.
    TenantCreate = "tenant.create", key: false;
    /// Enrol a person or workload. An admin quorum.
    PrincipalEnroll = "principal.enroll", key: false;
    /// Change a principal's roles. An admin quorum.
    PrincipalChange = "principal.change", key: false;
    /// Revoke a principal. An admin quorum.
    PrincipalRevoke = "principal.revoke", key: false;
    /// Adopt a policy. An admin quorum.
    PolicyAdopt = "policy.adopt", key: false;
    /// Have a key generated, pre-active.
    KeyGenerate = "key.generate", key: true;
    /// Ask for a key's activation.
    ActivationRequest = "activation.request", key: true;
    /// Approve a request.
    ActivationApprove = "activation.approve", key: true;
    /// Reject a request.
    ActivationReject = "activation.reject", key: true;
    /// Take a request back.
    ActivationCancel = "activation.cancel", key: true;
    /// Activate what is authorised, now.
    KeyActivate = "key.activate", key: true;
    /// Halt a key's use.
    KeySuspend = "key.suspend", key: true;
    /// Lift a suspension.
    KeyResume = "key.resume", key: true;
    /// End a key's use for good.
    KeyDeactivate = "key.deactivate", key: true;
    /// Report a key's compromise.
    KeyCompromise = "key.compromise", key: true;
    /// Destroy a key.
    KeyDestroy = "key.destroy", key: true;
    /// Prove that the custodian has the key. The one thing a pre-active key can be asked.
    KeyProve = "key.prove", key: true;
    /// Encrypt up to 4 KiB.
    UseEncrypt = "use.encrypt", key: true;
    /// Decrypt what `use.encrypt` gave.
    UseDecrypt = "use.decrypt", key: true;
    /// Sign a digest.
    UseSign = "use.sign", key: true;
    /// Verify a digest's signature.
    UseVerify = "use.verify", key: true;
    /// Make a data key, and wrap it.
    UseWrap = "use.wrap", key: true;
    /// Unwrap a data key.
    UseUnwrap = "use.unwrap", key: true;
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

/// Parameters of `activation.request`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivationRequest {
    /// The key's identity as the asker saw it: what people sign for is this key and no other.
    pub identity: KeyIdentity,
    /// Where many keys are asked for at once: what stands for their list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Why.
    pub reason: Reason,
    /// The change that this belongs to, such as a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_ref: Option<Text>,
    /// The provisions that it rests on.
    pub legal_basis: Vec<Text>,
    /// The systems and services that will use the key.
    pub affected_systems: Vec<Text>,
    /// Not to be activated before this time. Left out: as soon as it is authorised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// To be deactivated at this time. Left out: when the policy's crypto period ends, which is also the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivate_at: Option<Timestamp>,
}

/// What stands for a list of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// RFC 6962 root over the keys' identities, in order.
    pub root: Digest,
    /// How many, at most 10,000.
    pub count: u32,
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

/// Parameters of `key.activate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyActivate {
    /// The key's last event when this was signed.
    pub against: EventHash,
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
        rejects(|text| text.replace(r#""key_id":"01930000-0000-7000-8000-000000000001","#, ""));
        rejects(|text| text.replace("key_id", "keyId"));
        rejects(|text| text.replace(r#""request":"#, r#""also":1,"request":"#));
        rejects(|text| text.replace("17:00:00.000Z", "17:00:00Z"));
        rejects(|text| text.replace("activation.approve", "policy.adopt"));
        rejects(|text| format!("{text}{text}"));
    }
}

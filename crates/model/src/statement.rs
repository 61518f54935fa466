//! Statements that services sign outside the chain, for others to carry or to act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Sealed;
use crate::id::{Digest, EventHash, Fingerprint, KeyId, TenantId};
use crate::key::{Algorithm, KeyIdentity};
use crate::people::SealingKey;
use crate::text::{Base64, Name};
use crate::time::Timestamp;

/// A custodian's word that it generated a key, in answer to a person's command. `key.generated` carries it: without it
/// the event is void, so an issuer can't slip in a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// Whose key it is.
    pub tenant: TenantId,
    /// The key.
    pub key_id: KeyId,
    /// What was generated.
    pub algorithm: Algorithm,
    /// By what it can be recognised.
    pub identity: KeyIdentity,
    /// Where it is kept.
    pub store: Name,
    /// The wrapping key of the pre-active inventory that guards it.
    pub wrapping_key: Name,
    /// The SHA-256 of the payload of the command that asked for it.
    pub command: Digest,
    /// The X25519 key to which input for this key's uses is sealed (HPKE).
    pub seal_key: Base64,
    /// Where it is sealed: how many shares open it, and each share, sealed to its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
    /// When, by the custodian's clock.
    pub generated_at: Timestamp,
}

/// The most shares that a sealed key is split into.
pub const SHARES_MAX: usize = 16;

/// How a sealed key's one-time wrapping key was split (Shamir 1979, over GF(2^8) byte by byte).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// How many shares open the key. At least two.
    pub threshold: u8,
    /// Every share, in the order of its number from 1, which is the point at which it was evaluated. At most 16.
    pub shares: Vec<SealedShare>,
}

/// One share of a sealed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    /// Whose it is.
    pub to: Fingerprint,
    /// The holder's key that it is sealed to.
    pub sealing_key: SealingKey,
    /// SHA-256 over what the share is for, its number and the share: whoever has the share shows with it that it is this one.
    pub commitment: Digest,
    /// The share, sealed to the holder (HPKE).
    pub share: Sealed,
}

/// A custodian's question for a lease, and what it heard of the chain so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// Random: the answer can't be an old one.
    pub nonce: Digest,
}

/// An exporter's word that a tenant's chain stood here when it was asked. A custodian without one that is young enough
/// refuses use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Whose chain.
    pub tenant: TenantId,
    /// The head's place.
    pub sequence: u64,
    /// The head's hash.
    pub head: EventHash,
    /// The question's nonce.
    pub nonce: Digest,
    /// When, by the exporter's clock.
    pub time: Timestamp,
}

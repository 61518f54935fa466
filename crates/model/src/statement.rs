//! Statements that services sign outside the chain, for others to carry or to act on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, EventHash, KeyId, TenantId};
use crate::key::{Algorithm, KeyIdentity};
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
    /// When, by the custodian's clock.
    pub generated_at: Timestamp,
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

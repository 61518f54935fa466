//! DSSE 1.0.2: the envelope that carries signed bytes and says what they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Base64;

/// The payload type of an event.
pub const EVENT: &str = "application/vnd.keylatch.event.v1+json";
/// The payload type of a command.
pub const COMMAND: &str = "application/vnd.keylatch.command.v1+json";
/// The payload type of an authority statement.
pub const AUTHORITY: &str = "application/vnd.keylatch.authority.v1+json";
/// The payload type of a custodian's statement on a key it generated.
pub const GENERATED: &str = "application/vnd.keylatch.generated.v1+json";
/// The payload type of an exporter's freshness lease.
pub const LEASE: &str = "application/vnd.keylatch.lease.v1+json";

/// A DSSE JSON envelope. Nothing in it is known to be true until its signatures are checked over [`pae`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The exact signed bytes.
    pub payload: Base64,
    /// What they are; part of what is signed.
    pub payload_type: String,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// A hint at the key: its fingerprint. Not authenticated.
    pub keyid: String,
    /// The signature: raw for a service key, a binary SSHSIG for a person's.
    pub sig: Base64,
}

/// The pre-authentication encoding: what is signed in place of the bare payload.
/// `"DSSEv1" SP len(type) SP type SP len(body) SP body`, lengths in decimal bytes.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the DSSE 1.0.2 text.
    #[test]
    fn pae_is_that_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }
}

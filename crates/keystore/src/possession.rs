//! Proof of possession: what a store can show of a key that nobody may use yet.
//!
//! What is proved is a message of fixed form, `PAE("application/vnd.keylatch.possession.v1", tenant || key id ||
//! challenge)` with 32, 16 and 16 to 64 raw bytes, where PAE is that of DSSE. It names the key, so a proof for one key
//! is none for another with the same material; the challenge makes it fresh.
//!
//! A proof must never pass for a use, or it would be a way to use a key before it is activated:
//!
//! - **Ed25519** proves with *pure* Ed25519 over the message. Uses sign with *Ed25519ph*, whose hashed prefix (`dom2`,
//!   RFC 8032, 5.1) no pure signature has: neither kind verifies as the other.
//! - **ECDSA P-256** proves with a signature over SHA-256 of the message. That is an ordinary digest signature, so the
//!   separation is in what is hashed: the store hashes, and what it hashes begins with the fixed PAE prefix. Whoever picks
//!   the challenge therefore can't pick the digest; to make a proof pass for a signature over a document, the document
//!   itself must begin `DSSEv1 38 application/vnd.keylatch.possession.v1`. (The other way round, who may already *sign*
//!   digests with an active key can make what looks like a proof. That is possession.)
//! - **ECDSA P-384** and **RSA** do the same over SHA-384 and SHA-256 (RSA as RSASSA-PSS; a key that unwraps
//!   signs nothing but this).
//! - **ML-DSA-65** proves with a signature over the message itself, which is longer than the 64 bytes of the digests that
//!   uses sign: neither passes for the other.
//! - **ML-KEM-768** proves as AES does, under a key derived from its decapsulation key; the first three bytes of its
//!   fingerprint stand for the check value. It decapsulates nothing.
//! - **AES-256** proves with HMAC-SHA-256 over the message under a key derived for this alone by HKDF-SHA-256. It can be
//!   checked by who has the key only; so the key check value, computed anew from the material, comes with it. No block
//!   that GCM computes is an output of this. (A device has no way to run HKDF over a key that it does not show. There the
//!   key of the HMAC is derived by `CKM_AES_CBC_ENCRYPT_DATA` inside the device: see `docs/pkcs11-store.md`. Nobody can tell
//!   the two apart who has not the key, and so nothing depends on which it is.)

use model::key::KeyIdentity;
use model::{KeyId, TenantId, dsse};

use crate::material::PublicKey;
use crate::{Error, Material};

/// The DSSE payload type of the message.
pub const PAYLOAD_TYPE: &str = "application/vnd.keylatch.possession.v1";

/// How long a challenge is, in bytes.
pub const CHALLENGE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// A proof of possession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Of a key pair that signs: a signature, in the form that its uses give.
    Signature(Vec<u8>),
    /// Of a secret key, or of one that decapsulates.
    Mac {
        /// HMAC-SHA-256 under a key derived from it.
        mac: [u8; 32],
        /// The key check value, computed anew ([`KeyIdentity::check_value`]).
        check_value: [u8; 3],
    },
}

impl Proof {
    /// Makes one. What a store that holds the bytes of its keys calls.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a challenge of the wrong length.
    pub fn make(material: &Material, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Self, Error> {
        let message = message(tenant, key_id, challenge)?;
        material.prove(&message)
    }

    /// Whether it is a proof for this key pair and challenge. A MAC can't be verified without the key, and is none.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a challenge of the wrong length.
    pub fn verify(
        &self,
        identity: &KeyIdentity,
        tenant: TenantId,
        key_id: KeyId,
        challenge: &[u8],
    ) -> Result<bool, Error> {
        let message = message(tenant, key_id, challenge)?;
        let (Self::Signature(signature), KeyIdentity::PublicKey(der)) = (self, identity) else { return Ok(false) };
        Ok(PublicKey::from_spki(&der.0).is_some_and(|key| key.verifies_message(&message, signature)))
    }
}

/// The message that is proved.
///
/// # Errors
/// [`Error::InvalidInput`] for a challenge of the wrong length.
pub fn message(tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Vec<u8>, Error> {
    if !CHALLENGE_BYTES.contains(&challenge.len()) {
        return Err(Error::InvalidInput("a challenge of 16 to 64 bytes"));
    }
    let body = [&tenant.as_bytes()[..], key_id.as_bytes(), challenge].concat();
    Ok(dsse::pae(PAYLOAD_TYPE, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_these_bytes() {
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        let message = message(TenantId::from_bytes([b'T'; 32]), key_id, b"0123456789abcdef").unwrap();
        let wanted = [
            &b"DSSEv1 38 application/vnd.keylatch.possession.v1 64 "[..],
            &[b'T'; 32],
            b"\x01\x93\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x0a0123456789abcdef",
        ]
        .concat();
        assert_eq!(message, wanted);
    }

    #[test]
    fn a_challenge_is_16_to_64_bytes() {
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        for (length, fits) in [(0, false), (15, false), (16, true), (64, true), (65, false)] {
            let challenge = vec![0; length];
            assert_eq!(message(TenantId::from_bytes([0; 32]), key_id, &challenge).is_ok(), fits, "{length}");
        }
    }
}

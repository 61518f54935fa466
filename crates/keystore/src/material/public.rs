//! The public half of a key pair: what a signature, or a proof, is checked with.

use model::Algorithm;
use model::key::KeyIdentity;
use model::text::Base64;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rand_core::CryptoRngCore;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Given, fill, lattice, rsa};
use crate::{Error, Output};

/// The public half of a key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256.
    EcdsaP256(p256::ecdsa::VerifyingKey),
    /// ECDSA on P-384.
    EcdsaP384(p384::ecdsa::VerifyingKey),
    /// RSA, in SubjectPublicKeyInfo.
    Rsa(Vec<u8>),
    /// ML-DSA-65 (FIPS 204, algorithm 22).
    MlDsa65(Vec<u8>),
    /// ML-KEM-768: the encapsulation key (FIPS 203, 7.2).
    MlKem768(Vec<u8>),
}

impl PublicKey {
    /// Reads it from SubjectPublicKeyInfo in DER, in the forms that identities have ([`Algorithm::spki`]); `None` for
    /// anything else.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Algorithm::ALL.into_iter().find_map(|algorithm| {
            let key = algorithm.spki()?.strip(der)?;
            Self::read(algorithm, key, der)
        })
    }

    fn read(algorithm: Algorithm, key: &[u8], der: &[u8]) -> Option<Self> {
        let point = || [&[4], key].concat();
        Some(match algorithm {
            Algorithm::Aes256Gcm | Algorithm::Other => return None,
            Algorithm::Ed25519 => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
                Self::Ed25519((!key.is_weak()).then_some(key)?)
            }
            Algorithm::EcdsaP256 => Self::EcdsaP256(p256::ecdsa::VerifyingKey::from_sec1_bytes(&point()).ok()?),
            Algorithm::EcdsaP384 => Self::EcdsaP384(p384::ecdsa::VerifyingKey::from_sec1_bytes(&point()).ok()?),
            Algorithm::RsaPss3072 | Algorithm::RsaPss4096 | Algorithm::RsaOaep3072 | Algorithm::RsaOaep4096 => {
                Self::Rsa(der.to_vec())
            }
            Algorithm::MlDsa65 => Self::MlDsa65(key.to_vec()),
            Algorithm::MlKem768 => Self::MlKem768(key.to_vec()),
        })
    }

    /// By what the key pair is recognised.
    pub fn identity(&self) -> KeyIdentity {
        KeyIdentity::PublicKey(Base64(self.to_spki()))
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn to_spki(&self) -> Vec<u8> {
        let spki = |algorithm: Algorithm, key: &[u8]| algorithm.spki().map(|spki| spki.around(key)).unwrap_or_default();
        let of_point = |algorithm, point: &[u8]| spki(algorithm, point.strip_prefix(&[4]).unwrap_or_default());
        match self {
            Self::Ed25519(key) => spki(Algorithm::Ed25519, key.as_bytes()),
            Self::EcdsaP256(key) => of_point(Algorithm::EcdsaP256, key.to_encoded_point(false).as_bytes()),
            Self::EcdsaP384(key) => of_point(Algorithm::EcdsaP384, key.to_encoded_point(false).as_bytes()),
            Self::Rsa(spki) => spki.clone(),
            Self::MlDsa65(key) => spki(Algorithm::MlDsa65, key),
            Self::MlKem768(key) => spki(Algorithm::MlKem768, key),
        }
    }

    /// Whether `signature` is one that [`crate::Use::Sign`] gives for this digest. A digest of the wrong length has none.
    pub fn verifies(&self, digest: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => {
                let (Ok(digest), Ok(signature)) = (Given::new(digest), ed25519_dalek::Signature::from_slice(signature))
                else {
                    return false;
                };
                key.verify_prehashed_strict(digest, None, &signature).is_ok()
            }
            Self::EcdsaP256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).ok().filter(|_| digest.len() == 32);
                signature.is_some_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::EcdsaP384(key) => {
                let signature = p384::ecdsa::Signature::from_der(signature).ok().filter(|_| digest.len() == 48);
                signature.is_some_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::Rsa(spki) => rsa::verifies(spki, digest, signature),
            Self::MlDsa65(_) => digest.len() == 64 && lattice::verifies(&self.to_spki(), digest, signature),
            Self::MlKem768(_) => false,
        }
    }

    /// Whether `signature` is one over a whole message, as proofs of possession are ([`crate::possession`]).
    pub(crate) fn verifies_message(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::EcdsaP384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::Rsa(spki) => rsa::verifies(spki, &Sha256::digest(message), signature),
            Self::MlDsa65(_) => lattice::verifies(&self.to_spki(), message, signature),
            Self::MlKem768(_) => false,
        }
    }

    /// Wraps a new data key, as anybody can who has the public key; `None` where the algorithm wraps nothing. RSA: a
    /// ciphertext of RSAES-OAEP; ML-KEM: the ciphertext that encapsulates it.
    ///
    /// # Errors
    /// [`Error::Storage`] where the random source fails.
    pub fn wrap(&self, rng: &mut dyn CryptoRngCore) -> Result<Option<Output>, Error> {
        let (data_key, wrapped) = match self {
            Self::Rsa(spki) => {
                let mut data_key = Zeroizing::new([0; 32]);
                fill(rng, data_key.as_mut())?;
                let wrapped = rsa::wrap(spki, &data_key)?;
                (data_key, wrapped)
            }
            Self::MlKem768(key) => lattice::wrap(key)?,
            _ => return Ok(None),
        };
        Ok(Some(Output::Wrapped { data_key, wrapped }))
    }
}

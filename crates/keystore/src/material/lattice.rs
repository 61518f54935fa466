//! ML-DSA-65 (FIPS 204) and ML-KEM-768 (FIPS 203), by AWS-LC: see docs/decisions/0015-algorithms.md.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::signature::{KeyPair as _, ML_DSA_65, ML_DSA_65_SIGNING, PqdsaKeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::failed;
use crate::Error;

/// An ML-DSA-65 key pair, with the seed that it is stored as (FIPS 204, algorithm 6).
pub(super) struct MlDsa {
    seed: Zeroizing<[u8; 32]>,
    pair: PqdsaKeyPair,
}

impl MlDsa {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, seed).ok()?;
        Some(Self { seed: Zeroizing::new(*seed), pair })
    }

    pub(super) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub(super) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a message, with an empty context.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
        let length = self.pair.sign(message, &mut signature).map_err(|_| failed("signing failed"))?;
        signature.truncate(length);
        Ok(signature)
    }
}

/// Whether it is an ML-DSA-65 signature over this message, with an empty context.
pub(super) fn verifies(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ML_DSA_65, spki).verify(message, signature).is_ok()
}

/// Where the encapsulation key stands in a decapsulation key, and how long it is (FIPS 203, algorithm 16 and table 3).
const ENCAPSULATION_KEY: std::ops::Range<usize> = 1152..2336;

/// An ML-KEM-768 key pair: its decapsulation key (FIPS 203, 7.1), as it is stored.
pub(super) struct MlKem {
    bytes: Zeroizing<Vec<u8>>,
    key: DecapsulationKey,
}

impl MlKem {
    pub(super) fn generate() -> Result<Self, Error> {
        let key = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| failed("no ML-KEM key came of it"))?;
        let bytes = key.key_bytes().map_err(|_| failed("an ML-KEM key has no bytes"))?;
        Ok(Self { bytes: Zeroizing::new(bytes.as_ref().to_vec()), key })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = DecapsulationKey::new(&ML_KEM_768, bytes).ok()?;
        Some(Self { bytes: Zeroizing::new(bytes.to_vec()), key })
    }

    pub(super) fn bytes(&self) -> &Zeroizing<Vec<u8>> {
        &self.bytes
    }

    pub(super) fn public(&self) -> &[u8] {
        self.bytes.get(ENCAPSULATION_KEY).unwrap_or_default()
    }

    /// The data key that was encapsulated. Of a ciphertext that was changed comes another key, and no error (implicit
    /// rejection): whoever uses it finds out.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let secret = self.key.decapsulate(Ciphertext::from(wrapped)).map_err(|_| Error::CiphertextInvalid)?;
        Ok(Zeroizing::new(<[u8; 32]>::try_from(secret.as_ref()).map_err(|_| Error::CiphertextInvalid)?))
    }
}

/// A new data key, and the ciphertext that encapsulates it.
pub(super) fn wrap(public: &[u8]) -> Result<(Zeroizing<[u8; 32]>, Vec<u8>), Error> {
    let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| failed("an ML-KEM key is not read"))?;
    let (ciphertext, secret) = key.encapsulate().map_err(|_| failed("encapsulation failed"))?;
    let data_key = <[u8; 32]>::try_from(secret.as_ref()).map_err(|_| failed("encapsulation failed"))?;
    Ok((Zeroizing::new(data_key), ciphertext.as_ref().to_vec()))
}

#[cfg(test)]
mod tests {
    use ml_dsa::signature::{Keypair as _, Signer as _, Verifier as _};
    use ml_kem::kem::Decapsulate as _;

    use super::*;

    /// Another implementation makes the same key of the same seed, verifies what this one signs, and signs what it verifies.
    #[test]
    fn another_implementation_of_ml_dsa_agrees() {
        let seed = [9; 32];
        let ours = MlDsa::from_seed(&seed).unwrap();
        let theirs = ml_dsa::SigningKey::<ml_dsa::MlDsa65>::from_seed(&seed.into());
        assert_eq!(theirs.verifying_key().encode().as_slice(), ours.public());
        let message = [7; 64];
        let signature = ml_dsa::Signature::try_from(ours.sign(&message).unwrap().as_slice()).unwrap();
        assert!(theirs.verifying_key().verify(&message, &signature).is_ok());
        let spki = model::Algorithm::MlDsa65.spki().unwrap().around(ours.public());
        let signature = theirs.sign(&message).encode();
        assert!(verifies(&spki, &message, &signature));
        assert!(!verifies(&spki, &[8; 64], &signature));
    }

    /// What either encapsulates, the other decapsulates, with the one decapsulation key.
    #[test]
    fn another_implementation_of_ml_kem_agrees() {
        let ours = MlKem::generate().unwrap();
        #[expect(deprecated, reason = "the expanded form is what is stored")]
        let theirs = ml_kem::DecapsulationKey768::from_expanded(&ours.bytes().as_slice().try_into().unwrap()).unwrap();
        let (data_key, wrapped) = wrap(ours.public()).unwrap();
        assert_eq!(theirs.decapsulate_slice(&wrapped).unwrap().as_slice(), data_key.as_slice());
        let (wrapped, data_key) = theirs.encapsulation_key().encapsulate_deterministic(&[3; 32].into());
        assert_eq!(ours.unwrap(&wrapped).unwrap().as_slice(), data_key.as_slice());
    }
}

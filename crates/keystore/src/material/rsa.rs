//! RSA (RFC 8017), by AWS-LC: why it, and why its own random source is used, is said in docs/decisions/0015-algorithms.md.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey};
use model::Algorithm;
use zeroize::Zeroizing;

use super::failed;
use crate::Error;

/// The key pair, and the same in PKCS #8 (RFC 5208), as it is stored.
pub(super) struct Rsa {
    pub(super) algorithm: Algorithm,
    pair: KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Rsa {
    pub(super) fn generate(algorithm: Algorithm, size: KeySize) -> Result<Self, Error> {
        let pair = KeyPair::generate(size).map_err(|_| failed("no RSA key came of it"))?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed("an RSA key has no DER"))?;
        Ok(Self { algorithm, pair, pkcs8: Zeroizing::new(der.as_ref().to_vec()) })
    }

    /// `None` where it is no RSA key of this algorithm.
    pub(super) fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Option<Self> {
        let pair = KeyPair::from_pkcs8(pkcs8).ok()?;
        let key = Self { algorithm, pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) };
        algorithm.spki()?.strip(&key.spki())?;
        Some(key)
    }

    pub(super) fn pkcs8(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }

    /// Its public half.
    pub(super) fn spki(&self) -> Vec<u8> {
        let der: Result<PublicKeyX509Der<'_>, _> = self.pair.public_key().as_der();
        der.map_or_else(|_| Vec::new(), |der| der.as_ref().to_vec())
    }

    /// RSASSA-PSS with a salt as long as the digest.
    pub(super) fn sign(&self, sha256: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = given(sha256).and_then(|digest| {
            self.pair.sign_digest(&RSA_PSS_SHA256, &digest, &mut signature).map_err(|_| failed("signing failed"))
        });
        signed.map(|()| signature)
    }

    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let key = PrivateDecryptingKey::from_pkcs8(&self.pkcs8).map_err(|_| failed("an RSA key is not read"))?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| failed("an RSA key does not decrypt"))?;
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let plaintext = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut plaintext, None)
            .map_err(|_| Error::CiphertextInvalid)?;
        Ok(Zeroizing::new(<[u8; 32]>::try_from(&*plaintext).map_err(|_| Error::CiphertextInvalid)?))
    }
}

/// Wraps a data key with RSAES-OAEP, with SHA-256 for both of its hashes and an empty label.
pub(super) fn wrap(spki: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let wrapped = PublicEncryptingKey::from_der(spki)
        .map_err(drop)
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(drop))
        .and_then(|key| {
            let mut wrapped = vec![0; key.ciphertext_size()];
            let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, data_key, &mut wrapped, None).map_err(drop)?.len();
            wrapped.truncate(length);
            Ok(wrapped)
        });
    wrapped.map_err(|()| failed("wrapping failed"))
}

/// Whether it is an RSASSA-PSS signature over this digest.
pub(super) fn verifies(spki: &[u8], sha256: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, spki);
    given(sha256).is_ok_and(|digest| key.verify_digest(&digest, signature).is_ok())
}

fn given(sha256: &[u8]) -> Result<Digest, Error> {
    Digest::import_less_safe(sha256, &SHA256).map_err(|_| Error::InvalidInput("a SHA-256 digest, 32 bytes"))
}

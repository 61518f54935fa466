//! Key material, for stores that hold its bytes: what each algorithm computes, and nothing else.
//!
//! Every secret is 32 bytes: the AES key, the Ed25519 seed (RFC 8032, 5.1.5), the P-256 scalar (big-endian). It is
//! zeroized when dropped.

use aes::cipher::BlockEncrypt as _;
use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use hmac::Mac as _;
use model::command::USE_BYTES_MAX;
use model::key::{KeyIdentity, Operation};
use model::text::Base64;
use model::{Algorithm, KeyId, TenantId};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use rand_core::CryptoRngCore;
use sha2::Sha256;
use sha2::digest::typenum::U64;
use sha2::digest::{FixedOutput, HashMarker, Output as HashOutput, OutputSizeUser, Update};
use zeroize::Zeroizing;

use crate::ciphertext::{Header, Purpose};
use crate::{Error, Output, Proof, Use};

const TAG_BYTES: usize = 16;

/// The HKDF `info` under which the key of a possession proof is derived.
const POSSESSION_INFO: &[u8] = b"keylatch possession v1";

/// A key's secret, zeroized when dropped.
pub struct Material(Secret);

enum Secret {
    Aes256(Zeroizing<[u8; 32]>),
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl std::fmt::Debug for Material {
    /// The algorithm only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Material({})", self.algorithm())
    }
}

impl Material {
    /// Generates a key.
    ///
    /// # Errors
    /// [`Error::Storage`] where the random source fails.
    pub fn generate(algorithm: Algorithm, rng: &mut dyn CryptoRngCore) -> Result<Self, Error> {
        loop {
            let mut secret = Zeroizing::new([0; 32]);
            fill(rng, secret.as_mut())?;
            // For P-256, one draw in 2^32 is no scalar (FIPS 186-5, A.2.2: draw again).
            if let Some(material) = Self::from_secret(algorithm, &secret) {
                return Ok(material);
            }
        }
    }

    /// Takes a secret as it was stored; `None` where it is no P-256 scalar.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8; 32]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Aes256Gcm => Secret::Aes256(Zeroizing::new(*secret)),
            Algorithm::Ed25519 => Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(secret)),
            Algorithm::EcdsaP256 => Secret::EcdsaP256(p256::ecdsa::SigningKey::from_slice(secret).ok()?),
        }))
    }

    /// The secret, to be wrapped and stored.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(match &self.0 {
            Secret::Aes256(secret) => **secret,
            Secret::Ed25519(key) => key.to_bytes(),
            Secret::EcdsaP256(key) => key.to_bytes().into(),
        })
    }

    /// What it is.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Secret::Aes256(_) => Algorithm::Aes256Gcm,
            Secret::Ed25519(_) => Algorithm::Ed25519,
            Secret::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// By what the key is recognised.
    ///
    /// The check value of an AES key is three bytes of the block of zeros encrypted, as `CKA_CHECK_VALUE` is. That block
    /// is also GCM's hash subkey: publishing the check value gives away 24 of its 128 bits. What is left makes a forgery
    /// no likelier than about one in 2^94 a try, at the longest data that is taken here (SP 800-38D, appendix C).
    pub fn identity(&self) -> KeyIdentity {
        match &self.0 {
            Secret::Aes256(secret) => KeyIdentity::CheckValue(Base64(check_value(secret).to_vec())),
            Secret::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()).identity(),
            Secret::EcdsaP256(key) => PublicKey::EcdsaP256(*key.verifying_key()).identity(),
        }
    }

    /// Uses the key. States are not looked at here.
    ///
    /// # Errors
    /// [`Error::OperationNotAllowed`], [`Error::InvalidInput`], [`Error::CiphertextInvalid`]; [`Error::Storage`] where
    /// the random source fails.
    pub fn perform(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        asked: &Use<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Output, Error> {
        let refused = || Error::OperationNotAllowed { algorithm: self.algorithm(), operation: asked.operation() };
        match &self.0 {
            Secret::Aes256(secret) => Gcm { secret, tenant, key_id }.perform(asked, rng)?.ok_or_else(refused),
            Secret::Ed25519(key) => match *asked {
                Use::Sign { digest } => sign_ed25519(key, digest).map(Output::Signature),
                Use::Verify { digest, signature } => {
                    Given::new(digest)?;
                    let public = PublicKey::Ed25519(key.verifying_key());
                    Ok(Output::Verified(public.verifies(digest, signature)))
                }
                _ => Err(refused()),
            },
            Secret::EcdsaP256(key) => match *asked {
                Use::Sign { digest } => sign_p256(key, digest).map(Output::Signature),
                Use::Verify { digest, signature } => {
                    sha256_digest(digest)?;
                    let public = PublicKey::EcdsaP256(*key.verifying_key());
                    Ok(Output::Verified(public.verifies(digest, signature)))
                }
                _ => Err(refused()),
            },
        }
    }

    /// A proof of possession over a message of [`crate::possession::message`].
    pub(crate) fn prove(&self, message: &[u8]) -> Result<Proof, Error> {
        Ok(match &self.0 {
            Secret::Ed25519(key) => Proof::Signature(key.sign(message).to_bytes().to_vec()),
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Proof::Signature(signature.to_der().as_bytes().to_vec())
            }
            Secret::Aes256(secret) => {
                Proof::Mac { mac: possession_mac(secret, message)?, check_value: check_value(secret) }
            }
        })
    }
}

// === AES ===

/// An AES-256-GCM key in its place.
struct Gcm<'a> {
    secret: &'a [u8; 32],
    tenant: TenantId,
    key_id: KeyId,
}

impl Gcm<'_> {
    /// `None` for an operation that is not its own.
    fn perform(&self, asked: &Use<'_>, rng: &mut dyn CryptoRngCore) -> Result<Option<Output>, Error> {
        Ok(Some(match *asked {
            Use::Encrypt { plaintext, aad } => {
                check_length(plaintext)?;
                check_length(aad)?;
                Output::Ciphertext(self.encrypt(Purpose::Encrypt, plaintext, aad, rng)?)
            }
            Use::Decrypt { ciphertext, aad } => Output::Plaintext(self.decrypt(Purpose::Encrypt, ciphertext, aad)?),
            Use::Wrap => {
                let mut data_key = Zeroizing::new([0; 32]);
                fill(rng, data_key.as_mut())?;
                let wrapped = self.encrypt(Purpose::Wrap, data_key.as_ref(), &[], rng)?;
                Output::Wrapped { data_key, wrapped }
            }
            Use::Unwrap { wrapped } => {
                let plaintext = self.decrypt(Purpose::Wrap, wrapped, &[])?;
                let data_key = <[u8; 32]>::try_from(plaintext.as_slice()).map_err(|_| Error::CiphertextInvalid)?;
                Output::DataKey(Zeroizing::new(data_key))
            }
            Use::Sign { .. } | Use::Verify { .. } => return Ok(None),
        }))
    }

    fn encrypt(
        &self,
        purpose: Purpose,
        plaintext: &[u8],
        aad: &[u8],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; 12];
        fill(rng, &mut nonce)?;
        let header = Header { purpose, key_id: self.key_id, nonce };
        let mut body = plaintext.to_vec();
        let tag = Aes256Gcm::new(self.secret.into())
            .encrypt_in_place_detached(&nonce.into(), &header.aad(self.tenant, aad), &mut body)
            .map_err(|_| Error::InvalidInput("data that AES-GCM can take"))?;
        Ok([&header.to_bytes()[..], &body, &tag].concat())
    }

    fn decrypt(&self, purpose: Purpose, ciphertext: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (header, rest) = Header::read(ciphertext)?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Error::CiphertextInvalid)?;
        if header.purpose != purpose || header.key_id != self.key_id {
            return Err(Error::CiphertextInvalid);
        }
        let mut plaintext = Zeroizing::new(body.to_vec());
        Aes256Gcm::new(self.secret.into())
            .decrypt_in_place_detached(&header.nonce.into(), &header.aad(self.tenant, aad), &mut plaintext, tag.into())
            .map_err(|_| Error::CiphertextInvalid)?;
        Ok(plaintext)
    }
}

fn check_value(secret: &[u8; 32]) -> [u8; 3] {
    let mut block = aes::Block::default();
    aes::Aes256::new(secret.into()).encrypt_block(&mut block);
    let [a, b, c, ..]: [u8; 16] = block.into();
    [a, b, c]
}

fn possession_mac(secret: &[u8; 32], message: &[u8]) -> Result<[u8; 32], Error> {
    let mut key = Zeroizing::new([0; 32]);
    let expanded = hkdf::Hkdf::<Sha256>::new(None, secret).expand(POSSESSION_INFO, key.as_mut());
    expanded.map_err(|_| failed("HKDF failed"))?;
    let mac = <hmac::Hmac<Sha256> as hmac::Mac>::new_from_slice(key.as_ref()).map_err(|_| failed("HMAC failed"))?;
    Ok(mac.chain_update(message).finalize().into_bytes().into())
}

// === Signatures ===

fn sign_ed25519(key: &ed25519_dalek::SigningKey, digest: &[u8]) -> Result<Vec<u8>, Error> {
    let signature = key.sign_prehashed(Given::new(digest)?, None).map_err(|_| failed("signing failed"))?;
    Ok(signature.to_bytes().to_vec())
}

/// The nonce is that of RFC 6979: no random source to fail.
fn sign_p256(key: &p256::ecdsa::SigningKey, digest: &[u8]) -> Result<Vec<u8>, Error> {
    let signature: p256::ecdsa::Signature =
        key.sign_prehash(sha256_digest(digest)?).map_err(|_| failed("signing failed"))?;
    Ok(signature.to_der().as_bytes().to_vec())
}

/// Refuses an operation that is not the algorithm's.
///
/// # Errors
/// [`Error::OperationNotAllowed`].
pub fn check_operation(algorithm: Algorithm, operation: Operation) -> Result<(), Error> {
    let signs = matches!(operation, Operation::Sign | Operation::Verify);
    let fits = signs == (algorithm != Algorithm::Aes256Gcm);
    fits.then_some(()).ok_or(Error::OperationNotAllowed { algorithm, operation })
}

/// Refuses an operation that is not the algorithm's, and inputs that are too large or of the wrong length: what a store
/// looks at that hands them to a device.
///
/// # Errors
/// [`Error::OperationNotAllowed`], [`Error::TooLarge`], [`Error::InvalidInput`].
pub fn check_inputs(algorithm: Algorithm, asked: &Use<'_>) -> Result<(), Error> {
    check_operation(algorithm, asked.operation())?;
    match *asked {
        Use::Encrypt { plaintext, aad } => check_length(plaintext).and_then(|()| check_length(aad)),
        Use::Sign { digest } | Use::Verify { digest, .. } if algorithm == Algorithm::Ed25519 => {
            Given::new(digest).map(drop)
        }
        Use::Sign { digest } | Use::Verify { digest, .. } => sha256_digest(digest).map(drop),
        Use::Decrypt { .. } | Use::Wrap | Use::Unwrap { .. } => Ok(()),
    }
}

fn check_length(input: &[u8]) -> Result<(), Error> {
    let fits = input.len() <= USE_BYTES_MAX;
    fits.then_some(()).ok_or(Error::TooLarge)
}

fn sha256_digest(digest: &[u8]) -> Result<&[u8], Error> {
    if digest.len() == 32 { Ok(digest) } else { Err(Error::InvalidInput("a SHA-256 digest, 32 bytes")) }
}

pub(crate) fn fill(rng: &mut dyn CryptoRngCore, bytes: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(bytes).map_err(|error| Error::Storage(error.to_string().into()))
}

fn failed(what: &'static str) -> Error {
    Error::Storage(what.into())
}

// === Public keys ===

/// SubjectPublicKeyInfo up to the key's bytes: RFC 8410 for Ed25519, RFC 5480 for an uncompressed P-256 point.
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3,
    0x42, 0,
];

fn spki_ed25519(key: &ed25519_dalek::VerifyingKey) -> Vec<u8> {
    [&SPKI_ED25519[..], key.as_bytes()].concat()
}

fn spki_p256(key: &p256::ecdsa::VerifyingKey) -> Vec<u8> {
    [&SPKI_P256[..], key.to_encoded_point(false).as_bytes()].concat()
}

/// The public half of a key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// ECDSA on P-256.
    EcdsaP256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads it from SubjectPublicKeyInfo in DER, in the two forms that identities have; `None` for anything else.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        if let Some(key) = der.strip_prefix(&SPKI_ED25519) {
            let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
            return (!key.is_weak()).then_some(Self::Ed25519(key));
        }
        let point = der.strip_prefix(&SPKI_P256)?;
        let uncompressed = point.len() == 65;
        uncompressed.then(|| p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()).flatten().map(Self::EcdsaP256)
    }

    /// By what the key pair is recognised.
    pub fn identity(&self) -> KeyIdentity {
        KeyIdentity::PublicKey(Base64(match self {
            Self::Ed25519(key) => spki_ed25519(key),
            Self::EcdsaP256(key) => spki_p256(key),
        }))
    }

    /// Whether `signature` is one that [`Use::Sign`] gives for this digest. A digest of the wrong length has none.
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
                let (Ok(digest), Ok(signature)) = (sha256_digest(digest), p256::ecdsa::Signature::from_der(signature))
                else {
                    return false;
                };
                key.verify_prehash(digest, &signature).is_ok()
            }
        }
    }
}

/// Whether this is a pure Ed25519 signature, verified strictly.
pub(crate) fn verifies_pure(key: &ed25519_dalek::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    ed25519_dalek::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

/// Whether this is an ECDSA signature over the message's SHA-256.
pub(crate) fn verifies_message(key: &p256::ecdsa::VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

// === A digest that somebody else computed ===

/// A SHA-512 digest in the place of a hash in progress: Ed25519ph wants the latter, callers send the former.
#[derive(Clone)]
struct Given([u8; 64]);

impl Given {
    fn new(digest: &[u8]) -> Result<Self, Error> {
        digest.try_into().map(Self).map_err(|_| Error::InvalidInput("a SHA-512 digest, 64 bytes"))
    }
}

impl Default for Given {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for Given {}

impl OutputSizeUser for Given {
    type OutputSize = U64;
}

impl Update for Given {
    /// Nothing is hashed any more.
    fn update(&mut self, _: &[u8]) {}
}

impl FixedOutput for Given {
    fn finalize_into(self, out: &mut HashOutput<Self>) {
        out.copy_from_slice(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::TestRng;
    use sha2::Digest as _;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn material(algorithm: Algorithm, secret: &str) -> Material {
        Material::from_secret(algorithm, &hex(secret).try_into().unwrap()).unwrap()
    }

    fn perform(material: &Material, asked: &Use<'_>) -> Result<Output, Error> {
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        material.perform(TenantId::from_bytes([9; 32]), key_id, asked, &mut TestRng::new(1))
    }

    fn sign(material: &Material, digest: &[u8]) -> Vec<u8> {
        let Ok(Output::Signature(signature)) = perform(material, &Use::Sign { digest }) else { panic!("no signature") };
        signature
    }

    /// RFC 8032, 7.3: Ed25519ph of "abc".
    #[test]
    fn signs_the_ed25519ph_vector_of_rfc_8032() {
        let key = material(Algorithm::Ed25519, "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
        let KeyIdentity::PublicKey(der) = key.identity() else { panic!("no public key") };
        let public = "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf";
        assert!(data_encoding::HEXLOWER.encode(&der.0).starts_with(&format!("302a300506032b6570032100{public}")));
        let signature = sign(&key, &sha2::Sha512::digest(b"abc"));
        let wanted = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aa\
                      a10b8c61e636062aaad11c2a26083406";
        assert_eq!(data_encoding::HEXLOWER.encode(&signature), wanted);
    }

    /// RFC 6979, A.2.5: P-256, SHA-256, "sample".
    #[test]
    fn signs_the_p256_vector_of_rfc_6979() {
        let key = material(Algorithm::EcdsaP256, "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let KeyIdentity::PublicKey(der) = key.identity() else { panic!("no public key") };
        let wanted = "3059301306072a8648ce3d020106082a8648ce3d0301070342000460fed4ba255a9d31c961eb74c6356d68c049b8923b61\
                      fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
        assert_eq!(data_encoding::HEXLOWER.encode(&der.0), wanted);
        let signature = sign(&key, &sha2::Sha256::digest(b"sample"));
        let wanted = "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                      022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        assert_eq!(data_encoding::HEXLOWER.encode(&signature), wanted);
    }

    /// The block of zeros under the key of zeros, as every AES-256 test gives it: dc95c078a2408989ad48a21492842087.
    #[test]
    fn a_check_value_is_that_of_pkcs_11() {
        let identity = material(Algorithm::Aes256Gcm, &"00".repeat(32)).identity();
        assert_eq!(identity.to_string(), "kcv:dc95c0");
    }

    /// Golden bytes, checked once with another implementation: what is made today must be good for every later version.
    #[test]
    fn ciphertexts_and_proofs_of_version_1_are_these_bytes() {
        let key = material(Algorithm::Aes256Gcm, &"42".repeat(32));
        let Ok(Output::Ciphertext(ciphertext)) = perform(&key, &Use::Encrypt { plaintext: b"hush", aad: b"aad" })
        else {
            panic!("no ciphertext")
        };
        assert_eq!(
            data_encoding::HEXLOWER.encode(&ciphertext),
            "01010193000000007000800000000000000a814dd7b9784d57c15b9c297283801cb50fb45f574b6da3194ba07d89cea5515c"
        );
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        let proof = Proof::make(&key, TenantId::from_bytes([9; 32]), key_id, &[7; 16]).unwrap();
        let Proof::Mac { mac, check_value } = proof else { panic!("no mac") };
        assert_eq!(
            data_encoding::HEXLOWER.encode(&mac),
            "7508d23a45c68ffcc9a5946042788b34db8d73f0e55eba58e368d40f6e96384b"
        );
        assert_eq!(data_encoding::HEXLOWER.encode(&check_value), "bfb6d8");
    }

    #[test]
    fn zero_and_the_group_order_are_no_p256_scalars() {
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        for bad in [&"00".repeat(32), order, &"ff".repeat(32)] {
            assert!(Material::from_secret(Algorithm::EcdsaP256, &hex(bad).try_into().unwrap()).is_none());
        }
    }

    #[test]
    fn a_secret_reads_back_and_does_not_show_itself() {
        for algorithm in Algorithm::ALL {
            let key = Material::generate(algorithm, &mut TestRng::new(5)).unwrap();
            let again = Material::from_secret(algorithm, &key.secret()).unwrap();
            assert_eq!(again.identity(), key.identity());
            assert_eq!(format!("{key:?}"), format!("Material({algorithm})"));
        }
        let use_ = Use::Encrypt { plaintext: b"hush", aad: b"" };
        assert_eq!(format!("{use_:?}"), "Use(encrypt)");
        assert_eq!(format!("{:?}", Output::DataKey(Zeroizing::new([1; 32]))), "DataKey");
    }

    #[test]
    fn public_keys_are_read_in_their_own_form_only() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let key = Material::generate(algorithm, &mut TestRng::new(5)).unwrap();
            let KeyIdentity::PublicKey(der) = key.identity() else { panic!("no public key") };
            assert!(PublicKey::from_spki(&der.0).is_some());
            assert!(PublicKey::from_spki(&der.0[1..]).is_none());
            assert!(PublicKey::from_spki(&der.0[..der.0.len() - 1]).is_none());
            assert!(PublicKey::from_spki(&[&der.0[..], &[0]].concat()).is_none());
        }
        let low_order = [&SPKI_ED25519[..], &[0; 32]].concat();
        assert!(PublicKey::from_spki(&low_order).is_none(), "a weak key verifies too much");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, aad: Vec<u8>) {
            let key = material(Algorithm::Aes256Gcm, &"42".repeat(32));
            for asked in [Use::Decrypt { ciphertext: &bytes, aad: &aad }, Use::Unwrap { wrapped: &bytes }] {
                proptest::prop_assert!(matches!(perform(&key, &asked), Err(Error::CiphertextInvalid)));
            }
            proptest::prop_assert!(PublicKey::from_spki(&bytes).is_none());
        }
    }
}

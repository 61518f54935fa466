//! Key material, for stores that hold its bytes: what each algorithm computes, and nothing else.
//!
//! The secret that a store keeps is the AES key, the Ed25519 seed (RFC 8032, 5.1.5) or the ML-DSA seed (FIPS 204), 32 bytes
//! each; the scalar (big-endian) of 32 or 48 bytes; an RSA key in PKCS #8; the ML-KEM decapsulation key (FIPS 203), 2,400
//! bytes. It is zeroized when dropped.
//!
//! RSA and the lattice algorithms are AWS-LC's, which draws from its own random source: what is said of randomness as an
//! argument holds for the others.

mod lattice;
mod public;
mod rsa;

use aes::cipher::BlockEncrypt as _;
use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use aws_lc_rs::rsa::KeySize;
use hmac::Mac as _;
use model::command::USE_BYTES_MAX;
use model::key::{KeyIdentity, Operation};
use model::text::Base64;
use model::{Algorithm, KeyId, TenantId};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use rand_core::CryptoRngCore;
use sha2::digest::typenum::U64;
use sha2::digest::{FixedOutput, HashMarker, Output as HashOutput, OutputSizeUser, Update};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use self::lattice::{MlDsa, MlKem};
pub use self::public::PublicKey;
use self::rsa::Rsa;
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
    EcdsaP384(p384::ecdsa::SigningKey),
    Rsa(Rsa),
    MlDsa65(MlDsa),
    MlKem768(MlKem),
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
    /// [`Error::Storage`] where the random source fails; [`Error::InvalidInput`] for [`Algorithm::Other`], of which nothing
    /// can be made.
    pub fn generate(algorithm: Algorithm, rng: &mut dyn CryptoRngCore) -> Result<Self, Error> {
        let bytes = match algorithm {
            Algorithm::RsaPss3072 | Algorithm::RsaOaep3072 => {
                return Rsa::generate(algorithm, KeySize::Rsa3072).map(Secret::Rsa).map(Self);
            }
            Algorithm::RsaPss4096 | Algorithm::RsaOaep4096 => {
                return Rsa::generate(algorithm, KeySize::Rsa4096).map(Secret::Rsa).map(Self);
            }
            Algorithm::MlKem768 => return MlKem::generate().map(Secret::MlKem768).map(Self),
            Algorithm::Other => return Err(Error::InvalidInput("name the algorithm of the key")),
            Algorithm::EcdsaP384 => 48,
            Algorithm::Aes256Gcm | Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::MlDsa65 => 32,
        };
        loop {
            let mut secret = Zeroizing::new(vec![0; bytes]);
            fill(rng, secret.as_mut())?;
            // For P-256, one draw in 2^32 is no scalar (FIPS 186-5, A.2.2: draw again).
            if let Some(material) = Self::from_secret(algorithm, &secret) {
                return Ok(material);
            }
        }
    }

    /// Takes a secret as it was stored; `None` where it is none of this algorithm.
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            Algorithm::Aes256Gcm => Secret::Aes256(Zeroizing::new(secret.try_into().ok()?)),
            Algorithm::Ed25519 => Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(secret.try_into().ok()?)),
            Algorithm::EcdsaP256 => Secret::EcdsaP256(p256::ecdsa::SigningKey::from_slice(secret).ok()?),
            Algorithm::EcdsaP384 => Secret::EcdsaP384(p384::ecdsa::SigningKey::from_slice(secret).ok()?),
            Algorithm::RsaPss3072 | Algorithm::RsaPss4096 | Algorithm::RsaOaep3072 | Algorithm::RsaOaep4096 => {
                Secret::Rsa(Rsa::from_pkcs8(algorithm, secret)?)
            }
            Algorithm::MlDsa65 => Secret::MlDsa65(MlDsa::from_seed(secret.try_into().ok()?)?),
            Algorithm::MlKem768 => Secret::MlKem768(MlKem::from_bytes(secret)?),
            Algorithm::Other => return None,
        }))
    }

    /// The secret, to be wrapped and stored.
    pub fn secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match &self.0 {
            Secret::Aes256(secret) => secret.to_vec(),
            Secret::Ed25519(key) => Zeroizing::new(key.to_bytes()).to_vec(),
            Secret::EcdsaP256(key) => key.to_bytes().to_vec(),
            Secret::EcdsaP384(key) => key.to_bytes().to_vec(),
            Secret::Rsa(key) => key.pkcs8().to_vec(),
            Secret::MlDsa65(key) => key.seed().to_vec(),
            Secret::MlKem768(key) => key.bytes().to_vec(),
        })
    }

    /// What it is.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Secret::Aes256(_) => Algorithm::Aes256Gcm,
            Secret::Ed25519(_) => Algorithm::Ed25519,
            Secret::EcdsaP256(_) => Algorithm::EcdsaP256,
            Secret::EcdsaP384(_) => Algorithm::EcdsaP384,
            Secret::Rsa(key) => key.algorithm,
            Secret::MlDsa65(_) => Algorithm::MlDsa65,
            Secret::MlKem768(_) => Algorithm::MlKem768,
        }
    }

    /// By what the key is recognised.
    ///
    /// The check value of an AES key is three bytes of the block of zeros encrypted, as `CKA_CHECK_VALUE` is. That block
    /// is also GCM's hash subkey: publishing the check value gives away 24 of its 128 bits. What is left makes a forgery
    /// no likelier than about one in 2^94 a try, at the longest data that is taken here (SP 800-38D, appendix C).
    pub fn identity(&self) -> KeyIdentity {
        match (&self.0, self.public()) {
            (Secret::Aes256(secret), _) => KeyIdentity::CheckValue(Base64(check_value(secret).to_vec())),
            (_, Some(public)) => public.identity(),
            // A pair whose public half can't be read is recognised by nothing: it was found to be one when it was made.
            (_, None) => KeyIdentity::PublicKey(Base64(Vec::new())),
        }
    }

    /// The public half of a key pair.
    fn public(&self) -> Option<PublicKey> {
        Some(match &self.0 {
            Secret::Aes256(_) => return None,
            Secret::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Secret::EcdsaP256(key) => PublicKey::EcdsaP256(*key.verifying_key()),
            Secret::EcdsaP384(key) => PublicKey::EcdsaP384(*key.verifying_key()),
            Secret::Rsa(key) => PublicKey::Rsa(key.spki()),
            Secret::MlDsa65(key) => PublicKey::MlDsa65(key.public().to_vec()),
            Secret::MlKem768(key) => PublicKey::MlKem768(key.public().to_vec()),
        })
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
        check_inputs(self.algorithm(), asked)?;
        let refused = || Error::OperationNotAllowed { algorithm: self.algorithm(), operation: asked.operation() };
        if let Secret::Aes256(secret) = &self.0 {
            return Gcm { secret, tenant, key_id }.perform(asked, rng)?.ok_or_else(refused);
        }
        // The operation is one of the algorithm's: what could else sign and wrap with one RSA key was refused above.
        let public = self.public().ok_or_else(refused)?;
        match *asked {
            Use::Sign { digest } => self.sign(digest)?.map(Output::Signature).ok_or_else(refused),
            Use::Verify { digest, signature } => Ok(Output::Verified(public.verifies(digest, signature))),
            Use::Wrap => public.wrap(rng)?.ok_or_else(refused),
            Use::Unwrap { wrapped } => match &self.0 {
                Secret::Rsa(key) => key.unwrap(wrapped).map(Output::DataKey),
                Secret::MlKem768(key) => key.unwrap(wrapped).map(Output::DataKey),
                _ => Err(refused()),
            },
            Use::Encrypt { .. } | Use::Decrypt { .. } => Err(refused()),
        }
    }

    /// A signature over a digest; `None` where the key signs nothing.
    fn sign(&self, digest: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(match &self.0 {
            Secret::Ed25519(key) => sign_ed25519(key, digest)?,
            Secret::EcdsaP256(key) => {
                // The nonces are those of RFC 6979: no random source to fail.
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(digest).map_err(|_| failed("signing failed"))?;
                signature.to_der().as_bytes().to_vec()
            }
            Secret::EcdsaP384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(digest).map_err(|_| failed("signing failed"))?;
                signature.to_der().as_bytes().to_vec()
            }
            Secret::Rsa(key) => key.sign(digest)?,
            Secret::MlDsa65(key) => key.sign(digest)?,
            Secret::Aes256(_) | Secret::MlKem768(_) => return Ok(None),
        }))
    }

    /// A proof of possession over a message of [`crate::possession::message`].
    pub(crate) fn prove(&self, message: &[u8]) -> Result<Proof, Error> {
        Ok(match &self.0 {
            Secret::Ed25519(key) => Proof::Signature(key.sign(message).to_bytes().to_vec()),
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Proof::Signature(signature.to_der().as_bytes().to_vec())
            }
            Secret::EcdsaP384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                Proof::Signature(signature.to_der().as_bytes().to_vec())
            }
            Secret::Rsa(key) => Proof::Signature(key.sign(&Sha256::digest(message))?),
            Secret::MlDsa65(key) => Proof::Signature(key.sign(message)?),
            Secret::MlKem768(key) => {
                Proof::Mac { mac: possession_mac(key.bytes(), message)?, check_value: self.identity().check_value() }
            }
            Secret::Aes256(secret) => {
                Proof::Mac { mac: possession_mac(secret.as_ref(), message)?, check_value: check_value(secret) }
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

fn possession_mac(secret: &[u8], message: &[u8]) -> Result<[u8; 32], Error> {
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

/// Refuses an operation that is not the algorithm's.
///
/// # Errors
/// [`Error::OperationNotAllowed`].
pub fn check_operation(algorithm: Algorithm, operation: Operation) -> Result<(), Error> {
    let fits = algorithm.operations().contains(&operation);
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
        Use::Sign { digest } | Use::Verify { digest, .. } => check_digest(algorithm, digest),
        Use::Decrypt { .. } | Use::Wrap | Use::Unwrap { .. } => Ok(()),
    }
}

fn check_length(input: &[u8]) -> Result<(), Error> {
    let fits = input.len() <= USE_BYTES_MAX;
    fits.then_some(()).ok_or(Error::TooLarge)
}

fn check_digest(algorithm: Algorithm, digest: &[u8]) -> Result<(), Error> {
    if algorithm.digest_bytes() == Some(digest.len()) {
        return Ok(());
    }
    Err(Error::InvalidInput(match algorithm.digest_bytes() {
        Some(48) => "a SHA-384 digest, 48 bytes",
        Some(64) => "a SHA-512 digest, 64 bytes",
        _ => "a SHA-256 digest, 32 bytes",
    }))
}

pub(crate) fn fill(rng: &mut dyn CryptoRngCore, bytes: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(bytes).map_err(|error| Error::Storage(error.to_string().into()))
}

fn failed(what: &'static str) -> Error {
    Error::Storage(what.into())
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

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn material(algorithm: Algorithm, secret: &str) -> Material {
        Material::from_secret(algorithm, &hex(secret)).unwrap()
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

    /// RFC 6979, A.2.6: P-384, SHA-384, "sample".
    #[test]
    fn signs_the_p384_vector_of_rfc_6979() {
        let secret = "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5";
        let key = material(Algorithm::EcdsaP384, secret);
        let signature = sign(&key, &sha2::Sha384::digest(b"sample"));
        let wanted = "306602310094edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80\
                      fabe4602310099ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71\
                      a38628ac8";
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
            assert!(Material::from_secret(Algorithm::EcdsaP256, &hex(bad)).is_none());
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
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.spki().is_some()) {
            let key = Material::generate(algorithm, &mut TestRng::new(5)).unwrap();
            let KeyIdentity::PublicKey(der) = key.identity() else { panic!("no public key") };
            assert!(PublicKey::from_spki(&der.0).is_some());
            assert!(PublicKey::from_spki(&der.0[1..]).is_none());
            assert!(PublicKey::from_spki(&der.0[..der.0.len() - 1]).is_none());
            assert!(PublicKey::from_spki(&[&der.0[..], &[0]].concat()).is_none());
        }
        let low_order = Algorithm::Ed25519.spki().unwrap().around(&[0; 32]);
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

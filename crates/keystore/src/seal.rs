//! HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305: how inputs reach a store, and
//! results the person who asked, without the bus reading along.
//!
//! Base mode does not say who sealed. That is the business of the signed command: it carries the sealed input, and names
//! the one-time key that the result is sealed to.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use model::command::Sealed;
use model::text::Base64;
use model::{CommandId, KeyId, TenantId};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::Error;

type Kem = X25519HkdfSha256;
type PrivateKey = <Kem as hpke::Kem>::PrivateKey;

/// Which way sealed bytes go. Part of what they are bound to, so that an input can't be sent back as a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To a store, for a use.
    Input,
    /// To the one who asked for the use.
    Result,
}

/// The binding parameter (`info`) of a use's input or result: which way it goes, and for which command on which key of
/// which tenant. Fixed lengths, so no two sets read the same.
pub fn info(purpose: Purpose, tenant: TenantId, key_id: KeyId, command: CommandId) -> Vec<u8> {
    let label: &[u8] = match purpose {
        Purpose::Input => b"keylatch use input v1 ",
        Purpose::Result => b"keylatch use result v1",
    };
    [label, tenant.as_bytes(), key_id.as_bytes(), command.as_bytes()].concat()
}

/// Seals bytes to an X25519 public key.
///
/// # Errors
/// [`Error::InvalidInput`] where `to` is no usable public key.
pub fn seal(
    to: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRngCore,
) -> Result<Sealed, Error> {
    const WANTED: Error = Error::InvalidInput("an X25519 public key of 32 bytes that is not of low order");
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(to).map_err(|_| WANTED)?;
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &to,
        info,
        plaintext,
        aad,
        &mut Rng(rng),
    )
    .map_err(|_| WANTED)?;
    Ok(Sealed { enc: Base64(enc.to_bytes().to_vec()), ciphertext: Base64(ciphertext) })
}

/// Opens what was sealed with these binding parameters.
///
/// # Errors
/// [`Error::SealedInvalid`], whatever is wrong.
pub fn open(secret: &SecretKey, info: &[u8], aad: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&sealed.enc.0).map_err(|_| Error::SealedInvalid)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &secret.0,
        &enc,
        info,
        &sealed.ciphertext.0,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| Error::SealedInvalid)
}

/// An X25519 private key: a store's seal key, or the one-time key for one result. Zeroized when dropped.
pub struct SecretKey(PrivateKey);

impl SecretKey {
    /// Makes a new one.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        Self(Kem::gen_keypair_with_rng(&mut Rng(rng)).0)
    }

    /// Takes one as [`SecretKey::to_bytes`] gave it; `None` for any other form. X25519 ignores five bits of a private key
    /// (RFC 7748, section 5): without this, a stored key that was changed there would pass for whole.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let secret = Self(PrivateKey::from_bytes(bytes).ok()?);
        (*secret.to_bytes() == *bytes).then_some(secret)
    }

    /// Its bytes, to be stored.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.0.write_exact(bytes.as_mut());
        bytes
    }

    /// The public key to seal to.
    pub fn public(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        Kem::sk_to_pk(&self.0).write_exact(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for SecretKey {
    /// Nothing of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

/// The caller's random source, in the dress that hpke wants. A source that fails panics here, as `fill_bytes` does.
pub(crate) struct Rng<'a>(pub(crate) &'a mut dyn CryptoRngCore);

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::TestRng;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// A source that gives the bytes it was given, once.
    struct Once(Vec<u8>);

    impl rand_core::RngCore for Once {
        fn next_u32(&mut self) -> u32 {
            panic!("not asked for")
        }
        fn next_u64(&mut self) -> u64 {
            panic!("not asked for")
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&std::mem::take(&mut self.0));
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
            self.fill_bytes(bytes);
            Ok(())
        }
    }

    impl rand_core::CryptoRng for Once {}

    /// RFC 9180, A.2.1 and A.2.1.1, sequence number 0: both sides, byte for byte.
    #[test]
    fn seals_and_opens_the_vector_of_rfc_9180() {
        let ikm_e = hex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let ikm_r = hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df");
        let info = hex("4f6465206f6e2061204772656369616e2055726e");
        let aad = hex("436f756e742d30");
        let plaintext = hex("4265617574792069732074727574682c20747275746820626561757479");

        let secret = SecretKey::generate(&mut Once(ikm_r));
        assert_eq!(secret.public()[..], hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"));
        let sealed = seal(&secret.public(), &info, &aad, &plaintext, &mut Once(ikm_e)).unwrap();
        assert_eq!(sealed.enc.0, hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"));
        let ciphertext = "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28";
        assert_eq!(sealed.ciphertext.0, hex(ciphertext));
        assert_eq!(*open(&secret, &info, &aad, &sealed).unwrap(), plaintext);
    }

    #[test]
    fn opens_only_what_was_sealed_with_the_same_parameters() {
        let rng = &mut TestRng::new(1);
        let secret = SecretKey::generate(rng);
        let sealed = seal(&secret.public(), b"info", b"aad", b"hush", rng).unwrap();
        assert_eq!(**open(&secret, b"info", b"aad", &sealed).unwrap(), *b"hush");

        let refused = |secret: &SecretKey, info: &[u8], aad: &[u8], sealed: &Sealed| {
            assert!(matches!(open(secret, info, aad, sealed), Err(Error::SealedInvalid)));
        };
        refused(&SecretKey::generate(rng), b"info", b"aad", &sealed);
        refused(&secret, b"infp", b"aad", &sealed);
        refused(&secret, b"info", b"aae", &sealed);
        for at in 0..sealed.enc.0.len() {
            let mut changed = sealed.clone();
            changed.enc.0[at] ^= 1;
            refused(&secret, b"info", b"aad", &changed);
        }
        for at in 0..sealed.ciphertext.0.len() {
            let mut changed = sealed.clone();
            changed.ciphertext.0[at] ^= 1;
            refused(&secret, b"info", b"aad", &changed);
        }
        for cut in [0, 1, 15, 16, 19] {
            let mut changed = sealed.clone();
            changed.ciphertext.0.truncate(cut);
            refused(&secret, b"info", b"aad", &changed);
        }
        let mut changed = sealed;
        changed.enc.0.pop();
        refused(&secret, b"info", b"aad", &changed);
    }

    #[test]
    fn rejects_recipients_that_are_no_keys() {
        for to in [&[][..], &[1; 31], &[1; 33], &[0; 32]] {
            let refused = seal(to, b"", b"", b"", &mut TestRng::new(1));
            assert!(matches!(refused, Err(Error::InvalidInput(_))), "{}", to.len());
        }
    }

    #[test]
    fn info_tells_apart_direction_tenant_key_and_command() {
        let (tenant, key_id) = (TenantId::from_bytes([1; 32]), "01930000-0000-7000-8000-00000000000a".parse().unwrap());
        let command = "01930000-0000-7000-8000-00000000000b".parse().unwrap();
        let input = info(Purpose::Input, tenant, key_id, command);
        let result = info(Purpose::Result, tenant, key_id, command);
        assert_ne!(input, result);
        assert_eq!((input.len(), result.len()), (86, 86));
        assert!(input.starts_with(b"keylatch use input v1 \x01\x01"));
    }

    /// X25519 ignores five bits of a private key; a stored key with one of them changed is damaged all the same.
    #[test]
    fn a_stored_key_with_any_bit_changed_is_another_or_none() {
        let secret = SecretKey::generate(&mut TestRng::new(1));
        let same: Vec<usize> = (0..256)
            .filter(|bit| {
                let mut changed = *secret.to_bytes();
                changed[bit / 8] ^= 1 << (bit % 8);
                SecretKey::from_bytes(&changed).is_some_and(|other| other.public() == secret.public())
            })
            .collect();
        assert_eq!(same, [0; 0]);
    }

    #[test]
    fn a_secret_key_reads_back_and_does_not_show_itself() {
        let secret = SecretKey::generate(&mut TestRng::new(1));
        let again = SecretKey::from_bytes(&secret.to_bytes()).unwrap();
        assert_eq!(again.public(), secret.public());
        assert_eq!(format!("{secret:?}"), "SecretKey");
    }
}

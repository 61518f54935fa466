//! What a key shows of itself before it may be used: its identity, and that it is here.
//!
//! A pre-active object has no usage on and none can be turned on. So it is wrapped, under the transport key, and unwrapped
//! into *one session of this process* on the active token, with just the usage that a proof takes; nothing on either token
//! changes, and the object is gone with the session. An object on the active token is copied into a session likewise.

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::ekdf::AesCbcDeriveParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use keystore::Proof;
use keystore::material::PublicKey;
use model::Algorithm;
use model::event::Inventory;
use model::key::KeyIdentity;
use model::text::Base64;
use rand_core::{OsRng, RngCore as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::lock::Mode;
use crate::object::{self, Object};
use crate::store::Pkcs11Store;
use crate::token::Work;
use crate::{Error, pair};

/// What the key of a proof's MAC is derived from: SHA-256 of this text, encrypted in CBC under the key with an IV of zeros
/// (`CKM_AES_CBC_ENCRYPT_DATA`).
const POSSESSION_LABEL: &[u8] = b"keylatch possession v1";

/// How messages begin by which the store recognises its keys.
const RECOGNITION: &[u8] = b"keylatch recognises a key of its own";

impl Pkcs11Store {
    /// Proves possession of the key in an object, whatever its state.
    pub(crate) fn prove_object(
        &self,
        algorithm: Algorithm,
        object: Object,
        identity: &KeyIdentity,
        message: &[u8],
    ) -> Result<Proof, Error> {
        let proof = match algorithm {
            Algorithm::Aes256Gcm => self.in_passing(algorithm, object, |work, key| mac(work, key, message))?,
            _ => {
                let digest = pair::digest(algorithm, message);
                let sign = |work: &Work<'_>, key| pair::sign(&work.session, algorithm, key, &digest);
                Proof::Signature(self.in_passing(algorithm, object, sign)?)
            }
        };
        if fits(&proof, algorithm, identity, message) { Ok(proof) } else { Err(self.exchanged(object)) }
    }

    /// Whether an object has the key of this identity.
    ///
    /// # Errors
    /// [`Error::Exchanged`] where it has another.
    pub(crate) fn recognise(&self, algorithm: Algorithm, object: Object, identity: &KeyIdentity) -> Result<(), Error> {
        self.prove_object(algorithm, object, identity, &recognition()?).map(drop)
    }

    /// The check value of a secret key, computed anew.
    pub(crate) fn check_value(&self, object: Object) -> Result<KeyIdentity, Error> {
        let value = self.in_passing(Algorithm::Aes256Gcm, object, check_value)?;
        Ok(KeyIdentity::CheckValue(Base64(value.to_vec())))
    }

    fn exchanged(&self, object: Object) -> Error {
        Error::Exchanged { label: self.token(object.inventory).label().to_owned(), object: object.id.to_string() }
    }

    /// Does something with a passing copy of an object, on the active token.
    pub(crate) fn in_passing<T>(
        &self,
        algorithm: Algorithm,
        object: Object,
        work: impl Fn(&Work<'_>, ObjectHandle) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Error> {
        match object.inventory {
            Inventory::PreActive => {
                let wrapped = self.wrap(object)?;
                let template = object::passing_through(algorithm);
                self.active.work(Mode::Shared, |at| {
                    at.on(self.index.meta.transport_in, "proving a key", |transport| {
                        let key = at.session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &wrapped, &template)?;
                        let done = work(at, key);
                        at.session.destroy_object(key)?;
                        done
                    })
                })
            }
            Inventory::Active => {
                let template = object::passing(algorithm);
                self.active.work(Mode::Shared, |at| {
                    at.on(object.id, "proving a key", |original| {
                        let key = at.session.copy_object(original, &template)?;
                        let done = work(at, key);
                        at.session.destroy_object(key)?;
                        done
                    })
                })
            }
        }
    }

    /// A pre-active key, wrapped under the transport key.
    pub(crate) fn wrap(&self, object: Object) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.pre_active.work(Mode::Shared, |work| {
            let transport = work.handle_of(self.index.meta.transport_out)?;
            work.on(object.id, "wrapping a key", |key| {
                work.session.wrap_key(&Mechanism::AesKeyWrapPad, transport, key).map(Zeroizing::new)
            })
        })
    }
}

/// A message that no key was asked about before. It says that it is nothing else, and nobody gets to see what answers it.
pub(crate) fn recognition() -> Result<Vec<u8>, Error> {
    let mut nonce = [0; 16];
    OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
    Ok([RECOGNITION, b" ", &nonce].concat())
}

/// Whether a proof is one of the key of this identity. Of a secret key it is the check value alone that says so.
pub(crate) fn fits(proof: &Proof, algorithm: Algorithm, identity: &KeyIdentity, message: &[u8]) -> bool {
    match (proof, identity) {
        (Proof::Mac { check_value, .. }, KeyIdentity::CheckValue(known)) => check_value[..] == known.0,
        (Proof::Signature(signature), KeyIdentity::PublicKey(der)) => {
            PublicKey::from_spki(&der.0).is_some_and(|key| key.verifies(&pair::digest(algorithm, message), signature))
        }
        _ => false,
    }
}

/// Whether an object on the active token has the key of this identity, and is whole.
pub(crate) fn is_of(work: &Work<'_>, algorithm: Algorithm, original: ObjectHandle, identity: &KeyIdentity) -> bool {
    let message = RECOGNITION;
    shown(work, algorithm, original, message).is_some_and(|proof| fits(&proof, algorithm, identity, message))
}

/// The proof that an object gives where it is; `None` where it gives none.
pub(crate) fn shown(work: &Work<'_>, algorithm: Algorithm, original: ObjectHandle, message: &[u8]) -> Option<Proof> {
    let key = work.session.copy_object(original, &object::passing(algorithm)).ok()?;
    let proof = match algorithm {
        Algorithm::Aes256Gcm => mac(work, key, message),
        _ => pair::sign(&work.session, algorithm, key, &pair::digest(algorithm, message)).map(Proof::Signature),
    };
    work.session.destroy_object(key).ok()?;
    proof.ok()
}

/// The first three bytes of the block of zeros, encrypted.
fn check_value(work: &Work<'_>, key: ObjectHandle) -> Result<[u8; 3], Pkcs11Error> {
    let block = work.session.encrypt(&Mechanism::AesEcb, key, &[0; 16])?;
    let value = block.first_chunk::<3>().ok_or(Pkcs11Error::InvalidValue)?;
    Ok(*value)
}

fn mac(work: &Work<'_>, key: ObjectHandle, message: &[u8]) -> Result<Proof, Pkcs11Error> {
    let check_value = check_value(work, key)?;
    let data = Sha256::digest(POSSESSION_LABEL);
    let mechanism = Mechanism::AesCbcEncryptData(AesCbcDeriveParams::new([0; 16], &data));
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::ValueLen(32.into()),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Sign(true),
        Attribute::Verify(false),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    let derived = work.session.derive_key(&mechanism, key, &template)?;
    let mac = work.session.sign(&Mechanism::Sha256Hmac, derived, message);
    work.session.destroy_object(derived)?;
    let mac = mac?.try_into().map_err(|_| Pkcs11Error::InvalidValue)?;
    Ok(Proof::Mac { mac, check_value })
}

//! Which key an object is that nobody knows: a copy under another name and label. A copy of it in a session is asked for a
//! proof over a message that is new; what was made so that it can't be copied is asked as it is, and answers if it is usable.
//! What is answered is compared with our keys: a pair is known by its public half, a secret key when the key itself gives the
//! same answer.

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use keystore::Proof;
use model::key::{CHECK_VALUE_BYTES, KeyIdentity};
use model::{Algorithm, KeyId, TenantId};
use sha2::{Digest as _, Sha256};

use crate::index::Row;
use crate::lock::Mode;
use crate::store::Pkcs11Store;
use crate::survey::Seen;
use crate::token::Work;
use crate::{Error, pair, proof};

/// Of AES.
const BLOCK_BYTES: usize = 16;

/// What an object answers.
enum Shown {
    Nothing,
    Proof(Proof),
    /// Of a secret key that is asked as it is: its check value, and the block of the message encrypted.
    Block {
        check_value: Vec<u8>,
        encrypted: Vec<u8>,
    },
}

impl Pkcs11Store {
    /// For each of these objects the key of ours that it is.
    pub(crate) fn kin(&self, unknown: &[Seen]) -> Result<Vec<Option<(TenantId, KeyId)>>, Error> {
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let message = proof::recognition()?;
        let shown: Vec<Shown> =
            unknown.iter().map(|seen| self.ask_unknown(seen, &message)).collect::<Result<_, _>>()?;
        let mut kin = vec![None; shown.len()];
        self.index.walk(None, |tenant, key_id, row| {
            for (shown, kin) in shown.iter().zip(&mut kin).filter(|(_, kin)| kin.is_none()) {
                *kin = self.is_the_key(shown, &row, &message)?.then_some((tenant, key_id));
            }
            Ok(true)
        })?;
        Ok(kin)
    }

    fn ask_unknown(&self, seen: &Seen, message: &[u8]) -> Result<Shown, Error> {
        self.token(seen.inventory).work(Mode::Shared, |work| {
            let found = work.find(&[Attribute::Token(true), Attribute::Id(seen.id.clone())])?;
            Ok(found.first().map(|handle| show(work, *handle, message)).unwrap_or(Shown::Nothing))
        })
    }

    fn is_the_key(&self, shown: &Shown, row: &Row, message: &[u8]) -> Result<bool, Error> {
        let algorithm = row.algorithm;
        let same = match (&row.identity, shown) {
            (KeyIdentity::PublicKey(_), Shown::Proof(proof)) => {
                Ok(proof::fits(proof, algorithm, &row.identity, message))
            }
            (KeyIdentity::CheckValue(known), shown) if shown.check_value() == Some(known.0.as_slice()) => {
                let Some(object) = row.object else { return Ok(false) };
                match shown {
                    Shown::Proof(theirs) => {
                        self.prove_object(algorithm, object, &row.identity, message).map(|ours| ours == *theirs)
                    }
                    Shown::Block { encrypted, .. } => {
                        let ours = |work: &Work<'_>, key| encrypt(work, key, &block(message));
                        self.in_passing(algorithm, object, ours).map(|ours| ours == *encrypted)
                    }
                    Shown::Nothing => Ok(false),
                }
            }
            _ => Ok(false),
        };
        match same {
            // The key itself is not there to be compared with: what has its check value may be all that is left of it.
            Err(Error::Missing { .. } | Error::Exchanged { .. }) => Ok(true),
            same => same,
        }
    }
}

impl Shown {
    fn check_value(&self) -> Option<&[u8]> {
        match self {
            Self::Proof(Proof::Mac { check_value, .. }) => Some(check_value),
            Self::Block { check_value, .. } => Some(check_value),
            Self::Proof(Proof::Signature(_)) | Self::Nothing => None,
        }
    }
}

fn show(work: &Work<'_>, handle: ObjectHandle, message: &[u8]) -> Shown {
    let read = work.session.get_attributes(handle, &[AttributeType::KeyType]).unwrap_or_default();
    let tried: &[Algorithm] = match read[..] {
        [Attribute::KeyType(KeyType::AES)] => &[Algorithm::Aes256Gcm],
        [Attribute::KeyType(KeyType::EC)] => &[Algorithm::EcdsaP256, Algorithm::EcdsaP384],
        // Both lengths sign alike.
        [Attribute::KeyType(KeyType::RSA)] => &[Algorithm::RsaPss3072],
        _ => &[],
    };
    let shown = |algorithm: &Algorithm| match proof::shown(work, *algorithm, handle, message) {
        Some(proof) => Some(Shown::Proof(proof)),
        None => show_as_it_is(work, *algorithm, handle, message).ok(),
    };
    tried.iter().find_map(shown).unwrap_or(Shown::Nothing)
}

fn show_as_it_is(
    work: &Work<'_>,
    algorithm: Algorithm,
    handle: ObjectHandle,
    message: &[u8],
) -> Result<Shown, Pkcs11Error> {
    if algorithm != Algorithm::Aes256Gcm {
        let digest = pair::digest(algorithm, message);
        return pair::sign(&work.session, algorithm, handle, &digest).map(|it| Shown::Proof(Proof::Signature(it)));
    }
    let mut check_value = encrypt(work, handle, &[0; BLOCK_BYTES])?;
    check_value.truncate(CHECK_VALUE_BYTES);
    Ok(Shown::Block { check_value, encrypted: encrypt(work, handle, &block(message))? })
}

fn encrypt(work: &Work<'_>, key: ObjectHandle, block: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
    work.session.encrypt(&Mechanism::AesEcb, key, block)
}

/// A block that is new where the message is.
fn block(message: &[u8]) -> Vec<u8> {
    Sha256::digest(message).into_iter().take(BLOCK_BYTES).collect()
}

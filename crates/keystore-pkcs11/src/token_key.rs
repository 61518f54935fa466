//! One AES-256 key on a token, for whoever has something to keep under it: it encrypts and decrypts there, and never leaves.

use std::path::Path;

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use model::Digest;
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::Error;
use crate::config::TokenConfig;
use crate::lock::Mode;
use crate::store::{gcm, may_mean_invalid};
use crate::token::{Token, Work};

const NONCE_BYTES: usize = 12;
const KEY_BYTES: u64 = 32;

/// The key, found.
pub struct TokenKey {
    token: Token,
    label: String,
    id: Digest,
}

impl TokenKey {
    /// The one secret AES key of this label on a token: of 32 bytes, sensitive, not extractable, for encrypting and
    /// decrypting. `locks` is the folder of [`crate::Config::locks`].
    ///
    /// # Errors
    /// [`Error::Module`], [`Error::NoToken`], [`Error::PinRefused`]; [`Error::Missing`] where there is none, or several;
    /// [`Error::Unfit`] where it is of another kind.
    pub fn find(module: &Path, locks: &Path, token: &TokenConfig, label: &str) -> Result<Self, Error> {
        let token = Token::at(module, locks, token, None)?;
        let (info, _) = token.info()?;
        let found = Self { token, label: label.to_owned(), id: Digest::of(b"") };
        let id = found.work(|work, key| found.look(work, key))?;
        // The same key on the same token, and no other: whoever makes one in its place gives it another CKA_ID.
        let parts: [&[u8]; 4] = [
            b"keylatch token key id v1 ",
            info.serial_number().as_bytes(),
            b" ",
            &[label.as_bytes(), b" ", &id].concat(),
        ];
        let id = Digest::of(&parts.concat());
        Ok(Self { id, ..found })
    }

    /// By what it is known: a digest of the token's serial number, the label and the key's `CKA_ID`.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Encrypts, bound to `aad` (AES-GCM with a random nonce, which comes first).
    ///
    /// # Errors
    /// What the token says.
    pub fn encrypt(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
        let body = self.work(|work, key| {
            let mut given = nonce;
            let failed = work.failed("encrypting");
            gcm(&mut given, aad).and_then(|gcm| work.session.encrypt(&gcm, key, plaintext)).map_err(failed)
        })?;
        Ok([&nonce[..], &body].concat())
    }

    /// Decrypts; `None` unless it was encrypted with this key and this `aad`.
    ///
    /// # Errors
    /// What the token says.
    pub fn decrypt(&self, aad: &[u8], encrypted: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let Some((nonce, body)) = encrypted.split_first_chunk::<NONCE_BYTES>() else { return Ok(None) };
        self.work(|work, key| {
            let mut given = *nonce;
            let failed = work.failed("decrypting");
            let decrypted = gcm(&mut given, aad).and_then(|gcm| work.session.decrypt(&gcm, key, body));
            match decrypted {
                Ok(plaintext) => Ok(Some(Zeroizing::new(plaintext))),
                // Where the token still answers about the key, it did not authenticate.
                Err(error) if may_mean_invalid(&error) => {
                    work.session.get_attributes(key, &[AttributeType::KeyType]).map(|_| None).map_err(failed)
                }
                Err(error) => Err(failed(error)),
            }
        })
    }

    /// Works with the key, looked for anew: it is used a few times in the life of a process.
    fn work<T>(&self, work: impl Fn(&Work<'_>, ObjectHandle) -> Result<T, Error>) -> Result<T, Error> {
        self.token.work(Mode::Shared, |at_work| {
            let template = [
                Attribute::Token(true),
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Label(self.label.as_bytes().to_vec()),
            ];
            let found = at_work.find(&template)?;
            let [key] = found[..] else {
                let (label, object) = (self.token.label().to_owned(), format!("CKA_LABEL {}", self.label));
                return Err(Error::Missing { label, object, found: found.len() });
            };
            work(at_work, key)
        })
    }

    /// Its `CKA_ID`, where it is of the kind that is wanted.
    fn look(&self, work: &Work<'_>, key: ObjectHandle) -> Result<Vec<u8>, Error> {
        let wanted = [
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
            AttributeType::ValueLen,
            AttributeType::Id,
        ];
        let attributes = work.session.get_attributes(key, &wanted).map_err(work.failed("looking at the key"))?;
        let mut id = None;
        for attribute in attributes {
            match attribute {
                Attribute::Sensitive(true)
                | Attribute::Extractable(false)
                | Attribute::Encrypt(true)
                | Attribute::Decrypt(true) => {}
                Attribute::ValueLen(length) if u64::from(length) == KEY_BYTES => {}
                Attribute::Id(bytes) => id = Some(bytes),
                _ => return Err(self.unfit("has another kind of key under that label than AES-256, sensitive, not extractable, to encrypt and decrypt")),
            }
        }
        id.filter(|id| !id.is_empty()).ok_or_else(|| self.unfit("has a key of that label without a CKA_ID"))
    }

    fn unfit(&self, what: &'static str) -> Error {
        Error::Unfit { label: self.token.label().to_owned(), what }
    }
}

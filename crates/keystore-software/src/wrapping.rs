//! Wrapping keys: AES-256, one for each inventory.

use std::path::Path;

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use model::Name;
use model::event::{Inventory, Place};
use rand_core::{OsRng, RngCore as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;
use crate::files::{KeyFile, Kind};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A wrapping key's id: computed from the key (HKDF-SHA-256), of which it tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrappingKeyId(pub(crate) [u8; 8]);

impl WrappingKeyId {
    fn of(inventory: Inventory, key: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        let info = [&b"keylatch wrapping key id v1 "[..], inventory_name(inventory).as_bytes()].concat();
        // Fails for outputs of more than 255 blocks only.
        let _ = hkdf::Hkdf::<Sha256>::new(None, key).expand(&info, &mut id);
        Self(id)
    }

    /// As events name it: `pre-active-` or `active-` and 16 hex digits.
    pub(crate) fn text(self, inventory: Inventory) -> String {
        format!("{}-{}", inventory_name(inventory), data_encoding::HEXLOWER.encode(&self.0))
    }

    /// The place of what this key wraps.
    pub(crate) fn place(self, inventory: Inventory) -> Option<Place> {
        Some(Place { inventory, wrapping_key: self.name(inventory)? })
    }

    /// As a name; there is one for every id.
    pub(crate) fn name(self, inventory: Inventory) -> Option<Name> {
        self.text(inventory).parse().ok()
    }
}

/// The inventory's name: its directory's, too.
pub(crate) fn inventory_name(inventory: Inventory) -> &'static str {
    match inventory {
        Inventory::PreActive => "pre-active",
        Inventory::Active => "active",
    }
}

/// A wrapping key, ready for use; zeroized when dropped.
///
/// Each wrapping takes a random 96-bit nonce, so 2^32 of them are allowed (SP 800-38D, 8.3): births, changes of state
/// and reservations of nonces together.
pub(crate) struct WrappingKey {
    pub(crate) id: WrappingKeyId,
    cipher: Aes256Gcm,
}

impl WrappingKey {
    /// Makes one, from the operating system's random source, and writes its file.
    pub(crate) fn create(inventory: Inventory, path: &Path) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; 32]);
        OsRng.try_fill_bytes(key.as_mut()).map_err(Error::Random)?;
        let id = WrappingKeyId::of(inventory, &key);
        let wrapping_key = Self { id, cipher: Aes256Gcm::new((&*key).into()) };
        KeyFile { id: id.text(inventory), key }.write(Kind::Wrapping, path)?;
        Ok(wrapping_key)
    }

    /// Reads it from its file.
    pub(crate) fn read(inventory: Inventory, path: &Path) -> Result<Self, Error> {
        let advice = "put it back from a backup; without it the keys beside it cannot be opened, and no other will do";
        let file = KeyFile::read(Kind::Wrapping, path, advice)?;
        let id = WrappingKeyId::of(inventory, &file.key);
        if file.id != id.text(inventory) {
            let other = match inventory {
                Inventory::PreActive => Inventory::Active,
                Inventory::Active => Inventory::PreActive,
            };
            if file.id == WrappingKeyId::of(other, &file.key).text(other) {
                return Err(Error::misplaced(path, "it is the other inventory's"));
            }
            return Err(Error::damaged(path, "the key does not go with its id"));
        }
        Ok(Self { id, cipher: Aes256Gcm::new((&*file.key).into()) })
    }

    /// Wraps: nonce, ciphertext, tag.
    pub(crate) fn wrap(&self, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
        let mut wrapped = Vec::with_capacity(NONCE_BYTES + secret.len() + TAG_BYTES);
        wrapped.extend_from_slice(&nonce);
        // Encrypted in a buffer of its own: no plaintext ever lies where ciphertext will.
        let mut body = Zeroizing::new(secret.to_vec());
        let tag = self.cipher.encrypt_in_place_detached(&nonce.into(), aad, &mut body).map_err(|_| Error::Wrapping)?;
        wrapped.extend_from_slice(&body);
        wrapped.extend_from_slice(&tag);
        Ok(wrapped)
    }

    /// Unwraps; `None` unless it was wrapped with this key and this additional data.
    pub(crate) fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut secret = Zeroizing::new(body.to_vec());
        self.cipher.decrypt_in_place_detached(nonce.into(), aad, &mut secret, tag.into()).ok()?;
        Some(secret)
    }
}

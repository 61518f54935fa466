//! Wrapping keys: AES-256, each for one inventory.

use std::sync::Arc;

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use model::Name;
use model::event::{Inventory, Place};
use rand_core::{OsRng, RngCore as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The bytes of a key, zeroized when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// A key from the operating system's random source.
pub(crate) fn random_key() -> Result<Key, Error> {
    let mut key = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(key.as_mut()).map_err(Error::Random)?;
    Ok(key)
}

/// What HKDF-SHA-256 makes of a key for one purpose. `N` is at most 255 blocks of 32 bytes, so it never fails.
pub(crate) fn derive<const N: usize>(key: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; N]> {
    let mut derived = Zeroizing::new([0; N]);
    let _ = hkdf::Hkdf::<Sha256>::new(None, key).expand(info, derived.as_mut());
    derived
}

/// AES-256-GCM, ready for use; zeroized when dropped.
///
/// Each wrapping takes a random 96-bit nonce, so 2^32 of them are allowed (SP 800-38D, 8.3): births, changes of state
/// and reservations of nonces together.
pub(crate) struct Wrap(Aes256Gcm);

impl Wrap {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// Wraps: nonce, ciphertext, tag.
    pub(crate) fn wrap(&self, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        OsRng.try_fill_bytes(&mut nonce).map_err(Error::Random)?;
        let mut wrapped = Vec::with_capacity(NONCE_BYTES + secret.len() + TAG_BYTES);
        wrapped.extend_from_slice(&nonce);
        // Encrypted in a buffer of its own: no plaintext ever lies where ciphertext will.
        let mut body = Zeroizing::new(secret.to_vec());
        let tag = self.0.encrypt_in_place_detached(&nonce.into(), aad, &mut body).map_err(|_| Error::Wrapping)?;
        wrapped.extend_from_slice(&body);
        wrapped.extend_from_slice(&tag);
        Ok(wrapped)
    }

    /// Unwraps; `None` unless it was wrapped with this key and this additional data.
    pub(crate) fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>()?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut secret = Zeroizing::new(body.to_vec());
        self.0.decrypt_in_place_detached(nonce.into(), aad, &mut secret, tag.into()).ok()?;
        Some(secret)
    }
}

/// A wrapping key's id: computed from the key (HKDF-SHA-256), of which it tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrappingKeyId(pub(crate) [u8; 8]);

impl WrappingKeyId {
    pub(crate) fn of(inventory: Inventory, key: &[u8; 32]) -> Self {
        let info = [&b"keylatch wrapping key id v1 "[..], inventory_name(inventory).as_bytes()].concat();
        Self(*derive(key, &info))
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

/// A wrapping key, ready for use.
pub(crate) struct WrappingKey {
    pub(crate) id: WrappingKeyId,
    wrap: Wrap,
}

impl WrappingKey {
    pub(crate) fn new(inventory: Inventory, key: &[u8; 32]) -> Self {
        Self { id: WrappingKeyId::of(inventory, key), wrap: Wrap::new(key) }
    }

    /// See [`Wrap::wrap`].
    pub(crate) fn wrap(&self, aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        self.wrap.wrap(aad, secret)
    }

    /// See [`Wrap::unwrap`].
    pub(crate) fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.wrap.unwrap(aad, wrapped)
    }
}

/// The wrapping keys of an inventory: the one for whatever is written, and, while it takes the place of others, those.
pub(crate) struct Ring {
    pub(crate) current: WrappingKey,
    pub(crate) retiring: Vec<WrappingKey>,
}

impl Ring {
    /// Of keys as a keyring has them, the current one first; `None` where there is none.
    pub(crate) fn of(inventory: Inventory, keys: &[Key]) -> Option<Arc<Self>> {
        let (current, retiring) = keys.split_first()?;
        let key = |key: &Key| WrappingKey::new(inventory, key);
        Some(Arc::new(Self { current: key(current), retiring: retiring.iter().map(key).collect() }))
    }

    /// The key of an id.
    pub(crate) fn get(&self, id: WrappingKeyId) -> Option<&WrappingKey> {
        std::iter::once(&self.current).chain(&self.retiring).find(|key| key.id == id)
    }

    /// Whether one of its keys is called this.
    pub(crate) fn has(&self, inventory: Inventory, text: &[u8]) -> bool {
        std::iter::once(&self.current).chain(&self.retiring).any(|key| key.id.text(inventory).as_bytes() == text)
    }
}

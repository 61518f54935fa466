//! Who signs notes: a name, a kind of signature, an Ed25519 key.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ed25519_dalek::VerifyingKey;
use model::TenantId;
use sha2::{Digest as _, Sha256};

use super::Error;

/// The first four bytes of SHA-256 over name, line feed, kind and key: what a signature line names its key by.
pub type KeyId = [u8; 4];

/// What kind of signature a key makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Plain Ed25519 over the note's text: a log's own.
    Ed25519 = 0x01,
    /// Ed25519 over a time and the text of a checkpoint (C2SP tlog-cosignature, `cosignature/v1`): a witness's.
    Cosignature = 0x04,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Ed25519, Self::Cosignature];
}

/// A key that signs notes, under a name. As text, C2SP's verifier key: `<name>+<key id in hex>+<base64 of kind and key>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoteKey {
    name: String,
    kind: Kind,
    key: VerifyingKey,
}

impl NoteKey {
    /// A key that signs under a name.
    ///
    /// # Errors
    /// [`Error::Name`] where the name is none.
    pub fn new(name: &str, kind: Kind, key: VerifyingKey) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// The key under which an exporter signs the checkpoints of a tenant.
    pub fn of_log(tenant: TenantId, key: VerifyingKey) -> Self {
        Self { name: super::origin(tenant), kind: Kind::Ed25519, key }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it makes.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What a signature line names it by, beside the name.
    pub fn id(&self) -> KeyId {
        id(&self.name, self.kind, &self.key)
    }

    /// The key itself.
    pub(super) fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

pub(super) fn id(name: &str, kind: Kind, key: &VerifyingKey) -> KeyId {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', kind as u8]).chain_update(key.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|place| hash.get(place).copied().unwrap_or_default())
}

/// Not empty, no Unicode space, no plus, nothing that a note can't have.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c < ' ')
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind as u8];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, data_encoding::HEXLOWER.encode(&self.id()), BASE64.encode(&bytes))
    }
}

impl FromStr for NoteKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why| Error::Key { key: text.to_owned(), why };
        // The base64 may have plus signs; the name has none.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hex), Some(base64)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it is not of the form name+hex+base64"));
        };
        let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| wrong("its last part is not base64"))?;
        let (kind, key) = bytes.split_first().ok_or_else(|| wrong("it has no key"))?;
        let known = |known: &Kind| *known as u8 == *kind;
        let kind = Kind::ALL.into_iter().find(known);
        let kind = kind.ok_or_else(|| wrong("it is of another kind than Ed25519 (1) and its cosignatures (4)"))?;
        let key: [u8; 32] = key.try_into().map_err(|_| wrong("its key has not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| wrong("its key is no point of Ed25519"))?;
        let key = Self::new(name, kind, key)?;
        let said = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| wrong("its key id is not hex"))?;
        if said != key.id() {
            return Err(wrong("its key id is another key's: a part of it was changed"));
        }
        Ok(key)
    }
}

//! What an inventory has under a key: a record, authenticated as a whole, with the material wrapped in it.
//!
//! ```text
//! offset  length
//!      0       1  version, 0x02 (0x01: the identity's length is one byte; read, and not written)
//!      1       1  algorithm: 1 aes-256-gcm, 2 ed25519, 3 ecdsa-p256, 4 ecdsa-p384, 5 rsa-3072-pss, 6 rsa-4096-pss,
//!                 7 rsa-3072-oaep, 8 rsa-4096-oaep, 9 ml-dsa-65, 10 ml-kem-768
//!      2       1  state: 0 pre-active, 1 active, 2 suspended, 3 deactivated, 4 compromised, 5 destroyed,
//!                 6 destroyed-compromised
//!      3       1  inventory before this state: 0 none, 1 pre-active, 2 active
//!      4       8  wrapping key before this state; zeros where none
//!     12       8  wrapping key at birth
//!     20      32  SHA-256 of the payload of the command that asked for the key
//!     52       4  blocks of encryptions reserved, big-endian
//!     56       1  identity: 1 public key, 2 check value
//!     57       2  its length, n, big-endian
//!     59       n  the identity
//!   59+n       1  0 where it was not born sealed (in version 0x01 there is no such byte), 1 while it is sealed, 2 since it
//!                 was opened; where it is not 0:
//!              1  how many shares open it
//!              1  how many there are, s
//!          176 s  of each: its holder's fingerprint (32), sealing key (32), commitment (32), the share sealed to it: the
//!                 encapsulated key (32) and the ciphertext (48)
//!              8  wrapping key of this record
//!             12  nonce
//!              m  the material, AES-256-GCM; nothing once destroyed
//!             16  tag
//! ```
//!
//! What is wrapped while it is sealed is not the material but [`keystore::sealed::Closed`]: whoever has the wrapping key has
//! that, and no more.
//!
//! The additional data is `"keylatch record v1"`, the inventory's code, tenant, key id and all bytes before the nonce.
//! So a record can't be moved to another key, tenant or inventory, nor its state or identity be changed, by anyone who
//! has no wrapping key. (It can be put back to what it was: see the limits in `docs/software-store.md`.)

use std::path::Path;

use keystore::sealed::Closed;
use keystore::transition;
use model::command;
use model::event::{Inventory, Place};
use model::key::KeyIdentity;
use model::people::SealingKey;
use model::statement::{SealedShare, Sealing};
use model::text::Base64;
use model::{Algorithm, Digest, Fingerprint, KeyId, KeyState, TenantId};
use zeroize::Zeroizing;

use crate::Error;
use crate::wrapping::{Ring, WrappingKey, WrappingKeyId};

const VERSION: u8 = 2;
const VERSION_1: u8 = 1;
const NOT_SEALED: u8 = 0;
const LABEL: &[u8] = b"keylatch record v1";

/// Tenant and key id: the key of a record in its database.
pub(crate) type Id = [u8; 48];

/// What is wrapped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The material.
    Open(Zeroizing<Vec<u8>>),
    /// The material, closed: its one-time key is not here.
    Sealed(Closed),
}

impl Secret {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(secret) => &secret[..],
            Self::Sealed(closed) => closed,
        }
    }
}

impl std::fmt::Debug for Secret {
    /// Nothing of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Sealed(_) => "Sealed",
        })
    }
}

/// The record key of a key.
pub(crate) fn id(tenant: TenantId, key_id: KeyId) -> Id {
    let mut id = [0; 48];
    let (first, second) = id.split_at_mut(32);
    first.copy_from_slice(tenant.as_bytes());
    second.copy_from_slice(key_id.as_bytes());
    id
}

/// Tenant and key id of a record key; `None` where it is none.
pub(crate) fn parse_id(id: &[u8]) -> Option<(TenantId, KeyId)> {
    let (tenant, key_id) = id.split_first_chunk::<32>()?;
    Some((TenantId::from_bytes(*tenant), KeyId::from_bytes(key_id.try_into().ok()?)?))
}

/// The error for a record that is not as it should be; `path` is the file that has it.
pub(crate) fn damaged(path: &Path, id: &Id, what: &str) -> Error {
    match parse_id(id) {
        Some((tenant, key_id)) => Error::damaged(path, format!("{what}: key {key_id} of tenant {tenant}")),
        None => Error::damaged(path, what),
    }
}

/// The wrapping key that a record is under; `None` where it is no record.
pub(crate) fn under(bytes: &[u8]) -> Option<WrappingKeyId> {
    Record::parse(bytes).map(|(_, key, _)| key)
}

/// The record, without the material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) algorithm: Algorithm,
    pub(crate) state: KeyState,
    /// Where the key was before it came to this state. INVARIANT (same answer): written with the state, so that a
    /// repeated `apply` can answer what the first did.
    pub(crate) before: Option<(Inventory, WrappingKeyId)>,
    pub(crate) born: WrappingKeyId,
    pub(crate) command: Digest,
    pub(crate) blocks_reserved: u32,
    pub(crate) identity: KeyIdentity,
    /// How it was sealed, where it was born so. Kept once it is open, too: the same command is answered alike.
    pub(crate) sealed: Option<Sealed>,
}

/// That a key was born sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Whether it was opened since.
    pub(crate) opened: bool,
    pub(crate) sealing: Sealing,
}

impl Record {
    /// Whether it is sealed, as it stands.
    fn is_sealed(&self) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| !sealed.opened)
    }

    /// Where the key was before this state, in the port's words.
    pub(crate) fn place_before(&self) -> Option<Place> {
        self.before.and_then(|(inventory, key)| key.place(inventory))
    }

    /// Its bytes, with the material wrapped, or none once it is destroyed.
    pub(crate) fn seal(
        &self,
        key: &WrappingKey,
        inventory: Inventory,
        id: &Id,
        secret: Option<&Secret>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = self.header(key.id);
        let aad = aad(inventory, id, &bytes);
        let secret = secret.map_or(&[][..], Secret::bytes);
        bytes.extend_from_slice(&key.wrap(&aad, secret)?);
        Ok(bytes)
    }

    /// Reads it, with the key of the ring that it is under. Says what is wrong otherwise.
    pub(crate) fn open(
        ring: &Ring,
        inventory: Inventory,
        id: &Id,
        bytes: &[u8],
    ) -> Result<(Self, Option<Secret>), &'static str> {
        let (record, wrapping_key, wrapped) = Self::parse(bytes).ok_or("a record is in no known format")?;
        let key = ring.get(wrapping_key).ok_or("a record is under an unknown wrapping key")?;
        let header = bytes.strip_suffix(wrapped).ok_or("a record is in no known format")?;
        let secret = key.unwrap(&aad(inventory, id, header), wrapped).ok_or("a record does not authenticate")?;
        let secret = match secret.as_slice() {
            [] => None,
            closed if record.is_sealed() => Some(Secret::Sealed(closed.to_vec())),
            _ => Some(Secret::Open(secret)),
        };
        if transition::is_destroyed(record.state) != secret.is_none() || !transition::fits(inventory, record.state) {
            return Err("a record's state does not go with where it is");
        }
        Ok((record, secret))
    }

    fn header(&self, key: WrappingKeyId) -> Vec<u8> {
        let (before, before_key) = match self.before {
            Some((inventory, key)) => (inventory_code(inventory), key.0),
            None => (0, [0; 8]),
        };
        let (kind, identity) = match &self.identity {
            KeyIdentity::PublicKey(der) => (1, der.0.as_slice()),
            KeyIdentity::CheckValue(value) => (2, value.0.as_slice()),
            // Of adopted keys, which are in no record: it does not read back.
            KeyIdentity::PublicKeyDigest(_) | KeyIdentity::Unknown => (0, [].as_slice()),
        };
        let length = u16::try_from(identity.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![VERSION, algorithm_code(self.algorithm), state_code(self.state), before];
        bytes.extend_from_slice(&before_key);
        bytes.extend_from_slice(&self.born.0);
        bytes.extend_from_slice(self.command.as_bytes());
        bytes.extend_from_slice(&self.blocks_reserved.to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend(identity.iter().take(usize::from(length)));
        match &self.sealed {
            None => bytes.push(NOT_SEALED),
            Some(sealed) => sealed.write(&mut bytes),
        }
        bytes.extend_from_slice(&key.0);
        bytes
    }

    /// The record, its wrapping key, and what is wrapped.
    fn parse(bytes: &[u8]) -> Option<(Self, WrappingKeyId, &[u8])> {
        let ([version, algorithm, state, before], rest) = bytes.split_first_chunk()?;
        let (before_key, rest) = rest.split_first_chunk()?;
        let (born, rest) = rest.split_first_chunk()?;
        let (command, rest) = rest.split_first_chunk()?;
        let (blocks, rest) = rest.split_first_chunk()?;
        let ([kind], rest) = rest.split_first_chunk()?;
        let (length, rest) = match *version {
            VERSION => rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length), rest))?,
            VERSION_1 => rest.split_first().map(|(length, rest)| (u16::from(*length), rest))?,
            _ => return None,
        };
        let (identity, rest) = rest.split_at_checked(usize::from(length))?;
        let (sealed, rest) = match (*version, rest) {
            (VERSION_1, rest) | (_, [NOT_SEALED, rest @ ..]) => (None, rest),
            _ => Sealed::read(rest).map(|(sealed, rest)| (Some(sealed), rest))?,
        };
        let (key, wrapped) = rest.split_first_chunk()?;
        let identity = Base64(identity.to_vec());
        let record = Self {
            algorithm: Algorithm::ALL.into_iter().find(|known| algorithm_code(*known) == *algorithm)?,
            state: KeyState::ALL.into_iter().find(|known| state_code(*known) == *state)?,
            before: match before {
                0 => None,
                1 => Some((Inventory::PreActive, WrappingKeyId(*before_key))),
                2 => Some((Inventory::Active, WrappingKeyId(*before_key))),
                _ => return None,
            },
            born: WrappingKeyId(*born),
            command: Digest::new(*command),
            blocks_reserved: u32::from_be_bytes(*blocks),
            identity: match kind {
                1 => KeyIdentity::PublicKey(identity),
                2 => KeyIdentity::CheckValue(identity),
                _ => return None,
            },
            sealed,
        };
        Some((record, WrappingKeyId(*key), wrapped))
    }
}

impl Sealed {
    fn write(&self, bytes: &mut Vec<u8>) {
        let Sealing { threshold, shares } = &self.sealing;
        let count = u8::try_from(shares.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(&[if self.opened { 2 } else { 1 }, *threshold, count]);
        for SealedShare { to, sealing_key, commitment, share } in shares.iter().take(usize::from(count)) {
            for part in
                [&to.as_bytes()[..], sealing_key.as_bytes(), commitment.as_bytes(), &share.enc.0, &share.ciphertext.0]
            {
                bytes.extend_from_slice(part);
            }
        }
    }

    /// Reads it, and what is behind it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let ([how, threshold, count], mut rest) = bytes.split_first_chunk()?;
        let opened = match how {
            1 => false,
            2 => true,
            _ => return None,
        };
        let mut shares = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (to, behind) = rest.split_first_chunk::<32>()?;
            let (sealing_key, behind) = behind.split_first_chunk::<32>()?;
            let (commitment, behind) = behind.split_first_chunk::<32>()?;
            let (enc, behind) = behind.split_first_chunk::<32>()?;
            let (ciphertext, behind) = behind.split_first_chunk::<48>()?;
            shares.push(SealedShare {
                to: Fingerprint::from_bytes(*to),
                sealing_key: SealingKey::from_bytes(sealing_key)?,
                commitment: Digest::new(*commitment),
                share: command::Sealed { enc: Base64(enc.to_vec()), ciphertext: Base64(ciphertext.to_vec()) },
            });
            rest = behind;
        }
        Some((Self { opened, sealing: Sealing { threshold: *threshold, shares } }, rest))
    }
}

pub(crate) fn aad(inventory: Inventory, id: &Id, header: &[u8]) -> Vec<u8> {
    [LABEL, &[inventory_code(inventory)], id, header].concat()
}

fn inventory_code(inventory: Inventory) -> u8 {
    match inventory {
        Inventory::PreActive => 1,
        Inventory::Active => 2,
    }
}

fn algorithm_code(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Aes256Gcm => 1,
        Algorithm::Ed25519 => 2,
        Algorithm::EcdsaP256 => 3,
        Algorithm::EcdsaP384 => 4,
        Algorithm::RsaPss3072 => 5,
        Algorithm::RsaPss4096 => 6,
        Algorithm::RsaOaep3072 => 7,
        Algorithm::RsaOaep4096 => 8,
        Algorithm::MlDsa65 => 9,
        Algorithm::MlKem768 => 10,
        // No key of this store: it does not read back.
        Algorithm::Other => 0,
    }
}

fn state_code(state: KeyState) -> u8 {
    match state {
        KeyState::PreActive => 0,
        KeyState::Active => 1,
        KeyState::Suspended => 2,
        KeyState::Deactivated => 3,
        KeyState::Compromised => 4,
        KeyState::Destroyed => 5,
        KeyState::DestroyedCompromised => 6,
    }
}

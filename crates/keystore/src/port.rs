//! The port: what the custodian asks of a key store.

use std::fmt;
use std::ops::ControlFlow;

use model::command::Sealed;
use model::event::Place;
use model::evidence::Drift;
use model::key::{KeyIdentity, Operation};
use model::statement::Sealing;
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use zeroize::Zeroizing;

use crate::{Attestation, Error, Proof, SealTo, Share};

/// A store of keys, in two inventories that are apart in storage and under wrapping keys of their own: one for keys not
/// yet authorised, one for keys that are or were active (CEK-15, auditing guideline 2).
///
/// **The chain decides, the store obeys.** A caller brings a key to the states of the verified chain, one after the
/// other, in their order. The store knows nothing of approvals; as a second line it refuses by itself what SP 800-57
/// forbids: a transition that is not in the table of [`crate::transition`], any use of a key that is not active, an
/// operation that is not the algorithm's.
///
/// **Keys are known by tenant and key id together.** The same key id under another tenant is another key.
///
/// **`Ok` means durable.** What a store has acknowledged survives the end of its process and of its machine's power, as
/// far as the medium keeps its word.
///
/// **Everything bears repetition.** [`Error::Storage`] does not say whether the change was made; asking again, in this
/// process or after a restart, completes what was begun and gives the answer that an undisturbed first call would have
/// given. So a caller that crashed between the store's answer and its own record asks again and records the same.
///
/// **Halting counts from the answer.** A use that begins after `apply` has returned sees the new state. One that began
/// before may still finish.
///
/// **Secrets stay in.** No operation returns key material. What must leave (plaintexts, data keys) leaves in
/// [`Zeroizing`] values, and neither `Debug` nor any error shows it.
///
/// Calls block, on storage or on a device: from async code they go through a thread for blocking work. Any number of
/// threads may call at once; changes of one key are made one after the other.
pub trait KeyStore: Send + Sync {
    /// The name under which policies and events know this store.
    fn name(&self) -> &Name;

    /// The X25519 public key to which inputs for uses are sealed; the same for the life of the store.
    fn seal_key(&self) -> [u8; 32];

    /// The algorithms of which it makes keys; all, unless a store says otherwise.
    fn algorithms(&self) -> &[Algorithm] {
        &Algorithm::ALL
    }

    /// Generates a key in the pre-active inventory.
    ///
    /// The same tenant, key id, algorithm and command (the SHA-256 of the payload that asked for it) give the same key,
    /// whatever state it has reached, until it is destroyed.
    ///
    /// # Errors
    /// [`Error::Exists`] where the id belongs to another command or algorithm; [`Error::State`] where the key was
    /// destroyed: an id is never given out twice; [`Error::AlgorithmNotOffered`].
    fn generate(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
    ) -> Result<Generated, Error>;

    /// Generates a key that nobody can use, this store included, before as many shares as `to.threshold` are brought to
    /// [`KeyStore::unseal`]: it keeps the key encrypted under a one-time key, that key's shares each sealed to its holder,
    /// and neither the key nor the one-time key nor a share in the clear.
    ///
    /// The same tenant, key id, algorithm and command give the same key and the same sealed shares, whoever they were to go
    /// to now. A key that was generated in the other way is another command's.
    ///
    /// # Errors
    /// Those of [`KeyStore::generate`]; [`Error::InvalidInput`] where the key can't be sealed so;
    /// [`Error::SealingNotOffered`], which is what a store says that has not this method.
    fn generate_sealed(
        &self,
        tenant: TenantId,
        key_id: KeyId,
        algorithm: Algorithm,
        command: Digest,
        to: &SealTo,
    ) -> Result<(Generated, Sealing), Error> {
        let _ = (tenant, key_id, algorithm, command, to);
        Err(Error::SealingNotOffered(self.name().clone()))
    }

    /// Opens a sealed key with its shares, so that it can be brought to active; it stays pre-active, where it is. Shares
    /// that are not its own are passed over. Of a key that is open, changes nothing and looks at no share.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where it is not pre-active any more, and sealed; [`Error::SharesMissing`];
    /// [`Error::SealingNotOffered`].
    fn unseal(&self, tenant: TenantId, key_id: KeyId, shares: &[Share]) -> Result<(), Error> {
        let _ = (tenant, key_id, shares);
        Err(Error::SealingNotOffered(self.name().clone()))
    }

    /// What the store has under this id; `None` where it never had anything. A destroyed key is still known.
    fn get(&self, tenant: TenantId, key_id: KeyId) -> Result<Option<Held>, Error>;

    /// Brings the key to `state`.
    ///
    /// - `PreActive`: stays where it was born.
    /// - `Active`: moves, under another wrapping key, to the active inventory; or, resumed, is usable again there.
    /// - `Suspended`, `Deactivated`, `Compromised`: stays where it is, its use refused.
    /// - `Destroyed`, `DestroyedCompromised`: its material is removed from both inventories. A tombstone stays.
    ///
    /// For the state that the key has already, gives the answer of the call that led there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] for a transition that SP 800-57 forbids, and [`Error::Sealed`] for the activation
    /// of a key that is still sealed, and then nothing is changed.
    fn apply(&self, tenant: TenantId, key_id: KeyId, state: KeyState) -> Result<Applied, Error>;

    /// Uses the key: while it is active, or, for operations that only undo or check, as `permit` says.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`], [`Error::OperationNotAllowed`], [`Error::InvalidInput`],
    /// [`Error::CiphertextInvalid`], [`Error::Exhausted`].
    fn perform(&self, tenant: TenantId, key_id: KeyId, asked: &Use<'_>, permit: Permit) -> Result<Output, Error>;

    /// Proves that the store has the key, over a challenge of 16 to 64 bytes: in pre-activation, where nothing else is
    /// possible, and while active. What is proved, and why it can't be taken for anything else: [`crate::possession`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`], [`Error::Sealed`], [`Error::InvalidInput`].
    fn prove(&self, tenant: TenantId, key_id: KeyId, challenge: &[u8]) -> Result<Proof, Error>;

    /// What the store itself says of the key, as it is now. Asked of the device, or computed from what is stored: not
    /// repeated from a record. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Storage`] where what should be there is not.
    fn attest(&self, tenant: TenantId, key_id: KeyId) -> Result<Attestation, Error>;

    /// Opens what was sealed to [`KeyStore::seal_key`] with this `info` (see [`crate::seal::info`]) and no further
    /// additional data.
    ///
    /// # Errors
    /// [`Error::SealedInvalid`].
    fn open(&self, sealed: &Sealed, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;

    /// Shows every key, destroyed ones too, of one tenant or of all, in the order of tenant and key id, until `visit`
    /// breaks off. What is shown was true when the listing began. Memory does not grow with the number of keys.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn list(&self, tenant: Option<TenantId>, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), Error>;

    /// Compares what stands behind this store (a token, a server) with what this store left there, and shows each of a
    /// tenant's keys, or the one asked about, that is otherwise: somebody else has been at it. A change that is under way here is not shown. A store
    /// with nothing behind it has nothing to show.
    ///
    /// # Errors
    /// [`Error::Storage`].
    fn survey(&self, tenant: TenantId, key_id: Option<KeyId>, visit: &mut dyn FnMut(Found)) -> Result<(), Error> {
        let _ = (tenant, key_id, visit);
        Ok(())
    }

    /// Brings what stands behind this store back to what this store left there, for one key. Answers whether it is so now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Storage`].
    fn set_back(&self, tenant: TenantId, key_id: KeyId) -> Result<bool, Error> {
        let _ = (tenant, key_id);
        Ok(false)
    }
}

/// A key that is otherwise than its store left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub key_id: KeyId,
    /// In what it differs.
    pub drift: Drift,
    /// What there is, in words; no secret.
    pub what: String,
}

/// What `generate` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// By what the key is recognised.
    pub identity: KeyIdentity,
    /// The wrapping key of the pre-active inventory that guards it, or guarded it there.
    pub wrapping_key: Name,
}

/// What a store has under an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it computes.
    pub algorithm: Algorithm,
    /// By what it is recognised.
    pub identity: KeyIdentity,
    /// The state that the store has for it.
    pub state: KeyState,
    /// Where it is; `None` once it is destroyed.
    pub place: Option<Place>,
}

/// What `apply` gives: what `custody.applied` will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where the key was before; `None` where it was nowhere.
    pub before: Option<Place>,
    /// Where it is now; `None` where it is destroyed.
    pub after: Option<Place>,
}

/// One key in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key_id: KeyId,
    /// What the store has.
    pub held: Held,
}

/// Whether an operation that only undoes or checks (see [`Operation::processes_only`]) may be done with a deactivated
/// key: policy says so, the caller passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Only while the key is active.
    WhileActive,
    /// Also with a deactivated key, where the operation only undoes or checks.
    OldDataToo,
}

/// A use, with its inputs.
#[derive(Clone, Copy)]
pub enum Use<'a> {
    /// Encrypt; AES-256-GCM.
    Encrypt {
        /// At most [`model::command::USE_BYTES_MAX`].
        plaintext: &'a [u8],
        /// Authenticated with it; at most as long.
        aad: &'a [u8],
    },
    /// Decrypt; AES-256-GCM.
    Decrypt {
        /// What `Encrypt` gave.
        ciphertext: &'a [u8],
        /// What was authenticated with it.
        aad: &'a [u8],
    },
    /// Sign a digest: SHA-512 for Ed25519 (as Ed25519ph, RFC 8032), SHA-256 for ECDSA on P-256.
    Sign {
        /// 64 or 32 bytes.
        digest: &'a [u8],
    },
    /// Verify a signature over a digest.
    Verify {
        /// 64 or 32 bytes.
        digest: &'a [u8],
        /// What `Sign` gave.
        signature: &'a [u8],
    },
    /// Make a data key and wrap it; AES-256-GCM.
    Wrap,
    /// Unwrap a data key; AES-256-GCM.
    Unwrap {
        /// What `Wrap` gave.
        wrapped: &'a [u8],
    },
}

impl Use<'_> {
    /// Which operation it is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Encrypt { .. } => Operation::Encrypt,
            Self::Decrypt { .. } => Operation::Decrypt,
            Self::Sign { .. } => Operation::Sign,
            Self::Verify { .. } => Operation::Verify,
            Self::Wrap => Operation::Wrap,
            Self::Unwrap { .. } => Operation::Unwrap,
        }
    }
}

impl fmt::Debug for Use<'_> {
    /// The operation only: inputs are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Use({})", self.operation())
    }
}

/// What a use gives.
pub enum Output {
    /// Of `Encrypt`, in the format of [`crate::ciphertext`].
    Ciphertext(Vec<u8>),
    /// Of `Decrypt`.
    Plaintext(Zeroizing<Vec<u8>>),
    /// Of `Sign`: 64 bytes (RFC 8032), or DER (ECDSA-Sig-Value, RFC 3279).
    Signature(Vec<u8>),
    /// Of `Verify`: whether the signature is this key's over this digest.
    Verified(bool),
    /// Of `Wrap`.
    Wrapped {
        /// A new, random data key.
        data_key: Zeroizing<[u8; 32]>,
        /// The same, under the key, in the format of [`crate::ciphertext`].
        wrapped: Vec<u8>,
    },
    /// Of `Unwrap`.
    DataKey(Zeroizing<[u8; 32]>),
}

impl fmt::Debug for Output {
    /// The kind only: results are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ciphertext(_) => "Ciphertext",
            Self::Plaintext(_) => "Plaintext",
            Self::Signature(_) => "Signature",
            Self::Verified(true) => "Verified(true)",
            Self::Verified(false) => "Verified(false)",
            Self::Wrapped { .. } => "Wrapped",
            Self::DataKey(_) => "DataKey",
        })
    }
}

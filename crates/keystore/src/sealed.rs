//! Sealed keys: a key encrypted under a one-time key, of which there are only shares, each sealed to its holder.
//!
//! ```text
//! key ── AES-256-GCM under the one-time key ──> closed: what a store keeps
//! one-time key ── Shamir, m of n ──> shares ── HPKE, each to its holder ──> Sealing: what the chain carries
//! ```
//!
//! Shamir's scheme gives some key for any shares at all, and no error. So each share is authenticated by itself, against a
//! commitment that stands on the chain, before it is combined, and what comes of them by the authenticated encryption. A
//! share is uniformly random, whatever the others are (of which there are fewer than m): a hash of it gives nothing away.
//!
//! What every byte is bound to is in the functions of this module, and in `SPEC.md`.

use aes_gcm::aead::AeadInPlace as _;
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use model::people::SealingKey;
use model::statement::{SHARES_MAX, SealedShare, Sealing};
use model::{Digest, EventHash, Fingerprint, KeyId, TenantId};
use rand_core::CryptoRngCore;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::seal::{self, Rng};
use crate::{Error, material};

/// The length of a key, of the one-time key, and of a share.
const BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// The length of a closed key.
pub const CLOSED_BYTES: usize = BYTES + TAG_BYTES;

/// A key that is closed: AES-256-GCM under the one-time key. Not a secret.
pub type Closed = [u8; CLOSED_BYTES];

/// To whom a key's shares go, in the order of their numbers, and how many of them open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealTo {
    /// How many: at least two, and no more than there are.
    pub threshold: u8,
    /// Whom, at most [`SHARES_MAX`].
    pub to: Vec<(Fingerprint, SealingKey)>,
}

/// What is sealed: everything about it is bound to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whose key.
    pub tenant: TenantId,
    /// Which.
    pub key_id: KeyId,
    /// The SHA-256 of the payload of the command that asked for it.
    pub command: Digest,
}

impl Subject {
    fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        let (tenant, rest) = bytes.split_at_mut(32);
        let (key_id, command) = rest.split_at_mut(16);
        tenant.copy_from_slice(self.tenant.as_bytes());
        key_id.copy_from_slice(self.key_id.as_bytes());
        command.copy_from_slice(self.command.as_bytes());
        bytes
    }

    /// The binding parameter (`info`) of a share on its way to its holder.
    pub fn share_info(&self, to: Fingerprint, number: u8, threshold: u8) -> Vec<u8> {
        [b"keylatch share v1 ", &self.bytes()[..], to.as_bytes(), &[number, threshold]].concat()
    }

    /// The additional data of the closed key.
    fn closed_aad(&self, threshold: u8, shares: usize) -> Vec<u8> {
        let shares = u8::try_from(shares).unwrap_or(u8::MAX);
        [b"keylatch sealed key v1 ", &self.bytes()[..], &[threshold, shares]].concat()
    }
}

/// The binding parameter (`info`) of a share that an approval brings to the key's store: for this request alone, and from
/// nobody else.
pub fn brought_info(tenant: TenantId, key_id: KeyId, request: EventHash, by: Fingerprint) -> Vec<u8> {
    let parts: [&[u8]; 5] =
        [b"keylatch share brought v1 ", tenant.as_bytes(), key_id.as_bytes(), request.as_bytes(), by.as_bytes()];
    parts.concat()
}

/// A share, in the clear. Zeroized when dropped.
#[derive(Clone)]
pub struct Share {
    /// Its number, from 1: the point at which it was evaluated.
    pub number: u8,
    bytes: Zeroizing<[u8; BYTES]>,
}

impl std::fmt::Debug for Share {
    /// Its number only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.number)
    }
}

impl Share {
    /// A share of this number; `None` where these are not a share's bytes.
    pub fn new(number: u8, bytes: &[u8]) -> Option<Self> {
        Some(Self { number, bytes: Zeroizing::new(bytes.try_into().ok()?) })
    }

    /// Its bytes, to be sealed to somebody.
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.bytes
    }

    /// What the chain has of it: whoever shows a share of this commitment shows this one.
    pub fn commitment(&self, subject: &Subject) -> Digest {
        let label = b"keylatch share commitment v1 ";
        Digest::of(&Zeroizing::new([&label[..], &subject.bytes(), &[self.number], &self.bytes[..]].concat()))
    }

    /// Whether it is the key's share of its number.
    pub fn is_of(&self, subject: &Subject, sealing: &Sealing) -> bool {
        let held = usize::from(self.number).checked_sub(1).and_then(|at| sealing.shares.get(at));
        held.is_some_and(|held| held.commitment == self.commitment(subject))
    }
}

/// Closes a key: what a store keeps of it, and what its birth says of the shares. Nothing else is left of the one-time key.
///
/// # Errors
/// [`Error::InvalidInput`] where there are not two to sixteen shares, or fewer than open the key; [`Error::Storage`] where
/// the random source fails.
pub fn close(
    subject: &Subject,
    key: &[u8; BYTES],
    to: &SealTo,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Closed, Sealing), Error> {
    const WANTED: Error = Error::InvalidInput("two to sixteen shares, of which as many open a key as there are, or fewer");
    let (count, threshold) = (to.to.len(), usize::from(to.threshold));
    if !(2..=SHARES_MAX).contains(&count) || !(2..=count).contains(&threshold) {
        return Err(WANTED);
    }
    let mut once = Zeroizing::new([0; BYTES]);
    material::fill(rng, once.as_mut())?;
    let split = Gf256::split_bytes(threshold, count, &once[..], &mut Rng(rng)).map_err(|_| WANTED)?;
    let split = Zeroizing::new(split);
    let mut shares = Vec::with_capacity(count);
    for (number, (bytes, (holder, sealing_key))) in (1..).zip(split.iter().zip(&to.to)) {
        // The crate writes the point before the share.
        let share = bytes.split_first().filter(|(point, _)| **point == number);
        let share = share.and_then(|(_, bytes)| Share::new(number, bytes)).ok_or(WANTED)?;
        let info = subject.share_info(*holder, number, to.threshold);
        let sealed = seal::seal(sealing_key.as_bytes(), &info, &[], share.bytes(), rng)?;
        let commitment = share.commitment(subject);
        shares.push(SealedShare { to: *holder, sealing_key: *sealing_key, commitment, share: sealed });
    }
    let mut body = Zeroizing::new(*key);
    // The one-time key encrypts this and nothing else, so any nonce will do.
    let tag = Aes256Gcm::new((&*once).into())
        .encrypt_in_place_detached(&Nonce::default(), &subject.closed_aad(to.threshold, count), body.as_mut())
        .map_err(|_| WANTED)?;
    let mut closed = [0; CLOSED_BYTES];
    let (front, back) = closed.split_at_mut(BYTES);
    front.copy_from_slice(body.as_ref());
    back.copy_from_slice(&tag);
    Ok((closed, Sealing { threshold: to.threshold, shares }))
}

/// Opens a closed key with as many of these shares as it takes, of those that are its own.
///
/// # Errors
/// [`Error::SharesMissing`]; [`Error::Storage`] where the shares are its own and it does not open: what was kept of it was
/// changed.
pub fn open(
    subject: &Subject,
    sealing: &Sealing,
    closed: &Closed,
    shares: &[Share],
) -> Result<Zeroizing<[u8; BYTES]>, Error> {
    let once = combine(subject, sealing, shares)?;
    let damaged = || Error::Storage("a sealed key does not open with its own shares".into());
    let (body, tag) = closed.split_first_chunk::<BYTES>().ok_or_else(damaged)?;
    let tag: &[u8; TAG_BYTES] = tag.try_into().map_err(|_| damaged())?;
    let mut key = Zeroizing::new(*body);
    let aad = subject.closed_aad(sealing.threshold, sealing.shares.len());
    Aes256Gcm::new((&*once).into())
        .decrypt_in_place_detached(&Nonce::default(), &aad, key.as_mut(), tag.into())
        .map_err(|_| damaged())?;
    Ok(key)
}

fn combine(subject: &Subject, sealing: &Sealing, shares: &[Share]) -> Result<Zeroizing<[u8; BYTES]>, Error> {
    let mut own: Vec<&Share> = shares.iter().filter(|share| share.is_of(subject, sealing)).collect();
    own.sort_by_key(|share| share.number);
    own.dedup_by_key(|share| share.number);
    let (good, threshold) = (own.len(), sealing.threshold);
    if good < usize::from(threshold) || threshold < 2 {
        return Err(Error::SharesMissing { key_id: subject.key_id, good, threshold });
    }
    let with_point = |share: &&Share| [&[share.number], &share.bytes()[..]].concat();
    let points = Zeroizing::new(own.iter().take(usize::from(threshold)).map(with_point).collect::<Vec<Vec<u8>>>());
    let failed = |_| Error::Storage("shares that are a key's own do not combine".into());
    let once = Zeroizing::new(Gf256::combine_bytes(&*points).map_err(failed)?);
    Ok(Zeroizing::new(once.as_slice().try_into().map_err(|_| Error::Storage("a one-time key has a wrong length".into()))?))
}

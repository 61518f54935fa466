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

/// The length of the one-time key, and of a share.
const BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// A key that is closed: AES-256-GCM under the one-time key, the tag behind. Not a secret.
pub type Closed = Vec<u8>;

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
    key: &[u8],
    to: &SealTo,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Closed, Sealing), Error> {
    const WANTED: Error =
        Error::InvalidInput("two to sixteen shares, of which as many open a key as there are, or fewer");
    let (count, threshold) = (to.to.len(), usize::from(to.threshold));
    if !(2..=SHARES_MAX).contains(&count) || !(2..=count).contains(&threshold) {
        return Err(WANTED);
    }
    let mut once = Zeroizing::new([0; BYTES]);
    material::fill(rng, once.as_mut())?;
    let split = Gf256::split_bytes(threshold, count, &once[..], Rng(rng)).map_err(|_| WANTED)?;
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
    let mut closed = key.to_vec();
    // The one-time key encrypts this and nothing else, so any nonce will do.
    let tag = Aes256Gcm::new((&*once).into())
        .encrypt_in_place_detached(&Nonce::default(), &subject.closed_aad(to.threshold, count), &mut closed)
        .map_err(|_| WANTED)?;
    closed.extend_from_slice(&tag);
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
    closed: &[u8],
    shares: &[Share],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let once = combine(subject, sealing, shares)?;
    let damaged = || Error::Storage("a sealed key does not open with its own shares".into());
    let (body, tag) = closed.split_last_chunk::<TAG_BYTES>().ok_or_else(damaged)?;
    let mut key = Zeroizing::new(body.to_vec());
    let aad = subject.closed_aad(sealing.threshold, sealing.shares.len());
    Aes256Gcm::new((&*once).into())
        .decrypt_in_place_detached(&Nonce::default(), &aad, &mut key, tag.into())
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
    Ok(Zeroizing::new(
        once.as_slice().try_into().map_err(|_| Error::Storage("a one-time key has a wrong length".into()))?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conformance::TestRng;
    use crate::seal::SecretKey;

    fn subject() -> Subject {
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        Subject { tenant: TenantId::from_bytes([1; 32]), key_id, command: Digest::of(b"command") }
    }

    fn holders(count: u8) -> Vec<SecretKey> {
        (0..count).map(|seed| SecretKey::generate(&mut TestRng::new(u64::from(seed) + 100))).collect()
    }

    fn fingerprint(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 32])
    }

    fn seal_to(threshold: u8, holders: &[SecretKey]) -> SealTo {
        let to = (1..).zip(holders);
        let to = to.map(|(number, one)| (fingerprint(number), SealingKey::from_bytes(&one.public()).unwrap()));
        SealTo { threshold, to: to.collect() }
    }

    /// Every holder's share, opened.
    fn opened(subject: &Subject, sealing: &Sealing, holders: &[SecretKey]) -> Vec<Share> {
        let open = |(number, (held, secret)): (u8, (&SealedShare, &SecretKey))| {
            let info = subject.share_info(held.to, number, sealing.threshold);
            Share::new(number, &seal::open(secret, &info, &[], &held.share).unwrap()).unwrap()
        };
        (1..).zip(sealing.shares.iter().zip(holders)).map(open).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Any m of n shares open the key, whichever they are and in whatever order; any fewer do not.
        #[test]
        fn as_many_shares_as_it_takes_open_it_and_no_fewer(
            key in any::<[u8; 32]>(),
            seed in any::<u64>(),
            (count, threshold) in (2_u8..=16).prop_flat_map(|count| (Just(count), 2..=count)),
            order in any::<u64>(),
        ) {
            let (subject, holders) = (subject(), holders(count));
            let (closed, sealing) = close(&subject, &key, &seal_to(threshold, &holders), &mut TestRng::new(seed)).unwrap();
            let mut shares = opened(&subject, &sealing, &holders);
            shares.sort_by_key(|share| Digest::of(&[&order.to_be_bytes()[..], &[share.number]].concat()));
            let least = usize::from(threshold);
            prop_assert_eq!(open(&subject, &sealing, &closed, &shares[..least]).unwrap().to_vec(), key.to_vec());
            prop_assert_eq!(open(&subject, &sealing, &closed, &shares).unwrap().to_vec(), key.to_vec());
            let fewer = open(&subject, &sealing, &closed, &shares[..least - 1]);
            let is_refused = matches!(fewer, Err(Error::SharesMissing { good, .. }) if good == least - 1);
            prop_assert!(is_refused);
        }
    }

    /// The combination alone, without the checks: what fewer shares give is another key than the one-time key.
    #[test]
    fn fewer_shares_combine_to_something_else() {
        let secret = [7; 32];
        let shares = Gf256::split_bytes(3, 5, secret, Rng(&mut TestRng::new(1))).unwrap();
        assert_eq!(Gf256::combine_bytes(&shares[1..4]).unwrap(), secret);
        assert_ne!(Gf256::combine_bytes(&shares[..2]).unwrap(), secret);
    }

    /// Written apart, and slower: the field that `SPEC.md` names, and Lagrange's formula at zero. So a share outlives the crate
    /// that made it.
    #[test]
    fn shares_are_points_of_polynomials_over_the_field_that_is_specified() {
        fn times(mut a: u8, mut b: u8) -> u8 {
            let mut product = 0;
            while b > 0 {
                product ^= if b & 1 == 1 { a } else { 0 };
                a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
                b >>= 1;
            }
            product
        }
        let over = |a: u8, b: u8| (0..=255).find(|quotient| times(*quotient, b) == a).unwrap();
        let secret: Vec<u8> = (0..32).map(|byte| byte * 7).collect();
        let shares = Gf256::split_bytes(3, 5, &secret, Rng(&mut TestRng::new(9))).unwrap();
        for three in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let at_zero = |byte: usize| {
                three.iter().fold(0, |sum, one| {
                    let others = three.iter().filter(|other| *other != one);
                    let term = others.fold(shares[*one][byte], |term, other| {
                        let (x, y) = (shares[*one][0], shares[*other][0]);
                        times(term, over(y, x ^ y))
                    });
                    sum ^ term
                })
            };
            assert_eq!((1..=32).map(at_zero).collect::<Vec<u8>>(), secret);
        }
    }

    /// A share that is wrong, another key's, or shown twice counts for nothing, and keeps no good one from counting.
    #[test]
    fn shares_that_are_not_its_own_are_passed_over() {
        let (subject, holders) = (subject(), holders(4));
        let to = seal_to(3, &holders);
        let (closed, sealing) = close(&subject, &[9; 32], &to, &mut TestRng::new(1)).unwrap();
        let good = opened(&subject, &sealing, &holders);
        let other = Subject { command: Digest::of(b"another"), ..subject };
        let (_, other_sealing) = close(&other, &[9; 32], &to, &mut TestRng::new(2)).unwrap();
        let foreign = opened(&other, &other_sealing, &holders);
        let mut flipped = good[2].clone();
        flipped.bytes[0] ^= 1;
        let renumbered = Share { number: 3, ..good[3].clone() };
        let unnumbered = Share { number: 0, ..good[3].clone() };
        let beyond = Share { number: 5, ..good[3].clone() };
        for bad in [&foreign[2], &flipped, &renumbered, &unnumbered, &beyond, &good[0]] {
            let few = open(&subject, &sealing, &closed, &[good[0].clone(), bad.clone(), good[1].clone()]);
            assert!(matches!(few, Err(Error::SharesMissing { good: 2, threshold: 3, .. })), "{bad:?}");
            let enough = [bad.clone(), good[3].clone(), good[0].clone(), good[1].clone()];
            assert_eq!(*open(&subject, &sealing, &closed, &enough).unwrap(), [9; 32], "{bad:?}");
        }
    }

    /// What a share was sealed for is part of what opens it: not for another key, command, holder, number or threshold.
    #[test]
    fn a_sealed_share_opens_for_what_it_was_sealed_for() {
        let (subject, holders) = (subject(), holders(2));
        let (_, sealing) = close(&subject, &[9; 32], &seal_to(2, &holders), &mut TestRng::new(1)).unwrap();
        let held = &sealing.shares[0];
        let opens = |info: Vec<u8>| seal::open(&holders[0], &info, &[], &held.share).is_ok();
        assert!(opens(subject.share_info(fingerprint(1), 1, 2)));
        let another = "01930000-0000-7000-8000-00000000000b".parse().unwrap();
        for info in [
            Subject { tenant: TenantId::from_bytes([2; 32]), ..subject }.share_info(fingerprint(1), 1, 2),
            Subject { key_id: another, ..subject }.share_info(fingerprint(1), 1, 2),
            Subject { command: Digest::of(b"another"), ..subject }.share_info(fingerprint(1), 1, 2),
            subject.share_info(fingerprint(2), 1, 2),
            subject.share_info(fingerprint(1), 2, 2),
            subject.share_info(fingerprint(1), 1, 3),
            brought_info(subject.tenant, subject.key_id, EventHash::ZERO, fingerprint(1)),
        ] {
            assert!(!opens(info));
        }
    }

    #[test]
    fn what_is_kept_opens_as_it_was_kept() {
        let (subject, holders) = (subject(), holders(2));
        let (closed, sealing) = close(&subject, &[9; 32], &seal_to(2, &holders), &mut TestRng::new(1)).unwrap();
        let shares = opened(&subject, &sealing, &holders);
        for at in 0..closed.len() {
            let mut changed = closed.clone();
            changed[at] ^= 1;
            assert!(matches!(open(&subject, &sealing, &changed, &shares), Err(Error::Storage(_))), "{at}");
        }
        let lower = Sealing { threshold: 1, ..sealing };
        assert!(matches!(open(&subject, &lower, &closed, &shares), Err(Error::SharesMissing { .. })));
    }

    #[test]
    fn rejects_thresholds_that_guard_nothing_and_too_many_shares() {
        for (count, threshold) in [(2, 0), (2, 1), (1, 1), (1, 2), (2, 3), (17, 2), (0, 0)] {
            let refused = close(&subject(), &[9; 32], &seal_to(threshold, &holders(count)), &mut TestRng::new(1));
            assert!(matches!(refused, Err(Error::InvalidInput(_))), "{threshold} of {count}");
        }
    }

    #[test]
    fn a_share_does_not_show_itself() {
        assert_eq!(format!("{:?}", Share::new(2, &[7; 32]).unwrap()), "Share(2)");
        assert!(Share::new(1, &[7; 31]).is_none());
    }
}

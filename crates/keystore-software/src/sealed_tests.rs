//! What whoever has everything of this store can do with a key that is sealed, and what becomes of it in backups and
//! rotations.

use std::path::Path;

use keystore::conformance::TestRng;
use keystore::sealed::Subject;
use keystore::{Error as PortError, Generated, KeyStore as _, Output, Permit, SealTo, Share, Use, seal, sealed};
use model::people::SealingKey;
use model::statement::Sealing;
use model::{Algorithm, Digest, Fingerprint, KeyId, KeyState};

use crate::SoftwareStore;
use crate::crash_tests::{Bench, tenant};
use crate::record::{self, Secret};

fn holder(number: u8) -> seal::SecretKey {
    seal::SecretKey::generate(&mut TestRng::new(u64::from(number)))
}

fn subject(key_id: KeyId) -> Subject {
    Subject { tenant: tenant(), key_id, command: Digest::of(b"command") }
}

fn seal_to(threshold: u8, count: u8) -> SealTo {
    let one =
        |number: u8| (Fingerprint::from_bytes([number; 32]), SealingKey::from_bytes(&holder(number).public()).unwrap());
    SealTo { threshold, to: (1..=count).map(one).collect() }
}

/// A key that two of three shares open.
pub(crate) fn generate(store: &SoftwareStore, key_id: KeyId) -> Result<(Generated, Sealing), PortError> {
    store.generate_sealed(tenant(), key_id, Algorithm::Aes256Gcm, Digest::of(b"command"), &seal_to(2, 3))
}

/// The shares of these numbers, opened by their holders.
pub(crate) fn shares(key_id: KeyId, sealing: &Sealing, numbers: &[u8]) -> Vec<Share> {
    let open = |number: &u8| {
        let held = &sealing.shares[usize::from(*number) - 1];
        let info = subject(key_id).share_info(held.to, *number, sealing.threshold);
        Share::new(*number, &seal::open(&holder(*number), &info, &[], &held.share).unwrap()).unwrap()
    };
    numbers.iter().map(open).collect()
}

/// Every byte of every file below a folder.
fn disk(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        bytes.extend(if entry.is_dir() { disk(&entry) } else { std::fs::read(&entry).unwrap() });
    }
    bytes
}

/// The attack: the whole disk, the master key (and so both wrapping keys and the seal key), and fewer shares than it takes,
/// opened. What is there is the closed key, and nothing opens it; with one share more it opens.
#[test]
fn the_whole_store_and_its_master_key_and_too_few_shares_open_nothing() {
    let mut bench = Bench::new();
    let key_id = bench.unused_id();
    let made =
        bench.store().generate_sealed(tenant(), key_id, Algorithm::Aes256Gcm, Digest::of(b"command"), &seal_to(3, 4));
    let (_, sealing) = made.unwrap();
    bench.store = None;
    let stolen = disk(bench.directory.path());
    bench.restart();

    // As the store itself reads it, with every key that it has.
    let (record, secret) = bench.shelf(false).read(&record::id(tenant(), key_id)).unwrap().unwrap();
    let Some(Secret::Sealed(closed)) = secret else { panic!("not sealed") };
    assert_eq!(record.sealed.as_ref().unwrap().sealing, sealing);
    for numbers in [&[][..], &[1], &[4], &[1, 2], &[2, 4], &[3, 3, 1]] {
        let few = shares(key_id, &sealing, numbers);
        let refused = sealed::open(&subject(key_id), &sealing, &closed, &few);
        assert!(matches!(refused, Err(PortError::SharesMissing { .. })), "{numbers:?}");
        // Whoever has the code leaves the check out: what two shares of three give is another key, and the cipher says so.
        let lowered = Sealing { threshold: 2, ..sealing.clone() };
        assert!(sealed::open(&subject(key_id), &lowered, &closed, &few).is_err(), "{numbers:?}");
    }
    let opened = sealed::open(&subject(key_id), &sealing, &closed, &shares(key_id, &sealing, &[1, 2, 4])).unwrap();
    let shows = |bytes: &[u8]| bytes.windows(8).any(|window| opened.windows(8).any(|part| part == window));
    assert!(!shows(&stolen), "on the disk");
    assert!(!shows(&closed), "in what is wrapped");

    bench.store().unseal(tenant(), key_id, &shares(key_id, &sealing, &[1, 2, 4])).unwrap();
    let (_, secret) = bench.shelf(false).read(&record::id(tenant(), key_id)).unwrap().unwrap();
    assert_eq!(secret, Some(Secret::Open(opened)), "which is the key");
}

/// A share of another key, even of the same people under the same command, opens nothing here.
#[test]
fn shares_of_another_key_are_none_of_this_one() {
    let mut bench = Bench::new();
    let (one, other) = (bench.unused_id(), bench.unused_id());
    let (_, of_one) = generate(bench.store(), one).unwrap();
    let (_, of_other) = generate(bench.store(), other).unwrap();
    let mut mixed = shares(other, &of_other, &[1, 2, 3]);
    mixed.extend(shares(one, &of_one, &[2]));
    let refused = bench.store().unseal(tenant(), one, &mixed);
    assert!(matches!(refused, Err(PortError::SharesMissing { good: 1, .. })), "{refused:?}");
    // Nor does what was sealed for the one open as if it were for the other.
    let info = subject(other).share_info(of_other.shares[0].to, 1, 2);
    assert!(seal::open(&holder(1), &info, &[], &of_one.shares[0].share).is_err());
}

/// A record whose wrapped part was put into another's place does not authenticate; a sealed one does not pass for open.
#[test]
fn a_sealed_record_is_bound_as_a_whole() {
    use model::event::Inventory;
    let mut bench = Bench::new();
    let key_id = bench.unused_id();
    generate(bench.store(), key_id).unwrap();
    let id = record::id(tenant(), key_id);
    let shelf = bench.shelf(false);
    let (record, secret) = shelf.read(&id).unwrap().unwrap();
    let ring = shelf.ring();
    let bytes = record.seal(&ring.current, Inventory::PreActive, &id, secret.as_ref()).unwrap();
    assert_eq!(bytes[0], 2, "the version");
    assert_eq!(bytes.len(), 59 + 3 + 3 + 3 * 176 + 8 + 12 + 48 + 16);
    let (again, unwrapped) = record::Record::open(&ring, Inventory::PreActive, &id, &bytes).unwrap();
    assert_eq!((&again, &unwrapped), (&record, &secret));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(record::Record::open(&ring, Inventory::PreActive, &id, &changed).is_err(), "byte {at}");
        assert!(record::Record::open(&ring, Inventory::PreActive, &id, &bytes[..at]).is_err(), "cut at {at}");
    }
    let forms = format!("{record:?} {secret:?}");
    assert!(!forms.contains("Open"), "{forms}");
}

/// Backup and restore, a new master key, new wrapping keys: a sealed key stays sealed, and opens with its shares; one that
/// was opened stays open.
#[test]
fn upkeep_leaves_sealed_keys_as_they_are() {
    let mut bench = Bench::new();
    let keys = [bench.unused_id(), bench.unused_id(), bench.unused_id()];
    let sealings = keys.map(|key_id| generate(bench.store(), key_id).unwrap().1);
    let open = |store: &SoftwareStore, at: usize| {
        store.unseal(tenant(), keys[at], &shares(keys[at], &sealings[at], &[3, 2])).unwrap();
    };
    open(bench.store(), 1);
    open(bench.store(), 2);
    bench.store().apply(tenant(), keys[2], KeyState::Active).unwrap();

    let masters = bench.masters();
    bench.store().rewrap(&masters).unwrap();
    bench.store().rekey(&masters, None).unwrap();
    let (backup, restored) = (bench.directory.path().join("backup"), bench.directory.path().join("restored"));
    let checked = bench.store().backup(&backup, &masters).unwrap();
    assert_eq!((checked.pre_active, checked.active), (2, 1));
    SoftwareStore::restore(&backup, &restored, &masters, &masters).unwrap();
    let restored = SoftwareStore::open(&restored, "software".parse().unwrap(), &masters).unwrap();
    bench.restart();
    for store in [bench.store(), &restored] {
        assert_eq!(store.check().unwrap(), checked);
        for (key_id, sealing) in keys.iter().zip(&sealings) {
            assert_eq!(generate(store, *key_id).unwrap().1, *sealing, "the shares are kept");
        }
        assert!(matches!(store.apply(tenant(), keys[0], KeyState::Active), Err(PortError::Sealed(_))));
        open(store, 0);
        for (at, key_id) in keys.into_iter().enumerate() {
            store.apply(tenant(), key_id, KeyState::Active).unwrap();
            let asked = Use::Encrypt { plaintext: b"hush", aad: b"" };
            let output = store.perform(tenant(), key_id, &asked, Permit::WhileActive);
            assert!(matches!(output, Ok(Output::Ciphertext(_))), "key {at}");
        }
    }
}

//! Every change, cut short at every commit, before it and after it: what is then on the disk is the state before or the
//! state after, nothing is lost, and doing it again gives the answer of an undisturbed run.

use keystore::nonces::BLOCKS_MAX;
use keystore::{Error as PortError, KeyStore, Material, Output, Permit, Use};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};
use tempfile::TempDir;

use crate::files::tests as files;
use crate::master::MasterKeys;
use crate::master::tests::masters_of;
use crate::record::{self, Secret};
use crate::sealed_tests;
use crate::shelf::Shelf;
use crate::writer::tests::Fault;
use crate::{Error, SoftwareStore};

/// A change that the matrix goes through: the key's way up to it, and the change.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: &'static [KeyState],
    change: Change,
    /// How many commits it takes, by shelf: pre-active, active.
    commits: (u64, u64),
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Generate,
    Apply(KeyState),
    Encrypt,
    /// A key that two of three shares open.
    GenerateSealed,
    Unseal,
    /// Of a sealed key, its shares brought before.
    ApplySealed(KeyState),
}

impl Change {
    /// Whether it is of a sealed key.
    fn is_sealed(self) -> bool {
        matches!(self, Self::GenerateSealed | Self::Unseal | Self::ApplySealed(_))
    }
}

const fn case(way: &'static [KeyState], to: KeyState, commits: (u64, u64)) -> Case {
    Case { way, change: Change::Apply(to), commits }
}

const CASES: [Case; 23] = {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
    [
        Case { way: &[], change: Change::Generate, commits: (1, 0) },
        Case { way: &[Active], change: Change::Encrypt, commits: (0, 1) },
        case(&[], PreActive, (0, 0)),
        case(&[], Active, (1, 1)),
        case(&[], Compromised, (1, 0)),
        case(&[], Destroyed, (1, 0)),
        case(&[Compromised], DestroyedCompromised, (1, 0)),
        case(&[Destroyed], DestroyedCompromised, (1, 0)),
        case(&[Active], Suspended, (0, 1)),
        case(&[Active], Deactivated, (0, 1)),
        case(&[Active], Compromised, (0, 1)),
        case(&[Active], Destroyed, (0, 1)),
        case(&[Active, Suspended], Active, (0, 1)),
        case(&[Active, Suspended], Destroyed, (0, 1)),
        case(&[Active, Deactivated], Destroyed, (0, 1)),
        case(&[Active, Compromised], DestroyedCompromised, (0, 1)),
        case(&[Active, Destroyed], DestroyedCompromised, (0, 1)),
        case(&[Active, Suspended], Compromised, (0, 1)),
        Case { way: &[], change: Change::GenerateSealed, commits: (1, 0) },
        Case { way: &[], change: Change::Unseal, commits: (1, 0) },
        Case { way: &[], change: Change::ApplySealed(Active), commits: (1, 1) },
        Case { way: &[Active], change: Change::ApplySealed(Suspended), commits: (0, 1) },
        Case { way: &[], change: Change::ApplySealed(Destroyed), commits: (1, 0) },
    ]
};

/// A store in a directory that goes with it.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) store: Option<SoftwareStore>,
    keys: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let masters = masters_of(directory.path(), "master");
        let store =
            SoftwareStore::create(&directory.path().join("store"), "software".parse().unwrap(), &masters).unwrap();
        Self { directory, store: Some(store), keys: 0 }
    }

    pub(crate) fn store(&self) -> &SoftwareStore {
        self.store.as_ref().unwrap()
    }

    /// What a crash leaves: what was committed.
    pub(crate) fn restart(&mut self) {
        self.store = None;
        let path = self.directory.path().join("store");
        self.store = Some(SoftwareStore::open(&path, "software".parse().unwrap(), &self.masters()).unwrap());
    }

    pub(crate) fn masters(&self) -> MasterKeys {
        masters_of(self.directory.path(), "master")
    }

    pub(crate) fn unused_id(&mut self) -> KeyId {
        self.keys += 1;
        format!("01930000-0000-7000-8000-{:012x}", self.keys).parse().unwrap()
    }

    /// A key that stands before the case's change.
    fn prepare(&mut self, case: Case) -> KeyId {
        let key_id = self.unused_id();
        let births: &[Change] = match case.change {
            Change::Generate | Change::GenerateSealed => &[],
            Change::Unseal => &[Change::GenerateSealed],
            Change::ApplySealed(_) => &[Change::GenerateSealed, Change::Unseal],
            _ => &[Change::Generate],
        };
        for birth in births {
            self.run(key_id, *birth).unwrap();
        }
        for state in case.way {
            self.run(key_id, Change::Apply(*state)).unwrap();
        }
        key_id
    }

    /// Makes the change; what it answers, as far as it does not depend on the key.
    fn run(&self, key_id: KeyId, change: Change) -> Result<String, PortError> {
        let store = self.store();
        match change {
            Change::Generate => store
                .generate(tenant(), key_id, Algorithm::Aes256Gcm, Digest::of(b"command"))
                .map(|generated| format!("{:?}", generated.wrapping_key)),
            Change::GenerateSealed => {
                let (generated, sealing) = sealed_tests::generate(store, key_id)?;
                Ok(format!("{:?} {}", generated.wrapping_key, sealing.threshold))
            }
            Change::Unseal => {
                let (_, sealing) = sealed_tests::generate(store, key_id)?;
                let shares = sealed_tests::shares(key_id, &sealing, &[1, 3]);
                store.unseal(tenant(), key_id, &shares).map(|()| "opened".to_owned())
            }
            Change::Apply(state) | Change::ApplySealed(state) => {
                store.apply(tenant(), key_id, state).map(|applied| format!("{applied:?}"))
            }
            Change::Encrypt => {
                let asked = Use::Encrypt { plaintext: b"hush", aad: b"" };
                let output = store.perform(tenant(), key_id, &asked, Permit::WhileActive)?;
                let Output::Ciphertext(ciphertext) = output else { panic!("no ciphertext") };
                Ok(format!("{} bytes", ciphertext.len()))
            }
        }
    }

    /// State and place.
    fn standing(&self, key_id: KeyId) -> Option<String> {
        let held = self.store().get(tenant(), key_id).unwrap()?;
        Some(format!("{} {:?}", held.state, held.place))
    }

    pub(crate) fn shelf(&self, active: bool) -> &Shelf {
        if active { &self.store().active } else { &self.store().pre_active }
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

#[track_caller]
fn check_fault(bench: &mut Bench, case: Case, active: bool, fault: Fault, restart: bool) {
    let control = bench.prepare(case);
    let key_id = bench.prepare(case);
    let (was, identity) =
        (bench.standing(key_id), bench.store().get(tenant(), key_id).unwrap().map(|held| held.identity));
    let answer = bench.run(control, case.change).unwrap();
    let becomes = bench.standing(control);
    let context = format!("{case:?}, active shelf: {active}, {fault:?}, restart: {restart}");

    bench.shelf(active).writer.faults.set(Some(fault));
    let outcome = bench.run(key_id, case.change);
    assert!(matches!(outcome, Err(PortError::Storage(_))), "{context}: {outcome:?}");
    if restart {
        bench.restart();
    }
    let between = bench.standing(key_id);
    assert!(between == was || between == becomes, "{context}: {between:?}");
    bench.store().check().unwrap();

    assert_eq!(bench.run(key_id, case.change).unwrap(), answer, "{context}: the same answer");
    assert_eq!(bench.standing(key_id), becomes, "{context}");
    let id = record::id(tenant(), key_id);
    let shelves = usize::from(bench.shelf(false).has(&id).unwrap()) + usize::from(bench.shelf(true).has(&id).unwrap());
    assert_eq!(shelves, 1, "{context}: in one inventory");
    if case.change.is_sealed() && !matches!(case.change, Change::ApplySealed(KeyState::Destroyed)) {
        bench.run(key_id, Change::Unseal).unwrap();
        bench.run(key_id, Change::ApplySealed(KeyState::Active)).unwrap();
        bench.run(key_id, Change::Encrypt).unwrap();
    }
    let held = bench.store().get(tenant(), key_id).unwrap().unwrap();
    assert!(identity.is_none_or(|identity| identity == held.identity), "{context}: the same key");
}

#[test]
fn every_change_survives_a_crash_at_every_commit() {
    let bench = &mut Bench::new();
    for case in CASES {
        // How many commits it takes is part of what is tested: a fault that nothing strikes would prove nothing.
        let key_id = bench.prepare(case);
        let before = (bench.shelf(false).writer.commits(), bench.shelf(true).writer.commits());
        bench.run(key_id, case.change).unwrap();
        let commits = (bench.shelf(false).writer.commits() - before.0, bench.shelf(true).writer.commits() - before.1);
        assert_eq!(commits, case.commits, "{case:?}");
        for (active, commits) in [(false, commits.0), (true, commits.1)] {
            for fault in [Fault::Failed, Fault::FailedButPersisted] {
                for restart in [false, true] {
                    if commits > 0 {
                        check_fault(bench, case, active, fault, restart);
                    }
                }
            }
        }
    }
}

#[test]
fn one_fault_after_another_is_survived_too() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[3]);
    for active in [true, false, true, false] {
        for fault in [Fault::Failed, Fault::FailedButPersisted] {
            bench.shelf(active).writer.faults.set(Some(fault));
            let _ = bench.run(key_id, Change::Apply(KeyState::Active));
            bench.shelf(active).writer.faults.set(None);
        }
    }
    bench.run(key_id, Change::Apply(KeyState::Active)).unwrap();
    assert!(!bench.shelf(false).has(&record::id(tenant(), key_id)).unwrap());
    bench.run(key_id, Change::Encrypt).unwrap();
}

/// The move was cut short, and the key destroyed before anyone finished it: no inventory may keep the material.
#[test]
fn destruction_removes_a_remainder() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[3]);
    let id = record::id(tenant(), key_id);
    bench.shelf(false).writer.faults.set(Some(Fault::Failed));
    bench.run(key_id, Change::Apply(KeyState::Active)).unwrap_err();
    assert!(!bench.shelf(false).writer.faults.waiting());
    assert!(bench.shelf(false).has(&id).unwrap() && bench.shelf(true).has(&id).unwrap(), "in both");
    let listed = &mut 0;
    let mut count = |_| {
        *listed += 1;
        std::ops::ControlFlow::Continue(())
    };
    bench.store().list(None, &mut count).unwrap();
    assert_eq!(*listed, 1, "and still one key");

    bench.run(key_id, Change::Apply(KeyState::Destroyed)).unwrap();
    assert!(!bench.shelf(false).has(&id).unwrap());
    assert!(bench.shelf(true).read(&id).unwrap().unwrap().1.is_none());
}

/// Opening finishes a move: a key that is active has no place among the pre-active ones.
#[test]
fn opening_removes_a_remainder() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[3]);
    bench.shelf(false).writer.faults.set(Some(Fault::Failed));
    bench.run(key_id, Change::Apply(KeyState::Active)).unwrap_err();
    bench.restart();
    assert!(!bench.shelf(false).has(&record::id(tenant(), key_id)).unwrap());
    bench.run(key_id, Change::Encrypt).unwrap();
}

#[test]
fn a_key_whose_nonces_are_used_up_encrypts_no_more() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[1]);
    let id = record::id(tenant(), key_id);
    let ciphertext = {
        let asked = Use::Encrypt { plaintext: b"hush", aad: b"" };
        let output = bench.store().perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
        let Output::Ciphertext(ciphertext) = output else { panic!("no ciphertext") };
        ciphertext
    };
    let (mut record, secret) = bench.shelf(true).read(&id).unwrap().unwrap();
    assert_eq!(record.blocks_reserved, 1, "one block for many encryptions");
    record.blocks_reserved = BLOCKS_MAX;
    bench.shelf(true).put(&id, &record, secret.as_ref()).unwrap();
    bench.run(key_id, Change::Encrypt).unwrap();
    bench.restart();
    let refused = bench.run(key_id, Change::Encrypt);
    assert!(matches!(refused, Err(PortError::Exhausted(id)) if id == key_id), "{refused:?}");
    let wrap = bench.store().perform(tenant(), key_id, &Use::Wrap, Permit::WhileActive);
    assert!(matches!(wrap, Err(PortError::Exhausted(_))));
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"" };
    bench.store().perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
}

/// A second restart takes a second block.
#[test]
fn a_restart_never_gives_an_encryption_out_twice() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[1]);
    for blocks in 1..4 {
        bench.run(key_id, Change::Encrypt).unwrap();
        bench.run(key_id, Change::Encrypt).unwrap();
        let (record, _) = bench.shelf(true).read(&record::id(tenant(), key_id)).unwrap().unwrap();
        assert_eq!(record.blocks_reserved, blocks);
        bench.restart();
    }
}

/// Neither the disk nor anything printable shows a key in the clear.
#[test]
fn no_key_shows_anywhere() {
    let bench = &mut Bench::new();
    let key_id = bench.prepare(CASES[3]);
    let id = record::id(tenant(), key_id);
    let (_, secret) = bench.shelf(false).read(&id).unwrap().unwrap();
    let Some(Secret::Open(secret)) = secret else { panic!("no key") };
    bench.run(key_id, Change::Apply(KeyState::Active)).unwrap();
    let path = bench.directory.path().join("store");
    for file in ["pre-active/keys.redb", "active/keys.redb", "keyring"] {
        let bytes = std::fs::read(path.join(file)).unwrap();
        assert!(!bytes.windows(16).any(|window| secret.windows(16).any(|part| part == window)), "{file}");
    }
    let (record, _) = bench.shelf(true).read(&id).unwrap().unwrap();
    let material = Material::from_secret(Algorithm::Aes256Gcm, &secret).unwrap();
    let damaged: PortError = bench.shelf(true).unseal(&bench.shelf(true).ring(), &id, b"nonsense").unwrap_err().into();
    let shown = format!("{:?} {record:?} {material:?} {damaged:?} {damaged}", bench.store());
    let forms = [data_encoding::HEXLOWER.encode(&secret[..8]), data_encoding::BASE64.encode(&secret[..9])];
    assert!(forms.iter().all(|form| !shown.contains(form)), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &secret[..4]).replace(['[', ']'], "")), "{shown}");
}

/// Golden bytes: a store outlives the release that wrote it.
#[test]
fn a_record_is_these_bytes() {
    use model::event::Inventory;
    use model::key::KeyIdentity;
    use model::text::Base64;
    let record = record::Record {
        algorithm: Algorithm::Aes256Gcm,
        state: KeyState::Active,
        before: Some((Inventory::PreActive, crate::wrapping::WrappingKeyId(*b"8 bytes."))),
        born: crate::wrapping::WrappingKeyId(*b"at birth"),
        command: Digest::new([0xcc; 32]),
        blocks_reserved: 0x0102_0304,
        identity: KeyIdentity::CheckValue(Base64(vec![1, 2, 3])),
        sealed: None,
    };
    let directory = tempfile::tempdir().unwrap();
    let ring = crate::wrapping::Ring::of(Inventory::Active, &[zeroize::Zeroizing::new([5; 32])]).unwrap();
    let key = &ring.current;
    let id = record::id(tenant(), "01930000-0000-7000-8000-00000000000a".parse().unwrap());
    let secret = Secret::Open(zeroize::Zeroizing::new(vec![9; 32]));
    let bytes = record.seal(key, Inventory::Active, &id, Some(&secret)).unwrap();
    let wanted =
        [&[2, 1, 1, 1][..], b"8 bytes.at birth", &[0xcc; 32], &[1, 2, 3, 4, 2, 0, 3, 1, 2, 3, 0], &key.id.0].concat();
    assert_eq!(bytes[..wanted.len()], wanted);
    assert_eq!(bytes.len(), wanted.len() + 12 + 32 + 16);
    let (again, unwrapped) = record::Record::open(&ring, Inventory::Active, &id, &bytes).unwrap();
    assert_eq!((&again, &unwrapped.unwrap()), (&record, &secret));

    // The first version is read still: an identity's length was one byte.
    let mut first =
        [&[1, 1, 1, 1][..], b"8 bytes.at birth", &[0xcc; 32], &[1, 2, 3, 4, 2, 3, 1, 2, 3], &key.id.0].concat();
    let aad = record::aad(Inventory::Active, &id, &first);
    first.extend(key.wrap(&aad, &[9; 32]).unwrap());
    let (again, unwrapped) = record::Record::open(&ring, Inventory::Active, &id, &first).unwrap();
    assert_eq!((again, unwrapped.unwrap()), (record, secret));

    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(record::Record::open(&ring, Inventory::Active, &id, &changed).is_err(), "byte {at}");
        assert!(record::Record::open(&ring, Inventory::Active, &id, &bytes[..at]).is_err(), "cut at {at}");
    }
    let mut elsewhere = id;
    elsewhere[0] ^= 1;
    assert!(record::Record::open(&ring, Inventory::Active, &elsewhere, &bytes).is_err(), "another tenant");
    let mut elsewhere = id;
    elsewhere[47] ^= 1;
    assert!(record::Record::open(&ring, Inventory::Active, &elsewhere, &bytes).is_err(), "another key");
    assert!(record::Record::open(&ring, Inventory::PreActive, &id, &bytes).is_err(), "another inventory");
    assert!(matches!(Error::damaged(directory.path(), "x"), Error::Damaged { .. }));
}

// === Upkeep: what writes the keyring ===

/// What is cut short at each of its steps.
type Upkeep<'a> = &'a dyn Fn(&mut Bench) -> Result<(), Error>;

/// Keys of which a store is made that is cut short: the way of each, and where it ends.
const WAYS: [(&[KeyState], KeyState); 4] = {
    use KeyState::{Active, Deactivated, Destroyed, PreActive, Suspended};
    [
        (&[], PreActive),
        (&[Active, Suspended], Suspended),
        (&[Destroyed], Destroyed),
        (&[Active, Deactivated], Deactivated),
    ]
};

fn bench_with_keys() -> (Bench, Vec<KeyId>) {
    let mut bench = Bench::new();
    let keys = WAYS.map(|(way, _)| bench.prepare(case(way, KeyState::PreActive, (0, 0)))).to_vec();
    (bench, keys)
}

/// Cuts it short at every step on files in turn, then at every commit of either database, with a restart and without one:
/// the store opens, has every key, and doing it again completes it.
fn cut_short_everywhere(prepare: &dyn Fn(&mut Bench), upkeep: Upkeep<'_>, steps: u32, commits: (u32, u32)) {
    for fault in [Fault::Failed, Fault::FailedButPersisted] {
        for restart in [false, true] {
            let mut struck = 0;
            for step in 0.. {
                let (mut bench, keys) = bench_with_keys();
                prepare(&mut bench);
                files::set_fault(Some((step, fault)));
                let outcome = upkeep(&mut bench);
                let waits = files::fault_waits();
                files::set_fault(None);
                if waits {
                    outcome.unwrap();
                    break;
                }
                assert!(outcome.is_err(), "step {step}");
                struck += 1;
                completes(bench, &keys, upkeep, restart, &format!("{fault:?} of step {step}, restart: {restart}"));
            }
            assert_eq!(struck, steps, "{fault:?}");
            for (active, commits) in [(false, commits.0), (true, commits.1)] {
                for commit in 0..commits {
                    let (mut bench, keys) = bench_with_keys();
                    prepare(&mut bench);
                    bench.shelf(active).writer.faults.set_after(commit, Some(fault));
                    assert!(upkeep(&mut bench).is_err(), "commit {commit}");
                    assert!(!bench.shelf(active).writer.faults.waiting());
                    let what = format!("{fault:?} of commit {commit}, active: {active}, restart: {restart}");
                    completes(bench, &keys, upkeep, restart, &what);
                }
            }
        }
    }
}

fn completes(mut bench: Bench, keys: &[KeyId], upkeep: Upkeep<'_>, restart: bool, what: &str) {
    let works = |bench: &mut Bench| {
        bench.store().check().unwrap_or_else(|error| panic!("{what}: {error}"));
        for (key, (_, wanted)) in keys.iter().zip(WAYS) {
            assert_eq!(bench.store().get(tenant(), *key).unwrap().unwrap().state, wanted, "{what}");
        }
        let new = bench.prepare(CASES[1]);
        bench.run(new, Change::Encrypt).unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    if bench.store.is_none() || restart {
        bench.restart();
    }
    works(&mut bench);
    upkeep(&mut bench).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    works(&mut bench);
    assert!(!bench.store().is_rewrapping(), "{what}");
    bench.restart();
    works(&mut bench);
    let left: Vec<_> = std::fs::read_dir(bench.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let of_no_use = |path: &&std::path::PathBuf| path.to_string_lossy().contains(".partial");
    assert_eq!(left.iter().find(of_no_use), None, "{what}");
}

#[test]
fn a_rotation_of_the_master_key_survives_a_crash_at_every_step() {
    let rekey = |bench: &mut Bench| {
        let masters = bench.masters();
        let rekeyed = bench.store().rekey(&masters, None)?;
        assert_eq!(bench.store().master_key()?, rekeyed.after);
        Ok(())
    };
    // The new key, the keyring, the old key's name, the new key's name.
    cut_short_everywhere(&|_| {}, &rekey, 4, (0, 0));
}

#[test]
fn a_rotation_of_the_wrapping_keys_survives_a_crash_at_every_step() {
    let rewrap = |bench: &mut Bench| bench.store().rewrap(&bench.masters()).map(|_| ());
    // The keyring with both keys, the keyring with the new one; of each database its one page, and the key's name.
    cut_short_everywhere(&|_| {}, &rewrap, 2, (2, 2));
}

/// A store from before there were keyrings: opening it wraps what lay in the clear.
#[test]
fn opening_an_old_store_survives_a_crash_at_every_step() {
    let make_old = |bench: &mut Bench| {
        bench.store = None;
        let (store, masters) = (bench.directory.path().join("store"), bench.masters());
        crate::keyring::tests::make_old(&store, &masters);
        assert!(SoftwareStore::is_old(&store));
        std::fs::remove_file(bench.directory.path().join("master")).unwrap();
    };
    let open = |bench: &mut Bench| {
        bench.store = None;
        let path = bench.directory.path().join("store");
        bench.store = Some(SoftwareStore::open(&path, "software".parse().unwrap(), &bench.masters())?);
        let left = ["seal.key", "pre-active/wrapping.key", "active/wrapping.key"].map(|file| path.join(file).exists());
        assert_eq!(left, [false; 3], "nothing is left in the clear");
        assert!(!SoftwareStore::is_old(&path));
        Ok(())
    };
    // The master key, the keyring, three key files.
    cut_short_everywhere(&make_old, &open, 5, (0, 0));
}

#[test]
fn rejects_an_old_store_whose_key_files_are_damaged_or_anothers() {
    let (mut bench, _) = bench_with_keys();
    bench.store = None;
    let (store, masters) = (bench.directory.path().join("store"), bench.masters());
    crate::keyring::tests::make_old(&store, &masters);
    let open = || SoftwareStore::open(&store, "software".parse().unwrap(), &masters).map(|_| ());
    for part in ["seal.key", "pre-active/wrapping.key", "active/wrapping.key"] {
        let path = store.join(part);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(matches!(open(), Err(Error::Damaged { path, .. }) if path.ends_with(part)), "{part}, byte {at}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(open(), Err(Error::Missing { path, .. }) if path.ends_with(part)), "{part}");
        std::fs::copy(bench.directory.path().join("master"), &path).unwrap();
        assert!(matches!(open(), Err(Error::Damaged { .. })), "{part}");
        std::fs::write(&path, whole).unwrap();
    }
    assert!(SoftwareStore::is_old(&store), "nothing was changed");
    open().unwrap();
    // A key file that turns up beside the keyring, and is not this store's.
    let (mut stranger, _) = bench_with_keys();
    stranger.store = None;
    let other = stranger.directory.path().join("store");
    crate::keyring::tests::make_old(&other, &stranger.masters());
    std::fs::copy(other.join("seal.key"), store.join("seal.key")).unwrap();
    assert!(matches!(open(), Err(Error::Misplaced { .. })));
}

//! Backups: whole, at one moment, checked, and of no use without the master key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use keystore::{KeyStore as _, Output, Permit, Use};
use keystore_software::{Checked, Error, MasterKeys, SoftwareStore, Source};
use model::{Algorithm, KeyState};

use crate::{Bench, command, key, list, name, tenant};

impl Bench {
    fn backup(&self) -> PathBuf {
        self.directory.path().join("backup")
    }

    /// Restores a backup beside the store.
    fn restore(&self, from: &std::path::Path, to: &str) -> Result<SoftwareStore, Error> {
        let (masters, to) = (self.masters(), self.directory.path().join(to));
        SoftwareStore::restore(from, &to, &masters, &masters)?;
        SoftwareStore::open(&to, name(), &masters)
    }
}

#[test]
fn a_backup_is_the_store_again() {
    let bench = Bench::with_keys();
    let asked = Use::Encrypt { plaintext: b"hush", aad: b"aad" };
    let Ok(Output::Ciphertext(ciphertext)) = bench.store().perform(tenant(), key(2), &asked, Permit::WhileActive)
    else {
        panic!("no ciphertext")
    };
    let wanted = list(bench.store());
    let checked = bench.store().check().unwrap();
    assert_eq!(checked, Checked { pre_active: 1, active: 1, destroyed: 1 });

    assert_eq!(bench.store().backup(&bench.backup(), &bench.masters()).unwrap(), checked);
    bench.store().apply(tenant(), key(1), KeyState::Destroyed).unwrap();
    assert!(!bench.directory.path().join("backup.partial").exists());

    let restored = bench.restore(&bench.backup(), "restored").unwrap();
    assert_eq!(list(&restored), wanted, "as it was at that moment");
    assert_eq!(restored.check().unwrap(), checked);
    assert_eq!(restored.seal_key(), bench.store().seal_key());
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"aad" };
    let output = restored.perform(tenant(), key(2), &asked, Permit::WhileActive).unwrap();
    assert!(matches!(output, Output::Plaintext(plaintext) if **plaintext == *b"hush"));
    restored.apply(tenant(), key(1), KeyState::Active).unwrap();
}

#[test]
fn a_backup_is_the_owners_alone_and_overwrites_nothing() {
    let bench = Bench::with_keys();
    let (to, masters) = (bench.backup(), bench.masters());
    bench.store().backup(&to, &masters).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read(&to).unwrap();
    assert!(matches!(bench.store().backup(&to, &masters), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&to).unwrap(), whole);
    let restored = SoftwareStore::restore(&to, &bench.path(), &masters, &masters);
    assert!(matches!(restored, Err(Error::Exists { .. })), "a store is not restored over");
}

/// Neither what is in it nor the right to change it comes without the master key.
#[test]
fn a_backup_is_of_no_use_without_the_master_key() {
    let bench = Bench::with_keys();
    let (backup, folder) = (bench.backup(), bench.directory.path());
    bench.store().backup(&backup, &bench.masters()).unwrap();
    let other = MasterKeys::own(folder.join("other"));
    drop(SoftwareStore::create(&folder.join("others"), name(), &other).unwrap());
    for masters in [other, MasterKeys::new(Vec::new())] {
        let refused = SoftwareStore::restore(&backup, &folder.join("restored"), &masters, &masters).err();
        assert!(matches!(refused, Some(Error::NoMasterKey { .. })), "{refused:?}");
        assert!(!folder.join("restored").exists(), "and nothing was made");
        let to = folder.join("another-backup");
        let refused = bench.store().backup(&to, &masters).err();
        assert!(matches!(refused, Some(Error::NoMasterKey { .. })), "{refused:?}");
        assert!(!to.exists());
    }
}

/// The platform's master key may be another one by the time that an old backup is needed.
#[test]
fn a_backup_under_a_retired_master_key_is_restored_under_the_present_one() {
    let bench = Bench::with_keys();
    let wanted = list(bench.store());
    bench.store().backup(&bench.backup(), &bench.masters()).unwrap();
    let before = bench.store().rekey(&bench.masters(), None).unwrap().before;
    assert!(matches!(bench.restore(&bench.backup(), "early"), Err(Error::NoMasterKey { .. })));
    let retired = bench.directory.path().join(format!("master.retired-{before}"));
    let (retired, to) = (MasterKeys::new(vec![Source::File(retired)]), bench.directory.path().join("restored"));
    SoftwareStore::restore(&bench.backup(), &to, &retired.and(&bench.masters()), &bench.masters()).unwrap();
    let restored = SoftwareStore::open(&to, name(), &bench.masters()).unwrap();
    assert_eq!(list(&restored), wanted);
    assert_eq!(restored.master_key().unwrap(), bench.store().master_key().unwrap());
}

#[test]
fn rejects_a_backup_with_any_byte_changed_or_cut_anywhere() {
    let bench = Bench::with_keys();
    let (backup, masters) = (bench.backup(), bench.masters());
    bench.store().backup(&backup, &masters).unwrap();
    let whole = fs::read(&backup).unwrap();
    let to = bench.directory.path().join("restored");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&backup, bytes).unwrap();
        let refused = SoftwareStore::restore(&backup, &to, &masters, &masters).err();
        assert!(matches!(&refused, Some(Error::Damaged { path, .. }) if *path == backup), "{what}: {refused:?}");
        assert!(!to.exists() && !to.with_extension("partial").exists());
    };
    for at in (0..whole.len()).step_by(3) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        refused(&changed, &format!("byte {at}"));
        refused(&whole[..at], &format!("cut at {at}"));
    }
    refused(&[&whole[..], b"x"].concat(), "a byte more");
    // A record left out: what is left is authentic record by record, and not as a whole.
    let record = whole.windows(16).position(|window| window == key(1).as_bytes()).unwrap() - 33;
    let length = u32::from_be_bytes(whole[record + 49..record + 53].try_into().unwrap()) as usize;
    refused(&[&whole[..record], &whole[record + 53 + length..]].concat(), "a record less");
    fs::write(&backup, &whole).unwrap();
    SoftwareStore::restore(&backup, &to, &masters, &masters).unwrap();
}

/// A backup that can't be whole is none.
#[test]
fn a_backup_of_a_damaged_store_fails_and_leaves_nothing() {
    use redb::{Database, TableDefinition};
    let mut bench = Bench::with_keys();
    bench.close();
    {
        let database = Database::open(bench.path().join("active/keys.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let id = [&tenant().as_bytes()[..], key(2).as_bytes()].concat();
        let table = TableDefinition::<&[u8], &[u8]>::new("keys");
        transaction.open_table(table).unwrap().insert(&id[..], &b"nonsense"[..]).unwrap();
        transaction.commit().unwrap();
    }
    let store = bench.open().unwrap();
    assert!(matches!(store.backup(&bench.backup(), &bench.masters()), Err(Error::Damaged { .. })));
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 2, "the store and its master key");
}

/// Taken while keys are born and activated: every key in it is whole, in one place, and those acknowledged before the
/// backup began are there.
#[test]
fn a_backup_under_load_is_of_one_moment() {
    let bench = Bench::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (store, stop) = (bench.store(), &stop);
        // The others end even if this thread panics.
        let _stops = Stops(stop);
        let (told, ready) = std::sync::mpsc::channel();
        for thread in 0..4 {
            let told = told.clone();
            scope.spawn(move || {
                for number in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let key_id = key(thread * 1_000_000 + number);
                    store.generate(tenant(), key_id, Algorithm::Ed25519, command()).unwrap();
                    store.apply(tenant(), key_id, KeyState::Active).unwrap();
                    let asked = Use::Sign { digest: &[7; 64] };
                    store.perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
                    let _ = told.send(key_id);
                }
            });
        }
        for round in 0..3 {
            let acknowledged: Vec<_> = ready.iter().take(20).collect();
            let to = bench.directory.path().join(format!("backup-{round}"));
            let checked = store.backup(&to, &bench.masters()).unwrap();
            let restored = bench.restore(&to, &format!("restored-{round}")).unwrap();
            assert_eq!(list(&restored).len() as u64, checked.pre_active + checked.active);
            for key_id in acknowledged {
                assert_eq!(restored.get(tenant(), key_id).unwrap().unwrap().state, KeyState::Active);
            }
        }
    });
}

pub(crate) struct Stops<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

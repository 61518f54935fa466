//! Backups: whole, at one moment, checked, and as guarded as the store.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use keystore::{KeyStore as _, Output, Permit, Use};
use keystore_software::{Checked, Error, SoftwareStore};
use model::{Algorithm, KeyState};

use crate::{Bench, command, key, list, name, tenant};

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

    let to = bench.directory.path().join("backup");
    assert_eq!(bench.store().backup(&to).unwrap(), checked);
    bench.store().apply(tenant(), key(1), KeyState::Destroyed).unwrap();
    assert!(!bench.directory.path().join("backup.partial").exists());

    let restored = SoftwareStore::open(&to, name()).unwrap();
    assert_eq!(list(&restored), wanted, "as it was at that moment");
    assert_eq!(restored.seal_key(), bench.store().seal_key());
    let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"aad" };
    let output = restored.perform(tenant(), key(2), &asked, Permit::WhileActive).unwrap();
    assert!(matches!(output, Output::Plaintext(plaintext) if **plaintext == *b"hush"));
    restored.apply(tenant(), key(1), KeyState::Active).unwrap();
}

#[test]
fn a_backup_is_the_owners_alone_and_overwrites_nothing() {
    let bench = Bench::with_keys();
    let to = bench.directory.path().join("backup");
    bench.store().backup(&to).unwrap();
    for path in ["", "pre-active", "active"] {
        assert_eq!(fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777, 0o700, "{path}");
    }
    for path in
        ["seal.key", "pre-active/wrapping.key", "pre-active/keys.redb", "active/wrapping.key", "active/keys.redb"]
    {
        assert_eq!(fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }
    assert!(matches!(bench.store().backup(&to), Err(Error::Exists { .. })));
    assert!(matches!(bench.store().backup(&bench.path()), Err(Error::Exists { .. })));
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
    let to = bench.directory.path().join("backup");
    assert!(matches!(store.backup(&to), Err(Error::Damaged { .. })));
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 1);
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
                    let _ = told.send(key_id);
                }
            });
        }
        for round in 0..3 {
            let acknowledged: Vec<_> = ready.iter().take(20).collect();
            let to = bench.directory.path().join(format!("backup-{round}"));
            let checked = store.backup(&to).unwrap();
            let restored = SoftwareStore::open(&to, name()).unwrap();
            assert_eq!(list(&restored).len() as u64, checked.pre_active + checked.active);
            for key_id in acknowledged {
                assert_eq!(restored.get(tenant(), key_id).unwrap().unwrap().state, KeyState::Active);
            }
        }
    });
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

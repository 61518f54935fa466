//! Rotation while the store is at work.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keystore::{KeyStore as _, Output, Permit, Use};
use keystore_software::{Error, MasterKeys, Source};
use model::{Algorithm, KeyState};

use crate::backup::Stops;
use crate::{Bench, command, key, list, tenant};

#[test]
fn the_platforms_own_master_key_is_replaced_and_the_old_one_kept() {
    let mut bench = Bench::with_keys();
    let wanted = list(bench.store());
    let rekeyed = bench.store().rekey(&bench.masters(), None).unwrap();
    assert_ne!(rekeyed.before, rekeyed.after);
    assert_eq!(bench.store().master_key().unwrap(), rekeyed.after);
    let names = || {
        let entries = fs::read_dir(bench.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let retired = format!("master.retired-{}", rekeyed.before);
    assert_eq!(names(), ["master", &retired, "store"].map(str::to_owned).into());
    let again = bench.store().rekey(&bench.masters(), None).unwrap();
    assert_eq!((&again.before, names().len()), (&rekeyed.after, 4), "another rotation");
    bench.close();
    assert_eq!(list(&bench.open().unwrap()), wanted);
    // The old one alone opens it no more.
    fs::rename(bench.directory.path().join(retired), bench.master()).unwrap();
    assert!(matches!(bench.open(), Err(Error::NoMasterKey { .. })));
}

#[test]
fn a_store_is_put_under_a_named_master_key() {
    let mut bench = Bench::with_keys();
    let path = bench.directory.path().join("other");
    let own = fs::read(bench.master()).unwrap();
    drop(keystore_software::SoftwareStore::create(
        &bench.directory.path().join("stranger"),
        crate::name(),
        &MasterKeys::own(path.clone()),
    ));
    let other = keystore_software::Provide::load(&Source::File(path.clone())).unwrap();
    let rekeyed = bench.store().rekey(&bench.masters(), Some(&*other)).unwrap();
    assert_eq!(&rekeyed.after, other.id());
    let named = MasterKeys::new(vec![Source::File(path)]);
    let again = bench.store().rekey(&named, Some(&*other)).unwrap();
    assert_eq!(again.before, again.after, "it is under it already");
    let refused = bench.store().rekey(&named, None).err();
    assert!(matches!(refused, Some(Error::MasterKey { .. })), "what is not ours is not replaced: {refused:?}");
    assert_eq!(fs::read(bench.master()).unwrap(), own);
    bench.close();
    assert!(matches!(bench.open(), Err(Error::NoMasterKey { .. })));
    keystore_software::SoftwareStore::open(&bench.path(), crate::name(), &named).unwrap();
}

#[test]
fn every_key_is_wrapped_anew_and_the_old_wrapping_keys_are_gone() {
    let mut bench = Bench::with_keys();
    // More than fit into one page.
    for number in 100..800 {
        bench.store().generate(tenant(), key(number), Algorithm::Ed25519, command()).unwrap();
    }
    let before = list(bench.store());
    let rewrapped = bench.store().rewrap(&bench.masters()).unwrap();
    assert_eq!(rewrapped.records, 703, "tombstones too");
    let after = list(bench.store());
    let ids =
        |entries: &[keystore::Entry]| entries.iter().map(|entry| (entry.key_id, entry.held.state)).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before));
    let places = |entries: &[keystore::Entry]| {
        let places = entries.iter().filter_map(|entry| entry.held.place.clone());
        places.map(|place| place.wrapping_key.to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(places(&after), [rewrapped.pre_active, rewrapped.active].into());
    assert!(places(&before).is_disjoint(&places(&after)));
    // The same command still has the same key, and its birth its wrapping key.
    let born = bench.store().generate(tenant(), key(100), Algorithm::Ed25519, command()).unwrap();
    assert!(places(&before).contains(born.wrapping_key.as_str()));
    bench.close();
    let store = bench.open().unwrap();
    assert!(!store.is_rewrapping());
    assert_eq!(list(&store), after);
    store.check().unwrap();
}

/// Births, activations, uses, listings and a rotation of either kind, all at once: nothing fails, nothing is lost.
#[test]
fn rotations_are_without_downtime() {
    let mut bench = Bench::with_keys();
    for number in 1000..2000 {
        bench.store().generate(tenant(), key(number), Algorithm::Ed25519, command()).unwrap();
    }
    let stop = AtomicBool::new(false);
    let uses = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        let (store, stop, uses) = (bench.store(), &stop, &uses);
        let going = move || !stop.load(Ordering::Relaxed);
        let ciphertext = {
            let asked = Use::Encrypt { plaintext: b"hush", aad: b"" };
            let Output::Ciphertext(ciphertext) = store.perform(tenant(), key(2), &asked, Permit::WhileActive).unwrap()
            else {
                panic!("no ciphertext")
            };
            ciphertext
        };
        scope.spawn(move || {
            while going() {
                let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"" };
                store.perform(tenant(), key(2), &asked, Permit::WhileActive).unwrap();
                store.perform(tenant(), key(2), &Use::Wrap, Permit::WhileActive).unwrap();
                uses.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(move || {
            for number in (10_000..).take_while(|_| going()) {
                store.generate(tenant(), key(number), Algorithm::Aes256Gcm, command()).unwrap();
                store.apply(tenant(), key(number), KeyState::Active).unwrap();
                store.apply(tenant(), key(number - 9_000), KeyState::Active).unwrap();
            }
        });
        scope.spawn(move || {
            while going() {
                assert!(list(store).len() >= 1003);
                store.check().unwrap();
            }
        });
        for round in 0..4 {
            let before = uses.load(Ordering::Relaxed);
            store.rewrap(&bench.masters()).unwrap();
            store.rekey(&bench.masters(), None).unwrap();
            store.backup(&bench.directory.path().join(format!("backup-{round}")), &bench.masters()).unwrap();
            while uses.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
    });
    let entries = list(bench.store());
    bench.close();
    let store = bench.open().unwrap();
    store.check().unwrap();
    assert_eq!(list(&store), entries);
}

//! Many threads: nothing lost, nothing seen half done, and commits shared.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use keystore::{KeyStore as _, Permit, Use};
use keystore_software::{Error, MasterKeys, SoftwareStore};
use model::{Algorithm, KeyState};

use crate::{Bench, command, key, list, name, tenant};

#[test]
fn threads_share_commits_and_lose_nothing() {
    const THREADS: u64 = 16;
    const KEYS: u64 = 25;
    let mut bench = Bench::new();
    let barrier = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, barrier) = (bench.store(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for number in 0..KEYS {
                    // The last byte tells keys' locks apart; spread it as real key ids do.
                    let key_id = key(number << 8 | thread);
                    store.generate(tenant(), key_id, Algorithm::Aes256Gcm, command()).unwrap();
                    store.apply(tenant(), key_id, KeyState::Active).unwrap();
                    store.perform(tenant(), key_id, &Use::Wrap, Permit::WhileActive).unwrap();
                }
            });
        }
    });
    // Birth, entering the active inventory, leaving the pre-active one, a block of nonces: four changes a key.
    let changes = THREADS * KEYS * 4;
    assert!(bench.store().commits() < changes, "{} commits for {changes} changes", bench.store().commits());
    bench.close();
    let store = bench.open().unwrap();
    let entries = list(&store);
    assert_eq!(entries.len() as u64, THREADS * KEYS);
    assert!(entries.iter().all(|entry| entry.held.state == KeyState::Active));
    assert_eq!(store.check().unwrap().active, THREADS * KEYS);
}

#[test]
fn one_key_asked_for_by_many_is_one_key() {
    let bench = Bench::new();
    let barrier = Barrier::new(8);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let store = bench.store();
                    let generated = store.generate(tenant(), key(1), Algorithm::EcdsaP256, command()).unwrap();
                    let applied = store.apply(tenant(), key(1), KeyState::Active).unwrap();
                    (generated, applied)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(list(bench.store()).len(), 1);
}

/// A key on its way from one inventory to the other is seen in one of them at every moment.
#[test]
fn a_key_that_moves_is_never_out_of_sight() {
    let bench = Bench::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..100 {
            bench.store().generate(tenant(), key(number), Algorithm::Ed25519, command()).unwrap();
        }
        let watcher = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let key_id = key(looks % 100);
                assert!(bench.store().get(tenant(), key_id).unwrap().is_some(), "key {key_id} is out of sight");
                if looks.is_multiple_of(64) {
                    assert_eq!(list(bench.store()).len(), 100);
                }
                looks += 1;
            }
        });
        for number in 0..100 {
            bench.store().apply(tenant(), key(number), KeyState::Active).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
}

/// What an attempt that was killed has left behind keeps nobody from making the store.
#[test]
fn a_store_is_made_over_what_an_attempt_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (store, partial) = (folder.path().join("store"), folder.path().join("store.partial"));
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("keyring"), "half").unwrap();
    SoftwareStore::create(&store, name(), &MasterKeys::own(folder.path().join("master"))).unwrap();
    assert!(!partial.exists());
}

/// Of many that make a store in one place, one does; the others are told that somebody has.
#[test]
fn one_of_many_makes_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (path, masters) = (folder.path().join("store"), MasterKeys::own(folder.path().join("master")));
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| SoftwareStore::create(&path, name(), &masters))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    let told = |error: &Error| matches!(error, Error::InUse { .. } | Error::Exists { .. });
    assert!(made.iter().filter_map(|made| made.as_ref().err()).all(told));
    drop(made);
    SoftwareStore::open(&path, name(), &masters).unwrap();
}

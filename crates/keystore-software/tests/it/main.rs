//! The software store from outside: the conformance suite, damage, modes, backups, many threads, and SIGKILL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod backup;
mod concurrency;
mod damage;
mod kill;
mod masters;
mod rotation;

use std::ops::ControlFlow;
use std::path::PathBuf;

use keystore::conformance::{Subject, conformance};
use keystore::{Entry, KeyStore};
use keystore_software::{Error, MasterKeys, SoftwareStore};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};
use tempfile::TempDir;

/// A store in a directory that goes with it.
struct Bench {
    directory: TempDir,
    store: Option<SoftwareStore>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let masters = MasterKeys::own(directory.path().join("master"));
        let store = SoftwareStore::create(&directory.path().join("store"), name(), &masters).unwrap();
        Self { directory, store: Some(store) }
    }

    /// One with a pre-active, an active and a destroyed key: keys 1, 2 and 3.
    fn with_keys() -> Self {
        let bench = Self::new();
        for number in 1..=3 {
            bench.store().generate(tenant(), key(number), Algorithm::Aes256Gcm, command()).unwrap();
        }
        bench.store().apply(tenant(), key(2), KeyState::Active).unwrap();
        bench.store().apply(tenant(), key(3), KeyState::Destroyed).unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Its backup, restored beside its master key: closed, and written from beginning to end in one go.
    fn restored(mut self) -> Self {
        let backup = self.directory.path().join("backup");
        self.store().backup(&backup, &self.masters()).unwrap();
        self.close();
        std::fs::remove_dir_all(self.path()).unwrap();
        SoftwareStore::restore(&backup, &self.path(), &self.masters(), &self.masters()).unwrap();
        std::fs::remove_file(backup).unwrap();
        self
    }

    /// The platform's own master key, beside the store.
    fn masters(&self) -> MasterKeys {
        MasterKeys::own(self.master())
    }

    fn master(&self) -> PathBuf {
        self.directory.path().join("master")
    }

    fn store(&self) -> &SoftwareStore {
        self.store.as_ref().unwrap()
    }

    fn close(&mut self) {
        self.store = None;
    }

    /// Opens what is there.
    fn open(&self) -> Result<SoftwareStore, Error> {
        SoftwareStore::open(&self.path(), name(), &self.masters())
    }
}

impl Subject for Bench {
    fn store(&self) -> &dyn KeyStore {
        Bench::store(self)
    }

    fn reopen(&mut self) {
        self.close();
        self.store = Some(self.open().unwrap());
    }
}

fn name() -> model::Name {
    "software".parse().unwrap()
}

fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

fn key(number: u64) -> KeyId {
    format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap()
}

fn command() -> Digest {
    Digest::of(b"command")
}

fn list(store: &dyn KeyStore) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut visit = |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    store.list(None, &mut visit).unwrap();
    entries
}

#[test]
fn passes_the_conformance_suite() {
    conformance(Bench::new);
}

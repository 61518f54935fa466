//! The store against PyKMIP's own server, over TLS. Here rather than in `tests/`, because the faults are not in the
//! interface.

mod server;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use keystore::conformance::{Subject, conformance};
use keystore::{Error as PortError, KeyStore, Output, Permit, Use};
use model::{Algorithm, Digest, KeyId, KeyState, Name, TenantId};
use tempfile::TempDir;

use crate::{KmipStore, Mode, Settings};
use server::Server;

/// One server for the tests that don't disturb it; it goes with the last of them.
fn shared() -> Arc<Server> {
    static SERVER: OnceLock<Mutex<Weak<Server>>> = OnceLock::new();
    let mut server = SERVER.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(running) = server.upgrade() {
        return running;
    }
    let started = Arc::new(Server::start());
    *server = Arc::downgrade(&started);
    started
}

/// A store in a folder that goes with it.
struct Bench {
    folder: TempDir,
    settings: Settings,
    store: Option<KmipStore>,
    _server: Option<Arc<Server>>,
}

impl Bench {
    fn new() -> Self {
        let server = shared();
        let bench = Self::with(server.settings());
        Self { _server: Some(server), ..bench }
    }

    fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        KmipStore::create(&folder.path().join("store"), &name()).unwrap();
        let store = KmipStore::open(&folder.path().join("store"), name(), &settings).unwrap();
        Self { folder, settings, store: Some(store), _server: None }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn store(&self) -> &KmipStore {
        self.store.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.store = None;
        self.store = Some(KmipStore::open(&self.path(), name(), &self.settings).unwrap());
    }

    fn generate(&self, number: u64) -> KeyId {
        let key_id = key(number);
        self.store().generate(tenant(), key_id, Algorithm::Aes256Gcm, command()).unwrap();
        key_id
    }

    fn bring(&self, number: u64, way: &[KeyState]) -> KeyId {
        let key_id = self.generate(number);
        way.iter().for_each(|state| drop(self.store().apply(tenant(), key_id, *state).unwrap()));
        key_id
    }

    fn encrypt(&self, key_id: KeyId) -> Result<Vec<u8>, PortError> {
        let asked = Use::Encrypt { plaintext: b"hush", aad: b"aad" };
        match self.store().perform(tenant(), key_id, &asked, Permit::WhileActive)? {
            Output::Ciphertext(ciphertext) => Ok(ciphertext),
            other => panic!("no ciphertext: {other:?}"),
        }
    }

    fn state(&self, key_id: KeyId) -> Option<KeyState> {
        self.store().get(tenant(), key_id).unwrap().map(|held| held.state)
    }
}

impl Subject for Bench {
    fn store(&self) -> &dyn KeyStore {
        Bench::store(self)
    }

    fn reopen(&mut self) {
        self.restart();
    }
}

fn name() -> Name {
    "kmip".parse().unwrap()
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

#[test]
fn passes_the_conformance_suite() {
    conformance(Bench::new);
}

#[test]
fn what_it_does_not_make_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        assert!(!KeyStore::algorithms(bench.store()).contains(&algorithm));
        let refused = bench.store().generate(tenant(), key(1), algorithm, command());
        let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
        assert!(matches!(error.downcast_ref(), Some(crate::Error::Algorithm(of)) if *of == algorithm));
    }
    assert_eq!(bench.state(key(1)), None);
    bench.generate(1);
}

#[test]
fn a_placed_key_is_not_said_to_be_suspended() {
    let server = shared();
    let bench = Bench::with(Settings { mode: Mode::Placed, ..server.settings() });
    let key_id = bench.bring(1, &[KeyState::Active]);
    let refused = bench.store().apply(tenant(), key_id, KeyState::Suspended);
    let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.downcast_ref(), Some(crate::Error::NoSuspension(id)) if *id == key_id));
    assert_eq!(bench.state(key_id), Some(KeyState::Active));
    bench.store().apply(tenant(), key_id, KeyState::Deactivated).unwrap();
}

//! The store against PyKMIP's own server, over TLS. Here rather than in `tests/`, because the faults are not in the
//! interface.

mod client;
mod crash;
mod doors;
mod processes;
mod server;
mod survey;

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
    let server = Server::start();
    conformance(|| Bench::with(server.settings()));
}

/// A store whose keys applications use at the server.
fn placed(server: &Server) -> Bench {
    Bench::with(placed_settings(server.settings()))
}

fn placed_settings(settings: Settings) -> Settings {
    Settings { mode: Mode::Placed, operation_policy: Some("placed".parse().unwrap()), ..settings }
}

/// An application that talks to the server itself, and knows nothing of Keylatch.
#[test]
fn an_application_uses_a_placed_key_from_its_activation_to_its_end() {
    let server = shared();
    let bench = placed(&server);
    let key_id = bench.generate(1);
    let object = bench.store().on_the_server(tenant(), key_id).unwrap().object;
    let tries = |what: &str| {
        server.application(&format!(
            "parameters = {{'cryptographic_algorithm': enums.CryptographicAlgorithm.AES, \
             'block_cipher_mode': enums.BlockCipherMode.CTR}}\n\
             from kmip.pie.exceptions import KmipOperationFailure\n\
             with client:\n    \
                 try: {what}; print('done')\n    \
                 except KmipOperationFailure as refused: print(refused.reason.name)\n"
        ))
    };
    let encrypt =
        format!("client.encrypt(b'x', uid='{object}', cryptographic_parameters=parameters, iv_counter_nonce=b'0'*16)");
    let activate = format!("client.activate('{object}')");
    assert_eq!(tries(&encrypt), "PERMISSION_DENIED", "before activation");
    assert_eq!(tries(&activate), "PERMISSION_DENIED", "activation is the custodian's");
    bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
    assert_eq!(tries(&encrypt), "done");
    assert_eq!(
        tries(&format!("client.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, '{object}')")),
        "PERMISSION_DENIED"
    );
    bench.store().apply(tenant(), key_id, KeyState::Deactivated).unwrap();
    assert_eq!(tries(&encrypt), "PERMISSION_DENIED", "at once");
    assert_eq!(bench.findings(key_id), []);
}

#[test]
fn an_application_has_no_identity_for_a_mediated_key() {
    let server = shared();
    let bench = Bench::new();
    let key_id = bench.bring(1, &[KeyState::Active]);
    let object = bench.store().on_the_server(tenant(), key_id).unwrap().object;
    let shown = server.application(&format!(
        "from kmip.pie.exceptions import KmipOperationFailure\n\
         with client:\n    \
             try: client.get('{object}'); print('done')\n    \
             except KmipOperationFailure as refused: print(refused.reason.name)\n    \
             print('{object}' in client.locate())\n"
    ));
    assert_eq!(shown, "PERMISSION_DENIED\nFalse");
}

/// No identity without the bytes: said so, and no second key is made by asking again.
#[test]
fn a_server_that_keeps_the_bytes_to_itself_bears_no_keys() {
    let server = shared();
    let bench = Bench::with(Settings { operation_policy: Some("closed".parse().unwrap()), ..server.settings() });
    for _ in 0..2 {
        let refused = bench.store().generate(tenant(), key(1), Algorithm::Aes256Gcm, command());
        let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
        assert!(matches!(error.downcast_ref(), Some(crate::Error::NoBytes { .. })), "{error}");
        assert_eq!(bench.state(key(1)), None);
    }
    assert!(matches!(&bench.findings(key(1))[..], [crate::Finding::Unfinished { .. }]), "one object, and no orphan");
}

/// Many threads, one store: changes of one key follow each other, uses go on beside them.
#[test]
fn many_threads_at_once_do_no_harm() {
    let bench = Bench::new();
    let key_id = bench.bring(1, &[KeyState::Active]);
    std::thread::scope(|scope| {
        for number in 2..6 {
            let bench = &bench;
            scope.spawn(move || {
                let ciphertext = bench.encrypt(key_id).unwrap();
                let asked = Use::Decrypt { ciphertext: &ciphertext, aad: b"aad" };
                bench.store().perform(tenant(), key_id, &asked, Permit::WhileActive).unwrap();
                bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
                bench.bring(number, &[KeyState::Active, KeyState::Suspended, KeyState::Active]);
                assert_eq!(bench.findings(key(number)), []);
                // The same birth from everywhere is one birth.
                bench.generate(99);
            });
        }
    });
    assert_eq!(bench.findings(key(99)), []);
}

#[test]
fn a_folder_that_is_no_store_of_this_name_does_not_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = shared();
    let mut bench = Bench::with(server.settings());
    let open = |bench: &Bench, name: &str| {
        let opened = KmipStore::open(&bench.path(), name.parse().unwrap(), &bench.settings);
        opened.map(drop).unwrap_err()
    };
    assert!(matches!(open(&bench, "kmip"), crate::Error::InUse { .. }));
    assert!(matches!(KmipStore::create(&bench.path(), &name()), Err(crate::Error::Exists { .. })));
    bench.store = None;
    assert!(matches!(open(&bench, "another"), crate::Error::Damaged { .. }));

    let seal_key = bench.path().join("seal.key");
    let mode = |mode| std::fs::set_permissions(&seal_key, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert!(matches!(open(&bench, "kmip"), crate::Error::LooseMode { mode: 0o640, .. }));
    mode(0o600);
    let whole = std::fs::read_to_string(&seal_key).unwrap();
    for (at, _) in whole.char_indices() {
        let mut changed = whole.clone().into_bytes();
        changed[at] ^= 1;
        std::fs::write(&seal_key, changed).unwrap();
        assert!(matches!(open(&bench, "kmip"), crate::Error::Damaged { .. }), "byte {at}");
    }
    std::fs::write(&seal_key, whole).unwrap();
    bench.restart();
    bench.store = None;
    let index = bench.path().join("index.redb");
    let whole = std::fs::read(&index).unwrap();
    for damaged in [&whole[..whole.len() / 2], &[], b"nonsense"] {
        std::fs::write(&index, damaged).unwrap();
        assert!(matches!(open(&bench, "kmip"), crate::Error::Index { .. }), "{} bytes", damaged.len());
    }
    std::fs::write(&index, whole).unwrap();
    for file in ["seal.key", "index.redb"] {
        let (path, aside) = (bench.path().join(file), bench.folder.path().join(file));
        std::fs::rename(&path, &aside).unwrap();
        assert!(matches!(open(&bench, "kmip"), crate::Error::Damaged { .. }), "{file}");
        assert!(!path.exists(), "nothing is made anew in its place");
        std::fs::rename(&aside, &path).unwrap();
    }
    bench.restart();
}

#[test]
fn a_placed_key_is_not_said_to_be_suspended() {
    let server = shared();
    let bench = placed(&server);
    let key_id = bench.bring(1, &[KeyState::Active]);
    let refused = bench.store().apply(tenant(), key_id, KeyState::Suspended);
    let Err(PortError::Storage(error)) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.downcast_ref(), Some(crate::Error::NoSuspension(id)) if *id == key_id));
    assert_eq!(bench.state(key_id), Some(KeyState::Active));
    bench.store().apply(tenant(), key_id, KeyState::Deactivated).unwrap();
}

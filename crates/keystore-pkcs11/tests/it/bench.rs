//! A store on tokens of its own.

use std::fs;
use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use keystore::conformance::Subject;
use keystore::{Error as PortError, KeyStore, Output, Permit, Use};
use keystore_pkcs11::{Config, Error, Pin, Pkcs11Store, TokenConfig};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};

use crate::testing::{ACTIVE, APPLICATION, APPLICATION_PIN, OFFICER_PIN, PRE_ACTIVE, Tokens};

pub(crate) struct Bench {
    pub(crate) config: Config,
    pub(crate) index: PathBuf,
    store: Option<Pkcs11Store>,
}

impl Bench {
    /// An empty store on new tokens.
    pub(crate) fn new(tokens: &Tokens) -> Self {
        tokens.renew();
        let index = tokens.path("store");
        let _ = fs::remove_dir_all(&index);
        let config = config(tokens);
        let store = Pkcs11Store::create(&index, name(), &config, OFFICER_PIN).unwrap();
        Self { config, index, store: Some(store) }
    }

    /// The same in placed mode.
    pub(crate) fn new_placed(tokens: &Tokens) -> Self {
        tokens.renew();
        tokens.add(APPLICATION, APPLICATION_PIN, "application.pin");
        let index = tokens.path("store");
        let _ = fs::remove_dir_all(&index);
        let config = placed_config(tokens);
        let store = Pkcs11Store::create_placed(&index, name(), &config, OFFICER_PIN, OFFICER_PIN).unwrap();
        Self { config, index, store: Some(store) }
    }

    pub(crate) fn store(&self) -> &Pkcs11Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    pub(crate) fn open(&self) -> Result<Pkcs11Store, Error> {
        Pkcs11Store::open(&self.index, name(), &self.config)
    }

    /// A new key of this number, brought along a way.
    pub(crate) fn bring(&self, number: u64, algorithm: Algorithm, way: &[KeyState]) -> KeyId {
        let key_id = key(number);
        self.store().generate(tenant(), key_id, algorithm, command()).unwrap();
        for state in way {
            self.store().apply(tenant(), key_id, *state).unwrap();
        }
        key_id
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

pub(crate) fn config(tokens: &Tokens) -> Config {
    let token = |label: &str, pin| TokenConfig { label: label.to_owned(), pin: Pin::File(tokens.path(pin)) };
    Config {
        module: Tokens::module(),
        locks: tokens.path("locks"),
        pre_active: token(PRE_ACTIVE, "pre-active.pin"),
        active: token(ACTIVE, "active.pin"),
        placed: None,
    }
}

/// The same with an application's token.
pub(crate) fn placed_config(tokens: &Tokens) -> Config {
    let pin = Pin::File(tokens.path("application.pin"));
    Config { placed: Some(TokenConfig { label: APPLICATION.to_owned(), pin }), ..config(tokens) }
}

pub(crate) fn name() -> model::Name {
    "tokens".parse().unwrap()
}

pub(crate) fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

pub(crate) fn key(number: u64) -> KeyId {
    format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap()
}

pub(crate) fn command() -> Digest {
    Digest::of(b"command")
}

pub(crate) fn encrypt(store: &Pkcs11Store, key_id: KeyId) -> Result<Vec<u8>, PortError> {
    let asked = Use::Encrypt { plaintext: key_id.as_bytes(), aad: b"" };
    match store.perform(tenant(), key_id, &asked, Permit::WhileActive)? {
        Output::Ciphertext(ciphertext) => Ok(ciphertext),
        other => panic!("no ciphertext: {other:?}"),
    }
}

/// Whether a key still decrypts what `encrypt` gave.
pub(crate) fn decrypts(store: &Pkcs11Store, key_id: KeyId, ciphertext: &[u8]) -> Result<bool, PortError> {
    let asked = Use::Decrypt { ciphertext, aad: b"" };
    match store.perform(tenant(), key_id, &asked, Permit::WhileActive)? {
        Output::Plaintext(plaintext) => Ok(plaintext[..] == key_id.as_bytes()[..]),
        other => panic!("no plaintext: {other:?}"),
    }
}

/// The module, as other software of this process has it.
pub(crate) fn module() -> Pkcs11 {
    let context = Pkcs11::new(Tokens::module()).unwrap();
    // The store has initialised it, or nobody.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    context
}

/// A session of anybody.
pub(crate) fn session(context: &Pkcs11, label: &str) -> Session {
    let mut slots = context.get_slots_with_initialized_token().unwrap().into_iter();
    let slot = slots.find(|slot| context.get_token_info(*slot).unwrap().label() == label).unwrap();
    context.open_rw_session(slot).unwrap()
}

/// A session of somebody who has the token's PIN.
pub(crate) fn intruder(context: &Pkcs11, label: &str, pin: &str) -> Session {
    let session = session(context, label);
    // Where the store is open, the process is logged in.
    let _ = session.login(UserType::User, Some(&AuthPin::new(pin.into())));
    session
}

/// The object of a key, for somebody who is logged in.
pub(crate) fn object_of(session: &Session, key_id: KeyId) -> ObjectHandle {
    let all = session.find_objects(&[Attribute::Token(true)]).unwrap();
    let is_it = |object: &ObjectHandle| {
        let label = session.get_attributes(*object, &[AttributeType::Label]).unwrap();
        matches!(&label[..], [Attribute::Label(label)] if label.ends_with(key_id.to_string().as_bytes()))
    };
    all.into_iter().find(is_it).unwrap()
}

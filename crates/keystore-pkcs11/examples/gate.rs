//! What a use through the store costs beside the bare operation of the token, with the same key: SoftHSM, one thread.
//!
//! ```sh
//! cargo run --release -p keystore-pkcs11 --example gate
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "it measures")]

#[path = "../../keystore/measure/cost.rs"]
mod cost;
#[allow(dead_code, reason = "what tests need of it besides")]
#[path = "../src/testing.rs"]
mod testing;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use keystore::{KeyStore as _, Permit, Use};
use keystore_pkcs11::{Config, Pin, Pkcs11Store, TokenConfig};
use model::{Algorithm, Digest, KeyId, KeyState, TenantId};

use crate::cost::{compare, compare_over};
use crate::testing::{ACTIVE, ACTIVE_PIN, OFFICER_PIN, PRE_ACTIVE, Tokens};

fn main() {
    if let Some(tokens) = Tokens::given() {
        measure(&tokens);
        return;
    }
    // On a disk, because the store's commits wait for it.
    let folder = tempfile::tempdir().unwrap();
    let output = Tokens::give(folder.path(), &[]);
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it ended with {}", output.status);
}

fn measure(tokens: &Tokens) {
    let store = create(tokens);
    let session = open_session();
    cost::head();
    for bytes in [32, 4096] {
        let (key_id, key) = bring(&store, &session, bytes, Algorithm::Aes256Gcm);
        let plaintext = vec![7; bytes];
        let mut count = 0_u64;
        let bare = || {
            count += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&count.to_be_bytes());
            let mechanism = Mechanism::AesGcm(GcmParams::new(&mut nonce, &[], 128.into()).unwrap());
            session.encrypt(&mechanism, key, &plaintext).unwrap();
        };
        compare(&format!("AES-256-GCM encrypt, {bytes}"), bare, || {
            perform(&store, key_id, &Use::Encrypt { plaintext: &plaintext, aad: &[] });
        });
    }
    let pss = PkcsPssParams { hash_alg: MechanismType::SHA256, mgf: PkcsMgfType::MGF1_SHA256, s_len: 32.into() };
    let signing = [
        ("ECDSA P-256 sign, 32", Algorithm::EcdsaP256, Mechanism::Ecdsa),
        ("ECDSA P-384 sign, 48", Algorithm::EcdsaP384, Mechanism::Ecdsa),
        ("RSA-PSS 3072 sign, 32", Algorithm::RsaPss3072, Mechanism::RsaPkcsPss(pss)),
    ];
    for (number, (what, algorithm, mechanism)) in (1..).zip(signing) {
        let (key_id, key) = bring(&store, &session, number, algorithm);
        let digest = vec![7; algorithm.digest_bytes().unwrap()];
        let bare = || drop(session.sign(&mechanism, key, &digest).unwrap());
        // RSA takes milliseconds.
        let times = if algorithm == Algorithm::RsaPss3072 { 1_000 } else { 10_000 };
        compare_over(times, what, bare, || perform(&store, key_id, &Use::Sign { digest: &digest }));
    }
}

fn perform(store: &Pkcs11Store, key_id: KeyId, asked: &Use<'_>) {
    store.perform(tenant(), key_id, asked, Permit::WhileActive).unwrap();
}

fn create(tokens: &Tokens) -> Pkcs11Store {
    tokens.renew();
    let token = |label: &str, pin| TokenConfig { label: label.to_owned(), pin: Pin::File(tokens.path(pin)) };
    let config = Config {
        module: Tokens::module(),
        locks: tokens.path("locks"),
        pre_active: token(PRE_ACTIVE, "pre-active.pin"),
        active: token(ACTIVE, "active.pin"),
        placed: None,
    };
    Pkcs11Store::create(&tokens.path("store"), "tokens".parse().unwrap(), &config, OFFICER_PIN).unwrap()
}

/// An active key of this number, and where it is for others.
fn bring(store: &Pkcs11Store, session: &Session, number: usize, algorithm: Algorithm) -> (KeyId, ObjectHandle) {
    let key_id: KeyId = format!("01930000-0000-7000-8000-{number:012x}").parse().unwrap();
    store.generate(tenant(), key_id, algorithm, Digest::of(b"command")).unwrap();
    store.apply(tenant(), key_id, KeyState::Active).unwrap();
    let is_it = |object: &ObjectHandle| {
        let label = session.get_attributes(*object, &[cryptoki::object::AttributeType::Label]).unwrap();
        matches!(&label[..], [Attribute::Label(label)] if label.ends_with(key_id.to_string().as_bytes()))
    };
    let object = session.find_objects(&[Attribute::Token(true)]).unwrap().into_iter().find(is_it).unwrap();
    (key_id, object)
}

/// A session of another part of this process.
fn open_session() -> Session {
    let context = Pkcs11::new(Tokens::module()).unwrap();
    // The store has initialised it.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let mut slots = context.get_slots_with_initialized_token().unwrap().into_iter();
    let slot = slots.find(|slot| context.get_token_info(*slot).unwrap().label() == ACTIVE).unwrap();
    let session = context.open_rw_session(slot).unwrap();
    // The store has logged this process in.
    let _ = session.login(UserType::User, Some(&AuthPin::new(ACTIVE_PIN.into())));
    session
}

fn tenant() -> TenantId {
    TenantId::from_bytes([7; 32])
}

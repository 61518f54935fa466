//! Looked at from outside, by somebody who has the module, the tokens and a PIN, and is not Keylatch: `pkcs11-tool` of
//! OpenSC, and a plain session.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cryptoki::context::Function;
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::AuthPin;
use keystore::KeyStore as _;
use model::key::KeyIdentity;
use model::{Algorithm, KeyId, KeyState};

use crate::bench::{self, Bench, tenant};
use crate::testing::{ACTIVE, ACTIVE_PIN, OFFICER_PIN, PRE_ACTIVE, PRE_ACTIVE_PIN, Tokens, isolated};

/// Runs `pkcs11-tool` on a token. The PIN goes through the environment.
pub(crate) fn tool(tokens: &Tokens, label: &str, pin: &str, arguments: &[&str]) -> Output {
    let output = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(Tokens::module())
        .args(["--token-label", label, "--login", "--pin", "env:PIN"])
        .args(arguments)
        .env("PIN", pin)
        .current_dir(&tokens.folder)
        .stdin(Stdio::null())
        .output();
    output.unwrap_or_else(|error| panic!("can't run pkcs11-tool ({error}); on Debian, install opensc"))
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The one object of a key on a token: its `CKA_ID` in hex, by what `pkcs11-tool` lists.
pub(crate) fn object_id(tokens: &Tokens, label: &str, pin: &str, key_id: KeyId) -> Option<String> {
    let listing = said(&tool(tokens, label, pin, &["--list-objects"]));
    let from = listing.find(&key_id.to_string())?;
    let id = listing.get(from..)?.split_once("ID:")?.1.lines().next()?;
    Some(id.trim().to_owned())
}

const DIGEST: &str = "digest";
const BLOCK: &str = "block";

/// One of each kind that the store makes, and that SoftHSM has.
pub(crate) const KINDS: [Algorithm; 4] =
    [Algorithm::Aes256Gcm, Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::RsaPss3072];

/// What a test has signed.
pub(crate) fn digest(algorithm: Algorithm) -> Vec<u8> {
    vec![7; algorithm.digest_bytes().unwrap_or(32)]
}

/// Tries to use a key.
pub(crate) fn attempt(tokens: &Tokens, label: &str, pin: &str, algorithm: Algorithm, id: &str) -> Output {
    fs::write(tokens.path(DIGEST), digest(algorithm)).unwrap();
    fs::write(tokens.path(BLOCK), [7; 16]).unwrap();
    let out = ["--output-file", "result", "--id", id];
    let what: &[&str] = match algorithm {
        Algorithm::Aes256Gcm => &["--encrypt", "--mechanism", "AES-ECB", "--input-file", BLOCK],
        Algorithm::RsaPss3072 => &[
            "--sign",
            "--mechanism",
            "RSA-PKCS-PSS",
            "--hash-algorithm",
            "SHA256",
            "--mgf",
            "MGF1-SHA256",
            "--salt-len",
            "32",
            "--input-file",
            DIGEST,
        ],
        _ => &["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl", "--input-file", DIGEST],
    };
    let _ = fs::remove_file(tokens.path("result"));
    tool(tokens, label, pin, &[what, &out].concat())
}

#[test]
fn a_pre_active_key_is_of_no_use_to_anybody_with_any_pin_and_an_active_one_is() {
    isolated("outside::a_pre_active_key_is_of_no_use_to_anybody_with_any_pin_and_an_active_one_is", |tokens| {
        let mut bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[]);
            let id = object_id(&tokens, PRE_ACTIVE, PRE_ACTIVE_PIN, key_id).expect("it is on the pre-active token");
            assert_eq!(object_id(&tokens, ACTIVE, ACTIVE_PIN, key_id), None, "and not on the other");
            let refused = attempt(&tokens, PRE_ACTIVE, PRE_ACTIVE_PIN, algorithm, &id);
            assert!(!refused.status.success());
            assert!(said(&refused).contains("CKR_KEY_FUNCTION_NOT_PERMITTED"), "{}", said(&refused));
            let stranger = attempt(&tokens, PRE_ACTIVE, ACTIVE_PIN, algorithm, &id);
            assert!(said(&stranger).contains("CKR_PIN_INCORRECT"), "{}", said(&stranger));

            bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
            assert_eq!(object_id(&tokens, PRE_ACTIVE, PRE_ACTIVE_PIN, key_id), None, "it has moved");
            let id = object_id(&tokens, ACTIVE, ACTIVE_PIN, key_id).expect("it is on the active token");
            let used = attempt(&tokens, ACTIVE, ACTIVE_PIN, algorithm, &id);
            assert!(used.status.success(), "{}", said(&used));
            let identity = bench.store().get(tenant(), key_id).unwrap().unwrap().identity;
            check_result(&tokens.path("result"), algorithm, &identity);

            bench.store().apply(tenant(), key_id, KeyState::Suspended).unwrap();
            let id = object_id(&tokens, ACTIVE, ACTIVE_PIN, key_id).unwrap();
            let refused = attempt(&tokens, ACTIVE, ACTIVE_PIN, algorithm, &id);
            assert!(said(&refused).contains("CKR_KEY_FUNCTION_NOT_PERMITTED"), "suspended: {}", said(&refused));
            bench.store().apply(tenant(), key_id, KeyState::Destroyed).unwrap();
            assert_eq!(object_id(&tokens, ACTIVE, ACTIVE_PIN, key_id), None, "destroyed");
        }
        bench.close();
    });
}

/// What was used is the very key: its signature verifies; of an AES key there is a block.
fn check_result(result: &Path, algorithm: Algorithm, identity: &KeyIdentity) {
    let result = fs::read(result).unwrap();
    let KeyIdentity::PublicKey(der) = identity else {
        assert_eq!(result.len(), 16);
        return;
    };
    let key = keystore::material::PublicKey::from_spki(&der.0).unwrap();
    assert!(key.verifies(&digest(algorithm), &result));
}

/// The session of somebody who has the pre-active token's PIN, and the object of a key there.
fn holder_of_the_pin(label: &str, pin: &str, key_id: KeyId) -> (Session, ObjectHandle) {
    let context = bench::module();
    let session = bench::intruder(&context, label, pin);
    let found: Vec<_> = session.find_objects(&[Attribute::Token(true)]).unwrap();
    let is_it = |object: &ObjectHandle| {
        let label = session.get_attributes(*object, &[AttributeType::Label]).unwrap();
        matches!(&label[..], [Attribute::Label(label)] if label.ends_with(key_id.to_string().as_bytes()))
    };
    let object = found.into_iter().find(is_it).unwrap();
    (session, object)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, Pkcs11Error>, wanted: RvError) {
    assert!(matches!(&outcome, Err(Pkcs11Error::Pkcs11(answer, _)) if *answer == wanted), "{outcome:?}");
}

/// None of the attributes in which a secret is has anything to read.
#[track_caller]
fn assert_shows_no_secret(session: &Session, key: ObjectHandle) {
    for secret in
        [AttributeType::Value, AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Coefficient]
    {
        for shown in session.get_attributes(key, &[secret]).unwrap_or_default() {
            let is_empty = match &shown {
                Attribute::Value(bytes)
                | Attribute::PrivateExponent(bytes)
                | Attribute::Prime1(bytes)
                | Attribute::Coefficient(bytes) => bytes.is_empty(),
                _ => false,
            };
            assert!(is_empty, "{secret}");
        }
    }
}

/// What the separation rests on: with the PIN of the pre-active token, and that token, no way leads to a use.
#[test]
fn who_has_the_pre_active_tokens_pin_has_no_way_to_use_a_key() {
    isolated("outside::who_has_the_pre_active_tokens_pin_has_no_way_to_use_a_key", |tokens| {
        let bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[]);
            let (session, key) = holder_of_the_pin(PRE_ACTIVE, PRE_ACTIVE_PIN, key_id);
            match algorithm {
                Algorithm::Aes256Gcm => {
                    assert_refused(session.encrypt(&Mechanism::AesEcb, key, &[0; 16]), RvError::KeyFunctionNotPermitted)
                }
                Algorithm::RsaPss3072 => {
                    let signed = session.sign(&Mechanism::Sha256RsaPkcs, key, &[7; 32]);
                    assert_refused(signed, RvError::KeyFunctionNotPermitted);
                    let decrypted = session.decrypt(&Mechanism::RsaX509, key, &[7; 384]);
                    assert_refused(decrypted, RvError::KeyFunctionNotPermitted);
                }
                _ => assert_refused(session.sign(&Mechanism::Ecdsa, key, &[7; 32]), RvError::KeyFunctionNotPermitted),
            }
            // No flag can be turned on, in place or by a copy, and no protection off.
            let on = if algorithm == Algorithm::Aes256Gcm { Attribute::Encrypt(true) } else { Attribute::Sign(true) };
            assert_refused(session.update_attributes(key, std::slice::from_ref(&on)), RvError::ActionProhibited);
            assert_refused(session.copy_object(key, &[Attribute::Token(false), on]), RvError::ActionProhibited);
            for off in [Attribute::Modifiable(true), Attribute::WrapWithTrusted(false), Attribute::Sensitive(false)] {
                assert_refused(session.update_attributes(key, &[off]), RvError::ActionProhibited);
            }
            // Under a wrapping key of one's own it does not leave, and one's own can't be called trusted.
            let template = [Attribute::Token(false), Attribute::ValueLen(32.into()), Attribute::Wrap(true)];
            let own = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            assert_refused(session.wrap_key(&Mechanism::AesKeyWrapPad, own, key), RvError::KeyNotWrappable);
            assert_refused(session.update_attributes(own, &[Attribute::Trusted(true)]), RvError::AttributeReadOnly);
            // Under the transport key it leaves, and what has left opens on the other token only.
            let transport = session.find_objects(&[Attribute::Trusted(true), Attribute::Token(true)]).unwrap();
            let [transport] = transport[..] else { panic!("{transport:?}") };
            let blob = session.wrap_key(&Mechanism::AesKeyWrapPad, transport, key).unwrap();
            let unwrapped = session.unwrap_key(&Mechanism::AesKeyWrapPad, transport, &blob, &[Attribute::Token(false)]);
            assert_refused(unwrapped, RvError::KeyFunctionNotPermitted);
            for change in [Attribute::Unwrap(true), Attribute::Decrypt(true), Attribute::Extractable(true)] {
                assert_refused(session.update_attributes(transport, &[change]), RvError::ActionProhibited);
            }
            assert_refused(session.copy_object(transport, &[]), RvError::ActionProhibited);
            assert_shows_no_secret(&session, key);
        }
    });
}

/// Without any PIN there is nothing to see but the transport key's outer half, which only wraps.
#[test]
fn who_has_no_pin_sees_no_key() {
    isolated("outside::who_has_no_pin_sees_no_key", |tokens| {
        let mut bench = Bench::new(&tokens);
        bench.bring(1, Algorithm::Aes256Gcm, &[]);
        bench.bring(2, Algorithm::EcdsaP256, &[KeyState::Active]);
        bench.close();
        let context = bench::module();
        for (label, visible) in [(PRE_ACTIVE, 1), (ACTIVE, 0)] {
            let mut slots = context.get_slots_with_initialized_token().unwrap().into_iter();
            let slot = slots.find(|slot| context.get_token_info(*slot).unwrap().label() == label).unwrap();
            let session = context.open_rw_session(slot).unwrap();
            assert_eq!(session.find_objects(&[]).unwrap().len(), visible, "{label}");
            drop(session);
            // The security officer sees no more.
            let session = context.open_rw_session(slot).unwrap();
            let pin = AuthPin::new(OFFICER_PIN.into());
            session.login(cryptoki::session::UserType::So, Some(&pin)).unwrap();
            assert_eq!(session.find_objects(&[]).unwrap().len(), visible, "{label}");
            drop(session);
        }
    });
}

/// Why the store has no Ed25519: asked to sign a digest as Ed25519ph, SoftHSM makes the pure signature, and says nothing.
/// The day this fails, it may be offered.
#[test]
fn softhsm_has_no_ed25519ph_and_does_not_say_so() {
    use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
    isolated("outside::softhsm_has_no_ed25519ph_and_does_not_say_so", |tokens| {
        let _bench = Bench::new(&tokens);
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let public = [Attribute::Token(false), Attribute::EcParams(vec![6, 3, 0x2b, 0x65, 0x70])];
        let private = [Attribute::Token(false), Attribute::Sign(true)];
        let (_, key) = session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).unwrap();
        let sign = |scheme| session.sign(&Mechanism::Eddsa(EddsaParams::new(scheme)), key, &[7; 64]).unwrap();
        assert_eq!(sign(EddsaSignatureScheme::Ed25519ph(b"")), sign(EddsaSignatureScheme::Ed25519));
        let refused = session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), key, &[]);
        assert!(!matches!(refused, Err(Pkcs11Error::Pkcs11(RvError::MechanismInvalid, Function::SignInit))));
    });
}

/// Why the store has no RSAES-OAEP: the port's is with SHA-256, and SoftHSM has it with SHA-1 alone. What is left, raw RSA, would
/// be an oracle that tells good padding from bad. The day this fails, it may be offered.
#[test]
fn softhsm_has_no_oaep_with_sha_256() {
    use cryptoki::mechanism::MechanismType;
    use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
    isolated("outside::softhsm_has_no_oaep_with_sha_256", |tokens| {
        let bench = Bench::new(&tokens);
        assert!(!bench.store().algorithms().contains(&Algorithm::RsaOaep3072));
        let context = bench::module();
        let session = bench::intruder(&context, ACTIVE, ACTIVE_PIN);
        let exponent = Attribute::PublicExponent(vec![1, 0, 1]);
        let public = [Attribute::Token(false), Attribute::ModulusBits(3072.into()), exponent, Attribute::Encrypt(true)];
        let private = [Attribute::Token(false), Attribute::Decrypt(true)];
        let (public, private) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private).unwrap();
        let oaep = |hash, mgf| Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()));
        let sha_1 = oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1);
        let wrapped = session.encrypt(&sha_1, public, &[7; 32]).unwrap();
        assert_eq!(session.decrypt(&sha_1, private, &wrapped).unwrap(), [7; 32]);
        let sha_256 = oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256);
        assert_refused(session.decrypt(&sha_256, private, &wrapped), RvError::ArgumentsBad);
    });
}

/// With the active token's PIN keys can be used, and that is all: none is taken away.
#[test]
fn who_has_the_active_tokens_pin_takes_no_key_out() {
    isolated("outside::who_has_the_active_tokens_pin_takes_no_key_out", |tokens| {
        let bench = Bench::new(&tokens);
        for (number, algorithm) in (1..).zip(KINDS) {
            let key_id = bench.bring(number, algorithm, &[KeyState::Active]);
            let (session, key) = holder_of_the_pin(ACTIVE, ACTIVE_PIN, key_id);
            let template = [Attribute::Token(false), Attribute::ValueLen(32.into()), Attribute::Wrap(true)];
            let own = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
            assert_refused(session.wrap_key(&Mechanism::AesKeyWrapPad, own, key), RvError::KeyUnextractable);
            for weaker in [Attribute::Extractable(true), Attribute::Sensitive(false)] {
                let change = std::slice::from_ref(&weaker);
                assert_refused(session.update_attributes(key, change), RvError::AttributeReadOnly);
                assert_refused(session.copy_object(key, change), RvError::AttributeReadOnly);
            }
            assert_shows_no_secret(&session, key);
        }
    });
}

/// What is not covered, and why the security officer's PIN is kept elsewhere: with it one gives oneself a user PIN and a
/// trusted wrapping key. The survey shows the key, and the store is locked out.
#[test]
fn the_security_officer_can_take_pre_active_keys_out_and_it_shows() {
    isolated("outside::the_security_officer_can_take_pre_active_keys_out_and_it_shows", |tokens| {
        let mut bench = Bench::new(&tokens);
        let key_id = bench.bring(1, Algorithm::Aes256Gcm, &[]);
        bench.close();
        let context = bench::module();
        let mut slots = context.get_slots_with_initialized_token().unwrap().into_iter();
        let slot = slots.find(|slot| context.get_token_info(*slot).unwrap().label() == PRE_ACTIVE).unwrap();
        let officer = context.open_rw_session(slot).unwrap();
        officer.login(cryptoki::session::UserType::So, Some(&AuthPin::new(OFFICER_PIN.into()))).unwrap();
        officer.init_pin(&AuthPin::new("a pin of the officer's".into())).unwrap();
        let own = [
            Attribute::Class(cryptoki::object::ObjectClass::SECRET_KEY),
            Attribute::KeyType(cryptoki::object::KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Value(vec![9; 32]),
            Attribute::Wrap(true),
            Attribute::Trusted(true),
        ];
        officer.create_object(&own).unwrap();
        officer.logout().unwrap();
        drop(officer);
        let (session, key) = holder_of_the_pin(PRE_ACTIVE, "a pin of the officer's", key_id);
        let trusted = session.find_objects(&[Attribute::Trusted(true), Attribute::Decrypt(true)]).unwrap();
        let [own] = trusted[..] else { panic!("{trusted:?}") };
        session.wrap_key(&Mechanism::AesKeyWrapPad, own, key).unwrap();
        drop(session);

        keystore::conformance::Subject::reopen(&mut bench);
        let refused = bench.store().prove(tenant(), key_id, &[7; 16]);
        assert!(matches!(refused, Err(keystore::Error::Storage(_))), "the store is locked out: {refused:?}");
        tokens.write_pin("pre-active.pin", "a pin of the officer's");
        let findings = bench.store().survey().unwrap().findings;
        assert!(
            matches!(&findings[..], [keystore_pkcs11::Finding::Unknown { usages, .. }]
            if usages.contains(&keystore::attestation::Usage::Wrap)),
            "{findings:?}"
        );
    });
}

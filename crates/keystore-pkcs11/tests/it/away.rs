//! Tokens that go away and come back, PINs that are wrong, parts that are missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keystore::conformance::Subject as _;
use keystore::{Error as PortError, KeyStore as _};
use keystore_pkcs11::{Config, Error, Pin, Pkcs11Store};
use model::{Algorithm, KeyState};

use crate::bench::{self, Bench, config, decrypts, encrypt, name, tenant};
use crate::testing::{ACTIVE, ACTIVE_PIN, OFFICER_PIN, PRE_ACTIVE, PRE_ACTIVE_PIN, isolated};

/// Everything that touches both tokens.
fn works(bench: &Bench, number: u64) {
    let key_id = bench.bring(number, Algorithm::Aes256Gcm, &[]);
    bench.store().prove(tenant(), key_id, &[7; 16]).unwrap();
    bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
    let ciphertext = encrypt(bench.store(), key_id).unwrap();
    assert!(decrypts(bench.store(), key_id, &ciphertext).unwrap());
    assert_eq!(bench.store().survey().unwrap().findings, []);
}

#[test]
fn a_login_that_ends_is_renewed() {
    isolated("away::a_login_that_ends_is_renewed", |tokens| {
        let bench = Bench::new(&tokens);
        works(&bench, 1);
        let key_id = bench.bring(100, Algorithm::EcdsaP256, &[KeyState::Active]);
        let context = bench::module();
        for number in 2..5 {
            // Logging out ends the logins of the whole process.
            for (label, pin) in [(PRE_ACTIVE, PRE_ACTIVE_PIN), (ACTIVE, ACTIVE_PIN)] {
                bench::intruder(&context, label, pin).logout().unwrap();
            }
            bench.store().prove(tenant(), key_id, &[number; 16]).unwrap();
            works(&bench, number.into());
        }
    });
}

#[test]
fn a_module_that_is_finalised_is_initialised_again() {
    isolated("away::a_module_that_is_finalised_is_initialised_again", |tokens| {
        let bench = Bench::new(&tokens);
        works(&bench, 1);
        for number in 2..5 {
            bench::module().finalize().unwrap();
            works(&bench, number);
        }
    });
}

#[test]
fn a_token_that_was_taken_out_is_used_again_when_it_is_back() {
    isolated("away::a_token_that_was_taken_out_is_used_again_when_it_is_back", |tokens| {
        let bench = Bench::new(&tokens);
        works(&bench, 1);
        let key_id = bench.bring(100, Algorithm::Aes256Gcm, &[KeyState::Active]);
        let born = bench.bring(101, Algorithm::Aes256Gcm, &[]);
        let ciphertext = encrypt(bench.store(), key_id).unwrap();
        for number in 2..5 {
            fs::rename(tokens.path("tokens"), tokens.path("taken out")).unwrap();
            fs::create_dir(tokens.path("tokens")).unwrap();
            for _ in 0..2 {
                for outcome in [
                    bench.store().apply(tenant(), born, KeyState::Active).map(drop),
                    bench.store().prove(tenant(), born, &[7; 16]).map(drop),
                    bench.store().attest(tenant(), key_id).map(drop),
                ] {
                    assert!(matches!(outcome, Err(PortError::Storage(_))), "{outcome:?}");
                }
                assert_eq!(bench.store().get(tenant(), born).unwrap().unwrap().state, KeyState::PreActive);
            }
            fs::remove_dir_all(tokens.path("tokens")).unwrap();
            fs::rename(tokens.path("taken out"), tokens.path("tokens")).unwrap();
            assert!(decrypts(bench.store(), key_id, &ciphertext).unwrap());
            works(&bench, number);
        }
        bench.store().apply(tenant(), born, KeyState::Active).unwrap();
        assert_eq!(bench.store().survey().unwrap().findings, []);
    });
}

/// Ten attempts with a wrong PIN ask the token once: tokens lock.
#[test]
fn a_refused_pin_is_not_tried_twice_and_never_shown() {
    isolated("away::a_refused_pin_is_not_tried_twice_and_never_shown", |tokens| {
        let mut bench = Bench::new(&tokens);
        works(&bench, 1);
        let key_id = bench.bring(2, Algorithm::Aes256Gcm, &[]);
        let context = bench::module();
        tokens.write_pin("active.pin", "a wrong pin");
        bench::intruder(&context, ACTIVE, ACTIVE_PIN).logout().unwrap();
        for _ in 0..10 {
            let Err(PortError::Storage(error)) = bench.store().apply(tenant(), key_id, KeyState::Active) else {
                panic!("it was let in")
            };
            assert!(matches!(error.downcast_ref::<Error>(), Some(Error::PinRefused { .. })), "{error}");
            let shown = format!("{error} {error:?} {:?} {:?}", bench.store(), bench.config);
            assert!(!shown.contains("a wrong pin") && !shown.contains(ACTIVE_PIN), "{shown}");
        }
        // The right one, put there while the store is open, is taken.
        tokens.write_pin("active.pin", ACTIVE_PIN);
        bench.store().apply(tenant(), key_id, KeyState::Active).unwrap();
        works(&bench, 3);
        bench.close();
        tokens.write_pin("pre-active.pin", "a wrong pin");
        bench.reopen();
        let refused = bench.store().generate(tenant(), bench::key(9), Algorithm::Aes256Gcm, bench::command());
        assert!(matches!(refused, Err(PortError::Storage(_))), "{refused:?}");
    });
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    isolated("away::what_is_missing_or_wrong_is_named", |tokens| {
        let mut bench = Bench::new(&tokens);
        works(&bench, 1);
        assert!(matches!(bench.open(), Err(Error::InUse { .. })), "one process at a time");
        bench.close();
        let good = config(&tokens);
        let open = |config: &Config| Pkcs11Store::open(&bench.index, name(), config);
        let no_module = Config { module: "/nowhere/module.so".into(), ..good.clone() };
        assert!(matches!(open(&no_module), Err(Error::Module { .. })));
        let mut no_token = good.clone();
        no_token.active.label = "another".into();
        assert!(matches!(open(&no_token), Err(Error::NoToken { found: 0, .. })));
        let mut exchanged = good.clone();
        std::mem::swap(&mut exchanged.active, &mut exchanged.pre_active);
        assert!(matches!(open(&exchanged), Err(Error::NoToken { found: 0, .. })), "the serial number is another");
        let mut no_pin = good.clone();
        no_pin.active.pin = Pin::Variable("KEYLATCH_TEST_NO_SUCH_VARIABLE".into());
        assert!(matches!(open(&no_pin), Err(Error::NoPin { .. })));
        let mut loose = good.clone();
        let path = tokens.write_pin("loose.pin", ACTIVE_PIN);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        loose.active.pin = Pin::File(path);
        assert!(matches!(open(&loose), Err(Error::LooseMode { mode: 0o644, .. })));
        let elsewhere = Pkcs11Store::open(&tokens.path("nowhere"), name(), &good);
        assert!(matches!(elsewhere, Err(Error::NoIndex { .. })));
        let again = Pkcs11Store::create(&bench.index, name(), &good, OFFICER_PIN);
        assert!(matches!(again, Err(Error::Exists { .. })));
        let mut same = good.clone();
        same.active = same.pre_active.clone();
        let same = Pkcs11Store::create(&tokens.path("same"), name(), &same, OFFICER_PIN);
        assert!(matches!(same, Err(Error::SameToken(_))));
        let officer = Pkcs11Store::create(&tokens.path("other"), name(), &good, "not the officer's");
        assert!(matches!(&officer, Err(Error::Token { .. })) && !format!("{officer:?}").contains("not the officer's"));
        drop(open(&good).unwrap());
    });
}
